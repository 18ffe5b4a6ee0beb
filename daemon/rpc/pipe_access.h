/* Who may use the pipe: its security descriptor, as text. */
#ifndef HCSD_DAEMON_RPC_PIPE_ACCESS_H
#define HCSD_DAEMON_RPC_PIPE_ACCESS_H

#include <stddef.h>

#include "base/error.h"

/* What a client needs: FILE_GENERIC_READ, FILE_WRITE_DATA, FILE_WRITE_EA, FILE_WRITE_ATTRIBUTES, and not
 * FILE_CREATE_PIPE_INSTANCE (0x4), which is in GENERIC_WRITE and would let its holder serve our name. */
#define PIPE_ACCESS_CLIENT 0x12019bu

/* "D:P(A;;GA;;;BA)(A;;GA;;;SY)" and one ACE of PIPE_ACCESS_CLIENT for each of `members`: a SID ("S-1-…") or the name of a
 * user or group ("CONTOSO\operators"; looked up, which may block on a domain controller). INVALID_ARGUMENT names the
 * member that is neither. The caller frees the text. */
struct error *pipe_access_sddl(const char *const *members, size_t count, char **ret_sddl) ERROR_MUST_CHECK;

#endif
