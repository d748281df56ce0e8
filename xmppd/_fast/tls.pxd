from xmppd._fast.ossl cimport EVP_PKEY, OSSL_LIB_CTX, SSL, SSL_CTX, X509_STORE

cdef extern from "tlsctx.h" nogil:
    ctypedef struct tls_tickets

cdef class LibCtx:
    cdef OSSL_LIB_CTX* lc
    cdef readonly object config_path
    cdef readonly bint fips
    cdef object pin
    cdef EVP_PKEY* load_key(self, str uri) except NULL

cdef class X509Store:
    cdef X509_STORE* store
    cdef readonly LibCtx lib
    cdef readonly object cafile
    cdef readonly tuple crls
    cdef X509_STORE* load(self, LibCtx lib) except NULL

cdef class TicketKeys:
    cdef tls_tickets* keys
    cdef readonly int lifetime_s

cdef class TLSContext:
    cdef SSL_CTX* ctx
    cdef readonly LibCtx lib
    cdef readonly TicketKeys tickets
    cdef readonly tuple alpn             # of bytes
    cdef readonly tuple certificates     # DER of each leaf
    cdef dict end_points                 # X509* -> tls-server-end-point, of those used so far
    cdef readonly int verify
    cdef readonly str min
    cdef readonly str max
    cdef int _choose(self, ciphers, suites, groups, sigalgs) except -1
    cdef int _name_authorities(self, path) except -1
    cdef bytes _use(self, chain, uri)

# What is asked about an open connection. None of these waits.
cdef object channel_binding(SSL* ssl, str kind, bint server, TLSContext ctx)      # bytes | None
cdef tuple channel_binding_types(SSL* ssl, bint server, TLSContext ctx)           # of str
cdef list peer_chain(SSL* ssl, bint server)                                       # DER, leaf first
cdef str tls_version(SSL* ssl)
cdef object tls_info(SSL* ssl)                                                    # TLSInfo
cdef object verify_result(SSL* ssl, int first, int depth)                         # VerifyResult
cdef bytes alpn_wire(object names)                                                # length-prefixed names
cdef str error_text(unsigned long code)
