"""SIGINT and SIGTERM during the whole life of a command: it ends with words and an exit code, never by the signal.

The handlers of an event loop are gone before the process is; a signal that comes then would kill it. These stay.
"""

# Only what is quick to import: until that is done, a signal does what it always does.
import os
import signal
from collections.abc import Callable

SIGNALS = (signal.SIGINT, signal.SIGTERM)
WORDS = "dth: interrupted"


def handle(action: Callable[[], object]) -> None:
    """From now on, call `action` in the main thread when one of the signals comes."""
    for number in SIGNALS:
        signal.signal(number, lambda *_: action())


def leave() -> None:
    """End the process at once."""
    _tell()
    os._exit(1)


def unwind() -> None:
    """End the process by SystemExit, so that what was begun is cleaned up. Another signal does not wait for that.

    Not KeyboardInterrupt: one that passes through `exec`, which imports of data classes use, makes Python end by SIGINT
    even if it is caught.
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
    """The exit code is known, and the interpreter is about to end: nothing changes that any more."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
