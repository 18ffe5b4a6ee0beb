#include "cli/cli.h"
#include "cli/output.h"

#include "grpc/health/v1/health.pb-c.h"

static struct error *health(struct cli *cli)
{
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    Grpc__Health__V1__HealthCheckResponse *response = NULL;
    struct error *error = cli_call(cli, "/grpc.health.v1.Health/Check", &request,
                                   &grpc__health__v1__health_check_response__descriptor, CLI_LOOK_MS, &response);
    if (error != NULL)
        return error;
    bool serving = response->status == GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
    const char *status = serving ? "SERVING" : "NOT_SERVING";
    cli_free(response);
    if (cli->json)
        return output_json(json_pack("{s:s}", "status", status));
    return output_text("%s\n", status);
}

const struct command health_commands[] = {
    {
        .noun = "health",
        .operands = "",
        .summary = "Whether hcsd answers and can do its work",
        .details = "SERVING, or NOT_SERVING: it stops, or the Host Compute Service cannot be used.",
        .example = "hcsctl health",
        .run = health,
    },
    {0},
};
