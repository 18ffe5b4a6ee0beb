#include "task/record.h"

/* What an ended process is known to have ended with. */
static void add_code(json_t *body, uint32_t exit_code, int64_t noticed_ns)
{
    json_object_set_new(body, "exit_code", json_integer((json_int_t)exit_code));
    json_object_set_new(body, "noticed_ns", json_integer((json_int_t)noticed_ns));
}

static bool is_number(json_int_t value)
{
    return value >= 0 && value <= UINT32_MAX;
}

json_t *record_encode(const struct record *record)
{
    json_t *body = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:b, s:b, s:b, s:b, s:I, s:I, s:I, s:s, s:s}", "bundle",
        record->bundle, "stdin", record->stdin_path, "stdout", record->stdout_path, "stderr", record->stderr_path,
        "scratch", record->scratch, "sandbox", record->sandbox, "phase", phase_name(record->phase), "terminal",
        record->terminal, "isolated", record->isolated, "linux", record->linux_container, "ran", record->ran, "asked",
        record->asked, "hidden", record->hidden, "pid", (json_int_t)record->pid, "exit_status",
        (json_int_t)record->exit_status, "exited_ns", (json_int_t)record->exited_ns, "session",
        record->session ? record->session : "", "instance", record->instance ? record->instance : "");
    if (record->code_known)
        add_code(body, record->exit_code, record->noticed_ns);
    return body;
}

struct error *record_decode(const json_t *body, const char *id, struct record *ret_record)
{
    struct record record = {.sandbox = "", .session = "", .instance = ""};
    const char *phase;
    int terminal, ran, asked, hidden, isolated = 0, linux_container = 0;
    json_int_t pid, exit_status, exited_ns, exit_code = -1, noticed_ns = 0;
    json_error_t why;

    if (json_unpack_ex(
            (json_t *)body, &why, 0,
            "{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:b, s:b, s:I, s:I, s:I, s?s, s?b, s?b, s?s, s?s, s?I, s?I}",
            "bundle", &record.bundle, "stdin", &record.stdin_path, "stdout", &record.stdout_path, "stderr",
            &record.stderr_path, "scratch", &record.scratch, "phase", &phase, "terminal", &terminal, "ran", &ran,
            "asked", &asked, "hidden", &hidden, "pid", &pid, "exit_status", &exit_status, "exited_ns", &exited_ns,
            "sandbox", &record.sandbox, "isolated", &isolated, "linux", &linux_container, "session", &record.session,
            "instance", &record.instance, "exit_code", &exit_code, "noticed_ns", &noticed_ns))
        return error_make(ERROR_KIND_DATA_LOSS, "read journal", id, "the document of this container: %s", why.text);
    if (!phase_parse(phase, &record.phase))
        return error_make(ERROR_KIND_DATA_LOSS, "read journal", id, "the document of this container has phase \"%s\"",
                          phase);
    record.code_known = json_object_get(body, "exit_code") != NULL;
    if (!is_number(pid) || !is_number(exit_status) || (record.code_known && !is_number(exit_code)))
        return error_make(ERROR_KIND_DATA_LOSS, "read journal", id,
                          "a number in the document of this container is out of range");
    /* Those that may be absent are younger than the first documents. */
    record.isolated = isolated;
    record.linux_container = linux_container;
    record.terminal = terminal;
    record.ran = ran;
    record.asked = asked;
    record.hidden = hidden;
    record.pid = (uint32_t)pid;
    record.exit_status = (uint32_t)exit_status;
    record.exited_ns = exited_ns;
    record.exit_code = record.code_known ? (uint32_t)exit_code : 0;
    record.noticed_ns = noticed_ns;
    *ret_record = record;
    return NULL;
}

json_t *exec_record_encode(const struct exec_record *record)
{
    json_t *body = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:I, s:I, s:I}", "namespace",
                             record->containerd_namespace, "container", record->id, "instance", record->instance,
                             "exec", record->exec_id, "stdin", record->stdin_path, "stdout", record->stdout_path,
                             "stderr", record->stderr_path, "session", record->session ? record->session : "", "phase",
                             phase_name(record->phase), "terminal", record->terminal, "pid", (json_int_t)record->pid,
                             "begun_ns", (json_int_t)record->begun_ns, "started_ns", (json_int_t)record->started_ns);
    if (record->document)
        json_object_set(body, "document", record->document);
    if (record->code_known)
        add_code(body, record->exit_code, record->exited_ns);
    return body;
}

struct error *exec_record_decode(const json_t *body, const char *name, struct exec_record *ret_record)
{
    struct exec_record record = {0};
    const char *phase;
    int terminal;
    json_int_t pid, begun_ns, started_ns, exit_code = -1, noticed_ns = 0;
    json_error_t why;

    if (json_unpack_ex((json_t *)body, &why, 0,
                       "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:I, s:I, s:I, s?o, s?I, s?I}", "namespace",
                       &record.containerd_namespace, "container", &record.id, "instance", &record.instance, "exec",
                       &record.exec_id, "stdin", &record.stdin_path, "stdout", &record.stdout_path, "stderr",
                       &record.stderr_path, "session", &record.session, "phase", &phase, "terminal", &terminal, "pid",
                       &pid, "begun_ns", &begun_ns, "started_ns", &started_ns, "document", &record.document,
                       "exit_code", &exit_code, "noticed_ns", &noticed_ns))
        return error_make(ERROR_KIND_DATA_LOSS, "read journal", name, "the document of this exec: %s", why.text);
    record.code_known = json_object_get(body, "exit_code") != NULL;
    if (!phase_parse(phase, &record.phase) || record.phase == PHASE_CREATING || record.phase == PHASE_PAUSING ||
        record.phase == PHASE_PAUSED)
        return error_make(ERROR_KIND_DATA_LOSS, "read journal", name, "the document of this exec has phase \"%s\"",
                          phase);
    if (!is_number(pid) || (record.code_known && !is_number(exit_code)))
        return error_make(ERROR_KIND_DATA_LOSS, "read journal", name,
                          "a number in the document of this exec is out of range");
    if (record.document ? !json_is_object(record.document) : record.phase == PHASE_CREATED)
        return error_make(ERROR_KIND_DATA_LOSS, "read journal", name,
                          "the document of this exec does not say what is to be started");
    if (record.phase == PHASE_STOPPED && !record.code_known)
        return error_make(ERROR_KIND_DATA_LOSS, "read journal", name,
                          "the document of this exec does not say what it ended with");
    record.terminal = terminal;
    record.pid = (uint32_t)pid;
    record.begun_ns = begun_ns;
    record.started_ns = started_ns;
    record.exit_code = record.code_known ? (uint32_t)exit_code : 0;
    record.exited_ns = noticed_ns;
    *ret_record = record;
    return NULL;
}
