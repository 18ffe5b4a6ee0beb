/* Running the machine of an expression over a text: all ways at once. */
#include "base/regex_machine.h"

#include "base/memory.h"

/* ---- characters ---- */

uint32_t regex_take(const char **at)
{
    const uint8_t *text = (const uint8_t *)*at;
    if (text[0] == 0)
        return REGEX_END;
    unsigned more = text[0] < 0x80 ? 0 : text[0] < 0xE0 ? 1 : text[0] < 0xF0 ? 2 : 3;
    uint32_t value = more == 0 ? text[0] : text[0] & (0x3Fu >> more);
    for (unsigned i = 1; i <= more; i++) {
        if ((text[i] & 0xC0) != 0x80) { /* no UTF-8: one byte at a time, rather than past the end */
            *at += 1;
            return text[0];
        }
        value = value << 6 | (text[i] & 0x3Fu);
    }
    *at += more + 1;
    return value;
}

uint32_t regex_peek(const char *at)
{
    return regex_take(&at);
}

bool regex_is_word(uint32_t letter)
{
    return (letter >= '0' && letter <= '9') || (letter >= 'A' && letter <= 'Z') || (letter >= 'a' && letter <= 'z') ||
           letter == '_';
}

static bool set_has(const struct set *set, uint32_t letter)
{
    bool found = false;
    for (size_t i = 0; i < set->count && !found; i++)
        found = letter >= set->ranges[i].first && letter <= set->ranges[i].last;
    return found != set->negated;
}

/* ---- the machine ---- */

struct ways {
    uint32_t *steps; /* where the machine is; each once */
    size_t count;
    uint32_t *marks; /* by step: the position at which it was added */
};

static bool holds(enum assertion assertion, uint32_t before, uint32_t after)
{
    switch (assertion) {
    case ASSERT_LINE_BEGIN:
        return before == REGEX_END || before == '\n';
    case ASSERT_LINE_END:
        return after == REGEX_END || after == '\n';
    case ASSERT_BEGIN:
        return before == REGEX_END;
    case ASSERT_END:
        return after == REGEX_END;
    case ASSERT_WORD:
        return regex_is_word(before) != regex_is_word(after);
    case ASSERT_NO_WORD:
        return regex_is_word(before) == regex_is_word(after);
    }
    return false;
}

/* Adds the step and all that follows from it without a character. `stack` has room for all steps. */
static void follow(const struct regex *regex, struct ways *ways, uint32_t *stack, uint32_t step, uint32_t mark,
                   uint32_t before, uint32_t after)
{
    size_t depth = 0;
    stack[depth++] = step;
    while (depth > 0) {
        uint32_t at = stack[--depth];
        if (ways->marks[at] == mark)
            continue;
        ways->marks[at] = mark;
        const struct step *now = &regex->steps[at];
        if (now->kind == STEP_JUMP) {
            stack[depth++] = now->a;
        } else if (now->kind == STEP_SPLIT) {
            stack[depth++] = now->a;
            stack[depth++] = now->b;
        } else if (now->kind == STEP_ASSERT) {
            if (holds((enum assertion)now->a, before, after))
                stack[depth++] = at + 1;
        } else {
            ways->steps[ways->count++] = at;
        }
    }
}

bool regex_matches(const struct regex *regex, const char *text)
{
    size_t size = regex->step_count;
    /* A step is on the stack at most once for each step that leads to it: two of a split, one of all others. */
    uint32_t *memory = mem_new_array(6 * size + 8, uint32_t), *stack = memory + 4 * size;
    struct ways now = {memory, 0, memory + size}, next = {memory + 2 * size, 0, memory + 3 * size};
    uint32_t before = REGEX_END, mark = 1;
    bool found = false;
    for (const char *at = text; !found; mark++) {
        const char *ahead = at;
        uint32_t letter = regex_take(&ahead);
        follow(regex, &now, stack, 0, mark, before, letter);
        next.count = 0;
        for (size_t i = 0; i < now.count && !found; i++) {
            const struct step *step = &regex->steps[now.steps[i]];
            if (step->kind == STEP_MATCH)
                found = true;
            else if (letter != REGEX_END && set_has(&regex->sets[step->a], letter))
                follow(regex, &next, stack, now.steps[i] + 1, mark + 1, letter, regex_peek(ahead));
        }
        if (letter == REGEX_END)
            break;
        struct ways swap = now;
        now = next;
        next = swap;
        before = letter;
        at = ahead;
    }
    free(memory);
    return found;
}
