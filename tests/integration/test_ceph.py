"""What only a real Ceph shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engine import MIB, PARTED_OPTIONS, Dth, Side, between, blob, bodies

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.ceph import Ceph

pytestmark = pytest.mark.xdist_group("ceph")


def test_from_ceph_to_ceph(ceph: Ceph, tmp_path: Path) -> None:
    source, dest = Side(ceph, ceph.bucket("source")), Side(ceph, ceph.bucket("destination"))
    source.put(bodies(["one", "two/three", "a b+\u00e9"]))
    source.put({"in parts": blob(11 * MIB)})

    dth = Dth(tmp_path)
    secret = dth.secret("ceph", ceph.access_key, ceph.secret_key)
    keys = ("--src-secret", secret, "--dst-secret", secret)
    assert (
        dth.sync(source, dest, *keys, *PARTED_OPTIONS, "--no-server-side-copy")["transferred"] == 4
    )
    assert dest.contents() == source.contents()
    assert dest.etags()["in parts"].endswith("-3")

    found = dth.run("s3", "diff", *between(source, dest), *keys, "--json")
    assert (found.code, found.json["equal"]) == (0, True), found
