from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def replace(module: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Put `make(original)` in the place of what the module has by that name."""
    original = getattr(module, name, None)
    if original is None:
        raise ImportError(
            f"this MiniStack has no {module.__name__}.{name}; the patch needs another place"
        )
    setattr(module, name, make(original))
