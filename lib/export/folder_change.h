/* Making entries in folders, by handle: the other half of folder.h, for import. Windows only; thread-safe for different
 * handles. Like there: relative to the folder's handle, by counted names, never through a reparse point, NTSTATUS as it is. */
#ifndef HCSD_EXPORT_FOLDER_CHANGE_H
#define HCSD_EXPORT_FOLDER_CHANGE_H

#include "export/folder.h"

#define NT_OBJECT_NAME_COLLISION ((NTSTATUS)0xC0000035L)

/* Makes a new file, or with FILE_DIRECTORY_FILE in `options` a new folder. NT_OBJECT_NAME_COLLISION when there is an entry of
 * this name. SYNCHRONIZE and FILE_READ_ATTRIBUTES are added to `access`. */
NTSTATUS folder_create(struct folder_volume *volume, HANDLE folder, const WCHAR *name, size_t units, ACCESS_MASK access,
                       ULONG options, HANDLE *ret_handle);

/* A further name for a file that is open with FILE_WRITE_ATTRIBUTES. */
NTSTATUS folder_link(HANDLE file, HANDLE folder, const WCHAR *name, size_t units);

/* Sets the times (FILETIME; 0: as they are) and, unless `attributes` is 0, those attributes that can be set so. Needs
 * FILE_WRITE_ATTRIBUTES. */
NTSTATUS folder_set_info(HANDLE handle, uint32_t attributes, uint64_t modified, uint64_t created);

NTSTATUS folder_write(HANDLE handle, uint64_t offset, const void *data, size_t size);
NTSTATUS folder_set_size(HANDLE handle, uint64_t size);

#endif
