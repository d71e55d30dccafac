"""The console says of every parameter what the model says, and says it in Chinese as well."""

import json
from typing import Any

import pytest

from dth.parameters import choices
from dth.s3.parameters import S3Parameters
from tests.servers.process import REPOSITORY

MODEL = {
    str(field.alias): {"label": field.title, "help": field.description}
    for field in S3Parameters.model_fields.values()
}
CHOICES = {str(field.alias): choices(field) for field in S3Parameters.model_fields.values()}
# Texts of several parameters' values, by the name that they stand under.
SHARED = {"srcType": "store", "destType": "store"} | dict.fromkeys(
    ("srcAddressingStyle", "destAddressingStyle"), "addressing"
)


def texts(language: str) -> Any:
    path = REPOSITORY / "console" / "src" / "i18n" / language / "s3.json"
    return json.loads(path.read_text("utf-8"))


def test_english_is_that_of_the_model() -> None:
    assert texts("en")["parameters"] == MODEL


def test_chinese_has_every_parameter() -> None:
    found = texts("zh")["parameters"]
    assert list(found) == list(MODEL)
    for name, said in found.items():
        assert said.keys() == {"label", "help"}, name
        assert any("\u4e00" <= sign <= "\u9fff" for sign in said["help"]), name


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_choice_that_has_texts_has_one_for_every_value(language: str) -> None:
    found = texts(language)["choices"]
    for name, values in CHOICES.items():
        of_choice = found.get(SHARED.get(name, name))
        for part in (of_choice or {}).values():
            assert set(values) == set(part) - {"unset"}, name
