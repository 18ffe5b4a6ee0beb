/* Processes of a container: real ones in the container's job, and emu: commands that run inside the broker.
 * Locked, except process_create. */
#ifndef EMULATOR_BROKER_PROCESS_H
#define EMULATOR_BROKER_PROCESS_H

#include "broker.h"
#include "pipes.h"

struct emu;

struct process {
    struct process *next; /* of its system */
    struct system *system;
    uint32_t pid;
    char *command;
    HANDLE handle; /* of a real process */
    PTP_WAIT exited_wait;
    struct emu *emu; /* of an emu: command, until it has ended */
    struct stdio stdio;
    bool exited;
    bool terminated; /* somebody asked for its end */
    bool pipes_given;
    uint32_t exit_code;
    uint64_t created;
    struct delivery exit_delivery;
    struct handle *handles;
    unsigned references;
};

void process_retain(struct process *process);
void process_release(struct process *process);

/* HcsCreateProcess, with the lock held at entry and exit and given up in between. Opens the request's handle on it and
 * fills in the pid and the pipes. */
struct error *process_create(struct system *system, struct client *client, const json_t *request,
                             json_t *reply) ERROR_MUST_CHECK;

/* HcsOpenProcess: a process that HCS made, or another one of the container's job. */
struct error *process_open(struct system *system, struct client *client, const json_t *request,
                           json_t *reply) ERROR_MUST_CHECK;

/* HcsTerminateProcess and HcsSignalProcess. */
struct error *process_terminate(struct process *process, uint32_t code, const struct fault *fault) ERROR_MUST_CHECK;

/* At once, unless it has exited. */
void process_terminate_now(struct process *process, uint32_t code);

/* All that still run; their exits follow. */
void process_end_all(struct system *system, uint32_t code);
bool process_any_running(const struct system *system);

/* An emu: command has ended. */
void process_emu_ended(struct process *process, uint32_t code);

/* A record that nobody holds goes with its process: the exit code is lost. */
void process_handle_closed(struct process *process);

/* Pids of what runs in the container, also of processes that HCS did not make. The caller frees it. */
uint32_t *process_list(const struct system *system, size_t *ret_count);

/* "system/pid command": what fault rows match on. The caller frees it. */
char *process_object(const struct process *process);

#endif
