// Must be compiled with the definitions gRPC itself was compiled with (dep::grpc_internal): struct layouts differ otherwise.
#include <grpc/support/port_platform.h>

#include "daemon/rpc/grpc_engine.h"

#include <windows.h>

#include <memory>
#include <mutex>

#include <grpc/event_engine/event_engine.h>
#include <grpc/grpc.h>
#include <grpc/support/log.h>

#include "daemon/rpc/grpc_scope.h"
#include "src/core/lib/iomgr/error.h"
#include "src/core/lib/iomgr/executor.h"
#include "src/core/lib/iomgr/iomgr_internal.h"
#include "src/core/lib/iomgr/timer.h"
#include "src/core/lib/iomgr/timer_heap.h"
#include "src/core/lib/iomgr/timer_manager.h"

namespace {

using grpc_core::ExecCtx;
using grpc_event_engine::experimental::EventEngine;

// ---- timers: one heap, one timer of the thread pool, and a wake-up only when one is due ----
//
// gRPC's own have a thread, and wake each of their shards at least once a second, and as often as every 10 ms after short
// timers, whether or not there is a timer. Here nothing happens before the earliest deadline. The pool's timer is not set
// anew for a deadline behind the one it is set for already, so that a row of calls with equal timeouts costs nothing.

constexpr int64_t kNever = INT64_MAX;

gpr_mu g_timer_mu; // the three below, and every timer's `pending`
grpc_timer_heap g_timers;
int64_t g_timer_wake; // when g_timer fires
bool g_timers_up;
PTP_TIMER g_timer;

int64_t MillisecondsOf(grpc_core::Timestamp time)
{
    return static_cast<int64_t>(time.milliseconds_after_process_epoch());
}

void ArmLocked(int64_t deadline)
{
    g_timer_wake = deadline;
    int64_t left = deadline - MillisecondsOf(grpc_core::Timestamp::Now());
    int64_t relative = -10000 * std::max<int64_t>(left + 1, 1);
    FILETIME due = {static_cast<DWORD>(relative), static_cast<DWORD>(relative >> 32)};
    SetThreadpoolTimer(g_timer, &due, 0, 0);
}

void TimerInit(grpc_timer *timer, grpc_core::Timestamp deadline, grpc_closure *closure)
{
    timer->closure = closure;
    timer->deadline = MillisecondsOf(deadline);
    gpr_mu_lock(&g_timer_mu);
    bool up = timer->pending = g_timers_up;
    if (up) {
        grpc_timer_heap_add(&g_timers, timer);
        if (timer->deadline < g_timer_wake)
            ArmLocked(timer->deadline);
    }
    gpr_mu_unlock(&g_timer_mu);
    if (!up)
        ExecCtx::Run(DEBUG_LOCATION, closure, GRPC_ERROR_CREATE("timers are shut down"));
}

void TimerCancel(grpc_timer *timer)
{
    gpr_mu_lock(&g_timer_mu);
    bool pending = g_timers_up && timer->pending;
    if (pending) {
        timer->pending = false;
        grpc_timer_heap_remove(&g_timers, timer);
    }
    gpr_mu_unlock(&g_timer_mu);
    if (pending)
        ExecCtx::Run(DEBUG_LOCATION, timer->closure, absl::CancelledError());
}

// Runs what is due at `now`.
bool FireLocked(int64_t now, const grpc_error_handle &error)
{
    bool fired = false;
    while (!grpc_timer_heap_is_empty(&g_timers) && grpc_timer_heap_top(&g_timers)->deadline <= now) {
        grpc_timer *timer = grpc_timer_heap_top(&g_timers);
        grpc_timer_heap_pop(&g_timers);
        timer->pending = false;
        ExecCtx::Run(DEBUG_LOCATION, timer->closure, error);
        fired = true;
    }
    return fired;
}

void CALLBACK OnTimer(PTP_CALLBACK_INSTANCE, void *, PTP_TIMER)
{
    GrpcScope scope;
    gpr_mu_lock(&g_timer_mu);
    if (g_timers_up) {
        FireLocked(MillisecondsOf(grpc_core::Timestamp::Now()), absl::OkStatus());
        g_timer_wake = kNever;
        if (!grpc_timer_heap_is_empty(&g_timers))
            ArmLocked(grpc_timer_heap_top(&g_timers)->deadline);
    }
    gpr_mu_unlock(&g_timer_mu);
}

// Asked by gRPC's shutdown, for which everything is due, and by its timer thread, which we end.
grpc_timer_check_result TimerCheck(grpc_core::Timestamp *)
{
    grpc_core::Timestamp now = grpc_core::Timestamp::Now();
    if (now != grpc_core::Timestamp::InfFuture())
        return GRPC_TIMERS_CHECKED_AND_EMPTY;
    gpr_mu_lock(&g_timer_mu);
    bool fired = FireLocked(MillisecondsOf(now), GRPC_ERROR_CREATE("timers are shut down"));
    gpr_mu_unlock(&g_timer_mu);
    return fired ? GRPC_TIMERS_FIRED : GRPC_TIMERS_CHECKED_AND_EMPTY;
}

void TimersInit()
{
    gpr_mu_lock(&g_timer_mu);
    grpc_timer_heap_init(&g_timers);
    g_timer_wake = kNever;
    g_timer = CreateThreadpoolTimer(OnTimer, nullptr, nullptr);
    GPR_ASSERT(g_timer != nullptr);
    g_timers_up = true;
    gpr_mu_unlock(&g_timer_mu);
}

void TimersShutdown()
{
    gpr_mu_lock(&g_timer_mu);
    g_timers_up = false;
    FireLocked(kNever, GRPC_ERROR_CREATE("timers are shut down"));
    grpc_timer_heap_destroy(&g_timers);
    gpr_mu_unlock(&g_timer_mu);
    SetThreadpoolTimer(g_timer, nullptr, 0, 0);
    WaitForThreadpoolTimerCallbacks(g_timer, TRUE);
    CloseThreadpoolTimer(g_timer);
}

grpc_timer_vtable g_timer_vtable = {TimerInit, TimerCancel, TimerCheck, TimersInit, TimersShutdown, [] {}};

// ---- task pool: what gRPC runs elsewhere runs on the process's thread pool ----
//
// gRPC's own engine keeps threads, a completion port and a second set of timers. With a pipe's direct channels nothing
// asks for its sockets, resolvers or timers.

class Pool : public EventEngine {
  public:
    void Run(Closure *closure) override
    {
        Run([closure] { closure->Run(); });
    }

    void Run(absl::AnyInvocable<void()> task) override
    {
        auto *heap = new absl::AnyInvocable<void()>(std::move(task));
        if (!TrySubmitThreadpoolCallback(RunOne, heap, nullptr))
            RunOne(nullptr, heap); // no resources: here, rather than never
    }

    TaskHandle RunAfter(Duration, Closure *) override
    {
        Missing("RunAfter");
    }
    TaskHandle RunAfter(Duration, absl::AnyInvocable<void()>) override
    {
        Missing("RunAfter");
    }
    bool Cancel(TaskHandle) override
    {
        return false;
    }
    bool IsWorkerThread() override
    {
        return false;
    }
    std::unique_ptr<DNSResolver> GetDNSResolver(const DNSResolver::ResolverOptions &) override
    {
        Missing("GetDNSResolver");
    }
    bool CancelConnect(ConnectionHandle) override
    {
        return false;
    }

    ConnectionHandle Connect(OnConnectCallback, const ResolvedAddress &,
                             const grpc_event_engine::experimental::EndpointConfig &,
                             grpc_event_engine::experimental::MemoryAllocator, Duration) override
    {
        Missing("Connect");
    }

    absl::StatusOr<std::unique_ptr<EventEngine::Listener>>
    CreateListener(EventEngine::Listener::AcceptCallback, absl::AnyInvocable<void(absl::Status)>,
                   const grpc_event_engine::experimental::EndpointConfig &,
                   std::unique_ptr<grpc_event_engine::experimental::MemoryAllocatorFactory>) override
    {
        return absl::UnimplementedError("hcsd has no sockets");
    }

  private:
    static void CALLBACK RunOne(PTP_CALLBACK_INSTANCE, void *context)
    {
        std::unique_ptr<absl::AnyInvocable<void()>> task(static_cast<absl::AnyInvocable<void()> *>(context));
        (*task)();
    }

    [[noreturn]] static void Missing(const char *what)
    {
        gpr_log(GPR_ERROR, "hcsd's task pool was asked for %s, which nothing on a pipe needs", what);
        abort();
    }
};

} // namespace

extern "C" void grpc_engine_init(void)
{
    static std::once_flag prepared;
    std::call_once(prepared, [] {
        gpr_mu_init(&g_timer_mu);
        grpc_set_default_iomgr_platform();
        grpc_set_timer_impl(&g_timer_vtable);
        grpc_event_engine::experimental::SetEventEngineFactory([] { return std::make_unique<Pool>(); });
    });
    grpc_init();
    // Threads that would never have anything to do: the timers', and those of the two executors, whose work is then done by
    // the thread that has it (as gRPC does it itself around a fork).
    ExecCtx exec_ctx;
    grpc_timer_manager_set_threading(false);
    grpc_core::Executor::SetThreadingAll(false);
}
