/* Regular expressions as Go and RE2 have them, for filters that clients send. Pure; thread-safe.
 *
 * Syntax (github.com/google/re2/wiki/Syntax): literals, `.`, [classes] with [:names:], \d \w \s and their opposites, \t \n \r \f
 * \v \a \xHH \x{H…}, \Q…\E, ^ $ \A \z \b \B, groups (also (?:…), (?P<name>…), (?ims), (?ims:…)), |, * + ? {n} {n,} {n,m} and
 * their lazy forms. Letter case is folded in ASCII only. Unicode classes (\pN) are refused.
 *
 * Matching takes time proportional to text times expression, whatever the expression: there is no backtracking. */
#ifndef HCSD_BASE_REGEX_H
#define HCSD_BASE_REGEX_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define REGEX_SIZE_MAX 1000u /* bytes of an expression */
#define REGEX_CODE_MAX 4000u /* steps that it may become, by repetition */

struct regex;

/* INVALID_ARGUMENT saying what is wrong and where. `expression` must be UTF-8. */
struct error *regex_compile(const char *expression, struct regex **ret_regex) ERROR_MUST_CHECK;
void regex_free(struct regex *regex);

/* Whether it matches anywhere in the text (UTF-8). */
bool regex_matches(const struct regex *regex, const char *text);

#endif
