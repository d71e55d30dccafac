"""What only the commands for objects take: their parameters, customer keys, URLs of buckets."""

import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from dth.cli.options import Number, Text, validated
from dth.core.errors import UsageError
from dth.core.parameters import START, commands_differ, extra
from dth.core.stores_file import read_stores, store_named
from dth.objects.parameters import S3Parameters
from dth.objects.store.bucket_names import split_url
from dth.objects.store.credentials import KEY_FILE
from dth.objects.store.folders.paths import folder_of
from dth.objects.stores import settings_of_store

F = Callable[..., Any]
# A text that names a store. The bucket may be the ARN of an access point.
NAMED = re.compile(r"(?!arn:)([A-Za-z0-9][A-Za-z0-9_.-]{0,62}):(?!//)(.*)", re.DOTALL)
# What no store takes in the name of a bucket, and what would end the path of a URL.
NEVER = re.compile(r"[\s?#%\\]|[^ -~]")
KEY_FILES = {"src": "src_sse_customer_key_file", "dst": "dest_sse_customer_key_file"}


sample_option = click.option(
    "--sample",
    type=Number(0, 100, min_open=True),
    metavar="PERCENT",
    help="With --compare content: read this part of the objects, always the same ones. The "
    "others are compared by size.",
)


def key_file_options(*sides: str) -> Callable[[F], F]:
    """Decorate a command with the files of customer keys; tasks of a hub name secrets instead."""

    def decorate(command: F) -> F:
        for side in reversed(sides):
            command = click.option(
                f"--{side}-sse-c-key-file",
                KEY_FILES[side],
                metavar="FILE",
                type=Text(),
                help="File with a customer key (SSE-C): 32 bytes, or their base64.",
            )(command)
        return command

    return decorate


def build_parameters(given: dict[str, Any], **fixed: Any) -> S3Parameters:
    """The parameters of what was given on the command line, with the defaults of commands."""
    values: dict[str, Any] = dict.fromkeys(commands_differ(S3Parameters))
    values |= {"max_capacity": default_workers()}
    files = {side: given.pop(name, None) for side, name in KEY_FILES.items()}
    values |= {
        name: _joined(name, value)
        for name, value in given.items()
        if value is not None and value != ()
    }
    for side, file in files.items():
        name = KEY_FILES[side].removesuffix("_file")
        if file and values.get(name):
            raise UsageError(f"give --{side}-sse-c-secret or --{side}-sse-c-key-file, not both")
        if file:
            values[name] = f"{KEY_FILE}{Path(file).absolute()}"
    return validated(S3Parameters, _from_stores(values | fixed))


def _from_stores(values: dict[str, Any]) -> dict[str, Any]:
    """The values, in which a bucket that names its store (`old-minio:photos`) becomes the bucket
    and what the store gives. Options have priority over the store."""
    for side, start in START.items():
        bucket = str(values.get(f"{start}_bucket") or "")
        if found := NAMED.fullmatch(bucket):
            settings = settings_of_store(store_named(found[1]), side)
            given = {alias: settings[alias] for alias in settings if not values.get(_field(alias))}
            values = {**given, **values, f"{start}_bucket": found[2]}
    return values


def _field(alias: str) -> str:
    """The field of a parameter."""
    return next(name for name, field in S3Parameters.model_fields.items() if field.alias == alias)


def _joined(name: str, value: Any) -> Any:
    """Values of an option that was given several times, as the parameter takes them."""
    return ",".join(value) if extra(S3Parameters.model_fields[name])["several"] else value


def default_workers() -> int:
    return min(4, len(os.sched_getaffinity(0)))


def written(bucket: str, prefix: str = "") -> str:
    """What `parse_url` read, as users write it."""
    return f"{bucket}/{prefix}" if NAMED.fullmatch(bucket) else f"s3://{bucket}/{prefix}"


def parse_url(text: str, which: str, *, folder: bool = True) -> tuple[str, str]:
    """Bucket and prefix of `s3://bucket/prefix`, or of `store:bucket/prefix`, whose bucket keeps
    the store's name for `build_parameters`. A prefix names a folder: it ends with a slash. A folder
    of this machine stands in the place of the bucket."""
    if is_local(text):
        return _parse_path(text, which, folder=folder)
    named = None if text.startswith("s3://") else NAMED.fullmatch(text)
    if named and named[1] in read_stores():
        bucket, prefix = split_url(named[2].lstrip("/"))
        bucket = bucket and f"{named[1]}:{bucket}"
    elif not text.startswith("s3://"):
        raise UsageError(f"{which} {text!r} {_no_url(text, which)}")
    else:
        bucket, prefix = split_url(text.removeprefix("s3://"))
    if not bucket:
        store = f"; dth s3 ls {named[1]}: lists those of the store" if named else ""
        raise UsageError(f"{which} {text!r} names no bucket; write s3://bucket/prefix{store}")
    if never := NEVER.search(bucket):
        raise UsageError(f"{which} {text!r}: the name of a bucket never contains {never[0]!r}")
    if "*" in text:
        raise UsageError(
            f"{which} {text!r}: a URL takes no wildcards; "
            f"{_without_wildcards(bucket, prefix, which, folder=folder)}"
        )
    if folder and prefix and not prefix.endswith("/"):
        prefix += "/"
    return bucket, prefix


class _Location(Text):
    """SRC, DST or URL: shells complete the names of stores, and of files of this machine."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        files = super().shell_complete(ctx, param, incomplete)
        with contextlib.suppress(UsageError):
            names = [f"{name}:" for name in read_stores()]
            # Bash forgets what comes before the files.
            return [
                *files,
                *(CompletionItem(each) for each in names if each.startswith(incomplete)),
            ]
        return files


PLACE = _Location()


def is_local(text: str) -> bool:
    """Whether a text names a folder or file of this machine: by how it begins or ends, or because
    it is there."""
    begins = text.startswith(("/", "./", "../", "~")) or text in (".", "..")
    return begins or (":" not in text and (text.endswith("/") or os.path.isdir(text)))  # noqa: PTH112


def _parse_path(text: str, which: str, *, folder: bool) -> tuple[str, str]:
    path = Path(text).expanduser()
    if which != "DST" and path.is_file() and not text.endswith("/"):
        return folder_of(str(path.parent), which, must_exist=True), path.name + "/" * folder
    return folder_of(text, which, must_exist=which != "DST"), ""


def _without_wildcards(bucket: str, prefix: str, which: str, *, folder: bool) -> str:
    """How to say what a URL with wildcards means. Not all commands have patterns: `cp` takes one
    object, and commands for one store (URL) take everything below a prefix."""
    if "*" in bucket:
        return "name one bucket"
    parent = prefix[: prefix.index("*")].rpartition("/")[0]
    pattern = prefix[len(parent) + bool(parent) :]
    place = written(bucket, parent) + "/" * bool(parent)
    if which == "URL":
        return f"{place} stands for everything below it; patterns are only for sync and diff"
    if folder and not pattern.strip("*/"):
        return f"{place} stands for everything below it"
    # A pattern without / is for every depth, as a wildcard is in most tools.
    include = f"--include '{'/' * ('/' in pattern)}{pattern}'" if pattern.strip("*/") else ""
    command = place if folder else f"dth s3 sync {place} DST"
    return f"write {command} {include}".rstrip()


def _no_url(text: str, which: str) -> str:
    """What is wrong with a text that does not begin with s3://, as the end of a sentence about
    it."""
    if text[:5].lower() == "s3://":
        return "has the scheme in capitals; write s3:// in small letters"
    if re.match(r"[A-Za-z0-9+.-]+://", text):
        return "is not an S3 URL: only s3://bucket/prefix is understood"
    if text.startswith("arn:"):
        return f"is an ARN; write s3://{text}"
    side = {"SRC": "src-", "DST": "dst-"}.get(which, "")
    if remote := re.fullmatch(r"(\w[\w.+@-]*):(?!\\)/?(.*)", text):
        return (
            f"names the store {remote[1]!r}, which is not known: dth store add {remote[1]} or "
            "dth store import-rclone makes it known; or write "
            f"s3://{remote[2] or 'bucket/prefix'} with --{side}endpoint-url and --{side}profile"
        )
    return f"is not an S3 URL; for the bucket of that name write s3://{text}, for a folder ./{text}"
