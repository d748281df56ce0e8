"""`xmppd init`: everything a first start needs, in one folder."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xmppd.config import Address, Config, parse
from xmppd.ops.admin import CommandError
from xmppd.pki import issue

TEMPLATE = """\
# The configuration of xmppd. After a change: xmppd -c FILE check, then xmppd -c FILE reload.
# Every key, its default and its bounds: docs/config.md. Relative paths are relative to this file.

# What the server must keep to: "uc-2013" (strict) or "internet" (open federation).
profile = {profile}

# The domains that are served. Put your own certificate (PEM, intermediates behind it) and key
# in the place of the files under tls/, or name them here with the keys `certificate` and `key`.
{domains}
# Where connections are accepted: HOST:PORT, an IPv6 address in brackets.
{listeners}
[log]
level = "info"        # debug, info, warning, error
"""


@dataclass(frozen=True, slots=True)
class File:
    """A file to be written: content and mode."""

    content: bytes
    mode: int


def _toml(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def text(domains: Sequence[str], profile: str, listeners: Sequence[tuple[str, Address]]) -> str:
    """The configuration file."""
    return TEMPLATE.format(
        profile=_toml(profile),
        domains="".join(f"[[domains]]\nname = {_toml(domain)}\n\n" for domain in domains).rstrip("\n") + "\n",
        listeners="".join(
            f'[[listeners]]\nkind = "{kind}"\naddress = {_toml(str(address))}\n\n'
            for kind, address in listeners
        ).rstrip("\n")
        + "\n",
    )


def _ca(folder: Path, domains: Sequence[str]) -> tuple[issue.Pair, dict[Path, File]]:
    """The CA that is there already if it is one, so that clients go on trusting it; else a new one."""
    certificate, key = folder / "ca.pem", folder / "ca.key"
    # Path.exists raises where nobody may look
    there = [path for path in (certificate, key) if os.path.exists(path)]
    if len(there) == 1:
        # its clients trust it, wherever its key is kept: never replaced in silence
        missing = key if there == [certificate] else certificate
        raise CommandError(
            f"{there[0]} is there without {missing.name}: put {missing.name} back beside it, "
            f"or move {there[0].name} away for a new CA, which clients then have to trust"
        )
    if there:
        try:
            ca = issue.Pair(certificate.read_bytes(), key.read_bytes())
            others = [domain for domain in domains if not issue.covers(ca, domain)]
        except OSError as error:
            raise CommandError(f"{error.filename}: cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise CommandError(
                f"{certificate} and {key} are there, but cannot be used: {error}; move them away"
            ) from None
        if others:
            raise CommandError(
                f"{certificate} may not sign for {', '.join(others)}; move it and its key away for a new CA, "
                "which clients then have to trust"
            )
        return ca, {}
    ca = issue.make_ca(f"xmppd CA of {domains[0]} {secrets.token_hex(2)}", only_for=domains)
    return ca, {certificate: File(ca.certificate, 0o644), key: File(ca.key, 0o600)}


def plan(
    folder: Path, domains: Sequence[str], profile: str, listeners: Sequence[tuple[str, Address]]
) -> tuple[Config, dict[Path, File]]:
    """What would be written, and the configuration it makes; writes nothing.

    Raises ConfigError or CommandError, ValueError for a domain that no certificate can name.
    """
    path = folder / "xmppd.toml"
    written = text(domains, profile, listeners)
    config = parse(written, path)
    ca, files = _ca(folder / "tls", [domain.name for domain in config.domains])
    for domain in config.domains:
        pair = issue.issue(ca, domain.name)
        assert domain.key.path is not None
        files[domain.certificate] = File(pair.certificate, 0o644)
        files[domain.key.path] = File(pair.key, 0o600)
    # last: who finds it finds all that it names
    files[path] = File(written.encode(), 0o644)
    return config, files


def refuse_to_overwrite(files: Mapping[Path, File]) -> None:
    """CommandError that names what is there already."""
    there = [path for path in files if os.path.lexists(path)]
    if there:
        those = f"{there[-1]} and {len(there) - 1} more exist" if len(there) > 1 else f"{there[-1]} exists"
        raise CommandError(f"{those} already; --force overwrites, and keeps CA and accounts")


def refuse_what_cannot_be_replaced(files: Mapping[Path, File]) -> None:
    """CommandError that names a folder where a file shall be: no rename takes its place, and others were done."""
    for path in files:
        if os.path.isdir(path):
            raise CommandError(f"{path} is a directory; move it away")


def write(files: Mapping[Path, File]) -> None:
    """Write all of them, or none if that fails while they are made: first beside their names, then renamed.

    Raises CommandError.
    """
    parts: dict[Path, Path] = {}
    try:
        for path, file in files.items():
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            part = path.with_name(f".{secrets.token_hex(8)}.part")
            fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, file.mode)
            parts[path] = part
            with os.fdopen(fd, "wb") as opened:
                os.fchmod(fd, file.mode)
                opened.write(file.content)
                opened.flush()
                os.fsync(fd)
        for path, part in parts.items():
            part.replace(path)
    except OSError as error:
        raise CommandError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def lay_out(
    folder: Path,
    domains: Sequence[str],
    profile: str,
    listeners: Sequence[tuple[str, Address]],
    *,
    force: bool,
) -> dict[str, Any]:
    """Write configuration, certificates and an empty data directory; what was written, as data."""
    folder = folder.absolute()
    config, files = plan(folder, domains, profile, listeners)
    if not force:
        refuse_to_overwrite(files)
    refuse_what_cannot_be_replaced(files)
    try:
        config.store.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"{config.store.path}: cannot be made: {error.strerror}") from None
    write(files)
    return {
        "config": str(folder / "xmppd.toml"),
        "ca": str(folder / "tls" / "ca.pem"),
        "domains": [domain.name for domain in config.domains],
        "profile": config.profile,
        "listeners": [{"kind": each.kind, "address": str(each.address)} for each in config.listeners],
        "written": [str(path) for path in files],
    }
