from libc.stdint cimport uint32_t

from xmppd._fast.outbuf cimport outbuf
from xmppd._fast.xmlscan cimport xs_binding, xs_conn, xs_limits, xs_rec, xs_work

# What `StreamReader.next` found.
cdef enum Event:
    EV_MORE = 0
    EV_STREAM_OPEN = 1
    EV_STANZA = 2
    EV_STREAM_CLOSE = 3
    EV_ERROR = 4

cdef enum Kind:      # of a first-level element, in the stream's content namespace
    KIND_OTHER = 0
    KIND_MESSAGE = 1
    KIND_PRESENCE = 2
    KIND_IQ = 3

cdef enum StanzaType:
    TYPE_NONE = 0    # no `type` attribute
    TYPE_OTHER = 1   # a text the RFCs do not know
    TYPE_CHAT = 2
    TYPE_NORMAL = 3
    TYPE_HEADLINE = 4
    TYPE_GROUPCHAT = 5
    TYPE_ERROR = 6
    TYPE_GET = 7
    TYPE_SET = 8
    TYPE_RESULT = 9
    TYPE_UNAVAILABLE = 10
    TYPE_SUBSCRIBE = 11
    TYPE_SUBSCRIBED = 12
    TYPE_UNSUBSCRIBE = 13
    TYPE_UNSUBSCRIBED = 14
    TYPE_PROBE = 15

cdef enum Flag:      # Stanza.flags
    FLAG_SELF_CLOSED = 1
    FLAG_HAS_TEXT = 2
    FLAG_CDATA = 4
    FLAG_REFS = 8
    FLAG_NSDECL = 16
    FLAG_OTHER_ATTRS = 32
    FLAG_OUTER_PREFIX = 64
    FLAG_OWN_PREFIX = 128
    FLAG_CONTENT_NS = 256
    FLAG_MANY_CHILDREN = 512

cpdef int ns_id(str uri)           # id of a known namespace, 0 if unknown
cpdef str ns_uri(int id)           # its name; ValueError for an id that is none
cpdef Py_ssize_t partial_bytes()   # bytes of buffers that hold unread input, all readers together

cdef class Limits:
    cdef xs_limits c

cdef class StreamHeader:
    cdef readonly bytes raw        # the start tag as received
    cdef bytes lang_raw            # xml:lang as written, safe inside single quotes; None if absent
    cdef xs_binding *binding       # the namespaces it declares
    cdef int nbinding
    cdef unsigned short name_len   # of the qualified name, at raw[1]

cdef class Stanza:
    cdef readonly bytes raw
    cdef readonly int kind         # enum Kind
    cdef readonly int type_id      # enum StanzaType (`type` is its text)
    cdef readonly unsigned int flags
    cdef readonly int nchild       # all direct children; the first 8 can be asked by number
    cdef StreamHeader header       # whose prefixes and default namespace apply
    cdef xs_rec rec

    # the raw value; NULL and *n = -1: absent, *n = -2: holds references (ask .to, .from_, .id)
    cdef const unsigned char *to_ptr(self, Py_ssize_t *n) noexcept
    cdef const unsigned char *from_ptr(self, Py_ssize_t *n) noexcept
    cdef const unsigned char *id_ptr(self, Py_ssize_t *n) noexcept
    cdef int ns_of(self) noexcept               # namespace id of the stanza itself
    cdef int child_ns(self, int i) noexcept     # namespace id of direct child i < min(nchild, 8); 0 = unknown
    cdef bint child_is(self, int i, int ns, const char *name, size_t n) noexcept   # of known namespace; i as above
    cdef int splice(self, outbuf *out, const unsigned char *to, Py_ssize_t to_len,
                    const unsigned char *from_, Py_ssize_t from_len,
                    const unsigned char *lang, Py_ssize_t lang_len) except -1
    cpdef bytes render(self, to=*, from_=*, lang=*)
    cpdef tuple split(self, from_=*, lang=*)
    cpdef bytes error_reply(self, bytes error_xml, to=*, from_=*, lang=*)
    cpdef bytes reply(self, bytes payload, to=*, from_=*)

cdef class StreamReader:
    cdef readonly Stanza stanza
    cdef readonly StreamHeader header
    cdef readonly object error     # StreamError or None; sticky
    cdef Limits limits
    cdef xs_conn conn
    cdef xs_work *work             # owned while a stanza is half read
    cdef unsigned char *own        # unread bytes kept between calls
    cdef uint32_t own_cap
    cdef unsigned char *p          # what is presented now: `own` or the borrowed buffer
    cdef uint32_t n                # bytes in p
    cdef uint32_t at               # of which read

    cdef int begin(self, unsigned char *p, Py_ssize_t n) except -1
    cdef int next(self) except -1
    cdef int end(self) except -1
