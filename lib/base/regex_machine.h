/* What an expression becomes: steps of a machine, and the sets of characters that they ask for. Internal to lib/base/regex*.c. */
#ifndef HCSD_BASE_REGEX_MACHINE_H
#define HCSD_BASE_REGEX_MACHINE_H

#include "base/regex.h"

#include <stdint.h>

#define REGEX_END 0x110000u /* no character: the end of the expression or of the text */

enum assertion { ASSERT_LINE_BEGIN, ASSERT_LINE_END, ASSERT_BEGIN, ASSERT_END, ASSERT_WORD, ASSERT_NO_WORD };

struct range {
    uint32_t first, last;
};

struct set {
    struct range *ranges;
    size_t count;
    bool negated;
};

enum step_kind { STEP_SET, STEP_ASSERT, STEP_SPLIT, STEP_JUMP, STEP_MATCH };
struct step {
    enum step_kind kind;
    uint32_t a, b; /* set or assertion; where to go */
};

struct regex {
    struct set *sets;
    size_t set_count;
    struct step *steps;
    size_t step_count;
};

/* The next character of valid UTF-8; REGEX_END at the end. */
uint32_t regex_take(const char **at);
uint32_t regex_peek(const char *at);
bool regex_is_word(uint32_t letter);

#endif
