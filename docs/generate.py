"""Writes what follows from the code, `python -m docs.generate`: the reference pages, and the
parameters with which the console's tests build their forms.

A test compares the files with what this makes, so a changed option cannot leave them behind.
"""

import inspect
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import click
from annotated_types import Ge, Gt, Le

from docs import cost, deployer_policy
from dth.cli.main import cli
from dth.core import parameters
from dth.core.parameters import TaskParameters
from dth.hub.parameters import form
from dth.images.parameters import EcrParameters
from dth.images.registry.registries import KNOWN, OTHER, KnownRegistry
from dth.infra.app import synth
from dth.objects.parameters import S3Parameters
from dth.objects.store.endpoints import PROFILES, Profile

TRIALS = Path(__file__).parents[1] / "tests/contract/stores"

CONSOLE = Path(__file__).parents[1] / "console/src/plugins"
REFERENCE = Path(__file__).parent / "reference"
NOTE = (
    "<!-- Written by docs/generate.py. Change the code, then run: python -m docs.generate -->\n\n"
)
GROUPS = {
    "source": "Source",
    "destination": "Destination",
    "comparison": "What is copied",
    "engine": "Engine",
    "schedule": "Schedule",
    "compatibility": "Accepted for existing tasks, or on AWS only",
}
STORE_PLACES = ("Kind", "Host names end in", "Endpoint for a region", "Region", "Bucket in the")
STORE_TRAITS = (
    "Kind",
    "Checksum",
    "Behind streamed parts",
    "ETags",
    "Parts",
    "Listing",
    "Tags",
    "GET counts tags",
    "ACLs",
    "Metadata",
    "Gzip",
    "Tried",
)
REGISTRY_TRAITS = ("Kind", "Hosts", "Lists", "Begins with", "Signs in with", "Referrers", "Tried")
ARGUMENTS = {
    **dict.fromkeys(("src_bucket", "src_prefix"), "SRC"),
    **dict.fromkeys(("dest_bucket", "dest_prefix"), "DST"),
    **dict.fromkeys(("source_type", "src_registry", "src_region", "src_account_id"), "SRC"),
    **dict.fromkeys(("src_list", "src_image_list"), "SRC"),
    **dict.fromkeys(("dest_type", "dest_registry", "dest_region", "dest_account_id"), "DST"),
}
MODELS: dict[str, tuple[type[TaskParameters], str]] = {
    "s3": (S3Parameters, "parameters.md"),
    "ecr": (EcrParameters, "image-parameters.md"),
}


def pages() -> dict[Path, str]:
    """The text of every generated file."""
    made = {
        "cli.md": cli_page(),
        "parameters.md": parameters_page(),
        "image-parameters.md": image_parameters_page(),
        "stores.md": stores_page(),
        "registries.md": registries_page(),
    }
    tested = {
        CONSOLE / folder / "parameters.test-data.json": form_data(kind)
        for folder, kind in (("s3", "S3EC2"), ("ecr", "ECR"))
    }
    made_here = {REFERENCE / name: NOTE + text for name, text in made.items()}
    return {**made_here, cost.PAGE: cost.page(), **tested}


def form_data(kind: str) -> str:
    """The parameters as a hub describes them to the console."""
    return json.dumps(form(kind), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    for path, text in {**pages(), **template_pages()}.items():
        path.write_text(text, "utf-8")


def template_pages() -> dict[Path, str]:
    """The pages that follow from the templates, which take seconds to make."""
    with tempfile.TemporaryDirectory(prefix="dth-templates-") as folder:
        templates = deployer_policy.read_templates(synth(Path(folder)))
    return {deployer_policy.PAGE: deployer_policy.page(templates)}


# ------------------------------------------------------------------------------------- command line


def cli_page() -> str:
    parts = [
        "# Command line\n",
        "`dth COMMAND --help` shows the same. Exit codes and `--json`: see",
        "[Exit codes and JSON](exit-codes-and-json.md).\n",
    ]
    for name, command in commands():
        if not isinstance(command, click.Group):
            parts += _command(name, command)
    return "\n".join(parts)


def commands(group: click.Group = cli, path: str = "dth") -> Iterator[tuple[str, click.Command]]:
    """Every command with its full name, groups before what is in them."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None:
            continue
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


def _command(name: str, command: click.Command) -> Iterator[str]:
    usage = " ".join([name, *command.collect_usage_pieces(click.Context(command))])
    yield f"## {name}\n"
    yield f"```text\n{usage}\n```\n"
    yield inspect.cleandoc(command.help or "").replace("\b\n", "") + "\n"
    model, page = MODELS["ecr" if name.startswith("dth ecr") else "s3"]
    options = [option for option in command.params if isinstance(option, click.Option)]
    groups = {option: _group(model, option.name) for option in options}
    shared = sorted(set(groups.values()) - {""}, key=list(GROUPS).index)
    own = [option for option in options if not groups[option]]
    if own:
        yield _table(("Option", "Meaning", "Default"), (_option(option) for option in own))
    if shared:
        links = ", ".join(f"[{GROUPS[group]}]({page}#{_slug(GROUPS[group])})" for group in shared)
        yield f"And the options of {links}.\n"


def _option(option: click.Option) -> tuple[str, ...]:
    names = ", ".join(option.opts) + "".join(f" / {name}" for name in option.secondary_opts)
    kind = "" if option.is_flag else f" {option.metavar or option.type.name.upper()}"
    default = str(option.default) if option.show_default else ""
    return (f"`{names}{kind}`", option.help or "", default)


def _group(model: type[TaskParameters], name: str | None) -> str:
    """The group of parameters that an option belongs to; "" for one of the command itself."""
    field = model.model_fields.get(name or "")
    return str(parameters.extra(field)["group"]) if field else ""


# --------------------------------------------------------------------------------------- parameters


def parameters_page() -> str:
    parts = [
        "# Parameters of an S3 transfer\n",
        (
            "Each parameter is an option of the commands below `dth s3`. Its name in tasks, where "
            "existing Data Transfer"
        ),
        "Hub tasks have the parameter, is the one that they use.\n",
        (
            "Sizes are binary: `16MiB`, `16M`, `1.5G` or a number of bytes. Times are an ISO 8601 "
            "date or time (UTC unless"
        ),
        (
            "it says otherwise) or an age: `90s`, `45m`, `36h`, `7d`, `2w`. What is true or false "
            "is a flag on the command"
        ),
        "line.\n",
        (
            "Storage class and ACL have their defaults for tasks with an AWS destination only. On "
            "the command line, and"
        ),
        "for every other store, they are unset unless given.\n",
    ]
    return "\n".join([*parts, *_groups(S3Parameters)])


def image_parameters_page() -> str:
    parts = [
        "# Parameters of an image transfer\n",
        (
            "Each parameter is an option of the commands below `dth ecr`, or follows from their "
            "`SRC` and `DST`. Its name"
        ),
        (
            "in tasks, where existing Data Transfer Hub tasks have the parameter, is the one that "
            "they use.\n"
        ),
        (
            "Times are an ISO 8601 date or time (UTC unless it says otherwise) or an age: `36h`, "
            "`7d`, `2w`. Patterns are"
        ),
        (
            "globs (`v1.*`), or regular expressions after `regex:` (`regex:v\\d+`); a name is "
            "matched whole.\n"
        ),
        "[Copy images](../how-to/images.md) shows how they play together.\n",
    ]
    return "\n".join([*parts, *_groups(EcrParameters)])


def _groups(model: type[TaskParameters]) -> Iterator[str]:
    for group, title in GROUPS.items():
        fields = [
            (name, field)
            for name, field in model.model_fields.items()
            if parameters.extra(field)["group"] == group
        ]
        rows = (_parameter(name, field) for name, field in fields)
        yield f"## {title}\n"
        yield _table(("Option", "In tasks", "Value", "Default", "Meaning"), rows)


def _parameter(name: str, field: Any) -> tuple[str, ...]:
    cli_name = parameters.extra(field)["cli"]
    option = (
        f"`{cli_name}`"
        if cli_name
        else f"in `{ARGUMENTS[name]}`"
        if name in ARGUMENTS
        else "tasks only"
    )
    return (option, f"`{field.alias}`", _value(field), _default(field), field.description)


def _value(field: Any) -> str:
    choices = parameters.choices(field)
    if choices:
        own = ", or another name" if parameters.is_open(field) else ""
        also = [*choices, *parameters.extra(field)["also"]]
        return ", ".join(f"`{choice}`" for choice in also) + own
    if field.annotation is bool:
        return "`true`, `false`"
    if field.annotation == tuple[str, ...] or parameters.extra(field)["several"]:
        return "text, several times"
    if parameters.parse_moment in parameters.readers(field):
        return "date or age"
    kinds = (field.annotation, *get_args(field.annotation))
    size = parameters.is_size(field)
    kind = "size" if size else "number" if int in kinds or float in kinds else "text"
    return kind + _limits(field.metadata, size)


def _limits(metadata: Iterable[object], size: bool) -> str:
    text = ""
    for limit in metadata:
        match limit:
            case Ge(ge=least) if least != 0:
                text += f", at least {_amount(least, size)}"
            case Gt(gt=least):
                text += f", above {_amount(least, size)}"
            case Le(le=most):
                text += f", at most {_amount(most, size)}"
    return text


def _default(field: Any) -> str:
    value = field.default
    if value is None or value == () or value == "":
        return ""
    shown = _shown_default(field, value)
    note = parameters.extra(field)["default_note"]
    return f"{note}: {shown}" if note else shown


def _shown_default(field: Any, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"`{value}`"
    return _amount(value, parameters.is_size(field))


def _amount(value: Any, size: bool) -> str:
    if not size:
        return f"{value:g}"
    for unit, name in ((parameters.GIB, "GiB"), (parameters.MIB, "MiB"), (parameters.KIB, "KiB")):
        if value >= unit and value % unit == 0:
            return f"{value // unit} {name}"
    return f"{value} B"


# ------------------------------------------------------------------------------------------- stores


def stores_page() -> str:
    tried = [profile.name for profile in PROFILES.values() if profile.tried]
    untried = (
        "**None of these profiles has been tried against the real service yet.** They follow "
        "the documentation of\nthe services; the engine itself is tested against S3 servers "
        "that run on one machine.\n"
    )
    proof = (
        f"Tried against the real service: {', '.join(tried)}. The others follow its "
        "documentation alone.\n"
    )
    parts = [
        "# Stores\n",
        (
            "What is known of each kind of store. The kind follows from the host name of the "
            "endpoint URL, or is given"
        ),
        "with `--src-type` and `--dst-type`. A store that is not in the list is `S3_Compatible`.\n",
        proof if tried else untried,
        "## Where they are\n",
        _table(STORE_PLACES, map(_place, PROFILES.values())),
        (
            "Region: the one that requests are signed for if none is given. Where it is in the "
            "host name, it is read from"
        ),
        "there; the AWS configuration and `us-east-1` come last.\n",
        (
            "Several endpoint URLs of one store can be given: the option several times, or URLs "
            "separated by commas. They"
        ),
        "are of one kind and all http or all https.\n",
        (
            "A bucket's name with capitals or underscores stands in the path, wherever others of "
            "that store stand; with"
        ),
        (
            "`--src-addressing-style virtual` it is refused. An access point of AWS is given by "
            "its ARN, as in"
        ),
        "`s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/my-point/prefix`, or by its alias.\n",
        "## What they are like\n",
        _table(STORE_TRAITS, map(_traits, PROFILES.values())),
        (
            "- Checksum: what covers the body of every upload, in a signed header. Another one can "
            "be chosen with"
        ),
        "  `--checksum-mode`.",
        (
            "- Behind streamed parts: whether parts above 64 MiB carry it as a trailer, over TLS "
            "and unless it is MD5."
        ),
        (
            "  Other stores get such parts without one; for a store that asks for one, they are "
            "read twice. See"
        ),
        "  [How copies are verified](../verification.md#large-parts).",
        (
            "- ETags: what the ETag of an object is that was written in one piece. Where it is "
            "unknown, the first objects"
        ),
        "  show it.",
        (
            "- Parts: the most in one upload. Listing: the version of the listing API that is "
            "asked first."
        ),
        "- GET counts tags: whether reading an object tells that it has tags.",
        (
            "- Metadata: `RFC 2047` where user metadata beyond ASCII is sent encoded, `bytes` "
            "where it is sent as it is."
        ),
        (
            "- Gzip: `accepted` where a store would unpack objects in gzip for those who do not "
            "say that they accept it.\n"
        ),
        (
            "A profile is where a transfer starts. If the first objects are refused because of a "
            "checksum, an ACL or tags,"
        ),
        "the transfer continues with less, and its result has a note that says so.\n",
        "## Good to know\n",
        *(f"- **{p.name}**: {p.limits}" for p in PROFILES.values() if p.limits),
        "",
        "## Stores that were tried\n",
        (
            "What `python -m tests.contract.store --endpoint-url URL` found. It tries any S3 "
            "store, and deletes what it"
        ),
        (
            "wrote. A checksum that is *judged* was refused when it was wrong; a *parrot* repeats "
            "what was sent.\n"
        ),
        _trials(),
    ]
    return "\n".join(parts) + "\n"


def _trials() -> str:
    rows = [json.loads(file.read_text("utf-8")) for file in sorted(TRIALS.glob("*.json"))]
    head = ["", *(f"{row['version']}, {row['tried']}" for row in rows)]
    return _table(
        head, ([name, *(row["found"][name] for row in rows)] for name in rows[0]["found"])
    )


def _place(profile: Profile) -> tuple[str, ...]:
    endpoint = profile.endpoint or (
        "https://s3.{region}.amazonaws.com" if profile.name == "Amazon_S3" else ""
    )
    return (
        f"`{profile.name}`",
        ", ".join(f"`{host}`" for host in profile.hosts),
        f"`{endpoint}`" if endpoint else "give a URL",
        f"`{profile.region}`"
        if profile.region
        else "in the host name"
        if "{region}" in endpoint
        else "",
        "host name" if profile.addressing == "virtual" else "path",
    )


def _traits(profile: Profile) -> tuple[str, ...]:
    return (
        f"`{profile.name}`",
        profile.checksum.value,
        _yes(profile.trailers),
        profile.etags.value,
        f"{profile.most_parts:,}",
        f"V{profile.listing_version}",
        _yes(profile.tags),
        "unknown" if profile.counts_tags is None else _yes(profile.counts_tags),
        _yes(profile.acl),
        "RFC 2047" if profile.ascii_metadata else "bytes",
        "accepted" if profile.accept_gzip else "",
        _yes(profile.tried),
    )


# --------------------------------------------------------------------------------------- registries


def registries_page() -> str:
    parts = [
        "# Registries\n",
        (
            "What is known of each kind of registry. It is where a run starts: what a registry "
            "answers goes before it, and"
        ),
        "a registry that is not in the list is treated by its answers alone.\n",
        (
            "**None of these has been tried against the real service yet.** The rows follow its "
            "documentation and public"
        ),
        (
            "reports; the client is tested against registries that behave in these ways on one "
            "machine.\n"
        ),
        _table(REGISTRY_TRAITS, map(_registry, (*KNOWN, OTHER))),
        (
            "- Lists: whether its catalogue of repositories is available. Where it cannot, name "
            "the images."
        ),
        (
            "- Begins with: requests per second for each process. A registry that answers is asked "
            "faster, up to the limit"
        ),
        (
            "  that it documents (*at most*) or without one; a registry that refuses (429, 503) is "
            "asked more slowly."
        ),
        "- Referrers: how it keeps what refers to an image, by the API of OCI 1.1 or under tags.\n",
        "## Limits, as documented\n",
        *(f"- **{known.name}**: {known.limits}" for known in KNOWN if known.limits),
        "\n## Good to know\n",
        *(f"- **{known.name}**: {known.odd}" for known in KNOWN if known.odd),
    ]
    return "\n".join(parts) + "\n"


def _registry(known: KnownRegistry) -> tuple[str, ...]:
    most = f", at most {known.most:g}" if known.most else ""
    return (
        known.name,
        ", ".join(f"`{_readable(host)}`" for host in known.hosts),
        _yes(known.catalogue),
        f"{known.rate:g}{most}" if known.rate else "as many as it takes",
        known.sign_in,
        known.referrers,
        _yes(known.tried),
    )


def _readable(pattern: str) -> str:
    """A host as people write it."""
    wild = pattern.replace(r"\d{12}", "ACCOUNT").replace("[.-]", ".").replace("(-fips)?", "")
    return wild.replace("[a-z0-9-]+", "*").replace("[a-z0-9.-]+", "*").replace("\\", "")


# ------------------------------------------------------------------------------------------- common


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _slug(title: str) -> str:
    return title.lower().replace(" ", "-")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(head), "|" + " --- |" * len(head), *map(line, rows)]) + "\n"


if __name__ == "__main__":
    main()
