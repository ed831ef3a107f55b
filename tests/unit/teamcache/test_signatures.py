"""Signatures: OpenSSH agrees, in both directions, and a change of one byte is seen."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.errors import StoreError
from envtool.teamcache import signatures

PRIVATE, PUBLIC = signatures.generate("ci@example")
SIGNER = signatures.load_private_key(PRIVATE)
OPENSSH = shutil.which("ssh-keygen")
openssh = pytest.mark.skipif(not OPENSSH, reason="openssh-client is not installed")


def test_the_public_line_is_that_of_the_key():
    assert signatures.strip_comment(PUBLIC) == SIGNER.public
    assert PUBLIC.endswith(" ci@example")


@given(message=st.binary(max_size=300))
def test_what_was_signed_is_verified(message):
    assert signatures.verify(message, SIGNER.sign(message)) == SIGNER.public


@given(message=st.binary(min_size=1, max_size=300), data=st.data())
def test_a_changed_message_is_refused(message, data):
    signature = SIGNER.sign(message)
    where = data.draw(st.integers(0, len(message) - 1))
    by = data.draw(st.integers(1, 255))
    changed = message[:where] + bytes([message[where] ^ by]) + message[where + 1 :]
    with pytest.raises(signatures.BadSignature):
        signatures.verify(changed, signature)


@given(data=st.data())
def test_a_changed_signature_is_refused(data):
    signature = SIGNER.sign(b"message")
    where = data.draw(st.integers(0, len(signature) - 1))
    letter = data.draw(st.characters(codec="utf-8").filter(lambda one: one != signature[where]))
    with pytest.raises(signatures.BadSignature):
        signatures.verify(b"message", signature[:where] + letter + signature[where + 1 :])


@pytest.mark.parametrize("cut", [0, 1, 30, 60, 200, -1])
def test_a_short_signature_is_refused(cut):
    with pytest.raises(signatures.BadSignature):
        signatures.verify(b"message", SIGNER.sign(b"message")[:cut])


def test_another_purpose_is_refused():
    with pytest.raises(signatures.BadSignature):
        signatures.verify(b"message", SIGNER.sign(b"message", b"git"))


@openssh
def test_openssh_verifies_ours(tmp_path):
    (tmp_path / "signers").write_text(f"envtool {PUBLIC}\n")
    (tmp_path / "signature").write_text(SIGNER.sign(b"what was said"))
    words = ["-Y", "verify", "-f", tmp_path / "signers", "-I", "envtool", "-n", "envtool-cache", "-s"]
    for message, status in ((b"what was said", 0), (b"what was not", 255)):
        done = subprocess.run(
            [OPENSSH, *words, tmp_path / "signature"], input=message, capture_output=True, check=False
        )
        assert done.returncode == status, done.stderr


@openssh
def test_openssh_keys_and_signatures_are_taken(tmp_path):
    key = tmp_path / "key"
    subprocess.run([OPENSSH, "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    signer = signatures.find_signer({"ENVTOOL_CACHE_KEY": str(key)})
    assert signer.public == signatures.strip_comment((tmp_path / "key.pub").read_text().strip())
    (tmp_path / "text").write_bytes(b"what was said")
    subprocess.run([OPENSSH, "-q", "-Y", "sign", "-f", key, "-n", "envtool-cache", tmp_path / "text"], check=True)
    assert signatures.verify(b"what was said", (tmp_path / "text.sig").read_text()) == signer.public
    shown = subprocess.run([OPENSSH, "-lf", key], capture_output=True, text=True, check=True).stdout
    assert signatures.fingerprint(signer.public) in shown


@pytest.mark.parametrize(
    "mangle", [str, str.strip, lambda text: text.replace("\n", " "), lambda text: text.replace("\n", "\\n")]
)
def test_a_key_may_come_as_ci_systems_hand_it_over(mangle):
    assert signatures.find_signer({"ENVTOOL_CACHE_KEY": mangle(PRIVATE)}).public == SIGNER.public


def test_no_key_is_none():
    assert signatures.find_signer({}) is None
    assert signatures.find_signer({"ENVTOOL_CACHE_KEY": " "}) is None


@pytest.mark.parametrize("value", ["/nowhere/key", "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n", "a\0b", "secret"])
def test_what_is_no_key_is_an_error_that_does_not_show_it(value):
    with pytest.raises(StoreError) as caught:
        signatures.find_signer({"ENVTOOL_CACHE_KEY": value})
    assert caught.value.code == "cache-key"
    assert "secret" not in f"{caught.value.message} {caught.value.hint}"


@openssh
@pytest.mark.parametrize(
    ("words", "said"),
    [(["-t", "rsa", "-N", ""], "ssh-ed25519"), (["-t", "ed25519", "-N", "long enough"], "passphrase")],
)
def test_other_keys_are_refused(tmp_path, words, said):
    subprocess.run([OPENSSH, "-q", *words, "-f", tmp_path / "key"], check=True)
    with pytest.raises(StoreError, match=said):
        signatures.find_signer({"ENVTOOL_CACHE_KEY": str(tmp_path / "key")})
