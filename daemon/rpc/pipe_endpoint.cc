// Must be compiled with the definitions gRPC itself was compiled with (dep::grpc_internal): struct layouts differ otherwise.
#include <grpc/support/port_platform.h>

#include "daemon/rpc/pipe_endpoint.h"

#include <windows.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <grpc/event_engine/event_engine.h>
#include <grpc/grpc_security.h>
#include <grpc/slice_buffer.h>
#include <grpc/support/log.h>

#include "src/core/ext/transport/chttp2/transport/chttp2_transport.h"
#include "src/core/lib/channel/channel_args_preconditioning.h"
#include "src/core/lib/config/core_configuration.h"
#include "src/core/lib/iomgr/endpoint.h"
#include "src/core/lib/iomgr/exec_ctx.h"
#include "src/core/lib/iomgr/executor.h"
#include "src/core/lib/iomgr/iomgr_internal.h"
#include "src/core/lib/iomgr/timer.h"
#include "src/core/lib/iomgr/timer_heap.h"
#include "src/core/lib/iomgr/timer_manager.h"
#include "src/core/lib/security/credentials/credentials.h"
#include "src/core/lib/surface/channel.h"
#include "src/core/lib/surface/server.h"

namespace {

using grpc_core::ExecCtx;
using grpc_event_engine::experimental::EventEngine;

// Both contexts of a thread that is gRPC's own. The "internal" flags keep a last grpc_shutdown that happens in here from
// waiting for the very endpoint that this thread still holds.
struct GrpcScope {
    grpc_core::ApplicationCallbackExecCtx app{GRPC_APP_CALLBACK_EXEC_CTX_FLAG_IS_INTERNAL_THREAD};
    ExecCtx exec{GRPC_EXEC_CTX_FLAG_IS_INTERNAL_THREAD};
};

// ---- endpoint: a grpc_endpoint over a pipe_stream ----

// What a read asks for: little while the peer is quiet, so that an idle connection holds little; more as long as reads come
// back full.
constexpr uint32_t kReadLeast = 2048;
// More than a pipe's buffer: a message of 64 KiB comes with a few bytes of frames, which must not cost a call of their own.
// What exceeds the buffer waits in the system for the reader.
constexpr uint32_t kReadMost = 2 * PIPE_STREAM_CHUNK;
constexpr uint32_t kWriteMost = 4 * PIPE_STREAM_CHUNK;
constexpr uint32_t kReadsUntilSmall = 16;
// Below this much of a buffer the bytes are copied, and the buffer is kept: a message made of many small pieces must not
// pin a large buffer for each.
constexpr uint32_t kReadShare = 2;

struct Endpoint {
    grpc_endpoint base;             // first: a grpc_endpoint * is an Endpoint *
    grpc_iomgr_object iomgr_object; // grpc_shutdown waits until it is unregistered
    pipe_stream *stream;
    pipe_connection *connection; // server side, else nullptr
    std::string peer;
    gpr_mu mu;
    grpc_error_handle why; // mu: the reason given to the shutdown
    // The read in flight.
    grpc_slice room = grpc_empty_slice();
    uint32_t read_size = kReadLeast;
    uint32_t small_reads = 0; // in a row
    grpc_slice_buffer *read_slices;
    grpc_closure *read_done;
    // The write in flight.
    grpc_slice_buffer *write_slices;
    grpc_closure *write_done;
    bool write_direct = false; // out of the only slice, which is dropped when it is done
    std::unique_ptr<char[]> write_room;
    uint32_t write_room_size = 0;
};

grpc_error_handle Result(Endpoint *ep, const char *what, uint32_t code)
{
    if (code == ERROR_SUCCESS)
        return absl::OkStatus();
    gpr_mu_lock(&ep->mu);
    grpc_error_handle error = ep->why.ok()
                                  ? GRPC_ERROR_CREATE(std::string(what) + ": Win32 error " + std::to_string(code))
                                  : GRPC_ERROR_CREATE_REFERENCING("pipe shut down", &ep->why, 1);
    gpr_mu_unlock(&ep->mu);
    return grpc_error_set_int(error, grpc_core::StatusIntProperty::kRpcStatus, GRPC_STATUS_UNAVAILABLE);
}

uint32_t StartRead(Endpoint *ep, uint32_t *size)
{
    if (GRPC_SLICE_LENGTH(ep->room) < ep->read_size) {
        grpc_slice_unref(ep->room);
        ep->room = grpc_slice_malloc(ep->read_size);
    }
    return pipe_stream_read(ep->stream, GRPC_SLICE_START_PTR(ep->room), ep->read_size, size);
}

void TakeRead(Endpoint *ep, uint32_t size)
{
    if (size == ep->read_size) {
        ep->read_size = std::min(ep->read_size * 4, kReadMost);
        ep->small_reads = 0;
    } else if (size >= kReadLeast) {
        ep->small_reads = 0;
    } else if (++ep->small_reads == kReadsUntilSmall) {
        ep->read_size = kReadLeast;
        ep->small_reads = 0;
    }
    if (size < GRPC_SLICE_LENGTH(ep->room) / kReadShare) {
        grpc_slice_buffer_add(ep->read_slices, grpc_slice_from_copied_buffer(
                                                   reinterpret_cast<char *>(GRPC_SLICE_START_PTR(ep->room)), size));
        if (GRPC_SLICE_LENGTH(ep->room) > ep->read_size) {
            grpc_slice_unref(ep->room);
            ep->room = grpc_empty_slice();
        }
    } else {
        grpc_slice_buffer_add(ep->read_slices, grpc_slice_sub_no_ref(ep->room, 0, size));
        ep->room = grpc_empty_slice();
    }
}

void ReadDone(Endpoint *ep, uint32_t code, uint32_t size)
{
    // A peer's empty write ends a read with nothing: read on. The end of the stream is an error.
    while (code == ERROR_SUCCESS && size == 0)
        code = StartRead(ep, &size);
    if (code == ERROR_IO_PENDING)
        return;
    if (code == ERROR_SUCCESS)
        TakeRead(ep, size);
    ExecCtx::Run(DEBUG_LOCATION, ep->read_done, Result(ep, "pipe read", code));
}

// Pipes have no gather write: what lies in several slices is copied together.
uint32_t StartWrite(Endpoint *ep, uint32_t *size)
{
    grpc_slice_buffer *slices = ep->write_slices;
    size_t length = std::min<size_t>(slices->length, kWriteMost);
    const void *data;
    ep->write_direct = slices->count == 1 && slices->length == length;
    if (ep->write_direct) {
        data = GRPC_SLICE_START_PTR(slices->slices[0]);
    } else {
        if (ep->write_room_size < length) {
            ep->write_room_size = static_cast<uint32_t>(length);
            ep->write_room.reset(new char[length]);
        }
        grpc_slice_buffer_move_first_into_buffer(slices, length, ep->write_room.get());
        data = ep->write_room.get();
    }
    return pipe_stream_write(ep->stream, data, static_cast<uint32_t>(length), size);
}

void WriteMore(Endpoint *ep, uint32_t code)
{
    uint32_t size;
    for (;; code = StartWrite(ep, &size)) {
        if (code == ERROR_IO_PENDING)
            return; // the endpoint may be gone already
        if (ep->write_direct) {
            ep->write_direct = false;
            grpc_slice_buffer_reset_and_unref(ep->write_slices);
        }
        if (code != ERROR_SUCCESS || ep->write_slices->length == 0)
            break;
    }
    if (ep->write_room_size > kReadLeast) {
        ep->write_room.reset();
        ep->write_room_size = 0;
    }
    ExecCtx::Run(DEBUG_LOCATION, ep->write_done, Result(ep, "pipe write", code));
}

void OnDone(void *context, enum pipe_operation operation, uint32_t code, uint32_t size)
{
    Endpoint *ep = static_cast<Endpoint *>(context);
    GrpcScope scope;
    if (operation == PIPE_READ)
        ReadDone(ep, code, size);
    else
        WriteMore(ep, code);
}

void OnWriting(void *context)
{
    Endpoint *ep = static_cast<Endpoint *>(context);
    if (ep->connection != nullptr)
        pipe_connection_writing(ep->connection);
}

void OnClosed(void *context)
{
    Endpoint *ep = static_cast<Endpoint *>(context);
    if (ep->connection != nullptr)
        pipe_connection_closed(ep->connection);
    grpc_slice_unref(ep->room);
    gpr_mu_destroy(&ep->mu);
    grpc_iomgr_unregister_object(&ep->iomgr_object);
    delete ep;
}

constexpr pipe_stream_handler kStreamHandler = {OnDone, OnWriting, OnClosed};

Endpoint *FromBase(grpc_endpoint *ep)
{
    return reinterpret_cast<Endpoint *>(ep);
}

void EndpointRead(grpc_endpoint *base, grpc_slice_buffer *slices, grpc_closure *done, bool, int)
{
    Endpoint *ep = FromBase(base);
    grpc_slice_buffer_reset_and_unref(slices);
    ep->read_slices = slices;
    ep->read_done = done;
    ReadDone(ep, ERROR_SUCCESS, 0);
}

void EndpointWrite(grpc_endpoint *base, grpc_slice_buffer *slices, grpc_closure *done, void *, int)
{
    Endpoint *ep = FromBase(base);
    ep->write_slices = slices;
    ep->write_done = done;
    WriteMore(ep, ERROR_SUCCESS);
}

// Closes the handle at once, so that the peer sees the end even while calls still hold the transport.
void EndpointShutdown(grpc_endpoint *base, grpc_error_handle why)
{
    Endpoint *ep = FromBase(base);
    gpr_mu_lock(&ep->mu);
    if (ep->why.ok())
        ep->why = why;
    gpr_mu_unlock(&ep->mu);
    pipe_stream_shutdown(ep->stream);
}

void EndpointDestroy(grpc_endpoint *base)
{
    pipe_stream_close(FromBase(base)->stream);
}

constexpr grpc_endpoint_vtable kVtable = {
    EndpointRead,
    EndpointWrite,
    [](grpc_endpoint *, grpc_pollset *) {},     // completions come from the thread pool,
    [](grpc_endpoint *, grpc_pollset_set *) {}, // so there is nothing to poll
    [](grpc_endpoint *, grpc_pollset_set *) {},
    EndpointShutdown,
    EndpointDestroy,
    [](grpc_endpoint *ep) -> absl::string_view { return FromBase(ep)->peer; },
    [](grpc_endpoint *) -> absl::string_view { return "npipe:local"; },
    [](grpc_endpoint *) { return -1; },
    [](grpc_endpoint *) { return false; },
};

Endpoint *NewEndpoint(pipe_connection *connection, std::string peer)
{
    Endpoint *ep = new Endpoint;
    ep->base.vtable = &kVtable;
    ep->connection = connection;
    ep->peer = std::move(peer);
    gpr_mu_init(&ep->mu);
    grpc_iomgr_register_object(&ep->iomgr_object, "npipe");
    return ep;
}

// ---- server ----

class Listener : public grpc_core::Server::ListenerInterface {
  public:
    explicit Listener(pipe_listener *listener) : listener_(listener) {}

    void Start(grpc_core::Server *server, const std::vector<grpc_pollset *> *) override
    {
        server_ = server;
        pipe_listener_start(listener_, Serve, this);
    }

    grpc_core::channelz::ListenSocketNode *channelz_listen_socket_node() const override
    {
        return nullptr;
    }

    void SetOnDestroyDone(grpc_closure *done) override
    {
        done_ = done;
    }

    void Orphan() override
    {
        pipe_listener_stop(listener_, Stopped, this);
    }

  private:
    static void Stopped(void *context)
    {
        Listener *self = static_cast<Listener *>(context);
        grpc_closure *done = self->done_;
        delete self;
        GrpcScope scope;
        if (done != nullptr)
            ExecCtx::Run(DEBUG_LOCATION, done, absl::OkStatus());
    }

    static void Serve(void *context, pipe_connection *connection, const uint8_t *first, size_t size)
    {
        Listener *self = static_cast<Listener *>(context);
        GrpcScope scope;
        char peer[PIPE_PEER_SIZE];
        pipe_connection_peer(connection, peer);
        Endpoint *ep = NewEndpoint(connection, peer);
        ep->stream = pipe_connection_stream(connection);
        pipe_stream_set_handler(ep->stream, &kStreamHandler, ep);

        grpc_core::ChannelArgs args = self->server_->channel_args();
        grpc_transport *transport = grpc_create_chttp2_transport(args, &ep->base, /*is_client=*/false);
        grpc_error_handle error = self->server_->SetupTransport(transport, nullptr, args, nullptr);
        if (!error.ok()) {
            gpr_log(GPR_ERROR, "pipe transport: %s", grpc_core::StatusToString(error).c_str());
            grpc_transport_destroy(transport);
            return;
        }
        grpc_slice_buffer *read = static_cast<grpc_slice_buffer *>(gpr_malloc(sizeof *read));
        grpc_slice_buffer_init(read);
        grpc_slice_buffer_add(read, grpc_slice_from_copied_buffer(reinterpret_cast<const char *>(first), size));
        grpc_chttp2_transport_start_reading(transport, read, nullptr, nullptr);
    }

    pipe_listener *const listener_;
    grpc_core::Server *server_ = nullptr;
    grpc_closure *done_ = nullptr;
};

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

extern "C" void pipe_endpoint_init(void)
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

extern "C" void pipe_endpoint_attach(grpc_server *server, struct pipe_listener *listener)
{
    ExecCtx exec_ctx;
    grpc_core::Server::FromC(server)->AddListener(grpc_core::MakeOrphanable<Listener>(listener));
}

extern "C" grpc_channel *pipe_endpoint_channel(void *handle, const grpc_channel_args *args)
{
    ExecCtx exec_ctx;
    Endpoint *ep = NewEndpoint(nullptr, "npipe:server");
    ep->stream = pipe_stream_open(handle, &kStreamHandler, ep);
    if (ep->stream == nullptr) {
        OnClosed(ep);
        return nullptr;
    }
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    grpc_core::ChannelArgs final_args = grpc_core::CoreConfiguration::Get()
                                            .channel_args_preconditioning()
                                            .PreconditionChannelArgs(args)
                                            .SetIfUnset(GRPC_ARG_DEFAULT_AUTHORITY, "localhost")
                                            .SetObject(credentials->Ref());
    grpc_channel_credentials_release(credentials);
    grpc_transport *transport = grpc_create_chttp2_transport(final_args, &ep->base, /*is_client=*/true);
    auto channel = grpc_core::Channel::Create("npipe", final_args, GRPC_CLIENT_DIRECT_CHANNEL, transport);
    if (!channel.ok()) {
        grpc_transport_destroy(transport);
        return nullptr;
    }
    grpc_chttp2_transport_start_reading(transport, nullptr, nullptr, nullptr);
    exec_ctx.Flush();
    return channel->release()->c_ptr();
}
