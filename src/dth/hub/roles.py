"""The roles that tasks, tests and looks of a hub may assume."""

from fnmatch import fnmatchcase
from typing import Any

from dth.core.errors import UsageError
from dth.hub.ports import HubPorts


def check_roles(ports: HubPorts, parameters: Any) -> None:
    """Check that the administrator lets tasks assume the roles of both sides. Raises UsageError."""
    if ports.assumable_roles is None:
        return
    for name, field in type(parameters).model_fields.items():
        role = getattr(parameters, name) if str(field.alias).endswith("RoleArn") else ""
        if role and not any(fnmatchcase(role, pattern) for pattern in ports.assumable_roles):
            raise UsageError(
                f"{field.alias}: tasks of this hub may not assume {role!r}; an administrator "
                "allows it with the parameter assumableRoles of the hub's stack"
            )
