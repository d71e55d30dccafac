"""The source distribution, the wheel built from it, and what building leaves in a checkout. All of
it offline."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.servers.process import REPOSITORY

# Stands for Node.js and npm: writes down what is asked of it, and builds a console of one page.
NODE = "#!/bin/sh\necho v22.20.0\n"
NPM = """#!/bin/sh
echo "$PWD $*" >> "$NPM_LOG"
if [ "$1" = run ]; then mkdir -p "$DTH_CONSOLE_OUT/assets"; echo page > "$DTH_CONSOLE_OUT/index.html"; fi
"""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def unpack(packed: tarfile.TarFile, folder: Path) -> None:
    """Python before 3.11.4 has no filters; what is unpacked here is our own."""
    filtered = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    packed.extractall(folder, **filtered)  # type: ignore[arg-type]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """This repository as it is checked out: nothing is built."""
    names = run(
        "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=REPOSITORY
    )
    top = tmp_path / "checkout"
    for name in filter(None, names.split("\0")):
        if (REPOSITORY / name).is_file():
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, top / name, follow_symlinks=False)
    run("git", "init", "--quiet", cwd=top)
    run("git", "add", "--all", cwd=top)
    return top


@pytest.fixture
def tools(tmp_path: Path) -> dict[str, str]:
    """An environment in which the console is built by a stand-in."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name, text in (("node", NODE), ("npm", NPM)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}", "NPM_LOG": str(tmp_path / "npm.log")}


def hatch(target: str, out: Path, cwd: Path, **environment: str) -> Path:
    """What hatchling, the build tool of this environment, makes of a checkout."""
    run(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", out, cwd=cwd, **environment)
    (made,) = out.iterdir()
    return made


def test_a_wheel_of_the_source_distribution_has_all_of_it_without_npm(
    checkout: Path, tools: dict[str, str], tmp_path: Path
) -> None:
    sdist = hatch("sdist", tmp_path / "sdist", checkout, **tools)
    with tarfile.open(sdist) as packed:
        unpack(packed, tmp_path / "unpacked")
    (source,) = (tmp_path / "unpacked").iterdir()
    assert not (source / "console").exists()
    assert (source / "src/dth/_console/index.html").read_text() == "page\n"
    assert not list((source / "src").rglob("*.so"))

    # npm would fail here.
    log = Path(tools["NPM_LOG"])
    log.unlink()
    (log.parent / "tools" / "npm").write_text("#!/bin/sh\nexit 1\n")
    wheel = hatch("wheel", tmp_path / "wheel", source, **tools)
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "dth/_console/index.html",
        "dth/_docs/how-to/resume.md",
        "dth/_docs/images/tasks.png",
        "dth/_docs/index.md",
        "dth/_docs/zh/index.md",
        "dth/hub/docs/docs.css",
        "dth/hub/schema.graphql",
        "dth/infra/requirements.lock",
    } <= names
    assert ("dth/_http.abi3.so" in names) == ("none-any" not in wheel.name)

    # Installed alone; what it needs comes from this environment.
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv/bin/python"
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        wheel,
        cwd=tmp_path,
    )
    (packages,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    needed = next(path for path in sys.path if path.endswith("site-packages"))
    # After its own folder, and no .pth file of that one is read.
    (packages / "needed.pth").write_text(f"{needed}\n")
    said = run(tmp_path / "venv/bin/dth", "--version", cwd=tmp_path)
    assert said.strip().endswith(wheel.name.split("-")[1])
    where = run(python, "-c", "import dth; print(dth.__file__)", cwd=tmp_path)
    assert Path(where.strip()).parent == packages / "dth"


@pytest.mark.parametrize(
    ("commits", "version"),
    [(0, r"1\.2\.3"), (2, r"1\.2\.3\.post2\+g[0-9a-f]{7,}"), (None, r"0\.1\.0")],
)
def test_the_version_is_that_of_the_newest_tag(
    checkout: Path, tools: dict[str, str], tmp_path: Path, commits: int | None, version: str
) -> None:
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@example.com")
    run(*git, "commit", "--quiet", "--message", "all", cwd=checkout)
    if commits is not None:
        run(*git, "tag", "v1.2.3", cwd=checkout)
    for _ in range(commits or 0):
        run(*git, "commit", "--quiet", "--allow-empty", "--message", "more", cwd=checkout)
    sdist = hatch("sdist", tmp_path / "sdist", checkout, **tools, DTH_CONSOLE_BUILD="skip")
    assert re.fullmatch(rf"data_transfer_hub-{version}\.tar\.gz", sdist.name)
    with tarfile.open(sdist) as packed:
        unpack(packed, tmp_path / "unpacked")
    (source,) = (tmp_path / "unpacked").iterdir()
    said = run(
        sys.executable, "-c", "import hatch_version; print(hatch_version.version())", cwd=source
    )
    assert re.fullmatch(version, said.strip())


def test_an_install_leaves_nothing_in_the_checkout(
    checkout: Path, tools: dict[str, str], tmp_path: Path
) -> None:
    status = ("git", "status", "--short", "--ignored")
    before = run(*status, cwd=checkout)
    wheel = hatch("wheel", tmp_path / "wheel", checkout, **tools)
    assert run(*status, cwd=checkout) == before
    assert "dth/_console/index.html" in zipfile.ZipFile(wheel).namelist()
    steps = Path(tools["NPM_LOG"]).read_text().splitlines()
    assert [step.split(" ", 1)[1] for step in steps] == ["ci --omit=dev --no-progress", "run build"]
    assert not any(step.startswith(f"{checkout}/") for step in steps)


def test_an_editable_install_has_the_console_in_its_place(
    checkout: Path, tools: dict[str, str], tmp_path: Path
) -> None:
    run(
        sys.executable,
        "-c",
        "from hatchling.build import build_editable; build_editable('.')",
        cwd=checkout,
        **tools,
    )
    assert (checkout / "src/dth/_console/index.html").is_file()
    # It is fresh: a wheel takes it as it is.
    Path(tools["NPM_LOG"]).unlink()
    wheel = hatch("wheel", tmp_path / "wheel", checkout, **tools)
    assert "dth/_console/index.html" in zipfile.ZipFile(wheel).namelist()
    assert not Path(tools["NPM_LOG"]).exists()


# Stands for a compiler that builds for any processor: the machine's own, whatever it is told.
COMPILER = """#!/bin/sh
[ "$1" = -target ] || exit 1
echo "$2" >> "$TARGETS"
shift 2
exec cc "$@"
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_the_wheels_of_a_release_are_for_two_processors_and_every_python(
    checkout: Path, tools: dict[str, str], tmp_path: Path
) -> None:
    compiler = tmp_path / "tools" / "zig"
    compiler.write_text(COMPILER)
    compiler.chmod(0o755)
    out, targets = tmp_path / "wheels", tmp_path / "targets"
    script = checkout / "native/wheels.py"
    run(sys.executable, script, out, compiler, cwd=checkout, **tools, TARGETS=str(targets))
    wheels = sorted(path.name for path in out.iterdir())
    assert wheels == [
        f"data_transfer_hub-0.1.0-cp311-abi3-manylinux2014_{machine}.whl"
        for machine in ("aarch64", "x86_64")
    ]
    assert targets.read_text().split() == ["x86_64-linux-gnu.2.17", "aarch64-linux-gnu.2.17"]
    for name in wheels:
        packed = zipfile.ZipFile(out / name).namelist()
        assert {"dth/_http.abi3.so", "dth/_console/index.html"} <= set(packed)
    # Each is built from the source distribution, which has the console.
    steps = Path(tools["NPM_LOG"]).read_text().splitlines()
    assert [step.split(" ", 1)[1] for step in steps] == ["ci --omit=dev --no-progress", "run build"]
