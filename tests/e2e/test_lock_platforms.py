"""`lock --platform` for real: layers are resolved for another architecture by this machine's own stack.

Nothing of the other architecture runs here. So three things are looked at: a stack that stands in for its own
architecture chooses what it chooses natively; what it chooses for another one is that one's, and the registries have
it; and a machine of the other architecture accepts the lock.
"""

from __future__ import annotations

import hashlib
import json
import os
import urllib.request
from pathlib import Path

import pytest

from envtool.build.lock_platforms import PLATFORMS

pytestmark = [pytest.mark.e2e, pytest.mark.network]

ONE = pytest.mark.parametrize("caller", ["root" if os.geteuid() == 0 else "me"], indirect=True)
MACHINE = os.uname().machine
PLATFORM, OTHER = next(item for item in PLATFORMS.items() if item[1] != MACHINE)
DEBIAN = {"x86_64": "amd64", "aarch64": "arm64"}
SCRIPT = Path(__file__).with_name("other_machine.py")


def ask(place, *words):
    return json.loads(place.shell(f"{place.caller.command[0]} {SCRIPT} {' '.join(words)}").splitlines()[-1])


def lock_both(place, spec):
    """Locks a spec for both architectures, and returns kind -> pins of the other one."""
    place.spec(spec)
    done = place.envtool("lock", "--platform", PLATFORM)
    assert done.status == 0, done.said
    return other_pins(place)


def other_pins(place):
    entries = json.loads((place.project / "envtool.lock").read_text())["entries"]
    assert not any("key" in entry or "diff_id" in entry for entry in entries if entry["platform"] == OTHER)
    return {
        entry.get("layer", entry.get("base")): entry["pins"] for entry in entries if entry["platform"] == OTHER
    }  # fmt: skip


def is_accepted(place):
    """Both machines accept the lock; without one of its entries the other does not."""
    assert place.envtool("lock", "--check").status == 0
    assert ask(place, "locked", MACHINE) == []
    assert ask(place, "locked", OTHER) == []
    lock = place.project / "envtool.lock"
    text = lock.read_text()
    document = json.loads(text)
    assert [entry["platform"] for entry in document["entries"]].count(OTHER) * 2 == len(document["entries"])
    last = max(number for number, entry in enumerate(document["entries"]) if entry["platform"] == OTHER)
    del document["entries"][last]
    lock.write_text(json.dumps(document))
    assert ask(place, "locked", OTHER) == ["lock-stale"]
    assert place.envtool("lock", "--check").status == 1
    lock.write_text(text)
    return True


APT = """
envs:
  e:
    base: {debian: bookworm}
    layers: [{apt: [hello, python3-minimal, ssl-cert]}, {apt: [file, libpng-dev]}]
    tasks: {test: "true"}
"""


@ONE
def test_apt(common):
    pins = lock_both(common, APT)
    first, second = pins["apt"]["debs"], pins["apt-2"]["debs"]
    assert {deb["arch"] for deb in (*first, *second)} == {DEBIAN[OTHER], "all"}
    base = {deb["name"] for deb in pins["debian:bookworm"]["debs"]}
    named = [{deb["name"] for deb in debs} for debs in (first, second)]
    assert {"hello", "python3-minimal", "ssl-cert"} <= named[0]
    assert {"file", "libpng-dev", "zlib1g-dev"} <= named[1]
    assert not base & named[0], "what is installed already is not chosen again"
    assert not (base | named[0]) & named[1]
    assert ask(common, "unsatisfied", OTHER) == ask(common, "unsatisfied", MACHINE) == []
    assert is_accepted(common)
    for own, there in ask(common, "alike").values():
        assert own == there
    common.spec(APT.replace("libpng-dev]}", "libpng-dev]}, {run: 'dpkg --purge hello'}, {apt: [make]}"))
    refused = common.envtool("lock", "--platform", PLATFORM)
    assert refused.status == 2
    assert "a layer below changes packages that no pins name: hello" in refused.said


@ONE
def test_the_mirror_has_the_packages_of_the_other_architecture(common):
    """By the URL that `locate` finds there."""
    pins = lock_both(common, APT)
    deb = next(item for item in pins["apt"]["debs"] if item["name"] == "hello")
    script = (
        "import json, sys; from envtool.kinds.debian import mirrors, pins;"
        "value = json.load(open('envtool.lock'))['entries'];"
        f"value = [e['pins'] for e in value if e.get('layer') == 'apt' and e['platform'] == '{OTHER}'][0];"
        "lists = pins.package_lists(value);"
        "print(json.dumps(mirrors.archive_urls('', value['suite'], lists[0].suite, 0)))"
    )
    urls = json.loads(common.shell(f'{common.caller.command[0]} -c "{script}"'))
    with urllib.request.urlopen(f"{urls[0]}/{deb['path']}", timeout=60) as answer:
        content = answer.read()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (deb["size"], deb["sha256"])


PYTHON = """
envs:
  e: {base: {debian: bookworm}, language: python, tasks: {test: "python -c 'import cffi'"}}
"""
PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "ours"
version = "1"
dependencies = [
  "cffi", "markupsafe",
  "attrs; platform_machine == 'x86_64'", "iniconfig; platform_machine == 'aarch64'",
]
"""


@ONE
def test_python(common):
    """The wheels are those that pip finds for the platform, by name and hash."""
    pytest.importorskip("envtool_python")
    common.write("pyproject.toml", PYPROJECT)
    common.write("src/ours/__init__.py", "")
    pins = lock_both(common, PYTHON)
    files = {file["name"]: file for file in pins["requirements"]["files"] if file["use"] == "install"}
    assert {*files} == {"cffi", "pycparser", "markupsafe", {"aarch64": "iniconfig", "x86_64": "attrs"}[OTHER]}
    assert OTHER in pins["requirements"]["uv"]
    entries = json.loads((common.project / "envtool.lock").read_text())["entries"]
    (own,) = [entry["pins"] for entry in entries if entry.get("layer") == "requirements" and entry["platform"] != OTHER]
    versions = {file["name"]: file["version"] for file in own["files"]}
    assert all(versions.get(name, file["version"]) == file["version"] for name, file in files.items())
    libc = int(pins["requirements"]["python"]["libc"].partition(".")[2])
    tags = " ".join(f"--platform manylinux_2_{number}_{OTHER}" for number in range(libc, 16, -1))
    common.shell(
        f"{common.caller.command[0]} -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.11"
        f" --platform manylinux2014_{OTHER} {tags} -d found "
        + " ".join(f"{name}=={file['version']}" for name, file in files.items())
    )
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (common.project / "found").iterdir()}
    assert found == {file["file"]: file["sha256"] for file in files.values()}
    assert sum(OTHER in name for name in found) == 2
    assert {file["use"] for file in pins["project"]["files"]} == {"build", "project"}
    assert is_accepted(common)


@ONE
def test_a_source_distribution_is_refused_by_name(common):
    pytest.importorskip("envtool_python")
    common.write("pyproject.toml", PYPROJECT.replace('"cffi", "markupsafe"', '"docopt"'))
    common.write("src/ours/__init__.py", "")
    common.spec(PYTHON)
    refused = common.envtool("lock", "--platform", PLATFORM)
    assert refused.status == 2, refused.said
    assert f"layer `requirements` cannot be locked for {PLATFORM}: " in refused.said
    assert "`docopt` has no wheel for it" in refused.said
    assert not (common.project / "envtool.lock").exists()


NODE = """
envs:
  e: {base: {debian: bookworm}, language: node, toolchain: {node: "22.10.0"}, tasks: {test: "node -e 1"}}
"""


@ONE
def test_node(common):
    """The tarballs for the other cpu, of the same versions; the registry has them, by the hash of the lock file."""
    pytest.importorskip("envtool_node")
    common.write("package.json", json.dumps({"name": "ours", "version": "1.0.0", "dependencies": {"esbuild": "*"}}))
    pins = lock_both(common, NODE)["node-modules"]
    cpus = {"x86_64": "x64", "aarch64": "arm64"}
    assert pins["node"]["cpu"] == cpus[OTHER]
    entries = json.loads((common.project / "envtool.lock").read_text())["entries"]
    (own,) = [entry["pins"] for entry in entries if entry["kind"] == "npm" and entry["platform"] == MACHINE]
    assert pins["lock"] == own["lock"]
    named = [{(item["name"], item["version"]) for item in some["files"]} for some in (pins, own)]
    ((name, version),) = named[0] - named[1]
    assert name == f"@esbuild/linux-{cpus[OTHER]}"
    assert named[1] - named[0] == {(f"@esbuild/linux-{cpus[MACHINE]}", version)}
    assert ("esbuild", version) in named[0] & named[1]
    (item,) = [item for item in pins["files"] if item["name"] == name]
    assert item["integrity"] == pins["lock"][f"node_modules/{name}"]["integrity"]
    assert is_accepted(common)


RUST_AND_GO = """
envs:
  e:
    base: {debian: bookworm}
    layers: [{apt: [cargo, golang-go]}, {cargo: {}}, {go: {}}]
    tasks: {test: "true"}
"""


@ONE
def test_sources_are_the_same_for_every_architecture(common):
    for name in ("envtool_rust", "envtool_go"):
        pytest.importorskip(name)
    common.write("Cargo.toml", '[package]\nname = "ours"\nversion = "1.0.0"\n[dependencies]\nlibc = "0.2"\n')
    common.write("src/lib.rs", "")
    common.write("go.mod", "module example.org/ours\n\ngo 1.19\n")
    pins = lock_both(common, RUST_AND_GO)
    entries = json.loads((common.project / "envtool.lock").read_text())["entries"]
    for kind in ("cargo", "go"):
        (own,) = [entry["pins"] for entry in entries if entry["kind"] == kind and entry["platform"] == MACHINE]
        assert pins[kind] == own
    assert [crate["name"] for crate in pins["cargo"]["crates"]] == ["libc"]
    assert is_accepted(common)
