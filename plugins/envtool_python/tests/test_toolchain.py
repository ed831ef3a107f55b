"""`toolchain: {python: …}` by the kit: lists and mirrors in uv's format, what is taken of them, what is refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from envtool_python import python_releases
from envtool_python.language import Python
from envtool_python.python_releases import PythonServer, host_servers, mirror_server, read_list
from envtool_python.python_toolchain import TOOLCHAIN, PythonToolchain

from envtool import api, testing

LIST = "https://lists.invalid/download-metadata.json"
ORIGINAL = "https://original.invalid/builds/releases/download/"
MIRROR = "https://mirror.invalid/python"
NO_MIRROR = PythonServer(LIST, "")
WITH_MIRROR = PythonServer(LIST, MIRROR)


def path(version, arch="x86_64", date="20240909"):
    return f"{date}/cpython-{version}+{date}-{arch}-unknown-linux-gnu-install_only_stripped.tar.gz"


def entry(version, arch="x86_64", *, old=False, **changes):
    """A row of a list, as uv has it today, or had it before 0.5."""
    release, _, prerelease = version.partition("-")
    major, minor, patch = map(int, release.split("."))
    file = path(f"{release}{prerelease}", arch)
    return {
        "name": "cpython", "arch": arch if old else {"family": arch, "variant": None}, "os": "linux", "libc": "gnu",
        "major": major, "minor": minor, "patch": patch, "prerelease": prerelease, "url": ORIGINAL + file.replace("+", "%2B"),
        "sha256": hashlib.sha256(file.encode()).hexdigest(), "variant": None, "build": "20240909", **changes,
    }  # fmt: skip


ENTRIES = [
    entry("3.11.9"),
    entry("3.12.5", old=True),
    entry("3.12.6"),
    entry("3.12.7", libc="musl"),
    entry("3.12.7", os="darwin"),
    entry("3.12.7", variant="freethreaded"),
    entry("3.12.7", name="pypy"),
    entry("3.12.7", sha256=None),
    entry("3.12.7", arch={"family": "x86_64", "variant": "v3"}),
    entry("3.12.7", url=ORIGINAL + "20240909/cpython-3.12.7-x86_64-unknown-linux-gnu-pgo+lto-full.tar.zst"),
    entry("3.13.0-rc2"),
    entry("3.12.6", "aarch64"),
]


def text(entries=ENTRIES):
    return json.dumps({f"key {number}": row for number, row in enumerate(entries)}).encode()


def site(entries=ENTRIES, arch="x86_64", listed=LIST, archives=ORIGINAL, wrong=False):
    urls = {listed: text(entries)}
    for version in ("3.11.9", "3.12.5", "3.12.6", "3.13.0rc2"):
        for name in ("x86_64", "aarch64"):
            body = b"another" if wrong else path(version, name).encode()
            urls[archives.rstrip("/") + "/" + path(version, name).replace("+", "%2B")] = body
    return testing.MemorySite(urls=urls, arch=arch)


@pytest.fixture(autouse=True)
def host(monkeypatch, tmp_path):
    """No test reads this machine's configuration of uv."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(python_releases, "_config_files", lambda _: [str(tmp_path / "uv/uv.toml")])
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", LIST)
    monkeypatch.delenv("UV_PYTHON_INSTALL_MIRROR", raising=False)
    return monkeypatch


def resolve(wanted, at=None, keep=None, **options):
    request = replace(testing.request({"version": wanted, **options}), keep=keep)
    return PythonToolchain().resolve(request, at or site())


@pytest.mark.parametrize(
    ("wanted", "version"), [("3", "3.12.6"), ("3.12", "3.12.6"), ("3.12.5", "3.12.5"), ("3.13.0rc2", "3.13.0rc2")]
)
def test_the_newest_build_that_fits_is_pinned(wanted, version):
    pins = testing.check_kind(PythonToolchain(), {"version": wanted}, site=site(), wrong=[{}, {"version": 3}])
    (row,) = pins["archives"]
    assert (row["name"], row["version"], row["path"]) == ("python", version, path(version))
    assert "invalid" not in json.dumps(pins)
    request = testing.request({"version": wanted, "origin": ".python-version"})
    assert PythonToolchain().summary(request, pins) == f"{version} from uv's list (.python-version)"
    assert PythonToolchain().package(row["file"]) == ("cpython", version)


def test_each_architecture_has_its_builds():
    assert resolve("3", site(arch="aarch64"))["archives"][0]["path"] == path("3.12.6", "aarch64")
    with pytest.raises(
        api.ResolveError, match="no Python 3 can be had for armv7l; uv's list has none for this machine"
    ):
        resolve("3", site(arch="armv7l"))


def test_a_mirror_of_this_machine_has_the_archives_of_the_list(host):
    host.setenv("UV_PYTHON_INSTALL_MIRROR", MIRROR + "/")
    at = site(archives=MIRROR)
    pins = resolve("3.12", at)
    assert not [url for url in at.fetched if "original" in url]
    kind, request = PythonToolchain(), testing.request({"version": "3.12"})
    (fetch,) = kind.locate(request, pins, kind.fetches(request, pins), at)
    assert fetch.url == f"{MIRROR}/{path('3.12.6').replace('+', '%2B')}"


def test_a_lock_is_found_without_a_mirror_by_its_hash(host):
    kind, request, pins = PythonToolchain(), testing.request({"version": "3.12"}), resolve("3.12")
    (fetch,) = kind.locate(request, pins, kind.fetches(request, pins), site())
    assert fetch.url == ORIGINAL + path("3.12.6").replace("+", "%2B")
    with pytest.raises(api.ResolveError, match=r"no list of Pythons on this machine has 20240909/cpython-3\.12\.6"):
        kind.locate(request, pins, kind.fetches(request, pins), site(ENTRIES[:1]))
    host.delenv("UV_PYTHON_DOWNLOADS_JSON_URL")
    with pytest.raises(api.ResolveError, match="this machine names no list of Pythons"):
        kind.locate(request, pins, kind.fetches(request, pins), site())


def test_the_server_of_the_spec_is_asked_first_and_is_in_no_pin_and_no_key():
    at = site([entry("3.11.9")], listed=f"{MIRROR}/download-metadata.json", archives=MIRROR)
    at.urls |= site().urls
    pins = resolve("3", at, mirror=MIRROR + "/")
    assert pins["archives"][0]["version"] == "3.11.9"
    assert "mirror" not in json.dumps(pins)
    kind, request = PythonToolchain(), testing.request({"version": "3", "mirror": MIRROR})
    assert kind.question(request) == {"version": "3"}
    (fetch,) = kind.locate(request, pins, kind.fetches(request, pins), at)
    assert (fetch.url[: len(MIRROR)], fetch.mirrors[0][: len(ORIGINAL)]) == (MIRROR, ORIGINAL)
    assert resolve("3", at, mirror="https://down.invalid")["archives"][0]["version"] == "3.12.6", (
        "of this machine's list"
    )


def test_a_list_that_the_spec_names_itself():
    listed = "https://own.invalid/pythons.json"
    assert mirror_server(listed) == PythonServer(listed, "")
    assert resolve("3.11", site(listed=listed), mirror=listed)["archives"][0]["version"] == "3.11.9"


def test_an_earlier_pin_that_fits_stays():
    earlier = resolve("3.12.5")
    assert resolve("3.12", keep=earlier)["archives"][0]["version"] == "3.12.5"
    assert resolve("3.11", keep=earlier)["archives"][0]["version"] == "3.11.9"


def test_a_version_that_is_not_there_is_answered_with_those_that_are():
    with pytest.raises(api.ResolveError) as refused:
        resolve("3.12.99")
    assert refused.value.message == "no Python 3.12.99 can be had for x86_64; uv's list has 3.12.6, 3.12.5 and 1 more"
    assert "3.11 in `{debian: bookworm}`, 3.13 in trixie" in refused.value.hint
    with pytest.raises(api.ResolveError, match=r"uv's list has 3\.12\.6, 3\.12\.5, 3\.11\.9$"):
        resolve("3.99")


def test_no_list(host):
    host.delenv("UV_PYTHON_DOWNLOADS_JSON_URL")
    with pytest.raises(api.ResolveError) as refused:
        resolve("3.12")
    assert "no versions from uv's list (this machine names no list of Pythons)" in refused.value.message
    assert refused.value.hint.startswith("set UV_PYTHON_DOWNLOADS_JSON_URL, or write `toolchain: {python: {version: …,")
    host.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", "https://down.invalid/x.json")
    with pytest.raises(api.ResolveError, match=r"no versions from uv's list \(https://down\.invalid/x\.json"):
        resolve("3.12")


def test_an_archive_with_another_hash():
    with pytest.raises(api.FetchError, match="sha256"):
        resolve("3.12", site(wrong=True))


URLS = {
    "a file of this machine": "file:///etc/releases/download/cpython-install_only.tar.gz",
    "a path": "/releases/download/cpython-install_only.tar.gz",
    "credentials": "https://u:p@host/releases/download/cpython-install_only.tar.gz",
    "another scheme": "ftp://host/releases/download/cpython-install_only.tar.gz",
    "a blank": "https://ho st/releases/download/cpython-install_only.tar.gz",
    "a path with ..": ORIGINAL + "../../cpython-install_only.tar.gz",
    "a coded path with ..": ORIGINAL + "%2e%2e/cpython-install_only.tar.gz",
    "a coded slash": ORIGINAL + "..%2f..%2fcpython-install_only.tar.gz",
    "a query": ORIGINAL + "cpython-install_only.tar.gz?x",
    "a fragment": ORIGINAL + "cpython-install_only.tar.gz#x",
    "an absolute path": ORIGINAL + "/etc/cpython-install_only.tar.gz",
    "many directories": ORIGINAL + "a/" * 20 + "cpython-install_only.tar.gz",
    "another form": ORIGINAL + "cpython-install_only.exe",
    "a directory": ORIGINAL + "install_only.tar.gz/",
    "a line": ORIGINAL + "cpython-install_only.tar.gz%0a",
    "nothing": "",
    "a number": 7,
    "no host": "https://[/cpython-3.12.6-install_only.tar.gz",
    "no host, with the mark": "https://[/releases/download/x/cpython-3.12.6-install_only.tar.gz",
}


@pytest.mark.parametrize("server", [NO_MIRROR, WITH_MIRROR], ids=["list", "mirror"])
@pytest.mark.parametrize("case", [*URLS])
def test_hostile_urls(case, server):
    assert read_list(text([entry("3.12.6", url=URLS[case])]), "x86_64", server) == ()


def test_a_url_without_the_mark():
    own = entry("3.12.6", url="https://host.invalid/cpython-3.12.6-install_only.tar.gz")
    (build,) = read_list(text([own]), "x86_64", NO_MIRROR)
    assert (build.path, build.url) == ("cpython-3.12.6-install_only.tar.gz", own["url"])
    assert read_list(text([own]), "x86_64", WITH_MIRROR) == (), "which the mirror does not have"
    below = entry("3.12.6", url=f"{MIRROR}/x/cpython-3.12.6-install_only.tar.gz")
    assert read_list(text([below]), "x86_64", WITH_MIRROR)[0].path == "x/cpython-3.12.6-install_only.tar.gz"


@pytest.mark.parametrize(
    "changes",
    [
        {"major": "3"}, {"minor": -1}, {"patch": 10**40}, {"patch": True}, {"patch": None}, {"patch": 1.5},
        {"prerelease": "rc" + "9" * 50}, {"prerelease": "/../"}, {"prerelease": 7},
        {"sha256": "abc"}, {"sha256": "é" * 64}, {"sha256": 7}, {"arch": ["x86_64"]}, {"arch": None},
    ],
)  # fmt: skip
def test_entries_that_cannot_be_used_are_left_out(changes):
    assert read_list(text([entry("3.12.6", **changes)]), "x86_64", NO_MIRROR) == ()


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}", b"\xff", b'{"a": "' + b" " * (32 << 20) + b'"}'],
    ids=["empty", "list", "cut", "deep", "number", "bytes", "large"],
)
def test_what_is_no_list(content):
    with pytest.raises(api.ResolveError, match="what the server has is no list of Pythons in uv's format"):
        read_list(content, "x86_64", NO_MIRROR)
    assert read_list(b'{"a": 1, "b": null, "c": []}', "x86_64", NO_MIRROR) == ()


def test_where_this_machine_has_its_list(tmp_path):
    assert host_servers({}) == []
    assert host_servers({"UV_PYTHON_INSTALL_MIRROR": MIRROR}) == [
        PythonServer(f"{MIRROR}/download-metadata.json", MIRROR)
    ]
    found = host_servers({"UV_PYTHON_DOWNLOADS_JSON_URL": "/srv/a b.json", "UV_PYTHON_INSTALL_MIRROR": "file:///srv/"})
    assert found == [PythonServer("file:///srv/a%20b.json", "file:///srv")]
    (tmp_path / "uv").mkdir()
    (tmp_path / "uv/uv.toml").write_text(f'python-downloads-json-url = "{LIST}"\npython-install-mirror = "{MIRROR}"\n')
    assert host_servers({}) == [WITH_MIRROR]
    (tmp_path / "uv/uv.toml").write_text("broken")
    assert host_servers({}) == []


def test_a_list_of_this_machine_is_allowed(host, tmp_path):
    host.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", f"{tmp_path}/list.json")
    at = site(listed=f"file://{tmp_path}/list.json")
    assert resolve("3.12", at)["archives"][0]["version"] == "3.12.6"
    assert f"{tmp_path}/list.json" in at.owned


def test_config_files_of_uv(monkeypatch):
    monkeypatch.undo()
    found = python_releases._config_files({"XDG_CONFIG_HOME": "/c", "XDG_CONFIG_DIRS": "/a:/b"})
    assert found == ["/c/uv/uv.toml", "/a/uv/uv.toml", "/b/uv/uv.toml", "/etc/uv/uv.toml"]


def test_the_language_adds_no_python_beside_a_toolchain():
    assert (TOOLCHAIN.kind, bool(TOOLCHAIN.mirror)) == ("python-toolchain", True)
    where = api.Where(file="envtool.yaml", line=3, column=9)
    env = api.EnvDraft(
        name="t",
        base_kind="debian",
        base_options="bookworm",
        options={},
        layer_names=("toolchain-python",),
        where=where,
    )
    project = testing.MemoryProject(
        {
            "requirements.txt": "attrs\n",
            "pyproject.toml": '[project]\nname = "p"\nrequires-python = ">=3.12"\ndependencies = ["attrs"]\n',
        }
    )
    with pytest.raises(api.SpecError):  # of the suite
        Python().layers(env, project)
    layers = Python().layers(replace(env, toolchains=("python",)), project)
    assert "apt" not in {layer.kind for layer in layers}
    assert all("toolchain-python" in layer.needs for layer in layers)


def test_which_file_names_the_version():
    files = {".python-version": "# comment\n3.12.6\n", ".tool-versions": "python 3.11\n"}
    (wanted,) = TOOLCHAIN.wants(testing.MemoryProject(files))
    assert (wanted.wanted, wanted.file, wanted.line) == ("3.12.6", ".python-version", 2)
    assert [*TOOLCHAIN.wants(testing.MemoryProject({".tool-versions": "python 3.11\n"}))] == [], "which the core reads"


@pytest.mark.parametrize(
    ("text", "wanted", "passed"),
    [
        ("3.12.1 3.11.4\n", "3.12.1", []),
        ("\ufeff3.12.1\r\n3.11.4\r\n", "3.12.1", []),
        ("cpython@3.12\n", "3.12", []),
        ("cpython-3.12.1-linux-x86_64-gnu\n", "3.12.1", []),
        ("python3.12\n", "3.12", []),
        ("3.12.*\n", "3.12", []),
        (">=3.10,<3.13\n", ">=3.10,<3.13", []),
        ("# ours\nproject-3.11\n3.12\n", "3.12", [".python-version:2 names `project-3.11`, which is no version"]),
        ("3.13t\npypy3.10\n>=x\n", ">=3.9", [
            f".python-version:{line} names `{name}`, which is no version"
            for line, name in ((1, "3.13t"), (2, "pypy3.10"), (3, ">=x"))]),
    ],
)  # fmt: skip
def test_forms_of_python_version(text, wanted, passed):
    found = decide({".python-version": text, "pyproject.toml": SUPPORTED.format(">=3.9")})
    assert (found.decision.wanted, [*found.passed]) == (wanted, passed)
    by = "pyproject.toml:3" if wanted == ">=3.9" else ".python-version:3"
    assert found.note == (f"{'; '.join(passed)}: {by} decides about python" if passed else "")


def decide(files):
    from envtool.api.version_choice import choose_version

    project = testing.MemoryProject(files)
    return choose_version("python", (), iter(TOOLCHAIN.wants(project)), project, PythonToolchain().accepts)


SUPPORTED = '[project]\nname = "x"\nrequires-python = "{}"\n'


@pytest.mark.parametrize(
    ("files", "wanted", "origin", "version"),
    [
        ({"pyproject.toml": SUPPORTED.format(">=3.9")}, ">=3.9", "pyproject.toml, requires-python", "3.12.6"),
        ({"pyproject.toml": SUPPORTED.format(">=3.9,<3.12")}, ">=3.9,<3.12", "pyproject.toml, requires-python", "3.11.9"),
        ({"pyproject.toml": SUPPORTED.format("~=3.11.2")}, "~=3.11.2", "pyproject.toml, requires-python", "3.11.9"),
        ({"pyproject.toml": '[tool.poetry.dependencies]\npython = "^3.10"\n'}, ">=3.10,<4", "pyproject.toml, requires-python", "3.12.6"),
        ({"setup.cfg": "[options]\npython_requires = !=3.12.*\n"}, "!=3.12.*", "setup.cfg, requires-python", "3.11.9"),
        ({"pyproject.toml": SUPPORTED.format(">=3.9"), ".tool-versions": "python 3.11\n"}, "3.11", ".tool-versions", "3.11.9"),
        ({"pyproject.toml": SUPPORTED.format(">=3.9"), ".python-version": "3.12.5\n"}, "3.12.5", ".python-version", "3.12.5"),
    ],
)  # fmt: skip
def test_without_a_file_that_names_one_it_is_the_newest_that_the_project_supports(files, wanted, origin, version):
    decision = decide(files).decision
    assert (decision.wanted, decision.origin) == (wanted, origin)
    assert resolve(wanted, origin=origin)["archives"][0]["version"] == version


def test_a_file_that_names_a_python_that_is_not_supported_is_noted():
    note = decide({"pyproject.toml": SUPPORTED.format(">=3.12"), ".python-version": "3.11\n"}).note
    assert note == "python is 3.11, by .python-version:1, but pyproject.toml:3 allows >=3.12"
    assert not decide({"pyproject.toml": SUPPORTED.format(">=3.11.4"), ".python-version": "3.11\n"}).note


@pytest.mark.parametrize(
    "text", [SUPPORTED.format("three"), SUPPORTED.format(""), "[project", '[project]\nname = "x"\n']
)
def test_what_supports_no_python_decides_nothing(text):
    assert decide({"pyproject.toml": text}).decision is None


def test_no_build_that_the_project_supports():
    with pytest.raises(
        api.ResolveError, match=r"no Python >=3\.14 can be had for x86_64, which pyproject\.toml, requires-python wants"
    ):
        resolve(">=3.14", origin="pyproject.toml, requires-python")
