"""The stanzas the benchmarks read: made anew each time, always the same ones.

The mix is what a busy server of a site with phones and rooms sees: mean size about 440 bytes, a fifth of the stanzas
with text that is not ASCII, a tenth of the texts with entities, both quote characters, children and attributes in
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

WORDS = {
    "en": """the of and to in you that it is for on are with as they be at this have from or had by hot but some
        what there we can out other were all your when up use word how said each she which do their time if will
        way about many then them would write like so these her long make thing see him two has look more day could
        go come did my no most number who over know than call first people may down side been now find""".split(),
    "de": """der die das und nicht für über schön Grüße heute später können müssen wäre natürlich Straße morgen
        früh zurück Büro völlig gewöhnlich hören möglich Tür zählen""".split(),
    "ru": """привет как дела сегодня завтра хорошо нет да может быть когда встреча работа друг письмо спасибо
        пожалуйста вечером утром дома потом""".split(),
    "zh": """你好 今天 明天 我们 可以 没有 什么 时候 谢谢 工作 朋友 晚上 会议 文件 已经""".split(),
    "emoji": ["😀", "👍", "🎉", "😂", "❤️", "🙏", "🤔", "👋"],
}
LANGUAGES = ["en"] * 60 + ["de"] * 18 + ["ru"] * 12 + ["zh"] * 6 + ["emoji"] * 4
NAMES = "romeo juliet mercutio benvolio tybalt nurse paris montague capulet rosaline peter abram".split()
HOSTS = "montague.example capulet.example verona.example chat.mantua.example".split()
RESOURCES = ["balcony", "phone", "Conversations.7Fa2", "gajim.X0PQ3L", "dino.9a81cf", "laptop", "web-3321"]


class Writer:
    """Writes stanzas with a random source of its own."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def hex(self, n: int) -> str:
        return f"{self.rng.getrandbits(4 * n):0{n}x}"

    def uuid(self) -> str:
        return f"{self.hex(8)}-{self.hex(4)}-{self.hex(4)}-{self.hex(4)}-{self.hex(12)}"

    def bare(self) -> str:
        return f"{self.rng.choice(NAMES)}{self.rng.randrange(400)}@{self.rng.choice(HOSTS)}"

    def full(self) -> str:
        return f"{self.bare()}/{self.rng.choice(RESOURCES)}"

    def room(self) -> str:
        return f"{self.rng.choice(NAMES)}-{self.rng.randrange(40)}@conference.{self.rng.choice(HOSTS[:2])}"

    def stamp(self) -> str:
        r = self.rng
        return f"2026-{r.randrange(1, 13):02}-{r.randrange(1, 29):02}T{r.randrange(24):02}:{r.randrange(60):02}:00Z"

    def text(self, words: int) -> str:
        """Some words, sometimes with entities."""
        r = self.rng
        language = r.choice(LANGUAGES)
        chosen = [r.choice(WORDS[language if r.random() < 0.8 else "en"]) for _ in range(words)]
        if r.random() < 0.1:
            chosen.insert(
                r.randrange(len(chosen) + 1),
                r.choice(["&amp;", "&lt;3", "&quot;so&quot;", "it&apos;s", "&gt;"]),
            )
        return " ".join(chosen) + r.choice(["", ".", "?", "!", " :)"])

    def attrs(self, **values: str | None) -> str:
        """Attributes in any order; one stanza in four uses double quotes."""
        quote = '"' if self.rng.random() < 0.25 else "'"
        pairs = [(k.rstrip("_").replace("__", ":"), v) for k, v in values.items() if v is not None]
        self.rng.shuffle(pairs)
        return "".join(f" {k}={quote}{v}{quote}" for k, v in pairs)

    def maybe(self, share: float, xml: Callable[[], str]) -> str:
        return xml() if self.rng.random() < share else ""

    def children(self, *parts: str) -> str:
        kept = [p for p in parts if p]
        self.rng.shuffle(kept)
        return "".join(kept)

    # ---- one method a kind ----

    def chat(self) -> str:
        r = self.rng
        body = self.text(r.choice([2, 5, 8, 12, 18, 30]))
        return (
            f"<message{self.attrs(to=self.bare(), id=self.uuid(), type='chat', xml__lang=r.choice([None, None, 'en']))}>"
            + self.children(
                f"<body>{body}</body>",
                self.maybe(0.8, lambda: "<active xmlns='http://jabber.org/protocol/chatstates'/>"),
                self.maybe(0.7, lambda: "<request xmlns='urn:xmpp:receipts'/>"),
                self.maybe(0.6, lambda: f"<origin-id xmlns='urn:xmpp:sid:0'{self.attrs(id=self.uuid())}/>"),
                self.maybe(0.4, lambda: "<markable xmlns='urn:xmpp:chat-markers:0'/>"),
                self.maybe(0.2, lambda: f"<thread>{self.hex(16)}</thread>"),
                self.maybe(
                    0.08,
                    lambda: (
                        "<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>"
                        f"<p style='font-weight:bold'>{body}</p></body></html>"
                    ),
                ),
            )
            + "</message>"
        )

    def chatstate(self) -> str:
        state = self.rng.choice(["composing", "paused", "active", "inactive", "gone"])
        return (
            f"<message{self.attrs(to=self.full(), id=self.uuid(), type='chat')}>"
            + self.children(
                f"<{state} xmlns='http://jabber.org/protocol/chatstates'/>",
                self.maybe(0.6, lambda: "<no-store xmlns='urn:xmpp:hints'/>"),
            )
            + "</message>"
        )

    def receipt(self) -> str:
        return (
            f"<message{self.attrs(to=self.full(), id=self.uuid(), type='chat')}>"
            + self.children(
                f"<received xmlns='urn:xmpp:receipts'{self.attrs(id=self.uuid())}/>",
                "<store xmlns='urn:xmpp:hints'/>",
                self.maybe(0.3, lambda: f"<origin-id xmlns='urn:xmpp:sid:0'{self.attrs(id=self.uuid())}/>"),
            )
            + "</message>"
        )

    def caps(self) -> str:
        ver = base64.b64encode(self.rng.randbytes(20)).decode()
        return f"<c xmlns='http://jabber.org/protocol/caps'{self.attrs(hash='sha-1', node='https://client.example', ver=ver)}/>"

    def presence(self) -> str:
        r = self.rng
        if r.random() < 0.15:
            return f"<presence{self.attrs(type='unavailable', to=r.choice([None, self.full()]))}/>"
        return (
            f"<presence{self.attrs(id=self.hex(10), xml__lang=r.choice([None, 'en']))}>"
            + self.children(
                self.maybe(0.5, lambda: f"<show>{r.choice(['away', 'xa', 'dnd', 'chat'])}</show>"),
                self.maybe(0.7, lambda: f"<status>{self.text(9)}</status>"),
                self.maybe(0.6, lambda: f"<priority>{r.choice([0, 1, 5, 127, -1])}</priority>"),
                self.caps(),
                self.maybe(0.7, lambda: f"<x xmlns='vcard-temp:x:update'><photo>{self.hex(40)}</photo></x>"),
                self.maybe(0.3, lambda: f"<idle xmlns='urn:xmpp:idle:1'{self.attrs(since=self.stamp())}/>"),
            )
            + "</presence>"
        )

    def muc_presence(self) -> str:
        r = self.rng
        item = self.attrs(
            affiliation=r.choice(["none", "member", "owner"]), role="participant", jid=self.full()
        )
        return (
            f"<presence{self.attrs(from_=f'{self.room()}/{r.choice(NAMES)}', to=self.full(), id=self.uuid())}>"
            + self.children(
                self.caps(),
                f"<x xmlns='http://jabber.org/protocol/muc#user'><item{item}/>"
                + self.maybe(0.5, lambda: "<status code='110'/>")
                + self.maybe(0.3, lambda: "<status code='100'/>")
                + "</x>",
                f"<occupant-id xmlns='urn:xmpp:occupant-id:0'{self.attrs(id=self.hex(32))}/>",
                self.maybe(0.4, lambda: f"<x xmlns='vcard-temp:x:update'><photo>{self.hex(40)}</photo></x>"),
            )
            + "</presence>"
        )

    def muc_message(self) -> str:
        room = self.room()
        return (
            f"<message{self.attrs(from_=f'{room}/{self.rng.choice(NAMES)}', to=self.full(), id=self.uuid(), type='groupchat')}>"
            + self.children(
                f"<body>{self.text(self.rng.choice([3, 6, 10, 18]))}</body>",
                f"<occupant-id xmlns='urn:xmpp:occupant-id:0'{self.attrs(id=self.hex(32))}/>",
                f"<stanza-id xmlns='urn:xmpp:sid:0'{self.attrs(id=self.uuid(), by=room)}/>",
                self.maybe(0.5, lambda: f"<origin-id xmlns='urn:xmpp:sid:0'{self.attrs(id=self.uuid())}/>"),
            )
            + "</message>"
        )

    def iq(self) -> str:
        r = self.rng
        kind = r.choice([0, 1, 2, 3, 3])
        if kind == 0:
            return f"<iq{self.attrs(to=r.choice(HOSTS), id=self.hex(12), type='get')}><ping xmlns='urn:xmpp:ping'/></iq>"
        if kind == 1:
            return f"<iq{self.attrs(to=self.full(), id=self.hex(12), type='result')}/>"
        if kind == 2:
            return (
                f"<iq{self.attrs(to=self.full(), id=self.hex(12), type='get')}>"
                f"<query xmlns='http://jabber.org/protocol/disco#info'{self.attrs(node='https://client.example/release#' + self.hex(20))}/></iq>"
            )
        return (
            f"<iq{self.attrs(id=self.uuid(), type='set')}><query xmlns='urn:xmpp:mam:2'{self.attrs(queryid=self.hex(8))}>"
            "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>"
            f"<field var='start'><value>{self.stamp()}</value></field></x>"
            "<set xmlns='http://jabber.org/protocol/rsm'><max>50</max></set></query></iq>"
        )

    def mam_result(self) -> str:
        inner = self.chat().replace("<message", f"<message xmlns='jabber:client' from='{self.full()}'", 1)
        return (
            f"<message{self.attrs(to=self.full(), id=self.hex(12))}><result xmlns='urn:xmpp:mam:2'"
            f"{self.attrs(queryid=self.hex(8), id=self.uuid())}><forwarded xmlns='urn:xmpp:forward:0'>"
            f"<delay xmlns='urn:xmpp:delay'{self.attrs(stamp=self.stamp())}/>{inner}</forwarded></result></message>"
        )

    def sm(self) -> str:
        if self.rng.random() < 0.5:
            return "<r xmlns='urn:xmpp:sm:3'/>"
        return f"<a xmlns='urn:xmpp:sm:3' h='{self.rng.randrange(5000)}'/>"

    def base64(self, n: int) -> str:
        return base64.b64encode(self.rng.randbytes(n)).decode()

    def omemo(self) -> str:
        keys = "".join(
            f"<key rid='{self.rng.getrandbits(31)}'>{self.base64(120)}</key>"
            for _ in range(self.rng.randrange(4, 13))
        )
        return (
            f"<message{self.attrs(to=self.bare(), id=self.uuid(), type='chat')}>"
            + self.children(
                "<encrypted xmlns='eu.siacs.conversations.axolotl'>"
                f"<header sid='{self.rng.getrandbits(31)}'>{keys}<iv>{self.base64(12)}</iv></header><payload>{self.base64(90)}</payload></encrypted>",
                "<encryption xmlns='urn:xmpp:eme:0' namespace='eu.siacs.conversations.axolotl' name='OMEMO'/>",
                "<body>I sent you an OMEMO encrypted message but your client doesn’t seem to support that.</body>",
                "<store xmlns='urn:xmpp:hints'/>",
            )
            + "</message>"
        )

    def roster(self) -> str:
        items = "".join(
            f"<item{self.attrs(jid=self.bare(), name=self.text(2), subscription=self.rng.choice(['both', 'to', 'from']))}>"
            f"<group>{self.rng.choice(['Friends', 'Work', 'Семья'])}</group></item>"
            for _ in range(self.rng.randrange(40, 201))
        )
        return f"<iq{self.attrs(type='result', id=self.hex(8), to=self.full())}><query xmlns='jabber:iq:roster' ver='{self.hex(8)}'>{items}</query></iq>"

    def pubsub(self) -> str:
        if self.rng.random() < 0.5:
            data = "".join(
                f"<preKeyPublic preKeyId='{i}'>{self.base64(33)}</preKeyPublic>" for i in range(100)
            )
            payload = f"<bundle xmlns='eu.siacs.conversations.axolotl'><prekeys>{data}</prekeys></bundle>"
        else:
            payload = (
                f"<data xmlns='urn:xmpp:avatar:data'>{self.base64(self.rng.randrange(8000, 18000))}</data>"
            )
        return (
            f"<iq{self.attrs(type='set', id=self.uuid())}><pubsub xmlns='http://jabber.org/protocol/pubsub'>"
            f"<publish node='n'><item id='{self.hex(40)}'>{payload}</item></publish></pubsub></iq>"
        )


# kind -> its share of the mix in hundredths of a percent
SHARES = {
    "chat": 3300, "chatstate": 1300, "receipt": 600, "presence": 1400, "muc_presence": 1000, "muc_message": 900,
    "iq": 500, "mam_result": 400, "sm": 400, "omemo": 140, "roster": 30, "pubsub": 15,
}  
KINDS = tuple(SHARES)


def stanzas(kind: str, count: int, seed: int = 1) -> list[bytes]:
    """`count` stanzas of one kind."""
    write = getattr(Writer(seed), kind)
    return [write().encode() for _ in range(count)]


@functools.cache
def mix(count: int = MIX_STANZAS, seed: int = 6120) -> tuple[bytes, ...]:
    """`count` stanzas of all kinds by their shares."""
    writer = Writer(seed)
    kinds = writer.rng.choices(KINDS, SHARES.values(), k=count)
    return tuple(getattr(writer, kind)().encode() for kind in kinds)


def tcp_chunks(data: bytes, seed: int = 7) -> Iterator[bytes]:
    """`data` as TCP brings it: full segments mostly, now and then any size up to 16 KiB."""
    rng = random.Random(seed)
    at = 0
    while at < len(data):
        way = rng.randrange(5)
        n = (1448, 2896, rng.randint(1, 200), rng.randint(1, 1448), rng.randint(1, 16384))[way]
        yield data[at : at + n]
        at += n
