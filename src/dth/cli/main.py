"""The `dth` command: its groups, and what every error becomes: one line, and an exit code.

0: success; 1: a transfer failed, or the command could not be finished; 2: the command cannot be
carried out as given.
"""

import os
import sys

import click

from dth.cli.lazy import LazyGroup
from dth.cli.streams import open_standard, use_utf8
from dth.core import interrupts
from dth.core.errors import (
    Forbidden,
    HubError,
    Unauthenticated,
    UsageError,
    full_disk,
    with_side,
)

GROUPS = {
    "aws": "dth.cli.aws:aws",
    "backup": "dth.cli.backup:backup",
    "comparison": "dth.cli.comparison:comparison",
    "completion": "dth.cli.completion:completion",
    "demo": "dth.cli.demo:demo",
    "doctor": "dth.cli.doctor:doctor",
    "ecr": "dth.cli.ecr:ecr",
    "login": "dth.cli.login:login",
    "logout": "dth.cli.login:logout",
    "man": "dth.cli.man:man",
    "migrate": "dth.cli.migrate:migrate",
    "runs": "dth.cli.task_look:runs",
    "s3": "dth.cli.s3:s3",
    "secret": "dth.cli.secret:secret",
    "store": "dth.cli.store:store",
    "task": "dth.cli.task:task",
    "token": "dth.cli.token:token",
    "up": "dth.cli.up:up",
    "user": "dth.cli.user:user",
    "verify-certificate": "dth.cli.certificate:verify_certificate",
    "worker": "dth.cli.worker:worker",
}

# Only a change of what is given, or of the caller's rights, can make these commands work.
AS_GIVEN = (UsageError, Unauthenticated, Forbidden)

# What they do is on an event loop (`run_work`); before it runs there is nothing to clean up.
WORKING = ("ecr", "s3", "store", "up", "worker")


class Groups(LazyGroup):
    """The commands of `dth`."""

    def loaded(self, name: str) -> None:
        # Others may have asked for a password, or have files and processes that must not stay
        # behind.
        interrupts.handle(interrupts.leave if name in WORKING else interrupts.unwind)


@click.group(cls=Groups, modules=GROUPS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="data-transfer-hub", prog_name="dth")
def cli() -> None:
    """Move objects between S3-compatible stores and images between registries, safely and fast."""


def _message(error: click.ClickException) -> str:
    from dth.cli.hints import hint

    if instead := hint(error):
        return f"{error.message.rstrip('.')}; {instead}"
    # Click writes a choice in several lines.
    message = " ".join(error.format_message().split())
    if isinstance(error, click.UsageError) and error.ctx:
        return f"{message} (try: {error.ctx.command_path} --help)"
    return message


def main() -> None:
    use_utf8()
    open_standard()
    os.umask(0o077)  # what commands write is for this user: states, databases, logs, reports
    try:
        sys.exit(_run())
    finally:
        interrupts.ignore()


def _run() -> int:
    """Run the command that was given; its exit code."""
    try:
        code = cli.main(prog_name="dth", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo(interrupts.WORDS, err=True)
        return 1
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        click.echo(f"dth: {_message(error)}", err=True)
        return 2
    except HubError as error:
        click.echo(f"dth: {with_side(error)}", err=True)
        return 2 if isinstance(error, AS_GIVEN) else 1
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except Exception as error:
        if full := full_disk(error):
            click.echo(f"dth: {full}", err=True)
            return 1
        if os.environ.get("DTH_DEBUG"):
            raise
        if isinstance(error, OSError) and error.filename and error.strerror:
            click.echo(f"dth: {error.filename}: {error.strerror}", err=True)
            return 1
        click.echo(
            f"dth: internal error: {type(error).__name__}: {error} (DTH_DEBUG=1 shows where)",
            err=True,
        )
        return 1
    return code if isinstance(code, int) else 0
