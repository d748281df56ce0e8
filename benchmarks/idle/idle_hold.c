/* Opens connections, leads each through a script, and holds them: what the memory of a server is measured against.
 *
 * idle_hold ADDRESS PORT SCRIPT
 *
 * Obeys the lines of its standard input until it ends, each answered with "held TOTAL NANOSECONDS":
 *   more COUNT    open so many more; they are numbered on from 0
 * What a server sends to held connections is read and dropped. The script's lines:
 *   groups NAMES  what the handshake may use for the key exchange, OpenSSL's syntax
 *   tls           TLS handshake (1.2 or 1.3, the certificate is not checked); at once on a direct TLS port, later for STARTTLS
 *   send TEXT     {n} stands for the connection's number, {plain PREFIX PASSWORD} for SASL PLAIN's initial response (RFC 4616) of
 *                 the user PREFIX<number>
 *   expect TEXT   read until TEXT came, at most 30 s between two reads; what came up to its end is forgotten
 * Empty lines and lines that begin with # are skipped.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>

#include "../echo/peer.h"

#define SCRIPT_LINES 64
#define LINE_BYTES 4096

typedef struct {
    int fd;
    SSL *ssl;
} peer;

static char script[SCRIPT_LINES][LINE_BYTES];
static int script_len;
static SSL_CTX *context;

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void read_script(const char *path) {
    FILE *f = fopen(path, "r");
    if (!f) die("%s", path);
    while (script_len < SCRIPT_LINES && fgets(script[script_len], LINE_BYTES, f)) {
        char *line = script[script_len];
        line[strcspn(line, "\n")] = 0;
        if (*line && *line != '#') script_len++;
    }
    if (!feof(f) && fgetc(f) != EOF) die("%s: more than %d lines", path, SCRIPT_LINES);
    fclose(f);
}

/* Copy `text` to `to` with the fields in braces filled in; bytes written. */
static size_t fill_in(const char *text, int number, char *to, size_t room) {
    size_t n = 0;
    while (*text && n + 1024 < room) {
        char prefix[128], password[128];
        int used = 0;
        if (!strncmp(text, "{n}", 3)) {
            n += (size_t)sprintf(to + n, "%d", number);
            text += 3;
        } else if (sscanf(text, "{plain %127s %127[^}]}%n", prefix, password, &used) == 2 && used) {
            unsigned char clear[512];
            int clear_len = 1 + sprintf((char *)clear + 1, "%s%d", prefix, number);
            clear[0] = 0;
            clear[clear_len++] = 0;
            clear_len += sprintf((char *)clear + clear_len, "%s", password);
            n += (size_t)EVP_EncodeBlock((unsigned char *)to + n, clear, clear_len);
            text += used;
        } else {
            to[n++] = *text++;
        }
    }
    if (*text) die("line too long");
    return n;
}

static void expect(peer *c, const char *text, int number) {
    static unsigned char clear[IN_BYTES + 1];
    size_t have = 0;
    for (;;) {
        long n;
        while ((n = take(c->ssl, clear + have, IN_BYTES - have)) > 0) have += (size_t)n;
        if (n < 0) die("connection %d: TLS ended before '%s'", number, text);
        if (memmem(clear, have, text, strlen(text))) return;
        if (have == IN_BYTES) die("connection %d: too much before '%s'", number, text);
        if (fill(c->fd) <= 0) {
            clear[have] = 0;
            die("connection %d: ended before '%s', after: %s", number, text, (char *)clear);
        }
    }
}

static void open_one(peer *c, const struct sockaddr *to, socklen_t to_len, int number) {
    static char line[2 * LINE_BYTES];
    struct timeval patience = {.tv_sec = 30};
    int one = 1;
    c->fd = socket(to->sa_family, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, to, to_len)) die("connection %d", number);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    in_at = in_len = out_len = 0;
    for (int i = 0; i < script_len; i++) {
        size_t n = fill_in(script[i], number, line, sizeof line);
        line[n] = 0;
        if (!strncmp(line, "groups ", 7)) {
            if (!SSL_CTX_set1_groups_list(context, line + 7)) die("%s", line);
        } else if (!strcmp(line, "tls")) {
            c->ssl = new_ssl(context);
            handshake(c->ssl, c->fd);
        } else if (!strncmp(line, "send ", 5)) {
            put(c->ssl, (unsigned char *)line + 5, n - 5);
            send_all(c->fd);
        } else if (!strncmp(line, "expect ", 7)) {
            expect(c, line + 7, number);
        } else {
            die("unknown line: %s", line);
        }
    }
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
}

int main(int argc, char **argv) {
    if (argc != 4) die("usage: idle_hold ADDRESS PORT SCRIPT");
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = v4.sin_port};
    int is_v6 = inet_pton(AF_INET, argv[1], &v4.sin_addr) != 1;
    if (is_v6 && inet_pton(AF_INET6, argv[1], &v6.sin6_addr) != 1) die("%s is no address", argv[1]);
    const struct sockaddr *to = is_v6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4;
    socklen_t to_len = is_v6 ? sizeof v6 : sizeof v4;
    read_script(argv[3]);

    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    context = SSL_CTX_new(TLS_client_method());
    int epfd = epoll_create1(0), total = 0;
    if (!context || epfd < 0) die("start");
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    struct epoll_event of_stdin = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epfd, EPOLL_CTL_ADD, STDIN_FILENO, &of_stdin);

    for (;;) {
        struct epoll_event events[64];
        int n = epoll_wait(epfd, events, 64, -1), obey = 0;
        for (int i = 0; i < n; i++) {
            peer *c = events[i].data.ptr;
            if (!c) {
                obey = 1;
                continue;
            }
            /* nothing is decrypted: what comes to a held connection is of no interest */
            ssize_t got = fill(c->fd);
            if (!got || (got < 0 && errno != EAGAIN)) die("the server closed a held connection");
        }
        if (!obey) continue;
        char line[64];
        int more;
        ssize_t got = read(STDIN_FILENO, line, sizeof line - 1);
        if (got <= 0) return 0;
        line[got] = 0;
        if (sscanf(line, "more %d", &more) != 1 || more < 0) die("bad line: %s", line);
        long long start = now_ns();
        for (; more > 0; more--, total++) {
            peer *c = calloc(1, sizeof *c);
            if (!c) die("memory");
            open_one(c, to, to_len, total);
            struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
            if (epoll_ctl(epfd, EPOLL_CTL_ADD, c->fd, &event)) die("epoll_ctl");
        }
        printf("held %d %lld\n", total, now_ns() - start);
        fflush(stdout);
    }
}
