"""A tiny XMPP server that is right in what some checks look at, or wrong in exactly one way.

A check that a wrong server passes is a check that cannot fail. `FAULTS` says which checks see each fault.
"""

from __future__ import annotations

import base64
import codecs
import contextlib
import secrets
import select
import socket
import ssl
import struct
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from xmppd.conformance.names import (
    BIND,
    CLIENT,
    SASL,
    SERVER,
    STANZA_ERRORS,
    STREAM_ERRORS,
    STREAMS,
    TLS,
    XML,
)
from xmppd.conformance.subject import Account, Subject
from xmppd.conformance.xmlstream import Closed, Element, Header, NotWellFormed, StreamReader, Text

DOMAIN = "one.example"
ACCOUNTS = tuple(Account(name, DOMAIN, f"{name}'s password") for name in ("juliet", "romeo", "nurse"))

PATIENCE_S = 0.7  # it answers at once, or never
CLOSE_S = 1.0  # for the closing tag of the client, behind its own
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
HASHING_S = 0.003  # what a right server does for every password
ALLOW_CLIENT_RENEGOTIATION = 1 << 8  # of OpenSSL 3; the ssl module has no name for it

# the checks that must see each of them
FAULTS = {
    "features before the header": ("the_response_header_comes_first",),
    "features in a second write": ("features_come_with_the_header",),
    "two first features": ("starttls_is_the_only_first_feature",),
    "STARTTLS is not required": ("starttls_is_required",),
    "header from another domain": ("the_response_header_is_from_the_domain",),
    "no 'to' in the header": ("from_of_a_client_is_accepted_and_mirrored",),
    "a 'to' for nobody": ("a_header_without_from_is_accepted",),
    "full JID in 'to'": ("the_response_header_is_to_the_bare_jid",),
    "version 0.9": ("every_response_header_has_version_1_0",),
    "the same id again": ("each_restart_has_a_new_id",),
    "ids that count": ("stream_ids_are_random",),
    "the id of the client": ("the_id_of_a_client_is_ignored",),
    "no content namespace": ("the_content_namespace_is_declared_in_both_directions",),
    "any host is served": ("an_unknown_host_is_refused_inside_a_stream",),
    "any content namespace is served": ("another_content_namespace_is_refused_to_clients",),
    "any version is served": ("a_header_without_version_is_refused",),
    "no header before an error": ("a_faulty_header_is_answered_in_one_segment",),
    "no closing tag after an error": ("error_and_closing_tag_are_written_at_once",),
    "closing tag in a second write": ("error_and_closing_tag_are_written_at_once",),
    "RST after an error": ("after_an_error_tls_and_tcp_end_in_order",),
    "the closing tag is not waited for": ("after_an_error_tls_and_tcp_end_in_order",),
    "the closing tag is waited for, and nothing else": (),
    "no close_notify": (
        "after_an_error_tls_and_tcp_end_in_order",
        "a_closing_tag_instead_of_the_new_header_ends_in_order",
    ),
    "another condition": (
        "error_and_closing_tag_are_written_at_once",
        "a_wrong_root_element_is_refused",
        "other_prefixes_are_served_or_refused_in_order",
    ),
    "the closing tag is not answered": ("the_closing_tag_of_a_client_is_answered",),
    "a comment in the stream": ("what_the_server_sends_is_good_xml",),
    "STARTTLS is offered again": ("after_tls_there_is_sasl_and_no_starttls",),
    "text behind <proceed/>": ("proceed_is_the_last_word_in_the_clear",),
    "STARTTLS twice": (
        "a_faulty_starttls_fails_and_ends_everything",
        "starttls_inside_tls_fails",
    ),
    "any password is right": ("a_failure_has_one_condition_and_leaves_the_stream_open",),
    "ANONYMOUS is offered": ("anonymous_is_not_offered",),
    "failure with two conditions": ("a_failure_has_one_condition_and_leaves_the_stream_open",),
    "failure of RFC 3920": ("an_unknown_mechanism_is_refused",),
    "no new stream after SASL": ("each_restart_has_a_new_id",),
    "the same resource for all": ("two_generated_resources_differ",),
    "bind without a JID": ("an_empty_bind_is_answered_by_the_full_jid",),
    "resources that count": ("generated_resources_cannot_be_guessed",),
    "messages without from": ("relayed_stanzas_have_a_from",),
    "from as the client says": ("from_is_that_of_the_session",),
    "body is lost": ("stanzas_arrive_as_they_were_sent",),
    "IQs are answered twice": ("every_request_has_exactly_one_answer",),
    "IQs are not answered": ("every_request_has_exactly_one_answer",),
    "answers with another id": ("answers_keep_the_id",),
    "results are answered": ("results_and_errors_are_not_answered",),
    "error without a type": ("results_and_errors_are_made_right",),
    "one failure ends the stream": ("a_failure_has_one_condition_and_leaves_the_stream_open",),
    "nothing is answered": (
        "one_tcp_connection_serves_the_whole_session",
        "both_directions_share_the_connection",
        "jabber_client_is_served_to_clients",
        "the_five_predefined_entities_are_accepted",
        "a_stanza_without_to_is_for_the_account",
        "the_domain_itself_answers",
        "requests_to_nobody_are_answered",
        "a_message_to_the_bare_jid_arrives",
        "messages_to_nobody_come_back",
    ),
    "everything is answered": (
        "an_error_is_never_answered",
        "presence_results_and_errors_to_nobody_vanish",
        "presence_to_a_resource_that_is_gone_causes_no_error",
    ),
    "answers from another domain": ("answers_of_the_server_are_from_its_domain",),
    "'to' is written anew": ("to_stays_as_it_was_written",),
    "all resources get all": ("a_full_jid_gets_its_stanzas_alone",),
    "requests reach any resource": ("requests_to_an_account_are_answered_by_the_server",),
    "unbound streams get messages": ("an_unbound_stream_gets_nothing",),
    "errors of jabber:server": ("clients_get_no_stanza_of_jabber_server",),
    "U+FEFF is lost": ("u_feff_is_a_character",),
    "white space is refused": ("white_space_between_stanzas_is_accepted",),
    "what is not XML is ignored": (
        "what_is_no_stream_gets_a_stream_error",
        "what_is_not_well_formed_is_refused",
        "declarations_stand_at_the_beginning",
        "forbidden_characters_are_refused",
    ),
    "the header must come in one piece": ("a_header_may_arrive_in_any_pieces",),
    "a declaration is needed": ("declaration_and_quotes_make_no_difference",),
    "any stream namespace is served": ("a_wrong_streams_namespace_is_refused",),
    "a header without 'to' ends the connection": ("a_header_without_to_gets_an_answer",),
    "no new header is needed": (
        "a_stanza_instead_of_the_new_header_ends_the_stream",
        "a_stanza_behind_success_ends_the_stream",
    ),
    "bind is not offered": (
        "bind_is_offered_after_sasl",
        "after_sasl_there_is_bind_and_no_sasl",
        "bind_is_offered_after_sasl_only",
    ),
    "features behind other features": ("features_follow_the_header",),
    "a voluntary feature is required": ("voluntary_features_are_not_required",),
    "nothing may stand behind the header": ("starttls_may_stand_right_behind_the_header",),
    "certificate of another domain": (
        "the_service_domain_is_served_whatever_the_host_is_called",
        "starttls_works_with_a_certificate_of_the_domain",
    ),
    "XML behind a failed handshake": (
        "a_failed_handshake_ends_tcp",
        "a_refused_client_certificate_ends_tcp",
    ),
    "TLS renegotiates": ("renegotiation_is_refused",),
    "passwords are taken in the clear": ("credentials_in_the_clear_are_refused",),
    "no password is right": (
        "plain_with_the_right_password_succeeds",
        "a_new_stream_follows_success",
    ),
    "PLAIN is offered twice": ("plain_is_offered_once",),
    "any mechanism succeeds": ("anonymous_is_refused",),
    "legacy authentication is served": ("legacy_authentication_and_registration_are_refused",),
    "the session is that of 'from'": ("a_session_belongs_to_who_authenticated",),
    "resources are taken over in silence": (
        "a_resource_in_use_is_never_bound_twice",
        "a_replaced_session_has_its_condition",
        "resources_are_compared_after_preparation",
    ),
    "stanzas before log-in are dropped": (
        "a_stanza_before_negotiation_is_complete_ends_the_stream",
        "without_a_resource_nothing_is_routed",
        "a_stanza_before_sasl_ends_the_stream",
        "nothing_but_starttls_is_processed_in_the_clear",
        "sasl_negotiation",
        "tls_negotiation",
    ),
    "version 0.9 before an error": ("a_response_header_before_an_error_has_version_1_0",),
    "nothing may stand behind <auth/>": ("a_header_may_stand_right_behind_auth",),
    "unknown users are told": ("unknown_users_look_like_wrong_passwords",),
    "texts without a language": ("texts_of_the_server_name_their_language",),
    "disabled accounts are told to all": (),
    "UTF-16 is not well-formed": ("another_encoding_has_its_condition",),
    "stream errors are ignored": ("an_error_of_the_client_ends_the_stream",),
    "unknown users are refused at once": ("unknown_users_look_like_wrong_passwords",),
    "one salt for all unknown users": ("unknown_users_have_a_salt_that_stays",),
    "a challenge that is no SCRAM": ("unknown_users_have_a_salt_that_stays",),
    "SASL texts without a language": ("texts_of_the_server_name_their_language",),
    "keys go by RSA": ("suites_with_forward_secrecy_take_the_place_of_others",),
}


class Over(Exception):
    """The connection is done with."""


class BrokenServer:
    """Serves DOMAIN on a loopback port, with a fault or, as a control, with none."""

    def __init__(self, folder: Path, fault: str | None = None) -> None:
        assert fault is None or fault in FAULTS
        self.fault = fault
        self.pem = certificate(folder)  # what clients trust
        self.served = self.pem
        if fault == "certificate of another domain":
            self.served = certificate(folder, "elsewhere.example")
        elif fault == "keys go by RSA":
            self.served = certificate(folder, key=rsa.generate_private_key(65537, 2048))
        self.sessions: dict[str, Session] = {}
        self.counter = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> BrokenServer:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @property
    def subject(self) -> Subject:
        """As the tester sees it."""
        port = self._listener.getsockname()[1]
        return Subject(
            "127.0.0.1", port, (DOMAIN,), str(self.pem), ACCOUNTS, system="broken", patience_s=PATIENCE_S
        )

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=Session(self, sock).run, daemon=True).start()


def certificate(folder: Path, domain: str = DOMAIN, key: rsa.RSAPrivateKey | None = None) -> Path:
    """A file with a key, ECDSA if none is given, and a self-signed certificate of the domain."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, domain)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{domain}.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


def quoted(text: str) -> str:
    """A text for an attribute or an element."""
    for character in "&<>'\"\r\n\t":
        text = text.replace(character, f"&#{ord(character)};" if character != "&" else "&amp;")
    return text


def written(element: Element) -> str:
    """The element as XML that stands for itself."""
    text = f"<{element.name} xmlns='{quoted(element.namespace)}'"
    for number, (name, value) in enumerate(element.attributes.items()):
        namespace, _, local = name.rpartition("}")
        if namespace == f"{{{XML}":
            local = f"xml:{local}"
        elif namespace:
            text += f" xmlns:q{number}='{quoted(namespace[1:])}'"
            local = f"q{number}:{local}"
        text += f" {local}='{quoted(value)}'"
    inside = (quoted(each) if isinstance(each, str) else written(each) for each in element.children)
    return f"{text}>{''.join(inside)}</{element.name}>"


class Session:
    """One connection."""

    def __init__(self, server: BrokenServer, sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self.reader = StreamReader()
        self.tls = False
        self.account = ""
        self.jid = ""
        self.id = ""
        self.header_sent = False
        self.last = b""  # bytes that came
        self.claimed = ""  # 'from' of the last header
        self.lock = threading.Lock()  # a TLS connection is for one thread at a time
        sock.settimeout(20)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def has(self, fault: str) -> bool:
        assert fault in FAULTS
        return self.server.fault == fault

    def say(self, text: str) -> None:
        with self.lock:  # other sessions say something here, too
            self.sock.sendall(text.encode())

    def receive(self) -> bytes:
        """What comes, at last."""
        is_there = isinstance(self.sock, ssl.SSLSocket) and self.sock.pending()
        if not is_there and not select.select([self.sock], [], [], 20)[0]:
            raise Over
        with self.lock:
            data = self.sock.recv(65536)
        self.last = (self.last + data)[-100:]
        return data

    def run(self) -> None:
        first = True
        with contextlib.suppress(Over, OSError, ssl.SSLError):
            while True:
                try:
                    event = self.reader.next()
                    if event is None:
                        data = self.receive()
                        if not data:
                            raise Over
                        if first and self.has("the header must come in one piece") and b">" not in data[30:]:
                            raise Over
                        if first and self.has("a declaration is needed") and not data.startswith(b"<?xml"):
                            raise Over
                        if first and (data[:2] in UTF16_MARKS or b"\0" in data[:2]):
                            is_known = not self.has("UTF-16 is not well-formed")
                            self.error("unsupported-encoding" if is_known else "not-well-formed")
                        first = False
                        self.reader.feed(data)
                        continue
                except NotWellFormed:
                    if self.has("what is not XML is ignored"):
                        continue
                    self.error("not-well-formed")
                if isinstance(event, Text) and self.has("white space is refused"):
                    self.error("bad-format")
                if isinstance(event, Header):
                    self.opened(event)
                elif isinstance(event, Closed):
                    if not self.has("the closing tag is not answered"):
                        self.say("</stream:stream>")
                    self.end()
                elif isinstance(event, Element):
                    self.heard(event)
        self.server.sessions.pop(self.jid, None)
        self.sock.close()

    # ---- streams

    def header(self, to: str | None) -> str:
        if not (self.id and self.has("the same id again")):
            self.server.counter += 1
            counts = self.has("ids that count")
            self.id = f"{self.server.counter:032d}" if counts else secrets.token_urlsafe(18)
        from_ = "elsewhere.example" if self.has("header from another domain") else DOMAIN
        version = "0.9" if self.has("version 0.9") else "1.0"
        address = f" to='{to}'" if to else ""
        content = "" if self.has("no content namespace") else f" xmlns='{CLIENT}'"
        self.header_sent = True
        return (
            f"<?xml version='1.0'?><stream:stream xmlns:stream='{STREAMS}'{content} from='{from_}'{address}"
            f" id='{self.id}' version='{version}' xml:lang='en'>"
        )

    def opened(self, header: Header) -> None:
        self.header_sent = False
        element = header.element
        self.claimed = element.get("from") or ""
        if not element.is_("stream", STREAMS) and not self.has("any stream namespace is served"):
            while self.tls and self.has("no new header is needed") and self.sock.recv(65536):
                pass
            self.error("invalid-namespace")
        if element.get("to") is None and self.has("a header without 'to' ends the connection"):
            raise Over
        if header.declared.get("") != CLIENT and not self.has("any content namespace is served"):
            self.error("invalid-namespace")
        if (element.get("to") or "").lower() != DOMAIN and not self.has("any host is served"):
            self.error("host-unknown")
        if element.get("version") != "1.0" and not self.has("any version is served"):
            self.error("unsupported-version")
        to = element.get("from")
        if to and not self.has("full JID in 'to'"):
            to = to.partition("/")[0]
        if self.has("no 'to' in the header"):
            to = None
        if self.has("a 'to' for nobody"):
            to = to or f"somebody@{DOMAIN}"
        header_text = self.header(to)
        if self.has("the id of the client") and (given := element.get("id")):
            header_text = header_text.replace(self.id, given)
        if self.has("no new stream after SASL") and self.account:
            header_text = header_text.replace(self.id, "")
        features = self.features()
        if self.has("features behind other features"):
            features += features
        if self.has("features in a second write"):
            self.say(header_text)
            threading.Event().wait(0.02)
            self.say(features)
        elif self.has("features before the header"):
            self.say(features.replace("stream:features", f"features xmlns='{STREAMS}'", 1) + header_text)
        else:
            self.say(header_text + features)
        if self.reader.pending and self.has("nothing may stand behind the header"):
            self.error("policy-violation")

    def features(self) -> str:
        starttls = f"<starttls xmlns='{TLS}'><required/></starttls>"
        if self.has("STARTTLS is not required"):
            starttls = f"<starttls xmlns='{TLS}'/>"
        twice = ["PLAIN"] if self.has("PLAIN is offered twice") else []
        scram = self.has("one salt for all unknown users") or self.has("a challenge that is no SCRAM")
        names = [
            "PLAIN",
            *twice,
            *(["SCRAM-SHA-1"] if scram else []),
            *(["ANONYMOUS"] if self.has("ANONYMOUS is offered") else []),
        ]
        offered = "".join(f"<mechanism>{name}</mechanism>" for name in names)
        mechanisms = f"<mechanisms xmlns='{SASL}'>{offered}</mechanisms>"
        if not self.tls:
            inside = starttls + (mechanisms if self.has("two first features") else "")
        elif not self.account:
            inside = mechanisms + (starttls if self.has("STARTTLS is offered again") else "")
        else:
            inside = "" if self.has("bind is not offered") else f"<bind xmlns='{BIND}'/>"
            if self.has("a voluntary feature is required"):
                inside += "<x xmlns='urn:example:x'><required/></x>"
        return f"<stream:features>{inside}</stream:features>"

    def error(self, condition: str) -> None:
        header = ""
        if not self.header_sent and not self.has("no header before an error"):
            header = self.header(None)
        if self.has("version 0.9 before an error"):
            header = header.replace("version='1.0' xml", "version='0.9' xml")
        if self.has("another condition"):
            condition = "undefined-condition"
        error = f"<stream:error><{condition} xmlns='{STREAM_ERRORS}'/></stream:error>"
        if self.has("closing tag in a second write"):
            self.say(header + error)
            threading.Event().wait(0.02)
            self.say("</stream:stream>")
        elif self.has("no closing tag after an error"):
            self.say(header + error)
        else:
            self.say(header + error + "</stream:stream>")
        if not self.has("the closing tag is not waited for"):
            self.wait_for_closing_tag()
        if self.has("RST after an error"):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise Over
        self.end()

    def wait_for_closing_tag(self) -> None:
        """Of what is not well-formed only the end can be looked at."""
        waits_for_ever = self.has("the closing tag is waited for, and nothing else")
        self.sock.settimeout(20 if waits_for_ever else CLOSE_S)
        tail = self.last
        with contextlib.suppress(TimeoutError):
            while not tail.endswith(b"</stream:stream>") and (data := self.sock.recv(65536)):
                tail = (tail + data)[-100:]

    def end(self) -> None:
        """close_notify, FIN, and wait for the other side."""
        self.server.sessions.pop(self.jid, None)
        sock: socket.socket = self.sock
        if isinstance(sock, ssl.SSLSocket):
            if self.has("no close_notify"):
                sock = socket.socket(fileno=sock.detach())
                self.sock = sock
            else:
                sock.settimeout(0.05)  # it is sent at once; the answer is not waited for
                with contextlib.suppress(OSError, ssl.SSLError):
                    sock.unwrap()
                sock = socket.socket(fileno=sock.detach())
                self.sock = sock
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(1)
        with contextlib.suppress(OSError):
            while sock.recv(65536):
                pass
        raise Over

    # ---- elements

    def heard(self, element: Element) -> None:
        early = element.namespace == CLIENT and not self.jid and element.find("bind", BIND) is None
        if early and self.has("stanzas before log-in are dropped"):
            return
        if element.is_("error", STREAMS):
            if not self.has("stream errors are ignored"):
                self.say("</stream:stream>")
                self.wait_for_closing_tag()
                self.end()
        elif element.is_("starttls", TLS):
            self.start_tls(element)
        elif element.is_("auth", SASL) and (self.tls or self.has("passwords are taken in the clear")):
            self.authenticate(element)
        elif not self.tls:
            self.error("not-authorized")
        elif not self.account and self.has("legacy authentication is served"):
            self.say(f"<iq type='result' id='{element.get('id')}'/>")
        elif element.namespace != CLIENT or not self.account:
            self.error("not-authorized")
        elif not self.jid:
            self.bind(element)
        else:
            self.route(element)

    def start_tls(self, element: Element) -> None:
        if (self.tls or element.children or element.attributes) and not self.has("STARTTLS twice"):
            self.say(f"<failure xmlns='{TLS}'/></stream:stream>")
            self.end()
        self.say(f"<proceed xmlns='{TLS}'/>" + ("<x/>" if self.has("text behind <proceed/>") else ""))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server.served)
        if self.has("keys go by RSA"):
            context.set_ciphers("AES128-SHA:@SECLEVEL=0")
        if self.has("TLS renegotiates"):
            context.options |= ALLOW_CLIENT_RENEGOTIATION
        if not self.has("XML behind a failed handshake"):
            self.sock = context.wrap_socket(self.sock, server_side=True)
        else:
            context.verify_mode = ssl.CERT_OPTIONAL
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.load_verify_locations(self.server.pem)
            in_clear = self.sock.dup()
            try:
                self.sock = context.wrap_socket(self.sock, server_side=True)
            except ssl.SSLError:
                in_clear.sendall(b"</stream:stream>")
                raise
            finally:
                in_clear.close()
        self.tls = True
        self.reader.restart()

    def challenge(self, message: str) -> None:
        """The second message of SCRAM; nobody gets to the third."""
        _, _, name, nonce = message.split(",")
        known = name.removeprefix("n=") in {each.name for each in ACCOUNTS}
        salt = base64.b64encode(name.encode() if known else b"unknown").decode()
        count = "a few" if self.has("a challenge that is no SCRAM") else "4096"
        said = base64.b64encode(f"{nonce}{secrets.token_hex()},s={salt},i={count}".encode()).decode()
        self.say(f"<challenge xmlns='{SASL}'>{said}</challenge>")

    def authenticate(self, element: Element) -> None:
        if element.get("mechanism") == "SCRAM-SHA-1" and element.get("mechanism") in self.features():
            self.challenge(base64.b64decode(element.text).decode())
            return
        if element.get("mechanism") != "PLAIN":
            if self.has("any mechanism succeeds"):
                self.say(f"<success xmlns='{SASL}'/>")
                return
            name = "bad-mechanism" if self.has("failure of RFC 3920") else "invalid-mechanism"
            text = "<text>what?</text>" if self.has("SASL texts without a language") else ""
            self.say(f"<failure xmlns='{SASL}'><{name}/>{text}</failure>")
            return
        try:
            _, name, password = base64.b64decode(element.text).decode().split("\0")
            name = name.lower()
        except ValueError:
            self.say(f"<failure xmlns='{SASL}'><malformed-request/></failure>")
            return
        right = any((each.name, each.password) == (name, password) for each in ACCOUNTS)
        right = right and not self.has("no password is right")
        if not right and not self.has("any password is right"):
            if name == "disabled" and self.has("disabled accounts are told to all"):
                self.say(f"<failure xmlns='{SASL}'><account-disabled/></failure>")
                return
            is_known = name in {each.name for each in ACCOUNTS}
            if is_known or not self.has("unknown users are refused at once"):
                threading.Event().wait(HASHING_S)
            if self.has("unknown users are told") and not is_known:
                self.say(f"<failure xmlns='{SASL}'><not-authorized/><text>who is that?</text></failure>")
                return
            if self.has("one failure ends the stream"):
                self.error("policy-violation")
            more = "<aborted/>" if self.has("failure with two conditions") else ""
            self.say(f"<failure xmlns='{SASL}'><not-authorized/>{more}</failure>")
            return
        self.account = f"{name}@{DOMAIN}"
        if self.claimed and self.has("the session is that of 'from'"):
            self.account = self.claimed
        if self.has("unbound streams get messages"):
            self.server.sessions[f"{self.account}/unbound"] = self
        self.say(f"<success xmlns='{SASL}'/>")
        if self.reader.pending and self.has("nothing may stand behind <auth/>"):
            self.error("not-well-formed")
        self.reader.restart()

    def bind(self, element: Element) -> None:
        if element.find("bind", BIND) is None:
            self.error("not-authorized")
        self.server.counter += 1
        resource = secrets.token_urlsafe(18)
        if self.has("the same resource for all"):
            resource = "same"
        if self.has("resources that count"):
            resource = f"{self.server.counter:024d}"
        if self.has("resources are taken over in silence") and (wish := element.elements[0].find("resource")):
            resource = wish.text
        self.jid = f"{self.account}/{resource}"
        self.server.sessions[self.jid] = self
        jid = "" if self.has("bind without a JID") else f"<jid>{self.jid}</jid>"
        self.say(f"<iq type='result' id='{element.get('id')}'><bind xmlns='{BIND}'>{jid}</bind></iq>")
        if self.has("a comment in the stream"):
            self.say("<!-- hello -->")

    def route(self, element: Element) -> None:
        if self.has("nothing is answered"):
            return
        to = element.get("to") or self.account
        targets = [
            session
            for jid, session in list(self.server.sessions.items())
            if jid == to or jid.startswith(f"{to}/")
        ]
        if not targets and self.has("requests reach any resource"):
            targets = [each for each in self.server.sessions.values() if to.startswith(each.account)]
        elif element.name == "iq" and to.partition("/")[2] == "":
            targets = []
        if not targets:
            self.answer(element, to)
            return
        if self.has("all resources get all"):
            targets = [each for each in self.server.sessions.values() if each.account == targets[0].account]
        given = {name: value for name, value in element.attributes.items() if name != "from"}
        if self.has("from as the client says"):
            given["from"] = element.get("from") or self.jid
        elif not self.has("messages without from"):
            subscribes = element.name == "presence" and "subscribe" in (element.get("type") or "")
            given["from"] = self.account if subscribes else self.jid
        if self.has("'to' is written anew"):
            given["to"] = targets[0].account
        children = [] if self.has("body is lost") else element.children
        stanza = written(Element(CLIENT, element.name, given, children))
        if self.has("U+FEFF is lost"):
            stanza = stanza.replace("\ufeff", "")
        for each in targets if self.has("all resources get all") else targets[:1]:
            each.say(stanza)

    def answer(self, element: Element, to: str) -> None:
        unasked = element.name == "presence" or element.get("type") == "error"
        if unasked and not self.has("everything is answered"):
            return
        if self.has("answers from another domain"):
            to = "elsewhere.example"
        if element.get("type") == "result" and not self.has("results are answered"):
            return
        ping = element.name == "iq" and element.elements and element.elements[0].name == "ping"
        if self.has("IQs are not answered") and not ping:
            return
        id_ = "other" if self.has("answers with another id") and not ping else element.get("id") or ""
        kind = "" if self.has("error without a type") else " type='cancel'"
        text = f"<text xmlns='{STANZA_ERRORS}'>x</text>" if self.has("texts without a language") else ""
        error = f"<error{kind}><service-unavailable xmlns='{STANZA_ERRORS}'/>{text}</error>"
        answer = Element(
            CLIENT, element.name, {"type": "error", "id": id_, "from": to, "to": self.jid}, ["?"]
        )
        text = str(answer).replace("?", error)
        if self.has("errors of jabber:server") and element.name == "message":
            text = text.replace(CLIENT, SERVER)
        self.say(text * (2 if self.has("IQs are answered twice") else 1))
