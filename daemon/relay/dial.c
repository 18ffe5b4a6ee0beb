#include "daemon/relay/dial.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/win.h"

#define AGAIN_MS     20u
#define AGAIN_MAX_MS 200u

struct dial {
    struct loop_work work; /* first */
    struct loop *loop;
    struct loop_timer timer; /* the next try, or the bound */
    enum endpoint_kind kind;
    char *path;
    bool input, working, cancelled;
    uint64_t end_ms;
    uint32_t pause_ms;
    HANDLE handle; /* by the worker, as the next */
    struct error *error;
    dial_done done;
    void *context;
};

struct error *dial_pipe(const char *path, bool input, HANDLE *ret_handle, DWORD *ret_code)
{
    wchar_t *wide = NULL;
    struct error *error = win_wide(path, &wide);
    if (error) {
        *ret_code = ERROR_INVALID_NAME;
        return error;
    }
    HANDLE handle = CreateFileW(wide, input ? GENERIC_READ : GENERIC_WRITE, 0, NULL, OPEN_EXISTING,
                                FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, NULL);
    *ret_code = handle == INVALID_HANDLE_VALUE ? GetLastError() : NO_ERROR;
    free(wide);
    if (handle == INVALID_HANDLE_VALUE)
        return error_win32(*ret_code, "open pipe", path, "the client must serve the pipe before it calls");
    if (GetFileType(handle) != FILE_TYPE_PIPE) {
        *ret_code = ERROR_BAD_PIPE;
        CloseHandle(handle);
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "open pipe", path, "this is no pipe");
    }
    *ret_handle = handle;
    return NULL;
}

static struct error *open_file(const char *path, HANDLE *ret_handle)
{
    BY_HANDLE_FILE_INFORMATION information;
    wchar_t *wide = NULL;
    struct error *error = win_path(path, &wide);
    if (error)
        return error;
    HANDLE handle = CreateFileW(wide, FILE_APPEND_DATA | FILE_READ_ATTRIBUTES | SYNCHRONIZE,
                                FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_ALWAYS,
                                FILE_ATTRIBUTE_NORMAL | FILE_FLAG_OVERLAPPED | FILE_FLAG_OPEN_REPARSE_POINT, NULL);
    free(wide);
    if (handle == INVALID_HANDLE_VALUE)
        return error_win32(GetLastError(), "open log file", path, NULL);
    if (GetFileType(handle) != FILE_TYPE_DISK)
        error = error_make(ERROR_KIND_INVALID_ARGUMENT, "open log file", path, "this is no file");
    else if (!GetFileInformationByHandle(handle, &information))
        error = error_win32(GetLastError(), "open log file", path, NULL);
    else if (information.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT)
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "open log file", path,
                           "this is a link, which may lead anywhere; give the file that it leads to");
    else if (information.nNumberOfLinks > 1)
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "open log file", path,
                           "this file has further names (hard links), so it may be another one than it seems");
    if (error)
        CloseHandle(handle);
    else
        *ret_handle = handle;
    return error;
}

static void dial_free(struct dial *dial)
{
    loop_timer_clear(dial->loop, &dial->timer);
    error_free(dial->error);
    win_close(dial->handle);
    free(dial->path);
    free(dial);
}

static void tell(struct dial *dial)
{
    struct error *error = dial->error;
    HANDLE handle = dial->handle;
    dial->error = NULL;
    dial->handle = NULL;
    dial_done done = dial->done;
    void *context = dial->context;
    dial->cancelled = true;
    if (!dial->working)
        dial_free(dial);
    done(context, error, handle);
}

static void try_pipe(struct loop_timer *timer)
{
    struct dial *dial = (struct dial *)((char *)timer - offsetof(struct dial, timer));
    DWORD code;
    error_free(dial->error);
    dial->error = dial_pipe(dial->path, dial->input, &dial->handle, &code);
    uint64_t now = clock_ms();
    if (!dial->error || code != ERROR_PIPE_BUSY || now >= dial->end_ms) {
        tell(dial);
        return;
    }
    loop_timer_set(dial->loop, &dial->timer, now + dial->pause_ms, try_pipe);
    dial->pause_ms = dial->pause_ms * 3 / 2 < AGAIN_MAX_MS ? dial->pause_ms * 3 / 2 : AGAIN_MAX_MS;
}

static void file_late(struct loop_timer *timer)
{
    struct dial *dial = (struct dial *)((char *)timer - offsetof(struct dial, timer));
    dial->done(dial->context,
               error_make(ERROR_KIND_DEADLINE_EXCEEDED, "open log file", dial->path,
                          "it has not opened within %u s; look at the disk that it is on", DIAL_MS / 1000),
               NULL);
    dial->cancelled = true;
}

static void file_run(struct loop_work *work)
{
    struct dial *dial = (struct dial *)work;
    dial->error = open_file(dial->path, &dial->handle);
}

static void file_done(struct loop_io *io, DWORD code, DWORD bytes)
{
    struct dial *dial = (struct dial *)io;
    (void)code, (void)bytes;
    dial->working = false;
    if (dial->cancelled)
        dial_free(dial);
    else
        tell(dial);
}

struct dial *dial_begin(struct loop *loop, const struct endpoint *endpoint, bool input, dial_done done, void *context)
{
    struct dial *dial = mem_new(struct dial);
    dial->loop = loop;
    dial->kind = endpoint->kind;
    dial->path = str_copy(endpoint->path);
    dial->input = input;
    dial->end_ms = clock_ms() + DIAL_MS;
    dial->pause_ms = AGAIN_MS;
    dial->done = done;
    dial->context = context;
    if (dial->kind == ENDPOINT_PIPE) {
        loop_timer_set(loop, &dial->timer, 0, try_pipe);
        return dial;
    }
    dial->work.run = file_run;
    dial->work.io.done = file_done;
    dial->working = true;
    dial->error = loop_work(loop, &dial->work);
    if (dial->error)
        loop_post(loop, &dial->work.io, NO_ERROR, 0); /* tells the error */
    else
        loop_timer_set(loop, &dial->timer, dial->end_ms, file_late);
    return dial;
}

void dial_cancel(struct dial *dial)
{
    if (!dial)
        return;
    dial->cancelled = true;
    loop_timer_clear(dial->loop, &dial->timer);
    if (!dial->working)
        dial_free(dial);
}
