#include "import.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "base/memory.h"
#include "base/text.h"
#include "layer_path.h"
#include "staging.h"
#include "transport.h"

#define SHARE_ALL        (FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE)
#define TOMBSTONES_LIMIT (64u << 20)

static bool name_is(const struct tree_entry *entry, const wchar_t *name)
{
    return entry->units == wcslen(name) && wcsncmp(entry->name, name, entry->units) == 0;
}

/* Opens a name, by its id when it does not open. */
static struct error *open_entry(HANDLE folder, const struct tree_entry *entry, enum tree_what what, ACCESS_MASK access,
                                HANDLE *ret_handle)
{
    struct error *error = tree_open(folder, entry->name, entry->units, what, access, SHARE_ALL, ret_handle);
    if (error == NULL)
        return NULL;
    error_free(error);
    return tree_open_id(folder, entry->id, access, SHARE_ALL, ret_handle);
}

static struct error *remove_name(HANDLE folder, const wchar_t *name, size_t units)
{
    HANDLE handle = NULL;
    struct error *error =
        tree_open(folder, name, units, TREE_ANY, DELETE | TREE_LIST | FILE_WRITE_ATTRIBUTES, SHARE_ALL, &handle);
    FILE_STANDARD_INFO info = {0};

    if (error != NULL) { /* not there */
        error_free(error);
        return NULL;
    }
    if (GetFileInformationByHandleEx(handle, FileStandardInfo, &info, sizeof info) && info.Directory)
        error = tree_empty(handle);
    if (error == NULL)
        error = tree_delete(handle);
    CloseHandle(handle);
    return error;
}

/* Puts what `source` has and `target` lacks there. */
static struct error *merge_parent(HANDLE source, const struct target *target, struct work_fault *fault)
{
    struct tree_folder list = {0};
    struct tree_folder have = {0};
    struct error *error = tree_list(source, &list);

    if (error == NULL)
        error = tree_list(target->folder, &have);
    for (size_t i = 0; i < list.count && error == NULL; i++) {
        const struct tree_entry *entry = &list.entries[i];
        const struct tree_entry *mine = tree_find(&have, entry->name, entry->units);
        HANDLE from = NULL;
        struct target to = {0};
        error = gate_strike_due(fault, false);
        if (error == NULL && !tree_is_folder(entry)) {
            if (mine == NULL)
                error = transport_copy_plain(source, entry, target);
        } else if (error == NULL && (mine == NULL || tree_is_folder(mine))) {
            error = open_entry(source, entry, TREE_FOLDER, TREE_LIST, &from);
            if (error == NULL)
                error = target_make(target, entry->name, entry->units, &to);
            if (error == NULL)
                error = merge_parent(from, &to, fault);
            if (error == NULL && mine == NULL)
                error = tree_set_times(to.folder, entry->created, entry->accessed, entry->written, 0);
        }
        if (from != NULL)
            CloseHandle(from);
        target_close(&to);
    }
    tree_free(&list);
    tree_free(&have);
    return error;
}

/* One line: a path relative to Files, with a backslash in front. */
static struct error *apply_tombstone(HANDLE files, const char *line, size_t length)
{
    size_t units = 0;
    char16_t *path = text_to_utf16_n(line + 1, length - 1, &units);
    struct error *error;

    if (path == NULL)
        return error_win32(ERROR_INVALID_DATA, "read tombstones.txt", NULL, "a path is no text");
    error = remove_name(files, (const wchar_t *)path, units);
    free(path);
    return error;
}

static struct error *apply_tombstones(HANDLE folder, HANDLE files)
{
    static const char head[] = "\xEF\xBB\xBF"
                               "Version 1.0";
    HANDLE file = NULL;
    struct error *error = tree_open(folder, L"tombstones.txt", 14, TREE_FILE, TREE_READ, SHARE_ALL, &file);
    LARGE_INTEGER size = {.QuadPart = 0};
    char *text;
    size_t got = 0;

    if (error != NULL) { /* none */
        error_free(error);
        return NULL;
    }
    GetFileSizeEx(file, &size);
    if (size.QuadPart > TOMBSTONES_LIMIT)
        size.QuadPart = TOMBSTONES_LIMIT;
    text = mem_zero((size_t)size.QuadPart + 1);
    error = tree_read(file, text, (size_t)size.QuadPart, &got);
    CloseHandle(file);
    if (error == NULL && strncmp(text, head, sizeof head - 1) != 0)
        error = error_win32(ERROR_INVALID_DATA, "read tombstones.txt", NULL, "the first line is not Version 1.0");
    for (char *line = strchr(text, '\n'); error == NULL && line != NULL;) {
        char *end;
        size_t length;
        line++;
        end = strchr(line, '\n');
        length = end == NULL ? strlen(line) : (size_t)(end - line);
        if (length > 0 && line[length - 1] == '\r')
            length--;
        if (length > 1)
            error = apply_tombstone(files, line, length);
        line = end;
    }
    free(text);
    return error;
}

static struct error *apply_file(HANDLE staged, const struct tree_entry *entry, const struct target *target)
{
    HANDLE from = NULL;
    HANDLE to = NULL;
    struct error *error = remove_name(target->folder, entry->name, entry->units);

    if (error == NULL)
        error = open_entry(staged, entry, TREE_FILE, TREE_READ, &from);
    if (error == NULL)
        error = target_create(target, entry->name, entry->units, &to);
    if (error == NULL)
        error = transport_unstage(from, entry, to);
    if (from != NULL)
        CloseHandle(from);
    if (to != NULL)
        CloseHandle(to);
    return error;
}

static struct error *apply_changes(HANDLE staged, const struct target *target, struct work_fault *fault);

/* A folder: its attributes are in its companion; its times too, set after what is below. */
static struct error *apply_folder(HANDLE staged, const struct tree_folder *list, const struct tree_entry *entry,
                                  const struct target *target, struct work_fault *fault)
{
    size_t units = entry->units + wcslen(TRANSPORT_SIDECAR);
    wchar_t *name = mem_new_array(units + 1, wchar_t);
    const struct tree_entry *sidecar;
    uint32_t attributes = 0;
    HANDLE from = NULL;
    struct target to = {0};
    HANDLE side = NULL;
    struct error *error;

    memcpy(name, entry->name, entry->units * sizeof *name);
    memcpy(name + entry->units, TRANSPORT_SIDECAR, wcslen(TRANSPORT_SIDECAR) * sizeof *name);
    sidecar = tree_find(list, name, units);
    free(name);
    if (sidecar == NULL)
        return error_win32(ERROR_FILE_NOT_FOUND, "ImportLayer", NULL, "a folder has no companion with its attributes");
    error = open_entry(staged, sidecar, TREE_FILE, TREE_READ, &side);
    if (error == NULL)
        error = transport_read_attributes(side, &attributes);
    if (error == NULL)
        error = open_entry(staged, entry, TREE_FOLDER, TREE_LIST, &from);
    if (error == NULL) {
        error = target_make(target, entry->name, entry->units, &to);
        if (error != NULL) { /* a file is in its place */
            error_free(error);
            error = remove_name(target->folder, entry->name, entry->units);
            if (error == NULL)
                error = target_make(target, entry->name, entry->units, &to);
        }
    }
    if (error == NULL)
        error = apply_changes(from, &to, fault);
    if (error == NULL)
        error = tree_set_times(to.folder, sidecar->created, sidecar->accessed, sidecar->written,
                               attributes & (FILE_ATTRIBUTE_HIDDEN | FILE_ATTRIBUTE_SYSTEM));
    if (from != NULL)
        CloseHandle(from);
    target_close(&to);
    if (side != NULL)
        CloseHandle(side);
    return error;
}

static struct error *apply_changes(HANDLE staged, const struct target *target, struct work_fault *fault)
{
    struct tree_folder list = {0};
    struct error *error = tree_list(staged, &list);

    for (size_t i = 0; i < list.count && error == NULL; i++) {
        const struct tree_entry *entry = &list.entries[i];
        error = gate_strike_due(fault, false);
        if (error != NULL || transport_is_sidecar(entry))
            continue;
        error = tree_is_folder(entry) ? apply_folder(staged, &list, entry, target, fault)
                                      : apply_file(staged, entry, target);
    }
    tree_free(&list);
    return error;
}

/* Files, from nothing: the parents' views, without what is tombstoned, with the changes. */
static struct error *make_files(const struct target *layer, const wchar_t *const *parents, size_t count, HANDLE folder,
                                struct work_fault *fault)
{
    struct target files = {0};
    HANDLE staged = NULL;
    struct error *error = target_make(layer, L"Files", 5, &files);

    count = layer_path_count_parents(parents, count);
    for (size_t i = 0; i < count && error == NULL; i++) {
        wchar_t *path = layer_path_join(parents[i], L"Files");
        HANDLE parent = NULL;
        error_free(tree_open(NULL, path, 0, TREE_FOLDER, TREE_LIST, SHARE_ALL, &parent)); /* NULL: it has nothing */
        if (parent != NULL)
            error = merge_parent(parent, &files, fault);
        if (parent != NULL)
            CloseHandle(parent);
        free(path);
    }
    if (error == NULL)
        error = apply_tombstones(folder, files.folder);
    if (error == NULL)
        error = tree_open(folder, L"Files", 5, TREE_FOLDER, TREE_LIST, SHARE_ALL, &staged);
    if (error == NULL)
        error = apply_changes(staged, &files, fault);
    if (staged != NULL)
        CloseHandle(staged);
    target_close(&files);
    return error;
}

static struct error *make_mark(const struct target *layer)
{
    HANDLE file = NULL;
    struct error *error = target_create(layer, LAYER_MERGED_MARK, wcslen(LAYER_MERGED_MARK), &file);

    if (file != NULL)
        CloseHandle(file);
    if (error != NULL && (error->code == ERROR_ALREADY_EXISTS || error->code == ERROR_FILE_EXISTS)) {
        error_free(error);
        error = NULL;
    }
    return error;
}

struct error *import_layer(const wchar_t *layer, const wchar_t *const *parents, size_t count, const wchar_t *folder,
                           struct work_fault *fault)
{
    struct tree_folder list = {0};
    struct target target = {0};
    HANDLE source = NULL;
    struct error *error = target_open(layer, &target);

    if (error == NULL)
        error = tree_open(NULL, folder, 0, TREE_FOLDER, TREE_LIST, SHARE_ALL, &source);
    if (error == NULL)
        error = make_files(&target, parents, count, source, fault);
    if (error == NULL)
        error = make_mark(&target);
    if (error == NULL)
        error = tree_list(source, &list);
    for (size_t i = 0; i < list.count && error == NULL; i++) {
        const struct tree_entry *entry = &list.entries[i];
        HANDLE from = NULL;
        struct target to = {0};
        if (name_is(entry, L"Files") || name_is(entry, L"tombstones.txt") || !tree_is_folder(entry))
            continue;
        error = open_entry(source, entry, TREE_FOLDER, TREE_LIST, &from);
        if (error == NULL)
            error = target_make(&target, entry->name, entry->units, &to);
        if (error == NULL)
            error = staging_copy_plain(from, &to, fault);
        if (from != NULL)
            CloseHandle(from);
        target_close(&to);
    }
    tree_free(&list);
    if (source != NULL)
        CloseHandle(source);
    target_close(&target);
    return error;
}
