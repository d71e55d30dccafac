"""The states of commands that were given no `--state`: which command finds which, and `state ls`
and `state rm`."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dth.cli.database import database_option
from dth.cli.display import amount, columns, day, shown
from dth.cli.output import Output, output_format
from dth.compose.local.process import DEFAULT_TYPE
from dth.core.config import state_directory
from dth.core.errors import HubError, StateError, UsageError
from dth.core.parameters import TaskParameters, extra, parse_moment, readers
from dth.objects.store.folders.paths import place_of
from dth.platforms.local.filesystem import lock_state_directory, remove_state_directory, used_by
from dth.platforms.local.foreground import TASK_FILE
from dth.platforms.local.platform import open_platform

if TYPE_CHECKING:
    from dth.platforms.postgres.kept import KeptTask

UNFINISHED = "unfinished"
HEAD = ("NAME", "SOURCE", "DESTINATION", "LAST USED", "SIZE", "STATUS")


def default_state(kind: str, parameters: TaskParameters, given: dict[str, Any]) -> Path:
    """The state of a command that was given none. The same transfer finds it again and continues,
    whatever its speed. `given`: the options as they were typed."""
    fields = type(parameters).model_fields
    what = {
        name: value
        for name, value in parameters.model_dump(mode="json").items()
        if _is_what(fields[name])
    }
    # An age such as 7d is another moment each time, and the same command.
    ages = {
        name: given[name]
        for name in what
        if given.get(name) and parse_moment in readers(fields[name])
    }
    digest = hashlib.sha256(
        json.dumps({"type": kind, **what, **ages}, sort_keys=True).encode()
    ).hexdigest()
    return state_directory() / f"sync-{digest[:16]}"


def _is_what(field: Any) -> bool:
    return bool(extra(field)["what"])


@dataclass(frozen=True, slots=True)
class Kept:
    """A state as it is listed."""

    path: Path
    task: dict[str, Any]

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def kind(self) -> str:
        return str(self.task.get("type", DEFAULT_TYPE))

    def side(self, side: str) -> str:
        """A side in a few words."""
        if self.kind == DEFAULT_TYPE:
            bucket, prefix = self.task.get(f"{side}Bucket", "?"), self.task.get(f"{side}Prefix", "")
            return shown(f"{place_of(bucket)}/{prefix}")
        host = self.task.get(f"{side}Registry") or f"ecr:{self.task.get(f'{side}Region', '?')}"
        rest = self.task.get("srcImageList" if side == "src" else "destPrefix", "")
        return shown(f"{host}/{rest}".rstrip("/"))


def kept_states(kind: str) -> Iterator[Kept]:
    """The states of this kind of task, by name. What cannot be read is nobody's, and listed with
    all kinds."""
    folder = state_directory()
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        # Those with a dot are not of one state.
        if not path.is_dir() or path.name.startswith("."):
            continue
        try:
            task = json.loads((path / TASK_FILE).read_text("utf-8"))
        except (OSError, ValueError):
            task = {}
        kept = Kept(path, task)
        if not task or kept.kind == kind:
            yield kept


def state_commands(kind: str, command: str, *, shared: bool = False) -> click.Group:
    """`ls` and `rm` for the states that `command` leaves. `shared`: also in a database."""

    def where(command: Any) -> Any:
        return (
            database_option("The states in this database instead.")(command) if shared else command
        )

    @click.group(
        name="state", help=f"What {command} keeps of runs that did not end well, without --state."
    )
    def group() -> None:
        pass

    @group.command(
        name="ls", help=f"List the states that {command} keeps where no --state was given."
    )
    @where
    @output_format
    def list_(output: Output, database: str | None = None) -> int:
        rows = [state.row() for state in _states(kind, database)]
        if output.for_people:
            columns(HEAD, rows)
        else:
            names = ("name", "source", "destination", "lastUsed", "size", "status")
            output.print([dict(zip(names, row, strict=True)) for row in rows])
        return 0

    @group.command(
        name="rm",
        help="Remove states. The next run of their command lists and compares everything again.",
    )
    @click.argument("names", metavar="[NAME]...", nargs=-1)
    @click.option("--all", "all_", is_flag=True, help="Remove all that are not in use.")
    @where
    def remove(names: tuple[str, ...], all_: bool, database: str | None = None) -> int:
        if bool(names) == all_:
            raise UsageError("name the states to remove, or give --all")
        known = {state.name: state for state in _states(kind, database)}
        for name in names:
            if name not in known:
                raise UsageError(
                    f"there is no state {shown(name)!r}; {command.rpartition(' ')[0]} state ls "
                    "lists them"
                )
        code = 0
        for name in names or known:
            try:
                known[name].remove()
            except HubError as error:
                click.echo(f"dth: {error}", err=True)
                code = 1
        return code

    return group


@dataclass(frozen=True, slots=True)
class _KeptState:
    """A state, in whatever place: its line in a list, and how it is removed."""

    name: str
    row: Callable[[], tuple[str, ...]]
    remove: Callable[[], None]


def _states(kind: str, database: str | None) -> list[_KeptState]:
    if not database:
        return [
            _KeptState(kept.name, partial(_row, kept), partial(_remove, kept))
            for kept in kept_states(kind)
        ]
    from dth.platforms.postgres.kept import kept_tasks

    return [
        _KeptState(task.id, partial(_shared_row, task), partial(_remove_shared, database, task))
        for task in asyncio.run(kept_tasks(database, kind))
    ]


def _row(kept: Kept) -> tuple[str, ...]:
    files = [path.lstat() for path in kept.path.rglob("*") if path.is_file()]
    used = max((file.st_mtime for file in files), default=kept.path.stat().st_mtime)
    size = amount(sum(file.st_size for file in files))
    holder = used_by(kept.path)
    status = f"in use by process {holder}" if holder else _status(kept.path)
    return kept.name, kept.side("src"), kept.side("dest"), day(used), size, status


def _status(path: Path) -> str:
    if not (path / "task.db").exists():
        return "empty"
    try:
        with open_platform(path, "state") as platform:
            runs = asyncio.run(platform.records.list_runs())
    except HubError:
        return "damaged"
    return UNFINISHED if any(run.is_open for run in runs) else "finished"


def _remove(kept: Kept) -> None:
    with lock_state_directory(kept.path, wait=0):
        unfinished = _status(kept.path) == UNFINISHED
        remove_state_directory(kept.path)
    _removed(kept, unfinished=unfinished)


def _shared_row(task: "KeptTask") -> tuple[str, ...]:
    kept = Kept(Path(task.id), dict(task.parameters))
    status = f"in use by {task.holder}" if task.holder else ""
    status = status or (UNFINISHED if task.unfinished else "finished")
    return (
        task.id,
        kept.side("src"),
        kept.side("dest"),
        day(task.used),
        amount(task.size),
        status,
    )


def _remove_shared(database: str, task: "KeptTask") -> None:
    from dth.platforms.postgres.database import drop_task

    if task.holder:
        raise StateError(f"{task.id} is in use by {task.holder}")
    asyncio.run(drop_task(database, task.id))
    _removed(Kept(Path(task.id), dict(task.parameters)), unfinished=task.unfinished)


def _removed(kept: Kept, *, unfinished: bool) -> None:
    """Say that a state is removed, and what it may have left."""
    click.echo(f"removed {kept.name}")
    bucket, endpoint = kept.task.get("destBucket"), kept.task.get("destEndpoint")
    if unfinished and bucket:
        look = f"aws s3api list-multipart-uploads --bucket {bucket}" + (
            f" --endpoint-url {endpoint}" if endpoint else ""
        )
        click.echo(
            f"  Its run was not finished: uploads in parts may be left at {kept.side('dest')}. "
            f"To see them: {look}"
        )
