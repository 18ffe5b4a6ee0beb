/* The utility VM of a layer with parents: made in the layer's own folder, from the nearest parent's, and changed there
 * (layers.md 8.4, as hcsshim does it). ImportLayer does not know it. Windows only; one thread. */
#ifndef HCSD_IMPORT_UTILITY_VM_H
#define HCSD_IMPORT_UTILITY_VM_H

#include "export/export.h"
#include "import/import_tree.h"

struct utility_vm;

/* Makes UtilityVM in the layer and clones UtilityVM\Files of the parent: folders, reparse points and the boot configuration
 * (which is written to) are copied with all they have, everything else is hard-linked. ALREADY_EXISTS when the layer has one;
 * FAILED_PRECONDITION when the parent has none; CANCELLED. */
struct error *utility_vm_make(const char *layer, const char *parent, struct export_control *control,
                              struct utility_vm **ret_vm) ERROR_MUST_CHECK;

/* An entry below UtilityVM/Files (or that itself). What is there of another kind, and any file, is removed first: a link to the
 * parent's file is never written to. */
struct error *utility_vm_create(struct utility_vm *vm, const struct import_node *node,
                                struct stream_sink **ret_sink) ERROR_MUST_CHECK;
struct error *utility_vm_link(struct utility_vm *vm, const char *path, const char *first) ERROR_MUST_CHECK;
/* NOT_FOUND when there is nothing to delete. */
struct error *utility_vm_delete(struct utility_vm *vm, const char *path) ERROR_MUST_CHECK;

/* Folders have their times. */
void utility_vm_finish(struct utility_vm *vm);
/* Without finish: the layer's UtilityVM is removed. Takes NULL. */
void utility_vm_free(struct utility_vm *vm);

#endif
