"""The command line. Exit status: 0 done, 1 failed, 2 wrong usage; what is wrong is one sentence on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn


def _open_standard_streams() -> None:
    """Streams that whoever started us has closed are empty, and nothing else gets their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 (as long as the process)


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit; `words` are those behind the program's name."""
    import click

    from xmppd.cli.commands import xmppd
    from xmppd.cli.show import Unwritten, complain
    from xmppd.config import ConfigError
    from xmppd.ops.admin import CommandError, NoServer

    _open_standard_streams()
    status = 0
    try:
        # commands return their exit status, or nothing if all went well
        status = xmppd.main(words, prog_name="xmppd", standalone_mode=False) or 0
        sys.stdout.flush()
    except click.UsageError as error:
        complain(error.format_message())
        status = 2
    except click.ClickException as error:
        complain(error.format_message())
        status = 1
    except (ConfigError, CommandError, NoServer) as error:
        complain(str(error))
        status = 1
    except (KeyboardInterrupt, click.Abort):
        status = 130
    except (BrokenPipeError, Unwritten) as error:
        # nothing more is written at exit; a broken pipe means that whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, Unwritten):
            complain(str(error))
        status = 1
    except OSError as error:
        # what no command has words of its own for: help that cannot be written, a working folder that is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        complain(f"{error.filename or 'it cannot be done'}: {error.strerror or error}")
        status = 1
    sys.exit(status)
