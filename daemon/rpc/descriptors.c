#include "daemon/rpc/descriptors.h"

#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "daemon/rpc/wire.h"

/* Field numbers of google/protobuf/descriptor.proto. */
enum { SET_FILE = 1 };
enum { FILE_NAME = 1, FILE_PACKAGE, FILE_DEPENDENCY, FILE_MESSAGE, FILE_ENUM, FILE_SERVICE, FILE_EXTENSION };
enum {
    MESSAGE_NAME = 1,
    MESSAGE_FIELD = 2,
    MESSAGE_NESTED = 3,
    MESSAGE_ENUM = 4,
    MESSAGE_EXTENSION = 6,
    MESSAGE_ONEOF = 8,
};
enum { FIELD_NAME = 1, FIELD_EXTENDEE = 2, FIELD_TYPE_NAME = 6 };
enum { ENUM_NAME = 1, ENUM_VALUE = 2 };
enum { SERVICE_NAME = 1, SERVICE_METHOD = 2 };
enum { METHOD_NAME = 1, METHOD_INPUT = 2, METHOD_OUTPUT = 3 };
enum { ANY_NAME = 1 }; /* `name` is the first field of all of them */

struct symbol {
    char *name;
    size_t file;
    bool is_message;
};

struct descriptors {
    struct descriptor_file **files;
    size_t file_count;
    struct symbol *symbols; /* in no order: a lookup is a walk, which reflection can afford */
    size_t symbol_count;
    struct buffer *copies; /* what aliases brought */
    size_t copy_count;
};

/* The kinds of descriptor, and what lies in each: enough to name every symbol and to find every reference. */
enum kind {
    KIND_NONE,
    KIND_FILE,
    KIND_MESSAGE,
    KIND_FIELD,
    KIND_ENUM,
    KIND_SERVICE,
    KIND_METHOD,
    KIND_LEAF,
    KIND_REFERENCE,
    KIND_PATH
};
static const struct {
    enum kind kind;
    uint32_t number;
    enum kind child;
} shapes[] = {
    {KIND_FILE, FILE_NAME, KIND_PATH},
    {KIND_FILE, FILE_PACKAGE, KIND_REFERENCE},
    {KIND_FILE, FILE_MESSAGE, KIND_MESSAGE},
    {KIND_FILE, FILE_ENUM, KIND_ENUM},
    {KIND_FILE, FILE_SERVICE, KIND_SERVICE},
    {KIND_FILE, FILE_EXTENSION, KIND_FIELD},
    {KIND_MESSAGE, MESSAGE_FIELD, KIND_FIELD},
    {KIND_MESSAGE, MESSAGE_NESTED, KIND_MESSAGE},
    {KIND_MESSAGE, MESSAGE_ENUM, KIND_ENUM},
    {KIND_MESSAGE, MESSAGE_EXTENSION, KIND_FIELD},
    {KIND_MESSAGE, MESSAGE_ONEOF, KIND_LEAF},
    {KIND_FIELD, FIELD_EXTENDEE, KIND_REFERENCE},
    {KIND_FIELD, FIELD_TYPE_NAME, KIND_REFERENCE},
    {KIND_ENUM, ENUM_VALUE, KIND_LEAF},
    {KIND_SERVICE, SERVICE_METHOD, KIND_METHOD},
    {KIND_METHOD, METHOD_INPUT, KIND_REFERENCE},
    {KIND_METHOD, METHOD_OUTPUT, KIND_REFERENCE},
};

static enum kind child_of(enum kind kind, uint32_t number)
{
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        if (shapes[i].kind == kind && shapes[i].number == number)
            return shapes[i].child;
    return KIND_NONE;
}

/* The first text field with this number, "" when there is none. The caller frees it. */
static char *text_field(const uint8_t *data, size_t size, uint32_t number)
{
    struct wire wire = {data, data + size};
    struct wire_field field;
    while (wire_next(&wire, &field) == WIRE_FIELD)
        if (field.number == number && field.type == WIRE_LENGTH)
            return str_copy_n((const char *)field.data, field.size);
    return str_copy("");
}

static void add_symbol(struct descriptors *descriptors, const char *name, bool is_message)
{
    descriptors->symbols =
        mem_resize_array(descriptors->symbols, descriptors->symbol_count + 1, sizeof *descriptors->symbols);
    descriptors->symbols[descriptors->symbol_count++] =
        (struct symbol){str_copy(name), descriptors->file_count - 1, is_message};
}

/* `scope` is the full name of what this lies in. False: it is broken. */
static bool add_symbols(struct descriptors *descriptors, enum kind kind, const char *scope, const uint8_t *data,
                        size_t size)
{
    struct wire wire = {data, data + size};
    struct wire_field field;
    enum wire_result result;
    while ((result = wire_next(&wire, &field)) == WIRE_FIELD) {
        enum kind child = child_of(kind, field.number);
        if (child == KIND_NONE || child == KIND_REFERENCE || child == KIND_PATH || field.type != WIRE_LENGTH)
            continue;
        char *name = text_field(field.data, field.size, ANY_NAME);
        char *full = scope[0] != 0 ? str_format("%s.%s", scope, name) : str_copy(name);
        add_symbol(descriptors, full, child == KIND_MESSAGE);
        /* An enum's values stand beside it, not in it (descriptor.proto, EnumDescriptorProto). */
        bool good = add_symbols(descriptors, child, child == KIND_ENUM ? scope : full, field.data, field.size);
        free(full);
        free(name);
        if (!good)
            return false;
    }
    return result == WIRE_END;
}

static bool add_file(struct descriptors *descriptors, const uint8_t *data, size_t size)
{
    struct descriptor_file *file = mem_new(struct descriptor_file);
    *file = (struct descriptor_file){.name = text_field(data, size, FILE_NAME), .data = data, .size = size};
    descriptors->files = mem_resize_array(descriptors->files, descriptors->file_count + 1, sizeof *descriptors->files);
    descriptors->files[descriptors->file_count++] = file;
    struct wire wire = {data, data + size};
    struct wire_field field;
    while (wire_next(&wire, &field) == WIRE_FIELD) {
        if (field.number != FILE_DEPENDENCY || field.type != WIRE_LENGTH)
            continue;
        file->dependencies =
            mem_resize_array(file->dependencies, file->dependency_count + 1, sizeof *file->dependencies);
        file->dependencies[file->dependency_count++] = str_copy_n((const char *)field.data, field.size);
    }
    char *package = text_field(data, size, FILE_PACKAGE);
    bool good = add_symbols(descriptors, KIND_FILE, package, data, size);
    free(package);
    return good;
}

struct error *descriptors_open(const uint8_t *set, size_t size, struct descriptors **ret_descriptors)
{
    struct descriptors *descriptors = mem_new(struct descriptors);
    struct wire wire = {set, set + size};
    struct wire_field field;
    enum wire_result result;
    bool good = true;
    while (good && (result = wire_next(&wire, &field)) == WIRE_FIELD)
        if (field.number == SET_FILE && field.type == WIRE_LENGTH)
            good = add_file(descriptors, field.data, field.size);
    if (!good || result == WIRE_BROKEN) {
        descriptors_close(descriptors);
        return error_make(ERROR_KIND_INTERNAL, "read descriptor set", NULL, "it is no FileDescriptorSet");
    }
    *ret_descriptors = descriptors;
    return NULL;
}

void descriptors_close(struct descriptors *descriptors)
{
    if (descriptors == NULL)
        return;
    for (size_t i = 0; i < descriptors->file_count; i++) {
        struct descriptor_file *file = descriptors->files[i];
        for (size_t j = 0; j < file->dependency_count; j++)
            free(file->dependencies[j]);
        free(file->dependencies);
        free(file->name);
        free(file);
    }
    for (size_t i = 0; i < descriptors->symbol_count; i++)
        free(descriptors->symbols[i].name);
    for (size_t i = 0; i < descriptors->copy_count; i++)
        buffer_free(&descriptors->copies[i]);
    free(descriptors->copies);
    free(descriptors->symbols);
    free(descriptors->files);
    free(descriptors);
}

/* ---- aliases ---- */

struct renaming {
    const char *from, *to;           /* packages */
    const char *from_path, *to_path; /* the same with slashes */
};

/* `text` with the leading `from` replaced, when that is a whole name or path in it. */
static void add_renamed(struct buffer *out, uint32_t number, const struct wire_field *field, const char *from,
                        const char *to, char separator)
{
    const char *text = (const char *)field->data;
    size_t dot = field->size > 0 && text[0] == '.' && separator == '.', size = strlen(from);
    bool match = field->size >= dot + size && memcmp(text + dot, from, size) == 0 &&
                 (field->size == dot + size || text[dot + size] == separator);
    struct buffer renamed = {0};
    buffer_add(&renamed, text, match ? dot : field->size);
    if (match) {
        buffer_add_text(&renamed, to);
        buffer_add(&renamed, text + dot + size, field->size - dot - size);
    }
    wire_add(out, number, renamed.data, renamed.size);
    buffer_free(&renamed);
}

/* Copies a descriptor with its names changed. */
static void add_copy(struct buffer *out, enum kind kind, const uint8_t *data, size_t size,
                     const struct renaming *renaming)
{
    struct wire wire = {data, data + size};
    struct wire_field field;
    while (wire_next(&wire, &field) == WIRE_FIELD) {
        enum kind child = field.type == WIRE_LENGTH ? child_of(kind, field.number) : KIND_NONE;
        if (child == KIND_REFERENCE) {
            add_renamed(out, field.number, &field, renaming->from, renaming->to, '.');
        } else if (child == KIND_PATH) {
            add_renamed(out, field.number, &field, renaming->from_path, renaming->to_path, '/');
        } else if (child == KIND_NONE || child == KIND_LEAF) {
            buffer_add(out, field.start, (size_t)(wire.at - field.start));
        } else {
            struct buffer inner = {0};
            add_copy(&inner, child, field.data, field.size, renaming);
            wire_add(out, field.number, inner.data, inner.size);
            buffer_free(&inner);
        }
    }
}

/* "a.b.Service" -> "a.b", or with another separator "a/b". */
static char *package_of(const char *service, char separator)
{
    const char *dot = strrchr(service, '.');
    char *package = str_copy_n(service, dot != NULL ? (size_t)(dot - service) : 0);
    for (char *at = package; *at != 0; at++)
        if (*at == '.')
            *at = separator;
    return package;
}

bool descriptors_add_alias(struct descriptors *descriptors, const char *service, const char *alias)
{
    const struct descriptor_file *file = descriptors_symbol(descriptors, service);
    if (file == NULL || descriptors_symbol(descriptors, alias) != NULL)
        return false;
    char *from = package_of(service, '.'), *to = package_of(alias, '.');
    char *from_path = package_of(service, '/'), *to_path = package_of(alias, '/');
    const struct renaming renaming = {from, to, from_path, to_path};
    descriptors->copies =
        mem_resize_array(descriptors->copies, descriptors->copy_count + 1, sizeof *descriptors->copies);
    struct buffer *copy = &descriptors->copies[descriptors->copy_count++];
    *copy = (struct buffer){0};
    add_copy(copy, KIND_FILE, file->data, file->size, &renaming);
    free(from);
    free(to);
    free(from_path);
    free(to_path);
    return add_file(descriptors, copy->data, copy->size);
}

/* ---- finding ---- */

const struct descriptor_file *descriptors_file(const struct descriptors *descriptors, const char *name)
{
    for (size_t i = 0; i < descriptors->file_count; i++)
        if (strcmp(descriptors->files[i]->name, name) == 0)
            return descriptors->files[i];
    return NULL;
}

static const struct symbol *find(const struct descriptors *descriptors, const char *name)
{
    name += name[0] == '.';
    for (size_t i = 0; i < descriptors->symbol_count; i++)
        if (strcmp(descriptors->symbols[i].name, name) == 0)
            return &descriptors->symbols[i];
    return NULL;
}

const struct descriptor_file *descriptors_symbol(const struct descriptors *descriptors, const char *symbol)
{
    const struct symbol *found = find(descriptors, symbol);
    return found != NULL ? descriptors->files[found->file] : NULL;
}

bool descriptors_is_message(const struct descriptors *descriptors, const char *symbol)
{
    const struct symbol *found = find(descriptors, symbol);
    return found != NULL && found->is_message;
}

size_t descriptors_closure(const struct descriptors *descriptors, const struct descriptor_file *file,
                           const struct descriptor_file ***ret_files)
{
    const struct descriptor_file **files = mem_new_array(descriptors->file_count, const struct descriptor_file *);
    size_t count = 0;
    files[count++] = file;
    for (size_t done = 0; done < count; done++) {
        for (size_t i = 0; i < files[done]->dependency_count; i++) {
            const struct descriptor_file *needed = descriptors_file(descriptors, files[done]->dependencies[i]);
            size_t at = 0;
            while (at < count && files[at] != needed)
                at++;
            if (needed != NULL && at == count)
                files[count++] = needed;
        }
    }
    *ret_files = files;
    return count;
}
