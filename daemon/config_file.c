#include "daemon/config_file.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/path.h"
#include "daemon/folder.h"

#define CONFIG_SIZE_MAX (1u << 20)

struct error *config_file_path(char **ret_path)
{
    char *data = NULL;
    struct error *error = folder_program_data(&data);
    if (error == NULL)
        *ret_path = path_join(data, "hcsd\\config.json");
    free(data);
    return error;
}

struct error *config_file_read(const char *file, bool optional, struct config_list *ret_problems,
                               struct config **ret_config)
{
    struct buffer text = {0};
    struct config_list problems = {0};
    char *data = NULL;
    struct config *config = NULL;
    struct error *error = folder_program_data(&data);
    if (error != NULL)
        return error;
    error = error_wrap(file_read(file, CONFIG_SIZE_MAX, &text), "read the configuration");
    if (error != NULL && error->kind == ERROR_KIND_NOT_FOUND && optional) {
        error_free(error);
        error = NULL;
        config = config_defaults(data);
    } else if (error == NULL) {
        config = config_parse((const char *)text.data, text.size, data, &problems);
        if (config == NULL)
            error = config_error(file, &problems);
    }
    if (error == NULL)
        *ret_config = config;
    if (ret_problems != NULL)
        *ret_problems = problems;
    else
        config_list_free(&problems);
    buffer_free(&text);
    free(data);
    return error;
}
