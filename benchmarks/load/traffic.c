/* Messages and presence. Each carries a mark, [[recipient number time]] or [[sender number time]], by which whoever gets it tells
 * what was lost, doubled, out of order or not meant for it, and how long it took: from the time it was meant to be sent at, so that
 * a server that holds up the sender is not measured as if nothing had been sent (coordinated omission).
 */
#include <stdlib.h>
#include <string.h>

#include "load.h"

message_traffic messages;
presence_traffic presences;
uint64_t subscribed;

#define BATCH_BYTES 65536
#define MESSAGE_ROOM 8192

static conn **owing; /* who has something to send in this pass */
static uint32_t owing_n;

typedef struct {
    uint64_t who, number;
    int64_t time_ns;
} mark;

static int read_mark(text element, mark *m) {
    const char *p = xml_behind(element, "[[");
    char *end;
    if (!p) return 0;
    m->who = strtoull(p, &end, 10);
    m->number = strtoull(end, &end, 10);
    m->time_ns = strtoll(end, &end, 10);
    return *end == ']';
}

static char *word(char *to, const char *text) {
    size_t n = strlen(text);
    memcpy(to, text, n);
    return to + n;
}

static char *number(char *to, uint64_t n) {
    char digits[20];
    int i = 20;
    do digits[--i] = (char)('0' + n % 10);
    while (n /= 10);
    memcpy(to, digits + i, (size_t)(20 - i));
    return to + 20 - i;
}

/* ------------------------------------------------------------------------------------------------------------ messages */

/* A message as chat clients send them, padded to `messages.bytes`. */
static char *write_message(char *to, const conn *sender, conn *recipient, int64_t intended_ns, int to_bare) {
    char *begin = to;
    uint64_t n = ++recipient->sent;
    recipient->sender = sender->account;
    to = word(to, "<message to='");
    to = word(to, settings.prefix);
    to = number(to, recipient->account);
    to = word(to, "@");
    to = word(to, settings.domain);
    if (!to_bare) to = word(to, "/bench");
    to = word(to, "' id='m");
    to = number(to, n);
    to = word(to, "' type='chat'><body>[[");
    to = number(to, recipient->account);
    *to++ = ' ';
    to = number(to, n);
    *to++ = ' ';
    to = number(to, (uint64_t)intended_ns);
    to = word(to, "]] ");
    static const char tail[] =
        "</body><active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/></message>";
    static const char prose[] = "the quick brown fox jumps over the lazy dog, and then again ";
    size_t have = (size_t)(to - begin) + sizeof tail - 1;
    for (size_t left = messages.bytes > have ? messages.bytes - have : 0; left;) {
        size_t part = left < sizeof prose - 1 ? left : sizeof prose - 1;
        memcpy(to, prose, part);
        to += part;
        left -= part;
    }
    messages.sent++;
    return word(to, tail);
}

void message_to(conn *sender, conn *recipient, int64_t intended_ns, int to_bare) {
    char one[MESSAGE_ROOM];
    conn_say(sender, one, (size_t)(write_message(one, sender, recipient, intended_ns, to_bare) - one));
}

static conn *partner(const conn *c) {
    return &accounts[messages.first + ((c->account - messages.first) ^ 1)];
}

void traffic_owe(conn *c, uint32_t n) {
    c->owed += n;
    if (c->listed) return;
    c->listed = 1;
    owing[owing_n++] = c;
}

static void pay(conn *c) {
    static char batch[BATCH_BYTES];
    char *to = batch;
    for (; c->owed; c->owed--) {
        to = write_message(to, c, partner(c), now_ns, (int)messages.to_bare);
        if (to - batch <= BATCH_BYTES - MESSAGE_ROOM) continue;
        conn_say(c, batch, (size_t)(to - batch));
        to = batch;
    }
    if (to > batch) conn_say(c, batch, (size_t)(to - batch));
}

/* Whether `from` is the full address of the account. */
static int comes_from(text element, uint32_t account) {
    char address[300];
    text from = xml_attribute(element, "from");
    if (settings.raw) return 1;
    char *to = word(address, settings.prefix);
    to = number(to, account);
    to = word(to, "@");
    to = word(to, settings.domain);
    to = word(to, "/bench");
    return from.n == (size_t)(to - address) && !memcmp(from.p, address, from.n);
}

static void on_message(conn *c, text element) {
    mark m;
    text type = xml_attribute(element, "type");
    if (type.n == 5 && !memcmp(type.p, "error", 5)) {
        if (!messages.bounced++) complain(c, "%.*s", element.n > 400 ? 400 : (int)element.n, element.p);
        return;
    }
    if (!read_mark(element, &m)) return; /* what servers themselves say */
    if (m.who != c->account || !comes_from(element, c->sender) || m.number > c->sent) {
        if (!messages.misrouted++) complain(c, "not meant for it: %.*s", element.n > 400 ? 400 : (int)element.n, element.p);
        return;
    }
    if (m.number <= c->got) {
        uint64_t bit = c->got - m.number < 64 ? 1ULL << (c->got - m.number) : 0;
        if (!bit || c->window & bit) {
            messages.doubled++;
            return;
        }
        c->window |= bit;
        c->absent--;
        messages.disordered++;
    } else {
        uint64_t step = m.number - c->got;
        c->window = (step < 64 ? c->window << step : 0) | 1;
        c->absent += (uint32_t)(step - 1);
        c->got = m.number;
    }
    messages.received++;
    histogram_add(&messages.latency, now_ns - m.time_ns);
    timeline_add(&messages.when, now_ns - messages.start_ns);
    if (messages.on && messages.rate <= 0) traffic_owe(&accounts[c->sender], 1);
}

uint64_t messages_outstanding(void) {
    uint64_t n = 0;
    for (conn *c = accounts; c < accounts + settings.accounts; c++) n += c->sent - c->got + c->absent;
    return n;
}

void messages_forgive(void) {
    for (conn *c = accounts; c < accounts + settings.accounts; c++) {
        c->got = c->sent;
        c->window = ~0ULL;
        c->absent = 0;
    }
}

/* ------------------------------------------------------------------------------------------------------------ presence */

static void announce(int64_t intended_ns) {
    conn *c = &accounts[presences.from];
    presences.sent++;
    presences.expected += presences.count;
    presences.outstanding += presences.count;
    conn_sayf(c, "<presence><show>%s</show><status>[[%u %llu %lld]]</status></presence>", presences.sent & 1 ? "away" : "chat",
              c->account, (unsigned long long)presences.sent, (long long)intended_ns);
}

static void on_presence(conn *c, text element) {
    text type = xml_attribute(element, "type"), from = xml_attribute(element, "from");
    mark m;
    if (type.n == 9 && !memcmp(type.p, "subscribe", 9)) {
        conn_sayf(c, "<presence to='%.*s' type='subscribed'/>", (int)from.n, from.p);
        return;
    }
    if (type.n == 10 && !memcmp(type.p, "subscribed", 10)) {
        subscribed++;
        return;
    }
    if (type.n == 5 && !memcmp(type.p, "error", 5)) {
        complain(c, "%.*s", element.n > 400 ? 400 : (int)element.n, element.p);
        return;
    }
    if (!presences.sent || !read_mark(element, &m) || c->account == presences.from) return;
    if (m.who != presences.from || !comes_from(element, presences.from) || c->account < presences.first ||
        c->account >= presences.first + presences.count) {
        if (!presences.misrouted++) complain(c, "not meant for it: %.*s", element.n > 400 ? 400 : (int)element.n, element.p);
        return;
    }
    if (m.number <= c->presence_got) {
        presences.doubled++;
        return;
    }
    c->presence_got = m.number;
    presences.received++;
    presences.outstanding--;
    histogram_add(&presences.latency, now_ns - m.time_ns);
    timeline_add(&presences.when, now_ns - presences.start_ns);
    if (!presences.outstanding && presences.on && presences.rate <= 0) announce(clock_ns());
}

/* --------------------------------------------------------------------------------------------------------------- the rest */

void on_stanza(conn *c, text element) {
    if (xml_is(element, "message")) {
        on_message(c, element);
    } else if (xml_is(element, "presence")) {
        on_presence(c, element);
    } else if (xml_is(element, "iq")) {
        text type = xml_attribute(element, "type"), id = xml_attribute(element, "id"), from = xml_attribute(element, "from");
        if (type.n == 3) /* get, set: a ping, a roster push */
            conn_sayf(c, "<iq type='result' id='%.*s'%s%.*s%s/>", (int)id.n, id.p, from.n ? " to='" : "", (int)from.n, from.p ? from.p : "",
                      from.n ? "'" : "");
        else if (c->pending) c->pending--;
    }
}

void traffic_begin(void) {
    if (!owing && !(owing = calloc(settings.accounts, sizeof *owing))) fatal("memory");
    messages.start_ns = presences.start_ns = now_ns = clock_ns();
    for (conn *c = accounts; c < accounts + settings.accounts; c++) c->presence_got = 0;
    if (messages.on && messages.rate <= 0)
        for (uint32_t i = 0; i < messages.pairs; i++) {
            traffic_owe(&accounts[messages.first + 2 * i], messages.in_flight);
            if (messages.both_ways) traffic_owe(&accounts[messages.first + 2 * i + 1], messages.in_flight);
        }
    if (presences.on && presences.rate <= 0) announce(now_ns);
}

static int64_t due_at(int64_t start_ns, uint64_t number, double rate) {
    return start_ns + (int64_t)((double)number / rate * 1e9);
}

int64_t traffic_due(void) {
    int64_t soonest = owing_n ? 0 : INT64_MAX, t;
    if (messages.on && messages.rate > 0 && (t = due_at(messages.start_ns, messages.due, messages.rate)) < soonest) soonest = t;
    if (presences.on && presences.rate > 0 && (t = due_at(presences.start_ns, presences.sent, presences.rate)) < soonest) soonest = t;
    return soonest;
}

void traffic_turn(void) {
    int64_t t;
    if (messages.on && messages.rate > 0)
        while ((t = due_at(messages.start_ns, messages.due, messages.rate)) <= now_ns) {
            uint64_t i = messages.due++ % (messages.pairs * (messages.both_ways ? 2 : 1));
            conn *c = &accounts[messages.first + (messages.both_ways ? i : 2 * i)];
            message_to(c, partner(c), t, (int)messages.to_bare);
        }
    if (presences.on && presences.rate > 0)
        while ((t = due_at(presences.start_ns, presences.sent, presences.rate)) <= now_ns) announce(t);
    for (uint32_t i = 0; i < owing_n; i++) {
        owing[i]->listed = 0;
        if (!messages.on) owing[i]->owed = 0; /* time is up */
        else pay(owing[i]);
    }
    owing_n = 0;
}
