"""How a process that moves data keeps its memory."""

import contextlib
import ctypes
import gc

from dth.core.parameters import MIB

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3


def keep_memory() -> None:
    """For a process that has imported what it needs. Bodies come and go all the time: giving their memory back to the
    system between two of them costs more, in fresh pages that are cleared first, than all the rest of the bookkeeping
    (mallopt(3); glibc only). And nearly everything dies young and without cycles: looking for cycles less often saves a
    tenth of the time."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        for setting, value in (
            (M_MMAP_THRESHOLD, 32 * MIB),
            (M_TRIM_THRESHOLD, 256 * MIB),
            (M_TOP_PAD, 16 * MIB),
        ):
            libc.mallopt(setting, value)
