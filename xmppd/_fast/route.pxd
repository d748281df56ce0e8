cimport cython

from xmppd._fast.conn cimport Conn, NetLoop
from xmppd._fast.jid cimport JID
from xmppd._fast.reader cimport Stanza


@cython.final
cdef class Resource:
    cdef bytes _wire
    cdef readonly Conn conn
    cdef readonly JID jid
    cdef readonly ConnectedAccount account
    cdef readonly bytes lang
    cdef public object session
    cdef public object directed
    cdef bytes _presence
    cdef unsigned int _presence_cut
    cdef readonly signed char priority
    cdef unsigned char _available
    cdef unsigned char _interested
    cdef public bint watches_blocks

    cdef int deliver(self, Stanza stanza, Resource sender) except -1


cdef class ConnectedAccount:
    cdef readonly bytes key
    cdef readonly bytes wire
    cdef readonly tuple resources
    cdef public object account
    cdef public frozenset blocked
    cdef public bint waiting


cdef class RouteTable:
    cdef dict _full
    cdef dict _bare
    cdef NetLoop _net                        # of the streams
    cdef public bint iq_needs_presence
    cdef readonly unsigned long long routed

    cdef int relay(self, Resource sender, Stanza stanza) except -1
    cdef int deliver_bare(self, Stanza stanza, Resource sender, ConnectedAccount account) except -1
    cdef int tell(self, object contact, bytes head, bytes tail, Resource sender, bint late) except -1


cpdef bint in_block_list(bytes key, frozenset addresses) except -1
cpdef bint separated(Resource one, Resource other) except -1
