"""Users in a Cognito user pool: one group per role."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from dth.core.errors import Conflict, NotFound, UsageError
from dth.hub.model import ROLES, Role
from dth.hub.names import canonical, new_name
from dth.hub.ports import User
from dth.platforms.aws.client import Aws, Refused


class AwsUsers:
    """`hub.ports.Users`. `pool`: the id of the pool, which has the groups "viewer", "operator" and
    "admin"."""

    def __init__(self, aws: Aws, pool: str) -> None:
        self._aws = aws
        self._pool = pool

    async def list(self) -> list[User]:
        """By name. Users without a group have no role, and are listed as viewers: everybody counts
        at least as a viewer."""
        roles: dict[str, Role] = {}
        for role in ROLES:
            for member in await self._pages("list_users_in_group", GroupName=role.value):
                roles[member["Username"]] = role  # the highest role comes last
        found = await self._pages("list_users")
        users = [_user(each, roles.get(each["Username"], Role.VIEWER)) for each in found]
        return sorted(users, key=lambda user: user.name)

    async def find(self, name: str) -> User | None:
        """A user who may sign in; None if there is none."""
        try:
            told = await self._call("admin_get_user", Username=name)
            groups = await self._call("admin_list_groups_for_user", Username=name)
        except Refused as error:
            if error.code == "UserNotFoundException":
                return None
            raise
        named = {each["GroupName"] for each in groups["Groups"]}
        role = max(
            (role for role in ROLES if role.value in named), key=ROLES.index, default=Role.VIEWER
        )
        return _user(told, role) if told.get("Enabled", True) else None

    async def add(
        self, name: str, password: str, role: Role, email: str = "", *, must_change: bool = False
    ) -> User:
        name = new_name(name)
        attributes = [("email", email), ("email_verified", "true")] if email else []
        with _told(name):
            made = await self._call(
                "admin_create_user",
                Username=name,
                TemporaryPassword=password,
                # The administrator tells the user the password.
                MessageAction="SUPPRESS",
                UserAttributes=[{"Name": each, "Value": value} for each, value in attributes],
            )
            if not must_change:
                await self._call(
                    "admin_set_user_password", Username=name, Password=password, Permanent=True
                )
            await self._call("admin_add_user_to_group", Username=name, GroupName=role.value)
        return replace(_user(made["User"], role), must_change=must_change)

    async def set_password(self, name: str, password: str, *, must_change: bool = False) -> None:
        name = (await self._known(name)).name
        with _told(name):
            await self._call(
                "admin_set_user_password",
                Username=name,
                Password=password,
                Permanent=not must_change,
            )

    async def set_role(self, name: str, role: Role) -> User:
        user = await self._known(name)
        name = user.name
        if role is not Role.ADMIN:
            await self._keep_an_admin(name)
        with _told(name):
            await self._call("admin_add_user_to_group", Username=name, GroupName=role.value)
            for other in ROLES:
                if other is not role:
                    await self._call(
                        "admin_remove_user_from_group", Username=name, GroupName=other.value
                    )
        return replace(user, role=role)

    async def remove(self, name: str) -> None:
        name = (await self._known(name)).name
        await self._keep_an_admin(name)
        with _told(name):
            await self._call("admin_delete_user", Username=name)

    async def _known(self, name: str) -> User:
        """The user with that name or its canonical form: others than the hub may have created one
        with capital letters. Raises NotFound."""
        users = {user.name: user for user in await self.list()}
        found = users.get(name) or users.get(canonical(name))
        if found is None:
            raise NotFound(f"there is no user {name!r}")
        return found

    async def _keep_an_admin(self, name: str) -> None:
        """Raises Conflict if the user is the only administrator of the hub."""
        found = await self._pages("list_users_in_group", GroupName=Role.ADMIN.value)
        if {each["Username"] for each in found} == {name}:
            raise Conflict(f"{name!r} is the last admin; make another user one first")

    async def _pages(self, operation: str, **arguments: Any) -> "list_of_users":
        found: list_of_users = []
        token = "PaginationToken" if operation == "list_users" else "NextToken"
        while True:
            answer = await self._call(operation, **arguments)
            found += answer["Users"]
            if not answer.get(token):
                return found
            arguments[token] = answer[token]

    async def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        return await self._aws.call("cognito-idp", operation, UserPoolId=self._pool, **arguments)


list_of_users = list[dict[str, Any]]  # within the class, `list` is a method


def _user(told: dict[str, Any], role: Role) -> User:
    attributes = {each["Name"]: each["Value"] for each in told.get("Attributes", [])}
    created = told.get("UserCreateDate")
    return User(
        told["Username"],
        role,
        attributes.get("email", ""),
        created.timestamp() if created else 0.0,
        must_change=told.get("UserStatus") == "FORCE_CHANGE_PASSWORD",
    )


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Convert Cognito's errors to the hub's."""
    try:
        yield
    except Refused as error:
        said = str(error.answer.get("Error", {}).get("Message", "")).rstrip(".")
        match error.code:
            case "UserNotFoundException":
                raise NotFound(f"there is no user {name!r}") from None
            case "UsernameExistsException":
                raise Conflict(f"there is a user {name!r} already") from None
            case "InvalidPasswordException" | "InvalidParameterException":
                raise UsageError(f"user {name!r}: {said}") from None
        raise
