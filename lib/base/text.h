/* Text: UTF-16 as Windows has it, UTF-8 for everything people read, WTF-8 for file names.
 *
 * Windows file names are any sequence of 16-bit units, lone surrogates too. Inside hcsd a name is either such a
 * counted array or its WTF-8 form (https://simonsapin.github.io/wtf-8/), which is UTF-8 plus a three-byte form for
 * lone surrogates, so that every name survives the way there and back. char16_t and mingw's wchar_t are the same
 * type. Pure; thread-safe. */
#ifndef HCSD_BASE_TEXT_H
#define HCSD_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <uchar.h>

/* Units -> WTF-8, terminated. Never fails. The caller frees it. */
char *text_from_utf16(const char16_t *units, size_t count);
/* The same for NUL-terminated text; NULL stays NULL. */
char *text_from_utf16z(const char16_t *units);

/* WTF-8 -> units, terminated; *ret_count (may be NULL) is without the terminator. Returns NULL when the bytes are no
 * WTF-8: overlong forms, values above U+10FFFF, surrogate pairs written as two three-byte forms. */
char16_t *text_to_utf16(const char *text, size_t *ret_count);
char16_t *text_to_utf16_n(const char *text, size_t size, size_t *ret_count);

/* Strict UTF-8 (no surrogates), as protobuf and JSON demand. */
bool text_is_utf8(const char *text, size_t size);
/* Units without lone surrogates. */
bool text_is_utf16(const char16_t *units, size_t count);

/* A copy that is strict UTF-8 and one line, for logs, events and messages: lone surrogates and bytes that are no
 * UTF-8 as \uXXXX or \xXX, control characters as \xXX, a backslash stays as it is. At most `limit` bytes (0: no
 * limit), a cut is marked by "…". The caller frees it. */
char *text_printable(const char *text, size_t size, size_t limit);

/* ASCII only: the comparison that keys, JSON words and file suffixes need. */
bool text_equal_ascii_nocase(const char *a, const char *b);

/* containerd's identifier rule (pkg/identifiers/validate.go): 1 to 76 characters, runs of ASCII letters and digits
 * joined by single '.', '_' or '-'. */
bool text_is_identifier(const char *text);

#endif
