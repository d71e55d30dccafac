"""Parameters that several plugins have: each is declared here once, and a plugin's model names it.

A plugin that copies from one side to another takes those of a side. Every plugin takes those of the
schedule: the hub reads `schedule_rate`, `ec2_cron_expression`, `schedule_time_zone` and
`transfer_window` of every task.
"""

from typing import Any

from dth.core.parameters import OPTION, Names, parameter

# ---------------------------------------------------------------------------------------- of a side


def profile(side: str) -> Any:
    """The profile of the AWS configuration that a side uses."""
    return parameter(
        "",
        side,
        f"{side.title()} profile",
        "Profile of the AWS configuration; in a hub one of those that its settings list.",
        what=True,
        cli=f"{OPTION[side]}-profile",
        names=Names.PROFILE,
    )


def role_arn(side: str) -> Any:
    """The role that is assumed for a side."""
    return parameter(
        "",
        side,
        f"{side.title()} role",
        f"Role to assume for the {side}.",
        what=True,
        cli=f"{OPTION[side]}-role-arn",
    )


def check_role(side: str, arn: str) -> None:
    """Raises ValueError for the name of a role that is not its ARN."""
    if arn and not arn.startswith("arn:"):
        raise ValueError(
            f"{side}: {arn!r} is not the ARN of a role; write arn:aws:iam::ACCOUNT:role/NAME"
        )


def external_id(side: str) -> Any:
    """The external id with which the role of a side is assumed."""
    return parameter(
        "",
        side,
        f"{side.title()} external id",
        f"External id for the {side} role.",
        what=False,
        cli=f"{OPTION[side]}-external-id",
    )


def ca_bundle(side: str) -> Any:
    """The authorities that are trusted for a side."""
    return parameter(
        "",
        side,
        f"{side.title()} CA",
        "PEM file of authorities to trust; in a hub the name of one that its settings list.",
        what=False,
        cli=f"{OPTION[side]}-ca-bundle",
        names=Names.CA_BUNDLE,
    )


# ---------------------------------------------------------------------------------- of the schedule


def cron_expression(default: str) -> Any:
    """When runs begin, by the clock."""
    return parameter(
        default,
        "schedule",
        "Cron expression",
        "When runs begin: EventBridge cron, six fields, in the time zone. Empty: once.",
        what=False,
    )


def schedule_rate(such_as: str) -> Any:
    """How often runs begin. `such_as`: examples for the help."""
    return parameter(
        "",
        "schedule",
        "Rate",
        f"How often runs begin, such as {such_as}; instead of a cron expression.",
        what=False,
    )


def schedule_time_zone() -> Any:
    """The zone whose clock the cron expression follows, and hours that name none."""
    return parameter(
        "",
        "schedule",
        "Time zone",
        (
            "Zone of the cron expression, and of a transfer window and a bandwidth timetable that "
            "name none, such as Europe/Berlin; UTC when empty."
        ),
        what=False,
    )


def transfer_window() -> Any:
    """The hours in which data may move."""
    return parameter(
        "",
        "schedule",
        "Transfer window",
        "When data may move, such as Mon-Fri 20:00-06:00 Europe/Berlin; always when empty.",
        what=False,
        needs_hub=True,
    )


def alarm_email() -> Any:
    """Who is notified about failures."""
    return parameter(
        "",
        "schedule",
        "Alarm e-mail",
        "Address that is notified about failures.",
        what=False,
        pattern=r"^$|^[^@\s]+@[^@\s]+$",
    )
