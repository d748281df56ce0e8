/* UTF-8 and XML character check: 32 bytes a step while they are ASCII, 16 bytes a step where they are not
 * (the lookup algorithm of Keiser and Lemire, "Validating UTF-8 In Less Than One Instruction Per Byte", 2021),
 * byte by byte where something is wrong or the end is near: only that part has to know positions. */
#include "utf8.h"

#include <string.h>

#if defined(__SSSE3__)
#include <tmmintrin.h>
#define SIMD 1
#endif

/* The character at p (p < end, p[0] >= 0x80): its length, 0 if unfinished, or -UTF8_ENCODING, -UTF8_CHAR. */
static int character(const uint8_t *p, const uint8_t *end) {
    uint8_t c = p[0];
    size_t left = (size_t)(end - p);
    uint8_t low = 0x80, high = 0xBF; /* of the second byte */
    int len;
    if (c < 0xC2) return -UTF8_ENCODING;
    if (c < 0xE0) len = 2;
    else if (c < 0xF0) {
        len = 3;
        if (c == 0xE0) low = 0xA0;       /* overlong below */
        else if (c == 0xED) high = 0x9F; /* surrogates above */
    } else if (c < 0xF5) {
        len = 4;
        if (c == 0xF0) low = 0x90;       /* overlong below */
        else if (c == 0xF4) high = 0x8F; /* past U+10FFFF above */
    } else return -UTF8_ENCODING;
    if (left < 2) return 0;
    if (p[1] < low || p[1] > high) return -UTF8_ENCODING;
    for (int i = 2; i < len; i++) {
        if (left < (size_t)i + 1) return 0;
        if ((p[i] & 0xC0) != 0x80) return -UTF8_ENCODING;
    }
    if (c == 0xEF && p[1] == 0xBF && p[2] >= 0xBE) return -UTF8_CHAR;
    return len;
}

#if SIMD
/* Errors of the 16 bytes v that follow the 16 bytes before; a sequence v leaves unfinished is no error yet. */
static inline __m128i block_errors(__m128i v, __m128i before) {
    enum {
        TOO_SHORT = 1, TOO_LONG = 2, OVERLONG_3 = 4, SURROGATE = 16, OVERLONG_2 = 32, TWO_CONTS = 128,
        TOO_LARGE = 8, TOO_LARGE_1000 = 64, OVERLONG_4 = 64, CARRY = TOO_SHORT | TOO_LONG | TWO_CONTS
    };
    const __m128i nibble = _mm_set1_epi8(0x0F);
    __m128i prev1 = _mm_alignr_epi8(v, before, 15);
    __m128i prev2 = _mm_alignr_epi8(v, before, 14);
    __m128i prev3 = _mm_alignr_epi8(v, before, 13);
    __m128i by_high1 = _mm_shuffle_epi8(
        _mm_setr_epi8(TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG,
                      (char)TWO_CONTS, (char)TWO_CONTS, (char)TWO_CONTS, (char)TWO_CONTS,
                      TOO_SHORT | OVERLONG_2, TOO_SHORT, TOO_SHORT | OVERLONG_3 | SURROGATE,
                      TOO_SHORT | TOO_LARGE | TOO_LARGE_1000),
        _mm_and_si128(_mm_srli_epi16(prev1, 4), nibble));
    __m128i by_low1 = _mm_shuffle_epi8(
        _mm_setr_epi8((char)(CARRY | OVERLONG_3 | OVERLONG_2 | OVERLONG_4), (char)(CARRY | OVERLONG_2),
                      (char)CARRY, (char)CARRY, (char)(CARRY | TOO_LARGE),
                      (char)(CARRY | TOO_LARGE | TOO_LARGE_1000), (char)(CARRY | TOO_LARGE | TOO_LARGE_1000),
                      (char)(CARRY | TOO_LARGE | TOO_LARGE_1000), (char)(CARRY | TOO_LARGE | TOO_LARGE_1000),
                      (char)(CARRY | TOO_LARGE | TOO_LARGE_1000), (char)(CARRY | TOO_LARGE | TOO_LARGE_1000),
                      (char)(CARRY | TOO_LARGE | TOO_LARGE_1000), (char)(CARRY | TOO_LARGE | TOO_LARGE_1000),
                      (char)(CARRY | TOO_LARGE | TOO_LARGE_1000 | SURROGATE),
                      (char)(CARRY | TOO_LARGE | TOO_LARGE_1000), (char)(CARRY | TOO_LARGE | TOO_LARGE_1000)),
        _mm_and_si128(prev1, nibble));
    __m128i by_high2 = _mm_shuffle_epi8(
        _mm_setr_epi8(TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT,
                      (char)(TOO_LONG | OVERLONG_2 | TWO_CONTS | OVERLONG_3 | TOO_LARGE_1000 | OVERLONG_4),
                      (char)(TOO_LONG | OVERLONG_2 | TWO_CONTS | OVERLONG_3 | TOO_LARGE),
                      (char)(TOO_LONG | OVERLONG_2 | TWO_CONTS | SURROGATE | TOO_LARGE),
                      (char)(TOO_LONG | OVERLONG_2 | TWO_CONTS | SURROGATE | TOO_LARGE),
                      TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT),
        _mm_and_si128(_mm_srli_epi16(v, 4), nibble));
    __m128i special = _mm_and_si128(_mm_and_si128(by_high1, by_low1), by_high2);
    /* third byte of a three byte character, third or fourth of a four byte one: must be continuations */
    __m128i third = _mm_subs_epu8(prev2, _mm_set1_epi8((char)(0xE0 - 0x80)));
    __m128i fourth = _mm_subs_epu8(prev3, _mm_set1_epi8((char)(0xF0 - 0x80)));
    __m128i must = _mm_and_si128(_mm_or_si128(third, fourth), _mm_set1_epi8((char)0x80));
    __m128i wrong = _mm_xor_si128(must, special);
    /* U+FFFE and U+FFFF: EF BF, then BE or BF */
    __m128i non = _mm_and_si128(
        _mm_cmpeq_epi8(prev2, _mm_set1_epi8((char)0xEF)),
        _mm_and_si128(_mm_cmpeq_epi8(prev1, _mm_set1_epi8((char)0xBF)),
                      _mm_cmpeq_epi8(_mm_max_epu8(v, _mm_set1_epi8((char)0xBE)), v)));
    return _mm_or_si128(wrong, non);
}

/* From p, a character's first byte: behind the last character that whole, faultless 16-byte blocks complete. */
static const uint8_t *blocks(const uint8_t *p, const uint8_t *end) {
    const uint8_t *start = p;
    __m128i before = _mm_setzero_si128();
    const __m128i zero = _mm_setzero_si128();
    const __m128i tab_lf_cr = _mm_setr_epi8(-1, 0, 0, 0, 0, 0, 0, 0, 0, 9, 10, 0, 0, 13, 0, 0);
    for (; end - p >= 16; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)p);
        int high = _mm_movemask_epi8(v);
        __m128i c0 = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1F)), v);
        __m128i allowed = _mm_cmpeq_epi8(_mm_shuffle_epi8(tab_lf_cr, v), v);
        __m128i bad = _mm_or_si128(block_errors(v, before), _mm_andnot_si128(allowed, c0));
        if (_mm_movemask_epi8(_mm_cmpeq_epi8(bad, zero)) != 0xFFFF) break;
        before = v;
        if (!high) { p += 16; break; } /* ASCII again: the 32-byte loop is faster */
    }
    /* step back over a character that the last block leaves unfinished */
    for (int back = 1; back <= 3 && p - back >= start; back++) {
        uint8_t c = p[-back];
        if (c < 0x80) break;
        if (c >= 0xC0) {
            int len = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
            if (len > back) p -= back;
            break;
        }
    }
    return p;
}
#endif

size_t utf8_xml_prefix(const uint8_t *p, size_t n, int *verdict) {
    const uint8_t *start = p, *end = p + n;
    *verdict = UTF8_OK;
    while (p < end) {
#if SIMD
        /* signed: below 0x20 are the C0 controls and all of 0x80 and above */
        const __m128i space = _mm_set1_epi8(0x20);
        for (;;) {
            __m128i a = _mm_loadu_si128((const __m128i *)p);
            __m128i b = _mm_loadu_si128((const __m128i *)(p + 16));
            unsigned hit = (unsigned)_mm_movemask_epi8(_mm_cmplt_epi8(a, space)) |
                           (unsigned)_mm_movemask_epi8(_mm_cmplt_epi8(b, space)) << 16;
            if (hit) {
                p += __builtin_ctz(hit);
                break;
            }
            p += 32;
            if (p >= end) break;
        }
        if (p >= end) return n;
#else
        while (p < end && *p >= 0x20 && *p < 0x80) p++;
        if (p == end) return n;
#endif
        if (*p < 0x20) {
            if (*p != '\t' && *p != '\n' && *p != '\r') {
                *verdict = UTF8_CHAR;
                break;
            }
            p++;
            continue;
        }
#if SIMD
        if (end - p >= 16) {
            const uint8_t *q = blocks(p, end);
            if (q != p) {
                p = q;
                continue;
            }
        }
#endif
        int len = character(p, end);
        if (len == 0) break;
        if (len < 0) {
            *verdict = -len;
            break;
        }
        p += len;
    }
    return (size_t)(p - start);
}
