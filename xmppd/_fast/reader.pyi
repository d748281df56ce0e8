"""The reading end of an XML stream (RFC 6120 sections 4 and 11)."""

from typing import Final, final

from xmppd._fast.element import Element
from xmppd.errors import StreamError

KIND_OTHER: Final = 0
KIND_MESSAGE: Final = 1
KIND_PRESENCE: Final = 2
KIND_IQ: Final = 3

def ns_id(uri: str) -> int:
    """The number of a known namespace name, 0 if it is unknown."""

def ns_uri(id: int) -> str:  # noqa: A002
    """The namespace name of a number; ValueError if there is none."""

def partial_bytes() -> int:
    """Bytes of the buffers that hold unread input, all readers of the process together."""

@final
class Limits:
    """What a stream may ask of the reader; passing one is a policy-violation. Sizes in bytes of UTF-8.

    stanza_bytes: a first-level element (RFC 6120 13.12: at least 10000); tag_bytes: one tag; depth: elements
    in each other, the stanza counted; attributes: of one tag; bindings: namespaces in scope, the header's
    counted; name_bytes: a name with its prefix; uri_bytes: a namespace name. ValueError outside what the
    reader can do.
    """

    stanza_bytes: Final[int]
    tag_bytes: Final[int]
    depth: Final[int]
    attributes: Final[int]
    bindings: Final[int]
    name_bytes: Final[int]
    uri_bytes: Final[int]
    def __init__(
        self,
        *,
        stanza_bytes: int = 262144,
        tag_bytes: int = 65536,
        depth: int = 64,
        attributes: int = 64,
        bindings: int = 32,
        name_bytes: int = 256,
        uri_bytes: int = 512,
    ) -> None: ...

@final
class StreamHeader:
    """What the peer's stream header said (RFC 6120 4.7, 4.8); made by the reader only.

    `raw`: the start tag as received. content_ns: the default namespace if it is not the streams namespace,
    else None. Attributes are decoded, None if absent. declarations: prefix ('' is the default namespace) to
    namespace name.
    """

    raw: Final[bytes]
    @property
    def name(self) -> str: ...
    @property
    def ns(self) -> str: ...
    @property
    def prefix(self) -> str | None: ...
    @property
    def content_ns(self) -> str | None: ...
    @property
    def to(self) -> str | None: ...
    @property
    def from_(self) -> str | None: ...
    @property
    def id(self) -> str | None: ...
    @property
    def version(self) -> str | None: ...
    @property
    def lang(self) -> str | None: ...
    @property
    def declarations(self) -> dict[str, str]: ...

@final
class Stanza:
    """A first-level element as it was received: its bytes and where in them things are. Immutable.

    kind: KIND_MESSAGE, KIND_PRESENCE or KIND_IQ in the stream's content namespace, else KIND_OTHER. type: the
    text of the attribute or None; type_id its number (reader.pxd). nchild: direct children. Attributes are
    decoded, None if absent.
    """

    raw: Final[bytes]
    kind: Final[int]
    type_id: Final[int]
    flags: Final[int]
    nchild: Final[int]
    @staticmethod
    def parse(raw: bytes, content_ns: str = "jabber:client") -> Stanza:
        """The stanza that `raw` holds, alone and whole, where `content_ns` is the default namespace; or
        StreamError.
        """
    @property
    def type(self) -> str | None: ...
    @property
    def name(self) -> str: ...
    @property
    def ns(self) -> str: ...
    @property
    def to(self) -> str | None: ...
    @property
    def from_(self) -> str | None: ...
    @property
    def id(self) -> str | None: ...
    @property
    def lang(self) -> str | None: ...
    def __len__(self) -> int: ...
    def element(self) -> Element:
        """The whole stanza as a tree, a new one each time."""
    def child(self, i: int) -> tuple[str, str]:
        """(namespace, name) of direct child `i`; IndexError beyond the last."""
    def has_child(self, ns: str, name: str) -> bool:
        """Is there a direct child of that name?"""
    def find(self, ns: str, name: str) -> Element | None:
        """The first direct child of that name as a tree (only that child is built), or None."""
    def render(self, to: bytes | None = None, from_: bytes | None = None, lang: bytes | None = None) -> bytes:
        """The stanza with `to` and `from` replaced, for any stream of the same content namespace.

        Addresses are bytes as they stand on the wire, safe inside single quotes; None: as in the stanza; b'':
        none. lang: added if the stanza has no xml:lang.
        """
    def split(self, from_: bytes | None = None, lang: bytes | None = None) -> tuple[bytes, bytes]:
        """(head, tail) for many recipients: head + b" to='" + wire + b"'" + tail is a stanza. As `render`
        otherwise.
        """
    def error_reply(
        self,
        error_xml: bytes,
        to: bytes | None = None,
        from_: bytes | None = None,
        lang: bytes | None = None,
    ) -> bytes:
        """The stanza sent back with type='error' and the error behind its content (RFC 6120 8.3).

        to, from_: wire form, b'' for none; None: the stanza's own `from` and `to`, swapped. lang: as in `render`.
        """
    def reply(self, payload: bytes, to: bytes | None = None, from_: bytes | None = None) -> bytes:
        """An IQ result with the same id; `payload` is XML or b''. Addresses as in `error_reply`."""

@final
class StreamClose:
    """The peer's `</stream:stream>`."""

@final
class StreamReader:
    """Reads one stream after another from one connection.

    content_ns: the content namespace that is served here (RFC 6120 4.8.2); limits: see Limits.
    """

    def __init__(self, *, content_ns: str = "jabber:client", limits: Limits | None = None) -> None: ...
    @property
    def stanza(self) -> Stanza | None: ...
    @property
    def header(self) -> StreamHeader | None: ...
    @property
    def error(self) -> StreamError | None: ...
    @property
    def pending_bytes(self) -> int:
        """Bytes presented and not used yet, kept here or still in the borrowed buffer."""
    def restart(self) -> None:
        """A new stream on the same connection; bytes not used yet belong to it. A stream error stays."""
    def settle(self) -> None:
        """The stream is open: keep of its header only what stanzas refer to, shared with streams that said the same."""
    def set_limits(self, limits: Limits) -> None:
        """Other limits from the next byte on."""
    def present(self, data: bytes) -> None:
        """Put `data` behind the bytes not used yet; `next_event` reads them."""
    def next_event(self) -> StreamHeader | Stanza | StreamClose | StreamError | None:
        """The next event, for ever the StreamError once there is one; None: more bytes are needed."""
    def feed(self, data: bytes) -> list[StreamHeader | Stanza | StreamClose | StreamError]:
        """All events of `data`; a StreamError is the last one, and given once."""
