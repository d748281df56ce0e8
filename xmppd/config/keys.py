"""What the structs of the tables say about a key, as data: for whoever reads, compares or documents the file."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, Final, NamedTuple

from msgspec import Struct, inspect

from xmppd.config.tables import Applies, Config
from xmppd.config.values import AccountName, Address, KeySource


class Key(NamedTuple):
    """One key of the file as the structs describe it."""

    table: str  # "" for the top level
    name: str
    help: str
    applies: Applies
    allowed: str
    default: Any  # msgspec.NODEFAULT if the key must be given
    is_table: bool

    @property
    def path(self) -> str:
        return f"{self.table}.{self.name}" if self.table else self.name


_KINDS: Final[dict[type, str]] = {
    Path: "a path",
    Address: "HOST:PORT",
    KeySource: "a path or a pkcs11: URI",
    AccountName: "USER@DOMAIN",
}


def _allowed(node: inspect.Type) -> str:
    """The values a type admits, in words."""
    match node:
        case inspect.Metadata(type=inner):
            return _allowed(inner)
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType() | inspect.FloatType():
            noun = "a whole number" if isinstance(node, inspect.IntType) else "a number"
            bounds = {"from": node.ge, "above": node.gt, "to": node.le}
            said = [f"{word} {bound}" for word, bound in bounds.items() if bound is not None]
            return " ".join([noun, *said])
        case inspect.StrType():
            return "text"
        case inspect.LiteralType(values=values):
            # msgspec sorts the values of a Literal; the file's reader wants no other order either
            return " or ".join(json.dumps(value) for value in values)
        case inspect.UnionType(types=types):
            return " or ".join(_allowed(t) for t in types if not isinstance(t, inspect.NoneType))
        case inspect.VarTupleType(item_type=item):
            if isinstance(item, inspect.LiteralType):
                return "a list of " + ", ".join(json.dumps(value) for value in item.values)
            return f"a list of {_allowed(item)}"
        case inspect.CustomType(cls=cls):
            return _KINDS[cls]
        case inspect.StructType():
            return "a table"
        case _:  # pragma: no cover
            raise TypeError(f"no words for {node}")


def _struct_of(node: inspect.Type) -> type[Struct] | None:
    match node:
        case inspect.Metadata(type=inner) | inspect.VarTupleType(item_type=inner):
            return _struct_of(inner)
        case inspect.StructType(cls=cls):
            return cls
    return None


def _metadata(node: inspect.Type) -> inspect.Metadata:
    assert isinstance(node, inspect.Metadata), node
    return node


@functools.cache
def keys_of(table: str = "") -> dict[str, Key]:
    """The keys of one table by name, in the order of the documentation; "" is the top level."""
    return {
        field.name: Key(
            table,
            field.name,
            (_metadata(field.type).extra_json_schema or {})["description"],
            (_metadata(field.type).extra or {})["applies"],
            _allowed(field.type),
            field.default,
            _struct_of(field.type) is not None,
        )
        for field in _fields(Config if not table else tables()[table])
    }


def _fields(struct: type[Struct]) -> tuple[inspect.Field, ...]:
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    return info.fields


@functools.cache
def tables() -> dict[str, type[Struct]]:
    """Table name -> its struct; `domains` and `listeners` are arrays of tables."""
    found = {field.name: _struct_of(field.type) for field in _fields(Config)}
    return {name: struct for name, struct in found.items() if struct is not None}


ARRAYS: Final = ("domains", "listeners")
