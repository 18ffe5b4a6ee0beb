#include "daemon/worker/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/win.h"
#include "daemon/worker/message.h"
#include "daemon/worker/work.h"
#include "hcs/privilege.h"

#define BEAT_MS   250
#define JOB_STACK (1u << 20)

void (*worker_phase_hook)(const char *kind, const char *phase);

static const struct work_kind {
    const char *name;
    json_t *(*run)(struct work *work);
    bool tells_late;
} work_kinds[] = {
    {"export", work_export, false}, {"mount", work_mount, true},      {"release", work_unmount, true},
    {"clean", work_clean, false},   {"destroy", work_destroy, false}, {"sweep", work_sweep, false},
    {"layer", work_layer, false},   {"import", work_import, false},
};

/* The process's only worker, for the exception filter. */
static struct worker *the_worker;

/* What nobody handled ends the process with the exception as its exit code, without Windows Error Reporting: that would
 * suspend the process, alive to look at and with all its handles, for minutes. */
static LONG WINAPI end_by_exception(EXCEPTION_POINTERS *exception)
{
    DWORD code = exception->ExceptionRecord->ExceptionCode;
    char text[192];
    struct work *work = the_worker != NULL ? atomic_load(&the_worker->current) : NULL;
    snprintf(text, sizeof text, "{\"type\":\"crash\",\"code\":%lu,\"address\":\"%p\",\"phase\":\"%s\"}", code,
             exception->ExceptionRecord->ExceptionAddress, work != NULL ? atomic_load(&work->phase) : "");
    if (the_worker != NULL)
        wire_write_last(the_worker->wire, text);
    TerminateProcess(GetCurrentProcess(), code);
    return EXCEPTION_EXECUTE_HANDLER;
}

/* Without hcsd there is nothing to do and nobody to tell. Not exit(): a thread may be lost in a DLL. */
static _Noreturn void end_process(DWORD code)
{
    TerminateProcess(GetCurrentProcess(), code);
    for (;;)
        ;
}

static void send_message(struct worker *worker, json_t *message)
{
    struct error *error = wire_write_json(worker->wire, message, INFINITE);
    if (error != NULL)
        end_process(ERROR_BROKEN_PIPE);
}

/* ---- what a job's steps use ---------------------------------------------------------------------------------- */

void work_send(struct work *work, json_t *message)
{
    json_object_set_new(message, "job", json_string(work->id));
    send_message(work->worker, message);
}

void work_phase(struct work *work, const char *phase)
{
    atomic_store(&work->phase, phase);
    /* What was in hand was so in the phase before: a call that hangs now must not be laid to it. */
    export_control_set_path(&work->control, "");
    if (!work->tells_late)
        work_send(work, json_pack("{s:s, s:s}", "type", "phase", "phase", phase));
    if (worker_phase_hook != NULL)
        worker_phase_hook(work->kind, phase);
}

static struct error *cancelled(const struct work *work)
{
    return error_make(ERROR_KIND_CANCELLED, work->kind, NULL, "the job was cancelled");
}

struct error *work_check(struct work *work)
{
    AcquireSRWLockShared(&work->worker->lock);
    bool stop = work->cancelled;
    ReleaseSRWLockShared(&work->worker->lock);
    return stop ? cancelled(work) : NULL;
}

struct error *work_request(struct work *work, const char *step)
{
    struct worker *worker = work->worker;
    struct error *error = NULL;
    work_send(work, json_pack("{s:s, s:s}", "type", "request", "step", step));
    AcquireSRWLockExclusive(&worker->lock);
    while (!work->cancelled && work->refused == NULL && (work->granted == NULL || strcmp(work->granted, step) != 0))
        SleepConditionVariableSRW(&worker->changed, &worker->lock, INFINITE, 0); /* the watchdog's to bound */
    if (work->cancelled)
        error = cancelled(work);
    else if (work->refused != NULL)
        error = work->refused;
    if (error == work->refused)
        work->refused = NULL;
    work->granted = NULL;
    ReleaseSRWLockExclusive(&worker->lock);
    return error;
}

/* ---- PrepareLayer's turn ------------------------------------------------------------------------------------- */

struct error *work_turn_take(struct work *work)
{
    struct worker *worker = work->worker;
    struct error *error = NULL;
    AcquireSRWLockExclusive(&worker->lock);
    bool lent = work->turn == TURN_LENT;
    bool stop = work->cancelled;
    if (lent && !stop)
        work->turn = TURN_USED;
    ReleaseSRWLockExclusive(&worker->lock);
    if (stop)
        return cancelled(work);
    if (!lent) {
        work_phase(work, "turn");
        error = work_request(work, "prepare");
    }
    if (error == NULL)
        work_phase(work, "prepare");
    return error;
}

static void give_turn_back(struct work *work)
{
    work_send(work, json_pack("{s:s, s:s}", "type", "release", "step", "prepare"));
}

void work_turn_end(struct work *work)
{
    struct worker *worker = work->worker;
    AcquireSRWLockExclusive(&worker->lock);
    bool keep = work->turn == TURN_USED;
    work->turn = keep ? TURN_LENT : TURN_ASKED;
    ReleaseSRWLockExclusive(&worker->lock);
    if (!keep)
        give_turn_back(work);
}

/* On the control thread, which answers whatever the job's thread is stuck in. */
static void recall_turn(struct work *work)
{
    struct worker *worker = work->worker;
    AcquireSRWLockExclusive(&worker->lock);
    bool now = work->turn == TURN_LENT;
    if (now)
        work->turn = TURN_ASKED;
    else if (work->turn == TURN_USED)
        work->turn = TURN_WANTED;
    ReleaseSRWLockExclusive(&worker->lock);
    if (now)
        give_turn_back(work);
}

struct error *work_send_data(void *context, const void *data, size_t size)
{
    struct work *work = context;
    struct worker *worker = work->worker;
    const uint8_t *bytes = data;
    while (size > 0) {
        AcquireSRWLockExclusive(&worker->lock);
        while (work->credit == 0 && !work->cancelled)
            SleepConditionVariableSRW(&worker->changed, &worker->lock, INFINITE, 0); /* as long as the reader takes */
        bool stop = work->cancelled;
        size_t piece = size < WIRE_DATA_MAX ? size : WIRE_DATA_MAX;
        if (piece > work->credit)
            piece = (size_t)work->credit;
        work->credit -= piece;
        ReleaseSRWLockExclusive(&worker->lock);
        if (stop)
            return cancelled(work);
        struct error *error = wire_write(worker->wire, WIRE_DATA, bytes, piece, INFINITE);
        if (error != NULL)
            end_process(ERROR_BROKEN_PIPE);
        bytes += piece;
        size -= piece;
    }
    return NULL;
}

/* ---- the job's thread ---------------------------------------------------------------------------------------- */

static const struct work_kind *find_kind(const char *name)
{
    for (size_t i = 0; i < sizeof work_kinds / sizeof work_kinds[0]; i++)
        if (strcmp(work_kinds[i].name, name) == 0)
            return &work_kinds[i];
    return NULL;
}

static void run_job(struct work *work)
{
    const struct work_kind *kind = find_kind(work->kind);
    json_t *end = NULL;
    if (kind != NULL) {
        end = kind->run(work);
    } else {
        struct error *error = error_make(ERROR_KIND_UNIMPLEMENTED, work->kind, NULL, "this worker knows no such job");
        end = json_pack("{s:o}", "error", message_pack_error(error));
        error_free(error);
    }
    json_object_set_new(end, "type", json_string("end"));
    work_send(work, end);
}

/* One after the other, as long as the process lives: a thread for each costs more than a mount does. */
static DWORD WINAPI work_thread(void *context)
{
    struct worker *worker = context;
    for (;;) {
        AcquireSRWLockExclusive(&worker->lock);
        while (worker->next == NULL)
            SleepConditionVariableSRW(&worker->changed, &worker->lock, INFINITE, 0);
        struct work *work = worker->next;
        worker->next = NULL;
        ReleaseSRWLockExclusive(&worker->lock);
        run_job(work);
        SetEvent(worker->done);
    }
    return 0;
}

struct beat {
    uint64_t entries, bytes, output_bytes, removed, io;
    char *path;
};

/* The handle is opened by the control thread: what breaks the job's thread's call off would look like a change. Opening it may take
 * its time, and the job's thread may be through with the folder then. */
static void watch_changes(struct work *work, const char *folder)
{
    wchar_t *wide = NULL;
    HANDLE changes = INVALID_HANDLE_VALUE;
    struct error *error = win_path(folder, &wide);
    if (error == NULL)
        changes = FindFirstChangeNotificationW(
            wide, TRUE, FILE_NOTIFY_CHANGE_FILE_NAME | FILE_NOTIFY_CHANGE_DIR_NAME | FILE_NOTIFY_CHANGE_SIZE);
    AcquireSRWLockExclusive(&work->worker->lock);
    if (work->watched == folder && changes != INVALID_HANDLE_VALUE) {
        work->staging_changes = changes;
        changes = INVALID_HANDLE_VALUE;
    } else if (work->watched == folder) {
        work->watched = NULL; /* then there is one sign of life less */
    }
    ReleaseSRWLockExclusive(&work->worker->lock);
    if (changes != INVALID_HANDLE_VALUE)
        FindCloseChangeNotification(changes);
    error_free(error);
    free(wide);
}

/* A storage call tells nothing of its progress itself. What can be seen is what the process reads and asks for (its writes
 * are our own messages too; Wine keeps no such counts), and that something appears or grows in the staging folder. */
static uint64_t calls_progress(struct work *work)
{
    IO_COUNTERS io = {0};
    AcquireSRWLockExclusive(&work->worker->lock);
    const char *unwatched = work->staging_changes == NULL ? work->watched : NULL;
    if (work->staging_changes != NULL && WaitForSingleObject(work->staging_changes, 0) == WAIT_OBJECT_0) {
        work->changes_seen++;
        FindNextChangeNotification(work->staging_changes);
    }
    uint64_t progress = work->changes_seen;
    ReleaseSRWLockExclusive(&work->worker->lock);
    if (unwatched != NULL)
        watch_changes(work, unwatched);
    if (GetProcessIoCounters(GetCurrentProcess(), &io))
        progress += io.ReadOperationCount + io.OtherOperationCount;
    return progress;
}

void work_watch_staging(struct work *work, const char *folder)
{
    AcquireSRWLockExclusive(&work->worker->lock);
    HANDLE changes = work->staging_changes;
    work->staging_changes = NULL;
    work->watched = folder;
    ReleaseSRWLockExclusive(&work->worker->lock);
    if (changes != NULL)
        FindCloseChangeNotification(changes);
}

static void beat_send(struct work *work, struct beat *last)
{
    const char *phase = atomic_load(&work->phase);
    if (work->tells_late && phase != work->told) {
        work->told = phase;
        work_send(work, json_pack("{s:s, s:s}", "type", "phase", "phase", phase));
    }
    char *path = export_control_path(&work->cleaning);
    if (path == NULL || path[0] == '\0') {
        free(path);
        path = export_control_path(&work->control);
    }
    struct beat now = {
        .entries = atomic_load(&work->control.entries),
        .bytes = atomic_load(&work->control.bytes),
        .output_bytes = atomic_load(&work->control.output_bytes),
        .removed = atomic_load(&work->control.removed) + atomic_load(&work->cleaning.removed),
        .io = last->io,
        .path = path,
    };
    if (atomic_load(&work->calling))
        now.io = calls_progress(work);
    bool same = now.entries == last->entries && now.bytes == last->bytes && now.output_bytes == last->output_bytes &&
                now.removed == last->removed && now.io == last->io && last->path != NULL && now.path != NULL &&
                strcmp(last->path, now.path) == 0;
    if (!same)
        work_send(work, json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:s}", "type", "progress", "entries",
                                  (json_int_t)now.entries, "bytes", (json_int_t)now.bytes, "output_bytes",
                                  (json_int_t)now.output_bytes, "removed", (json_int_t)now.removed, "io",
                                  (json_int_t)now.io, "path", now.path != NULL ? now.path : ""));
    free(last->path);
    *last = now;
}

/* ---- the control loop ---------------------------------------------------------------------------------------- */

struct control {
    struct worker *worker;
    struct work *work; /* NULL: idle */
    HANDLE thread;     /* the jobs'; NULL before the first */
    struct beat last;
    uint64_t beat_ms; /* when progress is told next */
};

static void end_job(struct control *control);

static struct error *begin_job(struct control *control, json_t *message)
{
    struct worker *worker = control->worker;
    /* The next job may come between the last one's `end` and its thread's word that it is through. */
    if (control->work != NULL && WaitForSingleObject(worker->done, 5000) == WAIT_OBJECT_0)
        end_job(control);
    if (control->work != NULL)
        return error_make(ERROR_KIND_INTERNAL, "begin job", NULL, "a job is in hand already");
    if (control->thread == NULL)
        control->thread = CreateThread(NULL, JOB_STACK, work_thread, worker, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    if (control->thread == NULL)
        return error_win32(GetLastError(), "begin job", message_text(message, "job"), NULL);
    struct work *work = mem_new(struct work);
    work->worker = worker;
    work->id = str_copy(message_text(message, "job"));
    work->kind = str_copy(message_text(message, "kind"));
    const struct work_kind *kind = find_kind(work->kind);
    work->tells_late = kind != NULL && kind->tells_late;
    work->order = json_incref(message);
    work->credit = message_number(message, "credit");
    work->turn = json_is_true(json_object_get(message, "turn")) ? TURN_LENT : TURN_ASKED;
    work->told = "begin";
    atomic_store(&work->phase, work->told);
    export_control_init(&work->control);
    export_control_init(&work->cleaning);
    control->beat_ms = clock_ms() + BEAT_MS;
    control->work = work;
    atomic_store(&worker->current, work);
    AcquireSRWLockExclusive(&worker->lock);
    worker->next = work;
    ReleaseSRWLockExclusive(&worker->lock);
    WakeAllConditionVariable(&worker->changed);
    return NULL;
}

static void end_job(struct control *control)
{
    struct work *work = control->work;
    atomic_store(&control->worker->current, NULL);
    free(control->last.path);
    control->last = (struct beat){0};
    control->work = NULL;
    export_control_free(&work->control);
    export_control_free(&work->cleaning);
    error_free(work->refused);
    json_decref(work->order);
    free(work->id);
    free(work->kind);
    free(work);
    HeapCompact(GetProcessHeap(), 0);
}

static void answer_request(struct work *work, const json_t *message, bool granted)
{
    static const char *const steps[] = {"activate", "prepare", "make"};
    struct worker *worker = work->worker;
    AcquireSRWLockExclusive(&worker->lock);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        if (granted && strcmp(message_text(message, "step"), steps[i]) == 0)
            work->granted = steps[i];
    if (!granted && work->refused == NULL) {
        work->refused = message_unpack_error(json_object_get(message, "error"));
        if (work->refused == NULL)
            work->refused = error_make(ERROR_KIND_INTERNAL, "ask hcsd", NULL, "refused without a reason");
    }
    ReleaseSRWLockExclusive(&worker->lock);
    WakeAllConditionVariable(&worker->changed);
}

static void cancel_job(struct control *control)
{
    struct work *work = control->work;
    AcquireSRWLockExclusive(&work->worker->lock);
    work->cancelled = true;
    ReleaseSRWLockExclusive(&work->worker->lock);
    atomic_store(&work->control.cancelled, true);
    WakeAllConditionVariable(&work->worker->changed);
}

/* What the job's thread may be blocked in is broken off once; that does nothing to calls that cannot be. */
static void go_around(struct control *control)
{
    atomic_store(&control->work->control.go_around, true);
    atomic_store(&control->work->cleaning.go_around, true);
    CancelSynchronousIo(control->thread);
}

static void add_credit(struct work *work, uint64_t bytes)
{
    AcquireSRWLockExclusive(&work->worker->lock);
    work->credit += bytes;
    ReleaseSRWLockExclusive(&work->worker->lock);
    WakeAllConditionVariable(&work->worker->changed);
}

static struct error *take_message(struct control *control, json_t *message)
{
    const char *type = message_text(message, "type");
    if (strcmp(type, "job") == 0)
        return begin_job(control, message);
    if (strcmp(type, "end") == 0)
        end_process(0);
    /* What is meant for a job that has ended meanwhile is no longer of interest. */
    if (control->work == NULL || strcmp(message_text(message, "job"), control->work->id) != 0)
        return NULL;
    if (strcmp(type, "grant") == 0 || strcmp(type, "refuse") == 0)
        answer_request(control->work, message, type[0] == 'g');
    else if (strcmp(type, "credit") == 0)
        add_credit(control->work, message_number(message, "bytes"));
    else if (strcmp(type, "cancel") == 0)
        cancel_job(control);
    else if (strcmp(type, "go_around") == 0)
        go_around(control);
    else if (strcmp(type, "recall") == 0)
        recall_turn(control->work);
    return NULL;
}

static struct error *take_frame(struct control *control)
{
    bool whole = false;
    struct wire_frame frame = {0};
    json_t *message = NULL;
    struct error *error = wire_read_end(control->worker->wire, &whole, &frame);
    if (error != NULL || !whole)
        return error;
    error = wire_frame_json(&frame, &message);
    if (error == NULL)
        error = take_message(control, message);
    json_decref(message);
    free(frame.data);
    return error;
}

/* How long to wait before progress is to be told. By the clock, not since the last message: a reader that takes its stream
 * quickly sends credit all the time. */
static DWORD until_beat(struct control *control)
{
    uint64_t now = clock_ms();
    if (control->beat_ms <= now) {
        beat_send(control->work, &control->last);
        control->beat_ms = now + BEAT_MS;
    }
    return (DWORD)(control->beat_ms - now);
}

static struct error *control_loop(struct worker *worker)
{
    struct control control = {.worker = worker};
    for (;;) {
        struct error *error = wire_read_begin(worker->wire);
        if (error != NULL)
            return error;
        bool busy = control.work != NULL;
        HANDLE handles[2] = {wire_read_event(worker->wire), worker->done};
        DWORD waited = WaitForMultipleObjects(busy ? 2 : 1, handles, FALSE, busy ? until_beat(&control) : INFINITE);
        if (waited == WAIT_TIMEOUT)
            continue;
        if (waited == WAIT_OBJECT_0)
            error = take_frame(&control);
        else if (busy && waited == WAIT_OBJECT_0 + 1)
            end_job(&control);
        else
            error = error_win32(GetLastError(), "wait for work", NULL, NULL);
        if (error != NULL)
            return error;
    }
}

/* ---- the process --------------------------------------------------------------------------------------------- */

bool worker_wanted(int argc, wchar_t **argv)
{
    return argc > 1 && wcscmp(argv[1], L"--worker") == 0;
}

static bool parse_arguments(int argc, wchar_t **argv, HANDLE *ret_control, char **ret_library)
{
    bool found = false;
    for (int i = 2; i + 1 < argc; i += 2) {
        if (wcscmp(argv[i], L"--control") == 0) {
            *ret_control = (HANDLE)(uintptr_t)wcstoull(argv[i + 1], NULL, 0);
            found = true;
        } else if (wcscmp(argv[i], L"--hcs-library") == 0) {
            *ret_library = win_text(argv[i + 1]);
        }
    }
    return found;
}

static json_t *hello(const struct error *privileges)
{
    return json_pack("{s:s, s:i, s:i, s:o}", "type", "hello", "protocol", MESSAGE_PROTOCOL, "pid",
                     (int)GetCurrentProcessId(), "privileges", message_pack_error(privileges));
}

int worker_main(int argc, wchar_t **argv)
{
    struct worker worker = {0};
    HANDLE pipe = NULL;
    char *library = NULL;
    SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX | SEM_NOOPENFILEERRORBOX);
    /* After the C runtime's start, which sets one of its own. */
    SetUnhandledExceptionFilter(end_by_exception);
    if (!parse_arguments(argc, argv, &pipe, &library))
        return ERROR_BAD_ARGUMENTS;
    /* Inherited for us, not for whatever a DLL may start. */
    SetHandleInformation(pipe, HANDLE_FLAG_INHERIT, 0);
    worker.wire = wire_new(pipe);
    InitializeSRWLock(&worker.lock);
    InitializeConditionVariable(&worker.changed);
    worker.done = CreateEventW(NULL, FALSE, FALSE, NULL);
    if (worker.done == NULL)
        end_process(GetLastError());
    the_worker = &worker;

    struct error *privileges = privilege_enable(privilege_storage, privilege_storage_count);
    struct error *error = hcs_library_new(library, &worker.library);
    if (error == NULL)
        error = storage_new(worker.library, NULL, NULL, &worker.storage);
    if (error != NULL)
        end_process(error->code != 0 ? error->code : ERROR_INVALID_PARAMETER);
    send_message(&worker, hello(privileges));
    error_free(privileges);
    free(library);
    error = control_loop(&worker);
    end_process(error->kind == ERROR_KIND_UNAVAILABLE ? ERROR_BROKEN_PIPE : ERROR_INVALID_DATA);
}
