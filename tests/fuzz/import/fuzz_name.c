/* Whatever name import takes is one that Windows has and that leads nowhere else. Checked by rules written anew, part by part. */
#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "base/text.h"
#include "import/import_name.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

static void check_part(const char *part, size_t size)
{
    static const char *const devices[] = {"con",  "prn",  "aux",  "nul",    "com1",
                                          "com9", "lpt1", "lpt5", "conin$", "conout$"};
    require(size > 0 && part[size - 1] != '.' && part[size - 1] != ' ');
    require(!(size <= 2 && strspn(part, ".") >= size));
    for (size_t i = 0; i < size; i++)
        require((unsigned char)part[i] >= 0x20 && !strchr("\\:<>\"|?*", part[i]));
    for (size_t i = 0; i < sizeof devices / sizeof devices[0]; i++) {
        size_t length = strlen(devices[i]);
        require(
            !(size >= length && strncasecmp(part, devices[i], length) == 0 && (size == length || part[length] == '.')));
    }
    require(size < 10 || strncasecmp(part + size - 10, ".$wcidirs$", 10) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    char *path = str_copy_n((const char *)data + 1, size - 1);
    bool binary = data[0] & 1;
    struct import_name name = {0};
    struct error *error = import_name_parse(path, binary, &name);
    if (!error) {
        const char *part = name.path;
        for (;;) {
            size_t length = strcspn(part, "/");
            check_part(part, length);
            if (!part[length])
                break;
            part += length + 1;
        }
        require(!name.stream || (*name.stream && !strpbrk(name.stream, ":/\\") && !name.whiteout));
        require(strcasecmp(name.path, "tombstones.txt") != 0);
        require(binary || text_is_utf8(name.path, strlen(name.path)));
        char16_t *units = text_to_utf16(name.path, NULL);
        require(units != NULL);
        free(units);
        require((name.area == IMPORT_FILES) == (strncmp(name.path, "Files", 5) == 0 && strchr("/", name.path[5])));
    }
    error_free(error);
    import_name_free(&name);
    free(path);
    return 0;
}
