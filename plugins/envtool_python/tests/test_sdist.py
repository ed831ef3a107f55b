"""The `sdist` kind against indexes on disk and pages in memory."""

from __future__ import annotations

import pytest
from envtool_python import pip_config as envtool_index
from envtool_python import simple_index
from envtool_python.pip_config import PipConfig
from envtool_python.sdist import Sdist, version_of

from envtool import api

HASH = "ab" * 32


class Site:
    arch = "x86_64"

    def __init__(self, pages=None):
        self.pages = pages or {}
        self.asked = []
        self.told = {}

    def get(self, url):
        self.asked.append(url)
        if url not in self.pages:
            raise api.FetchError(f"404 {url}")
        return self.pages[url].encode()

    def note(self, text):
        pass

    def seen(self, sha256, url):
        self.told[sha256] = url


def request(**options):
    chosen = {"name": "Some.Thing", "version": "1.2.0", "sha256": HASH, "to": "/src/", **options}
    where = api.Where(file="envtool.yaml", line=3, column=1)
    return api.Request(name="source", options=chosen, inputs=(), where=where, arch="x86_64", epoch=1)


@pytest.fixture
def index(monkeypatch):
    def use(**variables):
        secrets = variables.pop("secrets", {})
        for module in (envtool_index, simple_index):
            monkeypatch.setattr(module, "read_index", lambda _site: PipConfig(variables=variables, secrets=secrets))

    return use


@pytest.mark.parametrize(
    ("file", "version"),
    [
        ("some_thing-1.2.tar.gz", "1.2"),
        ("Some-Thing-1.2-rc.1.zip", "1.2-rc.1"),
        ("some.thing-1!2.0.tar.bz2", "1!2.0"),
        ("some_thing_more-1.2.tar.gz", None),
        ("some_thing-1.2-py3-none-any.whl", None),
        ("some_thing-1.2.tar.gz.asc", None),
    ],
)
def test_the_version_is_read_from_the_file_name(file, version):
    assert version_of(file, "some-thing") == version


def test_it_is_found_by_version_and_hash_and_keeps_no_credentials(index):
    index(PIP_INDEX_URL="https://u:p@h.invalid/simple/", secrets={"h.invalid": "u:p"})
    page = f"""
        <a href="/f/some_thing-1.1.tar.gz#sha256={HASH}">old</a>
        <a href="/f/some_thing-1.2.zip#sha256={"0" * 64}">zip</a>
        <a href="/f/some_thing-1.2.tar.gz#sha256={HASH}">tar</a>
        <a href="/f/some_thing-1.2-py3-none-any.whl#sha256={HASH}">wheel</a>"""
    site = Site({"https://u:p@h.invalid/simple/some-thing/": page})
    kind, asked = Sdist(), request()
    pins = kind.resolve(asked, site)
    assert pins == {"file": "some_thing-1.2.tar.gz"}
    (fetch,) = kind.fetches(asked, pins)
    assert (fetch.sha256, fetch.url) == (HASH, "")
    assert site.told == {HASH: "https://h.invalid/f/some_thing-1.2.tar.gz"}
    (found,) = kind.locate(asked, pins, [fetch], site)
    assert found.url == "https://u:p@h.invalid/f/some_thing-1.2.tar.gz"
    (step,) = kind.build(asked, pins).steps
    assert step == api.Unpack(name="some_thing-1.2.tar.gz", target="/src", strip=1)
    assert kind.material(asked, pins) == {"to": "/src"}


def test_find_links_and_indexes_on_disk(index, tmp_path):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "some_thing-1.2.0.tar.gz").touch()
    index(PIP_FIND_LINKS=str(wheels), PIP_NO_INDEX="1")
    site = Site()
    assert Sdist().resolve(request(), site) == {"file": "some_thing-1.2.0.tar.gz"}
    assert site.told[HASH] == f"file://{wheels}/some_thing-1.2.0.tar.gz"
    page = tmp_path / "simple" / "some-thing"
    page.mkdir(parents=True)
    (page / "index.html").write_text('<a href="../../some_thing-1.2.0.tar.gz">x</a>')
    index(PIP_INDEX_URL="https://h.invalid/simple", PIP_EXTRA_INDEX_URL=f"file://{tmp_path}/simple")
    site = Site()
    assert Sdist().resolve(request(), site)
    assert site.told[HASH] == f"file://{tmp_path}/some_thing-1.2.0.tar.gz"
    assert site.asked == ["https://h.invalid/simple/some-thing/"]


def test_what_is_missing_is_said(index):
    index(PIP_INDEX_URL="https://h.invalid/simple")
    site = Site({"https://h.invalid/simple/some-thing/": '<a href="some_thing-1.1.tar.gz">x</a>'})
    with pytest.raises(api.ResolveError, match=r"no source distribution of some-thing 1\.2\.0") as caught:
        Sdist().resolve(request(), site)
    assert caught.value.hint == "versions: 1.1"
    with pytest.raises(api.FetchError):
        Sdist().resolve(request(name="other"), site)
