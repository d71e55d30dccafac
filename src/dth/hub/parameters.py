"""Parameters of tasks as text: parsed into the plugin's model, and described for forms."""

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import ValidationError

from dth.core.errors import UsageError
from dth.core.parameters import choices, extra, is_size, said
from dth.core.plugins import plugin


def read_parameters(type: str, given: Mapping[str, str]) -> Any:
    """Parse parameters given as text into the plugin's model. An empty text counts as not given.
    Raises UsageError that names the parameter and the problem."""
    model = plugin(type).parameters
    lists = {
        field.alias for field in model.model_fields.values() if field.annotation == tuple[str, ...]
    }
    names = {str(field.alias): field for field in model.model_fields.values()}
    values = {
        name: _several(name, text) if name in lists else _in_our_case(names.get(name), text)
        for name, text in given.items()
        if text != ""
    }
    if unknown := next((name for name in values if name not in names), ""):
        raise UsageError(f"{unknown}: there is no such parameter{_meant(unknown, names)}")
    try:
        return model.model_validate(values, by_alias=True, by_name=False)
    except ValidationError as error:
        raise UsageError(explain(error)) from None


def _in_our_case(field: Any, text: str) -> str:
    """A choice in any case."""
    return next(
        (each for each in (choices(field) if field else ()) if each.lower() == text.lower()), text
    )


def _meant(name: str, fields: Mapping[str, Any]) -> str:
    # People also write what the option of a command is called: srcSecret, as in --src-secret.
    options = {
        extra(field)["cli"].partition("/")[0].replace("-", "").replace("dst", "dest"): alias
        for alias, field in fields.items()
    }
    by_case = options | {each.lower(): each for each in fields}
    by_case.pop("", None)
    name = re.sub("^dst", "dest", name)
    found = get_close_matches(name.lower(), by_case, 1)
    return f"; is {by_case[found[0]]} meant?" if found else ""


def _several(name: str, text: str) -> list[str]:
    """Parse a list: JSON, or one item per line."""
    if text.lstrip().startswith("["):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise UsageError(f"{name}: {text!r} is not a JSON list of texts")
        return found
    return [line.strip() for line in text.splitlines() if line.strip()]


def explain(error: ValidationError) -> str:
    """One line: the parameter and the problem."""
    problem = error.errors()[0]
    message = said(problem)
    return f"{problem['loc'][0]}: {message}" if problem["loc"] else message


def form(type: str) -> list[dict[str, Any]]:
    """Every parameter that a hub knows what to do with, and what a form needs to show and check
    it."""
    return [
        {
            "name": field.alias,
            "label": field.title,
            "group": field.json_schema_extra["group"],
            "help": field.description,
            "kind": _kind(field),
            "default": _text(field.default),
            "allowed": choices(field),
            "option": field.json_schema_extra["cli"],
            "minimum": _limit(field, "ge", "gt"),
            "maximum": _limit(field, "le"),
            "size": is_size(field),
            "required": field.json_schema_extra["required"],
        }
        for field in map(_any, plugin(type).parameters.model_fields.values())
        if not extra(field)["commands_only"]
    ]


def _any(field: Any) -> Any:
    return field


def _kind(field: Any) -> str:
    kinds = (field.annotation, *get_args(field.annotation))
    if bool in kinds:
        return "boolean"
    if field.annotation == tuple[str, ...]:
        return "list"
    if choices(field):
        return "choice"
    return "number" if int in kinds or float in kinds else "text"


def _limit(field: Any, *bounds: str) -> float | None:
    found = [
        getattr(limit, bound)
        for limit in field.metadata
        for bound in bounds
        if hasattr(limit, bound)
    ]
    return float(found[0]) if found else None


def _text(value: Any) -> str:
    if value is None or value == ():
        return ""
    return str(value).lower() if isinstance(value, bool) else str(getattr(value, "value", value))
