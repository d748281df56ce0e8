"""Connections: an epoll set of our own that hangs as one descriptor in the event loop, and the TLS between it and the XML.

One pass: look at the events (a bounded number, for a bounded time), let the handlers work, then send what they wrote, once
for each connection. Handlers are called from the pass only, one at a time, never from inside another handler's call.

The life of a connection:

    plain --start_tls--> handshake --> open
      |                      |           |
      +--- close: flush, close_notify, FIN, wait for the peer's FIN (linger_s) ---> closed
      +--- abort, time-out, error --------------------------------------------------> closed

Handshake steps run in a pool of C threads (c/hspool.c), except one that costs less than handing it over. While one runs, the SSL is the worker's: the connection is not read,
and if it must end, it ends for its handler at once and is freed when the worker gives it back.
"""

import logging
import os
from collections import deque

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, errno
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memmove

from xmppd._fast.ossl cimport SSL_AD_INTERNAL_ERROR, SSL_AD_UNRECOGNIZED_NAME
from xmppd._fast.outbuf cimport outbuf, outbuf_drop, outbuf_free, outbuf_put
from xmppd._fast.tls cimport (
    LibCtx, TLSContext, alpn_wire, channel_binding, channel_binding_types, error_text, peer_chain, tls_info,
    tls_version, verify_result,
)
from xmppd._fast.tls import TLSError
from xmppd.events import count, fields

cdef extern from "hspool.h" nogil:
    ctypedef struct hs_job:
        hs_job* next
    ctypedef struct hspool_counts:
        uint32_t queued
        uint32_t running
        uint64_t done
    hspool* hspool_new(int workers, uint32_t max_queue, int nice)
    int hspool_eventfd(const hspool* p)
    int hspool_put(hspool* p, hs_job* j, int urgent)
    void hspool_cancel(hs_job* j)
    hs_job* hspool_done(hspool* p)
    void hspool_count(hspool* p, hspool_counts* n)
    int hspool_stop(hspool* p, int timeout_ms)
    void hspool_free(hspool* p)

cdef extern from "tlsbio.h" nogil:
    ctypedef struct SSL_CTX
    ctypedef struct tls_job:
        hs_job job
        void* owner
        outbuf lent "in"
        outbuf out
        uint32_t used
        int result
    int TLS_DONE, TLS_WANT, TLS_HELLO, TLS_NOTIFY, TLS_ALERT, TLS_FAILED
    int TLS_F_CHOSEN
    int tls_attach(tls_link* l, SSL_CTX* c, int server, const char* sni, const unsigned char* alpn, unsigned alpn_len)
    void tls_detach(tls_link* l)
    int tls_step(tls_link* l)
    int tls_choose(tls_link* l, SSL_CTX* c, int ticket)
    void tls_refuse(tls_link* l, int alert)
    int tls_read(tls_link* l, unsigned char* p, size_t cap, size_t* n)
    int tls_write(tls_link* l, const unsigned char* p, size_t n)
    void tls_notify(tls_link* l)
    size_t tls_light(const tls_link* l, const unsigned char* p, size_t n)
    tls_job* tls_job_new(tls_link* l, void* owner)
    void tls_job_run(tls_job* j, size_t most)
    void tls_job_free(tls_job* j)

cdef extern from "<sys/epoll.h>" nogil:
    int EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP
    int EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL
    int EPOLL_CLOEXEC
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event* ev)
    int epoll_wait(int epfd, epoll_event* ev, int n, int timeout)

cdef extern from "<poll.h>" nogil:
    short POLLIN
    cdef struct pollfd:
        int fd
        short events
    int poll(pollfd* fds, unsigned long n, int timeout_ms)

cdef extern from "<netinet/in.h>" nogil:
    ctypedef unsigned int socklen_t
    cdef struct sockaddr:
        pass
    cdef struct sockaddr_storage:
        unsigned short ss_family
    cdef struct in_addr:
        pass
    cdef struct in6_addr:
        pass
    cdef struct sockaddr_in:
        uint16_t sin_port
        in_addr sin_addr
    cdef struct sockaddr_in6:
        uint16_t sin6_port
        in6_addr sin6_addr
    uint16_t ntohs(uint16_t v)
    int INET6_ADDRSTRLEN

cdef extern from "<arpa/inet.h>" nogil:
    const char* inet_ntop(int family, const void* a, char* out, socklen_t n)

cdef extern from "<sys/socket.h>" nogil:
    int AF_INET, AF_INET6, SOCK_NONBLOCK, SOCK_CLOEXEC, MSG_NOSIGNAL, MSG_MORE, SHUT_WR, SHUT_RDWR
    int accept4(int fd, sockaddr* a, socklen_t* n, int flags)
    int getpeername(int fd, sockaddr* a, socklen_t* n)
    int getsockname(int fd, sockaddr* a, socklen_t* n)
    Py_ssize_t recv(int fd, void* p, size_t n, int flags)
    Py_ssize_t c_send "send"(int fd, const void* p, size_t n, int flags)
    int shutdown(int fd, int how)

cdef extern from "<unistd.h>" nogil:
    int c_close "close"(int fd)

cdef extern from "<time.h>" nogil:
    ctypedef long time_t
    cdef struct timespec:
        time_t tv_sec
        long tv_nsec
    int CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec* t)

cdef extern from *:
    """
    #define XMPPD_TAG(p) ((void *)((uintptr_t)(p) | 1))
    #define XMPPD_UNTAG(p) ((void *)((uintptr_t)(p) & ~(uintptr_t)1))
    #define XMPPD_TAGGED(p) ((uintptr_t)(p) & 1)
    """
    void* XMPPD_TAG(void* p) noexcept nogil
    void* XMPPD_UNTAG(void* p) noexcept nogil
    bint XMPPD_TAGGED(void* p) noexcept nogil

log = logging.getLogger("xmppd.net")

cdef enum:
    EVENTS = 128                 # looked at in one pass
    ACCEPTS = 64                 # connections taken from one listener in one pass
    RX_BYTES = 65536
    # one read, and the record begun by the reads before it: a feed never has to stop half-way
    PLAIN_BYTES = 65536 + 32768
    PADDING_BYTES = 64           # readable behind what a handler is fed
    CHUNK_BYTES = 65536          # encrypted at once; OpenSSL makes records of at most 16 KiB of it
    CIPHER_KEPT_BYTES = 262144   # a larger buffer is given back after use
    HARD_LIMIT = 4               # times out_limit_bytes: where output of one pass is dropped, and the connection with it
    REST_FIRST_MS = 50
    REST_MOST_MS = 1000

cdef enum:
    F_SERVER = 1 << 0
    F_PAUSED = 1 << 1        # the handler wants no input
    F_MUTED = 1 << 2         # input came while it may not be read: paused, or a worker has the SSL
    F_RUNNING = 1 << 3       # a worker has the SSL
    F_BEGUN = 1 << 4         # a worker had it before: what was begun is never refused
    F_HELD = 1 << 5          # ciphertext behind the handshake waits in `job` for resume
    F_BLOCKED = 1 << 6       # the kernel takes no more
    F_BACKED = 1 << 7        # output stood above the low-water mark: tell when it has fallen
    F_OVER = 1 << 8          # overflow was told
    # 1 << 9 and 1 << 10: F_DOOMED and F_DIRTY of conn.pxd, as 1 << 21: F_LATE
    F_AGAIN = 1 << 11        # on the list
    F_CLOSING = 1 << 12      # the handler gets no more input and writes no more
    F_NOTIFIED = 1 << 13     # our close_notify is out
    F_SHUT = 1 << 14         # our FIN is out
    F_EOF = 1 << 15          # the peer's FIN is in
    F_REPORTED = 1 << 16     # `closed` is called or about to be
    F_ASKED = 1 << 17        # Handler.again is wanted
    F_ENROLLED = 1 << 18     # in the list of connections
    F_UNHOOKED = 1 << 19     # out of the epoll set until the worker gives the SSL back
    F_ENDED = 1 << 20        # the peer sends no more, but the handler is not through with what it sent

cdef enum:
    HANDSHAKE_WHEEL
    LINGER_WHEEL
    WHEELS

cdef enum:
    R_LOCAL
    R_CLOSE_NOTIFY
    R_EOF
    R_TRUNCATED
    R_ALERT
    R_TIMEOUT
    R_ERROR

cdef tuple REASONS = ("local", "close_notify", "eof", "truncated", "alert", "timeout", "error")
cdef tuple STATES = ("plain", "handshake", "open", "closed")


cdef inline int64_t now_ns() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <int64_t> t.tv_sec * 1000000000 + t.tv_nsec


cdef int bag_put(Bag* b, object o) except -1:
    cdef void** p
    cdef int cap
    if b.n == b.cap:
        cap = 2 * b.cap if b.cap else 64
        p = <void**> realloc(b.p, cap * sizeof(void*))
        if p == NULL:
            raise MemoryError
        b.p = p
        b.cap = cap
    Py_INCREF(o)
    b.p[b.n] = <void*> o
    b.n += 1
    return 0


cdef void bag_drop(Bag* b, int n) noexcept:
    """The first n are done with (their references are gone already)."""
    if n:
        memmove(b.p, b.p + n, (b.n - n) * sizeof(void*))
        b.n -= n


cdef int bag_move(Bag* b, Bag* of, int n) except -1:
    """The first n of another bag are the first of this one."""
    cdef void** p
    if not n:
        return 0
    if b.n + n > b.cap:
        p = <void**> realloc(b.p, 2 * (b.n + n) * sizeof(void*))
        if p == NULL:
            raise MemoryError
        b.p = p
        b.cap = 2 * (b.n + n)
    memmove(b.p + n, b.p, b.n * sizeof(void*))
    memcpy(b.p, of.p, n * sizeof(void*))
    b.n += n
    bag_drop(of, n)
    return 0


cdef class Handler:
    """What a connection talks to. An exception out of any of these closes that connection, and only that."""

    cdef int feed(self, Conn c, unsigned char* p, Py_ssize_t n) except -1:
        """Cleartext: p[n] in a buffer all connections share; p[n] may be written, 64 bytes behind it may be read."""
        raise NotImplementedError

    cdef int again(self, Conn c) except -1:
        """The next pass after c.again()."""
        return 0

    cdef int tls_open(self, Conn c) except -1:
        """The handshake is done."""
        return 0

    cdef int closed(self, Conn c, object reason) except -1:
        """Exactly once, and nothing after it."""
        return 0

    cdef int writable(self, Conn c) except -1:
        """Output, having stood above the low-water mark, fell below it."""
        return 0

    cdef int overflow(self, Conn c) except -1:
        """The kernel took no more and output passed the limit. Once, until it falls below the low-water mark."""
        return c.abort()


cdef class PyHandler(Handler):
    """A Handler in Python, for tests and tools: override what is needed."""

    def on_data(self, conn, data):
        pass

    def on_again(self, conn):
        pass

    def on_tls_open(self, conn):
        pass

    def on_closed(self, conn, reason):
        pass

    def on_writable(self, conn):
        pass

    def on_overflow(self, conn):
        conn.abort()

    cdef int feed(self, Conn c, unsigned char* p, Py_ssize_t n) except -1:
        self.on_data(c, PyBytes_FromStringAndSize(<char*> p, n))
        return 0

    cdef int again(self, Conn c) except -1:
        self.on_again(c)
        return 0

    cdef int tls_open(self, Conn c) except -1:
        self.on_tls_open(c)
        return 0

    cdef int closed(self, Conn c, object reason) except -1:
        self.on_closed(c, reason)
        return 0

    cdef int writable(self, Conn c) except -1:
        self.on_writable(c)
        return 0

    cdef int overflow(self, Conn c) except -1:
        self.on_overflow(c)
        return 0


cdef str address_text(int family, const void* address):
    cdef char out[64]
    if family != AF_INET and family != AF_INET6:
        return ""
    if inet_ntop(family, address, out, sizeof(out)) == NULL:
        return ""
    return (<bytes> out).decode("ascii")


# Not known to the garbage collector: a connection is in one cycle only (with its handler), which its end breaks.
@cython.final
@cython.no_gc
cdef class Conn:
    """One TCP connection. Made by a Listener or by NetLoop.adopt."""

    def __init__(self):
        raise TypeError("connections come from a Listener or from NetLoop.adopt")

    def __cinit__(self):
        self.fd = -1
        self.wheel = -1

    def __dealloc__(self):
        tls_job_free(self.job)
        tls_detach(&self.link)
        outbuf_free(&self.out)
        outbuf_free(&self.wire)
        if self.fd >= 0:
            c_close(self.fd)

    def __repr__(self):
        return f"<Conn {STATES[self.state]} {self.peer} port {self.peer_port}>"

    # -- output

    cdef bint is_writable(self) noexcept:
        return self.state != ST_CLOSED and not self.flags & F_CLOSING

    cdef int cwrite(self, const unsigned char* p, Py_ssize_t n) except -1:
        """Append to the output; sent at the end of the pass. What is written after close() is dropped."""
        if self.state == ST_CLOSED or self.flags & F_CLOSING:
            return 0
        if outbuf_put(&self.out, p, n):
            raise MemoryError
        return self.mark_dirty()

    cdef int mark_dirty(self) except -1:
        """`out` was appended to, and is sent at the end of the pass."""
        if self.bound() and not self.flags & F_DIRTY:
            self.flags |= F_DIRTY
            bag_put(&self.net.dirty, self)
        return 0

    cdef int mark_late(self) except -1:
        """`out` was appended to, and is sent when all is that was written to others, now or meanwhile."""
        if self.bound() and not self.flags & (F_DIRTY | F_LATE):
            self.flags |= F_LATE
            bag_put(&self.net.late, self)
        return 0

    cdef int bound(self) except -1:
        """Keep `out` bounded: far above the limit the connection is given up when it is sent. Whether it is alive."""
        if self.state == ST_CLOSED:
            outbuf_free(&self.out)
            return False
        if self.flags & F_DOOMED or self.out.len + <size_t> self.wire.len > HARD_LIMIT * self.net.out_limit:
            outbuf_free(&self.out)
            self.flags |= F_DOOMED
        if not self.net.in_pass:
            self.net.soon()
        return True

    cpdef int write(self, bytes data) except -1:
        """Append `data` to the output; sent at the end of the pass. What is written after close() is dropped."""
        return self.cwrite(<const unsigned char*> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    cpdef int write_late(self, bytes data) except -1:
        """As `write`, but sent behind what is written to others meanwhile: it is one of very many."""
        if self.is_writable():
            if outbuf_put(&self.out, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)):
                raise MemoryError
            self.mark_late()
        return 0

    def when_taken(self, callback not None):
        """Call `callback()` when the kernel has taken all that is written by now, as it goes over the wire.

        Never, if the connection ends before or is closing. An exception out of it closes the connection.
        """
        if self.flags & (F_CLOSING | F_DOOMED) or self.state == ST_CLOSED:
            return
        if self.marks is None:
            self.marks = deque()
        self.marks.append((self.passed + self.out.len, callback))
        self.mark_dirty()

    # -- input

    cdef int want(self) except -1:
        """Tell the epoll set what this connection waits for, if that changed."""
        cdef epoll_event ev
        cdef uint32_t mask = 0
        cdef int how = EPOLL_CTL_MOD
        if self.state == ST_CLOSED:
            return 0
        if not self.flags & F_EOF and (not self.flags & (F_MUTED | F_ENDED) or self.flags & F_CLOSING):
            mask = EPOLLIN
        if self.flags & F_BLOCKED:
            mask |= EPOLLOUT
        if self.flags & F_UNHOOKED:
            if self.flags & F_RUNNING:
                return 0
            how = EPOLL_CTL_ADD
        elif mask == self.mask:
            return 0
        ev.events = mask
        ev.data.ptr = <void*> self
        if epoll_ctl(self.net.epfd, how, self.fd, &ev) < 0:
            raise OSError(errno, os.strerror(errno))
        self.flags &= ~F_UNHOOKED
        self.mask = mask
        return 0

    cpdef int pause(self) except -1:
        """Read no more until resume(). If the peer ends meanwhile, that is told after it."""
        self.flags |= F_PAUSED      # most pauses end before anything comes: the epoll set is told if it does
        return 0

    cpdef int resume(self) except -1:
        """Read again."""
        self.flags &= ~F_PAUSED
        if not self.flags & F_RUNNING:
            self.flags &= ~F_MUTED
        if self.flags & (F_HELD | F_ENDED):
            self.enlist()
        return self.want()

    cpdef int again(self) except -1:
        """Ask for Handler.again in the next pass, whether paused or not."""
        self.flags |= F_ASKED
        return self.enlist()

    cdef int enlist(self) except -1:
        """Something is to be done for this connection in the next pass."""
        if self.state == ST_CLOSED or self.flags & F_AGAIN:
            return 0
        self.flags |= F_AGAIN
        bag_put(&self.net.agains, self)
        if not self.net.in_pass:
            self.net.soon()
        return 0

    # -- TLS

    def start_tls(self, TLSContext ctx=None, *, sni=None, alpn=()):
        """Send the plaintext written so far, then begin the handshake: as a server unless adopted with server=False.

        ctx: server: None = the listener's select callback chooses at the ClientHello; client: required.
        sni, alpn: client: host name and protocol names (bytes) to send; None and () = those given to adopt.
        Raises ValueError when TLS has begun already, the connection ends, or there is no context.
        """
        cdef bint chosen = ctx is not None
        if self.state != ST_PLAIN or self.flags & F_CLOSING:
            raise ValueError("TLS can begin once, on an open connection")
        if not self.flags & F_SERVER:
            if self.dial is None:
                self.dial = (None, b"")
            self.dial = (sni or self.dial[0], alpn_wire(alpn) or self.dial[1])
        elif ctx is None and self.listener is not None:
            ctx = self.listener.context
            if ctx is None and self.listener.select is not None:
                ctx = self.listener.select(self, None)
        if ctx is None:
            raise ValueError("no TLS context")
        self.net.attach(self, ctx, chosen)

    # -- end

    cpdef int close(self) except -1:
        """Orderly: send what was written, close_notify, FIN; wait for the peer's FIN, at most linger_s; then closed("local").

        The handler gets no more input. In a handshake it is abort().
        """
        if self.state == ST_CLOSED or self.flags & F_CLOSING:
            return 0
        if self.state == ST_HANDSHAKE:
            return self.abort()
        self.flags |= F_CLOSING
        self.net.watch(self, LINGER_WHEEL)
        self.want()
        return self.mark_dirty()

    cpdef int abort(self) except -1:
        """At once: what was not sent is lost; closed("local") follows in this pass or the next."""
        return self.net.finish(self, R_LOCAL)

    def detach(self):
        """Take the descriptor away: int. The handler hears nothing any more. Plain connections with nothing to send only
        (ValueError)."""
        cdef int fd = self.fd
        if self.state != ST_PLAIN or self.flags & F_CLOSING:
            raise ValueError("only a plain open connection can be detached")
        self.net.flush(self)
        if self.state != ST_PLAIN or self.out.len or self.wire.len:
            raise ValueError("output is pending")
        if epoll_ctl(self.net.epfd, EPOLL_CTL_DEL, fd, NULL) < 0:
            raise OSError(errno, os.strerror(errno))
        self.fd = -1
        self.handler = None
        self.net.finish(self, R_LOCAL)
        return fd

    # -- facts

    @property
    def state(self):
        """"plain", "handshake", "open" or "closed"."""
        return STATES[ST_CLOSED if self.flags & F_REPORTED else self.state]

    @property
    def closing(self):
        """close() was called, or the peer ended: the handler gets no more input."""
        return bool(self.flags & F_CLOSING)

    @property
    def paused(self):
        return bool(self.flags & F_PAUSED)

    @property
    def is_tls(self):
        """A handshake is on, or done."""
        return self.base is not None

    @property
    def is_server(self):
        return bool(self.flags & F_SERVER)

    @property
    def pending_out(self):
        """Bytes the kernel has not taken yet."""
        return self.out.len + self.wire.len

    @property
    def peer(self):
        """The peer's address as text; "" where the socket has none."""
        return address_text(self.family, self.address)

    @property
    def peer_port(self):
        return self.port

    @property
    def local(self):
        """Our own address, (text, port); ("", 0) when closed."""
        cdef sockaddr_storage sa
        cdef socklen_t n = sizeof(sa)
        if self.fd < 0 or getsockname(self.fd, <sockaddr*> &sa, &n) < 0:
            return "", 0
        if sa.ss_family == AF_INET:
            return address_text(AF_INET, &(<sockaddr_in*> &sa).sin_addr), ntohs((<sockaddr_in*> &sa).sin_port)
        if sa.ss_family == AF_INET6:
            return address_text(AF_INET6, &(<sockaddr_in6*> &sa).sin6_addr), ntohs((<sockaddr_in6*> &sa).sin6_port)
        return "", 0

    def fileno(self):
        """The descriptor, for socket options; -1 when closed."""
        return self.fd

    @property
    def context(self):
        """The TLSContext this connection uses, or None."""
        return self.ctx

    @property
    def error(self):
        """OpenSSL's words for what went wrong, or ""."""
        return error_text(self.link.error) if not self.flags & F_RUNNING else ""

    cdef SSL* asked(self) noexcept:
        return self.link.ssl if self.state == ST_OPEN else NULL

    def channel_binding(self, str kind):
        """Data of the channel binding `kind` (RFC 5929, RFC 9266), or None if it does not exist here."""
        cdef SSL* ssl = self.asked()
        return channel_binding(ssl, kind, self.flags & F_SERVER, self.ctx) if ssl != NULL else None

    @property
    def channel_binding_types(self):
        """Those that exist on this connection, best first."""
        cdef SSL* ssl = self.asked()
        return channel_binding_types(ssl, self.flags & F_SERVER, self.ctx) if ssl != NULL else ()

    def peer_chain(self):
        """The peer's certificates in DER, leaf first, as sent; [] if it sent none."""
        cdef SSL* ssl = self.asked()
        return peer_chain(ssl, self.flags & F_SERVER) if ssl != NULL else []

    def verify_result(self):
        """VerifyResult(first, depth, final), X509_V_* codes: the first error found in the chain, its depth (-1: no error) and
        the last word, which is that of the last error. None before TLS is open."""
        cdef SSL* ssl = self.asked()
        return verify_result(ssl, self.link.verify_first, self.link.verify_depth) if ssl != NULL else None

    @property
    def tls_version(self):
        """"TLSv1.3" or "TLSv1.2", as OpenSSL prints it; "" before TLS is open."""
        cdef SSL* ssl = self.asked()
        return tls_version(ssl) if ssl != NULL else ""

    def info(self):
        """TLSInfo(version, cipher, group, sni, alpn, resumed, ems), or None before TLS is open."""
        cdef SSL* ssl = self.asked()
        return tls_info(ssl) if ssl != NULL else None


@cython.final
cdef class Listener:
    """A listening socket in the set. Made by NetLoop.listen.

    accept, select, context may be replaced at any time (hot reload); connections keep the context they have.
    """

    def __init__(self):
        raise TypeError("listeners come from NetLoop.listen")

    def __cinit__(self):
        self.fd = -1

    def close(self):
        """Accept no more and close the socket. Its connections live on."""
        if self.fd >= 0:
            epoll_ctl(self.net.epfd, EPOLL_CTL_DEL, self.fd, NULL)
            self.fd = -1
            bag_put(&self.net.graves, self)      # an event of this pass may still name it
            self.net.listeners.discard(self)
            self.net.soon()
            self.sock.close()

    def _wake(self):
        cdef epoll_event ev
        if self.fd >= 0:
            ev.events = EPOLLIN
            ev.data.ptr = XMPPD_TAG(<void*> self)
            epoll_ctl(self.net.epfd, EPOLL_CTL_MOD, self.fd, &ev)


@cython.final
cdef class NetLoop:
    """All connections of a process, on one event loop.

    loop: a running asyncio loop (uvloop) with add_reader.
    workers: threads for handshakes; with an HSM, as many as it signs at once.  max_queue: new handshakes waiting for one;
        above that they are refused (the connection is closed).
    budget_ms: how long a pass may look at events, and again how long it may send.
    out_limit_bytes: unsent output of one connection; above it Handler.overflow is called, at four times that the connection
        is dropped whatever its handler says.  out_low_bytes: where Handler.writable is called; a quarter of the limit.
    handshake_timeout_s: from start_tls to tls_open.  linger_s: from close() to closed.
    worker_nice: added to the workers' niceness.
    Raises OSError.
    """

    def __init__(
        self,
        loop,
        *,
        int workers=4,
        int max_queue=4096,
        double budget_ms=2,
        size_t out_limit_bytes=1 << 20,
        out_low_bytes=None,
        double handshake_timeout_s=20,
        double linger_s=5,
        int worker_nice=5,
    ):
        cdef epoll_event ev
        if self.pool != NULL:
            raise TypeError("a NetLoop is made once")
        if budget_ms <= 0 or handshake_timeout_s <= 0 or linger_s <= 0 or max_queue < 1 or out_limit_bytes < 1:
            raise ValueError("limits must be above 0")
        if out_limit_bytes > 1 << 27:
            raise ValueError("out_limit_bytes must be at most 128 MiB")
        self.loop = loop
        self.listeners = set()
        self.budget_ns = <int64_t> (budget_ms * 1e6)
        self.out_limit = out_limit_bytes
        self.out_low = out_limit_bytes // 4 if out_low_bytes is None else out_low_bytes
        self.wheels[HANDSHAKE_WHEEL].span_ns = <int64_t> (handshake_timeout_s * 1e9)
        self.wheels[LINGER_WHEEL].span_ns = <int64_t> (linger_s * 1e9)
        self.on_ready, self.on_soon, self.on_timer = self._ready, self._soon, self._expire
        self.rx = <unsigned char*> calloc(1, RX_BYTES + PADDING_BYTES)
        self.plain = <unsigned char*> calloc(1, PLAIN_BYTES + PADDING_BYTES)
        if self.rx == NULL or self.plain == NULL:
            raise MemoryError
        self.epfd = epoll_create1(EPOLL_CLOEXEC)
        if self.epfd < 0:
            raise OSError(errno, os.strerror(errno))
        self.pool = hspool_new(workers, max_queue, worker_nice)
        if self.pool == NULL:
            raise OSError(errno, os.strerror(errno))
        ev.events = EPOLLIN
        ev.data.ptr = NULL
        if epoll_ctl(self.epfd, EPOLL_CTL_ADD, hspool_eventfd(self.pool), &ev) < 0:
            raise OSError(errno, os.strerror(errno))
        loop.add_reader(self.epfd, self.on_ready)

    def __cinit__(self):
        self.epfd = -1

    def __dealloc__(self):
        # close() has given back all but memory; if it was never called, the loop still owns us and we are not here
        cdef int i
        for i in range(self.graves.n):
            Py_DECREF(<object> self.graves.p[i])
        free(self.dirty.p)
        free(self.late.p)
        free(self.agains.p)
        free(self.reports.p)
        free(self.graves.p)
        free(self.rx)
        free(self.plain)
        outbuf_free(&self.cipher)
        if self.epfd >= 0:
            c_close(self.epfd)
        if self.pool != NULL and not hspool_stop(self.pool, 1000):
            hspool_free(self.pool)

    # -- what may be asked of it

    def listen(self, sock, accept, *, select=None, bint direct_tls=False, TLSContext context=None):
        """Accept connections on a listening `sock`, which is the Listener's from then on.

        accept(conn) -> Handler | None: None refuses; the connection is closed at once.
        select(conn, sni: str | None) -> TLSContext | None: at each ClientHello; the name is in lower case; None refuses with the
            alert unrecognized_name.
        context: what handshakes begin with, see TLSContext; None: select(conn, None) is asked.
        direct_tls: the handshake begins at once (XEP-0368).
        """
        cdef epoll_event ev
        cdef Listener l = Listener.__new__(Listener)
        if self.closed:
            raise ValueError("the NetLoop is closed")
        sock.setblocking(False)
        l.net, l.sock, l.accept, l.select, l.context, l.direct_tls = self, sock, accept, select, context, direct_tls
        l.rest_ms = REST_FIRST_MS
        ev.events = EPOLLIN
        ev.data.ptr = XMPPD_TAG(<void*> l)
        if epoll_ctl(self.epfd, EPOLL_CTL_ADD, sock.fileno(), &ev) < 0:
            raise OSError(errno, os.strerror(errno))
        l.fd = sock.fileno()
        self.listeners.add(l)
        return l

    def adopt(self, int fd, Handler handler not None, TLSContext ctx=None, bint server=True, sni=None, alpn=()):
        """A Conn on a connected socket `fd`, which is the Conn's from then on. With `ctx` the handshake begins at once.

        server: which side of TLS we are.  sni, alpn: client: host name (ASCII, A-labels) and protocol names (bytes) to send.
        Raises OSError and ValueError; TLSError, the descriptor closed, when the handshake cannot begin.
        """
        cdef Conn c
        cdef sockaddr_storage sa
        cdef socklen_t n = sizeof(sa)
        if self.closed:
            raise ValueError("the NetLoop is closed")
        wire = alpn_wire(alpn or ())
        os.set_blocking(fd, False)
        c = Conn.__new__(Conn)
        c.fd = fd
        c.net = self
        c.handler = handler
        c.flags = F_SERVER if server else 0
        c.dial = (sni, wire) if sni is not None or wire else None
        if getpeername(fd, <sockaddr*> &sa, &n) == 0:
            note_address(c, &sa)
        try:
            self.enroll(c)
        except BaseException:
            c.fd = -1      # still the caller's
            raise
        if ctx is not None:
            try:
                self.attach(c, ctx, True)
            except BaseException:
                c.handler = None
                self.finish(c, R_ERROR)
                raise
        return c

    def stats(self):
        """Numbers now (connections, handshakes_queued, handshakes_running) and since the start (the others)."""
        cdef hspool_counts n
        n.queued = n.running = n.done = 0
        if self.pool != NULL:
            hspool_count(self.pool, &n)
        return {
            "connections": self.n_conns,
            "listeners": len(self.listeners),
            "accepted": self.n_accepted,
            "refused": self.n_refused,
            "accept_rests": self.n_rests,
            "handshakes": self.n_handshakes,
            "handshakes_failed": self.n_handshakes_failed,
            "handshakes_timeout": self.n_handshakes_timeout,
            "handshakes_refused": self.n_handshakes_refused,
            "handshakes_queued": n.queued,
            "handshakes_running": n.running,
            "handshake_steps": n.done,
        }

    def connections(self):
        """All connections that are not closed: list[Conn]."""
        cdef list found = []
        cdef void* p = self.first
        while p != NULL:
            found.append(<Conn> p)
            p = (<Conn> p).next
        return found

    def close(self, double timeout_s=5):
        """Abort all connections, close all listeners, stop the workers (waiting for them at most timeout_s). Then nothing is left
        in the event loop. Asked for by a handler, it is done when the pass is over."""
        if self.closed:
            return
        if self.in_pass:
            self.loop.call_soon(self.close, timeout_s)
            return
        for l in list(self.listeners):
            l.close()
        self.closed = True
        self.in_pass = True      # what handlers write now goes nowhere
        while self.first != NULL:
            self.finish(<Conn> self.first, R_LOCAL)
        while self.reports.n:
            self.run_reports()
        self.loop.remove_reader(self.epfd)
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        cdef int left
        cdef int timeout_ms = <int> (timeout_s * 1000)
        with nogil:
            left = hspool_stop(self.pool, timeout_ms)
        self.jobs_done()
        if left:
            log.error("handshake workers hang", extra=fields(workers=left))      # and keep what they hold
        else:
            hspool_free(self.pool)
        self.pool = NULL
        for bag in range(2):
            drop_all(&self.dirty if bag else &self.agains)
        drop_all(&self.late)
        drop_all(&self.graves)
        self.on_ready = self.on_soon = self.on_timer = None
        c_close(self.epfd)
        self.epfd = -1
        self.in_pass = False

    # -- the pass

    def _ready(self):
        self.run_pass(True)

    def _soon(self):
        self.soon_asked = False
        self.run_pass(False)

    cdef int soon(self) except -1:
        """Another pass when the loop comes round, whatever the descriptors say."""
        if not self.soon_asked and not self.closed:
            self.soon_asked = True
            self.loop.call_soon(self.on_soon)
        return 0

    cdef int run_pass(self, bint poll) except -1:
        if self.closed:
            return 0
        self.in_pass = True
        self.pass_began_ns = now_ns()
        self.pass_ends_ns = self.pass_began_ns + self.budget_ns
        try:
            if self.agains.n:
                self.run_agains()
            # Events that an earlier pass had no time for come first: the kernel has put them at the end of its list
            if self.ev_pos == self.ev_n and poll:
                self.ev_pos = 0
                self.ev_n = epoll_wait(self.epfd, self.ev, EVENTS, 0)
                if self.ev_n < 0:
                    self.ev_n = 0
            while self.ev_pos < self.ev_n:
                self.ev_pos += 1
                self.dispatch(&self.ev[self.ev_pos - 1])
                if now_ns() > self.pass_ends_ns:
                    break
            self.settle()
        finally:
            self.in_pass = False
            if self.ev_pos < self.ev_n or self.dirty.n or self.late.n or self.agains.n or self.reports.n:
                self.soon()
        return 0

    cdef int dispatch(self, epoll_event* ev) except -1:
        cdef void* p = ev.data.ptr
        cdef uint32_t what = ev.events
        cdef Conn c
        if p == NULL:
            return self.jobs_done()
        if XMPPD_TAGGED(p):
            return self.accept_some(<Listener> XMPPD_UNTAG(p))
        c = <Conn> p
        try:
            if what & EPOLLOUT and c.flags & F_BLOCKED and c.state != ST_CLOSED:
                c.flags &= ~F_BLOCKED
                self.flush(c)
                c.want()
            if what & (EPOLLIN | EPOLLHUP | EPOLLERR) and c.state != ST_CLOSED:
                if c.mask & EPOLLIN:
                    self.on_input(c)
                elif what & (EPOLLHUP | EPOLLERR):
                    # these two cannot be switched off
                    if c.flags & F_RUNNING:
                        self.unhook(c)      # what the peer said before it left, an alert perhaps, is with the worker
                    else:
                        self.finish(c, R_LOCAL if c.flags & F_CLOSING else R_ERROR)
        except Exception:
            self.blame(c, "connection")
        return 0

    cdef int unhook(self, Conn c) except -1:
        if epoll_ctl(self.epfd, EPOLL_CTL_DEL, c.fd, NULL) < 0:
            raise OSError(errno, os.strerror(errno))
        c.flags |= F_UNHOOKED
        return 0

    cdef int settle(self) except -1:
        """The end of a pass: tell who is closed, send what was written, forget the dead."""
        self.run_reports()
        self.run_dirty()
        self.run_reports()
        if self.graves.n and self.ev_pos == self.ev_n:      # no event names them now
            drop_all(&self.graves)
        return 0

    # In these an entry's reference is taken over before anything is called, and `finally` forgets the entries taken:
    # an interrupt (KeyboardInterrupt) in a handler leaves the list sound.

    cdef int run_agains(self) except -1:
        cdef int i = 0
        cdef int n = self.agains.n
        cdef int64_t until = self.pass_ends_ns - self.budget_ns // 2
        cdef Conn c
        try:
            while i < n:
                c = <Conn> self.agains.p[i]
                Py_DECREF(c)
                i += 1
                c.flags &= ~F_AGAIN
                if c.state != ST_CLOSED and not c.flags & F_CLOSING:
                    try:
                        if c.flags & F_ASKED and c.handler is not None:
                            c.flags &= ~F_ASKED
                            c.handler.again(c)
                        if c.flags & F_HELD and not c.flags & (F_PAUSED | F_CLOSING):
                            self.take_held(c)
                        if c.flags & F_ENDED and c.state != ST_CLOSED:
                            self.end_of_input(c, c.reason)
                    except Exception:
                        self.blame(c, "again")
                if now_ns() > until:
                    break
        finally:
            bag_drop(&self.agains, i)
        return 0

    cdef int run_reports(self) except -1:
        cdef int i = 0
        cdef int n = self.reports.n
        cdef Conn c
        cdef Handler h
        try:
            while i < n:
                c = <Conn> self.reports.p[i]
                Py_DECREF(c)
                i += 1
                h = c.handler
                c.handler = None
                if h is not None:
                    try:
                        h.closed(c, REASONS[c.reason])
                    except Exception:
                        log.exception("connection failed", extra=fields(peer=c.peer, step="closed"))
        finally:
            bag_drop(&self.reports, i)
        return 0

    cdef int run_dirty(self) except -1:
        """What was written in this pass goes first, then what earlier ones had no time for, then what may wait.

        Each gets as much time as the pass has taken before it, and more while nobody asks for anything: so nobody waits
        for the end of a broadcast to ten thousand, and it does not stand still.
        """
        cdef int n = self.dirty.n      # what is written by a callback of these waits for the next pass
        cdef int i
        cdef int64_t until = now_ns() + self.budget_ns
        cdef Conn c
        n -= self.send_some(&self.dirty, F_DIRTY, n, until)
        self.send_some(&self.late, F_LATE, self.late.n, until)
        for i in range(n):
            c = <Conn> self.dirty.p[i]
            c.flags = c.flags & ~F_DIRTY | F_LATE
        bag_move(&self.late, &self.dirty, n)
        return 0

    cdef int send_some(self, Bag* bag, uint32_t listed, int n, int64_t until) except -1:
        """Send for the first n of a bag until the time is up, or the bag's own is and an event waits; for how many.

        `listed`: the flag of those that are on it.
        """
        cdef int i = 0
        cdef Conn c
        cdef int64_t own = 2 * now_ns() - self.pass_began_ns
        try:
            while i < n:
                c = <Conn> bag.p[i]
                Py_DECREF(c)
                i += 1
                c.flags &= ~listed
                if c.state != ST_CLOSED:
                    try:
                        self.flush(c)
                        c.want()
                    except Exception:
                        self.blame(c, "send")
                if not i & 3 and self.is_over(own, until):
                    break
        finally:
            bag_drop(bag, i)
        return i

    cdef bint is_over(self, int64_t own_ns, int64_t until_ns) noexcept:
        """Whether what goes to many has had its time: `until_ns`, or its own if an event waits."""
        cdef int64_t now = now_ns()
        return now > until_ns or now > own_ns and self.event_waits()

    cdef bint event_waits(self) noexcept:
        cdef pollfd p
        if self.ev_pos < self.ev_n:
            return True
        p.fd, p.events = self.epfd, POLLIN
        return poll(&p, 1, 0) > 0

    # -- input

    cdef int on_input(self, Conn c) except -1:
        cdef Py_ssize_t n
        if c.flags & F_RUNNING or c.flags & F_PAUSED and not c.flags & F_CLOSING:
            c.flags |= F_MUTED
            return c.want()
        if c.flags & F_HELD:
            return self.take_held(c)      # it came first; what is new is still there in the next pass
        n = recv(c.fd, self.rx, RX_BYTES, 0)
        if n < 0:
            if errno == EAGAIN or errno == EINTR:
                return 0
            return self.finish(c, R_LOCAL if c.flags & F_CLOSING else R_ERROR)
        if n == 0:
            c.flags |= F_EOF
            return self.end_of_input(c, R_TRUNCATED if c.state == ST_OPEN else R_EOF)
        c.bytes_in += n
        if c.flags & F_CLOSING:
            return 0
        if c.state == ST_PLAIN:
            return self.feed(c, self.rx, n)
        if c.state == ST_OPEN:
            return self.tls_input(c, self.rx, <uint32_t> n)
        return self.handshake_input(c, <uint32_t> n)

    cdef int feed(self, Conn c, unsigned char* p, Py_ssize_t n) except -1:
        if c.handler is not None:
            try:
                c.handler.feed(c, p, n)
            except Exception:
                self.blame(c, "feed")
        return 0

    cdef int tls_input(self, Conn c, const unsigned char* p, uint32_t n) except -1:
        cdef size_t got = 0
        cdef size_t k = 0
        cdef int r
        c.link.lent = p
        c.link.lent_len = n
        c.link.out = &self.cipher
        while True:
            r = tls_read(&c.link, self.plain + got, PLAIN_BYTES - got, &k)
            if r != TLS_DONE:
                break
            got += k
        c.link.lent = NULL
        c.link.lent_len = 0
        if self.cipher.len:      # the answer to a KeyUpdate, or an alert
            self.send_cipher(c)
            c.want()
        if got and c.state == ST_OPEN:
            self.feed(c, self.plain, got)
        if r == TLS_WANT or c.state != ST_OPEN:
            return 0
        if r == TLS_NOTIFY:
            return self.end_of_input(c, R_CLOSE_NOTIFY)
        if r == TLS_ALERT:
            return self.finish(c, R_ALERT)
        return self.fail(c, R_ERROR)

    cdef int end_of_input(self, Conn c, int reason) except -1:
        """The peer sends no more. What it sent is still handled, and what was written for it still sent."""
        if c.state == ST_HANDSHAKE and not c.flags & F_CLOSING:
            return self.finish(c, reason)
        if not c.flags & F_CLOSING:
            if c.flags & (F_ASKED | F_PAUSED):      # the handler keeps input that it has not looked at yet
                c.flags |= F_ENDED
                c.reason = <uint8_t> reason
                return c.want()
            self.report(c, reason)
            c.flags |= F_CLOSING
            self.watch(c, LINGER_WHEEL)
        c.want()
        return c.mark_dirty()

    # -- output

    cdef Py_ssize_t push(self, Conn c, const unsigned char* p, size_t n) except -2:
        """Offer p[n] to the kernel: how many bytes it took; -1 when the connection is dead."""
        cdef Py_ssize_t k
        while True:
            # nothing comes behind our close_notify but the FIN, which goes with it
            k = c_send(c.fd, p, n, MSG_NOSIGNAL | MSG_MORE if c.flags & F_NOTIFIED else MSG_NOSIGNAL)
            if k >= 0:
                c.bytes_out += k
                if <size_t> k < n:
                    c.flags |= F_BLOCKED
                return k
            if errno == EAGAIN:
                c.flags |= F_BLOCKED
                return 0
            if errno != EINTR:
                self.finish(c, R_LOCAL if c.flags & F_CLOSING else R_ERROR)
                return -1

    cdef int send(self, Conn c, const unsigned char* p, size_t n) except -1:
        """Send bytes as they are, behind those that wait; what the kernel does not take now waits too."""
        cdef Py_ssize_t k = 0
        if not c.flags & F_BLOCKED and not c.wire.len:
            k = self.push(c, p, n)
            if k < 0 or <size_t> k == n:
                return 0
        if c.wire.len + n > HARD_LIMIT * self.out_limit + CHUNK_BYTES:
            return self.finish(c, R_ERROR)
        if outbuf_put(&c.wire, p + k, n - k):
            raise MemoryError
        return 0

    cdef int send_cipher(self, Conn c) except -1:
        self.send(c, self.cipher.p, self.cipher.len)
        self.cipher.len = 0
        if self.cipher.cap > CIPHER_KEPT_BYTES:
            outbuf_free(&self.cipher)
        return 0

    cdef int flush(self, Conn c) except -1:
        cdef Py_ssize_t k
        if c.flags & F_DOOMED:
            return self.finish(c, R_ERROR)
        if not c.flags & F_BLOCKED:
            if c.wire.len and c.wire.len <= CHUNK_BYTES and c.out.len and c.state == ST_OPEN:
                # what waits and what is new, in one packet
                if outbuf_put(&self.cipher, c.wire.p, c.wire.len):
                    raise MemoryError
                outbuf_free(&c.wire)
            if c.wire.len:
                k = self.push(c, c.wire.p, c.wire.len)
                if k < 0:
                    return 0
                if <uint32_t> k == c.wire.len:
                    outbuf_free(&c.wire)
                else:
                    outbuf_drop(&c.wire, k)
            if c.out.len and not c.wire.len and not c.flags & F_BLOCKED:
                if c.state == ST_OPEN:
                    self.encrypt(c)
                elif c.state == ST_PLAIN:
                    k = self.push(c, c.out.p, c.out.len)
                    if k < 0:
                        return 0
                    outbuf_drop(&c.out, k)
                    c.passed += k
                if c.state == ST_CLOSED:
                    return 0
                if not c.out.len:
                    outbuf_free(&c.out)
            if not c.wire.len:
                c.took = c.passed
            if c.marks is not None:
                self.taken(c)
                if c.state == ST_CLOSED:
                    return 0
            if c.flags & F_CLOSING and not c.out.len and not c.wire.len:
                return self.shut(c)
        if c.flags & F_BACKED or c.out.len + <size_t> c.wire.len > self.out_low:
            self.watermarks(c)
        return 0

    cdef int encrypt(self, Conn c) except -1:
        cdef uint32_t pos = 0
        cdef uint32_t n
        c.link.out = &self.cipher
        while pos < c.out.len and not c.wire.len:
            n = min(c.out.len - pos, <uint32_t> CHUNK_BYTES)
            if tls_write(&c.link, c.out.p + pos, n) != TLS_DONE:
                self.cipher.len = 0
                return self.finish(c, R_ERROR)
            pos += n
            if pos == c.out.len and c.flags & F_CLOSING:
                self.notify(c)      # with the last that is said, in one packet
            self.send_cipher(c)
            if c.state == ST_CLOSED:
                return 0
            if not c.wire.len:
                c.took = c.passed + pos
        outbuf_drop(&c.out, pos)
        c.passed += pos
        return 0

    cdef int taken(self, Conn c) except -1:
        """Tell who waits for what the kernel has."""
        cdef object place
        cdef object callback
        try:
            while c.marks is not None:
                place, callback = c.marks[0]
                if place > c.took:
                    return 0
                if len(c.marks) == 1:
                    c.marks = None
                else:
                    c.marks.popleft()
                callback()
        except Exception:
            self.blame(c, "taken")
        return 0

    cdef int shut(self, Conn c) except -1:
        """All is sent: say so."""
        self.notify(c)
        if self.cipher.len:
            self.send_cipher(c)
            if c.state == ST_CLOSED or c.wire.len:
                return 0
        if not c.flags & F_SHUT:
            c.flags |= F_SHUT
            shutdown(c.fd, SHUT_WR)
        if c.flags & F_EOF:
            return self.finish(c, R_LOCAL)
        return 0

    cdef void notify(self, Conn c) noexcept:
        """Put our close_notify, once, behind what is encrypted."""
        if c.link.ssl != NULL and not c.flags & F_NOTIFIED:
            c.flags |= F_NOTIFIED
            c.link.out = &self.cipher
            tls_notify(&c.link)

    cdef int watermarks(self, Conn c) except -1:
        cdef size_t pending = c.out.len + <size_t> c.wire.len
        cdef str step = "writable"
        if c.flags & F_CLOSING or c.handler is None:
            return 0
        try:
            if pending <= self.out_low:
                c.flags &= ~(F_BACKED | F_OVER)
                c.handler.writable(c)
                return 0
            c.flags |= F_BACKED
            if pending > self.out_limit and not c.flags & F_OVER:
                c.flags |= F_OVER
                step = "overflow"
                c.handler.overflow(c)
        except Exception:
            self.blame(c, step)
        return 0

    # -- handshakes

    cdef int attach(self, Conn c, TLSContext ctx, bint chosen) except -1:
        cdef const char* sni = NULL
        cdef bytes wire = b""
        cdef bytes name
        self.flush(c)
        if c.state == ST_CLOSED:
            return 0
        if c.dial is not None:
            if c.dial[0] is not None:
                name = c.dial[0].encode("ascii")
                sni = name
            wire = c.dial[1]
        if c.out.len:
            # plaintext the kernel has not taken yet: it goes before the handshake, as it is
            if outbuf_put(&c.wire, c.out.p, c.out.len):
                raise MemoryError
            c.passed += c.out.len
            outbuf_free(&c.out)
        c.base = c.ctx = ctx
        if tls_attach(
            &c.link, <SSL_CTX*> ctx.ctx, 1 if c.flags & F_SERVER else 0, sni,
            <const unsigned char*> PyBytes_AS_STRING(wire), <unsigned> len(wire),
        ):
            raise TLSError(f"cannot begin a handshake: {error_text(c.link.error)}")
        if c.flags & F_SERVER and chosen:
            tls_choose(&c.link, <SSL_CTX*> ctx.ctx, ctx.tickets is not None)
        c.job = tls_job_new(&c.link, <void*> c)
        if c.job == NULL:
            raise MemoryError
        c.state = ST_HANDSHAKE
        self.watch(c, HANDSHAKE_WHEEL)
        c.want()
        if not c.flags & F_SERVER:
            self.submit(c)
        return 0

    cdef int handshake_input(self, Conn c, uint32_t n) except -1:
        cdef int r
        cdef size_t light
        c.link.lent = self.rx
        c.link.lent_len = n
        if not c.link.flags & TLS_F_CHOSEN:
            # the ClientHello is read here, where the context can be chosen in Python; the rest is for a worker
            c.link.out = &self.cipher
            r = tls_step(&c.link)
            if r == TLS_HELLO:
                self.choose(c)
                if c.link.alert:
                    r = tls_step(&c.link)
            if self.cipher.len:
                self.send_cipher(c)
            if c.state != ST_HANDSHAKE or r == TLS_WANT:
                return 0
            if r != TLS_HELLO:
                return self.handshake_failed(c, r)
        if outbuf_put(&c.job.lent, c.link.lent, c.link.lent_len):
            raise MemoryError
        c.job.used = 0
        if c.flags & F_BEGUN:
            light = tls_light(&c.link, c.job.lent.p, c.job.lent.len)
            if light:
                tls_job_run(c.job, light)
                if c.job.result != TLS_WANT or light == c.job.lent.len:
                    return self.job_done(c)
        return self.submit(c)

    cdef int choose(self, Conn c) except -1:
        """The ClientHello is read: ask for the context."""
        cdef TLSContext ctx = None
        cdef int alert = SSL_AD_UNRECOGNIZED_NAME
        sni = (<bytes> c.link.sni).decode("ascii") if c.link.sni != NULL else None
        try:
            ctx = c.listener.select(c, sni) if c.listener is not None and c.listener.select is not None else c.base
        except Exception:
            log.exception("connection failed", extra=fields(peer=c.peer, step="select"))
            alert = SSL_AD_INTERNAL_ERROR
        if c.state != ST_HANDSHAKE:      # the callback ended it
            return 0
        if ctx is None:
            tls_refuse(&c.link, alert)
            return 0
        c.ctx = ctx
        if tls_choose(&c.link, <SSL_CTX*> ctx.ctx, ctx.tickets is not None):
            raise TLSError("cannot use the chosen context")
        return 0

    cdef int submit(self, Conn c) except -1:
        if hspool_put(self.pool, &c.job.job, c.flags & F_BEGUN):
            self.n_handshakes_refused += 1
            count("handshakes_refused")
            return self.finish(c, R_ERROR)
        Py_INCREF(c)      # the worker's
        c.flags |= F_RUNNING | F_BEGUN
        return 0

    cdef int jobs_done(self) except -1:
        cdef hs_job* j = hspool_done(self.pool)
        cdef hs_job* next
        cdef Conn c
        while j != NULL:
            next = j.next
            c = <Conn> (<tls_job*> j).owner
            Py_DECREF(c)
            c.flags &= ~(F_RUNNING | F_MUTED)
            if c.state == ST_CLOSED:
                self.release(c)
            else:
                try:
                    self.job_done(c)
                    c.want()
                except Exception:
                    self.blame(c, "handshake")
            j = next
        return 0

    cdef int job_done(self, Conn c) except -1:
        cdef int r = c.job.result
        if c.job.out.len:
            if r == TLS_DONE:       # our last, a ticket or Finished: with what this pass has to say, in one packet
                if outbuf_put(&c.wire, c.job.out.p, c.job.out.len):
                    raise MemoryError
                c.mark_dirty()
            else:
                self.send(c, c.job.out.p, c.job.out.len)
                if c.state == ST_CLOSED:
                    return 0
        outbuf_free(&c.job.out)
        if r == TLS_WANT:
            outbuf_free(&c.job.lent)
            return 0
        if r != TLS_DONE:
            return self.handshake_failed(c, r)
        self.n_handshakes += 1
        self.unwatch(c)
        c.state = ST_OPEN
        c.dial = None
        if c.handler is not None:
            try:
                c.handler.tls_open(c)
            except Exception:
                return self.blame(c, "tls_open")
        if c.out.len and c.state == ST_OPEN:
            c.mark_dirty()
        if c.state != ST_OPEN:
            return 0
        if c.flags & F_PAUSED and c.job.used < c.job.lent.len:
            c.flags |= F_HELD
            return 0
        return self.take_held(c)

    cdef int take_held(self, Conn c) except -1:
        """What came behind the handshake."""
        cdef tls_job* j = c.job
        c.job = NULL
        c.flags &= ~F_HELD
        try:
            if j.used < j.lent.len and not c.flags & F_CLOSING:
                self.tls_input(c, j.lent.p + j.used, j.lent.len - j.used)
        finally:
            tls_job_free(j)
        return 0

    cdef int handshake_failed(self, Conn c, int result) except -1:
        log.info("handshake failed", extra=fields(peer=c.peer, error=error_text(c.link.error)))
        # of all peers together: once for each `log.repeat_s`, with how often it came
        log.warning("bad input", extra=fields(kind="handshake failed", error=error_text(c.link.error)))
        if result == TLS_FAILED:
            return self.fail(c, R_ERROR)
        return self.finish(c, R_ALERT if result == TLS_ALERT else R_CLOSE_NOTIFY)

    # -- lives and deadlines

    cdef int enroll(self, Conn c) except -1:
        cdef epoll_event ev
        ev.events = EPOLLIN
        ev.data.ptr = <void*> c
        if epoll_ctl(self.epfd, EPOLL_CTL_ADD, c.fd, &ev) < 0:
            raise OSError(errno, os.strerror(errno))
        c.mask = EPOLLIN
        c.flags |= F_ENROLLED
        Py_INCREF(c)
        c.next = self.first
        if self.first != NULL:
            (<Conn> self.first).prev = <void*> c
        self.first = <void*> c
        self.n_conns += 1
        return 0

    cdef int report(self, Conn c, int reason) except -1:
        """Handler.closed is called with this reason at the end of the pass; the first one counts."""
        if not c.flags & F_REPORTED:
            c.flags |= F_REPORTED
            c.reason = reason
            if c.state == ST_HANDSHAKE and reason != R_LOCAL and reason != R_TIMEOUT:
                self.n_handshakes_failed += 1
                count("handshakes_failed")
            bag_put(&self.reports, c)
            if not self.in_pass:
                self.soon()
        return 0

    cdef int fail(self, Conn c, int reason) except -1:
        """TLS broke, and our alert is on its way. Closing with unread input would reset the connection and lose it."""
        if c.state == ST_CLOSED:
            return 0
        self.report(c, reason)
        outbuf_free(&c.out)
        c.marks = None
        c.flags |= F_CLOSING | F_NOTIFIED
        self.watch(c, LINGER_WHEEL)
        c.want()
        return c.mark_dirty()

    cdef int finish(self, Conn c, int reason) except -1:
        """The end, at once."""
        if c.state == ST_CLOSED:
            return 0
        self.report(c, reason)
        self.unwatch(c)
        c.state = ST_CLOSED
        c.marks = None      # they may hold us
        outbuf_free(&c.out)
        outbuf_free(&c.wire)
        if c.flags & F_RUNNING:
            # the worker has the SSL; it comes back through jobs_done
            hspool_cancel(&c.job.job)
            epoll_ctl(self.epfd, EPOLL_CTL_DEL, c.fd, NULL)
            shutdown(c.fd, SHUT_RDWR)
        else:
            self.release(c)
        if not c.flags & F_ENROLLED:
            return 0
        if c.prev != NULL:
            (<Conn> c.prev).next = c.next
        else:
            self.first = c.next
        if c.next != NULL:
            (<Conn> c.next).prev = c.prev
        c.prev = c.next = NULL
        self.n_conns -= 1
        bag_put(&self.graves, c)      # an event of this pass may still name it
        Py_DECREF(c)
        if not self.in_pass:
            self.soon()
        return 0

    cdef void release(self, Conn c) noexcept:
        """Give back what only a living connection needs."""
        tls_job_free(c.job)
        c.job = NULL
        tls_detach(&c.link)
        if c.fd >= 0:
            c_close(c.fd)      # takes it out of the epoll set
            c.fd = -1

    cdef int blame(self, Conn c, str step) except -1:
        """In an except clause: what went wrong ends this connection and no other."""
        log.exception("connection failed", extra=fields(peer=c.peer, step=step))
        return self.finish(c, R_ERROR)

    cdef int watch(self, Conn c, int wheel) except -1:
        cdef Wheel* w = &self.wheels[wheel]
        self.unwatch(c)
        c.wheel = wheel
        c.deadline_ns = now_ns() + w.span_ns
        c.wheel_prev = w.last
        c.wheel_next = NULL
        if w.last != NULL:
            (<Conn> w.last).wheel_next = <void*> c
        else:
            w.first = <void*> c
        w.last = <void*> c
        if self.timer is None or c.deadline_ns < self.timer_ns:
            self.arm_timer()
        return 0

    cdef void unwatch(self, Conn c) noexcept:
        cdef Wheel* w
        if c.wheel < 0:
            return
        w = &self.wheels[c.wheel]
        if c.wheel_prev != NULL:
            (<Conn> c.wheel_prev).wheel_next = c.wheel_next
        else:
            w.first = c.wheel_next
        if c.wheel_next != NULL:
            (<Conn> c.wheel_next).wheel_prev = c.wheel_prev
        else:
            w.last = c.wheel_prev
        c.wheel = -1
        c.wheel_prev = c.wheel_next = NULL

    cdef int arm_timer(self) except -1:
        cdef int64_t soonest = 0
        cdef int64_t wait
        cdef int i
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        for i in range(WHEELS):
            if self.wheels[i].first != NULL:
                wait = (<Conn> self.wheels[i].first).deadline_ns
                if not soonest or wait < soonest:
                    soonest = wait
        if soonest and not self.closed:
            self.timer_ns = soonest
            wait = max(soonest - now_ns(), <int64_t> 0)
            self.timer = self.loop.call_later(wait / 1e9 + 0.001, self.on_timer)
        return 0

    def _expire(self):
        cdef int64_t now = now_ns()
        cdef Conn c
        cdef int i
        self.timer = None
        for i in range(WHEELS):
            while self.wheels[i].first != NULL:
                c = <Conn> self.wheels[i].first
                if c.deadline_ns > now:
                    break
                if i == HANDSHAKE_WHEEL:
                    self.n_handshakes_timeout += 1
                    count("handshakes_timeout")
                    self.finish(c, R_TIMEOUT)
                else:
                    self.finish(c, R_LOCAL)
        self.arm_timer()

    # -- accepting

    cdef int accept_some(self, Listener l) except -1:
        cdef sockaddr_storage sa
        cdef socklen_t n
        cdef int fd, i, e
        cdef Conn c
        for i in range(ACCEPTS):
            if l.fd < 0:
                return 0
            n = sizeof(sa)
            fd = accept4(l.fd, <sockaddr*> &sa, &n, SOCK_NONBLOCK | SOCK_CLOEXEC)
            if fd < 0:
                e = errno
                if e == EAGAIN:
                    return 0
                if e == EINTR or e == ECONNABORTED:
                    continue
                return self.rest(l, e)      # EMFILE, ENFILE, ENOBUFS, ENOMEM
            l.rest_ms = REST_FIRST_MS
            self.n_accepted += 1
            c = Conn.__new__(Conn)
            c.fd = fd
            c.net = self
            c.listener = l
            c.flags = F_SERVER
            note_address(c, &sa)
            try:
                self.enroll(c)
                c.handler = l.accept(c)
                if c.handler is None:
                    self.n_refused += 1
                    self.finish(c, R_LOCAL)
                elif l.direct_tls and c.state == ST_PLAIN:
                    c.start_tls()
            except Exception:
                self.blame(c, "accept")
            if now_ns() > self.pass_ends_ns:
                return 0
        return 0

    cdef int rest(self, Listener l, int err) except -1:
        """No descriptors or memory: look at something else for a while instead of turning round and round."""
        cdef epoll_event ev
        ev.events = 0
        ev.data.ptr = XMPPD_TAG(<void*> l)
        epoll_ctl(self.epfd, EPOLL_CTL_MOD, l.fd, &ev)
        self.n_rests += 1
        count("accepts_paused")
        if l.rest_ms == REST_FIRST_MS:      # once, not each time it lasts
            log.error("accepting paused", extra=fields(error=os.strerror(err)))
        self.loop.call_later(l.rest_ms / 1000, l._wake)
        l.rest_ms = min(2 * l.rest_ms, REST_MOST_MS)
        return 0


cdef void drop_all(Bag* b) noexcept:
    cdef int i
    cdef int n = b.n
    for i in range(n):
        Py_DECREF(<object> b.p[i])
    bag_drop(b, n)


cdef void note_address(Conn c, sockaddr_storage* sa) noexcept:
    c.family = <uint8_t> sa.ss_family
    if sa.ss_family == AF_INET:
        c.port = ntohs((<sockaddr_in*> sa).sin_port)
        memcpy(c.address, &(<sockaddr_in*> sa).sin_addr, 4)
    elif sa.ss_family == AF_INET6:
        c.port = ntohs((<sockaddr_in6*> sa).sin6_port)
        memcpy(c.address, &(<sockaddr_in6*> sa).sin6_addr, 16)
