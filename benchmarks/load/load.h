/* The load generator: many XMPP clients in one thread. What the files share.
 *
 *   load.c     the commands, the clock and the loop
 *   conn.c     one connection: socket, TLS, elements out of bytes
 *   login.c    from the connection to the first presence, and back
 *   traffic.c  messages and presence that are marked, so that each delivery is counted and checked
 */
#ifndef XMPPD_LOAD_H
#define XMPPD_LOAD_H

#include <openssl/ssl.h>
#include <stdint.h>
#include <sys/socket.h>

#include "histogram.h"
#include "scram.h"
#include "xml.h"

enum conn_state {
    OFF,
    CONNECTING,
    PLAIN_FEATURES,
    PROCEED,
    HANDSHAKE,
    TLS_FEATURES,
    AUTH,
    AUTHED_FEATURES,
    BIND,
    SESSION,
    ROSTER,
    ONLINE,
    LEAVING,
};

/* An account, and its connection while it has one. There is one of each. */
typedef struct {
    uint32_t account;
    int fd;
    uint8_t state, watched_out, listed;
    SSL *ssl;
    unsigned char *rest; /* ciphertext that the kernel did not take */
    size_t rest_len;
    char *part; /* cleartext of an unfinished element */
    size_t part_len, part_room;
    xml_scan scan;
    int64_t began_ns;
    scram auth;
    scram_keys keys;
    /* of the messages to this account, which come from one sender at a time */
    uint32_t sender;
    uint64_t sent, got; /* the highest number of each */
    uint64_t window;    /* bit i: number got - i has come */
    uint32_t absent;    /* numbers below `got` that have not */
    uint32_t owed; /* what it has to send at the end of this pass */
    uint64_t presence_got;
    uint32_t pending; /* answers to its requests that have not come */
} conn;

/* Timeline of a command: events in each of `TIMELINE` slots. */
#define TIMELINE 4000
typedef struct {
    int64_t slot_ns;
    uint32_t slots, count[TIMELINE];
} timeline;

struct settings {
    struct sockaddr_storage address;
    socklen_t address_len;
    const char *domain, *prefix, *password;
    char mechanism[32];
    int raw; /* a floor: TLS at once, then our number, and no XMPP but the stanzas */
    uint32_t accounts;
};
extern struct settings settings;
extern conn *accounts;
extern int epfd;
extern SSL_CTX *tls;
extern int64_t now_ns; /* taken once for each pass and each read */

__attribute__((noreturn, format(printf, 1, 2))) void fatal(const char *format, ...);
/* Say on standard error what went wrong with a client; the first 20 of a command. */
__attribute__((format(printf, 2, 3))) void complain(const conn *c, const char *format, ...);
int64_t clock_ns(void);
void timeline_start(timeline *t, double seconds);
void timeline_add(timeline *t, int64_t since_ns);
void timeline_print(const timeline *t, FILE *to);

/* conn.c */
void conn_start(void);
void conn_open(conn *c);
void conn_secure(conn *c); /* begin the TLS handshake */
void conn_say(conn *c, const char *p, size_t n);
__attribute__((format(printf, 2, 3))) void conn_sayf(conn *c, const char *format, ...);
void conn_event(conn *c, uint32_t events);
void conn_close(conn *c); /* at once */
void conn_shut(conn *c);  /* close_notify */

/* login.c; the first four are called by conn.c, `login_*` by load.c */
void on_connected(conn *c);
void on_secure(conn *c);
void on_element(conn *c, enum xml_kind kind, text element);
void on_gone(conn *c);
typedef struct {
    uint32_t first, count, together, roster_items;
    double rate;                               /* a second; 0: as fast as `together` allows */
    int churn;                                 /* log out again, and begin anew with the first when the last is through */
    uint32_t begun, under_way, done, failed;   /* of log-ins */
    uint32_t left, dropped, skipped;           /* ended by us; by the server; not begun, as still connected */
    int64_t start_ns, next_ns;
    histogram latency;
    timeline when;
} logins;
extern logins login;
void login_begin(void);
void login_turn(int64_t until_ns); /* begin what is due */
int64_t login_due(void);           /* when the next is due; INT64_MAX: when something comes */
void login_leave(conn *c);

/* traffic.c */
typedef struct {
    uint32_t first, pairs, in_flight, bytes, to_bare, both_ways;
    double rate; /* a second, open loop; 0: closed loop with `in_flight` each */
    int on;
    uint64_t sent, received, doubled, disordered, misrouted, bounced;
    int64_t start_ns;
    uint64_t due;
    histogram latency;
    timeline when;
} message_traffic;
typedef struct {
    uint32_t from, first, count;
    double rate; /* as above */
    int on;
    uint64_t sent, expected, received, doubled, misrouted;
    uint64_t outstanding; /* deliveries of all rounds that have not come */
    int64_t start_ns;
    histogram latency;
    timeline when;
} presence_traffic;
extern message_traffic messages;
extern presence_traffic presences;
extern uint64_t subscribed;
void on_stanza(conn *c, text element);
void traffic_begin(void);
void traffic_turn(void); /* send what is due and what is owed */
int64_t traffic_due(void);
void traffic_owe(conn *c, uint32_t n);
void message_to(conn *sender, conn *recipient, int64_t intended_ns, int to_bare);
uint64_t messages_outstanding(void);
void messages_forgive(void);

#endif
