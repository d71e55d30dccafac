"""Memory settings of a process that moves data."""

import contextlib
import ctypes
import gc

from dth.core.parameters import MIB

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3


def keep_memory() -> None:
    """Call this after a process has imported what it needs.

    Bodies are allocated and freed all the time. Returning their memory to the system between two of
    them costs more than all other bookkeeping, because new pages are cleared first (mallopt(3);
    glibc only). Nearly all objects are freed soon and are not part of cycles, so searching for
    cycles less often saves a tenth of the time."""
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
