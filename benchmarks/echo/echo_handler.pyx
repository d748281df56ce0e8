"""The least a handler can do: what came goes back. Compiled by the benchmark, against the connection layer as it stands."""

from xmppd._fast.conn cimport Conn, Handler


cdef class Echo(Handler):
    cdef int feed(self, Conn c, unsigned char* p, Py_ssize_t n) except -1:
        return c.cwrite(p, n)

    cdef int again(self, Conn c) except -1:
        return 0

    cdef int tls_open(self, Conn c) except -1:
        return 0

    cdef int closed(self, Conn c, object reason) except -1:
        return 0

    cdef int writable(self, Conn c) except -1:
        return 0

    cdef int overflow(self, Conn c) except -1:
        return c.abort()
