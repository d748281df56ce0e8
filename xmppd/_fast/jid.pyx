"""XMPP addresses (RFC 6122, or RFC 7622 if `use_rules` says so): `JID`, `JIDError`, the preparation of single parts."""

from typing import Literal

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem
from cpython.object cimport Py_EQ, Py_GT, Py_LE, Py_LT, Py_NE, PyObject
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.string cimport memcmp


cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* n) except NULL

cdef extern from "jid.h" nogil:
    ctypedef unsigned char uint8_t
    enum:
        JID_PART_MAX
        JID_MAX
        JID_RAW_MAX
        JID_EMPTY
        JID_UNASSIGNED
        JID_TOO_LONG
        JID_BAD_UTF8
        JID_LOCAL
        JID_DOMAIN
        JID_RESOURCE
    ctypedef struct jid_shape:
        unsigned short local_len, domain_len, len
        unsigned char escape, unassigned
    ctypedef int jid_part(const uint8_t* p, size_t n, uint8_t* out, size_t* out_len, uint8_t* unassigned)
    ctypedef struct jid_rules:
        jid_part* local
        jid_part* domain
        jid_part* resource
    const jid_rules JID_RFC6122, JID_RFC7622
    bint jid_ascii(const uint8_t* p, size_t n, uint8_t* out, jid_shape* shape)
    int jid_prepare(const jid_rules* by, const uint8_t* p, size_t n, uint8_t* out, jid_shape* shape)
    size_t jid_escaped_len(const uint8_t* p, size_t n)
    void jid_escape(const uint8_t* p, size_t n, uint8_t* out)
    const char* jid_fault_text(int fault)
    const char* jid_fault_part(int fault)


class JIDError(ValueError):
    """Not an address: `part` ("localpart", "domainpart", "resourcepart", "address") and `reason` say why."""

    def __init__(self, part, reason):
        super().__init__(part, reason)
        self.part = part
        self.reason = reason

    def __str__(self):
        return f"{self.part}: {self.reason}"


# ---- by which RFC ----

Rules = Literal["rfc6122", "rfc7622"]

cdef const jid_rules* _rules = &JID_RFC6122


cdef const jid_rules* _named(str rules) except NULL:
    if rules == "rfc6122":
        return &JID_RFC6122
    if rules == "rfc7622":
        return &JID_RFC7622
    raise ValueError(f"no such rules: {rules}")


def use_rules(str rules not None):
    """Prepare addresses by "rfc6122" or "rfc7622" from now on; those that are prepared already stay as they are."""
    global _rules
    _rules = _named(rules)
    set_cache_limit(_limit_bytes)


cdef object _error(int fault):
    return JIDError(jid_fault_part(fault).decode("ascii"), jid_fault_text(fault).decode("ascii"))


# ---- what the slow path found lately ----
#
# Keyed by the raw bytes; a value is a JID or, for a failure, the fault. Two generations: the young one takes what is
# new or was found again; when it holds half of the bytes allowed it becomes the old one, and the old one is dropped.

cdef dict _young = {}
cdef dict _old = {}
cdef Py_ssize_t _young_bytes = 0, _old_bytes = 0, _limit_bytes = 1 << 20
cdef unsigned long long _hits = 0, _misses = 0
cdef enum:
    ENTRY_BYTES = 160       # dict slot, key header, boxed fault
    JID_BYTES = 96          # the object and the header of `norm`


cdef object _recall(bytes raw):
    global _hits, _misses
    cdef PyObject* found = PyDict_GetItem(_young, raw)
    if found is not NULL:
        _hits += 1
        return <object>found
    found = PyDict_GetItem(_old, raw)
    if found is NULL:
        _misses += 1
        return None
    _hits += 1
    value = <object>found
    _remember(raw, value)
    return value


cdef int _remember(bytes raw, object found) except -1:
    global _young, _old, _young_bytes, _old_bytes
    cdef Py_ssize_t size = ENTRY_BYTES + PyBytes_GET_SIZE(raw)
    if type(found) is JID:
        size += JID_BYTES + PyBytes_GET_SIZE((<JID>found).norm)
        if (<JID>found).wire is not (<JID>found).norm:
            size += PyBytes_GET_SIZE((<JID>found).wire)
    if 2 * size > _limit_bytes:
        return 0
    if 2 * (_young_bytes + size) > _limit_bytes:
        _old = _young
        _old_bytes = _young_bytes
        _young = {}
        _young_bytes = 0
    _young[raw] = found
    _young_bytes += size
    return 0


def set_cache_limit(Py_ssize_t limit_bytes):
    """Let the cache of the slow path hold about `limit_bytes` (0: nothing), and empty it."""
    global _young, _old, _young_bytes, _old_bytes, _limit_bytes, _hits, _misses
    if limit_bytes < 0:
        raise ValueError("limit_bytes is negative")
    _young, _old = {}, {}
    _young_bytes = _old_bytes = 0
    _hits = _misses = 0
    _limit_bytes = limit_bytes


def cache_info():
    """What the cache of the slow path holds and how it fared: hits, misses, entries, bytes, limit_bytes."""
    return {
        "hits": _hits,
        "misses": _misses,
        "entries": len(_young.keys() | _old.keys()),
        "bytes": _young_bytes + _old_bytes,
        "limit_bytes": _limit_bytes,
    }


# ---- making a JID ----

cdef bytes _escaped(bytes norm):
    cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(norm)
    cdef size_t n = PyBytes_GET_SIZE(norm), length = jid_escaped_len(p, n)
    if length == n:
        return norm
    cdef bytes wire = PyBytes_FromStringAndSize(NULL, length)
    jid_escape(p, n, <uint8_t*>PyBytes_AS_STRING(wire))
    return wire


cdef inline JID _make(bytes norm, const jid_shape* shape):
    cdef JID jid = JID.__new__(JID)
    jid.norm = norm
    jid.wire = _escaped(norm) if shape.escape else norm
    jid.local_len = shape.local_len
    jid.domain_len = shape.domain_len
    jid.unassigned = shape.unassigned
    return jid


cdef object _slow(const unsigned char* p, Py_ssize_t n):
    """A JID or, as int, the fault."""
    cdef jid_shape shape
    cdef uint8_t[JID_MAX] out
    cdef int fault
    if n > JID_RAW_MAX:
        return JID_TOO_LONG
    cdef bytes raw = PyBytes_FromStringAndSize(<const char*>p, n)
    found = _recall(raw)
    if found is None:
        fault = jid_prepare(_rules, p, n, out, &shape)
        found = fault if fault else _make(PyBytes_FromStringAndSize(<char*>out, shape.len), &shape)
        _remember(raw, found)
    return found


cdef JID jid_from_query(const unsigned char* p, Py_ssize_t n):
    cdef jid_shape shape
    cdef bytes norm
    if n <= JID_MAX:
        norm = PyBytes_FromStringAndSize(NULL, n)
        if jid_ascii(p, n, <uint8_t*>PyBytes_AS_STRING(norm), &shape):
            return _make(norm, &shape)
    found = _slow(p, n)
    if type(found) is not JID:
        raise _error(found)
    return <JID>found


cdef JID jid_from_utf8(const unsigned char* p, Py_ssize_t n):
    cdef JID jid = jid_from_query(p, n)
    if jid.unassigned:
        raise _error(JID_UNASSIGNED)
    return jid


cdef bytes _part(object text, jid_part* prepare, int which, uint8_t* unassigned):
    cdef Py_ssize_t n
    cdef size_t length = 0
    cdef uint8_t[JID_PART_MAX] out
    cdef int fault
    cdef const char* p
    try:
        p = PyUnicode_AsUTF8AndSize(text, &n)
    except UnicodeEncodeError:
        raise _error(JID_BAD_UTF8 | which) from None
    fault = prepare(<const uint8_t*>p, n, out, &length, unassigned)
    if fault:
        raise _error(fault)
    return PyBytes_FromStringAndSize(<char*>out, length)


cdef str _prep(object text, jid_part* prepare, int which, bint allow_unassigned):
    cdef uint8_t unassigned = 0
    cdef bytes prepared = _part(text, prepare, which, &unassigned)
    if unassigned and not allow_unassigned:
        raise _error(JID_UNASSIGNED | which)
    return prepared.decode("utf-8")


def prep_local(str text not None, *, bint allow_unassigned=False, str rules=None):
    """A localpart (RFC 6122 2.3, RFC 7622 3.3); by the rules in use, or by `rules`. Raises JIDError."""
    return _prep(text, (_named(rules) if rules else _rules).local, JID_LOCAL, allow_unassigned)


def prep_domain(str text not None, *, bint allow_unassigned=False, str rules=None):
    """A domainpart (RFC 6122 2.2, RFC 7622 3.2) in its one form: Unicode labels, lower case, no dot at the end.

    `rules` as in `prep_local`. Raises JIDError.
    """
    return _prep(text, (_named(rules) if rules else _rules).domain, JID_DOMAIN, allow_unassigned)


def prep_resource(str text not None, *, bint allow_unassigned=False, str rules=None):
    """A resourcepart (RFC 6122 2.4, RFC 7622 3.4). `rules` as in `prep_local`. Raises JIDError."""
    return _prep(text, (_named(rules) if rules else _rules).resource, JID_RESOURCE, allow_unassigned)


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class JID:
    def __cinit__(self):
        self.norm = self.wire = b""     # no empty object, however made, may bring the process down

    def __init__(self, str local, str domain not None, str resource=None, *, bint allow_unassigned=False):
        """An address from its parts, each prepared; None is an absent part. Raises JIDError."""
        cdef uint8_t unassigned = 0, one = 0
        cdef bytes l = b"", d, norm
        if self.domain_len:
            raise TypeError("a JID does not change")
        if local is not None:
            l = _part(local, _rules.local, JID_LOCAL, &one)
            unassigned |= one
        norm = d = _part(domain, _rules.domain, JID_DOMAIN, &one)
        unassigned |= one
        if local is not None:
            norm = l + b"@" + d
        if resource is not None:
            norm = norm + b"/" + _part(resource, _rules.resource, JID_RESOURCE, &one)
            unassigned |= one
        if unassigned and not allow_unassigned:
            raise _error(JID_UNASSIGNED)
        self.norm = norm
        self.wire = _escaped(norm)
        self.local_len = <short>len(l)
        self.domain_len = <short>len(d)
        self.unassigned = unassigned

    @staticmethod
    def parse(text not None, *, bint allow_unassigned=False):
        """The address `text` (str, or UTF-8 bytes) spells; raises JIDError.

        `allow_unassigned` lets code points pass that Unicode 3.2 does not know: the rule for queries, not for
        names that are stored (RFC 3454 7).
        """
        cdef Py_ssize_t n
        cdef const char* p
        if type(text) is bytes:
            p = PyBytes_AS_STRING(<bytes>text)
            n = PyBytes_GET_SIZE(<bytes>text)
        elif isinstance(text, str):
            try:
                p = PyUnicode_AsUTF8AndSize(text, &n)
            except UnicodeEncodeError:
                raise _error(JID_BAD_UTF8) from None
        else:
            raise TypeError(f"str or bytes needed, not {type(text).__name__}")
        if allow_unassigned:
            return jid_from_query(<const unsigned char*>p, n)
        return jid_from_utf8(<const unsigned char*>p, n)

    @staticmethod
    def kept(text not None):
        """The address whose prepared form, str or UTF-8, was stored: as it is, whatever the rules are now.

        Raises JIDError if it was none by any rules.
        """
        cdef bytes norm = text if type(text) is bytes else (<str?>text).encode()
        bare, slash, resource = norm.partition(b"/")
        local, at, domain = bare.rpartition(b"@")
        if (at and not local) or not domain or (slash and not resource):
            raise _error(JID_EMPTY)
        if max(len(local), len(domain), len(resource)) > JID_PART_MAX:
            raise _error(JID_TOO_LONG)
        cdef JID jid = JID.__new__(JID)
        jid.norm = norm
        jid.wire = _escaped(norm)
        jid.local_len = <short>len(local)
        jid.domain_len = <short>len(domain)
        return jid

    @property
    def local(self):
        """The localpart, or None."""
        if not self.local_len:
            return None
        return PyUnicode_DecodeUTF8(PyBytes_AS_STRING(self.norm), self.local_len, NULL)

    @property
    def domain(self):
        """The domainpart."""
        cdef Py_ssize_t begin = self.local_len + (self.local_len != 0)
        return PyUnicode_DecodeUTF8(PyBytes_AS_STRING(self.norm) + begin, self.domain_len, NULL)

    @property
    def resource(self):
        """The resourcepart, or None."""
        cdef Py_ssize_t begin = jid_bare_len(self) + 1, n = PyBytes_GET_SIZE(self.norm)
        if begin > n:
            return None
        return PyUnicode_DecodeUTF8(PyBytes_AS_STRING(self.norm) + begin, n - begin, NULL)

    @property
    def is_bare(self):
        """There is no resourcepart."""
        return jid_bare_len(self) == PyBytes_GET_SIZE(self.norm)

    @property
    def is_full(self):
        """There is a resourcepart."""
        return jid_bare_len(self) != PyBytes_GET_SIZE(self.norm)

    @property
    def has_unassigned(self):
        """Some code point is unknown to Unicode 3.2: no name to be stored here (RFC 3454 7)."""
        return bool(self.unassigned)

    @property
    def bare(self):
        """This address without its resourcepart: itself if it has none; always the same object."""
        return jid_bare(self)

    @property
    def bare_norm(self):
        """`bare.norm`."""
        return jid_bare(self).norm

    def with_resource(self, str resource not None, *, bint allow_unassigned=False):
        """The full JID of `resource` (prepared here) at this bare JID; raises JIDError."""
        cdef uint8_t unassigned = 0
        cdef bytes prepared = _part(resource, _rules.resource, JID_RESOURCE, &unassigned)
        if unassigned and not allow_unassigned:
            raise _error(JID_UNASSIGNED | JID_RESOURCE)
        cdef JID bare = jid_bare(self), jid = JID.__new__(JID)
        jid.norm = bare.norm + b"/" + prepared
        jid.wire = _escaped(jid.norm)
        jid._bare = bare
        jid.local_len = bare.local_len
        jid.domain_len = bare.domain_len
        jid.unassigned = bare.unassigned or unassigned
        return jid

    def __str__(self):
        return self.norm.decode("utf-8")

    def __repr__(self):
        return f"JID.parse({self.norm.decode('utf-8')!r})"

    def __hash__(self):
        return hash(self.norm)

    def __richcmp__(self, other, int op):
        if type(other) is not JID:
            return NotImplemented
        cdef bytes a = self.norm, b = (<JID>other).norm
        cdef bint same
        if op == Py_EQ or op == Py_NE:
            same = a is b or (
                PyBytes_GET_SIZE(a) == PyBytes_GET_SIZE(b)
                and memcmp(PyBytes_AS_STRING(a), PyBytes_AS_STRING(b), PyBytes_GET_SIZE(a)) == 0
            )
            return same == (op == Py_EQ)
        if op == Py_LT:
            return a < b
        if op == Py_LE:
            return a <= b
        if op == Py_GT:
            return a > b
        return a >= b

    def __reduce__(self):
        return _again, (self.norm,)


def _again(bytes norm not None):
    """What pickle and copy call."""
    return JID.parse(norm, allow_unassigned=True)


cdef JID jid_bare(JID jid):
    cdef Py_ssize_t n = jid_bare_len(jid)
    if n == PyBytes_GET_SIZE(jid.norm):
        return jid
    cdef JID bare = jid._bare
    cdef jid_shape shape
    cdef uint8_t[JID_MAX] out
    if bare is None:
        bare = JID.__new__(JID)
        bare.norm = bare.wire = PyBytes_FromStringAndSize(PyBytes_AS_STRING(jid.norm), n)   # nothing to escape
        bare.local_len = jid.local_len
        bare.domain_len = jid.domain_len
        if jid.unassigned:      # here, or in the resourcepart only?
            jid_prepare(_rules, <const uint8_t*>PyBytes_AS_STRING(bare.norm), n, out, &shape)
            bare.unassigned = shape.unassigned
        jid._bare = bare
    return bare
