from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from xmppd._fast.outbuf cimport outbuf
from xmppd._fast.tls cimport TLSContext

cdef extern from "openssl/types.h" nogil:
    ctypedef struct SSL

cdef extern from "hspool.h" nogil:
    ctypedef struct hspool

cdef extern from "tlsbio.h" nogil:
    ctypedef struct tls_link:
        SSL* ssl
        const unsigned char* in_ "in"
        outbuf* out
        char* sni
        unsigned long error
        uint32_t in_len
        int verify_first
        int verify_depth
        uint8_t alert
        uint8_t flags
    ctypedef struct tls_job

cdef extern from "<sys/epoll.h>" nogil:
    cdef struct epoll_event


cdef class Handler:
    cdef int feed(self, Conn c, unsigned char* p, Py_ssize_t n) except -1
    cdef int again(self, Conn c) except -1
    cdef int tls_open(self, Conn c) except -1
    cdef int closed(self, Conn c, object reason) except -1
    cdef int writable(self, Conn c) except -1
    cdef int overflow(self, Conn c) except -1

cdef class PyHandler(Handler):
    pass


cdef class Conn:
    # -- for everybody
    cdef outbuf out                          # plaintext not sent yet; who appends directly calls mark_dirty()
    cdef public Handler handler              # None once `closed` was called
    cdef readonly NetLoop net
    cdef readonly Listener listener          # None for an adopted connection
    cdef readonly uint64_t bytes_in          # as read from the socket
    cdef readonly uint64_t bytes_out         # as taken by the kernel

    cdef int cwrite(self, const unsigned char* p, Py_ssize_t n) except -1
    cdef int mark_dirty(self) except -1
    cpdef int write(self, bytes data) except -1
    cpdef int close(self) except -1
    cpdef int abort(self) except -1
    cpdef int pause(self) except -1
    cpdef int resume(self) except -1
    cpdef int again(self) except -1
    cdef bint is_open(self) noexcept         # not closed and not closing: what is written will be sent

    # -- of this room
    cdef outbuf wire                         # bytes for the kernel that it has not taken yet
    cdef tls_link link
    cdef tls_job* job                        # while a handshake is on
    cdef TLSContext base                     # the context the SSL was made from; must outlive it
    cdef TLSContext ctx                      # the context chosen for it
    cdef object dial                         # client: (sni, alpn wire form)
    cdef void* prev                          # all connections of the NetLoop, which owns a reference to each
    cdef void* next
    cdef void* soon_prev                     # connections with the same kind of deadline, in order
    cdef void* soon_next
    cdef int64_t deadline_ns
    cdef uint32_t flags
    cdef int fd
    cdef uint32_t mask                       # what the epoll set waits for
    cdef uint8_t state
    cdef uint8_t reason
    cdef uint8_t family
    cdef uint8_t wheel                       # which deadline list it is on
    cdef uint16_t port
    cdef unsigned char address[16]


cdef class Listener:
    cdef readonly NetLoop net
    cdef readonly object sock
    cdef public object accept                # (conn) -> Handler | None
    cdef public object select                # (conn, sni) -> TLSContext | None
    cdef public TLSContext context           # where a handshake begins; None: select(conn, None)
    cdef readonly bint direct_tls
    cdef int fd
    cdef bint resting                        # not accepting for a moment: out of descriptors
    cdef int rest_ms


cdef class NetLoop:
    cdef readonly object loop
