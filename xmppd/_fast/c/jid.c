#include "jid.h"

#include <arpa/inet.h>
#include <string.h>

#include "sprep_tables.h"
#include "utf8.h"

enum {
    LABEL_MAX = 63,    /* octets in ASCII form (RFC 1035 2.3.4) */
    DOMAIN_MAX = 253,  /* the 255 octets of the DNS without the first length and the root */
    ACE_PREFIX_LEN = 4 /* "xn--" (RFC 3490 5) */
};

/* ---- ASCII: one pass, three tables ---- */

int jid_ascii(const uint8_t *p, size_t n, uint8_t *out, jid_shape *shape) {
    if (n - 1 >= JID_MAX) return 0;
    size_t i = 0;
    uint8_t c;
    /* a domainpart without localpart meets the localpart's table first: it has all that the domainpart's has */
    while (i < n && (c = local_fold[p[i]])) out[i++] = c;
    size_t local_len = 0;
    if (i < n && p[i] == '@') {
        if (i - 1 >= JID_PART_MAX) return 0;
        local_len = i;
        out[i++] = '@';
    } else {
        i = 0;
    }

    size_t domain = i, label = i;
    for (; i < n; i++) {
        c = domain_fold[p[i]];
        out[i] = c;
        if (c >= '0') continue;
        if (c == '.') {
            if (i - label - 1 >= LABEL_MAX || out[i - 1] == '-') return 0;
            label = i + 1;
        } else if (c == '-') {
            if (i == label || (i - label == 3 && out[i - 1] == '-')) return 0; /* "xn--" may be there */
        } else if (p[i] == '/') {
            break;
        } else {
            return 0;
        }
    }
    if (i - label - 1 >= LABEL_MAX || out[i - 1] == '-' || i - domain > DOMAIN_MAX) return 0;
    if (out[label] <= '9') return 0; /* perhaps an IPv4 address */

    shape->local_len = (uint16_t)local_len;
    shape->domain_len = (uint16_t)(i - domain);
    shape->len = (uint16_t)n;
    shape->escape = shape->unassigned = 0;
    if (i == n) return 1;

    out[i++] = '/';
    if (n - i - 1 >= JID_PART_MAX) return 0;
    uint8_t seen = 0;
    for (; i < n; i++) {
        c = resource_class[p[i]];
        if (!c) return 0;
        seen |= c;
        out[i] = p[i];
    }
    shape->escape = seen >> 1;
    return 1;
}

/* ---- stringprep (RFC 3454), on code points ---- */

/* A result of JID_PART_MAX bytes has at most 3/2 as many code points when decomposed (gen_sprep.py sees to it):
 * what does not fit here is too long. */
#define ROOM (JID_PART_MAX * 3 / 2 + 1)

typedef struct {
    uint32_t c[ROOM];
    size_t n;
    unsigned seen; /* flags of all of them, or'ed */
} text;

typedef struct {
    unsigned prohibited;
    int fold; /* table B.2 too */
} profile;

static const profile NODEPREP = {SP_PROHIBITED | SP_CONTROL | SP_NODE, 1};
static const profile RESOURCEPREP = {SP_PROHIBITED | SP_CONTROL, 0};
static const profile NAMEPREP = {SP_PROHIBITED, 1};

static inline unsigned flags_of(uint32_t c) {
    return sp_flags_value[sp_flags_block[c >> 7] << 7 | (c & 127)];
}

static inline const uint32_t *fold_of(uint32_t c) { /* of a character with SP_FOLD */
    return sp_map + sp_fold_value[sp_fold_block[c >> 7] << 7 | (c & 127)];
}

/* The combining class, or SP_CCC_LIMIT + where in sp_map the decomposition is. */
static inline unsigned norm_of(uint32_t c) {
    return c < SP_NORM_END ? sp_norm_value[sp_norm_block[c >> 7] << 7 | (c & 127)] : 0;
}

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

/* ---- NFKC (UAX 15, Unicode 3.2) ---- */

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

static int nfkc(text *t) {
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

/* Map, normalize, prohibit, look at directions (RFC 3454 3 to 6). */
static int stringprep(const profile *with, const uint8_t *p, size_t n, text *t) {
    t->n = 0;
    t->seen = 0;
    for (size_t i = 0; i < n;) {
        uint32_t c = p[i];
        size_t length = c < 0x80 ? 1 : decode(p + i, n - i, &c);
        if (!length) return JID_BAD_UTF8;
        i += length;
        unsigned flags = flags_of(c);
        if (flags & (SP_NOTHING | SP_FOLD)) {
            if (flags & SP_NOTHING) continue;
            if (with->fold) {
                const uint32_t *to = fold_of(c);
                for (uint32_t k = 0, many = *to >> 24; k < many; k++) {
                    if (t->n == ROOM) return JID_TOO_LONG;
                    t->c[t->n] = to[k] & 0xFFFFFF;
                    t->seen |= flags_of(t->c[t->n++]);
                }
                continue;
            }
        }
        if (t->n == ROOM) return JID_TOO_LONG;
        t->c[t->n++] = c;
        t->seen |= flags;
    }
    if (t->seen & SP_NORM && nfkc(t)) return JID_TOO_LONG;
    if (t->seen & with->prohibited) return JID_PROHIBITED;
    if (t->seen & SP_RANDAL
        && (t->seen & SP_L || !(flags_of(t->c[0]) & SP_RANDAL) || !(flags_of(t->c[t->n - 1]) & SP_RANDAL)))
        return JID_BIDI;
    return JID_OK;
}

/* ---- localpart and resourcepart ---- */

static int part(const profile *with, const uint8_t *p, size_t n, uint8_t *out, size_t *out_len, uint8_t *unassigned) {
    if (n > JID_RAW_MAX) return JID_TOO_LONG;
    text t;
    int fault = stringprep(with, p, n, &t);
    if (fault) return fault;
    if (!t.n) return JID_EMPTY;
    *out_len = encode(t.c, t.n, out, JID_PART_MAX);
    *unassigned = (t.seen & SP_UNASSIGNED) != 0;
    return *out_len > JID_PART_MAX ? JID_TOO_LONG : JID_OK;
}

int jid_prepare_local(const uint8_t *p, size_t n, uint8_t *out, size_t *out_len, uint8_t *unassigned) {
    int fault = part(&NODEPREP, p, n, out, out_len, unassigned);
    return fault ? fault | JID_LOCAL : JID_OK;
}

int jid_prepare_resource(const uint8_t *p, size_t n, uint8_t *out, size_t *out_len, uint8_t *unassigned) {
    int fault = part(&RESOURCEPREP, p, n, out, out_len, unassigned);
    return fault ? fault | JID_RESOURCE : JID_OK;
}

/* ---- domainpart: IDNA2003 (RFC 3490), Punycode (RFC 3492) ---- */

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

/* Encode at most LABEL_MAX code points; the length, or 0 if it is over `room`. No number here passes 2^27. */
static size_t punycode_encode(const uint32_t *c, size_t n, uint8_t *out, size_t room) {
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

/* Decode lower-case letters, digits and hyphens, at most LABEL_MAX of them; the count of code points, or 0. */
static size_t punycode_decode(const uint32_t *c, size_t n, uint32_t *out) {
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

static inline int is_ace(const uint32_t *c, size_t n) {
    return n >= ACE_PREFIX_LEN && c[0] == 'x' && c[1] == 'n' && c[2] == '-' && c[3] == '-';
}

/* UseSTD3ASCIIRules (RFC 3490 4.1 step 3), after folding. */
static int is_std3(const uint32_t *c, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (c[i] < 0x80 && (c[i] == '.' || !domain_fold[c[i]])) return 0;
    return n && c[0] != '-' && c[n - 1] != '-';
}

/* ToUnicode of the ACE label t, in place. Left alone where the RFC leaves it alone, or where U+3002 would come out. */
static void to_unicode(text *t) {
    uint32_t c[LABEL_MAX];
    size_t n = punycode_decode(t->c + ACE_PREFIX_LEN, t->n - ACE_PREFIX_LEN, c);
    for (size_t i = 0; i < n; i++)
        if (c[i] == 0x3002) return;

    uint8_t bytes[4 * LABEL_MAX], ascii[LABEL_MAX];
    text back;
    if (stringprep(&NAMEPREP, bytes, encode(c, n, bytes, sizeof bytes), &back)) return;
    if (back.n != n || memcmp(back.c, c, n * sizeof *c) || !is_std3(c, n) || is_ace(c, n)) return;
    size_t length = punycode_encode(c, n, ascii, sizeof ascii);
    if (length != t->n - ACE_PREFIX_LEN) return;
    for (size_t i = 0; i < length; i++)
        if (ascii[i] != t->c[ACE_PREFIX_LEN + i]) return;
    memcpy(t->c, c, n * sizeof *c);
    t->n = n;
    t->seen |= back.seen;
}

/* Prepare a label; *ascii_len is the length of its ToASCII form. */
static int label(const uint8_t *p, size_t n, text *t, size_t *ascii_len) {
    int fault = stringprep(&NAMEPREP, p, n, t);
    if (fault) return fault;
    if (!is_std3(t->c, t->n)) return JID_LABEL;
    if (t->n > LABEL_MAX) return JID_LABEL_LONG;
    int ascii = 1;
    for (size_t i = 0; i < t->n; i++) ascii &= t->c[i] < 0x80;
    if (ascii) {
        *ascii_len = t->n;
        if (is_ace(t->c, t->n)) to_unicode(t);
        return JID_OK;
    }
    if (is_ace(t->c, t->n)) return JID_LABEL;
    uint8_t out[LABEL_MAX - ACE_PREFIX_LEN];
    size_t length = punycode_encode(t->c, t->n, out, sizeof out);
    *ascii_len = ACE_PREFIX_LEN + length;
    return length ? JID_OK : JID_LABEL_LONG;
}

/* Length of the label separator p begins with (RFC 3490 3.1), or 0. */
static inline size_t separator(const uint8_t *p, size_t n) {
    if (*p == '.') return 1;
    if (n < 3 || *p < 0xE3) return 0;
    return !memcmp(p, "\xE3\x80\x82", 3) || !memcmp(p, "\xEF\xBC\x8E", 3) || !memcmp(p, "\xEF\xBD\xA1", 3) ? 3 : 0;
}

static int ipv6(const uint8_t *p, size_t n, uint8_t *out, size_t *out_len) {
    char name[INET6_ADDRSTRLEN];
    struct in6_addr address;
    if (n < 4 || p[n - 1] != ']' || n - 2 >= sizeof name) return JID_IP;
    memcpy(name, p + 1, n - 2);
    name[n - 2] = 0;
    if (strlen(name) != n - 2 || inet_pton(AF_INET6, name, &address) != 1) return JID_IP;
    if (!inet_ntop(AF_INET6, &address, name, sizeof name)) return JID_IP;
    size_t length = strlen(name);
    out[0] = '[';
    memcpy(out + 1, name, length);
    out[length + 1] = ']';
    *out_len = length + 2;
    return JID_OK;
}

static int is_ipv4(const uint8_t *p, size_t n) {
    char name[INET_ADDRSTRLEN];
    struct in_addr address;
    if (n >= sizeof name) return 0;
    memcpy(name, p, n);
    name[n] = 0;
    return inet_pton(AF_INET, name, &address) == 1;
}

static int domain(const uint8_t *p, size_t n, uint8_t *out, size_t *out_len, uint8_t *unassigned) {
    *unassigned = 0;
    if (n > JID_RAW_MAX) return JID_TOO_LONG;
    if (n && p[n - 1] == '.')
        n--;
    else if (n >= 3 && separator(p + n - 3, 3) == 3)
        n -= 3;
    if (!n) return JID_EMPTY;
    if (*p == '[') return ipv6(p, n, out, out_len);

    size_t w = 0, ascii_len = 0, last = 0;
    for (size_t from = 0;;) {
        size_t to = from, gap = 0, length;
        while (to < n && !(gap = separator(p + to, n - to))) to++;
        text t;
        int fault = label(p + from, to - from, &t, &length);
        if (fault) return fault;
        ascii_len += length;
        if (ascii_len > DOMAIN_MAX) return JID_LABEL_LONG;
        *unassigned |= (t.seen & SP_UNASSIGNED) != 0;
        last = w;
        w += encode(t.c, t.n, out + w, JID_PART_MAX - w);
        if (w > JID_PART_MAX) return JID_TOO_LONG;
        if (to == n) break;
        if (w == JID_PART_MAX) return JID_TOO_LONG;
        out[w++] = '.';
        ascii_len++;
        from = to + gap;
        if (from == n) return JID_LABEL; /* two separators at the end */
    }
    *out_len = w;
    while (last < w && out[last] >= '0' && out[last] <= '9') last++;
    return last == w && !is_ipv4(out, w) ? JID_IP : JID_OK;
}

int jid_prepare_domain(const uint8_t *p, size_t n, uint8_t *out, size_t *out_len, uint8_t *unassigned) {
    int fault = domain(p, n, out, out_len, unassigned);
    return fault ? fault | JID_DOMAIN : JID_OK;
}

/* ---- the whole address ---- */

int jid_prepare(const uint8_t *p, size_t n, uint8_t *out, jid_shape *shape) {
    if (n > JID_RAW_MAX) return JID_TOO_LONG;
    if (!n) return JID_EMPTY | JID_DOMAIN;
    /* the separators are found before anything is mapped onto them (RFC 6122 2.1) */
    const uint8_t *end = p + n, *slash = memchr(p, '/', n), *bare = slash ? slash : end;
    const uint8_t *at = memchr(p, '@', (size_t)(bare - p)), *from = at ? at + 1 : p;
    size_t w = 0, length;
    uint8_t unassigned;
    int fault;

    *shape = (jid_shape){0};
    if (at) {
        if ((fault = jid_prepare_local(p, (size_t)(at - p), out, &length, &unassigned))) return fault;
        shape->local_len = (uint16_t)length;
        shape->unassigned |= unassigned;
        w = length;
        out[w++] = '@';
    }
    if ((fault = jid_prepare_domain(from, (size_t)(bare - from), out + w, &length, &unassigned))) return fault;
    shape->domain_len = (uint16_t)length;
    shape->unassigned |= unassigned;
    w += length;
    if (slash) {
        out[w++] = '/';
        fault = jid_prepare_resource(slash + 1, (size_t)(end - slash - 1), out + w, &length, &unassigned);
        if (fault) return fault;
        shape->escape = jid_escaped_len(out + w, length) != length;
        shape->unassigned |= unassigned;
        w += length;
    }
    shape->len = (uint16_t)w;
    return JID_OK;
}

/* ---- as an attribute value ---- */

static const struct {
    uint8_t len;
    char text[7];
} REFERENCE[256] = {['&'] = {5, "&amp;"}, ['<'] = {4, "&lt;"}, ['>'] = {4, "&gt;"}, ['\''] = {6, "&apos;"}};

size_t jid_escaped_len(const uint8_t *p, size_t n) {
    size_t w = n;
    for (size_t i = 0; i < n; i++)
        if (REFERENCE[p[i]].len) w += REFERENCE[p[i]].len - 1u;
    return w;
}

void jid_escape(const uint8_t *p, size_t n, uint8_t *out) {
    for (size_t i = 0; i < n; i++) {
        size_t length = REFERENCE[p[i]].len;
        if (length) {
            memcpy(out, REFERENCE[p[i]].text, length);
            out += length;
        } else {
            *out++ = p[i];
        }
    }
}

/* ---- words ---- */

const char *jid_fault_text(int fault) {
    static const char *const TEXT[JID_FAULTS] = {
        [JID_OK] = "no fault",
        [JID_EMPTY] = "empty",
        [JID_TOO_LONG] = "too long",
        [JID_BAD_UTF8] = "not UTF-8",
        [JID_PROHIBITED] = "prohibited character",
        [JID_BIDI] = "left-to-right and right-to-left characters mixed",
        [JID_LABEL] = "label with other ASCII characters than letters, digits and inner hyphens, or empty",
        [JID_LABEL_LONG] = "over the length limits of the DNS",
        [JID_IP] = "not an IP address",
        [JID_UNASSIGNED] = "unassigned code point",
    };
    return TEXT[fault & 0xF];
}

const char *jid_fault_part(int fault) {
    static const char *const PART[4] = {"address", "localpart", "domainpart", "resourcepart"};
    return PART[fault >> 4 & 3];
}
