#include "document.h"

#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "hcs/abi.h"
#include "layers.h"
#include "machine.h"
#include "shared/frame.h"
#include "system.h"

#define CALL "HcsCreateComputeSystem"

struct member {
    const char *name;
    char type; /* s text, n number, b truth value, a array or null, o object, * anything */
};

static const struct member schema1_members[] = {
    {"SystemType", 's'},
    {"Name", 's'},
    {"Layers", 'a'},
    {"HvPartition", 'b'},
    {"Owner", 's'},
    {"VolumePath", 's'},
    {"IgnoreFlushesDuringBoot", 'b'},
    {"LayerFolderPath", 's'},
    {"Credentials", 's'},
    {"ProcessorCount", 'n'},
    {"ProcessorWeight", 'n'},
    {"ProcessorMaximum", 'n'},
    {"StorageIOPSMaximum", 'n'},
    {"StorageBandwidthMaximum", 'n'},
    {"StorageSandboxSize", 'n'},
    {"MemoryMaximumInMB", 'n'},
    {"HostName", 's'},
    {"MappedDirectories", 'a'},
    {"MappedPipes", 'a'},
    {"NetworkSharedContainerName", 's'},
    {"EndpointList", 'a'},
    {"HvRuntime", 'o'},
    {"Servicing", 'b'},
    {"AllowUnqualifiedDNSQuery", 'b'},
    {"DNSSearchList", 's'},
    {"ContainerType", 's'},
    {"TerminateOnLastHandleClosed", 'b'},
    {"MappedVirtualDisks", 'a'},
    {"AssignedDevices", 'a'},
    {NULL, 0},
};

static const struct member schema2_members[] = {
    {"Owner", 's'},
    {"SchemaVersion", 'o'},
    {"HostingSystemId", 's'},
    {"HostedSystem", 'o'},
    {"Container", 'o'},
    {"VirtualMachine", 'o'},
    {"ShouldTerminateOnLastHandleClosed", 'b'},
    {NULL, 0},
};

static const struct member container_members[] = {
    {"GuestOs", 'o'},
    {"Storage", 'o'},
    {"MappedDirectories", 'a'},
    {"MappedPipes", 'a'},
    {"Memory", 'o'},
    {"Processor", 'o'},
    {"Networking", 'o'},
    {"HvSocket", 'o'},
    {"ContainerCredentialGuard", 'o'},
    {"RegistryChanges", 'o'},
    {"AssignedDevices", 'a'},
    {"AdditionalDeviceNamespace", '*'},
    {NULL, 0},
};

static struct error *bad(const char *id, const char *why, const char *member)
{
    return error_hresult((uint32_t)HCS_E_INVALID_JSON, CALL, id,
                         "The virtual machine or container JSON document is invalid: %s %s.", member, why);
}

static bool has_type(const json_t *value, char type)
{
    switch (type) {
    case 's':
        return json_is_string(value);
    case 'n':
        return json_is_number(value);
    case 'b':
        return json_is_boolean(value);
    case 'a':
        return json_is_array(value) || json_is_null(value);
    case 'o':
        return json_is_object(value);
    default:
        return true;
    }
}

static struct error *check_members(const char *id, json_t *document, const struct member *members)
{
    const char *key;
    json_t *value;

    json_object_foreach(document, key, value)
    {
        const struct member *member = members;
        while (member->name != NULL && strcmp(member->name, key) != 0)
            member++;
        if (member->name == NULL)
            return bad(id, "is no member of it", key);
        if (!has_type(value, member->type))
            return bad(id, "has the wrong type", key);
    }
    return NULL;
}

static bool is_guid(const char *text)
{
    static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    for (size_t i = 0; i < sizeof form - 1; i++) {
        bool hex = (text[i] >= '0' && text[i] <= '9') || ((text[i] | 32) >= 'a' && (text[i] | 32) <= 'f');
        if (form[i] == 'x' ? !hex : text[i] != '-')
            return false;
    }
    return text[sizeof form - 1] == 0;
}

static bool path_exists(const char *path)
{
    char16_t *wide = text_to_utf16(path, NULL);
    bool found = wide != NULL && GetFileAttributesW((const wchar_t *)wide) != INVALID_FILE_ATTRIBUTES;
    free(wide);
    return found;
}

static struct error *check_layers(const char *id, json_t *layers, const char *id_key)
{
    size_t index;
    json_t *layer;

    json_array_foreach(layers, index, layer)
    {
        const char *path = frame_text(layer, "Path");
        char place[32];
        snprintf(place, sizeof place, "Layers[%u].%s", (unsigned)index, id_key);
        if (!json_is_object(layer) || !is_guid(frame_text(layer, id_key)))
            return bad(id, "is no GUID", place);
        if (!path_exists(path))
            return error_win32(ERROR_PATH_NOT_FOUND, CALL, id,
                               "The system cannot find the path specified: Layers[%u].Path %s", (unsigned)index, path);
    }
    return NULL;
}

/* Host paths of the document besides the layers'. */
static struct error *check_host_paths(const char *id, const json_t *document)
{
    const char *image = frame_text(json_object_get(document, "HvRuntime"), "ImagePath");
    size_t index;
    json_t *directory;

    if (image[0] != 0 && !path_exists(image))
        return error_win32(ERROR_PATH_NOT_FOUND, CALL, id, "HvRuntime.ImagePath %s is not there", image);
    json_array_foreach(json_object_get(document, "MappedDirectories"), index, directory)
    {
        const char *path = frame_text(directory, "HostPath");
        if (!path_exists(path))
            return error_win32(ERROR_FILE_NOT_FOUND, CALL, id, "MappedDirectories[%u].HostPath %s is not there",
                               (unsigned)index, path);
    }
    return NULL;
}

/* A process-isolated container's volume: one that a prepared layer is mounted under. */
static struct error *check_volume(const char *id, const char *member, const char *volume, bool slashed,
                                  const json_t *layers, struct layer **ret_layer)
{
    char *bare = str_copy(volume);
    size_t length = strlen(bare);
    bool has_slash = length > 0 && bare[length - 1] == '\\';
    struct error *error = NULL;

    *ret_layer = NULL;
    if (volume[0] == 0) {
        if (json_array_size(layers) > 0)
            error = bad(id, "is missing", member);
    } else if (has_slash != slashed) {
        error = error_win32(ERROR_INVALID_PARAMETER, CALL, id, "%s %s: %s a backslash at the end", member, volume,
                            slashed ? "needs" : "must not have");
    } else {
        if (has_slash)
            bare[length - 1] = 0;
        *ret_layer = layers_find_volume(bare);
        if (*ret_layer == NULL || !(*ret_layer)->prepared)
            error = error_win32(ERROR_PATH_NOT_FOUND, CALL, id, "%s %s is no mounted, prepared layer", member, volume);
    }
    free(bare);
    return error;
}

static void make_guid(char text[37])
{
    static uint64_t counter;
    uint64_t low = broker_filetime() * 0x9E3779B97F4A7C15u + ++counter;
    snprintf(text, 37, "%08x-%04x-4%03x-9%03x-%012llx", (unsigned)(low >> 32), (unsigned)(low >> 16 & 0xFFFF),
             (unsigned)(low & 0xFFF), (unsigned)(counter & 0xFFF), (unsigned long long)(low >> 16));
}

/* What both schemas end in. */
struct outcome {
    const char *type;
    const char *name;
    const char *owner;
    bool hyperv;
    bool ends_with_last_handle;
    struct layer *layer;
    json_t *layers;
    json_t *machine; /* of a VM */
    const char *host;
    const char *root;
    char *folder;  /* of a hosted container's scratch disk */
    char *command; /* of a Linux container's init */
};

static struct error *check_schema1(const char *id, json_t *document, struct outcome *outcome)
{
    struct error *error = check_members(id, document, schema1_members);

    outcome->type = frame_text(document, "SystemType");
    outcome->name = frame_text(document, "Name");
    outcome->owner = frame_text(document, "Owner");
    outcome->hyperv = frame_flag(document, "HvPartition");
    outcome->ends_with_last_handle = frame_flag(document, "TerminateOnLastHandleClosed");
    outcome->layers = json_object_get(document, "Layers");
    if (error == NULL && !text_equal_ascii_nocase(outcome->type, "Container") &&
        !text_equal_ascii_nocase(outcome->type, "VirtualMachine"))
        error = bad(id, "is neither Container nor VirtualMachine", "SystemType");
    if (error == NULL && outcome->name[0] == 0)
        error = bad(id, "is missing", "Name");
    if (error == NULL)
        error = check_layers(id, outcome->layers, "ID");
    if (error == NULL)
        error = check_host_paths(id, document);
    if (error == NULL && outcome->hyperv && frame_text(document, "VolumePath")[0] != 0)
        error = bad(id, "is not for Hyper-V isolation", "VolumePath");
    if (error == NULL && !outcome->hyperv)
        error =
            check_volume(id, "VolumePath", frame_text(document, "VolumePath"), false, outcome->layers, &outcome->layer);
    return error;
}

static const struct member hosted_members[] = {
    {"SchemaVersion", 'o'},    {"Container", 'o'},      {"OciBundlePath", 's'},
    {"OciSpecification", 'o'}, {"ScratchDirPath", 's'}, {NULL, 0},
};

/* A container in a VM. */
static struct error *check_hosted(const char *id, json_t *hosted, struct system *host, struct outcome *outcome)
{
    json_t *container = json_object_get(hosted, "Container");
    json_t *args = json_object_get(json_object_get(json_object_get(hosted, "OciSpecification"), "process"), "args");
    struct error *error = check_members(id, hosted, hosted_members);
    size_t index;
    json_t *word;

    if (error == NULL && container != NULL)
        error = check_members(id, container, container_members);
    if (error == NULL && host->machine == NULL)
        error = bad(id, "is no VM of schema 2", host->id);
    if (error == NULL)
        error = machine_check_hosted(id, hosted, host, &outcome->folder);
    if (error != NULL)
        return error;
    outcome->host = host->id;
    outcome->root = container != NULL ? frame_text(json_object_get(container, "Storage"), "Path")
                                      : frame_text(hosted, "OciBundlePath");
    json_array_foreach(args, index, word)
    {
        char *longer = str_format("%s%s%s", outcome->command == NULL ? "" : outcome->command, index == 0 ? "" : " ",
                                  json_string_value(word) == NULL ? "" : json_string_value(word));
        free(outcome->command);
        outcome->command = longer;
    }
    return NULL;
}

static struct error *check_schema2(const char *id, json_t *document, struct outcome *outcome)
{
    json_t *container = json_object_get(document, "Container");
    json_t *machine = json_object_get(document, "VirtualMachine");
    json_t *hosted = json_object_get(document, "HostedSystem");
    const char *host = frame_text(document, "HostingSystemId");
    int64_t major = frame_number(json_object_get(document, "SchemaVersion"), "Major");
    json_t *storage = json_object_get(container, "Storage");
    struct error *error = check_members(id, document, schema2_members);

    outcome->type = machine != NULL ? "VirtualMachine" : "Container";
    outcome->name = id;
    outcome->owner = frame_text(document, "Owner");
    outcome->hyperv = machine != NULL || hosted != NULL;
    outcome->ends_with_last_handle = frame_flag(document, "ShouldTerminateOnLastHandleClosed");
    if (error == NULL && major != 2)
        error = bad(id, "is not 2", "SchemaVersion.Major");
    if (error == NULL && (container != NULL) + (machine != NULL) + (hosted != NULL) != 1)
        error = bad(id, "must be there, exactly one", "Container, VirtualMachine or HostedSystem");
    if (error == NULL && hosted != NULL && system_find(host) == NULL)
        error = error_hresult((uint32_t)HCS_E_SYSTEM_NOT_FOUND, CALL, id, "HostingSystemId %s does not exist", host);
    if (error == NULL && container != NULL)
        error = check_members(id, container, container_members);
    if (error == NULL && machine != NULL)
        error = machine_open(id, document, &outcome->machine);
    if (error == NULL && hosted != NULL)
        error = check_hosted(id, hosted, system_find(host), outcome);
    if (error != NULL || container == NULL)
        return error;
    outcome->layers = json_object_get(storage, "Layers");
    error = check_layers(id, outcome->layers, "Id");
    if (error == NULL)
        error = check_host_paths(id, container);
    if (error != NULL)
        return error;
    return check_volume(id, "Container.Storage.Path", frame_text(storage, "Path"), true, outcome->layers,
                        &outcome->layer);
}

struct error *document_create(const char *id, const char *text, struct system **ret_system)
{
    json_error_t where;
    json_t *document = json_loads(text, JSON_REJECT_DUPLICATES, &where);
    struct outcome outcome = {.type = ""};
    struct system *system;
    struct error *error;

    if (!json_is_object(document)) {
        error = error_hresult((uint32_t)HCS_E_INVALID_JSON, CALL, id,
                              "The virtual machine or container JSON document is invalid: line %d: %s", where.line,
                              where.text);
    } else if (id[0] == 0) {
        error = error_win32(ERROR_INVALID_PARAMETER, CALL, id, "the id is empty");
    } else if (json_object_get(document, "SchemaVersion") != NULL) {
        error = check_schema2(id, document, &outcome);
    } else {
        error = check_schema1(id, document, &outcome);
    }
    if (error == NULL && system_find(id) != NULL)
        error = error_hresult((uint32_t)HCS_E_SYSTEM_ALREADY_EXISTS, CALL, id,
                              "A virtual machine or container with the specified identifier already exists: %s", id);
    if (error == NULL) {
        system = system_new(id);
        system->name = str_copy(outcome.name);
        system->owner = str_copy(outcome.owner);
        system->type = str_copy(outcome.type);
        system->hyperv = outcome.hyperv;
        system->ends_with_last_handle = outcome.ends_with_last_handle;
        system->volume = str_copy(outcome.layer == NULL ? "" : outcome.layer->volume);
        system->layer = str_copy(outcome.layer != NULL    ? outcome.layer->path
                                 : outcome.folder != NULL ? outcome.folder
                                                          : "");
        system->machine = json_incref(outcome.machine);
        system->host = str_copy(outcome.host);
        system->root = outcome.command == NULL ? str_copy(outcome.root) : str_format("%s/rootfs", outcome.root);
        system->command = str_copy(outcome.command);
        if (json_is_array(outcome.layers))
            json_array_extend(system->layers, outcome.layers);
        make_guid(system->runtime_id);
        *ret_system = system;
    }
    json_decref(outcome.machine);
    free(outcome.folder);
    free(outcome.command);
    json_decref(document);
    return error;
}
