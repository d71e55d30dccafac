"""A newer skopeo than the machine's: the packages of Debian's next release, unpacked into a folder,
with the libraries that it needs. Nothing of it is installed.

    newer = newer_skopeo()  # a folder for PATH; None where it is not available
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

SUITE = "sid"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
LIBRARIES = ("libc6", "libassuan9", "libgpg-error0")  # beyond those that skopeo names
FOLDER = Path(__file__).parents[2] / "build" / "newer-skopeo"
SECONDS = 300.0


def newer_skopeo() -> Path | None:
    """The folder with a program `skopeo`, fetched once and kept in `build`."""
    if not shutil.which("apt-get") or not Path(KEYRING).exists():
        return None
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        place = FOLDER / "bin"
        if not (place / "skopeo").exists():
            try:
                _fetch()
            except (subprocess.SubprocessError, OSError, ValueError):
                return None
    return place


def _fetch() -> None:
    for name in ("state/lists/partial", "cache/archives/partial", "packages"):
        (FOLDER / name).mkdir(parents=True, exist_ok=True)
    sources = FOLDER / "sources.list"
    sources.write_text(f"deb [signed-by={KEYRING}] http://deb.debian.org/debian {SUITE} main\n")
    settings = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": os.devnull,
        "Dir::State": FOLDER / "state",
        "Dir::State::status": FOLDER / "status",  # as if nothing were installed
        "Dir::Cache": FOLDER / "cache",
    }
    (FOLDER / "status").touch()
    options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
    _run("apt-get", *options, "update")
    told = _run("apt-cache", *options, "show", "skopeo")
    needs = re.search(r"^Depends: (.*)$", told, re.MULTILINE)
    if not needs:
        raise ValueError(told)
    names = [re.split(r"[ (|]", each.strip())[0] for each in needs[1].split(",")]
    wanted = {"skopeo", *LIBRARIES, *(name for name in names if name.startswith("lib"))}
    _run("apt-get", *options, "download", *sorted(wanted), at=FOLDER / "packages")
    root = FOLDER / "root"
    for package in (FOLDER / "packages").glob("*.deb"):
        _run("dpkg-deb", "-x", str(package), str(root))
    loader = next(root.rglob("ld-linux-*.so.*"))
    libraries = sorted({str(path.parent) for path in root.rglob("lib*.so.*")})
    words = [
        str(loader),
        "--library-path",
        ":".join(libraries),
        "--argv0",
        "skopeo",
        str(root / "usr/bin/skopeo"),
    ]
    (FOLDER / "bin").mkdir(exist_ok=True)
    program = FOLDER / "bin" / "fetched"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    program.chmod(0o755)
    _run(str(program), "--version")
    program.rename(FOLDER / "bin" / "skopeo")


def _run(*command: str, at: Path | None = None) -> str:
    return subprocess.run(
        command, cwd=at, capture_output=True, text=True, check=True, timeout=SECONDS
    ).stdout
