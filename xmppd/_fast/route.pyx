"""The connection table and what is sent by it: relaying to full and bare addresses, fan-out.

Keys are normalized addresses as UTF-8 bytes. A stanza's `to` is looked up as it came: a hit proves that it was
normalized, and nothing needs parsing. Whatever is not plainly deliverable here is left to `core.router`, which
alone decides; what this module may decide is handed to it as flags.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject, PyTypeObject

from xmppd._fast.conn cimport Conn, NetLoop, appended
from xmppd._fast.jid cimport JID
from xmppd._fast.outbuf cimport outbuf, outbuf_reserve
from xmppd._fast.reader cimport (
    KIND_IQ,
    KIND_MESSAGE,
    TYPE_CHAT,
    TYPE_ERROR,
    TYPE_GET,
    TYPE_HEADLINE,
    TYPE_NONE,
    TYPE_NORMAL,
    TYPE_RESULT,
    TYPE_SET,
    Stanza,
    ns_id,
)

from libc.stdint cimport int64_t
from libc.string cimport memcpy


cdef extern from "Python.h":
    object PySequence_Fast(object o, const char* message)
    PyObject** PySequence_Fast_ITEMS(object o)
    Py_ssize_t PySequence_Fast_GET_SIZE(object o)
    PyTypeObject* type_of "Py_TYPE" (PyObject* o)
    char* bytes_chars "PyBytes_AS_STRING" (PyObject* o)
    Py_ssize_t bytes_size "PyBytes_GET_SIZE" (PyObject* o)


@cython.final
cdef class Resource:
    """A connected resource: one bound stream of an account (RFC 6120 7).

    `available` and `priority` are those of its last broadcast presence (RFC 6121 4), which is kept as it is sent;
    `interested` says that it asked for the roster (2.2), `watches_blocks` for the block list (XEP-0191 3.3).
    """

    def __cinit__(self, JID jid not None, ConnectedAccount account not None, Conn conn, bytes lang, session):
        self.jid = jid
        self._wire = jid.wire  # at hand for the fan-out, which looks at nothing else of the address
        self.account = account
        self.conn = conn
        self.lang = lang
        self.session = session

    cdef int deliver(self, Stanza stanza, Resource sender) except -1:
        """Append `stanza` with the true address of its sender (RFC 6120 8.1.2.1)."""
        cdef bytes from_ = sender.jid.wire
        cdef bytes lang = sender.lang
        if self.conn is None:
            return 0
        stanza.splice(
            &self.conn.out,
            NULL,
            0,
            <const unsigned char*> PyBytes_AS_STRING(from_),
            PyBytes_GET_SIZE(from_),
            <const unsigned char*> PyBytes_AS_STRING(lang) if lang is not None else NULL,
            PyBytes_GET_SIZE(lang) if lang is not None else 0,
        )
        appended(<PyObject*> self.conn)
        return 1

    def relay(self, Stanza stanza not None, Resource sender not None):
        """Deliver a stanza of another resource; True if this resource still has a stream."""
        return self.deliver(stanza, sender) == 1

    def send(self, bytes data not None):
        """Append bytes that are complete stanzas; False if the stream has gone."""
        if self.conn is None:
            return False
        self.conn.cwrite(<const unsigned char*> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        return True

    @property
    def available(self):
        return self._available != 0

    @property
    def interested(self):
        return self._interested != 0

    @interested.setter
    def interested(self, bint value):
        self._interested = value

    def show(self, bytes head not None, bytes tail not None, int priority):
        """The resource is available with this presence (head and tail as made by `Stanza.split`)."""
        # one object, not three: an idle resource keeps it
        self._presence = head + b" to=''" + tail
        self._presence_cut = <unsigned int> PyBytes_GET_SIZE(head) + 5
        self.priority = priority
        self._available = True

    def presence(self, bytes to not None):
        """The presence of the resource, addressed to `to`, an address as it is written; None if it is not available."""
        if self._presence is None:
            return None
        return self._presence[: self._presence_cut] + to + self._presence[self._presence_cut :]

    def shown(self):
        """The presence as it was given to `show`, head and tail; None if the resource is not available."""
        if self._presence is None:
            return None
        return self._presence[: self._presence_cut - 5], self._presence[self._presence_cut + 1 :]

    def hide(self):
        """The resource is not available any more."""
        self._presence = None
        self.priority = 0
        self._available = False

    def gone(self):
        """The stream has ended: nothing is sent to it any more."""
        self.conn = None
        self.session = None


cdef class ConnectedAccount:
    """One bare address and its connected resources, the latest bound last; `account` is the core's to set.

    `waiting`: messages for the bare address go behind others that wait, and none is relayed here.
    `blocked`: the normalized addresses of its block list, None for none; with a list, nothing is relayed here.
    `resources` is a tuple, replaced at each change: who goes through it is not disturbed by a stream that ends.
    """

    def __cinit__(self, JID jid not None):
        self.key = jid.norm
        self.wire = jid.wire
        self.resources = ()

    @property
    def available(self):
        """Whether any resource has sent initial presence."""
        cdef Resource resource
        for resource in self.resources:
            if resource._available:
                return True
        return False


cpdef bint in_block_list(bytes key, frozenset addresses) except -1:
    """Whether a block list has a normalized address: itself, its account or its domain (XEP-0191 6)."""
    bare = key.partition(b"/")[0]
    return key in addresses or bare in addresses or bare.rpartition(b"@")[2] in addresses


cpdef bint separated(Resource one, Resource other) except -1:
    """Whether the account of one of them has blocked the other; never within an account (XEP-0191 5)."""
    cdef ConnectedAccount a = one.account, b = other.account
    if a is b:
        return False
    if a.blocked is not None and in_block_list(other.jid.norm, a.blocked):
        return True
    return b.blocked is not None and in_block_list(one.jid.norm, b.blocked)


cdef struct Part:
    const char* p
    Py_ssize_t n


# Objects come here as borrowed pointers. Counting their references would cost half as much again as the copies do: since
# Python 3.12 a count is written as 32 bits and read back as 64, which the processor has to wait for.

cdef inline Part part(PyObject* of) noexcept:
    """The bytes of a bytes object."""
    return Part(bytes_chars(of), bytes_size(of))


cdef inline int append(PyObject* resource, Part head, Part to, Part tail, bint late=False) except -1:
    """Head, address and tail in one reservation and three copies; 1, or 0 if the stream of the Resource has gone."""
    cdef PyObject* conn = <PyObject*> (<Resource> resource).conn
    if conn == <PyObject*> None:
        return 0
    cdef outbuf* out = &(<Conn> conn).out
    cdef Py_ssize_t total = head.n + to.n + tail.n
    cdef unsigned char* p
    if out.cap - out.len < <size_t> total and outbuf_reserve(out, <size_t> total) != 0:
        raise MemoryError
    p = out.p + out.len
    memcpy(p, head.p, head.n)
    memcpy(p + head.n, to.p, to.n)
    memcpy(p + head.n + to.n, tail.p, tail.n)
    out.len += <unsigned int> total
    appended(conn, late)
    return 1


cdef int STANZA_ID = ns_id("urn:xmpp:sid:0")
cdef int DELAY = ns_id("urn:xmpp:delay")
cdef int LAST_ACTIVITY = ns_id("jabber:iq:last")


cdef inline bint may_speak_for_us(Stanza stanza) noexcept:
    """Whether a message has a `<stanza-id/>` or `<delay/>`, or may have one: only we may write ours (XEP-0359, XEP-0203)."""
    cdef int i
    for i in range(min(stanza.nchild, 8)):
        if stanza.child_is(i, STANZA_ID, b"stanza-id", 9) or stanza.child_is(i, DELAY, b"delay", 5):
            return True
    return stanza.nchild > 8


cdef class RouteTable:
    """Every connected resource, by full and by bare address."""

    def __cinit__(self):
        self._full = {}
        self._bare = {}

    def __len__(self):
        return len(self._full)

    def full(self, bytes key not None):
        """The resource of this normalized full address, or None."""
        return self._full.get(key)

    def bare(self, bytes key not None):
        """The connected account of this normalized bare address, or None."""
        return self._bare.get(key)

    def accounts(self):
        """All connected accounts, as a list."""
        return list(self._bare.values())

    def bind(self, JID jid not None, Conn conn, bytes lang, session):
        """Enter a newly bound stream. ValueError if the full address is taken."""
        cdef JID bare = jid.bare
        cdef ConnectedAccount account
        if jid.norm in self._full:
            raise ValueError("bound already")
        account = self._bare.get(bare.norm)
        if account is None:
            account = ConnectedAccount(bare)
            self._bare[account.key] = account
        cdef Resource resource = Resource(jid, account, conn, lang, session)
        account.resources += (resource,)
        self._full[jid.norm] = resource
        if conn is not None:
            self._net = conn.net
        return resource

    def unbind(self, Resource resource not None):
        """Take a resource out; True if it was its account's last."""
        if self._full.get(resource.jid.norm) is resource:
            del self._full[resource.jid.norm]
            resource.account.resources = tuple([r for r in resource.account.resources if r is not resource])
            if not resource.account.resources:
                del self._bare[resource.account.key]
        return not resource.account.resources

    cdef int relay(self, Resource sender, Stanza stanza) except -1:
        """Deliver what needs no decision; 0 leaves the stanza to the router.

        Messages to a connected full address (RFC 6121 8.5.3.1) and chat, normal and headline messages to a bare
        address with available resources of non-negative priority (8.5.2.1.1; 5-19.a); IQs to a full address
        unless access is to be checked first (5-21; XEP-0012 4).
        """
        cdef Py_ssize_t n
        cdef const unsigned char* p
        cdef int kind = stanza.kind
        cdef int type = stanza.type_id
        cdef Py_ssize_t id_length
        if (kind != KIND_MESSAGE and kind != KIND_IQ) or sender.account.blocked is not None:
            return 0
        p = stanza.to_ptr(&n)
        if n <= 0:
            return 0
        if kind == KIND_IQ:
            stanza.id_ptr(&id_length)
            if id_length == -1 or id_length == 0:
                return 0  # 5-10.a
            if type == TYPE_GET or type == TYPE_SET:
                if self.iq_needs_presence or stanza.nchild != 1 or stanza.child_is(0, LAST_ACTIVITY, b"query", 5):
                    return 0
            elif type != TYPE_RESULT and type != TYPE_ERROR:
                return 0
        cdef bytes key = PyBytes_FromStringAndSize(<const char*> p, n)
        if kind == KIND_MESSAGE and may_speak_for_us(stanza):
            return 0
        found = self._full.get(key)
        if found is not None:
            if (<Resource> found).account.blocked is not None:
                return 0
            self.routed += 1
            return (<Resource> found).deliver(stanza, sender)
        if kind == KIND_IQ:
            return 0
        if type == TYPE_NONE or type == TYPE_CHAT or type == TYPE_NORMAL or type == TYPE_HEADLINE:
            found = self._bare.get(key)
            if (
                found is not None
                and not (<ConnectedAccount> found).waiting
                and (<ConnectedAccount> found).blocked is None
            ):
                return self.deliver_bare(stanza, sender, <ConnectedAccount> found) > 0
        return 0

    def relay_stanza(self, Resource sender not None, Stanza stanza not None):
        """`relay` for Python; True if the stanza was delivered."""
        return self.relay(sender, stanza) != 0

    cdef int deliver_bare(self, Stanza stanza, Resource sender, ConnectedAccount account) except -1:
        cdef Resource resource
        cdef int delivered = 0
        for resource in account.resources:
            if resource._available and resource.priority >= 0:
                delivered += resource.deliver(stanza, sender)
        self.routed += delivered
        return delivered

    def deliver_to_bare(self, Stanza stanza not None, Resource sender not None, ConnectedAccount account not None):
        """To all available resources of non-negative priority (RFC 6121 8.5.2.1.1); how many there were."""
        return self.deliver_bare(stanza, sender, account)

    def broadcast(self, list contacts not None, bytes head not None, bytes tail not None, Resource sender not None):
        """Presence to the available resources of each connected contact (RFC 6121 4.2.2); deliveries made.

        `contacts` holds normalized bare addresses; `head` and `tail` are those of `Stanza.split`. Who is `separated`
        from the sender gets nothing.
        """
        cdef Py_ssize_t i
        cdef int delivered = 0
        cdef bytes start = head + b" to='"
        cdef bytes rest = b"'" + tail
        for i in range(len(contacts)):
            delivered += self.tell(contacts[i], start, rest, sender, False)
        return delivered

    def broadcast_late(
        self,
        list contacts not None,
        Py_ssize_t begin,
        bytes head not None,
        bytes tail not None,
        Resource sender not None,
        int64_t own_ns,
        int64_t until_ns,
    ):
        """`broadcast` to very many, from `contacts[begin]` on: sent behind what is written to others meanwhile.

        It goes on until its own time is up (of `time.monotonic_ns`), then as long as no event waits, at most `until_ns`.
        Returns where to go on.
        """
        cdef Py_ssize_t i
        cdef bytes start = head + b" to='"
        cdef bytes rest = b"'" + tail
        for i in range(begin, len(contacts)):
            self.tell(contacts[i], start, rest, sender, True)
            if not i & 15 and self._net is not None and self._net.is_over(own_ns, until_ns):
                return i + 1
        return len(contacts)

    cdef int tell(self, object contact, bytes head, bytes tail, Resource sender, bint late) except -1:
        """Presence to one contact; deliveries made."""
        cdef ConnectedAccount account
        cdef Resource resource
        cdef bint guarded
        cdef int delivered = 0
        found = self._bare.get(contact)
        if found is None:
            return 0
        account = <ConnectedAccount> found
        guarded = account.blocked is not None or sender.account.blocked is not None
        for resource in account.resources:
            if resource._available and not (guarded and separated(sender, resource)):
                delivered += append(
                    <PyObject*> resource, part(<PyObject*> head), part(<PyObject*> account.wire),
                    part(<PyObject*> tail), late,
                )
        self.routed += delivered
        return delivered


def fan_out(resources not None, bytes head not None, bytes tail not None, bytes to=None):
    """One stanza to each of `resources`, addressed to its full JID, or to `to` for all; deliveries made."""
    head = head + b" to='"
    tail = b"'" + tail
    return append_all(resources, part(<PyObject*> head), to, part(<PyObject*> tail))


def show_presence(Resource of not None, to not None, bytes address=None):
    """The presence of an available resource to each of `to`; `address` as in `fan_out`; deliveries made."""
    cdef bytes presence = of._presence
    cdef Part head, tail
    if presence is None:
        return 0
    head = part(<PyObject*> presence)
    tail.p = head.p + of._presence_cut
    tail.n = head.n - of._presence_cut
    head.n = of._presence_cut
    return append_all(to, head, address, tail)


cdef int append_all(resources, Part head, bytes to, Part tail) except -1:
    # nothing in the loop runs Python code, so all that is borrowed stays
    cdef object sequence = PySequence_Fast(resources, "resources")
    cdef PyObject** items = PySequence_Fast_ITEMS(sequence)
    cdef Py_ssize_t i
    cdef int delivered = 0
    for i in range(PySequence_Fast_GET_SIZE(sequence)):
        if type_of(items[i]) != RESOURCE:
            raise TypeError("not a Resource")
        delivered += append(
            items[i], head, part(<PyObject*> to if to is not None else <PyObject*> (<Resource> items[i])._wire), tail
        )
    return delivered


cdef PyTypeObject* RESOURCE = <PyTypeObject*> Resource
