"""An ECR task's parameters keep the names, defaults and values that existing tasks use, and say
what is wrong."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from pydantic import ValidationError

from dth.core.errors import UsageError
from dth.core.parameters import options
from dth.hub import parameters
from dth.hub.schedule import Schedule
from dth.images.parameters import EcrParameters, missing
from dth.images.patterns import Choice, Patterns
from dth.images.registry.control import Mutability, RepositoryTemplate, TagRule
from dth.images.registry.reference import Reference
from dth.images.renames import Renames
from dth.images.selection import Wanted, read_image_list

# What carries over from tasks of the AWS solution: name, default, and the allowed values where they
# are listed.
KEPT: list[tuple[str, Any, list[str]]] = [
    ("sourceType", "Amazon_ECR", ["Amazon_ECR", "Public"]),
    ("srcRegion", "", []),
    ("srcAccountId", "", []),
    ("srcList", "ALL", ["ALL", "SELECTED"]),
    ("srcImageList", "", []),
    ("srcCredential", "", []),
    ("destRegion", "", []),
    ("destAccountId", "", []),
    ("destPrefix", "", []),
    ("destCredential", "", []),
    ("includeUntagged", True, []),
    ("ecsClusterName", "", []),
    ("ecsVpcId", "", []),
    ("ecsSubnetA", "", []),
    ("ecsSubnetB", "", []),
    ("alarmEmail", "", []),
]
GROUPS = ("source", "destination", "comparison", "engine", "schedule", "compatibility")
FIELDS = {str(field.alias): field for field in EcrParameters.model_fields.values()}
SHA = f"sha256:{'a' * 64}"


def read(**given: Any) -> EcrParameters:
    return EcrParameters.model_validate(given, by_alias=True, by_name=False)


@pytest.mark.parametrize(("name", "default", "values"), KEPT)
def test_names_defaults_and_values_are_kept(name: str, default: Any, values: list[str]) -> None:
    assert FIELDS[name].default == default
    for value in values:
        images = (
            {"srcList": "SELECTED", "srcImageList": "a"} if value in ("Public", "SELECTED") else {}
        )
        assert read(**{**images, name: value}).model_dump(mode="json", by_alias=True)[name] == value


@pytest.mark.parametrize("name", FIELDS)
def test_every_parameter_is_described(name: str) -> None:
    field = FIELDS[name]
    assert field.title
    assert field.description
    assert field.description.endswith((".", ";"))
    assert field.json_schema_extra["group"] in GROUPS  # type: ignore[index, call-overload]


def test_options_are_each_one() -> None:
    names = [
        name
        for _, field in options(EcrParameters)
        for name in field.json_schema_extra["cli"].split("/")
    ]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"--[a-z][a-z-]+", name) for name in names)


def test_the_hub_makes_a_form_of_it() -> None:
    form = {field["name"]: field for field in parameters.form("ECR")}
    assert set(form) == set(FIELDS)
    assert form["srcList"]["kind"] == "choice"
    assert form["srcList"]["allowed"] == ["ALL", "SELECTED"]
    assert form["includeUntagged"]["default"] == "true"
    assert form["renameRules"]["kind"] == "list"
    assert (form["maxConcurrency"]["default"], form["maxConcurrency"]["minimum"]) == ("10", 1)
    assert (form["newestTags"]["kind"], form["newestTags"]["default"]) == ("number", "")
    assert form["destTagMutability"]["default"] == "MUTABLE"
    given = {
        "srcRegion": "a",
        "renameRules": "a=b\nc/*=d/*",
        "pushedSince": "7d",
        "includeUntagged": "false",
    }
    found = parameters.read_parameters("ECR", given)
    assert found.rename_rules == ("a=b", "c/*=d/*")
    assert not found.include_untagged
    with pytest.raises(UsageError, match="srcAccountId"):
        parameters.read_parameters("ECR", {"srcAccountId": "12"})


def test_defaults() -> None:
    found = read()
    assert (found.max_concurrency, found.retries) == (10, 3)
    assert found.template == RepositoryTemplate()
    schedule = Schedule.parse(found.ec2_cron_expression)
    first = schedule.next_after(1_750_000_000)
    assert first is not None
    assert first % 86400 == 0
    assert schedule.next_after(first) == first + 86400


def test_values() -> None:
    found = read(
        destTagMutability="IMMUTABLE_WITH_EXCLUSION",
        destMutabilityExclusions=["latest"],
        destScanOnPush="true",
        destKmsKey="key",
        destRepositoryTags=["a=b=c", "d="],
        pushedSince="7d",
        platforms=["linux/amd64", "linux/arm/v7"],
        destPrefix="/mirror/",
    )
    rule = TagRule(Mutability.IMMUTABLE_WITH_EXCLUSION, ("latest",))
    assert found.template == RepositoryTemplate(rule, True, "key", (("a", "b=c"), ("d", "")))
    assert found.pushed_since is not None
    assert abs(found.pushed_since - (time.time() - 7 * 86400)) < 5
    assert found.dest_prefix == "mirror"
    assert read(pushedSince="2026-01-31").pushed_since == 1769817600


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"srcList": "SELECTED"}, "srcImageList names no image"),
        ({"sourceType": "Public"}, "public registries cannot be listed"),
        ({"srcList": "SELECTED", "srcImageList": "A"}, "capital letters"),
        ({"srcList": "SELECTED", "srcImageList": "a:b:c"}, "is not a tag"),
        ({"srcRegistry": "quay.io"}, "srcRegistry is not for Amazon ECR"),
        ({"destRegistry": "quay.io"}, "destRegistry is not for Amazon ECR"),
        (
            {"sourceType": "Registry", "srcRegistry": "https://quay.io"},
            "is not the name of a registry",
        ),
        (
            {
                "sourceType": "Public",
                "srcList": "SELECTED",
                "srcImageList": "a",
                "srcCredential": "s",
            },
            "need no credent",
        ),
        (
            {
                "sourceType": "Public",
                "srcList": "SELECTED",
                "srcImageList": "a",
                "srcRegistry": "quay.io",
            },
            "name their registry themselves",
        ),
        ({"destPrefix": "A"}, "capital letters"),
        ({"renameRules": ["a"]}, "write old=new"),
        ({"includeTags": ["regex:("]}, "cannot be read"),
        ({"excludeTags": ["[a"]}, r"\[ without \]"),
        ({"platforms": ["linux"]}, "is not a platform"),
        ({"destRepositoryTags": ["a"]}, "key=value"),
        ({"destTagMutability": "MUTABLE_WITH_EXCLUSION"}, "has none"),
        ({"destMutabilityExclusions": ["a"]}, "needs a destTagMutability"),
        ({"pushedSince": "soon"}, "neither a date"),
        ({"newestTags": 0}, "greater than or equal to 1"),
        ({"maxConcurrency": 0}, "greater than or equal to 1"),
        ({"alarmEmail": "x"}, "match pattern"),
        ({"srcBucket": "x"}, "Extra inputs"),
        ({"src_region": "x"}, "Extra inputs"),
    ],
)
def test_what_is_wrong_is_told(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        read(**given)


def test_what_a_side_cannot_do_without() -> None:
    assert missing(read(), "source") == ["srcRegion"]
    assert missing(read(), "destination") == ["destRegion"]
    registries = read(sourceType="Registry", destType="Registry")
    assert missing(registries, "source") == []
    assert missing(registries, "destination") == ["destRegistry"]
    assert missing(read(srcRegion="eu-west-1", destRegion="cn-north-1"), "source") == []


# ----------------------------------------------------------------------------------------- patterns


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("v1.*", ["v1.0", "v1."], ["v10", "xv1.0"]),
        ("team/*", ["team/a"], ["team/a/b", "team", "x/team/a"]),
        ("team/**", ["team/a", "team/a/b"], ["teams/a"]),
        ("a?c", ["abc"], ["ac", "a/c"]),
        ("[a-c]x", ["ax"], ["dx"]),
        ("[!a-c]x", ["dx"], ["ax"]),
        ("[]]", ["]"], ["["]),
        (r"regex:v\d+", ["v1", "v12"], ["v", "v1.0"]),
        ("regex:(?i)A", ["a", "A"], ["b"]),
        (r"regex:(a)\1|b", ["aa", "b"], ["a"]),
        ("regex", ["regex"], ["regex:"]),
    ],
)
def test_patterns(pattern: str, matching: list[str], others: list[str]) -> None:
    patterns = Patterns(["(none)", pattern])
    assert [name for name in matching + others if patterns.match(name)] == matching


def test_choices() -> None:
    assert not Choice()
    assert Choice().takes("anything")
    choice = Choice(("v*", "latest"), ("*-rc*",))
    assert choice
    assert [tag for tag in ("v1", "v1-rc1", "latest", "x") if choice.takes(tag)] == ["v1", "latest"]
    assert Choice(exclude=("x",)).takes("y")


# ------------------------------------------------------------------------------------------ renames


@pytest.mark.parametrize(
    ("rules", "prefix", "name", "expected"),
    [
        ([], "", "a/b", "a/b"),
        ([], "mirror", "a/b", "mirror/a/b"),
        ([], "/x/y/", "a", "x/y/a"),
        (["a=b"], "", "a", "b"),
        (["a=b"], "", "a/b", "a/b"),
        (["team/*=ours/*"], "", "team/x/y", "ours/x/y"),
        (["team/*=all"], "p", "team/x", "p/all"),
        (["*=x/*"], "", "a/b", "x/a/b"),
        (["a*=b*", "ab=c"], "", "ab", "bb"),  # the first that fits, and no other
        (["a = b", "b = c"], "", "a", "b"),
    ],
)
def test_names_at_the_destination(rules: list[str], prefix: str, name: str, expected: str) -> None:
    assert Renames(rules, prefix).dest(Reference("quay.io", name, "v1"), "there") == Reference(
        "there", expected, "v1"
    )


def test_official_images_are_named_as_people_name_them() -> None:
    assert (
        Renames(prefix="p").dest(Reference("docker.io", "library/nginx"), "there").repository
        == "p/nginx"
    )
    assert (
        Renames(["nginx=web"]).dest(Reference("docker.io", "library/nginx"), "there").repository
        == "web"
    )
    assert (
        Renames().dest(Reference("quay.io", "library/nginx"), "there").repository == "library/nginx"
    )


@pytest.mark.parametrize(
    "rule", ["a", "=b", "a=", "a*b=c", "a=b*", "A=b", "a=B", "a//=b", "a*=B*", "*=*a"]
)
def test_rules_that_cannot_be_read(rule: str) -> None:
    with pytest.raises(UsageError):
        Renames([rule])


def test_names_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="cannot be renamed"):
        Renames(["a*=b/*"]).dest(Reference("quay.io", "a"), "there")


# -------------------------------------------------------------------------------------- image lists


def test_an_image_list() -> None:
    text = f"nginx, quay.io/a/b:1\n\nhost:5000/c:ALL_TAGS,\tdocker.io/x/y@{SHA},nginx:latest"
    assert read_image_list(text) == [
        Wanted(Reference("docker.io", "library/nginx", "latest")),
        Wanted(Reference("quay.io", "a/b", "1")),
        Wanted(Reference("host:5000", "c"), True),
        Wanted(Reference("docker.io", "x/y", "", SHA)),
    ]
    assert read_image_list("a.b/c:1,d:ALL_TAGS", "host") == [
        Wanted(Reference("host", "a.b/c", "1")),
        Wanted(Reference("host", "d"), True),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no image"),
        (" ,\n", "no image"),
        (f"a:ALL_TAGS@{SHA}", "all tags, or one digest"),
        ("a:!", "'a:!' names no image"),
    ],
)
def test_lists_that_are_none(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        read_image_list(text)
