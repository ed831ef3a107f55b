"""The kind against a site that answers as containers and registries would."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from dataclasses import replace

import pytest
from envtool_node.kinds import Npm
from envtool_node.lockfile import LockedPackage
from envtool_node.resolver import NO_NODE, NO_NPM, blob_names, hint_for, last_words

from envtool import api, testing

REGISTRY = "https://npm.example.invalid/"
FACTS = {"version": "20.20.2", "os": "linux", "cpu": "x64", "libc": "glibc", "headers": "/usr"}
TARBALLS = {name: f"tarball of {name}".encode() for name in ("left-pad", "@s/native", "@s/mac", "tool", "inner")}


def integrity(name):
    return "sha512-" + base64.b64encode(hashlib.sha512(TARBALLS[name]).digest()).decode()


def url(name, version="1.0.0"):
    return f"{REGISTRY}{name}/-/{name.rpartition('/')[2]}-{version}.tgz"


def entry(name, **more):
    return {"version": "1.0.0", "resolved": url(name), "integrity": integrity(name), **more}


PACKAGES = {
    "": {"name": "x", "workspaces": ["packages/*"]},
    "node_modules/left-pad": entry("left-pad"),
    "node_modules/@s/native": entry("@s/native", optional=True, os=["linux"]),
    "node_modules/@s/mac": entry("@s/mac", optional=True, os=["darwin"]),
    "node_modules/tool": entry("tool", dev=True),
    "node_modules/a": {"resolved": "packages/a", "link": True},
    "packages/a": {"version": "1.0.0"},
    "packages/a/node_modules/inner": entry("inner"),
}
MANIFEST = {"name": "x", "dependencies": {"left-pad": "^1.0.0"}, "workspaces": ["packages/*"], "scripts": {"test": "x"}}


@pytest.fixture(autouse=True)
def host(monkeypatch, tmp_path):
    """No test reads this machine's npm configuration."""
    for name in ("HOME", "PREFIX"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("npm_config_globalconfig", str(tmp_path / "none"))
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY", "npm_config_userconfig"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


class Project:
    """Files on disk, the request of a layer on them, and a site."""

    def __init__(self, top, files):
        self.top = top
        self.ran = []
        self.made = None  # the lock file that npm makes
        self.status = 0
        self.stderr = b""
        self.npm = "9.2.0"
        for path, text in files.items():
            place = top / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text if isinstance(text, str) else json.dumps(text))
        self.files = sorted(files)

    def request(self, options=None, **more):
        inputs = {path: hashlib.sha256((self.top / path).read_bytes()).hexdigest() for path in self.files}
        return replace(testing.request(options, inputs), **more)

    def site(self, urls=None):
        urls = {url(name): body for name, body in TARBALLS.items()} if urls is None else urls
        site = testing.MemorySite(urls=urls, answers={"/bin/sh": self.answer}, project=str(self.top))
        site.variables = dict(os.environ)
        inner = site.run

        def run(command, *, env=None, binds=(), network=False):
            self.ran.append((command, dict(env or {}), network))
            return inner(command, env=env, binds=binds, network=network)

        site.run = run
        return site

    def answer(self, command):
        if self.status:
            return testing.completed(status=self.status, stderr=self.stderr)
        if "--package-lock-only" in command.argv[2]:
            return testing.completed(json.dumps(self.made).encode())
        return testing.completed(f"{json.dumps(FACTS)}\n{self.npm}\n{REGISTRY}\n".encode())

    def resolve(self, options=None):
        return Npm().resolve(self.request(options), self.site())


@pytest.fixture
def project(tmp_path):
    return Project(
        tmp_path / "project",
        {
            "package.json": MANIFEST,
            "package-lock.json": {"lockfileVersion": 3, "packages": PACKAGES},
            "packages/a/package.json": {"name": "a"},
        },
    )


@pytest.mark.parametrize(("number", "note"), [(0, "0 packages"), (1, "1 package"), (2, "2 packages")])
def test_packages_are_counted_in_the_note(project, number, note):
    packages = {"": {}, **{path: PACKAGES[path] for path in ["node_modules/left-pad", "node_modules/tool"][:number]}}
    (project.top / "package-lock.json").write_text(json.dumps({"lockfileVersion": 3, "packages": packages}))
    site = project.site()
    pins = Npm().resolve(project.request(), site)
    assert site.notes == [note]
    assert Npm().summary(project.request(), pins) == note


def test_it_keeps_the_contract(project):
    wrong = ["x", [], {"omit": ["all"]}, {"scripts": "no"}, {"lockfile": ""}, {"more": 1}]
    options = {"omit": ["dev"], "inputs": ["packages/a/package.json"]}
    pins = testing.check_kind(Npm(), options, site=project.site(), asked=project.request(options), wrong=wrong)
    assert [item["name"] for item in pins["files"]] == ["@s/native", "inner", "left-pad"]
    assert pins["trees"] == ["", "packages/a"]
    assert pins["links"] == ["packages/a"]
    assert pins["lock"] is None
    assert REGISTRY not in json.dumps(pins)


def test_everything_is_shown_where_npm_would_have_put_it(project):
    request, pins = project.request(), project.resolve()
    assert Npm().in_project(request, pins) == {
        "node_modules": "/opt/npm/node_modules",
        "packages/a/node_modules": "/opt/npm/packages/a/node_modules",
    }
    assert Npm().variables(request, None)["PATH"] == "/project/node_modules/.bin"
    below = replace(request, options={"lockfile": "web/package-lock.json", "node": "/opt/node/bin/node"})
    assert Npm().variables(below, None)["PATH"] == "/project/web/node_modules/.bin:/opt/node/bin"
    assert (
        Npm().in_project(replace(below, directory="sub"), pins)["sub/web/node_modules"]
        == "/opt/npm/sub/web/node_modules"
    )


def test_inputs():
    def inputs(options, *, required):
        return {item.pattern for item in Npm().inputs(options) if item.required == required and item.use != "text"}

    assert inputs(None, required=True) == {"package.json"}
    assert inputs({}, required=False) == {".npmrc", "npm-shrinkwrap.json", "package-lock.json"}
    locked = {"lockfile": "web/package-lock.json"}
    assert inputs(locked, required=True) == {"web/package.json", "web/package-lock.json"}
    assert inputs(locked, required=False) == {"web/.npmrc"}
    workspaces = {"directory": "web", "inputs": ["web/p/*/package.json"]}
    assert inputs(workspaces, required=True) == {"web/package.json", "web/p/*/package.json"}


def test_the_answer_depends_on_the_lock_and_not_on_a_machines_npmrc(project):
    kind = Npm()
    before = kind.question(project.request())
    (project.top / "package.json").write_text(json.dumps(MANIFEST | {"scripts": {"test": "other"}}))
    (project.top / ".npmrc").write_text("//h.invalid/:_authToken=s3cret\n")
    project.files.append(".npmrc")
    assert kind.question(project.request()) == before
    (project.top / "package-lock.json").write_text("{}")
    assert kind.question(project.request()) != before
    project.files.remove("package-lock.json")
    unlocked = kind.question(project.request())
    (project.top / "package.json").write_text(json.dumps(MANIFEST))
    assert kind.question(project.request()) != unlocked


def test_the_build_is_told_all_and_is_offline(project):
    request = project.request({"omit": ["dev"], "scripts": False})
    pins = Npm().resolve(request, project.site())
    recipe = Npm().build(request, pins)
    prepare, run, finish = recipe.steps
    assert run.command.argv[-5:] == (
        "/project",
        "--omit=dev",
        "--include=optional",
        "--include=peer",
        "--ignore-scripts",
    )
    assert run.env["npm_config_nodedir"] == "/usr"
    assert finish.arguments == (["/opt/npm/node_modules", "/opt/npm/packages/a/node_modules"],)
    (told,) = prepare.arguments
    assert told["lock"] == "/project/package-lock.json"
    assert told["manifests"] == ["/project/package.json", "/project/packages/a/package.json"]
    assert told["links"] == ["/project/packages/a"]
    pad = next(item for item in told["files"] if item["name"] == "left-pad-1.0.0.tgz")
    assert pad["digest"] == "sha512:" + hashlib.sha512(TARBALLS["left-pad"]).hexdigest()
    assert pad["integrity"] == integrity("left-pad")
    assert [*Npm().flags(project.request({}))] == []
    assert Npm().flags(project.request({"scripts": True})) == ("--no-ignore-scripts",)


def test_a_tarball_without_a_hash_is_believed_once(project):
    packages = {"": {}, "node_modules/left-pad": {"version": "1.0.0"}}
    (project.top / "package-lock.json").write_text(json.dumps({"lockfileVersion": 2, "packages": packages}))
    pins = project.resolve()
    (item,) = pins["files"]
    assert item["integrity"] == ""
    assert item["sha256"] == hashlib.sha256(TARBALLS["left-pad"]).hexdigest()
    (told,) = Npm().build_document(project.request(), pins)["files"]
    assert told["integrity"] == "sha256-" + base64.b64encode(hashlib.sha256(TARBALLS["left-pad"]).digest()).decode()


def test_one_file_in_many_places_is_fetched_once_and_namesakes_are_told_apart(project):
    other = {
        **entry("left-pad"),
        "resolved": "https://files.invalid/left-pad-1.0.0.tgz",
        "integrity": integrity("tool"),
    }
    packages = {
        "": {},
        "node_modules/left-pad": entry("left-pad"),
        "node_modules/x/node_modules/left-pad": entry("left-pad"),
        "node_modules/y/node_modules/left-pad": other,
    }
    (project.top / "package-lock.json").write_text(json.dumps({"lockfileVersion": 3, "packages": packages}))
    urls = {url("left-pad"): TARBALLS["left-pad"], "https://files.invalid/left-pad-1.0.0.tgz": TARBALLS["tool"]}
    pins = Npm().resolve(project.request(), project.site(urls))
    assert sorted(item["file"] for item in pins["files"]) == ["left-pad-1.0.0.tgz", "left-pad-1.0.0.tgz.1"]
    assert [item.get("url") for item in pins["files"] if "url" in item] == ["https://files.invalid/left-pad-1.0.0.tgz"]


def test_what_floats_is_settled_by_npm(project, host):
    project.files.remove("package-lock.json")
    (project.top / ".npmrc").write_text("legacy-peer-deps=true\n//h.invalid/:_authToken=${NPM_TOKEN}\n")
    project.files.append(".npmrc")
    host.setenv("NPM_TOKEN", "t0ken")
    project.made = {"lockfileVersion": 3, "packages": PACKAGES}
    pins = project.resolve()
    assert pins["lockfile"] is None
    assert REGISTRY not in json.dumps(pins)
    assert "t0ken" not in json.dumps(pins)
    command, env, network = project.ran[-1]
    assert network
    assert env["ENVTOOL_PROJECT_NPMRC"] == "legacy-peer-deps=true\n"
    assert '//h.invalid/:_authToken="t0ken"' in env["ENVTOOL_NPMRC"]
    assert env["ENVTOOL_LOCK"] == ""
    assert "t0ken" not in " ".join(command.argv)
    Npm().resolve(project.request(keep=pins), project.site())
    assert json.loads(project.ran[-1][1]["ENVTOOL_LOCK"])["packages"] == pins["lock"]
    material = json.dumps(Npm().material(project.request(), pins))
    assert '"node_modules/left-pad": {"version"' in material


def test_a_lock_file_of_version_1_is_brought_up_to_date(project):
    (project.top / "package-lock.json").write_text(json.dumps({"lockfileVersion": 1, "dependencies": {}}))
    project.made = {"lockfileVersion": 3, "packages": PACKAGES}
    pins = project.resolve()
    assert pins["lock"]["node_modules/left-pad"]["version"] == "1.0.0"
    assert json.loads(project.ran[-1][1]["ENVTOOL_LOCK"]) == {"lockfileVersion": 1, "dependencies": {}}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("", [url("left-pad")]),
        (
            "registry=https://mirror.invalid/npm\n",
            ["https://mirror.invalid/npm/left-pad/-/left-pad-1.0.0.tgz", url("left-pad")],
        ),
    ],
)
def test_another_machine_looks_where_its_own_npm_looks(project, host, tmp_path, config, expected):
    request, pins = project.request(), project.resolve()
    (tmp_path / ".npmrc").write_text(config + "//mirror.invalid/npm/:_authToken=t0ken\n")
    fetches = [fetch for fetch in Npm().fetches(request, pins) if fetch.name == "left-pad-1.0.0.tgz"]
    (found,) = Npm().locate(request, pins, fetches, project.site())
    assert [found.url, *found.mirrors] == expected
    assert found.authorization == ("Bearer t0ken" if config else "")
    hinted = [replace(fetch, url="https://seen.invalid/x.tgz") for fetch in fetches]
    (found,) = Npm().locate(request, pins, hinted, project.site())
    assert [found.url, *found.mirrors] == ["https://seen.invalid/x.tgz", *expected]


def test_where_nothing_says_where_npm_is_asked(project):
    text = json.dumps({"lockfileVersion": 3, "packages": {"": {}, "node_modules/left-pad": {"version": "1.0.0"}}})
    (project.top / "package-lock.json").write_text(text)
    request, pins = project.request(), project.resolve()
    (found,) = Npm().locate(request, pins, Npm().fetches(request, pins), project.site())
    assert found.url == url("left-pad")


GIT = {"": {}, "node_modules/forked": {"version": "1.0.0", "resolved": "git+ssh://git@h.invalid/o/forked.git#01"}}
OUTSIDE = {"": {}, "node_modules/shared": {"resolved": "../shared", "link": True}}
UNDECLARED = {"": {}, "node_modules/b": {"resolved": "packages/b", "link": True}}
LOCAL = {"": {}, "node_modules/v": {"version": "1.0.0", "resolved": "file:vendor/v.tgz", "integrity": "sha512-x"}}


@pytest.mark.parametrize(
    ("packages", "said"),
    [
        (GIT, ["forked comes from a git repository", "a tarball by URL"]),
        (OUTSIDE, ["node_modules/shared leads out of the project"]),
        (UNDECLARED, ["package.json is not among the layer's inputs", "inputs: [packages/*/package.json]"]),
        (LOCAL, ["v is the file vendor/v.tgz", "inputs: [vendor/v.tgz]"]),
    ],
)
def test_what_cannot_be_pinned_is_refused(project, packages, said):
    (project.top / "package-lock.json").write_text(json.dumps({"lockfileVersion": 3, "packages": packages}))
    testing.check_refused(Npm(), None, *said, site=project.site(), asked=project.request())


def test_a_local_tarball_that_is_an_input_is_no_fetch(project):
    (project.top / "package-lock.json").write_text(json.dumps({"lockfileVersion": 3, "packages": LOCAL}))
    (project.top / "vendor").mkdir()
    (project.top / "vendor/v.tgz").write_text("x")
    project.files.append("vendor/v.tgz")
    assert project.resolve()["files"] == []


@pytest.mark.parametrize(
    ("status", "stderr", "said"),
    [
        (NO_NODE, b"", ["there is no node in this env", "apt: [nodejs, npm]"]),
        (NO_NPM, b"", ["there is no npm in this env"]),
        (
            1,
            b"npm error code E404\nnpm error 404 Not Found - GET https://u:s3cret@h.invalid/x - not found",
            ["404 Not Found"],
        ),
    ],
)
def test_a_stack_that_cannot_is_named(project, status, stderr, said):
    project.status, project.stderr = status, stderr
    error = testing.check_refused(Npm(), None, *said, site=project.site(), asked=project.request())
    assert "s3cret" not in str(error)


def test_an_old_npm_is_refused(project):
    project.npm = "6.14.4"
    testing.check_refused(Npm(), None, "npm 6.14.4", "too old", site=project.site(), asked=project.request())


@pytest.mark.parametrize("text", ["{", "[]", '{"dependencies": []}'])
def test_files_that_are_wrong_are_named(project, text):
    (project.top / "package-lock.json").write_text(text)
    testing.check_refused(Npm(), None, "package-lock.json", site=project.site(), asked=project.request())


def test_last_words():
    said = "npm warn old\nnpm error code ERESOLVE\nnpm error Found: react@18.\nnpm error\nnpm error A complete log of this run"
    assert last_words(said) == "found: react@18"
    assert last_words("") == "it said nothing"
    lines = ["code ETARGET", "notarget No matching version found for @s/a@^2.0.0.", "notarget In most cases you or one of",
             "notarget a package version that doesn't exist."]  # fmt: skip
    said = "".join(f"npm error {line}\n" for line in lines)
    assert last_words(said) == "notarget No matching version found for @s/a@^2.0.0"
    assert "`npm view @s/a versions`" in hint_for(said)
    assert "is the name right?" in hint_for("npm error code E404")
    assert last_words("sh: 1: broken") == "sh: 1: broken"


def test_summary(project):
    assert Npm().summary(project.request(), project.resolve()) == "4 packages"


@pytest.mark.parametrize(
    ("name", "path", "expected"),
    [
        ("a", "a/-/a-1.0.0.tgz", "a-1.0.0.tgz"),
        ("@s/a", "@s/a/-/a-1.0.0.tgz", "s-a-1.0.0.tgz"),
        ("a", "a/-/..", "package.tgz"),
        ("a", "a/-/a b%00\n.tgz", "a_b_.tgz"),
        ("a", "a/-/" + "x" * 300, "x" * 200),
    ],
)
def test_names_of_blobs_are_file_names(name, path, expected):
    assert blob_names([LockedPackage(name=name, version="1", path=path)]) == [expected]


def test_a_file_name_that_looks_numbered_is_not_given_twice():
    paths = ["a/-/a.tgz.1", "a/-/a.tgz", "a/-/a.tgz", "a/-/a.tgz"]
    names = blob_names([LockedPackage(name="a", version="1", path=path) for path in paths])
    assert names == ["a.tgz.1", "a.tgz.2", "a.tgz.3", "a.tgz.4"]


def test_file_names_of_many_packages_are_different():
    """By the rule that pins have had from the start: as many as have the name, or begin with it and a dot."""
    paths = ["a/-/a.tgz", "a/-/a.tgz", "a/-/a.tgz.1", "a/-/a.tgz", "a/-/a", "@a/b/-/b.tgz", "a/-/a.tgz.x.tgz"]
    packages = [LockedPackage(name=path.partition("/-/")[0], version="1", path=path) for path in paths]
    names = blob_names([*packages, *(replace(packages[0], version=str(number)) for number in range(20_000))])
    assert names[:7] == ["a.tgz", "a.tgz.1", "a.tgz.1.1", "a.tgz.3", "a.4", "a-b.tgz", "a.tgz.x.tgz"]
    assert len({*names}) == len(names)


# ---- for another architecture ----------------------------------------------------------------------------------------

NATIVE = {"node_modules/@s/native": entry("@s/native", optional=True, cpu=["arm64"]),
          "node_modules/@s/mac": entry("@s/mac", optional=True, cpu=["x64"])}  # fmt: skip


def for_arm64(project, layers=(), **more):
    """The pins of the layer for aarch64, by a stack of x86_64."""
    site = project.site()
    site.arch = "aarch64"
    request = project.request(arch="aarch64", stand_in=api.StandIn(arch="x86_64", layers=layers), **more)
    return Npm().resolve(request, site)


def test_another_architecture_gets_its_own_tarballs(project):
    lock = {"lockfileVersion": 3, "packages": {**PACKAGES, **NATIVE}}
    (project.top / "package-lock.json").write_text(json.dumps(lock))
    pins, own = for_arm64(project), project.resolve()
    assert [item["name"] for item in pins["files"]] == ["@s/native", "inner", "left-pad", "tool"]
    assert [item["name"] for item in own["files"]] == ["@s/mac", "inner", "left-pad", "tool"]
    assert pins["node"] == {**own["node"], "cpu": "arm64"}
    assert {**pins, "node": 0, "files": 0} == {**own, "node": 0, "files": 0}


def test_npm_makes_one_lock_for_both(project):
    (project.top / "package-lock.json").unlink()
    project.files.remove("package-lock.json")
    project.made = {"lockfileVersion": 3, "packages": {**PACKAGES, **NATIVE}}
    own = project.resolve()
    pins = for_arm64(project, keep=own)
    assert pins["lock"] == own["lock"]
    assert json.loads(project.ran[-1][1]["ENVTOOL_LOCK"])["packages"] == own["lock"], (
        "npm begins with that of this machine"
    )
    assert [item["name"] for item in pins["files"]] == ["@s/native", "inner", "left-pad", "tool"]


@pytest.mark.parametrize(("answering", "version"), [("20.20.2", "20.19.0"), ("18.0.0", "20.20.2")])
def test_the_toolchain_there_may_have_another_version(project, answering, version):
    """If it is the Node.js that answers here."""

    def pins(*versions):
        return {"source": "npm", "archives": [{"version": version} for version in versions]}

    layers = (api.StandInLayer(kind="debian", pins={"debs": []}, own_pins={"debs": []}),
              api.StandInLayer(kind="node-toolchain", pins=pins("20.19.0", "9.1.0"), own_pins=pins(answering, "9.2.0")))  # fmt: skip
    node = for_arm64(project, layers)["node"]
    assert (node["version"], node["npm"]) == (version, "9.1.0" if version == "20.19.0" else "9.2.0")


def test_an_architecture_that_node_does_not_name_is_refused(project):
    site = project.site()
    site.arch = "vax"
    with pytest.raises(api.ResolveError) as caught:
        Npm().resolve(project.request(arch="vax", stand_in=api.StandIn(arch="x86_64", layers=())), site)
    assert caught.value.code == "other-platform"
