import json
import logging
import os
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dth.core.errors import NotFound, UsageError
from dth.hub.ports import LogEvent, LogLevel, LogPage
from dth.platforms.local import journal as journal_module
from dth.platforms.local import logs as logs_module
from dth.platforms.local.journal import (
    BEGINNING,
    KEPT_FILES,
    LINE_SIZE,
    LINES_A_SECOND,
    Journal,
    JsonFormatter,
    encode_line,
    last_words,
    logging_to,
    parse_line,
    rotated,
)
from dth.platforms.local.logs import LocalLogs

TASK = "8b0e"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / TASK / "logs").mkdir(parents=True)
    return tmp_path / TASK / "logs"


@pytest.fixture
def logs(tmp_path: Path, folder: Path) -> LocalLogs:
    return LocalLogs(lambda task: tmp_path / task)


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "FILE_SIZE", 2000)


def lines_of(path: Path) -> list[str]:
    """The messages of a log, the older files first."""
    files = [path.with_name(f"{path.name}.{number}") for number in sorted(rotated(path))]
    raw = b"".join(each.read_bytes() for each in [*files, path] if each.exists())
    entries = map(parse_line, raw.splitlines())
    return [str(entry["message"]) for entry in entries if entry]


def write_lines(path: Path, first: int, count: int) -> None:
    with path.open("ab") as file:
        for n in range(first, first + count):
            file.write(encode_line(1000.0 + n, "info", f"line {n}", {}))


def messages(events: list[LogEvent]) -> list[str]:
    return [event.message for event in events]


# ------------------------------------------------------------------------------------------ journal


def test_a_line_has_its_time_level_and_fields(folder: Path) -> None:
    path = folder / "worker-1.log"
    journal = Journal(path)
    journal.warning("object failed", key="a\nb", attempts=2, at="mine")
    entry = parse_line(path.read_bytes().rstrip(b"\n"))
    assert entry is not None
    assert entry.pop("at") == pytest.approx(path.stat().st_mtime, abs=5)
    assert entry == {
        "level": "warning",
        "message": "object failed",
        "key": "a\nb",
        "attempts": 2,
        "at_": "mine",
    }


texts = st.text(st.characters(exclude_categories=()), max_size=50) | st.text(
    "\x1b\n\r\x7f\u2028😀\udcff", max_size=9000
)
values = (
    texts
    | st.none()
    | st.integers()
    | st.floats()
    | st.lists(st.text(), max_size=3)
    | st.binary(max_size=9)
)


@given(texts, st.dictionaries(texts, values, max_size=5))
def test_nothing_breaks_a_line(message: str, fields: dict[str, object]) -> None:
    line = encode_line(1.0, "info", message, fields)
    assert len(line) <= LINE_SIZE
    assert line.endswith(b"\n")
    assert all(0x20 <= byte < 0x7F for byte in line[:-1])
    entry = parse_line(line)
    assert entry is not None
    assert message.startswith(str(entry["message"]))
    if len(message) + len(fields) < 50:
        assert entry["message"] == message


def test_a_disk_that_is_full_or_gone_is_no_failure(tmp_path: Path) -> None:
    Journal(Path("/dev/full")).info("nobody hears this")
    journal = Journal(tmp_path / "logs" / "worker-1.log")
    journal.info("there is no directory")
    (tmp_path / "logs").mkdir()
    journal.info("now there is")
    assert lines_of(tmp_path / "logs" / "worker-1.log") == ["now there is"]


def test_a_line_that_broke_off_takes_no_other_along(folder: Path) -> None:
    path = folder / "worker-1.log"
    path.write_bytes(b'{"at": 1.0, "level": "info", "mess')
    journal = Journal(path)
    journal.info("one")
    with path.open("ab") as file:
        file.write(b"Killed")
    journal.info("two")
    assert lines_of(path) == ["one", "two"]
    assert path.read_bytes().count(b"\n") == 4


@pytest.mark.usefixtures("small_files")
def test_files_are_rotated_and_the_oldest_go(folder: Path) -> None:
    path = folder / "worker-1.log"
    journal = Journal(path)
    for n in range(500):
        journal.info(f"line {n}")
    numbers = sorted(rotated(path))
    assert len(numbers) == KEPT_FILES
    assert numbers[0] > 1
    assert max(each.stat().st_size for each in folder.iterdir()) < 2200
    kept = lines_of(path)
    assert kept == [f"line {n}" for n in range(500 - len(kept), 500)]


@pytest.mark.usefixtures("small_files")
def test_two_lives_of_one_name_lose_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "KEPT_FILES", 1000)
    path = folder / "worker-1.log"
    lives = [Journal(path), Journal(path), Journal(path)]
    for n in range(300):
        lives[n % 3].info(f"line {n}")
    assert sorted(lines_of(path)) == sorted(f"line {n}" for n in range(300))


WRITER = r"""
import os, sys
from pathlib import Path
from dth.platforms.local import journal
journal.FILE_SIZE, journal.KEPT_FILES = 5000, 1000
log = journal.Journal(Path(sys.argv[1]))
for n in range(500):
    log.info(f"{sys.argv[2]} {n}")
    if n % 50 == 0:
        os.write(2, f"printed by {sys.argv[2]} {n}\n".encode())
"""


def test_processes_that_write_one_log_lose_nothing_and_print_into_it(folder: Path) -> None:
    path = folder / "worker-1.log"
    with path.open("ab") as file:
        command = [sys.executable, "-c", WRITER, str(path)]
        running = [subprocess.Popen([*command, name], stderr=file) for name in ("a", "b")]
    assert [each.wait(timeout=60) for each in running] == [0, 0]
    assert len(rotated(path)) > 5
    assert sorted(lines_of(path)) == sorted(
        f"{name} {n}" for name in ("a", "b") for n in range(500)
    )
    printed = [
        line
        for each in folder.iterdir()
        for line in each.read_text().splitlines()
        if line[:1] == "p"
    ]
    assert sorted(printed) == sorted(
        f"printed by {name} {n}" for name in ("a", "b") for n in range(0, 500, 50)
    )
    newest = path.with_name(f"{path.name}.{max(rotated(path))}").read_text() + path.read_text()
    assert "printed by" in newest  # not in a file of the past


def test_last_words_are_what_the_last_life_printed(folder: Path) -> None:
    path = folder / "worker-1.log"
    assert last_words(path) == ""
    path.write_text("bucket is missing\n")
    assert last_words(path) == "bucket is missing"
    journal = Journal(path)
    journal.info("ended", code=1)
    assert last_words(path) == "bucket is missing"
    journal.info(BEGINNING, role="worker")
    assert last_words(path) == ""
    with path.open("ab") as file:
        file.write(b"Traceback\n  oh \xff\n\n")
    journal.info("ended", code=70)
    assert last_words(path) == "oh \\xff"


def test_what_is_logged_goes_to_the_journal_until_there_is_too_much(folder: Path) -> None:
    path = folder / "worker-1.log"
    log = logging.getLogger("dth.test")
    log.propagate = True
    with logging_to(Journal(path)):
        for n in range(LINES_A_SECOND * 10):
            log.warning("object failed", extra={"fields": {"key": f"k{n}"}})
        try:
            raise ValueError("oops")
        except ValueError:
            pass
    told = lines_of(path)
    assert LINES_A_SECOND <= told.count("object failed") <= LINES_A_SECOND * 3
    left_out = [
        entry["count"]
        for line in path.read_bytes().splitlines()
        if (entry := parse_line(line)) and entry["message"] == "lines left out"
    ]
    assert told.count("object failed") + sum(map(int, map(str, left_out))) == LINES_A_SECOND * 10


def test_an_exception_that_is_logged_keeps_where_it_was(folder: Path) -> None:
    path = folder / "worker-1.log"
    with logging_to(Journal(path)):
        try:
            raise ValueError("oops")
        except ValueError:
            logging.getLogger("asyncio").exception("it failed: %s", "%d")
    entry = parse_line(path.read_bytes())
    assert entry is not None
    assert entry["message"] == "it failed: %d"
    assert "test_logs.py" in str(entry["error"])


@pytest.mark.parametrize(
    "line",
    [
        b'{"at": 1e400, "level": "i", "message": ""}',
        b'{"at": NaN, "level": "i", "message": ""}',
        b'{"at": -1, "level": "i", "message": ""}',
        b'{"at": "1", "level": "i", "message": ""}',
        b'{"at": 1, "level": "i", "message": 5}',
        b'{"at": 1, "message": "m"}',
        b'{"at"' + b"[" * 100_000,
        b'{"at": 1, "x": ' + b"[" * 100_000,
        b"null",
        b"",
    ],
)
def test_what_only_looks_like_a_line_is_plain_text(line: bytes) -> None:
    assert parse_line(line) is None


# ------------------------------------------------------------------------------------------ reading


async def test_the_newest_page_comes_first_and_tokens_lead_both_ways(
    logs: LocalLogs, folder: Path
) -> None:
    write_lines(folder / "worker-1.log", 0, 250)
    page = await logs.events(TASK, "worker-1")
    assert messages(page.events) == [f"INFO line {n}" for n in range(150, 250)]
    assert page.events[0].at == 1150.0
    before = await logs.events(TASK, "worker-1", token=page.backward)
    assert messages(before.events) == [f"INFO line {n}" for n in range(50, 150)]
    first = await logs.events(TASK, "worker-1", token=before.backward)
    assert messages(first.events) == [f"INFO line {n}" for n in range(50)]
    start = await logs.events(TASK, "worker-1", token=first.backward)
    assert (start.events, start.backward) == ([], first.backward)
    again = await logs.events(TASK, "worker-1", token=first.forward)
    assert messages(again.events) == messages(before.events)


async def test_a_forward_token_stays_until_there_is_something_newer(
    logs: LocalLogs, folder: Path
) -> None:
    path = folder / "worker-1.log"
    write_lines(path, 0, 3)
    page = await logs.events(TASK, "worker-1")
    nothing = await logs.events(TASK, "worker-1", token=page.forward)
    assert (nothing.events, nothing.forward) == ([], page.forward)
    with path.open("ab") as file:
        file.write(b"half a li")
        file.flush()
        assert (await logs.events(TASK, "worker-1", token=page.forward)).events == []
        file.write(b"ne\n")
    write_lines(path, 3, 1)
    newer = await logs.events(TASK, "worker-1", token=page.forward)
    assert messages(newer.events) == ["half a line", "INFO line 3"]


@pytest.mark.usefixtures("small_files")
async def test_tokens_stay_right_while_files_are_rotated(logs: LocalLogs, folder: Path) -> None:
    journal = Journal(folder / "worker-1.log")
    told = 0

    def tell(count: int) -> None:
        nonlocal told
        for _ in range(count):
            journal.info(f"line {told}")
            told += 1

    tell(20)
    page = await logs.events(TASK, "worker-1", 5)
    assert messages(page.events) == [f"INFO line {n}" for n in range(15, 20)]
    tell(70)  # rotated twice and more
    assert rotated(folder / "worker-1.log")
    before = await logs.events(TASK, "worker-1", 5, token=page.backward)
    assert messages(before.events) == [f"INFO line {n}" for n in range(10, 15)]
    after = await logs.events(TASK, "worker-1", 1000, token=page.forward)
    assert messages(after.events) == [f"INFO line {n}" for n in range(20, 90)]
    tell(500)  # and what the token names is gone
    late = await logs.events(TASK, "worker-1", 5, token=page.forward)
    oldest = await logs.events(TASK, "worker-1", 5, token="f/1.0")
    assert messages(late.events) == messages(oldest.events)
    assert late.events
    gone = await logs.events(TASK, "worker-1", 5, token=page.backward)
    assert gone.events == []


pieces = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.binary(max_size=40).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b"")),
    ),
    max_size=40,
)


@given(pieces, st.integers(1, 7), st.integers(20, 100), st.sets(st.integers(0, 40), max_size=3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_pages_from_either_end_show_each_line_once(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[tuple[int, bytes]],
    limit: int,
    block: int,
    cuts: set[int],
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    (folder / "logs").mkdir()
    path = folder / "logs" / "x.log"
    expected: list[str] = []
    number = 1
    for n, (kind, text) in enumerate(lines):
        if n in cuts and path.exists():
            path.rename(f"{path}.{number}")
            number += 1
        with path.open("ab") as file:
            if kind == 0:
                file.write(b"\n")
            elif kind == 1:
                file.write(b"plain " + text + b"\n")
                expected.append(f"plain {n}")
            else:
                file.write(encode_line(n, "info", f"line {n}", {}))
                expected.append(f"line {n}")

    def walk(forward: bool) -> list[LogEvent]:
        found: list[LogEvent] = []
        log = logs_module._LogFiles(path, "x")
        with log:
            place = log.begin if forward else log.end
            while True:
                wanted = logs_module._Wanted(limit)
                page = logs_module._page({"x": log}, {"x": place}, wanted, forward=forward)
                if not page.events:
                    return found
                found = [*found, *page.events] if forward else [*page.events, *found]
                place = (page.end if forward else page.begin)["x"]

    if not path.exists():
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs_module, "BLOCK", 200 + block)
        forward, backward = walk(True), walk(False)
    kinds = [text.partition(" ")[0] for text in expected]
    assert [m.replace("INFO ", "").partition(" ")[0] for m in messages(forward)] == kinds
    assert messages(backward) == messages(forward)
    times = [event.at for event in forward if event.at < 1e6]
    assert times == sorted(times)


async def test_lines_longer_than_a_block_are_shown_in_pieces(logs: LocalLogs, folder: Path) -> None:
    (folder / "x.log").write_bytes(b"a\n" + b"x" * 300_000 + b"\nb\n")
    page = await logs.events(TASK, "x")
    assert messages(page.events)[0] == "a"
    assert messages(page.events)[-1] == "b"
    assert 3 <= len(page.events) <= 8
    assert all(len(message) <= LINE_SIZE for message in messages(page.events))
    forward = await logs.events(TASK, "x", token="f/1.0")
    assert messages(forward.events)[-1] == "b"


async def test_plain_text_has_the_time_of_the_line_before(logs: LocalLogs, folder: Path) -> None:
    path = folder / "worker-1.log"
    write_lines(path, 0, 1)
    with path.open("ab") as file:
        file.write(b"Traceback:\n  \x1b[31mred\x1b[0m \xff \xe2\x80\xae\n")
    page = await logs.events(TASK, "worker-1", 1)
    red = "  \\x1b[31mred\\x1b[0m \\xff \\u202e"
    assert page.events == [LogEvent(1000.0, red, "worker-1")]
    path.rename(folder / "worker-1.log.1")
    path.write_bytes(b"and on\n")
    [event] = (await logs.events(TASK, "worker-1", 1)).events
    assert event == LogEvent(1000.0, "and on", "worker-1")


async def test_messages_can_be_printed_and_sent(logs: LocalLogs, folder: Path) -> None:
    Journal(folder / "w.log").warning("bad\x1b[2J", key="a\udcff\nb", attempts=2, note="é")
    [event] = (await logs.events(TASK, "w")).events
    assert event.message == 'WARNING bad\\x1b[2J key="a\\udcff\\nb" attempts=2 note="é"'
    json.dumps(event.message, ensure_ascii=False).encode()


async def test_search_and_times(logs: LocalLogs, folder: Path) -> None:
    write_lines(folder / "w.log", 0, 1000)
    found = await logs.events(TASK, "w", search="LINE 99")
    assert messages(found.events) == ["INFO line 99", *(f"INFO line {n}" for n in range(990, 1000))]
    ranged = await logs.events(TASK, "w", start=1010.0, end=1013.0)
    assert [event.at for event in ranged.events] == [1010.0, 1011.0, 1012.0]
    both = await logs.events(TASK, "w", search="9", start=1010.0, end=1030.0, token="f/1.0")
    assert messages(both.events) == ["INFO line 19", "INFO line 29"]
    assert (await logs.events(TASK, "w", search="%")).events == []


def write_at(path: Path, level: str, *times: float) -> None:
    with path.open("ab") as file:
        for at in times:
            file.write(encode_line(at, level, f"{path.stem} {at:.0f}", {}))


async def test_the_logs_of_all_processes_are_one_list_in_the_order_of_time(
    logs: LocalLogs, folder: Path
) -> None:
    assert await logs.events("unknown", None) == LogPage([], "f/", "b/")
    write_at(folder / "finder.log.1", "info", 1000, 1003)
    write_at(folder / "finder.log", "info", 1006)
    write_at(folder / "worker-1.log", "error", 1001, 1002, 1007)
    write_at(folder / "worker-2.log", "warning", 1004, 1005)
    page = await logs.events(TASK, None, 3)
    assert [(event.at, event.stream, event.level) for event in page.events] == [
        (1005.0, "worker-2", LogLevel.WARNING),
        (1006.0, "finder", LogLevel.INFO),
        (1007.0, "worker-1", LogLevel.ERROR),
    ]
    before = await logs.events(TASK, None, 3, page.backward)
    assert [event.at for event in before.events] == [1002.0, 1003.0, 1004.0]
    first = await logs.events(TASK, None, 3, before.backward)
    assert [event.at for event in first.events] == [1000.0, 1001.0]
    start = await logs.events(TASK, None, 3, first.backward)
    assert (start.events, start.backward) == ([], first.backward)
    again = await logs.events(TASK, None, 3, first.forward)
    assert [event.at for event in again.events] == [1002.0, 1003.0, 1004.0]

    nothing = await logs.events(TASK, None, token=page.forward)
    assert (nothing.events, nothing.forward) == ([], page.forward)
    write_at(folder / "finder.log", "info", 1008)
    # A process that has begun since then is read from its beginning, and only forward.
    write_at(folder / "worker-3.log", "info", 1009)
    newer = await logs.events(TASK, None, token=page.forward)
    assert [event.at for event in newer.events] == [1008.0, 1009.0]
    older = await logs.events(TASK, None, token=page.backward)
    assert [event.at for event in older.events] == [1000.0, 1001.0, 1002.0, 1003.0, 1004.0]


async def test_merged_logs_are_searched_by_text_level_process_and_time(
    logs: LocalLogs, folder: Path
) -> None:
    write_at(folder / "finder.log", "info", *range(1000, 1100))
    write_at(folder / "worker-1.log", "warning", 1050.5)
    write_at(folder / "worker-2.log", "error", 1051.5)
    with (folder / "worker-2.log").open("ab") as file:
        file.write(b"Traceback: oh\n")

    async def found(**wanted: Any) -> list[str]:
        return messages((await logs.events(TASK, None, **wanted)).events)

    # What a process printed has no level, and may be what somebody is looking for.
    assert await found(level=LogLevel.ERROR) == ["ERROR worker-2 1052", "Traceback: oh"]
    assert await found(level=LogLevel.WARNING, prefix="worker-1") == ["WARNING worker-1 1050"]
    assert await found(search="WORKER", prefix="worker") == [
        "WARNING worker-1 1050",
        "ERROR worker-2 1052",
    ]
    assert await found(start=1050.0, end=1051.0) == ["INFO finder 1050", "WARNING worker-1 1050"]
    assert await found(prefix="nobody") == []


async def test_what_is_older_than_asked_for_is_not_read(
    logs: LocalLogs, folder: Path, bytes_read: Iterator[list[int]]
) -> None:
    sizes = next(bytes_read)
    write_lines(folder / "finder.log", 0, 50_000)
    write_lines(folder / "worker-1.log", 0, 50_000)
    page = await logs.events(TASK, None, start=50_990.0)
    assert len(page.events) == 20
    assert sum(sizes) < 500_000
    end = await logs.events(TASK, None, token=page.backward, start=50_990.0)
    assert (end.events, end.backward) == ([], page.backward)


@pytest.mark.parametrize("token", ["f/1.1", "f/x", "f/x:1", "f/../x:1.1", "f/x:1.1,", "g/x:1.1"])
async def test_a_token_of_one_log_is_none_of_several(logs: LocalLogs, token: str) -> None:
    with pytest.raises(UsageError, match="nextToken"):
        await logs.events(TASK, None, token=token)


async def test_streams_are_the_newest_first_with_their_rotated_files(
    logs: LocalLogs, folder: Path
) -> None:
    assert await logs.streams("unknown") == []
    write_lines(folder / "finder.log.1", 0, 10)
    write_lines(folder / "finder.log.2", 10, 10)
    write_lines(folder / "finder.log", 20, 10)
    write_lines(folder / "worker-1.log", 500, 10)
    (folder / "empty.log").touch()
    for other in ("notes.txt", "x.log.old", ".log", "x.log.1.gz"):
        (folder / other).touch()
    (folder / "folder.log").mkdir()
    streams = await logs.streams(TASK)
    assert [stream.name for stream in streams] == ["empty", "worker-1", "finder"]
    finder = streams[-1]
    assert (finder.created, finder.first, finder.last) == (1000.0, 1000.0, 1029.0)
    assert finder.bytes == sum(each.stat().st_size for each in folder.glob("finder.log*"))
    assert [stream.name for stream in await logs.streams(TASK, "work")] == ["worker-1"]


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../secret",
        "/etc/passwd",
        "a/b",
        "a\0b",
        "nobody",
        "x" * 300,
        "worker-1.log",
        "*",
        "w\n",
        "\uff57",
    ],
)
async def test_what_is_no_stream_is_not_found(logs: LocalLogs, folder: Path, name: str) -> None:
    write_lines(folder / "worker-1.log", 0, 1)
    write_lines(folder / "w.log", 0, 1)
    write_lines(folder.parent / "secret.log", 0, 1)
    with pytest.raises(NotFound):
        await logs.events(TASK, name)


@pytest.mark.parametrize(
    "token", ["x", "f/", "f/1", "g/1.1", "f/-1.0", "f/1.1 ", "f/1." + "9" * 99, "b/\u0661.\u0661"]
)
async def test_a_token_of_something_else_is_refused(
    logs: LocalLogs, folder: Path, token: str
) -> None:
    write_lines(folder / "w.log", 0, 1)
    with pytest.raises(UsageError, match="nextToken"):
        await logs.events(TASK, "w", token=token)


async def test_odd_tokens_and_limits(logs: LocalLogs, folder: Path) -> None:
    write_lines(folder / "w.log.5", 0, 2)
    write_lines(folder / "w.log", 2, 2)
    for token in ("f/0.0", "f/1.5", "f/5.0"):
        assert len((await logs.events(TASK, "w", token=token)).events) == 4
    assert len((await logs.events(TASK, "w", token="b/999999999999.1")).events) == 4
    assert (await logs.events(TASK, "w", token="f/999999999999.1")).events == []
    assert len((await logs.events(TASK, "w", token="f/5.999999")).events) == 2
    for limit in (0, -1, 10_001):
        with pytest.raises(UsageError, match="limit"):
            await logs.events(TASK, "w", limit)


@pytest.fixture
def bytes_read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How much each read of a log file brought."""
    sizes: list[int] = []
    read = os.pread

    def counted(file: int, count: int, offset: int) -> bytes:
        data = read(file, count, offset)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(logs_module.os, "pread", counted)
    return iter([sizes])


async def test_a_million_lines_are_not_read_for_one_page(
    logs: LocalLogs, folder: Path, bytes_read: Iterator[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = next(bytes_read)
    line = encode_line(1000.0, "info", "a line of a long log", {})
    with (folder / "w.log").open("wb") as file:
        for _ in range(1000):
            file.write(line * 1000)
    write_lines(folder / "w.log", 7, 1)
    page = await logs.events(TASK, "w")
    assert len(page.events) == 100
    assert page.events[-1].message == "INFO line 7"
    assert len(await logs.streams(TASK)) == 1
    assert sum(sizes) < 500_000

    sizes.clear()
    monkeypatch.setattr(logs_module, "SCANNED", 1_000_000)
    nothing = await logs.events(TASK, "w", search="nowhere to be found")
    assert nothing.events == []
    assert (
        nothing.backward != page.backward
    )  # looked through as much as one call does, and leads on
    assert sum(sizes) < 1_200_000


async def test_a_page_is_not_larger_than_a_client_takes(logs: LocalLogs, folder: Path) -> None:
    journal = Journal(folder / "w.log")
    for letter in string.ascii_letters * 3:
        journal.info(letter * 15_000)
    page = await logs.events(TASK, "w", 10_000)
    assert 1_000_000 < sum(map(len, messages(page.events))) < 1_100_000


def test_what_is_logged_is_written_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Although the process was forked from one that logs to standard error."""
    path = tmp_path / "x.log"
    inherited = logging.StreamHandler(sys.stderr)
    logging.getLogger().addHandler(inherited)
    try:
        with logging_to(Journal(path)):
            for n in range(LINES_A_SECOND * 10):
                logging.getLogger("dth.objects").warning(
                    "object failed", extra={"fields": {"key": f"k{n}"}}
                )
        assert inherited in logging.getLogger().handlers
    finally:
        logging.getLogger().removeHandler(inherited)
    assert capfd.readouterr().err == ""
    told = [json.loads(line) for line in path.read_text().splitlines()]
    failed = [line for line in told if line["message"] == "object failed"]
    assert all(line["key"] for line in failed)
    assert len(failed) <= LINES_A_SECOND * 3


def test_a_log_as_json_is_one_object_per_line() -> None:
    record = logging.LogRecord(
        "dth.up", logging.WARNING, "", 0, "two\nlines of %s", ("text",), None
    )
    record.created, record.fields = 1_700_000_000.25, {"task": "a"}
    line = JsonFormatter().format(record)
    assert json.loads(line) == {
        "at": 1_700_000_000.25,
        "level": "warning",
        "message": "two\nlines of text",
        "logger": "dth.up",
        "task": "a",
    }
    assert "\n" not in line
