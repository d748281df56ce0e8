"""Stream headers: what a client may write, what we answer (RFC 6120 4.7 to 4.9.1.3)."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from tests.machine.wire import (
    HOST,
    HOSTS,
    STREAM_END,
    TLS,
    Wire,
    attribute,
    header,
    parse_header,
    plain,
    stream_error,
)
from xmppd import ns
from xmppd.stream.actions import Close, Send
from xmppd.stream.c2s import C2SSettings
from xmppd.stream.header import HostFacts, lookup_language, new_stream_id, read_header


def greeted(data: bytes, **more: object) -> Wire:
    return Wire(**more).feed(data)  # type: ignore[arg-type]


def refused(data: bytes, condition: str) -> bytes:
    """`data` gets a full header, the error and the closing tag in one piece; the output is returned."""
    wire = greeted(data)
    (send,) = wire.of(Send)
    output: bytes = send.data
    assert output.startswith(b"<?xml version='1.0'?><stream:stream ")
    assert stream_error(condition) in output
    assert output.endswith(b"</stream:error></stream:stream>")
    root = ET.fromstring(output)  # noqa: S314
    assert root.tag == f"{{{ns.STREAMS}}}stream"
    assert [child.tag for child in root] == [f"{{{ns.STREAMS}}}error"]
    assert root.get("id")
    assert root.get("version") == "1.0"
    assert root.get("from") in HOSTS
    assert len(wire.of(Close)) == 1
    return output


# --- what is served ---


@pytest.mark.req("1-7.1", "1-24.1", "1-28.1", "1-29.1", "1-30.1", "1-31.1", "1-8.1", "2-3.1")
def test_answer_to_a_plain_header() -> None:
    wire = greeted(header())
    (send,) = wire.of(Send)  # header and features in one piece
    root = ET.fromstring(send.data + STREAM_END)  # noqa: S314
    assert root.tag == f"{{{ns.STREAMS}}}stream"
    assert root.get("from") == HOST
    assert root.get("version") == "1.0"
    assert b" xmlns='jabber:client' " in send.data
    (features,) = root
    assert features.tag == f"{{{ns.STREAMS}}}features"
    for child in features:
        assert not child.tag.startswith((f"{{{ns.STREAMS}}}", f"{{{ns.CLIENT}}}"))


@pytest.mark.req("1-7.2")
@pytest.mark.parametrize(
    "change",
    [
        lambda h: h.removeprefix(b"<?xml version='1.0'?>"),
        lambda h: h.replace(b"'", b'"'),
        lambda h: b"\n" + h.removeprefix(b"<?xml version='1.0'?>"),
        lambda h: h.replace(b" ", b"\n  "),
    ],
)
def test_ways_to_write_a_header(change: object) -> None:
    written = change(header())  # type: ignore[operator]
    assert b"<stream:features>" in greeted(written).output


@pytest.mark.req("1-25.1", "1-25.2", "1-25.3", "1-20.1", "1-20.3")
@pytest.mark.parametrize(
    ("from_", "to"),
    [
        (None, None),
        (f"john@{HOST}", f"john@{HOST}"),
        (f"john@{HOST}/desk", f"john@{HOST}"),
        (f"JOHN@{HOST}", f"john@{HOST}"),
        (f"john@{HOST}/\U0001f600", f"john@{HOST}"),
    ],
)
def test_to_mirrors_from(from_: str | None, to: str | None) -> None:
    wire = greeted(header(from_=from_))
    assert attribute(wire.output, "to") == to
    assert wire.feed(b"").stream.host == HOST


@pytest.mark.req("1-27.1", "1-13.1")
def test_ids_are_random_and_never_repeat() -> None:
    ids = {attribute(greeted(header()).output, "id") for _ in range(500)} | {
        new_stream_id() for _ in range(9_500)
    }
    assert len(ids) == 10_000
    assert all(id_ is not None and len(id_) >= 22 for id_ in ids)  # 22 characters of base64 are 132 bits
    # no position stands still
    some = [id_ for id_ in ids if id_]
    assert all(len({id_[i] for id_ in some}) > 32 for i in range(22))


@pytest.mark.req("1-27.2")
def test_the_clients_id_is_ignored() -> None:
    assert attribute(greeted(header(id_="mine")).output, "id") != "mine"


@pytest.mark.req("1-23.2")
@pytest.mark.parametrize("version", ["1.0", "1.1", "1.15", "01.00", "1.999999", "2.0", "11.0"])
def test_versions_that_are_served(version: str) -> None:
    wire = greeted(header(version=version))
    assert b"<stream:features>" in wire.output
    assert attribute(wire.output, "version") == "1.0"


@pytest.mark.req("1-29.4")
def test_prefix_free_header() -> None:
    wire = greeted(f"<stream xmlns='{ns.STREAMS}' to='{HOST}' version='1.0'>".encode())
    assert b"<stream:features>" in wire.output
    assert f"xmlns='{ns.CLIENT}'".encode() in wire.output


@pytest.mark.req("1-29.4")
def test_another_prefix() -> None:
    written = f"<s:stream xmlns='{ns.CLIENT}' xmlns:s='{ns.STREAMS}' to='{HOST}' version='1.0'>"
    assert b"<stream:features>" in greeted(written.encode()).output


@pytest.mark.parametrize("domain", [HOST.upper(), "example.org", "Example.Org"])
def test_served_domains(domain: str) -> None:
    wire = greeted(header(domain))
    assert attribute(wire.output, "from") == domain.lower()
    assert wire.stream.host == domain.lower()


# --- language ---


@pytest.mark.parametrize(
    ("wanted", "used"),
    [
        (None, "en"),
        ("en", "en"),
        ("EN-gb", "en"),
        ("de", "de"),
        ("de-CH", "de-CH"),
        ("de-CH-1996", "de-CH"),
        ("de-AT-x-private", "de"),
        ("fr", "en"),
        ("x-klingon", "en"),
    ],
)
def test_language_lookup(wanted: str | None, used: str) -> None:
    assert lookup_language(wanted, ("en", "de", "de-CH")) == used
    wire = greeted(header(lang=wanted), settings=C2SSettings(languages=("en", "de", "de-CH")))
    assert attribute(wire.output, "xml:lang") == used


@pytest.mark.parametrize(
    ("lang", "kept"), [(None, None), ("de-CH", "de-CH"), ("no language", None), ("", None)]
)
def test_the_default_language_of_stanzas_is_kept(lang: str | None, kept: str | None) -> None:
    wire = Wire().unbound()
    wire = Wire().logged_in().feed(header(lang=lang))
    assert wire.stream.lang == kept
    wire.feed(b"<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
    assert wire.stream.is_open
    assert wire.stream.lang == kept


# --- what is refused ---


@pytest.mark.req("1-36.1", "1-29.2", "1-33.1", "1-34.2")
def test_wrong_stream_namespace() -> None:
    refused(header(streams="http://wrong.namespace.example.org/"), "invalid-namespace")


@pytest.mark.req("1-29.3")
def test_root_that_is_no_stream() -> None:
    refused(header(name="steam"), "bad-format")


@pytest.mark.req("1-29.3")
def test_root_without_namespace() -> None:
    refused(f"<stream to='{HOST}' version='1.0'>".encode(), "invalid-namespace")


@pytest.mark.req("1-31.2", "1-36.1")
@pytest.mark.parametrize("xmlns", [ns.SERVER, "jabber:component:accept", "urn:example"])
def test_wrong_content_namespace(xmlns: str) -> None:
    refused(header(xmlns=xmlns), "invalid-namespace")


@pytest.mark.req("1-23.3", "1-28.2", "1-36.1", "1-34.2")
@pytest.mark.parametrize("version", [None, "", "0.9", "0.99", "one", "1", "1.0.0", "-1.0", "1.x"])
def test_versions_that_are_refused(version: str | None) -> None:
    refused(header(version=version), "unsupported-version")


@pytest.mark.req("1-22.2", "1-36.1", "1-36.3", "1-34.2")
@pytest.mark.parametrize("domain", ["unknown.example.com", "127.0.0.1", f"sub.{HOST}", "\U0001f600.example"])
def test_unknown_host(domain: str) -> None:
    output = refused(header(domain, from_=f"john@{HOST}"), "host-unknown")
    assert attribute(output, "from") == HOST
    assert attribute(output, "to") == f"john@{HOST}"


@pytest.mark.req("1-22.3")
@pytest.mark.parametrize("to", [None, "", f"user@{HOST}", f"{HOST}/resource", "@", "no good domain"])
def test_improper_to(to: str | None) -> None:
    refused(header(to), "improper-addressing")


def test_a_domain_that_moved() -> None:
    hosts = {HOST: HostFacts(HOST), "old.example.com": HostFacts("old.example.com", gone=True)}
    assert stream_error("host-gone") in greeted(header("old.example.com"), hosts=hosts).output


@pytest.mark.parametrize("from_", ["", "@", "a@b@c", f"john@{HOST}/"])
def test_from_that_is_no_address(from_: str) -> None:
    assert attribute(refused(header(from_=from_), "invalid-from"), "to") is None


def test_the_first_broken_rule_is_named() -> None:
    refused(header("unknown.example.com", version="0.9"), "unsupported-version")
    refused(header("unknown.example.com", xmlns=ns.SERVER), "invalid-namespace")


def test_no_domain_at_all() -> None:
    assert read_header(parse_header(header()), {}).host == ""


# --- restarts ---


@pytest.mark.req("1-11.2", "1-13.1", "1-14.1", "1-14.2", "2-9.b", "3-12.1", "3-11.1", "1-28.1")
def test_each_header_is_answered_anew_and_only_the_new_values_count() -> None:
    wire = Wire()
    wire.feed(
        header(from_=f"juliet@{HOST}/x", lang="de"), b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
    )
    first = wire.take()
    wire.shake_hands(TLS)
    assert wire.stream.lang is None
    assert wire.stream.host is None
    wire.feed(header())
    second = wire.take()
    wire.feed(plain())
    assert b"<success" in wire.take()
    wire.feed(header())
    third = wire.take()
    answers = (first, second, third)
    assert len({attribute(answer, "id") for answer in answers}) == 3
    assert all(attribute(answer, "version") == "1.0" for answer in answers)
    assert attribute(first, "to") == f"juliet@{HOST}"
    assert attribute(second, "to") is None
    assert [b"<starttls" in answer for answer in answers] == [True, False, False]
    assert [b"<mechanisms" in answer for answer in answers] == [False, True, False]
    assert [b"<bind" in answer for answer in answers] == [False, False, True]
    assert STREAM_END not in wire.output
