from __future__ import annotations

import hashlib
import io
import lzma
import os
import tarfile
from email.utils import formatdate
from pathlib import Path

import pytest
from pysequoia import SignatureMode, Tsk, sign

from envtool.api import Completed, FetchError, Request, ResolveError, Where
from envtool.kinds.debian import mirrors, release, suite_index

MIRROR = "http://mirror.invalid/debian"
NOW = 1_800_000_000
CONTROL_TEXT = "Package: a\nVersion: 1\nArchitecture: amd64\n"


def make_tar(files, *, form=tarfile.GNU_FORMAT):
    """A tar of {name: content}; a name that ends in `/` is a directory, `->` in content a symlink."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.mtime, info.uid, info.gid, info.mode = 1_600_000_000, os.getuid(), os.getgid(), 0o644
            if name.endswith("/"):
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
            elif isinstance(content, tuple):
                info.type, info.linkname = content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def make_deb(control, files, *, scripts=None, form="xz"):
    """A deb in memory."""

    def member(name, content):
        head = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        return head + content + b"\n" * (len(content) & 1)

    pack = {"xz": lzma.compress, "tar": bytes}[form]
    ending = f".{form}" if form != "tar" else ""
    control_tar = make_tar({"./": b"", "./control": control.encode(), **(scripts or {})})
    return (
        b"!<arch>\n"
        + member("debian-binary", b"2.0\n")
        + member(f"control.tar{ending}", pack(control_tar))
        + member(f"data.tar{ending}", pack(make_tar(files)))
    )


def stanza(name, version="1", **fields):
    lines = {"Package": name, "Version": version, "Architecture": "amd64", "Priority": "optional"}
    lines |= {"Filename": f"pool/{name}_{version}_amd64.deb", "Size": "10", "SHA256": f"{abs(hash(name)):064x}"[:64]}
    lines |= {key.replace("_", "-"): value for key, value in fields.items()}
    return "".join(f"{key}: {value}\n" for key, value in lines.items())


@pytest.fixture(scope="session")
def key():
    return Tsk.generate("archive <archive@mirror.invalid>")


@pytest.fixture(scope="session")
def keyring(key):
    return release.Keyring(path="test.pgp", data=bytes(key.extract_certificate()))


class Mirror:
    """An archive in memory: suites of stanzas, signed."""

    def __init__(self, key, url=MIRROR):
        self.key, self.url, self.files = key, url, {}

    def suite(self, name, stanzas, *, codename="", url="", component="main", by_hash=True, more=None, **fields):
        url = url or self.url
        packages = lzma.compress("\n".join(stanzas).encode())
        digest = hashlib.sha256(packages).hexdigest()
        head = {"Suite": name, "Codename": codename or name, "Date": formatdate(NOW, usegmt=True)}
        head |= {"Acquire-By-Hash": "yes" if by_hash else "no"} | {k.replace("_", "-"): v for k, v in fields.items()}
        path = f"{component}/binary-amd64/Packages.xz"
        text = "".join(f"{k}: {v}\n" for k, v in head.items()) + f"SHA256:\n {digest} {len(packages)} {path}\n"
        for beside, content in (more or {}).items():
            digest_of = hashlib.sha256(content).hexdigest()
            text += f" {digest_of} {len(content)} {beside}\n"
            place = f"{beside.rpartition('/')[0]}/by-hash/SHA256/{digest_of}".lstrip("/") if by_hash else beside
            self.files[f"{url}/dists/{name}/{place}"] = content
        self.files[f"{url}/dists/{name}/InRelease"] = sign(self.key.signer(), text.encode(), mode=SignatureMode.CLEAR)
        place = f"{component}/binary-amd64/by-hash/SHA256/{digest}" if by_hash else path
        self.files[f"{url}/dists/{name}/{place}"] = packages
        return self


class FakeSite:
    """`api.Site` over a dict of URLs; `answers` are what successive runs say."""

    def __init__(self, files, tmp_path, answers=()):
        self.arch, self.project = "x86_64", Path(tmp_path)
        self.files, self.answers, self.notes, self.runs, self.owned = files, list(answers), [], [], []

    def get(self, url):
        if url not in self.files:
            raise FetchError(f"{url}: HTTP 404 Not Found", code="fetch-status")
        return self.files[url]

    def fetch(self, fetches):
        paths = []
        for item in fetches:
            data = self.get(item.url)
            if hashlib.sha256(data).hexdigest() != item.sha256:
                raise FetchError(f"{item.url} is not what its hash says", code="hash")
            path = self.project / item.name
            path.write_bytes(data)
            paths.append(path)
        return paths

    def open(self, path, *, limit=0):
        try:
            return (self.project / path).open("rb")
        except OSError as error:
            raise ResolveError(f"`{path}`: {error.strerror}", code="no-file") from None

    def own(self, place):
        self.owned.append(place)

    def note(self, text):
        self.notes.append(text)

    def run(self, command, *, env=None, binds=(), network=False):
        self.runs.append((command, env, binds, network))
        return self.answers.pop(0) if self.answers else Completed(status=1, stdout=b"", stderr=b"")


@pytest.fixture
def mirror_alone(monkeypatch, keyring):
    """The tests' mirror and its key are all that this machine has, at the time NOW."""
    monkeypatch.setattr(release, "keyrings", lambda archive, extra=(): (keyring,))
    monkeypatch.setattr(mirrors, "read_host_sources", tuple)
    monkeypatch.setattr(suite_index.time, "time", lambda: NOW)
    monkeypatch.setenv("ENVTOOL_DEBIAN_MIRROR", MIRROR)


@pytest.fixture
def mirror(key):
    return Mirror(key)


@pytest.fixture
def site(tmp_path):
    return lambda files, answers=(): FakeSite(files, tmp_path, answers)


@pytest.fixture
def request_for():
    def make(options, **fields):
        where = Where(file="envtool.yaml", line=4, column=9)
        values = {"name": "it", "inputs": (), "arch": "x86_64", "epoch": 0, "where": where} | fields
        return Request(options=options, **values)

    return make


@pytest.fixture
def debs(tmp_path):
    def write(name, *args, **kwargs):
        path = tmp_path / name
        path.write_bytes(make_deb(*args, **kwargs))
        return str(path)

    return write
