from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import jsonschema_rs
import pytest

from envtool.api import Request, SpecError, Unpack, Where
from envtool.kinds.tarball import Tarball
from envtool.testing import MemorySite

HASH = "AB" * 32


def request(**options):
    where = Where(file="envtool.yaml", line=3, column=5)
    return Request(name="t", options=options, inputs=(), where=where, arch="x86_64", epoch=0)


def test_an_url_is_fetched_by_its_hash_and_unpacked_with_owners():
    asked = request(url="http://x.invalid/rootfs.tar.xz?v=1", sha256=HASH, strip=1)
    pins = Tarball().resolve(asked, SimpleNamespace(project=Path("/p")))
    (fetch,) = Tarball().fetches(asked, pins)
    assert (fetch.name, fetch.sha256) == ("root.tar.xz", HASH.lower())
    assert Tarball().build(asked, pins).steps == (Unpack(name="root.tar.xz", target="/", strip=1, owners=True),)


def test_a_file_of_the_project(tmp_path):
    (tmp_path / "root.tgz").write_bytes(b"")
    asked = request(path="root.tgz", sha256=HASH)
    pins = Tarball().resolve(asked, MemorySite(project=str(tmp_path)))
    assert pins == {"path": "root.tgz", "sha256": HASH.lower()}  # true in every checkout
    (fetch,) = Tarball().fetches(asked, pins)
    assert fetch.url == ""
    (found,) = Tarball().locate(asked, pins, [fetch], MemorySite(project=str(tmp_path)))
    assert found.url == f"file://{tmp_path}/root.tgz"
    (tmp_path / "root.tgz").unlink()
    with pytest.raises(SpecError) as caught:
        Tarball().resolve(asked, MemorySite(project=str(tmp_path)))
    assert caught.value.problems[0].message == "there is no file `root.tgz`"


def test_where_it_is_does_not_matter_to_the_key():
    one, two = request(url="http://x.invalid/a.tar", sha256=HASH), request(path="a.tar", sha256=HASH)
    assert Tarball().material(one, None) == Tarball().material(two, None)


def test_the_schema_wants_one_place_and_a_hash():
    validator = jsonschema_rs.validator_for(Tarball.schema)
    assert validator.is_valid({"url": "https://x.invalid/a.tar", "sha256": HASH})
    for bad in ({"sha256": HASH}, {"url": "http://x"}, {"url": "http://x", "path": "p", "sha256": HASH}, "a.tar"):
        assert not validator.is_valid(bad)
