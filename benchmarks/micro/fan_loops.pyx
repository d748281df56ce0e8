"""The floor of a fan-out: the same bytes copied by what a C server would do; and emptying connections' output."""

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from xmppd._fast.conn cimport Conn


def empty(list conns):
    """Forget what waits to be sent, and keep the buffers."""
    cdef Conn conn
    for conn in conns:
        conn.out.len = 0


cdef struct Peer:      # what a C server keeps for a connection, as far as an append needs it
    unsigned char* p
    size_t len
    size_t cap


cdef class Floor:
    """`recipients` connections of a C server, each allocated by itself, with room for `deliveries` stanzas."""

    cdef Peer** peers
    cdef int recipients

    def __cinit__(self, int recipients, size_t size, int deliveries):
        cdef int i
        self.recipients = recipients
        self.peers = <Peer**> malloc(recipients * sizeof(void*))
        for i in range(recipients):
            self.peers[i] = <Peer*> malloc(sizeof(Peer))
            self.peers[i].cap = size * deliveries
            self.peers[i].p = <unsigned char*> malloc(self.peers[i].cap)
            self.peers[i].len = 0

    def __dealloc__(self):
        cdef int i
        for i in range(self.recipients):
            free(self.peers[i].p)
            free(self.peers[i])
        free(self.peers)

    def empty(self):
        cdef int i
        for i in range(self.recipients):
            self.peers[i].len = 0

    def copy(self, bytes head, list addresses, bytes tail):
        """Room looked for and three memcpy, for each recipient; MemoryError if there is no room."""
        cdef int i
        cdef bytes to
        cdef Peer* peer
        cdef size_t h = PyBytes_GET_SIZE(head)
        cdef size_t t = PyBytes_GET_SIZE(tail)
        cdef size_t n
        cdef unsigned char* p
        for i in range(self.recipients):
            to = <bytes> addresses[i]
            n = PyBytes_GET_SIZE(to)
            peer = self.peers[i]
            if peer.cap - peer.len < h + n + t:
                raise MemoryError
            p = peer.p + peer.len
            memcpy(p, PyBytes_AS_STRING(head), h)
            memcpy(p + h, PyBytes_AS_STRING(to), n)
            memcpy(p + h + n, PyBytes_AS_STRING(tail), t)
            peer.len += h + n + t
