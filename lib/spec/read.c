#include "spec/read.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "spec/spec.h"

#define OPERATION "read spec"

struct error *read_json(const char *text, size_t size, json_t **ret_json)
{
    if (size > SPEC_SIZE_LIMIT)
        return error_make(ERROR_KIND_RESOURCE_EXHAUSTED, OPERATION, NULL, "it has %zu bytes, more than the %u allowed",
                          size, SPEC_SIZE_LIMIT);
    json_error_t why;
    json_t *json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
    if (json == NULL)
        return error_make(ERROR_KIND_INVALID_ARGUMENT, OPERATION, NULL, "it is no JSON: line %d, column %d: %s",
                          why.line, why.column, why.text);
    *ret_json = json;
    return NULL;
}

static void add_path(struct buffer *path, const struct place *place)
{
    if (place == NULL)
        return;
    add_path(path, place->parent);
    if (place->name == NULL)
        buffer_add_format(path, "[%zu]", place->index);
    else if (place->name[0] != 0)
        buffer_add_format(path, "%s%s", path->size > 0 ? "." : "", place->name);
}

void read_fail(struct reader *reader, const struct place *place, const char *format, ...)
{
    if (reader->error != NULL)
        return;
    struct buffer path = {0};
    buffer_add_text(&path, "");
    add_path(&path, place);
    va_list arguments;
    va_start(arguments, format);
    char *reason = str_format_args(format, arguments);
    va_end(arguments);
    reader->error = error_make(ERROR_KIND_INVALID_ARGUMENT, OPERATION, NULL, "%s %s",
                               path.size > 0 ? (char *)path.data : "the document", reason);
    free(reason);
    buffer_free(&path);
}

static const char *type_name(const json_t *json)
{
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "text";
    case JSON_INTEGER:
        return "a number";
    case JSON_REAL:
        return "a number with a fraction";
    case JSON_TRUE:
    case JSON_FALSE:
        return "true or false";
    case JSON_NULL:
        break;
    }
    return "null";
}

static void expect(struct reader *reader, struct place *place, bool fits, const char *what)
{
    if (place->json == NULL || fits)
        return;
    read_fail(reader, place, "must be %s, not %s", what, type_name(place->json));
    place->json = NULL;
}

static struct place member(struct reader *reader, const struct place *parent, const char *name)
{
    struct place place = {.parent = parent, .name = name};
    if (reader->error == NULL && parent->json != NULL)
        place.json = json_object_get(parent->json, name);
    if (json_is_null(place.json))
        place.json = NULL;
    return place;
}

struct place read_object(struct reader *reader, const struct place *parent, const char *name)
{
    struct place place = member(reader, parent, name);
    expect(reader, &place, json_is_object(place.json), "an object");
    return place;
}

struct place read_array(struct reader *reader, const struct place *parent, const char *name)
{
    struct place place = member(reader, parent, name);
    expect(reader, &place, json_is_array(place.json), "an array");
    return place;
}

struct place read_element(const struct place *array, size_t index)
{
    return (struct place){.parent = array, .index = index, .json = json_array_get(array->json, index)};
}

void read_expect_object(struct reader *reader, const struct place *place)
{
    if (!json_is_object(place->json))
        read_fail(reader, place, "must be an object, not %s", type_name(place->json));
}

const char *read_text(struct reader *reader, const struct place *parent, const char *name)
{
    struct place place = member(reader, parent, name);
    expect(reader, &place, json_is_string(place.json), "text");
    return place.json == NULL ? "" : json_string_value(place.json);
}

bool read_bool(struct reader *reader, const struct place *parent, const char *name)
{
    struct place place = member(reader, parent, name);
    expect(reader, &place, json_is_boolean(place.json), "true or false");
    return json_is_true(place.json);
}

uint64_t read_number(struct reader *reader, const struct place *parent, const char *name, uint64_t max)
{
    struct place place = member(reader, parent, name);
    expect(reader, &place, json_is_integer(place.json), "a whole number");
    json_int_t value = json_integer_value(place.json);
    if (value < 0 || (uint64_t)value > max) {
        read_fail(reader, &place, "must be a number from 0 to %llu, not %lld", (unsigned long long)max,
                  (long long)value);
        return 0;
    }
    return (uint64_t)value;
}

const char **read_texts(struct reader *reader, const struct place *parent, const char *name, size_t *ret_count)
{
    struct place array = read_array(reader, parent, name);
    size_t count = json_array_size(array.json);
    const char **texts = count == 0 ? NULL : mem_new_array(count, const char *);
    for (size_t i = 0; i < count; i++) {
        struct place element = read_element(&array, i);
        if (!json_is_string(element.json))
            read_fail(reader, &element, "must be text, not %s", type_name(element.json));
        else
            texts[i] = json_string_value(element.json);
    }
    *ret_count = count;
    return texts;
}
