#include "import/staging.h"

#include <windows.h>

#include <sddl.h>

#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "base/win.h"
#include "export/tombstones.h"
#include "import/chain.h"
#include "import/sink.h"
#include "import/utility_vm.h"

#define SIDECAR       L".$wcidirs$"
#define SIDECAR_UNITS 10
#define FLUSH_SIZE    (64u << 10)
#define TOMBSTONES    L"tombstones.txt"
#define FILES         "Files/"

struct staging {
    struct import_tree tree;
    const struct import_options *options;
    enum import_target target;
    struct folder_volume volume;
    HANDLE root;
    struct chain chain; /* to where entries are made */
    struct chain first; /* to the first names of hard links */
    bool has_utility_vm;
    struct utility_vm *vm; /* IMPORT_FOR_HCS, once there is one */

    HANDLE tombstones;   /* IMPORT_COMPLETE */
    struct buffer lines; /* not written yet */
    uint64_t lines_at;
    struct import_pending pending; /* IMPORT_FOR_HCS */
    size_t pending_bytes;
};

/* Is this entry a file of attributes and backup stream? Files and Hives themselves are that for ImportLayer only. */
static bool is_staged(const struct staging *staging, enum import_area area, bool top, bool folder)
{
    if (staging->target == IMPORT_BASE)
        return false;
    if (top && folder)
        return staging->target == IMPORT_FOR_HCS && (area == IMPORT_FILES || area == IMPORT_HIVES);
    return area == IMPORT_FILES;
}

static WCHAR *sidecar_name(const WCHAR *name, size_t units)
{
    WCHAR *sidecar = mem_new_array(units + SIDECAR_UNITS + 1, WCHAR);
    memcpy(sidecar, name, units * sizeof *sidecar);
    memcpy(sidecar + units, SIDECAR, SIDECAR_UNITS * sizeof *sidecar);
    return sidecar;
}

/* A link to a folder is a plain folder here, with the link in its side file: nothing may be put behind it. */
static struct error *check_folder(void *context, HANDLE parent, const WCHAR *name, size_t units, const char *path)
{
    struct staging *staging = context;
    if (parent == staging->root || staging->target == IMPORT_BASE || strncmp(path, FILES, strlen(FILES)) != 0)
        return NULL;
    WCHAR *sidecar = sidecar_name(name, units);
    HANDLE handle = NULL;
    uint8_t attributes[4];
    size_t got = 0;
    NTSTATUS status = folder_open_name(&staging->volume, parent, sidecar, FILE_READ_DATA, 0, &handle);
    if (status >= 0)
        status = folder_read(handle, 0, attributes, sizeof attributes, &got);
    if (handle)
        CloseHandle(handle);
    free(sidecar);
    if (status < 0)
        return error_ntstatus((uint32_t)status, "read attributes", path, NULL);
    return got == 4 && attributes[1] & FILE_ATTRIBUTE_REPARSE_POINT >> 8
               ? import_refuse(path, "its path leads through a link")
               : NULL;
}

static struct error *made(NTSTATUS status, const char *path, const char *operation)
{
    if (status >= 0)
        return NULL;
    if (status == NT_OBJECT_NAME_COLLISION)
        return error_make(ERROR_KIND_ALREADY_EXISTS, operation, path,
                          "an entry of this name, or of one that differs in case alone, came before it");
    return error_ntstatus((uint32_t)status, operation, path, NULL);
}

static struct error *create_staged(struct staging *staging, const struct import_node *node, HANDLE folder,
                                   const WCHAR *name, size_t units, struct sink_options *sink)
{
    NTSTATUS status;
    ACCESS_MASK access = FILE_WRITE_DATA | FILE_WRITE_ATTRIBUTES;
    if (!node->folder)
        return made(
            folder_create(&staging->volume, folder, name, units, access, FILE_NON_DIRECTORY_FILE, &sink->handle),
            node->path, "create file");
    HANDLE made_folder = NULL;
    status = folder_create(&staging->volume, folder, name, units, FILE_TRAVERSE, FILE_DIRECTORY_FILE, &made_folder);
    if (status < 0)
        return made(status, node->path, "create folder");
    CloseHandle(made_folder);
    WCHAR *sidecar = sidecar_name(name, units);
    status = folder_create(&staging->volume, folder, sidecar, units + SIDECAR_UNITS, access, FILE_NON_DIRECTORY_FILE,
                           &sink->handle);
    free(sidecar);
    return made(status, node->path, "create side file");
}

static struct error *create_plain(struct staging *staging, const struct import_node *node, HANDLE folder,
                                  const WCHAR *name, size_t units, struct sink_options *sink)
{
    ACCESS_MASK access = FILE_GENERIC_WRITE | FILE_READ_DATA;
    ULONG options = node->folder ? FILE_DIRECTORY_FILE : FILE_NON_DIRECTORY_FILE;
    NTSTATUS status = -1;
    sink->security = staging->target == IMPORT_BASE;
    if (sink->security) /* the SACL, where the privilege is there */
        status = folder_create(&staging->volume, folder, name, units,
                               access | READ_CONTROL | WRITE_DAC | WRITE_OWNER | ACCESS_SYSTEM_SECURITY, options,
                               &sink->handle);
    if (status < 0 && status != NT_OBJECT_NAME_COLLISION)
        status = folder_create(&staging->volume, folder, name, units,
                               access | (sink->security ? READ_CONTROL | WRITE_DAC | WRITE_OWNER : 0), options,
                               &sink->handle);
    return made(status, node->path, node->folder ? "create folder" : "create file");
}

/* ImportLayer does not know utility VMs: theirs is made in the layer itself. */
static struct error *check_vm(const struct staging *staging, const char *path)
{
    if (strcmp(path, "UtilityVM/Files") != 0 && strncmp(path, "UtilityVM/Files/", 16) != 0)
        return import_refuse(path, "of UtilityVM only its Files belong to a layer");
    return staging->vm ? NULL : import_refuse(path, "its folder UtilityVM does not come before it");
}

static struct error *create_in_vm(struct staging *staging, const struct import_node *node,
                                  struct stream_sink **ret_sink)
{
    const struct import_options *options = staging->options;
    struct error *error = node->top ? NULL : check_vm(staging, node->path);
    if (!error && node->top && staging->vm)
        error = error_make(ERROR_KIND_ALREADY_EXISTS, "import entry", node->path, "it came before");
    if (!error && node->top && (!options->layer || !options->parent))
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "import entry", node->path,
                           "the utility VM of a layer is made from its parent's, and there is no parent");
    if (!error && node->top)
        error = utility_vm_make(options->layer, options->parent, options->control, &staging->vm);
    return error ? error : utility_vm_create(staging->vm, node, ret_sink);
}

static struct error *tree_create(struct import_tree *tree, const struct import_node *node,
                                 struct stream_sink **ret_sink)
{
    struct staging *staging = (struct staging *)tree;
    HANDLE folder = NULL;
    WCHAR *name = NULL;
    size_t units = 0;
    if (node->area == IMPORT_UTILITY_VM && staging->target == IMPORT_FOR_HCS)
        return create_in_vm(staging, node, ret_sink);
    struct error *error = chain_parent(&staging->chain, node->path, &folder, &name, &units);
    if (error)
        return error;
    struct sink_options sink = {
        .volume = &staging->volume,
        .path = node->path,
        .attributes = node->attributes,
        .modified = node->modified,
        .created = node->created,
    };
    bool staged = is_staged(staging, node->area, node->top, node->folder);
    error = staged ? create_staged(staging, node, folder, name, units, &sink)
                   : create_plain(staging, node, folder, name, units, &sink);
    if (!error) {
        *ret_sink = staged ? sink_staged(&sink) : sink_plain(&sink);
        staging->has_utility_vm = staging->has_utility_vm || strcmp(node->path, "UtilityVM/Files") == 0;
    }
    free(name);
    return error;
}

/* ---- hard links ---- */

static struct error *pending_room(struct staging *staging, const char *path, const char *first)
{
    staging->pending_bytes += strlen(path) + (first ? strlen(first) : 0) + sizeof(struct import_link);
    if (staging->pending_bytes > IMPORT_PENDING_MAX)
        return error_make(ERROR_KIND_RESOURCE_EXHAUSTED, "import entry", path,
                          "the layer has more whiteouts and hard links than fit into %u MiB", IMPORT_PENDING_MAX >> 20);
    return NULL;
}

static struct error *add_link(struct staging *staging, const char *path, const char *first)
{
    struct import_pending *pending = &staging->pending;
    struct error *error = pending_room(staging, path, first);
    if (error)
        return error;
    if ((pending->link_count & (pending->link_count - 1)) == 0)
        pending->links =
            mem_resize_array(pending->links, pending->link_count ? pending->link_count * 2 : 1, sizeof *pending->links);
    pending->links[pending->link_count++] = (struct import_link){str_copy(path), str_copy(first)};
    return NULL;
}

static struct error *tree_link(struct import_tree *tree, const struct import_name *name, const char *first)
{
    struct staging *staging = (struct staging *)tree;
    HANDLE folder = NULL, first_folder = NULL, file = NULL;
    WCHAR *last = NULL, *first_last = NULL;
    size_t units = 0, first_units = 0;
    struct error *error = NULL;
    if (staging->target == IMPORT_FOR_HCS && name->area != IMPORT_UTILITY_VM)
        return add_link(staging, name->path, first);
    if (staging->target == IMPORT_FOR_HCS) {
        error = check_vm(staging, name->path);
        return error ? error : utility_vm_link(staging->vm, name->path, first);
    }
    error = chain_parent(&staging->chain, name->path, &folder, &last, &units);
    if (!error)
        error = chain_parent(&staging->first, first, &first_folder, &first_last, &first_units);
    if (error && error->kind == ERROR_KIND_INVALID_ARGUMENT && strcmp(error->object, first) == 0) {
        struct error *cause = error;
        error = import_refuse(name->path, "it is a hard link to \"%s\", and there %s", first, cause->message);
        error_free(cause);
    }
    if (error)
        goto out;
    NTSTATUS status = folder_open_name(&staging->volume, first_folder, first_last, FILE_WRITE_ATTRIBUTES,
                                       FILE_NON_DIRECTORY_FILE, &file);
    if (status == NT_OBJECT_NAME_NOT_FOUND)
        error = error_make(ERROR_KIND_NOT_FOUND, "import entry", name->path,
                           "it is a hard link to \"%s\", which does not come before it", first);
    else if (status < 0)
        error = error_ntstatus((uint32_t)status, "open file", first, NULL);
    else
        error = made(folder_link(file, folder, last, units), name->path, "create hard link");

out:
    if (file)
        CloseHandle(file);
    free(last);
    free(first_last);
    return error;
}

/* ---- whiteouts ---- */

static struct error *flush_lines(struct staging *staging)
{
    NTSTATUS status = folder_write(staging->tombstones, staging->lines_at, staging->lines.data, staging->lines.size);
    staging->lines_at += staging->lines.size;
    buffer_clear(&staging->lines);
    return status < 0 ? error_ntstatus((uint32_t)status, "write file", "tombstones.txt", NULL) : NULL;
}

static struct error *add_line(struct staging *staging, const char *path)
{
    char *line = str_format("\\%s\r\n", path + strlen(FILES));
    for (char *c = line; *c; c++)
        if (*c == '/')
            *c = '\\';
    buffer_add_text(&staging->lines, line);
    free(line);
    if (staging->lines_at + staging->lines.size > TOMBSTONES_SIZE_MAX)
        return error_make(ERROR_KIND_RESOURCE_EXHAUSTED, "import entry", path,
                          "the layer has more whiteouts than tombstones.txt may hold");
    return staging->lines.size < FLUSH_SIZE ? NULL : flush_lines(staging);
}

static struct error *tree_whiteout(struct import_tree *tree, const struct import_name *name)
{
    struct staging *staging = (struct staging *)tree;
    struct import_pending *pending = &staging->pending;
    struct error *error = NULL;
    if (name->area == IMPORT_UTILITY_VM && staging->target == IMPORT_COMPLETE)
        return import_refuse(name->path, "the transport format has no deletions below UtilityVM");
    if (name->area == IMPORT_UTILITY_VM) {
        error = check_vm(staging, name->path);
        return error ? error : utility_vm_delete(staging->vm, name->path);
    }
    if (staging->target == IMPORT_COMPLETE)
        return add_line(staging, name->path);
    error = pending_room(staging, name->path, NULL);
    if (error)
        return error;
    size_t count = pending->whiteout_count;
    if ((count & (count - 1)) == 0)
        pending->whiteouts = mem_resize_array(pending->whiteouts, count ? count * 2 : 1, sizeof *pending->whiteouts);
    pending->whiteouts[pending->whiteout_count++] = str_copy(name->path);
    return NULL;
}

static struct error *tree_sddl(struct import_tree *tree, const char *path, const char *text,
                               struct buffer *ret_descriptor)
{
    (void)tree;
    wchar_t *wide = NULL;
    PSECURITY_DESCRIPTOR descriptor = NULL;
    ULONG size = 0;
    struct error *error = win_wide(text, &wide);
    if (!error && !ConvertStringSecurityDescriptorToSecurityDescriptorW(wide, SDDL_REVISION_1, &descriptor, &size))
        error =
            error_set_kind(error_win32(GetLastError(), "read security descriptor", path, NULL), ERROR_KIND_DATA_LOSS);
    if (!error)
        buffer_add(ret_descriptor, descriptor, size);
    LocalFree(descriptor);
    free(wide);
    return error;
}

/* ---- the folder ---- */

static struct error *check_empty(const struct staging *staging)
{
    struct folder_list list = {0};
    NTSTATUS status = folder_list(staging->root, &list);
    size_t count = list.count;
    folder_list_free(&list);
    if (status < 0)
        return error_ntstatus((uint32_t)status, "list folder", staging->options->folder, NULL);
    return count == 0 ? NULL
                      : error_make(ERROR_KIND_FAILED_PRECONDITION, "import layer", staging->options->folder,
                                   "the folder is not empty; give one that is");
}

static struct error *begin_tombstones(struct staging *staging)
{
    buffer_add_text(&staging->lines, "\xef\xbb\xbfVersion 1.0\r\n");
    NTSTATUS status = folder_create(&staging->volume, staging->root, TOMBSTONES, wcslen(TOMBSTONES), FILE_WRITE_DATA,
                                    FILE_NON_DIRECTORY_FILE, &staging->tombstones);
    return made(status, "tombstones.txt", "create file");
}

struct error *staging_open(const struct import_options *options, struct staging **ret_staging)
{
    struct staging *staging = mem_new(struct staging);
    staging->tree = (struct import_tree){tree_create, tree_link, tree_whiteout, tree_sddl};
    staging->options = options;
    staging->target = options->target;
    struct error *error = folder_open(
        options->folder, FILE_LIST_DIRECTORY | FILE_TRAVERSE | FILE_ADD_FILE | FILE_ADD_SUBDIRECTORY, &staging->root);
    if (!error) {
        staging->chain = (struct chain){
            .volume = &staging->volume, .root = staging->root, .check = check_folder, .context = staging};
        staging->first = staging->chain;
        staging->chain.keep_times = true;
        error = check_empty(staging);
    }
    if (!error && options->target == IMPORT_COMPLETE)
        error = begin_tombstones(staging);
    if (error) {
        staging_free(staging);
        return error;
    }
    *ret_staging = staging;
    return NULL;
}

struct import_tree *staging_tree(struct staging *staging)
{
    return &staging->tree;
}

struct error *staging_finish(struct staging *staging, struct import_pending *ret_pending, bool *ret_utility_vm)
{
    chain_clear(&staging->first);
    chain_clear(&staging->chain);
    struct error *error = staging->tombstones ? flush_lines(staging) : NULL;
    if (error)
        return error;
    *ret_pending = staging->pending;
    staging->pending = (struct import_pending){0};
    if (staging->vm)
        utility_vm_finish(staging->vm);
    *ret_utility_vm = staging->has_utility_vm || staging->vm;
    return NULL;
}

void staging_free(struct staging *staging)
{
    if (!staging)
        return;
    chain_clear(&staging->first);
    chain_clear(&staging->chain);
    if (staging->tombstones)
        CloseHandle(staging->tombstones);
    if (staging->root)
        CloseHandle(staging->root);
    buffer_free(&staging->lines);
    import_pending_free(&staging->pending);
    utility_vm_free(staging->vm);
    free(staging);
}

void import_pending_free(struct import_pending *pending)
{
    for (size_t i = 0; i < pending->whiteout_count; i++)
        free(pending->whiteouts[i]);
    for (size_t i = 0; i < pending->link_count; i++) {
        free(pending->links[i].path);
        free(pending->links[i].first);
    }
    free(pending->whiteouts);
    free(pending->links);
    *pending = (struct import_pending){0};
}
