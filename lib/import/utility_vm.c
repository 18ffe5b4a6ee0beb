#include "import/utility_vm.h"

#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "export/remover.h"
#include "export/source.h"
#include "import/chain.h"
#include "import/sink.h"

#define COPY_SIZE (64u << 10)
#define READ_ACCESS                                                                                                    \
    (FILE_READ_DATA | FILE_READ_EA | READ_CONTROL | FILE_WRITE_ATTRIBUTES) /* the last one to link to it */
#define MAKE_ACCESS (FILE_GENERIC_WRITE | FILE_READ_DATA | READ_CONTROL | WRITE_DAC | WRITE_OWNER)

struct utility_vm {
    struct folder_volume volume;
    struct export_control *control;
    HANDLE layer;
    struct chain chain; /* below the layer: to where entries are made */
    struct chain first; /* to the first names of hard links */
    bool made, finished;
};

static struct error *failed(NTSTATUS status, const char *operation, const char *path)
{
    return status < 0 ? error_ntstatus((uint32_t)status, operation, path, NULL) : NULL;
}

/* With the SACL where the privilege is there. */
static NTSTATUS open_source(struct utility_vm *vm, HANDLE folder, const struct folder_entry *entry, HANDLE *ret_handle)
{
    NTSTATUS status =
        folder_open_entry(&vm->volume, folder, NULL, entry, READ_ACCESS | ACCESS_SYSTEM_SECURITY, 0, ret_handle);
    return status >= 0 ? status : folder_open_entry(&vm->volume, folder, NULL, entry, READ_ACCESS, 0, ret_handle);
}

static NTSTATUS create_target(struct utility_vm *vm, HANDLE folder, const WCHAR *name, size_t units, bool is_folder,
                              HANDLE *ret_handle)
{
    ULONG options = is_folder ? FILE_DIRECTORY_FILE : FILE_NON_DIRECTORY_FILE;
    NTSTATUS status =
        folder_create(&vm->volume, folder, name, units, MAKE_ACCESS | ACCESS_SYSTEM_SECURITY, options, ret_handle);
    if (status >= 0 || status == NT_OBJECT_NAME_COLLISION)
        return status;
    return folder_create(&vm->volume, folder, name, units, MAKE_ACCESS, options, ret_handle);
}

/* ---- the clone ---- */

static struct error *copy_streams(struct stream_source *source, struct stream_sink *sink, const char *path)
{
    struct stream_reader reader;
    struct error *error = NULL;
    bool end = false;
    uint8_t *data = mem_resize_array(NULL, COPY_SIZE, 1);
    stream_reader_init(&reader, source, path);
    while (!error && !end) {
        struct stream_header header;
        size_t got = 1;
        error = stream_next(&reader, &header, &end);
        if (!error && !end)
            error = sink->begin(sink, &header);
        while (!error && !end && got > 0) {
            error = stream_read(&reader, data, COPY_SIZE, &got);
            if (!error && got > 0)
                error = sink->write(sink, data, got);
        }
    }
    free(data);
    return error ? error : sink->finish(sink);
}

/* Copies what `from` is to a new entry `name` of `to`, with all it has but its entries. */
static struct error *copy_entry(struct utility_vm *vm, HANDLE from, const struct folder_info *info, HANDLE to,
                                const WCHAR *name, size_t units, const char *path)
{
    struct stream_source *source = NULL;
    struct sink_options options = {
        .volume = &vm->volume,
        .path = path,
        .attributes = info->attributes,
        .modified = info->modified,
        .created = info->created,
        .security = true,
    };
    NTSTATUS status = create_target(vm, to, name, units, info->attributes & FILE_ATTRIBUTE_DIRECTORY, &options.handle);
    if (status < 0)
        return failed(status, "copy to the layer", path);
    struct stream_sink *sink = sink_plain(&options);
    struct error *error = source_backup(&vm->volume, from, true, path, &source);
    if (!error)
        error = copy_streams(source, sink, path);
    stream_source_free(source);
    sink->free(sink);
    return error;
}

/* What Windows writes to when the VM is prepared: a link would change the parent. */
static bool is_boot_configuration(const char *path)
{
    static const char *const names[] = {"BCD", "BCD.LOG", "BCD.LOG1", "BCD.LOG2"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *whole = str_format("UtilityVM/Files/EFI/Microsoft/Boot/%s", names[i]);
        bool same = text_equal_ascii_nocase(path, whole);
        free(whole);
        if (same)
            return true;
    }
    return false;
}

/* A folder whose entries are being cloned. */
struct clone {
    struct clone *up;
    HANDLE from, to;
    char *path;
    struct folder_list list;
    size_t next;
    struct folder_info info; /* its times, set again when it is left */
};

static void clone_pop(struct clone **top)
{
    struct clone *clone = *top;
    *top = clone->up;
    folder_set_info(clone->to, 0, clone->info.modified, clone->info.created);
    CloseHandle(clone->from);
    CloseHandle(clone->to);
    folder_list_free(&clone->list);
    free(clone->path);
    free(clone);
}

/* Makes the folder and goes into it; takes `from`. */
static struct error *clone_push(struct utility_vm *vm, struct clone **top, HANDLE from, HANDLE to_parent,
                                const WCHAR *name, const char *path)
{
    struct clone *clone = mem_new(struct clone);
    clone->up = *top;
    clone->from = from;
    clone->path = str_copy(path);
    NTSTATUS status = folder_info(from, &clone->info);
    struct error *error = failed(status, "read the parent's utility VM", path);
    if (!error)
        error = copy_entry(vm, from, &clone->info, to_parent, name, wcslen(name), path);
    if (!error)
        error = failed(folder_open_name(&vm->volume, to_parent, name,
                                        FILE_TRAVERSE | FILE_ADD_FILE | FILE_ADD_SUBDIRECTORY | FILE_WRITE_ATTRIBUTES,
                                        FILE_DIRECTORY_FILE, &clone->to),
                       "open folder", path);
    if (!error)
        error = failed(folder_list(from, &clone->list), "list the parent's utility VM", path);
    if (error) {
        if (clone->to)
            CloseHandle(clone->to);
        CloseHandle(from);
        free(clone->path);
        free(clone);
        return error;
    }
    *top = clone;
    return NULL;
}

static struct error *clone_entry(struct utility_vm *vm, struct clone **top, const struct folder_entry *entry)
{
    struct clone *clone = *top;
    char *name = text_from_utf16((const char16_t *)entry->name, entry->name_units);
    char *path = str_format("%s/%s", clone->path, name);
    WCHAR *wide = mem_new_array(entry->name_units + 1u, WCHAR);
    HANDLE from = NULL;
    struct folder_info info;
    memcpy(wide, entry->name, entry->name_units * sizeof *wide);
    export_control_set_path(vm->control, path);
    NTSTATUS status = open_source(vm, clone->from, entry, &from);
    if (status >= 0)
        status = folder_info(from, &info);
    struct error *error = failed(status, "read the parent's utility VM", path);
    if (!error && vm->control->cancelled)
        error = error_make(ERROR_KIND_CANCELLED, "import layer", path, "the import was cancelled");
    bool link = !error && info.attributes & FILE_ATTRIBUTE_REPARSE_POINT;
    if (!error && info.attributes & FILE_ATTRIBUTE_DIRECTORY && !link) {
        error = clone_push(vm, top, from, clone->to, wide, path);
        from = NULL;
    } else if (!error && (link || is_boot_configuration(path))) {
        error = copy_entry(vm, from, &info, clone->to, entry->name, entry->name_units, path);
    } else if (!error) {
        error = failed(folder_link(from, clone->to, entry->name, entry->name_units), "link to the parent's file", path);
    }
    if (from)
        CloseHandle(from);
    free(wide);
    free(path);
    free(name);
    return error;
}

static struct error *clone_files(struct utility_vm *vm, HANDLE parent_vm, HANDLE own)
{
    struct clone *top = NULL;
    HANDLE files = NULL;
    const struct folder_entry entry = {.name = L"Files", .name_units = 5};
    NTSTATUS status = open_source(vm, parent_vm, &entry, &files);
    if (status < 0)
        return failed(status, "read the parent's utility VM", "UtilityVM/Files");
    struct error *error = clone_push(vm, &top, files, own, L"Files", "UtilityVM/Files");
    while (top && !error) {
        if (top->next == top->list.count)
            clone_pop(&top);
        else
            error = clone_entry(vm, &top, &top->list.entries[top->next++]);
    }
    while (top)
        clone_pop(&top);
    return error;
}

struct error *utility_vm_make(const char *layer, const char *parent, struct export_control *control,
                              struct utility_vm **ret_vm)
{
    struct utility_vm *vm = mem_new(struct utility_vm);
    HANDLE parent_root = NULL, parent_vm = NULL, own = NULL;
    struct folder_info info = {0};
    vm->control = control;
    struct error *error = folder_open(layer, FILE_LIST_DIRECTORY | FILE_TRAVERSE | FILE_ADD_SUBDIRECTORY, &vm->layer);
    if (!error)
        error = folder_open(parent, FILE_LIST_DIRECTORY | FILE_TRAVERSE, &parent_root);
    if (error)
        goto out;
    folder_probe(&vm->volume, vm->layer);
    vm->chain = (struct chain){.volume = &vm->volume, .root = vm->layer};
    vm->first = vm->chain;
    vm->chain.keep_times = true;
    NTSTATUS status = folder_open_name(&vm->volume, parent_root, L"UtilityVM", FILE_TRAVERSE | FILE_LIST_DIRECTORY,
                                       FILE_DIRECTORY_FILE, &parent_vm);
    if (status >= 0)
        status = folder_info(parent_vm, &info);
    if (status < 0 || info.attributes & FILE_ATTRIBUTE_REPARSE_POINT) {
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "import entry", "UtilityVM",
                           "the layer changes a utility VM, and the parent %s has none", parent);
        goto out;
    }
    status = create_target(vm, vm->layer, L"UtilityVM", 9, true, &own);
    if (status == NT_OBJECT_NAME_COLLISION)
        error =
            error_make(ERROR_KIND_ALREADY_EXISTS, "import entry", "UtilityVM", "the layer has a utility VM already");
    else
        error = failed(status, "create folder", "UtilityVM");
    if (error)
        goto out;
    vm->made = true;
    error = clone_files(vm, parent_vm, own);

out:
    if (own)
        CloseHandle(own);
    if (parent_vm)
        CloseHandle(parent_vm);
    if (parent_root)
        CloseHandle(parent_root);
    if (error) {
        utility_vm_free(vm);
        return error;
    }
    *ret_vm = vm;
    return NULL;
}

/* ---- changes ---- */

/* Removes what is at the name; *ret_kept is a folder that may stay. */
static struct error *clear_name(struct utility_vm *vm, HANDLE folder, const WCHAR *name, const char *path,
                                bool keep_folder, bool *ret_found, HANDLE *ret_kept)
{
    HANDLE handle = NULL;
    struct folder_info info = {0};
    struct error *error = NULL;
    NTSTATUS status = folder_open_name(&vm->volume, folder, name, REMOVER_ACCESS, 0, &handle);
    if (status == NT_OBJECT_NAME_NOT_FOUND)
        return NULL;
    if (status >= 0)
        status = folder_info(handle, &info);
    *ret_found = true;
    bool is_tree = info.attributes & FILE_ATTRIBUTE_DIRECTORY && !(info.attributes & FILE_ATTRIBUTE_REPARSE_POINT);
    if (status >= 0 && is_tree && keep_folder) {
        *ret_kept = handle;
        return NULL;
    }
    if (status >= 0 && is_tree) {
        struct remover_report report = {0};
        error = remover_run_handle(handle, path, vm->control, &report);
        if (!error && report.left_total > 0)
            error = error_make(ERROR_KIND_FAILED_PRECONDITION, "replace", path, "%llu entries in it resist",
                               (unsigned long long)report.left_total);
        remover_report_free(&report);
        return error;
    }
    if (status >= 0)
        status = folder_delete(&vm->volume, handle);
    if (handle)
        CloseHandle(handle);
    return failed(status, "replace", path);
}

struct error *utility_vm_create(struct utility_vm *vm, const struct import_node *node, struct stream_sink **ret_sink)
{
    HANDLE folder = NULL, kept = NULL;
    WCHAR *name = NULL;
    size_t units = 0;
    bool found = false;
    struct sink_options sink = {
        .volume = &vm->volume,
        .path = node->path,
        .attributes = node->attributes,
        .modified = node->modified,
        .created = node->created,
        .security = true,
    };
    struct error *error = chain_parent(&vm->chain, node->path, &folder, &name, &units);
    bool plain_folder = node->folder && !(node->attributes & FILE_ATTRIBUTE_REPARSE_POINT);
    if (!error)
        error = clear_name(vm, folder, name, node->path, plain_folder, &found, &kept);
    if (!error && kept) {
        CloseHandle(kept);
        NTSTATUS status = folder_open_name(&vm->volume, folder, name, MAKE_ACCESS | ACCESS_SYSTEM_SECURITY,
                                           FILE_DIRECTORY_FILE, &sink.handle);
        if (status < 0)
            status = folder_open_name(&vm->volume, folder, name, MAKE_ACCESS, FILE_DIRECTORY_FILE, &sink.handle);
        error = failed(status, "open folder", node->path);
    } else if (!error) {
        error = failed(create_target(vm, folder, name, units, node->folder, &sink.handle), "create", node->path);
    }
    free(name);
    if (!error)
        *ret_sink = sink_plain(&sink);
    return error;
}

struct error *utility_vm_link(struct utility_vm *vm, const char *path, const char *first)
{
    HANDLE folder = NULL, first_folder = NULL, file = NULL, kept = NULL;
    WCHAR *name = NULL, *first_name = NULL;
    size_t units = 0, first_units = 0;
    bool found = false;
    struct error *error = chain_parent(&vm->chain, path, &folder, &name, &units);
    if (!error)
        error = chain_parent(&vm->first, first, &first_folder, &first_name, &first_units);
    if (!error)
        error = clear_name(vm, folder, name, path, false, &found, &kept);
    if (!error) {
        NTSTATUS status = folder_open_name(&vm->volume, first_folder, first_name, FILE_WRITE_ATTRIBUTES,
                                           FILE_NON_DIRECTORY_FILE, &file);
        error = status == NT_OBJECT_NAME_NOT_FOUND
                    ? error_make(ERROR_KIND_NOT_FOUND, "import entry", path,
                                 "it is a hard link to \"%s\", which the utility VM does not have", first)
                    : failed(status, "open file", first);
    }
    if (!error)
        error = failed(folder_link(file, folder, name, units), "create hard link", path);
    if (file)
        CloseHandle(file);
    free(name);
    free(first_name);
    return error;
}

struct error *utility_vm_delete(struct utility_vm *vm, const char *path)
{
    HANDLE folder = NULL, kept = NULL;
    WCHAR *name = NULL;
    size_t units = 0;
    bool found = false;
    struct error *error = chain_parent(&vm->chain, path, &folder, &name, &units);
    if (!error)
        error = clear_name(vm, folder, name, path, false, &found, &kept);
    if (!error && !found)
        error = error_make(ERROR_KIND_NOT_FOUND, "import entry", path,
                           "the layer deletes it, and the parent's utility VM does not have it");
    free(name);
    return error;
}

void utility_vm_finish(struct utility_vm *vm)
{
    chain_clear(&vm->first);
    chain_clear(&vm->chain);
    vm->finished = true;
}

void utility_vm_free(struct utility_vm *vm)
{
    if (!vm)
        return;
    chain_clear(&vm->first);
    chain_clear(&vm->chain);
    if (vm->made && !vm->finished) {
        HANDLE own = NULL;
        struct remover_report report = {0};
        if (folder_open_name(&vm->volume, vm->layer, L"UtilityVM", REMOVER_ACCESS, FILE_DIRECTORY_FILE, &own) >= 0)
            error_free(remover_run_handle(own, "UtilityVM", vm->control, &report));
        remover_report_free(&report);
    }
    if (vm->layer)
        CloseHandle(vm->layer);
    free(vm);
}
