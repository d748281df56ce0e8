#define _GNU_SOURCE
#include "scram.h"

#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void to_base64(const void *p, size_t n, char *out) {
    EVP_EncodeBlock((unsigned char *)out, p, (int)n);
}

/* Bytes decoded into out[room], a NUL behind them; -1 if it is no base64 or too much. */
static int from_base64(text b64, unsigned char *out, size_t room) {
    while (b64.n && strchr(" \t\r\n", b64.p[b64.n - 1])) b64.n--;
    if (b64.n % 4 || b64.n / 4 * 3 + 1 > room) return -1;
    int n = EVP_DecodeBlock(out, (const unsigned char *)b64.p, (int)b64.n);
    for (size_t i = b64.n; n > 0 && i > 0 && b64.p[i - 1] == '='; i--) n--;
    if (n >= 0) out[n] = 0;
    return n;
}

static void mac(const EVP_MD *hash, const void *key, int key_len, const char *p, size_t n, unsigned char *out) {
    unsigned len;
    HMAC(hash, key, key_len, (const unsigned char *)p, n, out, &len);
}

void scram_begin(scram *s, const char *user, char *out, size_t room) {
    unsigned char random[18];
    char nonce[25], first[200];
    RAND_bytes(random, sizeof random);
    to_base64(random, sizeof random, nonce);
    snprintf(s->client_first, sizeof s->client_first, "n=%s,r=%s", user, nonce);
    int n = snprintf(first, sizeof first, "n,,%s", s->client_first);
    if ((size_t)n * 4 / 3 + 5 <= room) to_base64(first, (size_t)n, out);
}

int scram_answer(scram *s, scram_keys *keys, const EVP_MD *hash, const char *password, text challenge, char *out, size_t room) {
    char first[512], nonce[256], salt[128], final[512], message[1400], proof[64];
    unsigned char salted[32], stored[32], signature[32], raw_salt[96];
    int iterations, size = EVP_MD_size(hash);
    unsigned len;
    if (from_base64(challenge, (unsigned char *)first, sizeof first) < 0) return -1;
    if (sscanf(first, "r=%255[^,],s=%127[^,],i=%d", nonce, salt, &iterations) != 3) return -1;
    const char *ours = strstr(s->client_first, "r=") + 2;
    if (strncmp(nonce, ours, strlen(ours))) return -1;
    if (keys->iterations != iterations || strcmp(keys->salt, salt)) {
        int salt_len = from_base64((text){salt, strlen(salt)}, raw_salt, sizeof raw_salt);
        if (salt_len < 0 || !PKCS5_PBKDF2_HMAC(password, (int)strlen(password), raw_salt, salt_len, iterations, hash, size, salted))
            return -1;
        mac(hash, salted, size, "Client Key", 10, keys->client_key);
        mac(hash, salted, size, "Server Key", 10, keys->server_key);
        keys->iterations = iterations;
        strcpy(keys->salt, salt);
    }
    int n = snprintf(final, sizeof final, "c=biws,r=%s", nonce);
    int message_len = snprintf(message, sizeof message, "%s,%s,%s", s->client_first, first, final);
    EVP_Digest(keys->client_key, (size_t)size, stored, &len, hash, NULL);
    mac(hash, stored, size, message, (size_t)message_len, signature);
    for (int i = 0; i < size; i++) signature[i] ^= keys->client_key[i];
    to_base64(signature, (size_t)size, proof);
    n += snprintf(final + n, sizeof final - (size_t)n, ",p=%s", proof);
    mac(hash, keys->server_key, size, message, (size_t)message_len, signature);
    to_base64(signature, (size_t)size, s->server_signature);
    if ((size_t)n * 4 / 3 + 5 > room) return -1;
    to_base64(final, (size_t)n, out);
    return 0;
}

int scram_proved(const scram *s, text last) {
    char word[256];
    if (from_base64(last, (unsigned char *)word, sizeof word) < 0 || strncmp(word, "v=", 2)) return 0;
    word[2 + strcspn(word + 2, ",")] = 0;
    return *s->server_signature && !strcmp(word + 2, s->server_signature);
}
