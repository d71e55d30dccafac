"""Memory that a process shares with all its forks: until when nobody may call a registry, and whose
turn is next.

A table of a fixed size with one entry per host. A lock, which the kernel releases when its process
dies, guards each change; entries are read without it. If there is no room for a host, it is not
shared.
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
# Hash of the host; until when nobody may call; the rate announced with it; the last turn.
_ENTRY = struct.Struct("16s3d")
_NOBODY = bytes(16)


class LocalBoard:
    """Create it before the first fork. Times are those of `time.monotonic`, which is the same for
    the whole machine."""

    def __init__(self) -> None:
        size = ENTRIES * _ENTRY.size
        if hasattr(os, "memfd_create"):
            self._file = os.memfd_create("dth-board")
        else:
            self._file, path = tempfile.mkstemp(prefix="dth-board-")
            Path(path).unlink()
        os.ftruncate(self._file, size)
        self._memory = mmap.mmap(self._file, size)
        # Positions of the entries looked up so far; -1: there was no room.
        self._places: dict[str, int] = {}

    def hold(self, host: str, until: float, rate: float) -> None:
        """Nobody may call before this time, and from then on nobody faster than `rate` (requests
        per second)."""
        with self._locked():
            if (place := self._place(host)) >= 0:
                who, before, known, turn = _ENTRY.unpack_from(self._memory, place)
                if until > before:
                    before, known = until, rate
                _ENTRY.pack_into(self._memory, place, who, before, known, turn)

    def held(self, host: str) -> tuple[float, float]:
        """The latest such time, and the rate announced with it; zeros if there is none."""
        place = self._places.get(host)
        if place is None:
            with self._locked():
                place = self._place(host)
        if place < 0:
            return 0.0, 0.0
        _, until, rate, _ = _ENTRY.unpack_from(self._memory, place)
        return until, rate

    def claim(self, host: str, now: float, spacing: float) -> float:
        """Returns 0 if it is our turn, because nobody has had one for `spacing` seconds; otherwise
        the seconds left."""
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
        """The position of the host's entry; creates it if needed. Call it with the lock held."""
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
