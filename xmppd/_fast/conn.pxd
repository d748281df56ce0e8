from cpython.object cimport PyObject
from libc.stdint cimport int8_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from xmppd._fast.ossl cimport SSL
from xmppd._fast.outbuf cimport outbuf
from xmppd._fast.tls cimport TLSContext

cdef extern from "hspool.h" nogil:
    ctypedef struct hspool

cdef extern from "tlsbio.h" nogil:
    ctypedef struct tls_link:
        SSL* ssl
        const unsigned char* lent "in"
        outbuf* out
        char* sni
        unsigned long error
        uint32_t lent_len "in_len"
        int verify_first
        int verify_depth
        uint8_t alert
        uint8_t flags
    ctypedef struct tls_job

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        void* ptr
        uint64_t u64
    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data

cdef struct Bag:        # references, owned
    void** p
    int n
    int cap

cdef struct Wheel:      # connections in the order of their deadlines, all the same span away when they came
    void* first
    void* last
    int64_t span_ns


cdef enum:
    ST_PLAIN
    ST_HANDSHAKE
    ST_OPEN
    ST_CLOSED

cdef enum:
    F_DOOMED = 1 << 9        # output passed the hard limit
    F_DIRTY = 1 << 10        # on the list of those written to in this pass
    F_LATE = 1 << 21         # on the list of those that are sent to when there is time


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
    # -- what an append looks at, in one cache line
    cdef outbuf out                          # plaintext not sent yet; who appends directly calls mark_dirty()
    cdef outbuf wire                         # bytes as they go to the kernel, which has not taken them yet
    cdef uint32_t flags
    cdef uint8_t state
    cdef uint8_t reason
    cdef uint8_t family
    cdef int8_t wheel                        # index of the deadline list it is on, or -1

    # -- for everybody
    cdef public Handler handler              # None once `closed` was called
    cdef readonly NetLoop net
    cdef readonly Listener listener          # None for an adopted connection
    cdef readonly uint64_t bytes_in          # read from the socket
    cdef readonly uint64_t bytes_out         # taken by the kernel
    cdef uint64_t passed                     # plaintext that has left `out` for the kernel or for `wire`
    cdef uint64_t took                       # of that, what the kernel has for certain
    cdef object marks                        # None, or a deque of (place in the plaintext, callback)

    cdef int cwrite(self, const unsigned char* p, Py_ssize_t n) except -1
    cdef int mark_dirty(self) except -1
    cdef int mark_late(self) except -1
    cdef int bound(self) except -1
    cdef bint is_writable(self) noexcept     # neither closed nor closing: what is written will be sent
    cpdef int write(self, bytes data) except -1
    cpdef int write_late(self, bytes data) except -1
    cpdef int close(self) except -1
    cpdef int abort(self) except -1
    cpdef int pause(self) except -1
    cpdef int resume(self) except -1
    cpdef int again(self) except -1

    # -- of this room
    cdef tls_link link
    cdef tls_job* job                        # while a handshake is on
    cdef TLSContext base                     # the context the SSL was made from, which must outlive it
    cdef TLSContext ctx                      # the context chosen for it
    cdef object dial                         # client: (SNI, ALPN in wire form)
    cdef void* prev                          # all connections of the NetLoop, which owns a reference to each
    cdef void* next
    cdef void* wheel_prev
    cdef void* wheel_next
    cdef int64_t deadline_ns
    cdef int fd
    cdef uint32_t mask                       # what the epoll set waits for
    cdef uint16_t port
    cdef unsigned char address[16]

    cdef int want(self) except -1
    cdef int enlist(self) except -1
    cdef SSL* asked(self) noexcept


cdef class Listener:
    cdef readonly NetLoop net
    cdef readonly object sock
    cdef public object accept                # (conn) -> Handler | None
    cdef public object select                # (conn, sni) -> TLSContext | None
    cdef public TLSContext context           # where a handshake begins; None: select(conn, None) says
    cdef readonly bint direct_tls
    cdef int fd                              # -1: closed
    cdef int rest_ms


cdef class NetLoop:
    cdef readonly object loop
    cdef readonly bint closed
    cdef hspool* pool
    cdef int epfd
    cdef int ev_pos                          # events fetched and not looked at yet: ev[ev_pos:ev_n]
    cdef int ev_n
    cdef bint in_pass
    cdef bint soon_asked
    cdef unsigned char* rx                   # what recv fills
    cdef unsigned char* plain                # what it decrypts to
    cdef outbuf cipher                       # what goes out is encrypted to; empty between calls
    cdef int64_t budget_ns
    cdef int64_t pass_began_ns
    cdef int64_t pass_ends_ns
    cdef size_t out_limit
    cdef size_t out_low
    cdef void* first
    cdef int n_conns
    cdef Bag dirty                           # written to in this pass, or since the one before
    cdef Bag late                            # part of what went to very many, or no pass had time for it
    cdef Bag agains
    cdef Bag reports
    cdef Bag graves
    cdef Wheel wheels[2]
    cdef object timer
    cdef int64_t timer_ns
    cdef object on_ready
    cdef object on_soon
    cdef object on_timer
    cdef set listeners
    cdef uint64_t n_accepted
    cdef uint64_t n_refused
    cdef uint64_t n_handshakes
    cdef uint64_t n_handshakes_failed
    cdef uint64_t n_handshakes_timeout
    cdef uint64_t n_handshakes_refused
    cdef uint64_t n_rests
    cdef epoll_event ev[128]

    # the pass
    cdef int run_pass(self, bint poll) except -1
    cdef int soon(self) except -1
    cdef int unhook(self, Conn c) except -1
    cdef int settle(self) except -1
    cdef int run_agains(self) except -1
    cdef int run_reports(self) except -1
    cdef int run_dirty(self) except -1
    cdef int send_some(self, Bag* bag, uint32_t listed, int n, int64_t until) except -1
    cdef bint is_over(self, int64_t own_ns, int64_t until_ns) noexcept
    cdef bint event_waits(self) noexcept
    cdef int dispatch(self, epoll_event* ev) except -1
    # input
    cdef int on_input(self, Conn c) except -1
    cdef int feed(self, Conn c, unsigned char* p, Py_ssize_t n) except -1
    cdef int tls_input(self, Conn c, const unsigned char* p, uint32_t n) except -1
    cdef int end_of_input(self, Conn c, int reason) except -1
    # output
    cdef Py_ssize_t push(self, Conn c, const unsigned char* p, size_t n) except -2
    cdef int send(self, Conn c, const unsigned char* p, size_t n) except -1
    cdef int send_cipher(self, Conn c) except -1
    cdef int flush(self, Conn c) except -1
    cdef int encrypt(self, Conn c) except -1
    cdef int taken(self, Conn c) except -1
    cdef int shut(self, Conn c) except -1
    cdef void notify(self, Conn c) noexcept
    cdef int watermarks(self, Conn c) except -1
    # handshakes
    cdef int attach(self, Conn c, TLSContext ctx, bint chosen) except -1
    cdef int handshake_input(self, Conn c, uint32_t n) except -1
    cdef int choose(self, Conn c) except -1
    cdef int submit(self, Conn c) except -1
    cdef int jobs_done(self) except -1
    cdef int job_done(self, Conn c) except -1
    cdef int take_held(self, Conn c) except -1
    cdef int handshake_failed(self, Conn c, int result) except -1
    # lives and deadlines
    cdef int enroll(self, Conn c) except -1
    cdef int report(self, Conn c, int reason) except -1
    cdef int fail(self, Conn c, int reason) except -1
    cdef int finish(self, Conn c, int reason) except -1
    cdef void release(self, Conn c) noexcept
    cdef int blame(self, Conn c, str step) except -1
    cdef int watch(self, Conn c, int wheel) except -1
    cdef void unwatch(self, Conn c) noexcept
    cdef int arm_timer(self) except -1
    cdef int accept_some(self, Listener l) except -1
    cdef int rest(self, Listener l, int err) except -1


cdef inline int appended(PyObject* conn, bint late=False) except -1:
    """`mark_dirty` or `mark_late`, which have nothing to do for a connection that is on the list and far from any limit.

    `conn` is a Conn, borrowed: in a fan-out counting references costs more than all else that is done here.
    """
    cdef uint32_t flags = (<Conn> conn).flags
    if (
        flags & (F_DIRTY | F_LATE if late else F_DIRTY)
        and not flags & F_DOOMED
        and (<Conn> conn).out.len < 16384
        and (<Conn> conn).wire.len == 0
        and (<Conn> conn).state != ST_CLOSED
    ):
        return 0
    return (<Conn> conn).mark_late() if late else (<Conn> conn).mark_dirty()
