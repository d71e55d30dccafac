"""Stores: named places that tasks and commands refer to, with everything that is needed to reach
them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from dth.core.errors import UsageError


@dataclass(frozen=True, slots=True)
class Store:
    """`kind` is a profile of the plugin; "": the endpoint decides. `endpoint`: one URL, or several
    of one store, separated by commas. `secret`: the name of the secret with its keys. Empty fields
    are not given."""

    name: str
    kind: str = ""
    endpoint: str = ""
    region: str = ""
    secret: str = ""
    profile: str = ""
    role_arn: str = ""
    external_id: str = ""
    addressing_style: str = ""
    ca_bundle: str = ""
    proxy: str = ""
    checksum_mode: str = ""
    anonymous: bool = False  # requests are not signed, so that nothing can be written
    description: str = ""
    updated: float = 0.0

    def given(self) -> dict[str, Any]:
        """The fields that are given, without the name and the time of the last change."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            name: value
            for name, value in values.items()
            if value and name not in ("name", "updated")
        }

    @classmethod
    def read(cls, name: str, values: Mapping[str, Any]) -> Self:
        """The store with these fields. Raises UsageError for fields that no store has, and for
        wrong values."""
        known = {each.name: each.type for each in fields(cls)} | {"updated": float}
        for field, value in values.items():
            if field not in known or field == "name":
                raise UsageError(f"store {name!r}: {field!r} is nothing that a store has")
            if not isinstance(
                value, bool if field == "anonymous" else float if field == "updated" else str
            ):
                expected = "true or false" if field == "anonymous" else "a text"
                raise UsageError(f"store {name!r}: {field} must be {expected}")
        return cls(name, **values)
