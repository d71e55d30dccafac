"""What a store means to a task: the parameters of a side that it gives."""

from collections.abc import Mapping

from dth.core.errors import UsageError
from dth.core.stores import Store
from dth.objects.sides import START

# The field of a store, and the end of the parameter's name.
FIELDS = {
    "kind": "Type",
    "endpoint": "Endpoint",
    "region": "Region",
    "secret": "Credentials",
    "profile": "Profile",
    "role_arn": "RoleArn",
    "external_id": "ExternalId",
    "addressing_style": "AddressingStyle",
    "ca_bundle": "CaBundle",
    "proxy": "Proxy",
}


def stores_in(given: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """The stores that parameters name: by side, the parameter and the name."""
    named = {
        side: (f"{start}Store", given.get(f"{start}Store", "")) for side, start in START.items()
    }
    return {side: (parameter, name) for side, (parameter, name) in named.items() if name}


def parameters_of_stores(side: str) -> dict[str, str]:
    """The parameters of a side that a store gives, each with its field."""
    names = {f"{START[side]}{end}": field for field, end in FIELDS.items()}
    return names | (
        {"srcAnonymous": "anonymous"} if side == "source" else {"checksumMode": "checksum_mode"}
    )


def settings_of_store(store: Store, side: str) -> dict[str, str]:
    """The store in the form of parameters of this side. Raises UsageError if nothing can be written
    to it."""
    if side == "destination" and store.anonymous:
        raise UsageError(
            f"destStore: requests to the store {store.name!r} are not signed: it is only read"
        )
    values = {name: getattr(store, field) for name, field in parameters_of_stores(side).items()}
    return {
        name: str(value).lower() if value is True else value
        for name, value in values.items()
        if value
    }
