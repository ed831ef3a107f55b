"""The kinds `pnpm` and `yarn` against a site that answers as containers and registries would."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import stat
import tarfile
from dataclasses import replace

import pytest
from envtool_node import manager_building, manager_resolver
from envtool_node.kinds import Pnpm, Yarn
from envtool_node.manager_install import STEPS

from envtool import api, testing

REGISTRY = "https://npm.example.invalid/"
FACTS = {"version": "20.20.2", "os": "linux", "cpu": "x64", "libc": "glibc", "headers": "/usr"}
PAD = b"tarball of pad"
INTEGRITY = "sha512-" + base64.b64encode(hashlib.sha512(PAD).digest()).decode()
PROGRAM = b"console.log('yarn')\n"


def tarball(files):
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return held.getvalue()


BERRY = tarball({"package/bin/yarn.js": PROGRAM})
URLS = {
    f"{REGISTRY}pad/-/pad-1.0.0.tgz": PAD,
    f"{REGISTRY}pnpm/-/pnpm-9.15.9.tgz": b"pnpm 9",
    f"{REGISTRY}yarn/-/yarn-1.22.22.tgz": b"yarn 1",
    f"{REGISTRY}@yarnpkg/cli-dist/-/cli-dist-4.5.3.tgz": BERRY,
}
MANIFEST = {"name": "x", "dependencies": {"pad": "^1.0.0"}, "scripts": {"test": "x", "postinstall": "exit 9"}}
PNPM = f"""\
lockfileVersion: '9.0'
importers:
  .:
    dependencies:
      pad: {{specifier: ^1.0.0, version: 1.0.0}}
      a: {{specifier: 'workspace:*', version: 'link:packages/a'}}
packages:
  pad@1.0.0: {{resolution: {{integrity: {INTEGRITY}}}}}
snapshots:
  pad@1.0.0: {{}}
"""
CLASSIC = f'pad@^1.0.0:\n  version "1.0.0"\n  resolved "{REGISTRY}pad/-/pad-1.0.0.tgz#00"\n  integrity {INTEGRITY}\n'
MODERN = '__metadata:\n  version: 8\n"pad@npm:^1.0.0":\n  version: 1.0.0\n  resolution: "pad@npm:1.0.0"\n'


@pytest.fixture(autouse=True)
def host(monkeypatch, tmp_path):
    """No test reads this machine's npm configuration."""
    for name in ("HOME", "PREFIX"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("npm_config_globalconfig", str(tmp_path / "none"))
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY", "npm_config_userconfig"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
def project(tmp_path):
    return LockedProject(tmp_path / "project")


class LockedProject:
    """Files on disk, the request of a layer on them, and a site."""

    def __init__(self, top):
        self.top = top
        self.write("package.json", json.dumps(MANIFEST))
        self.write("packages/a/package.json", '{"name": "a"}')

    def write(self, path, text):
        (self.top / path).parent.mkdir(parents=True, exist_ok=True)
        (self.top / path).write_text(text)

    def request(self, options=None):
        files = [str(path.relative_to(self.top)) for path in self.top.rglob("*") if path.is_file()]
        inputs = {path: hashlib.sha256((self.top / path).read_bytes()).hexdigest() for path in sorted(files)}
        return testing.request(options, inputs)

    def site(self):
        answer = testing.completed(f"{json.dumps(FACTS)}\n9.2.0\n{REGISTRY}\n".encode())
        site = testing.MemorySite(urls=dict(URLS), answers={"/bin/sh": lambda command: answer}, project=str(self.top))
        site.variables = dict(os.environ)
        site.fetch = self.fetch
        return site

    def fetch(self, fetches):
        stored = {hashlib.sha256(body).hexdigest(): body for body in URLS.values()}
        for fetch in fetches:
            (self.top.parent / fetch.sha256).write_bytes(stored[fetch.sha256])
        return [self.top.parent / fetch.sha256 for fetch in fetches]


KINDS = {
    "pnpm": (Pnpm(), "pnpm-lock.yaml", PNPM, "pnpm"),
    "classic": (Yarn(), "yarn.lock", CLASSIC, "yarn"),
    "berry": (Yarn(), "yarn.lock", MODERN, "@yarnpkg/cli-dist"),
}


@pytest.mark.parametrize(("kind", "name", "text", "manager"), KINDS.values(), ids=KINDS)
def test_they_keep_the_contract(project, kind, name, text, manager):
    project.write(name, text)
    wrong = ["x", [], {"omit": ["dev"]}, {"scripts": "no"}, {"version": ""}, {"more": 1}]
    options = {"inputs": ["packages/a/package.json"]}
    pins = testing.check_kind(kind, options, site=project.site(), asked=project.request(options), wrong=wrong)
    assert [item["name"] for item in pins["files"]] == ["pad"]
    assert pins["files"][0]["sha256"] == hashlib.sha256(PAD).hexdigest()
    assert pins["manager"]["name"] == manager
    assert pins["trees"] == ["", "packages/a"]
    assert REGISTRY not in json.dumps(pins)
    assert kind.variables(project.request(), pins)["PATH"].endswith("/bin")
    assert kind.in_project(project.request(), pins)["packages/a/node_modules"] == "/opt/npm/packages/a/node_modules"


def test_a_tarball_with_another_hash_is_refused(project):
    project.write("pnpm-lock.yaml", PNPM.replace(INTEGRITY, "sha512-" + base64.b64encode(b"x" * 64).decode()))
    testing.check_refused(Pnpm(), None, site=project.site(), asked=project.request())


def test_the_question_has_no_content_of_package_json(project):
    project.write("yarn.lock", MODERN)
    before = Yarn().question(project.request())
    project.write("package.json", json.dumps({**MANIFEST, "version": "2.0.0"}))
    project.write(".npmrc", "registry=https://other.invalid/\n")
    assert Yarn().question(project.request()) == before
    project.write("yarn.lock", MODERN + "\n")
    assert Yarn().question(project.request()) != before


@pytest.mark.parametrize(
    ("kind", "files", "options", "words"),
    [
        (Pnpm(), {}, {}, ["there is no pnpm-lock.yaml"]),
        (Pnpm(), {"pnpm-lock.yaml": PNPM}, {"version": "9"}, ["`pnpm@9` is no exact version"]),
        (Yarn(), {"yarn.lock": MODERN}, {"version": "1.22.22"}, ["is of Yarn 2 or later", "names Yarn 1.22.22"]),
        (Yarn(), {"yarn.lock": CLASSIC}, {"version": "4.5.3"}, ["is of Yarn 1", "names Yarn 4.5.3"]),
        (Yarn(), {"yarn.lock": MODERN}, {"version": "4.5.3+sha256.00"}, ["packageManager wants 00"]),
        (Yarn(), {"yarn.lock": MODERN}, {"version": "4.5.3+md9.00"}, ["has the md9 (none)"]),
        (Pnpm(), {"pnpm-lock.yaml": PNPM.replace("packages/a", "packages/b")}, {}, ["packages/b", "layer's inputs"]),
        (Pnpm(), {"pnpm-lock.yaml": PNPM.replace("9.0", "99.0")}, {}, ["lockfileVersion 99.0 is not known"]),
    ],
)
def test_what_is_refused(project, kind, files, options, words):
    for path, text in files.items():
        project.write(path, text)
    testing.check_refused(kind, options, *words, site=project.site(), asked=project.request(options))


def test_the_hash_of_yarns_own_file_is_compared(project):
    project.write("yarn.lock", MODERN)
    version = f"4.5.3+sha224.{hashlib.sha224(PROGRAM).hexdigest()}"
    pins = Yarn().resolve(project.request({"version": version}), project.site())
    assert pins["manager"]["version"] == "4.5.3"


def test_a_hash_of_yarns_own_file_that_is_none(project):
    project.write("yarn.lock", MODERN)
    version = "4.5.3+shake128.00ff"  # an algorithm whose hash has no length
    with pytest.raises(api.ResolveError, match=r"has the shake128 \(none\), and packageManager wants 00ff"):
        Yarn().resolve(project.request({"version": version}), project.site())


@pytest.mark.parametrize(
    ("engines", "hint"),
    [
        ('{"node": ">=22.13"}', 'toolchain: {node: "22"}'),
        ('{"node": "^24.1 || >=26"}', 'toolchain: {node: "24"}'),
        ('{"node": "17"}', 'toolchain: {node: "22"}'),  # no release with long support
        ('{"node": ">=18.12.0"}', ""), ("{}", ""), ("1", ""), ('{"node": "newest"}', ""), ('{"node": ">=22.13"', ""),
    ],
)  # fmt: skip
def test_the_node_that_a_package_manager_wants(project, host, engines, hint):
    body = tarball({"package/package.json": f'{{"engines": {engines}}}'.encode(), "package/bin/yarn.js": PROGRAM})
    host.setitem(URLS, f"{REGISTRY}@yarnpkg/cli-dist/-/cli-dist-4.5.3.tgz", body)
    project.write("yarn.lock", MODERN)
    if not hint:
        assert Yarn().resolve(project.request({"version": "4.5.3"}), project.site())["manager"]["version"] == "4.5.3"
        return
    with pytest.raises(api.ResolveError, match=r"yarn 4.5.3 wants Node.js .*, and the env has ") as caught:
        Yarn().resolve(project.request({"version": "4.5.3"}), project.site())
    assert hint in caught.value.hint


@pytest.mark.parametrize("rest", [b"", b"\xff" * 20_000])
def test_a_tarball_of_yarn_that_ends_early_or_is_broken(tmp_path, rest):
    content = tarball({"package/other": os.urandom(50_000), "package/bin/yarn.js": PROGRAM})
    (tmp_path / "a.tgz").write_bytes(content[:20_000] + rest)
    assert manager_resolver._read_member(str(tmp_path / "a.tgz"), "package/bin/yarn.js") == b""


@pytest.mark.parametrize("version", ["x", "../../x", "1.2", "1.2.3/../../x", "4.5.3-" + "a" * 200])
def test_a_version_of_the_manager_in_a_strangers_pins(project, version):
    project.write("yarn.lock", MODERN)
    pins = Yarn().resolve(project.request({}), project.site())
    assert not api.shapes.fault(pins, Yarn.pins)
    assert api.shapes.fault({**pins, "manager": {**pins["manager"], "version": version}}, Yarn.pins)


# ---- the steps of a build -------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project, blobs and an unpacked package manager."""
    monkeypatch.setattr(manager_building, "WORK", str(tmp_path / "work"))
    monkeypatch.setattr(manager_building, "SERVED", str(tmp_path / "work/served.json"))
    for path, text in {
        "root/package.json": json.dumps(MANIFEST),
        "root/pnpm-lock.yaml": "packages:\n  a@1.0.0:\n    resolution: {tarball: https://h.invalid/a/-/a-1.0.0.tgz}\n",
        "root/.npmrc": "//h.invalid/:_authToken=s3cret\nnode-linker=hoisted\n",
        "root/.yarnrc.yml": "nodeLinker: pnp\nnpmAuthToken: s3cret\nyarnPath: x.cjs\nnmHoistingLimits: none\n",
        "top/package/package.json": '{"bin": {"pnpm": "bin/pnpm.cjs"}}',
        "top/package/bin/pnpm.cjs": "",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path / "root"


def document(root, **more):
    return {
        "blobs": "/blobs",
        "root": str(root),
        "lock": str(root / "pnpm-lock.yaml"),
        "files": [{"file": "a.tgz", "path": "a/-/a-1.0.0.tgz"}, {"file": "local.tgz", "path": ""}],
        "manifests": [str(root / "package.json")],
        "reduced": {},
        "links": [],
        "manager": "pnpm",
        "top": str(root.parent / "top"),
        "node": "node",
        **more,
    }


def test_only_pinned_files_are_served_and_no_secret_is_seen(root):
    manager_building.prepare_manager(document(root))
    assert json.loads((root.parent / "work/served.json").read_text()) == {"/a/-/a-1.0.0.tgz": "/blobs/a.tgz"}
    assert "127.0.0.1" in (root / "pnpm-lock.yaml").read_text()
    assert "scripts" not in json.loads((root / "package.json").read_text())
    assert (root / ".npmrc").read_text() == "node-linker=hoisted\n"
    assert json.loads((root / ".yarnrc.yml").read_text()) == {"nmHoistingLimits": "none"}
    command = root.parent / "top/bin/pnpm"
    assert stat.S_IMODE(command.stat().st_mode) == 0o755
    assert "bin/pnpm.cjs" in command.read_text()


@pytest.mark.parametrize("bins", [{"pnpm": "../../../etc/passwd"}, {}, {"pnpm": 3}, {"pnpm": "missing.js"}])
def test_a_package_manager_without_its_command_is_refused(root, bins):
    (root.parent / "top/package/package.json").write_text(json.dumps({"bin": bins}))
    with pytest.raises(ValueError, match="has no such command"):
        manager_building.prepare_manager(document(root))


@pytest.mark.parametrize(
    "notes",
    ["storeDir: /x\nprunedAt: Sat, 28 Nov 2026 05:00:00 GMT\n", '{\n  "prunedAt": "Sat, 28 Nov 2026",\n "a": 1}\n'],
)
def test_no_time_of_the_installation_is_kept(tmp_path, notes):
    (tmp_path / ".modules.yaml").write_text(notes)
    (tmp_path / ".pnpm-workspace-state-v1.json").write_text('{"lastValidatedTimestamp": 1}')
    manager_building.finish_manager([str(tmp_path), str(tmp_path / "none")])
    assert "2026" not in (tmp_path / ".modules.yaml").read_text()
    assert "1970" in (tmp_path / ".modules.yaml").read_text()
    assert not (tmp_path / ".pnpm-workspace-state-v1.json").exists()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1777


def test_settings_that_are_not_yaml_are_refused():
    with pytest.raises(ValueError, match="is not YAML"):
        manager_building.offline_settings("a: [")
    with pytest.raises(ValueError, match="has an alias"):
        manager_building.offline_settings("a: &a [x, x]\nb: [*a, *a]")
    assert manager_building.offline_settings("- a") == {}
    assert manager_building.offline_settings("supportedArchitectures: {os: ['${OS}']}\na: b") == {"a": "b"}


def test_scripts_of_packages(project):
    project.write("pnpm-lock.yaml", PNPM)
    pins = Pnpm().resolve(project.request(), project.site())
    assert "--config.ignore-scripts=true" in STEPS["pnpm"].command(project.request({"scripts": False}), pins)
    project.write("yarn.lock", CLASSIC)
    pins = Yarn().resolve(project.request(), project.site())
    assert "--ignore-scripts" in STEPS["yarn"].command(project.request({"scripts": False}), pins)
    project.write("yarn.lock", MODERN)
    pins = Yarn().resolve(project.request(), project.site())
    assert STEPS["yarn"].build_variables(project.request({"scripts": False}), pins)["YARN_ENABLE_SCRIPTS"] == "0"
    assert isinstance(Yarn().build(project.request(), pins), api.Recipe)


@pytest.mark.parametrize(
    ("version", "trusts"), [("9.15.9", False), ("10.30.0", False), ("11.3.0", True), ("12.0.0", True)]
)
def test_pnpm_does_not_ask_for_the_age_of_what_is_pinned(project, version, trusts):
    pins = {"manager": {"name": "pnpm", "version": version}}
    command = STEPS["pnpm"].command(project.request(), pins)
    assert command[:3] == ("pnpm", "install", "--frozen-lockfile")
    assert ("--config.trust-lockfile=true" in command) == trusts


@pytest.mark.parametrize(("kind", "name", "text", "manager"), [KINDS["pnpm"], KINDS["berry"]], ids=["pnpm", "berry"])
def test_another_architecture_gets_its_own_tarballs(project, kind, name, text, manager):
    """pad is made for arm64 alone; the two managers write that in another way."""
    if name == "yarn.lock":
        text += "  conditions: cpu=arm64\n"
    else:
        text = text.replace("packages:\n  pad@1.0.0: {", "packages:\n  pad@1.0.0: {cpu: [arm64], ").replace(
            "snapshots:\n  pad@1.0.0: {}", "snapshots:\n  pad@1.0.0: {optional: true}"
        )
    project.write(name, text)
    site = project.site()
    own = kind.resolve(project.request({"inputs": ["packages/a/package.json"]}), site)
    site.arch = "aarch64"
    request = replace(
        project.request({"inputs": ["packages/a/package.json"]}),
        arch="aarch64", stand_in=api.StandIn(arch="x86_64", layers=()),
    )  # fmt: skip
    other = kind.resolve(request, site)
    assert ([item["name"] for item in own["files"]], own["node"]["cpu"]) == ([], "x64")
    assert ([item["name"] for item in other["files"]], other["node"]["cpu"]) == (["pad"], "arm64")
    assert other["manager"] == own["manager"]
