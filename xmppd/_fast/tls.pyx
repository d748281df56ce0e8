# What OpenSSL says is ASCII.
# (Two lines before the directive: in those two, Python would take it for the encoding of this file.)
# cython: c_string_type=str
# cython: c_string_encoding=ascii
"""TLS without sockets: library contexts, TLS contexts, ticket keys, and what can be asked about a connection.

Connections themselves are in `conn`. Everything here may be built in a thread: loading keys lets go of the interpreter.
"""

import hashlib
import os
from collections import namedtuple

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.string cimport memcpy, memset

from xmppd._fast.ossl cimport *

cdef extern from "tlsctx.h" nogil:
    tls_tickets* tls_tickets_new(OSSL_LIB_CTX* lc)
    void tls_tickets_free(tls_tickets* t)
    int tls_tickets_rotate(tls_tickets* t)
    int tls_policy_set(SSL_CTX* c, OSSL_LIB_CTX* lc, const unsigned char* alpn, unsigned alpn_len, tls_tickets* t,
                       int verify_mode)

cdef extern from "<malloc.h>" nogil:
    int mallopt(int what, int value)
    int malloc_trim(size_t pad)
    int M_ARENA_MAX


VERIFY_NONE = 0      # ask no client for a certificate
VERIFY_REQUEST = 1   # ask; without one, or with one that fails verification, the handshake goes on: see verify_result

TLSInfo = namedtuple("TLSInfo", "version cipher group sni alpn resumed ems")
VerifyResult = namedtuple("VerifyResult", "first depth final")

OPENSSL_VERSION_TEXT = OpenSSL_version(OPENSSL_VERSION)

# NIST SP 800-52r2 3.3.1, forward secrecy and AEAD only; RFC 8446 B.4
CIPHERS = (
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
CIPHERS_FIPS = (
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"
)
SUITES = "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"
SUITES_FIPS = "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256"
# what OpenSSL 3.0 and 3.5 both know: no ML-KEM
GROUPS = "X25519:P-256:P-384"
GROUPS_FIPS = "P-256:P-384"

cdef dict _VERSIONS = {"1.2": TLS1_2_VERSION, "1.3": TLS1_3_VERSION}


class TLSError(Exception):
    """OpenSSL refused: a file that cannot be read, a key that does not fit its certificate, an unknown cipher."""


cdef str error_text(unsigned long code):
    cdef const char* reason
    if not code:
        return ""
    reason = ERR_reason_error_string(code)
    if reason != NULL:
        return reason
    cdef char buf[256]
    ERR_error_string_n(code, buf, sizeof(buf))
    return (<bytes> buf).decode("ascii", "replace").rpartition(":")[2]      # an errno's text


cdef int failed(str what) except -1:
    """Raise TLSError with OpenSSL's own words."""
    cdef str first = error_text(ERR_peek_error())
    cdef str last = error_text(ERR_peek_last_error())
    ERR_clear_error()
    words = ", ".join(dict.fromkeys(filter(None, (last, first))))
    raise TLSError(f"{what}: {words}" if words else what)


def limit_arenas() -> bool:
    """One malloc arena for all threads, before the first thread starts: without it, what handshake workers leave behind
    costs 2-5 KiB a connection."""
    return mallopt(M_ARENA_MAX, 1) == 1


def trim() -> bool:
    """Give free heap back to the system (malloc_trim); for when the load has gone. Takes milliseconds."""
    cdef int r
    with nogil:
        r = malloc_trim(0)
    return r == 1


# -- library context and keys ---------------------------------------------------------------------------------------------

# A passphrase or PIN for the time of one load. Filled before it begins, so that no provider ever calls Python.
ctypedef struct Secret:
    int len            # -1: there is none
    char text[256]


cdef int give_secret(char* buf, int size, int rwflag, void* u) noexcept nogil:
    cdef Secret* s = <Secret*> u
    if s.len < 0 or s.len > size:
        return -1
    memcpy(buf, s.text, s.len)
    return s.len


cdef class LibCtx:
    """A private OSSL_LIB_CTX: its own providers and properties, invisible to the rest of the process.

    config_path: OpenSSL configuration file naming the providers (pkcs11, fips); None: the default provider.
        OpenSSL passes over a provider that cannot be loaded unless the file says `config_diagnostics = 1`.
    pin: called with a key's URI when it is loaded; returns the PIN or passphrase (str or bytes), or None.
    fips: only implementations with the property fips=yes.
    Raises TLSError.
    """
    # It is never freed: a worker that used it keeps per-thread state that OPENSSL_thread_stop_ex(3) would have to drop on
    # that very thread first. A process makes one, or one more when its provider configuration changes.

    def __init__(self, config_path=None, pin=None, fips=False):
        if self.lc != NULL:
            raise TypeError("a LibCtx is made once")
        self.config_path = config_path
        self.fips = fips
        self.pin = pin
        ERR_clear_error()
        self.lc = OSSL_LIB_CTX_new()
        if self.lc == NULL:
            failed("no library context")
        if config_path is not None:
            if OSSL_LIB_CTX_load_config(self.lc, os.fsencode(config_path)) != 1:
                failed(f"cannot load OpenSSL configuration {config_path}")
        if self.fips and (
            not OSSL_PROVIDER_available(self.lc, b"fips") or EVP_default_properties_enable_fips(self.lc, 1) != 1
        ):
            failed("the FIPS provider is not available")

    cdef EVP_PKEY* load_key(self, str uri) except NULL:
        """The private key at `uri` ("file:...", a path, "pkcs11:..."). Lets go of the interpreter while it waits."""
        cdef Secret secret
        cdef EVP_PKEY* key = NULL
        cdef OSSL_STORE_CTX* store
        cdef OSSL_STORE_INFO* info
        cdef UI_METHOD* ui
        cdef bytes where = uri.encode()
        cdef const char* c_where = where
        secret.len = -1
        if self.pin is not None:
            given = self.pin(uri)
            if given is not None:
                given = given.encode() if isinstance(given, str) else bytes(given)
                if len(given) > <Py_ssize_t> sizeof(secret.text):
                    raise TLSError("PIN or passphrase longer than 256 bytes")
                memcpy(secret.text, <char*> given, len(given))
                secret.len = <int> len(given)
        with nogil:
            ERR_clear_error()
            ui = UI_UTIL_wrap_read_pem_callback(give_secret, 0)
            store = OSSL_STORE_open_ex(c_where, self.lc, NULL, ui, &secret, NULL, NULL, NULL) if ui != NULL else NULL
            if store != NULL:
                OSSL_STORE_expect(store, OSSL_STORE_INFO_PKEY)
                while key == NULL and not OSSL_STORE_eof(store):
                    info = OSSL_STORE_load(store)
                    if info == NULL:
                        break
                    key = OSSL_STORE_INFO_get1_PKEY(info)
                    OSSL_STORE_INFO_free(info)
                OSSL_STORE_close(store)
            if ui != NULL:
                UI_destroy_method(ui)
            OPENSSL_cleanse(&secret, sizeof(secret))
        if key == NULL:
            failed(f"no private key at {uri.partition('?')[0]}")   # what follows may hold the PIN
        ERR_clear_error()
        return key


cdef int prove(LibCtx lib, EVP_PKEY* key, X509* leaf) noexcept nogil:
    """Sign with the key, verify with the certificate: they belong together, and the provider is warm. 1 = proven."""
    cdef const char* md = b"SHA256"
    cdef EVP_MD_CTX* m = EVP_MD_CTX_new()
    cdef EVP_MD_CTX* v = EVP_MD_CTX_new()
    cdef unsigned char sig[2048]
    cdef size_t n = sizeof(sig)
    cdef const unsigned char* text = b"xmppd proves that key and certificate belong together"
    cdef int ok
    if EVP_PKEY_is_a(key, b"ED25519") or EVP_PKEY_is_a(key, b"ED448"):
        md = NULL      # they hash by themselves
    ok = (
        m != NULL and v != NULL
        and EVP_DigestSignInit_ex(m, NULL, md, lib.lc, NULL, key, NULL) == 1
        and EVP_DigestSign(m, sig, &n, text, 53) == 1
        and EVP_DigestVerifyInit_ex(v, NULL, md, lib.lc, NULL, X509_get0_pubkey(leaf), NULL) == 1
        and EVP_DigestVerify(v, sig, n, text, 53) == 1
    )
    EVP_MD_CTX_free(m)
    EVP_MD_CTX_free(v)
    return ok


cdef class X509Store:
    """Trust anchors and, if there are any, revocation lists: PEM files. With CRLs the whole chain is checked against them.

    Loaded when the first TLSContext uses it; belongs to that context's LibCtx from then on. Raises TLSError there.
    """

    def __init__(self, cafile=None, crls=()):
        self.cafile = cafile
        self.crls = tuple(crls)

    def __dealloc__(self):
        X509_STORE_free(self.store)

    cdef X509_STORE* load(self, LibCtx lib) except NULL:
        if self.store != NULL:
            if self.lib is not lib:
                raise TLSError("an X509Store belongs to one LibCtx")
            return self.store
        ERR_clear_error()
        cdef X509_STORE* store = X509_STORE_new()
        cdef bytes encoded
        cdef const char* path
        cdef int ok
        for name in (self.cafile, *self.crls):
            if name is not None:
                encoded = os.fsencode(name)
                path = encoded
                with nogil:
                    ok = X509_STORE_load_file_ex(store, path, lib.lc, NULL)
                if not ok:
                    X509_STORE_free(store)
                    failed(f"cannot load certificates or CRLs from {name}")
        if self.crls:
            X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL)
        self.store, self.lib = store, lib
        return store


cdef class TicketKeys:
    """Keys that encrypt session tickets (RFC 5077, RFC 8446 4.6.1): random, in memory, the previous one still decrypts.

    lifetime_s: how long a ticket is good, 1 to 604800 seconds (RFC 8446 4.6.1). Call `rotate` about that often: a ticket dies
    with the second rotation. One object serves any number of contexts, new ones after a reload too.
    """

    def __init__(self, lifetime_s=28800, LibCtx lib=None):
        if self.keys != NULL:
            raise TypeError("a TicketKeys is made once")
        if not 1 <= lifetime_s <= 604800:
            raise ValueError("lifetime_s must be 1 to 604800")
        self.lifetime_s = lifetime_s
        self.keys = tls_tickets_new(lib.lc if lib is not None else NULL)
        if self.keys == NULL:
            failed("no ticket keys")

    def __dealloc__(self):
        tls_tickets_free(self.keys)

    def rotate(self) -> None:
        """A new key encrypts; tickets made with the key before it are still good, older ones no more."""
        if tls_tickets_rotate(self.keys):
            failed("no random bytes for a ticket key")


# -- TLS contexts -----------------------------------------------------------------------------------------------------------

cdef bytes alpn_wire(object names):
    parts = []
    for name in names:
        if not 1 <= len(name) <= 255:
            raise ValueError("an ALPN name has 1 to 255 bytes")
        parts.append(bytes((len(name),)) + name)
    return b"".join(parts)


cdef bytes to_der(X509* x):
    cdef unsigned char* p = NULL
    cdef int n = i2d_X509(x, &p)
    if n < 0:
        failed("cannot encode a certificate")
    try:
        return PyBytes_FromStringAndSize(<char*> p, n)
    finally:
        OPENSSL_free(p)


cdef class TLSContext:
    """What a TLS connection is made from. Immutable: a change is a new one, swapped in; old connections keep theirs.

    lib: the LibCtx of keys and algorithms.
    certs: pairs (PEM file with the chain, leaf first; URI or path of the private key). Several of different key types may be
        given. Every key signs once to prove that it fits.
    min, max: "1.2" or "1.3".  ciphers: TLS 1.2, OpenSSL's syntax.  suites: TLS 1.3.  groups, sigalgs: OpenSSL's syntax.
    verify: VERIFY_NONE or VERIFY_REQUEST (server: send a CertificateRequest). Verification never ends the handshake.
    store: what peers are verified against.  client_ca_file: PEM file whose subjects the CertificateRequest names.
    alpn: names a server accepts, most wanted first (RFC 7301); none: ALPN is ignored.
    tickets: session tickets for peers without a certificate; None: no resumption.

    Virtual hosts of one listener differ in their certificates only: versions, groups, verify and tickets are those of the
    context the handshake began with. Raises TLSError; ValueError for a version or ALPN name that cannot be.
    """

    def __init__(
        self,
        LibCtx lib not None,
        certs=(),
        *,
        str min="1.2",
        str max="1.3",
        ciphers=None,
        suites=None,
        groups=None,
        sigalgs=None,
        int verify=0,
        X509Store store=None,
        client_ca_file=None,
        alpn=(),
        TicketKeys tickets=None,
    ):
        if self.ctx != NULL:
            raise TypeError("a TLSContext is immutable")
        if min not in _VERSIONS or max not in _VERSIONS or min > max:
            raise ValueError(f"TLS versions {min} to {max}: must be 1.2 or 1.3, in order")
        if verify not in (VERIFY_NONE, VERIFY_REQUEST):
            raise ValueError("verify must be VERIFY_NONE or VERIFY_REQUEST")
        self.lib, self.tickets, self.verify, self.min, self.max = lib, tickets, verify, min, max
        self.alpn = tuple(alpn)
        self.end_points = {}
        ERR_clear_error()
        self.ctx = SSL_CTX_new_ex(lib.lc, NULL, TLS_method())
        if self.ctx == NULL:
            failed("no TLS context")
        SSL_CTX_set_min_proto_version(self.ctx, _VERSIONS[min])
        SSL_CTX_set_max_proto_version(self.ctx, _VERSIONS[max])
        SSL_CTX_set_options(
            self.ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE
        )
        SSL_CTX_set_mode(
            self.ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN
        )
        # a replayed stanza is a second stanza
        SSL_CTX_set_max_early_data(self.ctx, 0)
        SSL_CTX_set_recv_max_early_data(self.ctx, 0)
        self._choose(ciphers, suites, groups, sigalgs)

        cdef bytes wire = alpn_wire(self.alpn)
        cdef int mode = SSL_VERIFY_PEER if verify == VERIFY_REQUEST else SSL_VERIFY_NONE
        if tls_policy_set(
            self.ctx, lib.lc, wire, <unsigned> len(wire),
            tickets.keys if tickets is not None else NULL, mode,
        ):
            failed("cannot set up the TLS context")
        if store is not None and not SSL_CTX_set1_verify_cert_store(self.ctx, store.load(lib)):
            failed("cannot use the store")
        if client_ca_file is not None:
            self._name_authorities(client_ca_file)
        self.certificates = tuple([self._use(chain, uri) for chain, uri in certs])
        if tickets is not None:
            SSL_CTX_set_timeout(self.ctx, tickets.lifetime_s)
        # A session goes on only where it would show the same certificates: tls-server-end-point speaks of them
        cdef bytes sid = hashlib.sha256(b"".join(self.certificates)).digest()
        SSL_CTX_set_session_id_context(self.ctx, sid, <unsigned> len(sid))

    def __dealloc__(self):
        SSL_CTX_free(self.ctx)

    def __repr__(self):
        return f"<TLSContext {self.min}-{self.max}, {len(self.certificates)} certificate(s)>"

    cdef int _choose(self, ciphers, suites, groups, sigalgs) except -1:
        cdef bint fips = self.lib.fips
        cdef bytes text
        text = (ciphers or (CIPHERS_FIPS if fips else CIPHERS)).encode()
        if not SSL_CTX_set_cipher_list(self.ctx, text):
            failed(f"ciphers {text.decode()}")
        text = (suites or (SUITES_FIPS if fips else SUITES)).encode()
        if not SSL_CTX_set_ciphersuites(self.ctx, text):
            failed(f"suites {text.decode()}")
        text = (groups or (GROUPS_FIPS if fips else GROUPS)).encode()
        if not SSL_CTX_set1_groups_list(self.ctx, text):
            failed(f"groups {text.decode()}")
        if sigalgs is not None:
            text = sigalgs.encode()
            if not SSL_CTX_set1_sigalgs_list(self.ctx, text):
                failed(f"sigalgs {text.decode()}")
        return 0

    cdef int _name_authorities(self, path) except -1:
        cdef bytes encoded = os.fsencode(path)
        cdef STACK_OF_X509_NAME* names = SSL_load_client_CA_file_ex(encoded, self.lib.lc, NULL)
        if names == NULL:
            failed(f"cannot read certificates from {path}")
        SSL_CTX_set_client_CA_list(self.ctx, names)
        return 0

    cdef bytes _use(self, chain, uri):
        """Add one certificate and its key; the DER of the leaf."""
        cdef bytes encoded = os.fsencode(chain)
        if not SSL_CTX_use_certificate_chain_file(self.ctx, encoded):
            failed(f"cannot read the certificate chain {chain}")
        cdef EVP_PKEY* key = self.lib.load_key(os.fspath(uri))
        cdef X509* leaf
        cdef bint fits
        try:
            leaf = SSL_CTX_get0_certificate(self.ctx)
            with nogil:
                fits = (
                    SSL_CTX_use_PrivateKey(self.ctx, key) == 1
                    and SSL_CTX_check_private_key(self.ctx) == 1
                    and prove(self.lib, key, leaf)
                )
            if not fits:
                failed(f"the key does not fit the certificate in {chain}")
            return to_der(leaf)
        finally:
            EVP_PKEY_free(key)


# -- what an open connection can be asked --------------------------------------------------------------------------------

cdef bint has_exporter(SSL* ssl):
    """In TLS 1.2 only where the extended master secret binds it (RFC 9266 4.1)."""
    return SSL_version(ssl) >= TLS1_3_VERSION or SSL_get_extms_support(ssl) == 1


cdef bint has_unique(SSL* ssl):
    """Not defined for TLS 1.3 (RFC 8446 C.5)."""
    return SSL_version(ssl) <= TLS1_2_VERSION and SSL_get_extms_support(ssl) == 1


cdef object exporter(SSL* ssl):
    """RFC 9266; 2: an empty context, not an absent one."""
    cdef unsigned char out[32]
    cdef const char* label = b"EXPORTER-Channel-Binding"
    if not has_exporter(ssl):
        return None
    ERR_clear_error()
    if SSL_export_keying_material(ssl, out, sizeof(out), label, 24, out, 0, 1) != 1:
        ERR_clear_error()
        return None
    return PyBytes_FromStringAndSize(<char*> out, sizeof(out))


cdef object unique(SSL* ssl, bint server):
    """RFC 5929 3: the first Finished of the handshake."""
    cdef unsigned char out[64]
    cdef size_t n
    if not has_unique(ssl):
        return None
    if server == bool(SSL_session_reused(ssl)):      # resumed: the server is first; else the client
        n = SSL_get_finished(ssl, out, sizeof(out))
    else:
        n = SSL_get_peer_finished(ssl, out, sizeof(out))
    return PyBytes_FromStringAndSize(<char*> out, n) if 0 < n <= sizeof(out) else None


cdef object end_point(SSL* ssl, bint server, TLSContext ctx):
    """RFC 5929 4: hash of the server's certificate."""
    cdef X509* x
    if not server:
        x = SSL_get0_peer_certificate(ssl)
        return end_point_of(x) if x != NULL else None
    if len(ctx.certificates) > 1 and SSL_session_reused(ssl):
        return None      # which of them the client saw then is not known now
    x = SSL_get_certificate(ssl)
    if x == NULL:
        return None
    key = <size_t> x      # the context's own, and there as long as it is
    if key not in ctx.end_points:
        ctx.end_points[key] = end_point_of(x)
    return ctx.end_points[key]


cdef object end_point_of(X509* x):
    cdef unsigned char out[64]
    cdef unsigned int n = 0
    cdef int md = NID_undef
    ERR_clear_error()
    X509_get_signature_info(x, &md, NULL, NULL, NULL)
    ERR_clear_error()
    if md == NID_md5 or md == NID_sha1:
        md = NID_sha256
    if md == NID_undef or EVP_get_digestbynid(md) == NULL or not X509_digest(x, EVP_get_digestbynid(md), out, &n):
        return None      # a signature without one hash (Ed25519): not defined
    return PyBytes_FromStringAndSize(<char*> out, n)


cdef object channel_binding(SSL* ssl, str kind, bint server, TLSContext ctx):
    if kind == "tls-exporter":
        return exporter(ssl)
    if kind == "tls-unique":
        return unique(ssl, server)
    if kind == "tls-server-end-point":
        return end_point(ssl, server, ctx)
    return None


cdef tuple channel_binding_types(SSL* ssl, bint server, TLSContext ctx):
    cdef list found = []
    if has_exporter(ssl):
        found.append("tls-exporter")
    if has_unique(ssl):
        found.append("tls-unique")
    if end_point(ssl, server, ctx) is not None:
        found.append("tls-server-end-point")
    return tuple(found)


cdef list peer_chain(SSL* ssl, bint server):
    cdef STACK_OF_X509* chain = SSL_get_peer_cert_chain(ssl)
    cdef X509* leaf = SSL_get0_peer_certificate(ssl)
    cdef list found = []
    cdef int i
    if leaf == NULL:
        return found
    if server or chain == NULL:      # a server's view of the chain begins behind the leaf
        found.append(to_der(leaf))
    if chain != NULL:
        for i in range(sk_X509_num(chain)):
            found.append(to_der(sk_X509_value(chain, i)))
    return found


cdef str tls_version(SSL* ssl):
    return SSL_get_version(ssl)


cdef object tls_info(SSL* ssl):
    cdef const unsigned char* alpn = NULL
    cdef unsigned int alpn_len = 0
    cdef const char* sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name)
    cdef const char* group = SSL_group_to_name(ssl, SSL_get_negotiated_group(ssl))
    SSL_get0_alpn_selected(ssl, &alpn, &alpn_len)
    return TLSInfo(
        <str> SSL_get_version(ssl),
        <str> SSL_CIPHER_get_name(SSL_get_current_cipher(ssl)),
        <str> group if group != NULL else None,
        <str> sni if sni != NULL else None,
        PyBytes_FromStringAndSize(<char*> alpn, alpn_len) if alpn_len else None,
        bool(SSL_session_reused(ssl)),
        SSL_version(ssl) > TLS1_2_VERSION or SSL_get_extms_support(ssl) == 1,
    )


cdef object verify_result(SSL* ssl, int first, int depth):
    return VerifyResult(first, depth, SSL_get_verify_result(ssl))
