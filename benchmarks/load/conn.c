#define _GNU_SOURCE
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>

#include "../echo/peer.h"
#include "load.h"

#define CLEAR_BYTES (2 * IN_BYTES)

void conn_start(void) {
    tls = SSL_CTX_new(TLS_client_method());
    /* what every subject can do, so that all do the same work */
    if (!tls || !SSL_CTX_set_min_proto_version(tls, TLS1_3_VERSION) || !SSL_CTX_set_ciphersuites(tls, "TLS_AES_256_GCM_SHA384") ||
        !SSL_CTX_set1_groups_list(tls, "P-256"))
        fatal("TLS");
    SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
}

static void watch(conn *c, int operation) {
    uint32_t out = c->state == CONNECTING || c->rest_len ? EPOLLOUT : 0;
    if (operation == EPOLL_CTL_MOD && c->watched_out == (out != 0)) return;
    struct epoll_event event = {.events = EPOLLIN | out, .data.ptr = c};
    if (epoll_ctl(epfd, operation, c->fd, &event)) fatal("epoll_ctl");
    c->watched_out = out != 0;
}

void conn_open(conn *c) {
    int one = 1;
    c->fd = socket(settings.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) fatal("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->scan = (xml_scan){0};
    c->state = CONNECTING;
    int failed = connect(c->fd, (struct sockaddr *)&settings.address, settings.address_len);
    if (failed && errno != EINPROGRESS) {
        complain(c, "cannot connect: %s", strerror(errno));
        on_gone(c);
        return;
    }
    if (!failed) c->state = PLAIN_FEATURES;
    watch(c, EPOLL_CTL_ADD);
    if (!failed) on_connected(c);
}

void conn_close(conn *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    SSL_free(c->ssl);
    c->ssl = NULL;
    free(c->rest);
    free(c->part);
    c->rest = NULL;
    c->part = NULL;
    c->rest_len = c->part_len = c->part_room = 0;
    c->state = OFF;
}

/* Send what OpenSSL or we put into the shared buffer; what the kernel does not take waits. */
static void flush(conn *c) {
    size_t taken = 0;
    if (!c->rest_len && out_len) {
        ssize_t n = send(c->fd, out_buf, out_len, MSG_NOSIGNAL);
        if (n > 0) taken = (size_t)n;
        /* a broken connection shows when it is read */
    }
    if (taken < out_len) {
        c->rest = realloc(c->rest, c->rest_len + out_len - taken);
        if (!c->rest) fatal("memory");
        memcpy(c->rest + c->rest_len, out_buf + taken, out_len - taken);
        c->rest_len += out_len - taken;
        watch(c, EPOLL_CTL_MOD);
    }
    out_len = 0;
}

static void writable(conn *c) {
    if (c->rest_len) {
        ssize_t n = send(c->fd, c->rest, c->rest_len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) n = (ssize_t)c->rest_len; /* as above */
        if (n < 0) return;
        c->rest_len -= (size_t)n;
        memmove(c->rest, c->rest + n, c->rest_len);
    }
    watch(c, EPOLL_CTL_MOD);
}

void conn_say(conn *c, const char *p, size_t n) {
    if (c->fd < 0) return;
    out_len = 0;
    put(c->ssl, (const unsigned char *)p, n);
    flush(c);
}

void conn_sayf(conn *c, const char *format, ...) {
    char line[2048];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof line) fatal("line too long");
    conn_say(c, line, (size_t)n);
}

void conn_shut(conn *c) {
    if (c->fd < 0 || !c->ssl) return;
    out_len = 0;
    SSL_shutdown(c->ssl);
    flush(c);
}

/* 0 when the handshake is done, 1 when it waits, -1 when it failed. */
static int shake(conn *c) {
    out_len = 0;
    ERR_clear_error();
    int done = SSL_do_handshake(c->ssl);
    int why = SSL_get_error(c->ssl, done);
    flush(c);
    if (done == 1) return 0;
    return why == SSL_ERROR_WANT_READ ? 1 : -1;
}

void conn_secure(conn *c) {
    c->ssl = new_ssl(tls);
    SSL_set_connect_state(c->ssl);
    c->state = HANDSHAKE;
    in_at = in_len = 0;
    if (shake(c) < 0) fatal("handshake");
}

/* Hand over every element of p[n]; how many bytes are used up. */
static size_t elements(conn *c, const char *p, size_t n) {
    size_t used = 0;
    text found;
    enum xml_kind kind;
    while ((kind = xml_next(&c->scan, p + used, n - used, &found)) != XML_MORE) {
        used = (size_t)(found.p + found.n - p);
        on_element(c, kind, found);
        if (c->state == OFF) break;
    }
    return used;
}

/* Keep p[n], the beginning of an element. */
static void keep(conn *c, const char *p, size_t n) {
    if (c->part_room < n) {
        c->part_room = 2 * n;
        c->part = realloc(c->part, c->part_room);
        if (!c->part) fatal("memory");
    }
    memmove(c->part, p, n);
    c->part_len = n;
}

static void cleartext(conn *c, const char *p, size_t n) {
    if (!c->part_len) {
        size_t used = elements(c, p, n);
        if (c->state != OFF && used < n) keep(c, p + used, n - used);
        return;
    }
    if (c->part_room < c->part_len + n) {
        c->part_room = 2 * (c->part_len + n);
        c->part = realloc(c->part, c->part_room);
        if (!c->part) fatal("memory");
    }
    memcpy(c->part + c->part_len, p, n);
    c->part_len += n;
    size_t used = elements(c, c->part, c->part_len);
    if (c->state == OFF) return;
    c->part_len -= used;
    memmove(c->part, c->part + used, c->part_len);
}

static void readable(conn *c) {
    static unsigned char clear[CLEAR_BYTES];
    ssize_t got = fill(c->fd);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        on_gone(c);
        return;
    }
    now_ns = clock_ns();
    if (c->state == HANDSHAKE) {
        int r = shake(c);
        if (r < 0) {
            complain(c, "TLS handshake: %s", ERR_reason_error_string(ERR_peek_error()));
            on_gone(c);
            return;
        }
        if (r) return;
        /* what came behind the handshake: tickets */
    }
    size_t have = 0;
    long n;
    while ((n = take(c->ssl, clear + have, sizeof clear - have)) > 0) have += (size_t)n;
    if (c->state == HANDSHAKE) on_secure(c);
    if (have) cleartext(c, (char *)clear, have);
    if (n < 0 && c->state != OFF) on_gone(c);
}

void conn_event(conn *c, uint32_t events) {
    if (events & EPOLLOUT && c->fd >= 0) {
        if (c->state == CONNECTING) {
            int error = 0;
            socklen_t len = sizeof error;
            getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
            if (error) {
                complain(c, "cannot connect: %s", strerror(error));
                on_gone(c);
                return;
            }
            c->state = PLAIN_FEATURES;
            on_connected(c);
        }
        if (c->fd >= 0) writable(c);
    }
    if (events & ~(uint32_t)EPOLLOUT && c->fd >= 0) readable(c);
}
