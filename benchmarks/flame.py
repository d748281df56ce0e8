"""Where the server's time goes in one scenario, as a flame graph: `python -m benchmarks.flame SCENARIO PICTURE.svg`.

Samples of perf(1), all threads, each drawn from its outermost function (below) to the one that ran (above); the width
is its share of the processor time. A Python function has no name here: it is CPython's `_PyEval_EvalFrameDefault`.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Final

import click

from benchmarks.rounds import scenarios_of
from benchmarks.scenarios import QUICK, running
from benchmarks.subjects.xmppd import Xmppd

SAMPLES_PER_S: Final = 999
STACK_BYTES: Final = 16384  # of the stack in each sample: what perf unwinds from
LEAST: Final = 0.005  # of all time; what is less is not drawn
DEEPEST: Final = 26  # boxes on one another
WIDTH: Final = 1180
ROW: Final = 17
TOP: Final = 46
LETTER: Final = 6.2

# what code belongs to, the files it is in, a colour
PARTS: Final = (
    ("kernel: TCP, epoll, threads", r"\[kernel", "#b9b9b9"),
    ("OpenSSL: TLS, cryptography", r"libssl|libcrypto", "#d9a06b"),
    ("CPython", r"libpython|python3|_asyncio|_hashlib|binascii|_core\.", "#8fb4dd"),
    ("xmppd's compiled core", r"(conn|reader|wire|route|tls|element|jid)\.", "#3f77b5"),
    ("event loop (uvloop)", r"loop\.", "#a9c98b"),
    ("SQLite", r"_?(lib)?sqlite3", "#c9a3cf"),
    ("libc", r"libc\.|ld-linux|libm\.|\[vdso", "#e3d28b"),
)
OTHER: Final = "#e8e8e8"

_FRAME = re.compile(r"\s+[0-9a-f]+ (?P<name>.*) \((?P<object>[^()]*(?:\([^()]*\))?)\)$")
# what Cython puts before a name: __pyx_pw_5xmppd_5_fast_4conn_7NetLoop_17_ready
_CYTHON = re.compile(r"__pyx_(?:pw|pf|f|mdef)_((?:\d+[a-zA-Z_]+?)+)_?(\d*[a-zA-Z_]\w*)$")
# every stack begins with these, or is full of them; what is inlined belongs to who called it
_PASSED_OVER = re.compile(
    r"_start$|__libc_start|main$|pymain|Py_RunMain|Py_BytesMain|run_mod|pyrun_|run_eval|PyEval_EvalCode|clone3|start_thread"
    r"|_PyEval_(Vector|EvalFrame)$|ectorcall|_PyObject_|PyObject_Call|do_call_core|cfunction_|method_vector|builtin_exec"
    r"|gen_send_ex|PyGen_am_send|__Pyx_PyObject|TaskStepMethWrapper|task_step|entry_SYSCALL|do_syscall|pythread_wrapper"
    r"|thread_run|uv_run$|Loop__run$|Loop.run_|Handle__run$|Loop__on_idle|uv__run_idle|loop_cb_|loop___on_|uv__io_poll"
    r"|^_?_?(libc_)?(recv|send)$|^\[unknown\]$|^0x|\(inlined\)$"
)


@dataclass
class Box:
    """A function in one place of the stacks, and what it called."""

    name: str
    colour: str
    samples: int = 0
    calls: dict[str, Box] = field(default_factory=dict)


@click.command()
@click.argument("scenario")
@click.argument("picture", type=click.Path(path_type=Path))
@click.option("--seconds", default=6.0, show_default=True, help="How long it is looked at, about.")
def flame(scenario: str, picture: Path, seconds: float) -> None:
    """Draw where the server spends its time in SCENARIO (those of scripts/bench) into PICTURE, an SVG."""
    try:
        [found] = scenarios_of(QUICK, only=(scenario,))
    except (LookupError, ValueError) as wrong:
        raise click.UsageError(str(wrong)) from None
    with tempfile.TemporaryDirectory(prefix="xmppd-flame-") as folder:
        record = Path(folder) / "perf.data"
        with running(Xmppd, Path(folder), found.accounts) as bench:
            found.set_up(bench)
            words = ["perf", "record", "-e", "cpu-clock", "-F", str(SAMPLES_PER_S), "-m", "64M"]
            words += ["--call-graph", f"dwarf,{STACK_BYTES}", "-p", str(bench.subject.pid), "-o", str(record)]
            perf = subprocess.Popen(words, stderr=subprocess.DEVNULL)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                found.measure(bench)
            perf.send_signal(signal.SIGINT)
            perf.wait()
        listed = ["perf", "script", "-i", str(record), "-F", "ip,sym,dso"]
        text = subprocess.run(listed, capture_output=True, text=True, check=True).stdout
    whole = Box("all", OTHER)
    for stack in stacks(text):
        add(whole, stack)
    if not whole.samples:
        sys.exit("perf has seen nothing")
    picture.write_text(drawn(whole, f"{found.title}: {whole.samples:,} samples"), encoding="utf-8")


def stacks(text: str) -> Iterator[list[tuple[str, str]]]:
    """Name and colour of each function of a stack, the outermost first, for each sample of `perf script`."""
    for sample in text.split("\n\n"):
        frames = [match for line in sample.splitlines() if (match := _FRAME.match(line))]
        named = [(short(frame["name"]), part_of(frame["object"])) for frame in reversed(frames)]
        shown = [frame for frame in named if not _PASSED_OVER.search(frame[0])]
        if shown or named:
            yield shown or named[-1:]


def short(name: str) -> str:
    """A function's name as it stands in the source: NetLoop._ready of __pyx_pw_…_4conn_7NetLoop_17_ready."""
    if not (match := _CYTHON.match(name)):
        return name
    words = re.findall(r"\d+([a-zA-Z_]+?)(?=_?\d|_?$)", f"{match[1]}_{match[2]}")
    return ".".join(word.strip("_") or word for word in words[-2:]) or name


def part_of(where: str) -> str:
    """The colour of the file that a function is in."""
    file = where.rpartition("/")[2]
    return next((colour for _, pattern, colour in PARTS if re.match(pattern, file)), OTHER)


def add(whole: Box, stack: list[tuple[str, str]]) -> None:
    box = whole
    box.samples += 1
    before = ""
    for name, colour in stack[:DEEPEST]:
        if name == before:  # recursion says nothing
            continue
        box = box.calls.setdefault(name, Box(name, colour))
        box.samples += 1
        before = name


def drawn(whole: Box, title: str) -> str:
    """The picture."""
    boxes: list[str] = []
    depth = _draw(whole, 0.0, 0, WIDTH / whole.samples, LEAST * whole.samples, boxes)
    height = TOP + (depth + 1) * ROW + 6
    legend, x = [], 8.0
    for name, _, colour in PARTS:
        legend.append(f'<rect x="{x:.0f}" y="26" width="11" height="11" fill="{colour}"/>')
        legend.append(f'<text x="{x + 15:.0f}" y="36">{escape(name)}</text>')
        x += 28 + LETTER * len(name)
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">',
            '<g font-family="sans-serif" font-size="11">',
            f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
            f'<text x="8" y="17" font-size="13" font-weight="bold">{escape(title)}</text>',
            *legend,
            f'<g transform="translate(0 {height - 4})">',
            *boxes,
            "</g>",
            "</g>",
            "</svg>\n",
        )
    )


def _draw(box: Box, x: float, level: int, scale: float, least: float, boxes: list[str]) -> int:
    """Add a box and all above it; the level of the highest."""
    width, share, top = box.samples * scale, box.samples * scale / WIDTH, level
    boxes.append(
        f'<rect x="{x:.1f}" y="{-(level + 1) * ROW}" width="{width:.1f}" height="{ROW}" fill="{box.colour}"'
        f' stroke="#fff" stroke-width="0.7"><title>{escape(box.name)}: {share:.1%}</title></rect>'
    )
    if (letters := int((width - 4) / LETTER)) >= 4:
        shown = box.name if len(box.name) <= letters else box.name[: letters - 1] + "…"
        boxes.append(
            f'<text x="{x + 2:.1f}" y="{-level * ROW - 5}" pointer-events="none">{escape(shown)}</text>'
        )
    for called in sorted(box.calls.values(), key=lambda each: -each.samples):
        if called.samples >= least:
            top = max(top, _draw(called, x, level + 1, scale, least, boxes))
            x += called.samples * scale
    return top


if __name__ == "__main__":
    flame(prog_name="python -m benchmarks.flame")
