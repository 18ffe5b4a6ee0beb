/* Any tombstones.txt is parsed into sorted rows that can all be found again, or refused. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "export/tombstones.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = mem_copy(data, size);
    struct tombstones tombstones = {0};
    struct error *error = tombstones_parse(text, size, "tombstones.txt", &tombstones);
    for (size_t i = 0; i < tombstones.count; i++) {
        const struct tombstone *row = &tombstones.rows[i];
        char *folder = str_copy_n(row->path, row->folder_size);
        size_t first;
        size_t count = tombstones_in(&tombstones, folder, &first);
        if (i < first || i >= first + count || strncmp(row->path, "Files/", 6) != 0 || strstr(row->path, "//"))
            abort();
        free(folder);
    }
    error_free(error);
    tombstones_free(&tombstones);
    free(text);
    return 0;
}
