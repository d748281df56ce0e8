"""A connection that speaks XML: joins `Conn`, `StreamReader` and the session that knows what to do.

Stanzas of an open stream that the routing table can relay never reach Python. Everything else is a call of the
session's method: `header`, `stanza`, `stream_close`, `stream_error`, `tls_open`, `closed`, `overflow`, `throttled`,
`partial_over`. While the session waits for an answer (`hold`) nothing is read or parsed; `release` goes on.
"""

from libc.stdint cimport uint32_t

from xmppd._fast.conn cimport Conn, Handler
from xmppd._fast.reader cimport (
    EV_MORE,
    EV_STANZA,
    EV_STREAM_CLOSE,
    EV_STREAM_OPEN,
    StreamReader,
    partial_bytes,
)
from xmppd._fast.route cimport Resource, RouteTable

cdef unsigned int _now = 1
cdef bytes CLOSING_TAG = b"</stream:stream>"
cdef Py_ssize_t TAIL = 64  # bytes that are looked at for it: some white space may follow
cdef int SLICE = 64  # stanzas one connection may have handled before the others get their turn


def tick(unsigned int now):
    """Set the coarse clock, in ticks, by which activity and allowances are counted."""
    global _now
    _now = now


def heaviest(list connections not None):
    """The session among those of `connections` whose unread input takes the most memory; None if none takes any."""
    cdef Conn conn
    cdef Wire wire
    cdef uint32_t most = 0
    cdef object found = None
    for conn in connections:
        if isinstance(conn.handler, Wire):
            wire = <Wire> conn.handler
            if wire.reader.own_cap > most and wire.session is not None:
                most = wire.reader.own_cap
                found = wire.session
    return found


cdef class Allowance:
    """What one stream may send: bytes and stanzas a second, saved up for at most `burst_s` seconds.

    `ticks_per_s` is the pace of the coarse clock; `partial_bytes_total` bounds what all unfinished stanzas of the
    process may hold together.
    """

    def __init__(
        self,
        *,
        unsigned int bytes_per_s,
        unsigned int stanzas_per_s,
        double burst_s,
        unsigned int ticks_per_s,
        size_t partial_bytes_total,
    ):
        self.bytes_per_tick = <double> bytes_per_s / ticks_per_s
        self.stanzas_per_tick = <double> stanzas_per_s / ticks_per_s
        self.bytes_most = bytes_per_s * burst_s
        self.stanzas_most = stanzas_per_s * burst_s
        self.partial_bytes_total = partial_bytes_total


cdef class Deadline:
    """Something that may fall due; `due` is a tick, 0 means never; `slot` is the wheel's."""

    def expire(self):
        """Called when `due` has come. May set another deadline."""
        raise NotImplementedError


cdef class Wire(Handler):
    """The XML side of one client connection."""

    def __cinit__(self, Conn conn not None, StreamReader reader not None, RouteTable table, session, Allowance allowance):
        self.conn = conn
        self.reader = reader
        self.table = table
        self.session = session
        self.allowance = allowance
        self.last_in = _now
        self._filled = _now
        if allowance is not None:
            self._bytes_left = allowance.bytes_most
            self._stanzas_left = allowance.stanzas_most

    # what the connection calls

    cdef int feed(self, Conn c, unsigned char* p, Py_ssize_t n) except -1:
        self.last_in = _now
        if self._deaf:
            return 0
        if self._behind is not None:
            self._behind = (self._behind + p[max(0, n - TAIL):n])[-TAIL:]
            self.seek_end()
        else:
            self.reader.begin(p, n)
            try:
                self.pump()
            finally:
                self.reader.end()
        if self.allowance is not None:
            self.charge(n)
        return 0

    cdef int again(self, Conn c) except -1:
        if self._held or self._deaf or self._behind is not None:
            return 0
        self.reader.begin(NULL, 0)
        try:
            self.pump()
        finally:
            self.reader.end()
        if self.allowance is not None:
            self.charge(0)
        return 0

    cdef int tls_open(self, Conn c) except -1:
        self.session.tls_open()
        return 0

    cdef int closed(self, Conn c, object reason) except -1:
        session = self.session
        self.detach_resource()
        self._deaf = True
        self.session = None
        if session is not None:
            session.closed(reason)
        return 0

    cdef int overflow(self, Conn c) except -1:
        if self.session is not None:
            self.session.overflow()
        return 0

    # parsing

    cdef int pump(self) except -1:
        """Take events until the input is used up, an answer is awaited, or the slice is over."""
        cdef StreamReader reader = self.reader
        cdef int event
        cdef int left = SLICE
        self._pumping = True
        try:
            while not self._held and not self._deaf:
                if left == 0:
                    # no more is read before what is there is parsed: it would only pile up
                    self._sliced = True
                    self.conn.pause()
                    self.conn.again()
                    break
                event = reader.next()
                if event == EV_STANZA:
                    left -= 1
                    self.stanzas_in += 1
                    if self.resource is None or self.table.relay(self.resource, reader.stanza) == 0:
                        self.session.stanza(reader.stanza)
                elif event == EV_MORE:
                    self.catch_up()
                    break
                elif event == EV_STREAM_OPEN:
                    self.session.header(reader.header)
                elif event == EV_STREAM_CLOSE:
                    self.session.stream_close()
                else:
                    self.give_up()
                    self.session.stream_error(reader.error)
                    self.seek_end()
                    break
        finally:
            self._pumping = False
            reader.stanza = None  # an idle connection keeps none
        return 0

    cdef int seek_end(self) except -1:
        """Of what cannot be read the end can be told all the same: when it ends as a stream does (RFC 6120 4.4; 1-35)."""
        if not self._deaf and self._behind.rstrip().endswith(CLOSING_TAG):
            self.session.stream_close()
        return 0

    cdef int catch_up(self) except -1:
        """All that was read is parsed: read on."""
        if self._sliced:
            self._sliced = False
            if not self._held:
                self.conn.resume()
        return 0

    cdef int charge(self, Py_ssize_t n) except -1:
        """Count what came in against the allowance; over it, the stream is slowed down, not closed."""
        cdef Allowance allowance = self.allowance
        cdef unsigned int ticks
        cdef double wait_bytes, wait_stanzas
        if allowance.partial_bytes_total and self.session is not None:
            # each time one stream gives back what it holds
            while <size_t> partial_bytes() > allowance.partial_bytes_total and self.session.partial_over():
                pass
        if self._filled != _now:
            ticks = _now - self._filled
            self._filled = _now
            self._bytes_left = min(allowance.bytes_most, self._bytes_left + ticks * allowance.bytes_per_tick)
            self._stanzas_left = min(allowance.stanzas_most, self._stanzas_left + ticks * allowance.stanzas_per_tick)
        self._bytes_left -= n
        self._stanzas_left -= self.stanzas_in
        self.stanzas_in = 0
        if self._bytes_left < 0 or self._stanzas_left < 0:
            if self.session is not None and not self._held and not self._deaf:
                self.hold()
                # ticks until both are above nothing again
                wait_bytes = -self._bytes_left / allowance.bytes_per_tick
                wait_stanzas = -self._stanzas_left / allowance.stanzas_per_tick
                self.session.throttled(
                    1 + <int> max(wait_bytes, wait_stanzas),
                    "bytes_per_s" if wait_bytes > wait_stanzas else "stanzas_per_s",
                )
        return 0

    # what the session calls

    def hold(self):
        """Read and parse nothing more until each `hold` has had its `release`."""
        self._held += 1
        self.conn.pause()

    def release(self):
        """Go on after `hold`, with what was left unparsed first."""
        if not self._held:
            return
        self._held -= 1
        if self._held:
            return
        self.last_in = _now  # until now nobody listened: that was no silence of the peer
        if self._deaf:
            return
        if not self._sliced:
            self.conn.resume()
        if not self._pumping:
            self.conn.again()

    def give_up(self):
        """Read no more, and keep nothing of it: the stream has failed. Only its end is looked for in what comes."""
        if self._behind is None:
            self._behind = self.reader.abandon(TAIL)
            self.catch_up()

    def deafen(self):
        """Ignore all further input, that which is kept too."""
        self._deaf = True
        self.reader.abandon(0)

    def attach_resource(self, Resource resource not None):
        """The stream is open: from now on the routing table sees its stanzas first."""
        self.resource = resource

    def detach_resource(self):
        """The stream is no longer open: no stanza is relayed for it."""
        self.resource = None

    @property
    def held(self):
        """Whether an answer is awaited."""
        return self._held > 0

    @property
    def idle_ticks(self):
        """Ticks of the coarse clock since bytes came in."""
        return _now - self.last_in
