"""Nobody learns from a failed log-in whether an account exists: the same words, and about the same time (UC 3-23.9)."""

from __future__ import annotations

import base64
import random
import ssl
import time
import xml.etree.ElementTree as ET
from collections import defaultdict

import pytest

from tests.machine.wire import ScramClient, auth
from tests.site import PASSWORD, Site
from tests.xmpp_client import XMPPClient
from xmppd.stream.sasl import MECHANISMS

ROUNDS = 40  # connections; each takes one attempt of every kind
RATIO = 2.5  # a second PBKDF2, a waiting disk or an early answer would be ten
RETRIES = "[sasl]\nretries = 3\n"
KINDS = {"wrong password": "alice", "unknown": "nobody", "disabled": "bob", "no localpart": "no body@"}


def attempt(client: XMPPClient, mechanism: str, user: str, password: str) -> tuple[str, tuple[float, ...]]:
    """The last answer, and how long the server took for each."""
    if mechanism == "PLAIN":
        token = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        began = time.perf_counter()
        client.send(auth("PLAIN", token))
        return ET.tostring(client.next(), encoding="unicode"), (time.perf_counter() - began,)
    plus = mechanism.endswith("-PLUS")
    assert isinstance(client.sock, ssl.SSLSocket)
    binding = client.sock.get_channel_binding("tls-unique") if plus else b""
    scram = ScramClient(
        mechanism, user, password, gs2="p=tls-unique,," if plus else "n,,", binding=binding or b""
    )
    began = time.perf_counter()
    client.send(scram.first())
    challenge = client.next()
    first_s = time.perf_counter() - began
    final = scram.final(ET.tostring(challenge, default_namespace=challenge.tag[1:].partition("}")[0]))
    began = time.perf_counter()
    client.send(final)
    return ET.tostring(client.next(), encoding="unicode"), (first_s, time.perf_counter() - began)


def measured(site: Site, mechanism: str) -> tuple[set[str], dict[str, tuple[float, ...]]]:
    """What was answered, and the times of each kind of name, taken in turns: the least, a busy machine only adds."""
    answers = set()
    seconds: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for _ in range(ROUNDS):
        with site.connect() as client:
            client.open()
            client.starttls(site.ca, maximum_version=ssl.TLSVersion.TLSv1_2)  # Python knows tls-unique alone
            client.open()
            kinds = random.sample(sorted(KINDS), 3)  # a fourth failure would end the stream
            for kind in kinds:
                answer, took = attempt(client, mechanism, KINDS[kind], "not the password")
                answers.add(answer)
                seconds[kind].append(took)
    return answers, {kind: tuple(map(min, zip(*took, strict=True))) for kind, took in seconds.items()}


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    made = Site(tmp_path_factory.mktemp("site"), settings=RETRIES).start()
    made.command("user", "disable", "bob@localhost")
    yield made
    assert made.stop() == 0


@pytest.mark.req("3-23.9", "3-22.1")
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_every_name_gets_the_same_answer_in_about_the_same_time(strict: Site, mechanism: str) -> None:
    for tries_left in (2, 1, 0):  # a machine that was busy with something else for one kind: measured again
        answers, times = measured(strict, mechanism)
        assert answers == {
            '<ns0:failure xmlns:ns0="urn:ietf:params:xml:ns:xmpp-sasl"><ns0:not-authorized /></ns0:failure>'
        }
        steps = zip(*times.values(), strict=True)
        worst = max(max(step) / min(step) for step in steps)
        if worst < RATIO or not tries_left:
            break
    assert worst < RATIO, times


@pytest.mark.req("3-23.9")
def test_salt_and_count_of_a_name_stay_over_a_restart(tmp_path) -> None:
    site = Site(tmp_path).start()

    def challenges() -> dict[tuple[str, str], tuple[str, str]]:
        seen = {}
        for mechanism in ("SCRAM-SHA-1", "SCRAM-SHA-256"):
            for name in ("alice", "nobody", "somebody"):
                with site.connect() as client:
                    client.secure(site.ca)
                    client.send(ScramClient(mechanism, name).first())
                    text = base64.b64decode(client.next().text or "").decode()
                    fields = dict(part.split("=", 1) for part in text.split(","))
                    seen[mechanism, name] = fields["s"], fields["i"]
        return seen

    before = challenges()
    assert site.stop() == 0
    site.start()
    assert challenges() == before
    assert site.stop() == 0
    assert len({salt for salt, _ in before.values()}) == 6
    assert len({len(salt) for salt, _ in before.values()}) == 1
    assert len({count for _, count in before.values()}) == 1


@pytest.mark.req("3-23.2", "3-23.9")
def test_only_the_right_password_tells_that_an_account_is_disabled(strict: Site) -> None:
    with strict.connect() as client:
        client.secure(strict.ca)
        for password, condition in (
            ("wrong", "not-authorized"),
            (PASSWORD.format(user="bob"), "account-disabled"),
        ):
            answer = client.plain("bob", password)
            assert [child.tag.rpartition("}")[2] for child in answer] == [condition]
