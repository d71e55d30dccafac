"""The console says of every parameter what the model says, and says it in Chinese as well."""

import json
from typing import Any

import pytest

from dth.core.parameters import TaskParameters, choices, extra
from dth.images.parameters import EcrParameters
from dth.objects.parameters import S3Parameters
from tests.servers.process import REPOSITORY

MODELS: dict[str, type[TaskParameters]] = {"s3": S3Parameters, "ecr": EcrParameters}
# Texts of several parameters' values, by the name that they stand under.
SHARED = {"s3 srcType": "store", "s3 destType": "store"} | dict.fromkeys(
    ("s3 srcAddressingStyle", "s3 destAddressingStyle"), "addressing"
)


def texts(language: str, plugin: str) -> Any:
    path = REPOSITORY / "console" / "src" / "plugins" / plugin / f"{language}.json"
    return json.loads(path.read_text("utf-8"))


def model(plugin: str) -> dict[str, dict[str, str | None]]:
    return {
        str(field.alias): {"label": field.title, "help": field.description}
        for field in MODELS[plugin].model_fields.values()
        if not extra(field)["commands_only"]
    }


@pytest.mark.parametrize("plugin", MODELS)
def test_english_is_that_of_the_model(plugin: str) -> None:
    assert texts("en", plugin)["parameters"] == model(plugin)


@pytest.mark.parametrize("plugin", MODELS)
def test_chinese_has_every_parameter(plugin: str) -> None:
    found = texts("zh", plugin)["parameters"]
    assert list(found) == list(model(plugin))
    for name, said in found.items():
        assert said.keys() == {"label", "help"}, name
        assert any("\u4e00" <= sign <= "\u9fff" for sign in said["help"]), name


@pytest.mark.parametrize("plugin", MODELS)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_choice_that_has_texts_has_one_for_every_value(language: str, plugin: str) -> None:
    found = texts(language, plugin)["choices"]
    for field in MODELS[plugin].model_fields.values():
        name = str(field.alias)
        of_choice = found.get(SHARED.get(f"{plugin} {name}", name))
        for part in (of_choice or {}).values():
            assert set(choices(field)) == set(part) - {"unset"}, name
