#include <string.h>

#include <uthash.h>

#include "base/clock.h"
#include "base/memory.h"
#include "export/entry.h"
#include "export/walk.h"

/* The first name under which a file with several was written. */
struct linked_file {
    uint8_t id[16];
    char *path;
    UT_hash_handle hh;
};

struct archive {
    const struct export_archive_options *options;
    struct walk *walk;
    struct packer *packer;
    struct tombstones tombstones;
    bool orphans_written;
    bool fallback_told;
    struct linked_file *linked;
    struct deviations deviations;
};

static bool is_below(const char *path, const char *folder)
{
    size_t size = strlen(folder);
    return strncmp(path, folder, size) == 0 && path[size] == '/';
}

static bool is_below_nocase(const char *path, const char *folder)
{
    size_t size = strlen(folder);
    return _strnicmp(path, folder, size) == 0 && path[size] == '/';
}

static struct error *write_whiteouts(struct archive *archive, const char *folder)
{
    size_t first;
    size_t count = tombstones_in(&archive->tombstones, folder, &first);
    struct error *error = NULL;
    for (size_t i = first; i < first + count && !error; i++) {
        archive->tombstones.rows[i].written = true;
        error = entry_write_whiteout(archive->tombstones.rows[i].path, archive->packer, archive->options->control);
    }
    return error;
}

static int compare_paths(const void *a, const void *b)
{
    const struct tombstone *left = a;
    const struct tombstone *right = b;
    return strcmp(left->path, right->path);
}

/* Tombstones whose folder is not in the layer: last under Files, in order of their paths. */
static struct error *write_orphans(struct archive *archive)
{
    struct tombstones *tombstones = &archive->tombstones;
    struct error *error = NULL;
    archive->orphans_written = true;
    if (tombstones->count > 0)
        qsort(tombstones->rows, tombstones->count, sizeof *tombstones->rows, compare_paths);
    for (size_t i = 0; i < tombstones->count && !error; i++) {
        const struct tombstone *row = &tombstones->rows[i];
        if (row->written)
            continue;
        if (is_below_nocase(row->path, "Files/$Recycle.Bin")) {
            deviations_add(&archive->deviations, "recycle_bin", row->path,
                           "A deletion within the recycle bin is left out, as the recycle bin is.");
            continue;
        }
        deviations_add(&archive->deviations, "orphan_tombstone", row->path,
                       "Its folder is not in the layer; the whiteout stands at the end of Files.");
        error = entry_write_whiteout(row->path, archive->packer, archive->options->control);
    }
    return error;
}

/* Sets *ret_first to the name the file was written under, or remembers this one. */
static void find_first_name(struct archive *archive, const struct walk_item *item, const char **ret_first)
{
    struct linked_file *file = NULL;
    if (item->folder)
        return;
    HASH_FIND(hh, archive->linked, item->id, sizeof item->id, file);
    if (file) {
        *ret_first = file->path;
    } else if (item->links > 1) {
        file = mem_new(struct linked_file);
        memcpy(file->id, item->id, sizeof file->id);
        file->path = str_copy(item->path);
        HASH_ADD(hh, archive->linked, id, sizeof file->id, file);
    }
}

static struct error *write_item(struct archive *archive, const struct walk_item *item)
{
    struct error *error = NULL;
    if (!archive->orphans_written && strcmp(item->path, "Files") > 0 && !is_below(item->path, "Files"))
        error = write_orphans(archive);
    if (error)
        return error;
    if (item->kind == WALK_NOTE) {
        deviations_add(&archive->deviations, item->note, item->path, "%s", item->detail);
        return NULL;
    }
    export_control_set_path(archive->options->control, item->path);
    if (!item->name_is_utf16)
        deviations_add(&archive->deviations, "not_utf16", item->path, "The name is no UTF-16; it is written as WTF-8.");

    const struct entry entry = {
        .path = item->path,
        .folder = item->folder,
        .attributes = item->attributes,
        .modified = item->modified,
        .created = item->created,
    };
    const char *first = NULL;
    find_first_name(archive, item, &first);
    if (first)
        error = entry_write_hard_link(&entry, first, archive->packer, archive->options->control);
    else
        error = entry_write(&entry, item->source, archive->packer, archive->options->control, &archive->deviations);
    if (!error && item->folder)
        error = write_whiteouts(archive, item->path);
    return error;
}

/* As soon as it is known, so that the row is among those that are kept. */
static void tell_fallback(struct archive *archive)
{
    archive->fallback_told = true;
    deviations_add(&archive->deviations, EXPORT_DEVIATION_FALLBACK, "",
                   "This system has no BackupRead; what is not in transport format was read without it.");
}

static struct error *write_items(struct archive *archive)
{
    for (;;) {
        struct walk_item *item = NULL;
        struct error *error = walk_next(archive->walk, &item);
        if (error)
            return error;
        if (!item)
            return archive->orphans_written ? NULL : write_orphans(archive);
        if (!archive->fallback_told && walk_lacked_backup_read(archive->walk))
            tell_fallback(archive);
        error = write_item(archive, item);
        walk_done(archive->walk, item);
        if (error)
            return error;
    }
}

struct error *export_archive(const struct export_archive_options *options, struct export_result **ret_result)
{
    struct archive archive = {.options = options, .orphans_written = options->base};
    struct export_result *result = mem_new(struct export_result);
    uint64_t began = clock_ms();
    uint64_t entries = options->control->entries;

    struct error *error =
        packer_open(options->compression, options->level, options->output, options->control, &archive.packer);
    if (!error) {
        const struct walk_options walk = {
            .folder = options->folder,
            .base = options->base,
            .remove = options->remove_as_read && !options->base,
            .control = options->control,
        };
        error = walk_start(&walk, &archive.walk);
    }
    if (!error && !options->base)
        error = walk_read_tombstones(archive.walk, &archive.tombstones);
    if (!error)
        error = write_items(&archive);
    if (!error)
        error = packer_write_zeros(archive.packer, 2 * 512); /* the archive's end */
    if (!error)
        error = packer_finish(archive.packer, result);
    if (error)
        goto out;

    result->entries = options->control->entries - entries;
    result->archive_seconds = (double)(clock_ms() - began) / 1000;
    result->deviations = archive.deviations.rows;
    result->deviation_count = archive.deviations.count;
    result->deviation_total = archive.deviations.total;
    archive.deviations = (struct deviations){0};
    *ret_result = result;
    result = NULL;

out:
    walk_free(archive.walk);
    packer_free(archive.packer);
    tombstones_free(&archive.tombstones);
    struct linked_file *file, *next;
    HASH_ITER(hh, archive.linked, file, next)
    {
        HASH_DEL(archive.linked, file);
        free(file->path);
        free(file);
    }
    deviations_free(&archive.deviations);
    export_result_free(result);
    return error;
}
