"""Whatever a checkout names, nothing outside of it is read: every place that names a path, with every shape of one.

What lies outside holds a canary: neither it nor its hash may be in what is said, in the store, or in a container.
"""

import hashlib
import os
import re
import threading
import time
from pathlib import Path

import pytest

from envtool import api
from envtool.plugins import discover

pytestmark = pytest.mark.e2e

SHA = "0" * 64
TASK = "tasks: {test: 'head -c 9999 /got /got/* /layer victim 2>/dev/null; true'}"
CARGO = '[package]\nname = "p"\nversion = "1.0.0"\n\n[dependencies]\nsemver = "1"\n'
GO = "module example.org/p\n\ngo 1.19\n"
POM = "<project><modelVersion>4.0.0</modelVersion><groupId>p</groupId><artifactId>p</artifactId><version>1</version></project>\n"
PNPM = {"package.json": "{}", "pnpm-lock.yaml": "lockfileVersion: '9.0'\n"}
YARN = {"package.json": "{}", "yarn.lock": "# yarn lockfile v1\n"}
PROJECT = '[project]\nname = "p"\nversion = "1"\ndependencies = []\n'


# ---- places: where a path stands; each writes a project in which `ref` is named there ---------------------------------


def layer(text):
    return lambda ref, _: {"envtool.yaml": f"envs: {{unit: {{layers: [{text.format(ref=ref)}], {TASK}}}}}\n"}


def base(text):
    return lambda ref, _: {
        "envtool.yaml": f"bases: {{b: {text.format(ref=ref)}}}\nenvs: {{unit: {{base: b, {TASK}}}}}\n"
    }


def dockerfile(text, more=""):
    return lambda ref, _: {
        "envtool.yaml": f"bases: {{b: {{dockerfile: {{file: Dockerfile{more.format(ref=ref)}}}}}}}\nenvs: {{unit: {{base: b, {TASK}}}}}\n",
        "Dockerfile": "FROM scratch\n" + text.format(ref=ref),
    }


# Where `ref` is: a name that the text gives (True), or a name that a kind looks for by itself
NAMED = {
    "include": lambda ref, _: {"envtool.yaml": f"include: [{ref}]\nenvs: {{unit: {{{TASK}}}}}\n"},
    "copy": layer("{{copy: {{from: '{ref}', to: /got}}}}"),
    "inputs": layer("{{run: 'head -c 9999 {ref} > /layer', inputs: ['{ref}']}}"),
    "tarball path": base("{{tarball: {{path: '{ref}', sha256: @SHA@}}}}"),
    "tarball url": base("{{tarball: {{url: 'file:@TOP@/{ref}', sha256: @SHA@}}}}"),
    "fetch url": layer("{{fetch: {{url: 'file://@TOP@/{ref}', sha256: @SHA@, to: /got}}}}"),
    "oci layout": base("{{image: 'oci:{ref}'}}"),
    "oci archive": base("{{image: 'oci-archive:{ref}'}}"),
    "docker archive": base("{{image: 'docker-archive:{ref}'}}"),
    "keyring": base("{{debian: {{suite: bookworm, mirror: 'http://127.0.0.1:9', keyring: '{ref}'}}}}"),
    "mirror": base("{{debian: {{suite: bookworm, mirror: 'file://@TOP@/{ref}'}}}}"),
    "dockerfile": base("{{dockerfile: '{ref}'}}"),
    "context": base("{{dockerfile: {{context: '{ref}'}}}}"),
    "COPY": dockerfile("COPY {ref} /got\n"),
    "ADD": dockerfile("ADD {ref} /got/\n"),
    "bind mount": dockerfile("RUN --network=none --mount=type=bind,source={ref},target=/got head -c 9999 /got\n"),
    "secret": dockerfile("RUN --network=none --mount=type=secret,id=s,required cat /run/secrets/s\n", ", secrets: {{s: {{file: '{ref}'}}}}"),
    "requirements": layer("{{pip: {{requirements: ['{ref}']}}}}"),
    "constraints": layer("{{pip: {{packages: [], constraints: ['{ref}']}}}}"),
    "pip inputs": layer("{{pip: {{packages: [], inputs: ['{ref}']}}}}"),
    "nested -r": lambda ref, top: layer("{{pip: {{requirements: [r.txt], inputs: ['{ref}']}}}}")(ref, top) | {"r.txt": f"-r {ref}\n"},
    "pip locked": layer("{{pip: {{packages: [attrs], locked: {{file: '{ref}'}}}}}}"),
    "pip sources": layer("{{pip: {{packages: [pa], sources: {{pa: '{ref}'}}}}}}"),
    "python-project": layer("{{python-project: {{files: ['{ref}']}}}}"),
    "npm lockfile": lambda ref, top: layer("{{npm: {{lockfile: '{ref}'}}}}")(ref, top) | {"package.json": "{}"},
    "npm inputs": lambda ref, top: layer("{{npm: {{inputs: ['{ref}']}}}}")(ref, top) | {"package.json": "{}"},
    "npm directory": layer("{{npm: {{directory: '{ref}'}}}}"),
    "pnpm inputs": lambda ref, top: layer("{{pnpm: {{inputs: ['{ref}']}}}}")(ref, top) | PNPM,
    "pnpm directory": layer("{{pnpm: {{directory: '{ref}'}}}}"),
    "yarn inputs": lambda ref, top: layer("{{yarn: {{inputs: ['{ref}']}}}}")(ref, top) | YARN,
    "yarn directory": layer("{{yarn: {{directory: '{ref}'}}}}"),
    "cargo directory": layer("{{cargo: {{directory: '{ref}'}}}}"),
    "cargo manifests": lambda ref, top: layer("{{cargo: {{manifests: ['{ref}']}}}}")(ref, top) | {"Cargo.toml": CARGO},
    "go directory": layer("{{go: {{directory: '{ref}'}}}}"),
    "go workspace": lambda ref, top: layer("{{go: {{workspace: ['{ref}']}}}}")(ref, top) | {"go.mod": GO},
    "maven directory": layer("{{maven: {{directory: '{ref}'}}}}"),
    "maven poms": lambda ref, top: layer("{{maven: {{poms: ['{ref}']}}}}")(ref, top) | {"pom.xml": POM},
}  # fmt: skip
TOOLS = {"envtool.yaml": f"envs: {{unit: {{toolchain: [node], {TASK}}}}}\n"}
PLAIN = {"envtool.yaml": f"envs: {{unit: {{{TASK}}}}}\n"}
PYTHON = {"envtool.yaml": f"envs: {{unit: {{language: python, {TASK}}}}}\n"}
NODE = {"envtool.yaml": f"envs: {{unit: {{language: node, {TASK}}}}}\n"}
RUST = {"envtool.yaml": f"envs: {{unit: {{language: rust, {TASK}}}}}\n"}
GOLANG = {"envtool.yaml": f"envs: {{unit: {{language: go, {TASK}}}}}\n"}
JAVA = {"envtool.yaml": f"envs: {{unit: {{language: java, {TASK}}}}}\n"}
CC = {"envtool.yaml": f"envs: {{unit: {{language: cc, {TASK}}}}}\n"}
LOOKED_FOR = {
    "envtool.yaml": {},
    "envtool.lock": PLAIN,
    "envtool.vendor": layer("{{fetch: {{url: 'http://127.0.0.1:9/x', sha256: @SHA@, to: /got}}}}")("", ""),
    "Dockerfile": base("{{dockerfile: Dockerfile}}")("", ""),
    ".dockerignore": dockerfile("COPY . /got\n")("", ""),
    "Dockerfile.dockerignore": dockerfile("COPY . /got\n")("", ""),
    "pyproject.toml": PYTHON,
    "requirements.txt": PYTHON,
    "uv.lock": {**PYTHON, "pyproject.toml": PROJECT},
    "poetry.lock": {**PYTHON, "pyproject.toml": PROJECT},
    "pdm.lock": {**PYTHON, "pyproject.toml": PROJECT},
    "pylock.toml": {**PYTHON, "pyproject.toml": PROJECT},
    "setup.py": PYTHON,
    "package.json": NODE,
    "package-lock.json": {**NODE, "package.json": '{"dependencies": {"a": "1"}}'},
    "pnpm-lock.yaml": {**NODE, "package.json": '{"dependencies": {"a": "1"}}'},
    "yarn.lock": {**NODE, "package.json": '{"dependencies": {"a": "1"}}'},
    ".yarnrc.yml": {**NODE, **YARN},
    "pnpm-workspace.yaml": {**NODE, **PNPM},
    ".nvmrc": TOOLS,
    ".node-version": TOOLS,
    "rust-toolchain": {"envtool.yaml": TOOLS["envtool.yaml"].replace("node", "rust")},
    "rust-toolchain.toml": {"envtool.yaml": TOOLS["envtool.yaml"].replace("node", "rust")},
    ".java-version": {"envtool.yaml": TOOLS["envtool.yaml"].replace("node", "java")},
    "mise.toml": TOOLS,
    ".mise.toml": TOOLS,
    ".tool-versions": TOOLS,
    ".python-version": {**PYTHON, "pyproject.toml": PROJECT},
    ".npmrc": {**NODE, "package.json": '{"dependencies": {"a": "1"}}'},
    "Cargo.toml": RUST,
    "Cargo.lock": {**RUST, "Cargo.toml": CARGO},
    ".cargo/config.toml": {**RUST, "Cargo.toml": CARGO, ".cargo/x": ""},
    "go.mod": GOLANG,
    "go.sum": {**GOLANG, "go.mod": GO},
    "go.work": {**GOLANG, "go.mod": GO},
    "pom.xml": JAVA,
    "CMakeLists.txt": CC,
    "configure.ac": CC,
}


# ---- shapes: what is at the path ---------------------------------------------------------------------------------------


def link(to):
    def make(path, outside):
        path.symlink_to(to(outside))

    return make


def chain(path, outside):
    (path.parent / "one").symlink_to("two/three")
    (path.parent / "two").mkdir()
    (path.parent / "two/three").symlink_to("../../" + outside.name + "/secret")
    path.symlink_to("one")


def sparse(path, _):
    with path.open("wb") as file:
        file.truncate(1 << 40)


SHAPES = {
    "a link to a file": link(lambda outside: outside / "secret"),
    "a relative link": link(lambda outside: f"../{outside.name}/secret"),
    "a link to a directory": link(lambda outside: outside),
    "a chain of links": chain,
    "a dangling link": link(lambda outside: outside / "nothing"),
    "a link in a circle": lambda path, _: path.symlink_to(path.name),
    "a link to a device": link(lambda _: "/dev/zero"),
    "a fifo": lambda path, _: os.mkfifo(path),
    "a directory": lambda path, _: path.mkdir(),
    "a terabyte of nothing": sparse,
}
PATHS = {  # ref itself leads out
    "absolute": lambda outside: str(outside / "secret"),
    "an absolute directory": str,
    "upward": lambda outside: f"../{outside.name}/secret",
    "through a directory": lambda outside: f"sub/../../{outside.name}/secret",
    "through a link": lambda _: "way/secret",
    "home": lambda outside: f"~/{outside.name}/secret",
}
CASES = [
    *((place, shape, "") for place in NAMED for shape in SHAPES),
    *((place, "", path) for place in NAMED for path in PATHS),
    *((place, shape, None) for place in LOOKED_FOR for shape in SHAPES),
]


@pytest.fixture
def outside(place):
    """A directory beside the project, full of what nobody may know, readable to the caller."""
    top = place.directory("outside")
    canary = f"CANARY{place.token}"
    for name in ("secret", "Dockerfile", "package.json", "index.json", "oci-layout", "pyproject.toml", "x.txt"):
        place.write(name, f"{canary}: [\nFROM {canary}\n{canary}\n", at=top)
    place.canary = canary
    place.hash = hashlib.sha256((top / "secret").read_bytes()).hexdigest()
    return top


def project(place, files, outside):
    place.directory(f"{place.project.name}/sub")
    (place.project / "way").symlink_to(outside)
    for name, text in files.items():
        whole = text.replace("@TOP@", str(place.project)).replace("@SHA@", SHA)
        place.write(name, ("version: 1\n" if name == "envtool.yaml" else "") + whole)


def check(place, done, *, began):
    """Neither what lies outside nor its hash came in."""
    for word in (place.canary, place.hash):
        assert word not in done.said
        for top in (place.store, place.project):
            for path in top.rglob("*"):
                if path.is_symlink() or not path.is_file() or path.stat().st_size > 1 << 24:
                    continue
                if path.stat().st_mtime >= began - 1:
                    assert word not in path.name
                    assert word.encode() not in path.read_bytes(), path
    if done.status in (2, 3):
        said = re.search(r"error|not built|\d+:\d+", done.err)
        assert said, done.said


@pytest.mark.sampled(8)
@pytest.mark.parametrize(("where", "shape", "path"), CASES, ids=lambda value: str(value).replace(" ", "-") or "-")
def test_nothing_outside_is_read(place, outside, where, shape, path):
    if path is None:
        files, ref = dict(LOOKED_FOR[where]), where
        files.pop(where, None)
    else:
        ref = PATHS[path](outside) if path else "victim"
        files = NAMED[where](ref, place.project)
    project(place, files, outside)
    if shape:
        made = place.project / ref
        SHAPES[shape](made, outside)
        for each in (made, place.project / "two"):
            if os.path.lexists(each) and not each.is_symlink():
                os.chown(each, place.caller.uid, place.caller.gid)
    began = time.time()
    for words in (("test", "--offline"), ("lock",)) if where in ("envtool.lock", "nested -r") else (("test",),):
        done = place.envtool(*words)
        assert done.seconds < 30, "it waited, or read all of it"
        check(place, done, began=began)
        if path and where not in ("COPY", "ADD", "bind mount"):  # those cannot leave their context: it is all there is
            assert done.status in (1, 2, 3), done.said


# ---- a race ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["copy", "inputs", "include", "requirements"])
def test_a_file_that_is_swapped_all_the_time(place, outside, where, depth):
    """It is the project's at one moment and a link out of it at the next: what was looked at is what is read."""
    project(place, NAMED[where]("victim", place.project), outside)
    good, bad, victim = (place.project / name for name in ("good", "bad", "victim"))
    good.write_text("version: 1\n" if where == "include" else "")
    bad.symlink_to(outside / "secret")
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            for source in (good, bad):
                beside = place.project / ".beside"
                with_link = source.is_symlink()
                beside.symlink_to(os.readlink(source)) if with_link else beside.write_bytes(source.read_bytes())
                beside.rename(victim)

    began = time.time()
    for _ in depth.times(3, 60):
        stop.clear()
        thread = threading.Thread(target=swap)
        thread.start()
        try:
            done = place.envtool("test")
        finally:
            stop.set()
            thread.join()
        check(place, done, began=began)


# ---- no kind may forget it ---------------------------------------------------------------------------------------------

# Every text in the schema of a kind, by its place: what covers it above, or why it is no path of this machine
COVERED = {
    "copy.from": "copy", "fetch.url": "fetch url", "tarball.path": "tarball path", "tarball.url": "tarball url",
    "debian.keyring": "keyring", "debian.mirror": "mirror", "debian.security_mirror": "mirror", "dockerfile": "dockerfile",
    "dockerfile.file": "dockerfile", "dockerfile.context": "context", "dockerfile.secrets.*.file": "secret",
    "image": "oci layout", "image.name": "oci archive", "dockerfile.images.*": "docker archive",
    "pip.requirements": "requirements", "pip.constraints": "constraints", "pip.inputs": "pip inputs",
    "pip.reads": "pip inputs", "python-project.files": "python-project", "python-project.inputs": "pip inputs",
    "python-project.names": "python-project", "python-project.root": "python-project", "pip.sources.*": "pip sources",
    "pip.locked.file": "pip locked",
    "cargo.directory": "cargo directory", "cargo.manifests": "cargo manifests", "go.directory": "go directory",
    "go.workspace": "go workspace", "maven.directory": "maven directory", "maven.poms": "maven poms",
    "npm.lockfile": "npm lockfile", "npm.inputs": "npm inputs", "npm.directory": "npm directory", "run.inputs": "inputs",
    "pnpm.inputs": "pnpm inputs", "pnpm.directory": "pnpm directory", "yarn.inputs": "yarn inputs", "yarn.directory": "yarn directory",
}  # fmt: skip
NO_PATH = {
    "apt": "package names", "apt.packages": "package names", "copy.to": "in the container", "copy.mode": "", "fetch.to": "in the container",
    "fetch.sha256": "", "fetch.mode": "", "fetch.limit": "a size", "tarball.limit": "a size", "tarball.sha256": "", "debian": "a suite", "debian.suite": "a suite",
    "debian.components": "", "debian.packages": "", "debian.pockets": "", "dockerfile.target": "", "dockerfile.args.*": "text",
    "dockerfile.secrets.*.env": "a variable: tests/unit/project/test_host_access.py", "dockerfile.platform": "", "image.platform": "",
    "run": "commands", "pip": "requirements", "pip.packages": "requirements", "pip.groups": "", "pip.extras": "",
    "pip.adds": "requirements", "pip.bounds": "requirements", "pip.index": "a URL", "pip.requires-python": "versions",
    "python-project.index": "a URL", "python-project.requires-python": "versions",
    "pip.locked.groups": "", "pip.locked.extras": "", "pip.locked.digest": "a digest", "pip.locked.stale": "requirements",
    "pip.locked.bound": "names",
    "pip.python": "in the container", "pip.path": "in the container", "pip.version": "", "python-project.install": "",
    "python-project.build": "a digest", "python-project.python": "in the container", "python-project.path": "in the container",
    "python-project.version": "", "npm.node": "in the container", "npm.omit": "", "sdist.name": "", "sdist.version": "",
    "sdist.sha256": "", "sdist.to": "in the container", "cargo.cargo": "in the container", "crate.name": "", "crate.version": "",
    "crate.sha256": "", "crate.to": "in the container", "go.go": "in the container", "go-module.module": "", "go-module.sum": "",
    "go-module.to": "in the container", "go-module.version": "", "maven.arguments": "options", "maven.record": "goals",
    "maven.source": "in the container", "cc.compiler": "", "cc.sanitize": "", "deb-src.name": "", "deb-src.suite": "a suite",
    "deb-src.to": "in the container", "deb-src.version": "",
    "pnpm.node": "in the container", "pnpm.version": "", "yarn.node": "in the container", "yarn.version": "",
    "pip.installer": "", "python-project.installer": "", "node-toolchain.version": "", "node-toolchain.origin": "text",
    "go-toolchain.version": "", "go-toolchain.origin": "text", "cmake-toolchain.version": "", "cmake-toolchain.origin": "text",
    "meson-toolchain.version": "", "meson-toolchain.origin": "text", "ninja-toolchain.version": "", "ninja-toolchain.origin": "text",
    "zig-toolchain.version": "", "zig-toolchain.origin": "text", "rust-toolchain.version": "", "rust-toolchain.origin": "text",
    "rust-toolchain.mirror": "a URL", "java-toolchain.version": "", "java-toolchain.origin": "text", "java-toolchain.mirror": "a URL",
    "python-toolchain.version": "", "python-toolchain.origin": "text", "python-toolchain.mirror": "a URL",
    "run.secrets": "names of secrets, which the caller gives: hostile/test_secrets.py",
}  # fmt: skip


def texts(schema, at):
    """Places of all strings that a value of a schema may have."""
    if not isinstance(schema, dict):
        return
    kinds = schema.get("type", [])
    if "string" in ([kinds] if isinstance(kinds, str) else kinds) or "enum" in schema:
        yield at
    for word in ("oneOf", "anyOf", "allOf"):
        for each in schema.get(word, ()):
            yield from texts(each, at)
    yield from texts(schema.get("items"), at)
    yield from texts(schema.get("additionalProperties"), f"{at}.*")
    for name, each in schema.get("properties", {}).items():
        yield from texts(each, f"{at}.{name}")


def test_every_text_that_a_kind_takes_is_in_the_battery_or_is_no_path():
    found = discover()
    places = set()
    for kind in (*found.bases.values(), *found.layers.values()):
        places |= {*texts(kind.schema, kind.name)}
        for name, schema in kind.siblings.items():
            places |= {*texts(schema, f"{kind.name}.{name}")}
    known = {*COVERED, *NO_PATH}
    assert places - known == set(), "say in COVERED which place of the battery it is, or in NO_PATH why it is no path"
    assert known - places == set()
    assert {*COVERED.values()} <= {*NAMED}


def test_kinds_have_no_other_way_to_the_project():
    """`api.Site` says nothing of where the project is: files of it are opened by `Site.open` alone."""
    assert "project" not in {*api.Site.__annotations__, *vars(api.Site)}
    for path in (*Path("envtool/kinds").rglob("*.py"), *Path("plugins").glob("*/src/**/*.py")):
        assert not re.search(r"\b(site|setting)\.(project|root)\b", path.read_text()), path
