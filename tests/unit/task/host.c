#include "host.h"

#include <stdio.h>
#include <string.h>
#include <winternl.h>

#include "base/clock.h"
#include "base/event.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/text.h"
#include "hcs/privilege.h"
#include "hcs/storage.h"

struct host host;

static struct storage *storage;
static SRWLOCK lock = SRWLOCK_INIT;
static CONDITION_VARIABLE changed = CONDITION_VARIABLE_INIT;
static char *task_text, *operator_text;
static char mounted[256][80];
static unsigned generation;
static char *relay_image;

static void must(struct error *error)
{
    if (!error)
        return;
    char *text = error_text(error);
    print_error("%s\n", text);
    free(text);
    fail();
}

static void append(char **text, char *line)
{
    AcquireSRWLockExclusive(&lock);
    char *longer = str_format("%s%s\n", *text ? *text : "", line);
    free(*text);
    *text = longer;
    host.event_count++;
    ReleaseSRWLockExclusive(&lock);
    WakeAllConditionVariable(&changed);
    free(line);
}

static void emit(void *context, const struct event_entry *entry, const char *const *arguments)
{
    (void)context;
    char *text = event_text(entry, arguments);
    append(&operator_text, str_format("%s|%s", entry->name, text));
    free(text);
}

static void debug(void *context, const char *line)
{
    (void)context;
    append(&operator_text, str_format("debug|%s", line));
}

static void on_event(void *context, const char *topic, const struct task_view *view)
{
    (void)context;
    append(&task_text, str_format("%s %s%s%s %d %u", topic, view->id, *view->exec_id ? "/" : "", view->exec_id,
                                  view->status, view->exit_status));
}

void await(bool (*condition)(void *context), void *context, const char *what)
{
    uint64_t end = clock_ms() + HOST_BOUND_MS;
    AcquireSRWLockExclusive(&lock);
    while (!condition(context)) {
        if (clock_ms() >= end) {
            ReleaseSRWLockExclusive(&lock);
            print_error("waited in vain for %s\nevents:\n%s\noperator:\n%s\n", what, task_text, operator_text);
            fail();
        }
        SleepConditionVariableSRW(&changed, &lock, 50, 0);
    }
    ReleaseSRWLockExclusive(&lock);
}

char *events(void)
{
    AcquireSRWLockShared(&lock);
    char *copy = str_copy(task_text ? task_text : "");
    ReleaseSRWLockShared(&lock);
    return copy;
}

static bool has_event(void *context)
{
    return task_text && strstr(task_text, context);
}

void await_event_text(const char *part)
{
    await(has_event, (void *)part, part);
}

size_t event_lines(const char *part)
{
    size_t count = 0;
    char *text = events();
    for (const char *at = strstr(text, part); at; at = strstr(at + 1, part))
        count++;
    free(text);
    return count;
}

struct wanted {
    const char *name, *part;
};

static bool has_operator_event(void *context)
{
    const struct wanted *wanted = context;
    bool found = false;
    char *copy = str_copy(operator_text ? operator_text : "");
    for (char *line = copy, *end; *line && !found; line = end + 1) {
        end = strchr(line, '\n');
        *end = 0;
        size_t size = strlen(wanted->name);
        found = !strncmp(line, wanted->name, size) && line[size] == '|' && strstr(line, wanted->part);
    }
    free(copy);
    return found;
}

bool operator_event(const char *name, const char *part)
{
    struct wanted wanted = {name, part};
    AcquireSRWLockShared(&lock);
    bool found = has_operator_event(&wanted);
    ReleaseSRWLockShared(&lock);
    return found;
}

void await_operator_event(const char *name, const char *part)
{
    struct wanted wanted = {name, part};
    await(has_operator_event, &wanted, name);
}

/* ---- layers ---- */

static struct error *mount_layers(void *context, const char *holder, const char *scratch, const char *const *parents,
                                  size_t parent_count, char **ret_volume)
{
    struct hcs_layer_list list;
    (void)context;
    struct error *error = hcs_layer_list_make(storage, parents, parent_count, &list);
    if (error)
        return error;
    error = storage_attach(storage, scratch, &list, NULL);
    if (!error)
        error = storage_mount_path(storage, scratch, ret_volume);
    hcs_layer_list_free(&list);
    AcquireSRWLockExclusive(&lock);
    for (size_t i = 0; !error && i < 256; i++)
        if (!*mounted[i]) {
            snprintf(mounted[i], sizeof mounted[i], "%s", holder);
            break;
        }
    ReleaseSRWLockExclusive(&lock);
    return error;
}

static struct error *release_layers(void *context, const char *holder, const char *scratch)
{
    (void)context;
    AcquireSRWLockExclusive(&lock);
    for (size_t i = 0; i < 256; i++)
        if (!strcmp(mounted[i], holder))
            *mounted[i] = 0;
    ReleaseSRWLockExclusive(&lock);
    return storage_detach(storage, scratch, NULL);
}

bool host_layer_mounted(const char *id)
{
    char holder[80];
    bool found = false;
    snprintf(holder, sizeof holder, "container %s", id);
    AcquireSRWLockShared(&lock);
    for (size_t i = 0; i < 256; i++)
        found = found || !strcmp(mounted[i], holder);
    ReleaseSRWLockShared(&lock);
    return found;
}

/* ---- the host ---- */

char *host_path(const char *name)
{
    return path_join(host.folder, name);
}

static void copy_file(const char *from_folder, const char *name)
{
    char *from = path_join(from_folder, name), *to = host_path(name);
    char16_t *wide_from = text_to_utf16(from, NULL), *wide_to = text_to_utf16(to, NULL);
    if (!CopyFileW((PCWSTR)wide_from, (PCWSTR)wide_to, FALSE)) {
        print_error("copy %s to %s: %lu\n", from, to, GetLastError());
        fail();
    }
    free(from);
    free(to);
    free(wide_from);
    free(wide_to);
}

static void init(const char *emulator_folder, const char *relay)
{
    host.kill_seconds = 3;
    wchar_t temporary[MAX_PATH];
    static const struct event_sink sink = {emit, debug, NULL};
    GetTempPathW(MAX_PATH, temporary);
    char *base = text_from_utf16z((const char16_t *)temporary);
    char *folder = str_format("%shcsd-task-%lu", base, GetCurrentProcessId());
    host.folder = folder;
    free(base);
    must(file_ensure_folder(folder));
    char *source = emulator_folder[0] == '/' ? str_format("Z:%s", emulator_folder) : str_copy(emulator_folder);
    copy_file(source, "vmcompute.dll");
    copy_file(source, "hcsemu.exe");
    free(source);
    relay_image = relay[0] == '/' ? str_format("Z:%s", relay) : str_copy(relay);
    for (char *at = relay_image; *at; at++)
        if (*at == '/')
            *at = '\\';
    error_free(privilege_enable(privilege_storage, privilege_storage_count));
    char *dll = host_path("vmcompute.dll");
    must(hcs_library_new(dll, &host.library));
    free(dll);
    event_set_sink(&sink);
    const struct guard_options guard = {.call_ms = 5000, .max_lost_calls = 256};
    must(guard_new(&guard, &host.guard));
    must(compute_new(host.library, host.guard, NULL, NULL, &host.compute));
    must(storage_new(host.library, NULL, NULL, &storage));
}

bool host_begin(int argc, char **argv)
{
    if (argc < 3)
        return false;
    if (argc > 3)
        cmocka_set_test_filter(argv[3]);
    init(argv[1], argv[2]);
    return true;
}

void host_end(void)
{
    storage_free(storage);
    compute_free(host.compute);
    guard_close(host.guard, 5000);
    event_set_sink(NULL);
    free(host.folder);
    free(relay_image);
    free(task_text);
    free(operator_text);
}

char *host_state(void)
{
    char name[32];
    snprintf(name, sizeof name, "state%u", generation);
    return host_path(name);
}

void host_open(bool terminate_survivors)
{
    char *state = host_state();
    must(file_ensure_folder(state));
    char *relays = path_join(state, "relays");
    const struct relays_options relays_options = {
        .image = relay_image, .state_dir = relays, .hold_ms = HOST_DRAIN_SECONDS * 1000};
    must(relays_open(&relays_options, &host.relays));
    free(relays);
    const struct tasks_options options = {
        .library = host.library,
        .guard = host.guard,
        .compute = host.compute,
        .relays = host.relays,
        .owner = "hcsd",
        .call_seconds = 5,
        .kill_answer_seconds = host.kill_seconds,
        .drain_seconds = HOST_DRAIN_SECONDS,
        .stall_seconds = 1,
        .state_dir = state,
        .terminate_survivors = terminate_survivors,
        .mount_layers = mount_layers,
        .release_layers = release_layers,
        .event = on_event,
    };
    must(tasks_open(&options, &host.tasks));
    free(state);
}

int host_setup(void **state)
{
    (void)state;
    host_faults(NULL);
    generation++;
    AcquireSRWLockExclusive(&lock);
    free(task_text);
    free(operator_text);
    task_text = operator_text = NULL;
    ReleaseSRWLockExclusive(&lock);
    host_open(false);
    return 0;
}

static bool idle(void *context)
{
    (void)context;
    return tasks_in_flight(host.tasks) == 0;
}

int host_teardown(void **state)
{
    (void)state;
    host_faults(NULL);
    await(idle, NULL, "all operations to end");
    if (tasks_count(host.tasks)) {
        print_error("%u containers are left\n", (unsigned)tasks_count(host.tasks));
        fail();
    }
    tasks_close(host.tasks, HOST_BOUND_MS);
    relays_close(host.relays);
    for (size_t i = 0; i < 256; i++)
        if (*mounted[i]) {
            print_error("layers of %s are still mounted\n", mounted[i]);
            *mounted[i] = 0;
            fail();
        }
    return 0;
}

void host_restart(bool terminate_survivors)
{
    tasks_close(host.tasks, HOST_BOUND_MS);
    relays_close(host.relays);
    host_open(terminate_survivors);
}

void host_faults(const char *rows)
{
    char *path = host_path("vmcompute-faults.json");
    if (rows)
        must(file_replace(path, rows, strlen(rows), NULL));
    else
        must(file_delete(path, NULL));
    free(path);
}

char *host_bundle_text(const char *id, const char *config)
{
    char *name = str_format("bundle-%s", id), *folder = host_path(name), *file = path_join(folder, "config.json");
    must(file_ensure_folder(folder));
    if (config)
        must(file_replace(file, config, strlen(config), NULL));
    else
        must(file_delete(file, NULL));
    free(name);
    free(file);
    return folder;
}

static char *escape(const char *text)
{
    char *out = mem_zero(2 * strlen(text) + 1), *to = out;
    for (; *text; text++) {
        if (*text == '\\' || *text == '"')
            *to++ = '\\';
        *to++ = *text;
    }
    return out;
}

char *host_bundle_with(const char *id, const char *command, const char *windows, const char *top)
{
    char *scratch_name = str_format("scratch-%s", id), *scratch = host_path(scratch_name), *base = host_path("base");
    char *files = path_join(base, "Files"), *vm = path_join(base, "UtilityVM");
    must(file_ensure_folder(scratch));
    must(file_ensure_folder(files));
    must(file_ensure_folder(vm));
    char *escaped_scratch = escape(scratch), *escaped_base = escape(base), *escaped_command = escape(command);
    char *config =
        str_format("{\"ociVersion\":\"1.1.0\",\"root\":{\"path\":\"\"},\"process\":{\"cwd\":\"C:\\\\\",\"args\":[],"
                   "\"commandLine\":\"%s\"},\"windows\":{\"layerFolders\":[\"%s\",\"%s\"]%s}%s}",
                   escaped_command, escaped_base, escaped_scratch, windows, top);
    char *bundle = host_bundle_text(id, config);
    free(scratch_name);
    free(scratch);
    free(base);
    free(files);
    free(vm);
    free(escaped_scratch);
    free(escaped_base);
    free(escaped_command);
    free(config);
    return bundle;
}

char *host_bundle(const char *id, const char *command)
{
    return host_bundle_with(id, command, "", "");
}

/* ---- requests ---- */

struct request {
    struct answer answer;
    uint64_t ticket;
};

struct request *request_new(void)
{
    return mem_new(struct request);
}

void request_done(void *context, struct error *error, const struct task_view *view)
{
    struct request *request = context;
    AcquireSRWLockExclusive(&lock);
    request->answer.called = true;
    request->answer.thread = GetCurrentThreadId();
    request->answer.error = error;
    if (view) {
        request->answer.status = view->status;
        request->answer.pid = view->pid;
        request->answer.exit_status = view->exit_status;
        request->answer.exited_ns = view->exited_ns;
        request->answer.stuck = str_copy(view->stuck);
    }
    ReleaseSRWLockExclusive(&lock);
    WakeAllConditionVariable(&changed);
}

struct request *begin_create_stdio(const char *id, const char *bundle, const char *in, const char *out,
                                   const char *error)
{
    struct request *request = mem_new(struct request);
    const struct task_create create = {
        .containerd_namespace = "default",
        .id = id,
        .bundle = bundle,
        .stdin_path = in,
        .stdout_path = out,
        .stderr_path = error,
        .client = "test",
    };
    task_create(host.tasks, &create, request_done, request);
    return request;
}

struct request *begin_create(const char *id, const char *bundle)
{
    return begin_create_stdio(id, bundle, "", "", "");
}

struct request *begin_start(const char *id)
{
    struct request *request = mem_new(struct request);
    task_start(host.tasks, "default", id, "", request_done, request);
    return request;
}

struct request *begin_exec(const char *id, const char *exec_id, const char *command, const char *out)
{
    struct request *request = mem_new(struct request);
    char *spec = str_format("{\"cwd\":\"C:\\\\\",\"commandLine\":\"%s\"}", command);
    const struct task_exec exec = {
        .containerd_namespace = "default",
        .id = id,
        .exec_id = exec_id,
        .stdin_path = "",
        .stdout_path = out,
        .stderr_path = "",
        .spec = spec,
        .spec_size = strlen(spec),
    };
    task_exec(host.tasks, &exec, request_done, request);
    free(spec);
    return request;
}

struct request *begin_start_exec(const char *id, const char *exec_id)
{
    struct request *request = mem_new(struct request);
    task_start(host.tasks, "default", id, exec_id, request_done, request);
    return request;
}

struct request *begin_wait_exec(const char *id, const char *exec_id)
{
    struct request *request = mem_new(struct request);
    uint64_t ticket;
    task_wait(host.tasks, "default", id, exec_id, request_done, request, &ticket);
    return request;
}

struct request *begin_kill_exec(const char *id, const char *exec_id, uint32_t signal)
{
    struct request *request = mem_new(struct request);
    task_kill(host.tasks, "default", id, exec_id, signal, false, request_done, request);
    return request;
}

struct request *begin_delete_exec(const char *id, const char *exec_id)
{
    struct request *request = mem_new(struct request);
    task_delete(host.tasks, "default", id, exec_id, false, "test", request_done, request);
    return request;
}

struct request *begin_kill(const char *id, uint32_t signal)
{
    struct request *request = mem_new(struct request);
    task_kill(host.tasks, "default", id, "", signal, false, request_done, request);
    return request;
}

struct request *begin_delete(const char *id, bool force)
{
    struct request *request = mem_new(struct request);
    task_delete(host.tasks, "default", id, "", force, "test", request_done, request);
    return request;
}

struct request *begin_wait(const char *id)
{
    struct request *request = mem_new(struct request);
    uint64_t ticket;
    task_wait(host.tasks, "default", id, "", request_done, request, &ticket);
    request->ticket = ticket;
    return request;
}

uint64_t request_ticket(const struct request *request)
{
    return request->ticket;
}

static bool answered(void *context)
{
    return ((struct request *)context)->answer.called;
}

bool request_answered(struct request *request)
{
    AcquireSRWLockShared(&lock);
    bool called = answered(request);
    ReleaseSRWLockShared(&lock);
    return called;
}

struct answer finish(struct request *request)
{
    await(answered, request, "an answer");
    struct answer answer = request->answer;
    free(request);
    return answer;
}

void abandon(struct request *request)
{
    free(request);
}

void answer_free(struct answer *answer)
{
    error_free(answer->error);
    free(answer->stuck);
}

void expect_ok(struct request *request, const char *what)
{
    struct answer answer = finish(request);
    if (answer.error) {
        char *text = error_text(answer.error);
        print_error("%s: expected success, found %s: %s\n", what, error_kind_name(answer.error->kind), text);
        free(text);
        fail();
    }
    answer_free(&answer);
}

void expect_error(struct request *request, enum error_kind kind, const char *part)
{
    struct answer answer = finish(request);
    char *text = answer.error ? error_text(answer.error) : str_copy("success");
    print_message("expected %s with \"%s\", found %s: %s\n", error_kind_name(kind), part ? part : "",
                  answer.error ? error_kind_name(answer.error->kind) : "OK", text);
    assert_non_null(answer.error);
    assert_int_equal(answer.error->kind, kind);
    if (part)
        assert_non_null(strstr(text, part));
    free(text);
    answer_free(&answer);
}

uint32_t expect_exit(const char *id)
{
    struct answer answer = finish(begin_wait(id));
    if (answer.error)
        print_error("%s\n", answer.error->message);
    assert_null(answer.error);
    assert_int_equal(answer.status, TASK_STOPPED);
    assert_true(answer.exited_ns > 0);
    uint32_t code = answer.exit_status;
    answer_free(&answer);
    return code;
}

enum task_status state_of(const char *id)
{
    struct task_view view;
    struct error *error = task_state(host.tasks, "default", id, "", &view);
    if (error) {
        assert_int_equal(error->kind, ERROR_KIND_NOT_FOUND);
        error_free(error);
        return TASK_UNKNOWN;
    }
    enum task_status status = view.status;
    task_view_free(&view);
    return status;
}

/* GetProcessHandleCount says 0 under Wine. */
unsigned long host_handles(void)
{
    struct {
        ULONG count;
        struct {
            ULONG owner;
            BYTE type, flags;
            USHORT value;
            PVOID object;
            ACCESS_MASK access;
        } rows[1];
    } *table = NULL;
    ULONG size = 1u << 16, needed;
    NTSTATUS status;
    do {
        size *= 2;
        free(table);
        table = mem_zero(size);
        status = NtQuerySystemInformation((SYSTEM_INFORMATION_CLASS)16, table, size, &needed);
    } while (status == (NTSTATUS)0xC0000004 && size < (1u << 26));
    unsigned long count = 0;
    if (!status)
        for (ULONG i = 0; i < table->count; i++)
            count += table->rows[i].owner == GetCurrentProcessId();
    free(table);
    return count;
}
