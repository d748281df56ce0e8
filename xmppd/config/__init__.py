"""The configuration file: its tables (`tables`), reading it (`reading`), comparing two (`comparing`)."""

from xmppd.config.comparing import Change, diff, in_force
from xmppd.config.keys import ARRAYS, Key, keys_of, tables
from xmppd.config.reading import Fault, admin_socket, examine_file, load, parse
from xmppd.config.tables import SERVED, Config, Domain, Limits, Listener
from xmppd.config.values import AccountName, Address, ConfigError, KeySource, domain_name

__all__ = [
    "ARRAYS",
    "SERVED",
    "AccountName",
    "Address",
    "Change",
    "Config",
    "ConfigError",
    "Domain",
    "Fault",
    "Key",
    "KeySource",
    "Limits",
    "Listener",
    "admin_socket",
    "diff",
    "domain_name",
    "examine_file",
    "in_force",
    "keys_of",
    "load",
    "parse",
    "tables",
]
