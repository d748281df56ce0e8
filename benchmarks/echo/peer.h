/* What the benchmark's C programs share: OpenSSL over two buffers of the whole process instead of a BIO pair per connection.
 *
 * `in` is what one recv brought and SSL_read takes from; `out` gathers what SSL_write makes until one send. Only one connection
 * uses them at a time. With TLS off the same calls move plain bytes.
 */
#ifndef XMPPD_BENCH_PEER_H
#define XMPPD_BENCH_PEER_H

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_BYTES 65536
#define OUT_BYTES (1 << 20)

static unsigned char in_buf[IN_BYTES], out_buf[OUT_BYTES];
static size_t in_at, in_len, out_len;

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, " (%s)\n", strerror(errno));
    ERR_print_errors_fp(stderr);
    exit(1);
}

static int bio_read(BIO *b, char *p, int n) {
    size_t have = in_len - in_at;
    BIO_clear_retry_flags(b);
    if (!have) {
        BIO_set_retry_read(b);
        return -1;
    }
    if ((size_t)n > have) n = (int)have;
    memcpy(p, in_buf + in_at, (size_t)n);
    in_at += (size_t)n;
    return n;
}

static int bio_write(BIO *b, const char *p, int n) {
    BIO_clear_retry_flags(b);
    if (out_len + (size_t)n > OUT_BYTES) die("output buffer full");
    memcpy(out_buf + out_len, p, (size_t)n);
    out_len += (size_t)n;
    return n;
}

static long bio_ctrl(BIO *b, int command, long number, void *p) {
    (void)b, (void)number, (void)p;
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_PUSH || command == BIO_CTRL_POP;
}

static SSL *new_ssl(SSL_CTX *context) {
    static BIO_METHOD *method;
    if (!method) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "shared buffers");
        BIO_meth_set_read(method, bio_read);
        BIO_meth_set_write(method, bio_write);
        BIO_meth_set_ctrl(method, bio_ctrl);
    }
    SSL *ssl = SSL_new(context);
    BIO *bio = BIO_new(method);
    if (!ssl || !bio) die("SSL_new");
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    return ssl;
}

/* TLS 1.3 with one suite, and the groups of our own default, so that every pair does the same work. */
static inline SSL_CTX *new_context(const SSL_METHOD *method) {
    SSL_CTX *context = SSL_CTX_new(method);
    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(context, "TLS_AES_256_GCM_SHA384") || !SSL_CTX_set1_groups_list(context, "X25519:P-256"))
        die("SSL_CTX");
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    return context;
}

/* Cleartext of what was received: bytes, 0 when there is no more, -1 at the end of the stream. */
static long take(SSL *ssl, unsigned char *p, size_t n) {
    if (!ssl) {
        size_t have = in_len - in_at;
        if (have > n) have = n;
        memcpy(p, in_buf + in_at, have);
        in_at += have;
        return (long)have;
    }
    ERR_clear_error();
    int got = SSL_read(ssl, p, (int)n);
    if (got > 0) return got;
    return SSL_get_error(ssl, got) == SSL_ERROR_WANT_READ ? 0 : -1;
}

/* Put cleartext behind what is to be sent. */
static void put(SSL *ssl, const unsigned char *p, size_t n) {
    if (!ssl) {
        if (out_len + n > OUT_BYTES) die("output buffer full");
        memcpy(out_buf + out_len, p, n);
        out_len += n;
        return;
    }
    ERR_clear_error();
    if (SSL_write(ssl, p, (int)n) != (int)n) die("SSL_write");
}

/* Wait for bytes on the descriptor as it is set (blocking or not): bytes, 0 at the end, -1 with errno. */
static ssize_t fill(int fd) {
    in_at = in_len = 0;
    ssize_t got = recv(fd, in_buf, IN_BYTES, 0);
    if (got > 0) in_len = (size_t)got;
    return got;
}

/* Send all that was gathered on a blocking descriptor. */
static inline void send_all(int fd) {
    for (size_t at = 0; at < out_len;) {
        ssize_t n = send(fd, out_buf + at, out_len - at, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) die("send");
        if (n > 0) at += (size_t)n;
    }
    out_len = 0;
}

/* The client's handshake on a blocking descriptor. */
static inline void handshake(SSL *ssl, int fd) {
    SSL_set_connect_state(ssl);
    in_at = in_len = out_len = 0;
    for (;;) {
        ERR_clear_error();
        int done = SSL_do_handshake(ssl);
        int why = SSL_get_error(ssl, done);
        send_all(fd);
        if (done == 1) return;
        if (why != SSL_ERROR_WANT_READ) die("handshake");
        if (fill(fd) <= 0) die("end of stream in the handshake");
    }
}

#endif
