"""`dth user`: the users of the built-in provider."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import click

from dth.cli.display import columns, day, shown
from dth.cli.hub import hub_options
from dth.cli.output import Output, iso, output_format
from dth.cli.place import ROLE, HubPlace, moment, place_options
from dth.cli.token import span
from dth.core.errors import UsageError
from dth.hub.client import HubClient
from dth.hub.model import Role
from dth.hub.ports import User, Users
from dth.platforms.local.users import LocalUsers

FIELDS = "name role email createdAt lastLoginAt mustChangePassword"
INVITATION = "id role email state usedBy createdAt createdBy expiresAt"

role_option = click.option("--role", default="viewer", show_default=True, type=ROLE)


@click.group()
def user() -> None:
    """Users of a hub's built-in sign-in."""


@user.command("list")
@output_format
@place_options
def list_(output: Output, place: HubPlace) -> None:
    """Show all users."""
    with _users(place) as users:
        found = asyncio.run(users.list())
    if not output.for_people:
        output.print(
            [
                {
                    "name": each.name,
                    "role": each.role.value,
                    "email": each.email,
                    "createdAt": iso(each.created),
                    "lastLoginAt": iso(each.last_login),
                    "mustChangePassword": each.must_change,
                }
                for each in found
            ]
        )
        return
    rows = [
        (
            each.name,
            each.role.value,
            shown(each.email),
            day(each.created),
            day(each.last_login),
            "must change" if each.must_change else "",
        )
        for each in found
    ]
    columns(("NAME", "ROLE", "E-MAIL", "CREATED", "LAST SIGN-IN", "PASSWORD"), rows)


@user.command()
@click.argument("name")
@role_option
@click.option("--email", default="")
@click.option("--must-change", is_flag=True, help="Ask for a new password at the first sign-in.")
@place_options
def add(name: str, role: str, email: str, must_change: bool, place: HubPlace) -> None:
    """Add a user. The password is asked for, or read from standard input.

    With --hub, the new user must always choose a new password at the first sign-in.
    """
    with _users(place, make=True) as users:
        added = asyncio.run(
            users.add(name, _password(), Role(role), email, must_change=must_change)
        )
    click.echo(f"{added.name} is {added.role}")


@user.command()
@click.argument("name")
@click.option("--must-change", is_flag=True, help="Ask for a new password at the next sign-in.")
@place_options
def passwd(name: str, must_change: bool, place: HubPlace) -> None:
    """Set a user's password, and end the user's sessions. It is asked for, or read from standard
    input."""
    with _users(place) as users:
        asyncio.run(users.set_password(name, _password(), must_change=must_change))
    click.echo(f"the password of {name} is set; earlier sessions have ended")


@user.command()
@click.argument("name")
@click.argument("role", type=ROLE)
@place_options
def role(name: str, role: str, place: HubPlace) -> None:
    """Give a user another role. It holds at once."""
    with _users(place) as users:
        changed = asyncio.run(users.set_role(name, Role(role)))
    click.echo(f"{changed.name} is {changed.role}")


@user.command()
@click.argument("name")
@place_options
def rm(name: str, place: HubPlace) -> None:
    """Remove a user, and end the user's sessions."""
    with _users(place) as users:
        asyncio.run(users.remove(name))
    click.echo(f"{name} is removed")


@user.command()
@role_option
@click.option("--email", default="", help="The e-mail address of the new user.")
@click.option(
    "--expires", metavar="SPAN", default="7d", show_default=True, help="When it ends: 7d, 12h."
)
@hub_options
def invite(role: str, email: str, expires: str, hub: Callable[[], HubClient]) -> None:
    """Make an invitation, and print its link on the last line, this once.

    Whoever opens the link chooses a name and a password, and is a user then. It works once. The hub
    must run.
    """
    made = hub().call(
        """mutation ($role: Role!, $email: String, $days: Float) {
            createInvitation(role: $role, email: $email, expiresInDays: $days) {
                id url expiresAt } }""",
        {"role": role, "email": email, "days": span(expires) / 86_400},
    )["createInvitation"]
    click.echo(f"{made['id']}: {role}, expires: {day(moment(made['expiresAt']))}", err=True)
    click.echo(made["url"])


@user.command()
@output_format
@hub_options
def invitations(output: Output, hub: Callable[[], HubClient]) -> None:
    """Show all invitations. Their links are never shown again."""
    found = hub().call(f"{{ listInvitations {{ {INVITATION} }} }}")["listInvitations"]
    if not output.for_people:
        output.print(found)
        return
    rows = [
        (
            each["id"],
            each["role"],
            shown(each["email"]),
            each["state"].lower() + (f" by {each['usedBy']}" if each["usedBy"] else ""),
            day(moment(each["createdAt"])),
            day(moment(each["expiresAt"])),
            shown(each["createdBy"]),
        )
        for each in found
    ]
    columns(("ID", "ROLE", "E-MAIL", "STATE", "CREATED", "EXPIRES", "BY"), rows)


@user.command()
@click.argument("id")
@hub_options
def withdraw(id: str, hub: Callable[[], HubClient]) -> None:
    """Withdraw an invitation: its link stops working."""
    hub().call("mutation ($id: ID!) { withdrawInvitation(id: $id) }", {"id": id})
    click.echo(f"{id} is withdrawn")


def _users(place: HubPlace, *, make: bool = False) -> AbstractContextManager[Users]:
    return place.open(LocalUsers, RemoteUsers, make=make)


def _password() -> str:
    """Never from the command line, which others can see."""
    if sys.stdin.isatty():
        return str(
            click.prompt(
                "Password", hide_input=True, confirmation_prompt="The same again", err=True
            )
        )
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise UsageError(
            "no password came from standard input; give one line, or run this in a terminal"
        )
    return password


class RemoteUsers:
    """`hub.ports.Users` behind a hub's API."""

    def __init__(self, client: HubClient) -> None:
        self._client = client

    async def list(self) -> list[User]:
        return [
            _user(each)
            for each in self._client.call(f"{{ listUsers {{ {FIELDS} }} }}")["listUsers"]
        ]

    async def add(
        self, name: str, password: str, role: Role, email: str = "", *, must_change: bool = False
    ) -> User:
        answer = self._client.call(
            f"""mutation ($name: String!, $password: String!, $role: Role!, $email: String) {{
                createUser(name: $name, password: $password, role: $role, email: $email) {{ {FIELDS} }} }}""",
            {"name": name, "password": password, "role": role.value, "email": email},
        )
        return _user(answer["createUser"])

    async def set_password(self, name: str, password: str, *, must_change: bool = False) -> None:
        self._client.call(
            (
                "mutation ($name: String!, $password: String!) { setUserPassword(name: $name, "
                "password: $password) }"
            ),
            {"name": name, "password": password},
        )

    async def set_role(self, name: str, role: Role) -> User:
        answer = self._client.call(
            (
                "mutation ($name: String!, $role: Role!) { setUserRole(name: $name, role: $role) "
                f"{{ {FIELDS} }} }}"
            ),
            {"name": name, "role": role.value},
        )
        return _user(answer["setUserRole"])

    async def remove(self, name: str) -> None:
        self._client.call("mutation ($name: String!) { deleteUser(name: $name) }", {"name": name})


def _user(found: dict[str, Any]) -> User:
    return User(
        found["name"],
        Role(found["role"]),
        found["email"],
        moment(found["createdAt"]),
        moment(found["lastLoginAt"]),
        found["mustChangePassword"],
    )
