/* Which calls change something, and what the log says of them: who asked for what. Pure; thread-safe. */
#ifndef HCSD_DAEMON_RPC_CHANGE_H
#define HCSD_DAEMON_RPC_CHANGE_H

#include "daemon/rpc/call.h"

/* `Kill id=web exec_id=sh in default, for pid 12, HOST\user`; NULL for a call that only looks. A method that is not known to
 * only look counts as a change. `request` may be NULL. The caller frees it. */
char *change_text(const struct rpc_service *service, const struct rpc_method *method, const struct rpc_caller *caller,
                  const ProtobufCMessage *request);

#endif
