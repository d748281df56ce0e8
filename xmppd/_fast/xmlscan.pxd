from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef extern from "xmlscan.h" nogil:
    enum:
        XS_PAD
        XS_DEPTH_MAX
        XS_BINDINGS_MAX
        XS_ATTRIBUTES_MAX
        XS_URI_MAX
        XS_CHILDREN
        XS_AT_TO
        XS_AT_FROM
        XS_AT_ID
        XS_AT_TYPE
        XS_AT_LANG
        XS_AT_XMLNS
        XS_ATS
        XS_SELF_CLOSED
        XS_HAS_TEXT
        XS_CDATA
        XS_REFS
        XS_NSDECL
        XS_OTHER_ATTRS
        XS_OUTER_PREFIX
        XS_OWN_PREFIX
        XS_CONTENT_NS
        XS_MANY_CHILDREN
        XS_MORE
        XS_STREAM_OPEN
        XS_STANZA
        XS_STREAM_CLOSE
        XS_ERROR
        XS_ERRORS

    ctypedef struct xs_limits:
        uint32_t stanza_bytes
        uint32_t tag_bytes
        uint16_t depth
        uint16_t attributes
        uint16_t bindings
        uint16_t name_bytes
        uint16_t uri_bytes

    ctypedef struct xs_attr:
        uint32_t at
        uint32_t value
        uint32_t len

    ctypedef struct xs_child:
        uint32_t start
        uint32_t inner
        uint32_t inner_end
        uint32_t end
        uint32_t uri
        uint16_t uri_len
        uint16_t nsid
        uint16_t name
        uint16_t name_len
        uint8_t in_head

    ctypedef struct xs_rec:
        uint32_t len
        uint32_t tag_end
        uint32_t inner_end
        uint32_t outer_used
        uint16_t nsid
        uint16_t name
        uint16_t name_len
        uint16_t flags
        uint8_t kind
        uint8_t type
        uint8_t decode
        uint8_t nchild
        uint32_t children
        xs_attr at[6]
        xs_child child[8]

    ctypedef struct xs_binding:
        uint32_t prefix
        uint32_t uri
        uint16_t prefix_len
        uint16_t uri_len
        uint16_t nsid

    ctypedef struct xs_work:
        uint8_t nbind
        xs_binding bind[32]
        xs_rec rec

    ctypedef struct xs_conn:
        const xs_limits *limits
        const uint8_t *head
        const xs_binding *outer
        uint32_t valid
        uint32_t pos
        uint32_t start
        uint16_t content_nsid
        uint16_t default_nsid
        uint8_t nouter
        uint8_t error

    void xs_init(xs_conn *c, const xs_limits *limits, uint16_t content_nsid)
    void xs_init_open(xs_conn *c, const xs_limits *limits, uint16_t content_nsid)
    void xs_restart(xs_conn *c)
    int xs_next(xs_conn *c, xs_work *work, uint8_t *buf, uint32_t n, uint32_t *used)
    int xs_partial(const xs_conn *c)
    void xs_adopt(xs_conn *c, const xs_work *work, const uint8_t *head, const xs_binding *outer)
    int xs_ns_id(const uint8_t *uri, size_t n)
    const char *xs_ns_uri(int id)
