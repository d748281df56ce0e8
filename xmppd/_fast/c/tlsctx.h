/* What hangs on an SSL_CTX: the callbacks that OpenSSL runs in a worker, hence C only, and the data they need.
 *
 * Every callback finds its connection by SSL_get_app_data (a tls_link) and its policy on the SSL_CTX.
 */
#ifndef XMPPD_TLSCTX_H
#define XMPPD_TLSCTX_H

#include <openssl/ssl.h>

/* Session ticket keys: the current one encrypts, the one before it still decrypts. Shared by contexts, in memory only. */
typedef struct tls_tickets tls_tickets;

tls_tickets *tls_tickets_new(OSSL_LIB_CTX *);
tls_tickets *tls_tickets_up(tls_tickets *);
void tls_tickets_free(tls_tickets *);
int tls_tickets_rotate(tls_tickets *); /* 0, or -1: no random bytes */

/* Hang our callbacks and policy on a new SSL_CTX. `alpn` is the wire form, copied; `tickets` may be NULL. 0 or -1. */
int tls_policy_set(SSL_CTX *, OSSL_LIB_CTX *, const unsigned char *alpn, unsigned alpn_len, tls_tickets *tickets, int verify_mode);

#endif
