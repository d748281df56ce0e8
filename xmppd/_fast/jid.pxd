cimport cython


@cython.final
cdef class JID:
    """An XMPP address, normalized (RFC 6122). Immutable, 48 bytes beside `norm`, unknown to the garbage collector."""

    cdef readonly bytes norm    # local@domain/resource after preparation, UTF-8
    cdef readonly bytes wire    # `norm` as it stands between single quotes in XML; the same object where nothing needs escaping
    cdef JID _bare              # made when first asked for; None in a bare JID
    cdef short local_len        # bytes; 0 = no localpart
    cdef short domain_len       # bytes; never 0
    cdef unsigned char unassigned        # holds code points that Unicode 3.2 does not know: good for a query, not for a stored name


cdef JID jid_bare(JID jid)      # without the resourcepart; itself if it has none; the same object each time

# p[n]: UTF-8, XML references resolved. Both raise JIDError.
cdef JID jid_from_utf8(const unsigned char* p, Py_ssize_t n)        # the stored-string rule of RFC 3454 7: no unassigned code points
cdef JID jid_from_query(const unsigned char* p, Py_ssize_t n)       # the query rule: they pass, and set .unassigned

# Bytes of `norm` that are the bare JID; the resourcepart begins one byte further if there is one.
cdef inline Py_ssize_t jid_bare_len(JID jid) noexcept:
    return jid.local_len + (jid.local_len != 0) + jid.domain_len
