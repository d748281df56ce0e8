from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from typing import Final, NamedTuple

Path = str | PathLike[str]

VERIFY_NONE: Final = 0
VERIFY_REQUEST: Final = 1
OPENSSL_VERSION_TEXT: Final[str]
CIPHERS: Final[str]
CIPHERS_FIPS: Final[str]
SUITES: Final[str]
SUITES_FIPS: Final[str]
GROUPS: Final[str]
GROUPS_FIPS: Final[str]

class TLSError(Exception): ...

class TLSInfo(NamedTuple):
    version: str
    cipher: str
    group: str | None
    sni: str | None
    alpn: bytes | None
    resumed: bool
    ems: bool

class VerifyResult(NamedTuple):
    first: int
    depth: int
    final: int

def limit_arenas() -> bool: ...
def trim() -> bool: ...

class LibCtx:
    def __init__(
        self,
        config_path: Path | None = None,
        pin: Callable[[str], str | bytes | None] | None = None,
        fips: bool = False,
    ) -> None: ...
    @property
    def config_path(self) -> Path | None: ...
    @property
    def fips(self) -> bool: ...

class X509Store:
    def __init__(self, cafile: Path | None = None, crls: Iterable[Path] = ()) -> None: ...
    @property
    def cafile(self) -> Path | None: ...
    @property
    def crls(self) -> tuple[Path, ...]: ...
    @property
    def lib(self) -> LibCtx | None: ...

class TicketKeys:
    def __init__(self, lifetime_s: int = 28800, lib: LibCtx | None = None) -> None: ...
    @property
    def lifetime_s(self) -> int: ...
    def rotate(self) -> None: ...

class TLSContext:
    def __init__(
        self,
        lib: LibCtx,
        certs: Sequence[tuple[Path, Path]] = (),
        *,
        min: str = "1.2",  # noqa: A002
        max: str = "1.3",  # noqa: A002
        ciphers: str | None = None,
        suites: str | None = None,
        groups: str | None = None,
        sigalgs: str | None = None,
        verify: int = 0,
        store: X509Store | None = None,
        client_ca_file: Path | None = None,
        alpn: Iterable[bytes] = (),
        tickets: TicketKeys | None = None,
    ) -> None: ...
    @property
    def lib(self) -> LibCtx: ...
    @property
    def tickets(self) -> TicketKeys | None: ...
    @property
    def alpn(self) -> tuple[bytes, ...]: ...
    @property
    def certificates(self) -> tuple[bytes, ...]: ...
    @property
    def verify(self) -> int: ...
    @property
    def min(self) -> str: ...
    @property
    def max(self) -> str: ...
