#include "import/import_name.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

#define PART_UNITS_MAX 255
#define PATH_UNITS_MAX 32000 /* what Windows opens, less the folder it is below */
#define SIDECAR        ".$wcidirs$"
#define WHITEOUT       ".wh."

struct error *import_refuse(const char *path, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *reason = str_format_args(format, arguments);
    va_end(arguments);
    struct error *error = error_make(ERROR_KIND_INVALID_ARGUMENT, "import entry", path, "%s", reason);
    free(reason);
    return error;
}

static bool equal_nocase(const char *text, size_t size, const char *name)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 'A' && c <= 'Z')
            c = (unsigned char)(c + 32);
        if (name[i] == '\0' || c != (unsigned char)name[i])
            return false;
    }
    return name[size] == '\0';
}

/* MS "Naming Files, Paths, and Namespaces": devices, with anything behind a dot, too; the digits may be superscripts. */
static bool is_device(const char *part, size_t size)
{
    static const char *const names[] = {"con", "prn", "aux", "nul", "conin$", "conout$"};
    const char *dot = memchr(part, '.', size);
    size_t stem = dot ? (size_t)(dot - part) : size;
    while (stem > 0 && part[stem - 1] == ' ')
        stem--;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (equal_nocase(part, stem, names[i]))
            return true;
    if (stem < 4 || !(equal_nocase(part, 3, "com") || equal_nocase(part, 3, "lpt")))
        return false;
    const char *digit = part + 3;
    if (stem == 4)
        return *digit >= '0' && *digit <= '9';
    return stem == 5 && (memcmp(digit, "\xc2\xb9", 2) == 0 || memcmp(digit, "\xc2\xb2", 2) == 0 ||
                         memcmp(digit, "\xc2\xb3", 2) == 0);
}

/* Units as Windows counts them; SIZE_MAX when the bytes are no text. */
static size_t count_units(const char *text, size_t size, bool binary)
{
    size_t count = 0;
    char16_t *units = binary || text_is_utf8(text, size) ? text_to_utf16_n(text, size, &count) : NULL;
    free(units);
    return units ? count : SIZE_MAX;
}

/* What is wrong with a part of a path, or NULL. */
static const char *part_fault(const char *part, size_t size, bool binary)
{
    if (size == 0)
        return "a part of its path is empty";
    if ((size == 1 && part[0] == '.') || (size == 2 && part[0] == '.' && part[1] == '.'))
        return "its path leads through . or ..";
    for (size_t i = 0; i < size; i++) {
        if (part[i] == '\\')
            return "a backslash in a name would lead into another folder";
        if (part[i] == ':')
            return "a colon names a drive or a stream, and neither can stand there";
        if ((unsigned char)part[i] < 0x20 || memchr("<>\"|?*", part[i], 6))
            return "a name holds a character that Windows reserves";
    }
    if (part[size - 1] == '.' || part[size - 1] == ' ')
        return "a name ends in a dot or a blank, which Windows takes away";
    if (is_device(part, size))
        return "a name is a device's on Windows";
    size_t units = count_units(part, size, binary);
    if (units == SIZE_MAX)
        return binary ? "a name is no WTF-8" : "a name is no UTF-8";
    if (units > PART_UNITS_MAX)
        return "a name has more than 255 characters";
    size_t suffix = strlen(SIDECAR);
    if (size >= suffix && equal_nocase(part + size - suffix, suffix, SIDECAR))
        return "names that end in .$wcidirs$ are the transport format's own";
    return NULL;
}

/* Streams may have names that files may not; Windows has them without separators. */
static const char *stream_fault(const char *stream, bool binary)
{
    size_t size = strlen(stream);
    if (size == 0 || strpbrk(stream, ":\\"))
        return "its stream has no name, or a type, which no layer has";
    size_t units = count_units(stream, size, binary);
    return units == SIZE_MAX        ? "its stream's name is no text"
           : units > PART_UNITS_MAX ? "its stream's name is too long"
                                    : NULL;
}

static const char *find_area(struct import_name *name)
{
    static const struct {
        const char *folder, *lower;
        enum import_area area;
    } areas[] = {{"Files", "files", IMPORT_FILES},
                 {"Hives", "hives", IMPORT_HIVES},
                 {"UtilityVM", "utilityvm", IMPORT_UTILITY_VM}};
    size_t first = strcspn(name->path, "/");
    name->area = IMPORT_OTHER;
    for (size_t i = 0; i < sizeof areas / sizeof areas[0]; i++) {
        if (!equal_nocase(name->path, first, areas[i].lower))
            continue;
        if (memcmp(name->path, areas[i].folder, first) != 0)
            return "the layer's own folders are written Files, Hives and UtilityVM";
        name->area = areas[i].area;
        name->top = name->path[first] == '\0';
    }
    return equal_nocase(name->path, first, "tombstones.txt") ? "tombstones.txt is the transport format's own" : NULL;
}

/* The last part begins with .wh.: takes that out. */
static const char *take_whiteout(struct import_name *name)
{
    char *slash = strrchr(name->path, '/');
    char *last = slash ? slash + 1 : name->path;
    if (strncmp(last, WHITEOUT, strlen(WHITEOUT)) != 0)
        return NULL;
    if (name->stream)
        return "a whiteout has no streams";
    memmove(last, last + strlen(WHITEOUT), strlen(last + strlen(WHITEOUT)) + 1);
    if (strncmp(last, WHITEOUT, strlen(WHITEOUT)) == 0)
        return "a whiteout of a whiteout has no meaning in a Windows layer";
    name->whiteout = true;
    return NULL;
}

static const char *parse(const char *path, bool binary, struct import_name *name)
{
    if (path[0] == '/' || path[0] == '\\')
        return "its path is absolute";
    name->path = str_copy(path);
    char *slash = strrchr(name->path, '/');
    char *colon = strchr(slash ? slash + 1 : name->path, ':');
    if (colon) {
        name->stream = str_copy(colon + 1);
        *colon = '\0';
    }
    const char *fault = name->stream ? stream_fault(name->stream, binary) : NULL;
    if (!fault)
        fault = take_whiteout(name);
    size_t units = 0;
    for (const char *part = name->path; !fault; part++) {
        size_t size = strcspn(part, "/");
        fault = part_fault(part, size, binary);
        units += size + 1; /* bytes: never fewer than units */
        part += size;
        if (!*part)
            break;
    }
    if (!fault && units > PATH_UNITS_MAX && count_units(name->path, strlen(name->path), binary) > PATH_UNITS_MAX)
        fault = "its path has more than 32,000 characters";
    return fault ? fault : find_area(name);
}

struct error *import_name_parse(const char *path, bool binary, struct import_name *ret_name)
{
    struct import_name name = {0};
    const char *fault = parse(path, binary, &name);
    if (fault) {
        import_name_free(&name);
        return import_refuse(path, "%s", fault);
    }
    *ret_name = name;
    return NULL;
}

void import_name_free(struct import_name *name)
{
    if (!name)
        return;
    free(name->path);
    free(name->stream);
    *name = (struct import_name){0};
}
