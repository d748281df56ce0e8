#include "tlsctx.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <openssl/tls1.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tlsbio.h"

enum { NAME_LEN = 16, IV_LEN = 16, KEY_LEN = 32 };

typedef struct {
    unsigned char name[NAME_LEN];
    unsigned char mac[KEY_LEN];
    unsigned char aes[KEY_LEN];
} ticket_key;

struct tls_tickets {
    pthread_rwlock_t lock; /* workers read, the loop rotates */
    OSSL_LIB_CTX *lib;
    int refs;
    int n; /* keys there are: 1, after the first rotation 2 */
    ticket_key key[2];
};

typedef struct {
    OSSL_LIB_CTX *lib;
    EVP_CIPHER *cipher; /* fetched from `lib`, so that a FIPS context uses FIPS code for tickets too */
    tls_tickets *tickets;
    unsigned alpn_len;
    unsigned char alpn[];
} policy;

/* -- ticket keys --------------------------------------------------------------------------------------------------------- */

int tls_tickets_rotate(tls_tickets *t) {
    ticket_key fresh;
    if (RAND_priv_bytes_ex(t->lib, (unsigned char *)&fresh, sizeof fresh, 0) != 1) return -1;
    pthread_rwlock_wrlock(&t->lock);
    t->key[1] = t->key[0];
    t->key[0] = fresh;
    if (t->n < 2) t->n++;
    pthread_rwlock_unlock(&t->lock);
    OPENSSL_cleanse(&fresh, sizeof fresh);
    return 0;
}

tls_tickets *tls_tickets_new(OSSL_LIB_CTX *lib) {
    tls_tickets *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->refs = 1;
    t->lib = lib;
    pthread_rwlock_init(&t->lock, NULL);
    if (tls_tickets_rotate(t)) {
        tls_tickets_free(t);
        return NULL;
    }
    return t;
}

tls_tickets *tls_tickets_up(tls_tickets *t) {
    __atomic_add_fetch(&t->refs, 1, __ATOMIC_RELAXED);
    return t;
}

void tls_tickets_free(tls_tickets *t) {
    if (!t || __atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL)) return;
    pthread_rwlock_destroy(&t->lock);
    OPENSSL_cleanse(t->key, sizeof t->key);
    free(t);
}

/* -- policy of an SSL_CTX ------------------------------------------------------------------------------------------------ */

static void policy_free(policy *p) {
    if (!p) return;
    EVP_CIPHER_free(p->cipher);
    tls_tickets_free(p->tickets);
    free(p);
}

static void on_ctx_free(void *ctx, void *p, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp) {
    (void)ctx, (void)ad, (void)idx, (void)argl, (void)argp;
    policy_free(p);
}

static pthread_once_t index_once = PTHREAD_ONCE_INIT;
static int policy_index = -1;

static void make_index(void) {
    policy_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, on_ctx_free);
}

static policy *policy_of(const SSL *s) {
    return SSL_CTX_get_ex_data(SSL_get_SSL_CTX(s), policy_index);
}

/* -- callbacks ----------------------------------------------------------------------------------------------------------- */

/* RFC 6066 3: the one host_name of the server_name extension, or nothing. 0, or an alert. */
static int read_sni(const unsigned char *p, size_t len, char **sni) {
    enum { LIST_LEN = 2, TYPE = 1, NAME_LEN_LEN = 2, MOST = 255 };
    if (len < LIST_LEN + TYPE + NAME_LEN_LEN) return SSL_AD_DECODE_ERROR;
    size_t list = (size_t)p[0] << 8 | p[1], name = (size_t)p[3] << 8 | p[4];
    if (list != len - LIST_LEN || p[2] != TLSEXT_NAMETYPE_host_name || name != list - TYPE - NAME_LEN_LEN)
        return SSL_AD_DECODE_ERROR;
    if (!name || name > MOST) return SSL_AD_UNRECOGNIZED_NAME;
    p += LIST_LEN + TYPE + NAME_LEN_LEN;
    /* a host name is visible ASCII; above all it holds no NUL at which a C string would end */
    for (size_t i = 0; i < name; i++)
        if (p[i] <= 0x20 || p[i] >= 0x7f) return SSL_AD_ILLEGAL_PARAMETER;
    if (!(*sni = malloc(name + 1))) return SSL_AD_INTERNAL_ERROR;
    for (size_t i = 0; i < name; i++) (*sni)[i] = (char)(p[i] >= 'A' && p[i] <= 'Z' ? p[i] | 0x20 : p[i]);
    (*sni)[name] = 0;
    return 0;
}

/* Runs on the loop first and suspends the handshake there; runs again when it goes on, and for a second ClientHello. */
static int on_client_hello(SSL *s, int *alert, void *arg) {
    (void)arg;
    tls_link *l = SSL_get_app_data(s);
    const unsigned char *ext;
    size_t len;
    if (l->alert) {
        *alert = l->alert;
        return SSL_CLIENT_HELLO_ERROR;
    }
    if (l->flags & TLS_F_CHOSEN) return SSL_CLIENT_HELLO_SUCCESS;
    free(l->sni);
    l->sni = NULL;
    if (SSL_client_hello_get0_ext(s, TLSEXT_TYPE_server_name, &ext, &len) && (*alert = read_sni(ext, len, &l->sni)))
        return SSL_CLIENT_HELLO_ERROR;
    return SSL_CLIENT_HELLO_RETRY;
}

/* RFC 7301 3.2: no name in common is fatal. */
static int on_alpn(SSL *s, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned in_len,
                   void *arg) {
    (void)arg;
    policy *p = policy_of(s);
    unsigned char *chosen;
    if (!p || !p->alpn_len) return SSL_TLSEXT_ERR_NOACK;
    if (SSL_select_next_proto(&chosen, out_len, p->alpn, p->alpn_len, in, in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* Never ends the handshake: whoever asks for the certificate judges it, and needs the first error, not the last. */
static int on_verify(int ok, X509_STORE_CTX *x) {
    if (!ok) {
        SSL *s = X509_STORE_CTX_get_ex_data(x, SSL_get_ex_data_X509_STORE_CTX_idx());
        tls_link *l = s ? SSL_get_app_data(s) : NULL;
        if (l && l->verify_first == X509_V_OK) {
            l->verify_first = X509_STORE_CTX_get_error(x);
            l->verify_depth = (int16_t)X509_STORE_CTX_get_error_depth(x);
        }
    }
    return 1;
}

/* Around it: what the checks that were overridden left in the error queue goes. SSL_get_error would take it for a failure of
 * the call that met it, if that call ends with 'want read'. */
static int on_chain(X509_STORE_CTX *x, void *arg) {
    (void)arg;
    ERR_set_mark();
    int ok = X509_verify_cert(x) > 0; /* else no check failed, verification did */
    if (ok)
        ERR_pop_to_mark();
    else
        ERR_clear_last_mark();
    return ok;
}

/* SSL_CTX_set_tlsext_ticket_key_evp_cb(3): 1 go on, 2 go on and renew, 0 no ticket, -1 fail */
static int on_ticket(SSL *s, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt) {
    policy *p = policy_of(s);
    ticket_key key;
    int which = -1, ok;
    if (!p || !p->tickets) return 0;
    if (encrypt && SSL_get0_peer_certificate(s)) return 0; /* TLS 1.2; see give_ticket for 1.3 */

    pthread_rwlock_rdlock(&p->tickets->lock);
    for (int i = 0; i < (encrypt ? 1 : p->tickets->n); i++)
        if (encrypt || !CRYPTO_memcmp(name, p->tickets->key[i].name, NAME_LEN)) {
            key = p->tickets->key[i];
            which = i;
            break;
        }
    pthread_rwlock_unlock(&p->tickets->lock);
    if (which < 0) return 0;

    OSSL_PARAM mac_key[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.mac, KEY_LEN),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, "SHA256", 0),
        OSSL_PARAM_construct_end(),
    };
    ok = EVP_MAC_CTX_set_params(mac, mac_key);
    if (ok && encrypt) {
        memcpy(name, key.name, NAME_LEN);
        ok = RAND_bytes_ex(p->lib, iv, IV_LEN, 0) == 1 && EVP_EncryptInit_ex2(cipher, p->cipher, key.aes, iv, NULL);
    } else if (ok) {
        ok = EVP_DecryptInit_ex2(cipher, p->cipher, key.aes, iv, NULL);
    }
    OPENSSL_cleanse(&key, sizeof key);
    return !ok ? -1 : which ? 2 : 1;
}

int tls_policy_set(SSL_CTX *ctx, OSSL_LIB_CTX *lib, const unsigned char *alpn, unsigned alpn_len, tls_tickets *tickets,
                   int verify_mode) {
    pthread_once(&index_once, make_index);
    policy *p = calloc(1, sizeof *p + alpn_len);
    if (!p || policy_index < 0) goto fail;
    p->lib = lib;
    p->alpn_len = alpn_len;
    if (alpn_len) memcpy(p->alpn, alpn, alpn_len);
    if (tickets) {
        p->tickets = tls_tickets_up(tickets);
        if (!(p->cipher = EVP_CIPHER_fetch(lib, "AES-256-CBC", NULL))) goto fail;
    }
    if (!SSL_CTX_set_ex_data(ctx, policy_index, p)) goto fail;

    SSL_CTX_set_client_hello_cb(ctx, on_client_hello, NULL);
    SSL_CTX_set_verify(ctx, verify_mode, on_verify);
    SSL_CTX_set_cert_verify_callback(ctx, on_chain, NULL);
    if (alpn_len) SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ctx, 0);
    if (tickets)
        SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
    else
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    return 0;
fail:
    policy_free(p);
    return -1;
}
