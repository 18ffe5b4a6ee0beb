/* Typed reading of a JSON tree; the first thing that is wrong is kept, with its path. Internal to lib/spec. Null counts as
 * absent, as Go's encoders and decoders have it. */
#ifndef HCSD_SPEC_READ_H
#define HCSD_SPEC_READ_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct reader {
    struct error *error; /* all functions do nothing and give zero once it is set */
};

/* A value and how it was reached; lives on the stack of whoever goes down the tree. */
struct place {
    const struct place *parent;
    const char *name; /* NULL: an element */
    size_t index;
    json_t *json; /* NULL: absent */
};

/* Parses a whole text; RESOURCE_EXHAUSTED above SPEC_SIZE_LIMIT, INVALID_ARGUMENT with line and column else. */
struct error *read_json(const char *text, size_t size, json_t **ret_json) ERROR_MUST_CHECK;

/* Notes an error: "PATH REASON". */
void read_fail(struct reader *reader, const struct place *place, const char *format, ...) ERROR_PRINTF(3, 4);

struct place read_object(struct reader *reader, const struct place *parent, const char *name);
struct place read_array(struct reader *reader, const struct place *parent, const char *name);
struct place read_element(const struct place *array, size_t index);
/* For an element: checks that it is an object. */
void read_expect_object(struct reader *reader, const struct place *place);

const char *read_text(struct reader *reader, const struct place *parent, const char *name); /* "" when absent */
bool read_bool(struct reader *reader, const struct place *parent, const char *name);
uint64_t read_number(struct reader *reader, const struct place *parent, const char *name, uint64_t max);
/* An array of texts; the caller frees the array, not the texts. NULL when absent or empty. */
const char **read_texts(struct reader *reader, const struct place *parent, const char *name, size_t *ret_count);

#endif
