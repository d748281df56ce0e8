#include "precis.h"

#include <string.h>

#include "precis_tables.h"
#include "punycode.h"

static inline unsigned flags_of(uint32_t c) {
    return pr_flags_value[pr_flags_block[c >> 7] << 7 | (c & 127)];
}

static inline unsigned kind_of(uint32_t c) {
    return pr_kind_value[pr_kind_block[c >> 7] << 7 | (c & 127)];
}

static inline unsigned bidi_of(uint32_t c) {
    return kind_of(c) & 15;
}

/* The combining class, or SP_CCC_LIMIT + where in sp_map the decomposition is. */
static inline unsigned norm_of(uint32_t c) {
    return pr_norm_value[pr_norm_block[c >> 7] << 7 | (c & 127)];
}

#include "codepoints.h" /* on the tables and functions above */

#define VIRAMA 9u /* combining class */

static int load(const uint8_t *p, size_t n, text *t) {
    t->n = 0;
    t->seen = 0;
    for (size_t i = 0; i < n;) {
        uint32_t c = p[i];
        size_t length = c < 0x80 ? 1 : decode(p + i, n - i, &c);
        if (!length) return JID_BAD_UTF8;
        i += length;
        if (t->n == ROOM) return JID_TOO_LONG;
        t->c[t->n++] = c;
        t->seen |= flags_of(c);
    }
    return JID_OK;
}

static void look(text *t) {
    t->seen = 0;
    for (size_t i = 0; i < t->n; i++) t->seen |= flags_of(t->c[i]);
}

/* ---- contextual rules (RFC 5892 appendix A) ---- */

static int joins(const text *t, size_t at) { /* A.1 */
    if (at && norm_of(t->c[at - 1]) == VIRAMA) return 1;
    size_t i = at, k = at + 1;
    while (i && kind_of(t->c[i - 1]) & PR_TRANSPARENT) i--;
    while (k < t->n && kind_of(t->c[k]) & PR_TRANSPARENT) k++;
    return i && kind_of(t->c[i - 1]) & PR_JOINS_BOTH && k < t->n
        && kind_of(t->c[k]) & (PR_JOINS_BOTH | PR_JOINS_BEFORE);
}

static inline int is_arabic_digit(uint32_t c) {
    return c - 0x660 < 10;
}

static inline int is_extended_digit(uint32_t c) {
    return c - 0x6F0 < 10;
}

static int in_context(const text *t) {
    unsigned kinds = 0;
    int arabic = 0, extended = 0;
    for (size_t i = 0; i < t->n; i++) {
        kinds |= kind_of(t->c[i]);
        arabic |= is_arabic_digit(t->c[i]);
        extended |= is_extended_digit(t->c[i]);
    }
    if (arabic && extended) return 0; /* A.8, A.9 */
    for (size_t i = 0; i < t->n; i++) {
        uint32_t c = t->c[i], before = i ? t->c[i - 1] : 0, after = i + 1 < t->n ? t->c[i + 1] : 0;
        if (!(flags_of(c) & PR_CONTEXT)) continue;
        switch (c) {
        case 0x200C:
            if (!joins(t, i)) return 0;
            break;
        case 0x200D: /* A.2 */
            if (!i || norm_of(before) != VIRAMA) return 0;
            break;
        case 0xB7: /* A.3 */
            if (before != 'l' || after != 'l') return 0;
            break;
        case 0x375: /* A.4 */
            if (!(kind_of(after) & PR_GREEK)) return 0;
            break;
        case 0x5F3: /* A.5, A.6 */
        case 0x5F4:
            if (!(kind_of(before) & PR_HEBREW)) return 0;
            break;
        case 0x30FB: /* A.7 */
            if (!(kinds & PR_KANA_HAN)) return 0;
            break;
        default: /* digits */
            break;
        }
    }
    return 1;
}

/* ---- the Bidi rule (RFC 5893 2), for what has right-to-left characters ---- */

#define CLASS(name) (1u << BIDI_##name)

static int is_directed(const text *t) {
    static const unsigned ALWAYS = CLASS(EN) | CLASS(ES) | CLASS(CS) | CLASS(ET) | CLASS(ON) | CLASS(BN) | CLASS(NSM);
    unsigned seen = 0, first = 1u << bidi_of(t->c[0]);
    size_t end = t->n;
    for (size_t i = 0; i < t->n; i++) seen |= 1u << bidi_of(t->c[i]);
    while (end && bidi_of(t->c[end - 1]) == BIDI_NSM) end--;
    unsigned last = end ? 1u << bidi_of(t->c[end - 1]) : 0;
    if (first == CLASS(L)) return !(seen & ~(ALWAYS | CLASS(L))) && last & (CLASS(L) | CLASS(EN));
    if (!(first & (CLASS(R) | CLASS(AL)))) return 0;
    if (seen & ~(ALWAYS | CLASS(R) | CLASS(AL) | CLASS(AN))) return 0;
    if (seen & CLASS(EN) && seen & CLASS(AN)) return 0;
    return (last & (CLASS(R) | CLASS(AL) | CLASS(EN) | CLASS(AN))) != 0;
}

/* ---- mappings ---- */

static void widen(text *t) { /* fullwidth and halfwidth: one character for one */
    if (!(t->seen & PR_WIDTH)) return;
    for (size_t i = 0; i < t->n; i++)
        if (flags_of(t->c[i]) & PR_WIDTH)
            t->c[i] = sp_map[pr_width_value[pr_width_block[t->c[i] >> 7] << 7 | (t->c[i] & 127)]] & 0xFFFFFF;
    look(t);
}

static int is_final_sigma(const text *t, size_t at) { /* Final_Sigma of SpecialCasing.txt */
    size_t i = at, k = at + 1;
    while (i && flags_of(t->c[i - 1]) & PR_CASE_IGNORABLE) i--;
    while (k < t->n && flags_of(t->c[k]) & PR_CASE_IGNORABLE) k++;
    return i && flags_of(t->c[i - 1]) & PR_CASED && !(k < t->n && flags_of(t->c[k]) & PR_CASED);
}

/* In a domain no context counts (RFC 5895 2.1), and what may stand there stays: Cherokee, which folds to its capitals. */
static int lower(text *t, int in_domain) {
    if (!(t->seen & PR_LOWER)) return JID_OK;
    text from = *t;
    t->n = 0;
    for (size_t i = 0; i < from.n; i++) {
        uint32_t c = from.c[i], one = 1u << 24 | c;
        const uint32_t *to = &one;
        if (flags_of(c) & PR_LOWER && !(in_domain && !(flags_of(c) & PR_NOT_DNS)))
            to = sp_map + pr_lower_value[pr_lower_block[c >> 7] << 7 | (c & 127)];
        if (c == 0x3A3 && !in_domain && is_final_sigma(&from, i)) one = 1u << 24 | 0x3C2, to = &one;
        for (uint32_t k = 0, many = *to >> 24; k < many; k++) {
            if (t->n == ROOM) return JID_TOO_LONG;
            t->c[t->n++] = to[k] & 0xFFFFFF;
        }
    }
    look(t);
    return JID_OK;
}

/* ---- the two profiles of RFC 8265 ---- */

typedef int profile(text *t); /* one application; 0, or a fault */

static int username(text *t) { /* UsernameCaseMapped (3.3), with RFC 7622 3.3.1 */
    widen(t);
    if (t->seen & PR_NOT_LOCAL || (t->seen & PR_CONTEXT && !in_context(t))) return JID_PROHIBITED;
    if (lower(t, 0) || (t->seen & PR_NORM && normalize(t))) return JID_TOO_LONG;
    return t->seen & PR_RTL && !is_directed(t) ? JID_BIDI : JID_OK;
}

static int opaque(text *t) { /* OpaqueString (4.2) */
    if (t->seen & PR_NOT_FREE || (t->seen & PR_CONTEXT && !in_context(t))) return JID_PROHIBITED;
    if (t->seen & PR_SPACE)
        for (size_t i = 0; i < t->n; i++)
            if (flags_of(t->c[i]) & PR_SPACE) t->c[i] = ' ';
    return t->seen & PR_NORM && normalize(t) ? JID_TOO_LONG : JID_OK;
}

/* Until it stays the same: after the first time three times more (RFC 8264 7). */
static int enforce(profile *apply, const uint8_t *p, size_t n, uint8_t *out, size_t *out_len) {
    if (n > JID_RAW_MAX) return JID_TOO_LONG;
    text t, before;
    int fault = load(p, n, &t);
    if (fault) return fault;
    if (!t.n) return JID_EMPTY;
    for (int times = 0;; times++) {
        before.n = t.n;
        memcpy(before.c, t.c, t.n * sizeof *t.c);
        if ((fault = apply(&t))) return fault;
        look(&t);
        if (t.n == before.n && !memcmp(t.c, before.c, t.n * sizeof *t.c)) break;
        if (times == 3) return JID_PROHIBITED;
    }
    *out_len = encode(t.c, t.n, out, JID_PART_MAX);
    return *out_len > JID_PART_MAX ? JID_TOO_LONG : JID_OK;
}

int precis_prepare_local(const uint8_t *p, size_t n, uint8_t *out, size_t *out_len, uint8_t *unassigned) {
    *unassigned = 0;
    int fault = enforce(username, p, n, out, out_len);
    return fault ? fault | JID_LOCAL : JID_OK;
}

int precis_prepare_resource(const uint8_t *p, size_t n, uint8_t *out, size_t *out_len, uint8_t *unassigned) {
    *unassigned = 0;
    int fault = enforce(opaque, p, n, out, out_len);
    return fault ? fault | JID_RESOURCE : JID_OK;
}

/* ---- domain labels: IDNA2008 ---- */

static int is_ascii(const text *t) {
    for (size_t i = 0; i < t->n; i++)
        if (t->c[i] >= 0x80) return 0;
    return 1;
}

static int has_reserved_hyphens(const text *t) { /* in the third and fourth place (RFC 5891 4.2.3.1) */
    return t->n >= 4 && t->c[2] == '-' && t->c[3] == '-';
}

/* Whether a mapped and normalized label may stand in a domain (RFC 5891 4.2.3). */
static int check(const text *t) {
    if (!t->n || t->c[0] == '-' || t->c[t->n - 1] == '-' || has_reserved_hyphens(t)) return JID_LABEL;
    for (size_t i = 0; i < t->n; i++)
        if (t->c[i] < 0x80 && flags_of(t->c[i]) & PR_NOT_DNS) return JID_LABEL;
    if (flags_of(t->c[0]) & PR_MARK || t->seen & PR_NOT_DNS) return JID_PROHIBITED;
    if (t->seen & PR_CONTEXT && !in_context(t)) return JID_PROHIBITED;
    return t->seen & PR_RTL && !is_directed(t) ? JID_BIDI : JID_OK;
}

/* The U-label of the A-label t, in place; it must be the one that makes that A-label (RFC 5891 5.4). */
static int from_a_label(text *t) {
    uint32_t c[LABEL_MAX];
    uint8_t ascii[LABEL_MAX];
    text u;
    size_t n = punycode_decode(t->c + ACE_PREFIX_LEN, t->n - ACE_PREFIX_LEN, c);
    if (!n) return JID_LABEL;
    memcpy(u.c, c, n * sizeof *c);
    u.n = n;
    look(&u);
    size_t length = punycode_encode(c, n, ascii, sizeof ascii);
    if (is_ascii(&u) || length != t->n - ACE_PREFIX_LEN) return JID_LABEL;
    for (size_t i = 0; i < length; i++)
        if (ascii[i] != t->c[ACE_PREFIX_LEN + i]) return JID_LABEL;
    if (u.seen & PR_NORM && (normalize(&u) || u.n != n || memcmp(u.c, c, n * sizeof *c))) return JID_LABEL;
    *t = u;
    return check(t);
}

static int label(const uint8_t *p, size_t n, uint8_t *out, size_t room, size_t *out_len, size_t *ascii_len,
                 uint8_t *unassigned) {
    (void)unassigned;
    uint8_t ascii[LABEL_MAX - ACE_PREFIX_LEN];
    text t;
    int fault = load(p, n, &t);
    if (fault) return fault;
    widen(&t);
    if (lower(&t, 1) || (t.seen & PR_NORM && normalize(&t))) return JID_LABEL_LONG;
    if (t.n > LABEL_MAX) return JID_LABEL_LONG;
    if (is_ascii(&t) && has_reserved_hyphens(&t) && t.c[0] == 'x' && t.c[1] == 'n') {
        *ascii_len = t.n;
        fault = from_a_label(&t);
    } else if (!(fault = check(&t))) {
        *ascii_len = t.n;
        if (!is_ascii(&t)) {
            size_t length = punycode_encode(t.c, t.n, ascii, sizeof ascii);
            *ascii_len = ACE_PREFIX_LEN + length;
            if (!length) return JID_LABEL_LONG;
        }
    }
    if (fault) return fault;
    *out_len = encode(t.c, t.n, out, room);
    return JID_OK;
}

int precis_prepare_domain(const uint8_t *p, size_t n, uint8_t *out, size_t *out_len, uint8_t *unassigned) {
    int fault = jid_domain(label, p, n, out, out_len, unassigned);
    return fault ? fault | JID_DOMAIN : JID_OK;
}

const jid_rules JID_RFC7622 = {precis_prepare_local, precis_prepare_domain, precis_prepare_resource};
