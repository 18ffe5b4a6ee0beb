#include "checksums.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export/tar.h"

void set_checksums(uint8_t *tar, size_t size)
{
    for (size_t at = 0; size - at >= TAR_BLOCK;) {
        uint8_t *header = tar + at;
        char text[13] = "";
        unsigned sum = 0;
        size_t used = 0;
        memset(header + 148, ' ', 8);
        for (size_t i = 0; i < TAR_BLOCK; i++) {
            sum += header[i];
            used += header[i] != 0 && (i < 148 || i >= 156);
        }
        if (used == 0) { /* the archive's end */
            memset(header + 148, 0, 8);
            return;
        }
        snprintf((char *)header + 148, 8, "%06o", sum);
        memcpy(text, header + 124, 12);
        size_t content = (size_t)strtoull(text, NULL, 8);
        at += TAR_BLOCK;
        if (content > size - at || tar_padding(content) > size - at - content)
            return;
        at += content + tar_padding(content);
    }
}
