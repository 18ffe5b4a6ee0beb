#include "journal/journal.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <windows.h>

#include "base/event.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/path.h"

#define DOCUMENT_MAX  (4u << 20)
#define DOCUMENTS_MAX 100000
#define RESERVE_NAME  "reserve.bin"
#define RESERVE_SIZE  (1u << 20)

struct journal {
    char *folder, *kind;
    int version;
    /* Names of documents that were refused: they are never written over. */
    SRWLOCK lock;
    char **refused;
    size_t refused_count;
    _Atomic bool reserve_used;
};

static bool has_suffix(const char *name, const char *suffix)
{
    size_t size = strlen(name), tail = strlen(suffix);
    return size >= tail && strcmp(name + size - tail, suffix) == 0;
}

static void refuse(struct journal *journal, const char *name, const struct error *error)
{
    bool known = false;
    AcquireSRWLockExclusive(&journal->lock);
    for (size_t i = 0; i < journal->refused_count; i++)
        known = known || strcmp(journal->refused[i], name) == 0;
    if (!known) {
        journal->refused = mem_resize_array(journal->refused, journal->refused_count + 1, sizeof journal->refused[0]);
        journal->refused[journal->refused_count++] = str_copy(name);
    }
    ReleaseSRWLockExclusive(&journal->lock);
    if (known)
        return;
    char *path = path_join(journal->folder, name);
    event_emit(EVENT_STATE_REFUSED, path, error->message);
    free(path);
}

static struct error *check_not_refused(struct journal *journal, const char *name)
{
    bool refused = false;
    AcquireSRWLockShared(&journal->lock);
    for (size_t i = 0; i < journal->refused_count; i++)
        refused = refused || strcmp(journal->refused[i], name) == 0;
    ReleaseSRWLockShared(&journal->lock);
    if (!refused)
        return NULL;
    return error_make(ERROR_KIND_FAILED_PRECONDITION, "write document", name,
                      "a document that this hcsd cannot read has that name; it is left untouched");
}

bool journal_refuses_id(struct journal *journal, const char *id)
{
    bool refuses = false;
    AcquireSRWLockShared(&journal->lock);
    for (size_t i = 0; i < journal->refused_count && !refuses; i++) {
        char *space = NULL, *refused = NULL;
        refuses = journal_name_key(journal->refused[i], &space, &refused) && strcmp(refused, id) == 0;
        free(space);
        free(refused);
    }
    ReleaseSRWLockShared(&journal->lock);
    return refuses;
}

struct error *journal_open(const char *folder, const char *kind, int version, struct journal **ret_journal)
{
    struct file_list files = {0};
    struct error *error = file_ensure_folder(folder);
    if (error == NULL)
        error = file_list(folder, DOCUMENTS_MAX, &files);
    if (error != NULL)
        return error_wrap(error, "open the journal");
    for (size_t i = 0; i < files.count; i++) {
        if (files.entries[i].directory || !file_is_temporary(files.entries[i].name))
            continue;
        char *path = path_join(folder, files.entries[i].name);
        error_free(file_delete(path, NULL));
        free(path);
    }
    file_list_free(&files);

    struct journal *journal = mem_new(struct journal);
    journal->folder = str_copy(folder);
    journal->kind = str_copy(kind);
    journal->version = version;
    InitializeSRWLock(&journal->lock);
    *ret_journal = journal;
    return NULL;
}

void journal_free(struct journal *journal)
{
    if (journal == NULL)
        return;
    for (size_t i = 0; i < journal->refused_count; i++)
        free(journal->refused[i]);
    free(journal->refused);
    free(journal->folder);
    free(journal->kind);
    free(journal);
}

static struct error *read_named(struct journal *journal, const char *name, struct journal_document *ret_document)
{
    struct buffer content = {0};
    char *path = path_join(journal->folder, name), *right_name = NULL;
    struct journal_document document = {0};
    struct error *error = file_read(path, DOCUMENT_MAX, &content);
    if (error != NULL && error->kind == ERROR_KIND_NOT_FOUND)
        goto out;
    if (error == NULL)
        error =
            journal_decode((const char *)content.data, content.size, journal->kind, journal->version, name, &document);
    if (error == NULL) {
        struct journal_key key = {document.space, document.id};
        error = journal_name(&key, &right_name);
    }
    if (error == NULL && strcmp(right_name, name) != 0)
        error = error_make(ERROR_KIND_DATA_LOSS, "read document", name, "it belongs into %s", right_name);
    if (error == NULL) {
        *ret_document = document;
        document = (struct journal_document){0};
    } else {
        refuse(journal, name, error);
    }

out:
    journal_document_free(&document);
    buffer_free(&content);
    free(right_name);
    free(path);
    return error;
}

struct error *journal_load(struct journal *journal, const struct journal_key *key,
                           struct journal_document *ret_document)
{
    char *name = NULL;
    struct error *error = journal_name(key, &name);
    if (error == NULL)
        error = read_named(journal, name, ret_document);
    free(name);
    return error;
}

static struct error *replace(struct journal *journal, const char *path, const char *text, size_t size)
{
    struct error *error = file_replace(path, text, size, NULL);
    if (error == NULL || error->kind != ERROR_KIND_RESOURCE_EXHAUSTED)
        return error;
    char *reserve = path_join(journal->folder, RESERVE_NAME);
    struct file_info info;
    struct error *absent = file_info(reserve, &info);
    if (absent == NULL) {
        log_debug("journal: the disk is full; the reserve is given up for %s", path);
        atomic_store(&journal->reserve_used, true);
        error_free(file_delete(reserve, NULL));
        error_free(error);
        error = file_replace(path, text, size, NULL);
    }
    error_free(absent);
    free(reserve);
    return error;
}

struct error *journal_save(struct journal *journal, const struct journal_key *key, const json_t *body)
{
    char *name = NULL, *path = NULL, *text = NULL;
    size_t size = 0;
    struct error *error = journal_name(key, &name);
    if (error != NULL)
        return error;
    error = check_not_refused(journal, name);
    if (error != NULL)
        goto out;
    error = journal_encode(journal->kind, journal->version, key, body, &text, &size);
    if (error == NULL && size > DOCUMENT_MAX)
        error = error_make(ERROR_KIND_RESOURCE_EXHAUSTED, "write document", name,
                           "it would have %zu bytes; %u are read again", size, DOCUMENT_MAX);
    if (error != NULL)
        goto out;
    path = path_join(journal->folder, name);
    error = replace(journal, path, text, size);

out:
    free(text);
    free(path);
    free(name);
    return error_wrap(error, "journal %s", key->id);
}

struct error *journal_remove(struct journal *journal, const struct journal_key *key)
{
    char *name = NULL;
    struct error *error = journal_name(key, &name);
    if (error != NULL)
        return error;
    error = check_not_refused(journal, name);
    if (error == NULL) {
        char *path = path_join(journal->folder, name);
        error = file_delete(path, NULL);
        free(path);
    }
    free(name);
    if (error == NULL && atomic_exchange(&journal->reserve_used, false)) {
        struct error *full = journal_reserve(journal);
        if (full != NULL)
            atomic_store(&journal->reserve_used, true);
        error_free(full);
    }
    return error;
}

struct error *journal_list(struct journal *journal, struct journal_list *ret_list)
{
    struct file_list files = {0};
    struct error *error = file_list(journal->folder, DOCUMENTS_MAX, &files);
    if (error != NULL)
        return error_wrap(error, "list the journal");
    struct journal_list list = {.documents = mem_new_array(files.count + 1, struct journal_document),
                                .refused = mem_new_array(files.count + 1, char *)};
    for (size_t i = 0; i < files.count; i++) {
        const struct file_entry *file = &files.entries[i];
        if (file->directory || !has_suffix(file->name, ".json"))
            continue;
        struct error *refused = read_named(journal, file->name, &list.documents[list.count]);
        if (refused == NULL)
            list.count++;
        else if (refused->kind != ERROR_KIND_NOT_FOUND) /* removed since the folder was listed */
            list.refused[list.refused_count++] = str_copy(file->name);
        error_free(refused);
    }
    file_list_free(&files);
    *ret_list = list;
    return NULL;
}

void journal_list_free(struct journal_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        journal_document_free(&list->documents[i]);
    for (size_t i = 0; i < list->refused_count; i++)
        free(list->refused[i]);
    free(list->documents);
    free(list->refused);
    *list = (struct journal_list){0};
}

struct error *journal_reserve(struct journal *journal)
{
    char *path = path_join(journal->folder, RESERVE_NAME);
    struct file_info info;
    struct error *error = file_info(path, &info);
    if (error == NULL && info.size == RESERVE_SIZE)
        goto out;
    error_free(error);
    /* Real bytes that no file system compresses away. */
    uint8_t *bytes = mem_zero(RESERVE_SIZE);
    uint32_t state = 1;
    for (size_t i = 0; i < RESERVE_SIZE; i++) {
        state = state * 1664525 + 1013904223;
        bytes[i] = (uint8_t)(state >> 24);
    }
    error = file_replace(path, bytes, RESERVE_SIZE, NULL);
    free(bytes);

out:
    free(path);
    return error;
}
