"""`--database`: the option of commands that share their work with other machines."""

from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from dth.core.errors import UsageError

MISSING = "--database needs the driver of PostgreSQL: pip install 'data-transfer-hub[postgres]'"
VARIABLE = "DTH_DATABASE"


def database_option(text: str, **options: Any) -> Callable[[Any], Any]:
    """The option, which arrives as `database`: a checked address."""
    return click.option(
        "--database",
        metavar="URL",
        envvar=VARIABLE,
        show_envvar=True,
        callback=_checked,
        help=f"{text} Such as postgresql://USER@HOST/DATABASE.",
        **options,
    )


def _checked(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    try:
        from dth.platforms.postgres.address import PASSWORD, check_address, has_password
    except ImportError:
        raise UsageError(MISSING) from None
    check_address(value)
    typed = ctx.get_parameter_source(param.name or "") is ParameterSource.COMMANDLINE
    if typed and has_password(value):
        raise UsageError(
            "--database: everybody on this machine can read a password in a command; leave it out "
            f"and {PASSWORD}, or put the whole address into {VARIABLE}"
        )
    return value
