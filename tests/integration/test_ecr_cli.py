"""`dth ecr`: what it prints, what it writes, and how it ends. Real registries, real skopeo."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.engine import Done, Dth, wait_for
from tests.servers.proxy import Stall
from tests.servers.registry import (
    NEEDED,
    PASSWORD,
    USER,
    EcrServer,
    PlainProxy,
    RegistryServer,
    digest_of,
    image,
    index,
    layer,
    signature,
)

if TYPE_CHECKING:
    from tests.hub import Hub

pytestmark = NEEDED


@pytest.fixture
def secrets(dth: Dth) -> list[str]:
    """The options that name the secrets of both sides."""
    dth.keep_secret("registry", username=USER, password=PASSWORD)
    return ["--src-secret", "registry", "--dst-secret", "registry"]


BASE = layer("cli-base", 200_000)


def fill(here: RegistryServer) -> None:
    """Two images that share a layer, and one of two platforms with its signature."""
    for name in "ab":
        here.push(f"team/{name}", "v1", image(name, [BASE, layer(f"cli-{name}", 5_000)]))
    both = index(image("x", [BASE]), image("y", [layer("cli-arm", 9_000)], architecture="arm64"))
    here.push("both", "v1", both)
    here.push("both", *signature(both))


def one_line(done: Done, code: int) -> str:
    """The one line on standard error; nothing was printed besides."""
    assert (done.code, done.out) == (code, ""), done
    (line,) = done.err.splitlines()
    assert line.startswith("dth: ")
    return line.removeprefix("dth: ")


def test_a_sync_with_its_plan_and_its_report(
    dth: Dth, here: RegistryServer, there: RegistryServer, secrets: list[str]
) -> None:
    fill(here)
    command = (here.host, f"{there.host}/mirror", *secrets)
    planned = dth.here("ecr", "plan", *command)
    assert planned.code == 0
    assert planned.out.count("\n+ ") + planned.out.startswith("+ ") == 4
    assert "4 images, 0 same; would copy 4" in planned.out
    assert there.digest("mirror/team/a", "v1") is None

    report = dth.home / "report.csv"
    done = dth.run("ecr", "sync", *command, "--json", "--report", report)
    assert done.code == 0, done
    found = json.loads(done.out)
    assert (found["listed"], found["copied"], found["failed"], found["resumed"]) == (4, 4, 0, False)
    # The base crossed once; two more images have it.
    assert 200_000 < found["bytes"] < 240_000
    assert found["bytes_skipped"] > 400_000
    with report.open() as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    for key, row in rows.items():
        repository, _, tag = key.partition(":")
        assert row["status"] == "DONE"
        assert row["source_digest"] == row["dest_digest"] == there.digest(repository, tag)
    assert set(rows) > {"mirror/team/a:v1", "mirror/team/b:v1", "mirror/both:v1"}

    again = dth.run("ecr", "sync", *command, "-v")
    assert "INFO started" in again.err
    assert (again.code, again.out.splitlines()[0].partition(" in ")[0]) == (
        0,
        "4 listed, 4 same, 0 copied (0 B moved, 0 B there already), 0 failed",
    )
    assert "0 same" not in dth.run("ecr", "sync", *command, "--dry-run").out


@pytest.mark.parametrize("wanted", ["", "/other/app", "/other/app:stable"])
def test_a_copy_is_called_what_dst_says(
    dth: Dth, here: RegistryServer, there: RegistryServer, secrets: list[str], wanted: str
) -> None:
    fill(here)
    done = dth.run("ecr", "copy", f"{here.host}/both:v1", there.host + wanted, *secrets)
    assert done.code == 0, done
    repository, _, tag = (wanted.strip("/") or "both").partition(":")
    assert there.digest(repository, tag or "v1") == here.digest("both", "v1")
    # Its signature is beside it.
    assert "2 listed, 0 same, 2 copied" in done.out
    assert not list(dth.states.glob("*"))


def test_a_failure_is_told_and_the_rest_is_copied(
    dth: Dth, here: RegistryServer, there: RegistryServer, secrets: list[str]
) -> None:
    fill(here)
    options = [*secrets, "--image", "team/a:v1,team/a:v9"]
    done = dth.run("ecr", "sync", here.host, there.host, *options)
    assert done.code == 2
    assert "--image" in done.err
    done = dth.run("ecr", "sync", f"{here.host}/team/a:v9", there.host, *secrets)
    assert done.code == 1
    assert f"  failed: team/a:v9: MANIFEST_UNKNOWN: {here.host}/team/a:v9 is not there" in done.out
    planned = dth.here("ecr", "plan", f"{here.host}/team/a:v9", there.host, *secrets)
    assert (planned.code, planned.out.splitlines()[0][:2]) == (1, "! ")


def test_diff_and_repair(
    dth: Dth, here: RegistryServer, there: RegistryServer, secrets: list[str]
) -> None:
    fill(here)
    command = (here.host, there.host, *secrets)
    assert dth.run("ecr", "sync", *command).code == 0
    equal = dth.here("ecr", "diff", *command)
    assert (equal.code, equal.out.splitlines()[0]) == (
        0,
        "4 images: 4 same, 0 missing, 0 different, 0 damaged, 0 unknown",
    )
    assert "  1 of them attached to images" in equal.out
    here.push("team/new", "v1", image("new", [BASE]))
    here.push("team/a", "v1", image("other", [BASE]))
    here.push("broken", "v1", index(image("x", [BASE]), image("y", [BASE], architecture="arm64")))
    value = digest_of(layer("cli-b", 5_000)).partition(":")[2]
    shutil.rmtree(there.data / "docker/registry/v2/blobs/sha256" / value[:2] / value)
    found = dth.here("ecr", "diff", *command)
    assert found.code == 1
    for line in (
        f"+ {here.host}/team/new:v1 -> {there.host}/team/new:v1",
        f"* {here.host}/team/a:v1 -> {there.host}/team/a:v1",
        (
            f"~ {here.host}/team/b:v1 -> {there.host}/team/b:v1  (the destination has lost "
            f"sha256:{value})"
        ),
    ):
        assert line in found.out.splitlines()
    told = json.loads(dth.here("ecr", "diff", *command, "--json").out)
    assert (told["same"], told["missing"], told["different"], told["damaged"], told["unknown"]) == (
        2,
        2,
        1,
        1,
        0,
    )
    assert not told["equal"]
    assert dth.run("ecr", "sync", *command).code == 0
    assert dth.here("ecr", "diff", *command).code == 1  # a sync looks at digests alone
    repaired = json.loads(dth.run("ecr", "sync", *command, "--repair", "--json").out)
    assert (repaired["copied"], repaired["failed"]) == (1, 0)
    assert dth.here("ecr", "diff", *command).code == 0
    # What cannot be told is neither equal nor different.
    nothing = dth.here("ecr", "diff", f"{here.host}/none", there.host, *secrets)
    assert (nothing.code, nothing.out[:2]) == (2, "! ")
    assert dth.here("ecr", "diff", "127.0.0.1:1", there.host, *secrets).code == 2


def test_what_is_attached_is_counted(
    dth: Dth, here: RegistryServer, there: RegistryServer, secrets: list[str]
) -> None:
    fill(here)
    command = (f"{here.host}/both", there.host, *secrets)
    assert json.loads(dth.here("ecr", "plan", *command, "--json").out)["attached"] == 1
    assert "  1 of them attached" in dth.here("ecr", "plan", *command).out
    left = dth.run("ecr", "sync", *command, "--no-attached")
    assert "  1 left out" in left.out
    assert (
        "note: what is attached to images (signatures, attestations, SBOMs) is left out" in left.out
    )
    assert json.loads(dth.run("ecr", "sync", *command, "--json").out)["attached"] == 1


def test_what_fails_for_good_is_not_tried_again(
    dth: Dth, here: RegistryServer, there: RegistryServer, secrets: list[str]
) -> None:
    here.push("team/a", "v1", image("a", [BASE]))
    value = digest_of(BASE).partition(":")[2]
    shutil.rmtree(here.data / "docker/registry/v2/blobs/sha256" / value[:2] / value)
    done = dth.run("ecr", "copy", f"{here.host}/team/a:v1", there.host, *secrets, "--json")
    found = json.loads(done.out)
    assert (done.code, found["failed"], found["cancelled"], found["failures"][0]["code"]) == (
        1,
        1,
        0,
        "BLOB_UNKNOWN",
    )
    assert found["seconds"] < 15


def test_amazon_ecr_by_its_region(dth: Dth, here: RegistryServer, there: RegistryServer) -> None:
    fill(here)
    dth.keep_secret("registry", username=USER, password=PASSWORD)
    with EcrServer(there) as ecr:
        options = ["--src-secret", "registry", "--dst-endpoint-url", ecr.url]
        template = ["--tag-mutability", "IMMUTABLE", "--repository-tag", "team=a"]
        command = (f"{here.host}/team/a", "ecr:eu-west-1/mirror", *options, *template)
        planned = dth.here("ecr", "plan", *command)
        assert "repository mirror/team/a would be made" in planned.out
        assert ecr.repositories == {}
        done = dth.run("ecr", "sync", *command)
        assert done.code == 0, done
        assert ecr.repositories["mirror/team/a"]["imageTagMutability"] == "IMMUTABLE"
        assert there.digest("mirror/team/a", "v1") == here.digest("team/a", "v1")
        ecr.refuse["CreateRepository"] = (
            "AccessDeniedException",
            "not authorized to perform: ecr:CreateRepository",
        )
        done = dth.run("ecr", "sync", f"{here.host}/team/b", *command[1:])
        assert done.code == 1
        assert (
            "repository 'mirror/team/b' cannot be made in eu-west-1: AccessDeniedException"
            in done.out
        )


def test_an_interrupted_sync_goes_on(
    dth: Dth, here: RegistryServer, there: RegistryServer, secrets: list[str]
) -> None:
    fill(here)
    with PlainProxy(here) as front:
        rule = front.rule(Stall(60.0, after=1000), method="GET", when=lambda r: "/blobs/" in r.path)
        command = ("ecr", "sync", front.url.partition("//")[2], there.host, *secrets)
        process = dth.start(*command)
        wait_for(lambda: rule.hits)
        process.send_signal(signal.SIGINT)
        done = dth.end(process)
        assert done.code == 1
        assert done.err.splitlines()[-1].startswith(
            "dth: interrupted; run the same command again to resume"
        )
        front.clear()
        again = dth.run(*command, "--json")
        assert again.code == 0, again
        found = json.loads(again.out)
        assert (found["copied"] + found["same"], found["failed"], found["resumed"]) == (4, 0, True)


def test_whoever_signed_in_with_skopeo_is_known(
    dth: Dth, here: RegistryServer, there: RegistryServer
) -> None:
    fill(here)
    command = ("ecr", "copy", f"{here.host}/team/a:v1", there.host)
    refused = one_line(dth.run(*command), 1)
    assert refused == (
        f"source: {here.host} wants credentials; name a secret, or sign in on this machine with skopeo "
        "login"
    )
    kept = dth.home / ".docker/config.json"
    kept.parent.mkdir()
    for server in (here, there):
        signing = [
            "skopeo",
            "login",
            "--authfile",
            str(kept),
            "--tls-verify=false",
            "-u",
            USER,
            "--password-stdin",
        ]
        subprocess.run(
            [*signing, server.host], input=PASSWORD, text=True, check=True, capture_output=True
        )
    dth.env |= {"XDG_RUNTIME_DIR": "", "REGISTRY_AUTH_FILE": ""}
    assert dth.run(*command).code == 0
    assert there.digest("team/a", "v1") == here.digest("team/a", "v1")


def test_without_skopeo(
    dth: Dth, here: RegistryServer, there: RegistryServer, secrets: list[str]
) -> None:
    """It is needed only where images are converted or signatures checked, which one line then
    says."""
    dth.env["PATH"] = str(dth.home)
    fill(here)
    command = ("ecr", "sync", here.host, there.host, *secrets)
    assert dth.run(*command).code == 0
    assert there.digest("team/a", "v1") == here.digest("team/a", "v1")
    policy = dth.home / ".config/containers/policy.json"
    policy.parent.mkdir(parents=True, exist_ok=True)
    policy.write_text(
        '{"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/key"}]}'
    )
    done = dth.run("ecr", "sync", here.host, f"{there.host}/again", *secrets)
    assert done.code == 1
    assert "the machine's policy wants" in done.out
    assert "to be checked by skopeo: skopeo is not here; install it" in done.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["sync", "quay.io", "quay.io"],
            "source and destination are one registry; give a prefix or a rename rule",
        ),
        (["sync", "https://quay.io", "h.example.com"], "write it without https://"),
        (["copy", "quay.io", "h.example.com"], "names no image"),
        (
            ["sync", "quay.io", "h.example.com", "--concurrency", "0"],
            "--concurrency: '0' is out of range",
        ),
        (
            ["sync", "quay.io", "h.example.com", "--platform", "amd64"],
            "--platform: 'amd64' is not a platform",
        ),
        (
            ["sync", "quay.io", "h.example.com", "--dry-run", "--report", "r.csv"],
            "--dry-run writes nothing",
        ),
        (
            ["copy", "quay.io/a:v1", "h.example.com/b", "--rename", "a=c"],
            "what the image is called is said by DST",
        ),
        (
            ["sync", "quay.io", "h.example.com", "--report", "r.txt"],
            "must end in .csv, .json or .parquet",
        ),
        (["sync", "ecr:latest", "h.example.com"], "write ecr:REGION"),
    ],
)
def test_bad_input_gets_one_line(dth: Dth, arguments: list[str], says: str) -> None:
    assert says in one_line(dth.here("ecr", *arguments), 2)


def test_a_registry_that_is_not_there(dth: Dth, there: RegistryServer, secrets: list[str]) -> None:
    said = one_line(dth.run("ecr", "sync", "127.0.0.1:9", there.host, *secrets), 1)
    assert said == (
        "source: no server takes connections at 127.0.0.1:9; see that its name is right and that it "
        "can be reached from here"
    )


def test_a_registry_with_tls_where_none_is_expected(dth: Dth, there: RegistryServer) -> None:
    with RegistryServer(tls=True) as tls:
        said = one_line(dth.run("ecr", "copy", f"{tls.host}/a:v1", there.host), 1)
    assert said.startswith(f"source: {tls.host} speaks https only; leave out plain HTTP for it;")


def test_a_hub_does_it(dth: Dth, hub: Hub, here: RegistryServer, there: RegistryServer) -> None:
    fill(here)
    hub.keep_secret("registry", username=USER, password=PASSWORD)
    token = hub.call('mutation { createToken(name: "cli", role: operator) { token } }')["token"]
    dth.env["DTH_TOKEN"] = token
    options = ["--src-secret", "registry", "--dst-secret", "registry", "--hub", hub.url]
    report = dth.home / "images.csv"
    done = dth.run("ecr", "sync", here.host, there.host, *options, "--report", report)
    assert done.code == 0, done
    assert "4 listed, 0 same, 4 transferred" in done.out
    rows = list(csv.DictReader(report.read_text().splitlines()))
    assert len(rows) == 4
    copied = next(row for row in rows if row["image"] == "team/a:v1")
    assert copied["status"] == "DONE"
    assert copied["dest_digest"] == here.digest("team/a", "v1")
    assert there.digest("team/a", "v1") == here.digest("team/a", "v1")
