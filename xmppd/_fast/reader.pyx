"""The reading end of an XML stream: bytes in, stream header, stanzas, stream end or one stream error out.

RFC 6120 sections 4 and 11. The tokenizer itself is c/xmlscan.c; here its results become Python objects,
unread bytes are kept between reads, and stanzas are written out again with another start tag.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memmove

from xmppd._fast.element cimport Element, build, decode_value, name_str, uri_str, write_element
from xmppd._fast.outbuf cimport outbuf, outbuf_free, outbuf_reserve
from xmppd._fast.xmlscan cimport (
    XS_AT_FROM, XS_AT_ID, XS_AT_LANG, XS_AT_TO, XS_AT_TYPE, XS_AT_XMLNS, XS_ATS, XS_ATTRIBUTES_MAX, XS_URI_MAX,
    XS_BINDINGS_MAX, XS_CHILDREN, XS_DEPTH_MAX, XS_ERROR, XS_ERRORS, XS_MORE, XS_PAD, XS_STANZA, XS_STREAM_CLOSE,
    XS_STREAM_OPEN, xs_adopt, xs_attr, xs_binding, xs_child, xs_conn, xs_init, xs_init_open, xs_limits, xs_next,
    xs_ns_id, xs_ns_uri, xs_partial, xs_rec, xs_restart, xs_work,
)

from xmppd.errors import StreamError

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object s, Py_ssize_t *n) except NULL

cdef extern from "xmlscan.h":
    enum:
        XS_E_ENCODING, XS_E_DECLARED, XS_E_CHAR, XS_E_SYNTAX, XS_E_DECLARATION, XS_E_NAME, XS_E_MISMATCH
        XS_E_DUPLICATE, XS_E_VALUE, XS_E_CDATA_END, XS_E_REFERENCE, XS_E_UNBOUND, XS_E_RESERVED
        XS_E_PROLOG_TEXT, XS_E_RESTRICTED, XS_E_ROOT_NS, XS_E_ROOT_PREFIX, XS_E_ROOT_NAME, XS_E_ROOT_CLOSED
        XS_E_CONTENT_NS, XS_E_UNKNOWN_STANZA, XS_E_STREAM_TEXT
        XS_E_STANZA_BYTES, XS_E_TAG_BYTES, XS_E_DEPTH, XS_E_ATTRIBUTES, XS_E_BINDINGS, XS_E_NAME_BYTES
        XS_E_URI_BYTES, XS_E_REFERENCE_BYTES

ctypedef const unsigned char *ptr

# the names of `Kind` for Python
globals().update(KIND_OTHER=KIND_OTHER, KIND_MESSAGE=KIND_MESSAGE, KIND_PRESENCE=KIND_PRESENCE, KIND_IQ=KIND_IQ)

# ---- errors: RFC 6120 4.9.3, 11 (1-29, 1-31, 1-32, 1-34, 12-1) ----

# number in xmlscan.h -> condition, text, application condition (the limit)
cdef dict ERRORS = {
    XS_E_ENCODING: ("unsupported-encoding", "not UTF-8", None),
    XS_E_DECLARED: ("unsupported-encoding", "only UTF-8 is read", None),
    XS_E_CHAR: ("not-well-formed", "a character that XML does not allow", None),
    XS_E_SYNTAX: ("not-well-formed", "syntax", None),
    XS_E_DECLARATION: ("not-well-formed", "an XML declaration in the wrong place or of the wrong version", None),
    XS_E_NAME: ("not-well-formed", "bad name", None),
    XS_E_MISMATCH: ("not-well-formed", "mismatched end tag", None),
    XS_E_DUPLICATE: ("not-well-formed", "an attribute twice", None),
    XS_E_VALUE: ("not-well-formed", "< in an attribute value", None),
    XS_E_CDATA_END: ("not-well-formed", "]]> in text", None),
    XS_E_REFERENCE: ("not-well-formed", "bad reference", None),
    XS_E_UNBOUND: ("not-well-formed", "a prefix without declaration", None),
    XS_E_RESERVED: ("not-well-formed", "misuse of a reserved prefix or namespace", None),
    XS_E_PROLOG_TEXT: ("not-well-formed", "text where a stream header has to be", None),
    XS_E_RESTRICTED: ("restricted-xml", None, None),
    XS_E_ROOT_NS: ("invalid-namespace", "the stream header is not in the streams namespace", None),
    XS_E_ROOT_PREFIX: ("bad-namespace-prefix", None, None),
    XS_E_ROOT_NAME: ("bad-format", "the root element is not a stream", None),
    XS_E_ROOT_CLOSED: ("bad-format", "an empty stream", None),
    XS_E_CONTENT_NS: ("invalid-namespace", "a content namespace that is not served here", None),
    XS_E_UNKNOWN_STANZA: ("unsupported-stanza-type", None, None),
    XS_E_STREAM_TEXT: ("bad-format", "text between stanzas", None),
    XS_E_STANZA_BYTES: ("policy-violation", "stanza too long", "stanza_bytes"),
    XS_E_TAG_BYTES: ("policy-violation", "tag too long", "tag_bytes"),
    XS_E_DEPTH: ("policy-violation", "nested too deep", "depth"),
    XS_E_ATTRIBUTES: ("policy-violation", "too many attributes", "attributes"),
    XS_E_BINDINGS: ("policy-violation", "too many namespace declarations", "bindings"),
    XS_E_NAME_BYTES: ("policy-violation", "name too long", "name_bytes"),
    XS_E_URI_BYTES: ("policy-violation", "namespace name too long", "uri_bytes"),
    XS_E_REFERENCE_BYTES: ("policy-violation", "character reference too long", "reference_bytes"),
}

# ---- namespaces ----

cpdef int ns_id(str uri):
    """The number of a known namespace name, 0 if it is unknown."""
    cdef Py_ssize_t n
    cdef const char *p = PyUnicode_AsUTF8AndSize(uri, &n)
    return xs_ns_id(<ptr>p, n)


cpdef str ns_uri(int id):
    """The namespace name of a number; ValueError if there is none."""
    cdef const char *uri = xs_ns_uri(id)
    if uri == NULL:
        raise ValueError(f"{id} is no namespace number")
    return (<bytes>uri).decode("ascii")

cdef tuple TYPES = (
    None, None, "chat", "normal", "headline", "groupchat", "error", "get", "set", "result", "unavailable",
    "subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe",
)

# ---- memory: what unfinished input holds ----

cdef enum:
    WORKS_KEPT = 64

cdef xs_work *spare_work[WORKS_KEPT]
cdef int spare_works = 0
cdef Py_ssize_t held_bytes = 0

cpdef Py_ssize_t partial_bytes():
    """Bytes of the buffers that hold unread input, all readers of the process together."""
    return held_bytes


cdef xs_work *take_work() except NULL:
    global spare_works
    cdef xs_work *w
    if spare_works:
        spare_works -= 1
        return spare_work[spare_works]
    w = <xs_work *>malloc(sizeof(xs_work))
    if w == NULL:
        raise MemoryError
    return w


cdef void give_work(xs_work *w) noexcept:
    global spare_works
    if spare_works < WORKS_KEPT:
        spare_work[spare_works] = w
        spare_works += 1
    else:
        free(w)

# ---- limits ----

# what each can be set to, for the message
cdef dict RANGES = {
    "stanza_bytes": (1, 1 << 28),
    "tag_bytes": (1, 1 << 24),
    "depth": (1, XS_DEPTH_MAX),
    "attributes": (1, XS_ATTRIBUTES_MAX),
    "bindings": (2, XS_BINDINGS_MAX),
    "name_bytes": (8, 4096),
    "uri_bytes": (64, XS_URI_MAX),
}


@cython.final
@cython.no_gc
cdef class Limits:
    """What a stream may ask of the reader; passing one is a policy-violation. Sizes in bytes of UTF-8.

    stanza_bytes: a first-level element (RFC 6120 13.12: at least 10000); tag_bytes: one tag; depth: elements
    in each other, the stanza counted; attributes: of one tag; bindings: namespaces in scope, the header's
    counted; name_bytes: a name with its prefix; uri_bytes: a namespace name. ValueError outside what the
    reader can do.
    """

    def __init__(self, *, int stanza_bytes=262144, int tag_bytes=65536, int depth=64, int attributes=64,
                 int bindings=32, int name_bytes=256, int uri_bytes=512):
        given = {"stanza_bytes": stanza_bytes, "tag_bytes": tag_bytes, "depth": depth, "attributes": attributes,
                 "bindings": bindings, "name_bytes": name_bytes, "uri_bytes": uri_bytes}
        for key, value in given.items():
            low, high = RANGES[key]
            if not low <= value <= high:
                raise ValueError(f"{key} must be between {low} and {high}, not {value}")
        self.c = xs_limits(stanza_bytes, tag_bytes, depth, attributes, bindings, name_bytes, uri_bytes)

    stanza_bytes = property(lambda self: (<Limits?>self).c.stanza_bytes)
    tag_bytes = property(lambda self: (<Limits?>self).c.tag_bytes)
    depth = property(lambda self: (<Limits?>self).c.depth)
    attributes = property(lambda self: (<Limits?>self).c.attributes)
    bindings = property(lambda self: (<Limits?>self).c.bindings)
    name_bytes = property(lambda self: (<Limits?>self).c.name_bytes)
    uri_bytes = property(lambda self: (<Limits?>self).c.uri_bytes)

    def __eq__(self, other):
        if type(other) is not Limits:
            return NotImplemented
        return memcmp(&self.c, &(<Limits>other).c, sizeof(xs_limits)) == 0

    def __repr__(self):
        return f"Limits({', '.join(f'{k}={getattr(self, k)}' for k in RANGES)})"

cdef Limits DEFAULT_LIMITS = Limits()

# ---- the stream header ----

@cython.final
@cython.no_gc
cdef class StreamHeader:
    """What the peer's stream header said (RFC 6120 4.7, 4.8). Only `raw` is kept; the rest is read when asked
    for.

    name, prefix, ns: of the element; content_ns: the default namespace if it is not the streams namespace,
    else None; to, from_, id, version, lang: its attributes or None; declarations: prefix ('' = default) to
    namespace name.
    """

    def __dealloc__(self):
        free(self.binding)

    def __sizeof__(self):
        return object.__sizeof__(self) + self.nbinding * sizeof(xs_binding)

    @property
    def name(self):
        return self.raw[1:1 + self.name_len].rpartition(b":")[2].decode()

    @property
    def prefix(self):
        return self.raw[1:1 + self.name_len].rpartition(b":")[0].decode() or None

    @property
    def ns(self):
        return self.declarations[self.prefix or ""]

    @property
    def content_ns(self):
        ns = header_default_ns(self)
        return ns if ns and self.prefix is not None else None

    @property
    def to(self):
        return header_str(self, b"to", 2)

    @property
    def from_(self):
        return header_str(self, b"from", 4)

    @property
    def id(self):
        return header_str(self, b"id", 2)

    @property
    def version(self):
        return header_str(self, b"version", 7)

    @property
    def lang(self):
        return header_str(self, b"xml:lang", 8)

    @property
    def declarations(self):
        return {prefix_at(self, i): uri_at(self, i) for i in range(self.nbinding)}

    def __repr__(self):
        return f"<StreamHeader to={self.to!r} from={self.from_!r} version={self.version!r}>"


cdef int header_attr(StreamHeader self, const char *name, Py_ssize_t n, ptr *value, Py_ssize_t *len) noexcept:
    """Find an attribute; 1 and its raw value, or 0."""
    cdef ptr p = <ptr>PyBytes_AS_STRING(self.raw) + 1 + self.name_len
    cdef ptr end = <ptr>PyBytes_AS_STRING(self.raw) + PyBytes_GET_SIZE(self.raw)
    cdef ptr key
    cdef Py_ssize_t key_len
    cdef unsigned char quote
    while True:
        while p[0] <= b' ':
            p += 1
        if p[0] == b'>':
            return 0
        key = p
        while p[0] > b' ' and p[0] != b'=':
            p += 1
        key_len = p - key
        while p[0] != b"'" and p[0] != b'"':
            p += 1
        quote = p[0]
        value[0] = p + 1
        p = <ptr>memchr(p + 1, quote, end - p - 1)
        len[0] = p - value[0]
        p += 1
        if key_len == n and memcmp(key, name, n) == 0:
            return 1


cdef str header_str(StreamHeader self, const char *name, Py_ssize_t n):
    cdef ptr value
    cdef Py_ssize_t len
    return decode_value(value, len) if header_attr(self, name, n, &value, &len) else None


cdef int keep_lang(StreamHeader self) except -1:
    cdef ptr value
    cdef Py_ssize_t len
    if header_attr(self, b"xml:lang", 8, &value, &len) and len:
        self.lang_raw = PyBytes_FromStringAndSize(<const char *>value, len)
        if b"'" in self.lang_raw:
            self.lang_raw = self.lang_raw.replace(b"'", b"&apos;")
    return 0


cdef str header_default_ns(StreamHeader self):
    cdef int i
    for i in range(self.nbinding):
        if self.binding[i].prefix_len == 0:
            return uri_at(self, i)
    return ""


cdef str uri_at(StreamHeader self, int i):
    return uri_str(<ptr>PyBytes_AS_STRING(self.raw) + self.binding[i].uri, self.binding[i].uri_len)


cdef str prefix_at(StreamHeader self, int i):
    return name_str(<ptr>PyBytes_AS_STRING(self.raw) + self.binding[i].prefix, self.binding[i].prefix_len)


cdef dict SETTLED = {}   # the start tag without what only the header's reader wanted -> its StreamHeader
cdef int SETTLED_MOST = 256

cdef StreamHeader settled(StreamHeader header, str content_ns, Limits limits):
    """The shared header of the same name, bindings and language; None if there is none and no room for one."""
    cdef list tag = [b"<", header.raw[1:1 + header.name_len]]
    cdef xs_binding *b
    cdef int i
    for i in range(header.nbinding):
        b = &header.binding[i]
        tag += (b" xmlns", b":" if b.prefix_len else b"", prefix_at(header, i).encode(), b"=")
        tag.append(header.raw[b.uri - 1:b.uri + b.uri_len + 1])     # with its quotes
    if header.lang_raw is not None:
        tag += (b" xml:lang='", header.lang_raw, b"'")
    tag.append(b">")
    cdef bytes raw = b"".join(tag)
    found = SETTLED.get(raw)
    if found is None and len(SETTLED) < SETTLED_MOST:
        [event] = StreamReader(content_ns=content_ns, limits=limits).feed(raw)
        if isinstance(event, StreamHeader):
            found = SETTLED[raw] = event
    return found

# ---- stanzas ----

# A part of a start tag that a new start tag leaves out.
cdef struct Cut:
    uint32_t at
    uint32_t end

# The attribute area of a start tag without its cuts, in order: to, from, type, xmlns at most.
cdef struct Tag:
    uint32_t end       # of the attributes: '>' or '/>' stands there
    int ncut
    Cut cut[5]


cdef inline Py_ssize_t leave_out(Tag *t, const xs_attr *a) noexcept:
    """Cut an attribute, if there is one, at its place in the order; how many bytes that saves."""
    cdef int i = t.ncut
    if a.at == 0:
        return 0
    while i and t.cut[i - 1].at > a.at:
        t.cut[i] = t.cut[i - 1]
        i -= 1
    t.cut[i] = Cut(a.at, a.value + a.len + 1)
    t.ncut += 1
    return t.cut[i].end - a.at


cdef inline unsigned char *put(unsigned char *o, const void *p, size_t n) noexcept:
    memcpy(o, p, n)
    return o + n


cdef inline unsigned char *put_attr(unsigned char *o, const char *name, size_t n, ptr value, size_t len) noexcept:
    """name: with the space before and the opening quote behind."""
    o = put(o, name, n)
    o = put(o, value, len)
    o[0] = b"'"
    return o + 1


cdef inline unsigned char *put_tag(unsigned char *o, ptr raw, const Tag *t) noexcept:
    """The start tag up to the end of its attributes, without the cuts."""
    cdef uint32_t at = 0
    cdef int i
    for i in range(t.ncut):
        o = put(o, raw + at, t.cut[i].at - at)
        at = t.cut[i].end
    return put(o, raw + at, t.end - at)


# How an address is given: None keeps what the stanza has, b'' leaves the attribute out.
cdef inline int wire(value, ptr *p, Py_ssize_t *n) except -1:
    if value is None:
        p[0] = NULL
        n[0] = 0
    else:
        p[0] = <ptr>PyBytes_AS_STRING(<bytes?>value)
        n[0] = PyBytes_GET_SIZE(value)
        if n[0] == 0:
            n[0] = -1
            p[0] = NULL
    return 0


@cython.final
@cython.no_gc
cdef class Stanza:
    """A first-level element as it was received: its bytes and where in them things are. Immutable.

    Only a stanza with a prefix (`<foo:message/>`) is corrected on the way in (RFC 6120 4.8.5).

    kind: KIND_MESSAGE, KIND_PRESENCE, KIND_IQ in the stream's content namespace, else KIND_OTHER. type: the
    text of the attribute or None; type_id its number. name, ns: of the element. to, from_, id, lang:
    attribute values, decoded, or None. nchild: direct children.
    """

    @staticmethod
    def parse(bytes raw not None, str content_ns not None="jabber:client"):
        """The stanza that `raw` holds, alone and whole, for a place where `content_ns` is the default
        namespace.

        StreamError if it is none.
        """
        return parse_stanza(raw, ns_id(content_ns))

    cdef const unsigned char *to_ptr(self, Py_ssize_t *n) noexcept:
        return attr_ptr(self, XS_AT_TO, n)

    cdef const unsigned char *from_ptr(self, Py_ssize_t *n) noexcept:
        return attr_ptr(self, XS_AT_FROM, n)

    cdef const unsigned char *id_ptr(self, Py_ssize_t *n) noexcept:
        return attr_ptr(self, XS_AT_ID, n)

    cdef int ns_of(self) noexcept:
        return self.rec.nsid

    cdef int child_ns(self, int i) noexcept:
        return self.rec.child[i].nsid if 0 <= i < self.rec.nchild else 0

    cdef bint child_is(self, int i, int ns, const char *name, size_t n) noexcept:
        cdef xs_child *c = &self.rec.child[i]
        return c.nsid == ns and c.name_len == n and memcmp(
            PyBytes_AS_STRING(self.raw) + c.start + c.name, name, n) == 0

    @property
    def to(self):
        return attr_str(self, XS_AT_TO)

    @property
    def from_(self):
        return attr_str(self, XS_AT_FROM)

    @property
    def id(self):
        return attr_str(self, XS_AT_ID)

    @property
    def lang(self):
        return attr_str(self, XS_AT_LANG)

    @property
    def type(self):
        return TYPES[self.type_id] if self.type_id > 1 else attr_str(self, XS_AT_TYPE)

    @property
    def name(self):
        return name_str(<ptr>PyBytes_AS_STRING(self.raw) + self.rec.name, self.rec.name_len)

    @property
    def ns(self):
        return ns_uri(self.rec.nsid)

    def __len__(self):
        return PyBytes_GET_SIZE(self.raw)

    def __repr__(self):
        return f"<Stanza {self.name} type={self.type!r} id={self.id!r}>"

    # ---- looking inside ----

    def element(self):
        """The whole stanza as a tree, a new one each time."""
        return tree(self, 0)

    def child(self, Py_ssize_t i):
        """(namespace, name) of direct child `i`; IndexError beyond the last."""
        cdef xs_child *c
        cdef Element e
        if not 0 <= i < self.nchild:
            raise IndexError(i)
        if i >= XS_CHILDREN:
            e = far_child(self, i - XS_CHILDREN, None, None)
            return e.ns, e.name
        c = &self.rec.child[i]
        return child_uri(self, c), name_str(<ptr>PyBytes_AS_STRING(self.raw) + c.start + c.name, c.name_len)

    def has_child(self, str ns not None, str name not None):
        """Is there a direct child of that name?"""
        return index_of(self, ns, name) >= 0 or far_child(self, -1, ns, name) is not None

    def find(self, str ns not None, str name not None):
        """The first direct child of that name as a tree (only that child is built), or None."""
        cdef int i = index_of(self, ns, name)
        return tree(self, self.rec.child[i].start) if i >= 0 else far_child(self, -1, ns, name)

    # ---- writing out again ----

    cdef int splice(self, outbuf *out, const unsigned char *to, Py_ssize_t to_len,
                    const unsigned char *from_, Py_ssize_t from_len,
                    const unsigned char *lang, Py_ssize_t lang_len) except -1:
        cdef Tag t
        cdef unsigned char *o
        if outbuf_reserve(out, plan(self, &t, to, to_len, from_, from_len, &lang, lang_len)):
            raise MemoryError
        o = out.p + out.len
        o = put_head(self, o, &t, to, to_len, from_, from_len, lang, lang_len)
        o = put(o, <ptr>PyBytes_AS_STRING(self.raw) + t.end, self.rec.len - t.end)
        out.len = <uint32_t>(o - out.p)
        return 0

    cpdef bytes render(self, to=None, from_=None, lang=None):
        """The stanza with `to` and `from` replaced, for any stream of the same content namespace.

        Addresses are bytes as they stand on the wire, safe inside single quotes; None: as in the stanza; b'':
        none. lang: added if the stanza has no xml:lang.
        """
        cdef Tag t
        cdef ptr to_p = NULL, from_p = NULL, lang_p = NULL
        cdef Py_ssize_t to_n = 0, from_n = 0, lang_n = 0
        cdef bytes out
        cdef unsigned char *o
        wire(to, &to_p, &to_n)
        wire(from_, &from_p, &from_n)
        wire(lang, &lang_p, &lang_n)
        out = PyBytes_FromStringAndSize(NULL, plan(self, &t, to_p, to_n, from_p, from_n, &lang_p, lang_n))
        o = put_head(self, <unsigned char *>PyBytes_AS_STRING(out), &t, to_p, to_n, from_p, from_n, lang_p, lang_n)
        put(o, PyBytes_AS_STRING(self.raw) + t.end, self.rec.len - t.end)
        return out

    cpdef tuple split(self, from_=None, lang=None):
        """(head, tail) for many recipients: head + b" to='" + wire + b"'" + tail is a stanza. As `render`
        otherwise.
        """
        cdef Tag t
        cdef ptr from_p = NULL, lang_p = NULL
        cdef Py_ssize_t from_n = 0, lang_n = 0
        cdef Py_ssize_t n
        cdef bytes head
        wire(from_, &from_p, &from_n)
        wire(lang, &lang_p, &lang_n)
        n = plan(self, &t, NULL, -1, from_p, from_n, &lang_p, lang_n) - (self.rec.len - t.end)
        head = PyBytes_FromStringAndSize(NULL, n)
        put_head(self, <unsigned char *>PyBytes_AS_STRING(head), &t, NULL, 0, from_p, from_n, lang_p, lang_n)
        return head, PyBytes_FromStringAndSize(PyBytes_AS_STRING(self.raw) + t.end, self.rec.len - t.end)

    cpdef bytes error_reply(self, bytes error_xml, to=None, from_=None, lang=None):
        """The stanza sent back with type='error' and the error behind its content (RFC 6120 8.3).

        to, from_: wire form, b'' for none; None: the stanza's own `from` and `to`, swapped. lang: as in `render`.
        """
        cdef Tag t
        cdef bytes head
        cdef ptr lang_p = NULL
        cdef Py_ssize_t n, lang_n = 0
        wire(lang, &lang_p, &lang_n)
        n = plan(self, &t, NULL, -1, NULL, -1, &lang_p, lang_n) - (self.rec.len - t.end)
        n -= leave_out(&t, &self.rec.at[XS_AT_TYPE])
        head = PyBytes_FromStringAndSize(NULL, n)
        put_head(self, <unsigned char *>PyBytes_AS_STRING(head), &t, NULL, 0, NULL, 0, lang_p, lang_n)
        return b"%s type='error'%s%s>%s%s</%s>" % (
            head, attr_as(self, b"to", XS_AT_FROM, to), attr_as(self, b"from", XS_AT_TO, from_),
            self.raw[self.rec.tag_end:self.rec.inner_end], error_xml,
            self.raw[1:self.rec.name + self.rec.name_len])

    cpdef bytes reply(self, bytes payload, to=None, from_=None):
        """An IQ result with the same id; `payload` is XML or b''. Addresses as in `error_reply`."""
        cdef bytes head = b"<iq type='result'" + b"".join((
            attr_as(self, b"id", XS_AT_ID, None), attr_as(self, b"to", XS_AT_FROM, to),
            attr_as(self, b"from", XS_AT_TO, from_)))
        return b"%s>%s</iq>" % (head, payload) if payload else head + b"/>"


cdef const unsigned char *attr_ptr(Stanza self, int at, Py_ssize_t *n) noexcept:
    cdef xs_attr *a = &self.rec.at[at]
    if a.at == 0 or self.rec.decode & 1 << at:
        n[0] = -2 if a.at else -1
        return NULL
    n[0] = a.len
    return <ptr>PyBytes_AS_STRING(self.raw) + a.value


cdef str attr_str(Stanza self, int at):
    cdef xs_attr *a = &self.rec.at[at]
    if a.at == 0:
        return None
    return decode_value(<ptr>PyBytes_AS_STRING(self.raw) + a.value, a.len)


cdef Element tree(Stanza self, uint32_t at):
    """The element at raw[at]: the stanza (0) or a direct child."""
    cdef StreamHeader h = self.header
    if h is None:
        return build(<ptr>PyBytes_AS_STRING(self.raw), PyBytes_GET_SIZE(self.raw), at, NULL, NULL, 0,
                     ns_uri(self.rec.nsid))
    return build(<ptr>PyBytes_AS_STRING(self.raw), PyBytes_GET_SIZE(self.raw), at,
                 <ptr>PyBytes_AS_STRING(h.raw), h.binding, h.nbinding, header_default_ns(h))


cdef str child_uri(Stanza self, xs_child *c):
    if c.nsid:
        return ns_uri(c.nsid)
    return uri_str(<ptr>PyBytes_AS_STRING(self.header.raw if c.in_head else self.raw) + c.uri, c.uri_len)


cdef ptr behind_element(ptr p, ptr end) noexcept:
    """The end of the element that begins at p, in bytes the tokenizer has passed."""
    cdef int depth = 0
    cdef unsigned char quote
    while True:
        if p[1] == b'!':
            p = behind_cdata(p, end)
        elif p[1] == b'/':
            depth -= 1
            p = <ptr>memchr(p, b'>', end - p) + 1
        else:
            quote = 0
            while quote or p[0] != b'>':
                if quote:
                    quote = 0 if p[0] == quote else quote
                elif p[0] == b"'" or p[0] == b'"':
                    quote = p[0]
                p += 1
            depth += (p - 1)[0] != b'/'
            p += 1
        if depth == 0:
            return p
        p = <ptr>memchr(p, b'<', end - p)


cdef ptr behind_cdata(ptr p, ptr end) noexcept:
    p += 9    # <![CDATA[
    while True:
        p = <ptr>memchr(p, b']', end - p)
        if p[1] == b']' and p[2] == b'>':
            return p + 3
        p += 1


cdef Element far_child(Stanza self, Py_ssize_t skip, str ns, str name):
    """A direct child behind those with a record: number `skip` of them, or (-1) the first of that name, or None."""
    cdef ptr raw = <ptr>PyBytes_AS_STRING(self.raw)
    cdef ptr end = raw + self.rec.inner_end
    cdef ptr p
    cdef ptr local
    cdef Py_ssize_t n = 0
    cdef const char *wanted = NULL
    cdef Element e
    if self.nchild <= XS_CHILDREN:
        return None
    if skip < 0:
        wanted = PyUnicode_AsUTF8AndSize(name, &n)
    p = raw + self.rec.child[XS_CHILDREN - 1].end
    while True:
        p = <ptr>memchr(p, b'<', end - p)
        if p == NULL:
            return None
        if p[1] == b'!':
            p = behind_cdata(p, end)
            continue
        if wanted != NULL:
            local = p + 1
            while local[0] > b' ' and local[0] != b'>' and local[0] != b'/' and local[0] != b':':
                local += 1
            local = local + 1 if local[0] == b':' else p + 1
            if (raw + self.rec.len - local > n and memcmp(local, wanted, n) == 0
                    and (local[n] <= b' ' or local[n] == b'>' or local[n] == b'/')):
                e = tree(self, <uint32_t>(p - raw))
                if e.ns == ns:
                    return e
        elif skip == 0:
            return tree(self, <uint32_t>(p - raw))
        skip -= wanted == NULL
        p = behind_element(p, end)


cdef int index_of(Stanza self, str ns, str name) except -2:
    """Number of the first direct child of that name among those with a record, -1 if there is none."""
    cdef int i
    cdef int nsid = ns_id(ns)
    cdef Py_ssize_t n
    cdef const char *p = PyUnicode_AsUTF8AndSize(name, &n)
    cdef xs_child *c
    for i in range(self.rec.nchild):
        c = &self.rec.child[i]
        if (c.nsid == nsid and c.name_len == n
                and memcmp(PyBytes_AS_STRING(self.raw) + c.start + c.name, p, n) == 0
                and (nsid or child_uri(self, c) == ns)):
            return i
    return -1


cdef Stanza corrected(Stanza self, Py_ssize_t most):
    """The same stanza without a prefix of its own, as it must not be sent on (RFC 6120 4.8.5).

    Written without prefixes it may be much longer: StreamError if it gets longer than `most` bytes.
    """
    cdef outbuf out = outbuf(NULL, 0, 0)
    cdef bytes raw
    try:
        write_element(&out, tree(self, 0), ns_uri(self.rec.nsid), most)
        if out.len > most:
            raise OverflowError
        raw = PyBytes_FromStringAndSize(<char *>out.p, out.len)
    except OverflowError:
        raise stream_error(XS_E_STANZA_BYTES) from None
    finally:
        outbuf_free(&out)
    return parse_stanza(raw, self.rec.nsid)


cdef inline Py_ssize_t start_tag(Stanza self, Tag *t) noexcept:
    """The start tag without the content namespace, the default namespace wherever it goes; the stanza's
    length then.
    """
    t.end = self.rec.tag_end - 1 - (self.rec.flags & FLAG_SELF_CLOSED)
    t.ncut = 0
    return self.rec.len - (leave_out(t, &self.rec.at[XS_AT_XMLNS]) if self.kind else 0)


cdef size_t outer_len(Stanza self) noexcept:
    """Bytes that `put_outer` writes."""
    cdef size_t n = 0
    cdef int i
    cdef xs_binding *b
    for i in range(self.header.nbinding):
        if self.rec.outer_used >> i & 1:
            b = &self.header.binding[i]
            n += b.prefix_len + b.uri_len + 10
    return n


cdef unsigned char *put_outer(Stanza self, unsigned char *o) noexcept:
    """The declarations of the stream header that are used inside (RFC 6120 4.8.5)."""
    cdef int i
    cdef xs_binding *b
    cdef ptr head = <ptr>PyBytes_AS_STRING(self.header.raw)
    for i in range(self.header.nbinding):
        if self.rec.outer_used >> i & 1:
            b = &self.header.binding[i]
            o = put(o, b" xmlns:", 7)
            o = put(o, head + b.prefix, b.prefix_len)
            o = put(o, b"=", 1)
            o = put(o, head + b.uri - 1, b.uri_len + 2)     # with its quotes
    return o


cdef Py_ssize_t plan(Stanza self, Tag *t, ptr to, Py_ssize_t to_len, ptr from_, Py_ssize_t from_len,
                     ptr *lang, Py_ssize_t lang_len) noexcept:
    """Decide what is left out and added; the length of the new stanza."""
    cdef Py_ssize_t n = start_tag(self, t)
    if to != NULL or to_len < 0:
        n -= leave_out(t, &self.rec.at[XS_AT_TO])
        if to != NULL:
            n += to_len + 6
    if from_ != NULL or from_len < 0:
        n -= leave_out(t, &self.rec.at[XS_AT_FROM])
        if from_ != NULL:
            n += from_len + 8
    if lang[0] != NULL:
        if lang_len <= 0 or self.rec.at[XS_AT_LANG].at:
            lang[0] = NULL
        else:
            n += lang_len + 12
    if self.rec.outer_used:
        n += outer_len(self)
    return n


cdef unsigned char *put_head(Stanza self, unsigned char *o, const Tag *t, ptr to, Py_ssize_t to_len,
                             ptr from_, Py_ssize_t from_len, ptr lang, Py_ssize_t lang_len) noexcept:
    """The new start tag up to the end of its attributes."""
    o = put_tag(o, <ptr>PyBytes_AS_STRING(self.raw), t)
    if to != NULL:
        o = put_attr(o, b" to='", 5, to, to_len)
    if from_ != NULL:
        o = put_attr(o, b" from='", 7, from_, from_len)
    if lang != NULL:
        o = put_attr(o, b" xml:lang='", 11, lang, lang_len)
    if self.rec.outer_used:
        o = put_outer(self, o)
    return o


cdef bytes attr_as(Stanza self, bytes name, int at, value):
    """` name=<value>`: the wire form given, or (None) the raw value of attribute `at` in its own quotes,
    or b''.
    """
    cdef xs_attr *a = &self.rec.at[at]
    if value is not None:
        return b" %s='%s'" % (name, value) if value else b""
    if a.at == 0:
        return b""
    return b" %s=%s" % (name, self.raw[a.value - 1:a.value + a.len + 1])


cdef inline Stanza new_stanza(ptr p, const xs_rec *rec, StreamHeader header):
    cdef Stanza s = Stanza.__new__(Stanza)
    s.raw = PyBytes_FromStringAndSize(<const char *>p, rec.len)
    memcpy(&s.rec, rec, sizeof(xs_rec) - (XS_CHILDREN - rec.nchild) * sizeof(xs_child))
    s.header = header
    s.kind = rec.kind
    s.type_id = rec.type
    s.flags = rec.flags
    s.nchild = rec.children
    return s


cdef inline bint must_be_corrected(Stanza self) noexcept:
    return self.flags & FLAG_OWN_PREFIX and self.kind != KIND_OTHER


cdef Stanza parse_stanza(bytes raw, int content_nsid):
    cdef xs_conn c
    cdef xs_limits limits
    cdef xs_work *w
    cdef uint32_t n = PyBytes_GET_SIZE(raw), used
    cdef unsigned char *copy
    cdef int event
    cdef Stanza stanza
    limits = xs_limits(1 << 28, 1 << 24, XS_DEPTH_MAX, XS_ATTRIBUTES_MAX, XS_BINDINGS_MAX, 4096, XS_URI_MAX)
    w = take_work()
    copy = <unsigned char *>malloc(n + XS_PAD)
    try:
        if copy == NULL:
            raise MemoryError
        memcpy(copy, PyBytes_AS_STRING(raw), n)
        xs_init_open(&c, &limits, content_nsid)
        event = xs_next(&c, w, copy, n, &used)
        if event == XS_STANZA and used == n and c.start == 0:
            stanza = new_stanza(copy, &w.rec, None)
            return corrected(stanza, limits.stanza_bytes) if must_be_corrected(stanza) else stanza
        if event == XS_ERROR:
            raise stream_error(c.error)
        raise StreamError("bad-format", "not one whole stanza")
    finally:
        free(copy)
        give_work(w)

# ---- the reader ----

cdef stream_error(int code):
    condition, text, app = ERRORS[code]
    return StreamError(condition, text, app=app)


@cython.final
@cython.no_gc
cdef class StreamClose:
    """The peer's `</stream:stream>`."""

    def __repr__(self):
        return "<StreamClose>"

cdef StreamClose CLOSE = StreamClose()

# where `feed` puts its bytes: padded, and alive only inside the call
cdef unsigned char *scratch = NULL
cdef Py_ssize_t scratch_cap = 0


@cython.final
cdef class StreamReader:
    """Reads one stream after another from one connection. See reader.pxd for the calls that take a borrowed
    buffer.

    content_ns: the content namespace that is served here (RFC 6120 4.8.2); limits: see Limits.
    """

    def __init__(self, *, str content_ns not None="jabber:client", Limits limits=None):
        cdef int nsid = ns_id(content_ns)
        if content_ns not in ("jabber:client", "jabber:server", "jabber:component:accept"):
            raise ValueError(f"{content_ns!r} is no content namespace")
        self.limits = DEFAULT_LIMITS if limits is None else limits
        xs_init(&self.conn, &self.limits.c, nsid)

    def __dealloc__(self):
        drop_own(self)
        if self.work != NULL:
            give_work(self.work)

    cdef int begin(self, unsigned char *p, Py_ssize_t n) except -1:
        if self.p != NULL and self.own == NULL:
            raise RuntimeError("begin without end")
        if not 0 <= n <= 1 << 28:
            raise ValueError("too many bytes at once")
        if self.error is not None:
            return 0
        if self.own != NULL:
            return append_own(self, p, n) if n else 0
        self.p = p
        self.n = <uint32_t>n
        self.at = 0
        return 0

    cdef int next(self) except -1:
        cdef int event
        cdef uint32_t used
        cdef ptr p
        cdef xs_work *w = self.work
        if self.error is not None:
            return EV_ERROR
        if self.at == self.n:
            return EV_MORE
        if w == NULL:
            w = take_work()
        event = xs_next(&self.conn, w, self.p + self.at, self.n - self.at, &used)
        p = self.p + self.at + self.conn.start
        self.at += used
        if event == XS_MORE and xs_partial(&self.conn):
            self.work = w
            return EV_MORE
        self.work = NULL
        try:
            if event == XS_STANZA:
                self.stanza = new_stanza(p, &w.rec, self.header)
                if must_be_corrected(self.stanza):
                    event = correct(self)
            elif event == XS_STREAM_OPEN:
                open_stream(self, p, w)
            elif event == XS_ERROR:
                fail(self, stream_error(self.conn.error))
        finally:
            give_work(w)
        return event

    cdef int end(self) except -1:
        cdef uint32_t rest = self.n - self.at
        cdef ptr p = self.p + self.at
        self.stanza = None     # who is idle holds no stanza
        if rest == 0:
            drop_own(self)
            self.p = NULL
            self.n = self.at = 0
        elif self.own == NULL:
            self.n = self.at = 0
            self.p = NULL
            append_own(self, p, rest)
        elif self.at:
            memmove(self.own, p, rest)
            self.n = rest
            self.at = 0
            if self.own_cap > 4096 and rest < self.own_cap // 8:
                shrink_own(self)
        return 0

    def __sizeof__(self):
        return object.__sizeof__(self) + self.own_cap + (sizeof(xs_work) if self.work != NULL else 0)

    @property
    def pending_bytes(self):
        """Bytes presented and not used yet, kept here or still in the borrowed buffer."""
        return self.n - self.at

    def restart(self):
        """A new stream on the same connection; bytes not used yet belong to it. A stream error stays."""
        if self.error is None:
            xs_restart(&self.conn)
            self.header = None
            self.stanza = None
            if self.work != NULL:
                give_work(self.work)
                self.work = NULL

    def abandon(self, uint32_t last):
        """Nothing more will be read: give back what unread input holds. -> the last bytes, at most `last`, of the input."""
        cdef uint32_t n = min(last, self.n)
        cdef bytes kept = self.p[self.n - n:self.n] if n else b""
        self.at = self.n
        self.end()
        return kept

    def settle(self):
        """The stream is open: keep of its header only what stanzas refer to, shared with streams that said the same.

        An idle connection then owns no header. What `to`, `from` and the rest said is gone.
        """
        cdef StreamHeader shared
        if self.header is None or self.error is not None or xs_partial(&self.conn):
            return
        shared = settled(self.header, ns_uri(self.conn.content_nsid), self.limits)
        if shared is not None:
            self.header = shared
            self.conn.head = <ptr>PyBytes_AS_STRING(shared.raw)
            self.conn.outer = shared.binding

    def set_limits(self, Limits limits not None):
        """Other limits from the next byte on."""
        self.limits = limits
        self.conn.limits = &limits.c

    # ---- from Python ----

    def present(self, bytes data not None):
        """Put `data` behind the bytes not used yet; `next_event` reads them."""
        if self.error is None and PyBytes_GET_SIZE(data):
            if self.p != NULL and self.own == NULL:
                raise RuntimeError("a borrowed buffer is being read")
            append_own(self, <ptr>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    def next_event(self):
        """The next StreamHeader, Stanza, StreamClose or (for ever then) StreamError; None: more bytes are
        needed.
        """
        cdef int event = self.next()
        if event == EV_MORE or event == EV_ERROR:
            self.end()
        return event_object(self, event)

    def feed(self, bytes data not None):
        """All events of `data`, as `next_event` gives them; a StreamError is the last one, and given once."""
        global scratch, scratch_cap
        cdef list events = []
        cdef Py_ssize_t n = PyBytes_GET_SIZE(data)
        cdef unsigned char *p = scratch
        cdef Py_ssize_t cap = scratch_cap
        cdef int event
        if self.error is not None:
            return events
        if self.own != NULL:
            self.present(data)
        else:
            scratch, scratch_cap = NULL, 0   # ours until we are done: who is called meanwhile makes another
            if cap < n + XS_PAD:
                cap = max(n + XS_PAD, 16384)
                free(p)
                p = <unsigned char *>malloc(cap)
                if p == NULL:
                    raise MemoryError
            memcpy(p, PyBytes_AS_STRING(data), n)
            self.begin(p, n)
        try:
            while True:
                event = self.next()
                if event == EV_STANZA:
                    events.append(self.stanza)
                elif event == EV_MORE:
                    break
                else:
                    events.append(event_object(self, event))
                    if event == EV_ERROR:
                        break
            self.end()
        finally:
            if p != scratch:
                if scratch == NULL and cap <= 1 << 20:
                    scratch = p
                    scratch_cap = cap
                else:
                    free(p)
        return events


cdef void drop_own(StreamReader self) noexcept:
    global held_bytes
    if self.own != NULL:
        held_bytes -= self.own_cap
        free(self.own)
        self.own = NULL
        self.own_cap = 0


cdef int reserve_own(StreamReader self, size_t n) except -1:
    """Room for n bytes and the padding in `own`."""
    global held_bytes
    cdef size_t cap = self.own_cap
    cdef unsigned char *own
    n += XS_PAD
    if n <= cap:
        return 0
    # twice as much when it grows, exactly what is needed at first
    cap = max(n, 2 * cap) if cap else (n + 15) & ~<size_t>15
    own = <unsigned char *>realloc(self.own, cap)
    if own == NULL:
        raise MemoryError
    held_bytes += <Py_ssize_t>cap - self.own_cap
    self.own = own
    self.own_cap = <uint32_t>cap
    return 0


cdef int append_own(StreamReader self, const unsigned char *p, Py_ssize_t n) except -1:
    """Put bytes behind those that `own` keeps."""
    reserve_own(self, self.n + n)
    memcpy(self.own + self.n, p, n)
    self.p = self.own
    self.n += <uint32_t>n
    return 0


cdef int open_stream(StreamReader self, ptr p, const xs_work *w) except -1:
    cdef StreamHeader h = StreamHeader.__new__(StreamHeader)
    h.raw = PyBytes_FromStringAndSize(<const char *>p, w.rec.len)
    h.nbinding = w.nbind
    h.name_len = w.rec.name - 1 + w.rec.name_len
    h.binding = <xs_binding *>malloc(w.nbind * sizeof(xs_binding))
    if h.binding == NULL:
        raise MemoryError
    memcpy(h.binding, w.bind, w.nbind * sizeof(xs_binding))
    if w.rec.at[XS_AT_LANG].at:
        keep_lang(h)
    xs_adopt(&self.conn, w, <ptr>PyBytes_AS_STRING(h.raw), h.binding)
    self.header = h
    return 0


cdef int correct(StreamReader self) except -1:
    """Put the corrected stanza in the place of the prefixed one; the event that this makes of it."""
    try:
        self.stanza = corrected(self.stanza, self.limits.c.stanza_bytes)
    except StreamError as error:
        fail(self, error)
        return EV_ERROR
    return EV_STANZA


cdef int fail(StreamReader self, error) except -1:
    self.error = error
    self.at = self.n
    return 0


cdef void shrink_own(StreamReader self) noexcept:
    global held_bytes
    cdef uint32_t cap = self.n + XS_PAD
    cdef unsigned char *own = <unsigned char *>realloc(self.own, cap)
    if own != NULL:
        held_bytes -= self.own_cap - cap
        self.own = self.p = own
        self.own_cap = cap


cdef object event_object(StreamReader self, int event):
    if event == EV_STANZA:
        return self.stanza
    if event == EV_STREAM_OPEN:
        return self.header
    if event == EV_STREAM_CLOSE:
        return CLOSE
    return self.error          # None at EV_MORE


