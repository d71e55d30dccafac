"""Memory that a process shares with all that it forks: until when nobody asks a registry, and whose turn is next.

A table of a fixed size with an entry for each host. A lock, which the kernel gives back when its process dies, guards
each change; entries are read without it. A host for which there is no room is not shared.
"""

import fcntl
import mmap
import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

ENTRIES = 512
_ENTRY = struct.Struct("16s3d")  # whose it is; until when nobody asks, the rate told with it, the last turn
_NOBODY = bytes(16)


class Board:
    """Make it before anything is forked. Times are those of `time.monotonic`, which is one for the whole machine."""

    def __init__(self) -> None:
        size = ENTRIES * _ENTRY.size
        if hasattr(os, "memfd_create"):
            self._file = os.memfd_create("dth-board")
        else:
            self._file, path = tempfile.mkstemp(prefix="dth-board-")
            Path(path).unlink()
        os.ftruncate(self._file, size)
        self._memory = mmap.mmap(self._file, size)
        self._places: dict[str, int] = {}  # where the entries are that were looked for; -1: there was no room

    def hold(self, host: str, until: float, rate: float) -> None:
        """Nobody asks before this time, and nobody faster than `rate` (requests a second) from then on."""
        with self._locked():
            if (place := self._place(host)) >= 0:
                who, before, known, turn = _ENTRY.unpack_from(self._memory, place)
                if until > before:
                    before, known = until, rate
                _ENTRY.pack_into(self._memory, place, who, before, known, turn)

    def held(self, host: str) -> tuple[float, float]:
        """The latest such time, and the rate that was told with it; zeros for none."""
        place = self._places.get(host)
        if place is None:
            with self._locked():
                place = self._place(host)
        if place < 0:
            return 0.0, 0.0
        _, until, rate, _ = _ENTRY.unpack_from(self._memory, place)
        return until, rate

    def claim(self, host: str, now: float, spacing: float) -> float:
        """0 if it is our turn, because nobody has had one for so many seconds; else how many are left."""
        with self._locked():
            if (place := self._place(host)) < 0:
                return 0.0
            who, until, rate, turn = _ENTRY.unpack_from(self._memory, place)
            if turn + spacing > now:
                return float(turn + spacing - now)
            _ENTRY.pack_into(self._memory, place, who, until, rate, now)
            return 0.0

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _place(self, host: str) -> int:
        """Where the entry of the host is, made where there is none. To be called with the lock."""
        if host not in self._places:
            who = blake2b(host.encode(), digest_size=16).digest()
            first = int.from_bytes(who[:4], "big") % ENTRIES
            self._places[host] = -1
            for step in range(ENTRIES):
                place = (first + step) % ENTRIES * _ENTRY.size
                found = _ENTRY.unpack_from(self._memory, place)[0]
                if found == _NOBODY:
                    _ENTRY.pack_into(self._memory, place, who, 0.0, 0.0, 0.0)
                if found in (_NOBODY, who):
                    self._places[host] = place
                    break
        return self._places[host]
