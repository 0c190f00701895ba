/* HTTP dates, RFC 9110 5.6.7, by arithmetic alone: no locale, no time zone, no tm. Times are seconds since 1970. */
#ifndef HTTP_DATE_H
#define HTTP_DATE_H

#include "http/text.h"

enum { HTTP_DATE_SIZE = 30 }; /* "Sun, 06 Nov 1994 08:49:37 GMT" and a NUL */

/* Writes the IMF-fixdate. Times outside the years 1 to 9999 are brought to the nearest that can be written. */
void http_date_write(char out[HTTP_DATE_SIZE], int64_t time_s);

/* Reads any of the three forms a recipient must accept: IMF-fixdate, RFC 850 and asctime, to the byte and case. The
 * two-digit year of RFC 850 is the one not more than 50 years after `now_s`. The name of the day is not held against
 * the date. False: not an HTTP date. */
bool http_date_parse(struct http_text text, int64_t now_s, int64_t *ret_time_s);

#endif
