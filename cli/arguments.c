#include "cli/arguments.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

const struct option global_options[] = {
    {"--address", NULL, OPTION_TEXT, "ADDRESS", "hcsd's pipe [npipe:////./pipe/hcsd]", false, 0, 0, NULL},
    {"--namespace", NULL, OPTION_TEXT, "NAME", "namespace of containers [default]", false, 0, 0, NULL},
    {"--json", NULL, OPTION_FLAG, NULL, "results and errors as JSON", false, 0, 0, NULL},
    {"--help", "-h", OPTION_FLAG, NULL, "this help", false, 0, 0, NULL},
};
const size_t global_option_count = sizeof global_options / sizeof global_options[0];

static struct error *refuse(const char *argument, const char *format, ...) ERROR_PRINTF(2, 3);
static struct error *refuse(const char *argument, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    char *why = str_format_args(format, list);
    va_end(list);
    struct error *error = error_make(ERROR_KIND_INVALID_ARGUMENT, "read the command line", argument, "%s", why);
    free(why);
    return error;
}

/* ---- finding ---- */

static bool is_option(const struct option *option, const char *name, size_t size)
{
    return (strlen(option->name) == size && memcmp(option->name, name, size) == 0) ||
           (option->letter != NULL && strlen(option->letter) == size && memcmp(option->letter, name, size) == 0);
}

static const struct option *find_option(const struct option *options, size_t count, const char *name, size_t size)
{
    for (size_t i = 0; i < count && options[i].name != NULL; i++) {
        if (is_option(&options[i], name, size))
            return &options[i];
    }
    return NULL;
}

/* Sets arguments->command from the first one or two words. */
static struct error *find_command(struct arguments *arguments, const struct command *const *commands, size_t count,
                                  const char *const *words, size_t word_count, size_t *ret_used)
{
    bool known = false;
    for (size_t i = 0; i < count && word_count > 0; i++) {
        const struct command *command = commands[i];
        if (strcmp(command->noun, words[0]) != 0)
            continue;
        known = true;
        arguments->noun = command->noun;
        if (command->verb != NULL && (word_count < 2 || strcmp(command->verb, words[1]) != 0))
            continue;
        /* `diag host` goes before `diag`. */
        if (arguments->command == NULL || command->verb != NULL)
            arguments->command = command;
    }
    if (arguments->command != NULL) {
        *ret_used = arguments->command->verb == NULL ? 1 : 2;
        return NULL;
    }
    if (arguments->help && (word_count == 0 || (known && word_count == 1)))
        return NULL;
    if (word_count == 0)
        return refuse("", "what to do? hcsctl --help lists the commands");
    if (!known)
        return refuse(words[0], "unknown command; hcsctl --help lists them");
    if (word_count == 1)
        return refuse(words[0], "what to do with it? hcsctl %s --help lists the commands", words[0]);
    return refuse(words[1], "unknown command; hcsctl %s --help lists them", words[0]);
}

/* ---- reading ---- */

static struct error *read_number(const struct option *option, const char *text, int64_t *ret_number)
{
    char *end = NULL;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (*text == 0 || *end != 0 || errno != 0 || number < option->minimum || number > option->maximum)
        return refuse(text, "%s takes a whole number from %lld to %lld", option->name, (long long)option->minimum,
                      (long long)option->maximum);
    *ret_number = number;
    return NULL;
}

static struct error *check_word(const struct option *option, const char *text)
{
    struct buffer words = {0};
    for (size_t i = 0; option->words != NULL && option->words[i] != NULL; i++) {
        if (strcmp(option->words[i], text) == 0) {
            buffer_free(&words);
            return NULL;
        }
        buffer_add_format(&words, "%s%s", i == 0 ? "" : ", ", option->words[i]);
    }
    if (option->words == NULL)
        return NULL;
    struct error *error = refuse(text, "%s takes one of: %s", option->name, (const char *)words.data);
    buffer_free(&words);
    return error;
}

static bool has_value(const struct arguments *arguments, const struct option *option)
{
    for (size_t i = 0; i < arguments->value_count; i++) {
        if (arguments->values[i].option == option)
            return true;
    }
    return false;
}

static struct error *add_value(struct arguments *arguments, const struct option *option, const char *text)
{
    struct option_value value = {.option = option, .text = text};
    struct error *error = NULL;
    if (option->type != OPTION_LIST && option->type != OPTION_FLAG && has_value(arguments, option))
        return refuse(option->name, "%s is given twice", option->name);
    if (option->type == OPTION_NUMBER)
        error = read_number(option, text, &value.number);
    else if (option->type == OPTION_TEXT)
        error = check_word(option, text);
    if (error == NULL && option->type != OPTION_FLAG && *text == 0)
        error = refuse(option->name, "%s needs a value", option->name);
    if (error != NULL)
        return error;
    arguments->values = mem_resize_array(arguments->values, arguments->value_count + 1, sizeof *arguments->values);
    arguments->values[arguments->value_count++] = value;
    return NULL;
}

/* One argument that begins with '-'. *ret_next: it took the argument after it too. `command` NULL: only global ones. */
static struct error *read_option(struct arguments *arguments, const struct command *command, const char *text,
                                 const char *next, bool *ret_next)
{
    const char *equals = strchr(text, '=');
    size_t size = equals == NULL ? strlen(text) : (size_t)(equals - text);
    const struct option *option = find_option(global_options, global_option_count, text, size);
    if (option == NULL && command != NULL)
        option = find_option(command->options, COMMAND_OPTIONS_MAX, text, size);
    if (option == NULL)
        return refuse(text, "unknown option%s%s%s%s", command == NULL ? "" : "; see hcsctl ",
                      command == NULL ? "" : command->noun, command == NULL || command->verb == NULL ? "" : " ",
                      command == NULL || command->verb == NULL ? "" : command->verb);
    if (option->type == OPTION_FLAG)
        return equals != NULL ? refuse(text, "%s takes no value", option->name) : add_value(arguments, option, text);
    *ret_next = equals == NULL;
    if (equals == NULL && next == NULL)
        return refuse(text, "%s needs a value", option->name);
    return add_value(arguments, option, equals != NULL ? equals + 1 : next);
}

/* An option of any command, for words before the command is known. */
static const struct option *find_anywhere(const char *text, const struct command *const *commands, size_t count)
{
    size_t size = strcspn(text, "=");
    const struct option *option = find_option(global_options, global_option_count, text, size);
    for (size_t i = 0; i < count && option == NULL; i++)
        option = find_option(commands[i]->options, COMMAND_OPTIONS_MAX, text, size);
    return option;
}

static bool takes_next(const char *text, const struct command *const *commands, size_t count)
{
    const struct option *option = find_anywhere(text, commands, count);
    return option != NULL && option->type != OPTION_FLAG && strchr(text, '=') == NULL;
}

/* The noun and the verb: the first words that are neither options nor values of options. */
static size_t find_words(const struct command *const *commands, size_t command_count, int count,
                         const char *const *texts, const char *words[2], int places[2])
{
    size_t found = 0;
    for (int i = 0; i < count && found < 2 && strcmp(texts[i], "--") != 0; i++) {
        if (texts[i][0] == '-' && texts[i][1] != 0) {
            i += takes_next(texts[i], commands, command_count) ? 1 : 0;
        } else {
            places[found] = i;
            words[found++] = texts[i];
        }
    }
    return found;
}

struct error *arguments_read(struct arguments *arguments, const struct command *const *commands, size_t command_count,
                             int count, const char *const *texts)
{
    const char *words[2] = {0};
    int places[2] = {-1, -1};
    size_t used = 0, found = find_words(commands, command_count, count, texts, words, places);
    struct error *first = NULL, *no_command = NULL;
    *arguments = (struct arguments){0};
    for (int i = 0; i < count && strcmp(texts[i], "--") != 0; i++)
        arguments->help = arguments->help || strcmp(texts[i], "--help") == 0 || strcmp(texts[i], "-h") == 0;
    no_command = find_command(arguments, commands, command_count, words, found, &used);

    bool only_operands = false;
    for (int i = 0; i < count; i++) {
        bool next = false;
        if ((used > 0 && i == places[0]) || (used > 1 && i == places[1]))
            continue;
        if (!only_operands && strcmp(texts[i], "--") == 0) {
            only_operands = true;
            if (arguments->command != NULL && arguments->command->takes_more) {
                arguments->more = &texts[i + 1];
                arguments->more_count = (size_t)(count - i - 1);
                break;
            }
        } else if (!only_operands && texts[i][0] == '-' && texts[i][1] != 0) {
            struct error *error =
                read_option(arguments, arguments->command, texts[i], i + 1 < count ? texts[i + 1] : NULL, &next);
            /* Without a command only what no command knows is wrong; it may be why the command was not found. */
            if (error != NULL && no_command != NULL && find_anywhere(texts[i], commands, command_count) != NULL) {
                next = takes_next(texts[i], commands, command_count);
                error_free(error);
                error = NULL;
            }
            error_keep_first(&first, error);
            i += next ? 1 : 0;
        } else if (arguments->operand_count < OPERANDS_MAX) {
            arguments->operands[arguments->operand_count++] = texts[i];
        } else if (arguments->command != NULL) {
            error_keep_first(&first, refuse(texts[i], "too many arguments"));
        }
    }
    error_keep_first(&first, no_command);
    if (arguments->help && arguments->command != NULL) {
        error_free(first);
        return NULL;
    }
    if (first != NULL || arguments->command == NULL)
        return first;
    const struct command *command = arguments->command;
    if (arguments->operand_count > command->operand_count)
        return refuse(arguments->operands[command->operand_count], "too many arguments");
    if (arguments->operand_count < command->operand_count)
        return refuse(command->operands, "%s is missing; hcsctl %s%s%s --help shows an example", command->operands,
                      command->noun, command->verb == NULL ? "" : " ", command->verb == NULL ? "" : command->verb);
    if (command->takes_more && arguments->more_count == 0)
        return refuse("--", "a command must follow `--`; hcsctl %s %s --help shows an example", command->noun,
                      command->verb == NULL ? "" : command->verb);
    for (size_t i = 0; i < COMMAND_OPTIONS_MAX && command->options[i].name != NULL; i++) {
        if (command->options[i].required && !has_value(arguments, &command->options[i]))
            return refuse(command->options[i].name, "%s %s is missing", command->options[i].name,
                          command->options[i].value);
    }
    return NULL;
}

void arguments_free(struct arguments *arguments)
{
    free(arguments->values);
    *arguments = (struct arguments){0};
}

const char *arguments_item(const struct arguments *arguments, const char *name, size_t index)
{
    for (size_t i = 0; i < arguments->value_count; i++) {
        if (strcmp(arguments->values[i].option->name, name) == 0 && index-- == 0)
            return arguments->values[i].text;
    }
    return NULL;
}

bool arguments_flag(const struct arguments *arguments, const char *name)
{
    return arguments_item(arguments, name, 0) != NULL;
}

const char *arguments_text(const struct arguments *arguments, const char *name, const char *otherwise)
{
    const char *text = arguments_item(arguments, name, 0);
    return text == NULL ? otherwise : text;
}

int64_t arguments_number(const struct arguments *arguments, const char *name, int64_t otherwise)
{
    for (size_t i = 0; i < arguments->value_count; i++) {
        if (strcmp(arguments->values[i].option->name, name) == 0)
            return arguments->values[i].number;
    }
    return otherwise;
}

/* ---- help ---- */

#define HELP_COLUMN 30

static void add_row(struct buffer *text, const char *left, const char *right)
{
    /* What is longer than its column has a line of its own, so that the right one stays straight. */
    bool fits = strlen(left) <= HELP_COLUMN;
    buffer_add_format(text, "  %-*s%s%*s%s\n", HELP_COLUMN, left, fits ? " " : "\n", fits ? 0 : HELP_COLUMN + 3, "",
                      right);
}

static void add_option(struct buffer *text, const struct option *option)
{
    char *left =
        str_format("%s%s%s%s%s", option->letter == NULL ? "" : option->letter, option->letter == NULL ? "" : ", ",
                   option->name, option->value == NULL ? "" : " ", option->value == NULL ? "" : option->value);
    add_row(text, left, option->help);
    free(left);
}

static char *command_words(const struct command *command)
{
    struct buffer words = {0};
    buffer_add_format(&words, "%s%s%s", command->noun, command->verb == NULL ? "" : " ",
                      command->verb == NULL ? "" : command->verb);
    for (size_t i = 0; i < COMMAND_OPTIONS_MAX && command->options[i].name != NULL; i++) {
        const struct option *option = &command->options[i];
        if (option->required)
            buffer_add_format(&words, " %s %s", option->name, option->value);
    }
    buffer_add_format(&words, "%s%s", *command->operands == 0 ? "" : " ", command->operands);
    return (char *)words.data;
}

static void add_examples(struct buffer *text, const char *examples)
{
    buffer_add_text(text, "\nExample:\n");
    while (*examples != 0) {
        size_t size = strcspn(examples, "\n");
        buffer_add_format(text, "  %.*s\n", (int)size, examples);
        examples += size + (examples[size] == '\n' ? 1 : 0);
    }
}

void arguments_help(const struct arguments *arguments, const struct command *const *commands, size_t command_count,
                    struct buffer *text)
{
    const struct command *command = arguments->command;
    if (command != NULL) {
        char *words = command_words(command);
        buffer_add_format(text, "hcsctl %s%s\n\n%s\n", words, command->options[0].name == NULL ? "" : " [OPTION…]",
                          command->summary);
        free(words);
        if (*command->details != 0)
            buffer_add_format(text, "%s\n", command->details);
        if (command->options[0].name != NULL)
            buffer_add_text(text, "\nOptions:\n");
        for (size_t i = 0; i < COMMAND_OPTIONS_MAX && command->options[i].name != NULL; i++)
            add_option(text, &command->options[i]);
    } else {
        buffer_add_format(text, "hcsctl [--address ADDRESS] [--namespace NAME] [--json] %s\n\nCommands:\n",
                          arguments->noun == NULL ? "NOUN VERB …" : arguments->noun);
        for (size_t i = 0; i < command_count; i++) {
            if (arguments->noun != NULL && strcmp(commands[i]->noun, arguments->noun) != 0)
                continue;
            char *words = command_words(commands[i]);
            add_row(text, words, commands[i]->summary);
            free(words);
        }
    }
    buffer_add_text(text, "\nFor every command:\n");
    for (size_t i = 0; i < global_option_count; i++)
        add_option(text, &global_options[i]);
    for (size_t i = 0; i < command_count; i++) {
        if (command == NULL ? arguments->noun == NULL || strcmp(commands[i]->noun, arguments->noun) == 0
                            : commands[i] == command) {
            add_examples(text, commands[i]->example);
            break;
        }
    }
    buffer_add_text(text, "\nExit status: 0, or 1 with one line on stderr that says what failed, on what, and why.\n");
}
