/* What the renderers share. Internal to lib/spec. */
#ifndef HCSD_SPEC_DOCUMENT_H
#define HCSD_SPEC_DOCUMENT_H

#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "spec/spec.h"

struct error *spec_refuse(enum error_kind kind, const struct spec_render *render, const char *format, ...)
    ERROR_PRINTF(3, 4) ERROR_MUST_CHECK;
void spec_warn(struct spec_warnings *warnings, const char *format, ...) ERROR_PRINTF(2, 3);

/* Members that are left out when they are empty or zero. */
void document_add_text(json_t *object, const char *name, const char *text);
void document_add_number(json_t *object, const char *name, uint64_t value);
void document_add_true(json_t *object, const char *name, bool value);

/* What both kinds of container have; each member at its place in schema1's order. */
struct error *document_layers(const struct spec_render *render, const struct spec_layers *layers, const char *below,
                              json_t **ret_layers) ERROR_MUST_CHECK;
void document_add_resources(json_t *object, const struct spec *spec, const struct spec_render *render,
                            struct spec_warnings *warnings, bool storage);
void document_add_network(json_t *object, const struct spec *spec, struct spec_warnings *warnings);
void document_add_dns(json_t *object, const struct spec *spec);
json_t *document_mapped_directory(const char *host, const char *container, bool read_only, bool in_vm);
bool mount_is_read_only(const struct spec_mount *mount);

/* A Linux container's document; its members as above. */
struct error *linux_render_system(const struct spec *spec, const struct spec_render *render,
                                  const struct spec_layers *layers, json_t **ret_document,
                                  struct spec_warnings *warnings) ERROR_MUST_CHECK;
/* The spec that the guest gets: bind mounts come from where the host's folders are seen in the guest. */
struct error *linux_guest_spec(const struct spec *spec, json_t **ret_spec) ERROR_MUST_CHECK;

/* Dumps and releases the document. */
char *document_dump(json_t *document);

#endif
