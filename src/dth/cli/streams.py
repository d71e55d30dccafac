"""What every command finds around it before it begins: three standard streams, and UTF-8."""

import io
import os
import sys
from typing import NoReturn

from dth.core.errors import UsageError

SETTING = "PYTHONUTF8"


def use_utf8() -> None:
    """Start Python again if its locale has another encoding: keys are UTF-8 everywhere, and so are
    the names of files that are made of them."""
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get(SETTING) != "1":
        os.environ[SETTING] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def open_standard() -> None:
    """Take the place of standard streams that are closed, so that no file or connection gets their
    numbers. A terminal that cannot show a character gets its escape."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number, which is this one.
            os.open(os.devnull, os.O_WRONLY)
    if sys.stdin is None:
        sys.stdin = _Closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class _Closed(io.StringIO):
    """Standard input that is closed. Unlike an empty one, it cannot be read."""

    def read(self, size: int | None = -1, /) -> str:
        self._refuse()

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]
        self._refuse()

    def fileno(self) -> int:
        self._refuse()

    @property
    def buffer(self) -> io.BytesIO:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise UsageError("standard input is closed, but this command reads it: pipe something in")
