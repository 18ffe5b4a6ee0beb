/* The folder that an import fills. Windows only; one thread. */
#ifndef HCSD_IMPORT_STAGING_H
#define HCSD_IMPORT_STAGING_H

#include "import/import.h"
#include "import/import_tree.h"

struct staging;

/* The folder exists and is empty: FAILED_PRECONDITION otherwise. `options` lives as long. */
struct error *staging_open(const struct import_options *options, struct staging **ret_staging) ERROR_MUST_CHECK;
struct import_tree *staging_tree(struct staging *staging);
/* Everything was given: tombstones.txt is whole, folders have their times; pending goes to the caller. */
struct error *staging_finish(struct staging *staging, struct import_pending *ret_pending,
                             bool *ret_utility_vm) ERROR_MUST_CHECK;
void staging_free(struct staging *staging); /* takes NULL */

void import_pending_free(struct import_pending *pending);

#endif
