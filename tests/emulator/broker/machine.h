/* The books of a utility VM: disks in SCSI slots, memory devices, shares, what its guest has mounted and combined. Locked.
 *
 * A modification is made whole or not at all, as with a connection to the guest that HCS owns: with Add the host's part comes
 * first, with Remove the guest's. Refused is what cannot be on Windows: a slot that is taken or that the VM does not have, a
 * disk that the VM has no access to, what is not there (0x80070490), what is in use (0x800700AA), and the guest's part while
 * the VM does not run (0xC0370105). */
#ifndef EMULATOR_BROKER_MACHINE_H
#define EMULATOR_BROKER_MACHINE_H

#include "broker.h"

struct system;

/* The VM of a document of schema 2, checked. The caller drops *ret_machine. */
struct error *machine_open(const char *id, const json_t *document, json_t **ret_machine) ERROR_MUST_CHECK;
/* HcsModifyComputeSystem on a VM. */
struct error *machine_modify(struct system *system, const json_t *modification) ERROR_MUST_CHECK;
/* A container that is to run in the VM: its root must be combined. *ret_folder is the folder of its scratch disk. */
struct error *machine_check_hosted(const char *id, const json_t *hosted, struct system *host,
                                   char **ret_folder) ERROR_MUST_CHECK;
/* GrantVmAccess. */
struct error *machine_grant(const json_t *request, json_t *reply) ERROR_MUST_CHECK;

#endif
