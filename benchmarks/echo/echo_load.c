/* Load for an echo server, and a sink for what a server sends: counts every message, never runs without end.
 *
 * echo_load tls|plain PORT CONNECTIONS IN_FLIGHT MESSAGE_BYTES
 *
 * Connects, prints "ready", then obeys the lines of its standard input until it ends:
 *   echo COUNT SECONDS   keep IN_FLIGHT messages under way on each connection until COUNT came back
 *   take COUNT SECONDS   only receive, until COUNT messages came
 * and answers "done COUNT NANOSECONDS", or "late COUNT NANOSECONDS" when the time was up first. An echo that differs ends it with 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <time.h>

#include "peer.h"

#define MESSAGE_MAX 16384

typedef struct {
    int fd;
    SSL *ssl;
    size_t at; /* bytes of the unfinished message received so far */
} peer;

static unsigned char message[2 * MESSAGE_MAX]; /* twice, so that any cut of the stream is one memcmp per message */
static size_t message_bytes;

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void send_messages(peer *c, long n) {
    for (; n > 0; n--) put(c->ssl, message, message_bytes);
    for (size_t at = 0; at < out_len;) {
        ssize_t sent = send(c->fd, out_buf + at, out_len - at, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) die("send");
        if (sent > 0) at += (size_t)sent;
    }
    out_len = 0;
}

/* Whole messages that have arrived; `compare` them with what was sent. */
static long receive(peer *c, int compare) {
    static unsigned char clear[IN_BYTES];
    long whole = 0, n;
    ssize_t got = fill(c->fd);
    if (got < 0 && errno == EAGAIN) return 0;
    if (got <= 0) die("the server closed a connection");
    while ((n = take(c->ssl, clear, sizeof clear)) > 0) {
        for (size_t i = 0; i < (size_t)n;) {
            size_t part = message_bytes - c->at;
            if (part > (size_t)n - i) part = (size_t)n - i;
            if (compare && memcmp(clear + i, message + c->at, part)) die("an echo differs");
            i += part;
            c->at += part;
            if (c->at == message_bytes) c->at = 0, whole++;
        }
    }
    if (n < 0) die("TLS");
    return whole;
}

int main(int argc, char **argv) {
    if (argc != 6) die("usage: echo_load tls|plain PORT CONNECTIONS IN_FLIGHT MESSAGE_BYTES");
    int port = atoi(argv[2]), connections = atoi(argv[3]), in_flight = atoi(argv[4]);
    message_bytes = (size_t)atoi(argv[5]);
    if (connections < 1 || in_flight < 1 || message_bytes < 1 || message_bytes > MESSAGE_MAX) die("out of range");
    for (size_t i = 0; i < 2 * message_bytes; i++) message[i] = (unsigned char)(' ' + i % message_bytes % 95);

    SSL_CTX *context = strcmp(argv[1], "tls") ? NULL : new_context(TLS_client_method());
    peer *peers = calloc((size_t)connections, sizeof *peers);
    int epfd = epoll_create1(0), one = 1;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    if (!peers || epfd < 0) die("memory");
    for (peer *c = peers; c < peers + connections; c++) {
        c->fd = socket(AF_INET, SOCK_STREAM, 0);
        if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to)) die("connect");
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (context) {
            c->ssl = new_ssl(context);
            handshake(c->ssl, c->fd);
        }
        fcntl(c->fd, F_SETFL, O_NONBLOCK);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(epfd, EPOLL_CTL_ADD, c->fd, &event)) die("epoll_ctl");
    }
    printf("ready\n");
    fflush(stdout);

    char line[128], verb[8];
    long count;
    double seconds;
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "%7s %ld %lf", verb, &count, &seconds) != 3) die("bad line: %s", line);
        int echo = !strcmp(verb, "echo");
        long long start = now_ns(), end = start + (long long)(seconds * 1e9);
        long sent = 0, came = 0;
        for (peer *c = peers; echo && c < peers + connections && sent < count; c++) {
            long n = count - sent < in_flight ? count - sent : in_flight;
            send_messages(c, n);
            sent += n;
        }
        while (came < count) {
            struct epoll_event events[128];
            int wait_ms = (int)((end - now_ns()) / 1000000);
            int n = wait_ms > 0 ? epoll_wait(epfd, events, 128, wait_ms) : 0;
            if (n <= 0) break;
            for (int i = 0; i < n; i++) {
                peer *c = events[i].data.ptr;
                long whole = receive(c, echo);
                came += whole;
                if (!echo || !whole) continue;
                long next = count - sent < whole ? count - sent : whole;
                send_messages(c, next);
                sent += next;
            }
        }
        printf("%s %ld %lld\n", came < count ? "late" : "done", came, now_ns() - start);
        fflush(stdout);
    }
    return 0;
}
