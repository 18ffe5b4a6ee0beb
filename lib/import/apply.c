#include <string.h>

#include "base/memory.h"
#include "export/remover.h"
#include "import/chain.h"
#include "import/import.h"

struct apply {
    struct folder_volume volume;
    struct export_control *control;
    HANDLE root;
    struct chain chain;
    HANDLE *parents; /* NULL: it cannot be opened */
    size_t parent_count;
};

/* Is this only to say that the way there does not exist? */
static bool is_absent(const struct error *error)
{
    return error && error->kind == ERROR_KIND_INVALID_ARGUMENT;
}

/* What is at the path now goes, with all that is in it. Nothing there is fine. */
static struct error *remove_path(struct apply *apply, const char *path)
{
    HANDLE folder = NULL, handle = NULL;
    WCHAR *name = NULL;
    size_t units = 0;
    struct error *error = chain_parent(&apply->chain, path, &folder, &name, &units);
    if (is_absent(error)) {
        error_free(error);
        return NULL;
    }
    if (error)
        return error;
    struct folder_info info = {0};
    NTSTATUS status = folder_open_name(&apply->volume, folder, name, REMOVER_ACCESS, 0, &handle);
    free(name);
    if (status == NT_OBJECT_NAME_NOT_FOUND)
        return NULL;
    if (status >= 0)
        status = folder_info(handle, &info);
    bool is_tree = info.attributes & FILE_ATTRIBUTE_DIRECTORY && !(info.attributes & FILE_ATTRIBUTE_REPARSE_POINT);
    if (status >= 0 && is_tree) {
        struct remover_report report = {0};
        error = remover_run_handle(handle, path, apply->control, &report);
        if (!error && report.left_total > 0)
            error = error_make(ERROR_KIND_FAILED_PRECONDITION, "remove deleted entry", path,
                               "%llu entries in it resist; the first is %s (%s)", (unsigned long long)report.left_total,
                               report.left[0].path, report.left[0].detail);
        remover_report_free(&report);
        return error;
    }
    if (status >= 0)
        status = folder_delete(&apply->volume, handle);
    if (handle)
        CloseHandle(handle);
    return status < 0 ? error_ntstatus((uint32_t)status, "remove deleted entry", path, NULL) : NULL;
}

/* Opens the first name of a link, in the layer or the nearest parent that has it. */
static struct error *open_first(struct apply *apply, const char *first, HANDLE *ret_file)
{
    struct error *error = NULL;
    HANDLE file = NULL;
    for (size_t i = 0; i <= apply->parent_count && !file && !error; i++) {
        struct chain chain = {.volume = &apply->volume, .root = i == 0 ? apply->root : apply->parents[i - 1]};
        HANDLE folder = NULL;
        WCHAR *name = NULL;
        size_t units = 0;
        error = chain_parent(&chain, first, &folder, &name, &units);
        if (!error) {
            NTSTATUS status =
                folder_open_name(&apply->volume, folder, name, FILE_WRITE_ATTRIBUTES, FILE_NON_DIRECTORY_FILE, &file);
            if (status < 0 && status != NT_OBJECT_NAME_NOT_FOUND)
                error = error_ntstatus((uint32_t)status, "open file", first, NULL);
        } else if (is_absent(error)) {
            error_free(error);
            error = NULL;
        }
        free(name);
        chain_clear(&chain);
    }
    if (!error && !file)
        error = error_make(ERROR_KIND_NOT_FOUND, "create hard link", first,
                           "neither the layer nor one of its parents has the file that others are to be names of");
    if (error)
        return error;
    *ret_file = file;
    return NULL;
}

static struct error *make_link(struct apply *apply, const struct import_link *link)
{
    HANDLE file = NULL, folder = NULL;
    WCHAR *name = NULL;
    size_t units = 0;
    /* Removed before the other is opened: it may be a name of the same file, and then goes with the last handle only. */
    struct error *error = remove_path(apply, link->path);
    if (!error)
        error = open_first(apply, link->first, &file);
    if (!error)
        error = chain_parent(&apply->chain, link->path, &folder, &name, &units);
    if (!error) {
        NTSTATUS status = folder_link(file, folder, name, units);
        if (status < 0)
            error = error_ntstatus((uint32_t)status, "create hard link", link->path, NULL);
    }
    if (file)
        CloseHandle(file);
    free(name);
    return error;
}

static struct error *step(struct apply *apply, const char *path)
{
    export_control_set_path(apply->control, path);
    return apply->control->cancelled
               ? error_make(ERROR_KIND_CANCELLED, "import layer", path, "the import was cancelled")
               : NULL;
}

struct error *import_apply(const char *layer, const char *const *parents, size_t parent_count,
                           const struct import_pending *pending, struct export_control *control)
{
    struct apply apply = {.control = control};
    struct error *error = folder_open(layer, FILE_LIST_DIRECTORY | FILE_TRAVERSE, &apply.root);
    if (error)
        return error;
    folder_probe(&apply.volume, apply.root);
    apply.chain = (struct chain){.volume = &apply.volume, .root = apply.root, .keep_times = true};
    apply.parents = mem_new_array(parent_count + 1, HANDLE);
    for (; apply.parent_count < parent_count && pending->link_count > 0 && !error; apply.parent_count++)
        error = folder_open(parents[apply.parent_count], FILE_LIST_DIRECTORY | FILE_TRAVERSE,
                            &apply.parents[apply.parent_count]);
    for (size_t i = 0; i < pending->whiteout_count && !error; i++) {
        error = step(&apply, pending->whiteouts[i]);
        if (!error)
            error = remove_path(&apply, pending->whiteouts[i]);
    }
    for (size_t i = 0; i < pending->link_count && !error; i++) {
        error = step(&apply, pending->links[i].path);
        if (!error)
            error = make_link(&apply, &pending->links[i]);
    }
    chain_clear(&apply.chain);
    for (size_t i = 0; i < apply.parent_count; i++)
        if (apply.parents[i])
            CloseHandle(apply.parents[i]);
    free(apply.parents);
    CloseHandle(apply.root);
    return error;
}
