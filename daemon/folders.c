#include "daemon/folders.h"

#include <windows.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/win.h"
#include "daemon/folder.h"

/* One hcsd at a time works with a state folder: two would take each other's staging folders for leftovers. */
static struct error *lock_state(const char *state_dir, HANDLE *ret_lock)
{
    char *path = path_join(state_dir, "hcsd.lock");
    wchar_t *wide = NULL;
    struct error *error = win_path(path, &wide);
    if (error == NULL) {
        HANDLE lock = CreateFileW(wide, GENERIC_WRITE, 0, NULL, OPEN_ALWAYS,
                                  FILE_ATTRIBUTE_NORMAL | FILE_FLAG_DELETE_ON_CLOSE, NULL);
        if (lock == INVALID_HANDLE_VALUE)
            error = error_set_kind(
                error_win32(GetLastError(), "lock the state folder", path, "another hcsd works with this folder"),
                ERROR_KIND_FAILED_PRECONDITION);
        else
            *ret_lock = lock;
    }
    free(wide);
    free(path);
    return error;
}

struct error *folders_open(const struct config *config, struct log *log, void **ret_lock)
{
    char *data = NULL, *base = NULL, *jobs = path_join(config->state_dir, "jobs");
    char *tasks = path_join(config->state_dir, "tasks"), *logs = path_join(config->state_dir, "log");
    struct error *error = folder_program_data(&data);
    if (error == NULL) {
        /* It holds the configuration that SYSTEM obeys, so nobody else may put a file there. */
        base = path_join(data, "hcsd");
        error = folder_secure(base, FOLDER_OTHERS_READ);
    }
    if (error == NULL)
        error = folder_secure(config->state_dir, FOLDER_PRIVATE);
    if (error == NULL)
        error = folder_secure(config->staging_dir, FOLDER_PRIVATE);
    if (error == NULL)
        error = lock_state(config->state_dir, ret_lock);
    if (error == NULL)
        error = file_ensure_folder(jobs);
    if (error == NULL)
        error = file_ensure_folder(tasks);
    if (error == NULL)
        error = log_add_file(log, logs);
    free(logs);
    free(tasks);
    free(jobs);
    free(base);
    free(data);
    return error;
}
