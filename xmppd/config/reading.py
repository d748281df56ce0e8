"""Reading the configuration file: the configuration, and all that is wrong with the file, one sentence each."""

from __future__ import annotations

import difflib
import functools
import json
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from xmppd import profile as profiles
from xmppd.config.keys import ARRAYS, Key, keys_of, tables
from xmppd.config.tables import Config, Domain
from xmppd.config.values import AccountName, Address, ConfigError, KeySource

# a key in the file: ("sasl", "retries"), ("listeners", 1, "address"); () is the whole file
Where = tuple[str | int, ...]

SHOWN: Final = 60  # characters of a wrong value in a sentence


class Fault(NamedTuple):
    """One thing that is wrong with the file; `requirement` is the row of UC XMPP 2013 that it breaks, if any."""

    where: Where
    sentence: str
    line: int | None
    requirement: str | None = None

    @property
    def key(self) -> str:
        """The key as it is written: "listeners[1].address"; "" for the whole file."""
        return _label(self.where)

    def __str__(self) -> str:
        return f"{self.sentence} (UC XMPP 2013, {self.requirement})" if self.requirement else self.sentence


def _decode(kind: type, value: Any) -> Any:
    """Make the values that TOML does not know; the words of an error end up in a ConfigError."""
    # a NUL ends a path for the kernel: nothing would be found under the name that stands there
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError
    if kind is Address or kind is AccountName:
        return kind.parse(value)
    if kind is KeySource:
        return KeySource(value if value.startswith(("pkcs11:", "file:")) else f"file:{value}")
    return kind(value)


def _line(text: str, where: Where) -> int | None:
    """Line of the key `where` in the file; that of its table if it has none."""
    names = [part for part in where if isinstance(part, str)]
    if not names:
        return None
    index = next((part for part in where if isinstance(part, int)), 0)
    table, wanted = ("", names[0]) if len(names) == 1 else (names[0], names[1])
    current, seen, best = "", -1, None
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\[?\s*([^\]\s]+)\s*\]", line):
            current = header[1].strip("\"'")
            if current == (table or wanted):
                seen += 1
                if best is None or seen == index:
                    best = number
        elif assignment := re.match(r"\s*([\w.\"'-]+)\s*=", line):
            name = assignment[1].replace('"', "").replace("'", "")
            if current == table and name == wanted and (not table or seen == index):
                return number
            if not current and name in (table, f"{table}.{wanted}"):
                best = number
    return best


def _label(where: Where) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).removeprefix(".")


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _nearest(name: str, table: str) -> str:
    """What was probably meant by an unknown key."""
    if near := difflib.get_close_matches(name, keys_of(table), n=1, cutoff=0.6):
        return f'; did you mean "{near[0]}"?'
    everywhere = {key.path: key.name for t in ("", *tables()) for key in keys_of(t).values()}
    if homes := [path.rpartition(".")[0] for path, known in everywhere.items() if known == name]:
        return f"; there is one {' and '.join(f'in [{home}]' if home else 'at the top' for home in homes)}"
    if near := difflib.get_close_matches(name, set(everywhere.values()), n=1, cutoff=0.75):
        return f'; did you mean "{next(path for path, known in everywhere.items() if known == near[0])}"?'
    return f"; known here: {', '.join(keys_of(table))}"


@functools.cache
def _types(table: str) -> Mapping[str, Any]:
    """The types of a table's keys, with their bounds."""
    return typing.get_type_hints(tables()[table] if table else Config, include_extras=True)


class _Reader:
    """Reads one file. What cannot be taken is a fault and left out, so that its default stands in its place."""

    def __init__(self, text: str) -> None:
        self.faults: list[Fault] = []
        self._text = text

    def fault(self, where: Where, sentence: str) -> None:
        self.faults.append(Fault(where, sentence, _line(self._text, where)))

    def read(self, raw: Mapping[str, Any]) -> Config:
        """The configuration, as far as it can be read."""
        read: dict[str, Any] = {}
        given: dict[str, Any] = {}  # the same, and in it what only its bounds forbid
        for name, value in raw.items():
            if name not in keys_of():
                self.fault((name,), f"unknown key {_shown(name)}{_nearest(name, '')}")
            elif name not in tables():
                self._take("", (name,), value, read, given)
            elif name in ARRAYS and isinstance(value, list) and all(isinstance(each, dict) for each in value):
                entries = [self._table(name, (name, index), entry) for index, entry in enumerate(value)]
                if all(entries):
                    read[name], given[name] = zip(*entries, strict=True) if entries else ((), ())
            elif name not in ARRAYS and isinstance(value, dict):
                read[name], given[name] = self._table(name, (name,), value) or (tables()[name](),) * 2
            else:
                brackets = f"[[{name}]]" if name in ARRAYS else f"[{name}]"
                self.fault((name,), f"{name} must be a table, written {brackets}")
        config = Config(**read)
        self._name_requirements(Config(**{**given, "profile": config.profile}))
        return config

    def _table(self, table: str, where: Where, raw: Mapping[str, Any]) -> tuple[Struct, Struct] | None:
        """A table as it can be read, and as it was given; None without a key that it must have."""
        read: dict[str, Any] = {}
        given: dict[str, Any] = {}
        for name, value in raw.items():
            if name in keys_of(table):
                self._take(table, (*where, name), value, read, given)
            else:
                self.fault((*where, name), f"unknown key {_shown(name)} in [{table}]{_nearest(name, table)}")
        needed = [known.name for known in keys_of(table).values() if known.default is msgspec.NODEFAULT]
        for name in needed:
            if name not in raw:
                self.fault(where, f'the key "{name}" is missing in [[{table}]]')
        if any(name not in read for name in needed):
            return None
        try:
            return tables()[table](**read), tables()[table](**given)
        except ValueError as error:  # what Domain.__post_init__ found
            self.fault((*where, "name"), f"{_label((*where, 'name'))}: {error}")
            return None

    def _take(
        self, table: str, where: Where, value: Any, read: dict[str, Any], given: dict[str, Any]
    ) -> None:
        """Put the value of one key into `read` and `given`, or say why it cannot be taken."""
        known = keys_of(table)[str(where[-1])]
        try:
            read[known.name] = given[known.name] = msgspec.convert(
                value, _types(table)[known.name], dec_hook=_decode
            )
            return
        except msgspec.ValidationError as error:
            message, _, inside = str(error).partition(" - at `$")
        if _is_like_the_default(value, known):
            given[known.name] = tuple(value) if isinstance(value, list) else value
        if known.name == "address" and isinstance(value, str) and value:
            self.fault(where, f"{_label(where)}: {message}")
            return
        for index in map(int, re.findall(r"\d+", inside)):  # one of a list
            where, value = (*where, index), value[index]
        self.fault(where, f"{_label(where)} = {_shown(value)}: must be {known.allowed}")

    def _name_requirements(self, given: Config) -> None:
        """Name the requirement that a value out of bounds breaks."""
        broken = {finding.key: finding.requirement for finding in reversed(profiles.findings(given))}
        for number, fault in enumerate(self.faults):
            key = ".".join(part for part in fault.where if isinstance(part, str))
            self.faults[number] = fault._replace(requirement=broken.get(key))

    def look_for_contradictions(self, config: Config) -> None:
        """What no single key shows; not of tables with a fault, of which not all is known."""
        for sentence, where in _contradictions(config):
            if not any(fault.where[:1] == where[:1] for fault in self.faults):
                self.fault(where, sentence)


def _is_like_the_default(value: Any, known: Key) -> bool:
    """Whether only its bounds can make a value wrong, as far as the rules of a profile can tell."""
    match known.default:
        case tuple():
            return isinstance(value, list) and all(isinstance(each, str) for each in value)
        case bool() | str():
            return type(value) is type(known.default)
        case int() | float():
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case None:  # a DSCP that is that of [net] if it is not given
            return isinstance(value, int) and not isinstance(value, bool)
    return False


def _absolute(config: Config, base: Path) -> Config:
    """`config` with absolute paths; relative ones are relative to `base`."""

    def domain(given: Domain) -> Domain:
        return Domain(
            name=given.name,
            certificate=base / given.certificate,
            key=given.key if given.key.path is None else KeySource(f"file:{base / given.key.path}"),
        )

    return msgspec.structs.replace(
        config,
        domains=tuple(domain(given) for given in config.domains),
        store=msgspec.structs.replace(config.store, path=base / config.store.path),
        admin=msgspec.structs.replace(config.admin, socket=base / config.admin.socket),
    )


def _contradictions(config: Config) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """What no single key shows."""
    if not config.domains:
        yield "no domain is served; add a [[domains]] table with a name", ("domains",)
    names = [domain.name for domain in config.domains]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield f"the domain {name} stands here twice", ("domains", index, "name")
    addresses = [listener.address for listener in config.listeners]
    for index, address in enumerate(addresses):
        if address.port and address in addresses[:index]:
            yield f"two listeners have the address {address}", ("listeners", index, "address")
    if config.tls.min_version > config.tls.max_version:
        yield "tls.min_version is above tls.max_version", ("tls", "min_version")
    for name in ("suites", "ciphers", "groups"):
        if not getattr(config.tls, name) and not (name == "ciphers" and config.tls.min_version == "1.3"):
            yield f"tls.{name} is empty", ("tls", name)
    for cipher in config.tls.ciphers:
        if cipher not in profiles.CIPHERS:
            near = difflib.get_close_matches(cipher, profiles.CIPHERS, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else f"; known are {', '.join(profiles.CIPHERS)}"
            yield f'tls.ciphers: no TLS 1.2 cipher suite is called "{cipher}"{hint}', ("tls", "ciphers")
    if not config.sasl.mechanisms:
        yield "sasl.mechanisms is empty, so nobody could log in", ("sasl", "mechanisms")
    if len(set(config.sasl.mechanisms)) < len(config.sasl.mechanisms):
        yield "sasl.mechanisms names a mechanism twice", ("sasl", "mechanisms")
    for account in config.sasl.strong_accounts:
        if account.domain not in names:
            yield f"sasl.strong_accounts: no domain of {account} is served", ("sasl", "strong_accounts")
    if set(config.sasl.strong_mechanisms).isdisjoint(config.sasl.mechanisms) and config.sasl.strong_accounts:
        yield "sasl.strong_mechanisms: none of them is in sasl.mechanisms", ("sasl", "strong_mechanisms")
    limits = config.limits
    if limits.roster_bytes > limits.output_bytes:
        yield "limits.roster_bytes is above limits.output_bytes", ("limits", "roster_bytes")
    if limits.preauth_stanza_bytes > limits.stanza_bytes:
        yield "limits.preauth_stanza_bytes is above limits.stanza_bytes", ("limits", "preauth_stanza_bytes")
    for name in ("partial_bytes_total", "output_bytes"):
        if getattr(limits, name) < limits.stanza_bytes:
            yield (
                f"limits.{name} is below limits.stanza_bytes: such a stanza could not pass",
                ("limits", name),
            )


def examine(text: str, path: Path) -> tuple[Config, list[Fault]]:
    """The configuration in `text`, as if it stood in the file `path`, and all that is wrong with it, by line.

    Where there are faults, the configuration has defaults in the place of what is wrong. What breaks a requirement
    of the profile is a fault here only where a bound forbids it too (see `profile.findings`).
    Raises ConfigError if it is no TOML.
    """
    try:
        raw = tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{path}: not a TOML file: it is nested too deep") from None
    except ValueError as error:  # a number of thousands of digits is no TOMLDecodeError
        raise ConfigError(f"{path}: not a TOML file: {str(error)[:1].lower()}{str(error)[1:]}") from None
    profile = raw.get("profile", Config().profile)
    # what is no known profile is named by the reader
    for table, defaults in profiles.DEFAULTS.get(profile if isinstance(profile, str) else "", {}).items():
        if isinstance(given := raw.get(table, {}), dict):
            raw[table] = {**defaults, **given}
    reader = _Reader(text)
    config = _absolute(reader.read(raw), path.parent.absolute())
    reader.look_for_contradictions(config)
    return config, sorted(reader.faults, key=lambda fault: fault.line or 0)


def examine_file(path: Path) -> tuple[Config, list[Fault]]:
    """`examine` of the file `path`. Raises ConfigError if it cannot be read or is no TOML."""
    return examine(_text(path), path)


def parse(text: str, path: Path, *, enforce: bool = True) -> Config:
    """The configuration in `text`, as if it stood in the file `path`; errors as those of `load`."""
    config, faults = examine(text, path)
    if enforce and not faults:
        faults = [
            Fault(where, f"{finding.key}: {finding.sentence}", _line(text, where), finding.requirement)
            for finding in profiles.findings(config)
            for where in [tuple(finding.key.split("."))]
        ]
    if faults:
        first, more = faults[0], len(faults) - 1
        place = f"{path}:{first.line}" if first.line else str(path)
        raise ConfigError(f"{place}: {first}" + (f"; and {more} more, see xmppd check" if more else ""))
    return config


def load(path: Path, *, enforce: bool = True) -> Config:
    """Read and judge the file `path`.

    Raises ConfigError (one sentence) if it cannot be read, is no TOML, holds an unknown key or a value out of
    bounds, contradicts itself or, with `enforce`, breaks a requirement of its profile.
    """
    return parse(_text(path), path, enforce=enforce)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a TOML file: it is not UTF-8") from None


def admin_socket(path: Path) -> Path:
    """The admin socket named by the file `path`, whatever else is wrong with the file.

    So that a running server can be asked and stopped while its file is broken. Raises ConfigError if it cannot be
    read or is no TOML.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return load(path, enforce=False).admin.socket  # says what is wrong
    try:
        admin = msgspec.convert({"admin": raw.get("admin", {})}, Config, dec_hook=_decode).admin
    except msgspec.ValidationError:
        return load(path, enforce=False).admin.socket
    return path.parent.absolute() / admin.socket
