"""The command line. Exit status: 0 done, 1 failed, 2 wrong usage; what is wrong is one sentence on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit; `words` are those behind the program's name."""
    import click

    from xmppd.cli.commands import xmppd
    from xmppd.cli.show import complain
    from xmppd.config import ConfigError
    from xmppd.ops.admin import CommandError, NoServer

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
    except BrokenPipeError:
        # whoever read our output has seen enough; nothing more is written at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)
