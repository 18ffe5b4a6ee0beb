#include "daemon/events/filter.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "base/regex.h"

#define SELECTORS_MAX 32u
#define DEPTH_MAX     8u

enum operator{ OPERATOR_PRESENT, OPERATOR_EQUAL, OPERATOR_NOT_EQUAL, OPERATOR_MATCHES };

struct selector {
    char *path[DEPTH_MAX];
    size_t depth;
    enum operator operation;
    char *value;
    struct regex *regex;
};

struct filter {
    struct selector selectors[SELECTORS_MAX];
    size_t count; /* 0: lets everything through */
};

struct filters {
    struct filter *all;
    size_t count;
};

struct parser {
    const char *text, *at;
    struct error *error;
};

static void fail(struct parser *parser, const char *why)
{
    if (parser->error == NULL)
        parser->error = error_make(ERROR_KIND_INVALID_ARGUMENT, "read filter", parser->text, "%s, at character %zu",
                                   why, (size_t)(parser->at - parser->text) + 1);
}

static void skip_blanks(struct parser *parser)
{
    while (*parser->at != 0 && strchr(" \t\r\n\f\v", *parser->at) != NULL)
        parser->at++;
}

/* ---- quoted text ---- */

/* Digits of an escape in base 8 or 16; the value, or -1. */
static long take_digits(struct parser *parser, unsigned count, unsigned base)
{
    long value = 0;
    for (unsigned i = 0; i < count; i++, parser->at++) {
        char letter = *parser->at;
        long digit = letter >= '0' && letter <= '9'                 ? letter - '0'
                     : (letter | 32) >= 'a' && (letter | 32) <= 'f' ? (letter | 32) - 'a' + 10
                                                                    : 99;
        if (digit >= (long)base)
            return -1;
        value = value * (long)base + digit;
    }
    return value;
}

static void add_utf8(struct buffer *out, uint32_t letter)
{
    uint8_t bytes[4];
    size_t size = letter < 0x80 ? 1 : letter < 0x800 ? 2 : letter < 0x10000 ? 3 : 4;
    for (size_t i = size - 1; i > 0; i--, letter >>= 6)
        bytes[i] = (uint8_t)(0x80 | (letter & 0x3F));
    static const uint8_t lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    bytes[0] = (uint8_t)(lead[size] | letter);
    buffer_add(out, bytes, size);
}

/* One escape of a Go string, behind its backslash. */
static void take_escape(struct parser *parser, char quote, struct buffer *out)
{
    static const char from[] = "abfnrtv\\", to[] = "\a\b\f\n\r\t\v\\";
    char letter = *parser->at;
    const char *known = letter != 0 ? strchr(from, letter) : NULL;
    long value = -1;
    if (known != NULL || letter == quote) {
        parser->at++;
        buffer_add(out, known != NULL ? &to[known - from] : &quote, 1);
        return;
    }
    if (letter >= '0' && letter <= '7') {
        value = take_digits(parser, 3, 8);
    } else if (letter == 'x' || letter == 'u' || letter == 'U') {
        parser->at++;
        value = take_digits(parser, letter == 'x' ? 2 : letter == 'u' ? 4 : 8, 16);
    }
    if (value <= 0 || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000))
        fail(parser, "there is no such escape");
    else
        add_utf8(out, (uint32_t)value);
}

/* `parser->at` is at the quote. Between / or | all is literal but the quote's own escape: it is a regular expression. */
static char *take_quoted(struct parser *parser)
{
    char quote = *parser->at++;
    struct buffer out = {0};
    buffer_add_text(&out, "");
    while (parser->error == NULL && *parser->at != quote) {
        if (*parser->at == 0)
            fail(parser, "a quoted text without an end");
        else if (*parser->at == '\\' && (quote == '"' || parser->at[1] == quote)) {
            parser->at++;
            take_escape(parser, quote, &out);
        } else
            buffer_add(&out, parser->at++, 1);
    }
    parser->at += parser->error == NULL;
    return (char *)out.data;
}

/* ---- selectors ---- */

static bool is_field_letter(char letter)
{
    return (letter >= '0' && letter <= '9') || (letter >= 'A' && letter <= 'Z') || (letter >= 'a' && letter <= 'z') ||
           letter == '_';
}

static char *take_part(struct parser *parser)
{
    const char *begin = parser->at;
    if (*begin == '"')
        return take_quoted(parser);
    while (is_field_letter(*parser->at))
        parser->at++;
    if (parser->at == begin)
        fail(parser, "a field is missing");
    return str_copy_n(begin, (size_t)(parser->at - begin));
}

/* /…/ and |…| enclose a value only where they do: a topic begins with a slash too. */
static bool is_enclosed(const char *at)
{
    if (*at != '/' && *at != '|')
        return *at == '"';
    const char *end = at + 1;
    while (*end != 0 && *end != *at)
        end += *end == '\\' && end[1] != 0 ? 2 : 1;
    return *end == *at && (end[1] == 0 || end[1] == ',');
}

static char *take_value(struct parser *parser, bool expression)
{
    const char *begin = parser->at;
    if (*begin == '"' || (expression && is_enclosed(begin)))
        return take_quoted(parser);
    while (*parser->at != 0 && strchr(", \t\r\n\f\v", *parser->at) == NULL)
        parser->at++;
    if (parser->at == begin)
        fail(parser, "a value is missing");
    return str_copy_n(begin, (size_t)(parser->at - begin));
}

static void take_operator(struct parser *parser, struct selector *selector)
{
    static const struct {
        char text[3];
        enum operator operation;
    } rows[] = {{"==", OPERATOR_EQUAL}, {"!=", OPERATOR_NOT_EQUAL}, {"~=", OPERATOR_MATCHES}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strncmp(parser->at, rows[i].text, 2) == 0) {
            selector->operation = rows[i].operation;
            parser->at += 2;
            return;
        }
    fail(parser, "there is no such operator; ==, != and ~= are");
}

static void take_selector(struct parser *parser, struct selector *selector)
{
    skip_blanks(parser);
    selector->path[selector->depth++] = take_part(parser);
    while (parser->error == NULL && *parser->at == '.') {
        parser->at++;
        if (selector->depth == DEPTH_MAX)
            fail(parser, "the field path is too deep");
        else
            selector->path[selector->depth++] = take_part(parser);
    }
    skip_blanks(parser);
    if (parser->error != NULL || *parser->at == 0 || *parser->at == ',')
        return;
    take_operator(parser, selector);
    skip_blanks(parser);
    if (parser->error == NULL)
        selector->value = take_value(parser, selector->operation == OPERATOR_MATCHES);
    if (parser->error == NULL && selector->operation == OPERATOR_MATCHES)
        parser->error = error_wrap(regex_compile(selector->value, &selector->regex), "filter %s", parser->text);
    skip_blanks(parser);
}

static struct error *parse(const char *text, struct filter *filter)
{
    struct parser parser = {.text = text, .at = text};
    if (strlen(text) > FILTER_SIZE_MAX)
        return error_make(ERROR_KIND_RESOURCE_EXHAUSTED, "read filter", NULL, "a filter may have %u bytes",
                          FILTER_SIZE_MAX);
    skip_blanks(&parser);
    while (parser.error == NULL && *parser.at != 0) {
        if (filter->count == SELECTORS_MAX) {
            fail(&parser, "too many selectors");
            break;
        }
        take_selector(&parser, &filter->selectors[filter->count++]);
        if (parser.error == NULL && *parser.at != 0 && *parser.at != ',')
            fail(&parser, "a comma is missing");
        else if (parser.error == NULL && *parser.at == ',' && *++parser.at == 0)
            fail(&parser, "a selector is missing");
    }
    return parser.error;
}

struct error *filters_parse(char *const *texts, size_t count, struct filters **ret_filters)
{
    if (count > FILTER_COUNT_MAX)
        return error_make(ERROR_KIND_RESOURCE_EXHAUSTED, "read filter", NULL, "at most %u filters can be given",
                          FILTER_COUNT_MAX);
    struct filters *filters = mem_new(struct filters);
    struct error *error = NULL;
    filters->all = mem_new_array(count, struct filter);
    for (; filters->count < count && error == NULL; filters->count++)
        error = parse(texts[filters->count], &filters->all[filters->count]);
    if (error != NULL)
        filters_free(filters);
    else
        *ret_filters = filters;
    return error;
}

void filters_free(struct filters *filters)
{
    if (filters == NULL)
        return;
    for (size_t i = 0; i < filters->count; i++)
        for (size_t k = 0; k < filters->all[i].count; k++) {
            struct selector *selector = &filters->all[i].selectors[k];
            for (size_t n = 0; n < selector->depth; n++)
                free(selector->path[n]);
            free(selector->value);
            regex_free(selector->regex);
        }
    free(filters->all);
    free(filters);
}

/* ---- matching ---- */

static bool holds(const struct selector *selector, const char *value)
{
    switch (selector->operation) {
    case OPERATOR_PRESENT:
        return value != NULL && *value != 0;
    case OPERATOR_EQUAL:
        return value != NULL && *value != 0 && strcmp(value, selector->value) == 0;
    case OPERATOR_NOT_EQUAL:
        return strcmp(value == NULL ? "" : value, selector->value) != 0;
    case OPERATOR_MATCHES:
        return regex_matches(selector->regex, value == NULL ? "" : value);
    }
    return false;
}

bool filters_match(const struct filters *filters,
                   const char *(*field)(void *context, const char *const *path, size_t depth), void *context)
{
    for (size_t i = 0; i < filters->count; i++) {
        const struct filter *filter = &filters->all[i];
        size_t k = 0;
        while (k < filter->count &&
               holds(&filter->selectors[k],
                     field(context, (const char *const *)filter->selectors[k].path, filter->selectors[k].depth)))
            k++;
        if (k == filter->count)
            return true;
    }
    return filters->count == 0;
}
