"""Which edits of a project install its packages anew, and which do not."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import tarfile
from dataclasses import replace
from fnmatch import fnmatchcase

import pytest
from envtool_node.kinds import Npm, Pnpm, Yarn
from envtool_node.npm_document import key_document
from envtool_node.reduced_manifest import reduce_manifests

from envtool import api, testing

REGISTRY = "https://npm.example.invalid/"
FACTS = {"version": "20.20.2", "os": "linux", "cpu": "x64", "libc": "glibc", "headers": "/usr"}
MEMBERS = ["packages/a/package.json", "packages/b/package.json"]


def tarball(content):
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        member = tarfile.TarInfo("package/bin/yarn.js")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return held.getvalue()


URLS = {
    f"{REGISTRY}pad/-/pad-1.0.0.tgz": b"pad 1.0.0",
    f"{REGISTRY}pad/-/pad-1.0.1.tgz": b"pad 1.0.1",
    f"{REGISTRY}tool/-/tool-1.0.0.tgz": b"tool",
    f"{REGISTRY}pnpm/-/pnpm-9.15.9.tgz": b"pnpm 9",
    f"{REGISTRY}yarn/-/yarn-1.22.22.tgz": b"yarn 1",
    f"{REGISTRY}@yarnpkg/cli-dist/-/cli-dist-4.5.3.tgz": tarball(b"yarn 4"),
}


def integrity(name):
    return "sha512-" + base64.b64encode(hashlib.sha512(URLS[f"{REGISTRY}{name}"]).digest()).decode()


PAD, NEW, TOOL = (integrity(f"{n}/-/{n}-{v}.tgz") for n, v in (("pad", "1.0.0"), ("pad", "1.0.1"), ("tool", "1.0.0")))
ROOT = {
    "name": "x",
    "version": "1.0.0",
    "private": True,
    "workspaces": ["packages/*"],
    "dependencies": {"pad": "^1.0.0"},
    "devDependencies": {"tool": "1.0.0"},
    "scripts": {"test": "x"},
}
A = {"name": "a", "version": "1.0.0", "dependencies": {"pad": "^1.0.0", "b": "^1.0.0"}, "bin": {"a-tool": "a.js"}}
B = {"name": "b", "version": "1.0.0"}
NPM_PACKAGES = {
    "": {key: ROOT[key] for key in ("name", "version", "workspaces", "dependencies", "devDependencies")},
    "node_modules/pad": {"version": "1.0.0", "resolved": f"{REGISTRY}pad/-/pad-1.0.0.tgz", "integrity": PAD},
    "node_modules/tool": {"version": "1.0.0", "integrity": TOOL, "dev": True, "license": "MIT"},
    "node_modules/a": {"resolved": "packages/a", "link": True},
    "node_modules/b": {"resolved": "packages/b", "link": True},
    "packages/a": A,
    "packages/b": B,
}
PNPM = f"""\
lockfileVersion: '9.0'
importers:
  .:
    dependencies:
      pad: {{specifier: ^1.0.0, version: 1.0.0}}
      tool: {{specifier: 1.0.0, version: 1.0.0}}
  packages/a:
    dependencies:
      pad: {{specifier: ^1.0.0, version: 1.0.0}}
      b: {{specifier: ^1.0.0, version: 'link:../b'}}
packages:
  pad@1.0.0: {{resolution: {{integrity: {PAD}}}}}
  tool@1.0.0: {{resolution: {{integrity: {TOOL}}}}}
snapshots:
  pad@1.0.0: {{}}
  tool@1.0.0: {{}}
"""
CLASSIC = f"""\
# yarn lockfile v1


pad@^1.0.0:
  version "1.0.0"
  resolved "{REGISTRY}pad/-/pad-1.0.0.tgz#00"
  integrity {PAD}

tool@1.0.0:
  version "1.0.0"
  resolved "{REGISTRY}tool/-/tool-1.0.0.tgz#00"
  integrity {TOOL}
"""
BERRY = """\
__metadata:
  version: 8

"a@workspace:packages/a":
  version: 0.0.0-use.local
  resolution: "a@workspace:packages/a"
  dependencies:
    b: "npm:^1.0.0"
    pad: "npm:^1.0.0"
  languageName: unknown
  linkType: soft

"b@npm:^1.0.0, b@workspace:packages/b":
  version: 0.0.0-use.local
  resolution: "b@workspace:packages/b"
  languageName: unknown
  linkType: soft

"pad@npm:^1.0.0":
  version: 1.0.0
  resolution: "pad@npm:1.0.0"
  languageName: node
  linkType: hard

"tool@npm:1.0.0":
  version: 1.0.0
  resolution: "tool@npm:1.0.0"
  languageName: node
  linkType: hard
"""
CASES = {  # kind, lock file, its text
    "npm": (Npm(), "package-lock.json", json.dumps({"lockfileVersion": 3, "packages": NPM_PACKAGES})),
    "pnpm": (Pnpm(), "pnpm-lock.yaml", PNPM),
    "classic": (Yarn(), "yarn.lock", CLASSIC),
    "berry": (Yarn(), "yarn.lock", BERRY),
}


@pytest.fixture(autouse=True)
def host(monkeypatch, tmp_path):
    """No test reads this machine's npm configuration."""
    for name in ("HOME", "PREFIX"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("npm_config_globalconfig", str(tmp_path / "none"))
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY", "npm_config_userconfig"):
        monkeypatch.delenv(name, raising=False)


def request(kind, files, options, directory="."):
    """The request that the core would make of these files: path in the project -> text."""
    inputs, texts = {}, {}
    for item in kind.inputs(options):
        pattern = os.path.normpath(f"{directory}/{item.pattern}")
        found = [path for path in files if fnmatchcase(path, pattern)]
        assert found or not item.required, f"{pattern} matches nothing"
        if item.use == "text":
            texts |= dict.fromkeys([item.pattern] if found else [], files.get(pattern))
            continue
        for path in found:
            built = item.use == "build" or (path in inputs and inputs[path].built)
            sha256 = hashlib.sha256(files[path].encode()).hexdigest()
            inputs[path] = api.InputFile(path=path, sha256=sha256, built=built)
    rows = tuple(inputs[path] for path in sorted(inputs))
    return replace(testing.request(options), inputs=rows, texts=texts, directory=directory)


class Installation:
    """The pins and the key's part of a kind for files: path -> text or JSON."""

    def __init__(self, kind, files, top, options=None, directory="."):
        texts = {path: text if isinstance(text, str) else json.dumps(text) for path, text in files.items()}
        options = {"inputs": MEMBERS} if options is None else options
        self.kind, self.request = kind, request(kind, texts, options, directory)
        for path, text in texts.items():
            (top / path).parent.mkdir(parents=True, exist_ok=True)
            (top / path).write_text(text)
        answer = testing.completed(f"{json.dumps(FACTS)}\n9.2.0\n{REGISTRY}\n".encode())
        site = testing.MemorySite(urls=dict(URLS), answers={"/bin/sh": lambda command: answer}, project=str(top))
        site.variables = dict(os.environ)
        site.fetch = lambda fetches: [self.store(fetch, top.parent) for fetch in fetches]
        self.pins = kind.resolve(self.request, site)

    @staticmethod
    def store(fetch, directory):
        """Returns the file of a tarball that a resolve itself reads: that of the package manager."""
        (body,) = (body for body in URLS.values() if hashlib.sha256(body).hexdigest() == fetch.sha256)
        (directory / fetch.sha256).write_bytes(body)
        return directory / fetch.sha256

    @property
    def key(self):
        """All that is in the key and differs between two of them."""
        built = [[item.path, item.sha256] for item in self.request.inputs if item.built]
        return json.dumps([self.kind.material(self.request, self.pins), built, self.files], sort_keys=True)

    @property
    def files(self):
        return sorted([fetch.name, fetch.sha256] for fetch in self.kind.fetches(self.request, self.pins))

    @property
    def document(self):
        return self.kind.build(self.request, self.pins).steps[-3].arguments[0]


def project(case):
    _, name, lock = CASES[case]
    return {"package.json": ROOT, name: lock, **dict(zip(MEMBERS, (A, B), strict=True)), "README.md": "# x\n"}


@pytest.fixture(params=CASES)
def case(request):
    return request.param


@pytest.fixture
def install(tmp_path):
    """Returns the installation of a case with some files changed; None removes one."""
    number = iter(range(9))

    def make(case, changes=None, **more):
        files = {**project(case), **(changes or {})}
        kept = {path: text for path, text in files.items() if text is not None}
        return Installation(CASES[case][0], kept, tmp_path / str(next(number)), **more)

    return make


def root(**changes):
    return {"package.json": {key: value for key, value in {**ROOT, **changes}.items() if value is not None}}


def member(**changes):
    return {MEMBERS[0]: {**A, **changes}}


NOTHING = {  # edits that install nothing anew
    "a version of its own": root(version="2.0.0"),
    "a version of a member that nothing asks for": member(version="1.0.1"),
    "a description": root(description="other"),
    "keywords": root(keywords=["x"]),
    "author and contributors": root(author="x", contributors=["y"]),
    "a licence": root(license="MIT"),
    "homepage, repository and bugs": root(homepage="https://h.invalid", repository="x/y", bugs="https://h.invalid"),
    "funding": root(funding="https://h.invalid"),
    "the test script": root(scripts={"test": "jest"}),
    "a script that npm runs, of the project": root(scripts={"test": "x", "postinstall": "x", "prepare": "husky"}),
    "no scripts": root(scripts=None),
    "a script of a member": member(scripts={"build": "tsc", "postinstall": "exit 9"}),
    "settings of ESLint": root(eslintConfig={"rules": {"semi": 1}}),
    "settings of Prettier": root(prettier={"semi": False}),
    "settings of Jest": root(jest={"testTimeout": 1.5}),
    "settings of Mocha, nyc and AVA": root(mocha={"spec": "t"}, nyc={"all": True}, ava={"files": ["t"]}),
    "settings of Babel": root(babel={"presets": ["x"]}),
    "lint-staged and husky": root(**{"lint-staged": {"*": "x"}, "husky": {"hooks": {}}}),
    "browserslist": root(browserslist=["defaults"]),
    "the entry points": root(main="x.js", module="x.mjs", exports={".": "./x.js"}, types="x.d.ts", type="module"),
    "published files": root(files=["dist"], sideEffects=False),
    "the description of a member": member(description="other", license="MIT", exports="./a.js"),
    "the order of keys, and blanks": {"package.json": json.dumps(dict(reversed(ROOT.items())), indent=4) + "\n\n"},
    "a byte order mark": {"package.json": "\ufeff" + json.dumps(ROOT)},
    "a README": {"README.md": "# other\n"},
    "settings of a linter": {".eslintrc.json": "{}", ".prettierrc": "{}", "jest.config.js": ""},
    "sources": {"src/x.js": "x", "packages/a/a.js": "y"},
}


@pytest.mark.parametrize("edit", NOTHING)
def test_an_edit_that_rebuilds_nothing(install, case, edit):
    assert {**project(case), **NOTHING[edit]} != project(case)
    assert install(case, NOTHING[edit]).key == install(case).key


MATTERS = {  # edits after which the packages are installed anew
    "a dependency": root(dependencies={"pad": "^1.0.1"}),
    "another dependency": root(dependencies={"pad": "^1.0.0", "more": "1"}),
    "a development dependency": root(devDependencies={}),
    "a peer dependency": root(peerDependencies={"pad": "1"}),
    "an optional peer": root(peerDependenciesMeta={"pad": {"optional": True}}),
    "an optional dependency": root(optionalDependencies={"pad": "1"}),
    "a bundled dependency": root(bundleDependencies=["pad"]),
    "overrides": root(overrides={"pad": "1.0.0"}),
    "resolutions": root(resolutions={"pad": "1.0.0"}),
    "settings of pnpm": root(pnpm={"onlyBuiltDependencies": ["pad"]}),
    "workspaces": root(workspaces=["packages/*", "!packages/b"]),
    "the package manager": root(packageManager="npm@11.0.0"),
    "engines": root(engines={"node": ">=99"}),
    "platforms": root(os=["linux"], cpu=["x64"], libc=["glibc"]),
    "which install scripts run": root(allowScripts={"pad": True}),
    "the name": root(name="y"),
    "a member's dependency": member(dependencies={"pad": "^1.0.1", "b": "^1.0.0"}),
    "a member's command": member(bin={"other": "a.js"}),
    "a version that another member asks for": {MEMBERS[1]: {**B, "version": "1.0.2"}},
    "a version that an override names": {
        **root(overrides={"pad": "npm:a@1"}, resolutions={"pad": "npm:a@1"}),
        MEMBERS[0]: {**A, "version": "7.0.0"},
    },
}


@pytest.mark.parametrize("edit", MATTERS)
def test_an_edit_that_matters(install, case, edit):
    assert install(case, MATTERS[edit]).key != install(case).key


def npm_lock(**changes):
    return json.dumps({"lockfileVersion": 3, "packages": {**NPM_PACKAGES, **changes}})


LOCKED_NOTHING = {
    "a version of its own": {"": {**NPM_PACKAGES[""], "version": "2.0.0"}},
    "a version of a member": {"packages/a": {**A, "version": "1.0.1"}},
    "what npm notes of the project": {"": {**NPM_PACKAGES[""], "license": "MIT", "hasInstallScript": True}},
    "what npm notes of a member": {"packages/b": {**B, "license": "MIT", "funding": {"url": "https://h.invalid"}}},
}
LOCKED_MATTERS = {
    "a hash": {"node_modules/pad": {**NPM_PACKAGES["node_modules/pad"], "integrity": NEW, "resolved": f"{REGISTRY}pad/-/pad-1.0.1.tgz"}},
    "a sort": {"node_modules/tool": {"version": "1.0.0", "integrity": TOOL, "license": "MIT"}},
    "what npm notes of a package": {"node_modules/pad": {**NPM_PACKAGES["node_modules/pad"], "bin": {"p": "p.js"}}},
    "a version that a member asks for": {"packages/b": {**B, "version": "1.0.2"}},
    "a member's dependency": {"packages/a": {**A, "dependencies": {}}},
}  # fmt: skip


@pytest.mark.parametrize("edit", LOCKED_NOTHING)
def test_an_edit_of_npms_lock_file_that_rebuilds_nothing(install, edit):
    assert install("npm", {"package-lock.json": npm_lock(**LOCKED_NOTHING[edit])}).key == install("npm").key


def test_npm_version_rebuilds_nothing(install):
    bumped = {"package-lock.json": npm_lock(**LOCKED_NOTHING["a version of its own"]), **root(version="2.0.0")}
    assert install("npm", bumped).key == install("npm").key


@pytest.mark.parametrize("edit", LOCKED_MATTERS)
def test_an_edit_of_npms_lock_file_that_matters(install, edit):
    assert install("npm", {"package-lock.json": npm_lock(**LOCKED_MATTERS[edit])}).key != install("npm").key


@pytest.mark.parametrize("case", ["pnpm", "classic", "berry"])
def test_every_edit_of_the_other_lock_files_matters(install, case):
    _, name, text = CASES[case]
    assert install(case, {name: text + "\n"}).key != install(case).key


def test_a_package_of_the_registry_may_ask_for_a_member(install):
    """Then its version decides whether it is linked."""
    asks = {"node_modules/tool": {**NPM_PACKAGES["node_modules/tool"], "peerDependencies": {"a": ">=1"}}}
    lock = {"package-lock.json": npm_lock(**asks)}
    assert install("npm", {**lock, **member(version="2.0.0")}).key != install("npm", lock).key
    for case, before, after in (
        ("classic", f"  integrity {TOOL}\n", f'  integrity {TOOL}\n  dependencies:\n    a "^1.0.0"\n'),
        ("berry", "linkType: hard\n\n", "linkType: hard\n  dependencies:\n    a: ^1.0.0\n\n"),
        ("berry", '"a@workspace:', '"a@npm:^1.0.0, a@workspace:'),
    ):
        _, name, text = CASES[case]
        assert before in text
        lock = {name: text.replace(before, after, 1)}
        assert install(case, {**lock, **member(version="2.0.0")}).key != install(case, lock).key


def test_one_changed_dependency_downloads_one_file(install, case):
    _, name, text = CASES[case]
    changed = text.replace("pad/-/pad-1.0.0.tgz", "pad/-/pad-1.0.1.tgz").replace(PAD, NEW)
    for before in (
        '"version": "1.0.0", "resolved"',
        "version: 1.0.0}",
        "pad@1.0.0",
        "pad@npm:1.0.0",
        'version "1.0.0"',
    ):
        first, _, rest = changed.partition(before)
        changed = first + (before.replace("1.0.0", "1.0.1") + rest.replace("pad@1.0.0", "pad@1.0.1") if rest else "")
    changed = changed.replace('"pad@npm:1.0.1"\n', '"pad@npm:1.0.1"\n').replace(
        '  version: 1.0.0\n  resolution: "pad', '  version: 1.0.1\n  resolution: "pad'
    )
    before, after = install(case), install(case, {name: changed})
    assert [file for file in after.files if file not in before.files] == [
        ["pad-1.0.1.tgz", hashlib.sha256(b"pad 1.0.1").hexdigest()]
    ]


# ---- what a build sees -----------------------------------------------------------------------------------------------


def test_a_build_gets_what_decides(install, case):
    seen = install(case).document["reduced"]
    assert [*seen] == ["/project/package.json", "/project/packages/a/package.json", "/project/packages/b/package.json"]
    manifest = json.loads(seen["/project/package.json"])
    placeholder = {} if case == "npm" else {"version": "0.0.0"}
    assert manifest == {key: ROOT[key] for key in ROOT if key not in ("version", "scripts")} | placeholder
    without = {key: value for key, value in A.items() if key != "version"}
    assert json.loads(seen["/project/packages/a/package.json"]) == without | placeholder
    assert json.loads(seen["/project/packages/b/package.json"]) == B, "another member asks for its version"


def test_npm_gets_the_same_lock_file_but_for_the_projects_own_versions(install):
    lock = install("npm").document["lock"]
    assert lock == NPM_PACKAGES | {
        "": {key: value for key, value in NPM_PACKAGES[""].items() if key != "version"},
        "packages/a": {key: value for key, value in A.items() if key != "version"},
    }


def test_a_lock_file_that_npm_made_is_reduced_as_well(install):
    installation = install("npm")
    installation.pins |= {"lock": NPM_PACKAGES, "lockfile": None}
    before = installation.key
    changed = {**NPM_PACKAGES, "": {**NPM_PACKAGES[""], "version": "2.0.0"}}
    installation.pins["lock"] = changed
    assert installation.key == before
    installation.pins["lock"] = {**NPM_PACKAGES, "node_modules/tool": {"version": "1.0.1"}}
    assert installation.key != before


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, '{"name": 1e999, "dependencies": 3}'])
def test_what_is_no_manifest_is_seen_by_its_package_manager(text):
    """Which says what is wrong with it."""
    (seen,) = reduce_manifests({"package.json": text}, manager="npm").values()
    assert seen == text or json.loads(seen) == json.loads(text)


def test_what_is_too_deep_to_be_written_stays_as_it_is():
    """Some depth can be read and not be written, whatever the limits of this Python are."""
    for depth in range(100, 3000, 50):
        text = '{"version": "1", "overrides": ' + '{"a": ' * depth + "1" + "}" * depth + "}"
        (seen,) = reduce_manifests({"package.json": text}, manager="npm").values()
        assert seen == text or "version" not in seen


def test_a_lock_file_that_is_too_deep_is_an_error():
    deep = value = []
    for _ in range(200_000):
        value.append([])
        value = value[0]
    pins = {"lock": None, "lockfile": "package-lock.json"}
    with pytest.raises(api.ResolveError, match=r"package-lock\.json has lists or objects that are too deep"):
        key_document({"lock": {"": {"x": deep}}}, pins)
    while deep:  # freed by steps: Python frees nested lists by recursion
        deep = deep.pop()


def test_files_of_a_glob_are_inputs_as_they_are(install, case):
    glob = {"options": {"inputs": ["packages/*/package.json"]}}
    before = install(case, **glob)
    assert [*before.document["reduced"]] == ["/project/package.json"]
    assert before.document["manifests"] == [f"/project/{path}" for path in ("package.json", *MEMBERS)]
    assert install(case, member(description="x"), **glob).key != before.key
    assert install(case, root(description="x"), **glob).key == before.key


def test_a_spec_below_the_project(install, case):
    files = dict.fromkeys(project(case)) | {f"sub/{path}": text for path, text in project(case).items()}
    below = install(case, files, directory="sub")
    assert below.document["root"] == "/project/sub"
    assert next(iter(below.document["reduced"])) == "/project/sub/package.json"
    bumped = install(case, {**files, "sub/package.json": root(version="3.0.0")["package.json"]}, directory="sub")
    assert bumped.key == below.key


QUESTIONS = {
    "npm": [["package-lock.json", CASES["npm"][2]], ["package.json", ""], *([path, ""] for path in MEMBERS)],
    "pnpm": [["package.json", ""], *([path, ""] for path in MEMBERS), ["pnpm-lock.yaml", PNPM]],
    "classic": [["package.json", ""], *([path, ""] for path in MEMBERS), ["yarn.lock", CLASSIC]],
    "berry": [["package.json", ""], *([path, ""] for path in MEMBERS), ["yarn.lock", BERRY]],
}


def test_the_question_is_that_of_locks_that_exist(install, case):
    """As envtool 0.2 asked it: a lock with another question is stale."""
    rows = [[path, text and hashlib.sha256(text.encode()).hexdigest()] for path, text in QUESTIONS[case]]
    installation = install(case)
    assert installation.kind.question(installation.request) == [{"inputs": MEMBERS}, ".", rows]


def test_the_question_without_a_lock_file_has_the_content_of_package_json(tmp_path):
    asked = request(Npm(), {"package.json": "{}", ".npmrc": "x"}, None)
    assert Npm().question(asked) == [None, ".", [["package.json", hashlib.sha256(b"{}").hexdigest()]]]
