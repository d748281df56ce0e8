#include "tlsbio.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>

/* -- the BIO: reads what was lent, appends what is to go out; never waits, never ends ---------------------------------- */

static int bio_read(BIO *b, char *p, size_t cap, size_t *n) {
    tls_link *l = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    if (!l->in_len) { /* end of input is the transport's to know: see conn.pyx, truncation */
        *n = 0;
        BIO_set_retry_read(b);
        return 0;
    }
    *n = cap < l->in_len ? cap : l->in_len;
    memcpy(p, l->in, *n);
    l->in += *n;
    l->in_len -= (uint32_t)*n;
    return 1;
}

static int bio_write(BIO *b, const char *p, size_t len, size_t *n) {
    tls_link *l = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    *n = 0;
    if (!l->out || outbuf_put(l->out, p, len)) return 0;
    *n = len;
    return 1;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr) {
    (void)b, (void)num, (void)ptr;
    return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DUP;
}

static int bio_create(BIO *b) {
    BIO_set_init(b, 1);
    return 1;
}

/* First call is on the thread that makes connections; there is one. */
static const BIO_METHOD *lent_buffers(void) {
    static BIO_METHOD *m;
    if (!m) {
        m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "xmppd lent buffers");
        if (!m) return NULL;
        BIO_meth_set_read_ex(m, bio_read);
        BIO_meth_set_write_ex(m, bio_write);
        BIO_meth_set_ctrl(m, bio_ctrl);
        BIO_meth_set_create(m, bio_create);
    }
    return m;
}

/* -- the engine --------------------------------------------------------------------------------------------------------- */

int tls_attach(tls_link *l, SSL_CTX *ctx, int server, const char *sni, const unsigned char *alpn, unsigned alpn_len) {
    const BIO_METHOD *m = lent_buffers();
    ERR_clear_error();
    memset(l, 0, sizeof *l);
    l->verify_depth = -1;
    if (!m || !(l->ssl = SSL_new(ctx))) goto fail;
    BIO *b = BIO_new(m);
    if (!b) goto fail;
    BIO_set_data(b, l);
    SSL_set_bio(l->ssl, b, b);
    if (!SSL_set_app_data(l->ssl, l)) goto fail;
    if (server) {
        l->flags |= TLS_F_SERVER;
        SSL_set_accept_state(l->ssl);
    } else {
        l->flags |= TLS_F_CHOSEN;
        SSL_set_connect_state(l->ssl);
        if (sni && !SSL_set_tlsext_host_name(l->ssl, sni)) goto fail;
        if (alpn_len && SSL_set_alpn_protos(l->ssl, alpn, alpn_len)) goto fail; /* 0 is success here */
    }
    return 0;
fail:
    l->error = ERR_peek_error();
    tls_detach(l);
    return -1;
}

void tls_detach(tls_link *l) {
    SSL_free(l->ssl); /* and its BIO */
    free(l->sni);
    l->ssl = NULL;
    l->sni = NULL;
    l->in = NULL;
    l->in_len = 0;
    l->out = NULL;
}

/* What an SSL call that did not succeed means. The error queue held nothing when the call began (every caller clears it:
 * SSL_get_error looks into it), so the first entry is this call's. */
static int ended(tls_link *l, int ret) {
    switch (SSL_get_error(l->ssl, ret)) {
    case SSL_ERROR_WANT_READ:
        return TLS_WANT;
    case SSL_ERROR_WANT_CLIENT_HELLO_CB:
        return TLS_HELLO;
    case SSL_ERROR_ZERO_RETURN:
        return TLS_NOTIFY;
    default:
        break;
    }
    l->flags |= TLS_F_SUNK;
    if (!l->error) l->error = ERR_peek_error();
    unsigned long e = ERR_peek_last_error();
    ERR_clear_error();
    /* an alert of the peer is SSL_AD_REASON_OFFSET plus its number */
    return ERR_GET_LIB(e) == ERR_LIB_SSL && ERR_GET_REASON(e) >= SSL_AD_REASON_OFFSET ? TLS_ALERT : TLS_FAILED;
}

/* TLS 1.3 lets us give a ticket when we know who is there: a resumed connection would show neither the chain nor a fresh
 * verification. (TLS 1.2: the ticket callback looks.) Contexts give none by themselves. */
static int give_ticket(tls_link *l) {
    if (!(l->flags & TLS_F_TICKET) || SSL_version(l->ssl) < TLS1_3_VERSION) return TLS_DONE;
    if (SSL_get0_peer_certificate(l->ssl)) return TLS_DONE;
    if (!SSL_new_session_ticket(l->ssl)) return ended(l, 0);
    int r = SSL_do_handshake(l->ssl); /* writes it out */
    return r == 1 ? TLS_DONE : ended(l, r);
}

static void empty(EVP_PKEY *k) {
    EVP_PKEY_set_type(k, EVP_PKEY_EC); /* a new type: the key that was in it is freed and wiped, a new one never comes */
    EVP_PKEY_free(k);
}

/* OpenSSL keeps the ephemeral keys while the connection lives: 4 KiB with P-256. Nothing asks for them once the secrets are
 * derived (KeyUpdate and resumption derive from secrets), and NIST SP 800-56A r3 5.6.3.3 wants ours destroyed then. */
static void forget_exchange(SSL *s) {
    EVP_PKEY *k;
    if (SSL_get_tmp_key(s, &k)) empty(k);
    if (SSL_get_peer_tmp_key(s, &k)) empty(k);
}

int tls_step(tls_link *l) {
    ERR_clear_error();
    int r = SSL_do_handshake(l->ssl);
    if (r != 1) return ended(l, r);
    forget_exchange(l->ssl);
    return l->flags & TLS_F_SERVER ? give_ticket(l) : TLS_DONE;
}

int tls_choose(tls_link *l, SSL_CTX *ctx, int ticket) {
    ERR_clear_error();
    free(l->sni);
    l->sni = NULL;
    l->flags |= TLS_F_CHOSEN;
    if (ticket) l->flags |= TLS_F_TICKET;
    return SSL_set_SSL_CTX(l->ssl, ctx) ? 0 : -1;
}

void tls_refuse(tls_link *l, int alert) {
    l->flags |= TLS_F_CHOSEN;
    l->alert = (uint8_t)alert;
}

int tls_read(tls_link *l, unsigned char *p, size_t cap, size_t *n) {
    *n = 0;
    ERR_clear_error();
    int r = SSL_read_ex(l->ssl, p, cap, n);
    return r == 1 ? TLS_DONE : ended(l, r);
}

int tls_write(tls_link *l, const unsigned char *p, size_t n) {
    size_t done = 0;
    ERR_clear_error();
    int r = SSL_write_ex(l->ssl, p, n, &done);
    if (r == 1 && done == n) return TLS_DONE;
    ended(l, r);
    l->flags |= TLS_F_SUNK;
    return TLS_FAILED;
}

void tls_notify(tls_link *l) {
    if (l->flags & TLS_F_SUNK || SSL_in_init(l->ssl)) return;
    ERR_clear_error();
    if (SSL_shutdown(l->ssl) < 0) ERR_clear_error();
}

/* -- the pool's job ------------------------------------------------------------------------------------------------------ */

/* What is left of a TLS 1.3 handshake when our Finished is out: the client's, behind its certificate if we asked for one. Two
 * short records can hold that it has none, but no certificate with the signature that goes with it. */
size_t tls_light(const tls_link *l, const unsigned char *p, size_t n) {
    enum { HEADER = 5, PROTECTED = 23, SHORT = 100, MOST = 2 };
    unsigned char finished[1];
    size_t end = 0, len;
    if (!(l->flags & TLS_F_SERVER) || SSL_version(l->ssl) < TLS1_3_VERSION || !SSL_get_finished(l->ssl, finished, 1)) return 0;
    if (!(SSL_get_verify_mode(l->ssl) & SSL_VERIFY_PEER)) return n;
    for (int seen = 0; seen < MOST && n - end >= HEADER; end += HEADER + len) {
        len = (size_t)p[end + 3] << 8 | p[end + 4];
        if (len > n - end - HEADER) break;
        if (p[end] != PROTECTED) continue;
        if (len > SHORT) break;
        seen++;
    }
    return end;
}

void tls_job_run(tls_job *t, size_t most) {
    tls_link *l = t->link;
    l->in = t->in.p + t->used;
    l->in_len = (uint32_t)most;
    l->out = &t->out;
    t->result = tls_step(l);
    t->used += (uint32_t)most - l->in_len;
    l->in = NULL;
    l->in_len = 0;
    l->out = NULL;
    /* or they sit in this thread for ever */
    ERR_clear_error();
}

static void step(hs_job *j) {
    tls_job *t = (tls_job *)j;
    tls_job_run(t, t->in.len - t->used);
}

tls_job *tls_job_new(tls_link *l, void *owner) {
    tls_job *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->job.run = step;
    t->link = l;
    t->owner = owner;
    return t;
}

void tls_job_free(tls_job *t) {
    if (!t) return;
    outbuf_free(&t->in);
    outbuf_free(&t->out);
    free(t);
}
