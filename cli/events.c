#include <windows.h>

#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/event_form.h"
#include "cli/output.h"

#include "containerd/services/events/v1/events.pb-c.h"

/* The console's control handler has no context. */
static struct client *interrupted_client;

static BOOL WINAPI interrupted(DWORD type)
{
    (void)type;
    client_cancel(interrupted_client);
    return TRUE;
}

static struct error *show(const struct cli *cli, const Containerd__Types__Envelope *envelope)
{
    json_t *json = event_json(envelope);
    if (cli->json)
        return output_json(json);
    const char *time = json_string_value(json_object_get(json, "timestamp"));
    char *event = json_dumps(json_object_get(json, "event"), JSON_COMPACT);
    struct error *error = output_text("%s %s %s %s\n", time == NULL ? "-" : time, envelope->namespace_, envelope->topic,
                                      event == NULL ? "" : event);
    free(event);
    json_decref(json);
    return error;
}

static struct error *events(struct cli *cli)
{
    Containerd__Services__Events__V1__SubscribeRequest request =
        CONTAINERD__SERVICES__EVENTS__V1__SUBSCRIBE_REQUEST__INIT;
    struct client_stream *stream = NULL;
    char *filters[COMMAND_EVENT_FILTERS] = {0};
    const char *filter;
    int64_t left = arguments_number(&cli->arguments, "--count", INT64_MAX);
    while (request.n_filters < COMMAND_EVENT_FILTERS &&
           (filter = arguments_item(&cli->arguments, "--filter", request.n_filters)) != NULL)
        filters[request.n_filters++] = (char *)(uintptr_t)filter;
    request.filters = filters;
    struct error *error = cli_dial(cli, &cli->client);
    if (error != NULL)
        return error;
    interrupted_client = cli->client;
    SetConsoleCtrlHandler(interrupted, TRUE);
    error = client_stream_open(cli->client, "/containerd.services.events.v1.Events/Subscribe", &request.base,
                               &containerd__types__envelope__descriptor, CLIENT_NO_LIMIT, &stream);
    while (error == NULL && left-- > 0) {
        ProtobufCMessage *message = NULL;
        error = client_stream_next(stream, &message);
        if (error == NULL && message == NULL)
            break;
        if (error == NULL)
            error = show(cli, (const Containerd__Types__Envelope *)message);
        cli_free(message);
    }
    SetConsoleCtrlHandler(interrupted, FALSE);
    client_stream_close(stream);
    if (error != NULL && error->kind == ERROR_KIND_CANCELLED) { /* Ctrl-C: that is how it is meant to end */
        error_free(error);
        error = NULL;
    }
    return error;
}

const struct command events_commands[] = {
    {
        .noun = "events",
        .operands = "",
        .summary = "Show what happens, of all namespaces, as it happens",
        .details =
            "Ends with Ctrl-C, or with --count. A filter is FIELD==VALUE, FIELD!=VALUE or FIELD~=EXPRESSION, several "
            "joined by\ncommas; FIELD is namespace, topic or event.NAME. Of several --filter one must hold.",
        .example = "hcsctl events --filter topic==/tasks/exit,namespace==k8s.io\n"
                   "hcsctl --json events --filter event.container_id==web",
        .options = {{"--filter", "-f", OPTION_LIST, "FILTER", "only these; may be given again", false, 0, 0, NULL},
                    {"--count", "-n", OPTION_NUMBER, "N", "end after so many", false, 1, INT64_MAX, NULL}},
        .run = events,
    },
    {0},
};
