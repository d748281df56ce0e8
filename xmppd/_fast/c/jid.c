#include "jid.h"

#include <arpa/inet.h>
#include <string.h>

#include "punycode.h"
#include "sprep_tables.h"

enum { DOMAIN_MAX = 253 }; /* the 255 octets of the DNS without the first length and the root */

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

/* ---- stringprep (RFC 3454) ---- */

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

#include "codepoints.h" /* on the tables and functions above */

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
    if (t->seen & SP_NORM && normalize(t)) return JID_TOO_LONG;
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

/* ---- domainpart: IDNA2003 (RFC 3490) ---- */

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

static int prepare_label(const uint8_t *p, size_t n, text *t, size_t *ascii_len) {
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

static int label(const uint8_t *p, size_t n, uint8_t *out, size_t room, size_t *out_len, size_t *ascii_len,
                 uint8_t *unassigned) {
    text t;
    int fault = prepare_label(p, n, &t, ascii_len);
    if (fault) return fault;
    *unassigned |= (t.seen & SP_UNASSIGNED) != 0;
    *out_len = encode(t.c, t.n, out, room);
    return JID_OK;
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

int jid_domain(jid_label *prepare, const uint8_t *p, size_t n, uint8_t *out, size_t *out_len, uint8_t *unassigned) {
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
        size_t to = from, gap = 0, length, more;
        while (to < n && !(gap = separator(p + to, n - to))) to++;
        int fault = prepare(p + from, to - from, out + w, JID_PART_MAX - w, &more, &length, unassigned);
        if (fault) return fault;
        ascii_len += length;
        if (ascii_len > DOMAIN_MAX) return JID_LABEL_LONG;
        last = w;
        w += more;
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
    int fault = jid_domain(label, p, n, out, out_len, unassigned);
    return fault ? fault | JID_DOMAIN : JID_OK;
}

const jid_rules JID_RFC6122 = {jid_prepare_local, jid_prepare_domain, jid_prepare_resource};

/* ---- the whole address ---- */

int jid_prepare(const jid_rules *by, const uint8_t *p, size_t n, uint8_t *out, jid_shape *shape) {
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
        if ((fault = by->local(p, (size_t)(at - p), out, &length, &unassigned))) return fault;
        shape->local_len = (uint16_t)length;
        shape->unassigned |= unassigned;
        w = length;
        out[w++] = '@';
    }
    if ((fault = by->domain(from, (size_t)(bare - from), out + w, &length, &unassigned))) return fault;
    shape->domain_len = (uint16_t)length;
    shape->unassigned |= unassigned;
    w += length;
    if (slash) {
        out[w++] = '/';
        fault = by->resource(slash + 1, (size_t)(end - slash - 1), out + w, &length, &unassigned);
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
