"""`--manifest -`: a list of keys that is given on standard input."""

import hashlib
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dth.core.config import state_directory
from dth.core.errors import UsageError
from dth.objects.listing.lists import STDIN_PREFIX
from dth.objects.parameters import S3Parameters

STDIN = "-"
_STEP = 1024 * 1024


@contextmanager
def keep_stdin(parameters: S3Parameters) -> Iterator[S3Parameters]:
    """The parameters with a file in place of standard input, which the processes of a run cannot
    read.

    Its name follows from what is in it: the same command with the same list finds the state of the
    one that was interrupted.
    """
    if parameters.src_manifest != STDIN:
        yield parameters
        return
    if sys.stdin.isatty():
        raise UsageError(
            "--manifest - reads the keys from standard input: write COMMAND | dth ..., or < FILE"
        )
    folder = state_directory()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=folder, prefix=STDIN_PREFIX, delete=False) as file:
        path = Path(file.name)
        try:
            while chunk := sys.stdin.buffer.read(_STEP):
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            path = path.rename(folder / f"{STDIN_PREFIX}{digest.hexdigest()[:16]}")
            yield parameters.model_copy(update={"src_manifest": str(path)})
        finally:
            path.unlink(missing_ok=True)
