#include "export/metadata.h"

#include <string.h>
#include <uchar.h>

#include "base/memory.h"
#include "base/text.h"

#define TAG_MOUNT_POINT   0xa0000003u
#define TAG_SYMBOLIC_LINK 0xa000000cu

static uint16_t read_u16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static uint32_t read_u32(const uint8_t *bytes)
{
    return read_u16(bytes) | (uint32_t)read_u16(bytes + 2) << 16;
}

/* WCI, WCI_1, WCI_TOMBSTONE, WCI_LINK, WCI_LINK_1 of ntifs.h. */
static bool tag_is_container(uint32_t tag)
{
    static const uint32_t tags[] = {0x80000018u, 0x90001018u, 0xa000001fu, 0xa0000027u, 0xa0001027u};
    for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++)
        if (tag == tags[i])
            return true;
    return false;
}

static struct error *bad_reparse(const char *object)
{
    return error_make(ERROR_KIND_DATA_LOSS, "decode reparse data", object, "the reparse data is cut off or damaged");
}

/* A name within the path buffer, or NULL when it is not inside. */
static char *reparse_name(const uint8_t *names, size_t size, uint16_t offset, uint16_t bytes)
{
    if (offset > size || bytes > size - offset || bytes % 2 != 0)
        return NULL;
    size_t count = bytes / 2;
    char16_t *units = mem_new_array(count + 1, char16_t);
    for (size_t i = 0; i < count; i++)
        units[i] = read_u16(names + offset + 2 * i);
    const char16_t *from = units;
    if (count >= 4 && units[0] == '\\' && units[1] == '?' && units[2] == '?' && units[3] == '\\') {
        from += 4;
        count -= 4;
    }
    char *text = text_from_utf16(from, count);
    free(units);
    return text;
}

struct error *reparse_decode(const uint8_t *data, size_t size, const char *object, struct reparse *ret_reparse)
{
    if (size < 8 || read_u16(data + 4) > size - 8)
        return bad_reparse(object);
    uint32_t tag = read_u32(data);
    if (tag != TAG_MOUNT_POINT && tag != TAG_SYMBOLIC_LINK) {
        enum reparse_kind kind = tag_is_container(tag) ? REPARSE_CONTAINER : REPARSE_UNKNOWN;
        *ret_reparse = (struct reparse){.kind = kind, .tag = tag};
        return NULL;
    }

    /* substitute offset, length, print offset, length; a symbolic link has 4 bytes of flags before the names */
    size_t names = tag == TAG_MOUNT_POINT ? 16 : 20;
    size_t end = 8 + (size_t)read_u16(data + 4);
    if (end < names)
        return bad_reparse(object);
    uint16_t length = read_u16(data + 14);
    bool print = length > 0;
    char *target = print ? reparse_name(data + names, end - names, read_u16(data + 12), length)
                         : reparse_name(data + names, end - names, read_u16(data + 8), read_u16(data + 10));
    if (!target)
        return bad_reparse(object);
    *ret_reparse = (struct reparse){
        .kind = tag == TAG_MOUNT_POINT ? REPARSE_MOUNT_POINT : REPARSE_SYMBOLIC_LINK, .tag = tag, .target = target};
    return NULL;
}

struct error *ea_decode(const uint8_t *data, size_t size, const char *object,
                        void (*each)(void *context, uint8_t flags, const char *name, size_t name_size,
                                     const uint8_t *value, size_t value_size),
                        void *context)
{
    size_t at = 0;
    while (at < size) {
        size_t left = size - at;
        const uint8_t *ea = data + at;
        size_t next = left >= 8 ? read_u32(ea) : 0;
        size_t name_size = left >= 8 ? ea[5] : 0;
        size_t value_size = left >= 8 ? read_u16(ea + 6) : 0;
        /* A NUL stands between name and value. */
        size_t need = 8 + name_size + 1 + value_size;
        if (left < need || (next != 0 && (next < need || next > left)))
            return error_make(ERROR_KIND_DATA_LOSS, "decode extended attributes", object,
                              "the extended attributes are cut off or damaged");
        each(context, ea[4], (const char *)ea + 8, name_size, ea + 8 + name_size + 1, value_size);
        if (next == 0)
            break;
        at += next;
    }
    return NULL;
}
