"""Reports that are safe to open in a spreadsheet, and say exactly what was meant."""

from __future__ import annotations

import csv
import re
import unicodedata
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dth.cli.report import cell_of, text_of_cell, write_report

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.mark.parametrize(
    "key",
    [
        "=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n=1", "\uff1d1",
        "\uff0b1",
        "\uff20x",
        "'=1", "\x1b[2J", "a\u202eb", "a\u2066b", "\ufeff=1", "\u200b=1", "a\u0085b", "\x9b31m",
        "a\u2028b", "a\0b",
        "\u00ad", "\U000e0041", "=\\x41\x1b",
    ],
)  # fmt: skip
def test_what_a_spreadsheet_would_act_on_is_marked(key: str) -> None:
    cell = cell_of(key)
    assert cell.startswith("'")
    assert not any(unicodedata.category(each) in ("Cc", "Cf", "Zl", "Zp") for each in cell)
    assert text_of_cell(cell) == key


@pytest.mark.parametrize(
    "key",
    ["a", "a/b=c", "a-b", "a@b", "1", "C:\\x41", "雪/ключ", "a b", "a\nb", "", "it's", "\udce9"],
)
def test_any_other_is_as_it_is(key: str) -> None:
    assert cell_of(key) == key
    assert text_of_cell(key) == key


@given(st.text())
def test_what_was_meant_comes_back(text: str) -> None:
    cell = cell_of(text)
    assert text_of_cell(cell) == text
    assert not cell.lstrip().startswith(("=", "+", "-", "@", "\t", "\r"))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
async def test_no_cell_hides_in_another(tmp_path: Path, separator: str) -> None:
    """Whatever the spreadsheet takes for a separator."""
    keys = ["a;=1+1", "a,=1+1", 'a";=1+1;"', 'a;"=1', "a; =1", "a\t=1", 'b"\n=1+1', "=1", "a;b"]

    async def rows() -> AsyncIterator[tuple[str | int | float, ...]]:
        for key in keys:
            yield key, "DONE", 5, key

    path = tmp_path / "report.csv"
    await write_report(path, rows(), ("key", "status", "bytes", "detail"))
    with path.open(newline="") as file:
        for row in csv.reader(file, delimiter=separator):
            assert not [cell for cell in row if re.match(r"\s*[=+@]", cell)]
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [text_of_cell(row["key"]) for row in found] == keys
    assert [text_of_cell(row["detail"]) for row in found] == keys
    assert {row["bytes"] for row in found} == {"5"}
