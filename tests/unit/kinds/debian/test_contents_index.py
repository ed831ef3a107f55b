"""Which package has a file: by the index of the suite, after a failure alone."""

from __future__ import annotations

import gzip

import pytest

from envtool.api import Completed, FetchError
from envtool.kinds.debian import contents_index
from envtool.kinds.debian.base import Debian
from envtool.kinds.host import Host

from .conftest import MIRROR, stanza

ROWS = """\
bin/ffi.h.gz                                            utils/other
usr/include/x86_64-linux-gnu/ffi.h                      libdevel/libffi-dev
usr/include/node/deps/ffi.h                             libdevel/libnode-dev
usr/lib/ghc/lib/x86_64-linux-gnu/include/ffi.h\t\thaskell/ghc
usr/include/libxml2/libxml/parser.h                     libdevel/libxml2-dev
usr/lib/x86_64-linux-gnu/libz.so                        libdevel/zlib1g-dev
usr/lib/x86_64-linux-gnu/pkgconfig/zlib.pc              libdevel/zlib1g-dev
usr/bin/pg_config                                       database/postgresql-common,libdevel/libpq-dev
usr/share/odd name.h                                    misc/$(reboot),Bad_Name
"""
ALL = "usr/include/eigen3/Eigen/Core.h                  libdevel/libeigen3-dev\n"


pytestmark = pytest.mark.usefixtures("mirror_alone")


def packed(text):
    return gzip.compress(text.encode())


@pytest.mark.parametrize("by_hash", [True, False])
def test_the_package_that_has_a_file_in_its_usual_place(mirror, site, request_for, by_hash):
    more = {"main/Contents-amd64.gz": packed(ROWS), "main/Contents-all.gz": packed(ALL)}
    mirror.suite("bookworm", [stanza("a")], by_hash=by_hash, more=more)
    ends = ["ffi.h", "libxml/parser.h", "libz.so", "pkgconfig/zlib.pc", "bin/pg_config", "Eigen/Core.h", "none.h"]
    at = site(mirror.files)
    assert Debian().packages_with(request_for("bookworm"), None, ends, at) == {
        "ffi.h": "libffi-dev",
        "libxml/parser.h": "libxml2-dev",
        "libz.so": "zlib1g-dev",
        "pkgconfig/zlib.pc": "zlib1g-dev",
        "bin/pg_config": "libpq-dev",
        "Eigen/Core.h": "libeigen3-dev",
    }
    assert Debian().packages_with(request_for("bookworm"), None, ["odd name.h", "fi.h"], at) == {}


def test_the_index_for_all_architectures_is_fetched_for_what_the_other_lacks(mirror, site, request_for):
    mirror.suite("bookworm", [stanza("a")], more={"main/Contents-amd64.gz": packed(ROWS), "main/Contents-all.gz": b""})
    mirror.files = {url: data for url, data in mirror.files.items() if data}
    assert Debian().packages_with(request_for("bookworm"), None, ["ffi.h"], site(mirror.files)) == {
        "ffi.h": "libffi-dev"
    }


def test_ubuntu_has_one_index_for_all_components(mirror, site, request_for, monkeypatch):
    monkeypatch.setenv("ENVTOOL_UBUNTU_MIRROR", MIRROR)
    mirror.suite("noble", [stanza("a")], more={"Contents-amd64.gz": packed(ROWS)})
    assert Debian().packages_with(request_for("noble"), None, ["ffi.h"], site(mirror.files)) == {"ffi.h": "libffi-dev"}


def test_an_archive_without_the_index_tells_nothing(mirror, site, request_for):
    mirror.suite("bookworm", [stanza("a")])
    assert Debian().packages_with(request_for("bookworm"), None, ["ffi.h"], site(mirror.files)) == {}


@pytest.mark.parametrize("content", [b"no gzip", packed(ROWS)[:40] + b"x" * 400])
def test_a_damaged_index(mirror, site, request_for, content):
    mirror.suite("bookworm", [stanza("a")], more={"main/Contents-amd64.gz": content})
    with pytest.raises(FetchError, match="Contents index is damaged"):
        Debian().packages_with(request_for("bookworm"), None, ["ffi.h"], site(mirror.files))


def test_any_system_is_asked_which_suite_it_is(mirror, site, request_for):
    mirror.suite("bookworm", [stanza("a")], more={"main/Contents-amd64.gz": packed(ROWS)})

    def said(text):
        at = site(mirror.files, [Completed(status=0, stdout=text.encode(), stderr=b"")])
        return Host().packages_with(request_for({}), None, ["ffi.h"], at)

    assert said("ID=debian\nVERSION_CODENAME=bookworm\n") == {"ffi.h": "libffi-dev"}
    assert said("ID=alpine\n") == {}
    assert said('ID=fedora\nVERSION_CODENAME=""\n') == {}


def test_rows_are_found_wherever_the_pieces_end(tmp_path, monkeypatch):
    monkeypatch.setattr(contents_index, "CHUNK_SIZE", 64)
    path = tmp_path / "index.gz"
    path.write_bytes(packed(ROWS * 5) + packed(ROWS))  # two streams, as parallel compressors write
    assert len([*contents_index.scan_contents(path, ["ffi.h"])]) == 18
