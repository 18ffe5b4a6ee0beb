/* The verbs of `hcsctl layer` that are not export. Internal to cli. */
#ifndef HCSD_CLI_LAYER_H
#define HCSD_CLI_LAYER_H

#include "cli/cli.h"

struct error *layer_mount(struct cli *cli) ERROR_MUST_CHECK;
struct error *layer_unmount(struct cli *cli) ERROR_MUST_CHECK;
struct error *layer_ls(struct cli *cli) ERROR_MUST_CHECK;
struct error *layer_create_scratch(struct cli *cli) ERROR_MUST_CHECK;
struct error *layer_expand(struct cli *cli) ERROR_MUST_CHECK;
struct error *layer_stat(struct cli *cli) ERROR_MUST_CHECK;
struct error *layer_process_image(struct cli *cli) ERROR_MUST_CHECK;
struct error *layer_destroy(struct cli *cli) ERROR_MUST_CHECK;
struct error *layer_import(struct cli *cli) ERROR_MUST_CHECK;

#endif
