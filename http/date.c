/* The three forms differ in the order of the same parts, so each form is a row: a pattern of letters for parts and
 * literal bytes for the rest. Days are counted by the civil calendar shifted to start in March, which puts the leap
 * day last. */
#include "http/date.h"

#include <string.h>

#include "http/byte.h"

enum { DAY_S = 86400, YEAR_MIN = 1, YEAR_MAX = 9999 };

static const char day_names[7][10] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
static const char month_names[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

struct civil {
    int64_t year;
    int month; /* 1 to 12 */
    int day;   /* 1 to 31 */
    int hour, minute, second;
};

enum { ERA_YEARS = 400, ERA_DAYS = 146097, DAYS_TO_1970 = 719468 /* from 0000-03-01 */ };

/* Years from 0 on only. */
static int64_t days_of(int64_t year, int month, int day)
{
    int64_t y = year - (month <= 2);
    int64_t in_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return y * 365 + y / 4 - y / 100 + y / ERA_YEARS + in_year - DAYS_TO_1970;
}

static struct civil civil_of(int64_t time_s)
{
    int64_t second = (time_s % DAY_S + DAY_S) % DAY_S;
    int64_t days = (time_s - second) / DAY_S + DAYS_TO_1970;
    int64_t era = days / ERA_DAYS;
    int64_t in_era = days % ERA_DAYS;
    int64_t years = (in_era - in_era / 1460 + in_era / 36524 - in_era / (ERA_DAYS - 1)) / 365;
    int64_t in_year = in_era - (365 * years + years / 4 - years / 100);
    int shifted = (int)((5 * in_year + 2) / 153); /* 0 is March */
    int month = shifted < 10 ? shifted + 3 : shifted - 9;
    return (struct civil){
        .year = era * ERA_YEARS + years + (month <= 2),
        .month = month,
        .day = (int)(in_year - (153 * shifted + 2) / 5 + 1),
        .hour = (int)(second / 3600),
        .minute = (int)(second / 60 % 60),
        .second = (int)(second % 60),
    };
}

static int64_t time_of(const struct civil *civil)
{
    int64_t day_s = (civil->hour * 60 + civil->minute) * 60 + civil->second;
    return days_of(civil->year, civil->month, civil->day) * DAY_S + day_s;
}

static void put_digits(char *out, int64_t number, int digits)
{
    for (; digits > 0; digits--, number /= 10)
        out[digits - 1] = (char)('0' + number % 10);
}

void http_date_write(char out[HTTP_DATE_SIZE], int64_t time_s)
{
    int64_t min = days_of(YEAR_MIN, 1, 1) * DAY_S;
    int64_t max = days_of(YEAR_MAX + 1, 1, 1) * DAY_S - 1;
    time_s = time_s < min ? min : time_s > max ? max : time_s;
    struct civil civil = civil_of(time_s);
    /* 1970-01-01 was a Thursday; seven times a large number keeps the remainder positive */
    int64_t weekday = (days_of(civil.year, civil.month, civil.day) + 4 + 7 * DAYS_TO_1970) % 7;
    memcpy(out, "ddd, DD mmm YYYY HH:MM:SS GMT", HTTP_DATE_SIZE);
    memcpy(out, day_names[weekday], 3);
    put_digits(out + 5, civil.day, 2);
    memcpy(out + 8, month_names[civil.month - 1], 3);
    put_digits(out + 12, civil.year, 4);
    put_digits(out + 17, civil.hour, 2);
    put_digits(out + 20, civil.minute, 2);
    put_digits(out + 23, civil.second, 2);
}

/* In a pattern: d name of the day, D day of the month, _ the same padded with a space, m month, Y four digits of the
 * year, y two digits, t the time. */
struct form {
    const char *pattern;
    size_t day_name_len; /* 0: in full */
};

static const struct form forms[] = {
    {"d, D m Y t GMT", 3}, /* Sun, 06 Nov 1994 08:49:37 GMT */
    {"d, D-m-y t GMT", 0}, /* Sunday, 06-Nov-94 08:49:37 GMT */
    {"d m _ t Y", 3},      /* Sun Nov  6 08:49:37 1994 */
};

static bool take_literal(struct http_text *text, char byte)
{
    if (text->len == 0 || text->data[0] != byte)
        return false;
    text->data++, text->len--;
    return true;
}

static bool take_digits(struct http_text *text, size_t digits, int *ret_number)
{
    uint64_t number;
    if (text->len < digits || !http_text_number((struct http_text){text->data, digits}, &number))
        return false;
    *ret_number = (int)number;
    text->data += digits, text->len -= digits;
    return true;
}

static bool take_name(struct http_text *text, const char *name, size_t len)
{
    if (text->len < len || memcmp(text->data, name, len) != 0)
        return false;
    text->data += len, text->len -= len;
    return true;
}

static bool take_day_name(struct http_text *text, size_t len)
{
    for (int i = 0; i < 7; i++) {
        if (take_name(text, day_names[i], len ? len : strlen(day_names[i])))
            return true;
    }
    return false;
}

static bool take_month(struct http_text *text, int *ret_month)
{
    for (int i = 0; i < 12; i++) {
        *ret_month = i + 1;
        if (take_name(text, month_names[i], 3))
            return true;
    }
    return false;
}

static bool take_time(struct http_text *text, struct civil *civil)
{
    return take_digits(text, 2, &civil->hour) && take_literal(text, ':') && take_digits(text, 2, &civil->minute) &&
           take_literal(text, ':') && take_digits(text, 2, &civil->second);
}

/* RFC 9110 5.6.7: a year that seems more than 50 years ahead is the last one in the past with the same two digits. */
static bool take_short_year(struct http_text *text, int64_t now_s, int64_t *ret_year)
{
    int digits;
    if (!take_digits(text, 2, &digits))
        return false;
    int64_t year = civil_of(now_s).year;
    int64_t latest = year + 50;
    *ret_year = latest - (latest % 100 - digits + 100) % 100;
    return true;
}

static bool take_year(struct http_text *text, int64_t *ret_year)
{
    int digits;
    if (!take_digits(text, 4, &digits))
        return false;
    *ret_year = digits;
    return true;
}

static bool take_part(struct http_text *text, char part, const struct form *form, int64_t now_s, struct civil *civil)
{
    switch (part) {
    case 'd':
        return take_day_name(text, form->day_name_len);
    case 'D':
        return take_digits(text, 2, &civil->day);
    case '_':
        return take_literal(text, ' ') ? take_digits(text, 1, &civil->day) : take_digits(text, 2, &civil->day);
    case 'm':
        return take_month(text, &civil->month);
    case 'Y':
        return take_year(text, &civil->year);
    case 'y':
        return take_short_year(text, now_s, &civil->year);
    case 't':
        return take_time(text, civil);
    default:
        return take_literal(text, part);
    }
}

static bool read_form(struct http_text text, const struct form *form, int64_t now_s, struct civil *ret_civil)
{
    for (const char *part = form->pattern; *part; part++) {
        if (!take_part(&text, *part, form, now_s, ret_civil))
            return false;
    }
    return text.len == 0;
}

static bool is_leap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* A leap second is allowed by the grammar (RFC 5322 3.3). */
static bool is_civil(const struct civil *civil)
{
    static const int month_days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int days = month_days[civil->month - 1] + (civil->month == 2 && is_leap(civil->year));
    return civil->year >= YEAR_MIN && civil->day >= 1 && civil->day <= days && civil->hour <= 23 &&
           civil->minute <= 59 && civil->second <= 60;
}

bool http_date_parse(struct http_text text, int64_t now_s, int64_t *ret_time_s)
{
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct civil civil = {.month = 1};
        if (read_form(text, &forms[i], now_s, &civil) && is_civil(&civil)) {
            *ret_time_s = time_of(&civil);
            return true;
        }
    }
    return false;
}
