/* The requests of HcsModifyComputeSystem (layers.md 6). Pure.
 *
 * Members that are zero, empty or false are left out: guests default them, and older ones refuse members they do not know.
 * Texts are the caller's to free. */
#ifndef HCSD_UVM_REQUEST_H
#define HCSD_UVM_REQUEST_H

#include "uvm/resource.h"

/* Puts the resource into the VM. */
char *uvm_request_add(const struct uvm *vm, const struct uvm_resource *resource);
/* Tells the longer list of files of a restricted share. */
char *uvm_request_update(const struct uvm_resource *share);
/* Takes it out again: at most two requests, in order; the second may be NULL. */
void uvm_request_remove(const struct uvm *vm, const struct uvm_resource *resource, char *ret_requests[2]);

/* What the first words of an error are to be: "attach disk C:\…". */
char *uvm_request_step(const struct uvm_resource *resource, bool removing);

/* The options of a share, as the documents of the VM and of requests have them. */
json_t *uvm_share_options(const struct uvm_resource *share);
/* Controllers are known by these keys in documents and paths alike (UUIDv5 of "0" to "3"). */
const char *uvm_controller_key(unsigned controller);
/* Where a Windows guest sees the share; the caller frees it. `name` may have a file behind it. */
char *uvm_share_guest_path(const char *name);

#endif
