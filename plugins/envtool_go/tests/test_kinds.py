"""The kinds `go` and `go-module` by the kit, and which edits of a project change a layer."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from envtool_go import module_cache
from envtool_go.go_packages import cached_modules, modules_with
from envtool_go.kinds import Go, GoModule
from envtool_go.module_hashes import hash_archive, hash_manifest
from envtool_go.module_proxies import host_settings, is_direct
from envtool_go.resolver import NO_GO, blob_name

from envtool import api, testing

PROXY = "https://proxy.invalid"


def zipped(path, version, body="package x\n"):
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as target:
        for name, content in (("go.mod", f"module {path}\n"), ("x.go", body)):
            target.writestr(zipfile.ZipInfo(f"{path}@{version}/{name}"), content)
    return written.getvalue()


def served(path, version, proxy=PROXY, body="package x\n"):
    """URL -> content of a module's files, and its two lines of go.sum."""
    place = "".join(f"!{letter.lower()}" if letter.isupper() else letter for letter in path)
    archive, manifest = zipped(path, version, body), f"module {path}\n".encode()
    urls = {f"{proxy}/{place}/@v/{version}.zip": archive, f"{proxy}/{place}/@v/{version}.mod": manifest}
    lines = f"{path} {version} {hash_archive(io.BytesIO(archive))}\n{path} {version}/go.mod {hash_manifest(manifest)}\n"
    return urls, lines


A_URLS, A_SUMS = served("example.org/A", "v1.0.0")
B_URLS, B_SUMS = served("example.org/b", "v1.1.0")
C_URLS, C_SUMS = served("example.org/b", "v1.2.0")
URLS = {**A_URLS, **B_URLS, **C_URLS}
MOD = "module example.org/app\n\ngo 1.21\n\nrequire (\n\texample.org/A v1.0.0\n\texample.org/b v1.1.0\n)\n"
FILES = {"go.mod": MOD, "go.sum": A_SUMS + B_SUMS}


@pytest.fixture(autouse=True)
def host(monkeypatch, tmp_path):
    """No test reads this machine's configuration of Go."""
    for name in ("GOPROXY", "GOPRIVATE", "GONOPROXY", "GOENV", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return monkeypatch


class FileSite(testing.MemorySite):
    """A site that can give the paths of what it learned: `h1:` hashes are of what is in the files."""

    def __init__(self, top, urls=None, proxy=f"{PROXY},direct", status=0):
        answer = testing.completed(f"{proxy}\n".encode(), status=status)
        super().__init__(urls=URLS if urls is None else urls, answers={"/bin/sh": answer})
        self.top = Path(top)

    def fetch(self, fetches):
        paths = [self.top / fetch.sha256 for fetch in fetches]
        for path, fetch in zip(paths, fetches, strict=True):
            path.write_bytes(self.urls[fetch.url])
        return paths


@pytest.fixture
def site(tmp_path):
    return FileSite(tmp_path)


def request(files=FILES, options=None):
    """As the core makes it: of the files, a kind for which only texts count sees those that its inputs name."""
    inputs = Go().inputs(options)
    assert all(item.use == "text" for item in inputs), "any other use would put whole files into the key"
    return replace(
        testing.request(options), texts={item.pattern: files[item.pattern] for item in inputs if item.pattern in files}
    )


WORK = {
    "go.work": "go 1.22\n\nuse (\n\t./a\n\t./b\n)\n",
    "a/go.mod": "module example.org/app/a\n\ngo 1.21\n\nrequire example.org/A v1.0.0\n",
    "a/go.sum": A_SUMS,
    "b/go.mod": "module example.org/app/b\n\ngo 1.21\n\nrequire example.org/b v1.1.0\n",
    "b/go.sum": B_SUMS,
}


@pytest.mark.parametrize(
    ("files", "options"),
    [
        (FILES, None),
        ({f"server/{name}": text for name, text in FILES.items()}, {"directory": "server", "cgo": False}),
        (WORK, {"workspace": ["a", "b"]}),
    ],
)
def test_it_keeps_the_contract(files, options, site):
    wrong = ["x", [], {"go": ""}, {"directory": 1}, {"workspace": "x"}, {"cgo": "no"}, {"more": 1}]
    pins = testing.check_kind(Go(), options, site=site, asked=request(files, options), wrong=wrong)
    assert [(row["name"], row["version"]) for row in pins["modules"]] == [
        ("example.org/A", "v1.0.0"),
        ("example.org/b", "v1.1.0"),
    ]
    assert "proxy.invalid" not in json.dumps(pins)
    assert Go().summary(request(files, options), pins) == "2 modules"


def test_vendored_modules_need_nothing(site):
    options = {"vendored": True}
    assert Go().inputs(options) == ()
    assert testing.check_kind(Go(), options, site=site) == {"modules": [], "manifests": []}
    assert site.fetched == []


def test_variables(site):
    assert Go().variables(request(), None) == {"GOMODCACHE": "/opt/go/mod", "GOPROXY": "off", "GOTOOLCHAIN": "local"}
    options = {"go": "/opt/go/bin/go", "cgo": False}
    more = Go().variables(request(FILES, options), None)
    assert (more["PATH"], more["CGO_ENABLED"]) == ("/opt/go/bin", "0")


def test_nothing_of_a_module_runs_in_a_build(site):
    recipe = Go().build(request(), Go().resolve(request(), site))
    assert not recipe.network
    assert [type(step).__name__ for step in recipe.steps] == ["Unpack", "Unpack", "Call"]
    assert [(step.target, step.strip) for step in recipe.steps[:2]] == [
        ("/opt/go/mod/example.org/!a@v1.0.0", 2),
        ("/opt/go/mod/example.org/b@v1.1.0", 2),
    ]


# ---- where modules come from -----------------------------------------------------------------------------------------


def locations(site):
    pins = Go().resolve(request(), site)
    return [(fetch.url, fetch.mirrors) for fetch in Go().locate(request(), pins, Go().fetches(request(), pins), site)]


def test_go_itself_says_its_default_once(site):
    assert locations(site)[0] == (f"{PROXY}/example.org/!a/@v/v1.0.0.zip", ())
    assert len(site.ran) == 1


def test_the_settings_of_this_machine_come_first(site, host, tmp_path):
    mirror, _ = served("example.org/A", "v1.0.0", "https://mirror.invalid/go")
    site.urls |= mirror
    (tmp_path / ".config/go").mkdir(parents=True)
    (tmp_path / ".config/go/env").write_text(
        f"# go env -w\nGOPROXY=https://u:s3cret@mirror.invalid/go|{PROXY},direct\nGOSUMDB=off\n"
    )
    site.urls |= {url.replace("//", "//u:s3cret@"): body for url, body in mirror.items()}
    found = locations(site)
    assert found[0] == (
        "https://u:s3cret@mirror.invalid/go/example.org/!a/@v/v1.0.0.zip",
        (f"{PROXY}/example.org/!a/@v/v1.0.0.zip",),
    )
    assert site.ran == []
    assert not [url for url in site.places.values() if "s3cret" in url]
    assert "s3cret" not in repr(host_settings(os.environ))
    host.setenv("GOPROXY", PROXY)
    assert locations(site)[0] == (f"{PROXY}/example.org/!a/@v/v1.0.0.zip", ())


def test_a_directory_of_this_machine_is_a_proxy(site, host, tmp_path):
    host.setenv("GOPROXY", "file:///srv/go%20proxy")
    for path, version in (("example.org/A", "v1.0.0"), ("example.org/b", "v1.1.0")):
        site.urls |= served(path, version, "file:///srv/go%20proxy")[0]
    assert locations(site)[0][0] == "file:///srv/go%20proxy/example.org/!a/@v/v1.0.0.zip"
    assert {*site.owned} == {"/srv/go proxy"}


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("GOPROXY", "off", "names no proxy"),
        ("GOPROXY", "direct", "names no proxy"),
        ("GOPRIVATE", "example.org", "example.org/A comes from its repository"),
        ("GONOPROXY", "*.net,example.org/A", "example.org/A comes from its repository"),
    ],
)
def test_modules_from_repositories_are_refused_by_name(site, host, variable, value, why):
    host.setenv(variable, value)
    testing.check_refused(Go(), None, why, "go mod vendor", site=site, asked=request())


def test_patterns_of_private_modules():
    assert is_direct("corp.example/team/x", ("*.example",))
    assert is_direct("a.b/c/d", ("a.b/c",))
    assert not is_direct("a.b/cc", ("a.b/c",))
    assert not is_direct("a.b", ("a.b/c",))
    assert host_settings({"GONOPROXY": "none", "GOPRIVATE": "x.y"}).direct == ()


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_proxy_with_another_module_than_go_sum_is_refused(tmp_path):
    other = {**URLS, **served("example.org/A", "v1.0.0", body="package evil\n")[0]}
    testing.check_refused(
        Go(), None, "example.org/A v1.0.0", "go.sum has h1:", site=FileSite(tmp_path, other), asked=request()
    )
    changed = {**URLS, f"{PROXY}/example.org/!a/@v/v1.0.0.mod": b"module evil\n"}
    testing.check_refused(Go(), None, "its mod has the hash", site=FileSite(tmp_path, changed), asked=request())
    broken = {**URLS, f"{PROXY}/example.org/!a/@v/v1.0.0.zip": b"<html>"}
    testing.check_refused(Go(), None, "it is no zip", site=FileSite(tmp_path, broken), asked=request())


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"go.mod": MOD}, ["go.sum has no hash of example.org/A", "go mod tidy"]),
        ({**FILES, "go.sum": A_SUMS}, ["go.sum has no hash of example.org/b"]),
        ({**FILES, "go.mod": "require (\n"}, ["has no end", "go.mod:1"]),
        ({**FILES, "go.sum": "x\n"}, ["a line has no module", "go.sum:1"]),
    ],
)
def test_files_that_are_wrong_are_named(site, files, why):
    testing.check_refused(Go(), None, *why, site=site, asked=request(files))


@pytest.mark.parametrize(("status", "why"), [(NO_GO, "there is no go in this env"), (1, "go does not work")])
def test_a_stack_without_go_is_named(tmp_path, status, why):
    testing.check_refused(Go(), None, why, "apt: [golang-go]", site=FileSite(tmp_path, status=status), asked=request())


# ---- which edits matter ----------------------------------------------------------------------------------------------


def key(files, site):
    """All of a project that the core puts into the layer's key, and what decides whether `resolve` is called again."""
    asked = request(files)
    pins = Go().resolve(asked, site)
    fetches = sorted((fetch.name, fetch.sha256) for fetch in Go().fetches(asked, pins))
    return json.dumps([Go().question(asked), Go().material(asked, pins)], sort_keys=True), fetches


NOTHING = {  # edits that rebuild nothing
    "the project's own path": {"go.mod": MOD.replace("org/app", "org/renamed")},
    "the version of Go": {"go.mod": MOD.replace("1.21", "1.23.4")},
    "a toolchain": {"go.mod": MOD + "\ntoolchain go1.24.1\n"},
    "comments": {"go.mod": "// Deprecated: no\n" + MOD.replace("v1.0.0", "v1.0.0 // indirect")},
    "blocks into lines": {
        "go.mod": "module example.org/app\ngo 1.21\nrequire example.org/b v1.1.0\nrequire example.org/A v1.0.0\n"
    },
    "an excluded version": {"go.mod": MOD + "\nexclude example.org/A v1.0.1\n"},
    "retracted versions": {"go.mod": MOD + "\nretract v0.1.0\n"},
    "settings of the runtime": {"go.mod": MOD + "\ngodebug http2client=0\n"},
    "a tool of the project": {"go.mod": MOD + "\ntool example.org/app/cmd\n"},
    "a directory in place of a module that is not used": {"go.mod": MOD + "\nreplace example.org/z => ./z\n"},
    "the order of go.sum": {"go.sum": B_SUMS + A_SUMS},
    "an old archive in go.sum": {"go.sum": A_SUMS + B_SUMS + C_SUMS.splitlines()[0] + "\n"},
    "a README": {"README.md": "# other\n"},
    "sources": {"main.go": "package main\n"},
    "tests": {"main_test.go": "package main\n"},
    "what go generate reads": {"gen.go": "//go:generate rm -rf /\npackage main\n"},
    "settings of golangci-lint": {".golangci.yml": "linters: {}\n"},
    "settings of staticcheck": {"staticcheck.conf": "checks = []\n"},
    "a Makefile": {"Makefile": "all:\n"},
    "a licence": {"LICENSE": "MIT\n"},
    "a workflow": {".github/workflows/x.yml": "on: push\n"},
}


@pytest.mark.parametrize("edit", NOTHING)
def test_an_edit_that_rebuilds_nothing(edit, site):
    assert {**FILES, **NOTHING[edit]} != FILES
    assert key({**FILES, **NOTHING[edit]}, site) == key(FILES, site)


def test_one_changed_requirement_downloads_its_files_alone(site):
    changed = {"go.mod": MOD.replace("b v1.1.0", "b v1.2.0"), "go.sum": A_SUMS + C_SUMS}
    before, after = {*key(FILES, site)[1]}, {*key(changed, site)[1]}
    assert {name for name, _ in after - before} == {"example.org+b@v1.2.0.zip", "example.org+b@v1.2.0.mod"}


# ---- the layer -------------------------------------------------------------------------------------------------------


def test_the_module_cache(tmp_path, site):
    pins = Go().resolve(request(), site)
    document = Go().build_document(pins)
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for url, body in {**A_URLS, **B_URLS}.items():
        path, _, file = url.removeprefix(f"{PROXY}/").partition("/@v/")
        (blobs / f"{path.replace('/', '+')}@{file}").write_bytes(body)
    place = tmp_path / "mod"
    document |= {
        "top": str(place),
        **{
            part: [[row[0].replace("/run/envtool/blobs", str(blobs)), *row[1:]] for row in document[part]]
            for part in ("archives", "manifests")
        },
    }
    unpacked = place / "example.org/b@v1.1.0"
    unpacked.mkdir(parents=True)
    (unpacked / "x.go").write_text("x")
    (unpacked / "x.go").chmod(0o600)
    module_cache.prepare()
    module_cache.finish_cache(document)
    downloads = place / "cache/download/example.org"
    assert (downloads / "!a/@v/v1.0.0.ziphash").read_text() == A_SUMS.split()[2]
    assert (downloads / "!a/@v/v1.0.0.mod").read_text() == "module example.org/A\n"
    assert json.loads((downloads / "b/@v/v1.1.0.info").read_text()) == {"Version": "v1.1.0"}
    assert (unpacked / "x.go").stat().st_mode & 0o777 == 0o644
    for part, index in (("archives", 0), ("manifests", 1)):
        spoilt = {**document, part: [[*document[part][index][:3], "h1:x"]]}
        with pytest.raises(ValueError, match=r"and go\.sum has h1:x"):
            module_cache.finish_cache(spoilt)


def test_names_of_blobs():
    assert blob_name("example.org/A", "v1.0.0", "zip") == "example.org+!a@v1.0.0.zip"
    long = {blob_name(f"example.org/{letter * 90}/{'x' * 90}/{'y' * 90}", "v1.0.0", "mod") for letter in "ab"}
    assert len(long) == 2
    assert all(len(name) < 200 for name in long)
    assert Go().package("example.org+!a@v1.0.0.zip") == ("example.org/A", "v1.0.0")
    assert Go().package("other.tar") == ("other.tar", "")


def test_modules_of_a_stack():
    tree = testing.MemoryTree(
        {
            "/opt/go/mod/cache/download/github.com/!burnt!sushi/toml/@v/v1.3.2.ziphash": "h1:x",
            "/srv/cache/download/x/@v/v1.ziphash": "",
        }
    )
    (package,) = cached_modules(tree)
    assert (package.type, package.namespace, package.name, package.version) == (
        "golang",
        "github.com/BurntSushi",
        "toml",
        "v1.3.2",
    )
    file = "/opt/go/mod/github.com/!burnt!sushi/toml@v1.3.2/decode.go"
    (owner,) = modules_with(testing.MemoryTree({file: ""}), file)
    assert owner.full_name == "github.com/BurntSushi/toml"
    assert modules_with(tree, "/opt/go/mod/cache/lock") == []


# ---- go-module -------------------------------------------------------------------------------------------------------

SOURCE = {"module": "example.org/A", "version": "v1.0.0", "to": "/src", "sum": A_SUMS.split()[2]}


def test_the_sources_of_a_module(site):
    wrong = [
        "x", {}, {**SOURCE, "module": "../x"}, {**SOURCE, "version": "1.0.0"}, {**SOURCE, "to": "src"},
        {**SOURCE, "to": "/src/../etc"}, {**SOURCE, "sum": "x"}, {**SOURCE, "more": 1},
    ]  # fmt: skip
    pins = testing.check_kind(GoModule(), SOURCE, site=site, wrong=wrong)
    assert pins["sha256"] == hashlib.sha256(A_URLS[f"{PROXY}/example.org/!a/@v/v1.0.0.zip"]).hexdigest()
    assert GoModule().summary(testing.request(SOURCE), pins) == "example.org/A v1.0.0"
    assert GoModule().package("example.org+b@v1.1.0.zip") == ("example.org/b", "v1.1.0")
    testing.check_refused(GoModule(), {**SOURCE, "sum": B_SUMS.split()[2]}, "its zip has the hash", site=site)


def test_modules_are_the_same_for_another_architecture(site):
    own = Go().resolve(request(), site)
    site.arch = "aarch64"
    asked = replace(request(), arch="aarch64", keep=own, stand_in=api.StandIn(arch="x86_64", layers=()))
    assert Go.stands_in
    assert Go().resolve(asked, site) == own
