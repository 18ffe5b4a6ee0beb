/* What must survive a crash: one document per object in a folder, replaced at once (written beside, flushed, renamed).
 *
 * A document that a newer hcsd wrote, that is damaged or that cannot be read is told (event STATE_REFUSED), left untouched, and
 * never written over: saving under its key is refused too. Windows only. Thread-safe for different keys; saves and
 * removals of one key are the caller's to order. Calls block for as long as the disk does; files that scanners hold are
 * retried for about a second. */
#ifndef HCSD_JOURNAL_JOURNAL_H
#define HCSD_JOURNAL_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "journal/document.h"

struct journal;

/* Opens the folder, making it if needed, and removes temporary files that a crash left. `version` is the newest of this
 * kind that the caller knows, and the one it writes. */
struct error *journal_open(const char *folder, const char *kind, int version,
                           struct journal **ret_journal) ERROR_MUST_CHECK;
void journal_free(struct journal *journal);

/* On a full disk the reserve file is given up for this document: what must be remembered is, until the reserve is used up.
 * RESOURCE_EXHAUSTED when even that was not enough, and for a document of more than 4 MiB; FAILED_PRECONDITION or DATA_LOSS when a refused document is there. */
struct error *journal_save(struct journal *journal, const struct journal_key *key, const json_t *body) ERROR_MUST_CHECK;
/* NOT_FOUND when there is none. */
struct error *journal_load(struct journal *journal, const struct journal_key *key,
                           struct journal_document *ret_document) ERROR_MUST_CHECK;
/* An absent document is no error; a refused one is not removed. */
struct error *journal_remove(struct journal *journal, const struct journal_key *key) ERROR_MUST_CHECK;

/* All documents; refused ones are left out, told as events and named. */
struct journal_list {
    struct journal_document *documents;
    size_t count;
    char **refused; /* file names */
    size_t refused_count;
};
struct error *journal_list(struct journal *journal, struct journal_list *ret_list) ERROR_MUST_CHECK;
void journal_list_free(struct journal_list *list);

/* Whether a refused document is one of this id, in any namespace or none: what it tells of may be there and is not to be taken
 * for somebody's leftover. */
bool journal_refuses_id(struct journal *journal, const char *id);

/* Makes sure of the folder's reserve: a file of 1 MB of real bytes that journal_save deletes when the disk is full. Called at
 * start; once it was used, journal_remove makes it anew when there is room. */
struct error *journal_reserve(struct journal *journal) ERROR_MUST_CHECK;

#endif
