/* An expression is parsed into a tree, the tree becomes steps of a machine (Thompson's construction;
 * https://swtch.com/~rsc/regexp/regexp2.html), which regex_match.c runs. */
#include "base/regex_machine.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define DEPTH_MAX  100u
#define REPEAT_MAX 1000u

enum node_kind { NODE_EMPTY, NODE_SET, NODE_ASSERT, NODE_JOIN, NODE_EITHER, NODE_REPEAT };

struct node {
    enum node_kind kind;
    struct node *left, *right;
    size_t set; /* index */
    enum assertion assertion;
    unsigned minimum, maximum; /* of a repeat; 0: no maximum */
    struct node *all;          /* the list of all nodes, for freeing */
};

struct parser {
    const char *text, *at;
    struct regex *regex;
    struct node *all;
    struct error *error;
    unsigned depth;
    bool fold, dot_all, multi_line;
};

static void fail(struct parser *parser, const char *why)
{
    if (parser->error == NULL)
        parser->error = error_make(ERROR_KIND_INVALID_ARGUMENT, "read regular expression", parser->text,
                                   "%s, at character %zu", why, (size_t)(parser->at - parser->text) + 1);
}

/* ---- sets ---- */

static void set_add(struct set *set, uint32_t first, uint32_t last)
{
    set->ranges = mem_resize_array(set->ranges, set->count + 1, sizeof *set->ranges);
    set->ranges[set->count++] = (struct range){first, last};
}

/* All that is not in the `count` last ranges, instead of them. */
static void set_invert_tail(struct set *set, size_t count)
{
    struct set tail = {.count = count};
    uint32_t next = 0;
    tail.ranges = mem_copy(set->ranges + set->count - count, count * sizeof *set->ranges);
    set->count -= count;
    for (;;) {
        uint32_t first = REGEX_END;
        for (size_t i = 0; i < tail.count; i++)
            if (tail.ranges[i].last >= next && tail.ranges[i].first < first)
                first = tail.ranges[i].first;
        if (first > next)
            set_add(set, next, first - 1);
        if (first == REGEX_END)
            break;
        next = first;
        for (size_t i = 0; i < tail.count; i++)
            if (tail.ranges[i].first <= next && tail.ranges[i].last >= next)
                next = tail.ranges[i].last + 1;
    }
    free(tail.ranges);
}

struct class {
    const char *name;
    const char *pairs; /* first, last, first, last, … */
};
static const struct class perl_classes[] = {{"d", "09"}, {"w", "09AZaz__"}, {"s", "\t\n\f\r  "}};
static const struct class posix_classes[] = {
    {"alnum", "09AZaz"}, {"alpha", "AZaz"}, {"blank", "\t\t  "},           {"digit", "09"},      {"lower", "az"},
    {"space", "\t\r  "}, {"upper", "AZ"},   {"word", "09AZaz__"},          {"xdigit", "09AFaf"}, {"punct", "!/:@[`{~"},
    {"print", " ~"},     {"graph", "!~"},   {"cntrl", "\001\037\177\177"},
};

static size_t add_pairs(struct set *set, const char *pairs)
{
    size_t count = strlen(pairs) / 2;
    for (size_t i = 0; i < count; i++)
        set_add(set, (unsigned char)pairs[2 * i], (unsigned char)pairs[2 * i + 1]);
    return count;
}

/* \d, \W, …: true when the letter behind the backslash is one. */
static bool add_perl_class(struct set *set, uint32_t letter)
{
    for (size_t i = 0; i < sizeof perl_classes / sizeof perl_classes[0]; i++) {
        uint32_t name = (unsigned char)perl_classes[i].name[0];
        if (letter != name && letter != name - 32)
            continue;
        size_t count = add_pairs(set, perl_classes[i].pairs);
        if (letter != name)
            set_invert_tail(set, count);
        return true;
    }
    return false;
}

/* `[:name:]` at parser->at. */
static bool add_posix_class(struct parser *parser, struct set *set)
{
    if (strncmp(parser->at, "[:", 2) != 0)
        return false;
    const char *name = parser->at + 2, *end = strstr(name, ":]");
    bool negated = *name == '^';
    if (end == NULL)
        return false;
    name += negated;
    for (size_t i = 0; i < sizeof posix_classes / sizeof posix_classes[0]; i++) {
        if (strlen(posix_classes[i].name) != (size_t)(end - name) ||
            strncmp(posix_classes[i].name, name, (size_t)(end - name)) != 0)
            continue;
        size_t count = add_pairs(set, posix_classes[i].pairs);
        if (negated)
            set_invert_tail(set, count);
        parser->at = end + 2;
        return true;
    }
    fail(parser, "there is no class of this name");
    return true;
}

/* The other case of ASCII letters. */
static void fold(struct set *set)
{
    for (size_t i = 0, count = set->count; i < count; i++)
        for (uint32_t letter = 'A'; letter <= 'Z'; letter++) {
            const struct range *range = &set->ranges[i];
            if (letter >= range->first && letter <= range->last)
                set_add(set, letter + 32, letter + 32);
            range = &set->ranges[i]; /* adding may have moved it */
            if (letter + 32 >= range->first && letter + 32 <= range->last)
                set_add(set, letter, letter);
        }
}

/* ---- parsing ---- */

static struct node *node_new(struct parser *parser, enum node_kind kind)
{
    struct node *node = mem_new(struct node);
    node->kind = kind;
    node->all = parser->all;
    parser->all = node;
    return node;
}

static struct node *node_of_set(struct parser *parser, struct set set)
{
    struct regex *regex = parser->regex;
    struct node *node = node_new(parser, NODE_SET);
    if (parser->fold)
        fold(&set);
    regex->sets = mem_resize_array(regex->sets, regex->set_count + 1, sizeof *regex->sets);
    node->set = regex->set_count;
    regex->sets[regex->set_count++] = set;
    return node;
}

static struct node *node_of_assertion(struct parser *parser, enum assertion assertion)
{
    struct node *node = node_new(parser, NODE_ASSERT);
    node->assertion = assertion;
    return node;
}

static struct node *node_of_letter(struct parser *parser, uint32_t letter)
{
    struct set set = {0};
    set_add(&set, letter, letter);
    return node_of_set(parser, set);
}

static int hex_digit(char letter)
{
    return letter >= '0' && letter <= '9'                 ? letter - '0'
           : (letter | 32) >= 'a' && (letter | 32) <= 'f' ? (letter | 32) - 'a' + 10
                                                          : -1;
}

/* Behind `\x`. */
static uint32_t take_hex(struct parser *parser)
{
    bool braces = *parser->at == '{';
    uint32_t value = 0;
    unsigned digits = 0, most = braces ? 6 : 2;
    parser->at += braces;
    for (int digit; digits < most && (digit = hex_digit(*parser->at)) >= 0; digits++, parser->at++)
        value = value * 16 + (uint32_t)digit;
    if (digits == 0 || (!braces && digits != 2) || (braces && *parser->at != '}') || value >= REGEX_END)
        fail(parser, "\\x needs two hexadecimal digits, or some in {}");
    else
        parser->at += braces;
    return value;
}

/* Behind a backslash, where it is no class: one character. */
static uint32_t take_escaped(struct parser *parser)
{
    static const char from[] = "tnrfva", to[] = "\t\n\r\f\v\a";
    uint32_t letter = regex_take(&parser->at);
    const char *known = letter < 0x80 && letter != 0 ? strchr(from, (int)letter) : NULL;
    if (letter == REGEX_END)
        fail(parser, "a backslash at the end");
    else if (known != NULL)
        return (unsigned char)to[known - from];
    else if (letter == 'x')
        return take_hex(parser);
    else if (letter < 0x80 && regex_is_word(letter) && letter != '_')
        fail(parser, "there is no such escape");
    return letter;
}

/* Behind `[`. */
static struct node *parse_set(struct parser *parser)
{
    struct set set = {0};
    if (*parser->at == '^') {
        set.negated = true;
        parser->at++;
    }
    for (bool first = true; parser->error == NULL && (first || *parser->at != ']'); first = false) {
        if (*parser->at == 0) {
            fail(parser, "a [ without ]");
            break;
        }
        if (add_posix_class(parser, &set))
            continue;
        if (*parser->at == '\\' && add_perl_class(&set, (unsigned char)parser->at[1])) {
            parser->at += 2;
            continue;
        }
        uint32_t from = regex_take(&parser->at), to;
        if (from == '\\')
            from = take_escaped(parser);
        to = from;
        if (parser->at[0] == '-' && parser->at[1] != ']' && parser->at[1] != 0) {
            parser->at++;
            to = regex_take(&parser->at);
            if (to == '\\')
                to = take_escaped(parser);
        }
        if (to < from)
            fail(parser, "a range that ends before it begins");
        set_add(&set, from, to);
    }
    parser->at += *parser->at == ']';
    return node_of_set(parser, set);
}

static struct node *parse_either(struct parser *parser);

/* Behind `(?`: flags, or what kind of group. True: only flags, no group. */
static bool parse_flags(struct parser *parser)
{
    bool on = true;
    if (parser->at[0] == 'P')
        parser->at++;
    if (*parser->at == '<') {
        const char *end = strchr(parser->at, '>');
        if (end == NULL || end == parser->at + 1)
            fail(parser, "a group without a name");
        else
            parser->at = end + 1;
        return false;
    }
    for (;; parser->at++) {
        switch (*parser->at) {
        case 'i':
            parser->fold = on;
            break;
        case 's':
            parser->dot_all = on;
            break;
        case 'm':
            parser->multi_line = on;
            break;
        case 'U': /* which way is tried first does not matter for whether there is one */
            break;
        case '-':
            on = false;
            break;
        case ':':
            parser->at++;
            return false;
        case ')':
            return true;
        default:
            fail(parser, "no such kind of group");
            return true;
        }
    }
}

static struct node *parse_group(struct parser *parser)
{
    struct parser saved = *parser;
    bool bare = false;
    if (*parser->at == '?') {
        parser->at++;
        bare = parse_flags(parser);
    }
    struct node *node = bare || parser->error != NULL ? node_new(parser, NODE_EMPTY) : parse_either(parser);
    if (*parser->at == ')')
        parser->at++;
    else
        fail(parser, "a ( without )");
    if (!bare) {
        parser->fold = saved.fold;
        parser->dot_all = saved.dot_all;
        parser->multi_line = saved.multi_line;
    }
    return node;
}

/* Behind `\Q`: all is literal up to `\E`. */
static struct node *parse_quoted(struct parser *parser)
{
    struct node *node = node_new(parser, NODE_EMPTY);
    while (*parser->at != 0 && strncmp(parser->at, "\\E", 2) != 0) {
        struct node *join = node_new(parser, NODE_JOIN);
        join->left = node;
        join->right = node_of_letter(parser, regex_take(&parser->at));
        node = join;
    }
    parser->at += *parser->at != 0 ? 2 : 0;
    return node;
}

static struct node *parse_backslash(struct parser *parser)
{
    struct set set = {0};
    switch (*parser->at) {
    case 'A':
        parser->at++;
        return node_of_assertion(parser, ASSERT_BEGIN);
    case 'z':
        parser->at++;
        return node_of_assertion(parser, ASSERT_END);
    case 'b':
        parser->at++;
        return node_of_assertion(parser, ASSERT_WORD);
    case 'B':
        parser->at++;
        return node_of_assertion(parser, ASSERT_NO_WORD);
    case 'Q':
        parser->at++;
        return parse_quoted(parser);
    }
    if (add_perl_class(&set, (unsigned char)*parser->at)) {
        parser->at++;
        return node_of_set(parser, set);
    }
    return node_of_letter(parser, take_escaped(parser));
}

static struct node *parse_atom(struct parser *parser)
{
    struct set set = {0};
    uint32_t letter = regex_take(&parser->at);
    switch (letter) {
    case '(':
        return parse_group(parser);
    case '[':
        return parse_set(parser);
    case '\\':
        return parse_backslash(parser);
    case '.':
        if (!parser->dot_all)
            set_add(&set, '\n', '\n');
        set.negated = true;
        return node_of_set(parser, set);
    case '^':
        return node_of_assertion(parser, parser->multi_line ? ASSERT_LINE_BEGIN : ASSERT_BEGIN);
    case '$':
        return node_of_assertion(parser, parser->multi_line ? ASSERT_LINE_END : ASSERT_END);
    case '*':
    case '+':
    case '?':
        parser->at--;
        fail(parser, "nothing to repeat");
        return node_new(parser, NODE_EMPTY);
    default:
        return node_of_letter(parser, letter);
    }
}

static bool take_number(const char **at, unsigned *ret_value)
{
    unsigned value = 0;
    if (**at < '0' || **at > '9')
        return false;
    for (; **at >= '0' && **at <= '9'; (*at)++)
        value = value > REPEAT_MAX ? value : value * 10 + (unsigned)(**at - '0');
    *ret_value = value;
    return true;
}

/* `{n}`, `{n,}` or `{n,m}`; what is none of them is literal text. */
static bool take_counts(struct parser *parser, unsigned *ret_minimum, unsigned *ret_maximum)
{
    const char *at = parser->at + 1;
    unsigned minimum, maximum;
    if (!take_number(&at, &minimum))
        return false;
    maximum = minimum;
    if (*at == ',') {
        at++;
        maximum = 0;
        if (*at != '}' && (!take_number(&at, &maximum) || maximum == 0))
            return false;
    } else if (minimum == 0) {
        return false; /* {0}: nobody means it */
    }
    if (*at != '}')
        return false;
    if (minimum > REPEAT_MAX || maximum > REPEAT_MAX || (maximum != 0 && maximum < minimum)) {
        fail(parser, "a repetition that is out of range");
        return false;
    }
    parser->at = at + 1;
    *ret_minimum = minimum;
    *ret_maximum = maximum;
    return true;
}

static struct node *parse_repeat(struct parser *parser)
{
    struct node *node = parse_atom(parser);
    for (unsigned levels = 0; parser->error == NULL; levels++) {
        unsigned minimum = *parser->at == '+', maximum = *parser->at == '?';
        if (*parser->at == '*' || *parser->at == '+' || *parser->at == '?')
            parser->at++;
        else if (*parser->at != '{' || !take_counts(parser, &minimum, &maximum))
            break;
        if (levels > 0)
            fail(parser, "a repetition of a repetition");
        parser->at += *parser->at == '?'; /* lazy */
        struct node *repeat = node_new(parser, NODE_REPEAT);
        repeat->left = node;
        repeat->minimum = minimum;
        repeat->maximum = maximum;
        node = repeat;
    }
    return node;
}

static struct node *parse_join(struct parser *parser)
{
    struct node *node = node_new(parser, NODE_EMPTY);
    while (parser->error == NULL && *parser->at != 0 && *parser->at != '|' && *parser->at != ')') {
        struct node *join = node_new(parser, NODE_JOIN);
        join->left = node;
        join->right = parse_repeat(parser);
        node = join;
    }
    return node;
}

static struct node *parse_either(struct parser *parser)
{
    if (parser->depth++ == DEPTH_MAX)
        fail(parser, "too many groups in each other");
    struct node *node = parse_join(parser);
    while (parser->error == NULL && *parser->at == '|') {
        struct node *either = node_new(parser, NODE_EITHER);
        parser->at++;
        either->left = node;
        either->right = parse_join(parser);
        node = either;
    }
    parser->depth--;
    return node;
}

/* ---- steps ---- */

/* False: too many. */
static bool emit(struct regex *regex, enum step_kind kind, size_t a, size_t b)
{
    if (regex->step_count == REGEX_CODE_MAX)
        return false;
    regex->steps[regex->step_count++] = (struct step){kind, (uint32_t)a, (uint32_t)b};
    return true;
}

static bool emit_node(struct regex *regex, const struct node *node);

/* `node` or nothing. */
static bool emit_optional(struct regex *regex, const struct node *node)
{
    size_t split = regex->step_count;
    if (!emit(regex, STEP_SPLIT, split + 1, 0) || !emit_node(regex, node))
        return false;
    regex->steps[split].b = (uint32_t)regex->step_count;
    return true;
}

static bool emit_repeat(struct regex *regex, const struct node *node)
{
    bool good = true;
    for (unsigned i = 0; i < node->minimum && good; i++) {
        size_t before = regex->step_count;
        good = emit_node(regex, node->left);
        if (regex->step_count == before)
            break; /* nothing, however often: in groups it would go on for ever and never become too large */
    }
    for (unsigned i = node->minimum; i < node->maximum && good; i++)
        good = emit_optional(regex, node->left);
    if (node->maximum != 0 || !good)
        return good;
    size_t split = regex->step_count;
    good = emit(regex, STEP_SPLIT, split + 1, 0) && emit_node(regex, node->left) && emit(regex, STEP_JUMP, split, 0);
    if (good)
        regex->steps[split].b = (uint32_t)regex->step_count;
    return good;
}

static bool emit_either(struct regex *regex, const struct node *node)
{
    size_t split = regex->step_count, jump;
    if (!emit(regex, STEP_SPLIT, split + 1, 0) || !emit_node(regex, node->left))
        return false;
    jump = regex->step_count;
    if (!emit(regex, STEP_JUMP, 0, 0))
        return false;
    regex->steps[split].b = (uint32_t)regex->step_count;
    if (!emit_node(regex, node->right))
        return false;
    regex->steps[jump].a = (uint32_t)regex->step_count;
    return true;
}

static bool emit_node(struct regex *regex, const struct node *node)
{
    switch (node->kind) {
    case NODE_EMPTY:
        return true;
    case NODE_SET:
        return emit(regex, STEP_SET, node->set, 0);
    case NODE_ASSERT:
        return emit(regex, STEP_ASSERT, node->assertion, 0);
    case NODE_JOIN:
        return emit_node(regex, node->left) && emit_node(regex, node->right);
    case NODE_EITHER:
        return emit_either(regex, node);
    case NODE_REPEAT:
        return emit_repeat(regex, node);
    }
    return false;
}

struct error *regex_compile(const char *expression, struct regex **ret_regex)
{
    struct parser parser = {.text = expression, .at = expression, .regex = mem_new(struct regex)};
    struct regex *regex = parser.regex;
    struct node *root = NULL;
    regex->steps = mem_new_array(REGEX_CODE_MAX, struct step);
    if (strlen(expression) > REGEX_SIZE_MAX)
        fail(&parser, "it is too long");
    else
        root = parse_either(&parser);
    if (parser.error == NULL && *parser.at == ')')
        fail(&parser, "a ) without (");
    if (parser.error == NULL && (!emit_node(regex, root) || !emit(regex, STEP_MATCH, 0, 0)))
        fail(&parser, "its repetitions make it too large");
    while (parser.all != NULL) {
        struct node *next = parser.all->all;
        free(parser.all);
        parser.all = next;
    }
    if (parser.error != NULL)
        regex_free(regex);
    else
        *ret_regex = regex;
    return parser.error;
}

void regex_free(struct regex *regex)
{
    if (regex == NULL)
        return;
    for (size_t i = 0; i < regex->set_count; i++)
        free(regex->sets[i].ranges);
    free(regex->sets);
    free(regex->steps);
    free(regex);
}
