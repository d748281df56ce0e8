/* libFuzzer harness of the tokenizer (xmppd/_fast/c), with expat as oracle.
 *
 * An input is read whole, byte by byte and in random pieces, each piece in a heap block of exactly the promised size
 * whose padding holds misleading bytes; all three must tell the same. What they tell is then held against expat:
 * the same stanzas at the same places with the same children and attributes, and an error exactly where expat (or one
 * of the rules XMPP adds) has one. Differences that are meant:
 *   - limits are ours alone (policy-violation);
 *   - names follow the fifth edition of XML 1.0, expat the fourth: with non-ASCII bytes in markup expat may object;
 *   - many errors show before the token is complete: then no way to complete it may please expat.
 *
 * First byte of an input: bit 0 tight limits (else bit 4: the widest), bit 1 a stream header is put in front, bit 2
 * served namespace is jabber:server, bit 3 with an XML declaration. Read without expat: bit 5 the stream is restarted
 * behind each element that is no stanza, bit 6 elements without a stream around them.
 */
#include <expat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"
#include "xmlscan.h"

#define CHECK(condition)                                                                     \
    do {                                                                                     \
        if (!(condition)) {                                                                  \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);          \
            abort();                                                                         \
        }                                                                                    \
    } while (0)

enum { MOST_STANZAS = 512 };

enum { TIGHT = 1, HEADER = 2, SERVER = 4, DECLARATION = 8, WIDEST = 16, RESTART = 32, WITHOUT_STREAM = 64 };

static const char STREAMS[] = "http://etherx.jabber.org/streams";
static const char XML_LANG[] = "http://www.w3.org/XML/1998/namespace\001lang";

typedef struct {
    size_t start;              /* in the whole input */
    xs_rec rec;
} found;

/* What a reading told. */
typedef struct {
    int opened, closed, error;
    size_t header_start, header_len;
    uint64_t digest;           /* of all records and events, in order */
    int nstanza;
    found stanza[MOST_STANZAS];
} told;

static void digest(told *t, const void *p, size_t n) {
    const uint8_t *b = p;
    for (size_t i = 0; i < n; i++) t->digest = (t->digest ^ b[i]) * UINT64_C(0x100000001B3);
}

static void digest_rec(told *t, const xs_rec *r) {
#define FIELD(f) digest(t, &r->f, sizeof r->f)
    FIELD(len), FIELD(tag_end), FIELD(inner_end), FIELD(outer_used), FIELD(nsid), FIELD(name), FIELD(name_len);
    FIELD(flags), FIELD(kind), FIELD(type), FIELD(decode), FIELD(nchild), FIELD(children), FIELD(at);
    for (int i = 0; i < r->nchild; i++) {
        FIELD(child[i].start), FIELD(child[i].inner), FIELD(child[i].inner_end), FIELD(child[i].end);
        FIELD(child[i].uri), FIELD(child[i].uri_len), FIELD(child[i].nsid), FIELD(child[i].name);
        FIELD(child[i].name_len), FIELD(child[i].in_head);
    }
}

/* Offsets lie in the stanza, in order. */
static void check_rec(const xs_rec *r, const uint8_t *raw) {
    CHECK(raw[0] == '<' && raw[r->len - 1] == '>' && raw[r->tag_end - 1] == '>');
    CHECK(r->tag_end <= r->inner_end && r->inner_end <= r->len);
    CHECK(r->name >= 1 && (uint32_t)r->name + r->name_len < r->tag_end && r->name_len);
    CHECK(!(r->flags & XS_SELF_CLOSED) == (raw[r->len - 2] != '/' || r->tag_end != r->len));
    if (!(r->flags & XS_SELF_CLOSED)) CHECK(raw[r->inner_end] == '<' && raw[r->inner_end + 1] == '/');
    for (int i = 0; i < XS_ATS; i++) {
        const xs_attr *a = &r->at[i];
        if (!a->at) continue;
        uint8_t quote = raw[a->value + a->len];
        CHECK(a->at < a->value && a->value + a->len < r->tag_end - 1);
        CHECK((quote == '\'' || quote == '"') && raw[a->value - 1] == quote);
        CHECK(strchr(" \t\r\n", raw[a->at]));
    }
    uint32_t before = r->tag_end;
    CHECK(r->nchild == (r->children < XS_CHILDREN ? r->children : XS_CHILDREN));
    CHECK(!(r->flags & XS_MANY_CHILDREN) == (r->children <= XS_CHILDREN));
    for (int i = 0; i < r->nchild; i++) {
        const xs_child *k = &r->child[i];
        CHECK(before <= k->start && k->start < k->inner && k->inner <= k->inner_end && k->inner_end <= k->end);
        CHECK(k->end <= r->inner_end && raw[k->start] == '<' && raw[k->end - 1] == '>' && raw[k->inner - 1] == '>');
        CHECK(k->start + k->name + k->name_len < k->inner && k->name_len);
        before = k->end;
    }
}

static uint16_t id_of_uri(const char *uri) { return (uint16_t)xs_ns_id((const uint8_t *)uri, strlen(uri)); }
static uint16_t content_id(int server) { return id_of_uri(server ? "jabber:server" : "jabber:client"); }

/* ---- reading in pieces ---- */

/* what may stand in the padding: 26 bytes over and over, to be cut out anywhere */
#define ODD_ENDS ">'\"]]><]]&amp;/><a b='c\0:;"
static const uint8_t MISLEADING[] = ODD_ENDS ODD_ENDS ODD_ENDS ODD_ENDS;

/* sizes: 0 whole, 1 byte by byte, otherwise the seed of random sizes. */
static void run(const uint8_t *data, size_t len, const xs_limits *limits, int mode, uint32_t sizes, told *t) {
    xs_conn conn;
    xs_work *work = malloc(sizeof *work), *unused = malloc(sizeof *unused);
    uint8_t *head = NULL, *pending = NULL;
    xs_binding *outer = NULL;
    size_t npending = 0, at = 0;
    uint32_t random = sizes;

    memset(t, 0, offsetof(told, stanza));
    if (mode & WITHOUT_STREAM) xs_init_open(&conn, limits, content_id(mode & SERVER));
    else xs_init(&conn, limits, content_id(mode & SERVER));
    while (at < len && !t->error) {
        size_t take = len - at;
        if (sizes == 1) {
            take = 1;
        } else if (sizes) {
            random = random * 1664525 + 1013904223;
            size_t want = 1 + (random >> 16) % (random >> 30 ? 9 : 120);
            if (take > want) take = want;
        }
        size_t n = npending + take;
        uint8_t *buf = malloc(n + XS_PAD);
        if (npending) memcpy(buf, pending, npending);
        memcpy(buf + npending, data + at, take);
        memcpy(buf + n, MISLEADING + sizes % 26, XS_PAD);
        free(pending);
        size_t base = at - npending; /* of buf, in the input */
        uint8_t *p = buf;
        at += take;
        for (;;) {
            uint32_t used = 0;
            if (!xs_partial(&conn)) memset(work, 0xA5, sizeof *work);
            size_t left = n - (size_t)(p - buf);
            int event = xs_next(&conn, work, p, (uint32_t)left, &used);
            CHECK(used <= left);
            CHECK(memcmp(p, data + base + (p - buf), left) == 0); /* the sentinel is gone */
            if (xs_partial(&conn)) { /* nothing of it may live on in the place it was in */
                xs_work *w = unused;
                *w = *work;
                memset(work, 0x5A, sizeof *work);
                unused = work;
                work = w;
            }
            size_t start = base + (size_t)(p - buf) + conn.start;
            if (event == XS_MORE) {
                p += used;
                break;
            }
            digest(t, &event, sizeof event);
            if (event == XS_STREAM_OPEN) {
                const xs_rec *r = &work->rec;
                CHECK(!head);
                t->opened = 1;
                t->header_start = start;
                t->header_len = r->len;
                CHECK(conn.start + r->len == used);
                digest_rec(t, r);
                head = malloc(r->len);
                memcpy(head, p + conn.start, r->len);
                outer = malloc(work->nbind * sizeof *outer + 1);
                memcpy(outer, work->bind, work->nbind * sizeof *outer);
                xs_adopt(&conn, work, head, outer);
            } else if (event == XS_STANZA) {
                CHECK(conn.start + work->rec.len == used);
                check_rec(&work->rec, p + conn.start);
                CHECK(work->rec.len <= limits->stanza_bytes);
                CHECK(conn.nouter == 32 || work->rec.outer_used >> conn.nouter == 0);
                digest(t, &start, sizeof start);
                digest_rec(t, &work->rec);
                if (t->nstanza < MOST_STANZAS) {
                    t->stanza[t->nstanza].start = start;
                    t->stanza[t->nstanza].rec = work->rec;
                }
                t->nstanza++;
                if (mode & RESTART && work->rec.kind == XS_KIND_OTHER) {
                    xs_restart(&conn);
                    free(head);
                    free(outer);
                    head = NULL;
                    outer = NULL;
                }
            } else if (event == XS_STREAM_CLOSE) {
                t->closed = 1;
            } else {
                CHECK(event == XS_ERROR && conn.error > 0 && conn.error < XS_ERRORS);
                t->error = conn.error;
                p = buf + n;
                break;
            }
            p += used;
        }
        npending = n - (size_t)(p - buf);
        pending = NULL;
        if (npending) {
            pending = malloc(npending);
            memcpy(pending, p, npending);
        }
        free(buf);
        if (sizes && !xs_partial(&conn) && npending > limits->tag_bytes + 8u) CHECK(!"an unfinished tag is bounded");
    }
    free(pending);
    free(head);
    free(outer);
    free(work);
    free(unused);
}

/* ---- expat ---- */

typedef struct {
    const uint8_t *data;
    size_t len;
    const told *ours;
    XML_Parser parser;
    int server;
    int depth;                 /* open elements */
    int wrong;                 /* XS_E_... of a rule that XMPP adds */
    int closed, opened, streams_bound, default_bound;
    int nstanza, nchild, text;
    size_t start, child_start;
    int compare;               /* hold the records against ours */
} oracle;

static size_t here(oracle *o) { return (size_t)XML_GetCurrentByteIndex(o->parser); }
static size_t here_end(oracle *o) { return here(o) + (size_t)XML_GetCurrentByteCount(o->parser); }

static void stop(oracle *o, int wrong) {
    if (!o->wrong) o->wrong = wrong;
    XML_StopParser(o->parser, XML_FALSE);
}

/* a few calls may still come after XML_StopParser */
static int stopped(const oracle *o) { return o->wrong || o->closed; }

static int id_of(const char *name, const char **local) {
    const char *separator = strchr(name, 1);
    *local = separator ? separator + 1 : name;
    return separator ? xs_ns_id((const uint8_t *)name, (size_t)(separator - name)) : 0;
}

static const xs_rec *record(oracle *o) {
    return o->compare && o->nstanza < o->ours->nstanza && o->nstanza < MOST_STANZAS ? &o->ours->stanza[o->nstanza].rec
                                                                                    : NULL;
}

static void check_attr(oracle *o, const xs_rec *r, int at, const char *expected) {
    const xs_attr *a = &r->at[at];
    const uint8_t *value = o->data + o->start + a->value;
    CHECK(!a->at == !expected);
    if (!expected) return;
    int decode = 0;
    for (uint32_t i = 0; i < a->len; i++) decode |= value[i] == '&' || value[i] < 0x20;
    CHECK(decode == (r->decode >> at & 1));
    if (!decode) CHECK(strlen(expected) == a->len && memcmp(value, expected, a->len) == 0);
}

/* Is the namespace name, as it is written at uri[len], the text name[n]? */
static void check_uri(const uint8_t *uri, size_t len, const char *name, size_t n) {
    static const struct { const char *written, *text; } named[] = {
        {"&lt;", "<"}, {"&gt;", ">"}, {"&amp;", "&"}, {"&apos;", "'"}, {"&quot;", "\""}, {"\r\n", " "}, {"\r", " "},
        {"\n", " "}, {"\t", " "}};
    const char *name_end = name + n;
    for (const uint8_t *end = uri + len; uri < end;) {
        uint8_t text[8];
        size_t k = 1, taken = 1;
        text[0] = *uri;
        if (uri[0] == '&' && uri[1] == '#') {
            char *rest;
            unsigned long c = uri[2] == 'x' ? strtoul((const char *)uri + 3, &rest, 16)
                                            : strtoul((const char *)uri + 2, &rest, 10);
            k = utf8_encode((uint32_t)c, text);
            taken = (size_t)((const uint8_t *)rest + 1 - uri);
        }
        for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
            size_t written = strlen(named[i].written);
            if (written > (size_t)(end - uri) || memcmp(uri, named[i].written, written)) continue;
            text[0] = (uint8_t)*named[i].text;
            taken = written;
            break;
        }
        CHECK((size_t)(name_end - name) >= k && memcmp(name, text, k) == 0);
        name += k;
        uri += taken;
    }
    CHECK(name == name_end);
}

static int type_of(const char *text) {
    static const char *const types[] = {"chat", "normal", "headline", "groupchat", "error", "get", "set", "result",
                                        "unavailable", "subscribe", "subscribed", "unsubscribe", "unsubscribed",
                                        "probe"};
    if (!text) return XS_TYPE_NONE;
    for (int i = 0; i < 14; i++)
        if (strcmp(text, types[i]) == 0) return XS_TYPE_CHAT + i;
    return XS_TYPE_OTHER;
}

static void stanza_start(oracle *o, const char *name, const char **atts) {
    const char *local, *value[XS_ATS] = {0};
    int id = id_of(name, &local), others = 0;
    int content = content_id(o->server), other = content_id(!o->server);
    int kind = XS_KIND_OTHER;
    o->start = here(o);
    o->nchild = 0;
    o->text = 0;
    if (id == content) {
        if (!strcmp(local, "message")) kind = XS_KIND_MESSAGE;
        else if (!strcmp(local, "presence")) kind = XS_KIND_PRESENCE;
        else if (!strcmp(local, "iq")) kind = XS_KIND_IQ;
        else return stop(o, XS_E_UNKNOWN_STANZA);
    } else if (id == other) {
        return stop(o, XS_E_CONTENT_NS);
    } else {
        static const char *const first[] = {
            "http://etherx.jabber.org/streams", "urn:ietf:params:xml:ns:xmpp-tls", "urn:ietf:params:xml:ns:xmpp-sasl",
            "urn:xmpp:sasl:2", "urn:xmpp:sm:3", "urn:xmpp:sm:2", "urn:xmpp:csi:0",
            "http://jabber.org/protocol/compress", "jabber:server:dialback", "jabber:component:accept"};
        int known = 0;
        size_t n = (size_t)(local - name);
        for (int i = 0; i < 10; i++) known |= n == strlen(first[i]) + 1 && memcmp(first[i], name, n - 1) == 0;
        if (!known) return stop(o, XS_E_UNKNOWN_STANZA);
    }
    const xs_rec *r = record(o);
    if (!r) return;
    for (const char **a = atts; *a; a += 2) {
        if (!strcmp(a[0], "to")) value[XS_AT_TO] = a[1];
        else if (!strcmp(a[0], "from")) value[XS_AT_FROM] = a[1];
        else if (!strcmp(a[0], "id")) value[XS_AT_ID] = a[1];
        else if (!strcmp(a[0], "type")) value[XS_AT_TYPE] = a[1];
        else if (!strcmp(a[0], XML_LANG)) value[XS_AT_LANG] = a[1];
        else others = 1;
    }
    CHECK(o->ours->stanza[o->nstanza].start == o->start);
    CHECK(r->tag_end == here_end(o) - o->start);
    CHECK(r->kind == kind && r->nsid == id);
    CHECK(strlen(local) == r->name_len && memcmp(o->data + o->start + r->name, local, r->name_len) == 0);
    for (int i = 0; i < XS_AT_XMLNS; i++) check_attr(o, r, i, value[i]);
    CHECK(r->type == type_of(value[XS_AT_TYPE]));
    CHECK(others == !!(r->flags & XS_OTHER_ATTRS));
}

static void on_start(void *arg, const XML_Char *name, const XML_Char **atts) {
    oracle *o = arg;
    const char *local;
    int id = id_of(name, &local);
    if (stopped(o)) return;
    o->depth++;
    if (o->depth == 1) {
        int streams = id_of_uri(STREAMS), dflt = o->default_bound;
        int is_stream = !strcmp(local, "stream");
        if (id != streams) return stop(o, is_stream && o->streams_bound ? XS_E_ROOT_PREFIX : XS_E_ROOT_NS);
        if (!is_stream) return stop(o, XS_E_ROOT_NAME);
        if (dflt && dflt != streams && dflt != content_id(o->server)) return stop(o, XS_E_CONTENT_NS);
        if (o->data[here_end(o) - 2] == '/') return stop(o, XS_E_ROOT_CLOSED);
        o->opened = 1;
        if (o->compare && o->ours->opened)
            CHECK(o->ours->header_start == here(o) && o->ours->header_start + o->ours->header_len == here_end(o));
    } else if (o->depth == 2) {
        stanza_start(o, name, atts);
    } else if (o->depth == 3) {
        const xs_rec *r = record(o);
        o->child_start = here(o);
        if (r && o->nchild < XS_CHILDREN) {
            const xs_child *k = &r->child[o->nchild];
            size_t uri_len = local == name ? 0 : (size_t)(local - name - 1);
            CHECK(o->nchild < r->nchild);
            CHECK(k->start == here(o) - o->start && k->inner == here_end(o) - o->start);
            CHECK(k->nsid == id && k->name_len == strlen(local));
            CHECK(memcmp(o->data + here(o) + k->name, local, k->name_len) == 0);
            if (!k->nsid) {
                const uint8_t *uri = o->data + (k->in_head ? o->ours->header_start : o->start) + k->uri;
                check_uri(uri, k->uri_len, name, uri_len);
            }
        }
    }
}

static void on_end(void *arg, const XML_Char *name) {
    oracle *o = arg;
    (void)name;
    if (stopped(o)) return;
    const xs_rec *r = record(o);
    if (o->depth == 3) {
        if (r && o->nchild < XS_CHILDREN) {
            const xs_child *k = &r->child[o->nchild];
            CHECK(k->end == here_end(o) - o->start);
            CHECK(k->inner_end == (here(o) == here_end(o) ? k->end : here(o) - o->start));
        }
        o->nchild++;
    } else if (o->depth == 2) {
        if (r) {
            CHECK(r->len == here_end(o) - o->start && r->children == (uint32_t)o->nchild);
            CHECK(o->text == !!(r->flags & XS_HAS_TEXT));
        }
        o->nstanza++;
    } else if (o->depth == 1) {
        o->closed = 1;
        XML_StopParser(o->parser, XML_FALSE);
    }
    o->depth--;
}

static void on_text(void *arg, const XML_Char *text, int n) {
    oracle *o = arg;
    int white = o->data[here(o)] != '&';
    for (int i = 0; i < n; i++) white &= !!strchr(" \t\r\n", text[i]);
    if (white || stopped(o)) return;
    if (o->depth == 1) stop(o, XS_E_STREAM_TEXT);
    if (o->depth == 2) o->text = 1;
}

static void on_cdata(void *arg) {
    oracle *o = arg;
    if (o->depth == 1 && !stopped(o)) stop(o, XS_E_STREAM_TEXT);
}

static void on_comment(void *arg, const XML_Char *text) { (void)text, stop(arg, XS_E_RESTRICTED); }
static void on_pi(void *arg, const XML_Char *target, const XML_Char *text) {
    (void)target, (void)text, stop(arg, XS_E_RESTRICTED);
}
static void on_doctype(void *arg, const XML_Char *a, const XML_Char *b, const XML_Char *c, int d) {
    (void)a, (void)b, (void)c, (void)d, stop(arg, XS_E_RESTRICTED);
}

static void on_declaration(void *arg, const XML_Char *version, const XML_Char *encoding, int standalone) {
    (void)standalone;
    if (!version || strcmp(version, "1.0")) stop(arg, XS_E_DECLARATION);
    else if (encoding && (strlen(encoding) != 5 || strncasecmp(encoding, "utf-8", 5))) stop(arg, XS_E_DECLARED);
}

static void on_namespace(void *arg, const XML_Char *prefix, const XML_Char *uri) {
    oracle *o = arg;
    if (o->depth) return;
    int id = uri ? xs_ns_id((const uint8_t *)uri, strlen(uri)) : 0;
    if (id && !strcmp(xs_ns_uri(id), STREAMS)) o->streams_bound = 1;
    if (!prefix) o->default_bound = uri && *uri ? (id ? id : -1) : 0;
}

enum { FINE, UNFINISHED, FAULTY };  /* FINE: whole tokens; UNFINISHED: ends inside one */

static int ask_expat(oracle *o, const uint8_t *data, size_t len, const told *ours, int server, int compare) {
    memset(o, 0, sizeof *o);
    o->data = data, o->len = len, o->ours = ours, o->server = server, o->compare = compare;
    /* a byte order mark is no mark (RFC 6120 11.6), and nothing is UTF-16 */
    if (len >= 3 && !memcmp(data, "\xEF\xBB\xBF", 3)) return FAULTY;
    if (len && (data[0] >= 0xFE || !data[0] || (len > 1 && !data[1]))) return len == 1 ? UNFINISHED : FAULTY;
    static XML_Parser p; /* made once: that costs more than a short parse */
    if (!p) p = XML_ParserCreateNS("UTF-8", 1);
    else XML_ParserReset(p, "UTF-8");
    o->parser = p;
    XML_SetUserData(p, o);
    XML_SetElementHandler(p, on_start, on_end);
    XML_SetCharacterDataHandler(p, on_text);
    XML_SetCdataSectionHandler(p, on_cdata, NULL);
    XML_SetCommentHandler(p, on_comment);
    XML_SetProcessingInstructionHandler(p, on_pi);
    XML_SetStartDoctypeDeclHandler(p, on_doctype);
    XML_SetXmlDeclHandler(p, on_declaration);
    XML_SetStartNamespaceDeclHandler(p, on_namespace);
    XML_SetHashSalt(p, 1);
    enum XML_Status status = XML_Parse(p, (const char *)data, (int)len, 1);
    enum XML_Error error = XML_GetErrorCode(p);
    if (o->wrong) return FAULTY;
    if (o->closed || status == XML_STATUS_OK) return FINE;
    switch (error) {
    case XML_ERROR_NO_ELEMENTS: return FINE;
    case XML_ERROR_UNCLOSED_TOKEN:
    case XML_ERROR_PARTIAL_CHAR:
    case XML_ERROR_UNCLOSED_CDATA_SECTION: return UNFINISHED;
    default: return FAULTY;
    }
}

/* Non-ASCII bytes in markup outside of quotes: perhaps in a name. */
static int odd_names(const uint8_t *data, size_t len) {
    int in = 0;
    uint8_t quote = 0;
    for (size_t i = 0; i < len; i++) {
        uint8_t c = data[i];
        if (in && quote) {
            if (c == quote) quote = 0;
        } else if (in && (c == '\'' || c == '"')) {
            quote = c;
        } else if (c == '<' || c == '&') {
            in = 1;
        } else if (c == '>' || c == ';') {
            in = 0;
        }
        if (c >= 0x80 && in) return 1;
    }
    return 0;
}

/* The error shows before expat's token is complete: no completion may please it. */
static void check_premature(const uint8_t *data, size_t len, int server) {
    static const char *const ends[] = {
        ">", "'>", "\">", "/>", "'/>", "='x'>", "x='x'>", " x='x'>", "x:y='x'>", ";", "x;", "amp;", ";'>", ";\">",
        "amp;'>", "?>", "'?>", "\"?>", "-->", "->", "]]>", "]>", " >", "CDATA[]]>", "[CDATA[]]>", "x>", "x/>"};
    oracle o;
    uint8_t *longer = malloc(len + 16);
    memcpy(longer, data, len);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t n = strlen(ends[i]);
        memcpy(longer + len, ends[i], n);
        if (ask_expat(&o, longer, len + n, NULL, server, 0) == FINE) {
            fprintf(stderr, "expat is pleased by %s\n", ends[i]);
            abort();
        }
    }
    free(longer);
}

/* How a stream in UTF-16 or UTF-32 begins (XML 1.0 appendix F). */
static int other_encoding(const uint8_t *data, size_t len) {
    static const char begin[] = "\xFE\xFF\xFF\xFE\0<<\0\0";
    for (size_t i = 0; len > 1 && i < sizeof begin - 1; i += 2)
        if (!memcmp(data, begin + i, 2)) return 1;
    return 0;
}

static int only_xmpp(int error) {
    return error >= XS_E_ROOT_NS && error <= XS_E_UNKNOWN_STANZA;
}

static void check_expat(const uint8_t *data, size_t len, const told *ours, int server) {
    oracle o;
    int odd = odd_names(data, len);
    int limit = ours->error >= XS_E_STANZA_BYTES;
    int verdict = ask_expat(&o, data, len, ours, server, 1);
    CHECK(!other_encoding(data, len) || ours->error == XS_E_ENCODING);
    if (limit) return;
    if (odd && verdict == FAULTY && !ours->error) return;
    if (odd && ours->error) return;
    CHECK(ours->nstanza == o.nstanza || ours->nstanza > MOST_STANZAS);
    CHECK(ours->opened == o.opened);
    CHECK(ours->closed == o.closed);
    if (ours->error) {
        /* of a document type declaration expat tells only at its end */
        if (verdict != FAULTY && !(ours->error == XS_E_RESTRICTED && !ours->opened)) {
            CHECK(verdict == UNFINISHED);
            check_premature(data, len, server);
        }
    } else {
        CHECK(verdict != FAULTY);
    }
    if (only_xmpp(ours->error) || only_xmpp(o.wrong)) CHECK(ours->error == o.wrong);
}

/* ---- UTF-8 against a plain reading ---- */

static size_t plain_prefix(const uint8_t *p, size_t n, int *verdict) {
    size_t i = 0;
    *verdict = UTF8_OK;
    while (i < n) {
        uint8_t c = p[i];
        unsigned len = c < 0x80 ? 1 : c < 0xC0 ? 0 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : c < 0xF8 ? 4 : 0;
        uint32_t value = len == 1 ? c : len == 2 ? c & 0x1F : len == 3 ? c & 0x0F : c & 0x07;
        static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
        if (!len) return *verdict = UTF8_ENCODING, i;
        for (unsigned k = 1; k < len; k++) {
            /* what is there already decides: whatever may follow, is it too low, too high or a surrogate? */
            uint32_t low, high;
            if (i + k < n && (p[i + k] & 0xC0) != 0x80) return *verdict = UTF8_ENCODING, i;
            low = value << 6 * (len - k);
            high = low | ((1u << 6 * (len - k)) - 1);
            if (high < least[len] || low > 0x10FFFF || (low >= 0xD800 && high <= 0xDFFF))
                return *verdict = UTF8_ENCODING, i;
            if (i + k >= n) return i;
            value = value << 6 | (p[i + k] & 0x3F);
        }
        if (value < least[len] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
            return *verdict = UTF8_ENCODING, i;
        if ((value < 0x20 && value != 9 && value != 10 && value != 13) || value == 0xFFFE || value == 0xFFFF)
            return *verdict = UTF8_CHAR, i;
        i += len;
    }
    return i;
}

static void check_utf8(const uint8_t *data, size_t len) {
    int expected, got;
    size_t n = plain_prefix(data, len, &expected);
    uint8_t *exact = malloc(len + 32);
    memcpy(exact, data, len);
    memset(exact + len, 0xBF, 32);
    CHECK(utf8_xml_prefix(exact, len, &got) == n && got == expected);
    free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    static const xs_limits limit[] = {
        {262144, 65536, 64, 64, 32, 256, 512},
        {300, 90, 5, 4, 5, 12, 64},
        {1 << 28, 1 << 24, XS_DEPTH_MAX, XS_ATTRIBUTES_MAX, XS_BINDINGS_MAX, 4096, XS_URI_MAX},
    };
    static const char *const heads[] = {
        "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>",
        "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:x='urn:x' "
        "xmlns:y='urn:x'>"};
    static told whole, bytes, pieces;
    uint8_t *data;
    size_t len = 0;
    uint32_t seed = 0;
    if (!size || size > 1 << 15) return 0;
    int mode = input[0], server = !!(mode & SERVER);
    const xs_limits *limits = &limit[mode & TIGHT ? 1 : mode & WIDEST ? 2 : 0];
    data = malloc(size + 256);
    if (mode & DECLARATION) len += (size_t)sprintf((char *)data, "<?xml version='1.0'?>");
    if (mode & HEADER) len += (size_t)sprintf((char *)data + len, "%s", heads[server]);
    memcpy(data + len, input + 1, size - 1);
    len += size - 1;
    for (size_t i = 0; i < len; i++) seed = (seed ^ data[i]) * 16777619;

    check_utf8(data, len);
    run(data, len, limits, mode, 0, &whole);
    run(data, len, limits, mode, 1, &bytes);
    run(data, len, limits, mode, seed | 2, &pieces);
    CHECK(whole.error == bytes.error && whole.error == pieces.error);
    CHECK(whole.closed == bytes.closed && whole.closed == pieces.closed);
    CHECK(whole.nstanza == bytes.nstanza && whole.nstanza == pieces.nstanza);
    CHECK(whole.digest == bytes.digest && whole.digest == pieces.digest);
    if (!(mode & (RESTART | WITHOUT_STREAM))) check_expat(data, len, &whole, server);
    free(data);
    return 0;
}
