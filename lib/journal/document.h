/* A document of the journal as text, and its name as a file. Pure; thread-safe.
 *
 * A document is one JSON object:
 *   {"kind": "job", "version": 1, "key": ["default", "web"], "checksum": "crc32:1a2b3c4d", "body": {…}}
 * The checksum is over the body as jansson writes it compact and with sorted keys: it finds a file that a power loss left
 * with the right size and zeros, and one that a person changed by half. */
#ifndef HCSD_JOURNAL_DOCUMENT_H
#define HCSD_JOURNAL_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "base/error.h"

/* What a document is of: one id, or an id in a namespace. */
struct journal_key {
    const char *space; /* NULL: none */
    const char *id;
};

/* The file's name: injective also where the file system ignores case, never a device name, at most JOURNAL_NAME_MAX bytes,
 * ASCII. Small letters, digits, `-`, `_` and inner dots stand for themselves, capital letters are small ones and a bit
 * mask at the end, all else is %xx; `~` separates: `web.json`, `default~web.json`, `web~~1.json` (id `Web`).
 * INVALID_ARGUMENT when a part is empty or the name would become too long. The caller frees *ret_name. */
#define JOURNAL_NAME_MAX 240
struct error *journal_name(const struct journal_key *key, char **ret_name) ERROR_MUST_CHECK;

/* The key of a file's name: of a document that cannot be read, this much is known. *ret_space is NULL when there is none; false:
 * no name that journal_name gives. The caller frees both. */
bool journal_name_key(const char *name, char **ret_space, char **ret_id);

/* The caller frees *ret_text (free). `body` is not taken. */
struct error *journal_encode(const char *kind, int version, const struct journal_key *key, const json_t *body,
                             char **ret_text, size_t *ret_size) ERROR_MUST_CHECK;

/* What was read. */
struct journal_document {
    int version; /* 1 to the version asked for */
    char *space; /* NULL: none */
    char *id;
    json_t *body; /* an object */
};
void journal_document_free(struct journal_document *document); /* its contents, not the struct */

/* DATA_LOSS: no document, damaged, of another kind. FAILED_PRECONDITION: written by a newer hcsd (version above `version`).
 * `name` is the file's, for the message. */
struct error *journal_decode(const char *text, size_t size, const char *kind, int version, const char *name,
                             struct journal_document *ret_document) ERROR_MUST_CHECK;

#endif
