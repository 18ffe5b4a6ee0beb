/* Who may use the pipe: its security descriptor, as text and as the system takes it. */
#ifndef HCSD_DAEMON_RPC_PIPE_ACCESS_H
#define HCSD_DAEMON_RPC_PIPE_ACCESS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* What a client needs: FILE_GENERIC_READ, FILE_WRITE_DATA, FILE_WRITE_EA, FILE_WRITE_ATTRIBUTES, and not
 * FILE_CREATE_PIPE_INSTANCE (0x4), which is in GENERIC_WRITE and would let its holder serve our name. */
#define PIPE_ACCESS_CLIENT 0x12019bu

/* "D:P(A;;GA;;;BA)(A;;GA;;;SY)" and one ACE of PIPE_ACCESS_CLIENT for each of `members`: a SID ("S-1-…") or the name of a
 * user or group ("CONTOSO\operators"; looked up, which may block on a domain controller). INVALID_ARGUMENT names the
 * member that is neither. The caller frees the text. */
struct error *pipe_access_sddl(const char *const *members, size_t count, char **ret_sddl) ERROR_MUST_CHECK;

/* That text as the system takes it. Not thread-safe but for pipe_access_allows. */
struct pipe_access {
    void *descriptor; /* for CreateNamedPipe */
    void *owned;      /* the same with an owner, as AccessCheck wants one */
};

struct error *pipe_access_parse(const char *sddl, struct pipe_access *ret_access) ERROR_MUST_CHECK;
void pipe_access_free(struct pipe_access *access); /* what is in it, not the struct */

/* Whether who has this impersonation token (TOKEN_QUERY) may read and write: what the system asks when a client opens the
 * pipe. Doubt is "no". */
bool pipe_access_allows(const struct pipe_access *access, void *token);

/* Makes it the access to the name that `pipe`, a server's handle with WRITE_DAC, is an instance of: a pipe has one security
 * descriptor for all its instances, the first instance's, and SetSecurityInfo changes it ("Named Pipe Security and Access
 * Rights"). Who has the pipe open keeps it open. Does not block. */
struct error *pipe_access_apply(const struct pipe_access *access, void *pipe) ERROR_MUST_CHECK;

#endif
