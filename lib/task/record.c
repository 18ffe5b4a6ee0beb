#include "task/record.h"

json_t *record_encode(const struct record *record)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:b, s:b, s:b, s:b, s:I, s:I, s:I, s:s}", "bundle",
                     record->bundle, "stdin", record->stdin_path, "stdout", record->stdout_path, "stderr",
                     record->stderr_path, "scratch", record->scratch, "sandbox", record->sandbox, "phase",
                     phase_name(record->phase), "terminal", record->terminal, "isolated", record->isolated, "linux",
                     record->linux_container, "ran", record->ran, "asked", record->asked, "hidden", record->hidden,
                     "pid", (json_int_t)record->pid, "exit_status", (json_int_t)record->exit_status, "exited_ns",
                     (json_int_t)record->exited_ns, "session", record->session ? record->session : "");
}

struct error *record_decode(const json_t *body, const char *id, struct record *ret_record)
{
    struct record record = {.sandbox = "", .session = ""};
    const char *phase;
    int terminal, ran, asked, hidden, isolated = 0, linux_container = 0;
    json_int_t pid, exit_status, exited_ns;
    json_error_t why;

    if (json_unpack_ex((json_t *)body, &why, 0,
                       "{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:b, s:b, s:I, s:I, s:I, s?s, s?b, s?b, s?s}",
                       "bundle", &record.bundle, "stdin", &record.stdin_path, "stdout", &record.stdout_path, "stderr",
                       &record.stderr_path, "scratch", &record.scratch, "phase", &phase, "terminal", &terminal, "ran",
                       &ran, "asked", &asked, "hidden", &hidden, "pid", &pid, "exit_status", &exit_status, "exited_ns",
                       &exited_ns, "sandbox", &record.sandbox, "isolated", &isolated, "linux", &linux_container,
                       "session", &record.session))
        return error_make(ERROR_KIND_DATA_LOSS, "read journal", id, "the document of this container: %s", why.text);
    if (!phase_parse(phase, &record.phase))
        return error_make(ERROR_KIND_DATA_LOSS, "read journal", id, "the document of this container has phase \"%s\"",
                          phase);
    if (pid < 0 || pid > UINT32_MAX || exit_status < 0 || exit_status > UINT32_MAX)
        return error_make(ERROR_KIND_DATA_LOSS, "read journal", id,
                          "a number in the document of this container is out of range");
    /* The last four are younger than the first documents, which do without. */
    record.isolated = isolated;
    record.linux_container = linux_container;
    record.terminal = terminal;
    record.ran = ran;
    record.asked = asked;
    record.hidden = hidden;
    record.pid = (uint32_t)pid;
    record.exit_status = (uint32_t)exit_status;
    record.exited_ns = exited_ns;
    *ret_record = record;
    return NULL;
}
