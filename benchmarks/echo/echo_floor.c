/* The least an echo server over TLS can cost: epoll, one recv, one SSL_read loop, one SSL_write, one send.
 *
 * echo_floor tls|plain CERTIFICATE.pem KEY.pem      prints its port on 127.0.0.1, ends when its standard input does.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>

#include "peer.h"

typedef struct {
    int fd;
    SSL *ssl;
    unsigned char *rest; /* what the kernel did not take */
    size_t rest_len;
} peer;

static int epfd;

static void watch(int operation, int fd, uint32_t events, void *p) {
    struct epoll_event event = {.events = events, .data.ptr = p};
    if (epoll_ctl(epfd, operation, fd, &event)) die("epoll_ctl");
}

static void drop(peer *c) {
    close(c->fd);
    SSL_free(c->ssl);
    free(c->rest);
    free(c);
}

/* Send what is gathered; keep what the kernel does not take. */
static int flush(peer *c) {
    ssize_t sent = c->rest_len ? 0 : send(c->fd, out_buf, out_len, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return -1;
    if (sent < 0) sent = 0;
    size_t left = out_len - (size_t)sent;
    if (left) {
        c->rest = realloc(c->rest, c->rest_len + left);
        if (!c->rest) die("memory");
        memcpy(c->rest + c->rest_len, out_buf + sent, left);
        c->rest_len += left;
        watch(EPOLL_CTL_MOD, c->fd, EPOLLIN | EPOLLOUT, c);
    }
    out_len = 0;
    return 0;
}

static int writable(peer *c) {
    ssize_t sent = send(c->fd, c->rest, c->rest_len, MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN ? 0 : -1;
    c->rest_len -= (size_t)sent;
    memmove(c->rest, c->rest + sent, c->rest_len);
    if (!c->rest_len) watch(EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
    return 0;
}

static int readable(peer *c) {
    static unsigned char clear[IN_BYTES];
    ssize_t got = fill(c->fd);
    if (got <= 0) return got < 0 && errno == EAGAIN ? 0 : -1;
    if (c->ssl && !SSL_is_init_finished(c->ssl)) {
        ERR_clear_error();
        int done = SSL_do_handshake(c->ssl);
        if (done != 1) return SSL_get_error(c->ssl, done) == SSL_ERROR_WANT_READ ? flush(c) : -1;
    }
    size_t n = 0;
    long more;
    while ((more = take(c->ssl, clear + n, sizeof clear - n)) > 0) n += (size_t)more;
    if (more < 0) return -1;
    if (n) put(c->ssl, clear, n);
    return out_len ? flush(c) : 0;
}

int main(int argc, char **argv) {
    if (argc != 4) die("usage: echo_floor tls|plain CERTIFICATE KEY");
    SSL_CTX *context = NULL;
    if (!strcmp(argv[1], "tls")) {
        context = new_context(TLS_server_method());
        if (SSL_CTX_use_certificate_chain_file(context, argv[2]) != 1 ||
            SSL_CTX_use_PrivateKey_file(context, argv[3], SSL_FILETYPE_PEM) != 1)
            die("certificate");
        SSL_CTX_set_num_tickets(context, 0);
    }
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t at_len = sizeof at;
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 1024)) die("listen");
    getsockname(listener, (struct sockaddr *)&at, &at_len);
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);

    epfd = epoll_create1(0);
    watch(EPOLL_CTL_ADD, listener, EPOLLIN, &listener);
    watch(EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, &one);
    for (;;) {
        struct epoll_event events[128];
        int n = epoll_wait(epfd, events, 128, -1);
        for (int i = 0; i < n; i++) {
            void *p = events[i].data.ptr;
            if (p == &one) return 0;
            if (p == &listener) {
                int fd;
                while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    peer *c = calloc(1, sizeof *c);
                    if (!c) die("memory");
                    c->fd = fd;
                    if (context) {
                        c->ssl = new_ssl(context);
                        SSL_set_accept_state(c->ssl);
                    }
                    watch(EPOLL_CTL_ADD, fd, EPOLLIN, c);
                }
                continue;
            }
            peer *c = p;
            int failed = events[i].events & EPOLLOUT ? writable(c) : 0;
            if (!failed && events[i].events & ~(uint32_t)EPOLLOUT) failed = readable(c);
            if (failed) drop(c);
        }
    }
}
