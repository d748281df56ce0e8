"""Element trees for those who must look inside; relaying never builds one."""

from collections.abc import Iterator, Mapping
from typing import Final, TypeVar, final, overload

_Text = TypeVar("_Text", str, bytes)

@final
class Element:
    """`{ns}name`, `attrs` (name or `{uri}name` to value) or None, `children` (Element and str mixed) or None.

    No namespace is the empty string. The containers are the element's own; who changes them does it before
    anybody else sees the element.
    """

    ns: Final[str]
    name: Final[str]
    attrs: Final[dict[str, str] | None]
    children: Final[list[Element | str] | None]
    def __init__(
        self,
        ns: str,
        name: str,
        attrs: dict[str, str] | None = None,
        children: list[Element | str] | None = None,
    ) -> None: ...
    @overload
    def get(self, attr: str) -> str | None: ...
    @overload
    def get(self, attr: str, default: str) -> str: ...
    @overload
    def get(self, attr: str, default: None) -> str | None: ...
    def find(self, ns: str, name: str) -> Element | None:
        """The first child element of that name, or None."""
    def text(self) -> str:
        """The character data directly inside, joined."""
    def __iter__(self) -> Iterator[Element]:
        """The child elements."""
    def __eq__(self, other: object) -> bool: ...

def parse(raw: bytes, default_ns: str = "", prefixes: Mapping[str, str] | None = None) -> Element:
    """The element that `raw` holds, alone and whole.

    For bytes that have been through the tokenizer or were written here: structure is checked as far as
    building needs it (ValueError), well-formedness is not. `default_ns`, `prefixes` (prefix to URI): the
    scope the bytes stood in.
    """

def serialize(element: Element, content_ns: str = "") -> bytes:
    """The element as bytes, for a place where `content_ns` is the default namespace. ValueError as
    escape_text.
    """

def escape_text(value: _Text) -> _Text:
    """`value` (str or UTF-8 bytes) as character data; the same type. ValueError: a character XML does not
    allow.
    """

def escape_attr(value: _Text) -> _Text:
    """`value` (str or UTF-8 bytes) for an attribute in either quote; the same type. ValueError as
    escape_text.
    """
