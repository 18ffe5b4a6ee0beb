/* The wire contract as data: an index over a serialized FileDescriptorSet (protobuf's descriptor.proto), for server
 * reflection. Pure; read-only after the last descriptors_add_alias, and then thread-safe. */
#ifndef HCSD_DAEMON_RPC_DESCRIPTORS_H
#define HCSD_DAEMON_RPC_DESCRIPTORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct descriptors;

struct descriptor_file {
    char *name;          /* "containerd/task/v3/shim.proto" */
    const uint8_t *data; /* a serialized FileDescriptorProto */
    size_t size;
    char **dependencies; /* names of the files it imports itself */
    size_t dependency_count;
};

/* INTERNAL: `set` is no FileDescriptorSet. It must stay. */
struct error *descriptors_open(const uint8_t *set, size_t size, struct descriptors **ret_descriptors) ERROR_MUST_CHECK;
void descriptors_close(struct descriptors *descriptors);

/* Adds a copy of the file that holds `service` under the package of `alias` ("a.v3.Task" and "a.v2.Task": every name in
 * package a.v3 becomes one in a.v2, and so does the file's path), so that a client which asks for the alias finds it.
 * false: there is no such service, or the alias is there already. */
bool descriptors_add_alias(struct descriptors *descriptors, const char *service, const char *alias);

/* NULL when there is none. A symbol is the full name of a message, field, oneof, enum, enum value, service or method, with or
 * without a leading dot. */
const struct descriptor_file *descriptors_file(const struct descriptors *descriptors, const char *name);
const struct descriptor_file *descriptors_symbol(const struct descriptors *descriptors, const char *symbol);
/* Whether the symbol is a message. */
bool descriptors_is_message(const struct descriptors *descriptors, const char *symbol);

/* `file` and all that it needs, each once, itself first. The caller frees the array. */
size_t descriptors_closure(const struct descriptors *descriptors, const struct descriptor_file *file,
                           const struct descriptor_file ***ret_files);

#endif
