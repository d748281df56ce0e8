"""Element trees for those who must look inside; relaying never builds one.

A tree is built by one pass without checks from bytes that the tokenizer has passed. There is no parent
pointer, so that elements make no cycles and the garbage collector need not know them.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memcpy

from xmppd._fast.outbuf cimport outbuf, outbuf_free, outbuf_put
from xmppd._fast.xmlscan cimport xs_binding

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object s, Py_ssize_t *n) except NULL
    bint PyUnicode_IS_COMPACT_ASCII(object s)
    Py_ssize_t PyUnicode_GET_LENGTH(object s)
    void *PyUnicode_DATA(object s)

cdef extern from "utf8.h":
    unsigned int utf8_encode(uint32_t c, uint8_t *out) noexcept nogil

ctypedef const unsigned char *ptr

cdef dict AS_WRITTEN = str.maketrans({"&": "&amp;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"})
cdef str XML_URI = "http://www.w3.org/XML/1998/namespace"
cdef str XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"

cdef enum:
    MOST_BINDINGS = 96     # the reader lets 32 through
    MOST_DEPTH = 160       # the reader lets 128 through

# ---- names: a bounded table, the last one seen in a slot stays ----

cdef enum:
    SLOTS = 2048
    LONGEST = 64           # bytes

cdef PyObject *slots[SLOTS]

cdef inline uint64_t word(ptr p, Py_ssize_t n) noexcept nogil:
    """The bytes p..p+n, n <= 8, in one number."""
    cdef uint64_t v = 0
    memcpy(&v, p, n)
    return v


cdef str name_str(const unsigned char *p, Py_ssize_t n):
    cdef uint64_t h
    cdef uint32_t i
    cdef str s
    if n > LONGEST or n == 0:
        return PyUnicode_DecodeUTF8(<const char *>p, n, NULL)
    if n >= 8:
        h = word(p, 8) * 3 ^ word(p + n - 8, 8)
    elif n >= 4:
        h = word(p, 4) | word(p + n - 4, 4) << 32
    else:
        h = p[0] | <uint64_t>p[n >> 1] << 8 | <uint64_t>p[n - 1] << 16
    i = <uint32_t>((h + <uint64_t>n) * <uint64_t>0x9E3779B97F4A7C15 >> 53)
    if slots[i] != NULL:
        s = <str>slots[i]
        if PyUnicode_GET_LENGTH(s) == n and memcmp(PyUnicode_DATA(s), p, n) == 0:
            return s
    s = PyUnicode_DecodeUTF8(<const char *>p, n, NULL)
    if PyUnicode_IS_COMPACT_ASCII(s):
        Py_XDECREF(slots[i])
        Py_INCREF(s)
        slots[i] = <PyObject *>s
    return s

# ---- decoding ----

cdef Py_ssize_t unescape(ptr p, Py_ssize_t n, unsigned char *out, bint value) noexcept:
    """Decode p[n] into out, which has room for n bytes; -1 if a reference is none.

    White space differs by place (XML 1.0, 2.11 and 3.3.3): in text CRLF and CR become LF; in a value CRLF,
    CR, LF and TAB become a space. What a reference stands for stays as it is.
    """
    cdef ptr end = p + n
    cdef ptr semicolon
    cdef unsigned char *o = out
    cdef uint32_t c, d
    while p < end:
        if p[0] == b'&':
            semicolon = <ptr>memchr(p, b';', end - p)
            if semicolon == NULL:
                return -1
            c = 0
            n = semicolon - p - 1
            if p[1] == b'#':
                if n < 2 or n > 20:
                    return -1
                p += 2
                if p[0] == b'x':
                    p += 1
                    while p < semicolon:
                        d = p[0]
                        c = c << 4 | (d - 48 if d <= 57 else (d | 0x20) - 87) & 15
                        p += 1
                else:
                    while p < semicolon:
                        c = c * 10 + (p[0] - 48 & 15)
                        p += 1
            elif n == 2 and p[2] == b't' and (p[1] == b'l' or p[1] == b'g'):
                c = b'<' if p[1] == b'l' else b'>'
            elif n == 3 and memcmp(p, b"&amp", 4) == 0:
                c = b'&'
            elif n == 4 and memcmp(p, b"&apos", 5) == 0:
                c = b"'"
            elif n == 4 and memcmp(p, b"&quot", 5) == 0:
                c = b'"'
            else:
                return -1
            if c > 0x10FFFF or c == 0:
                return -1
            o += utf8_encode(c, o)
            p = semicolon + 1
        elif p[0] == b'\r':
            if p + 1 < end and p[1] == b'\n':
                p += 1
            o[0] = b' ' if value else b'\n'
            o += 1
            p += 1
        elif value and (p[0] == b'\n' or p[0] == b'\t'):
            o[0] = b' '
            o += 1
            p += 1
        else:
            o[0] = p[0]
            o += 1
            p += 1
    return o - out


cdef str unescaped(ptr p, Py_ssize_t n, bint value):
    cdef unsigned char small[256]
    cdef unsigned char *out = small
    cdef Py_ssize_t m
    if n > 256:
        out = <unsigned char *>malloc(n)
        if out == NULL:
            raise MemoryError
    try:
        m = unescape(p, n, out, value)
        if m < 0:
            raise ValueError("not a reference that XMPP knows")
        return PyUnicode_DecodeUTF8(<const char *>out, m, NULL)
    finally:
        if out != small:
            free(out)


cdef str decode_value(const unsigned char *p, Py_ssize_t n):
    cdef Py_ssize_t i
    for i in range(n):
        if p[i] < 0x20 or p[i] == b'&':
            return unescaped(p, n, True)
    return PyUnicode_DecodeUTF8(<const char *>p, n, NULL)


cdef str uri_str(const unsigned char *p, Py_ssize_t n):
    cdef Py_ssize_t i
    for i in range(n):
        if p[i] < 0x20 or p[i] == b'&':
            return unescaped(p, n, True)
    return name_str(p, n)


cdef inline str decode_text(ptr p, Py_ssize_t n):
    if memchr(p, b'&', n) == NULL and memchr(p, b'\r', n) == NULL:
        return PyUnicode_DecodeUTF8(<const char *>p, n, NULL)
    return unescaped(p, n, False)

# ---- the tree ----

@cython.final
@cython.no_gc
@cython.freelist(128)
cdef class Element:
    """`{ns}name`, `attrs` (name or `{uri}name` to value) or None, `children` (Element and str mixed) or None.

    No namespace is the empty string. The containers are the element's own; who changes them does it before
    anybody else sees the element.
    """

    def __init__(self, str ns not None, str name not None, dict attrs=None, list children=None):
        self.ns = ns
        self.name = name
        self.attrs = attrs
        self.children = children

    cpdef get(self, str attr, default=None):
        """The value of attribute `attr`, or `default`."""
        return default if self.attrs is None else self.attrs.get(attr, default)

    cpdef Element find(self, str ns, str name):
        """The first child element of that name, or None."""
        if self.children is not None:
            for child in self.children:
                if type(child) is Element and (<Element>child).name == name and (<Element>child).ns == ns:
                    return <Element>child
        return None

    cpdef str text(self):
        """The character data directly inside, joined."""
        if self.children is None:
            return ""
        if len(self.children) == 1 and type(self.children[0]) is str:
            return <str>self.children[0]
        return "".join([c for c in self.children if type(c) is str])

    def __iter__(self):
        """The child elements."""
        return iter([] if self.children is None else [c for c in self.children if type(c) is Element])

    def __eq__(self, other):
        """Equal infosets: names, attributes in any order, children in order."""
        if type(other) is not Element:
            return NotImplemented
        cdef Element o = <Element>other
        return (self.name == o.name and self.ns == o.ns and (self.attrs or None) == (o.attrs or None)
                and (self.children or None) == (o.children or None))

    __hash__ = None

    def __repr__(self):
        return f"<Element {{{self.ns}}}{self.name}>"


cdef struct Bound:
    ptr prefix
    Py_ssize_t prefix_len
    ptr uri
    Py_ssize_t uri_len

cdef struct Builder:
    ptr end
    int depth
    int nbound
    Bound bound[MOST_BINDINGS]


cdef inline bint is_space(unsigned char c) noexcept:
    return c == b' ' or c == b'\n' or c == b'\t' or c == b'\r'


cdef inline bint in_name(unsigned char c) noexcept:
    return c > b'?' or (c > b' ' and c != b'/' and c != b'=' and c != b'>' and c != b'<')


cdef broken():
    return ValueError("not an element that the tokenizer has passed")


cdef str uri_of(Builder *b, ptr prefix, Py_ssize_t n):
    cdef int i = b.nbound
    while i:
        i -= 1
        if b.bound[i].prefix_len == n and memcmp(b.bound[i].prefix, prefix, n) == 0:
            return uri_str(b.bound[i].uri, b.bound[i].uri_len)
    if n == 3 and memcmp(prefix, b"xml", 3) == 0:
        return XML_URI
    raise broken()


cdef struct Attr:
    ptr name
    Py_ssize_t name_len
    Py_ssize_t prefix_len      # 0: none
    ptr value
    Py_ssize_t value_len
    bint plain                 # nothing to decode


cdef inline int next_attr(Builder *b, ptr *pp, Attr *a) except -1:
    """The attribute at *pp; 0 if '>' or '/' stands there."""
    cdef ptr p = pp[0]
    cdef unsigned char quote
    while is_space(p[0]):
        p += 1
    a.name = p
    a.prefix_len = 0
    while in_name(p[0]):
        if p[0] == b':':
            a.prefix_len = p - a.name
        p += 1
    a.name_len = p - a.name
    if a.name_len == 0:
        pp[0] = p
        if p[0] == b'>' or p[0] == b'/':
            return 0
        raise broken()
    while is_space(p[0]):
        p += 1
    if p[0] == b'=':
        p += 1
    while is_space(p[0]):
        p += 1
    quote = p[0]
    if quote != b"'" and quote != b'"':
        raise broken()
    p += 1
    a.value = p
    a.plain = True
    while p[0] != quote:
        if p[0] < 0x20 or p[0] == b'&':
            if p >= b.end:
                raise broken()
            a.plain = False
        p += 1
    a.value_len = p - a.value
    pp[0] = p + 1
    return 1


cdef inline str attr_value(Attr *a):
    if a.plain:
        return PyUnicode_DecodeUTF8(<const char *>a.value, a.value_len, NULL)
    return unescaped(a.value, a.value_len, True)


cdef inline bint is_prefix(Attr *a, const char *prefix, Py_ssize_t n) noexcept:
    return a.prefix_len == n and memcmp(a.name, prefix, n) == 0


cdef int bind(Builder *b, ptr prefix, Py_ssize_t prefix_len, ptr uri, Py_ssize_t uri_len) except -1:
    if b.nbound == MOST_BINDINGS:
        raise ValueError("too many namespaces in scope")
    b.bound[b.nbound] = Bound(prefix, prefix_len, uri, uri_len)
    b.nbound += 1
    return 0


cdef str start_tag(Builder *b, ptr *pp, Element e, str dflt, bint *empty):
    """The start tag at *pp ('<'): fills `e` and binds what is declared; returns the default namespace
    inside.
    """
    cdef ptr p = pp[0] + 1
    cdef ptr name = p
    cdef ptr first
    cdef Py_ssize_t prefix_len = 0
    cdef int prefixed = 0
    cdef Attr a
    cdef dict attrs = None
    cdef str key
    while in_name(p[0]):
        if p[0] == b':':
            prefix_len = p - name
        p += 1
    if p == name:
        raise broken()
    e.name = name_str(name + prefix_len + 1, p - name - prefix_len - 1) if prefix_len else name_str(name, p - name)
    first = p
    while next_attr(b, &p, &a):
        if a.prefix_len:
            if is_prefix(&a, b"xmlns", 5):
                bind(b, a.name + 6, a.name_len - 6, a.value, a.value_len)
                continue
            prefixed += 1     # it may be declared behind its use: a second pass
            continue
        if a.name_len == 5 and memcmp(a.name, b"xmlns", 5) == 0:
            dflt = name_str(a.value, a.value_len) if a.plain else attr_value(&a)
            continue
        if attrs is None:
            attrs = {}
        attrs[name_str(a.name, a.name_len)] = attr_value(&a)
    empty[0] = p[0] == b'/'
    p += 1 + empty[0]
    if p > b.end:
        raise broken()
    pp[0] = p
    if prefixed:
        if attrs is None:
            attrs = {}
        while next_attr(b, &first, &a):
            if a.prefix_len == 0 or is_prefix(&a, b"xmlns", 5):
                continue
            if a.name_len == 8 and memcmp(a.name, b"xml:lang", 8) == 0:
                key = XML_LANG
            else:
                key = "{%s}%s" % (uri_of(b, a.name, a.prefix_len),
                                  name_str(a.name + a.prefix_len + 1, a.name_len - a.prefix_len - 1))
            attrs[key] = attr_value(&a)
    e.ns = uri_of(b, name, prefix_len) if prefix_len else dflt
    e.attrs = attrs
    return dflt


cdef list joined(list children):
    """Neighbouring texts made one."""
    cdef list out = []
    cdef list run = []
    for child in children:
        if type(child) is str:
            run.append(child)
            continue
        if run:
            out.append("".join(run))
            run = []
        out.append(child)
    if run:
        out.append("".join(run))
    return out


cdef Element element_at(Builder *b, ptr *pp, str dflt):
    cdef Element e = Element.__new__(Element)
    cdef list children = None
    cdef int nbound = b.nbound
    cdef int texts = 0         # since the last child element
    cdef bint split = False    # two texts beside each other
    cdef bint empty
    cdef ptr p
    cdef str text
    dflt = start_tag(b, pp, e, dflt, &empty)
    if not empty:
        if b.depth == MOST_DEPTH:
            raise ValueError("nested too deep")
        b.depth += 1
        p = pp[0]
        while True:
            text = None
            if p[0] != b'<':
                pp[0] = <ptr>memchr(p, b'<', b.end - p)
                if pp[0] == NULL:
                    raise broken()
                text = decode_text(p, pp[0] - p)
                p = pp[0]
            elif p[1] == b'/':
                p = <ptr>memchr(p, b'>', b.end - p)
                if p == NULL:
                    raise broken()
                pp[0] = p + 1
                break
            elif p[1] == b'!':
                if b.end - p < 12 or memcmp(p, b"<![CDATA[", 9) != 0:
                    raise broken()
                p += 9
                pp[0] = p
                while True:
                    p = <ptr>memchr(p, b'>', b.end - p)
                    if p == NULL:
                        raise broken()
                    if p - pp[0] >= 2 and (p - 1)[0] == b']' and (p - 2)[0] == b']':
                        break
                    p += 1
                text = PyUnicode_DecodeUTF8(<const char *>pp[0], p - 2 - pp[0], NULL)
                p += 1
                if "\r" in text:
                    text = text.replace("\r\n", "\n").replace("\r", "\n")
                if not text:
                    continue
            if children is None:
                children = []
            if text is not None:
                texts += 1
                split |= texts > 1
                children.append(text)
            else:
                texts = 0
                pp[0] = p
                children.append(element_at(b, pp, dflt))
                p = pp[0]
        b.depth -= 1
        e.children = joined(children) if split else children
    b.nbound = nbound
    return e


cdef Element build(const unsigned char *raw, Py_ssize_t n, Py_ssize_t at,
                   const unsigned char *head, const xs_binding *outer, int nouter, str default_ns):
    cdef Builder b
    cdef Element parent
    cdef ptr p = raw
    cdef bint empty
    cdef int i
    b.end = raw + n
    b.depth = 0
    b.nbound = 0
    for i in range(nouter):
        if outer[i].prefix_len:
            bind(&b, head + outer[i].prefix, outer[i].prefix_len, head + outer[i].uri, outer[i].uri_len)
    if at:
        parent = Element.__new__(Element)
        default_ns = start_tag(&b, &p, parent, default_ns, &empty)
        p = raw + at
    return element_at(&b, &p, default_ns)


def parse(bytes raw not None, str default_ns not None="", prefixes=None):
    """The element that `raw` holds, alone and whole.

    For bytes that have been through the tokenizer or were written here: structure is checked as far as
    building needs it (ValueError), well-formedness is not. `default_ns`, `prefixes` (prefix to URI): the
    scope the bytes stood in.
    """
    cdef Builder b
    cdef Py_ssize_t i, n = PyBytes_GET_SIZE(raw)
    cdef ptr p = <ptr>PyBytes_AS_STRING(raw)
    cdef list keep = []
    cdef Element e
    b.end = p + n
    b.depth = 0
    b.nbound = 0
    if prefixes:
        for prefix, uri in prefixes.items():
            pair = (prefix.encode(), uri.translate(AS_WRITTEN).encode())
            keep.append(pair)
            bind(&b, <ptr>PyBytes_AS_STRING(pair[0]), len(pair[0]), <ptr>PyBytes_AS_STRING(pair[1]), len(pair[1]))
    if n == 0 or p[0] != b'<':
        raise broken()
    e = element_at(&b, &p, default_ns)
    if p != b.end:
        raise ValueError("more than one element")
    return e

# ---- writing ----

cdef enum:
    PLAIN, IN_TEXT, IN_VALUE, ALWAYS, NEVER

cdef struct Escape:
    const char *text
    int len

cdef uint8_t[256] kind_of
cdef Escape[256] escape_of

cdef void set_escape(int c, int kind, const char *text, int n) noexcept:
    kind_of[c] = kind
    escape_of[c] = Escape(text, n)

for _i in range(32):
    set_escape(_i, NEVER, NULL, 0)
set_escape(0x26, ALWAYS, b"&amp;", 5)
set_escape(0x3C, ALWAYS, b"&lt;", 4)
set_escape(0x3E, ALWAYS, b"&gt;", 4)
set_escape(0x27, IN_VALUE, b"&apos;", 6)
set_escape(0x22, IN_VALUE, b"&quot;", 6)
set_escape(0x0D, ALWAYS, b"&#13;", 5)
set_escape(0x09, IN_VALUE, b"&#9;", 4)
set_escape(0x0A, IN_VALUE, b"&#10;", 5)


cdef int put(outbuf *out, const void *p, Py_ssize_t n) except -1:
    if outbuf_put(out, p, n):
        raise MemoryError
    return 0


cdef int put_escaped(outbuf *out, ptr p, Py_ssize_t n, int where) except -1:
    """Append p[n]; `where` is IN_TEXT or IN_VALUE (of either quote)."""
    cdef ptr end = p + n
    cdef ptr run = p
    cdef int kind
    while p < end:
        kind = kind_of[p[0]]
        if kind == ALWAYS or (kind == where and kind != PLAIN):
            put(out, run, p - run)
            put(out, escape_of[p[0]].text, escape_of[p[0]].len)
            run = p + 1
        elif kind == NEVER or (p[0] == 0xEF and end - p > 2 and p[1] == 0xBF and p[2] >= 0xBE):
            raise ValueError("a character that XML does not allow")
        p += 1
    return put(out, run, end - run)


cdef int put_str(outbuf *out, str s, int where) except -1:
    cdef Py_ssize_t n
    cdef const char *p = PyUnicode_AsUTF8AndSize(s, &n)
    if where == PLAIN:
        return put(out, p, n)
    return put_escaped(out, <ptr>p, n, where)


cdef escaped(value, int where):
    cdef outbuf out = outbuf(NULL, 0, 0)
    cdef Py_ssize_t n
    cdef const char *p
    try:
        if type(value) is bytes:
            put_escaped(&out, <ptr>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), where)
            return value if out.len == PyBytes_GET_SIZE(value) else PyBytes_FromStringAndSize(<char *>out.p, out.len)
        p = PyUnicode_AsUTF8AndSize(value, &n)
        put_escaped(&out, <ptr>p, n, where)
        return value if out.len == n else PyUnicode_DecodeUTF8(<const char *>out.p, out.len, NULL)
    finally:
        outbuf_free(&out)


def escape_text(value):
    """`value` (str or UTF-8 bytes) as character data; the same type. ValueError: a character XML does not
    allow.
    """
    return escaped(value, IN_TEXT)


def escape_attr(value):
    """`value` (str or UTF-8 bytes) for an attribute in either quote; the same type. ValueError as
    escape_text.
    """
    return escaped(value, IN_VALUE)


cdef int put_attr(outbuf *out, str name, str value) except -1:
    put(out, b" ", 1)
    put_str(out, name, PLAIN)
    put(out, b"='", 2)
    put_str(out, value, IN_VALUE)
    return put(out, b"'", 1)


cdef int write_element(outbuf *out, Element e, str default_ns, Py_ssize_t most) except -1:
    cdef dict prefixes = None
    cdef str key, uri, prefix
    put(out, b"<", 1)
    put_str(out, e.name, PLAIN)
    if e.ns != default_ns:
        put_attr(out, "xmlns", e.ns)
    if e.attrs is not None:
        for key, value in e.attrs.items():
            if key.startswith("{"):
                uri, key = key[1:].rsplit("}", 1)
                if uri == XML_URI:
                    key = "xml:" + key
                else:
                    if prefixes is None:
                        prefixes = {}
                    prefix = prefixes.get(uri)
                    if prefix is None:
                        prefix = f"ns{len(prefixes)}"
                        prefixes[uri] = prefix
                        put_attr(out, "xmlns:" + prefix, uri)
                    key = prefix + ":" + key
            put_attr(out, key, value)
    if out.len > most:
        raise OverflowError("an element too long to be written")
    if not e.children:
        return put(out, b"/>", 2)
    put(out, b">", 1)
    for child in e.children:
        if type(child) is Element:
            write_element(out, <Element>child, e.ns, most)
        else:
            put_str(out, child, IN_TEXT)
    put(out, b"</", 2)
    put_str(out, e.name, PLAIN)
    return put(out, b">", 1)


def serialize(Element element not None, str content_ns not None=""):
    """The element as bytes, for a place where `content_ns` is the default namespace. ValueError as
    escape_text.
    """
    cdef outbuf out = outbuf(NULL, 0, 0)
    try:
        write_element(&out, element, content_ns, 1 << 28)
        return PyBytes_FromStringAndSize(<char *>out.p, out.len)
    finally:
        outbuf_free(&out)
