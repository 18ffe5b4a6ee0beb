/* The transport format of an export folder: files as UINT32 attributes + Win32 backup stream, folders with a companion
 * NAME.$wcidirs$, tombstones.txt. */
#ifndef EMULATOR_CLIENT_TRANSPORT_H
#define EMULATOR_CLIENT_TRANSPORT_H

#include "base/buffer.h"
#include "target.h"
#include "tree.h"

#define TRANSPORT_TOMBSTONES                                                                                           \
    "\xEF\xBB\xBF"                                                                                                     \
    "Version 1.0\n"
#define TRANSPORT_SIDECAR L".$wcidirs$"

/* Backup stream ids. */
enum { STREAM_DATA = 1, STREAM_EA = 2, STREAM_SECURITY = 3, STREAM_ALTERNATE = 4, STREAM_SPARSE = 9 };

/* Stages the file `entry` of folder `source` as `target`\`name`: prefix, security stream, data stream; times as the
 * source has them. *ret_id is the staged file's id. */
struct error *transport_stage_file(HANDLE source, const struct tree_entry *entry, const struct target *target,
                                   uint64_t *ret_id) ERROR_MUST_CHECK;

/* Stages the companion of the folder `entry`. */
struct error *transport_stage_sidecar(const struct tree_entry *entry, const struct target *target) ERROR_MUST_CHECK;

/* Copies a file's bytes and times as they are. */
struct error *transport_copy_plain(HANDLE source, const struct tree_entry *entry,
                                   const struct target *target) ERROR_MUST_CHECK;

/* The other way: writes the data of the staged file `staged` to `target`, an empty new file, and sets the times of
 * `entry` and the attributes of the prefix. */
struct error *transport_unstage(HANDLE staged, const struct tree_entry *entry, HANDLE target) ERROR_MUST_CHECK;

/* The attributes in a staged file's or companion's first four bytes. */
struct error *transport_read_attributes(HANDLE staged, uint32_t *ret_attributes) ERROR_MUST_CHECK;

bool transport_is_sidecar(const struct tree_entry *entry);

#endif
