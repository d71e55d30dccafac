"""Names of time zones in the parameters of tasks."""

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo, available_timezones

from dth.core.errors import UsageError

TIME_ZONE = "scheduleTimeZone"  # parameter of tasks
# What a machine keeps beside its zones. Their names mean something else on another machine, or they
# count leap seconds.
NO_ZONES = frozenset({"Factory", "localtime", "posix", "posixrules", "right"})


def read_zone(name: str) -> tzinfo:
    """The time zone of a task with this parameter. Raises UsageError."""
    return parse_zone(TIME_ZONE, name) if name else UTC


def parse_zone(parameter: str, name: str) -> tzinfo:
    """The time zone with this name, which stands in this parameter. Raises UsageError."""
    try:
        if name.partition("/")[0] not in NO_ZONES:
            return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        pass
    if not available_timezones():
        raise UsageError(
            f"{parameter}: {name!r} cannot be looked up, because this machine has no time zones; "
            "install the package tzdata"
        )
    raise UsageError(
        f"{parameter}: {name!r} is not a time zone of this machine; write one such as Europe/Berlin"
    )
