#include "base/clock.h"

#include <stdio.h>
#include <string.h>

static uint64_t system_now(void *context)
{
    (void)context;
    return clock_ms();
}

static void system_wait(void *context, uint32_t ms)
{
    (void)context;
    clock_sleep(ms);
}

const struct clock clock_system = {system_now, NULL};
const struct pause pause_system = {system_wait, NULL};

/* Days since 1970-01-01 to a date of the proleptic Gregorian calendar
 * (http://howardhinnant.github.io/date_algorithms.html#civil_from_days). */
static void date_from_days(int64_t days, int64_t *year, unsigned *month, unsigned *day)
{
    days += 719468; /* to 0000-03-01 */
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    unsigned of_era = (unsigned)(days - era * 146097);
    unsigned year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned march_month = (5 * of_year + 2) / 153;
    *day = of_year - (153 * march_month + 2) / 5 + 1;
    *month = march_month < 10 ? march_month + 3 : march_month - 9;
    *year = (int64_t)year_of_era + era * 400 + (*month <= 2);
}

void clock_format_rfc3339(int64_t wall_ns, char text[40])
{
    int64_t seconds = wall_ns / 1000000000, fraction = wall_ns % 1000000000;
    if (fraction < 0) {
        fraction += 1000000000;
        seconds--;
    }
    int64_t days = seconds / 86400, of_day = seconds % 86400;
    if (of_day < 0) {
        of_day += 86400;
        days--;
    }
    int64_t year; /* 1677 to 2262: 64 bits of nanoseconds reach no further */
    unsigned month, day;
    date_from_days(days, &year, &month, &day);
    int size = snprintf(text, 40, "%04d-%02u-%02uT%02d:%02d:%02d", (int)year, month, day, (int)(of_day / 3600),
                        (int)(of_day / 60 % 60), (int)(of_day % 60));
    if (fraction != 0) {
        size += snprintf(text + size, 40 - (size_t)size, ".%09d", (int)fraction);
        while (text[size - 1] == '0')
            size--;
    }
    memcpy(text + size, "Z", 2);
}

/* The way back: http://howardhinnant.github.io/date_algorithms.html#days_from_civil. */
static int64_t days_from_date(int64_t year, unsigned month, unsigned day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    unsigned year_of_era = (unsigned)(year - era * 400);
    unsigned of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    unsigned of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    return era * 146097 + (int64_t)of_era - 719468;
}

/* Exactly `count` digits, then `end` unless that is 0. */
static bool take_digits(const char **text, unsigned count, char end, unsigned *ret_value)
{
    unsigned value = 0;
    for (unsigned i = 0; i < count; i++, (*text)++) {
        if (**text < '0' || **text > '9')
            return false;
        value = value * 10 + (unsigned)(**text - '0');
    }
    *ret_value = value;
    return end == 0 || *(*text)++ == end;
}

bool clock_parse_rfc3339(const char *text, int64_t *ret_wall_ns)
{
    unsigned year, month, day, hour, minute, second, offset_hours = 0, offset_minutes = 0;
    int64_t fraction = 0, unit = 100000000, offset = 0;
    if (!take_digits(&text, 4, '-', &year) || !take_digits(&text, 2, '-', &month) || !take_digits(&text, 2, 0, &day) ||
        (*text != 'T' && *text != 't'))
        return false;
    text++;
    if (!take_digits(&text, 2, ':', &hour) || !take_digits(&text, 2, ':', &minute) ||
        !take_digits(&text, 2, 0, &second))
        return false;
    if (*text == '.') {
        if (*++text < '0' || *text > '9')
            return false;
        for (; *text >= '0' && *text <= '9'; text++, unit /= 10)
            fraction += (*text - '0') * unit;
    }
    if (*text == '+' || *text == '-') {
        int64_t sign = *text++ == '-' ? -1 : 1;
        if (!take_digits(&text, 2, ':', &offset_hours) || !take_digits(&text, 2, 0, &offset_minutes))
            return false;
        offset = sign * (int64_t)(offset_hours * 3600 + offset_minutes * 60);
    } else if (*text != 'Z' && *text != 'z') {
        return false;
    } else {
        text++;
    }
    if (*text != 0 || month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60 ||
        offset_hours > 23 || offset_minutes > 59 || year < 1678 || year > 2261)
        return false;
    int64_t seconds = days_from_date(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset;
    *ret_wall_ns = seconds * 1000000000 + fraction;
    return true;
}

#define FILETIME_OF_1970 INT64_C(116444736000000000)

int64_t clock_from_filetime(uint64_t filetime)
{
    const int64_t range = INT64_MAX / 100;
    if (filetime > (uint64_t)(FILETIME_OF_1970 + range))
        return INT64_MAX;
    int64_t ticks = (int64_t)filetime - FILETIME_OF_1970;
    return ticks < -range ? INT64_MIN : ticks * 100;
}

uint64_t clock_to_filetime(int64_t wall_ns)
{
    int64_t ticks = wall_ns / 100 - (wall_ns % 100 < 0); /* towards the past */
    return (uint64_t)(ticks + FILETIME_OF_1970);         /* 64 bits of nanoseconds end well inside FILETIME */
}
