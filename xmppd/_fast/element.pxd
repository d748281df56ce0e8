from libc.stdint cimport uint32_t

from xmppd._fast.outbuf cimport outbuf
from xmppd._fast.xmlscan cimport xs_binding

cdef class Element:
    cdef readonly str ns
    cdef readonly str name
    cdef readonly dict attrs       # or None
    cdef readonly list children    # or None
    cpdef get(self, str attr, default=*)
    cpdef Element find(self, str ns, str name)
    cpdef str text(self)

# The element at raw[at], of bytes that the tokenizer has passed. `outer`: the bindings of the stream header, whose
# offsets count from `head`. at > 0: raw[0] is the start tag of the parent, whose declarations apply.
cdef Element build(const unsigned char *raw, Py_ssize_t n, Py_ssize_t at,
                   const unsigned char *head, const xs_binding *outer, int nouter, str default_ns)

# Append the element, inside a scope where `default_ns` is the default namespace and no prefix is declared.
# OverflowError when `out` gets longer than `most` bytes.
cdef int write_element(outbuf *out, Element e, str default_ns, Py_ssize_t most) except -1

# The text of an attribute's raw value: white space and references (XML 1.0, 3.3.3).
cdef str decode_value(const unsigned char *p, Py_ssize_t n)

# A name as a str; those seen lately are kept.
cdef str name_str(const unsigned char *p, Py_ssize_t n)

# A namespace name as it is written, decoded.
cdef str uri_str(const unsigned char *p, Py_ssize_t n)
