/* The client's side of SCRAM-SHA-1 and SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding. */
#ifndef XMPPD_LOAD_SCRAM_H
#define XMPPD_LOAD_SCRAM_H

#include <openssl/evp.h>
#include <stddef.h>

#include "xml.h"

/* What one account's password comes to with one salt; kept, as clients do, so that a second log-in is cheap. */
typedef struct {
    char salt[128]; /* base64, as the server sends it */
    int iterations;
    unsigned char client_key[32], server_key[32];
} scram_keys;

typedef struct {
    char client_first[192]; /* without the GS2 header */
    char server_signature[64];
} scram;

/* The initial response in base64, into out[room]. */
void scram_begin(scram *s, const char *user, char *out, size_t room);
/* The answer to the server's challenge (base64), in base64. 0, or -1 if the challenge is none of this log-in. */
int scram_answer(scram *s, scram_keys *keys, const EVP_MD *hash, const char *password, text challenge, char *out, size_t room);
/* Whether the server's last word (base64) shows that it knows the account's keys. */
int scram_proved(const scram *s, text last);

#endif
