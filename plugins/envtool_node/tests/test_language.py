"""package.json -> layers, without a container."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from envtool_node.language import NodeLanguage, detect
from envtool_node.package_json import WrongManifestError, further_inputs, parse

from envtool import api, testing

LOCK = '{"lockfileVersion": 3, "packages": {}}'


def draft(base="debian", names=(), **options):
    where = api.Where(file="envtool.yaml", line=3, column=9)
    return api.EnvDraft(name="unit", base_kind=base, options=options, layer_names=names, where=where)


def manifest(**more):
    return json.dumps({"name": "x", **more})


def test_a_project_with_a_lock_file():
    files = {"package.json": manifest(dependencies={"a": "1"}), "package-lock.json": LOCK}
    node, npm = testing.check_language(NodeLanguage(), files, omit=["dev"], scripts=False)
    assert (node.kind, node.options, node.after) == ("apt", ["nodejs", "npm"], False)
    assert (npm.kind, npm.options, npm.needs) == ("npm", {"omit": ["dev"], "scripts": False}, ("nodejs", "mine"))


def test_without_dependencies_there_is_nothing_to_install():
    files = {"package.json": manifest(scripts={"test": "node --test"})}
    assert [layer.kind for layer in testing.check_language(NodeLanguage(), files)] == ["apt"]


@pytest.mark.parametrize(("base", "node"), [("host", "node"), ("debian", "/opt/node/bin/node")])
def test_a_node_that_is_there_is_not_installed(base, node):
    files = testing.MemoryProject({"package.json": manifest(dependencies={"a": "1"})})
    options = {} if node == "node" else {"node": node}
    (npm,) = NodeLanguage().layers(draft(base, **options), files)
    assert npm.options == options


def test_workspaces_and_local_packages_are_inputs():
    files = {
        "web/package.json": manifest(
            workspaces=["packages/*", "!packages/old", "../../out/*"],
            dependencies={"v": "file:vendor/v-1.0.0.tgz", "lib": "link:../lib", "far": "file:../../far"},
        ),
        "web/packages/a/package.json": "{}",
        "web/packages/old/package.json": "{}",
        "web/packages/a/node_modules/b/package.json": "{}",
        "lib/package.json": "{}",
    }
    (npm,) = [layer for layer in testing.check_language(NodeLanguage(), files, directory="web") if layer.kind == "npm"]
    assert npm.options == {
        "directory": "web",
        "inputs": ["lib/package.json", "web/packages/a/package.json", "web/vendor/v-1.0.0.tgz"],
    }


def test_workspaces_in_yarns_notation():
    found = further_inputs(
        parse(manifest(workspaces={"packages": ["p/*"]}), "package.json"), ".", lambda pattern: [pattern]
    )
    assert found == ("p/*/package.json",)


@pytest.mark.parametrize(
    ("manager", "files", "kind", "command"),
    [
        ("pnpm@10.1.0", ["pnpm-lock.yaml", "package-lock.json"], "pnpm", "pnpm test {{ args }}"),
        ("yarn@4.0.0", ["yarn.lock", "package-lock.json"], "yarn", "yarn test {{ args }}"),
        ("yarn@4.0.0", ["yarn.lock", "pnpm-lock.yaml"], "yarn", "yarn test {{ args }}"),
        ("npm@10.0.0", ["yarn.lock", "package-lock.json"], "npm", "npm test -- {{ args }}"),
        ("pnpm@10.1.0", ["yarn.lock", "package-lock.json"], "npm", "npm test -- {{ args }}"),
        (None, ["yarn.lock", "package-lock.json"], "npm", "npm test -- {{ args }}"),
    ],
)
def test_package_manager_decides_between_two_lock_files(manager, files, kind, command):
    own = {"packageManager": manager} if manager else {}
    text = manifest(scripts={"test": "node --test"}, **own)
    locks = {"package-lock.json": LOCK, "yarn.lock": "", "pnpm-lock.yaml": ""}
    project = testing.MemoryProject({"package.json": text, "a.test.js": "", **{name: locks[name] for name in files}})
    assert [layer.kind for layer in NodeLanguage().layers(draft(), project)] == ["apt", kind]
    (found,) = detect(project)
    assert found.env["tasks"] == {"test": command}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "there is no package.json"),
        ({"package.json": "{"}, "package.json is not JSON"),
        ({"package.json": "[]"}, "package.json is not a JSON object"),
        ({"package.json": '{"dependencies": []}'}, "`dependencies` is not an object"),
        ({"package.json": '{"workspaces": "x"}'}, "`workspaces` is not a list"),
        ({"package.json": "{}", "yarn.lock": "", "pnpm-lock.yaml": ""}, "there are lock files of pnpm and yarn"),
        ({"package.json": "{}", "pnpm-lock.yaml": "", "pnpm-workspace.yaml": "- a"}, "is not a mapping"),
        ({"package.json": '{"packageManager": "vlt@1.0.0"}'}, "packageManager is vlt, which is not supported"),
        ({"package.json": "{}", "bun.lockb": ""}, "bun.lockb is of bun, which is not supported"),
        (
            {"package.json": '{"packageManager": "pnpm@9.1.0"}'},
            "its packageManager is pnpm, and there is no pnpm-lock.yaml",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(files, said):
    with pytest.raises(api.SpecError) as caught:
        NodeLanguage().layers(draft(), testing.MemoryProject(files))
    (problem,) = caught.value.problems
    assert said in problem.message
    assert problem.where.file in ("envtool.yaml", "package.json")
    if "not supported" in said:
        assert "package-lock.json" in problem.hint


def test_where_json_breaks():
    with pytest.raises(WrongManifestError) as caught:
        parse('{\n  "name": "x",\n}', "package.json")
    assert caught.value.file == "package.json"
    assert caught.value.line in (2, 3)  # Python 3.13 points at the comma, those before at what follows it


def test_with_a_lock_of_npms_own_the_others_are_passed_over():
    files = {"package.json": manifest(packageManager="yarn@4.0.0"), "yarn.lock": "", "npm-shrinkwrap.json": LOCK}
    assert [layer.kind for layer in testing.check_language(NodeLanguage(), files)] == ["apt", "npm"]


def test_package_manager_decides_between_lock_files_and_their_version():
    files = {
        "package.json": manifest(
            packageManager="pnpm@9.1.0+sha512.0a", pnpm={"patchedDependencies": {"a@1": "p/a.patch"}}
        ),
        "pnpm-lock.yaml": "",
        "yarn.lock": "",
        "pnpm-workspace.yaml": "packages: ['packages/*']",
        "packages/a/package.json": "{}",
        "p/a.patch": "",
    }
    _, layer = testing.check_language(NodeLanguage(), files)
    assert layer.kind == "pnpm"
    assert layer.options == {"version": "9.1.0+sha512.0a", "inputs": ["p/a.patch", "packages/a/package.json"]}


def test_workspaces_and_plugins_of_yarn():
    files = {
        "package.json": manifest(workspaces=["packages/*"]),
        "yarn.lock": "",
        "packages/a/package.json": "{}",
        ".yarn/patches/a.patch": "",
        ".yarn/releases/yarn-4.5.3.cjs": "",
    }
    _, layer = testing.check_language(NodeLanguage(), files)
    assert layer.kind == "yarn"
    assert layer.options == {"inputs": [".yarn/patches/a.patch", "packages/a/package.json"]}


def test_patches_and_portals_of_yarn_are_inputs():
    patched = "patch:a@npm%3A1.0.0#~/p/a.patch&./b.patch::version=1.0.0"
    files = {
        "package.json": manifest(
            dependencies={"a": patched, "c": "portal:./c"},
            resolutions={"d@npm:1": "patch:d@npm%3A1#optional!d.patch", "e": "patch:e#optional!builtin<compat/e>"},
        ),
        "yarn.lock": "__metadata:\n  version: 8\n",
    }
    *_, layer = testing.check_language(NodeLanguage(), files)
    assert layer.options == {"inputs": ["b.patch", "c/package.json", "d.patch", "p/a.patch"]}
    odd = testing.check_language(NodeLanguage(), {**files, "package.json": manifest(resolutions=[1])})
    assert odd[-1].options == {}


def test_omit_is_of_npm():
    with pytest.raises(api.SpecError) as caught:
        NodeLanguage().layers(draft(omit=["dev"]), testing.MemoryProject({"package.json": "{}", "yarn.lock": ""}))
    assert "`omit` is of npm, and yarn.lock is of yarn" in caught.value.problems[0].message


@pytest.mark.parametrize(
    ("suite", "text", "note"),
    [
        ("trixie", "v22.12.0", ".nvmrc:1 wants node 22.12.0, the env has 20: `toolchain: [node]` takes what the file wants"),
        ("trixie", "20.9", ""), ("bookworm", "18", ""), ("sid", "22", ""), ("trixie", "lts/*", ""),
    ],
)  # fmt: skip
def test_another_node_is_noted_and_changes_nothing(suite, text, note):
    files = {"package.json": manifest(dependencies={"a": "1"}), "package-lock.json": LOCK}
    env = replace(draft(), base_options=suite)
    plain = NodeLanguage().layers(env, testing.MemoryProject(files))
    drafts = NodeLanguage().layers(env, testing.MemoryProject({**files, ".nvmrc": text}))
    assert drafts == (replace(plain[0], note=note), *plain[1:])


def test_whose_node_an_env_has_decides_the_note():
    files = testing.MemoryProject({"package.json": manifest(dependencies={"a": "1"}), ".nvmrc": "22\n"})
    (npm,) = NodeLanguage().layers(draft("host"), files)
    assert (
        npm.note
        == ".nvmrc:1 wants node 22, the env has that of this machine: `toolchain: [node]` takes what the file wants"
    )
    pinned = replace(draft("host"), toolchains=("node",))
    for env in (pinned, draft("image"), draft("host", node="/opt/node/bin/node")):
        assert not any(layer.note for layer in NodeLanguage().layers(env, files))
