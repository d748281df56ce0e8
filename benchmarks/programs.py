"""What the benchmarks run beside themselves: C programs, Cython modules built on demand, child processes.

Everything built goes into `.cache/bench` and is built again only when a source is newer.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, TracebackType

ROOT = Path(__file__).resolve().parent.parent
# a thousand connections at both ends; children inherit it
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
CACHE = ROOT / ".cache" / "bench"


def missing_tools() -> str | None:
    """What the C programs need and this machine lacks, or None."""
    if not shutil.which("cc"):
        return "no C compiler"
    probe = ["cc", "-E", "-x", "c", "-include", "openssl/ssl.h", "/dev/null"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        return "no OpenSSL headers (libssl-dev)"
    return None


def build_program(source: Path, *more: Path, shared: bool = False) -> Path:
    """The program made of C files, and headers beside the first and in benchmarks/echo, linked with OpenSSL.

    It is named as the first file. With `shared` it is a library, to be preloaded.
    """
    program = CACHE / (f"{source.stem}.so" if shared else source.stem)
    headers = [*source.parent.glob("*.h"), *(ROOT / "benchmarks/echo").glob("*.h")]
    newest = max(path.stat().st_mtime for path in (source, *more, *headers))
    if not program.exists() or program.stat().st_mtime < newest:
        CACHE.mkdir(parents=True, exist_ok=True)
        unfinished = program.with_suffix(f".{os.getpid()}")
        kind = ["-shared", "-fPIC"] if shared else []
        options = ["-O2", "-Wall", *kind, "-o", str(unfinished)]
        command = ["cc", *options, *map(str, (source, *more)), "-lssl", "-lcrypto"]
        subprocess.run(command, check=True)
        unfinished.replace(program)
    return program


def build_module(source: Path) -> ModuleType:
    """Import the Cython module `source`, compiled against the `.pxd` files and headers of xmppd._fast."""
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension

    fast = ROOT / "xmppd" / "_fast"
    extension = Extension(
        source.stem, [str(source)], include_dirs=[str(fast / "c")], extra_compile_args=["-O2"]
    )
    extension.depends = [str(path) for path in (*fast.glob("*.pxd"), *(fast / "c").glob("*.h"))]
    made = cythonize(  # type: ignore[no-untyped-call]
        [extension],
        language_level=3,
        include_path=[str(ROOT)],
        build_dir=str(CACHE / "cython"),
        quiet=True,
        compiler_directives={"boundscheck": False, "wraparound": False},
    )
    build = Distribution({"ext_modules": made}).get_command_obj("build_ext")
    build.build_lib = str(CACHE)
    build.build_temp = str(CACHE / "temp")
    build.ensure_finalized()
    build.run()
    spec = importlib.util.spec_from_file_location(source.stem, build.get_ext_fullpath(source.stem))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def resident_kib(pid: int) -> int:
    """Memory of a process that is resident now, in KiB: `Rss` of /proc/PID/smaps_rollup (VmRSS lags behind)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1])
    raise LookupError("Rss")


def processors_busy_s() -> float:
    """CPU seconds that all of this machine's processors have worked since it started (proc_stat(5)), theft too."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def our_cpu_s() -> float:
    """CPU seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


class Program:
    """A child process that answers each line of its standard input with one line.

    `cpu` is the number of the processor that it is kept on, None for any.
    """

    def __init__(self, command: list[str | Path], *, cpu: int | None = None) -> None:
        environment = dict(os.environ, PYTHONPATH=str(ROOT))
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment
        )
        self.pid = self.process.pid
        if cpu is not None:
            os.sched_setaffinity(self.pid, {cpu})

    @classmethod
    def python(cls, module: str, *arguments: str | Path, cpu: int | None = None) -> Program:
        return cls([sys.executable, "-m", module, *arguments], cpu=cpu)

    def line(self) -> str:
        """The next line it prints; RuntimeError if it ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args!r} ended with {self.process.wait(10)}")
        return line.strip()

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")

    def ask(self, line: str) -> list[str]:
        """The words of its answer to `line`."""
        self.tell(line)
        return self.line().split()

    def cpu_s(self) -> float:
        """CPU seconds, user and system, of all its threads: its process clock (clock_getcpuclockid(3))."""
        return time.clock_gettime((~self.pid << 3) | 2)

    def close(self) -> None:
        """End its input, and it if it does not end by itself."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
