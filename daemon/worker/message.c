#include "daemon/worker/message.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

#define PATH_LIMIT 4000

static json_t *pack_text(const char *text, size_t limit)
{
    if (text == NULL)
        return json_null();
    char *printable = text_printable(text, strlen(text), limit);
    json_t *packed = json_string(printable);
    free(printable);
    return packed != NULL ? packed : json_string("");
}

const char *message_text(const json_t *message, const char *field)
{
    const char *text = json_string_value(json_object_get(message, field));
    return text != NULL ? text : "";
}

uint64_t message_number(const json_t *message, const char *field)
{
    json_int_t value = json_integer_value(json_object_get(message, field));
    return value > 0 ? (uint64_t)value : 0;
}

double message_real(const json_t *message, const char *field)
{
    return json_number_value(json_object_get(message, field));
}

json_t *message_pack_error(const struct error *error)
{
    if (error == NULL)
        return json_null();
    return json_pack("{s:i, s:i, s:I, s:I, s:o, s:o, s:o, s:o}", "kind", (int)error->kind, "origin", (int)error->origin,
                     "code", (json_int_t)error->code, "context_size", (json_int_t)error->context_size, "operation",
                     pack_text(error->operation, PATH_LIMIT), "object", pack_text(error->object, PATH_LIMIT), "message",
                     pack_text(error->message, 4 * PATH_LIMIT), "hcs_events", pack_text(error->hcs_events, 0));
}

struct error *message_unpack_error(const json_t *packed)
{
    if (!json_is_object(packed))
        return NULL;
    uint64_t kind = message_number(packed, "kind"), origin = message_number(packed, "origin");
    if (kind < ERROR_KIND_CANCELLED || kind > ERROR_KIND_DATA_LOSS)
        kind = ERROR_KIND_UNKNOWN;
    struct error *error = error_make((enum error_kind)kind, message_text(packed, "operation"),
                                     message_text(packed, "object"), "%s", message_text(packed, "message"));
    if (origin <= ERROR_ORIGIN_ERRNO) {
        error->origin = (enum error_origin)origin;
        error->code = (uint32_t)message_number(packed, "code");
    }
    uint64_t context_size = message_number(packed, "context_size");
    error->context_size = context_size <= strlen(error->message) ? (size_t)context_size : 0;
    error->hcs_events = str_copy(json_string_value(json_object_get(packed, "hcs_events")));
    return error;
}

json_t *message_pack_deviations(const struct export_deviation *rows, size_t count, size_t limit)
{
    json_t *packed = json_array();
    for (size_t i = 0; i < count && i < limit; i++)
        json_array_append_new(packed, json_pack("{s:o, s:o, s:o}", "kind", pack_text(rows[i].kind, 100), "path",
                                                pack_text(rows[i].path, PATH_LIMIT), "detail",
                                                pack_text(rows[i].detail, PATH_LIMIT)));
    return packed;
}

void message_unpack_deviations(const json_t *packed, struct export_deviation **ret_rows, size_t *ret_count)
{
    size_t size = json_array_size(packed), count = 0;
    if (size > EXPORT_DEVIATIONS_MAX)
        size = EXPORT_DEVIATIONS_MAX;
    struct export_deviation *rows = mem_new_array(size + 1, struct export_deviation);
    for (size_t i = 0; i < size; i++) {
        const json_t *row = json_array_get(packed, i);
        if (json_is_object(row))
            rows[count++] = (struct export_deviation){.kind = str_copy(message_text(row, "kind")),
                                                      .path = str_copy(message_text(row, "path")),
                                                      .detail = str_copy(message_text(row, "detail"))};
    }
    *ret_rows = rows;
    *ret_count = count;
}

void message_free_deviations(struct export_deviation *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(rows[i].kind);
        free(rows[i].path);
        free(rows[i].detail);
    }
    free(rows);
}

struct export_deviation *message_copy_deviations(const struct export_deviation *rows, size_t count)
{
    struct export_deviation *copy = mem_new_array(count + 1, struct export_deviation);
    for (size_t i = 0; i < count; i++)
        copy[i] = (struct export_deviation){
            .kind = str_copy(rows[i].kind), .path = str_copy(rows[i].path), .detail = str_copy(rows[i].detail)};
    return copy;
}

/* Paths of a request were checked to be UTF-8 when it was submitted: they go as they are. */
json_t *message_pack_request(const struct export_request *request)
{
    json_t *parents = json_array();
    for (size_t i = 0; i < request->parent_count; i++)
        json_array_append_new(parents, json_string(request->parents[i]));
    return json_pack("{s:s, s:o, s:s, s:b, s:i, s:i}", "layer", request->layer, "parents", parents, "output",
                     request->output != NULL ? request->output : "", "overwrite", request->overwrite, "compression",
                     (int)request->compression, "level", request->level);
}

struct error *message_unpack_request(const json_t *packed, struct export_request **ret_request)
{
    const char *layer = message_text(packed, "layer");
    const json_t *parents = json_object_get(packed, "parents");
    if (layer[0] == '\0' || !json_is_array(parents))
        return error_make(ERROR_KIND_DATA_LOSS, "read request", NULL, "the request has no layer or no parents");
    struct export_request *request = mem_new(struct export_request);
    size_t count = json_array_size(parents);
    request->layer = str_copy(layer);
    request->output = str_copy(message_text(packed, "output"));
    request->overwrite = json_is_true(json_object_get(packed, "overwrite"));
    request->compression = (enum export_compression)message_number(packed, "compression");
    request->level = (int)message_number(packed, "level");
    request->parents = mem_new_array(count + 1, char *);
    for (size_t i = 0; i < count; i++) {
        const char *parent = json_string_value(json_array_get(parents, i));
        request->parents[request->parent_count++] = str_copy(parent != NULL ? parent : "");
    }
    *ret_request = request;
    return NULL;
}

struct export_request *message_copy_request(const struct export_request *request)
{
    struct export_request *copy = mem_new(struct export_request);
    *copy = *request;
    copy->layer = str_copy(request->layer);
    copy->output = str_copy(request->output != NULL ? request->output : "");
    copy->parents = mem_new_array(request->parent_count + 1, char *);
    for (size_t i = 0; i < request->parent_count; i++)
        copy->parents[i] = str_copy(request->parents[i]);
    return copy;
}

void message_free_request(struct export_request *request)
{
    if (request == NULL)
        return;
    for (size_t i = 0; i < request->parent_count; i++)
        free(request->parents[i]);
    free(request->parents);
    free(request->layer);
    free(request->output);
    free(request);
}

json_t *message_pack_result(const struct export_result *result)
{
    return json_pack("{s:s, s:s, s:I, s:s, s:I, s:f, s:f, s:o, s:I}", "digest", result->digest, "diff_id",
                     result->diff_id, "size", (json_int_t)result->size, "media_type", result->media_type, "entries",
                     (json_int_t)result->entries, "staging_seconds", result->staging_seconds, "archive_seconds",
                     result->archive_seconds, "deviations",
                     message_pack_deviations(result->deviations, result->deviation_count, EXPORT_DEVIATIONS_MAX),
                     "deviation_total", (json_int_t)result->deviation_total);
}

static void copy_digest(char target[72], const char *digest)
{
    size_t size = strlen(digest);
    memcpy(target, digest, size < 71 ? size : 71);
}

struct error *message_unpack_result(const json_t *packed, struct export_result **ret_result)
{
    static const char *const media_types[] = {"application/vnd.oci.image.layer.v1.tar",
                                              "application/vnd.oci.image.layer.v1.tar+gzip",
                                              "application/vnd.oci.image.layer.v1.tar+zstd"};
    const char *media_type = NULL;
    for (size_t i = 0; i < sizeof media_types / sizeof media_types[0]; i++)
        if (strcmp(message_text(packed, "media_type"), media_types[i]) == 0)
            media_type = media_types[i];
    if (media_type == NULL || message_text(packed, "digest")[0] == '\0')
        return error_make(ERROR_KIND_DATA_LOSS, "read result", NULL, "the result has no digest or no media type");
    struct export_result *result = mem_new(struct export_result);
    copy_digest(result->digest, message_text(packed, "digest"));
    copy_digest(result->diff_id, message_text(packed, "diff_id"));
    result->size = message_number(packed, "size");
    result->media_type = media_type;
    result->entries = message_number(packed, "entries");
    result->staging_seconds = message_real(packed, "staging_seconds");
    result->archive_seconds = message_real(packed, "archive_seconds");
    message_unpack_deviations(json_object_get(packed, "deviations"), &result->deviations, &result->deviation_count);
    result->deviation_total = message_number(packed, "deviation_total");
    *ret_result = result;
    return NULL;
}
