/* XMPP clients for benchmarks.
 *
 *   load ADDRESS PORT key=value...
 *
 *   domain=localhost prefix=u accounts=N     the accounts are u0@localhost to u<N-1>@localhost
 *   password=TEXT
 *   raw=1                                    against floor.c: TLS at once, no XMPP
 *
 * Obeys the lines of its standard input, one at a time, and answers each with a JSON object on one line; ends when its input ends.
 * Every command takes patience=20: the seconds without anything coming after which it is over. Between commands it stays
 * connected and answers the server's pings. Numbers not given are 0 or as shown.
 *
 *   login first= count= together=50 rate= items= await= mechanism=SCRAM-SHA-1|SCRAM-SHA-256|PLAIN
 *       Log accounts in: full TLS handshake, SASL, bind, roster (of `items` items, if given), presence. `await`: and go on until all
 *       messages sent to anybody have come.
 *   logout first= count= together=50
 *   run seconds=  and any of
 *       pairs= first= in_flight=1|rate= bytes=360 bare= both=     messages from u<first> to u<first+1> and so on: closed loop with so
 *                                        many under way for each sender, or open loop at a rate; `both`: in both directions
 *       presence_from= presence_first= presence_count= presence_rate=     broadcasts of one account to its subscribers: closed loop
 *                                        with one under way, or open loop
 *       churn_rate= churn_first= churn_count= churn_items=                log-ins, each followed by its log-out
 *   store first= count= to_first= to_count= each= bytes=360
 *       Messages to the bare addresses of accounts that are offline, in batches each followed by a ping of the server
 *   subscribe to= first= count=           accounts subscribe to u<to>'s presence
 *   contacts account= count=              fill a roster
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

#define EVENTS 256
#define STORE_BATCH 10

struct settings settings = {.domain = "localhost", .prefix = "u", .password = ""};
conn *accounts;
int epfd;
SSL_CTX *tls;
int64_t now_ns;
static uint32_t complaints;
static int64_t patience_ns; /* without any progress for so long a command is over */
static uint64_t progress; /* changes when something came of the command */

void fatal(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "load: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    exit(1);
}

void complain(const conn *c, const char *format, ...) {
    va_list args;
    if (complaints++ >= 20) return;
    va_start(args, format);
    fprintf(stderr, "load: %s%u: ", settings.prefix, c->account);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
}

int64_t clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static double cpu_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void timeline_start(timeline *t, double seconds) {
    memset(t, 0, sizeof *t);
    double slot_s = seconds / 200 > 0.1 ? seconds / 200 : 0.1;
    t->slot_ns = (int64_t)(slot_s * 1e9);
}

void timeline_add(timeline *t, int64_t since_ns) {
    int64_t i = t->slot_ns ? since_ns / t->slot_ns : TIMELINE;
    if (i < 0 || i >= TIMELINE) return;
    t->count[i]++;
    if (i >= t->slots) t->slots = (uint32_t)i + 1;
}

void timeline_print(const timeline *t, FILE *to) {
    fprintf(to, "{\"slot_s\": %.3f, \"counts\": [", (double)t->slot_ns / 1e9);
    for (uint32_t i = 0; i < t->slots; i++) fprintf(to, "%s%u", i ? ", " : "", t->count[i]);
    fprintf(to, "]}");
}

/* ------------------------------------------------------------------------------------------------------------- arguments */

static char words[64][256]; /* key=value */
static int words_n;

static const char *value(const char *key) {
    size_t n = strlen(key);
    for (int i = 0; i < words_n; i++)
        if (!strncmp(words[i], key, n) && words[i][n] == '=') return words[i] + n + 1;
    return NULL;
}

static double decimal(const char *key, double otherwise) {
    const char *v = value(key);
    char *end;
    if (!v) return otherwise;
    double found = strtod(v, &end);
    if (*end || end == v || found < 0) fatal("%s=%s is no number", key, v);
    return found;
}

static uint32_t whole(const char *key, uint32_t otherwise) {
    return (uint32_t)decimal(key, otherwise);
}

static void in_range(uint32_t first, uint32_t count, const char *what) {
    if ((uint64_t)first + count > settings.accounts) fatal("%s: there are %u accounts", what, settings.accounts);
}

static void all_online(uint32_t first, uint32_t count, uint32_t every) {
    for (uint32_t i = 0; i < count; i += every)
        if (accounts[first + i].state != ONLINE) fatal("%s%u is not online", settings.prefix, first + i);
}

/* ------------------------------------------------------------------------------------------------------------------ loop */

/* One look at the connections, until `until_ns` at most, and what follows from it. */
static int turn(int64_t until_ns) {
    struct epoll_event events[EVENTS];
    int64_t due = traffic_due(), due_login = login_due(), wait;
    int from_stdin = 0;
    if (due_login < due) due = due_login;
    if (until_ns < due) due = until_ns;
    wait = due - clock_ns();
    if (wait < 0) wait = 0;
    struct timespec patience = {wait / 1000000000, wait % 1000000000};
    int n = epoll_pwait2(epfd, events, EVENTS, due == INT64_MAX ? NULL : &patience, NULL);
    if (n < 0 && errno != EINTR) fatal("epoll_pwait2");
    now_ns = clock_ns();
    for (int i = 0; i < n; i++) {
        if (events[i].data.ptr) conn_event(events[i].data.ptr, events[i].events);
        else from_stdin = 1;
    }
    now_ns = clock_ns();
    traffic_turn();
    login_turn(clock_ns());
    return from_stdin;
}

static void watch_stdin(int on) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epfd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, STDIN_FILENO, &event);
}

static uint64_t progressed(void) {
    return messages.received + messages.bounced + presences.received + login.done + login.failed + login.left + subscribed + progress;
}

/* Go on until `finished`, or until nothing came for patience_ns: 0 then. */
static int until(int (*finished)(void)) {
    uint64_t before = progressed();
    int64_t since = clock_ns();
    while (!finished()) {
        turn(since + patience_ns);
        uint64_t after = progressed();
        if (after != before) {
            before = after;
            since = clock_ns();
        } else if (clock_ns() - since > patience_ns) {
            return 0;
        }
    }
    return 1;
}

/* -------------------------------------------------------------------------------------------------------------- commands */

static int64_t began_ns, ended_ns;
static uint32_t leave_first, leave_count; /* who is to log out */
static double began_cpu_s;

static void begin(double seconds) {
    complaints = 0;
    memset(&messages, 0, sizeof messages);
    memset(&presences, 0, sizeof presences);
    memset(&login, 0, sizeof login);
    subscribed = progress = 0;
    leave_count = 0;
    snprintf(settings.mechanism, sizeof settings.mechanism, "%s", value("mechanism") ? value("mechanism") : "SCRAM-SHA-1");
    patience_ns = (int64_t)(decimal("patience", 20) * 1e9);
    timeline_start(&messages.when, seconds);
    timeline_start(&presences.when, seconds);
    timeline_start(&login.when, seconds);
    began_cpu_s = cpu_s();
    began_ns = now_ns = clock_ns();
    messages.start_ns = presences.start_ns = login.start_ns = began_ns;
    messages.bytes = whole("bytes", 360);
    if (messages.bytes > 4096) fatal("bytes: at most 4096");
}

static void print_logins(void) {
    printf("\"logins\": {\"done\": %u, \"failed\": %u, \"left\": %u, \"dropped\": %u, \"skipped\": %u, \"latency_us\": ", login.done, login.failed,
           login.left, login.dropped, login.skipped);
    histogram_print(&login.latency, stdout);
    printf(", \"timeline\": ");
    timeline_print(&login.when, stdout);
    printf("}");
}

static void print_messages(uint64_t lost) {
    printf("\"messages\": {\"sent\": %llu, \"received\": %llu, \"lost\": %llu, \"doubled\": %llu, \"disordered\": %llu, \"misrouted\": %llu, "
           "\"bounced\": %llu, \"latency_us\": ",
           (unsigned long long)messages.sent, (unsigned long long)messages.received, (unsigned long long)lost,
           (unsigned long long)messages.doubled, (unsigned long long)messages.disordered, (unsigned long long)messages.misrouted,
           (unsigned long long)messages.bounced);
    histogram_print(&messages.latency, stdout);
    printf(", \"timeline\": ");
    timeline_print(&messages.when, stdout);
    printf("}");
}

static void print_presences(void) {
    printf("\"presences\": {\"sent\": %llu, \"expected\": %llu, \"received\": %llu, \"lost\": %llu, \"doubled\": %llu, \"misrouted\": %llu, "
           "\"latency_us\": ",
           (unsigned long long)presences.sent, (unsigned long long)presences.expected, (unsigned long long)presences.received,
           (unsigned long long)presences.outstanding, (unsigned long long)presences.doubled, (unsigned long long)presences.misrouted);
    histogram_print(&presences.latency, stdout);
    printf(", \"timeline\": ");
    timeline_print(&presences.when, stdout);
    printf("}");
}

/* The answer: what happened to `lost` and the rest, and what it took of us. */
static void answer(const char *verb, int complete, uint64_t lost) {
    if (!ended_ns) ended_ns = clock_ns();
    double seconds = (double)(ended_ns - began_ns) / 1e9;
    printf("{\"did\": \"%s\", \"complete\": %s, \"seconds\": %.6f, \"generator_cpu_s\": %.6f, ", verb, complete ? "true" : "false", seconds,
           cpu_s() - began_cpu_s);
    print_logins();
    printf(", ");
    print_messages(lost);
    printf(", ");
    print_presences();
    printf("}\n");
    fflush(stdout);
    ended_ns = 0;
    login.count = 0;
}

static int logged_in(void) {
    return login.done + login.failed == login.count;
}

static int all_came(void) {
    return !messages_outstanding();
}

static void do_login(void) {
    begin(20);
    login.first = whole("first", 0);
    login.count = whole("count", 0);
    login.together = whole("together", 50);
    login.rate = decimal("rate", 0);
    login.roster_items = whole("items", 0);
    in_range(login.first, login.count, "login");
    if (!login.together) fatal("together: at least 1");
    login_begin();
    int complete = until(logged_in);
    if (complete && whole("await", 0)) complete = until(all_came);
    uint64_t lost = whole("await", 0) ? messages_outstanding() : 0;
    answer("login", complete && !login.failed && !login.dropped, lost);
}

static int all_left(void) {
    for (uint32_t i = 0; i < leave_count; i++)
        if (accounts[leave_first + i].state != OFF) return 0;
    return 1;
}

static void do_logout(void) {
    begin(20);
    leave_first = whole("first", 0);
    leave_count = whole("count", 0);
    uint32_t together = whole("together", 50), all = leave_count, from = leave_first;
    in_range(from, all, "logout");
    int complete = 1;
    for (uint32_t done = 0; done < all && complete; done += leave_count) {
        leave_first = from + done;
        leave_count = all - done < together ? all - done : together;
        for (uint32_t i = 0; i < leave_count; i++)
            if (accounts[leave_first + i].state == ONLINE) login_leave(&accounts[leave_first + i]);
        complete = until(all_left);
    }
    answer("logout", complete, 0);
}

static int run_over(void) {
    return all_came() && !presences.outstanding && !login.under_way;
}

static void do_run(void) {
    double seconds = decimal("seconds", 1);
    begin(seconds);
    messages.first = whole("first", 0);
    messages.pairs = whole("pairs", 0);
    messages.in_flight = whole("in_flight", 1);
    messages.rate = decimal("rate", 0);
    messages.to_bare = whole("bare", 0);
    messages.both_ways = whole("both", 0);
    messages.on = messages.pairs > 0;
    in_range(messages.first, 2 * messages.pairs, "run");
    presences.from = whole("presence_from", 0);
    presences.first = whole("presence_first", 0);
    presences.count = whole("presence_count", 0);
    presences.rate = decimal("presence_rate", 0);
    presences.on = presences.count > 0;
    in_range(presences.first, presences.count, "run");
    login.first = whole("churn_first", 0);
    login.count = whole("churn_count", 0);
    login.rate = decimal("churn_rate", 0);
    login.roster_items = whole("churn_items", 0);
    login.together = 1000;
    login.churn = login.count > 0;
    in_range(login.first, login.count, "run");
    if (login.churn && login.rate <= 0) fatal("churn_rate must be above 0");
    if (messages.on) all_online(messages.first, 2 * messages.pairs, 1);
    if (presences.on) all_online(presences.first, presences.count, 1);
    login_begin();
    traffic_begin();
    int64_t end = clock_ns() + (int64_t)(seconds * 1e9);
    while (clock_ns() < end) turn(end);
    messages.on = presences.on = 0;
    if (login.churn) login.begun = login.count, login.churn = 0, login.rate = 0, leave_first = login.first, leave_count = login.count;
    int complete = until(run_over);
    ended_ns = clock_ns();
    if (leave_count) { /* those that were still on their way in stay; they leave now */
        for (uint32_t i = 0; i < leave_count; i++)
            if (accounts[leave_first + i].state == ONLINE) login_leave(&accounts[leave_first + i]);
        until(all_left);
    }
    uint64_t lost = messages_outstanding();
    messages_forgive();
    answer("run", complete && !lost && !presences.outstanding && !login.failed && !login.dropped, lost);
}

static uint32_t store_first, store_count;

static int pings_answered(void) {
    for (uint32_t i = 0; i < store_count; i++)
        if (accounts[store_first + i].pending) return 0;
    return 1;
}

static void do_store(void) {
    begin(20);
    store_first = whole("first", 0);
    store_count = whole("count", 1);
    uint32_t to_first = whole("to_first", 0), to_count = whole("to_count", 1), each = whole("each", 1);
    in_range(store_first, store_count, "store");
    in_range(to_first, to_count, "store");
    all_online(store_first, store_count, 1);
    int complete = 1;
    for (uint32_t done = 0; done < each && complete; done += STORE_BATCH) {
        uint32_t batch = each - done < STORE_BATCH ? each - done : STORE_BATCH;
        for (uint32_t r = 0; r < to_count; r++)
            for (uint32_t k = 0; k < batch; k++)
                message_to(&accounts[store_first + r % store_count], &accounts[to_first + r], clock_ns(), 1);
        for (uint32_t i = 0; i < store_count; i++) {
            accounts[store_first + i].pending = 1;
            conn_sayf(&accounts[store_first + i], "<iq type='get' to='%s' id='ping'><ping xmlns='urn:xmpp:ping'/></iq>", settings.domain);
        }
        complete = until(pings_answered);
        progress++;
    }
    answer("store", complete && !messages.bounced, 0);
}

static uint32_t subscribe_count;

static int all_subscribed(void) {
    return subscribed >= subscribe_count;
}

static void do_subscribe(void) {
    begin(20);
    uint32_t to = whole("to", 0), first = whole("first", 0), count = whole("count", 0);
    in_range(first, count, "subscribe");
    all_online(to, 1, 1);
    all_online(first, count, 1);
    int complete = 1;
    for (uint32_t i = 0; i < count && complete; i++) {
        conn_sayf(&accounts[first + i], "<presence to='%s%u@%s' type='subscribe'/>", settings.prefix, to, settings.domain);
        subscribe_count = i + 1;
        if (i % 40 == 39 || i + 1 == count) complete = until(all_subscribed); /* servers limit requests that wait */
    }
    answer("subscribe", complete, 0);
}

static void do_contacts(void) {
    begin(20);
    conn *c = &accounts[whole("account", 0)];
    uint32_t count = whole("count", 0);
    all_online(c->account, 1, 1);
    store_first = c->account;
    store_count = 1;
    int complete = 1;
    for (uint32_t i = 0; i < count && complete; i++) {
        c->pending++;
        conn_sayf(c,
                  "<iq type='set' id='c%u'><query xmlns='jabber:iq:roster'><item jid='contact%u@%s' name='Contact number %u'>"
                  "<group>Friends</group></item></query></iq>",
                  i, i, settings.domain, i);
        if (i % 20 == 19 || i + 1 == count) complete = until(pings_answered);
        progress++;
    }
    answer("contacts", complete, 0);
}

static const struct {
    const char *name;
    void (*act)(void);
} verbs[] = {{"login", do_login},         {"logout", do_logout},       {"run", do_run},
             {"store", do_store}, {"subscribe", do_subscribe}, {"contacts", do_contacts}};

static void obey(char *line) {
    char *verb = strtok(line, " \n");
    words_n = 0;
    for (char *w; (w = strtok(NULL, " \n"));) {
        if (words_n == 64 || strlen(w) >= sizeof words[0]) fatal("line too long");
        strcpy(words[words_n++], w);
    }
    for (size_t i = 0; verb && i < sizeof verbs / sizeof *verbs; i++)
        if (!strcmp(verb, verbs[i].name)) {
            verbs[i].act();
            return;
        }
    fatal("unknown command: %s", verb ? verb : "");
}

int main(int argc, char **argv) {
    if (argc < 3) fatal("usage: load ADDRESS PORT key=value...");
    for (int i = 3; i < argc && words_n < 64; i++) snprintf(words[words_n++], sizeof words[0], "%s", argv[i]);
    struct sockaddr_in *v4 = (struct sockaddr_in *)&settings.address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&settings.address;
    if (inet_pton(AF_INET, argv[1], &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)atoi(argv[2]));
        settings.address_len = sizeof *v4;
    } else if (inet_pton(AF_INET6, argv[1], &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)atoi(argv[2]));
        settings.address_len = sizeof *v6;
    } else {
        fatal("%s is no address", argv[1]);
    }
    const char *v;
    if ((v = value("domain"))) settings.domain = strdup(v);
    if ((v = value("prefix"))) settings.prefix = strdup(v);
    if ((v = value("password"))) settings.password = strdup(v);
    if (strlen(settings.domain) > 100 || strlen(settings.prefix) > 30) fatal("domain or prefix too long");
    settings.raw = (int)whole("raw", 0);
    settings.accounts = whole("accounts", 100);

    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_TIMERSLACK, 1);
    conn_start();
    epfd = epoll_create1(EPOLL_CLOEXEC);
    accounts = calloc(settings.accounts, sizeof *accounts);
    if (epfd < 0 || !accounts) fatal("memory");
    for (uint32_t i = 0; i < settings.accounts; i++) {
        accounts[i].account = i;
        accounts[i].fd = -1;
    }
    traffic_begin();
    for (;;) {
        char line[4096];
        size_t n = 0;
        watch_stdin(1);
        while (!turn(INT64_MAX)) continue;
        watch_stdin(0);
        do {
            ssize_t got = read(STDIN_FILENO, line + n, 1);
            if (got <= 0) return 0;
        } while (line[n++] != '\n' && n < sizeof line - 1);
        line[n] = 0;
        obey(line);
    }
}
