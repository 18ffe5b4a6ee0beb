/* The remover by handle, for those who must not go by a path. Windows only. */
#ifndef HCSD_EXPORT_REMOVER_H
#define HCSD_EXPORT_REMOVER_H

#include "export/export.h"
#include "export/folder.h"

#define REMOVER_ACCESS (FILE_LIST_DIRECTORY | FILE_TRAVERSE | DELETE | FILE_WRITE_ATTRIBUTES)

/* remover_run for a folder that is open with REMOVER_ACCESS; closes the handle. `folder` is its path, for errors. */
struct error *remover_run_handle(HANDLE root, const char *folder, struct export_control *control,
                                 struct remover_report *ret_report) ERROR_MUST_CHECK;

#endif
