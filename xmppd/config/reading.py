"""Reading the configuration file: what is wrong with it, in one sentence each, or the configuration."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from xmppd import profile as profiles
from xmppd.config.keys import ARRAYS, keys_of, tables
from xmppd.config.tables import Config, Domain
from xmppd.config.values import AccountName, Address, ConfigError, KeySource


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


class _File:
    """The text of a configuration file, to say where in it something is wrong."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text

    def error(self, sentence: str, *where: str | int) -> ConfigError:
        line = self._line(where) if where else None
        return ConfigError(f"{self.path}:{line}: {sentence}" if line else f"{self.path}: {sentence}")

    def _line(self, where: tuple[str | int, ...]) -> int | None:
        """Line of the key `where`, as ("listeners", 1, "address"); that of its table if it has none."""
        names = [part for part in where if isinstance(part, str)]
        index = next((part for part in where if isinstance(part, int)), 0)
        table, wanted = ("", names[0]) if len(names) == 1 else (names[0], names[1])
        current, seen, best = "", -1, None
        for number, line in enumerate(self.text.splitlines(), 1):
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


def _nearest(name: str, table: str) -> str:
    """What was probably meant by an unknown key."""
    if near := difflib.get_close_matches(name, keys_of(table), n=1, cutoff=0.6):
        return f'; did you mean "{near[0]}"?'
    everywhere = {key.path: key.name for t in ("", *tables()) for key in keys_of(t).values()}
    if homes := [path.rpartition(".")[0] for path, known in everywhere.items() if known == name]:
        return f"; it belongs {' or '.join(f'in [{home}]' if home else 'at the top' for home in homes)}"
    if near := difflib.get_close_matches(name, set(everywhere.values()), n=1, cutoff=0.75):
        return f'; did you mean "{next(path for path, known in everywhere.items() if known == near[0])}"?'
    return f"; known here: {', '.join(keys_of(table))}"


def _unknown_keys(raw: dict[str, Any], file: _File) -> None:
    """ConfigError for the first key that no struct knows."""
    for name, value in raw.items():
        if name not in keys_of():
            raise file.error(f'unknown key "{name}"{_nearest(name, "")}', name)
        if name not in tables():
            continue
        entries = value if name in ARRAYS else [value]
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            brackets = f"[[{name}]]" if name in ARRAYS else f"[{name}]"
            raise file.error(f"{name} must be a table, written {brackets}", name)
        for index, entry in enumerate(entries):
            for inner in entry:
                if inner not in keys_of(name):
                    raise file.error(
                        f'unknown key "{inner}" in [{name}]{_nearest(inner, name)}', name, index, inner
                    )


def _convert(raw: dict[str, Any], file: _File) -> Config:
    try:
        return msgspec.convert(raw, Config, dec_hook=_decode)
    except msgspec.ValidationError as error:
        message, _, at = str(error).rpartition(" - at ")
        message, at = message or str(error), at.strip("`$")
    where = [int(part) if part.isdigit() else part for part in re.findall(r"\w+", at)]
    if missing := re.search(r"missing required field `(\w+)`", message):
        raise file.error(f'the key "{missing[1]}" is missing in [[{where[0]}]]', *where)
    names = [part for part in where if isinstance(part, str)]
    if names == ["domains"]:  # what Domain.__post_init__ found
        raise file.error(f"domains[{where[1]}].name: {message}", *where, "name")
    found = keys_of(names[0] if len(names) > 1 else "")[names[min(len(names), 2) - 1]]
    value: Any = raw
    for part in where:
        value = value[part]
    label = at.lstrip(".")
    if found.name == "address" and isinstance(value, str):
        raise file.error(f"{label}: {message}", *where)
    raise file.error(f"{label} = {json.dumps(value, default=str)}: must be {found.allowed}", *where)


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
        yield "no domain is served; add a [[domains]] table with a name", ()
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


def parse(text: str, path: Path, *, enforce: bool = True) -> Config:
    """The configuration in `text`, as if it stood in the file `path`; errors as those of `load`."""
    file = _File(path, text)
    try:
        raw = tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{path}: not a TOML file of this server: it is nested too deep") from None
    except ValueError as error:  # a number of thousands of digits is no TOMLDecodeError
        raise ConfigError(f"{path}: not a TOML file: {str(error)[:1].lower()}{str(error)[1:]}") from None
    _unknown_keys(raw, file)
    profile = raw.get("profile", Config().profile)
    # what is no known profile is named by _convert
    for table, defaults in profiles.DEFAULTS.get(profile if isinstance(profile, str) else "", {}).items():
        raw[table] = {**defaults, **raw.get(table, {})}
    config = _convert(raw, file)
    config = _absolute(config, path.parent.absolute())
    for sentence, where in _contradictions(config):
        raise file.error(sentence, *where)
    if enforce and (findings := profiles.findings(config)):
        more = f"; so do {len(findings) - 1} more, see xmppd check" if len(findings) > 1 else ""
        raise file.error(f"{findings[0]}{more}", *findings[0].key.split("."))
    return config


def load(path: Path, *, enforce: bool = True) -> Config:
    """Read and judge the file `path`.

    Raises ConfigError (one sentence) if it cannot be read, is no TOML, holds an unknown key or a value out of
    bounds, contradicts itself or, with `enforce`, breaks a requirement of its profile.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a TOML file: it is not UTF-8") from None
    return parse(text, path, enforce=enforce)


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
