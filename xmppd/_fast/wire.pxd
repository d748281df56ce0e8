from xmppd._fast.conn cimport Conn, Handler
from xmppd._fast.reader cimport StreamReader
from xmppd._fast.route cimport Resource, RouteTable


cdef class Wire(Handler):
    cdef readonly Conn conn
    cdef readonly StreamReader reader
    cdef readonly object session
    cdef readonly RouteTable table
    cdef readonly Resource resource
    cdef readonly Allowance allowance
    cdef readonly unsigned int last_in
    cdef unsigned int stanzas_in
    cdef unsigned int _filled
    cdef float _bytes_left
    cdef float _stanzas_left
    cdef int _held
    cdef bint _pumping
    cdef bint _deaf
    cdef bint _sliced
    cdef bytes _behind

    cdef int pump(self) except -1
    cdef int seek_end(self) except -1
    cdef int catch_up(self) except -1
    cdef int charge(self, Py_ssize_t n) except -1


cdef class Allowance:
    cdef double bytes_per_tick
    cdef double stanzas_per_tick
    cdef double bytes_most
    cdef double stanzas_most
    cdef readonly size_t partial_bytes_total


cdef class Deadline:
    cdef public unsigned int due
    cdef public unsigned int slot
