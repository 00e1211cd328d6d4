"""Where ``ssm-spec`` starts: it says what is missing, and keeps to the exit statuses of the suite."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from importlib.util import find_spec
from io import TextIOWrapper
from typing import Final

NEEDED: Final = ("click", "rich", "jinja2", "psutil")
"""What the extra ``conformance`` brings."""
UNDECIDED: Final = 2
"""The exit status where nothing could be judged."""
FULL: Final = (errno.ENOSPC, errno.EDQUOT)
"""What a full disk says of a file that the output is sent to."""


def main() -> int:
    """Run the command line; the exit status is 0, 1 (failed) or 2 (could not be judged)."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(
            f"ssm-spec needs {', '.join(missing)}: pip install 'ssm-spec[conformance]'",
            file=sys.stderr,
        )
        return UNDECIDED
    import click

    from ssm_conformance.cli import cli

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a Σ must not end the run where the terminal has none
            stream.reconfigure(errors="backslashreplace")

    try:
        status = cli.main(prog_name="ssm-spec", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return UNDECIDED
    except (click.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return UNDECIDED
    except BrokenPipeError:  # the reader of a pipe, `head` say, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNDECIDED
    except Exception as error:  # a fault of the suite is nobody's failure: Python's own status would say so
        if isinstance(error, OSError) and error.errno in FULL:
            print(f"the output could not be written: {error}", file=sys.stderr)
            return UNDECIDED
        traceback.print_exc()
        print("this is a fault of ssm-spec itself, not of a backend", file=sys.stderr)
        return UNDECIDED
    return status if isinstance(status, int) else 0


if __name__ == "__main__":
    sys.exit(main())
