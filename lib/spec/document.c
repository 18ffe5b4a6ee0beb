#include "spec/document.h"

#include "base/buffer.h"
#include "base/path.h"
#include "base/process.h"
#include "base/text.h"

void document_add_text(json_t *object, const char *name, const char *text)
{
    if (text[0] != 0)
        json_object_set_new(object, name, json_string(text));
}

void document_add_number(json_t *object, const char *name, uint64_t value)
{
    if (value != 0)
        json_object_set_new(object, name, json_integer((json_int_t)value));
}

void document_add_true(json_t *object, const char *name, bool value)
{
    if (value)
        json_object_set_new(object, name, json_true());
}

struct error *document_layers(const struct spec_render *render, const struct spec_layers *layers, const char *below,
                              json_t **ret_layers)
{
    json_t *array = json_array();
    struct error *error = NULL;
    for (size_t i = 0; i < layers->parent_count && error == NULL; i++) {
        char guid[37] = "", *name = path_last_part(layers->parents[i]);
        error = render->name_to_guid(render->context, name, guid);
        if (error == NULL) {
            char *path = below == NULL ? str_copy(layers->parents[i]) : path_join(layers->parents[i], below);
            json_array_append_new(array, json_pack("{s:s, s:s}", "ID", guid, "Path", path));
            free(path);
        }
        free(name);
    }
    if (error != NULL)
        json_decref(array);
    else
        *ret_layers = array;
    return error;
}

void document_add_resources(json_t *object, const struct spec *spec, const struct spec_render *render,
                            struct spec_warnings *warnings, bool storage)
{
    const struct spec_windows *windows = spec->windows;
    uint64_t count = windows->cpu_count;
    if (render->processor_count != 0 && count > render->processor_count) {
        spec_warn(warnings, "windows.resources.cpu.count is %llu, but the machine has %u processors; it gets these",
                  (unsigned long long)count, (unsigned)render->processor_count);
        count = render->processor_count;
    }
    if (windows->memory_limit != 0 && windows->memory_limit < 1 << 20)
        spec_warn(warnings, "windows.resources.memory.limit is below 1 MiB and counts as no limit");
    if (windows->has_cpu_affinity)
        spec_warn(warnings, "windows.resources.cpu.affinity is not supported and was ignored");
    document_add_number(object, "ProcessorCount", count);
    document_add_number(object, "ProcessorWeight", windows->cpu_shares);
    document_add_number(object, "ProcessorMaximum", windows->cpu_maximum);
    if (storage) {
        document_add_number(object, "StorageIOPSMaximum", windows->storage_iops);
        document_add_number(object, "StorageBandwidthMaximum", windows->storage_bps);
    }
    document_add_number(object, "MemoryMaximumInMB", windows->memory_limit >> 20);
}

void document_add_network(json_t *object, const struct spec *spec, struct spec_warnings *warnings)
{
    const struct spec_windows *windows = spec->windows;
    document_add_text(object, "NetworkSharedContainerName", windows->network_shared_container);
    if (windows->network_namespace[0] != 0)
        spec_warn(warnings,
                  "windows.network.networkNamespace is not known to HCS v1 documents and was ignored; name the "
                  "endpoints in endpointList");
    if (windows->endpoint_count == 0)
        return;
    json_t *endpoints = json_array();
    for (size_t i = 0; i < windows->endpoint_count; i++)
        json_array_append_new(endpoints, json_string(windows->endpoints[i]));
    json_object_set_new(object, "EndpointList", endpoints);
}

void document_add_dns(json_t *object, const struct spec *spec)
{
    const struct spec_windows *windows = spec->windows;
    struct buffer list = {0};
    buffer_add_text(&list, "");
    for (size_t i = 0; i < windows->dns_search_count; i++)
        buffer_add_format(&list, "%s%s", i == 0 ? "" : ",", windows->dns_search[i]);
    document_add_true(object, "AllowUnqualifiedDNSQuery", windows->allow_unqualified_dns_query);
    document_add_text(object, "DNSSearchList", (char *)list.data);
    buffer_free(&list);
}

json_t *document_mapped_directory(const char *host, const char *container, bool read_only, bool in_vm)
{
    return json_pack("{s:s, s:s, s:b, s:i, s:i, s:b}", "HostPath", host, "ContainerPath", container, "ReadOnly",
                     read_only, "BandwidthMaximum", 0, "IOPSMaximum", 0, "CreateInUtilityVM", in_vm);
}

bool mount_is_read_only(const struct spec_mount *mount)
{
    for (size_t i = 0; i < mount->option_count; i++)
        if (text_equal_ascii_nocase(mount->options[i], "ro"))
            return true;
    return false;
}

char *document_dump(json_t *document)
{
    char *text = json_dumps(document, JSON_COMPACT);
    json_decref(document);
    if (text == NULL)
        process_end(1455, "hcsd: out of memory\n"); /* the only way in which a tree of ours cannot be written */
    return text;
}
