"""`toolchain: {rust: …}` by the kit: channel servers in rustup's format, what is taken of a manifest, what is refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from envtool_rust import rust_releases, vendoring
from envtool_rust.kinds import TOOLCHAIN, RustToolchain
from envtool_rust.plugin import RustLanguage
from envtool_rust.rust_releases import host_server, read_manifest

from envtool import api, testing

SERVER = "https://rust.invalid"
ORIGINAL = "https://original.invalid/dist/"  # which manifests name, whatever server has them
TARGETS = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "x86_64-pc-windows-msvc")
DATE = "2024-08-08"
PARTS = ("rustc", "cargo", "rust-std", "clippy", "rustfmt")


def archive(part, version, target, form="xz"):
    return f"{DATE}/{part}-{version}-{target}.tar.{form}"


def entry(part, version, target, *, only_gz=False):
    rows = ["available = true"]
    for form, prefix in (("gz", ""), ("xz", "xz_")) if not only_gz else (("gz", ""),):
        path = archive(part, version, target, form)
        rows += [f'{prefix}url = "{ORIGINAL}{path}"', f'{prefix}hash = "{hashlib.sha256(path.encode()).hexdigest()}"']
    return "\n".join(rows)


def manifest(version="1.80.1", *, lacks=(), only_gz=False, edit=lambda text: text):
    """The text of a manifest with the archives of a release, as the servers write it."""
    rows = ['manifest-version = "2"', f'date = "{DATE}"']
    for part in PARTS:
        package = f"{part}-preview" if part in ("clippy", "rustfmt") else part
        rows.append(f'[pkg.{package}]\nversion = "{version} (3f5fd8dd4 2024-08-06)"')
        for target in TARGETS:
            body = "available = false" if part in lacks else entry(part, version, target, only_gz=only_gz)
            rows.append(f"[pkg.{package}.target.{target}]\n{body}")
    rows += ['[renames.clippy]\nto = "clippy-preview"', '[renames.rustfmt]\nto = "rustfmt-preview"']
    return edit("\n".join(rows) + "\n")


def served(*releases, server=SERVER, wrong=(), digest=None):
    """URL -> content of a server: `releases` are channel and manifest."""
    urls = {}
    for channel, text in releases:
        url = f"{server}/dist/channel-rust-{channel}.toml"
        urls[url] = text.encode()
        urls[f"{url}.sha256"] = (digest or hashlib.sha256(text.encode()).hexdigest()).encode() + b"  a name\n"
    for version in ("1.80.0", "1.80.1", "1.85.0"):
        for part in PARTS:
            for target in TARGETS:
                for form in ("xz", "gz"):
                    path = archive(part, version, target, form)
                    urls[f"{server}/dist/{path}"] = b"another" if part in wrong else path.encode()
    return urls


def site(*releases, arch="x86_64", **named):
    usual = (
        ("1.80", manifest()),
        ("1.80.1", manifest()),
        ("1.80.0", manifest("1.80.0")),
        ("stable", manifest("1.85.0")),
    )
    return testing.MemorySite(urls=served(*(releases or usual), **named), arch=arch)


@pytest.fixture(autouse=True)
def host(monkeypatch, tmp_path):
    """No test reads this machine's configuration of rustup."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RUSTUP_HOME", "RUSTUP_DIST_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RUSTUP_DIST_SERVER", SERVER + "/")
    return monkeypatch


def resolve(wanted, at=None, keep=None, **options):
    request = replace(testing.request({"version": wanted, **options}), keep=keep)
    return RustToolchain().resolve(request, at or site())


@pytest.mark.parametrize(
    ("wanted", "version"), [("1.80", "1.80.1"), ("1.80.1", "1.80.1"), ("1.80.0", "1.80.0"), ("1", "1.85.0")]
)
def test_the_components_of_a_release_are_pinned(wanted, version):
    pins = testing.check_kind(
        RustToolchain(),
        {"version": wanted},
        site=site(),
        wrong=[{}, {"version": 1}, {"version": "1", "mirror": "/srv"}],
    )
    assert [row["name"] for row in pins["archives"]] == [*PARTS]
    assert {row["version"] for row in pins["archives"]} == {version}
    assert pins["archives"][0]["path"] == archive("rustc", version, TARGETS[0])
    assert "invalid" not in json.dumps(pins)
    request = testing.request({"version": wanted, "origin": "rust-toolchain.toml"})
    assert RustToolchain().summary(request, pins) == f"{version} from Rust channel server (rust-toolchain.toml)"
    assert RustToolchain().package(pins["archives"][2]["file"]) == ("rust-std", version)


def test_clippy_and_rustfmt_only_where_there_are_some_and_gzip_where_there_is_no_xz():
    pins = resolve("1.80", site(("1.80", manifest(lacks=("clippy", "rustfmt"), only_gz=True))))
    assert [row["path"] for row in pins["archives"]] == [
        archive(part, "1.80.1", TARGETS[0], "gz") for part in PARTS[:3]
    ]


def test_each_architecture_has_its_archives():
    pins = resolve("1.80", site(arch="aarch64"))
    assert pins["archives"][2]["path"] == archive("rust-std", "1.80.1", TARGETS[1])
    with pytest.raises(api.ResolveError, match=r"not for armv7l\)"):
        resolve("1.80", site(arch="armv7l"))
    with pytest.raises(api.ResolveError, match=r"Rust 1\.80\.1 has no cargo for x86_64-unknown-linux-gnu"):
        resolve("1.80", site(("1.80", manifest(lacks=("cargo",)))))


def test_archives_come_from_the_server_that_is_asked_and_never_from_another():
    at = site()
    resolve("1.80", at)
    assert {url for url in at.fetched if "original" in url} == set()
    kind, request, pins = RustToolchain(), testing.request({"version": "1.80"}), resolve("1.80")
    for fetch in kind.locate(request, pins, kind.fetches(request, pins), at):
        assert fetch.url.startswith(f"{SERVER}/dist/{DATE}/")


def test_the_server_of_the_spec_is_asked_first_and_is_in_no_pin_and_no_key():
    mirror = "https://mirror.invalid/rust"
    at = site()
    at.urls |= served(("1.80", manifest("1.80.0")), server=mirror)
    pins = resolve("1.80", at, mirror=mirror + "/")
    assert pins["archives"][0]["version"] == "1.80.0"
    assert "mirror" not in json.dumps(pins)
    kind, request = RustToolchain(), testing.request({"version": "1.80", "mirror": mirror})
    assert kind.question(request) == kind.question(testing.request({"version": "1.80"}))
    assert "mirror.invalid" not in json.dumps(kind.material(request, pins))
    (first, *_) = kind.locate(request, pins, kind.fetches(request, pins), at)
    assert (first.url[: len(mirror)], first.mirrors[0][: len(SERVER)]) == (mirror, SERVER)
    assert resolve("1.80.1", at, mirror=mirror)["archives"][0]["version"] == "1.80.1", "which only this machine's has"


def test_an_earlier_pin_that_fits_stays_as_long_as_it_is_there():
    earlier = resolve("1.80.0")
    assert resolve("1.80", keep=earlier)["archives"][0]["version"] == "1.80.0"
    assert resolve("1.80", site(("1.80", manifest())), keep=earlier)["archives"][0]["version"] == "1.80.1"
    assert resolve("1.80.1", keep=earlier)["archives"][0]["version"] == "1.80.1"


@pytest.mark.parametrize("wanted", ["1.80.9", "1.99", "1.99.1"])
def test_a_version_that_is_not_there_is_answered_with_those_that_are(wanted):
    with pytest.raises(api.ResolveError) as refused:
        resolve(wanted)
    near = "1.80.1 and 1 more" if wanted == "1.80.9" else "1.85.0"
    assert refused.value.message == f"no Rust {wanted} can be had for x86_64; Rust channel server has {near}"
    assert refused.value.hint.startswith("write one of these versions; without a toolchain, `language: rust` takes")


def test_no_server(host):
    host.setenv("RUSTUP_DIST_SERVER", "")
    with pytest.raises(api.ResolveError) as refused:
        resolve("1.80")
    assert (
        "no versions from Rust channel server (this machine names no channel server of Rust)" in refused.value.message
    )
    assert refused.value.hint.startswith(
        "set RUSTUP_DIST_SERVER, or write `toolchain: {rust: {version: …, mirror: URL}}`"
    )
    host.setenv("RUSTUP_DIST_SERVER", "https://down.invalid")
    with pytest.raises(
        api.ResolveError, match=r"no versions from Rust channel server \(https://down\.invalid/dist/channel"
    ):
        resolve("1.80")


def test_hashes_that_differ():
    with pytest.raises(api.FetchError, match="sha256"):
        resolve("1.80", site(("1.80", manifest()), wrong=("rust-std",)))
    with pytest.raises(
        api.ResolveError, match=r"channel-rust-1\.80\.toml has another hash than channel-rust-1\.80\.toml"
    ):
        resolve("1.80", site(("1.80", manifest()), digest="0" * 64))
    with pytest.raises(api.ResolveError, match=r"channel-rust-1\.80\.toml has another hash"):
        resolve("1.80", site(("1.80", manifest()), digest=" "))


def edited(old, new):
    return manifest(edit=lambda text: text.replace(old, new))


HOSTILE = {
    "no TOML": edited("[pkg.rustc]", "[pkg.rustc"),
    "no text": manifest() + "\udc80",
    "another version": edited('manifest-version = "2"', 'manifest-version = "3"'),
    "a huge number": "n = " + "9" * 5000 + "\n" + manifest(),
    "a long line": "n = [" + "1, " * 2000 + "]\n" + manifest(),
    "a large file": manifest() + "# \n" * (rust_releases.MAX_MANIFEST // 3),
    "deep": "n = " + "[" * 1900 + "\n" + manifest(),
    "no packages": 'manifest-version = "2"\n',
    "packages are a list": 'manifest-version = "2"\npkg = []\n',
    "a number for a version": edited('version = "1.80.1 (3f5fd8dd4 2024-08-06)"', "version = 1"),
    "a huge version": edited('version = "1.80.1 (', f'version = "1.{"8" * 1000}.1 ('),
    "a nightly": edited('version = "1.80.1 (', 'version = "1.80.1-nightly ('),
    "renames to a table": edited('to = "clippy-preview"', "to = {a = 1}"),
    "a URL without dist": edited("/dist/", "/other/"),
    "a path with ..": edited(f"/dist/{DATE}/", f"/dist/{DATE}/../../"),
    "a coded path with ..": edited(f"/dist/{DATE}/", f"/dist/{DATE}/%2e%2e/"),
    "another directory": edited(f"/dist/{DATE}/", f"/dist/{DATE}/a/b/"),
    "a second dist": edited("/dist/", "/dist//dist/"),
    "a query": edited(".tar.xz", ".tar.xz?a"),
    "no archive": edited(".tar.xz", ".exe"),
    "a short hash": edited('xz_hash = "', 'xz_hash = "0'),
    "a hash in another alphabet": edited('xz_hash = "', 'xz_hash = "é'),
    "a number for a URL": edited('xz_url = "', "xz_url = 1 # "),
    "no hash": edited("xz_hash", "xz_hush"),
    "available is a text": edited("available = true", 'available = "true"'),
}


@pytest.mark.parametrize("case", [*HOSTILE])
def test_hostile_manifests(case):
    if case == "renames to a table":  # clippy is left out, as of a release without it
        release = read_manifest(HOSTILE[case].encode(), "1.80", TARGETS[0])
        assert [component.name for component in release.components] == ["rustc", "cargo", "rust-std", "rustfmt"]
        return
    with pytest.raises(
        api.ResolveError, match=r"is no manifest of a release of Rust|has no rustc, cargo, rust-std for"
    ):
        read_manifest(HOSTILE[case].encode(errors="surrogateescape"), "1.80", TARGETS[0])


def test_a_manifest_that_lies_about_its_version():
    with pytest.raises(
        api.ResolveError, match=r"no Rust 1\.80 can be had for x86_64; Rust channel server has 1\.85\.0"
    ):
        resolve("1.80", site(("1.80", manifest("1.85.0"))))


def test_where_this_machine_has_its_server(tmp_path):
    assert host_server({"RUSTUP_DIST_ROOT": "https://h/static/dist/"}) == "https://h/static"
    assert host_server({"RUSTUP_DIST_SERVER": "file:///srv/rust/"}) == "file:///srv/rust"
    assert host_server({"RUSTUP_HOME": str(tmp_path)}) == ""
    for name, text in (("a-broken", "\n"), ("stable", f'[pkg.cargo]\nurl = "{ORIGINAL}x"\n')):
        (tmp_path / "toolchains" / name / "lib/rustlib").mkdir(parents=True)
        (tmp_path / "toolchains" / name / "lib/rustlib/multirust-channel-manifest.toml").write_text(text)
    assert host_server({"RUSTUP_HOME": str(tmp_path)}) == "https://original.invalid"


def test_a_directory_of_this_machine_is_allowed(host, tmp_path):
    host.setenv("RUSTUP_DIST_SERVER", f"file://{tmp_path}/a%20b")
    at = testing.MemorySite(urls=served(("1.80", manifest()), server=f"file://{tmp_path}/a%20b"))
    assert resolve("1.80", at)["archives"][0]["version"] == "1.80.1"
    assert {*at.owned} == {f"{tmp_path}/a b"}


def test_the_toolchain_has_a_mirror_and_the_installer_leaves_no_list(tmp_path):
    assert (TOOLCHAIN.kind, bool(TOOLCHAIN.mirror)) == ("rust-toolchain", True)
    (tmp_path / "manifest.in").write_text("")
    (tmp_path / "bin").mkdir()
    for _ in range(2):
        vendoring.remove_installer(str(tmp_path))
        assert [path.name for path in tmp_path.iterdir()] == ["bin"]


def test_the_language_adds_no_cargo_beside_a_toolchain():
    where = api.Where(file="envtool.yaml", line=3, column=9)
    env = api.EnvDraft(name="t", base_kind="debian", options={}, layer_names=(), where=where, toolchains=("rust",))
    project = testing.MemoryProject({"Cargo.toml": '[package]\nname = "p"\nversion = "1.0.0"\n'})
    (layer,) = RustLanguage().layers(env, project)
    assert layer.options == ["gcc", "libc6-dev"]
    (layer,) = RustLanguage().layers(replace(env, options={"components": ["clippy"]}), project)
    assert layer.options == ["gcc", "libc6-dev"]
    with pytest.raises(api.SpecError) as refused:
        RustLanguage().layers(replace(env, options={"components": ["doc"]}), project)
    assert (
        "`components: [doc]`: `toolchain: {rust: …}` has clippy and rustfmt alone" in refused.value.problems[0].message
    )


@pytest.mark.parametrize(
    ("files", "wanted", "file", "line"),
    [
        ({"rust-toolchain": "1.80.1\n"}, "1.80.1", "rust-toolchain", 1),
        ({"rust-toolchain": '[toolchain]\nchannel = "1.80"\n'}, "1.80", "rust-toolchain", 2),
        ({"rust-toolchain.toml": '[toolchain]\n\nchannel = "1.80"\nprofile = "minimal"\n'}, "1.80", "rust-toolchain.toml", 3),
        ({"rust-toolchain.toml": '[toolchain]\nchannel = "1.80.1-x86_64-unknown-linux-gnu"\n'}, "1.80.1", "rust-toolchain.toml", 2),
        ({"rust-toolchain": "1.79\n", "rust-toolchain.toml": '[toolchain]\nchannel = "1.80"\n'}, "1.79", "rust-toolchain", 1),
    ],
)  # fmt: skip
def test_the_file_that_names_the_release(files, wanted, file, line):
    first = next(TOOLCHAIN.wants(testing.MemoryProject(files)))
    assert (first.wanted, first.file, first.line) == (wanted, file, line)


@pytest.mark.parametrize(
    "text", ['[toolchain]\npath = "/opt/rust"\n', "", "toolchain = 1\n", "[toolchain]\nchannel = 1\n"]
)
def test_files_that_name_no_channel(text):
    assert [*TOOLCHAIN.wants(testing.MemoryProject({"rust-toolchain.toml": text}))] == []
    assert [*TOOLCHAIN.wants(testing.MemoryProject({}))] == []


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"rust-toolchain": "stable\n"}, "rust-toolchain names the Rust `stable`, which is no version"),
        (
            {"rust-toolchain.toml": '[toolchain]\nchannel = "nightly-2024-01-01"\n'},
            "names the Rust `nightly-2024-01-01`",
        ),
        ({"rust-toolchain.toml": "[toolchain"}, "rust-toolchain.toml is no TOML"),
        ({"rust-toolchain.toml": "n = " + "9" * 5000}, "rust-toolchain.toml is no TOML"),
        ({"rust-toolchain.toml": "n = " + "[" * 50_000}, "rust-toolchain.toml is no TOML"),
        ({"rust-toolchain.toml": "#" * 70_000}, "rust-toolchain.toml is no TOML: it is too large"),
        ({"rust-toolchain": "1." + "9" * 5000}, "which is no version"),
    ],
)
def test_files_that_name_no_release(files, message):
    with pytest.raises(api.SpecError) as refused:
        [*TOOLCHAIN.wants(testing.MemoryProject(files))]
    assert message in refused.value.problems[0].message
    assert len(refused.value.problems[0].message) < 200
