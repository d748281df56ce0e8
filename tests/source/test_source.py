"""The rules of the house that a machine can read from the sources: arrows, stubs, scripts, words."""

from __future__ import annotations

import ast
import itertools
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]

# ---- arrows (docs/architecture.md) -------------------------------------------------------------------------

LEFT_OF_ALL: Final = frozenset({"errors", "ns", "clock", "address", "events", "jid", "records"})
CORE: Final = LEFT_OF_ALL | {"_fast"}
SETTINGS: Final = frozenset({"config", "profile"})
HANDED_IN: Final = frozenset(
    {"store", "auth", "pki"}
)  # the composition root gives them to the others as objects
CHAIN: Final = ("stream", "net", "core", "features")

# room (a module or folder right under xmppd) -> the rooms it may import, besides itself
MAY_IMPORT: Final[dict[str, frozenset[str]]] = {
    **dict.fromkeys(LEFT_OF_ALL, LEFT_OF_ALL),
    "jid": CORE,  # a re-export of _fast's
    "_fast": LEFT_OF_ALL,
    **dict.fromkeys(SETTINGS, SETTINGS | LEFT_OF_ALL),
    **dict.fromkeys(HANDED_IN, CORE),
    "auth": CORE | {"store"},  # accounts of our own are checked against the keys in the store
    **{room: CORE | set(CHAIN[:i]) for i, room in enumerate(CHAIN)},
    "ops": CORE | SETTINGS | HANDED_IN | set(CHAIN),
    "preconditions": CORE | SETTINGS | HANDED_IN | set(CHAIN) | {"ops"},
    "server": CORE | SETTINGS | HANDED_IN | set(CHAIN) | {"ops", "preconditions"},
    "cli": CORE | SETTINGS | HANDED_IN | set(CHAIN) | {"ops", "preconditions", "server", "conformance"},
    "conformance": frozenset(),
    "__main__": frozenset({"cli"}),
    "__init__": frozenset(),
}
CYTHON_IMPORT: Final = re.compile(
    r"^\s*(?:from\s+xmppd\.(\w+)|c?import\s+xmppd\.(\w+)|from\s+xmppd\s+c?import\s+(\w+))", re.M
)


def room_of(path: Path) -> str:
    inside = path.relative_to(ROOT / "xmppd")
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def imported_rooms(path: Path, text: str) -> set[str]:
    """The rooms of xmppd that a file imports, wherever in it, for running or for types only."""
    if path.suffix in (".pyx", ".pxd"):
        return {next(filter(None, groups)) for groups in CYTHON_IMPORT.findall(text)}
    rooms = set()
    package = ["xmppd", *path.relative_to(ROOT / "xmppd").parts[:-1]]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *filter(None, [node.module])])
            modules = [f"{module}.{alias.name}" for alias in node.names] if module == "xmppd" else [module]
        else:
            continue
        rooms |= {module.split(".")[1] for module in modules if module.startswith("xmppd.")}
    return {room for room in rooms if room in MAY_IMPORT or exists(room)}


def exists(room: str) -> bool:
    return (ROOT / "xmppd" / room).is_dir() or (ROOT / "xmppd" / f"{room}.py").exists()


def wrong_arrows(path: Path, text: str) -> set[str]:
    room = room_of(path)
    return imported_rooms(path, text) - {room} - MAY_IMPORT[room]


def sources() -> Iterator[Path]:
    for suffix in ("py", "pyi", "pyx", "pxd"):
        yield from sorted((ROOT / "xmppd").rglob(f"*.{suffix}"))


def test_every_room_has_its_arrows() -> None:
    rooms = {room_of(path) for path in sources()}
    assert not rooms - MAY_IMPORT.keys(), (
        "a new room: say in MAY_IMPORT and docs/architecture.md what it may import"
    )


@pytest.mark.parametrize("path", list(sources()), ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_point_one_way(path: Path) -> None:
    assert not wrong_arrows(path, path.read_text())


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        ("core/router.py", "from xmppd.server import serve", {"server"}),
        ("core/router.py", "def f():\n    import xmppd.store.store", {"store"}),
        ("core/deep/x.py", "from ...features import ping", {"features"}),
        ("core/router.py", "from xmppd import ns, __version__\nfrom . import iq\nfrom .iq import x", set()),
        ("core/router.py", "if TYPE_CHECKING:\n    from xmppd import ops", {"ops"}),
        ("_fast/conn.pyx", "from xmppd.stream cimport x", {"stream"}),
        ("_fast/conn.pyx", "    cimport xmppd.net.y", {"net"}),
        ("_fast/conn.pyx", "from xmppd._fast.reader cimport Stanza\nfrom xmppd import events", set()),
        ("ops/health.py", "import xmppd.cli", {"cli"}),
        ("conformance/run.py", "from xmppd.errors import StreamError", {"errors"}),
    ],
)
def test_a_wrong_arrow_would_be_seen(name: str, text: str, wrong: set[str]) -> None:
    assert wrong_arrows(ROOT / "xmppd" / name, text) == wrong


# ---- compiled modules --------------------------------------------------------------------------------------


@pytest.mark.parametrize("pyx", sorted((ROOT / "xmppd/_fast").glob("*.pyx")), ids=lambda path: path.name)
def test_every_compiled_module_has_types_and_declarations(pyx: Path) -> None:
    assert pyx.with_suffix(".pyi").exists(), "no .pyi: mypy cannot see it"
    assert pyx.with_suffix(".pxd").exists(), "no .pxd: other modules cannot cimport it"


# ---- all files ---------------------------------------------------------------------------------------------


def repository_files() -> list[Path]:
    """What git tracks or would track."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]


# what holds on one machine only, and hosts of package registries; split, so as not to find this file
FORBIDDEN: Final = re.compile(
    r"/wor"
    r"k/|/tm"
    r"p/(?:wt|venv)|/ro"
    r"ot/|/home/(?!tester)\w|deb\.debian"
    r"\.org|pypi"
    r"\.org|pythonhosted"
    r"\.org"
    r"|npmjs"
    r"\.org|nodesource"
    r"\.com"
)


def test_no_file_names_one_machine_or_a_registry() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in repository_files()
        if b"\0" not in (content := path.read_bytes())
        for number, line in enumerate(content.decode(errors="replace").splitlines(), 1)
        if FORBIDDEN.search(line)
    ]
    assert not found, "\n".join(found)


# ---- scripts -----------------------------------------------------------------------------------------------

SCRIPTS: Final = sorted(
    path
    for folder in (ROOT / "scripts", ROOT / ".ci")
    for path in folder.iterdir()
    if path.is_file() and not path.suffix
)


def test_every_dependency_is_argued_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    argued = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").lower()
    named = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    names = [re.split(r"[<>=]", requirement)[0].lower() for requirement in named]
    assert [name for name in names if not re.search(rf"(^|[| ,]){name}[ ,|]", argued, re.MULTILINE)] == []


def test_tests_that_the_pages_name_are_there() -> None:
    named = {
        match.groups()
        for page in (ROOT / "docs").glob("*.md")
        for match in re.finditer(r"`([a-z]+/test_\w+\.py)::(test_\w+)`", page.read_text(encoding="utf-8"))
    }
    assert named
    gone = [
        f"{file}::{test}"
        for file, test in sorted(named)
        if f"def {test}(" not in (ROOT / "tests" / file).read_text(encoding="utf-8")
    ]
    assert not gone


def test_what_people_type_is_there() -> None:
    assert {"run", "test", "setup"} <= {path.name for path in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_scripts_can_be_run(script: Path) -> None:
    assert script.stat().st_mode & 0o111, "no run bit"
    assert script.read_text().startswith("#!/usr/bin/env bash\n")
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_scripts_pass_shellcheck() -> None:
    assert shutil.which("shellcheck"), "shellcheck is not installed: scripts/setup test"
    command = ["shellcheck", "--external-sources", "--check-sourced", *map(str, SCRIPTS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_ci_runs_the_tests_and_nothing_else() -> None:
    lines = [
        line for line in (ROOT / ".ci/run").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert lines == ['exec "$(dirname "${BASH_SOURCE[0]}")/../scripts/test"']
