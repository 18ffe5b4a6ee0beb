/* Who is at the other end of a pipe, by its access token. */
#ifndef HCSD_DAEMON_RPC_PIPE_IDENTITY_H
#define HCSD_DAEMON_RPC_PIPE_IDENTITY_H

#include <stdint.h>

#include "base/error.h"

struct pipe_identity {
    uint32_t pid; /* GetNamedPipeClientProcessId: for logs; 0 when the system does not say */
    char *sid;    /* "S-1-5-18" */
    char *user;   /* "DOMAIN\name", or the SID where no name is known */
    void *token;  /* the client's, for pipe_access_allows */
};

/* Takes the identity of the client of a server-side pipe handle, from which something must have been read already: the
 * system hands out the context of the last message read (ImpersonateNamedPipeClient). The client must allow Identification
 * or more; less is PERMISSION_DENIED. Does not look up the name: `user` is the SID. The calling thread is itself again
 * when this returns; if that cannot be had, the process ends (exit code 1307), because it would go on as somebody else. */
struct error *pipe_identity_take(void *handle, struct pipe_identity *ret_identity) ERROR_MUST_CHECK;

/* Puts the account's name in. May block on a domain controller, so never under a lock; what was found is kept for the last
 * 64 SIDs, that nothing was found for a minute. Thread-safe. */
void pipe_identity_look_up(struct pipe_identity *identity);

void pipe_identity_free(struct pipe_identity *identity);

#endif
