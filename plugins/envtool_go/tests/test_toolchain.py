"""`toolchain: {go: …}` by the kit: which release is taken, by which hash, and what its archive becomes."""

from __future__ import annotations

import base64
import io
import json
import os
import zipfile
from pathlib import Path

import pytest
from envtool_go import go_releases, module_cache
from envtool_go.go_toolchain import toolchain_layers
from envtool_go.kinds import TOOLCHAIN, GoToolchain
from envtool_go.module_hashes import hash_archive

from envtool import api, testing
from envtool.api.version_choice import choose_version

PROXY = "https://proxy.invalid"
DATABASE = "sum.invalid"
MODULE = "golang.org/toolchain"
RELEASES = ("1.21.0", "1.22.4", "1.22.5", "1.23rc1", "1.23.1")


def archive(version):
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as target:
        for name in ("bin/go", "pkg/tool/linux_amd64/compile", "src/_go.mod"):
            target.writestr(zipfile.ZipInfo(f"{MODULE}@{version}/{name}"), version)
    return written.getvalue()


def served(*, hashes=None):
    """URL -> content, of a proxy that passes questions on to the checksum database."""
    urls = {f"{PROXY}/{MODULE}/@v/list": "".join(f"v0.0.1-go{r}.linux-amd64\n" for r in RELEASES).encode()}
    for release in RELEASES:
        version = f"v0.0.1-go{release}.linux-amd64"
        content = archive(version)
        expected = hashes or hash_archive(io.BytesIO(content))
        urls[f"{PROXY}/{MODULE}/@v/{version}.zip"] = content
        lookup = f"{PROXY}/sumdb/{DATABASE}/lookup/{MODULE}@{version}"
        urls[lookup] = f"1\n{MODULE} {version} {expected}\n{MODULE} {version}/go.mod h1:x\n\n".encode()
    return urls


class FileSite(testing.MemorySite):
    """A site that can give the paths of what it learned: `h1:` hashes are of what is in the files."""

    def __init__(self, top, urls):
        super().__init__(urls=urls)
        self.top = Path(top)

    def fetch(self, fetches):
        paths = [self.top / fetch.sha256 for fetch in fetches]
        for path, fetch in zip(paths, fetches, strict=True):
            path.write_bytes(self.urls[fetch.url])
        return paths


@pytest.fixture(autouse=True)
def host(monkeypatch, tmp_path):
    """No test reads this machine's configuration of Go, or asks its go."""
    for name in ("GOPRIVATE", "GONOPROXY", "GOENV", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GOPROXY", PROXY)
    monkeypatch.setenv("GOSUMDB", DATABASE)
    return monkeypatch


def test_a_proxy_that_lists_absurd_versions_has_the_others(tmp_path):
    """Python reads no number of 5,000 digits, and knows digits of other scripts."""
    urls = served()
    absurd = ("1." + "9" * 5000, "1.22." + "9" * 5000, "1.22.\u0669", "2.0", "1.22.6/../../x")
    urls[f"{PROXY}/{MODULE}/@v/list"] += "".join(f"v0.0.1-go{each}.linux-amd64\n" for each in absurd).encode()
    pins = testing.check_kind(GoToolchain(), {"version": "1.22"}, site=FileSite(tmp_path, urls), wrong=[])
    assert pins["archives"][0]["version"] == "1.22.5"


@pytest.mark.parametrize(
    ("wanted", "release"), [("1.22", "1.22.5"), ("1.22.4", "1.22.4"), ("1.23", "1.23.1"), ("1.23rc1", "1.23rc1")]
)
def test_the_newest_release_that_fits_is_pinned(wanted, release, tmp_path):
    options = {"version": wanted}
    pins = testing.check_kind(GoToolchain(), options, site=FileSite(tmp_path, served()), wrong=[{}, {"version": 1.22}])
    assert [(row["name"], row["version"]) for row in pins["archives"]] == [("go", release)]
    assert "invalid" not in json.dumps(pins)
    assert GoToolchain().package(f"go-{release}.zip") == ("go", release)


def test_an_archive_that_is_not_that_of_the_checksum_database_is_refused(tmp_path, host):
    other = "h1:" + base64.b64encode(bytes(32)).decode()
    with pytest.raises(api.ResolveError, match=r"Go 1\.22\.5: the proxy's archive has the hash h1:\S+, the checksum"):
        GoToolchain().resolve(testing.request({"version": "1.22"}), FileSite(tmp_path, served(hashes=other)))
    host.setenv("GOSUMDB", "off")
    assert GoToolchain().resolve(testing.request({"version": "1.22"}), FileSite(tmp_path, served(hashes=other)))


def test_without_an_answer_of_the_checksum_database_nothing_is_pinned(tmp_path):
    urls = {url: content for url, content in served().items() if "/lookup/" not in url}
    with pytest.raises(api.ResolveError, match=r"the checksum database sum\.invalid gives no hash") as refused:
        GoToolchain().resolve(testing.request({"version": "1.22"}), FileSite(tmp_path, urls))
    assert "GOSUMDB=off" in refused.value.hint


def test_what_cannot_be_had(tmp_path, host):
    with pytest.raises(api.ResolveError, match=r"no Go 1\.99 can be had for x86_64; Go proxy has 1\.23\.1, 1\.22\.5"):
        GoToolchain().resolve(testing.request({"version": "1.99"}), FileSite(tmp_path, served()))
    host.delenv("GOPROXY")
    host.setattr(go_releases, "_host_defaults", lambda: go_releases._Settings("", ""))
    with pytest.raises(api.ResolveError, match=r"no versions from Go proxy \(GOPROXY of this machine names no proxy"):
        GoToolchain().resolve(testing.request({"version": "1.22"}), FileSite(tmp_path, served()))


def choice(files):
    project = testing.MemoryProject(files)
    return choose_version(TOOLCHAIN.name, TOOLCHAIN.names, TOOLCHAIN.wants(project), project, GoToolchain().accepts)


@pytest.mark.parametrize(
    ("files", "wanted", "origin"),
    [
        ({"go.mod": "module x\n\ngo 1.21\n\ntoolchain go1.22.5\n"}, "1.22.5", "go.mod, toolchain"),
        ({"go.mod": "module x\ngo 1.23.0\ntoolchain go1.22.5\n"}, "1.23.0", "go.mod, go"),
        ({"go.mod": "module x\n\ngo 1.22 // why\n"}, "1.22", "go.mod, go"),
        ({"go.mod": "module x\n\ngo 1.21.3\ntoolchain default\n"}, "1.21.3", "go.mod, go"),
        ({"go.mod": "go 1.21\n", "mise.toml": '[tools]\ngo = "1.22.5"'}, "1.22.5", "mise.toml"),
        ({"go.work": "go 1.23.1\n", "go.mod": "module x\ngo 1.21\n"}, "1.23.1", "go.work, go"),
    ],
)
def test_the_first_file_that_names_a_release_decides(files, wanted, origin):
    decision = choice(files).decision
    assert (decision.wanted, decision.origin) == (wanted, origin)


def test_the_line_go_names_the_lowest_release_that_will_do():
    older = choice({"go.mod": "module x\n\ngo 1.22\n", ".tool-versions": "golang 1.21.3\n"})
    assert older.note == "go is 1.21.3, by .tool-versions:1, but go.mod:3 allows >=1.22"
    newer = choice({"go.mod": "module x\n\ngo 1.22\n\ntoolchain go1.23.1\n", ".tool-versions": "golang 1.23\n"})
    assert (newer.decision.wanted, newer.note) == ("1.23.1", "")
    assert [GoToolchain().accepts(">=1.22", version) for version in ("1.21.9", "1.22.0", "1.23rc1")] == [
        False,
        True,
        True,
    ]


def test_files_that_name_none_or_a_wrong_one():
    assert choice({"go.mod": "module x\n"}).decision is None
    assert choice({}).decision is None
    with pytest.raises(api.SpecError) as refused:
        choice({"go.mod": "module x\n\ngo new\n"})
    (problem,) = refused.value.problems
    assert (problem.message, problem.where.line) == ("`go new` names no version of Go", 3)


def test_the_release_that_a_module_becomes(tmp_path):
    """Programs can be started, and a nested go.mod has its name again."""
    for name in ("bin/go", "pkg/tool/linux_amd64/compile", "src/_go.mod", "lib/wasm/go_js_wasm_exec"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        path.chmod(0o600)
    module_cache.finish_toolchain(str(tmp_path))
    modes = {
        os.path.relpath(f"{top}/{name}", tmp_path): os.stat(f"{top}/{name}").st_mode & 0o777
        for top, _, names in os.walk(tmp_path)
        for name in names
    }
    assert modes == {
        "bin/go": 0o755,
        "pkg/tool/linux_amd64/compile": 0o755,
        "src/go.mod": 0o644,
        "lib/wasm/go_js_wasm_exec": 0o755,
    }


def test_the_language_adds_no_other_go():
    def packages(toolchains, **options):
        where = api.Where(file="x", line=1, column=1)
        draft = api.EnvDraft(
            name="", base_kind="debian", options=options, layer_names=(), where=where, toolchains=toolchains
        )
        return [layer.options for layer in toolchain_layers(draft, set())]

    assert packages(()) == [["golang-go", "gcc", "libc6-dev"]]
    assert packages(("go",)) == [["gcc", "libc6-dev"]]
    assert packages(("go",), cgo=False) == []
