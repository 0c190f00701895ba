/* Steps of scan.h with SSE2, which every x86-64 has. Its comparisons are signed: bytes from 0x80 on count as
 * negative. */
#ifndef HTTP_SCAN_SSE2_H
#define HTTP_SCAN_SSE2_H

#include <emmintrin.h>

enum { HTTP_SCAN_HAS_STEPS = 1 };

static inline __m128i http_scan_load(const char *at)
{
    return _mm_loadu_si128((const __m128i *)(const void *)at);
}

static inline __m128i http_scan_between(__m128i bytes, char first, char last)
{
    __m128i above = _mm_cmpgt_epi8(bytes, _mm_set1_epi8((char)(first - 1)));
    __m128i below = _mm_cmplt_epi8(bytes, _mm_set1_epi8((char)(last + 1)));
    return _mm_and_si128(above, below);
}

/* The bit 0x20 makes letters lower case and brings no other byte between 'a' and 'z'. */
static inline __m128i http_scan_letters(__m128i bytes)
{
    return http_scan_between(_mm_or_si128(bytes, _mm_set1_epi8(0x20)), 'a', 'z');
}

static inline unsigned http_scan_all_but(__m128i plain)
{
    return (unsigned)_mm_movemask_epi8(plain) ^ 0xffff;
}

/* Plain: letters and '-'. */
static inline unsigned http_scan_token_step(const char *at)
{
    __m128i bytes = http_scan_load(at);
    __m128i dash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('-'));
    return http_scan_all_but(_mm_or_si128(http_scan_letters(bytes), dash));
}

/* Plain: letters, digits and '.'. */
static inline unsigned http_scan_host_step(const char *at)
{
    __m128i bytes = http_scan_load(at);
    __m128i dot = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('.'));
    __m128i digits = http_scan_between(bytes, '0', '9');
    return http_scan_all_but(_mm_or_si128(_mm_or_si128(http_scan_letters(bytes), digits), dot));
}

/* Plain: all but control bytes (HTAB among them) and DEL. */
static inline unsigned http_scan_text_step(const char *at)
{
    __m128i bytes = http_scan_load(at);
    __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
    __m128i del = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f));
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(control, del));
}

/* Plain: visible ASCII but '#' and '?'. Serves the whole target: a '?' in a query is rare. */
static inline unsigned http_scan_target_step(const char *at)
{
    __m128i bytes = http_scan_load(at);
    __m128i number = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('#'));
    __m128i question = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('?'));
    return http_scan_all_but(_mm_andnot_si128(_mm_or_si128(number, question), http_scan_between(bytes, '!', '~')));
}

#endif
