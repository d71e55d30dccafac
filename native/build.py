"""Builds the extension `dth._http` from this folder into src/dth, with the machine's C compiler.

Nothing needs the extension: where it cannot be built, libcurl does its work. DTH_NATIVE_BUILD:
`auto` (the default: where there is a compiler, and the sources are newer), `force` (or fail),
`skip` (a package without it).
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Of the stable ABI: one file serves Python 3.11 and all that follow.
OUT = HERE.parent / "src" / "dth" / "_http.abi3.so"
SOURCES = ("answer.c", "crc64.c", "engine.c", "tls.c")
FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-fPIC", "-fvisibility=hidden", "-shared")


class BuildFailed(Exception):
    """The extension could not be built; its text says why."""


def build(out: Path = OUT) -> Path | None:
    """Where the extension is, built into `out` if the one in src/dth is not fresh; None: there is
    none. Raises BuildFailed."""
    mode = os.environ.get("DTH_NATIVE_BUILD", "auto")
    if mode not in ("auto", "force", "skip"):
        raise SystemExit(f"DTH_NATIVE_BUILD={mode}: use auto, force or skip")
    if mode == "skip":
        OUT.unlink(missing_ok=True)
        return None
    if mode != "force" and _is_fresh():
        return OUT
    out.unlink(missing_ok=True)
    _compile(out)
    return out


def _is_fresh() -> bool:
    inputs = [*HERE.glob("*.c"), *HERE.glob("*.h"), Path(__file__)]
    return OUT.is_file() and OUT.stat().st_mtime >= max(file.stat().st_mtime for file in inputs)


def _compile(out: Path) -> None:
    if not sys.platform.startswith("linux"):
        raise BuildFailed("it is for Linux, because of epoll")
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").is_file():
        raise BuildFailed(f"there are no headers of Python in {headers}")
    done = subprocess.run(
        [*_compiler(), *FLAGS, f"-I{headers}", *SOURCES, "-ldl", "-o", str(out)],
        cwd=HERE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        out.unlink(missing_ok=True)
        raise BuildFailed(f"the compiler ended with {done.returncode}:\n{done.stdout[-4000:]}")


def _compiler() -> list[str]:
    for command in (
        os.environ.get("CC", ""),
        sysconfig.get_config_var("CC") or "",
        "cc",
        "gcc",
        "clang",
    ):
        words = shlex.split(command)
        if words and shutil.which(words[0]):
            return words
    raise BuildFailed("there is no C compiler")


def main() -> int:
    try:
        build()
    except BuildFailed as error:
        sys.stderr.write(
            f"The fast path of HTTP was not built, so libcurl does its work: {error}\n"
        )
        return os.environ.get("DTH_NATIVE_BUILD") == "force"
    return 0


if __name__ == "__main__":
    sys.exit(main())
