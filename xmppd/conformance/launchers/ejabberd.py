"""The launcher of ejabberd, by its configuration file and its HTTP API; tried with 23.01 and 24.12.

`python -m xmppd.conformance.launchers.ejabberd` is the same launcher as a program. It starts the Erlang machine itself,
not by ejabberdctl, which would leave a port mapper behind. Where it finds Erlang: `launchers.process.program`.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from xmppd.conformance.launcher import LauncherFailed, Settings, serve
from xmppd.conformance.launchers.process import COMMAND_TIMEOUT_S, accepts, free_port, program, run
from xmppd.conformance.launchers.scratch import Scratch

MECHANISMS: Final = (
    "DIGEST-MD5", "PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS",
    "SCRAM-SHA-512", "SCRAM-SHA-512-PLUS", "X-OAUTH2",
)  # fmt: skip
WEAK: Final = ("DIGEST-MD5", "X-OAUTH2")
MODULES: Final = (
    "mod_adhoc", "mod_admin_extra", "mod_blocking", "mod_caps", "mod_carboncopy", "mod_client_state", "mod_disco",
    "mod_http_api", "mod_last", "mod_offline", "mod_ping", "mod_privacy", "mod_private", "mod_roster",
    "mod_s2s_dialback", "mod_stream_mgmt", "mod_time", "mod_vcard", "mod_version",
)  # fmt: skip
# as the requirements want it, where the options allow it (UCR 2013 section 4)
TLS: Final[Mapping[str, Any]] = {
    "protocol_options": ["no_sslv3", "no_tlsv1", "no_tlsv1_1", "cipher_server_preference", "no_compression"],
    "ciphers": "ECDHE+AESGCM:DHE+AESGCM",
    "tls_verify": True,
}
TRY: Final = """
    application:load(ejabberd),
    [{ok, _} = application:ensure_all_started(Each) || Each <- [fast_yaml, stringprep, xmpp]],
    case ejabberd_config:load() of
        ok -> halt(0);
        Error -> io:format("~s~n", [ejabberd_config:format_error(Error)]), halt(1)
    end.
"""


class Ejabberd(Scratch):
    """One scratch site."""

    system: ClassVar[str] = "ejabberd"
    config_name: ClassVar[str] = "ejabberd.yml"
    known: ClassVar[frozenset[str]] = frozenset(
        (
            "accounts-unreachable", "idle-timeout", "max-stanza-bytes", "negotiation-timeout", "sasl-mechanisms",
            "sessions-per-account", "starttls-required",
        )
    )  # fmt: skip
    lacking: ClassVar[Mapping[str, str]] = {
        "sasl-retries": "mod_fail2ban counts failures by address, not by stream, and then locks the address out",
        "close-timeout": "how long it waits for the closing tag is fixed",
        "unfinished-bytes": "it limits each stanza, not all of them together",
        "dscp": "it leaves that to the operating system",
        "mechanisms-too-weak": "what is disabled is unknown, for all accounts",
        "storage-locked": "rosters and messages are in a database of its own, in the same process",
        "roster-items": "rosters are not limited",
    }

    def __init__(self) -> None:
        self._erl = program("erl")
        super().__init__()
        self._api_port = 0
        self._reloads = 0

    def command(self) -> Sequence[str]:
        return [*self._erl, "-noinput", "-mnesia", "dir", f'"{self.folder}/mnesia"', "-s", "ejabberd"]

    def environment(self) -> Mapping[str, str]:
        return {
            "EJABBERD_CONFIG_PATH": str(self.config),
            "ERL_CRASH_DUMP": str(self.folder / "crash"),
            "HOME": str(self.folder),  # where Erlang looks for a cookie
        }

    def written(self, settings: Mapping[str, Any]) -> str:
        self._api_port = self._api_port or free_port(self.loopback[0])
        clients: dict[str, Any] = {
            "module": "ejabberd_c2s",
            "port": self.port,
            "backlog": 1024,  # a run connects fast
            "starttls": True,
            "starttls_required": settings.get("starttls-required", True),
            "cafile": str(self._authority.ca_file),  # of clients
            "max_stanza_size": settings.get("max-stanza-bytes", 262_144) + 1,  # the first that is refused
            **TLS,
        }
        modules: dict[str, Any] = {name: {} for name in MODULES} | {
            "mod_roster": {"versioning": True, "store_current_id": True}
        }
        if (idle := settings.get("idle-timeout")) is not None:
            half = max(1, math.ceil(idle / 2))  # it counts in seconds
            modules["mod_ping"] = {
                "send_pings": True,
                "ping_interval": half,
                "ping_ack_timeout": half,
                "timeout_action": "kill",
            }
        offered = settings.get("sasl-mechanisms")
        options: dict[str, Any] = {
            "hosts": self.domains,
            "loglevel": "info",
            "ca_file": str(self._authority.ca_file),
            "certfiles": [str(path) for pair in self.certificates.values() for path in pair],
            "auth_password_format": "scram",
            "disable_sasl_mechanisms": WEAK if offered is None else sorted(set(MECHANISMS) - set(offered)),
            "listen": [
                *({**clients, "ip": address} for address in self.addresses),
                {"module": "ejabberd_s2s_in", "port": self.s2s_port, "ip": self.loopback[0]},
                {
                    "module": "ejabberd_http",
                    "port": self._api_port,
                    "ip": self.loopback[0],
                    "request_handlers": {"/api": "mod_http_api"},
                },
            ],
            "api_permissions": {"the launcher": {"who": {"ip": self.loopback[0]}, "what": "*"}},
            "shaper_rules": {"max_user_sessions": settings.get("sessions-per-account", 100)},
            "s2s_use_starttls": "required",
            "modules": modules,
        }
        if "negotiation-timeout" in settings:
            options["negotiation_timeout"] = max(1, math.ceil(settings["negotiation-timeout"]))
        if settings.get("accounts-unreachable"):
            options |= {"auth_method": "external", "extauth_program": "/usr/bin/false"}
        return json.dumps(options, indent=1, ensure_ascii=False)  # JSON is YAML

    def _api(self, command: str, **arguments: Any) -> Any:
        host = f"[{self.loopback[0]}]" if ":" in self.loopback[0] else self.loopback[0]
        request = urllib.request.Request(
            f"http://{host}:{self._api_port}/api/{command}", json.dumps(arguments).encode()
        )
        request.add_header("Content-Type", "application/json")
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(request, timeout=COMMAND_TIMEOUT_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise LauncherFailed(
                    f"ejabberd: {command}: {error.read().decode(errors='replace')[:500]}"
                ) from None
        except (OSError, ValueError) as error:
            raise LauncherFailed(f"ejabberd: {command}: {error}") from None

    def is_ready(self) -> bool:
        return super().is_ready() and accepts(self.loopback[0], self._api_port)

    def version(self) -> str:
        """As in "ejabberd 24.12-3+deb13u2 is running in that node"."""
        words = str(self._api("status")).split("ejabberd ")
        return words[-1].split()[0].split("-")[0]

    def refusal(self, settings: Settings) -> str | None:
        """What ejabberd says when it reads a configuration without starting."""
        trial = self.config.with_name("trial.yml")
        trial.write_text(self._configuration(settings), encoding="utf-8")
        done = run(
            [*self._erl, "-noinput", "-eval", TRY],
            more={**self.environment(), "EJABBERD_CONFIG_PATH": str(trial)},
        )
        return (done.stdout + done.stderr).strip()[-500:] if done.returncode else None

    def reload(self) -> None:
        self._reloads += 1
        later = time.time() + self._reloads  # it knows a changed file by its time, in whole seconds
        for pair in self.certificates.values():
            for path in pair:
                os.utime(path, (later, later))
        self._api("reload_config")

    def add_account(self, jid: str, password: str) -> None:
        name, _, domain = jid.partition("@")
        self._api("register", user=name, host=domain, password=password)

    def disable_account(self, jid: str) -> None:
        name, _, domain = jid.partition("@")
        self._api("ban_account", user=name, host=domain, reason="disabled")

    def end_session(self, jid: str) -> None:
        bare, _, resource = jid.partition("/")
        name, _, domain = bare.partition("@")
        self._api(
            "kick_session", user=name, host=domain, resource=resource, reason="ended by the administrator"
        )


if __name__ == "__main__":
    serve(Ejabberd(), sys.stdin, sys.stdout)
