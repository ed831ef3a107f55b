"""What `envtool cache` finds: set-up, numbers, and what is under the tags."""

from __future__ import annotations

import os

import pytest

from envtool.app.command_request import CommandRequest
from envtool.app.team_cache import cache_key
from envtool.errors import FetchError, StoreError, UsageError
from envtool.model import TeamCache, Where
from envtool.teamcache import signatures, status

from .conftest import OTHER, PRIVATE

HERE = Where(file="envtool.yaml", line=2, column=1)


@pytest.fixture
def look(memory, store, trusted, monkeypatch):

    class Client:
        def __init__(self, **_):
            self.find = memory.find

        def tags(self, reference):
            if "tags" in memory.fails:
                raise memory.fails["tags"]
            return [*memory.tags]

    monkeypatch.setattr(status, "RegistryClient", Client)

    def look(environ=None, *, in_ci=False, offline=False, **team):
        about = {"registry": "reg.example/x", "where": HERE, "trust": (trusted,), "push": "ci", **team}
        return status.collect_status(
            TeamCache(**about), store, environ or {}, project="/p", in_ci=in_ci, offline=offline
        )

    return look


def test_what_is_there(memory, put, look, stranger):
    put(b"good")
    put(b"evil", key="b" * 64, by=stranger)
    put(b"result", key="c" * 64, sort="result")
    put(b"lone", key="d" * 64, ids="single")
    memory.tags["latest"] = b"{}"
    memory.tags["l-" + "e" * 64] = b"no manifest"
    shown = look()
    found = {item.key[0]: (item.sort, item.size, item.refused) for item in shown.items}
    assert found["a"] == ("layer", 4, "")
    assert found["b"][:2] == ("layer", 4)
    assert "does not list" in found["b"][2]
    assert found["c"] == ("result", 6, "")
    assert found["d"] == ("layer", 4, "")
    assert found["e"] == ("layer", 0, "it is not signed")
    assert shown.others == 1


def test_who_pushes_and_why_not(look, signer, stranger, trusted):

    assert look().pushing == "`push: ci`, and CI is not set"
    assert look(in_ci=True).pushing == "ENVTOOL_CACHE_KEY is not set"
    assert look({"ENVTOOL_CACHE_KEY": PRIVATE}, in_ci=True).pushing == ""
    assert look({"ENVTOOL_CACHE_KEY": OTHER}, in_ci=True).pushing == "`trust:` does not list the signing key"
    assert look(push="never").pushing == "the spec has no `push:`"
    assert "ENVTOOL_CACHE_KEY" in look({"ENVTOOL_CACHE_KEY": "/nowhere"}).pushing
    assert look().trust == ((signatures.fingerprint(trusted), "ci@example"),)


def test_a_registry_that_is_away_is_said(memory, look):
    memory.fails["tags"] = FetchError("no answer", code="fetch-unreachable")
    shown = look()
    assert shown.items is None
    assert shown.problem == "no answer"


def test_offline_asks_nobody(memory, look):
    memory.fails["tags"] = AssertionError("asked")
    assert look(offline=True).items is None


# ---- keys ------------------------------------------------------------------------------------------------------------


def test_a_key_is_made_once_and_readable_by_its_owner_alone(tmp_path):
    file = tmp_path / "key"
    made = cache_key(CommandRequest(), str(file))
    assert os.stat(file).st_mode & 0o777 == 0o600
    assert signatures.find_signer({"ENVTOOL_CACHE_KEY": str(file)}).public == signatures.strip_comment(made.public)
    with pytest.raises(UsageError, match="is there already"):
        cache_key(CommandRequest(), str(file))


@pytest.mark.parametrize("mark", ["envtool.yaml", ".git"])
def test_no_key_is_put_into_a_project(tmp_path, mark):
    (tmp_path / mark).touch()
    (tmp_path / "sub").mkdir()
    with pytest.raises(UsageError, match="inside the project"):
        cache_key(CommandRequest(directory=str(tmp_path)), "sub/key")
    assert not (tmp_path / "sub/key").exists()


def test_without_a_file_the_key_that_is_there_is_told(monkeypatch, tmp_path):
    monkeypatch.delenv("ENVTOOL_CACHE_KEY", raising=False)
    with pytest.raises(UsageError):
        cache_key(CommandRequest(), "")
    private, public = signatures.generate()
    monkeypatch.setenv("ENVTOOL_CACHE_KEY", private)
    assert cache_key(CommandRequest(), "").public == public


def test_a_place_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "nowhere").write_text("a file")
    with pytest.raises(StoreError):
        cache_key(CommandRequest(), str(tmp_path / "nowhere/key"))
