"""`dth token`: API tokens, for programs."""

import asyncio
import re
import time
from contextlib import AbstractContextManager
from typing import Any

import click

from dth.cli.display import columns, day, shown
from dth.cli.output import Output, iso, output_format
from dth.cli.place import ROLE, HubPlace, moment, place_options
from dth.core.errors import UsageError
from dth.hub.client import HubClient
from dth.hub.model import Role
from dth.hub.ports import TokenInfo, Tokens
from dth.platforms.local.tokens import LocalTokens

UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
FIELDS = "id name role createdAt expiresAt lastUsedAt createdBy"


@click.group()
def token() -> None:
    """API tokens of a hub, for programs."""


@token.command()
@click.option("--name", required=True, help="What it is for.")
@click.option("--role", default="viewer", show_default=True, type=ROLE)
@click.option(
    "--expires",
    metavar="SPAN",
    default="90d",
    show_default=True,
    help="When it ends: 90d, 12h, 4w.",
)
@place_options
def create(name: str, role: str, expires: str, place: HubPlace) -> None:
    """Make a token, and print it on the last line, this once: only its hash is kept.

    A token that is made by way of a hub (--hub) ends with the user who made it, and may never do
    more than that user.
    """
    end = time.time() + span(expires)
    with _tokens(place, make=True) as tokens:
        info, secret = asyncio.run(tokens.create(name, Role(role), end, "local"))
    click.echo(f"{info.id}: {role}, expires: {day(info.expires)}", err=True)
    click.echo(secret)


@token.command("list")
@output_format
@place_options
def list_(output: Output, place: HubPlace) -> None:
    """List the API tokens. Their values are never shown."""
    with _tokens(place) as tokens:
        found = asyncio.run(tokens.list())
    if not output.for_people:
        output.print(
            [
                {
                    "id": each.id,
                    "name": each.name,
                    "role": each.role.value,
                    "createdAt": iso(each.created),
                    "expiresAt": iso(each.expires),
                    "lastUsedAt": iso(each.last_used),
                    "createdBy": each.created_by,
                }
                for each in found
            ]
        )
        return
    rows = [
        (
            each.id,
            shown(each.name),
            each.role.value,
            day(each.created),
            day(each.expires),
            day(each.last_used),
            shown(each.created_by),
        )
        for each in found
    ]
    columns(("ID", "NAME", "ROLE", "CREATED", "EXPIRES", "LAST USED", "BY"), rows)


@token.command()
@click.argument("id")
@place_options
def revoke(id: str, place: HubPlace) -> None:
    """End a token, at once."""
    with _tokens(place) as tokens:
        asyncio.run(tokens.revoke(id))
    click.echo(f"{id} is revoked")


def _tokens(place: HubPlace, *, make: bool = False) -> AbstractContextManager[Tokens]:
    return place.open(LocalTokens, RemoteTokens, make=make)


def span(text: str) -> float:
    """Seconds of a time span such as `90d`."""
    match = re.fullmatch(r"([0-9]{1,5})([mhdw])", text.strip())
    if match is None or int(match[1]) == 0:
        raise UsageError(
            f"{text!r} is not a time span; a number and one of m, h, d, w makes one: 90d"
        )
    return int(match[1]) * UNITS[match[2]]


class RemoteTokens:
    """`hub.ports.Tokens` behind a hub's API."""

    def __init__(self, client: HubClient) -> None:
        self._client = client

    async def list(self) -> list[TokenInfo]:
        return [
            _info(each)
            for each in self._client.call(f"{{ listTokens {{ {FIELDS} }} }}")["listTokens"]
        ]

    async def create(
        self, name: str, role: Role, expires: float, created_by: str, owner: str = ""
    ) -> tuple[TokenInfo, str]:
        """The hub knows by itself who calls."""
        days = (expires - time.time()) / UNITS["d"] if expires else None
        made = self._client.call(
            f"""mutation ($name: String!, $role: Role!, $days: Float) {{
                createToken(name: $name, role: $role, expiresInDays: $days) {{ token info {{ {FIELDS} }} }} }}""",
            {"name": name, "role": role.value, "days": days},
        )["createToken"]
        return _info(made["info"]), made["token"]

    async def revoke(self, id: str) -> None:
        self._client.call("mutation ($id: ID!) { revokeToken(id: $id) }", {"id": id})


def _info(found: dict[str, Any]) -> TokenInfo:
    return TokenInfo(
        found["id"],
        found["name"],
        Role(found["role"]),
        moment(found["createdAt"]),
        moment(found["expiresAt"]),
        moment(found["lastUsedAt"]),
        found["createdBy"],
    )
