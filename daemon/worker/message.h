/* What hcsd and its workers tell each other, as JSON (docs/worker.md): the objects of the project in that form, and back.
 * Pure; thread-safe. Texts must be UTF-8; the packing functions escape what is not. Unpacking never trusts: a missing or
 * mistyped field gives what the comment says. */
#ifndef HCSD_DAEMON_WORKER_MESSAGE_H
#define HCSD_DAEMON_WORKER_MESSAGE_H

#include <jansson.h>

#include "base/error.h"
#include "export/export.h"

/* Both sides are one image, so a difference means that a file was replaced under a running service. */
#define MESSAGE_PROTOCOL 2

json_t *message_pack_error(const struct error *error);    /* NULL gives JSON null */
struct error *message_unpack_error(const json_t *packed); /* NULL for null and for what is no error */

/* At most `limit` rows; long paths are cut and marked. */
json_t *message_pack_deviations(const struct export_deviation *rows, size_t count, size_t limit);
/* Rows that are none are left out. The caller frees them with message_free_deviations. */
void message_unpack_deviations(const json_t *packed, struct export_deviation **ret_rows, size_t *ret_count);
void message_free_deviations(struct export_deviation *rows, size_t count);
struct export_deviation *message_copy_deviations(const struct export_deviation *rows, size_t count);

json_t *message_pack_request(const struct export_request *request);
/* DATA_LOSS when it is none. The caller frees it with message_free_request. */
struct error *message_unpack_request(const json_t *packed, struct export_request **ret_request) ERROR_MUST_CHECK;
struct export_request *message_copy_request(const struct export_request *request);
void message_free_request(struct export_request *request);

json_t *message_pack_result(const struct export_result *result);
struct error *message_unpack_result(const json_t *packed, struct export_result **ret_result) ERROR_MUST_CHECK;

/* The field's text, or "". */
const char *message_text(const json_t *message, const char *field);
/* The field's integer, 0 when it is none or below 0. */
uint64_t message_number(const json_t *message, const char *field);
double message_real(const json_t *message, const char *field);

#endif
