/* The least that a server for these scenarios can cost: epoll, one recv, one SSL_read loop, one SSL_write and one send for each
 * delivery, and nothing known of XML, accounts or addresses.
 *
 * floor ADDRESS CERTIFICATE.pem KEY.pem      prints its port, ends when its standard input does.
 *
 * A client says its number in eight digits, hears that it is known, then sends: what begins with "<presence" goes to everybody else, everything else to the
 * partner, whose number differs in the last bit.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include "../echo/peer.h"

#define NUMBERS 100000

typedef struct {
    int fd, number;
    SSL *ssl;
    unsigned char *rest; /* what the kernel did not take */
    size_t rest_len;
} peer;

static int epfd;
static peer *numbered[NUMBERS];
static int numbers; /* above all that were said */

static void watch(int operation, int fd, uint32_t events, void *p) {
    struct epoll_event event = {.events = events, .data.ptr = p};
    if (epoll_ctl(epfd, operation, fd, &event)) die("epoll_ctl");
}

static void drop(peer *c) {
    if (c->number >= 0 && numbered[c->number] == c) numbered[c->number] = NULL;
    close(c->fd);
    SSL_free(c->ssl);
    free(c->rest);
    free(c);
}

static void flush(peer *c) {
    ssize_t sent = c->rest_len ? 0 : send(c->fd, out_buf, out_len, MSG_NOSIGNAL);
    size_t left = out_len - (size_t)(sent < 0 ? 0 : sent);
    if (left) {
        c->rest = realloc(c->rest, c->rest_len + left);
        if (!c->rest) die("memory");
        memcpy(c->rest + c->rest_len, out_buf + out_len - left, left);
        c->rest_len += left;
        watch(EPOLL_CTL_MOD, c->fd, EPOLLIN | EPOLLOUT, c);
    }
    out_len = 0;
}

static void writable(peer *c) {
    ssize_t sent = send(c->fd, c->rest, c->rest_len, MSG_NOSIGNAL);
    if (sent <= 0) return; /* a broken connection shows when it is read */
    c->rest_len -= (size_t)sent;
    memmove(c->rest, c->rest + sent, c->rest_len);
    if (!c->rest_len) watch(EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
}

static void deliver(peer *to, const unsigned char *p, size_t n) {
    put(to->ssl, p, n);
    flush(to);
}

static int readable(peer *c) {
    static unsigned char clear[2 * IN_BYTES];
    ssize_t got = fill(c->fd);
    if (got <= 0) return got < 0 && errno == EAGAIN ? 0 : -1;
    if (!SSL_is_init_finished(c->ssl)) {
        ERR_clear_error();
        int done = SSL_do_handshake(c->ssl), why = SSL_get_error(c->ssl, done);
        if (out_len) flush(c);
        if (done != 1) return why == SSL_ERROR_WANT_READ ? 0 : -1;
    }
    size_t n = 0, at = 0;
    long more;
    while ((more = take(c->ssl, clear + n, sizeof clear - n)) > 0) n += (size_t)more;
    if (c->number < 0 && n >= 8) {
        char digits[9] = {0};
        memcpy(digits, clear, at = 8);
        c->number = atoi(digits);
        if (c->number < 0 || c->number >= NUMBERS) return -1;
        numbered[c->number] = c;
        if (c->number >= numbers) numbers = c->number + 1;
        deliver(c, (const unsigned char *)"<known/>", 8);
    }
    if (n > at && n - at > 9 && !memcmp(clear + at, "<presence", 9)) {
        for (int i = 0; i < numbers; i++)
            if (numbered[i] && i != c->number) deliver(numbered[i], clear + at, n - at);
    } else if (n > at && c->number >= 0 && numbered[c->number ^ 1]) {
        deliver(numbered[c->number ^ 1], clear + at, n - at);
    }
    return more < 0 ? -1 : 0;
}

int main(int argc, char **argv) {
    if (argc != 4) die("usage: floor ADDRESS CERTIFICATE KEY");
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    /* what the other subjects do with the load's clients */
    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(context, "TLS_AES_256_GCM_SHA384") || !SSL_CTX_set1_groups_list(context, "P-256") ||
        SSL_CTX_use_certificate_chain_file(context, argv[2]) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, argv[3], SSL_FILETYPE_PEM) != 1)
        die("TLS");
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_num_tickets(context, 1);

    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t at_len = sizeof at;
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (inet_pton(AF_INET, argv[1], &at.sin_addr) != 1 || bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 1024))
        die("listen");
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
                    c->number = -1;
                    c->ssl = new_ssl(context);
                    SSL_set_accept_state(c->ssl);
                    watch(EPOLL_CTL_ADD, fd, EPOLLIN, c);
                }
                continue;
            }
            peer *c = p;
            if (events[i].events & EPOLLOUT) writable(c);
            if (events[i].events & ~(uint32_t)EPOLLOUT && readable(c)) drop(c);
        }
    }
}
