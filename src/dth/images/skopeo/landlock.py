"""Restricts the ports that a program may connect to, enforced by the kernel: Landlock (Linux 6.7
and later).

Its rules cover ports, not addresses.
"""

import contextlib
import ctypes
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from os import close

# The same numbers on all processors.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION_FLAG = 1
KNOWS_PORTS = 4  # first version with rules for ports
CONNECT_TCP = 2
NET_PORT = 2
PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64))


class _Port(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("access", ctypes.c_uint64), ("port", ctypes.c_uint64))


@cache
def is_here() -> bool:
    """Whether this kernel supports it."""
    return _libc is not None and _libc.syscall(CREATE_RULESET, None, 0, VERSION_FLAG) >= KNOWS_PORTS


@contextlib.contextmanager
def ports(allowed: Iterable[int]) -> Iterator[int]:
    """Create a descriptor for `restrict`. Raises OSError if that fails."""
    assert _libc is not None
    rules = _Ruleset(0, CONNECT_TCP)
    found = _checked(_libc.syscall(CREATE_RULESET, ctypes.byref(rules), ctypes.sizeof(rules), 0))
    try:
        for port in allowed:
            rule = _Port(CONNECT_TCP, port)
            _checked(_libc.syscall(ADD_RULE, found, NET_PORT, ctypes.byref(rule), 0))
        yield found
    finally:
        close(found)


def restrict(descriptor: int) -> None:
    """Restrict this process and its children permanently.

    Called between fork and exec: it must not import anything, and a failure ends the child.
    """
    assert _libc is not None
    if _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or _libc.syscall(RESTRICT_SELF, descriptor, 0):
        raise OSError("not restricted")


def _checked(answer: int) -> int:
    if answer < 0:
        raise OSError(ctypes.get_errno(), "Landlock")
    return answer
