/* hcsctl's command line: one table of commands, from which arguments are read and help is written. Pure. */
#ifndef HCSD_CLI_ARGUMENTS_H
#define HCSD_CLI_ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

struct cli;

enum option_type {
    OPTION_FLAG,
    OPTION_TEXT,
    OPTION_NUMBER,
    OPTION_LIST, /* may be given again */
};

struct option {
    const char *name;   /* "--bundle" */
    const char *letter; /* "-q", or NULL */
    enum option_type type;
    const char *value; /* how help calls the value: "DIR" */
    const char *help;
    bool required;
    int64_t minimum, maximum; /* of a NUMBER */
    const char *const *words; /* the only values of a TEXT, NULL-terminated, or NULL */
};

#define COMMAND_OPTIONS_MAX 8
#define OPERANDS_MAX        4

struct command {
    const char *noun, *verb;                    /* verb NULL: the noun is the command */
    const char *operands;                       /* "ID", or "" */
    unsigned operand_count;                     /* exactly so many */
    bool takes_more;                            /* what follows `--` is for others: a command line */
    const char *summary;                        /* one line */
    const char *details;                        /* more of it, or "" */
    const char *example;                        /* a whole command line, or several with \n */
    struct option options[COMMAND_OPTIONS_MAX]; /* up to one without a name */
    struct error *(*run)(struct cli *cli);
};

/* What every command takes. */
extern const struct option global_options[];
extern const size_t global_option_count;

struct option_value {
    const struct option *option;
    const char *text;
    int64_t number;
};

struct arguments {
    const struct command *command; /* NULL: only help is wanted */
    const char *noun;              /* whose help is wanted, or NULL: hcsctl's */
    bool help;
    struct option_value *values;
    size_t value_count;
    const char *operands[OPERANDS_MAX];
    size_t operand_count;
    const char *const *more; /* what follows `--`, where the command takes it */
    size_t more_count;
};

/* Reads the arguments (without the program's name; the texts are borrowed). Options may stand anywhere, as `--name value`
 * or `--name=value`; what follows `--` is no option; a command that takes more gets it as it is. Returns INVALID_ARGUMENT naming the argument; what was understood by
 * then is in *arguments all the same (so that --json holds for the error). Free with arguments_free in both cases. */
struct error *arguments_read(struct arguments *arguments, const struct command *const *commands, size_t command_count,
                             int count, const char *const *texts) ERROR_MUST_CHECK;
void arguments_free(struct arguments *arguments);

bool arguments_flag(const struct arguments *arguments, const char *name);
const char *arguments_text(const struct arguments *arguments, const char *name, const char *otherwise);
int64_t arguments_number(const struct arguments *arguments, const char *name, int64_t otherwise);
/* The n-th value of a LIST, or NULL. */
const char *arguments_item(const struct arguments *arguments, const char *name, size_t index);

/* The help that `arguments` asks for. */
void arguments_help(const struct arguments *arguments, const struct command *const *commands, size_t command_count,
                    struct buffer *text);

#endif
