"""Command line options made from the parameter models, so that a parameter is defined once."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, get_args

import click
from click.shell_completion import CompletionItem
from pydantic import BaseModel, ValidationError

from dth.core.errors import UsageError
from dth.core.parameters import MIB, TaskParameters, choices, extra, is_open, said
from dth.core.parameters import options as options_of

F = Callable[..., Any]
Model = TypeVar("Model", bound=TaskParameters)


def task_options(
    model: type[TaskParameters],
    groups: tuple[str, ...] = ("source", "destination", "comparison", "engine"),
    *,
    one_store: bool = False,
) -> Callable[[F], F]:
    """Decorate a command with one option for each parameter of these groups. What is not given
    arrives as None. `one_store`: the command has one side only, so that its options need not name
    it: --src-profile is --profile too."""

    def decorate(command: F) -> F:
        for name, field in reversed(options_of(model)):
            if extra(field)["group"] not in groups:
                continue
            command = click.option(
                *_names(field, one_store=one_store),
                name,
                default=None,
                multiple=field.annotation == tuple[str, ...] or extra(field)["several"],
                help=_help(field),
                **_kind(field),
            )(command)
        return command

    return decorate


def _names(field: Any, *, one_store: bool) -> list[str]:
    """The names of the option, without doubles."""
    option, other = extra(field)["cli"], extra(field)["cli_too"]
    plain = option.replace("--src-", "--", 1) if one_store else ""
    return [name for name in dict.fromkeys((option, plain, other)) if name]


def _kind(field: Any) -> dict[str, Any]:
    if field.annotation is bool:
        return {} if "/" in extra(field)["cli"] else {"is_flag": True}
    allowed = choices(field)
    if not allowed:
        return {"metavar": _metavar(field), "type": Text()}
    if is_open(field):
        return {"metavar": "NAME"}
    return {"type": _Choice(allowed, extra(field)["also"])}


class Text(click.types.StringParamType):
    """Any text. Where no words are known, shells complete the names of files, as they do anyway."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="file")]


class Number(click.FloatRange):
    """A number within bounds. `nan` and `inf` are none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


class _Choice(click.Choice[str]):
    """One of several words in any case; `also`: other words for some of them."""

    def __init__(self, allowed: Sequence[str], also: Mapping[str, str]) -> None:
        super().__init__(allowed, case_sensitive=False)
        self._also = also

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(self._also.get(str(value).lower(), value), param, ctx)


def _metavar(field: Any) -> str:
    kinds = (field.annotation, *get_args(field.annotation))
    return "N" if int in kinds or float in kinds else "TEXT"


def _help(field: Any) -> str:
    default = None if extra(field)["default_note"] else field.default
    shown = ""
    if isinstance(default, bool | str) or default is None or default == ():
        shown = f" [default: {default}]" if isinstance(default, str) and default else ""
    elif isinstance(default, int) and default >= MIB:
        shown = f" [default: {default // MIB} MiB]"
    else:
        shown = f" [default: {default:g}]"
    return f"{field.description}{shown}"


def validated(model: type[Model], values: dict[str, Any]) -> Model:
    """The model of the values, or one line that names the option and what is wrong with it."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        message = said(problem)
        option = _option(model, str(problem["loc"][0])) if problem["loc"] else ""
        raise UsageError(f"{option}: {message}" if option else message) from None


def _option(model: type[BaseModel], name: str) -> str:
    for field_name, field in model.model_fields.items():
        if name in (field_name, field.alias):
            return str(extra(field)["cli"]) or field_name
    return name
