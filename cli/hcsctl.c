/* hcsctl.exe: the command for people and scripts. */
#include <windows.h>

#include <string.h>

#include "base/harden.h"
#include "base/memory.h"
#include "base/win.h"
#include "cli/cli.h"
#include "cli/output.h"

struct error *cli_dial(const struct cli *cli, struct client **ret_client)
{
    struct client_options options = {
        .address = arguments_text(&cli->arguments, "--address", CLIENT_ADDRESS_DEFAULT),
        .containerd_namespace = cli->containerd_namespace,
    };
    return client_dial(&options, ret_client);
}

struct error *cli_call(struct cli *cli, const char *method, const void *request,
                       const ProtobufCMessageDescriptor *response, unsigned timeout_ms, void *ret_response)
{
    ProtobufCMessage *message = NULL;
    struct error *error = cli->client == NULL ? cli_dial(cli, &cli->client) : NULL;
    if (error == NULL)
        error = client_call(cli->client, method, request, response, timeout_ms, &message);
    if (error == NULL)
        *(void **)ret_response = message;
    return error;
}

void cli_free(void *message)
{
    if (message != NULL)
        protobuf_c_message_free_unpacked(message, NULL);
}

/* All commands in one list, in the order of help. */
static const struct command **gather(size_t *ret_count)
{
    static const struct command *const tables[] = {task_commands, task_control_commands, layer_commands,
                                                   job_commands,  events_commands,       health_commands,
                                                   diag_commands, version_commands};
    const struct command **commands = NULL;
    size_t count = 0;
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        for (const struct command *command = tables[i]; command->noun != NULL; command++) {
            commands = mem_resize_array(commands, count + 1, sizeof *commands);
            commands[count++] = command;
        }
    }
    *ret_count = count;
    return commands;
}

static struct error *run(struct cli *cli, const struct command *const *commands, size_t command_count, int count,
                         const char *const *texts)
{
    struct error *error = arguments_read(&cli->arguments, commands, command_count, count, texts);
    cli->json = arguments_flag(&cli->arguments, "--json");
    cli->containerd_namespace = arguments_text(&cli->arguments, "--namespace", "default");
    if (error != NULL)
        return error;
    if (cli->arguments.help) {
        struct buffer text = {0};
        arguments_help(&cli->arguments, commands, command_count, &text);
        error = output_bytes(text.data, text.size);
        buffer_free(&text);
        return error;
    }
    return cli->arguments.command->run(cli);
}

int wmain(int argc, wchar_t **argv); /* mingw declares none */
int wmain(int argc, wchar_t **argv)
{
    harden_process(SEM_FAILCRITICALERRORS);
    struct cli cli = {0};
    size_t command_count;
    const struct command **commands = gather(&command_count);
    char **texts = mem_new_array((size_t)argc, char *);
    for (int i = 1; i < argc; i++)
        texts[i - 1] = win_text(argv[i]);
    /* `hcsctl` alone is a question. */
    static const char *const help[] = {"--help"};
    struct error *error = argc < 2 ? run(&cli, commands, command_count, 1, help)
                                   : run(&cli, commands, command_count, argc - 1, (const char *const *)texts);
    client_close(cli.client);
    int status = error == NULL ? 0 : 1;
    if (error != NULL) {
        const struct command *command = cli.arguments.command;
        struct buffer line = {0};
        format_error(error, command == NULL ? NULL : command->noun, command == NULL ? NULL : command->verb, cli.json,
                     &line);
        output_note("%s", (const char *)line.data);
        buffer_free(&line);
        error_free(error);
    }
    arguments_free(&cli.arguments);
    for (int i = 0; i < argc; i++)
        free(texts[i]);
    free(texts);
    free(commands);
    return status;
}
