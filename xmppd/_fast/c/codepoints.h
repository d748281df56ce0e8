/* Text as code points: from and to UTF-8, and normalized, by the tables of the file that includes this one.
 *
 * That file has before: sp_map, pairs and PAIRS_BITS (tables), norm_of() and flags_of() (functions). What form the text
 * is normalized to, by which Unicode, is what the tables say: decompositions in norm_of(), pairs that compose in pairs.
 */
#include <string.h>

#include "jid.h"
#include "utf8.h"

/* A result of JID_PART_MAX bytes has at most 3/2 as many code points when decomposed (the generator of the tables sees
 * to it): what does not fit here is too long. */
#define ROOM (JID_PART_MAX * 3 / 2 + 1)

typedef struct {
    uint32_t c[ROOM];
    size_t n;
    unsigned seen; /* flags of all of them, or'ed */
} text;

/* One character of UTF-8 beyond ASCII; its length, or 0. */
static inline size_t decode(const uint8_t *p, size_t n, uint32_t *c) {
    if (p[0] < 0xE0) {
        if (p[0] < 0xC2 || n < 2 || (p[1] & 0xC0) != 0x80) return 0;
        *c = (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu);
        return 2;
    }
    if (p[0] < 0xF0) {
        if (n < 3 || (p[1] & 0xC0) != 0x80 || (p[2] & 0xC0) != 0x80) return 0;
        *c = (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
        return *c < 0x800 || (*c >= 0xD800 && *c < 0xE000) ? 0 : 3;
    }
    if (n < 4 || (p[1] & 0xC0) != 0x80 || (p[2] & 0xC0) != 0x80 || (p[3] & 0xC0) != 0x80) return 0;
    *c = (p[0] & 0x0Fu) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
    return p[0] > 0xF4 || *c < 0x10000 || *c > 0x10FFFF ? 0 : 4;
}

/* The text as UTF-8 in out[room]; its length, or room + 1 where it does not fit. */
static size_t encode(const uint32_t *c, size_t n, uint8_t *out, size_t room) {
    size_t w = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t x = c[i];
        if (w + (x < 0x80 ? 1 : x < 0x800 ? 2 : x < 0x10000 ? 3 : 4) > room) return room + 1;
        w += utf8_encode(x, out + w);
    }
    return w;
}

/* ---- normalization (UAX 15) ---- */

enum { S_BASE = 0xAC00, L_BASE = 0x1100, V_BASE = 0x1161, T_BASE = 0x11A7, L_COUNT = 19, V_COUNT = 21, T_COUNT = 28 };

typedef struct {
    uint32_t c[ROOM];
    uint8_t class[ROOM];
    size_t n;
} decomposed;

static inline int put(decomposed *d, uint32_t c, unsigned class) {
    if (d->n == ROOM) return JID_TOO_LONG;
    d->c[d->n] = c;
    d->class[d->n++] = (uint8_t)class;
    return JID_OK;
}

static int decompose(const text *t, decomposed *d) {
    d->n = 0;
    for (size_t i = 0; i < t->n; i++) {
        uint32_t c = t->c[i], s = c - S_BASE;
        if (s < L_COUNT * V_COUNT * T_COUNT) {
            if (put(d, L_BASE + s / (V_COUNT * T_COUNT), 0)) return JID_TOO_LONG;
            if (put(d, V_BASE + s / T_COUNT % V_COUNT, 0)) return JID_TOO_LONG;
            if (s % T_COUNT && put(d, T_BASE + s % T_COUNT, 0)) return JID_TOO_LONG;
            continue;
        }
        unsigned norm = norm_of(c);
        if (norm < SP_CCC_LIMIT) {
            if (put(d, c, norm)) return JID_TOO_LONG;
            continue;
        }
        const uint32_t *to = sp_map + (norm - SP_CCC_LIMIT);
        for (uint32_t k = 0, length = *to >> 24; k < length; k++) {
            uint32_t x = to[k] & 0xFFFFFF;
            if (put(d, x, norm_of(x))) return JID_TOO_LONG;
        }
    }
    return JID_OK;
}

/* Sort the marks d[from..to) by class, keeping the order within one. Few of them by insertion, many by counting:
 * somebody may send a thousand. */
static void order(decomposed *d, size_t from, size_t to) {
    if (to - from <= 32) {
        for (size_t i = from + 1; i < to; i++) {
            uint32_t c = d->c[i];
            uint8_t class = d->class[i];
            size_t j = i;
            for (; j > from && d->class[j - 1] > class; j--) {
                d->c[j] = d->c[j - 1];
                d->class[j] = d->class[j - 1];
            }
            d->c[j] = c;
            d->class[j] = class;
        }
        return;
    }
    uint32_t c[ROOM];
    uint16_t at[257] = {0};
    for (size_t i = from; i < to; i++) at[d->class[i] + 1]++;
    for (size_t k = 1; k < 257; k++) at[k] = (uint16_t)(at[k] + at[k - 1]);
    for (size_t i = from; i < to; i++) c[at[d->class[i]]++] = d->c[i];
    size_t i = from; /* at[k] is now where class k ends */
    for (unsigned k = 0; k < 256; k++)
        while (i - from < at[k]) {
            d->c[i] = c[i - from];
            d->class[i++] = (uint8_t)k;
        }
}

static inline uint32_t pair(uint32_t a, uint32_t b) { /* what a and b make together, or 0 */
    uint32_t at = (a * 0x9E3779B1u + b * 0x85EBCA6Bu) >> (32 - PAIRS_BITS);
    for (;; at = (at + 1) & ((1u << PAIRS_BITS) - 1)) {
        if (!pairs[at][0]) return 0;
        if (pairs[at][0] == a && pairs[at][1] == b) return pairs[at][2];
    }
}

static inline uint32_t composite(uint32_t a, uint32_t b) {
    if (a - L_BASE < L_COUNT && b - V_BASE < V_COUNT) return S_BASE + ((a - L_BASE) * V_COUNT + (b - V_BASE)) * T_COUNT;
    if (a - S_BASE < L_COUNT * V_COUNT * T_COUNT && (a - S_BASE) % T_COUNT == 0 && b - T_BASE - 1 < T_COUNT - 1)
        return a + (b - T_BASE);
    return pair(a, b);
}

static int normalize(text *t) {
    decomposed d;
    if (decompose(t, &d)) return JID_TOO_LONG;
    for (size_t i = 0, from; i < d.n; i++) {
        for (from = i; i < d.n && d.class[i]; i++) {}
        if (i - from > 1) order(&d, from, i);
    }
    /* compose: `starter` is the last character of class 0 kept, `last` the class of the last one kept after it */
    uint32_t *starter = NULL, whole;
    unsigned last = 0;
    t->n = 0;
    t->seen = 0;
    for (size_t i = 0; i < d.n; i++) {
        uint32_t c = d.c[i];
        unsigned class = d.class[i];
        int adjacent = starter == t->c + t->n - 1;
        if (starter && (adjacent || last < class) && (whole = composite(*starter, c))) {
            *starter = whole;
            continue;
        }
        t->c[t->n] = c;
        if (!class) starter = t->c + t->n;
        last = class;
        t->n++;
    }
    for (size_t i = 0; i < t->n; i++) t->seen |= flags_of(t->c[i]);
    return JID_OK;
}
