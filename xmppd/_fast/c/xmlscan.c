/* The XML stream tokenizer; see xmlscan.h for the interface and the padding it relies on.
 *
 * Rules that keep the result independent of chunking:
 *  - nothing behind the valid prefix (utf8.h) is looked at; what is unfinished there waits;
 *  - an unfinished tag or reference is forgotten and read again from its first byte when more has come;
 *  - an error is a function of the bytes up to the one that shows it, and where two limits were passed before
 *    that byte, the one passed first wins (`over`).
 */
#include "xmlscan.h"

#include <string.h>

#include "nstable.h"
#include "utf8.h"

#if defined(__SSSE3__)
#include <tmmintrin.h>
#define SIMD 1
#endif

#define ALWAYS_INLINE inline __attribute__((always_inline))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

typedef const uint8_t *ptr;

enum { START, PROLOG, OPEN, CLOSED, FAILED };      /* xs_conn.phase */
enum { IN_HEADER, IN_STANZA, IN_CONTENT };         /* where a start tag stands */

/* Verdicts of the functions that read one construct; an error is its XS_E_ number. */
enum { WAIT = -1, DONE = 0, EMPTY_TAG = -2 };

/* ---- characters ---- */

enum { C_NAME = 1, C_START = 2, C_SPACE = 4 };

/* Bytes above 0x7F pass as name bytes here; `name_is_xml` looks at the characters afterwards. */
#define N C_NAME
#define S (C_NAME | C_START)
#define W C_SPACE
static const uint8_t cls[256] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, W, W, 0, 0, W, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    W, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, N, N, 0, N, N, N, N, N, N, N, N, N, N, 0, 0, 0, 0, 0, 0,
    0, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, 0, 0, 0, 0, S,
    0, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, 0, 0, 0, 0, 0,
    S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S,
    S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S,
    S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S,
    S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S,
};
#undef N
#undef S
#undef W

/* XML 1.0, fifth edition, [4] and [4a]: the characters from U+0080 on that names may hold. */
static const struct { uint32_t first, last; uint8_t start; } name_ranges[] = {
    {0xB7, 0xB7, 0},       {0xC0, 0xD6, 1},       {0xD8, 0xF6, 1},       {0xF8, 0x2FF, 1},
    {0x300, 0x36F, 0},     {0x370, 0x37D, 1},     {0x37F, 0x1FFF, 1},    {0x200C, 0x200D, 1},
    {0x203F, 0x2040, 0},   {0x2070, 0x218F, 1},   {0x2C00, 0x2FEF, 1},   {0x3001, 0xD7FF, 1},
    {0xF900, 0xFDCF, 1},   {0xFDF0, 0xFFFD, 1},   {0x10000, 0xEFFFF, 1},
};

static int name_char(uint32_t c, int start) {
    for (size_t i = 0; i < sizeof name_ranges / sizeof *name_ranges; i++)
        if (c <= name_ranges[i].last) return c >= name_ranges[i].first && (!start || name_ranges[i].start);
    return 0;
}

/* Are the non-ASCII characters of the name p..end allowed where they stand? */
static int name_is_xml(ptr p, ptr end) {
    int start = 1;
    while (p < end) {
        unsigned len = 1;
        if (*p >= 0x80) {
            if (!name_char(utf8_decode(p, &len), start)) return 0;
            start = 0;
        } else {
            start = *p == ':';
        }
        p += len;
    }
    return 1;
}

static ALWAYS_INLINE uint64_t load64(ptr p) {
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

/* The bytes p..p+n in a word, n up to 8; the rest is zero. Reads eight bytes. */
static ALWAYS_INLINE uint64_t word(ptr p, size_t n) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return n >= 8 ? load64(p) : load64(p) & ((UINT64_C(1) << (n * 8)) - 1);
#else
    uint64_t v = 0;
    for (size_t i = 0; i < (n < 8 ? n : 8); i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
#endif
}

#define B(c, i) ((uint64_t)(uint8_t)(c) << (8 * (i)))
#define W2(a, b) (B(a, 0) | B(b, 1))
#define W3(a, b, c) (W2(a, b) | B(c, 2))
#define W4(a, b, c, d) (W3(a, b, c) | B(d, 3))
#define W5(a, b, c, d, e) (W4(a, b, c, d) | B(e, 4))
#define W6(a, b, c, d, e, f) (W5(a, b, c, d, e) | B(f, 5))
#define W7(a, b, c, d, e, f, g) (W6(a, b, c, d, e, f) | B(g, 6))
#define W8(a, b, c, d, e, f, g, h) (W7(a, b, c, d, e, f, g) | B(h, 7))

/* Are p and q equal for n bytes? May read up to seven bytes behind both. */
static ALWAYS_INLINE int same(ptr p, ptr q, size_t n) {
    while (n > 8) {
        if (load64(p) != load64(q)) return 0;
        p += 8, q += 8, n -= 8;
    }
    return word(p, n) == word(q, n);
}

/* ---- scanning: to the next byte that matters; the NUL behind the input always does ---- */

#if SIMD
/* `table` holds each wanted byte at the index of its low nibble: one shuffle and one compare find them all. */
static ALWAYS_INLINE ptr scan(ptr p, __m128i table) {
    for (;;) {
        __m128i v = _mm_loadu_si128((const __m128i *)p);
        unsigned hit = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_shuffle_epi8(table, v), v));
        if (hit) return p + __builtin_ctz(hit);
        p += 16;
    }
}

/* '<', '&', '>', NUL */
static ALWAYS_INLINE ptr scan_text(ptr p) {
    return scan(p, _mm_setr_epi8(0, 0, 0, 0, 0, 0, '&', 0, 0, 0, 0, 0, '<', 0, '>', 0));
}

/* the quote, '<', '&', TAB, LF, CR, NUL */
static ALWAYS_INLINE ptr scan_value(ptr p, uint8_t quote) {
    return scan(p, quote == '\'' ? _mm_setr_epi8(0, 0, 0, 0, 0, 0, '&', '\'', 0, 9, 10, 0, '<', 13, 0, 0)
                                 : _mm_setr_epi8(0, 0, '"', 0, 0, 0, '&', 0, 0, 9, 10, 0, '<', 13, 0, 0));
}

/* '>', NUL */
static ALWAYS_INLINE ptr scan_cdata(ptr p) {
    return scan(p, _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '>', 0));
}
#else
static ptr scan_text(ptr p) {
    while (*p != '<' && *p != '&' && *p != '>' && *p) p++;
    return p;
}
static ptr scan_value(ptr p, uint8_t quote) {
    while (*p != quote && *p != '<' && *p != '&' && *p >= 0x20) p++;
    return p;
}
static ptr scan_cdata(ptr p) {
    while (*p != '>' && *p) p++;
    return p;
}
#endif

static ALWAYS_INLINE ptr skip_space(ptr p) {
    while (cls[*p] & C_SPACE) p++;
    return p;
}

static int is_space(ptr p, ptr end) {
    return skip_space(p) >= end;
}

/* ---- names and references ---- */

typedef struct {
    ptr at;             /* first byte of the qualified name */
    uint32_t len;
    uint32_t prefix;    /* bytes before the colon, 0: none */
} xs_name;

/* A qualified name at *pp. DONE: *pp stands behind it. An error: *pp is the byte that shows it. */
static ALWAYS_INLINE int qname(const xs_conn *c, ptr *pp, xs_name *name) {
    ptr p = *pp;
    int verdict = DONE;
    uint8_t high = *p;
    name->at = p;
    name->prefix = 0;
    if (unlikely(!(cls[*p] & C_START))) return *p ? XS_E_NAME : WAIT;
    for (p++; cls[*p] & C_NAME; p++) high |= *p;
    if (*p == ':') {
        name->prefix = (uint32_t)(p - name->at);
        p++;
        if (likely(cls[*p] & C_START)) {
            for (; cls[*p] & C_NAME; p++) high |= *p;
            if (unlikely(*p == ':')) verdict = XS_E_NAME;
        } else {
            verdict = XS_E_NAME;
        }
    }
    name->len = (uint32_t)(p - name->at);
    /* first, and while the name is unfinished too: so the work on one name is bounded */
    if (unlikely(name->len > c->limits->name_bytes)) return *pp = name->at + c->limits->name_bytes, XS_E_NAME_BYTES;
    *pp = p;
    if (unlikely(!*p)) return WAIT;
    if (unlikely(high & 0x80) && !name_is_xml(name->at, p)) return XS_E_NAME;
    return verdict;
}

static int xml_char(uint32_t c) {
    return c < 0x20 ? c == 9 || c == 10 || c == 13
                    : c < 0xD800 || (c > 0xDFFF && c < 0xFFFE) || (c > 0xFFFF && c < 0x110000);
}

/* A reference at *pp, which is '&'. DONE: *pp stands behind the ';'. */
static int reference(const xs_conn *c, ptr *pp) {
    ptr start = *pp, p = start + 1;
    if (*p == '#') {
        uint32_t value = 0;
        int hex = p[1] == 'x';
        ptr digits = p + 1 + hex;
        for (p = digits;; p++) {
            uint32_t digit, lower = *p | 0x20u;
            if (*p >= '0' && *p <= '9') digit = *p - '0';
            else if (hex && lower >= 'a' && lower <= 'f') digit = lower - 'a' + 10;
            else break;
            if (p - digits >= 16) return *pp = p, XS_E_REFERENCE_BYTES;
            if (value < 0x110000) value = value * (hex ? 16 : 10) + digit;
        }
        *pp = p;
        if (*p == ';' && p > digits && xml_char(value)) return *pp = p + 1, DONE;
        return *p ? XS_E_REFERENCE : WAIT;
    }
    if (!(cls[*p] & C_START)) return *pp = p, *p ? XS_E_REFERENCE : WAIT;
    do p++; while (cls[*p] & C_NAME); /* no colon: Namespaces in XML, 7 */
    size_t len = (size_t)(p - start - 1);
    if (len > c->limits->name_bytes) return *pp = start + 1 + c->limits->name_bytes, XS_E_NAME_BYTES;
    *pp = p;
    if (*p != ';') return *p ? XS_E_REFERENCE : WAIT;
    switch (word(start + 1, len)) { /* longer than 8: the word of its first eight bytes is none of these */
    case W2('l', 't'):
    case W2('g', 't'):
    case W3('a', 'm', 'p'):
    case W4('a', 'p', 'o', 's'):
    case W4('q', 'u', 'o', 't'):
        *pp = p + 1;
        return DONE;
    }
    return XS_E_RESTRICTED;
}

/* The next character of an attribute value that has been passed, or byte of one, into out[4]; how many bytes it is.
 * A reference is what it stands for, white space a space (XML 1.0, 3.3.3). */
static size_t value_bytes(ptr *pp, ptr end, uint8_t *out) {
    ptr p = *pp;
    uint32_t value = *p++;
    if (value == '&') {
        value = *p == 'l' ? '<' : *p == 'g' ? '>' : *p == 'q' ? '"' : p[1] == 'm' ? '&' : '\'';
        if (*p == '#') {
            int hex = p[1] == 'x';
            for (value = 0, p += 1 + hex; *p != ';'; p++)
                value = value * (hex ? 16u : 10u) + (*p <= '9' ? *p - 48u : (*p | 0x20u) - 87u);
        }
        while (*p++ != ';') {}
        return *pp = p, utf8_encode(value, out);
    }
    if (value == '\r' && p < end && *p == '\n') p++;
    *out = cls[value] & C_SPACE ? ' ' : (uint8_t)value;
    return *pp = p, 1;
}

/* The value raw[n], decoded: at most as long as it was. */
static size_t value_text(ptr raw, size_t n, uint8_t *out) {
    uint8_t *o = out;
    for (ptr end = raw + n; raw < end;) o += value_bytes(&raw, end, o);
    return (size_t)(o - out);
}

/* Is text[n] the value raw[len], decoded? */
static int is_value(ptr text, size_t n, ptr raw, size_t len) {
    uint8_t bytes[4];
    for (ptr end = raw + len, text_end = text + n; raw < end;) {
        size_t k = value_bytes(&raw, end, bytes);
        if (k > (size_t)(text_end - text) || memcmp(text, bytes, k)) return 0;
        text += k, n -= k;
    }
    return n == 0;
}

/* ---- namespaces ---- */

#define XML_URI "http://www.w3.org/XML/1998/namespace"
#define XMLNS_URI "http://www.w3.org/2000/xmlns/"
#define LITERAL(s) (ptr)(s), sizeof(s) - 1

static ALWAYS_INLINE int is_literal(ptr p, size_t n, ptr literal, size_t len) {
    return n == len && memcmp(p, literal, len) == 0;
}

int xs_ns_id(const uint8_t *uri, size_t n) {
    if (n < 8) return 0;
    uint64_t mixed = (word(uri, 8) * 3 ^ word(uri + n - 8, 8)) + n;
    int id = ns_slots[mixed * NS_MULTIPLIER >> NS_SHIFT];
    return id && ns_names[id].len == n && memcmp(ns_names[id].uri, uri, n) == 0 ? id : 0;
}

const char *xs_ns_uri(int id) {
    return id > 0 && id <= NS_COUNT ? ns_names[id].uri : NULL;
}

/* A namespace a name is in: its id if that is known, and its raw name. */
typedef struct {
    ptr uri;
    uint16_t uri_len;
    uint16_t nsid;
    uint8_t outer;     /* 1 + index of the header's binding it came from */
    uint8_t in_head;   /* where `uri` is */
} xs_ns;

static ALWAYS_INLINE xs_ns bound(const xs_conn *c, ptr base, const xs_binding *b, unsigned outer) {
    uint8_t in_head = outer || b->in_head;
    return (xs_ns){(in_head ? c->head : base) + b->uri, b->uri_len, b->nsid, (uint8_t)outer, in_head};
}

/* The namespace bound to a prefix, innermost first; `nbind` bindings of the stanza are in scope. 0: none. */
static int resolve(const xs_conn *c, const xs_work *w, unsigned nbind, ptr base, ptr prefix, size_t len, xs_ns *ns) {
    for (unsigned i = nbind; i--;)
        if (w->bind[i].prefix_len == len && same(base + w->bind[i].prefix, prefix, len))
            return *ns = bound(c, base, &w->bind[i], 0), 1;
    for (unsigned i = c->nouter; i--;)
        if (c->outer[i].prefix_len == len && memcmp(c->head + c->outer[i].prefix, prefix, len) == 0)
            return *ns = bound(c, base, &c->outer[i], i + 1), 1;
    if (len == 3 && word(prefix, 3) == W3('x', 'm', 'l'))
        return *ns = (xs_ns){LITERAL(XML_URI), 0, 0, 0}, 1;
    return 0;
}

static ALWAYS_INLINE int same_ns(const xs_ns *a, const xs_ns *b) {
    return a->uri_len == b->uri_len && memcmp(a->uri, b->uri, a->uri_len) == 0;
}

/* May `name`, an xmlns attribute, have this value? (Namespaces in XML, 3) */
static int may_declare(const xs_name *name, ptr uri, size_t n) {
    int is_xml = is_literal(uri, n, LITERAL(XML_URI));
    if (is_literal(uri, n, LITERAL(XMLNS_URI))) return 0;
    if (!name->prefix) return !is_xml;
    ptr prefix = name->at + 6;
    size_t len = name->len - 6;
    if (is_literal(prefix, len, LITERAL("xmlns"))) return 0;
    return n && is_xml == is_literal(prefix, len, LITERAL("xml"));
}

/* ---- start tags ---- */

static int stanza_type(ptr p, size_t n) {
    switch (n > 8 ? 0 : word(p, n)) {
    case W4('c', 'h', 'a', 't'): return XS_TYPE_CHAT;
    case W6('n', 'o', 'r', 'm', 'a', 'l'): return XS_TYPE_NORMAL;
    case W8('h', 'e', 'a', 'd', 'l', 'i', 'n', 'e'): return XS_TYPE_HEADLINE;
    case W5('e', 'r', 'r', 'o', 'r'): return XS_TYPE_ERROR;
    case W3('g', 'e', 't'): return XS_TYPE_GET;
    case W3('s', 'e', 't'): return XS_TYPE_SET;
    case W6('r', 'e', 's', 'u', 'l', 't'): return XS_TYPE_RESULT;
    case W5('p', 'r', 'o', 'b', 'e'): return XS_TYPE_PROBE;
    }
    switch (n) {
    case 9:
        if (memcmp(p, "groupchat", n) == 0) return XS_TYPE_GROUPCHAT;
        if (memcmp(p, "subscribe", n) == 0) return XS_TYPE_SUBSCRIBE;
        break;
    case 10:
        if (memcmp(p, "subscribed", n) == 0) return XS_TYPE_SUBSCRIBED;
        break;
    case 11:
        if (memcmp(p, "unavailable", n) == 0) return XS_TYPE_UNAVAILABLE;
        if (memcmp(p, "unsubscribe", n) == 0) return XS_TYPE_UNSUBSCRIBE;
        break;
    case 12:
        if (memcmp(p, "unsubscribed", n) == 0) return XS_TYPE_UNSUBSCRIBED;
        break;
    }
    return XS_TYPE_OTHER;
}

/* The same for a value that holds references: nobody writes types so, but it is the same type. */
static int decoded_type(ptr p, size_t n) {
    uint8_t text[16 + 8] = {0};
    size_t len = 0;
    for (ptr end = p + n; p < end && len < 16;) len += value_bytes(&p, end, text + len);
    return stanza_type(text, len);
}

/* Which record an attribute of a stanza or header goes to; XS_ATS: none. `version` has the place of `type`. */
static ALWAYS_INLINE unsigned place(const xs_name *name, int where) {
    switch (name->len > 8 ? 0 : word(name->at, name->len)) {
    case W2('t', 'o'): return XS_AT_TO;
    case W4('f', 'r', 'o', 'm'): return XS_AT_FROM;
    case W2('i', 'd'): return XS_AT_ID;
    case W4('t', 'y', 'p', 'e'): return where == IN_STANZA ? XS_AT_TYPE : XS_ATS;
    case W7('v', 'e', 'r', 's', 'i', 'o', 'n'): return where == IN_HEADER ? XS_AT_TYPE : XS_ATS;
    case W8('x', 'm', 'l', ':', 'l', 'a', 'n', 'g'): return XS_AT_LANG;
    }
    return XS_ATS;
}

/* Is the expanded name of attr[i] that of an earlier one? Few tags have two prefixed attributes. */
static int duplicate_expanded(const xs_name *attr, const xs_ns *ns, const uint16_t *prefixed, unsigned n) {
    for (unsigned i = 1; i < n; i++) {
        const xs_name *a = &attr[prefixed[i]];
        for (unsigned j = 0; j < i; j++) {
            const xs_name *b = &attr[prefixed[j]];
            if (a->len - a->prefix == b->len - b->prefix && same_ns(&ns[i], &ns[j]) &&
                same(a->at + a->prefix, b->at + b->prefix, a->len - a->prefix))
                return 1;
        }
    }
    return 0;
}

static ALWAYS_INLINE void outer_used(xs_rec *r, const xs_ns *ns) {
    r->flags |= XS_OUTER_PREFIX;
    r->outer_used |= 1u << (ns->outer - 1);
}

/* The prefixes of a tag's attributes: all bound, no two attributes of one expanded name. */
static int check_prefixed(const xs_conn *c, xs_work *w, unsigned nbind, ptr base, const xs_name *attr,
                          const uint16_t *prefixed, unsigned n) {
    xs_ns ns[XS_ATTRIBUTES_MAX];
    for (unsigned i = 0; i < n; i++) {
        const xs_name *a = &attr[prefixed[i]];
        if (!resolve(c, w, nbind, base, a->at, a->prefix, &ns[i])) return XS_E_UNBOUND;
        if (ns[i].outer) outer_used(&w->rec, &ns[i]);
    }
    return n > 1 && duplicate_expanded(attr, ns, prefixed, n) ? XS_E_DUPLICATE : DONE;
}

/* First-level elements: is the namespace served, and does it have a stanza of that name? (RFC 6120 4.9.3.10, .24) */
static int classify(const xs_conn *c, xs_rec *r, ptr name) {
    r->kind = XS_KIND_OTHER;
    if (r->nsid == c->content_nsid) {
        switch (r->name_len > 8 ? 0 : word(name, r->name_len)) {
        case W7('m', 'e', 's', 's', 'a', 'g', 'e'): r->kind = XS_KIND_MESSAGE; break;
        case W8('p', 'r', 'e', 's', 'e', 'n', 'c', 'e'): r->kind = XS_KIND_PRESENCE; break;
        case W2('i', 'q'): r->kind = XS_KIND_IQ; break;
        default: return XS_E_UNKNOWN_STANZA;
        }
        return DONE;
    }
    if (r->nsid == NS_CLIENT || r->nsid == NS_SERVER) return XS_E_CONTENT_NS;
    return r->nsid && r->nsid <= NS_FIRST_LEVEL_LAST ? DONE : XS_E_UNKNOWN_STANZA;
}

/* The root element (RFC 6120 4.8, 4.9.3.1, 4.9.3.2, 4.9.3.10). */
static int check_root(const xs_conn *c, const xs_work *w, const xs_rec *r, ptr base, int empty) {
    int is_stream = is_literal(base + r->name, r->name_len, LITERAL("stream"));
    int dflt = 0;
    if (r->nsid != NS_STREAMS) {
        for (unsigned i = 0; is_stream && i < w->nbind; i++)
            if (w->bind[i].nsid == NS_STREAMS) return XS_E_ROOT_PREFIX;
        return XS_E_ROOT_NS;
    }
    if (!is_stream) return XS_E_ROOT_NAME;
    for (unsigned i = 0; i < w->nbind; i++)
        if (!w->bind[i].prefix_len && w->bind[i].uri_len) dflt = w->bind[i].nsid ? w->bind[i].nsid : -1;
    /* none, or the streams namespace itself: prefix-free canonicalization (RFC 6120 4.8.2) */
    if (dflt && dflt != NS_STREAMS && dflt != c->content_nsid) return XS_E_CONTENT_NS;
    return empty ? XS_E_ROOT_CLOSED : DONE;
}

typedef struct {
    xs_name name;
    ptr space;       /* the white space before it */
    ptr value;
    uint32_t len;    /* of the value */
    int decode;      /* the value holds references, TAB, LF or CR */
} xs_pair;

/* ` name='value'` from the name on. DONE: *pp stands behind the closing quote. */
static ALWAYS_INLINE int attribute_value(const xs_conn *c, ptr *pp, xs_pair *a, xs_rec *r) {
    ptr p = *pp;
    int verdict;
    if (unlikely(*p != '=')) {
        p = skip_space(p);
        if (*p != '=') return *pp = p, *p ? XS_E_SYNTAX : WAIT;
    }
    p++;
    uint8_t quote = *p;
    if (unlikely(quote != '\'' && quote != '"')) {
        p = skip_space(p);
        quote = *p;
        if (quote != '\'' && quote != '"') return *pp = p, *p ? XS_E_SYNTAX : WAIT;
    }
    a->value = ++p;
    a->decode = 0;
    for (;;) {
        p = scan_value(p, quote);
        if (likely(*p == quote)) break;
        if (*p == '&') {
            verdict = reference(c, &p);
            if (verdict) return *pp = p, verdict;
            r->flags |= XS_REFS;
        } else if (cls[*p] & C_SPACE) {
            p++;
        } else {
            return *pp = p, *p ? XS_E_VALUE : WAIT;
        }
        a->decode = 1;
    }
    a->len = (uint32_t)(p - a->value);
    *pp = p + 1;
    return DONE;
}

/* Is the name xmlns or xmlns:...? `first`: its first eight bytes. */
static ALWAYS_INLINE int is_declaration(const xs_name *name, uint64_t first) {
    const uint64_t xmlns = W5('x', 'm', 'l', 'n', 's');
    return first == xmlns || (name->prefix == 5 && (first & 0xFFFFFFFFFF) == xmlns);
}

/* Namespace names are compared as they are written. So that two ways to write one name are no two names, a binding
 * whose name, uri[n] when decoded, is in scope in another spelling gets that spelling, the first one's. */
static void one_spelling(const xs_conn *c, const xs_work *w, ptr base, xs_binding *b, ptr uri, size_t n) {
    for (unsigned i = 0; i < c->nouter + (unsigned)(b - w->bind); i++) {
        const xs_binding *other = i < c->nouter ? &c->outer[i] : &w->bind[i - c->nouter];
        xs_ns ns = bound(c, base, other, i < c->nouter);
        if (!(b->decode || other->decode) || !is_value(uri, n, ns.uri, ns.uri_len)) continue;
        b->uri = other->uri;
        b->uri_len = other->uri_len;
        b->decode = other->decode;
        b->in_head = ns.in_head;
        return;
    }
}

/* Put the namespace declaration `a`, of the name uri[n] when decoded, into w->bind[nbind]. */
static int bind(const xs_conn *c, xs_work *w, unsigned nbind, ptr base, const xs_pair *a, int where, ptr uri, size_t n) {
    if (!may_declare(&a->name, uri, n)) return XS_E_RESERVED;
    if (nbind + (where == IN_HEADER ? 0 : c->nouter) >= c->limits->bindings) return XS_E_BINDINGS;
    xs_binding *b = &w->bind[nbind];
    b->prefix = (uint32_t)(a->name.at + 6 - base);
    b->prefix_len = (uint16_t)(a->name.prefix ? a->name.len - 6 : 0);
    b->uri = (uint32_t)(a->value - base);
    b->uri_len = (uint16_t)a->len;
    b->decode = (uint8_t)a->decode;
    b->in_head = 0;
    /* deeper inside nobody asks for the number */
    b->nsid = where != IN_CONTENT || w->depth == 1 ? (uint16_t)xs_ns_id(uri, n) : 0;
    w->decode |= b->decode;
    if (unlikely(w->decode)) one_spelling(c, w, base, b, uri, n);
    return DONE;
}

static __attribute__((noinline)) int declare_decoded(const xs_conn *c, xs_work *w, unsigned nbind, ptr base,
                                                     const xs_pair *a, int where) {
    uint8_t text[XS_URI_MAX];
    return bind(c, w, nbind, base, a, where, text, value_text(a->value, a->len, text));
}

static int declare(const xs_conn *c, xs_work *w, unsigned nbind, ptr base, const xs_pair *a, int where) {
    if (a->len > c->limits->uri_bytes) return XS_E_URI_BYTES;
    if (unlikely(a->decode)) return declare_decoded(c, w, nbind, base, a, where);
    return bind(c, w, nbind, base, a, where, a->value, a->len);
}

static ALWAYS_INLINE uint16_t local_name(const xs_name *name) {
    return (uint16_t)(1 + (name->prefix ? name->prefix + 1 : 0));
}

/* The record of a direct child that has begun: start..end is its start tag. */
static ALWAYS_INLINE void child_record(const xs_conn *c, xs_rec *r, ptr base, ptr start, ptr end, const xs_name *name,
                                       const xs_ns *ns) {
    unsigned i = r->children++;
    if (i >= XS_CHILDREN) {
        r->flags |= XS_MANY_CHILDREN;
        return;
    }
    xs_child *k = &r->child[i];
    r->nchild = (uint8_t)(i + 1);
    k->start = (uint32_t)(start - base);
    k->inner = k->inner_end = k->end = (uint32_t)(end - base);
    k->uri = ns->nsid || !ns->uri ? 0 : (uint32_t)(ns->uri - (ns->in_head ? c->head : base));
    k->uri_len = ns->uri_len;
    k->nsid = ns->nsid;
    k->name = local_name(name);
    k->name_len = (uint16_t)(name->len - (k->name - 1));
    k->in_head = ns->in_head;
}

/* The record of the header or stanza whose start tag ends at `end`; its attributes are in place. */
static ALWAYS_INLINE int root_record(const xs_conn *c, xs_work *w, ptr base, ptr end, const xs_name *name, int nsid,
                                     int empty, int where) {
    xs_rec *r = &w->rec;
    const xs_attr *type = &r->at[XS_AT_TYPE];
    r->name = local_name(name);
    r->name_len = (uint16_t)(name->len - (r->name - 1));
    r->nsid = (uint16_t)nsid;
    r->tag_end = (uint32_t)(end - base);
    if (name->prefix) r->flags |= XS_OWN_PREFIX;
    if (where == IN_HEADER) return check_root(c, w, r, base, empty);
    if (type->at)
        r->type = (uint8_t)(r->decode & 1 << XS_AT_TYPE ? decoded_type(base + type->value, type->len)
                                                        : stanza_type(base + type->value, type->len));
    return classify(c, r, base + r->name);
}

/* A start tag at *pp, which is '<'. DONE or EMPTY_TAG: *pp stands behind the '>', and what the tag declares is in
 * w->bind, in scope (w->nbind) only if DONE. WAIT: nothing has happened. An error: *pp is the byte that shows it. */
static ALWAYS_INLINE int start_tag(const xs_conn *c, xs_work *w, ptr base, ptr *pp, const int where) {
    xs_rec *r = &w->rec;
    xs_name attr[XS_ATTRIBUTES_MAX + 1], name; /* one is read before it is found to be too many */
    uint16_t prefixed[XS_ATTRIBUTES_MAX];
    unsigned nattr = 0, nprefixed = 0, nbind = where == IN_CONTENT ? w->nbind : 0;
    unsigned dflt = where == IN_CONTENT ? w->dflt : 0;
    uint64_t seen = 0; /* a bit for each name, so that most need not be compared with the others */
    ptr start = *pp, p = start + 1;
    int empty = 0, verdict;

    verdict = qname(c, &p, &name);
    if (unlikely(verdict)) return *pp = p, verdict;

    for (;;) {
        xs_pair a;
        a.space = p;
        p = skip_space(p);
        if (*p == '>') {
            p++;
            break;
        }
        if (*p == '/') {
            if (unlikely(p[1] != '>')) return *pp = p + 1, p[1] ? XS_E_SYNTAX : WAIT;
            p += 2;
            empty = 1;
            break;
        }
        if (unlikely(p == a.space)) return *pp = p, *p ? XS_E_SYNTAX : WAIT;

        verdict = qname(c, &p, &attr[nattr]);
        if (unlikely(verdict)) return *pp = p, verdict;
        if (unlikely(nattr >= c->limits->attributes)) return *pp = p, XS_E_ATTRIBUTES;
        a.name = attr[nattr];
        uint64_t first = word(a.name.at, a.name.len);
        uint64_t bit = UINT64_C(1) << ((first + a.name.len) * UINT64_C(0x9E3779B97F4A7C15) >> 58);
        if (unlikely(seen & bit))
            for (unsigned i = 0; i < nattr; i++)
                if (attr[i].len == a.name.len && same(attr[i].at, a.name.at, a.name.len))
                    return *pp = p, XS_E_DUPLICATE;
        seen |= bit;
        nattr++;

        verdict = attribute_value(c, &p, &a, r);
        if (unlikely(verdict)) return *pp = p, verdict;

        unsigned at = XS_ATS;
        if (unlikely(is_declaration(&a.name, first))) {
            verdict = declare(c, w, nbind, base, &a, where);
            if (verdict) return *pp = p - 1, verdict;
            nbind++;
            if (!a.name.prefix) {
                dflt = nbind;
                at = XS_AT_XMLNS;
            }
            if (where != IN_CONTENT) r->flags |= XS_NSDECL;
        } else {
            if (a.name.prefix && !(a.name.prefix == 3 && (first & 0xFFFFFF) == W3('x', 'm', 'l')))
                prefixed[nprefixed++] = (uint16_t)(nattr - 1);
            if (where != IN_CONTENT) {
                at = place(&a.name, where);
                if (at == XS_ATS) r->flags |= XS_OTHER_ATTRS;
            }
        }
        if (where != IN_CONTENT && at != XS_ATS) {
            r->at[at] = (xs_attr){(uint32_t)(a.space - base), (uint32_t)(a.value - base), a.len};
            r->decode |= (uint8_t)(a.decode << at);
        }
    }

    /* all bytes seen: from here on the byte that shows an error is the '>' */
    *pp = p - 1;
    xs_ns ns = {0};
    if (name.prefix) {
        if (name.prefix == 5 && word(name.at, 5) == W5('x', 'm', 'l', 'n', 's')) return XS_E_RESERVED;
        if (!resolve(c, w, nbind, base, name.at, name.prefix, &ns)) return XS_E_UNBOUND;
        if (ns.outer) outer_used(r, &ns);
    } else if (where != IN_CONTENT || w->depth == 1) { /* deeper inside nobody asks */
        if (dflt) ns = bound(c, base, &w->bind[dflt - 1], 0);
        else if (where != IN_HEADER) ns.nsid = c->default_nsid; /* known, or none: see check_root */
    }
    if (unlikely(nprefixed) && (verdict = check_prefixed(c, w, nbind, base, attr, prefixed, nprefixed))) return verdict;

    if (where != IN_CONTENT) {
        if (where == IN_HEADER) w->nbind = (uint8_t)nbind;
        if ((verdict = root_record(c, w, base, p, &name, ns.nsid, empty, where))) return verdict;
    } else {
        if (unlikely(w->depth >= c->limits->depth)) return XS_E_DEPTH;
        if (w->depth == 1) {
            if (ns.nsid == c->content_nsid && (dflt != w->dflt || name.prefix)) r->flags |= XS_CONTENT_NS;
            child_record(c, r, base, start, p, &name, &ns);
        }
    }
    *pp = p;
    if (empty) return EMPTY_TAG;
    if (where != IN_HEADER) {
        unsigned d = w->depth++;
        w->open[d].name = (uint32_t)(start + 1 - base);
        w->open[d].name_len = (uint16_t)name.len;
        w->open[d].nbind = w->nbind;
        w->open[d].dflt = w->dflt;
        w->nbind = (uint8_t)nbind;
        w->dflt = (uint8_t)dflt;
    }
    return DONE;
}

static __attribute__((noinline)) int header_tag(const xs_conn *c, xs_work *w, ptr base, ptr *pp) {
    return start_tag(c, w, base, pp, IN_HEADER);
}

/* The end of an end tag whose name has been compared: white space and '>'. */
static ALWAYS_INLINE int end_of_tag(ptr *pp) {
    ptr p = *pp;
    if (unlikely(*p != '>')) {
        p = skip_space(p);
        if (*p != '>') return *pp = p, *p ? XS_E_MISMATCH : WAIT;
    }
    *pp = p + 1;
    return DONE;
}

/* The end tag at *pp, whose name must be name[len]. */
static ALWAYS_INLINE int end_tag(ptr *pp, ptr name, size_t len) {
    ptr p = *pp + 2;
    if (unlikely(!same(p, name, len))) {
        while (*p == *name) p++, name++;
        return *pp = p, *p ? XS_E_MISMATCH : WAIT;
    }
    *pp = p + len;
    return end_of_tag(pp);
}

/* What begins with "<!" or "<?" at p: nothing of it is allowed, but it must be called by its right name. */
static int forbidden(ptr *pp) {
    ptr p = *pp + 1;
    if (*p == '?') {
        p++;
        if (!(cls[*p] & C_START)) return *pp = p, *p ? XS_E_SYNTAX : WAIT;
        for (const char *target = "xml"; *target; target++, p++)
            if (*p != (uint8_t)*target) return *pp = p, *p ? XS_E_RESTRICTED : WAIT;
        *pp = p;
        return !*p ? WAIT : cls[*p] & C_NAME ? XS_E_RESTRICTED : XS_E_DECLARATION;
    }
    p++;
    if (*p == '-') p++;
    else if (*p >= 'A' && *p <= 'Z') return *pp = p, XS_E_RESTRICTED;
    else return *pp = p, *p ? XS_E_SYNTAX : WAIT;
    *pp = p;
    return *p == '-' ? XS_E_RESTRICTED : *p ? XS_E_SYNTAX : WAIT;
}

/* ---- XML declaration ---- */

/* The literal at *pp. */
static int expect(ptr *pp, const char *literal) {
    for (; *literal; literal++, ++*pp)
        if (**pp != (uint8_t)*literal) return **pp ? XS_E_SYNTAX : WAIT;
    return DONE;
}

/* Eq and a quoted literal; *value, *len without the quotes. */
static int quoted(ptr *pp, ptr *value, size_t *len) {
    ptr p = skip_space(*pp);
    if (*p != '=') return *pp = p, *p ? XS_E_SYNTAX : WAIT;
    p = skip_space(p + 1);
    uint8_t quote = *p;
    if (quote != '\'' && quote != '"') return *pp = p, *p ? XS_E_SYNTAX : WAIT;
    *value = ++p;
    while (cls[*p] & C_NAME && *p < 0x80) p++;
    *len = (size_t)(p - *value);
    *pp = p;
    if (*p != quote) return *p ? XS_E_SYNTAX : WAIT;
    *pp = p + 1;
    return DONE;
}

/* Some white space, then the pseudo-attribute `name` and its value; *there = 0 if it does not follow. */
static int pseudo(ptr *pp, const char *name, int *there, ptr *value, size_t *len) {
    ptr p = skip_space(*pp);
    int verdict;
    *there = 0;
    if (*p != (uint8_t)*name) return *p ? DONE : (*pp = p, WAIT);
    if (p == *pp) return XS_E_SYNTAX;
    *pp = p;
    if ((verdict = expect(pp, name))) return verdict;
    *there = 1;
    return quoted(pp, value, len);
}

static int is_utf8_label(ptr p, size_t n) {
    static const uint8_t label[] = "utf-8";
    for (size_t i = 0; i < 5; i++)
        if (n != 5 || (p[i] | 0x20) != (label[i] | 0x20)) return 0;
    return 1;
}

/* The XML declaration at *pp, of which "<?xml" and a white space character have been seen. */
static int xml_declaration(ptr *pp) {
    ptr value = NULL;
    size_t len = 0;
    int there, verdict;
    *pp += 5;
    if ((verdict = pseudo(pp, "version", &there, &value, &len))) return verdict;
    if (!there) return *pp = skip_space(*pp), XS_E_SYNTAX;
    if (!is_literal(value, len, LITERAL("1.0"))) return --*pp, XS_E_DECLARATION;
    if ((verdict = pseudo(pp, "encoding", &there, &value, &len))) return verdict;
    if (there && (len == 0 || !(cls[*value] & C_START) || *value == '_')) return --*pp, XS_E_SYNTAX;
    if (there && !is_utf8_label(value, len)) return --*pp, XS_E_DECLARED;
    /* no meaning without a DTD: read over (RFC 6120 11.5) */
    if ((verdict = pseudo(pp, "standalone", &there, &value, &len))) return verdict;
    if (there && !is_literal(value, len, LITERAL("yes")) && !is_literal(value, len, LITERAL("no")))
        return --*pp, XS_E_SYNTAX;
    *pp = skip_space(*pp);
    return expect(pp, "?>");
}

/* ---- the stream ---- */

/* The limit, if any, that was passed before byte `q` was reached; lt: start of the tag in progress, or NULL. */
static int over(const xs_conn *c, ptr base, ptr lt, ptr q) {
    uint64_t stanza = c->limits->stanza_bytes;
    uint64_t tag = lt ? (uint64_t)(lt - base) + c->limits->tag_bytes : UINT64_MAX;
    uint64_t used = (uint64_t)(q - base);
    if (used <= stanza && used <= tag) return 0;
    return tag < stanza ? XS_E_TAG_BYTES : XS_E_STANZA_BYTES;
}

/* The open CDATA section, from *pp on. DONE: *pp stands behind its end; WAIT: where to go on. */
static int cdata(xs_work *w, ptr base, ptr *pp) {
    ptr section = base + w->cdata;
    for (ptr p = *pp;; p++) {
        p = scan_cdata(p);
        if (!*p) return *pp = p - section < 2 ? section : p - 2, WAIT;
        if (p - section < 2 || p[-1] != ']' || p[-2] != ']') continue;
        if (w->depth == 1 && !is_space(section, p - 2)) w->rec.flags |= XS_HAS_TEXT;
        w->cdata = 0;
        return *pp = p + 1, DONE;
    }
}

/* The stanza of which w->depth elements are open, from *pp on. DONE: complete, *pp behind it. Otherwise *lt is the
 * tag in progress (NULL: none); WAIT: *pp is where to go on; an error: *pp is the byte that shows it. */
static int content(const xs_conn *c, xs_work *w, ptr base, ptr *pp, ptr *lt) {
    xs_rec *r = &w->rec;
    ptr p = *pp;
    int verdict;
    *lt = NULL;
    if (unlikely(w->cdata) && (verdict = cdata(w, base, &p))) return *pp = p, verdict;
    for (;;) {
        if (*p != '<') {
            ptr run = p;
            for (;;) {
                p = scan_text(p);
                if (likely(*p == '<')) break;
                if (*p == '>') {
                    if (p - run >= 2 && p[-1] == ']' && p[-2] == ']') return *pp = p, XS_E_CDATA_END;
                    p++;
                } else if (*p == '&') {
                    ptr amp = p;
                    verdict = reference(c, &p);
                    if (verdict) {
                        /* a reference is text in its own right, whatever it stands for */
                        if (verdict == WAIT && w->depth == 1 && !is_space(run, amp)) r->flags |= XS_HAS_TEXT;
                        return *pp = verdict == WAIT ? amp : p, verdict;
                    }
                    r->flags |= XS_REFS;
                    if (w->depth == 1) r->flags |= XS_HAS_TEXT;
                } else {
                    if (w->depth == 1 && !is_space(run, p)) r->flags |= XS_HAS_TEXT;
                    return *pp = p - run < 2 ? run : p - 2, WAIT;
                }
            }
            if (w->depth == 1 && !is_space(run, p)) r->flags |= XS_HAS_TEXT;
        }
        *lt = p;
        if (p[1] == '/') {
            unsigned d = w->depth - 1u;
            verdict = end_tag(&p, base + w->open[d].name, w->open[d].name_len);
            if (unlikely(verdict)) return *pp = verdict == WAIT ? *lt : p, verdict;
            if (unlikely((uint32_t)(p - *lt) > c->limits->tag_bytes)) return *pp = p - 1, XS_E_TAG_BYTES;
            w->nbind = w->open[d].nbind;
            w->dflt = w->open[d].dflt;
            w->depth = (uint16_t)d;
            if (d <= 1) {
                if (d == 0) {
                    r->inner_end = (uint32_t)(*lt - base);
                    return *pp = p, DONE;
                }
                if (r->children <= XS_CHILDREN) {
                    r->child[r->nchild - 1].inner_end = (uint32_t)(*lt - base);
                    r->child[r->nchild - 1].end = (uint32_t)(p - base);
                }
            }
        } else if (unlikely(p[1] == '!' && p[2] == '[')) {
            ptr open = p;
            verdict = expect(&p, "<![CDATA[");
            *lt = NULL;
            if (verdict) return *pp = verdict == WAIT ? open : p, verdict;
            w->cdata = (uint32_t)(p - base);
            r->flags |= XS_CDATA;
            if ((verdict = cdata(w, base, &p))) return *pp = p, verdict;
            continue;
        } else if (unlikely(p[1] == '!' || p[1] == '?')) {
            ptr open = p;
            verdict = forbidden(&p);
            *lt = NULL;
            return *pp = verdict == WAIT ? open : p, verdict;
        } else {
            verdict = start_tag(c, w, base, &p, IN_CONTENT);
            if (unlikely(verdict != DONE && verdict != EMPTY_TAG)) return *pp = verdict == WAIT ? *lt : p, verdict;
            if (unlikely((uint32_t)(p - *lt) > c->limits->tag_bytes)) return *pp = p - 1, XS_E_TAG_BYTES;
        }
        *lt = NULL;
    }
}

/* Start of a new stanza record. */
static ALWAYS_INLINE void fresh(const xs_conn *c, xs_work *w) {
    memset(&w->rec, 0, offsetof(xs_rec, child));
    w->depth = 0;
    w->nbind = 0;
    w->dflt = 0;
    w->cdata = 0;
    w->decode = c->decode;
}

void xs_init(xs_conn *c, const xs_limits *limits, uint16_t content_nsid) {
    memset(c, 0, sizeof *c);
    c->limits = limits;
    c->content_nsid = content_nsid;
}

void xs_init_open(xs_conn *c, const xs_limits *limits, uint16_t content_nsid) {
    static const uint8_t no_head[16];
    xs_init(c, limits, content_nsid);
    c->head = no_head;
    c->default_nsid = content_nsid;
    c->phase = OPEN;
}

void xs_restart(xs_conn *c) {
    uint32_t valid = c->valid;
    xs_init(c, c->limits, c->content_nsid);
    c->valid = valid;
}

void xs_adopt(xs_conn *c, const xs_work *w, const uint8_t *head, const xs_binding *outer) {
    const xs_rec *r = &w->rec;
    c->head = head;
    c->outer = outer;
    c->nouter = w->nbind;
    c->head_name_len = (uint16_t)(r->name - 1 + r->name_len);
    c->default_nsid = 0;
    for (unsigned i = 0; i < c->nouter; i++) {
        c->decode |= outer[i].decode;
        if (!outer[i].prefix_len) c->default_nsid = outer[i].nsid;
    }
}

/* Bytes that stand for the next construct before the root element. */
static int prolog(xs_conn *c, xs_work *w, ptr *base, ptr *pp, ptr *lt) {
    ptr p = *base;
    int verdict;
    if (c->phase == START && p[0] == '<' && p[1] == '?') {
        ptr q = p;
        *lt = p;
        verdict = forbidden(&q);
        if (verdict == XS_E_DECLARATION && cls[*q] & C_SPACE) {
            q = p;
            verdict = xml_declaration(&q);
        }
        *pp = q;
        if (verdict) return verdict;
        verdict = over(c, *base, *lt, q);
        if (verdict) return verdict;
        p = q;
        *lt = NULL;
        c->phase = PROLOG;
        *base = p;
    }
    if (*p && c->phase == START && cls[*p] & C_SPACE) c->phase = PROLOG;
    *base = *pp = p = skip_space(p);
    if (!*p) return WAIT;
    if (*p != '<') return XS_E_PROLOG_TEXT;
    *lt = p;
    *pp = p + 1;
    if (p[1] == '!' || p[1] == '?') return *pp = p, forbidden(pp);
    fresh(c, w);
    *pp = p;
    return header_tag(c, w, *base, pp);
}

/* Between first-level elements, or in one. *event: what DONE means. */
static int stream(xs_conn *c, xs_work *w, ptr *base, ptr *pp, ptr *lt, int *event) {
    ptr p = *base;
    int verdict;
    *event = XS_STANZA;
    if (c->pos) {
        *pp = p + c->pos;
        verdict = content(c, w, *base, pp, lt);
        c->pos = verdict == WAIT ? (uint32_t)(*pp - *base) : 0;
        return verdict;
    }
    *base = *pp = p = skip_space(p);
    if (!*p) return WAIT;
    if (*p != '<') return XS_E_STREAM_TEXT;
    *lt = p;
    if (p[1] == '/') {
        verdict = end_tag(pp, c->head + 1, c->head_name_len);
        *event = XS_STREAM_CLOSE;
        return verdict;
    }
    if (p[1] == '!' && p[2] == '[') {
        verdict = expect(pp, "<![CDATA[");
        return verdict ? verdict : XS_E_STREAM_TEXT;
    }
    if (p[1] == '!' || p[1] == '?') return forbidden(pp);
    fresh(c, w);
    verdict = start_tag(c, w, *base, pp, IN_STANZA);
    if (verdict == EMPTY_TAG) {
        w->rec.flags |= XS_SELF_CLOSED;
        w->rec.inner_end = w->rec.tag_end;
        return DONE;
    }
    if (verdict) return verdict;
    if ((uint32_t)(*pp - *lt) > c->limits->tag_bytes) return --*pp, XS_E_TAG_BYTES;
    verdict = content(c, w, *base, pp, lt);
    c->pos = verdict == WAIT ? (uint32_t)(*pp - *base) : 0;
    return verdict;
}

/* Does a stream begin in UTF-16 or UTF-32? By its first two bytes (XML 1.0 appendix F): a byte order mark, or '<'
 * in two bytes or four. WAIT: one byte does not tell. */
static int encoding(ptr p, uint32_t len) {
    static const uint8_t begin[][2] = {{0xFE, 0xFF}, {0xFF, 0xFE}, {0, '<'}, {'<', 0}, {0, 0}};
    for (size_t i = 0; i < sizeof begin / sizeof *begin; i++)
        if (p[0] == begin[i][0]) {
            if (len < 2) return WAIT;
            if (p[1] == begin[i][1]) return XS_E_ENCODING;
        }
    return 0;
}

int xs_next(xs_conn *c, xs_work *w, uint8_t *buf, uint32_t len, uint32_t *used) {
    ptr base = buf, p = buf, lt = NULL;
    int verdict, checked, event = XS_STREAM_OPEN;

    *used = len;
    c->start = 0;
    if (c->phase == FAILED) return XS_ERROR;
    if (c->phase == CLOSED) { /* nothing that follows the end of the stream matters */
        c->valid = 0;
        return XS_MORE;
    }
    c->valid += (uint32_t)utf8_xml_prefix(buf + c->valid, len - c->valid, &checked);

    uint8_t kept = buf[c->valid];
    buf[c->valid] = 0;
    if (c->phase == OPEN)
        verdict = stream(c, w, &base, &p, &lt, &event);
    else
        verdict = prolog(c, w, &base, &p, &lt);
    buf[c->valid] = kept;

    if (verdict == DONE) {
        verdict = over(c, base, lt, p);
    } else if (verdict == WAIT) {
        ptr end = buf + c->valid;
        verdict = over(c, base, lt, end);
        if (!verdict && checked != UTF8_OK && c->phase == START) {
            verdict = encoding(buf, len);
            if (verdict == WAIT) return *used = 0, XS_MORE;
        }
        if (!verdict && checked == UTF8_CHAR) verdict = XS_E_CHAR;
        /* other bytes than a stream begins with are no stream in another encoding, but none (UC 1-36) */
        if (!verdict && checked == UTF8_ENCODING) verdict = c->phase >= OPEN || lt ? XS_E_ENCODING : XS_E_PROLOG_TEXT;
        if (!verdict) {
            uint32_t dropped = (uint32_t)(base - buf);
            c->valid -= dropped;
            *used = dropped;
            return XS_MORE;
        }
    } else {
        int limit = over(c, base, lt, p + 1);
        if (limit) verdict = limit;
    }
    if (verdict) {
        c->error = (uint8_t)verdict;
        c->phase = FAILED;
        return XS_ERROR;
    }
    c->start = (uint32_t)(base - buf);
    *used = (uint32_t)(p - buf);
    c->valid -= *used;
    if (event == XS_STANZA) {
        w->rec.len = (uint32_t)(p - base);
    } else if (event == XS_STREAM_OPEN) {
        w->rec.len = (uint32_t)(p - base);
        c->phase = OPEN;
    } else {
        c->phase = CLOSED;
    }
    return event;
}
