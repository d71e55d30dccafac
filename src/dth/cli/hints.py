"""What other tools call the commands and options of this one."""

import click
from click.exceptions import NoSuchOption

_BANDWIDTH = "the cap on bandwidth is --max-bytes-per-second, such as 10M"
_DRY_RUN = "a dry run is --dry-run"
_WORKERS = "requests in flight are --concurrency, for each of the --workers"
_KEYS = "a list of keys is --files-from FILE"
_DELETE = "deleting what the source does not have is --delete-mode Mirror"
_ENDPOINT = "an endpoint is of one side: --src-endpoint-url, --dst-endpoint-url"
_PROFILE = "a profile is of one side: --src-profile, --dst-profile"
_FILTER = (
    "patterns are --include and --exclude; --filter-rules rclone takes them in the order that "
    "rclone does"
)
_CONCURRENCY = "requests in flight are --concurrency, for each worker"
_PROGRESS_LINES = "progress for programs is --progress-json SECONDS"
_PROGRESS = "progress is shown unless --quiet is given"

_QUIET = "only errors and the result are shown with --quiet"
_LOGS = "more is shown with -v and -vv, and kept with --log-file FILE"
_LINKS = "symbolic links are followed with --links follow"
_TLS = (
    "certificates are always checked; an authority of your own is given with --src-ca-bundle, "
    "--dst-ca-bundle"
)
_PATIENCE = "retries are automatic, and there is no option for them"
_ALL = "everything below a prefix is copied by dth s3 sync SRC DST, without an option"

_LOGIN = "sign in with skopeo login, or name a secret with --{}-secret"
_NO_TLS = (
    "certificates are always checked; an authority of your own is given with --{0}-ca-bundle, and a "
    "registry without TLS with --{0}-plain-http"
)
_PLATFORM = "one platform is chosen with --platform, such as linux/arm64"
_HUB_BY_OPTION = "the address of a hub is given with --hub"

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
    "--max-concurrent-requests": _CONCURRENCY,
    "--stats": _PROGRESS_LINES,
    "--use-json-log": _PROGRESS_LINES,
    "--filter": _FILTER,
    "--filter-from": _FILTER,
    "--exclude-from": _FILTER,
    "--ignore-existing": (
        "what is at the destination already is kept as it is only if it is the same (--compare)"
    ),
    "--max-delete": "the guard of deletes is --delete-max-percent",
    "--backup-dir": "copies are not moved away; turn on versions in the bucket of the destination",
    "--acl-public": "an ACL is given with --acl public-read",
    "-r": _ALL,
    "--recursive": _ALL,
    "-u": "comparing by size and time is --compare size+time",
    "-q": _QUIET,
    "--no-progress": _QUIET,
    "--only-show-errors": _QUIET,
    "--debug": _LOGS,
    "--log": _LOGS,
    "--log-level": _LOGS,
    "-L": _LINKS,
    "--copy-links": _LINKS,
    "--follow-symlinks": _LINKS,
    "--no-follow-symlinks": "symbolic links are left out unless --links follow is given",
    "--no-verify-ssl": _TLS,
    "--no-check-certificate": _TLS,
    "--insecure": _TLS,
    "--retries": _PATIENCE,
    "--low-level-retries": _PATIENCE,
    "--retry-count": _PATIENCE,
    "--exact-timestamps": "comparing by size and time is --compare size+time",
    "--overwrite": "everything is copied again with --compare always",
    "--ignore-times": "everything is copied again with --compare always",
    "--watch": "events of the source are followed by a task of a hub, see dth up",
    "-P": _PROGRESS,
    "--progress": _PROGRESS,
}
# Of tools for images.
OPTIONS |= {
    **dict.fromkeys(("--src-creds", "--src-username", "--src-password"), _LOGIN.format("src")),
    **dict.fromkeys(
        ("--dest-creds", "--dst-creds", "--dest-username", "--dest-password"), _LOGIN.format("dst")
    ),
    **dict.fromkeys(("--src-tls-verify", "--src-insecure"), _NO_TLS.format("src")),
    **dict.fromkeys(("--dest-tls-verify", "--dest-insecure"), _NO_TLS.format("dst")),
    "--src-cert-dir": "an authority of your own is given with --src-ca-bundle",
    "--dest-cert-dir": "an authority of your own is given with --dst-ca-bundle",
    "--dest-plain-http": "the destination without TLS is --dst-plain-http",
    **dict.fromkeys(
        ("-a", "--all", "--all-platforms", "--multi-arch"),
        "all platforms are copied unless --platform names some",
    ),
    **dict.fromkeys(("--preserve-digests", "--digest-tags"), "digests always stay the same"),
    **dict.fromkeys(("--override-arch", "--override-os"), _PLATFORM),
}
COMMANDS = {
    **dict.fromkeys(
        ("copy", "copyto"),
        (
            "one object is copied by dth s3 cp SRC DST, everything below a prefix by dth s3 sync "
            "SRC DST"
        ),
    ),
    **dict.fromkeys(
        ("mv", "move"),
        "copy with dth s3 sync SRC DST, check with dth s3 diff, then delete with dth s3 rm",
    ),
    "mirror": "mirroring is dth s3 sync SRC DST --delete-mode Mirror",
    **dict.fromkeys(("check", "cmp"), "comparing is dth s3 diff SRC DST"),
    **dict.fromkeys(
        ("lsf", "lsl", "lsd", "lsjson", "list", "tree", "find"), "listing is dth s3 ls URL"
    ),
    "ncdu": "the sizes of folders are shown by dth s3 du URL --depth 1",
    "size": "the size of what is below a prefix is shown by dth s3 du URL",
    **dict.fromkeys(("head", "info"), "what a store says of an object is shown by dth s3 stat URL"),
    "cat": "dth s3 cp URL - writes an object to standard output",
    "rcat": "dth s3 cp - URL writes an object from standard input",
    "pipe": "dth s3 cp - URL writes an object from standard input",
    **dict.fromkeys(
        ("delete", "deletefile", "purge", "del", "rmdir", "rmdirs"),
        "deleting is dth s3 rm URL, with --recursive for a prefix",
    ),
    "mkdir": "a bucket is created by dth s3 mb s3://bucket",
    "rb": "dth deletes no buckets; use the tools of the store",
}


OF_IMAGES = ("image", "images", "registry", "docker", "oci")
IMAGE_COMMANDS = {
    **dict.fromkeys(("cp", "mirror"), "copying is dth ecr copy, or dth ecr sync"),
    **dict.fromkeys(
        ("ls", "list", "tags", "list-tags", "inspect", "digest"),
        "what a registry has is shown by dth ecr plan SRC DST; to look at one image, use skopeo",
    ),
    **dict.fromkeys(("delete", "rm"), "dth deletes no images; use the tools of the registry"),
    **dict.fromkeys(("login", "logout"), "sign in with skopeo login, or name a secret"),
}

# Of `dth` itself.
_STORES = "stores and their keys get a name by dth store add, or dth store import-rclone"
GENERAL = {
    **dict.fromkeys(("config", "configure", "alias", "remote", "remotes"), _STORES),
    **dict.fromkeys(("serve", "server", "start", "run", "daemon", "hub"), "a hub is run by dth up"),
    "version": "the version is shown by dth --version",
    "help": "help is shown by dth --help, and by each command with --help",
    "s3api": "the commands for objects are in dth s3",
}
# Other words for one thing, of which a group of commands has one.
SYNONYMS = (
    ("list", "ls"),
    ("remove", "rm", "delete", "del"),
    ("add", "create", "new", "make"),
    ("show", "get", "info", "describe", "inspect"),
    ("edit", "update", "set"),
)

OF_OBJECTS = ("cp", "diff", "du", "ls", "mb", "rm", "stat", "sync")


def hint(error: click.ClickException) -> str:
    """What to write instead of an option or a command that is not there; "" where nothing comes to
    mind."""
    if isinstance(error, NoSuchOption):
        return OPTIONS.get(error.option_name, "")
    context = error.ctx if isinstance(error, click.UsageError) else None
    if not context:
        return ""
    if "unexpected extra argument" in error.message:
        hubs = any("--hub" in each.opts for each in context.command.params)
        return _HUB_BY_OPTION if hubs and "://" in error.message else ""
    if "No such command" not in error.message:
        return ""
    typed = error.message.partition("'")[2].rpartition("'")[0]
    if context.command_path.endswith(" s3"):
        return COMMANDS.get(typed, "")
    if context.command_path.endswith(" ecr"):
        return IMAGE_COMMANDS.get(typed, "")
    if context.parent is not None:
        return _synonym(context, typed)
    if typed in OF_IMAGES:
        return "images are copied by dth ecr copy and dth ecr sync"
    if typed in GENERAL:
        return GENERAL[typed]
    own = f"the command for objects is dth s3 {typed}" if typed in OF_OBJECTS else ""
    return own or COMMANDS.get(typed, "")


def _synonym(context: click.Context, typed: str) -> str:
    """What this group of commands calls the command that another tool calls so."""
    has = context.command.list_commands(context) if isinstance(context.command, click.Group) else []
    same = {each for group in SYNONYMS if typed in group for each in group}
    found = next((each for each in has if each in same), "")
    return f"that is {context.command_path} {found}" if found else ""
