"""UCR 2013 section 5: IPv6 (row 14-1): the client's half."""

from __future__ import annotations

from xmppd.conformance.check import check, expect
from xmppd.conformance.client import CLOSING_TAG, Client, mechanisms, stanza_condition
from xmppd.conformance.names import PING
from xmppd.conformance.site import Site
from xmppd.conformance.subject import IPV4, IPV6
from xmppd.conformance.xmlstream import Closed


def talk(juliet: Client, romeo: Client) -> None:
    """A message goes each way, and the server answers a ping and a message to nobody."""
    for sender, receiver in ((juliet, romeo), (romeo, juliet)):
        id_ = sender.message(receiver.jid, "O, speak again")
        got = receiver.wait_for("message", id=id_)
        expect(got.get("from") == sender.jid, f"the message is from {got.get('from')!r}")
        sender.before_ping()


@check("14-1.1")
def clients_and_administrators_are_served_on_a_host_with_ipv6_alone(site: Site) -> None:
    """UCR 2013 Table 5.2-4: the server starts where only ::1 is; accounts, sessions, stanzas, ending a session."""
    with site.on_a_host_with_ipv6_alone() as alone:  # where accounts are made for the run
        juliet, romeo = alone.login(0), alone.login(1)
        talk(juliet, romeo)
        alone.new_account_once("mercutio", "a plague o' both")
        alone.end_session(romeo.jid)
        while not isinstance(romeo.next(), Closed):
            pass
        romeo.send(CLOSING_TAG)
        romeo.expect_end()
        juliet.close()


@check("14-1.2")
def ipv4_and_ipv6_are_served_alike_at_the_same_time(site: Site) -> None:
    """UCR 2013 Table 5.2-4: the same features, answers and errors; stanzas go from one to the other."""
    over4, over6 = site.connect(over=IPV4), site.connect(over=IPV6)
    seen = [
        [str(feature) for feature in negotiate(site, client, n)] for n, client in enumerate((over4, over6))
    ]
    expect(seen[0] == seen[1], f"features over IPv4 are {seen[0]}, over IPv6 {seen[1]}")
    talk(over4, over6)
    answers = []
    for client in (over4, over6):
        pong = client.iq("get", f"<ping xmlns='{PING}'/>", to=client.domain)
        unknown = client.iq("get", "<x xmlns='urn:example:unknown'/>", to=client.domain)
        answers.append((pong.get("type"), stanza_condition(unknown)))
        client.close()
    expect(answers[0] == answers[1], f"answers over IPv4 are {answers[0]}, over IPv6 {answers[1]}")


def negotiate(site: Site, client: Client, number: int) -> list[str]:
    """From nothing to a bound resource; the features on the way."""
    features = [str(client.open())]
    client.start_tls()
    offered = client.open()
    features += [str(offered), *mechanisms(offered)]
    client.authenticate(site.account(number))
    features.append(str(client.open()))
    client.bind()
    return features


@check("14-1.3")
def a_client_with_ipv6_alone_logs_in(site: Site) -> None:
    """UCR 2013 Table 5.2-4: from the stream header over IPv6 to a stanza that is answered, and the end."""
    client = site.login(over=IPV6)
    client.before_ping()
    client.close()
