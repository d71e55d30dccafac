"""What other tools call the commands and options of this one."""

import click
from click.exceptions import NoSuchOption

_BANDWIDTH = "the cap on bandwidth is --max-bytes-per-second, such as 10M"
_DRY_RUN = "a dry run is --dry-run"
_WORKERS = "the number of worker processes is --workers"
_KEYS = "a list of keys is --manifest FILE"
_DELETE = "deleting what the source does not have is --delete-mode Mirror"
_ENDPOINT = "an endpoint is of one side: --src-endpoint-url, --dst-endpoint-url"
_PROFILE = "a profile is of one side: --src-profile, --dst-profile"
_PROGRESS = "progress is shown unless --quiet is given"

OPTIONS = {
    "--bwlimit": _BANDWIDTH,
    "--limit-upload": _BANDWIDTH,
    "--limit-download": _BANDWIDTH,
    "-n": _DRY_RUN,
    "--dryrun": _DRY_RUN,
    "--transfers": _WORKERS,
    "--numworkers": _WORKERS,
    "--max-workers": _WORKERS,
    "--checkers": _WORKERS,
    "--files-from": _KEYS,
    "--include-from": _KEYS,
    "--delete": _DELETE,
    "--remove": _DELETE,
    "--endpoint-url": _ENDPOINT,
    "--endpoint": _ENDPOINT,
    "--profile": _PROFILE,
    "--region": "a region is of one side: --src-region, --dst-region",
    "--source-region": "the region of the source is --src-region",
    "--ca-bundle": "authorities are of one side: --src-ca-bundle, --dst-ca-bundle",
    "--no-sign-request": "a source without signatures is --src-anonymous",
    "--checksum": "comparing by checksum is --compare checksum",
    "--size-only": "comparing by size is --compare size",
    "--update": "comparing by size and time is --compare size+time",
    "--referrers": "what is attached to images goes along unless --no-attached is given",
    "--no-referrers": "images without what is attached to them are copied with --no-attached",
    "-P": _PROGRESS,
    "--progress": _PROGRESS,
}
COMMANDS = {
    **dict.fromkeys(("cp", "copy", "mv"), "copying is dth s3 sync SRC DST; nothing at the source is deleted"),
    "mirror": "mirroring is dth s3 sync SRC DST --delete-mode Mirror",
    **dict.fromkeys(("check", "cmp"), "comparing is dth s3 diff SRC DST"),
    **dict.fromkeys(("lsf", "lsl", "list", "tree"), "listing is dth s3 ls URL"),
    **dict.fromkeys(
        ("mb", "rb", "rm", "du", "cat"), "dth only copies and compares; use the tools of the store"
    ),
}


def hint(error: click.ClickException) -> str:
    """What to write instead of an option or a command that is not there; "" where nothing comes to mind."""
    if isinstance(error, NoSuchOption):
        return OPTIONS.get(error.option_name, "")
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context and context.command_path.endswith(" s3") and "No such command" in error.message:
        return next((text for name, text in COMMANDS.items() if repr(name) in error.message), "")
    return ""
