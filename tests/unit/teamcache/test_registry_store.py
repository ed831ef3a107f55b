"""What is in the registry, and all the ways in which it may not be used."""

from __future__ import annotations

import dataclasses
import json

import pytest

from envtool.errors import FetchError
from envtool.net.oci import reference
from envtool.teamcache import registry_store, signatures
from envtool.teamcache.statement import LAYER, RefusedStatement

WHERE = reference.parse_reference("reg.example/team/cache", tag="")
KEY = "a" * 64
TAG = f"l-{KEY}"


@pytest.fixture
def look(memory, trusted):
    def look(**more):
        asked = {"sort": LAYER, "key": KEY, "ids": "range", "trust": {signatures.strip_comment(trusted)}}
        found = registry_store.find_statement(memory, WHERE, **{**asked, **more})
        return found[0] if found else None

    return look


def refused(call, *args, **more) -> str:
    with pytest.raises(RefusedStatement) as caught:
        call(*args, **more)
    assert caught.value.why
    return caught.value.code


def test_what_was_put_is_found_and_taken(memory, put, look, tmp_path):
    statement = put(b"some blob")
    assert look() == statement
    registry_store.fetch_blob(memory, WHERE, statement, str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == b"some blob"


def test_it_is_an_image_of_one_layer(memory, put):
    statement = put(b"some blob")
    manifest = memory.manifest(TAG)
    assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert [layer["digest"] for layer in manifest["layers"]] == [statement.blob]
    config = json.loads(memory.blobs[manifest["config"]["digest"]])
    assert config["rootfs"]["diff_ids"] == [statement.diff_id]
    assert (config["architecture"], config["os"]) == ("amd64", "linux")


def test_the_manifest_comes_last(memory, put):
    put(b"some blob")
    assert [what for what, _ in memory.asked] == ["push", "push", "put"]


def test_nothing_is_none(look):
    assert look() is None


def test_one_id_and_many_are_apart(put, look):
    put(ids="single")
    assert look() is None
    assert look(ids="single").ids == "single"
    assert len(registry_store.statement_tag(LAYER, KEY, "single")) < 128


def change(memory, **annotations):
    manifest = memory.manifest(TAG)
    manifest["annotations"] |= annotations
    memory.tags[TAG] = json.dumps(manifest).encode()


def test_unsigned(memory, put, look):
    put()
    for name in (registry_store.SIGNATURE, registry_store.STATEMENT):
        manifest = memory.manifest(TAG)
        del manifest["annotations"][name]
        memory.tags[TAG] = json.dumps(manifest).encode()
        assert refused(look) == "unsigned"


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b'{"annotations": 3}', b"[" * 100_000, b"\xff"])
def test_no_manifest(memory, look, body):
    memory.tags[TAG] = body
    assert refused(look) == "unsigned"


@pytest.mark.parametrize("value", [3, None, "", "-----BEGIN SSH SIGNATURE-----\n", ["x"]])
def test_no_signature(memory, put, look, value):
    put()
    change(memory, **{registry_store.SIGNATURE: value})
    assert refused(look) in ("unsigned", "signature")


def test_signed_by_somebody_else(put, look, stranger):
    put(by=stranger)
    with pytest.raises(RefusedStatement) as caught:
        look()
    assert caught.value.code == "untrusted"
    assert signatures.fingerprint(stranger.public) in caught.value.why


def test_nobody_is_trusted(put, look):
    put()
    assert refused(look, trust=set()) == "untrusted"


def test_a_signature_for_another_purpose(memory, put, look, signer):
    statement = put()
    change(memory, **{registry_store.SIGNATURE: signer.sign(statement.text(), b"git")})
    assert refused(look) == "signature"


def test_a_changed_statement(memory, put, look):
    statement = put()
    other = dataclasses.replace(statement, diff_id="sha256:" + "0" * 64)
    change(memory, **{registry_store.STATEMENT: other.text().decode()})
    assert refused(look) == "signature"


def test_every_changed_byte_of_what_is_signed(memory, put, look):
    text = put().text().decode()
    for where in range(0, len(text), 7):
        change(memory, **{registry_store.STATEMENT: text[:where] + chr(ord(text[where]) ^ 1) + text[where + 1 :]})
        assert refused(look) == "signature"


def test_a_statement_of_another_key(memory, put, look):
    put(key="b" * 64)
    memory.tags[TAG] = memory.tags["l-" + "b" * 64]
    assert refused(look) == "replayed"


def test_a_result_in_a_layers_place(memory, put, look):
    put(sort="result")
    memory.tags[TAG] = memory.tags[f"r-{KEY}"]
    assert refused(look) == "replayed"


def test_other_ids(memory, put, look):
    put(ids="single")
    memory.tags[TAG] = memory.tags[f"l1-{KEY}"]
    assert refused(look) == "ids"


def test_an_old_format(memory, put, look, signer):
    stored = json.loads(put().text())
    text = json.dumps({**stored, "format": 0}, sort_keys=True, separators=(",", ":"))
    change(memory, **{registry_store.STATEMENT: text, registry_store.SIGNATURE: signer.sign(text.encode())})
    assert refused(look) == "format"


def test_a_registry_that_lies_about_a_manifest(memory, look):
    memory.fails["find"] = FetchError("not that digest", code="registry-digest")
    assert refused(look) == "manifest"


def test_a_registry_that_is_away_is_no_refusal(memory, look):
    memory.fails["find"] = FetchError("no answer", code="fetch-unreachable")
    with pytest.raises(FetchError):
        look()


def test_a_blob_that_is_not_what_was_signed(memory, put, tmp_path):
    statement = put(b"some blob")
    memory.blobs[statement.blob] = b"evil blob"
    assert refused(registry_store.fetch_blob, memory, WHERE, statement, str(tmp_path / "out")) == "blob"
    del memory.blobs[statement.blob]
    assert refused(registry_store.fetch_blob, memory, WHERE, statement, str(tmp_path / "out")) == "blob-missing"


def test_a_manifest_that_is_refused_for_a_moment_is_put_again(memory, put):
    first = memory.push_document
    failures = [FetchError("400", code="registry-refused")]

    def flaky(*args):
        if failures:
            raise failures.pop()
        return first(*args)

    memory.push_document = flaky
    put()
    assert TAG in memory.tags
