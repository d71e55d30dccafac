"""docs/performance.md: one part for each table, written as a whole."""

import os
import platform
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from bench.measure import tool

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
MIB = 1024 * 1024


@dataclass(frozen=True)
class Part:
    """A section of the page."""

    title: str
    text: str


def write(part: Part) -> None:
    """Put the part in the place of the one with this title, or at the end."""
    page = PAGE.read_text("utf-8")
    section = f"## {part.title}\n\n{part.text.strip()}\n"
    found = re.compile(rf"^## {re.escape(part.title)}\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
    changed, times = found.subn(lambda _: f"{section}\n", page)
    if not times:
        changed = f"{page.rstrip()}\n\n{section}"
    PAGE.write_text(f"{changed.rstrip()}\n", "utf-8")


def machine(words: list[str]) -> str:
    """What the figures were made by, when and where."""
    return (
        f"Made by `python -m bench {' '.join(words)}` on {time.strftime('%Y-%m-%d')}: "
        f"{platform.system()} on {platform.machine()},\n{os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f} at the end, Python {platform.python_version()}"
    )


def version(name: str, *words: str) -> str:
    """What a tool says its version is."""
    told = subprocess.run([tool(name), *words], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\d+(\.\d+)+", told)
    return found.group() if found else "?"
