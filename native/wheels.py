"""Builds the wheels of a release: for Linux on x86-64 and arm64, from the sources alone.

    python native/wheels.py FOLDER COMPILER...

COMPILER is the command of a C compiler that builds for both and for an older libc, as that of the
package `ziglang`: `python -m ziglang cc`. `make wheels` gets it. The console must have been built.
"""

import os
import shlex
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MACHINES = ("x86_64", "aarch64")
# manylinux2014 has it.
GLIBC = "2.17"


def build_wheels(out: Path, compiler: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _hatch(ROOT, "sdist", Path(folder))
        (archive,) = Path(folder).glob("*.tar.gz")
        for machine in MACHINES:
            place = Path(folder) / machine
            with tarfile.open(archive) as sources:
                # Python before 3.11.4 has no filters, and the sources are our own.
                sources.extraction_filter = getattr(tarfile, "data_filter", None)
                sources.extractall(place)
            (tree,) = place.iterdir()
            _hatch(
                tree,
                "wheel",
                out,
                CC=shlex.join([*compiler, "-target", f"{machine}-linux-gnu.{GLIBC}"]),
                DTH_NATIVE_BUILD="force",
                DTH_WHEEL_PLATFORM=f"manylinux2014_{machine}",
            )


def _hatch(tree: Path, kind: str, out: Path, **settings: str) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(out.absolute())]
    subprocess.run(command, cwd=tree, env={**os.environ, **settings}, check=True)


if __name__ == "__main__":
    build_wheels(Path(sys.argv[1]), sys.argv[2:])
