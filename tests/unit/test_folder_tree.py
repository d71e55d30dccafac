"""How a folder is listed, and which keys it takes as paths."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dth.core.errors import ObjectRefused
from dth.objects.store.folders.paths import Root, names_of
from dth.objects.store.folders.store import _seconds, _time_of
from dth.objects.store.folders.tree import LINK, LOOP, SPECIAL, Tree

# Few letters, so that names are often beginnings of others; some on either side of the slash.
NAME = st.text(alphabet="ab-0 +%\u00e9\uffff\U00010000", min_size=1, max_size=3).filter(
    lambda n: n.strip(".")
)
PATH = st.lists(NAME, min_size=1, max_size=4).map("/".join)


def make(root: str, paths: set[str]) -> set[str]:
    """Makes those files that can be beside each other. Returns their keys."""
    made = set()
    for path in sorted(paths):
        try:
            (Path(root) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(root) / path).touch()
        except (FileExistsError, NotADirectoryError):
            continue
        if (Path(root) / path).is_file():
            made.add(path)
    return made


def tree(root: str, *, follow: bool = False) -> Tree:
    return Tree(root, follow=follow)


@given(st.sets(PATH, max_size=20), PATH, st.integers(1, 5), st.booleans())
def test_the_order_is_that_of_a_store_from_any_key_on(
    paths: set[str], other: str, limit: int, again: bool
) -> None:
    with tempfile.TemporaryDirectory() as root:
        keys = make(root, paths)
        wanted = sorted(key for key in keys)
        one = tree(root)
        assert [found.key for found in one.walk()] == wanted
        for after in (*wanted[:3], other, other + "/"):
            assert [found.key for found in one.walk("", after)] == [
                key for key in wanted if key > after
            ]
        pages: list[str] = []
        after, more = "", True
        while more:
            # A page that goes on from where the walk was, and one that begins anew, are the same.
            found, more = (tree(root) if again else one).page("", after, limit, flat=False)
            pages += [each.key for each in found]
            after = pages[-1] if pages else ""
        assert pages == wanted


@given(st.sets(PATH, max_size=20), st.text(alphabet="ab-/", max_size=4))
def test_a_prefix_is_the_beginning_of_a_key(paths: set[str], prefix: str) -> None:
    with tempfile.TemporaryDirectory() as root:
        keys = make(root, paths)
        found = [each.key for each in tree(root).walk(prefix)]
        assert found == sorted(key for key in keys if key.startswith(prefix) and "//" not in prefix)


def test_names_that_are_no_utf8_are_listed_in_the_order_of_their_text(tmp_path: Path) -> None:
    names = [b"a\xff", b"a\xc3\xa9", b"a", b"a\xef\xbf\xbf"]
    for name in names:
        (tmp_path / os.fsdecode(name)).touch()
    assert [each.key for each in tree(str(tmp_path)).walk()] == sorted(map(os.fsdecode, names))


def test_one_level_shows_its_folders(tmp_path: Path) -> None:
    make(str(tmp_path), {"a-b", "a/b/c", "b"})
    found = tree(str(tmp_path)).walk(flat=True)
    assert [(each.key, each.state is None) for each in found] == [
        ("a-b", False),
        ("a/", True),
        ("b", False),
    ]


def test_an_empty_folder_is_an_object_whose_key_ends_in_a_slash(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "c").mkdir()
    assert [each.key for each in tree(str(tmp_path)).walk()] == ["a/b/", "c/"]
    assert [each.key for each in tree(str(tmp_path)).walk("", "a/b/")] == ["c/"]


def test_links_and_special_files_are_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "broken").symlink_to("nothing")
    os.mkfifo(tmp_path / "pipe")
    one = tree(str(tmp_path))
    assert [each.key for each in one.walk()] == ["file"]
    assert one.skipped == {LINK: 2, SPECIAL: 1}


def test_links_are_followed_if_asked_but_not_in_circles(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    (tmp_path / "folder" / "up").symlink_to("..")
    (tmp_path / "link").symlink_to("folder")
    one = tree(str(tmp_path), follow=True)
    assert [each.key for each in one.walk()] == ["folder/file", "link/file"]


def test_what_is_skipped_behind_a_link_that_leads_back_counts_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "here").symlink_to(".")
    one = tree(str(tmp_path), follow=True)
    assert [found.key for found in one.walk()] == ["file"]
    assert one.skipped == {SPECIAL: 1, LOOP: 1}


def test_what_a_killed_writer_left_is_never_listed_and_removed_if_asked(tmp_path: Path) -> None:
    for name in ("0" * 16 + ".part", "1" * 16 + ".upload"):
        (tmp_path / f".dth-{name}").touch()
    assert list(tree(str(tmp_path)).walk()) == []
    assert len(list(tmp_path.iterdir())) == 2
    one = tree(str(tmp_path))
    one.sweep = True
    assert list(one.walk()) == []
    # An upload in parts goes on after its process ended.
    assert [path.name for path in tmp_path.iterdir()] == [f".dth-{'1' * 16}.upload"]


@pytest.mark.parametrize(
    "key",
    [
        "../x",
        "a/../x",
        "/x",
        "a//b",
        "a/./b",
        "",
        ".",
        "a\0b",
        "x" * 256,
        "\u00e9" * 128,
        "a/",
        "..",
    ],
)
def test_keys_that_are_no_paths_are_refused(key: str) -> None:
    with pytest.raises(ObjectRefused):
        names_of(key)


@given(st.text(max_size=20))
def test_a_key_that_is_taken_stays_below_the_folder(key: str) -> None:
    try:
        names_of(key)
    except ObjectRefused:
        return
    assert os.path.normpath(f"/root/{key}") == f"/root/{key}"


def test_a_path_through_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "outside")
    root = Root(str(tmp_path / "root"))
    with (
        pytest.raises(ObjectRefused, match="symbolic link 'link'"),
        root.parent("link/x", make=True),
    ):
        pass
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_name_that_differs_only_in_case_is_refused_where_the_disk_folds_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Photos").mkdir()
    stat = os.stat

    def folding(name: str, **how: int) -> os.stat_result:
        names = os.listdir(how["dir_fd"]) if "dir_fd" in how else []  # noqa: PTH208 - of a descriptor
        there = {each.lower(): each for each in names}
        return stat(there.get(name.lower(), name), **how)

    monkeypatch.setattr(os, "stat", folding)
    root = Root(str(tmp_path))
    with root.parent("Photos/x", make=True):
        pass
    with (
        pytest.raises(ObjectRefused, match="differs only in case"),
        root.parent("photos/x", make=True),
    ):
        pass


@given(st.integers(-(2**31) * 10**9, (2**34 - 1) * 10**9))
def test_a_time_comes_back_to_the_nanosecond(nanoseconds: int) -> None:
    assert _time_of({"x-amz-meta-mtime": _seconds(nanoseconds)}) == nanoseconds


@pytest.mark.parametrize("text", ["", "x", "1e9", "nan", "99999999999999", "1;2", "--1"])
def test_a_time_that_cannot_be_right_is_left_out(text: str) -> None:
    assert _time_of({"x-amz-meta-mtime": text}) is None
