#include "spec/update.h"

#include <string.h>

#include "base/path.h"
#include "base/text.h"
#include "spec/document.h"
#include "spec/read.h"

#define BUILD_PROCESSORS 19042 /* 20H2: a running container's share of the processors can be changed */

static void add(struct spec_update *update, const char *what, const char *path, const char *type, json_t *settings)
{
    update->what[update->count] = what;
    update->requests[update->count++] =
        document_dump(json_pack("{s:s, s:s, s:o}", "ResourcePath", path, "RequestType", type, "Settings", settings));
}

static void add_memory(struct reader *reader, const struct place *root, struct spec_update *update)
{
    struct place memory = read_object(reader, root, "memory");
    uint64_t limit = read_number(reader, &memory, "limit", INT64_MAX);
    if (limit == 0)
        return;
    if (limit < 1 << 20) {
        read_fail(reader, &memory, "may not have a limit below 1 MiB, which would be none");
        return;
    }
    uint64_t megabytes = limit >> 20;
    /* HCS takes even numbers only. */
    add(update, "memory", "Container/Memory/SizeInMB", "Update", json_integer((json_int_t)(megabytes + megabytes % 2)));
}

static struct error *add_processors(struct reader *reader, const struct place *root, uint32_t os_build,
                                    uint32_t processor_count, struct spec_update *update)
{
    struct place cpu = read_object(reader, root, "cpu");
    uint64_t count = read_number(reader, &cpu, "count", INT64_MAX);
    uint64_t shares = read_number(reader, &cpu, "shares", 10000), maximum = read_number(reader, &cpu, "maximum", 10000);
    bool affinity = json_array_size(read_array(reader, &cpu, "affinity").json) > 0;
    if ((count != 0) + (shares != 0) + (maximum != 0) + affinity > 1)
        read_fail(reader, &cpu, "may have only one of count, shares, maximum and affinity");
    if (reader->error != NULL || !(count || shares || maximum || affinity))
        return NULL;
    if (affinity)
        return error_make(ERROR_KIND_UNIMPLEMENTED, "update", NULL,
                          "cpu.affinity of a running container cannot be changed");
    if (os_build < BUILD_PROCESSORS)
        return error_make(ERROR_KIND_UNIMPLEMENTED, "update", NULL,
                          "processors of a running container can be changed from Windows build %d on; this is %u",
                          BUILD_PROCESSORS, (unsigned)os_build);
    if (processor_count != 0 && count > processor_count)
        count = processor_count;
    json_t *settings = json_object();
    document_add_number(settings, "Count", count);
    document_add_number(settings, "Maximum", maximum);
    document_add_number(settings, "Weight", shares);
    add(update, "processors", "Container/Processor", "Update", settings);
    return NULL;
}

static void add_mount(struct reader *reader, const struct place *root, struct spec_update *update)
{
    const char *host = read_text(reader, root, "HostPath"), *container = read_text(reader, root, "ContainerPath");
    const char *type = read_text(reader, root, "Type");
    bool read_only = read_bool(reader, root, "ReadOnly");
    if (reader->error != NULL)
        return;
    if (type[0] != 0)
        read_fail(reader, root, "may not have a Type: only folders can be mapped into a running container");
    else if (!path_is_absolute(host) || !path_is_absolute(container))
        read_fail(reader, root, "must have absolute paths as HostPath and ContainerPath");
    else
        add(update, "mount", "Container/MappedDirectories", "Add",
            json_pack("{s:s, s:s, s:b}", "HostPath", host, "ContainerPath", container, "ReadOnly", read_only));
}

/* JSON kinds are known by their whole name; hcsshim's clients may put a host in front. */
static bool is_type(const char *url, const char *type)
{
    size_t size = strlen(url), end = strlen(type);
    return size >= end && strcmp(url + size - end, type) == 0 && (size == end || url[size - end - 1] == '/');
}

struct error *spec_render_update(const char *type_url, const char *value, size_t value_size, uint32_t os_build,
                                 uint32_t processor_count, struct spec_update *ret_update)
{
    bool resources = is_type(type_url, SPEC_UPDATE_RESOURCES), mount = is_type(type_url, SPEC_UPDATE_MOUNT);
    struct spec_update update = {0};
    struct reader reader = {0};
    json_t *json = NULL;
    if (value_size == 0)
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "update", NULL, "no resources were given");
    if (!resources && !mount)
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "update", NULL, "resources of type \"%s\" are not known; %s is",
                          type_url, SPEC_UPDATE_RESOURCES);
    struct error *error = read_json(value, value_size, &json);
    if (error != NULL)
        return error;
    const struct place root = {.name = "", .json = json};
    read_expect_object(&reader, &root);
    if (mount)
        add_mount(&reader, &root, &update);
    else {
        add_memory(&reader, &root, &update);
        error = add_processors(&reader, &root, os_build, processor_count, &update);
    }
    error_keep_first(&reader.error, error);
    json_decref(json);
    if (reader.error != NULL)
        spec_update_free(&update);
    else
        *ret_update = update;
    return reader.error;
}

void spec_update_free(struct spec_update *update)
{
    for (size_t i = 0; i < update->count; i++)
        free(update->requests[i]);
    *update = (struct spec_update){0};
}
