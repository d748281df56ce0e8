"""The floor of a fan-out: the same bytes copied in C into buffers that are there; and emptying connections' output."""

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from xmppd._fast.conn cimport Conn


def empty(list conns):
    """Forget what waits to be sent, and keep the buffers."""
    cdef Conn conn
    for conn in conns:
        conn.out.len = 0


cdef class Floor:
    """`recipients` buffers, each with room for `deliveries` stanzas of `size` bytes."""

    cdef unsigned char** buffers
    cdef size_t* used
    cdef int recipients

    def __cinit__(self, int recipients, size_t size, int deliveries):
        cdef int i
        self.recipients = recipients
        self.buffers = <unsigned char**> malloc(recipients * sizeof(void*))
        self.used = <size_t*> malloc(recipients * sizeof(size_t))
        for i in range(recipients):
            self.buffers[i] = <unsigned char*> malloc(size * deliveries)
            self.used[i] = 0

    def __dealloc__(self):
        cdef int i
        for i in range(self.recipients):
            free(self.buffers[i])
        free(self.buffers)
        free(self.used)

    def empty(self):
        cdef int i
        for i in range(self.recipients):
            self.used[i] = 0

    def copy(self, bytes head, list addresses, bytes tail):
        """Three memcpy for each recipient."""
        cdef int i
        cdef bytes to
        cdef size_t h = PyBytes_GET_SIZE(head)
        cdef size_t t = PyBytes_GET_SIZE(tail)
        cdef size_t n
        cdef unsigned char* p
        for i in range(self.recipients):
            to = <bytes> addresses[i]
            n = PyBytes_GET_SIZE(to)
            p = self.buffers[i] + self.used[i]
            memcpy(p, PyBytes_AS_STRING(head), h)
            memcpy(p + h, PyBytes_AS_STRING(to), n)
            memcpy(p + h + n, PyBytes_AS_STRING(tail), t)
            self.used[i] += h + n + t
