/* hcsd's configuration: one JSON file, every key optional.
 *
 * The table config_keys is the only place that knows keys, types, defaults, ranges and what they are for; the parser, the
 * check of a file, the comparison after a reload and docs/configuration.md are made from it. Pure; thread-safe. */
#ifndef HCSD_DAEMON_CONFIG_H
#define HCSD_DAEMON_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"

/* Texts in these lists and in the struct are UTF-8 and belong to it. */
struct config_list {
    char **items;
    size_t count;
};

struct config {
    char *pipe;
    struct config_list pipe_access;
    char *state_dir, *staging_dir;
    char *hcs_library; /* NULL: System32's vmcompute.dll */
    unsigned hcs_call_seconds, hcs_max_lost_calls;
    unsigned export_workers, export_queue;
    unsigned watchdog_stall_seconds, watchdog_destroy_seconds;
    unsigned kill_answer_seconds;
    unsigned stdio_drain_seconds;
    bool restart_terminate_survivors;
    char *linux_boot_files; /* NULL: no Linux containers */
};

enum config_type {
    CONFIG_PIPE,   /* char *: a local pipe name */
    CONFIG_NAMES,  /* struct config_list: SIDs or account names */
    CONFIG_PATH,   /* char *: an absolute path on a local drive */
    CONFIG_NUMBER, /* unsigned */
    CONFIG_FLAG,   /* bool */
};

struct config_key {
    const char *name; /* dots mean nesting */
    enum config_type type;
    size_t offset;             /* in struct config */
    const char *initial_text;  /* the default as people write it: "240", "%ProgramData%\hcsd\state" */
    unsigned initial;          /* of a NUMBER or FLAG */
    unsigned minimum, maximum; /* of a NUMBER */
    const char *unit;          /* "seconds", or "" */
    bool live;                 /* a reload takes it into use; others wait for the next start */
    const char *meaning;       /* one or two sentences for the administrator */
};
extern const struct config_key config_keys[];
extern const size_t config_key_count;

/* What is wrong with a file, one line each: "export.workers: 0 is not allowed; expected a whole number from 1 to 64". */
#define CONFIG_PROBLEMS_MAX 100

/* The defaults. `program_data` is the folder %ProgramData%. The caller frees with config_free. */
struct config *config_defaults(const char *program_data);

/* Reads a whole file's text (a UTF-8 byte order mark is passed by). All problems are found, not only the first; with any,
 * NULL is returned, else *ret_problems is left alone. Free the problems with config_list_free. */
struct config *config_parse(const char *text, size_t size, const char *program_data, struct config_list *ret_problems);

/* The problems of `file` as one INVALID_ARGUMENT. */
struct error *config_error(const char *file, const struct config_list *problems) ERROR_MUST_CHECK;

/* One line for each key whose value differs: "hcs.call_seconds: 240 -> 100"; live keys and the others. `kept` is a live key that
 * waits all the same, because it could not be taken into use; or NULL. Free both with config_list_free. */
void config_compare(const struct config *before, const struct config *after, const char *kept,
                    struct config_list *ret_live, struct config_list *ret_waiting);
/* Copies the values of the live keys, which are numbers and names, but not that of `kept` (or NULL). */
void config_take_live(struct config *config, const struct config *from, const char *kept);
bool config_names_equal(const struct config_list *one, const struct config_list *other);

/* docs/configuration.md. */
void config_document(struct buffer *markdown);

void config_list_free(struct config_list *list); /* what is in it, not the struct */
void config_free(struct config *config);

#endif
