/* The TLS engine of one connection: an SSL over lent buffers. It knows no socket, no loop and no Python.
 *
 * Whoever has ciphertext lends it (`in`, `in_len`), says where ciphertext goes (`out`), and calls; what was not consumed is
 * still in (`in`, `in_len`) afterwards. A tls_link belongs to one thread at a time.
 */
#ifndef XMPPD_TLSBIO_H
#define XMPPD_TLSBIO_H

#include <openssl/ssl.h>
#include <stdint.h>

#include "hspool.h"
#include "outbuf.h"

/* What a call ended with. */
enum {
    TLS_DONE = 1,    /* handshake complete; or bytes were read or written */
    TLS_WANT = 0,    /* needs more ciphertext */
    TLS_HELLO = 2,   /* ClientHello read: choose a context (tls_choose) or refuse (tls_refuse), then go on */
    TLS_NOTIFY = -1, /* the peer's close_notify */
    TLS_ALERT = -2,  /* the peer's fatal alert */
    TLS_FAILED = -3  /* anything else; our alert, if there is one, is in `out` */
};

enum {
    TLS_F_SERVER = 1,
    TLS_F_CHOSEN = 2, /* the context is settled: the ClientHello is not suspended again */
    TLS_F_TICKET = 4, /* give a session ticket to a peer without a certificate */
    TLS_F_SUNK = 8    /* a fatal error was met: no close_notify any more (SSL_shutdown(3)) */
};

typedef struct tls_link {
    SSL *ssl;
    const unsigned char *in; /* lent ciphertext, not consumed yet */
    outbuf *out;             /* takes ciphertext */
    char *sni;               /* from the ClientHello, until tls_choose; own memory */
    unsigned long error;     /* OpenSSL's code of the first failure, for the log */
    uint32_t in_len;
    int32_t verify_first; /* X509_V_OK, or the first error found in the peer's chain */
    int16_t verify_depth; /* where, or -1 */
    uint8_t alert;        /* to be sent instead of going on after TLS_HELLO; 0 none */
    uint8_t flags;
} tls_link;

/* Attach a new SSL of `ctx`; `sni` (client) and `alpn` (client, wire form) may be NULL. 0 or -1. */
int tls_attach(tls_link *, SSL_CTX *ctx, int server, const char *sni, const unsigned char *alpn, unsigned alpn_len);
void tls_detach(tls_link *);
/* One step of the handshake. */
int tls_step(tls_link *);
/* After TLS_HELLO. */
int tls_choose(tls_link *, SSL_CTX *ctx, int ticket);
void tls_refuse(tls_link *, int alert);
/* Cleartext into p; TLS_DONE with *n > 0, or how it ended. May put ciphertext out too (KeyUpdate). */
int tls_read(tls_link *, unsigned char *p, size_t cap, size_t *n);
/* Encrypt all of p[n]: TLS_DONE or TLS_FAILED. */
int tls_write(tls_link *, const unsigned char *p, size_t n);
/* Put our close_notify out, if it still may be sent. */
void tls_notify(tls_link *);

/* A handshake step for the pool. `in` is what the peer sent, `out` what it gets. */
typedef struct tls_job {
    hs_job job;
    tls_link *link;
    void *owner;
    outbuf in;
    outbuf out;
    uint32_t used; /* of `in` */
    int result;
} tls_job;

tls_job *tls_job_new(tls_link *, void *owner);
/* Do it here, with that many of the bytes not used yet. */
void tls_job_run(tls_job *, size_t most);
void tls_job_free(tls_job *);
/* How many of the bytes p[n] can be handled without a public-key operation, which is for the pool; 0 if it is not known. */
size_t tls_light(const tls_link *, const unsigned char *p, size_t n);

#endif
