#include <windows.h>

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/job.h"
#include "cli/layer.h"
#include "cli/output.h"
#include "daemon/log/console.h"

#define CLEANUP_WAIT_MS   1000 /* without --wait-cleanup */
#define PROGRESS_PAUSE_MS 250

/* ---- the progress line, on a terminal only ---- */

struct progress_line {
    bool shown;
    size_t width; /* of the terminal */
    uint64_t begin_ms, last_ms, last_entries, last_bytes;
    double entries_rate, bytes_rate;
};

static void progress_open(struct progress_line *line)
{
    CONSOLE_SCREEN_BUFFER_INFO info;
    HANDLE terminal = GetStdHandle(STD_ERROR_HANDLE);
    line->shown = console_is_terminal(terminal);
    line->width = GetConsoleScreenBufferInfo(terminal, &info) && info.dwSize.X > 20 ? (size_t)info.dwSize.X - 1 : 79;
    line->begin_ms = clock_ms();
    line->last_ms = line->begin_ms;
    line->bytes_rate = -1;
}

static void progress_show(struct progress_line *line, const Hcsd__V1__ExportProgress *progress)
{
    uint64_t now = clock_ms();
    if (!line->shown || now - line->last_ms < PROGRESS_PAUSE_MS)
        return;
    double seconds = (double)(now - line->last_ms) / 1000;
    /* An attempt that is repeated begins again at nothing. */
    if (progress->entries >= line->last_entries && progress->bytes >= line->last_bytes) {
        line->entries_rate = (double)(progress->entries - line->last_entries) / seconds;
        line->bytes_rate = (double)(progress->bytes - line->last_bytes) / seconds;
    }
    struct progress_figures figures = {
        .phase = progress->phase,
        .path = progress->path,
        .entries = progress->entries,
        .bytes = progress->bytes,
        .seconds = (double)(now - line->begin_ms) / 1000,
        .entries_rate = line->entries_rate,
        .bytes_rate = line->bytes_rate,
    };
    struct buffer text = {0};
    format_progress(&figures, line->width, &text);
    /* Blanks instead of an escape sequence: older consoles know none. */
    output_note("\r%*s\r%s", (int)line->width, "", (const char *)text.data);
    buffer_free(&text);
    line->last_ms = now;
    line->last_entries = progress->entries;
    line->last_bytes = progress->bytes;
}

static void progress_close(struct progress_line *line)
{
    if (line->shown)
        output_note("\r%*s\r", (int)line->width, "");
    line->shown = false;
}

/* ---- export ---- */

static void CALLBACK give_up(PTP_CALLBACK_INSTANCE instance, void *context, PTP_TIMER timer)
{
    (void)instance;
    (void)timer;
    client_cancel(context);
}

struct export
{
    struct cli *cli;
    bool to_stdout, wait_cleanup;
    struct client_stream *stream;
    PTP_TIMER timer; /* ends the wait for the cleanup */
    struct progress_line line;
    Hcsd__V1__ExportResponse *result, *cleanup;
};

static struct error *take(struct export *export, Hcsd__V1__ExportResponse *response)
{
    struct error *error = NULL;
    switch (response->kind_case) {
    case HCSD__V1__EXPORT_RESPONSE__KIND_DATA:
        error = output_bytes(response->data.data, response->data.len);
        break;
    case HCSD__V1__EXPORT_RESPONSE__KIND_PROGRESS:
        progress_show(&export->line, response->progress);
        break;
    case HCSD__V1__EXPORT_RESPONSE__KIND_RESULT:
        cli_free(export->result);
        export->result = response;
        response = NULL;
        if (!export->wait_cleanup) {
            LARGE_INTEGER due = {.QuadPart = -(LONGLONG)CLEANUP_WAIT_MS * 10000};
            FILETIME time = {.dwLowDateTime = due.LowPart, .dwHighDateTime = (DWORD)due.HighPart};
            SetThreadpoolTimer(export->timer, &time, 0, 0);
        }
        break;
    case HCSD__V1__EXPORT_RESPONSE__KIND_CLEANUP:
        cli_free(export->cleanup);
        export->cleanup = response;
        response = NULL;
        break;
    default:
        break;
    }
    cli_free(response);
    return error;
}

static struct error *follow(struct export *export)
{
    for (;;) {
        ProtobufCMessage *message = NULL;
        struct error *error = client_stream_next(export->stream, &message);
        if (error == NULL && message == NULL)
            return NULL;
        if (error == NULL)
            error = take(export, (Hcsd__V1__ExportResponse *)message);
        /* Without --wait-cleanup our own timer ends the wait; the archive is there. */
        if (error != NULL && export->result != NULL && !export->wait_cleanup && error->kind == ERROR_KIND_CANCELLED) {
            error_free(error);
            return NULL;
        }
        if (error != NULL)
            return error;
    }
}

static struct error *export_report(struct export *export)
{
    if (export->result == NULL)
        return error_make(ERROR_KIND_DATA_LOSS, "layer export", "", "hcsd ended the stream without a result");
    const Hcsd__V1__ExportResult *result = export->result->result;
    const Hcsd__V1__ExportCleanup *cleanup = export->cleanup == NULL ? NULL : export->cleanup->cleanup;
    struct error *error = NULL;
    if (export->cli->json) {
        json_t *json = export_json(result, cleanup);
        if (!export->to_stdout)
            return output_json(json);
        /* stdout is the archive's. */
        char *text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(6));
        output_note("%s\n", text);
        free(text);
        json_decref(json);
        return NULL;
    }
    char *entries = format_count(result->entries), *size = format_bytes(result->size);
    struct buffer text = {0};
    buffer_add_format(&text, "%s\n%s entries, %s, %s, cleanup %s\n", result->digest, entries, size, result->media_type,
                      cleanup == NULL ? "pending" : cleanup->outcome);
    for (size_t i = 0; i < result->n_deviations; i++)
        format_deviation("deviation:", result->deviations[i]->kind, result->deviations[i]->path,
                         result->deviations[i]->detail, &text);
    for (size_t i = 0; cleanup != NULL && i < cleanup->n_left; i++)
        format_deviation("left:", cleanup->left[i]->kind, cleanup->left[i]->path, cleanup->left[i]->detail, &text);
    if (export->to_stdout)
        output_note("%s", (const char *)text.data);
    else
        error = output_bytes(text.data, text.size);
    buffer_free(&text);
    free(size);
    free(entries);
    return error;
}

static const char *const compression_words[] = {"none", "gzip", "zstd", NULL};

static struct error *export_request(struct export *export, Hcsd__V1__ExportRequest *request)
{
    const struct arguments *arguments = &export->cli->arguments;
    const char *output = arguments_text(arguments, "--output", ""),
               *word = arguments_text(arguments, "--compression", "gzip");
    struct error *error = file_absolute(arguments_text(arguments, "--layer", ""), &request->layer);
    const char *parent;
    for (size_t i = 0; error == NULL && (parent = arguments_item(arguments, "--parent", i)) != NULL; i++) {
        request->parents = mem_resize_array(request->parents, i + 1, sizeof *request->parents);
        error = file_absolute(parent, &request->parents[i]);
        request->n_parents = error == NULL ? i + 1 : i;
    }
    export->to_stdout = strcmp(output, "-") == 0;
    if (error == NULL && export->to_stdout && console_is_terminal(GetStdHandle(STD_OUTPUT_HANDLE)))
        error = error_make(ERROR_KIND_INVALID_ARGUMENT, "read the command line", "--output",
                           "an archive is nothing for a terminal; redirect it, or name a file");
    if (error == NULL && !export->to_stdout)
        error = file_absolute(output, &request->output);
    request->compression = strcmp(word, "none") == 0   ? HCSD__V1__COMPRESSION__COMPRESSION_NONE
                           : strcmp(word, "zstd") == 0 ? HCSD__V1__COMPRESSION__COMPRESSION_ZSTD
                                                       : HCSD__V1__COMPRESSION__COMPRESSION_GZIP;
    request->level = (int32_t)arguments_number(arguments, "--level", 0);
    request->overwrite = arguments_flag(arguments, "--overwrite");
    request->wait_cleanup = true; /* how long we wait is ours */
    return error;
}

static void export_request_free(Hcsd__V1__ExportRequest *request)
{
    static const Hcsd__V1__ExportRequest empty = HCSD__V1__EXPORT_REQUEST__INIT;
    for (size_t i = 0; i < request->n_parents; i++)
        free(request->parents[i]);
    free(request->parents);
    if (request->layer != empty.layer)
        free(request->layer);
    if (request->output != empty.output)
        free(request->output);
}

static struct error *layer_export(struct cli *cli)
{
    struct export export = {.cli = cli, .wait_cleanup = arguments_flag(&cli->arguments, "--wait-cleanup")};
    Hcsd__V1__ExportRequest request = HCSD__V1__EXPORT_REQUEST__INIT;
    struct error *error = export_request(&export, &request);
    if (error == NULL)
        error = cli_dial(cli, &cli->client);
    if (error != NULL)
        goto out;
    export.timer = CreateThreadpoolTimer(give_up, cli->client, NULL);
    if (export.timer == NULL) {
        error = error_win32(GetLastError(), "CreateThreadpoolTimer", "layer export", NULL);
        goto out;
    }
    error = client_stream_open(cli->client, "/hcsd.v1.Layers/Export", &request.base,
                               &hcsd__v1__export_response__descriptor, CLIENT_NO_LIMIT, &export.stream);
    if (error != NULL)
        goto out;
    progress_open(&export.line);
    error = follow(&export);
    progress_close(&export.line);
    if (error == NULL)
        error = export_report(&export);
out:
    if (export.timer != NULL) {
        SetThreadpoolTimer(export.timer, NULL, 0, 0);
        WaitForThreadpoolTimerCallbacks(export.timer, TRUE);
        CloseThreadpoolTimer(export.timer);
    }
    client_stream_close(export.stream);
    cli_free(export.cleanup);
    cli_free(export.result);
    export_request_free(&request);
    return error;
}

const struct command layer_commands[] = {
    {
        .noun = "layer",
        .verb = "export",
        .operands = "",
        .summary = "Write the difference between a layer and its parents as an OCI layer archive",
        .details =
            "Parents nearest first; none: a base layer. Without --wait-cleanup the outcome of the cleanup is waited "
            "for\n"
            "for at most 1 s; `job show` has it later. The result goes to stderr when the archive goes to stdout.",
        .example = "hcsctl layer export --layer C:\\layers\\app --parent C:\\layers\\base --output app.tar.gz\n"
                   "hcsctl layer export --layer C:\\layers\\app --parent C:\\layers\\base --output - > app.tar.gz",
        .options =
            {{"--layer", NULL, OPTION_TEXT, "DIR", "the layer's folder", true, 0, 0, NULL},
             {"--parent", NULL, OPTION_LIST, "DIR", "a parent; may be given again, nearest first", false, 0, 0, NULL},
             {"--output", "-o", OPTION_TEXT, "FILE|-", "a new file, or - for standard output", true, 0, 0, NULL},
             {"--compression", NULL, OPTION_TEXT, "WORD", "none, gzip or zstd [gzip]", false, 0, 0, compression_words},
             {"--level", NULL, OPTION_NUMBER, "N", "of the compression: gzip 1-12, zstd 1-19", false, -1000, 1000,
              NULL},
             {"--wait-cleanup", NULL, OPTION_FLAG, NULL, "wait for the outcome of the cleanup", false, 0, 0, NULL},
             {"--overwrite", NULL, OPTION_FLAG, NULL, "replace the file if it is there", false, 0, 0, NULL}},
        .run = layer_export,
    },
    {
        .noun = "layer",
        .verb = "import",
        .operands = "",
        .summary = "Make a layer of an OCI layer archive",
        .details = "The folder must not exist, or be empty. Without a parent it becomes a base layer. The archive may "
                   "be plain,\n"
                   "or compressed by gzip or zstd.",
        .example = "hcsctl layer import --layer C:\\layers\\app --parent C:\\layers\\base --input app.tar.gz",
        .options =
            {{"--layer", NULL, OPTION_TEXT, "DIR", "the layer's folder", true, 0, 0, NULL},
             {"--parent", NULL, OPTION_LIST, "DIR", "a parent; may be given again, nearest first", false, 0, 0, NULL},
             {"--input", "-i", OPTION_TEXT, "FILE", "the archive", true, 0, 0, NULL},
             {"--digest", NULL, OPTION_TEXT, "DIGEST", "what the archive must have, sha256:…", false, 0, 0, NULL},
             {"--diff-id", NULL, OPTION_TEXT, "DIGEST", "what the uncompressed archive must have", false, 0, 0, NULL}},
        .run = layer_import,
    },
    {
        .noun = "layer",
        .verb = "mount",
        .operands = "",
        .summary = "Mount a scratch layer over its parents and print its volume",
        .details = "It stays mounted, also when hcsd ends, until it is unmounted.",
        .example = "hcsctl layer mount --layer C:\\layers\\scratch --parent C:\\layers\\app --parent C:\\layers\\base",
        .options = {{"--layer", NULL, OPTION_TEXT, "DIR", "the scratch layer's folder", true, 0, 0, NULL},
                    {"--parent", NULL, OPTION_LIST, "DIR", "a parent; may be given again, nearest first", false, 0, 0,
                     NULL},
                    {"--target", NULL, OPTION_TEXT, "DIR", "mount the volume on this folder too", false, 0, 0, NULL}},
        .run = layer_mount,
    },
    {
        .noun = "layer",
        .verb = "unmount",
        .operands = "",
        .summary = "Release what layer mount has mounted",
        .details = "",
        .example = "hcsctl layer unmount --layer C:\\layers\\scratch",
        .options = {{"--layer", NULL, OPTION_TEXT, "DIR", "the scratch layer's folder", true, 0, 0, NULL}},
        .run = layer_unmount,
    },
    {
        .noun = "layer",
        .verb = "ls",
        .operands = "",
        .summary = "List the mounted layers, and the utility VMs that have some",
        .details = "",
        .example = "hcsctl layer ls",
        .run = layer_ls,
    },
    {
        .noun = "layer",
        .verb = "create-scratch",
        .operands = "",
        .summary = "Make a folder with a scratch disk over the parents",
        .details = "",
        .example =
            "hcsctl layer create-scratch --layer C:\\layers\\scratch --parent C:\\layers\\base --size 42949672960",
        .options = {{"--layer", NULL, OPTION_TEXT, "DIR", "the new folder", true, 0, 0, NULL},
                    {"--parent", NULL, OPTION_LIST, "DIR", "a parent; may be given again, nearest first", false, 0, 0,
                     NULL},
                    {"--size", NULL, OPTION_NUMBER, "BYTES", "of the disk; HCS's own unless given", false, 0, INT64_MAX,
                     NULL}},
        .run = layer_create_scratch,
    },
    {
        .noun = "layer",
        .verb = "expand",
        .operands = "",
        .summary = "Make a scratch disk and its volume larger",
        .details = "",
        .example = "hcsctl layer expand --layer C:\\layers\\scratch --size 42949672960",
        .options = {{"--layer", NULL, OPTION_TEXT, "DIR", "the scratch layer's folder", true, 0, 0, NULL},
                    {"--size", NULL, OPTION_NUMBER, "BYTES", "the new size", true, 0, INT64_MAX, NULL}},
        .run = layer_expand,
    },
    {
        .noun = "layer",
        .verb = "stat",
        .operands = "",
        .summary = "Say what HCS knows of a layer",
        .details = "",
        .example = "hcsctl layer stat --layer C:\\layers\\base",
        .options = {{"--layer", NULL, OPTION_TEXT, "DIR", "the layer's folder", true, 0, 0, NULL}},
        .run = layer_stat,
    },
    {
        .noun = "layer",
        .verb = "process-image",
        .operands = "",
        .summary = "Make a base layer of its files: hives, disks, and those of its utility VM",
        .details = "",
        .example = "hcsctl layer process-image --layer C:\\layers\\base",
        .options = {{"--layer", NULL, OPTION_TEXT, "DIR", "the layer's folder", true, 0, 0, NULL}},
        .run = layer_process_image,
    },
    {
        .noun = "layer",
        .verb = "destroy",
        .operands = "",
        .summary = "Destroy a layer that nobody uses",
        .details =
            "It is renamed first, which fails while anything in it is in use; what is left then is removed by hcsd.",
        .example = "hcsctl layer destroy --layer C:\\layers\\app",
        .options = {{"--layer", NULL, OPTION_TEXT, "DIR", "the layer's folder", true, 0, 0, NULL}},
        .run = layer_destroy,
    },
    {0},
};
