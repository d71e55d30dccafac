"""What the parameter models of all plugins have in common: how a parameter is declared, how sizes
and times are read, and what can be asked of it. API checks, command line options, forms and
reference pages are made from that.

Names in tasks are camelCase (the alias).
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Any, get_args

from pydantic import AliasGenerator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from dth.core import confinement
from dth.core.errors import UsageError

KIB, MIB, GIB = 1024, 1024**2, 1024**3
UNITS = {"": 1, "K": KIB, "M": MIB, "G": GIB, "T": 1024**4}
AGES = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

# How the names of a side's parameters begin, and its options.
START = {"source": "src", "destination": "dest"}
OPTION = {"source": "--src", "destination": "--dst"}


class Names(StrEnum):
    """What of its machine a command takes by the value of a parameter. A hub takes none of its own
    from its users: see `check_confined`."""

    # A file of the machine, or an object.
    LIST = "list"
    # A bucket, or a folder of the machine, which begins with a slash.
    BUCKET = "bucket"
    # A file of authorities.
    CA_BUNDLE = "CA bundle"
    # A profile of the AWS configuration.
    PROFILE = "profile"


class TaskParameters(BaseModel):
    """The base of a plugin's model. Its fields are declared with `parameter`."""

    model_config = ConfigDict(
        alias_generator=AliasGenerator(alias=to_camel),
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
    )


def parameter(
    default: Any,
    group: str,
    label: str,
    help: str,
    *,
    what: bool,
    cli: str = "",
    cli_too: str = "",
    alias: str | None = None,
    required: bool = False,
    several: bool = False,
    also: Mapping[str, str] | None = None,
    names: Names | None = None,
    default_note: str = "",
    commands_only: bool = False,
    needs_hub: bool = False,
    **limits: Any,
) -> Any:
    """`what`: it says what is copied, so that another value makes another transfer, with a state of
    its own; if not, it only says how: by which way, in which pieces, how fast. Credentials belong
    to the former: with others the same name may be another bucket. `cli`: its option on the command
    line; "" = none. `cli_too`: another name of that option. `required`: no task can be without it.
    `several`: the option can be given several times, and its values are joined with commas. `also`:
    other names of allowed values. `names`: what of the machine its value may be. `default_note`:
    commands have another default; what it is, and who has this one. `commands_only`: it says
    nothing to a hub, whose forms leave it out. `needs_hub`: only a hub acts on it, by its clock,
    its prices or its stores; a stack alone cannot."""
    return Field(
        default,
        title=label,
        description=help,
        alias=alias,
        json_schema_extra={
            "group": group,
            "what": what,
            "cli": cli,
            "cli_too": cli_too,
            "required": required,
            "several": several,
            "also": dict(also or {}),
            "names": names,
            "default_note": default_note,
            "commands_only": commands_only,
            "needs_hub": needs_hub,
        },
        **limits,
    )


def parse_size(value: Any) -> Any:
    """`16MiB`, `16M`, `1.5G`, `100k` or a number of bytes; binary units."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", value, re.IGNORECASE)
    if not match:
        raise ValueError(f"{value!r} is not a size; write 16MiB, 100K or a number of bytes")
    return int(Fraction(match[1]) * UNITS[match[2].upper()])


def parse_moment(value: Any) -> Any:
    """A date or time in ISO 8601 (UTC unless it says otherwise), or an age such as `36h` or `7d`;
    as epoch seconds."""
    if not isinstance(value, str):
        return value
    age = re.fullmatch(r"(\d+)([smhdw])", value)
    if age:
        return max(0.0, datetime.now(UTC).timestamp() - int(age[1]) * AGES[age[2]])
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(
            f"{value!r} is neither a date such as 2026-01-31 nor an age such as 7d"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


Size = Annotated[int, BeforeValidator(parse_size)]
Moment = Annotated[float, BeforeValidator(parse_moment)]


# ------------------------------------------------------------------------------ of a declared field


def extra(field: Any) -> dict[str, Any]:
    """What `parameter` said of it beyond what pydantic knows."""
    return field.json_schema_extra  # type: ignore[no-any-return]


def options(model: type[BaseModel]) -> list[tuple[str, Any]]:
    """(field name, pydantic field) of every parameter that the command line offers."""
    return [(name, field) for name, field in model.model_fields.items() if extra(field)["cli"]]


def commands_differ(model: type[BaseModel]) -> list[str]:
    """The fields whose default is not that of the command line."""
    return [name for name, field in model.model_fields.items() if extra(field)["default_note"]]


def in_templates(model: type[BaseModel]) -> frozenset[str]:
    """The aliases of the parameters that a task's stack can act on: those that need neither a hub
    nor a file of the machine."""
    return frozenset(
        str(field.alias)
        for field in model.model_fields.values()
        if not (extra(field)["needs_hub"] or extra(field)["commands_only"])
        and extra(field)["names"] not in (Names.PROFILE, Names.CA_BUNDLE)
    )


def required(model: type[BaseModel], group: str) -> Iterator[tuple[str, str]]:
    """(field name, alias) of the parameters of a group that no task can be without."""
    for name, field in model.model_fields.items():
        if extra(field)["required"] and extra(field)["group"] == group:
            yield name, str(field.alias)


def choices(field: Any) -> list[str]:
    """The allowed values of a parameter; empty where any will do."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            return [member.value for member in kind]
    return []


def is_open(field: Any) -> bool:
    """Whether a parameter with choices takes other values as well."""
    return str in get_args(field.annotation)


def readers(field: Any) -> set[object]:
    """The functions that read the parameter's text."""
    inner = [
        each for kind in get_args(field.annotation) for each in getattr(kind, "__metadata__", ())
    ]
    return {each.func for each in [*field.metadata, *inner] if isinstance(each, BeforeValidator)}


def is_size(field: Any) -> bool:
    """Whether the parameter takes a size such as 16MiB."""
    return parse_size in readers(field)


def said(problem: ErrorDetails) -> str:
    """What is wrong with a value, in this program's words."""
    limits = problem.get("ctx", {})
    for bound, words in (("ge", "at least"), ("gt", "more than"), ("le", "at most")):
        if bound in limits:
            limit = limits[bound]
            shown = f"{limit // MIB} MiB" if limit >= MIB else f"{limit:g}"
            return f"{problem['input']!r} is out of range; it must be {words} {shown}"
    match problem["type"]:
        case "extra_forbidden":
            return "there is no such parameter"
        case "enum":
            return f"{problem['input']!r} is none of {limits['expected']}"
        case "finite_number" | "float_parsing" | "float_type":
            return f"{problem['input']!r} is not a number"
        case "int_parsing" | "int_type" | "int_from_float" | "int_parsing_size":
            return f"{problem['input']!r} is not a whole number"
        case "bool_parsing" | "bool_type":
            return f"{problem['input']!r} is neither true nor false"
    return problem["msg"].removeprefix("Value error, ")


# -------------------------------------------------------------------------- of the machine of a hub


# How a path of a machine begins. No path that stays in a folder is among them: it reads like the
# key of an object.
PATH = re.compile(r"[/~]|\.\.?(/|$)|-$|(?!s3:)[A-Za-z][A-Za-z0-9+.-]*:/")
OBJECT = re.compile(r"s3://[A-Za-z0-9][A-Za-z0-9._-]{1,254}/.+", re.DOTALL)


def check_confined(parameters: TaskParameters) -> None:
    """That the parameters name nothing of this machine but what it allows them to. Raises
    UsageError that names the parameter. Whatever begins work for a user of a hub asks this
    first."""
    if confinement.local_files():
        return
    for name, field in type(parameters).model_fields.items():
        value, names = getattr(parameters, name), extra(field)["names"]
        if not value or not names:
            continue
        try:
            _CHECKS[names](value)
        except UsageError as error:
            raise UsageError(f"{field.alias}: {error}") from None


def _check_object(value: str) -> None:
    if PATH.match(value) or (value.startswith("s3://") and not OBJECT.fullmatch(value)):
        raise UsageError(
            f"{value!r} is not a valid name of an object; a hub opens no files of its machine: "
            "give a key of the source bucket, or s3://bucket/key"
        )


def _check_bucket(value: str) -> None:
    if value.startswith("/"):
        confinement.folder(value)


_CHECKS = {
    Names.BUCKET: _check_bucket,
    Names.LIST: _check_object,
    Names.CA_BUNDLE: confinement.ca_file,
    Names.PROFILE: confinement.aws_profile,
}
