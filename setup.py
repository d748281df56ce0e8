"""Builds the compiled core: one extension module for each .pyx in xmppd/_fast, linked with the C files it wraps."""

from __future__ import annotations

import os
import platform
import runpy
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).resolve().parent
FAST = Path("xmppd/_fast")
C = FAST / "c"

# module -> C files linked into it, system libraries
MODULES: dict[str, tuple[list[str], list[str]]] = {
    "jid": (["jid.c", "precis.c", "punycode.c"], []),
    "reader": (["xmlscan.c", "utf8.c"], []),
    "element": ([], []),
    "tls": (["tlsctx.c"], ["ssl", "crypto"]),
    "conn": (["hspool.c", "tlsbio.c"], ["ssl", "crypto"]),
    "route": ([], []),
    "wire": ([], []),
}

# header made at build time -> its generator
GENERATED = {
    C / "nstable.h": C / "gen_nstable.py",
    C / "sprep_tables.h": C / "gen_sprep.py",
    C / "precis_tables.h": C / "gen_precis.py",
}

CFLAGS = [
    "-O2",
    "-fno-semantic-interposition",
    "-fvisibility=hidden",
    "-fstack-protector-strong",
    "-D_FORTIFY_SOURCE=2",
    "-DCYTHON_USE_SYS_MONITORING=0",
]
LDFLAGS = ["-Wl,-z,relro,-z,now"]
if platform.machine() in ("x86_64", "amd64"):
    CFLAGS.append("-march=x86-64-v2")

# XMPPD_SANITIZE=address,undefined builds for the sanitizer run (scripts/asan)
if sanitize := os.environ.get("XMPPD_SANITIZE"):
    CFLAGS = [f for f in CFLAGS if f not in ("-O2", "-D_FORTIFY_SOURCE=2")]
    CFLAGS += ["-O1", "-g", "-fno-omit-frame-pointer", f"-fsanitize={sanitize}"]
    LDFLAGS.append(f"-fsanitize={sanitize}")

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "embedsignature": True,
    "freethreading_compatible": False,
}


def generate_headers() -> None:
    for header, generator in GENERATED.items():
        target, source = ROOT / header, ROOT / generator
        if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
            runpy.run_path(str(source))["write"](target)


def extensions() -> list[Extension]:
    only = set(filter(None, os.environ.get("XMPPD_EXT", "").split(",")))
    return [
        Extension(
            f"xmppd._fast.{name}",
            [str(FAST / f"{name}.pyx"), *(str(C / c) for c in c_files)],
            include_dirs=[str(C)],
            depends=[str(p.relative_to(ROOT)) for p in sorted((ROOT / C).glob("*.h"))],
            libraries=libraries,
            extra_compile_args=CFLAGS,
            extra_link_args=LDFLAGS,
        )
        for name, (c_files, libraries) in MODULES.items()
        if not only or name in only
    ]


if len(sys.argv) > 1 and sys.argv[1] not in ("egg_info", "clean", "sdist"):
    generate_headers()

setup(
    ext_modules=cythonize(
        extensions(),
        compiler_directives=DIRECTIVES,
        annotate=bool(os.environ.get("XMPPD_ANNOTATE")),
        nthreads=0,
    )
)
