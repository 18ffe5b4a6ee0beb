#include "base/text.h"
#include "spec/document.h"

#define COMMAND_LINE_MAX 32766 /* UTF-16 units: CreateProcessW's limit without the terminator */

static struct error *refuse(const char *message)
{
    return error_make(ERROR_KIND_INVALID_ARGUMENT, "read spec", NULL, "%s", message);
}

/* The first "=" divides; entries without one, or without a name, are no variables. A later entry of a name wins. */
static json_t *environment(const struct spec_process *process)
{
    json_t *object = json_object();
    for (size_t i = 0; i < process->env_count; i++) {
        const char *equals = strchr(process->env[i], '=');
        if (equals == NULL || equals == process->env[i])
            continue;
        char *name = str_copy_n(process->env[i], (size_t)(equals - process->env[i]));
        json_object_set_new(object, name, json_string(equals + 1));
        free(name);
    }
    return object;
}

static struct error *add_command(json_t *document, const struct spec *spec, const struct spec_process *process)
{
    if (spec->linux_object) {
        if (process->arg_count == 0)
            return refuse("process.args must have at least one entry");
        json_t *args = json_array();
        for (size_t i = 0; i < process->arg_count; i++)
            json_array_append_new(args, json_string(process->args[i]));
        json_object_set_new(document, "CommandArgs", args);
        return NULL;
    }
    if (process->command_line[0] == 0 && process->arg_count == 0)
        return refuse("process.args must have at least one entry, or process.commandLine be given");
    char *line = process->command_line[0] != 0
                     ? str_copy(process->command_line)
                     : spec_escape_args((const char *const *)process->args, process->arg_count);
    size_t units = 0;
    free(text_to_utf16(line, &units));
    struct error *error =
        units > COMMAND_LINE_MAX
            ? error_make(ERROR_KIND_INVALID_ARGUMENT, "read spec", NULL,
                         "the command line of process has %zu characters, and Windows takes at most %d", units,
                         COMMAND_LINE_MAX)
            : NULL;
    if (error == NULL)
        document_add_text(document, "CommandLine", line);
    free(line);
    return error;
}

static void add_streams(json_t *document, const struct spec_process *process, const struct spec_process *init,
                        const struct spec_stdio *stdio)
{
    document_add_true(document, "EmulateConsole", stdio->terminal);
    document_add_true(document, "CreateStdInPipe", stdio->in);
    document_add_true(document, "CreateStdOutPipe", stdio->out);
    document_add_true(document, "CreateStdErrPipe", stdio->error && !stdio->terminal);
    /* An exec without a terminal has no console whatever its size says. */
    bool console = process->has_console && (init == NULL || stdio->terminal);
    json_object_set_new(
        document, "ConsoleSize",
        json_pack("[i, i]", console ? process->console_height : 0, console ? process->console_width : 0));
}

struct error *spec_render_process(const struct spec *spec, const struct spec_process *process,
                                  const struct spec_process *init, const struct spec_stdio *stdio, char **ret_document)
{
    if (process == NULL)
        return refuse("process must be there");
    const struct spec_stdio all = {process->terminal, true, true, true, false};
    if (stdio == NULL)
        stdio = &all;
    json_t *document = json_object(), *guest = NULL;
    bool hosted = stdio->hosted && spec->linux_object;
    struct error *error = add_command(document, spec, process);
    if (error == NULL && spec->linux_object && init == NULL && !hosted)
        error = linux_guest_spec(spec, &guest);
    if (error != NULL) {
        json_decref(document);
        return error;
    }
    if (hosted) {
        /* The guest runs OCI processes: its init's is in the container's document. */
        json_object_clear(document);
        if (init != NULL)
            json_object_set(document, "OciProcess", process->json);
        add_streams(document, process, init, stdio);
        *ret_document = document_dump(document);
        return NULL;
    }
    document_add_text(document, "User", process->username);
    document_add_text(document, "WorkingDirectory", process->cwd[0] == 0 && init != NULL ? init->cwd : process->cwd);
    json_t *variables = environment(process);
    if (json_object_size(variables) > 0)
        json_object_set(document, "Environment", variables);
    json_decref(variables);
    add_streams(document, process, init, stdio);
    if (guest != NULL)
        json_object_set_new(document, "OCISpecification", guest);
    *ret_document = document_dump(document);
    return NULL;
}
