"""JID preparation beside ICU and the standard library's stringprep: goals G10 and G11."""

from __future__ import annotations

import shutil
import stringprep
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from unicodedata import ucd_3_2_0

import pytest

from benchmarks.ratio import cost_ratio, judge
from xmppd._fast.jid import set_cache_limit
from xmppd.jid import JID

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILT = ROOT / ".benchmarks" / "jid_loops"

ASCII = [
    address
    for i in range(250)
    for address in (
        b"juliet%d@example.com/balcony" % i,
        b"Romeo.Montague%d@im.example1.dod.mil/Gajim.%04X" % (i, i * 257),
        b"room%d@conference.example.org/nick %d" % (i, i),
        b"%08x@chat.example.net/phone-%d" % (i * 2654435761 % 2**32, i),
    )
]
CYRILLIC = [f"жукожук{letter}@example.com/дом".encode() for letter in "абвгдежз" for _ in range(25)]
LONG = [f"{'ж' * 500}@example.com/{'дом' * 166}".encode()]


@pytest.fixture(autouse=True)
def cold() -> Iterator[None]:
    """No cache: every address is prepared."""
    set_cache_limit(0)
    yield
    set_cache_limit(1 << 20)


@pytest.fixture(scope="module")
def loops() -> Any:
    """The module of jid_loops.pyx, built against the ICU of this machine; no ICU, no measurement."""
    BUILT.mkdir(parents=True, exist_ok=True)
    build = (
        "from setuptools import Extension, setup; from Cython.Build import cythonize; "
        f"setup(name='jid_loops', script_args=['-q', 'build_ext', '--build-lib', {str(BUILT)!r}, "
        f"'--build-temp', {str(BUILT)!r}], packages=[], ext_modules=cythonize([Extension('jid_loops', "
        f"[{str(BUILT / 'jid_loops.pyx')!r}], libraries=['icuuc'], extra_compile_args=['-O2'])], "
        f"include_path=[{str(ROOT)!r}], quiet=True))"
    )
    shutil.copy2(HERE / "jid_loops.pyx", BUILT)
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.fail(f"G10 is not measured: ICU (libicu-dev) cannot be built against\n{done.stderr[-2000:]}")
    path = next(BUILT.glob("jid_loops*.so"))
    spec = spec_from_file_location("jid_loops", path, loader=ExtensionFileLoader("jid_loops", str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def pure(text: str, mapped: Callable[[str], str], more: str) -> str:
    """Stringprep as one writes it on the standard library."""
    text = "".join(mapped(char) for char in text if not stringprep.in_table_b1(char))
    text = ucd_3_2_0.normalize("NFKC", text)
    if any(char in more or any(table(char) for table in PROHIBITED) for char in text):
        raise ValueError(text)
    if any(map(stringprep.in_table_d1, text)) and (
        any(map(stringprep.in_table_d2, text))
        or not stringprep.in_table_d1(text[0])
        or not stringprep.in_table_d1(text[-1])
    ):
        raise ValueError(text)
    if any(map(stringprep.in_table_a1, text)):
        raise ValueError(text)
    return text


def pure_node_and_resource(addresses: list[bytes]) -> None:
    """Localpart and resourcepart; the domainpart is left as it is."""
    for address in addresses:
        bare, _, resource = address.decode().partition("/")
        pure(bare.partition("@")[0], stringprep.map_table_b2, " \"&'/:<>@")
        pure(resource, str, "")


def parse(addresses: list[bytes]) -> None:
    for address in addresses:
        JID.parse(address)


def test_ascii(benchmark: Any, loops: Any) -> None:
    benchmark.extra_info["addresses"] = len(ASCII)
    benchmark(loops.own, ASCII)


def test_ascii_icu(benchmark: Any, loops: Any) -> None:
    benchmark.extra_info["addresses"] = len(ASCII)
    benchmark(loops.icu, ASCII)


def test_ascii_pure_python(benchmark: Any) -> None:
    benchmark.extra_info["addresses"] = len(ASCII)
    benchmark(pure_node_and_resource, ASCII)


def test_cyrillic(benchmark: Any, loops: Any) -> None:
    benchmark.extra_info["addresses"] = len(CYRILLIC)
    benchmark(loops.own, CYRILLIC)


def test_cyrillic_icu(benchmark: Any, loops: Any) -> None:
    benchmark.extra_info["addresses"] = len(CYRILLIC)
    benchmark(loops.icu, CYRILLIC)


def test_cyrillic_remembered(benchmark: Any, loops: Any) -> None:
    set_cache_limit(1 << 20)
    benchmark.extra_info["addresses"] = len(CYRILLIC)
    benchmark(loops.own, CYRILLIC)


def test_cyrillic_pure_python(benchmark: Any) -> None:
    benchmark.extra_info["addresses"] = len(CYRILLIC)
    benchmark(pure_node_and_resource, CYRILLIC)


def test_long(benchmark: Any, loops: Any) -> None:
    benchmark(loops.own, LONG)


def test_long_icu(benchmark: Any, loops: Any) -> None:
    benchmark(loops.icu, LONG)


def test_long_pure_python(benchmark: Any) -> None:
    benchmark(pure_node_and_resource, LONG)


def test_g10_ascii_against_icu(loops: Any) -> None:
    """ICU prepares into a buffer; ours is the finished object."""
    ratio = cost_ratio(
        lambda: [loops.icu(ASCII) for _ in range(50)], lambda: [loops.own(ASCII) for _ in range(50)]
    )
    assert judge("G10", ratio).met


def test_g11_other_scripts_against_pure_python() -> None:
    """The lesser of two ratios: an 8-character Cyrillic address, and parts of 1,000 bytes."""
    short = cost_ratio(lambda: pure_node_and_resource(CYRILLIC * 4), lambda: parse(CYRILLIC * 4))
    long = cost_ratio(lambda: pure_node_and_resource(LONG * 25), lambda: parse(LONG * 25))
    assert judge("G11", min(short, long)).met
