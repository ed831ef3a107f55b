from __future__ import annotations

import datetime as dt
import glob
import os

import pytest
from pysequoia import Tsk

from envtool.api import ResolveError
from envtool.kinds.debian import release

URL = "http://mirror.invalid/debian/dists/bookworm/InRelease"
NOW = 1_800_000_000


@pytest.fixture
def signed(mirror):
    return mirror.suite("oldstable", ["x"], codename="bookworm").files[
        "http://mirror.invalid/debian/dists/oldstable/InRelease"
    ]


def refused(data, keyring, code):
    with pytest.raises(ResolveError) as caught:
        release.parse_inrelease(data, keyrings=[keyring], url=URL)
    assert caught.value.code == code
    assert URL in caught.value.message
    assert "\n" not in caught.value.message
    return caught.value


def test_a_good_one(signed, keyring, key):
    found = release.parse_inrelease(signed, keyrings=[keyring], url=URL)
    assert (found.date, found.codename, found.suite, found.by_hash) == (NOW, "bookworm", "oldstable", True)
    assert list(found.files) == ["main/binary-amd64/Packages.xz"]
    assert found.signers == (key.extract_certificate().fingerprint,)


def test_a_changed_one(signed, keyring):
    error = refused(signed.replace(b"Codename: bookworm", b"Codename: bookwurm"), keyring, "signature")
    assert "is not valid" in error.message


def test_a_stranger_signed_it(signed):
    stranger = Tsk.generate("stranger <s@mirror.invalid>").extract_certificate()
    error = refused(signed, release.Keyring(path="s.pgp", data=bytes(stranger)), "signature-key")
    assert "keyring:" in error.hint
    assert "which is not the trusted key" in error.message


@pytest.mark.parametrize("change", [(b"", b""), (b"Codename", b"Kodename")])
def test_an_expired_key(signed, key, keyring, monkeypatch, change):
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    expiring = release.Keyring(
        path="e.pgp", data=bytes(key.extract_certificate().set_expiration(soon, key.certifier()))
    )
    assert release.parse_inrelease(signed, keyrings=[expiring], url=URL).codename == "bookworm"
    monkeypatch.setattr(release.time, "time", lambda: soon.timestamp() + 1)
    error = refused(signed.replace(*change), expiring, "signature-expired")
    assert f"{soon:%Y-%m-%d}" in error.message
    release.parse_inrelease(signed, keyrings=[expiring, keyring], url=URL)


def test_cut_short(signed, keyring):
    for end in (len(signed) // 2, len(signed) - 60):
        with pytest.raises(ResolveError):
            release.parse_inrelease(signed[:end], keyrings=[keyring], url=URL)


def test_no_signature_at_all(keyring):
    refused(b"Suite: bookworm\nSHA256:\n", keyring, "signature")
    refused(b"<html>", keyring, "signature")


def test_only_signed_bytes_are_read(signed, keyring):
    evil = b" " + b"0" * 64 + b" 1 evil/Packages.xz\n"
    with pytest.raises(ResolveError):
        release.parse_inrelease(evil + signed, keyrings=[keyring], url=URL)
    assert "evil/Packages.xz" not in release.parse_inrelease(signed + evil, keyrings=[keyring], url=URL).files


def test_another_suite_than_asked_for(signed, keyring):
    found = release.parse_inrelease(signed, keyrings=[keyring], url=URL)
    for suite in ("bookworm", "oldstable"):
        assert release.check_release(found, suite=suite, url=URL, now=NOW) == ""
    with pytest.raises(ResolveError) as caught:
        release.check_release(found, suite="trixie", url=URL, now=NOW)
    assert caught.value.code == "release-suite"


def test_too_old_is_remarked_upon_then_refused(mirror, keyring):
    mirror.suite("sid", ["x"], Valid_Until="Fri, 15 Jan 2027 08:00:00 UTC")
    found = release.parse_inrelease(
        mirror.files["http://mirror.invalid/debian/dists/sid/InRelease"], keyrings=[keyring], url=URL
    )
    until = found.valid_until
    assert release.check_release(found, suite="sid", url=URL, now=until) == ""
    assert "behind" in release.check_release(found, suite="sid", url=URL, now=until + 1)
    with pytest.raises(ResolveError) as caught:
        release.check_release(found, suite="sid", url=URL, now=until + release.MAX_STALENESS + 1)
    assert caught.value.code == "release-expired"
    assert release.check_release(found, suite="sid", url=URL, now=until + release.MAX_STALENESS + 1, strict=False)


def test_the_keyrings_we_ship_can_be_read(tmp_path):
    for archive in ("debian", "ubuntu", ""):
        found = release.keyrings(archive, host=str(tmp_path))
        assert len(found) == (1 if archive else 2)
        for keyring in found:
            assert release._certificates(keyring)
    assert len(glob.glob(os.path.join(release.KEYS_DIRECTORY, "*.pgp"))) == 2


def test_the_hosts_keyrings_count_too_and_a_missing_one_is_named(tmp_path, keyring):
    (tmp_path / "debian-archive-keyring.gpg").write_bytes(keyring.data)
    (tmp_path / "debian-archive-removed-keys.gpg").write_bytes(keyring.data)
    assert len(release.keyrings("debian", host=str(tmp_path))) == 2
    with pytest.raises(ResolveError, match=r"none[.]pgp"):
        release.keyrings("debian", host=str(tmp_path), extra=["/nowhere/none.pgp"])
    with pytest.raises(ResolveError, match="no OpenPGP keys"):
        release._certificates(release.Keyring(path="x", data=b"not keys"))
