#include "layers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "shared/frame.h"
#include "shared/result.h"
#include "system.h"

static char *path_key(const char *path)
{
    char *key;
    size_t length;

    if (strncmp(path, "\\\\?\\", 4) == 0)
        path += 4;
    key = str_copy(path);
    length = strlen(key);
    for (size_t i = 0; i < length; i++) {
        if (key[i] == '/')
            key[i] = '\\';
        if (key[i] >= 'A' && key[i] <= 'Z')
            key[i] = (char)(key[i] + 32);
    }
    while (length > 0 && key[length - 1] == '\\')
        key[--length] = 0;
    return key;
}

static bool path_equal(const char *a, const char *b)
{
    char *a_key = path_key(a);
    char *b_key = path_key(b);
    bool equal = strcmp(a_key, b_key) == 0;
    free(a_key);
    free(b_key);
    return equal;
}

/* A volume keeps its name for ever, as a disk's does: it is made from the layer's path. */
static void volume_name(const char *key, char volume[64])
{
    uint64_t low = 0xcbf29ce484222325u;
    uint64_t high = 0x84222325cbf29ce4u;
    for (; *key != 0; key++) {
        low = (low ^ (uint8_t)*key) * 0x100000001b3u;
        high = (high ^ (uint8_t)*key ^ (low >> 32)) * 0x100000001b3u;
    }
    snprintf(volume, 64, "\\\\?\\Volume{%08x-%04x-4%03x-8%03x-%012llx}", (unsigned)(high >> 32),
             (unsigned)(high >> 16 & 0xFFFF), (unsigned)(high & 0xFFF), (unsigned)(low >> 48 & 0xFFF),
             (unsigned long long)(low & 0xFFFFFFFFFFFFu));
}

struct layer *layers_find(const char *path)
{
    char *key = path_key(path);
    struct layer *layer = broker.layers;
    while (layer != NULL && strcmp(layer->key, key) != 0)
        layer = layer->next;
    free(key);
    return layer;
}

struct layer *layers_find_volume(const char *volume)
{
    struct layer *layer = broker.layers;
    while (layer != NULL && strcmp(layer->volume, volume) != 0)
        layer = layer->next;
    return layer;
}

static struct error *not_active(const json_t *request)
{
    return error_win32(ERROR_NOT_READY, frame_text(request, "call"), frame_text(request, "path"),
                       "the layer is not activated");
}

struct error *layers_activate(const json_t *request, json_t *reply)
{
    const char *path = frame_text(request, "path");
    struct layer *layer = layers_find(path);

    (void)reply;
    if (layer != NULL)
        return NULL; /* activations do not count */
    layer = mem_new(struct layer);
    layer->key = path_key(path);
    layer->path = str_copy(path);
    layer->parents = json_array();
    volume_name(layer->key, layer->volume);
    layer->next = broker.layers;
    broker.layers = layer;
    return NULL;
}

/* Whoever runs on the volume loses its disk. */
static void volume_lost(const struct layer *layer)
{
    for (struct system *system = broker.systems; system != NULL; system = system->next)
        if (strcmp(system->volume, layer->volume) == 0)
            system_volume_lost(system);
}

struct error *layers_deactivate(const json_t *request, json_t *reply)
{
    struct layer *layer = layers_find(frame_text(request, "path"));

    (void)reply;
    if (layer == NULL)
        return not_active(request);
    volume_lost(layer);
    for (struct layer **place = &broker.layers; *place != NULL; place = &(*place)->next) {
        if (*place != layer)
            continue;
        *place = layer->next;
        break;
    }
    json_decref(layer->parents);
    free(layer->key);
    free(layer->path);
    free(layer);
    return NULL;
}

struct error *layers_prepare(const json_t *request, json_t *reply)
{
    struct layer *layer = layers_find(frame_text(request, "path"));

    (void)reply;
    if (layer == NULL)
        return not_active(request);
    layer->prepared = true;
    json_decref(layer->parents);
    layer->parents = json_incref(json_object_get(request, "parents"));
    return NULL;
}

struct error *layers_unprepare(const json_t *request, json_t *reply)
{
    struct layer *layer = layers_find(frame_text(request, "path"));

    (void)reply;
    if (layer == NULL)
        return not_active(request);
    if (layer->prepared)
        volume_lost(layer);
    layer->prepared = false;
    return NULL;
}

struct error *layers_mount_path(const json_t *request, json_t *reply)
{
    const struct layer *layer = layers_find(frame_text(request, "path"));

    if (layer == NULL)
        return not_active(request);
    json_object_set_new(reply, "volume", json_string(layer->volume));
    return NULL;
}

struct error *layers_check_export(const json_t *request, json_t *reply)
{
    (void)reply;
    return layers_find(frame_text(request, "path")) == NULL ? not_active(request) : NULL;
}

struct error *layers_check_destroy(const json_t *request, json_t *reply)
{
    const char *path = frame_text(request, "path");

    for (const struct layer *layer = broker.layers; layer != NULL; layer = layer->next) {
        size_t index;
        json_t *parent;
        if (!layer->prepared)
            continue;
        json_array_foreach(layer->parents, index, parent)
        {
            if (!path_equal(json_string_value(parent), path))
                continue;
            json_object_set_new(reply, "child", json_string(layer->path));
            return NULL;
        }
    }
    if (layers_find(path) != NULL)
        return error_win32(ERROR_SHARING_VIOLATION, "DestroyLayer", path, "the layer's disk is attached");
    return NULL;
}
