#include "export/metadata.h"

#include <string.h>
#include <uchar.h>

#include "base/memory.h"
#include "base/text.h"

#define TAG_MOUNT_POINT   0xa0000003u
#define TAG_SYMBOLIC_LINK 0xa000000cu
#define RELATIVE          1u          /* SYMLINK_FLAG_RELATIVE */
#define REPARSE_MAX       (16u << 10) /* MAXIMUM_REPARSE_DATA_BUFFER_SIZE */

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

static void add_number(struct buffer *buffer, uint32_t value, unsigned size)
{
    uint8_t bytes[4];
    for (unsigned i = 0; i < size; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    buffer_add(buffer, bytes, size);
}

/* The name with a NUL behind it, which no length counts. */
static void add_name(struct buffer *buffer, const char16_t *units, size_t count)
{
    for (size_t i = 0; i <= count; i++)
        add_number(buffer, i < count ? units[i] : 0u, 2);
}

static struct error *no_reparse(const char *object, const char *why)
{
    return error_make(ERROR_KIND_INVALID_ARGUMENT, "encode reparse data", object, "the link's target %s", why);
}

struct error *reparse_encode(const char *target, bool mount_point, const char *object, struct buffer *ret_data)
{
    if (!*target)
        return no_reparse(object, "is empty");
    if (strncmp(target, "\\??\\", 4) == 0)
        return no_reparse(object, "begins with \\??\\, which is no name people see");
    bool drive = (((target[0] | 0x20) >= 'a' && (target[0] | 0x20) <= 'z')) && target[1] == ':';
    bool verbatim = strncmp(target, "\\\\?\\", 4) == 0;
    bool share = !verbatim && strncmp(target, "\\\\", 2) == 0;
    bool relative = !drive && !verbatim && !share;
    char *substitute = relative ? str_copy(target)
                                : str_format("\\??\\%s%s", share ? "UNC\\" : "",
                                             target + (verbatim ? 4
                                                       : share  ? 2
                                                                : 0));
    size_t substitute_units = 0, print_units = 0;
    char16_t *substitute_name = text_to_utf16(substitute, &substitute_units);
    char16_t *print_name = text_to_utf16(target, &print_units);
    free(substitute);

    struct error *error = NULL;
    size_t size = (mount_point ? 8u : 12u) + 2 * (substitute_units + 1 + print_units + 1);
    if (!substitute_name || !print_name) {
        error = no_reparse(object, "is no text");
    } else if (8 + size > REPARSE_MAX) {
        error = no_reparse(object, "is longer than reparse data can be");
    } else {
        add_number(ret_data, mount_point ? TAG_MOUNT_POINT : TAG_SYMBOLIC_LINK, 4);
        add_number(ret_data, (uint32_t)size, 2);
        add_number(ret_data, 0, 2);
        add_number(ret_data, 0, 2);
        add_number(ret_data, (uint32_t)(2 * substitute_units), 2);
        add_number(ret_data, (uint32_t)(2 * (substitute_units + 1)), 2);
        add_number(ret_data, (uint32_t)(2 * print_units), 2);
        if (!mount_point)
            add_number(ret_data, relative ? RELATIVE : 0, 4);
        add_name(ret_data, substitute_name, substitute_units);
        add_name(ret_data, print_name, print_units);
    }
    free(substitute_name);
    free(print_name);
    return error;
}

bool ea_encode(struct buffer *list, size_t *last_at, const char *name, size_t name_size, const uint8_t *value,
               size_t value_size)
{
    if (name_size == 0 || name_size > UINT8_MAX || value_size > UINT16_MAX)
        return false;
    if (list->size > 0) {
        while (list->size % 4 != 0)
            add_number(list, 0, 1);
        size_t next = list->size - *last_at;
        for (unsigned i = 0; i < 4; i++)
            list->data[*last_at + i] = (uint8_t)(next >> (8 * i));
    }
    *last_at = list->size;
    add_number(list, 0, 4);
    add_number(list, 0, 1);
    add_number(list, (uint32_t)name_size, 1);
    add_number(list, (uint32_t)value_size, 2);
    buffer_add(list, name, name_size);
    add_number(list, 0, 1);
    buffer_add(list, value, value_size);
    return true;
}
