// For the two files of C++ only.
#ifndef HCSD_DAEMON_RPC_GRPC_SCOPE_H
#define HCSD_DAEMON_RPC_GRPC_SCOPE_H

#include <grpc/support/port_platform.h>

#include "src/core/lib/iomgr/exec_ctx.h"

// Both contexts of a thread that is gRPC's own. The "internal" flags keep a last grpc_shutdown that happens in here from
// waiting for the very endpoint that this thread still holds.
struct GrpcScope {
    grpc_core::ApplicationCallbackExecCtx app{GRPC_APP_CALLBACK_EXEC_CTX_FLAG_IS_INTERNAL_THREAD};
    grpc_core::ExecCtx exec{GRPC_EXEC_CTX_FLAG_IS_INTERNAL_THREAD};
};

#endif
