#include "base/text.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"

#define NO_POINT 0xFFFFFFFFu

static bool is_high(char16_t unit)
{
    return unit >= 0xD800 && unit <= 0xDBFF;
}

static bool is_low(char16_t unit)
{
    return unit >= 0xDC00 && unit <= 0xDFFF;
}

/* The code point at text[*at], surrogates included, and *at moved behind it; NO_POINT (and *at unmoved) when the bytes
 * there are no shortest form of a value up to U+10FFFF. */
static uint32_t decode(const char *text, size_t size, size_t *at)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *bytes = (const unsigned char *)text + *at;
    size_t left = size - *at;
    unsigned first = bytes[0];
    if (first < 0x80) {
        (*at)++;
        return first;
    }
    size_t length = first >= 0xF0 && first <= 0xF4  ? 4
                    : first >= 0xE0 && first < 0xF0 ? 3
                    : first >= 0xC2 && first < 0xE0 ? 2
                                                    : 0;
    if (length == 0 || left < length)
        return NO_POINT;
    uint32_t point = first & (0x7Fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((bytes[i] & 0xC0) != 0x80)
            return NO_POINT;
        point = point << 6 | (bytes[i] & 0x3Fu);
    }
    if (point < smallest[length] || point > 0x10FFFF)
        return NO_POINT;
    *at += length;
    return point;
}

static size_t encode(uint32_t point, char out[4])
{
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        out[0] = (char)(0xC0 | point >> 6);
        out[1] = (char)(0x80 | (point & 0x3F));
        return 2;
    }
    if (point < 0x10000) {
        out[0] = (char)(0xE0 | point >> 12);
        out[1] = (char)(0x80 | (point >> 6 & 0x3F));
        out[2] = (char)(0x80 | (point & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | point >> 18);
    out[1] = (char)(0x80 | (point >> 12 & 0x3F));
    out[2] = (char)(0x80 | (point >> 6 & 0x3F));
    out[3] = (char)(0x80 | (point & 0x3F));
    return 4;
}

char *text_from_utf16(const char16_t *units, size_t count)
{
    char *text = mem_zero_array(count + 1, 3); /* a unit takes at most three bytes, a pair four */
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t point = units[i];
        if (is_high(units[i]) && i + 1 < count && is_low(units[i + 1])) {
            point = 0x10000 + ((point - 0xD800) << 10) + (units[i + 1] - 0xDC00u);
            i++;
        }
        size += encode(point, text + size);
    }
    return text;
}

char *text_from_utf16z(const char16_t *units)
{
    if (units == NULL)
        return NULL;
    size_t count = 0;
    while (units[count] != 0)
        count++;
    return text_from_utf16(units, count);
}

char16_t *text_to_utf16(const char *text, size_t *ret_count)
{
    return text_to_utf16_n(text, strlen(text), ret_count);
}

char16_t *text_to_utf16_n(const char *text, size_t size, size_t *ret_count)
{
    char16_t *units = mem_zero_array(size + 1, sizeof(char16_t)); /* no byte makes more than one unit */
    size_t count = 0;
    bool after_high = false; /* the last point was a high surrogate in three bytes */
    for (size_t at = 0; at < size;) {
        uint32_t point = decode(text, size, &at);
        if (point == NO_POINT || (after_high && point >= 0xDC00 && point <= 0xDFFF)) {
            free(units);
            return NULL;
        }
        after_high = point >= 0xD800 && point <= 0xDBFF;
        if (point < 0x10000) {
            units[count++] = (char16_t)point;
        } else {
            units[count++] = (char16_t)(0xD800 + ((point - 0x10000) >> 10));
            units[count++] = (char16_t)(0xDC00 + ((point - 0x10000) & 0x3FF));
        }
    }
    if (ret_count != NULL)
        *ret_count = count;
    return units;
}

bool text_is_utf8(const char *text, size_t size)
{
    for (size_t at = 0; at < size;) {
        uint32_t point = decode(text, size, &at);
        if (point == NO_POINT || (point >= 0xD800 && point <= 0xDFFF))
            return false;
    }
    return true;
}

bool text_is_utf16(const char16_t *units, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (is_high(units[i]) && i + 1 < count && is_low(units[i + 1]))
            i++;
        else if (is_high(units[i]) || is_low(units[i]))
            return false;
    }
    return true;
}

/* A line end for somebody who reads it: C0, DEL, C1, and Unicode's two separators. */
static bool is_control(uint32_t point)
{
    return point < 0x20 || (point >= 0x7F && point < 0xA0) || point == 0x2028 || point == 0x2029;
}

char *text_printable(const char *text, size_t size, size_t limit)
{
    static const char cut[] = "\xE2\x80\xA6"; /* … */
    struct buffer out = {0};
    buffer_add_text(&out, "");
    size_t cut_at = 0; /* the last place where the mark still fits */
    for (size_t at = 0; at < size;) {
        uint32_t point = decode(text, size, &at);
        if (point == NO_POINT)
            buffer_add_format(&out, "\\x%02X", (unsigned char)text[at++]);
        else if ((point >= 0xD800 && point <= 0xDFFF) || (is_control(point) && point > 0xFF))
            buffer_add_format(&out, "\\u%04X", (unsigned)point);
        else if (is_control(point))
            buffer_add_format(&out, "\\x%02X", (unsigned)point);
        else {
            char bytes[4];
            buffer_add(&out, bytes, encode(point, bytes));
        }
        if (limit == 0)
            continue;
        if (out.size > limit) {
            out.size = cut_at;
            if (limit >= sizeof cut - 1)
                buffer_add(&out, cut, sizeof cut - 1);
            out.data[out.size] = 0;
            break;
        }
        if (out.size + sizeof cut - 1 <= limit)
            cut_at = out.size;
    }
    return (char *)out.data;
}

static int lower(char letter)
{
    return letter >= 'A' && letter <= 'Z' ? letter - 'A' + 'a' : letter;
}

bool text_equal_ascii_nocase(const char *a, const char *b)
{
    while (*a != 0 && lower(*a) == lower(*b)) {
        a++;
        b++;
    }
    return *a == 0 && *b == 0;
}

bool text_is_identifier(const char *text)
{
    size_t size = strlen(text);
    if (size == 0 || size > 76)
        return false;
    bool after_word = false;
    for (size_t i = 0; i < size; i++) {
        char letter = text[i];
        bool word = (letter >= '0' && letter <= '9') || (lower(letter) >= 'a' && lower(letter) <= 'z');
        if (!word && (!after_word || (letter != '.' && letter != '_' && letter != '-')))
            return false;
        after_word = word;
    }
    return after_word;
}
