#include "daemon/log/log_file.h"

#include <windows.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/win.h"

struct log_file {
    wchar_t *paths[LOG_FILE_COUNT]; /* the current one first */
    HANDLE handle;
    uint64_t size, size_max;
};

static void append(struct log_file *file, const void *line, size_t size)
{
    DWORD count = 0;
    if (WriteFile(file->handle, line, (DWORD)size, &count, NULL))
        file->size += count;
}

static struct error *open_current(struct log_file *file)
{
    LARGE_INTEGER size;
    char last = '\n';
    /* Shared for deletion, so that our own rotation can rename what a viewer shares likewise. */
    HANDLE handle = CreateFileW(file->paths[0], GENERIC_READ | FILE_APPEND_DATA, FILE_SHARE_READ | FILE_SHARE_DELETE,
                                NULL, OPEN_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
    if (handle == INVALID_HANDLE_VALUE || !GetFileSizeEx(handle, &size)) {
        DWORD code = GetLastError();
        char *path = win_text(file->paths[0]);
        struct error *error = error_win32(code, "open the log file", path, NULL);
        free(path);
        win_close(handle);
        return error;
    }
    file->handle = handle;
    file->size = (uint64_t)size.QuadPart;
    /* A line that a crash has cut must not swallow the next. */
    OVERLAPPED at = {.Offset = (DWORD)(file->size - 1), .OffsetHigh = (DWORD)((file->size - 1) >> 32)};
    DWORD count;
    if (file->size != 0 && ReadFile(handle, &last, 1, &count, &at) && last != '\n')
        append(file, "\n", 1); /* no rotation: that opens the file, too */
    return NULL;
}

struct error *log_file_open(const char *folder, uint64_t size_max, struct log_file **ret_file)
{
    struct error *error = file_ensure_folder(folder);
    struct log_file *file = mem_new(struct log_file);
    file->size_max = size_max == 0 ? LOG_FILE_SIZE_MAX : size_max;
    for (unsigned i = 0; i < LOG_FILE_COUNT && error == NULL; i++) {
        char *name = i == 0 ? str_copy("hcsd.log") : str_format("hcsd.log.%u", i);
        char *path = path_join(folder, name);
        error = win_path(path, &file->paths[i]);
        free(path);
        free(name);
    }
    if (error == NULL)
        error = open_current(file);
    if (error != NULL) {
        log_file_close(file);
        return error;
    }
    *ret_file = file;
    return NULL;
}

static void rotate(struct log_file *file)
{
    win_close(file->handle);
    for (unsigned i = LOG_FILE_COUNT - 1; i > 0; i--)
        MoveFileExW(file->paths[i - 1], file->paths[i], MOVEFILE_REPLACE_EXISTING);
    error_free(open_current(file));
    /* Somebody holds it without sharing deletion. One more size, then the bound counts more than what is in it. */
    if (file->handle != NULL && file->size > 2 * file->size_max) {
        win_close(file->handle);
        HANDLE handle = CreateFileW(file->paths[0], GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_DELETE, NULL,
                                    TRUNCATE_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
        win_close(handle);
        error_free(open_current(file));
    }
}

void log_file_write(struct log_file *file, const void *line, size_t size)
{
    if (file->handle != NULL && file->size != 0 && file->size + size > file->size_max)
        rotate(file);
    if (file->handle == NULL)
        error_free(open_current(file));
    if (file->handle != NULL)
        append(file, line, size);
}

void log_file_close(struct log_file *file)
{
    if (file == NULL)
        return;
    win_close(file->handle);
    for (unsigned i = 0; i < LOG_FILE_COUNT; i++)
        free(file->paths[i]);
    free(file);
}
