/* The inside of a daemon, for daemon.c, which opens and closes it, and reload.c. Private to these two. */
#ifndef HCSD_DAEMON_PARTS_H
#define HCSD_DAEMON_PARTS_H

#include <windows.h>

#include "daemon/config.h"
#include "daemon/daemon.h"
#include "daemon/jobs/jobs.h"
#include "daemon/rpc/call.h"
#include "task/tasks.h"

/* The services of the pipe, in this order: what the last two tell of are the ones before them. */
enum { TASK, TASKS, EVENTS, LAYERS, JOBS, DIAGNOSTICS, HEALTH, REFLECTION, SERVICE_COUNT };

struct daemon {
    struct daemon_options options;
    char *config_file;
    struct config *config; /* in use */
    HANDLE lock;           /* on the state folder */
    struct hcs_library *library;
    struct guard *guard;
    struct compute *compute;
    struct jobs *jobs;
    struct relays *relays;
    struct machines *machines;
    struct tasks *tasks;
    struct exchange *exchange;
    const struct rpc_service *services[SERVICE_COUNT];
    struct health_service *health;
    struct reflection_service *reflection;
    struct rpc_server *server;
    volatile LONG ending; /* nothing makes it serve again */
    volatile LONG lost;   /* the connection to HCS, until it answers again */
    PTP_TIMER hcs_timer;  /* armed while HCS cannot be used */
    bool hcs_told;        /* that it cannot be used; the start's thread, then the timer's */
};

/* What a reload may change. */
struct jobs_options jobs_numbers(const struct config *config);
struct tasks_options tasks_numbers(const struct config *config);

#endif
