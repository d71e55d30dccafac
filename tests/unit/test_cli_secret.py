"""`dth secret`: what reaches the hub, and that no value is anywhere else."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from dth.cli.display import when
from dth.cli.secret import secret
from dth.core.errors import Conflict, HubError, StateError, UsageError
from dth.hub.client import HubClient, with_token
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.secrets import LocalSecrets, StoredSecrets
from dth.platforms.local.vault import open_vault

VALUE = '{"access_key_id": "AK", "secret_access_key": "SK"}'


class Hub:
    """Answers every call in the same way, and keeps what it was asked."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.answer: dict[str, Any] = {"data": {}}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hub.calls.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(hub.answer).encode())

            def log_message(self, *_: object) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    url = f"http://127.0.0.1:{server.server.server_port}"
    monkeypatch.setattr(
        "dth.cli.hub.connect", lambda *_: HubClient(url, with_token(lambda: "token"))
    )
    yield server
    server.close()


def run(*arguments: object, given: str | bytes | None = None) -> Result:
    result = CliRunner().invoke(
        secret, [str(each) for each in arguments], input=given, standalone_mode=False
    )
    if isinstance(result.exception, Exception) and not isinstance(
        result.exception, HubError | click.ClickException
    ):
        raise result.exception
    return result


def test_the_list_shows_names(hub: Hub) -> None:
    one = {
        "name": "one",
        "description": "x\x1b[2J",
        "updatedAt": "2026-01-01T00:00:00Z",
        "hosts": ["a.example"],
    }
    found = [one, {**one, "name": "new", "hosts": []}, {**one, "name": "any", "hosts": ["*"]}]
    hub.answer = {"data": {"listSecrets": found}}
    listed = run("list")
    changed = when("2026-01-01T00:00:00Z")
    assert listed.stdout == (
        f"NAME  CHANGED{' ' * 11}HOSTS                   DESCRIPTION\n"
        f"one   {changed}  a.example               x\\x1b[2J\n"
        f"new   {changed}  bound at its first use  x\\x1b[2J\n"
        f"any   {changed}  any host                x\\x1b[2J\n"
    )
    assert listed.stderr == (
        "warning: secret 'any' is bound to no host: whoever may make tasks can send it anywhere; "
        "bind it: dth secret bind any HOST\n"
    )
    assert json.loads(run("list", "--json").stdout) == found
    hub.answer = {"data": {"listSecrets": []}}
    assert run("list").stdout == "NAME  CHANGED  HOSTS  DESCRIPTION\n"


def test_a_value_comes_from_standard_input_or_a_file(hub: Hub, tmp_path: Path) -> None:
    file = tmp_path / "value.json"
    file.write_text(f"{VALUE}\n")
    run("create", "one", "--description", "keys", given=f"{VALUE}\n")
    run("create", "one", "--from-file", file)
    run("create", "one", "--from-file", "-", given=VALUE)
    run("update", "one", given=VALUE)
    run("update", "one", "--description", "keys", "--from-file", file)
    assert [call["variables"]["value"] for call in hub.calls] == [VALUE] * 5
    assert hub.calls[0]["variables"] == {"name": "one", "value": VALUE, "description": "keys"}
    run("update", "one", "--description", "other", given=VALUE)
    assert hub.calls[-1]["variables"] == {"name": "one", "description": "other"}
    assert all("SK" not in call["query"] for call in hub.calls)
    assert run("delete", "one").stdout == "one is deleted\n"
    assert hub.calls[-1]["variables"] == {"name": "one"}


def test_on_a_terminal_it_is_asked_for_and_not_shown(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["AK", "SK"])
    monkeypatch.setattr(
        "dth.cli.secret.sys.stdin", type("Terminal", (), {"isatty": lambda _: True})()
    )
    monkeypatch.setattr("click.termui.hidden_prompt_func", lambda _: next(answers))
    command = secret.get_command(click.Context(secret), "create")
    assert command is not None
    assert command.main(["one"], standalone_mode=False) == 0
    assert json.loads(hub.calls[0]["variables"]["value"]) == json.loads(VALUE)


def test_no_value_and_a_wrong_one_are_told_in_one_line(hub: Hub, tmp_path: Path) -> None:
    for given, arguments, said in (
        ("", ["create", "one"], "there is no value"),
        (b"\xff", ["create", "one"], "not text"),
        (None, ["create", "one", "--from-file", tmp_path / "missing"], "No such file"),
    ):
        assert said in str(run(*arguments, given=given).exception)
    assert hub.calls == []
    hub.answer = {"errors": [{"message": "there is one", "extensions": {"code": "CONFLICT"}}]}
    assert isinstance(run("create", "one", given=VALUE).exception, Conflict)


def test_binding_to_hosts(hub: Hub) -> None:
    hub.answer = {"data": {"createSecret": {"name": "one"}}}
    run("create", "one", "--host", "a.example", "--host", "*.b.example", given=VALUE)
    assert hub.calls[-1]["variables"]["hosts"] == ["a.example", "*.b.example"]
    hub.answer = {"data": {"bindSecret": {"hosts": ["a.example:9000"]}}}
    assert run("bind", "one", "A.example:9000").stdout == "one: a.example:9000\n"
    assert hub.calls[-1]["variables"] == {"name": "one", "hosts": ["A.example:9000"]}
    hub.answer = {"data": {"bindSecret": {"hosts": []}}}
    assert run("bind", "one").stdout == "one: bound at its first use\n"
    assert hub.calls[-1]["variables"]["hosts"] == []


def test_no_option_takes_a_value() -> None:
    for name, more in (("create", {"--host"}), ("update", set[str]())):
        command = secret.get_command(click.Context(secret), name)
        assert command is not None
        assert {option for each in command.params for option in each.opts} == {
            "name", "--description", "--from-file", "--hub", "--data-dir", *more,
        }  # fmt: skip


def test_the_key_is_rotated_while_the_hub_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DTH_KEY", raising=False)
    assert isinstance(run("rotate-key", "--data-dir", tmp_path).exception, UsageError)
    assert list(tmp_path.iterdir()) == []
    with HubDatabase.open(tmp_path / "hub.db") as database:
        secrets = LocalSecrets(database, open_vault(tmp_path))
        asyncio.run(secrets.create("one", VALUE))
        before = (tmp_path / "key").read_text()
        done = run("rotate-key", "--data-dir", tmp_path)
        assert done.stdout.startswith("1 values are encrypted with the new key")
        assert (tmp_path / "key").read_text() != before
        assert StoredSecrets(tmp_path).read("one") == VALUE
        (tmp_path / "key").unlink()
        assert isinstance(run("rotate-key", "--data-dir", tmp_path).exception, StateError)


def test_a_secret_that_nothing_can_use_is_told(hub: Hub) -> None:
    odd = run("create", "one", given='{"user": "me"}')
    assert odd.exit_code == 0
    assert "no store and no registry can use this secret" in odd.stderr
    for value in (VALUE, '{"username": "u", "password": "p"}', '{"sse_customer_key": "k"}'):
        assert run("create", "one", given=value).stderr == ""
