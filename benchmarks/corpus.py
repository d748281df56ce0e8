"""The stanzas the benchmarks read: made anew each time, always the same ones.

The mix is what a busy server of a site with phones and rooms sees: a mean of about 430 bytes, a fifth of the
stanzas with text that is not ASCII, some with entities, both quote characters, children and attributes in
the order that clients happen to write them.
"""

from __future__ import annotations

import base64
import functools
import random
from collections.abc import Callable, Iterator

HEADER = (
    b"<?xml version='1.0'?><stream:stream from='romeo@montague.example' to='montague.example' version='1.0' "
    b"xml:lang='en' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
)
MIX_STANZAS = 18_514

# kind -> its share of the mix in hundredths of a percent
SHARES = {
    "chat": 3300, "chatstate": 1300, "receipt": 600, "presence": 1400, "muc_presence": 1000, "muc_message": 900,
    "iq": 500, "mam_result": 400, "sm": 400, "omemo": 140, "roster": 30, "pubsub": 15,
}  # fmt: skip
KINDS = tuple(SHARES)

WORDS = {
    "en": "the of and to in you that it is for on are with as they be at this have from or had by hot but some "
    "what there we can out other were all your when up use word how said each she which do their time if "
    "about many then them would write like so these her long make thing see him two has look more day could",
    "de": "der die das und nicht für über schön Grüße heute später können müssen wäre natürlich Straße morgen "
    "früh zurück Büro völlig gewöhnlich hören möglich Tür zählen",
    "ru": "привет как дела сегодня завтра хорошо нет да может быть когда встреча работа друг письмо спасибо",
    "zh": "你好 今天 明天 我们 可以 没有 什么 时候 谢谢 工作 朋友 晚上 会议 文件 已经",
    "emoji": "😀 👍 🎉 😂 ❤️ 🙏 🤔 👋",
}
LANGUAGES = [
    language
    for language, n in (("en", 60), ("de", 18), ("ru", 12), ("zh", 6), ("emoji", 4))
    for _ in range(n)
]
ENTITIES = ["&amp;", "&lt;3", "&quot;so&quot;", "it&apos;s", "&gt;"]
NAMES = ["romeo", "juliet", "mercutio", "benvolio", "tybalt", "nurse", "paris", "rosaline", "peter", "abram"]
HOSTS = ["montague.example", "capulet.example", "verona.example", "chat.mantua.example"]
RESOURCES = ["balcony", "phone", "Conversations.7Fa2", "gajim.X0PQ3L", "dino.9a81cf", "laptop", "web-3321"]


class Writer:
    """Writes stanzas with a random source of its own: one method a kind."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    # ---- parts ----

    def hex(self, n: int) -> str:
        return f"{self.rng.getrandbits(4 * n):0{n}x}"

    def uuid(self) -> str:
        return "-".join(self.hex(n) for n in (8, 4, 4, 4, 12))

    def base64(self, n: int) -> str:
        return base64.b64encode(self.rng.randbytes(n)).decode()

    def bare(self) -> str:
        return f"{self.rng.choice(NAMES)}{self.rng.randrange(400)}@{self.rng.choice(HOSTS)}"

    def full(self) -> str:
        return f"{self.bare()}/{self.rng.choice(RESOURCES)}"

    def room(self) -> str:
        return f"{self.rng.choice(NAMES)}-{self.rng.randrange(40)}@conference.{self.rng.choice(HOSTS[:2])}"

    def stamp(self) -> str:
        r = self.rng
        return (
            f"2026-{r.randint(1, 12):02}-{r.randint(1, 28):02}T{r.randrange(24):02}:{r.randrange(60):02}:00Z"
        )

    def text(self, words: int) -> str:
        """Some words, sometimes with entities."""
        r = self.rng
        words_of = {language: WORDS[language].split() for language in ("en", r.choice(LANGUAGES))}
        chosen = [r.choice(words_of[r.choice(list(words_of))]) for _ in range(words)]
        if r.random() < 0.1:
            chosen.insert(r.randint(0, words), r.choice(ENTITIES))
        return " ".join(chosen) + r.choice(["", ".", "?", "!", " :)"])

    def element(self, name: str, /, *children: str, xmlns: str | None = None, **attrs: str | None) -> str:
        """Children and attributes in any order; one tag in four uses double quotes."""
        quote = '"' if self.rng.random() < 0.25 else "'"
        pairs = [(k.rstrip("_").replace("__", ":"), v) for k, v in attrs.items() if v is not None]
        self.rng.shuffle(pairs)
        if xmlns:
            pairs.insert(0, ("xmlns", xmlns))
        start = f"<{name}" + "".join(f" {k}={quote}{v}{quote}" for k, v in pairs)
        inner = [c for c in children if c]
        self.rng.shuffle(inner)
        return f"{start}>{''.join(inner)}</{name}>" if inner else f"{start}/>"

    def maybe(self, share: float, xml: Callable[[], str]) -> str:
        return xml() if self.rng.random() < share else ""

    def origin_id(self) -> str:
        return self.element("origin-id", xmlns="urn:xmpp:sid:0", id=self.uuid())

    def occupant_id(self) -> str:
        return self.element("occupant-id", xmlns="urn:xmpp:occupant-id:0", id=self.hex(32))

    def caps(self) -> str:
        node = "https://client.example"
        return self.element(
            "c", xmlns="http://jabber.org/protocol/caps", hash="sha-1", node=node, ver=self.base64(20)
        )

    def photo(self) -> str:
        return self.element("x", self.element("photo", self.hex(40)), xmlns="vcard-temp:x:update")

    # ---- kinds ----

    def chat(self, **more: str) -> str:
        r = self.rng
        body = self.text(r.choice([2, 5, 8, 12, 18, 30]))

        def xhtml() -> str:
            p = self.element("p", body, style="font-weight:bold")
            inner = self.element("body", p, xmlns="http://www.w3.org/1999/xhtml")
            return self.element("html", inner, xmlns="http://jabber.org/protocol/xhtml-im")

        return self.element(
            "message",
            self.element("body", body),
            self.maybe(0.8, lambda: self.element("active", xmlns="http://jabber.org/protocol/chatstates")),
            self.maybe(0.7, lambda: self.element("request", xmlns="urn:xmpp:receipts")),
            self.maybe(0.6, self.origin_id),
            self.maybe(0.4, lambda: self.element("markable", xmlns="urn:xmpp:chat-markers:0")),
            self.maybe(0.2, lambda: self.element("thread", self.hex(16))),
            self.maybe(0.08, xhtml),
            to=self.bare(),
            id=self.uuid(),
            type="chat",
            xml__lang=r.choice([None, None, "en"]),
            **more,
        )

    def chatstate(self) -> str:
        return self.element(
            "message",
            self.element(
                self.rng.choice(["composing", "paused", "active", "inactive", "gone"]),
                xmlns="http://jabber.org/protocol/chatstates",
            ),
            self.maybe(0.6, lambda: self.element("no-store", xmlns="urn:xmpp:hints")),
            to=self.full(),
            id=self.uuid(),
            type="chat",
        )

    def receipt(self) -> str:
        return self.element(
            "message",
            self.element("received", xmlns="urn:xmpp:receipts", id=self.uuid()),
            self.element("store", xmlns="urn:xmpp:hints"),
            self.maybe(0.3, self.origin_id),
            to=self.full(),
            id=self.uuid(),
            type="chat",
        )

    def presence(self) -> str:
        r = self.rng
        if r.random() < 0.15:
            return self.element("presence", type="unavailable", to=r.choice([None, self.full()]))
        return self.element(
            "presence",
            self.maybe(0.5, lambda: self.element("show", r.choice(["away", "xa", "dnd", "chat"]))),
            self.maybe(0.7, lambda: self.element("status", self.text(9))),
            self.maybe(0.6, lambda: self.element("priority", r.choice(["0", "1", "5", "127", "-1"]))),
            self.caps(),
            self.maybe(0.7, self.photo),
            self.maybe(0.3, lambda: self.element("idle", xmlns="urn:xmpp:idle:1", since=self.stamp())),
            id=self.hex(10),
            xml__lang=r.choice([None, "en"]),
        )

    def muc_presence(self) -> str:
        r = self.rng
        affiliation = r.choice(["none", "member", "owner"])
        return self.element(
            "presence",
            self.caps(),
            self.element(
                "x",
                self.element("item", affiliation=affiliation, role="participant", jid=self.full()),
                self.maybe(0.5, lambda: self.element("status", code="110")),
                self.maybe(0.3, lambda: self.element("status", code="100")),
                xmlns="http://jabber.org/protocol/muc#user",
            ),
            self.occupant_id(),
            self.maybe(0.4, self.photo),
            from_=f"{self.room()}/{r.choice(NAMES)}",
            to=self.full(),
            id=self.uuid(),
        )

    def muc_message(self) -> str:
        room = self.room()
        return self.element(
            "message",
            self.element("body", self.text(self.rng.choice([3, 6, 10, 18]))),
            self.occupant_id(),
            self.element("stanza-id", xmlns="urn:xmpp:sid:0", id=self.uuid(), by=room),
            self.maybe(0.5, self.origin_id),
            from_=f"{room}/{self.rng.choice(NAMES)}",
            to=self.full(),
            id=self.uuid(),
            type="groupchat",
        )

    def iq(self) -> str:
        r = self.rng
        match r.randrange(5):
            case 0:
                ping = self.element("ping", xmlns="urn:xmpp:ping")
                return self.element("iq", ping, to=r.choice(HOSTS), id=self.hex(12), type="get")
            case 1:
                return self.element("iq", to=self.full(), id=self.hex(12), type="result")
            case 2:
                node = "https://client.example/release#" + self.base64(20)
                query = self.element("query", xmlns="http://jabber.org/protocol/disco#info", node=node)
                return self.element("iq", query, to=self.full(), id=self.hex(12), type="get")
        query = self.element(
            "query",
            self.element(
                "x",
                self.element(
                    "field", self.element("value", "urn:xmpp:mam:2"), var="FORM_TYPE", type="hidden"
                ),
                self.element("field", self.element("value", self.stamp()), var="start"),
                xmlns="jabber:x:data",
                type="submit",
            ),
            self.element("set", self.element("max", "50"), xmlns="http://jabber.org/protocol/rsm"),
            xmlns="urn:xmpp:mam:2",
            queryid=self.hex(8),
        )
        return self.element("iq", query, id=self.uuid(), type="set")

    def mam_result(self) -> str:
        forwarded = self.element(
            "forwarded",
            self.element("delay", xmlns="urn:xmpp:delay", stamp=self.stamp()),
            self.chat(xmlns="jabber:client", from_=self.full()),
            xmlns="urn:xmpp:forward:0",
        )
        result = self.element(
            "result", forwarded, xmlns="urn:xmpp:mam:2", queryid=self.hex(8), id=self.uuid()
        )
        return self.element("message", result, to=self.full(), id=self.hex(12))

    def sm(self) -> str:
        if self.rng.random() < 0.5:
            return self.element("r", xmlns="urn:xmpp:sm:3")
        return self.element("a", xmlns="urn:xmpp:sm:3", h=str(self.rng.randrange(5000)))

    def omemo(self) -> str:
        r = self.rng
        axolotl = "eu.siacs.conversations.axolotl"
        keys = [
            self.element("key", self.base64(120), rid=str(r.getrandbits(31))) for _ in range(r.randint(4, 12))
        ]
        header = self.element(
            "header", *keys, self.element("iv", self.base64(12)), sid=str(r.getrandbits(31))
        )
        return self.element(
            "message",
            self.element("encrypted", header, self.element("payload", self.base64(90)), xmlns=axolotl),
            self.element("encryption", xmlns="urn:xmpp:eme:0", namespace=axolotl, name="OMEMO"),
            self.element(
                "body", "I sent you an OMEMO encrypted message but your client doesn’t support that."
            ),
            self.element("store", xmlns="urn:xmpp:hints"),
            to=self.bare(),
            id=self.uuid(),
            type="chat",
        )

    def roster(self) -> str:
        r = self.rng
        items = [
            self.element(
                "item",
                self.element("group", r.choice(["Friends", "Work", "Семья"])),
                jid=self.bare(),
                name=self.text(2),
                subscription=r.choice(["both", "to", "from"]),
            )
            for _ in range(r.randint(40, 200))
        ]
        query = self.element("query", *items, xmlns="jabber:iq:roster", ver=self.hex(8))
        return self.element("iq", query, type="result", id=self.hex(8), to=self.full())

    def pubsub(self) -> str:
        if self.rng.random() < 0.5:
            keys = [self.element("preKeyPublic", self.base64(33), preKeyId=str(i)) for i in range(100)]
            payload = self.element("bundle", *keys, xmlns="eu.siacs.conversations.axolotl")
        else:
            payload = self.element(
                "data", self.base64(self.rng.randrange(8000, 18000)), xmlns="urn:xmpp:avatar:data"
            )
        publish = self.element("publish", self.element("item", payload, id=self.hex(40)), node="n")
        pubsub = self.element("pubsub", publish, xmlns="http://jabber.org/protocol/pubsub")
        return self.element("iq", pubsub, type="set", id=self.uuid())


@functools.cache
def stanzas(kind: str, count: int, seed: int = 1) -> tuple[bytes, ...]:
    """`count` stanzas of one kind."""
    write = getattr(Writer(seed), kind)
    return tuple(write().encode() for _ in range(count))


@functools.cache
def mix(count: int = MIX_STANZAS, seed: int = 6120) -> tuple[bytes, ...]:
    """`count` stanzas of all kinds by their shares."""
    writer = Writer(seed)
    kinds = writer.rng.choices(KINDS, list(SHARES.values()), k=count)
    return tuple(getattr(writer, kind)().encode() for kind in kinds)


def tcp_chunks(data: bytes, seed: int = 7) -> Iterator[bytes]:
    """`data` as TCP brings it: one or two full segments, or any size up to 16 KiB."""
    rng = random.Random(seed)
    at = 0
    while at < len(data):
        n = (1448, 2896, rng.randint(1, 200), rng.randint(1, 1448), rng.randint(1, 16384))[rng.randrange(5)]
        yield data[at : at + n]
        at += n
