#include "base/error.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/error_table.h"
#include "base/memory.h"
#include "base/text.h"

static const char *const kind_names[] = {
    [ERROR_KIND_CANCELLED] = "CANCELLED",
    [ERROR_KIND_UNKNOWN] = "UNKNOWN",
    [ERROR_KIND_INVALID_ARGUMENT] = "INVALID_ARGUMENT",
    [ERROR_KIND_DEADLINE_EXCEEDED] = "DEADLINE_EXCEEDED",
    [ERROR_KIND_NOT_FOUND] = "NOT_FOUND",
    [ERROR_KIND_ALREADY_EXISTS] = "ALREADY_EXISTS",
    [ERROR_KIND_PERMISSION_DENIED] = "PERMISSION_DENIED",
    [ERROR_KIND_RESOURCE_EXHAUSTED] = "RESOURCE_EXHAUSTED",
    [ERROR_KIND_FAILED_PRECONDITION] = "FAILED_PRECONDITION",
    [ERROR_KIND_ABORTED] = "ABORTED",
    [ERROR_KIND_OUT_OF_RANGE] = "OUT_OF_RANGE",
    [ERROR_KIND_UNIMPLEMENTED] = "UNIMPLEMENTED",
    [ERROR_KIND_INTERNAL] = "INTERNAL",
    [ERROR_KIND_UNAVAILABLE] = "UNAVAILABLE",
    [ERROR_KIND_DATA_LOSS] = "DATA_LOSS",
};
#define KIND_COUNT (sizeof kind_names / sizeof kind_names[0])

/* Names and paths may be WTF-8 and hold anything; what an error carries goes into JSON and onto the wire. */
static char *clean(const char *text)
{
    return text_printable(text == NULL ? "" : text, text == NULL ? 0 : strlen(text), 0);
}

/* Takes `message`. */
static struct error *new_error(enum error_kind kind, enum error_origin origin, uint32_t code, const char *operation,
                               const char *object, char *message)
{
    struct error *error = mem_new(struct error);
    error->kind = kind;
    error->origin = origin;
    error->code = code;
    error->operation = clean(operation);
    error->object = clean(object);
    error->message = clean(message);
    free(message);
    return error;
}

/* "FORMAT: SENTENCE" */
static struct error *system_error(enum error_origin origin, uint32_t code, const char *operation, const char *object,
                                  const char *format, va_list arguments) ERROR_PRINTF(5, 0);
static struct error *system_error(enum error_origin origin, uint32_t code, const char *operation, const char *object,
                                  const char *format, va_list arguments)
{
    const struct error_row *row = error_table_find(origin, code);
    char *system = row == NULL ? error_system_text(origin, code) : NULL;
    char *sentence = row != NULL      ? str_copy(row->sentence)
                     : system != NULL ? str_copy(system)
                                      : str_copy("the system has no text for this code");
    free(system);
    if (format != NULL) {
        char *why = str_format_args(format, arguments);
        char *both = str_format("%s: %s", why, sentence);
        free(why);
        free(sentence);
        sentence = both;
    }
    return new_error(row != NULL ? row->kind : ERROR_KIND_UNKNOWN, origin, code, operation, object, sentence);
}

struct error *error_make(enum error_kind kind, const char *operation, const char *object, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *message = str_format_args(format, arguments);
    va_end(arguments);
    return new_error(kind, ERROR_ORIGIN_NONE, 0, operation, object, message);
}

#define SYSTEM_ERROR(name, type, origin)                                                                               \
    struct error *name(type code, const char *operation, const char *object, const char *format, ...)                  \
    {                                                                                                                  \
        va_list arguments;                                                                                             \
        va_start(arguments, format);                                                                                   \
        struct error *error = system_error(origin, (uint32_t)code, operation, object, format, arguments);              \
        va_end(arguments);                                                                                             \
        return error;                                                                                                  \
    }
SYSTEM_ERROR(error_win32, uint32_t, ERROR_ORIGIN_WIN32)
SYSTEM_ERROR(error_hresult, uint32_t, ERROR_ORIGIN_HRESULT)
SYSTEM_ERROR(error_ntstatus, uint32_t, ERROR_ORIGIN_NTSTATUS)
SYSTEM_ERROR(error_errno, int, ERROR_ORIGIN_ERRNO)

struct error *error_wrap(struct error *error, const char *format, ...)
{
    if (error == NULL)
        return NULL;
    va_list arguments;
    va_start(arguments, format);
    char *raw = str_format_args(format, arguments);
    va_end(arguments);
    char *context = clean(raw);
    char *message = str_format("%s: %s", context, error->message);
    error->context_size += strlen(context) + 2;
    free(context);
    free(raw);
    free(error->message);
    error->message = message;
    return error;
}

struct error *error_set_kind(struct error *error, enum error_kind kind)
{
    if (error != NULL)
        error->kind = kind;
    return error;
}

void error_add_hcs_result(struct error *error, const char *result_json)
{
    if (error == NULL || result_json == NULL)
        return;
    json_t *result = json_loads(result_json, JSON_REJECT_DUPLICATES, NULL);
    json_t *events = json_object_get(result, "ErrorEvents");
    if (json_is_array(events) && json_array_size(events) > 0) {
        free(error->hcs_events);
        char *text = json_dumps(events, JSON_COMPACT);
        error->hcs_events = str_copy(text);
        free(text);
    }
    json_decref(result);
}

struct error *error_copy(const struct error *error)
{
    if (error == NULL)
        return NULL;
    struct error *copy = mem_copy(error, sizeof *error);
    copy->operation = str_copy(error->operation);
    copy->object = str_copy(error->object);
    copy->message = str_copy(error->message);
    copy->hcs_events = str_copy(error->hcs_events);
    return copy;
}

void error_free(struct error *error)
{
    if (error == NULL)
        return;
    free(error->operation);
    free(error->object);
    free(error->message);
    free(error->hcs_events);
    free(error);
}

bool error_is_callers(const struct error *error)
{
    if (error == NULL)
        return false;
    switch (error->kind) {
    case ERROR_KIND_CANCELLED:
    case ERROR_KIND_INVALID_ARGUMENT:
    case ERROR_KIND_NOT_FOUND:
    case ERROR_KIND_ALREADY_EXISTS:
    case ERROR_KIND_FAILED_PRECONDITION:
        return true;
    default:
        return false;
    }
}

void error_keep_first(struct error **first, struct error *error)
{
    if (*first == NULL)
        *first = error;
    else
        error_free(error);
}

const char *error_kind_name(enum error_kind kind)
{
    return (size_t)kind < KIND_COUNT && kind_names[kind] != NULL ? kind_names[kind] : "UNKNOWN";
}

enum error_kind error_kind_parse(const char *name)
{
    for (size_t i = 1; i < KIND_COUNT; i++)
        if (strcmp(kind_names[i], name) == 0)
            return (enum error_kind)i;
    return 0;
}

static char *code_text(const struct error *error)
{
    switch (error->origin) {
    case ERROR_ORIGIN_WIN32:
        return str_format("error %u", (unsigned)error->code);
    case ERROR_ORIGIN_HRESULT:
    case ERROR_ORIGIN_NTSTATUS:
        return str_format("0x%08X", (unsigned)error->code);
    case ERROR_ORIGIN_ERRNO:
        return str_format("errno %u", (unsigned)error->code);
    case ERROR_ORIGIN_NONE:
        break;
    }
    return NULL;
}

static bool is_word(char letter)
{
    return letter == '-' || letter == '_' || (letter >= '0' && letter <= '9') ||
           ((letter | 32) >= 'a' && (letter | 32) <= 'z');
}

/* Whether `text` has `name` as a word of its own. */
static bool mentions(const char *text, const char *name)
{
    size_t size = strlen(name);
    for (const char *at = strstr(text, name); at != NULL; at = strstr(at + 1, name))
        if ((at == text || !is_word(at[-1])) && !is_word(at[size]))
            return true;
    return false;
}

char *error_text(const struct error *error)
{
    char *code = code_text(error);
    const char *cause = error->message + error->context_size;
    /* The object is told once: not again when a context or the cause has named it. */
    bool named = error->object[0] == 0 || mentions(error->message, error->object);
    char *text = str_format("%.*s%s%s%s%s%s%s%s%s", (int)error->context_size, error->message, error->operation,
                            named ? "" : " ", named ? "" : error->object, error->operation[0] != 0 ? ": " : "", cause,
                            code == NULL ? "" : " (", code == NULL ? "" : code, code == NULL ? "" : ")");
    free(code);
    return text;
}

char *error_json(const struct error *error)
{
    json_t *json = json_pack("{s:s, s:s, s:s, s:s}", "code", error_kind_name(error->kind), "operation",
                             error->operation, "object", error->object, "message", error->message);
    if (error->origin != ERROR_ORIGIN_NONE) {
        char *code = error->origin == ERROR_ORIGIN_ERRNO ? str_format("errno %u", (unsigned)error->code)
                                                         : str_format("0x%08X", (unsigned)error_as_hresult(error));
        json_object_set_new(json, "hresult", json_string(code));
        free(code);
    }
    if (error->hcs_events != NULL)
        json_object_set_new(json, "events", json_loads(error->hcs_events, 0, NULL));
    char *dumped = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    return dumped;
}

uint32_t error_as_hresult(const struct error *error)
{
    if (error->origin == ERROR_ORIGIN_WIN32 && error->code != 0 && error->code <= 0xFFFF)
        return 0x80070000u | error->code; /* HRESULT_FROM_WIN32 */
    return error->origin == ERROR_ORIGIN_ERRNO ? 0 : error->code;
}
