"""SIGINT and SIGTERM for a whole command: it always ends with a message and an exit code, never by
the signal itself.

The handlers of an event loop are removed before the process ends, and a signal after that would
kill the process. These handlers stay.
"""

# Only imports that are fast: until they are done, a signal has its default effect.
import os
import signal
from collections.abc import Callable

SIGNALS = (signal.SIGINT, signal.SIGTERM)
WORDS = "dth: interrupted"


def handle(action: Callable[[], object]) -> None:
    """From now on, call `action` in the main thread when one of the signals arrives."""
    for number in SIGNALS:
        signal.signal(number, lambda *_: action())


def leave() -> None:
    """End the process at once."""
    _tell()
    os._exit(1)


def unwind() -> None:
    """End the process with SystemExit, so that its work is cleaned up. A further signal ends it
    without waiting.

    Not KeyboardInterrupt: if one passes through `exec`, which importing data classes uses, Python
    ends by SIGINT even if it is caught.
    """
    _tell()
    handle(lambda: os._exit(1))
    raise SystemExit(1)


def _tell() -> None:
    try:  # noqa: SIM105 - see above
        os.write(2, f"{WORDS}\n".encode())
    except OSError:
        pass


def ignore() -> None:
    """Ignore signals from now on. The exit code is known, and the interpreter is about to end."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
