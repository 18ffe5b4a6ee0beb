#include "daemon/relay/control.h"

#include <sddl.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/win.h"
#include "daemon/relay/session.h"
#include "hcsd_version.h"
#include "relay/protocol.h"

#define PIPE_BUFFER 65536u
#define QUEUE_MAX   (16u << 20)
#define ACCESS      L"D:P(A;;GA;;;SY)(A;;GA;;;OW)"

struct control {
    struct loop *loop;
    struct sessions *sessions;
    HANDLE pipe;
    struct loop_io input, output; /* input is the connect's too */
    struct loop_io bye;           /* posted to leave in a turn of its own */
    bool connected, greeted, leaving, ending;
    uint8_t piece[4096];
    struct buffer received, queue, sending;
    size_t sent;
    struct loop_timer timer; /* for hcsd to come, or to come back */
};

static void serve(struct control *control);

/* ---- the end ---- */

static void consider_end(struct control *control)
{
    if (!sessions_count(control->sessions) && (!control->connected || control->ending))
        loop_stop(control->loop);
}

static void waited(struct loop_timer *timer)
{
    struct control *control = (struct control *)((char *)timer - offsetof(struct control, timer));
    if (!sessions_hold(control->sessions))
        loop_stop(control->loop);
    else
        loop_timer_set(control->loop, timer, clock_ms() + CONTROL_FIRST_MS, waited);
}

static void emptied(void *context)
{
    consider_end(context);
}

/* ---- leaving ---- */

/* When nothing is under way any more the pipe is free for the next. */
static void left(struct control *control)
{
    if (control->input.flying || control->output.flying || control->bye.flying)
        return;
    control->leaving = control->connected = control->greeted = false;
    buffer_clear(&control->received);
    buffer_clear(&control->queue);
    buffer_clear(&control->sending);
    control->sent = 0;
    DisconnectNamedPipe(control->pipe);
    loop_timer_set(control->loop, &control->timer, clock_ms() + CONTROL_LINGER_MS, waited);
    sessions_abandon(control->sessions);
    consider_end(control);
    serve(control);
}

/* hcsd is gone, or does not keep the rules. */
static void leave(struct control *control)
{
    if (control->leaving)
        return;
    control->leaving = true;
    CancelIoEx(control->pipe, NULL);
    loop_post(control->loop, &control->bye, NO_ERROR, 0);
}

static void bye_done(struct loop_io *io, DWORD code, DWORD bytes)
{
    (void)code, (void)bytes;
    left((struct control *)((char *)io - offsetof(struct control, bye)));
}

/* ---- writing ---- */

static void write_next(struct control *control)
{
    DWORD value = 0;
    while (!control->output.flying && !control->leaving) {
        if (control->sent == control->sending.size) {
            struct buffer empty = control->sending;
            buffer_clear(&empty);
            control->sending = control->queue;
            control->queue = empty;
            control->sent = 0;
            if (!control->sending.size)
                return;
        }
        enum loop_begun begun =
            loop_write(control->pipe, control->sending.data + control->sent,
                       (DWORD)(control->sending.size - control->sent), false, &control->output, &value);
        if (begun == LOOP_AT_ONCE)
            control->sent += value;
        else if (begun == LOOP_FAILED)
            leave(control);
    }
}

static void write_done(struct loop_io *io, DWORD code, DWORD bytes)
{
    struct control *control = (struct control *)((char *)io - offsetof(struct control, output));
    if (control->leaving) {
        left(control);
        return;
    }
    control->sent += bytes;
    if (code != NO_ERROR)
        leave(control);
    else
        write_next(control);
}

static void control_send(void *context, const struct relay_message *message)
{
    struct control *control = context;
    if (!control->greeted || control->leaving)
        return;
    struct error *error = relay_encode(message, &control->queue);
    if (error || control->queue.size > QUEUE_MAX) {
        error_free(error);
        leave(control);
    } else
        write_next(control);
}

/* ---- reading ---- */

static void read_next(struct control *control);

static bool take(struct control *control, const struct relay_message *message)
{
    if (message->type == RELAY_HELLO) {
        const struct relay_message welcome = {
            .type = RELAY_WELCOME, .tag = message->tag, .protocol = RELAY_PROTOCOL, .version = HCSD_VERSION};
        control->greeted = true;
        control_send(control, &welcome);
        return message->protocol >= RELAY_PROTOCOL_OLDEST;
    }
    if (!control->greeted || message->type >= RELAY_WELCOME)
        return false;
    if (message->type == RELAY_END) {
        control->ending = true;
        consider_end(control);
    } else
        sessions_message(control->sessions, message);
    return true;
}

static bool take_all(struct control *control)
{
    size_t at = 0, size;
    bool good = true;
    for (;;) {
        struct relay_message message;
        struct error *error = relay_frame(control->received.data + at, control->received.size - at, &size);
        if (!error && !size)
            break;
        if (!error)
            error = relay_decode(control->received.data + at, size, &message);
        good = !error && take(control, &message);
        error_free(error);
        if (!good || control->leaving)
            break;
        at += size;
    }
    if (good)
        buffer_drop(&control->received, at);
    return good;
}

static void read_done(struct loop_io *io, DWORD code, DWORD bytes)
{
    struct control *control = (struct control *)((char *)io - offsetof(struct control, input));
    if (control->leaving) {
        left(control);
        return;
    }
    bool good = code == NO_ERROR && bytes;
    if (good)
        buffer_add(&control->received, control->piece, bytes);
    if (!good || !take_all(control))
        leave(control);
    else if (!control->leaving)
        read_next(control);
}

static void read_next(struct control *control)
{
    DWORD value = 0;
    control->input.done = read_done;
    enum loop_begun begun = loop_read(control->pipe, control->piece, sizeof control->piece, &control->input, &value);
    if (begun != LOOP_PENDING) /* in a turn of its own, so that what it leads to need not care where it is */
        loop_post(control->loop, &control->input, begun == LOOP_FAILED ? value : NO_ERROR,
                  begun == LOOP_FAILED ? 0 : value);
}

/* ---- connecting ---- */

static void connect_done(struct loop_io *io, DWORD code, DWORD bytes)
{
    struct control *control = (struct control *)((char *)io - offsetof(struct control, input));
    (void)bytes;
    if (code != NO_ERROR) { /* it has come and gone */
        leave(control);
        return;
    }
    control->connected = true;
    control->ending = false;
    loop_timer_clear(control->loop, &control->timer);
    read_next(control);
}

static void serve(struct control *control)
{
    DWORD value = 0;
    control->input.done = connect_done;
    enum loop_begun begun = loop_connect(control->pipe, &control->input, &value);
    if (begun != LOOP_PENDING)
        loop_post(control->loop, &control->input, begun == LOOP_FAILED ? value : NO_ERROR, 0);
}

struct error *control_open(struct loop *loop, const wchar_t *pipe, struct control **ret_control)
{
    struct control *control = mem_new(struct control);
    PSECURITY_DESCRIPTOR descriptor = NULL;
    struct error *error = NULL;
    control->loop = loop;
    control->output.done = write_done;
    control->bye.done = bye_done;
    if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(ACCESS, SDDL_REVISION_1, &descriptor, NULL))
        error = error_win32(GetLastError(), "open control pipe", NULL, "no security descriptor");
    SECURITY_ATTRIBUTES attributes = {.nLength = sizeof attributes, .lpSecurityDescriptor = descriptor};
    if (!error) {
        control->pipe =
            CreateNamedPipeW(pipe, PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
                             PIPE_TYPE_BYTE | PIPE_REJECT_REMOTE_CLIENTS, 1, PIPE_BUFFER, PIPE_BUFFER, 0, &attributes);
        if (control->pipe == INVALID_HANDLE_VALUE)
            error = error_win32(GetLastError(), "open control pipe", NULL, "its name is taken");
    }
    LocalFree(descriptor);
    if (!error)
        error = loop_bind(loop, control->pipe, "control pipe");
    if (error) {
        win_close(control->pipe);
        free(control);
        return error;
    }
    const struct sessions_options options = {
        .loop = loop, .send = control_send, .emptied = emptied, .context = control};
    control->sessions = sessions_new(&options);
    loop_timer_set(loop, &control->timer, clock_ms() + CONTROL_FIRST_MS, waited);
    serve(control);
    *ret_control = control;
    return NULL;
}
