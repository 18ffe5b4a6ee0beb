// Must be compiled with the definitions gRPC itself was compiled with (dep::grpc_internal): struct layouts differ otherwise.
#include <grpc/support/port_platform.h>

#include "daemon/rpc/pipe_endpoint.h"

#include <windows.h>

#include <memory>
#include <string>
#include <vector>

#include <grpc/grpc_security.h>
#include <grpc/slice_buffer.h>
#include <grpc/support/log.h>

#include "daemon/rpc/frames.h"
#include "daemon/rpc/grpc_scope.h"
#include "src/core/ext/transport/chttp2/transport/chttp2_transport.h"
#include "src/core/ext/transport/chttp2/transport/internal.h"
#include "src/core/lib/channel/channel_args_preconditioning.h"
#include "src/core/lib/config/core_configuration.h"
#include "src/core/lib/iomgr/endpoint.h"
#include "src/core/lib/iomgr/exec_ctx.h"
#include "src/core/lib/iomgr/iomgr_internal.h"
#include "src/core/lib/security/credentials/credentials.h"
#include "src/core/lib/surface/channel.h"
#include "src/core/lib/surface/server.h"

namespace {

using grpc_core::ExecCtx;

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

// Server side: what a client sends is taken in turns, and a turn begins when the calls that the one before brought have been
// taken up. So many frames a turn has at most: a frame may be a call, and a read holds thousands of them.
constexpr unsigned kTurnFrames = 64;
constexpr uint32_t kPrefaceSize = 24; // before the first frame
// So many turns follow each other on a thread; then, and after a turn that did not take all that was read, others go first.
constexpr unsigned kTurnsInARow = 4;

struct Endpoint;

// What begins an endpoint's next turn.
struct Turn {
    grpc_completion_queue_functor functor; // first
    Endpoint *ep;
    bool again;
};

struct Endpoint {
    grpc_endpoint base;             // first: a grpc_endpoint * is an Endpoint *
    grpc_iomgr_object iomgr_object; // grpc_shutdown waits until it is unregistered
    pipe_stream *stream;
    pipe_connection *connection; // server side, else nullptr
    std::string peer;
    gpr_mu mu;
    grpc_error_handle why; // mu: the reason given to the shutdown
    bool lost = false; // mu: a read or write has failed, so that it is not for what the peer sent that it is shut down
    // The read in flight.
    grpc_slice room = grpc_empty_slice();
    uint32_t read_size = kReadLeast;
    uint32_t small_reads = 0; // in a row
    grpc_slice_buffer *read_slices;
    grpc_closure *read_done;
    // Server side.
    Turn turn;
    unsigned turns = 0; // that followed each other on this thread
    struct frames frames;
    grpc_slice_buffer held; // read, and not taken yet
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
    ep->lost = true;
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
    grpc_slice_buffer *slices = ep->connection != nullptr ? &ep->held : ep->read_slices;
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
        grpc_slice_buffer_add(
            slices, grpc_slice_from_copied_buffer(reinterpret_cast<char *>(GRPC_SLICE_START_PTR(ep->room)), size));
        if (GRPC_SLICE_LENGTH(ep->room) > ep->read_size) {
            grpc_slice_unref(ep->room);
            ep->room = grpc_empty_slice();
        }
    } else {
        grpc_slice_buffer_add(slices, grpc_slice_sub_no_ref(ep->room, 0, size));
        ep->room = grpc_empty_slice();
    }
}

// Moves what a turn may have of what is held.
void TakeTurn(Endpoint *ep, grpc_slice_buffer *slices)
{
    unsigned budget = kTurnFrames;
    while (ep->held.length > 0 && budget > 0) {
        grpc_slice slice = grpc_slice_buffer_take_first(&ep->held);
        size_t size = frames_take(&ep->frames, GRPC_SLICE_START_PTR(slice), GRPC_SLICE_LENGTH(slice), &budget);
        if (size < GRPC_SLICE_LENGTH(slice))
            grpc_slice_buffer_undo_take_first(&ep->held, grpc_slice_split_tail(&slice, size));
        grpc_slice_buffer_add(slices, slice);
    }
}

void Deliver(void *context)
{
    Endpoint *ep = static_cast<Endpoint *>(context);
    GrpcScope scope;
    uint32_t code = ERROR_SUCCESS;
    if (pipe_stream_is_down(ep->stream)) {
        code = ERROR_OPERATION_ABORTED;
        grpc_slice_buffer_reset_and_unref(&ep->held);
    }
    TakeTurn(ep, ep->read_slices);
    ExecCtx::Run(DEBUG_LOCATION, ep->read_done, Result(ep, "pipe read", code));
}

void ReadDone(Endpoint *ep, uint32_t code, uint32_t size)
{
    unsigned turns = ep->turns;
    ep->turns = 0; // once the read is under way, another thread goes on with it
    bool at_once = size == 0;
    // A peer's empty write ends a read with nothing: read on. The end of the stream is an error.
    while (code == ERROR_SUCCESS && size == 0)
        code = StartRead(ep, &size);
    if (code == ERROR_IO_PENDING)
        return;
    if (code == ERROR_SUCCESS)
        TakeRead(ep, size);
    if (code != ERROR_SUCCESS || ep->connection == nullptr) {
        ExecCtx::Run(DEBUG_LOCATION, ep->read_done, Result(ep, "pipe read", code));
    } else if (at_once && turns == kTurnsInARow) {
        pipe_connection_run_last(ep->connection, Deliver, ep);
    } else {
        ep->turns = at_once ? turns + 1 : 0;
        Deliver(ep);
    }
}

// The callbacks of what the last turn brought run on this thread one after the other, and so does this. It comes in before
// the calls that were found, and behind them when it stands in line once more.
void BeginTurn(grpc_completion_queue_functor *functor, int)
{
    Turn *turn = reinterpret_cast<Turn *>(functor);
    Endpoint *ep = turn->ep;
    if (turn->again) {
        turn->again = false;
        grpc_core::ApplicationCallbackExecCtx::Enqueue(functor, 1);
        return;
    }
    GrpcScope scope;
    if (ep->held.length > 0)
        pipe_connection_run_last(ep->connection, Deliver, ep);
    else
        ReadDone(ep, ERROR_SUCCESS, 0);
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
    grpc_slice_buffer_destroy(&ep->held);
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
    if (ep->connection == nullptr) {
        ReadDone(ep, ERROR_SUCCESS, 0);
        return;
    }
    ep->turn.again = true;
    grpc_core::ApplicationCallbackExecCtx::Enqueue(&ep->turn.functor, 1);
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
    bool first = ep->why.ok(), lost = ep->lost;
    if (first)
        ep->why = why;
    gpr_mu_unlock(&ep->mu);
    if (ep->connection != nullptr && first && !lost && !pipe_stream_is_down(ep->stream))
        pipe_connection_broke_rules(ep->connection,
                                    "it does not keep to HTTP/2 or to the limit of calls on a connection");
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
    ep->turn.functor = {.functor_run = BeginTurn, .inlineable = 1, .internal_success = 0, .internal_next = nullptr};
    ep->turn.ep = ep;
    frames_init(&ep->frames, kPrefaceSize);
    grpc_slice_buffer_init(&ep->held);
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
        // gRPC holds a client to the limit once it has acknowledged it; one that never does has none. Twice as much is what
        // nobody has who waits for the answers.
        grpc_chttp2_transport *chttp2 = reinterpret_cast<grpc_chttp2_transport *>(transport);
        uint32_t most = chttp2->settings[GRPC_LOCAL_SETTINGS][GRPC_CHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS];
        chttp2->settings[GRPC_ACKED_SETTINGS][GRPC_CHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS] =
            most > UINT32_MAX / 2 ? most : 2 * most;
        grpc_error_handle error = self->server_->SetupTransport(transport, nullptr, args, nullptr);
        if (!error.ok()) {
            gpr_log(GPR_ERROR, "pipe transport: %s", grpc_core::StatusToString(error).c_str());
            grpc_transport_destroy(transport);
            return;
        }
        grpc_slice_buffer *read = static_cast<grpc_slice_buffer *>(gpr_malloc(sizeof *read));
        grpc_slice_buffer_init(read);
        grpc_slice_buffer_add(&ep->held, grpc_slice_from_copied_buffer(reinterpret_cast<const char *>(first), size));
        TakeTurn(ep, read);
        grpc_chttp2_transport_start_reading(transport, read, nullptr, nullptr);
    }

    pipe_listener *const listener_;
    grpc_core::Server *server_ = nullptr;
    grpc_closure *done_ = nullptr;
};

} // namespace

extern "C" void pipe_endpoint_attach(grpc_server *server, struct pipe_listener *listener)
{
    ExecCtx exec_ctx;
    grpc_core::Server::FromC(server)->AddListener(grpc_core::MakeOrphanable<Listener>(listener));
}

extern "C" void pipe_endpoint_on_call(grpc_server *server, grpc_completion_queue *queue,
                                      void (*take)(void *context, struct pipe_endpoint_call *ret_call), void *context)
{
    grpc_core::Server::FromC(server)->SetBatchMethodAllocator(queue, [queue, take, context] {
        pipe_endpoint_call call;
        take(context, &call);
        return grpc_core::Server::BatchCallAllocation{call.tag, call.call, call.metadata, call.details, queue};
    });
}

extern "C" grpc_channel *pipe_endpoint_channel(void *handle, const grpc_channel_args *args)
{
    ExecCtx exec_ctx;
    Endpoint *ep = NewEndpoint(nullptr, "npipe:server");
    ep->stream = pipe_stream_open(handle, nullptr, &kStreamHandler, ep);
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
