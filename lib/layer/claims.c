#include "layer/claims.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/path.h"

/* A few hundred at most (one per mounted layer and its parents), so a list will do. */
struct claim {
    char *key;
    char *holder;
    enum claim_mode mode;
};

struct claims {
    struct claim *rows;
    size_t count, capacity;
};

static const bool mode_excludes[3][3] = {
    [CLAIM_OWN] = {[CLAIM_OWN] = true, [CLAIM_USE] = false, [CLAIM_DESTROY] = true},
    [CLAIM_USE] = {[CLAIM_OWN] = false, [CLAIM_USE] = false, [CLAIM_DESTROY] = true},
    [CLAIM_DESTROY] = {[CLAIM_OWN] = true, [CLAIM_USE] = true, [CLAIM_DESTROY] = true},
};
static const char *const mode_words[3] = {
    [CLAIM_OWN] = "in use by", [CLAIM_USE] = "a parent of what is in use by", [CLAIM_DESTROY] = "being destroyed by"};

static struct error *claim_key(const char *path, char **ret_key)
{
    char *key = NULL;
    /* A verbatim path to a drive is the same path to what layers may be called. */
    bool verbatim = strncmp(path, "\\\\?\\", 4) == 0 && path[4] != '\0' && path[5] == ':';
    struct error *error = path_verbatim(verbatim ? path + 4 : path, &key);
    if (error != NULL)
        return error;
    for (char *c = key; *c != '\0'; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
    *ret_key = key;
    return NULL;
}

struct claims *claims_new(void)
{
    return mem_new(struct claims);
}

static void claim_drop(struct claims *claims, size_t index)
{
    free(claims->rows[index].key);
    free(claims->rows[index].holder);
    claims->rows[index] = claims->rows[--claims->count];
}

void claims_free(struct claims *claims)
{
    if (claims == NULL)
        return;
    while (claims->count > 0)
        claim_drop(claims, claims->count - 1);
    free(claims->rows);
    free(claims);
}

struct error *claims_take(struct claims *claims, const char *path, enum claim_mode mode, const char *holder)
{
    char *key = NULL;
    struct error *error = claim_key(path, &key);
    if (error != NULL)
        return error;
    for (size_t i = 0; i < claims->count; i++) {
        const struct claim *row = &claims->rows[i];
        if (mode_excludes[mode][row->mode] && strcmp(row->key, key) == 0) {
            free(key);
            return error_make(ERROR_KIND_FAILED_PRECONDITION, "claim layer", path, "the layer is %s %s",
                              mode_words[row->mode], row->holder);
        }
    }
    if (claims->count == claims->capacity) {
        claims->capacity = claims->capacity == 0 ? 16 : claims->capacity * 2;
        claims->rows = mem_resize_array(claims->rows, claims->capacity, sizeof claims->rows[0]);
    }
    claims->rows[claims->count++] = (struct claim){.key = key, .holder = str_copy(holder), .mode = mode};
    return NULL;
}

bool claims_release(struct claims *claims, const char *path, enum claim_mode mode, const char *holder)
{
    char *key = NULL;
    struct error *error = claim_key(path, &key);
    if (error != NULL) {
        error_free(error);
        return false;
    }
    bool found = false;
    for (size_t i = 0; i < claims->count && !found; i++) {
        const struct claim *row = &claims->rows[i];
        if (row->mode == mode && strcmp(row->key, key) == 0 && strcmp(row->holder, holder) == 0) {
            claim_drop(claims, i);
            found = true;
        }
    }
    free(key);
    return found;
}

void claims_release_all(struct claims *claims, const char *holder)
{
    for (size_t i = claims->count; i > 0; i--)
        if (strcmp(claims->rows[i - 1].holder, holder) == 0)
            claim_drop(claims, i - 1);
}

void claims_rename(struct claims *claims, const char *holder, const char *new_holder)
{
    for (size_t i = 0; i < claims->count; i++) {
        if (strcmp(claims->rows[i].holder, holder) != 0)
            continue;
        free(claims->rows[i].holder);
        claims->rows[i].holder = str_copy(new_holder);
    }
}

const char *claims_holder(const struct claims *claims, const char *path)
{
    char *key = NULL;
    struct error *error = claim_key(path, &key);
    if (error != NULL) {
        error_free(error);
        return NULL;
    }
    const char *holder = NULL;
    for (size_t i = 0; i < claims->count; i++) {
        const struct claim *row = &claims->rows[i];
        if (strcmp(row->key, key) == 0 && (holder == NULL || row->mode != CLAIM_USE))
            holder = row->holder;
    }
    free(key);
    return holder;
}

const char *claims_holder_below(const struct claims *claims, const char *path)
{
    char *key = NULL;
    struct error *error = claim_key(path, &key);
    if (error != NULL) {
        error_free(error);
        return NULL;
    }
    const char *holder = NULL;
    size_t size = strlen(key);
    for (size_t i = 0; i < claims->count && holder == NULL; i++) {
        const char *row = claims->rows[i].key;
        if (strncmp(row, key, size) == 0 && (row[size] == '\0' || row[size] == '\\'))
            holder = claims->rows[i].holder;
    }
    free(key);
    return holder;
}

bool claims_same_layer(const char *a, const char *b)
{
    char *key_a = NULL, *key_b = NULL;
    struct error *error = claim_key(a, &key_a);
    error_keep_first(&error, claim_key(b, &key_b));
    bool same = error == NULL && strcmp(key_a, key_b) == 0;
    error_free(error);
    free(key_a);
    free(key_b);
    return same;
}

size_t claims_count(const struct claims *claims)
{
    return claims->count;
}
