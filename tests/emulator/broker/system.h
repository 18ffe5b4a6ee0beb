/* Compute systems: states, operations, exit. All functions are called with the broker's lock held. */
#ifndef EMULATOR_BROKER_SYSTEM_H
#define EMULATOR_BROKER_SYSTEM_H

#include "broker.h"

enum system_state {
    SYSTEM_CREATED,
    SYSTEM_STARTING,
    SYSTEM_RUNNING,
    SYSTEM_PAUSING,
    SYSTEM_PAUSED,
    SYSTEM_RESUMING,
    SYSTEM_SAVING,
    SYSTEM_SAVED,
    SYSTEM_STOPPING, /* its processes are ending */
    SYSTEM_STOPPED,  /* gone for everyone but those who hold a handle */
};

struct system {
    struct system *next;
    char *id;
    char *name;
    char *owner;
    char *type; /* "Container", "VirtualMachine" */
    char runtime_id[37];
    bool hyperv;
    bool ends_with_last_handle;
    enum system_state state;
    char *volume; /* the container's volume, "" when it has none */
    char *layer;  /* the writable layer that the volume is of, "" */
    json_t *layers;
    json_t *machine;       /* of a VM of schema 2: machine.h; else NULL */
    char *host;            /* the VM that it runs in, or NULL */
    char *root;            /* and where its root is there */
    char *command;         /* of a Linux container: what its init is, or NULL */
    json_t *modifications; /* requests of HcsModifyComputeSystem, in order */
    HANDLE job;            /* of its real processes; NULL before the first */
    struct process *processes;
    struct handle *handles;
    uint64_t created;
    uint64_t started;
    int32_t exit_status;
    const char *exit_type; /* "", "GracefulExit", "ForcedExit", "UnexpectedExit" */
    uint32_t exit_code;    /* what its processes are ended with */
    struct delivery exit_delivery;
    unsigned references;
};

enum system_operation {
    OPERATION_CREATE,
    OPERATION_START,
    OPERATION_PAUSE,
    OPERATION_RESUME,
    OPERATION_SAVE,
    OPERATION_SHUTDOWN,
    OPERATION_TERMINATE,
};

void system_retain(struct system *system);
void system_release(struct system *system);

/* A system that has not stopped; NULL when there is none. */
struct system *system_find(const char *id);

/* Makes a system from a checked document and puts it among the others. The caller holds a reference. */
struct system *system_new(const char *id);

/* Begins an operation that ends with a notification to the handle it was asked for by; the caller answers "pending".
 * `fault` may be NULL. */
struct error *system_operate(struct system *system, enum system_operation operation, struct client *client,
                             const json_t *request, const struct fault *fault) ERROR_MUST_CHECK;

/* One of its processes has ended. */
void system_process_ended(struct system *system);
void system_handle_closed(struct system *system);

/* The system ends: its processes with `code`, then it. */
void system_end(struct system *system, const char *exit_type, int32_t status, uint32_t code);
/* Its disk was taken away: its processes die of it. */
void system_volume_lost(struct system *system);

const char *system_state_name(enum system_state state);

#endif
