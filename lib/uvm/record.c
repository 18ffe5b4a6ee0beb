/* A VM's account in the journal. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "uvm/request.h"

#define RESOURCES_MAX 65536u

/* ---- writing --------------------------------------------------------------------------------------------------------- */

static void add_text(json_t *object, const char *name, const char *text)
{
    if (text != NULL)
        json_object_set_new(object, name, json_string(text));
}

static void add_number(json_t *object, const char *name, uint64_t number)
{
    if (number != 0)
        json_object_set_new(object, name, json_integer((json_int_t)number));
}

static void add_true(json_t *object, const char *name, bool value)
{
    if (value)
        json_object_set_new(object, name, json_true());
}

static json_t *encode_resource(const struct uvm_resource *resource)
{
    json_t *json = json_pack("{s:s, s:i, s:s}", "kind", uvm_kind_name(resource->kind), "state", (int)resource->state,
                             "path", resource->path);
    add_text(json, "guest", resource->guest);
    add_text(json, "name", resource->name);
    add_true(json, "read_only", resource->read_only);
    add_true(json, "no_ids", resource->no_ids);
    add_true(json, "layer", resource->layer);
    add_true(json, "restricted", resource->restricted);
    add_true(json, "grown", resource->grown);
    add_true(json, "format", resource->format);
    add_true(json, "mapped", resource->mapped);
    add_number(json, "controller", resource->controller);
    add_number(json, "lun", resource->lun);
    add_number(json, "index", resource->index);
    add_number(json, "device", resource->device);
    add_number(json, "offset", resource->offset);
    add_number(json, "size", resource->size);
    add_number(json, "region", resource->region);
    if (resource->files != NULL)
        json_object_set(json, "files", resource->files);
    if (resource->layers != NULL)
        json_object_set(json, "layers", resource->layers);
    return json;
}

static size_t index_of(const struct uvm *vm, const struct uvm_resource *resource)
{
    size_t index = 0;
    while (vm->resources[index] != resource)
        index++;
    return index;
}

json_t *uvm_encode(const struct uvm *vm)
{
    const struct uvm_shape *shape = &vm->shape;
    json_t *resources = json_array(), *holders = json_array();
    for (size_t i = 0; i < vm->count; i++)
        json_array_append_new(resources, encode_resource(vm->resources[i]));
    for (size_t i = 0; i < vm->holder_count; i++) {
        const struct uvm_holder *holder = &vm->holders[i];
        json_t *held = json_array();
        for (size_t k = 0; k < holder->count; k++)
            json_array_append_new(held, json_integer((json_int_t)index_of(vm, holder->resources[k])));
        json_array_append_new(holders, json_pack("{s:s, s:o}", "holder", holder->name, "resources", held));
    }
    return json_pack("{s:{s:i, s:i, s:b, s:i, s:I, s:b, s:b}, s:i, s:i, s:o, s:o}", "shape", "os", (int)shape->os,
                     "controllers", (int)shape->controllers, "disk_boot", shape->disk_boot, "pmem_devices",
                     (int)shape->pmem_devices, "pmem_bytes", (json_int_t)shape->pmem_bytes, "pmem_mapped",
                     shape->pmem_mapped, "pmem_boot", shape->pmem_boot, "next_share", (int)vm->next_share, "next_plan9",
                     (int)vm->next_plan9, "resources", resources, "holders", holders);
}

/* ---- reading --------------------------------------------------------------------------------------------------------- */

static struct error *damaged(const char *what)
{
    return error_make(ERROR_KIND_DATA_LOSS, "read utility VM", NULL, "the account of this VM is damaged: %s", what);
}

static char *read_text(const json_t *json, const char *name)
{
    return str_copy(json_string_value(json_object_get(json, name)));
}

static uint64_t read_number(const json_t *json, const char *name)
{
    json_int_t number = json_integer_value(json_object_get(json, name));
    return number < 0 ? UINT64_MAX : (uint64_t)number;
}

static bool read_flag(const json_t *json, const char *name)
{
    return json_is_true(json_object_get(json, name));
}

static bool is_texts(const json_t *json)
{
    size_t index;
    json_t *text;
    if (!json_is_array(json))
        return false;
    json_array_foreach(json, index, text) if (!json_is_string(text)) return false;
    return true;
}

static struct error *decode_resource(struct uvm *vm, const json_t *json)
{
    const char *word = json_string_value(json_object_get(json, "kind")),
               *path = json_string_value(json_object_get(json, "path"));
    uint64_t state = read_number(json, "state"), controller = read_number(json, "controller"),
             lun = read_number(json, "lun"), index = read_number(json, "index"), device = read_number(json, "device");
    json_t *files = json_object_get(json, "files"), *layers = json_object_get(json, "layers");
    enum uvm_kind kind = 0;
    while (word != NULL && kind < UVM_KIND_COUNT && strcmp(word, uvm_kind_name(kind)) != 0)
        kind++;
    if (word == NULL || kind == UVM_KIND_COUNT || path == NULL)
        return damaged("a resource without kind or path");
    if (state > UVM_LEAKED || controller >= UVM_CONTROLLERS_MAX || lun >= UVM_LUNS || index > UVM_LUNS * 8 ||
        device >= UVM_PMEM_MAX)
        return damaged("a number of a resource is out of range");
    if ((files != NULL && !is_texts(files)) || (layers != NULL && !json_is_array(layers)))
        return damaged("a list of a resource");
    struct uvm_resource *resource = uvm_resource_add(vm, kind, path, read_flag(json, "read_only"));
    resource->state = (enum uvm_state)state;
    resource->guest = read_text(json, "guest");
    resource->name = read_text(json, "name");
    resource->no_ids = read_flag(json, "no_ids");
    resource->layer = read_flag(json, "layer");
    resource->restricted = read_flag(json, "restricted");
    resource->grown = read_flag(json, "grown");
    resource->format = read_flag(json, "format");
    resource->mapped = read_flag(json, "mapped");
    resource->controller = (unsigned)controller;
    resource->lun = (unsigned)lun;
    resource->index = (unsigned)index;
    resource->device = (unsigned)device;
    resource->offset = read_number(json, "offset");
    resource->size = read_number(json, "size");
    resource->region = read_number(json, "region");
    resource->files = json_incref(files);
    resource->layers = json_incref(layers);
    bool named = kind == UVM_SHARE || kind == UVM_PLAN9 || kind == UVM_COMBINED;
    if ((kind != UVM_COMBINED && resource->guest == NULL) || (named && resource->name == NULL) ||
        (kind == UVM_COMBINED && layers == NULL) ||
        (kind == UVM_PLAN9 && files != NULL && strchr(resource->guest, '/') == NULL))
        return damaged("a resource lacks its name or place");
    return NULL;
}

static struct error *decode_holder(struct uvm *vm, const json_t *json)
{
    const char *name = json_string_value(json_object_get(json, "holder"));
    const json_t *held = json_object_get(json, "resources");
    if (name == NULL || !json_is_array(held) || uvm_has_holder(vm, name))
        return damaged("a holder without name or resources, or one that is there twice");
    struct uvm_holder holder = {.name = str_copy(name)};
    struct error *error = NULL;
    for (size_t i = 0; i < json_array_size(held) && error == NULL; i++) {
        const json_t *entry = json_array_get(held, i);
        json_int_t number = json_is_integer(entry) ? json_integer_value(entry) : -1;
        if (number < 0 || (size_t)number >= vm->count || vm->resources[number]->state == UVM_LEAKED)
            error = damaged("a holder of nothing");
        else
            uvm_holder_add(&holder, vm->resources[number]);
    }
    vm->holders = mem_resize_array(vm->holders, vm->holder_count + 1, sizeof vm->holders[0]);
    vm->holders[vm->holder_count++] = holder;
    return error;
}

static struct error *decode_shape(const json_t *json, struct uvm_shape *ret_shape)
{
    uint64_t os = read_number(json, "os"), controllers = read_number(json, "controllers"),
             devices = read_number(json, "pmem_devices");
    if (!json_is_object(json) || os > UVM_LINUX || controllers == 0 || controllers > UVM_CONTROLLERS_MAX ||
        devices > UVM_PMEM_MAX)
        return damaged("its shape");
    *ret_shape = (struct uvm_shape){
        .os = (enum uvm_os)os,
        .controllers = (unsigned)controllers,
        .disk_boot = read_flag(json, "disk_boot"),
        .pmem_devices = (unsigned)devices,
        .pmem_bytes = read_number(json, "pmem_bytes"),
        .pmem_mapped = read_flag(json, "pmem_mapped"),
        .pmem_boot = read_flag(json, "pmem_boot"),
    };
    return NULL;
}

struct error *uvm_decode(const json_t *json, struct uvm **ret_vm)
{
    const json_t *resources = json_object_get(json, "resources"), *holders = json_object_get(json, "holders");
    struct uvm_shape shape;
    struct error *error = decode_shape(json_object_get(json, "shape"), &shape);
    if (error != NULL)
        return error;
    if (!json_is_array(resources) || json_array_size(resources) > RESOURCES_MAX || !json_is_array(holders))
        return damaged("its lists");
    struct uvm *vm = uvm_new(&shape);
    vm->next_share = (unsigned)read_number(json, "next_share");
    vm->next_plan9 = (unsigned)read_number(json, "next_plan9");
    for (size_t i = 0; i < json_array_size(resources) && error == NULL; i++)
        error = decode_resource(vm, json_array_get(resources, i));
    for (size_t i = 0; i < json_array_size(holders) && error == NULL; i++)
        error = decode_holder(vm, json_array_get(holders, i));
    if (error != NULL)
        uvm_free(vm);
    else
        *ret_vm = vm;
    return error;
}
