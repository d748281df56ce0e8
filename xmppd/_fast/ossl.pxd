# The functions of libssl and libcrypto that the Cython modules use, and no others (C files include the headers themselves).
# All are documented and not deprecated in OpenSSL 3.0 and 3.5.
from libc.stdint cimport uint32_t, uint64_t

cdef extern from "openssl/types.h" nogil:
    ctypedef struct OSSL_LIB_CTX
    ctypedef struct SSL
    ctypedef struct SSL_CTX
    ctypedef struct X509
    ctypedef struct X509_STORE
    ctypedef struct EVP_PKEY
    ctypedef struct EVP_MD
    ctypedef struct EVP_MD_CTX
    ctypedef struct UI_METHOD

cdef extern from "openssl/crypto.h" nogil:
    OSSL_LIB_CTX* OSSL_LIB_CTX_new()
    int OSSL_LIB_CTX_load_config(OSSL_LIB_CTX* lc, const char* path)
    void OPENSSL_free(void* p)
    void OPENSSL_cleanse(void* p, size_t n)
    const char* OpenSSL_version(int what)
    int OPENSSL_VERSION

cdef extern from "openssl/provider.h" nogil:
    int OSSL_PROVIDER_available(OSSL_LIB_CTX* lc, const char* name)

cdef extern from "openssl/err.h" nogil:
    unsigned long ERR_peek_error()
    unsigned long ERR_peek_last_error()
    void ERR_clear_error()
    const char* ERR_lib_error_string(unsigned long e)
    const char* ERR_reason_error_string(unsigned long e)
    void ERR_error_string_n(unsigned long e, char* buf, size_t n)

cdef extern from "openssl/ui.h" nogil:
    ctypedef int pem_password_cb(char* buf, int size, int rwflag, void* u) noexcept nogil
    UI_METHOD* UI_UTIL_wrap_read_pem_callback(pem_password_cb* cb, int rwflag)
    void UI_destroy_method(UI_METHOD* m)

cdef extern from "openssl/store.h" nogil:
    ctypedef struct OSSL_STORE_CTX
    ctypedef struct OSSL_STORE_INFO
    int OSSL_STORE_INFO_PKEY
    OSSL_STORE_CTX* OSSL_STORE_open_ex(const char* uri, OSSL_LIB_CTX* lc, const char* propq, const UI_METHOD* ui,
                                       void* ui_data, const void* params, void* post_process, void* post_process_data)
    int OSSL_STORE_expect(OSSL_STORE_CTX* s, int what)
    OSSL_STORE_INFO* OSSL_STORE_load(OSSL_STORE_CTX* s)
    int OSSL_STORE_eof(OSSL_STORE_CTX* s)
    int OSSL_STORE_close(OSSL_STORE_CTX* s)
    EVP_PKEY* OSSL_STORE_INFO_get1_PKEY(const OSSL_STORE_INFO* i)
    void OSSL_STORE_INFO_free(OSSL_STORE_INFO* i)

cdef extern from "openssl/evp.h" nogil:
    int EVP_default_properties_enable_fips(OSSL_LIB_CTX* lc, int enable)
    void EVP_PKEY_free(EVP_PKEY* k)
    int EVP_PKEY_is_a(const EVP_PKEY* k, const char* name)
    EVP_MD_CTX* EVP_MD_CTX_new()
    void EVP_MD_CTX_free(EVP_MD_CTX* m)
    int EVP_DigestSignInit_ex(EVP_MD_CTX* m, void** pctx, const char* md, OSSL_LIB_CTX* lc, const char* props,
                              EVP_PKEY* k, const void* params)
    int EVP_DigestSign(EVP_MD_CTX* m, unsigned char* sig, size_t* n, const unsigned char* p, size_t len)
    int EVP_DigestVerifyInit_ex(EVP_MD_CTX* m, void** pctx, const char* md, OSSL_LIB_CTX* lc, const char* props,
                                EVP_PKEY* k, const void* params)
    int EVP_DigestVerify(EVP_MD_CTX* m, const unsigned char* sig, size_t n, const unsigned char* p, size_t len)
    const EVP_MD* EVP_get_digestbynid(int nid)
    int EVP_MAX_MD_SIZE

cdef extern from "openssl/x509.h" nogil:
    ctypedef struct STACK_OF_X509 "STACK_OF(X509)"
    int sk_X509_num(const STACK_OF_X509* s)
    X509* sk_X509_value(const STACK_OF_X509* s, int i)
    int i2d_X509(X509* x, unsigned char** out)
    EVP_PKEY* X509_get0_pubkey(const X509* x)
    int X509_get_signature_info(X509* x, int* md_nid, int* pk_nid, int* bits, uint32_t* flags)
    int X509_digest(const X509* x, const EVP_MD* md, unsigned char* out, unsigned int* n)
    int NID_undef
    int NID_md5
    int NID_sha1
    int NID_sha256

cdef extern from "openssl/x509_vfy.h" nogil:
    X509_STORE* X509_STORE_new()
    void X509_STORE_free(X509_STORE* s)
    int X509_STORE_load_file_ex(X509_STORE* s, const char* path, OSSL_LIB_CTX* lc, const char* propq)
    int X509_STORE_set_flags(X509_STORE* s, unsigned long flags)
    unsigned long X509_V_FLAG_CRL_CHECK
    unsigned long X509_V_FLAG_CRL_CHECK_ALL

cdef extern from "openssl/ssl.h" nogil:
    ctypedef struct SSL_METHOD
    ctypedef struct SSL_CIPHER
    ctypedef struct STACK_OF_X509_NAME "STACK_OF(X509_NAME)"
    const SSL_METHOD* TLS_method()
    SSL_CTX* SSL_CTX_new_ex(OSSL_LIB_CTX* lc, const char* propq, const SSL_METHOD* m)
    void SSL_CTX_free(SSL_CTX* c)
    int SSL_CTX_set_min_proto_version(SSL_CTX* c, int v)
    int SSL_CTX_set_max_proto_version(SSL_CTX* c, int v)
    uint64_t SSL_CTX_set_options(SSL_CTX* c, uint64_t o)
    long SSL_CTX_set_mode(SSL_CTX* c, long m)
    int SSL_CTX_set_cipher_list(SSL_CTX* c, const char* s)
    int SSL_CTX_set_ciphersuites(SSL_CTX* c, const char* s)
    int SSL_CTX_set1_groups_list(SSL_CTX* c, const char* s)
    int SSL_CTX_set1_sigalgs_list(SSL_CTX* c, const char* s)
    int SSL_CTX_use_certificate_chain_file(SSL_CTX* c, const char* path)
    int SSL_CTX_use_PrivateKey(SSL_CTX* c, EVP_PKEY* k)
    int SSL_CTX_check_private_key(SSL_CTX* c)
    X509* SSL_CTX_get0_certificate(const SSL_CTX* c)
    int SSL_CTX_set1_verify_cert_store(SSL_CTX* c, X509_STORE* s)
    STACK_OF_X509_NAME* SSL_load_client_CA_file_ex(const char* path, OSSL_LIB_CTX* lc, const char* propq)
    void SSL_CTX_set_client_CA_list(SSL_CTX* c, STACK_OF_X509_NAME* names)
    int SSL_CTX_set_session_id_context(SSL_CTX* c, const unsigned char* p, unsigned int n)
    long SSL_CTX_set_timeout(SSL_CTX* c, long seconds)
    int SSL_CTX_set_max_early_data(SSL_CTX* c, uint32_t n)
    int SSL_CTX_set_recv_max_early_data(SSL_CTX* c, uint32_t n)
    int SSL_VERIFY_NONE
    int SSL_VERIFY_PEER
    uint64_t SSL_OP_NO_RENEGOTIATION
    uint64_t SSL_OP_NO_COMPRESSION
    uint64_t SSL_OP_CIPHER_SERVER_PREFERENCE
    long SSL_MODE_RELEASE_BUFFERS
    long SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
    long SSL_MODE_NO_AUTO_CHAIN
    int TLS1_2_VERSION
    int TLS1_3_VERSION
    int TLSEXT_NAMETYPE_host_name
    int SSL_AD_UNRECOGNIZED_NAME
    int SSL_AD_INTERNAL_ERROR

    int SSL_version(const SSL* s)
    const char* SSL_get_version(const SSL* s)
    const SSL_CIPHER* SSL_get_current_cipher(const SSL* s)
    const char* SSL_CIPHER_get_name(const SSL_CIPHER* c)
    int SSL_get_negotiated_group(SSL* s)
    const char* SSL_group_to_name(SSL* s, int group)
    const char* SSL_get_servername(const SSL* s, int kind)
    void SSL_get0_alpn_selected(const SSL* s, const unsigned char** p, unsigned int* n)
    int SSL_session_reused(const SSL* s)
    int SSL_get_extms_support(SSL* s)
    int SSL_export_keying_material(SSL* s, unsigned char* out, size_t n, const char* label, size_t label_len,
                                   const unsigned char* context, size_t context_len, int use_context)
    size_t SSL_get_finished(const SSL* s, void* p, size_t n)
    size_t SSL_get_peer_finished(const SSL* s, void* p, size_t n)
    X509* SSL_get_certificate(const SSL* s)
    X509* SSL_get0_peer_certificate(const SSL* s)
    STACK_OF_X509* SSL_get_peer_cert_chain(const SSL* s)
    long SSL_get_verify_result(const SSL* s)
