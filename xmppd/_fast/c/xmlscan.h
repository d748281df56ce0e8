/* The XML stream tokenizer: bytes in; stream header, first-level elements, stream end or one error out.
 *
 * RFC 6120 section 11: XML 1.0 with namespaces, without comments, processing instructions, DTDs and entities
 * but the predefined five; always UTF-8. One pass over a padded buffer; what is found does not depend on how
 * the bytes were cut into chunks. No Python.h, no I/O, no allocation, no global state.
 *
 * The caller presents bytes from the first byte of the construct in progress ("base") on, and drops what
 * `used` says. 64 bytes behind `len` are readable and buf[len] is writable: a NUL is put behind the valid
 * bytes while a call lasts, so that no scanning loop needs a bounds check (NUL is no XML character).
 */
#ifndef XMPPD_XMLSCAN_H
#define XMPPD_XMLSCAN_H

#include <stddef.h>
#include <stdint.h>

#define XS_PAD 64         /* readable bytes behind the input */
#define XS_DEPTH_MAX 128  /* what limits can be raised to */
#define XS_BINDINGS_MAX 32 /* one bit each in xs_rec.outer_used */
#define XS_ATTRIBUTES_MAX 256
#define XS_URI_MAX 4096    /* bytes of a namespace name: what the limit can be raised to */
#define XS_CHILDREN 8     /* children of a stanza that get a record */

enum { XS_MORE, XS_STREAM_OPEN, XS_STANZA, XS_STREAM_CLOSE, XS_ERROR };

enum { XS_KIND_OTHER, XS_KIND_MESSAGE, XS_KIND_PRESENCE, XS_KIND_IQ };

enum {
    XS_TYPE_NONE, XS_TYPE_OTHER, XS_TYPE_CHAT, XS_TYPE_NORMAL, XS_TYPE_HEADLINE, XS_TYPE_GROUPCHAT,
    XS_TYPE_ERROR, XS_TYPE_GET, XS_TYPE_SET, XS_TYPE_RESULT, XS_TYPE_UNAVAILABLE, XS_TYPE_SUBSCRIBE,
    XS_TYPE_SUBSCRIBED, XS_TYPE_UNSUBSCRIBE, XS_TYPE_UNSUBSCRIBED, XS_TYPE_PROBE
};

/* Attributes with a place of their own; in a stream header XS_AT_TYPE is `version`. */
enum { XS_AT_TO, XS_AT_FROM, XS_AT_ID, XS_AT_TYPE, XS_AT_LANG, XS_AT_XMLNS, XS_ATS };

enum {
    XS_SELF_CLOSED = 1,      /* <name .../> */
    XS_HAS_TEXT = 2,         /* text other than white space directly in the stanza */
    XS_CDATA = 4,            /* a CDATA section somewhere */
    XS_REFS = 8,             /* a reference somewhere */
    XS_NSDECL = 16,          /* the stanza's tag declares a namespace */
    XS_OTHER_ATTRS = 32,     /* the stanza's tag has attributes without a place of their own */
    XS_OUTER_PREFIX = 64,    /* a prefix of the stream header is used: see outer_used */
    XS_OWN_PREFIX = 128,     /* the stanza's own name is prefixed */
    XS_CONTENT_NS = 256,     /* a direct child names the content namespace itself */
    XS_MANY_CHILDREN = 512   /* more children than records */
};

/* What is wrong; the RFC's condition for each stands in reader.pyx. */
enum {
    XS_E_NONE,
    XS_E_ENCODING,        /* not UTF-8 */
    XS_E_DECLARED,        /* an XML declaration names another encoding */
    XS_E_CHAR,            /* no XML character */
    XS_E_SYNTAX,          /* anything the XML grammar has no place for */
    XS_E_DECLARATION,     /* an XML declaration in the wrong place, or not of version 1.0 */
    XS_E_NAME,
    XS_E_MISMATCH,        /* end tag */
    XS_E_DUPLICATE,       /* attribute */
    XS_E_VALUE,           /* '<' in an attribute value */
    XS_E_CDATA_END,       /* ]]> in text */
    XS_E_REFERENCE,       /* bare '&', or a reference to no XML character */
    XS_E_UNBOUND,         /* prefix */
    XS_E_RESERVED,        /* misuse of xml or xmlns */
    XS_E_PROLOG_TEXT,     /* character data before the root element */
    XS_E_RESTRICTED,      /* comment, processing instruction, DTD, entity */
    XS_E_ROOT_NS,         /* header not in the streams namespace */
    XS_E_ROOT_PREFIX,     /* ... which another prefix is bound to */
    XS_E_ROOT_NAME,       /* not `stream` */
    XS_E_ROOT_CLOSED,     /* <stream:stream/> */
    XS_E_CONTENT_NS,      /* header or stanza of a content namespace that is not served here */
    XS_E_UNKNOWN_STANZA,  /* first-level element of unknown namespace or name */
    XS_E_STREAM_TEXT,     /* character data between first-level elements */
    XS_E_STANZA_BYTES, XS_E_TAG_BYTES, XS_E_DEPTH, XS_E_ATTRIBUTES, XS_E_BINDINGS, XS_E_NAME_BYTES,
    XS_E_URI_BYTES, XS_E_REFERENCE_BYTES,
    XS_ERRORS
};

typedef struct {
    uint32_t stanza_bytes;
    uint32_t tag_bytes;
    uint16_t depth;
    uint16_t attributes;
    uint16_t bindings;
    uint16_t name_bytes;
    uint16_t uri_bytes;
} xs_limits;

/* An attribute: from the white space before its name (`at`, 0 = absent) to the closing quote (value + len). */
typedef struct {
    uint32_t at;
    uint32_t value;
    uint32_t len;
} xs_attr;

typedef struct {
    uint32_t start, inner, inner_end, end; /* the element and its content */
    uint32_t uri;                          /* of an unknown namespace; raw; an offset in the header if in_head */
    uint16_t uri_len;
    uint16_t nsid;                         /* 0: unknown or none */
    uint16_t name, name_len;               /* local name, from `start` */
    uint8_t in_head;
} xs_child;

/* One first-level element (or the stream header). Offsets count from its '<'. */
typedef struct {
    uint32_t len;
    uint32_t tag_end;              /* behind the start tag's '>' */
    uint32_t inner_end;            /* before the end tag; = tag_end when self-closed */
    uint32_t outer_used;           /* bit i: binding i of the header is used inside */
    uint16_t nsid;
    uint16_t name, name_len;       /* local name; the qualified one starts at 1 */
    uint16_t flags;
    uint8_t kind, type;
    uint8_t decode;                /* bit XS_AT_...: the value holds references, TAB, LF or CR */
    uint8_t nchild;                /* records in child[] */
    uint32_t children;             /* all direct children */
    xs_attr at[XS_ATS];
    xs_child child[XS_CHILDREN];
} xs_rec;

/* A namespace binding; prefix_len 0 is the default namespace. */
typedef struct {
    uint32_t prefix, uri;          /* offsets from base (from the header's '<' in xs_conn.outer) */
    uint16_t prefix_len, uri_len;
    uint16_t nsid;
    uint8_t decode;                /* the name holds references, TAB, LF or CR */
    uint8_t in_head;               /* `uri` is an offset in the header: the name is spelled differently there */
} xs_binding;

/* What a stanza in progress needs, and only that: one for all connections, until a chunk ends inside one. */
typedef struct {
    uint16_t depth;
    uint8_t nbind;
    uint8_t dflt;                  /* index + 1 of the default namespace's binding, 0: the header's */
    uint8_t decode;                /* a namespace name with references may be in scope */
    uint32_t cdata;                /* where the open CDATA section's content starts; 0: in none */
    struct {
        uint32_t name;             /* the qualified name of the start tag */
        uint16_t name_len;
        uint8_t nbind, dflt;       /* to go back to at the end tag */
    } open[XS_DEPTH_MAX];
    xs_binding bind[XS_BINDINGS_MAX];
    xs_rec rec;
} xs_work;

/* What a connection needs all the time. */
typedef struct {
    const xs_limits *limits;
    const uint8_t *head;           /* the stream header's start tag, in the caller's memory */
    const xs_binding *outer;       /* its bindings, likewise */
    uint32_t valid;                /* bytes from base known to be XML characters in UTF-8 */
    uint32_t pos;                  /* where to go on, from base */
    uint32_t start;                /* result: where the header or stanza starts, from the presented buf */
    uint16_t head_name_len;        /* qualified name, at head + 1 */
    uint16_t content_nsid;         /* the content namespace that is served */
    uint16_t default_nsid;         /* of the header's default namespace */
    uint8_t nouter;
    uint8_t decode;                /* one of them holds references */
    uint8_t phase;
    uint8_t error;                 /* XS_E_... */
} xs_conn;

void xs_init(xs_conn *c, const xs_limits *limits, uint16_t content_nsid);

/* The same for elements without a stream around them: the content namespace is the default namespace. */
void xs_init_open(xs_conn *c, const xs_limits *limits, uint16_t content_nsid);

/* A new stream on the same connection; bytes not used yet stay presented. */
void xs_restart(xs_conn *c);

/* The next event. After XS_STREAM_OPEN and XS_STANZA, work->rec describes buf[c->start .. used).
 * `work` has to be the same from call to call only while xs_partial(c). */
int xs_next(xs_conn *c, xs_work *work, uint8_t *buf, uint32_t len, uint32_t *used);

/* Is a stanza half read, so that `work` must be kept? */
static inline int xs_partial(const xs_conn *c) { return c->pos != 0; }

/* Say where the header of XS_STREAM_OPEN and its bindings (work->bind, work->nbind of them) are kept. */
void xs_adopt(xs_conn *c, const xs_work *work, const uint8_t *head, const xs_binding *outer);

/* The id of a namespace name, 0 if unknown; and back. */
int xs_ns_id(const uint8_t *uri, size_t n);
const char *xs_ns_uri(int id);

#endif
