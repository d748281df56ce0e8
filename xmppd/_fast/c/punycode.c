#include "punycode.h"

#include <string.h>

enum { BASE = 36, T_MIN = 1, T_MAX = 26, SKEW = 38, DAMP = 700, INITIAL_BIAS = 72, INITIAL_N = 0x80 };

static uint32_t adapt(uint32_t delta, uint32_t points, int first) {
    delta = first ? delta / DAMP : delta / 2;
    delta += delta / points;
    uint32_t k = 0;
    for (; delta > (BASE - T_MIN) * T_MAX / 2; k += BASE) delta /= BASE - T_MIN;
    return k + (BASE - T_MIN + 1) * delta / (delta + SKEW);
}

static inline uint32_t threshold(uint32_t k, uint32_t bias) {
    return k <= bias ? T_MIN : k >= bias + T_MAX ? T_MAX : k - bias;
}

/* No number here passes 2^27. */
size_t punycode_encode(const uint32_t *c, size_t n, uint8_t *out, size_t room) {
    size_t w = 0;
    for (size_t i = 0; i < n; i++)
        if (c[i] < 0x80) {
            if (w == room) return 0;
            out[w++] = (uint8_t)c[i];
        }
    size_t basic = w, done = w;
    if (basic) {
        if (w == room) return 0;
        out[w++] = '-';
    }
    uint32_t next = INITIAL_N, delta = 0, bias = INITIAL_BIAS;
    while (done < n) {
        uint32_t least = UINT32_MAX;
        for (size_t i = 0; i < n; i++)
            if (c[i] >= next && c[i] < least) least = c[i];
        delta += (least - next) * (uint32_t)(done + 1);
        next = least;
        for (size_t i = 0; i < n; i++) {
            if (c[i] < next) delta++;
            if (c[i] != next) continue;
            uint32_t q = delta;
            for (uint32_t k = BASE;; k += BASE) {
                uint32_t t = threshold(k, bias), digit = q < t ? q : t + (q - t) % (BASE - t);
                if (w == room) return 0;
                out[w++] = (uint8_t)(digit < 26 ? 'a' + digit : '0' + (digit - 26));
                if (q < t) break;
                q = (q - t) / (BASE - t);
            }
            bias = adapt(delta, (uint32_t)done + 1, done == basic);
            delta = 0;
            done++;
        }
        delta++;
        next++;
    }
    return w;
}

size_t punycode_decode(const uint32_t *c, size_t n, uint32_t *out) {
    size_t many = 0, i = 0;
    for (size_t at = n; at-- > 0;)
        if (c[at] == '-') {
            for (; many < at; many++) out[many] = c[many];
            i = at + 1;
            break;
        }
    uint32_t next = INITIAL_N, bias = INITIAL_BIAS;
    uint64_t position = 0;
    while (i < n) {
        uint64_t before = position, weight = 1;
        for (uint32_t k = BASE;; k += BASE) {
            if (i == n) return 0;
            uint32_t x = c[i++], digit = x >= 'a' && x <= 'z' ? x - 'a' : x >= '0' && x <= '9' ? x - '0' + 26 : BASE;
            if (digit == BASE) return 0;
            position += digit * weight;
            if (position > UINT32_MAX) return 0;
            uint32_t t = threshold(k, bias);
            if (digit < t) break;
            weight *= BASE - t;
            if (weight > UINT32_MAX) return 0;
        }
        bias = adapt((uint32_t)(position - before), (uint32_t)many + 1, before == 0);
        next += (uint32_t)(position / (many + 1));
        position %= many + 1;
        if (next > 0x10FFFF || (next >= 0xD800 && next < 0xE000)) return 0;
        memmove(out + position + 1, out + position, (many - position) * sizeof *out);
        out[position++] = next;
        many++;
    }
    return many;
}
