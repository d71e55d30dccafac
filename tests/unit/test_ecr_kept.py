"""What is kept on this machine for registries: every place, every form of key, helpers."""

from __future__ import annotations

import base64
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dth.core.errors import EndpointRefused
from dth.images.registry import kept
from dth.images.registry.kept import HUB_URL, KeptLogin, kept_for
from dth.images.registry.login import UserPassword

if TYPE_CHECKING:
    from pathlib import Path

HOST = "registry.example.com"
PLACES = ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG")


def entry(user: str, password: str = "p") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: Path, auths: dict[str, Any] | None = None, **more: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"auths": auths or {}, **more}))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in PLACES:
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    return home


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A credential helper called `tests`, whose answer is the file `answer` beside it; it logs what
    it is asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    path = folder / "docker-credential-tests"
    path.write_text(
        f"#!{sys.executable}\nimport os, sys\nhere = {str(folder)!r}\nopen(here + '/asked', "
        "'a').write(sys.argv[1] + ' ' + sys.stdin.read() + '\\n')\nstatus, _, text = open(here "
        "+ '/answer').read().partition('\\n')\nprint(text)\nsys.exit(int(status))\n"
    )
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_every_place_and_their_order(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kept_for(HOST) is None
    (home / ".dockercfg").write_text(json.dumps({f"https://{HOST}": entry("legacy")}))
    steps = [
        (home / ".docker/config.json", "docker"),
        (home / ".config/containers/auth.json", "config"),
        (tmp_path / "run/containers/auth.json", "runtime"),
    ]
    expected = ["legacy"]
    for path, user in steps:
        assert kept_for(HOST) == UserPassword(expected[-1], "p")
        write(path, {HOST: entry(user)})
        expected.append(user)
    assert kept_for(HOST) == UserPassword("runtime", "p")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "own"))
    assert kept_for(HOST) == UserPassword("docker", "p")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    assert kept_for(HOST) == UserPassword("legacy", "p")
    write(tmp_path / "docker/config.json", {HOST: entry("moved")})
    assert kept_for(HOST) == UserPassword("moved", "p")
    write(tmp_path / "own/containers/auth.json", {HOST: entry("own")})
    assert kept_for(HOST) == UserPassword("own", "p")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "one.json"))
    assert kept_for(HOST) is None  # the only one, as for skopeo
    write(tmp_path / "one.json", {HOST: entry("one")})
    assert kept_for(HOST) == UserPassword("one", "p")


def test_without_a_runtime_directory_it_is_that_of_the_user(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    places = [str(place.path) for place in kept._places()]
    assert places[0] == f"/run/containers/{os.getuid()}/auth.json"


@pytest.mark.parametrize(
    "key", [HOST, f"https://{HOST}", f"http://{HOST}", f"https://{HOST}/v1/", f"https://{HOST}/v2/"]
)
def test_keys_of_a_registry(home: Path, key: str) -> None:
    write(home / ".docker/config.json", {"other.example.com": entry("other"), key: entry("me")})
    for repository in ("", "team", "team/app"):
        assert kept_for(HOST, repository) == UserPassword("me", "p")
    assert kept_for("example.com") is None
    assert kept_for(f"{HOST}:5000") is None


@pytest.mark.parametrize("key", [HUB_URL, "index.docker.io", "docker.io", "registry-1.docker.io"])
def test_keys_of_docker_hub(home: Path, key: str) -> None:
    write(home / ".docker/config.json", {key: entry("me")})
    assert kept_for("docker.io", "library/alpine") == UserPassword("me", "p")


def test_the_longest_key_is_the_one(home: Path) -> None:
    path = home / ".config/containers/auth.json"
    keys = (HOST, f"{HOST}/team", f"{HOST}/team/app")
    write(path, {key: entry(f"user-{number}") for number, key in enumerate(keys)})
    for repository, number in (
        ("team/app", 2),
        ("team/other", 1),
        ("team/apple", 1),
        ("teams/x", 0),
        ("", 0),
    ):
        assert kept_for(HOST, repository) == UserPassword(f"user-{number}", "p")
    write(path, {f"{HOST}/team/app": entry("only")})
    assert kept_for(HOST, "team/app") == UserPassword("only", "p")
    assert kept_for(HOST, "team/other") is None
    assert kept_for(HOST) == UserPassword("only", "p")  # to see whether the registry lets us in


def test_forms_of_an_entry(home: Path) -> None:
    path = home / ".docker/config.json"
    for given_, expected in (
        ({"username": "u", "password": "p"}, UserPassword("u", "p")),
        (entry("u", "p:with:colons\0"), UserPassword("u", "p:with:colons")),
        (
            {"auth": base64.b64encode(b"user:pass1").decode().rstrip("=")},
            UserPassword("user", "pass1"),
        ),
        ({**entry("0000", ""), "identitytoken": "T"}, UserPassword("0000", "", "T")),
        ({"identitytoken": "T"}, UserPassword("", "", "T")),
        ({}, None),
        ({"auth": "%%%"}, None),
        ({"auth": base64.b64encode(b"nothing").decode()}, None),
        ({"auth": 5}, None),
        ([], None),
    ):
        write(path, {HOST: given_})
        assert kept_for(HOST) == expected


def test_a_file_that_is_none(home: Path) -> None:
    path = home / ".config/containers/auth.json"
    write(home / ".docker/config.json", {HOST: entry("me")})
    path.parent.mkdir(parents=True)
    for text in ("", "[]", "{", "5", "[" * 100_000, '{"auths": []}', '{"credHelpers": 3}', "\xff"):
        path.write_text(text, "latin-1")
        assert kept_for(HOST) == UserPassword("me", "p")


def test_helpers(home: Path, program: Path) -> None:
    path = home / ".docker/config.json"
    write(path, {HOST: entry("plain")}, credHelpers={HOST: "tests", "docker.io": "tests"})
    (program / "answer").write_text('0\n{"ServerURL": "x", "Username": "helped", "Secret": "s"}')
    assert kept_for(HOST, "team/app") == UserPassword("helped", "s")
    assert kept_for("docker.io") == UserPassword("helped", "s")
    assert (program / "asked").read_text() == f"get {HOST}\nget docker.io\n"
    (program / "answer").write_text('0\n{"Username": "<token>", "Secret": "T"}')
    assert kept_for(HOST) == UserPassword("", "", "T")
    (program / "answer").write_text("1\ncredentials not found in native keychain")
    assert kept_for(HOST) == UserPassword("plain", "p")
    for answer in (
        "1\nlocked: hunter2",
        "0\nhunter2",
        "0\n[]",
        '0\n{"Username": 1, "Secret": "hunter2"}',
    ):
        (program / "answer").write_text(answer)
        with pytest.raises(EndpointRefused) as told:
            kept_for(HOST)
        assert "hunter2" not in str(told.value)
    for name in ("none-such", "../x", "a b", ""):
        write(path, credHelpers={HOST: name})
        if name:
            with pytest.raises(EndpointRefused):
                kept_for(HOST)


def test_the_store_of_docker(home: Path, program: Path) -> None:
    path = home / ".docker/config.json"
    write(path, {HOST: {}, "other.example.com": entry("plain")}, credsStore="tests")
    (program / "answer").write_text('0\n{"Username": "stored", "Secret": "s"}')
    assert kept_for(HOST) == UserPassword("stored", "s")
    assert kept_for("docker.io") == UserPassword("stored", "s")
    assert kept_for("other.example.com") == UserPassword("plain", "p")
    assert (program / "asked").read_text() == f"get {HOST}\nget {HUB_URL}\n"
    (program / "answer").write_text("1\ncredentials not found in native keychain")
    assert kept_for(HOST) is None
    write(path, credsStore="none-such")
    assert kept_for(HOST) is None  # left behind by Docker Desktop


async def test_what_was_found_is_kept_until_it_is_refused(home: Path) -> None:
    path = home / ".docker/config.json"
    write(path, {HOST: entry("me", "old")})
    login = KeptLogin(HOST)
    old = await login.get(repository="team/app")
    write(path, {HOST: entry("me", "new")})
    assert await login.get(repository="team/app") == old
    assert await login.get(old, "team/app") == UserPassword("me", "new")
    assert await login.get(old, "team/app") == UserPassword("me", "new")
    assert await login.get() == UserPassword("me", "new")


names = st.from_regex(r"[a-z0-9]{1,5}(/[a-z0-9]{1,5}){0,3}", fullmatch=True)


@given(names, st.lists(names, max_size=6, unique=True))
def test_the_key_that_is_taken_holds_the_repository(repository: str, spaces: list[str]) -> None:
    auths = {f"{HOST}/{space}": entry(space) for space in spaces}
    found = kept._entered({"auths": auths}, HOST, repository)
    fitting = [space for space in spaces if f"{repository}/".startswith(f"{space}/")]
    assert (found.user if found else "") == max(fitting, key=len, default="")


# ------------------------------------------------------------------------ what registries.conf says


def configure(path: Path, *helpers: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"credential-helpers = {json.dumps(list(helpers))}\n")


@pytest.mark.parametrize("place", ["named", "own", "own.d"])
def test_the_machine_names_helpers(
    home: Path, program: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    containers = home / ".config/containers"
    path = {
        "named": home / "elsewhere.conf",
        "own": containers / "registries.conf",
        "own.d": containers / "registries.conf.d/50-mine.conf",
    }[place]
    configure(path, "containers-auth.json", "tests")
    if place == "named":
        monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(path))
    (program / "answer").write_text('0\n{"Username": "u", "Secret": "of the helper"}')
    assert kept_for(HOST, "team/app") == UserPassword("u", "of the helper")
    write(home / ".config/containers/auth.json", {HOST: entry("of the file")})
    assert kept_for(HOST, "team/app") == UserPassword("of the file", "p")  # it stands first
    configure(path, "tests", "containers-auth.json")
    assert kept_for(HOST, "team/app") == UserPassword("u", "of the helper")
    configure(path, "tests")
    (program / "answer").write_text("1\ncredentials not found in native keychain")
    assert kept_for(HOST) is None  # the files are not asked


def test_a_helper_that_fails_is_told_if_nobody_else_knows(home: Path, program: Path) -> None:
    configure(home / ".config/containers/registries.conf", "tests", "containers-auth.json")
    (program / "answer").write_text("1\nthe keychain is locked")
    with pytest.raises(EndpointRefused, match="docker-credential-tests has no credentials"):
        kept_for(HOST)
    write(home / ".config/containers/auth.json", {HOST: entry("u")})
    assert kept_for(HOST) == UserPassword("u", "p")


@pytest.mark.parametrize(
    "said", ["credential-helpers = 7", "credential-helpers = []", "[[", "\x00", "x = 1"]
)
def test_a_configuration_that_names_none(home: Path, said: str) -> None:
    path = home / ".config/containers/registries.conf"
    path.parent.mkdir(parents=True)
    path.write_text(said)
    write(home / ".config/containers/auth.json", {HOST: entry("u")})
    assert kept_for(HOST) == UserPassword("u", "p")


def test_a_token_for_the_registry_itself(home: Path) -> None:
    write(home / ".docker/config.json", {HOST: {"registrytoken": "t0ken"}})
    assert kept_for(HOST) == UserPassword("", "", "", "t0ken")
    assert "t0ken" not in repr(kept_for(HOST))
