#include "cli/cli.h"
#include "cli/output.h"
#include "hcsd_version.h"

#include "hcsd/v1/diagnostics.pb-c.h"

static struct error *version(struct cli *cli)
{
    Hcsd__V1__VersionRequest request = HCSD__V1__VERSION_REQUEST__INIT;
    Hcsd__V1__VersionResponse *response = NULL;
    struct error *error = cli_call(cli, "/hcsd.v1.Diagnostics/Version", &request,
                                   &hcsd__v1__version_response__descriptor, CLI_LOOK_MS, &response);
    if (error != NULL && !cli->json)
        error_keep_first(&error, output_text("hcsctl %s\n", HCSD_VERSION));
    if (error != NULL)
        return error;
    json_t *libraries = json_object();
    struct buffer text = {0};
    buffer_add_format(&text, "hcsctl %s\nhcsd %s, process %u\nWindows %s\nHCS library %s\n", HCSD_VERSION,
                      response->version, response->pid, response->windows, response->hcs_library);
    for (size_t i = 0; i < response->n_libraries; i++) {
        json_object_set_new(libraries, response->libraries[i]->key, json_string(response->libraries[i]->value));
        buffer_add_format(&text, "%s %s\n", response->libraries[i]->key, response->libraries[i]->value);
    }
    if (cli->json)
        error = output_json(json_pack("{s:s, s:{s:s, s:I, s:s, s:s, s:O}}", "hcsctl", HCSD_VERSION, "hcsd", "version",
                                      response->version, "pid", (json_int_t)response->pid, "windows", response->windows,
                                      "hcs_library", response->hcs_library, "libraries", libraries));
    else
        error = output_bytes(text.data, text.size);
    buffer_free(&text);
    json_decref(libraries);
    cli_free(response);
    return error;
}

const struct command version_commands[] = {
    {
        .noun = "version",
        .operands = "",
        .summary = "Versions of hcsctl, of hcsd and of the libraries in it",
        .details = "",
        .example = "hcsctl version",
        .run = version,
    },
    {0},
};
