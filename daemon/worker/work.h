/* Inside a worker: the job in hand, and what its steps need. The control loop (worker.c) reads what hcsd says while the job
 * runs on a thread of its own (work_export.c, work_layers.c). */
#ifndef HCSD_DAEMON_WORKER_WORK_H
#define HCSD_DAEMON_WORKER_WORK_H

#include <windows.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "daemon/worker/wire.h"
#include "export/export.h"
#include "hcs/storage.h"

struct worker {
    struct wire *wire;
    struct hcs_library *library;
    struct storage *storage;
    SRWLOCK lock;                 /* over what hcsd may say during a job */
    CONDITION_VARIABLE changed;   /* it said something */
    struct work *next;            /* lock. For the job's thread to take up */
    struct work *_Atomic current; /* for the exception filter */
    HANDLE done;                  /* the job's thread is through with one, its `end` sent */
};

/* PrepareLayer's turn. A mount may have it with its order, while nobody else wants it, and then keeps it without a word until
 * hcsd asks for it back or the job ends. */
enum turn {
    TURN_ASKED, /* hcsd is asked for it, and told when it is free again */
    TURN_LENT,  /* it is here, and not in use */
    TURN_USED,  /* of those: PrepareLayer is being called */
    TURN_WANTED /* and somebody waits for it */
};

struct work {
    struct worker *worker;
    char *id, *kind;
    json_t *order;                  /* the message that began it */
    bool tells_late;                /* its phases have no bounds of their own: one is told of once it lasts */
    const char *told;               /* the control thread's: the phase that hcsd knows of */
    struct export_control control;  /* of the archive */
    struct export_control cleaning; /* of the removal: what was cancelled is cleaned up all the same */
    const char *_Atomic phase;      /* static */
    bool activated;                 /* of a mount: by the job's thread */
    _Atomic bool calling;           /* inside a storage call: progress is the process's I/O */
    /* Below the worker's lock. */
    bool cancelled;
    const char *granted;   /* the step that was granted and not yet taken up, static; NULL: none */
    struct error *refused; /* the answer to a request, if it was no */
    enum turn turn;
    uint64_t credit;        /* bytes of the archive that may be sent now */
    const char *watched;    /* the staging folder while it is filled, or NULL */
    HANDLE staging_changes; /* signalled when something in the staging folder changed, or NULL */
    uint64_t changes_seen;
};

/* Changes in the folder count as progress from now on; NULL: no more, and no handle of it is open. */
void work_watch_staging(struct work *work, const char *folder);
/* Each phase is told before its first step; those of a job that tells late with the next beat that still finds it in there, or
 * with the process's crash. Until a path is set anew the job's object is in hand. */
void work_phase(struct work *work, const char *phase);
/* Asks for leave to do a step ("activate", "make": it is journalled first) and waits for it. CANCELLED. */
struct error *work_request(struct work *work, const char *step) ERROR_MUST_CHECK;
/* PrepareLayer's turn, around that one call; the phases "turn", if it has to be waited for, and "prepare". CANCELLED. */
struct error *work_turn_take(struct work *work) ERROR_MUST_CHECK;
void work_turn_end(struct work *work);
/* CANCELLED when the job is. */
struct error *work_check(struct work *work) ERROR_MUST_CHECK;
void work_send(struct work *work, json_t *message); /* adds the job's id; a broken pipe ends the process */
struct error *work_send_data(void *work, const void *data, size_t size);

/* Each runs one kind of job and returns its `end` message without type and job. */
json_t *work_export(struct work *work);
json_t *work_mount(struct work *work);
json_t *work_unmount(struct work *work);
json_t *work_clean(struct work *work);
json_t *work_destroy(struct work *work);
json_t *work_sweep(struct work *work);
json_t *work_layer(struct work *work);
json_t *work_import(struct work *work);
/* The verb "stage" of a layer job: adds to its end what it found out. */
struct error *work_stage(struct work *work, const char *layer, json_t *end) ERROR_MUST_CHECK;

/* NOT_FOUND unless it is a folder. */
struct error *work_check_folder(const char *path, const char *what) ERROR_MUST_CHECK;
/* DestroyLayer, a look, and the remover for what it left; `how` says which it was. */
struct error *work_destroy_folder(struct work *work, const char *folder, json_t *left, uint64_t *left_total,
                                  const char **how) ERROR_MUST_CHECK;
/* The folder of the order's layer, which is not there or empty, is about to be made (hcsd journals it before this returns), and is
 * there. Should this process end before the job, the folder is taken away. */
struct error *work_make(struct work *work) ERROR_MUST_CHECK;
void work_made(struct work *work, const char *layer);
/* Takes away what another worker made of a layer, if there is an order for it and it is still that folder. */
struct error *work_unmake(struct work *work, const char **how) ERROR_MUST_CHECK;
/* Also true when it cannot be told. */
bool work_is_there(const char *path);
/* Removes the folder with the remover; rows of what is left go into `left` (an array), *ret_total counts them. */
struct error *work_remove(struct work *work, const char *folder, json_t *left, uint64_t *ret_total) ERROR_MUST_CHECK;

#endif
