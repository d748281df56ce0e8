/* From the connection to the first presence as RFC 6120 has it, one step when the answer to the one before has come. */
#include <stdlib.h>
#include <string.h>

#include "load.h"

logins login;

static void header(conn *c) {
    c->scan = (xml_scan){0};
    conn_sayf(c,
              "<?xml version='1.0'?><stream:stream to='%s' version='1.0' xmlns='jabber:client' "
              "xmlns:stream='http://etherx.jabber.org/streams'>",
              settings.domain);
}

static void failed(conn *c) {
    conn_close(c);
    login.under_way--;
    login.failed++;
}

void on_connected(conn *c) {
    if (settings.raw) conn_secure(c);
    else header(c);
}

static void online(conn *c) {
    c->state = ONLINE;
    login.under_way--;
    login.done++;
    histogram_add(&login.latency, now_ns - c->began_ns);
    timeline_add(&login.when, now_ns - login.start_ns);
    if (login.churn) login_leave(c);
}

void on_secure(conn *c) {
    if (settings.raw) {
        conn_sayf(c, "%08u", c->account);
        c->state = ROSTER; /* what it has to wait for */
        return;
    }
    c->state = TLS_FEATURES;
    header(c);
}

void on_gone(conn *c) {
    int state = c->state;
    if (state == LEAVING) {
        conn_close(c);
        login.left++;
    } else if (state == ONLINE) {
        complain(c, "the server ended the connection");
        conn_close(c);
        login.dropped++;
    } else {
        complain(c, "the server ended the connection in step %d of the log-in", state);
        failed(c);
    }
}

/* What stands between the first tag of an element without children and its end tag. */
static text content(text element) {
    const char *end = element.p + element.n, *begin = memchr(element.p, '>', element.n);
    if (!begin || begin + 1 >= end) return (text){"", 0};
    begin++;
    while (end > begin && *--end != '<') continue;
    return (text){begin, (size_t)(end - begin)};
}

static const EVP_MD *scram_hash(void) {
    if (!strcmp(settings.mechanism, "SCRAM-SHA-1")) return EVP_sha1();
    if (!strcmp(settings.mechanism, "SCRAM-SHA-256")) return EVP_sha256();
    return NULL; /* PLAIN */
}

static void authenticate(conn *c, text features) {
    char offer[64], user[64], initial[512];
    snprintf(offer, sizeof offer, ">%s<", settings.mechanism);
    if (!xml_behind(features, offer)) fatal("the server does not offer %s: %.*s", settings.mechanism, (int)features.n, features.p);
    int user_len = snprintf(user, sizeof user, "%s%u", settings.prefix, c->account);
    if (scram_hash()) {
        scram_begin(&c->auth, user, initial, sizeof initial);
    } else {
        char clear[300];
        int n = snprintf(clear, sizeof clear, "%c%s%c%s", 0, user, 0, settings.password);
        if (n >= (int)sizeof clear || n != user_len + 2 + (int)strlen(settings.password)) fatal("password too long");
        EVP_EncodeBlock((unsigned char *)initial, (unsigned char *)clear, n);
    }
    conn_sayf(c, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='%s'>%s</auth>", settings.mechanism, initial);
    c->state = AUTH;
}

static void get_roster(conn *c) {
    conn_sayf(c, "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq><presence/>");
    c->state = ROSTER;
}

static uint32_t roster_items(text element) {
    uint32_t n = 0;
    for (const char *p; (p = xml_behind(element, "<item ")); n++) {
        element.n -= (size_t)(p - element.p);
        element.p = p;
    }
    return n;
}

/* RFC 6120 has no session; a server that wants that of RFC 3921 does not call it optional. */
static int session_demanded(text features) {
    const char *session = xml_behind(features, "<session");
    if (!session) return 0;
    text rest = {session, (size_t)(features.p + features.n - session)};
    const char *end = xml_behind(rest, "</session>");
    if (end) rest.n = (size_t)(end - session);
    return !end || !xml_behind(rest, "<optional");
}

static void step(conn *c, text element) {
    char answer[1024];
    switch (c->state) {
    case PLAIN_FEATURES:
        conn_sayf(c, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        c->state = PROCEED;
        return;
    case PROCEED:
        if (!xml_is(element, "proceed")) break;
        conn_secure(c);
        return;
    case TLS_FEATURES:
        authenticate(c, element);
        return;
    case AUTH:
        if (xml_is(element, "challenge") && scram_hash()) {
            if (scram_answer(&c->auth, &c->keys, scram_hash(), settings.password, content(element), answer, sizeof answer)) break;
            conn_sayf(c, "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>%s</response>", answer);
            return;
        }
        if (!xml_is(element, "success") || (scram_hash() && !scram_proved(&c->auth, content(element)))) break;
        c->state = AUTHED_FEATURES;
        header(c);
        return;
    case AUTHED_FEATURES: {
        c->pending = session_demanded(element);
        conn_sayf(c, "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>bench</resource></bind></iq>");
        c->state = BIND;
        return;
    }
    case BIND:
        if (!xml_behind(element, "/bench</jid>")) break;
        if (c->pending) {
            conn_sayf(c, "<iq type='set' id='session'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>");
            c->state = SESSION;
            c->pending = 0;
            return;
        }
        get_roster(c);
        return;
    case SESSION:
        get_roster(c);
        return;
    case ROSTER: {
        if (settings.raw) {
            online(c);
            return;
        }
        text id = xml_attribute(element, "id");
        if (!xml_is(element, "iq") || id.n != 6 || memcmp(id.p, "roster", 6)) {
            on_stanza(c, element);
            return;
        }
        if (login.roster_items && roster_items(element) != login.roster_items) break;
        online(c);
        return;
    }
    }
    complain(c, "step %d of the log-in: %.*s", c->state, element.n > 300 ? 300 : (int)element.n, element.p);
    failed(c);
}

void on_element(conn *c, enum xml_kind kind, text element) {
    if (kind == XML_OPEN) return;
    if (kind == XML_CLOSE) {
        on_gone(c);
        return;
    }
    if (xml_is(element, "stream:error")) {
        complain(c, "%.*s", element.n > 300 ? 300 : (int)element.n, element.p);
        return;
    }
    if (c->state == ONLINE) on_stanza(c, element);
    else if (c->state != LEAVING) step(c, element);
}

void login_begin(void) {
    login.start_ns = login.next_ns = clock_ns();
}

int64_t login_due(void) {
    int all = login.begun == login.count && !login.churn;
    if (!login.count || all || login.under_way >= login.together) return INT64_MAX;
    return login.rate > 0 ? login.next_ns : 0;
}

void login_turn(int64_t until_ns) {
    while (login_due() <= until_ns) {
        conn *c = &accounts[login.first + login.begun++ % login.count];
        if (login.rate > 0) login.next_ns = login.start_ns + (int64_t)(login.begun / login.rate * 1e9);
        if (c->state != OFF) {
            login.skipped++;
            if (login.rate <= 0) return;
            continue;
        }
        c->began_ns = clock_ns();
        login.under_way++;
        conn_open(c);
    }
}

void login_leave(conn *c) {
    if (!settings.raw) conn_say(c, "</stream:stream>", 16);
    conn_shut(c);
    c->state = LEAVING;
    if (settings.raw) on_gone(c);
}
