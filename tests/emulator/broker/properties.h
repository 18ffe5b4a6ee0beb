/* What HCS tells about systems and processes: the JSON of the property calls, of the enumeration and of the books.
 * Locked. */
#ifndef EMULATOR_BROKER_PROPERTIES_H
#define EMULATOR_BROKER_PROPERTIES_H

#include "process.h"
#include "system.h"

/* `query` is {} or {"PropertyTypes":[…]} with Statistics, ProcessList, MappedVirtualDisk, GuestConnection. */
struct error *properties_system(struct system *system, const char *query, json_t **ret_properties) ERROR_MUST_CHECK;
json_t *properties_process(const struct process *process);

/* `query` has Ids, Types, Names, Owners, arrays of text, each optional. */
struct error *properties_enumerate(const char *query, json_t **ret_systems) ERROR_MUST_CHECK;

/* All the broker holds: {"running", "pid", "systems": {id: {…}}, "processes": […], "activated": [paths], "prepared":
 * [paths], "mount_paths": {path: volume}, "layers": […], "clients": […], "disks": […], "calls": {name: count},
 * "fault_counts": […], "held"}. Who asks is not among the
 * clients. */
json_t *properties_books(const struct client *asking);

#endif
