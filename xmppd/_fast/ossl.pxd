# The functions of libssl and libcrypto that we use, and no others. All are documented and not deprecated in 3.0 and 3.5.
from libc.stdint cimport uint32_t, uint64_t

cdef extern from "openssl/types.h" nogil:
    ctypedef struct OSSL_LIB_CTX
    ctypedef struct SSL
    ctypedef struct SSL_CTX
    ctypedef struct SSL_CIPHER
    ctypedef struct SSL_METHOD
    ctypedef struct X509
    ctypedef struct X509_CRL
    ctypedef struct X509_STORE
    ctypedef struct EVP_PKEY
    ctypedef struct EVP_MD
    ctypedef struct EVP_MD_CTX
    ctypedef struct UI_METHOD
    ctypedef struct BIO
    ctypedef struct OSSL_PARAM
