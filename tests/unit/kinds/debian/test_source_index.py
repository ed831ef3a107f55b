"""The kind `deb-src`: from a signed index of sources to archives by hash."""

from __future__ import annotations

import hashlib
import lzma

import pytest

from envtool.api import ResolveError, Unpack
from envtool.kinds.debian.apt import SourcePackage

from .conftest import MIRROR, stanza

ORIG, DEBIAN, DOCS = (hashlib.sha256(word).hexdigest() for word in (b"orig", b"debian", b"docs"))
SOURCES = f"""\
Package: zlib-ng
Version: 9
Directory: pool/main/z/zlib-ng
Checksums-Sha256:
 {DOCS} 4 zlib-ng_9.orig.tar.gz

Package: zlib
Binary: zlib1g,
 zlib1g-dev
Version: 1:1.2.13.dfsg-1
Directory: pool/main/z/zlib
Files:
 0123456789abcdef0123456789abcdef 4 zlib_1.2.13.dfsg.orig.tar.bz2
Checksums-Sha256:
 {DOCS} 2000 zlib_1.2.13.dfsg-1.dsc
 {DEBIAN} 6 zlib_1.2.13.dfsg-1.debian.tar.xz
 {ORIG} 4 zlib_1.2.13.dfsg.orig.tar.bz2
 {DOCS} 4 zlib_1.2.13.dfsg.orig-docs.tar.gz

Package: native
Version: 7
Directory: pool/main/n/native
Checksums-Sha256:
 {ORIG} 4 native_7.tar.xz
"""


pytestmark = pytest.mark.usefixtures("mirror_alone")


@pytest.fixture
def resolve(mirror, site, request_for):
    def run(options, sources=SOURCES, **more):
        mirror.suite("bookworm", [stanza("a")], more={"main/source/Sources.xz": lzma.compress(sources.encode())})
        fields = {"base_kind": "debian", "base_pins": {"suite": "bookworm"}} | more
        request = request_for({"to": "/src", **options}, **fields)
        return request, SourcePackage().resolve(request, site(mirror.files))

    return run


def test_the_archives_of_the_authors(resolve, site):
    kind = SourcePackage()
    request, pins = resolve({"name": "zlib"})
    assert (pins["version"], pins["suite"]) == ("1:1.2.13.dfsg-1", "bookworm")
    names = [fetch.name for fetch in kind.fetches(request, pins)]
    assert names == [
        "zlib_1.2.13.dfsg.orig-docs.tar.gz", "zlib_1.2.13.dfsg.orig.tar.bz2",
    ]  # fmt: skip
    assert kind.build(request, pins).steps == (
        Unpack(name=names[0], target="/src/docs", strip=1),
        Unpack(name=names[1], target="/src", strip=1),
    )
    located = kind.locate(request, pins, kind.fetches(request, pins), site({}))
    assert located[1].url == f"{MIRROR}/pool/main/z/zlib/zlib_1.2.13.dfsg.orig.tar.bz2"
    assert located[1].sha256 == ORIG
    assert kind.summary(request, pins) == "zlib 1.2.13"
    assert MIRROR not in str(pins), "another machine has another mirror"


def test_a_native_package_is_one_archive(resolve):
    request, pins = resolve({"name": "native", "suite": "bookworm"}, base_kind="host", base_pins=None)
    assert SourcePackage().build(request, pins).steps == (Unpack(name="native_7.tar.xz", target="/src", strip=1),)


def test_a_version_may_be_demanded(resolve):
    _, pins = resolve({"name": "zlib", "version": "1.2.13"})
    assert pins["name"] == "zlib"
    with pytest.raises(ResolveError, match=r"no sources of zlib 1\.3") as caught:
        resolve({"name": "zlib", "version": "1.3"})
    assert caught.value.hint == "it has 1.2.13"


@pytest.mark.parametrize(
    ("options", "more", "message"),
    [
        ({"name": "absent"}, {}, "suite `bookworm` has no sources of absent"),
        ({"name": "zli"}, {}, "no sources of zli"),
        ({"name": "zlib"}, {"base_kind": "host", "base_pins": None}, "The base is no suite of Debian"),
    ],
)
def test_what_is_not_there_is_said(resolve, options, more, message):
    with pytest.raises(ResolveError, match=message):
        resolve(options, **more)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Directory: pool/main/z/zlib\nFiles", "Directory: ../../etc\nFiles"),
        ("Directory: pool/main/z/zlib\nFiles", "Directory: /etc\nFiles"),
        (f"{ORIG} 4 zlib_1.2.13.dfsg.orig.tar.bz2", f"{ORIG} 4 a/../zlib_1.2.13.dfsg.orig.tar.bz2"),
        ("Checksums-Sha256:\n " + DOCS + " 2000", "Checksums-Sha1:\n " + DOCS + " 2000"),
    ],
)
def test_a_stanza_that_leads_elsewhere_is_damage(resolve, old, new):
    assert old in SOURCES
    with pytest.raises(ResolveError, match="index of sources of bookworm is damaged"):
        resolve({"name": "zlib"}, SOURCES.replace(old, new))


def test_the_question_has_the_suite_and_no_index(request_for):
    kind = SourcePackage()
    request = request_for(
        {"name": "zlib", "to": "/src"}, base_kind="debian", base_pins={"suite": "bookworm", "lists": [1]}
    )
    assert kind.question(request) == [{"name": "zlib", "to": "/src"}, "bookworm"]
