"""The launcher of Prosody, by its configuration file and prosodyctl; tried with 0.12 and 13.0.

`python -m xmppd.conformance.launchers.prosody` is the same launcher as a program. Where it finds Prosody:
`launchers.process.program`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from xmppd.conformance.launcher import LauncherFailed, Settings, Unsupported, serve
from xmppd.conformance.launchers.process import program, run
from xmppd.conformance.launchers.scratch import Scratch

# name of the setting to the option
KEYS: Final[Mapping[str, str]] = {
    "close-timeout": "c2s_close_timeout",
    "negotiation-timeout": "c2s_timeout",
    "max-stanza-bytes": "c2s_stanza_size_limit",
    "starttls-required": "c2s_require_encryption",
}
MECHANISMS: Final = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN")
MODULES: Final = (
    "admin_shell", "blocklist", "carbons", "dialback", "disco", "offline", "pep", "ping", "private", "roster",
    "saslauth", "smacks", "time", "tls", "uptime", "vcard4", "vcard_legacy", "version",
)  # fmt: skip # not "limits", which slows down who sends much, as a run does
# as the requirements want it, where the options allow it (UCR 2013 section 4)
TLS: Final[Mapping[str, Any]] = {
    "protocol": "tlsv1_2+",
    "ciphers": "ECDHE+AESGCM:DHE+AESGCM",
    "ciphersuites": "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256",
    "verify": ["peer", "client_once"],
    "verifyext": ["lsec_continue", "lsec_ignore_purpose"],
}


class Prosody(Scratch):
    """One scratch site."""

    system: ClassVar[str] = "Prosody"
    config_name: ClassVar[str] = "prosody.cfg.lua"
    known: ClassVar[frozenset[str]] = frozenset(KEYS) | {"sasl-mechanisms"}
    lacking: ClassVar[Mapping[str, str]] = {
        "sasl-retries": "it does not count the failed attempts of a stream",
        "idle-timeout": "it sends white space to a silent client, and leaves the rest to TCP",
        "unfinished-bytes": "it limits each stanza, not all of them together",
        "sessions-per-account": "it does not limit them",
        "dscp": "it leaves that to the operating system",
        "mechanisms-too-weak": "what is disabled is unknown, for all accounts",
        "accounts-unreachable": "the accounts are in files of its own",
        "storage-locked": "rosters and messages are in files of its own",
        "roster-items": "rosters are not limited",
    }

    def __init__(self) -> None:
        self._prosody = program("prosody")
        self._prosodyctl = program("prosodyctl")
        super().__init__()

    def command(self) -> Sequence[str]:
        return [*self._prosody, "--config", str(self.config), "-F"]

    def written(self, settings: Mapping[str, Any]) -> str:
        options: dict[str, Any] = {
            "run_as_root": True,
            "data_path": str(self.folder / "data"),
            "plugin_paths": [],
            "pidfile": str(self.folder / "pid"),
            "log": [{"levels": {"min": "info"}, "to": "console"}],
            "admin_socket": str(self.folder / "admin"),
            "modules_enabled": list(MODULES),
            "authentication": "internal_hashed",
            "c2s_ports": [self.port],
            "c2s_interfaces": self.addresses,
            "s2s_ports": [self.s2s_port],
            "s2s_interfaces": [self.loopback[0]],
            "c2s_require_encryption": True,
            "c2s_ssl": TLS,
        }
        options |= {KEYS[name]: value for name, value in settings.items() if name in KEYS}
        if (offered := settings.get("sasl-mechanisms")) is not None:
            options["disable_sasl_mechanisms"] = [name for name in MECHANISMS if name not in offered]
        text = "".join(f"{name} = {lua(value)}\n" for name, value in options.items())
        for domain, (chain, key) in self.certificates.items():
            text += f"VirtualHost {lua(domain)}\nssl = {lua({'certificate': str(chain), 'key': str(key)})}\n"
        return text

    def _ctl(self, *words: str) -> str:
        done = run([*self._prosodyctl, "--config", str(self.config), *words])
        if done.returncode:
            said = done.stderr.strip() or done.stdout.strip()
            raise LauncherFailed(f"prosodyctl {words[0]}: {said[-500:]}")
        return done.stdout

    def is_ready(self) -> bool:
        return super().is_ready() and (self.folder / "admin").exists()

    def version(self) -> str:
        said = self._ctl("about").split("Prosody ", 1)
        return said[1].split()[0] if len(said) == 2 else "unknown"

    def refusal(self, settings: Settings) -> str | None:
        """What its own check of a configuration says is wrong."""
        trial = self.config.with_name("trial.cfg.lua")
        trial.write_text(self._configuration(settings), encoding="utf-8")
        done = run([*self._prosodyctl, "--config", str(trial), "check", "config"])
        return (done.stdout + done.stderr).strip() if done.returncode else None

    def reload(self) -> None:
        self._ctl("shell", "config", "reload")
        for domain in self.domains:
            self._ctl("shell", "module", "reload", "tls", domain)

    def add_account(self, jid: str, password: str) -> None:
        name, _, domain = jid.partition("@")
        if not name or not domain:
            raise LauncherFailed(f"{jid!r} is no account")
        self._ctl("register", name, domain, password)

    def disable_account(self, jid: str) -> None:
        try:
            self._ctl("shell", "user", "disable", jid)
        except LauncherFailed as error:
            if "nil value" in str(error):
                raise Unsupported(f"Prosody {self._version} cannot disable accounts") from None
            raise

    def end_session(self, jid: str) -> None:
        self._ctl("shell", "c2s", "close", jid)


def lua(value: Any) -> str:
    """A value of JSON as Lua."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():  # each byte by its number, which needs no quoting
            return '"' + "".join(f"\\{byte:03d}" for byte in value.encode()) + '"'
        case Mapping():
            return "{ " + " ".join(f"[{lua(key)}] = {lua(item)};" for key, item in value.items()) + " }"
        case Sequence():
            return "{ " + " ".join(f"{lua(item)};" for item in value) + " }"
    raise TypeError(f"no Lua for {value!r}")


if __name__ == "__main__":
    serve(Prosody(), sys.stdin, sys.stdout)
