#include "staging.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "base/memory.h"
#include "base/text.h"
#include "layer_path.h"
#include "native.h"
#include "transport.h"

#define SHARE_ALL   (FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE)
#define DEPTH_LIMIT 500

/* A folder of the walk and, once something below it is staged, its place in the export. */
struct level {
    struct level *up; /* NULL: Files itself */
    const struct tree_entry *entry;
    struct target target; /* its folder is NULL while it is not staged */
    bool staged;          /* its time is to be set in the end */
};

struct staging {
    size_t parents;
    struct target files; /* <folder>\Files */
    struct target root;  /* <folder> */
    HANDLE source;       /* <layer>\Files, NULL when there is none */
    struct link_table *links;
    struct buffer tombstones;
    bool merges; /* there was a transport folder: names may be taken */
    struct work_fault *fault;
    char *path; /* of the folder at hand, relative to Files, with a backslash in front */
};

/* Files that were staged: id in the layer -> id in the staging. A second name becomes a hard link. */
struct link_table {
    uint64_t *keys;
    uint64_t *values;
    size_t capacity;
    size_t count;
};

static uint64_t *link_slot(struct link_table *table, uint64_t id, bool *ret_found)
{
    size_t at;

    if (table->count * 2 >= table->capacity) {
        struct link_table old = *table;
        table->capacity = old.capacity == 0 ? 1024 : old.capacity * 2;
        table->keys = mem_new_array(table->capacity, uint64_t);
        table->values = mem_new_array(table->capacity, uint64_t);
        for (size_t i = 0; i < old.capacity; i++) {
            if (old.keys[i] == 0)
                continue;
            at = old.keys[i] * 0x9E3779B97F4A7C15u % table->capacity;
            while (table->keys[at] != 0)
                at = (at + 1) % table->capacity;
            table->keys[at] = old.keys[i];
            table->values[at] = old.values[i];
        }
        free(old.keys);
        free(old.values);
    }
    at = id * 0x9E3779B97F4A7C15u % table->capacity;
    while (table->keys[at] != 0 && table->keys[at] != id)
        at = (at + 1) % table->capacity;
    *ret_found = table->keys[at] == id;
    if (!*ret_found) {
        table->keys[at] = id;
        table->count++;
    }
    return &table->values[at];
}

static bool is_taken(struct staging *staging, const struct error *error)
{
    return staging->merges && error != NULL &&
           (error->code == ERROR_ALREADY_EXISTS || error->code == ERROR_FILE_EXISTS);
}

/* Ends an error that only says that the transport folder brought it already. */
static struct error *unless_taken(struct staging *staging, struct error *error)
{
    if (!is_taken(staging, error))
        return error;
    error_free(error);
    return NULL;
}

/* Makes the folder of `level` in the export, with all above it. */
static struct error *level_stage(struct staging *staging, struct level *level)
{
    struct error *error;

    if (level->target.folder != NULL)
        return NULL;
    error = level_stage(staging, level->up);
    if (error != NULL)
        return error;
    level->staged = true;
    error = unless_taken(staging, transport_stage_sidecar(level->entry, &level->up->target));
    if (error == NULL)
        error = target_make(&level->up->target, level->entry->name, level->entry->units, &level->target);
    return error;
}

static struct error *level_end(struct level *level)
{
    struct error *error = NULL;
    if (level->staged && level->target.folder != NULL) {
        error = tree_set_times(level->target.folder, level->entry->created, level->entry->accessed,
                               level->entry->written, 0);
        target_close(&level->target);
    }
    return error;
}

/* Stages a file, or another name of one that was staged. */
static struct error *stage_file(struct staging *staging, HANDLE source, const struct tree_entry *entry,
                                struct level *level)
{
    struct error *error = level_stage(staging, level);
    bool known = false;
    uint64_t *staged;
    HANDLE file = NULL;

    if (error != NULL)
        return error;
    staged = link_slot(staging->links, entry->id, &known);
    if (known) {
        error = tree_open_id(staging->files.folder, *staged, FILE_READ_ATTRIBUTES | SYNCHRONIZE, SHARE_ALL, &file);
        if (error == NULL)
            error = tree_link(file, level->target.folder, entry->name, entry->units);
        if (file != NULL)
            CloseHandle(file);
        return unless_taken(staging, error);
    }
    return unless_taken(staging, transport_stage_file(source, entry, &level->target, staged));
}

static struct error *add_tombstone(struct staging *staging, const struct tree_entry *entry, struct level *level)
{
    char *name = text_from_utf16((const char16_t *)entry->name, entry->units);
    struct error *error = level_stage(staging, level);

    buffer_add_format(&staging->tombstones, "%s\\%s\n", staging->path, name);
    free(name);
    return error;
}

static bool differs(const struct tree_entry *entry, const struct tree_entry *parent)
{
    bool folder = (entry->attributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
    return entry->attributes != parent->attributes || entry->written != parent->written ||
           (!folder && entry->size != parent->size);
}

static struct error *walk(struct staging *staging, HANDLE source, HANDLE *parents, struct level *level, unsigned depth);

/* Goes into a folder of the layer, with those of the parents that it covers. */
static struct error *walk_below(struct staging *staging, HANDLE source, HANDLE *parents,
                                const struct tree_folder *lists, const struct tree_entry *entry, struct level *level,
                                unsigned depth)
{
    HANDLE *below = mem_new_array(staging->parents, HANDLE);
    HANDLE folder = NULL;
    char *path = staging->path;
    char *name = text_from_utf16((const char16_t *)entry->name, entry->units);
    struct error *error = tree_open(source, entry->name, entry->units, TREE_FOLDER, TREE_LIST, SHARE_ALL, &folder);

    for (size_t i = 0; i < staging->parents && error == NULL; i++) {
        const struct tree_entry *same = parents[i] == NULL ? NULL : tree_find(&lists[i], entry->name, entry->units);
        if (same == NULL)
            continue;
        if (!tree_is_folder(same))
            break; /* a file hides what farther parents have there */
        error = tree_open(parents[i], same->name, same->units, TREE_FOLDER, TREE_LIST, SHARE_ALL, &below[i]);
    }
    staging->path = str_format("%s\\%s", path, name);
    if (error == NULL)
        error = walk(staging, folder, below, level, depth + 1);
    free(staging->path);
    staging->path = path;
    for (size_t i = 0; i < staging->parents; i++)
        if (below[i] != NULL)
            CloseHandle(below[i]);
    if (folder != NULL)
        CloseHandle(folder);
    free(below);
    free(name);
    return error;
}

/* The counterpart of a name: in the nearest parent that has it. */
static const struct tree_entry *find_in_parents(const struct staging *staging, const struct tree_folder *lists,
                                                const struct tree_entry *entry, size_t below)
{
    for (size_t i = 0; i < staging->parents && i < below; i++) {
        const struct tree_entry *found = tree_find(&lists[i], entry->name, entry->units);
        if (found != NULL)
            return found;
    }
    return NULL;
}

static struct error *walk_entry(struct staging *staging, HANDLE source, HANDLE *parents,
                                const struct tree_folder *lists, const struct tree_entry *entry, struct level *level,
                                unsigned depth)
{
    const struct tree_entry *parent = find_in_parents(staging, lists, entry, SIZE_MAX);
    bool folder = (entry->attributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
    struct level inner = {.up = level, .entry = entry};
    struct error *error = gate_strike_due(staging->fault, false);
    struct error *end;

    if (error != NULL)
        return error;
    if (!folder)
        return parent != NULL && !differs(entry, parent) ? NULL : stage_file(staging, source, entry, level);
    if (parent == NULL || differs(entry, parent))
        error = level_stage(staging, &inner);
    if (error == NULL && tree_is_folder(entry))
        error = walk_below(staging, source, parents, lists, entry, &inner, depth);
    end = level_end(&inner);
    error_keep_first(&error, end);
    return error;
}

/* `source` is a folder of the layer, `parents` its counterparts or NULL. */
static struct error *walk(struct staging *staging, HANDLE source, HANDLE *parents, struct level *level, unsigned depth)
{
    struct tree_folder own = {0};
    struct tree_folder *lists = mem_new_array(staging->parents, struct tree_folder);
    struct error *error = tree_list(source, &own);

    if (error == NULL && depth > DEPTH_LIMIT)
        error = error_win32(ERROR_FILENAME_EXCED_RANGE, "ExportLayer", NULL, "too deep");
    for (size_t i = 0; i < staging->parents && error == NULL; i++)
        if (parents[i] != NULL)
            error = tree_list(parents[i], &lists[i]);
    for (size_t i = 0; i < own.count && error == NULL; i++)
        if (!transport_is_sidecar(&own.entries[i]))
            error = walk_entry(staging, source, parents, lists, &own.entries[i], level, depth);
    for (size_t i = 0; i < staging->parents; i++) {
        for (size_t k = 0; k < lists[i].count && error == NULL; k++) {
            const struct tree_entry *entry = &lists[i].entries[k];
            if (tree_find(&own, entry->name, entry->units) == NULL &&
                find_in_parents(staging, lists, entry, i) == NULL) /* told by a nearer parent already */
                error = add_tombstone(staging, entry, level);
        }
    }
    for (size_t i = 0; i < staging->parents; i++)
        tree_free(&lists[i]);
    free(lists);
    tree_free(&own);
    return error;
}

struct error *staging_copy_plain(HANDLE source, const struct target *target, struct work_fault *fault)
{
    struct tree_folder list = {0};
    struct error *error = tree_list(source, &list);

    for (size_t i = 0; i < list.count && error == NULL; i++) {
        const struct tree_entry *entry = &list.entries[i];
        HANDLE from = NULL;
        struct target to = {0};
        error = gate_strike_due(fault, false);
        if (error == NULL && !tree_is_folder(entry)) {
            error = transport_copy_plain(source, entry, target);
        } else if (error == NULL) {
            error = tree_open(source, entry->name, entry->units, TREE_FOLDER, TREE_LIST, SHARE_ALL, &from);
            if (error == NULL)
                error = target_make(target, entry->name, entry->units, &to);
            if (error == NULL)
                error = staging_copy_plain(from, &to, fault);
            if (error == NULL)
                error = tree_set_times(to.folder, entry->created, entry->accessed, entry->written, 0);
        }
        if (from != NULL)
            CloseHandle(from);
        target_close(&to);
    }
    tree_free(&list);
    return error;
}

/* Copies a subfolder of the layer plainly, when it is there. */
static struct error *copy_subfolder(struct staging *staging, const wchar_t *layer, const wchar_t *name)
{
    wchar_t *path = layer_path_join(layer, name);
    HANDLE from = NULL;
    struct target to = {0};
    struct error *error = tree_open(NULL, path, 0, TREE_FOLDER, TREE_LIST, SHARE_ALL, &from);

    if (error != NULL) { /* not there */
        error_free(error);
        error = NULL;
    } else {
        error = target_make(&staging->root, name, wcslen(name), &to);
        if (error == NULL)
            error = unless_taken(staging, staging_copy_plain(from, &to, staging->fault));
        CloseHandle(from);
        target_close(&to);
    }
    free(path);
    return error;
}

/* Hives, with the System_Delta that readers take the times of Files and Hives from: those of the layer's Files. */
static struct error *stage_hives(struct staging *staging, const wchar_t *layer)
{
    static const char content[] = "regf emulated hive\n";
    FILETIME created, accessed, written;
    struct target hives = {0};
    HANDLE delta = NULL;
    struct error *error = copy_subfolder(staging, layer, L"Hives");

    if (error == NULL)
        error = target_make(&staging->root, L"Hives", 5, &hives);
    if (error == NULL)
        error = target_create(&hives, L"System_Delta", 12, &delta);
    if (error != NULL && (error->code == ERROR_ALREADY_EXISTS || error->code == ERROR_FILE_EXISTS)) {
        error_free(error);
        error = NULL;
    } else if (error == NULL) {
        error = tree_write(delta, content, sizeof content - 1);
        if (error == NULL && staging->source != NULL && GetFileTime(staging->source, &created, &accessed, &written)) {
            int64_t time = (int64_t)(((uint64_t)written.dwHighDateTime << 32) | written.dwLowDateTime);
            error = tree_set_times(delta, time, time, time, 0);
        }
    }
    if (delta != NULL)
        CloseHandle(delta);
    target_close(&hives);
    return error;
}

static struct error *write_tombstones(struct staging *staging)
{
    HANDLE file = NULL;
    struct error *error = target_create(&staging->root, L"tombstones.txt", 14, &file);

    if (error == NULL)
        error = tree_write(file, staging->tombstones.data, staging->tombstones.size);
    if (file != NULL)
        CloseHandle(file);
    return unless_taken(staging, error);
}

/* The difference of `files` (the layer's, open) to the parents'. */
static struct error *stage_difference(struct staging *staging, HANDLE files, const wchar_t *const *parents)
{
    HANDLE *below = mem_new_array(staging->parents, HANDLE);
    struct level top = {0};
    struct error *error = target_make(&staging->root, L"Files", 5, &staging->files);

    top.target = staging->files;
    for (size_t i = 0; i < staging->parents && error == NULL; i++) {
        wchar_t *path = layer_path_join(parents[i], L"Files");
        error_free(tree_open(NULL, path, 0, TREE_FOLDER, TREE_LIST, SHARE_ALL, &below[i])); /* NULL: it has nothing */
        free(path);
    }
    if (error == NULL && files != NULL)
        error = walk(staging, files, below, &top, 0);
    for (size_t i = 0; i < staging->parents; i++)
        if (below[i] != NULL)
            CloseHandle(below[i]);
    free(below);
    return error;
}

struct error *staging_export(const wchar_t *layer, const wchar_t *const *parents, size_t count, const wchar_t *folder,
                             struct work_fault *fault)
{
    struct link_table links = {0};
    struct staging staging = {
        .parents = layer_path_count_parents(parents, count), .fault = fault, .links = &links, .path = str_copy("")};
    wchar_t *files_path = layer_path_join(layer, L"Files");
    wchar_t *transport_path = layer_path_join(layer, L"transport");
    HANDLE files = NULL;
    struct error *error = target_open(folder, &staging.root);

    buffer_add_text(&staging.tombstones, TRANSPORT_TOMBSTONES);
    error_free(tree_open(NULL, files_path, 0, TREE_FOLDER, TREE_LIST, SHARE_ALL, &files)); /* NULL: no changes */
    staging.source = files;
    if (error == NULL && layer_path_is_folder(transport_path)) {
        staging.merges = true;
        error = native_copy_tree(transport_path, folder, fault);
        if (files == NULL)
            goto done;
    }
    if (error == NULL)
        error = stage_difference(&staging, files, parents);
    if (error == NULL)
        error = stage_hives(&staging, layer);
    if (error == NULL)
        error = copy_subfolder(&staging, layer, L"UtilityVM");
    if (error == NULL)
        error = write_tombstones(&staging);
done:
    if (error == NULL)
        error = gate_strike_due(fault, true);
    if (files != NULL)
        CloseHandle(files);
    target_close(&staging.files);
    target_close(&staging.root);
    free(links.keys);
    free(links.values);
    free(staging.path);
    buffer_free(&staging.tombstones);
    free(files_path);
    free(transport_path);
    return error;
}
