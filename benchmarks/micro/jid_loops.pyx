# cython: language_level=3, boundscheck=False, wraparound=False
"""The same loop over the same addresses: our JID objects, and ICU's three-part preparation (as C servers use it)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memchr

from xmppd._fast.jid cimport jid_from_utf8


cdef extern from "unicode/usprep.h":
    ctypedef int UErrorCode
    ctypedef unsigned short UChar
    ctypedef int UStringPrepProfileType
    ctypedef struct UStringPrepProfile
    ctypedef struct UParseError
    UStringPrepProfileType USPREP_RFC3491_NAMEPREP, USPREP_RFC3920_NODEPREP, USPREP_RFC3920_RESOURCEPREP
    int USPREP_DEFAULT, U_ZERO_ERROR
    UStringPrepProfile* usprep_openByType(UStringPrepProfileType type, UErrorCode* status)
    int usprep_prepare(
        const UStringPrepProfile* profile, const UChar* src, int n, UChar* dest, int room, int options,
        UParseError* where, UErrorCode* status)

cdef extern from "unicode/ustring.h":
    UChar* u_strFromUTF8(UChar* dest, int room, int* n, const char* src, int length, UErrorCode* status)
    char* u_strToUTF8(char* dest, int room, int* n, const UChar* src, int length, UErrorCode* status)


cdef UErrorCode opened = <UErrorCode>U_ZERO_ERROR
cdef UStringPrepProfile* NODEPREP = usprep_openByType(USPREP_RFC3920_NODEPREP, &opened)
cdef UStringPrepProfile* NAMEPREP = usprep_openByType(USPREP_RFC3491_NAMEPREP, &opened)
cdef UStringPrepProfile* RESOURCEPREP = usprep_openByType(USPREP_RFC3920_RESOURCEPREP, &opened)


def own(list addresses):
    """A new JID object for each address (bytes)."""
    cdef bytes address
    for address in addresses:
        jid_from_utf8(<const unsigned char*>PyBytes_AS_STRING(address), PyBytes_GET_SIZE(address))


cdef int prepare(UStringPrepProfile* profile, const char* p, Py_ssize_t n, char* out) except -1:
    cdef UChar[1024] wide, prepared
    cdef int length = 0
    cdef UErrorCode status = <UErrorCode>U_ZERO_ERROR
    u_strFromUTF8(wide, 1024, &length, p, <int>n, &status)
    length = usprep_prepare(profile, wide, length, prepared, 1024, USPREP_DEFAULT, NULL, &status)
    u_strToUTF8(out, 1024, &length, prepared, length, &status)
    if <int>status > <int>U_ZERO_ERROR:
        raise ValueError("ICU refuses the address")
    return length


def icu(list addresses):
    """Each address (bytes, all three parts) prepared into a buffer; no object is made."""
    cdef bytes address
    cdef char[3072] out
    cdef const char *p
    cdef const char *at
    cdef const char *slash
    cdef Py_ssize_t n
    if <int>opened > <int>U_ZERO_ERROR:
        raise RuntimeError("ICU has no profiles")
    for address in addresses:
        p = PyBytes_AS_STRING(address)
        n = PyBytes_GET_SIZE(address)
        slash = <const char*>memchr(p, c"/", n)
        at = <const char*>memchr(p, c"@", slash - p)
        prepare(NODEPREP, p, at - p, out)
        prepare(NAMEPREP, at + 1, slash - at - 1, out + 1024)
        prepare(RESOURCEPREP, slash + 1, p + n - slash - 1, out + 2048)
