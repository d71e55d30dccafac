"""What a process that works for the users of a hub may use of its machine, and who says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dth.compose.local.server import Settings
from dth.core import confinement
from dth.core.confinement import Confinement, _State
from dth.core.errors import UsageError
from dth.core.network import Network
from dth.core.parameters import check_confined
from dth.images.registry.saved_logins import KeptLogin
from dth.objects.listing.lists import listed_object, local_list
from dth.objects.parameters import S3Parameters
from dth.objects.store.credentials import CredentialSource, resolve_credentials
from dth.platforms.aws.confined import confine_by_environment

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    return tmp_path / "hub.yaml"


def read(settings: Path, text: str) -> Confinement:
    settings.write_text(text)
    return Settings.read(settings).confinement


def test_a_hub_of_one_machine_lists_nothing_and_connects_within_its_networks(
    settings: Path,
) -> None:
    found = Settings.read(settings).confinement
    assert (found.ca_bundles, found.aws_profiles) == ({}, frozenset())
    assert found.network == Network(loopback=True, private=True)


def test_what_an_administrator_lists(settings: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.pem"
    file.touch()
    found = read(
        settings,
        f"ca_bundles: {{own: {file}}}\naws_profiles: [backup]\nnetwork: {{allow: [private]}}\n",
    )
    assert found == Confinement(
        {"own": str(file)}, frozenset({"backup"}), network=Network(private=True)
    )
    assert read(settings, "network: {allow: []}").network == Network()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ca_bundles: [own]", "ca_bundles: names with a file each"),
        ("ca_bundles: {own: 1}", "ca_bundles: names with a file each"),
        ("ca_bundles: {own: own.pem}", "ca_bundles: own: 'own.pem' is not the path of a file"),
        (
            "ca_bundles: {own: /not/there.pem}",
            "ca_bundles: own: '/not/there.pem' is not the path of a file",
        ),
        ("ca_bundles: {/etc/own: /etc/hostname}", "ca_bundles: '/etc/own' is not a name"),
        ("aws_profiles: backup", "aws_profiles: a list of names"),
        ("aws_profiles: ['']", "aws_profiles: a list of names"),
        ("folders: /srv", "folders: a list of folders"),
        ("folders: [srv]", "folders: 'srv' is not the path of a folder"),
        ("folders: [/not/there]", "folders: '/not/there' is not the path of a folder"),
        ("network: [loopback]", "network: it has allow and nothing else"),
        ("network: {allow: all}", "network: allow: a list is needed"),
        (
            "network: {allow: [169.254.169.254, everything]}",
            "network: allow: 'everything' is none of",
        ),
        ("network: {deny: []}", "network: it has allow and nothing else"),
        (
            "networks: {allow: []}",
            (
                "there is no setting networks; only issuer, smtp, bounds, prices, ca_bundles, "
                "aws_profiles, folders, network may be set"
            ),
        ),
    ],
)
def test_a_slip_in_the_settings_is_told(settings: Path, text: str, why: str) -> None:
    settings.write_text(text)
    with pytest.raises(UsageError) as refused:
        Settings.read(settings)
    assert f"{settings}: {why}" in str(refused.value)


def test_on_aws_the_environment_says_where_to_connect_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_State, "confinement", None)
    confine_by_environment({})
    assert confinement.confinement() == Confinement()
    confine_by_environment({"DTH_ALLOWED_NETWORKS": "private, 127.0.0.2/32"})
    assert confinement.network() == Network.read(["private", "127.0.0.2/32"])


def test_a_command_names_files_and_profiles_as_it_likes(tmp_path: Path) -> None:
    listed = tmp_path / "list"
    listed.touch()
    check_confined(
        S3Parameters(src_manifest=str(listed), src_ca_bundle="/x.pem", src_profile="any")
    )
    assert local_list(str(listed)) == listed
    assert confinement.ca_file("/x.pem") == "/x.pem"
    assert confinement.foreign("words") == "words"


def test_a_confined_process_opens_no_list_whatever_it_is_called(
    tmp_path: Path, confined: None
) -> None:
    listed = tmp_path / "list"
    listed.touch()
    assert local_list(str(listed)) is None
    assert listed_object(str(listed), "bucket") == ("bucket", str(listed))
    assert confinement.foreign("words") == ""


@pytest.mark.parametrize(
    "value", ["lists/a.csv", "s3://bucket/a/../b.csv", "a", "s3://b-1.x/k", "..csv", "@x", "a:b"]
)
def test_names_of_objects_are_taken(value: str, confined: None) -> None:
    check_confined(S3Parameters(src_manifest=value))


@pytest.mark.parametrize(
    "value",
    ["/etc/passwd", "~/x", "~root/x", "./x", "../x", "..", ".", "-", "file:///x", "file:/x",
    "FILE://x", "S3://b/k",
     "https://h/x", "s3://", "s3://bucket", "s3://bucket/", "s3:///etc/passwd", "s3://../x",
     "s3://h#/x", "s3://u@h/x",
     "s3://h:80/x"],
)  # fmt: skip
def test_paths_and_what_leads_elsewhere_are_not(value: str, confined: None) -> None:
    for name in ("src_manifest", "src_inventory", "src_prefixs_list_file"):
        parameters = S3Parameters.model_validate({name: value})
        with pytest.raises(UsageError, match="is not a valid name of an object"):
            check_confined(parameters)


def profiles(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / "credentials"
    keys = "aws_access_key_id = {0}\naws_secret_access_key = {0}\n"
    file.write_text(f"[default]\n{keys.format('DEFAULT')}[listed]\n{keys.format('LISTED')}")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))


class _NoSecrets:
    def read(self, name: str) -> str:
        raise UsageError(name)


async def access(**source: Any) -> str:
    found = await resolve_credentials(CredentialSource(**source), _NoSecrets()).keys()
    return found.access if found else ""


async def test_no_profile_is_used_that_nobody_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiles(tmp_path, monkeypatch)
    assert await access() == "DEFAULT"
    monkeypatch.setattr(_State, "confinement", Confinement(aws_profiles=frozenset({"listed"})))
    assert await access(profile="listed") == "LISTED"
    with pytest.raises(UsageError, match="'default' is not an AWS profile of this hub"):
        await access(profile="default")
    with pytest.raises(Exception, match="no credentials"):
        await access()
    # Who starts the hub may choose one for all tasks.
    monkeypatch.setenv("AWS_PROFILE", "listed")
    assert await access() == "LISTED"


async def test_nobody_uses_what_was_signed_in_with_on_the_machine_of_a_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "auth.json"
    file.write_text('{"auths": {"quay.io": {"auth": "bWU6cGFzc3dvcmQ="}}}')
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(file))
    assert await KeptLogin("quay.io").get()
    monkeypatch.setattr(_State, "confinement", Confinement())
    assert await KeptLogin("quay.io").get() is None
