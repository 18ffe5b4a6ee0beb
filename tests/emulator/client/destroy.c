#include "destroy.h"

#include "tree.h"

#define SHARE_ALL   (FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE)
#define DEPTH_LIMIT 500

/* Windows refuses to rename or remove a folder below which anything is open; Wine does not. So each file and folder is
 * opened once for itself alone: that fails while another handle is open, however it shares. */
static struct error *check_unused(HANDLE folder, struct work_fault *fault, unsigned depth)
{
    struct tree_folder list = {0};
    struct error *error = tree_list(folder, &list);

    if (error == NULL && depth > DEPTH_LIMIT)
        error = error_win32(ERROR_FILENAME_EXCED_RANGE, "DestroyLayer", NULL, "too deep");
    for (size_t i = 0; i < list.count && error == NULL; i++) {
        const struct tree_entry *entry = &list.entries[i];
        HANDLE handle = NULL;
        error = gate_strike_due(fault, false);
        if (error != NULL)
            break;
        error = tree_open(folder, entry->name, entry->units, TREE_ANY, GENERIC_READ | SYNCHRONIZE, 0, &handle);
        if (error != NULL && error->code == ERROR_SHARING_VIOLATION)
            break;
        if (error != NULL) {
            error_free(error);
            error = tree_open_id(folder, entry->id, GENERIC_READ | SYNCHRONIZE, 0, &handle);
        }
        if (error == NULL && tree_is_folder(entry))
            error = check_unused(handle, fault, depth + 1);
        if (handle != NULL)
            CloseHandle(handle);
    }
    tree_free(&list);
    return error;
}

struct error *destroy_layer(const wchar_t *path, struct work_fault *fault)
{
    HANDLE folder = NULL;
    struct error *error = tree_open(NULL, path, 0, TREE_FOLDER, GENERIC_READ | SYNCHRONIZE, 0, &folder);

    if (error != NULL && error->code == ERROR_FILE_NOT_FOUND)
        error->code = ERROR_PATH_NOT_FOUND;
    if (error == NULL)
        error = check_unused(folder, fault, 0);
    if (folder != NULL)
        CloseHandle(folder);
    if (error == NULL)
        error = gate_strike_due(fault, true);
    if (error != NULL)
        return error;
    error = tree_open(NULL, path, 0, TREE_FOLDER, DELETE | TREE_LIST | FILE_WRITE_ATTRIBUTES, SHARE_ALL, &folder);
    if (error != NULL)
        return error;
    error = tree_empty(folder);
    if (error == NULL)
        error = tree_delete(folder);
    CloseHandle(folder);
    return error;
}
