"""2.17 XML usage (row 12-1)."""

from __future__ import annotations

from xmppd.conformance.check import check, expect
from xmppd.conformance.checks.section_05 import expect_kept
from xmppd.conformance.client import stream_header
from xmppd.conformance.names import CLIENT
from xmppd.conformance.site import Site
from xmppd.conformance.xmlstream import parse


@check("12-1.1")
def restricted_xml_is_refused(site: Site) -> None:
    """RFC 6120 11.1: comments, processing instructions, DTDs and entities; nothing is expanded or delivered."""
    romeo = site.login(1)
    begin = f"<message type='chat' to='{romeo.jid}'><body>"
    for sent in (
        "<!-- a comment -->",
        begin + "<!-- a comment --></body></message>",
        begin + "<?target data?></body></message>",
        "<!DOCTYPE lolz [<!ENTITY lol 'lol'>]>",
        begin + "&lol;</body></message>",
    ):
        client = site.login(0)
        client.send(sent)
        client.expect_stream_error("restricted-xml", "bad-format")
    client = site.connect()
    client.send("<!DOCTYPE lolz [<!ENTITY lol 'lol'>]>" + stream_header(to=site.domain, declaration=""))
    client.expect_stream_error("restricted-xml", "bad-format", with_header=True)
    expect(not romeo.before_ping(), "something of it was delivered")


@check("12-1.1")
def the_five_predefined_entities_are_accepted(site: Site) -> None:
    """RFC 6120 11.1, XML 1.0 4.6: and character references; in text, in attributes and in namespace names."""
    client = site.login(0)
    for place in ("<x xmlns='urn:x'>{}</x>", "<x xmlns='urn:x' a='{}'/>", "<x xmlns='urn:x?{}'/>"):
        for reference in ("&lt;", "&gt;", "&amp;", "&apos;", "&quot;", "&#65;", "&#x1F600;"):
            payload = place.format(reference)
            client.send(f"<iq type='get' id='e' to='{site.domain}'>{payload}</iq>")
            client.wait_for("iq", id="e")


@check("12-1.2")
def what_is_not_well_formed_is_refused(site: Site) -> None:
    """RFC 6120 11.3: syntax, undeclared prefixes, attributes that are the same by namespace; nothing is routed."""
    romeo = site.login(1)
    begin = f"<message type='chat' to='{romeo.jid}'>"
    for sent in (
        begin + "<body></message>",
        begin + "<body a=1/></message>",
        begin + "<body a='1' a='2'/></message>",
        begin + "<x:body/></message>",
        begin + "<body x:a='1'/></message>",
        begin + "<b xmlns:p='urn:a' xmlns:q='urn:a' p:x='1' q:x='2'/></message>",
        begin + "<b xmlns:p=''/></message>",
        begin + "<body>]]></body></message>",
        begin + "<body a='<'/></message>",
        "</message>",
    ):
        client = site.login(0)
        client.send(sent)
        client.expect_stream_error("not-well-formed")
    expect(not romeo.before_ping(), "something of it was delivered")


@check("12-1.3")
def other_encodings_are_refused(site: Site) -> None:
    """RFC 6120 11.6: another encoding declared, or bytes that are not UTF-8."""
    conditions = ("unsupported-encoding", "bad-format", "not-well-formed")
    header = stream_header(to=site.domain, declaration="")
    for sent in (
        b"<?xml version='1.0' encoding='ISO-8859-1'?>" + header.encode(),
        ("<?xml version='1.0' encoding='UTF-16'?>" + header).encode("utf-16"),
    ):
        client = site.connect()
        client.send(sent)
        client.expect_stream_error(*conditions, with_header=True)
    for wrong in (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"):
        client = site.login(0)
        client.send(b"<message><body>" + wrong + b"</body></message>")
        client.expect_stream_error(*conditions)


@check("12-1.4")
def what_the_server_sends_is_good_xml(site: Site) -> None:
    """RFC 6120 11.1 to 11.6: UTF-8, well-formed by namespace, nothing restricted; all that needs it is escaped.

    The reader of this tester is strict on every stream of every check; here it sees what must be escaped.
    """
    juliet, romeo = site.login(0), site.login(1)
    attribute = "&lt;&amp;&quot;&apos;&gt;&#9;&#10;&#13;"
    text = "&lt;b&gt; ]]&gt; &amp;amp; &#13; \u00e9\u6f22\U0001f600"
    sent = (
        f"<message to='{romeo.jid}' type='chat' id='{attribute}' xml:lang='en'><body>{text}</body>"
        f"<p:x xmlns:p='urn:p' p:a='1' b=\"{attribute}\">{text}</p:x></message>"
    )
    juliet.send(sent)
    got = romeo.wait_for("message")
    wanted = parse(sent.replace("<message", f"<message xmlns='{CLIENT}' from='{juliet.jid}'", 1))
    expect_kept(wanted, got)
    answer = juliet.iq(
        "get", f"<x xmlns='urn:x'>{text}</x>", to=f"nobody@{site.domain}/&quot;".replace("&quot;", "'")
    )
    expect(answer.get("from") == f"nobody@{site.domain}/'", f"the answer is {answer}")


@check("12-1.5")
def u_feff_is_a_character(site: Site) -> None:
    """RFC 6120 11.6: in a stanza it is kept as a zero width no-break space."""
    juliet, romeo = site.login(0), site.login(1)
    id_ = juliet.message(romeo.jid, "a\ufeffb\ufeff")
    body = romeo.wait_for("message", id=id_).find("body")
    expect(body is not None and body.text == "a\ufeffb\ufeff", f"it came as {body}")


@check("12-1.5")
def u_feff_is_no_mark(site: Site) -> None:
    """RFC 6120 11.6: as the first character of a stream it is a character, too, and so stands in the wrong place."""
    client = site.connect()
    client.send("\ufeff" + stream_header(to=site.domain))
    client.expect_stream_error(with_header=True)


@check("12-1.6")
def white_space_between_stanzas_is_accepted(site: Site) -> None:
    """RFC 6120 11.7: as a keepalive, before, between and behind stanzas."""
    client = site.login()
    for space in (" ", "\n", "\r\n\t ", " " * 200):
        client.send(space)
        client.expect_nothing()


@check("12-1.7")
def declarations_stand_at_the_beginning(site: Site) -> None:
    """RFC 6120 11.5: none, or standalone='no'; one in the middle of a stream is refused."""
    header = stream_header(to=site.domain, declaration="")
    for declaration in ("", "<?xml version='1.0' encoding='UTF-8' standalone='no'?>"):
        client = site.connect()
        client.send(declaration + header)
        client.expect_header()
        event = client.next_solid()
        expect(
            "features" in str(event) or "restricted-xml" in str(event),
            f"a header with {declaration!r} gets {event}",
        )
    client = site.login()
    client.send("<?xml version='1.0'?><message/>")
    client.expect_stream_error("not-well-formed", "restricted-xml", "bad-format")


@check("12-1.8")
def forbidden_characters_are_refused(site: Site) -> None:
    """XML 1.0 2.2: as they are, and by reference."""
    for wrong in ("\x00", "\x01", "\ufffe", "\uffff", "&#0;", "&#1;", "&#xFFFE;", "&#xD800;", "&#x110000;"):
        client = site.login()
        client.send(f"<message><body>{wrong}</body></message>")
        client.expect_stream_error("not-well-formed")
