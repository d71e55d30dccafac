"""Patterns as they are documented, and the other conditions."""

import pytest

from dth.core.errors import UsageError
from dth.objects.listing.filters import Filter, aged, aws_rules, build, rclone_rules
from dth.objects.listing.pages import ListedObject


def keeps(
    wanted: Filter, key: str, size: int = 1, modified: str = "", storage_class: str = ""
) -> bool:
    test = build(wanted, "data/")
    assert test is not None
    return test(ListedObject("data/" + key, size, "x", modified, storage_class))


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("*.jpg", ["a.jpg", "x/y/a.jpg", ".jpg"], ["a.jpgx", "a.jpg/b"]),
        ("/*.jpg", ["a.jpg"], ["x/a.jpg"]),
        ("a?c", ["abc", "x/abc"], ["ac", "a/c", "abbc"]),
        ("logs/**", ["logs/", "logs/a/b", "x/logs/a"], ["logs", "mylogs/a"]),
        ("logs/", ["logs/a/b", "x/logs/a", "logs/"], ["logs", "logsx/a"]),
        ("/a/**/z", ["a/b/z", "a/b/c/z"], ["a/z", "x/a/b/z"]),
        ("/a**z", ["az", "a/b/z"], ["a/b/zz/y"]),
        ("[a-c]x", ["ax", "q/bx"], ["dx", "abx"]),
        ("[!a-c]x", ["dx"], ["ax", "x"]),
        ("/[^a]x", ["bx"], ["ax", "/x"]),
        ("[]]", ["]"], ["["]),
        ("*.{jpg,p?g}", ["a.jpg", "a.png"], ["a.gif", "a.pg"]),
        ("{a,{b,c}/}d", ["ad", "b/d", "c/d"], ["bd", "d/"]),
        (r"\*", ["*"], ["a"]),
        ("a.b", ["a.b"], ["axb"]),
        ("a\nb", ["a\nb"], ["ab"]),
        ("日*", ["日本", "x/日"], ["本日"]),
        ("a,b}", ["a,b}"], ["a"]),
    ],
)
def test_patterns(pattern: str, matching: list[str], others: list[str]) -> None:
    for key in matching:
        assert keeps(Filter(include=(pattern,)), key), key
        assert not keeps(Filter(exclude=(pattern,)), key), key
    for key in others:
        assert not keeps(Filter(include=(pattern,)), key), key
        assert keeps(Filter(exclude=(pattern,)), key), key


@pytest.mark.parametrize("pattern", ["[a", "{a,b", "[z-a]", "{a,{b}"])
def test_patterns_that_cannot_be_read_are_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match=r"^The pattern .* cannot be read"):
        build(Filter(include=(pattern,)))


def test_exclude_wins() -> None:
    wanted = Filter(include=("*.txt", "*.md"), exclude=("/tmp/",))
    assert keeps(wanted, "a.txt")
    assert keeps(wanted, "x/tmp/a.md")
    assert not keeps(wanted, "tmp/a.txt")
    assert not keeps(wanted, "a.jpg")


def test_no_filter_costs_nothing() -> None:
    assert build(Filter(), "data/") is None


def test_sizes_times_and_classes() -> None:
    sizes = Filter(min_size=2, max_size=3)
    assert [keeps(sizes, "a", size) for size in (1, 2, 3, 4)] == [False, True, True, False]
    assert not keeps(Filter(max_size=0), "a", 1)
    times = Filter(modified_since="2024-01-01T00:00:00", modified_before="2024-02-01T00:00:00")
    assert keeps(times, "a", modified="2024-01-01T00:00:00")
    assert not keeps(times, "a", modified="2024-02-01T00:00:00")
    assert not keeps(times, "a", modified="2023-12-31T23:59:59")
    assert keeps(times, "a", modified="")
    classes = Filter(storage_classes=frozenset({"STANDARD"}))
    assert [keeps(classes, "a", storage_class=c) for c in ("", "STANDARD", "GLACIER")] == [
        True,
        True,
        False,
    ]


def test_folder_markers_are_objects_like_others() -> None:
    assert keeps(Filter(exclude=("*.tmp",)), "folder/", size=0)


def test_ages() -> None:
    assert aged(3600, now=86400.0 * 365) == "1970-12-31T23:00:00"


@pytest.mark.parametrize(
    ("rules", "passing"),
    [
        (("- *.tmp",), {"a.jpg", "x/b.jpg", "x/y/c.jpg"}),
        (("+ x/y/", "- x/", "- *.tmp"), {"a.jpg", "x/y/c.jpg", "x/y/d.tmp"}),
        (("+ *.jpg", "- **"), {"a.jpg", "x/b.jpg", "x/y/c.jpg"}),
        (rclone_rules(["/x/**"], ["*.tmp"]), {"x/b.jpg", "x/y/c.jpg", "x/y/d.tmp"}),
        (rclone_rules([], ["*.jpg"]), {"x/y/d.tmp", "e.tmp"}),
        (aws_rules([(False, "*"), (True, "*.jpg")]), {"a.jpg", "x/b.jpg", "x/y/c.jpg"}),
        (aws_rules([(True, "*.jpg"), (False, "*")]), set()),
        (aws_rules([(False, "x/*"), (True, "x/?/c.jpg")]), {"a.jpg", "x/y/c.jpg", "e.tmp"}),
        (aws_rules([(False, "*.tmp")]), {"a.jpg", "x/b.jpg", "x/y/c.jpg"}),
        (aws_rules([(False, "x?b.jpg")]), {"a.jpg", "x/y/c.jpg", "x/y/d.tmp", "e.tmp"}),
    ],
)
def test_the_first_rule_that_matches_decides(rules: tuple[str, ...], passing: set[str]) -> None:
    keys = ["a.jpg", "x/b.jpg", "x/y/c.jpg", "x/y/d.tmp", "e.tmp"]
    test = build(Filter(rules=rules), "in/")
    assert test is not None
    assert {key for key in keys if test(ListedObject(f"in/{key}", 1))} == passing


@pytest.mark.parametrize("rule", ["*.jpg", "+*.jpg", "+", "! *"])
def test_a_rule_that_cannot_be_read_is_refused(rule: str) -> None:
    with pytest.raises(UsageError, match="cannot be read: write"):
        build(Filter(rules=(rule,)))
