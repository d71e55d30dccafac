"""The console shows the advice on failures in the user's language; in English it is the hub's
own."""

import json

from dth.hub.advice import ADVICE, GENERAL
from tests.servers.process import REPOSITORY

CONSOLE = REPOSITORY / "console" / "src"


def shown(language: str) -> dict[str, str]:
    return json.loads((CONSOLE / "i18n" / language / "detail.json").read_text("utf-8"))["advice"]


def test_english_is_verbatim() -> None:
    assert shown("en") == {**ADVICE, "general": GENERAL}


def test_chinese_has_all_of_it() -> None:
    assert shown("zh").keys() == {*ADVICE, "general"}


def test_the_console_knows_the_general_advice_when_it_sees_it() -> None:
    assert GENERAL in (CONSOLE / "pages" / "task" / "FailureGroups.tsx").read_text("utf-8")
