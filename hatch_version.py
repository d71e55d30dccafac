"""The version of the package: that of a source distribution is in its PKG-INFO, that of a checkout
is the newest tag.

A tag is named after a version: v1.2.0. Three commits after it, the version is 1.2.0.post3+gCOMMIT.
"""

import re
import subprocess
from email.parser import HeaderParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent
# Where there is no tag, such as in an archive of the files alone.
UNTAGGED = "0.1.0"


def version() -> str:
    packed = ROOT / "PKG-INFO"
    if packed.is_file():
        return str(HeaderParser().parsestr(packed.read_text("utf-8"))["Version"])
    # Of this folder, and not of one that it happens to stand in.
    if not (ROOT / ".git").exists():
        return UNTAGGED
    command = ["git", "describe", "--tags", "--long", "--match", "v[0-9]*"]
    try:
        said = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=20
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return UNTAGGED
    found = re.fullmatch(r"v(.+)-(\d+)-(g[0-9a-f]+)", said.strip())
    if found is None:
        return UNTAGGED
    tag, commits, commit = found.groups()
    return tag if commits == "0" else f"{tag}.post{commits}+{commit}"
