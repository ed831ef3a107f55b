"""What `init` detects in a Node.js project, and the command of its tests."""

from __future__ import annotations

import json

import pytest
from envtool_node import language
from envtool_node.language import detect

from envtool import testing

NPM_INIT = 'echo "Error: no test specified" && exit 1'
LOCK = '{"lockfileVersion": 3, "packages": {}}'


def manifest(**more):
    return json.dumps({"name": "x", **more})


@pytest.mark.parametrize(
    ("files", "task"),
    [
        ({"package.json": manifest(scripts={"test": "vitest"})}, "npm test -- {{ args }}"),
        (
            {
                "package.json": manifest(
                    scripts={"pretest": "npm run lint", "test": "tape", "posttest": "aud --production"}
                )
            },
            "npm test --ignore-scripts -- {{ args }}",
        ),
        (
            {"package.json": manifest(scripts={"pretest": "rollup -c", "test": "tape", "posttest": "npx npm audit"})},
            "npm run pretest && npm test --ignore-scripts -- {{ args }}",
        ),
        ({"package.json": manifest(scripts={"pretest": "rollup -c", "test": "tape"})}, "npm test -- {{ args }}"),
        ({"package.json": "{}", "a.test.js": ""}, "node --test {{ args }}"),
        ({"package.json": "{}", "src/test/a.mjs": ""}, "node --test {{ args }}"),
        ({"package.json": manifest(scripts={"test": NPM_INIT}), "test/a.js": ""}, "node --test {{ args }}"),
        (
            {"package.json": manifest(scripts={"test": "x"}), "yarn.lock": "", "package-lock.json": LOCK},
            "npm test -- {{ args }}",
        ),
        ({"package.json": manifest(scripts={"test": "x"}), "yarn.lock": ""}, "yarn test {{ args }}"),
        ({"package.json": manifest(scripts={"test": "x"}), "pnpm-lock.yaml": ""}, "pnpm test {{ args }}"),
    ],
)
def test_detection(files, task, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name, path: f"/usr/bin/{name}")
    (found,) = detect(testing.MemoryProject(files))
    assert found.env == {"language": "node", "tasks": {"test": task}}
    assert found.language == "node"
    monkeypatch.setattr("shutil.which", lambda name, path: None)
    (found,) = detect(testing.MemoryProject(files))
    assert found.env["base"] == {"debian": "bookworm"}, "this machine has no Node.js"


@pytest.mark.parametrize(
    ("wanted", "here", "is_taken"),
    [
        (">=22", "20.20.2", True),
        ("^18 || ^20", "22.1.0", True),
        (">=18", "20.20.2", False),
        ("20.x", "20.20.2", False),
        (">=22", "", False),  # this machine's Node.js does not say which one it is
        ("lts", "20.20.2", False),  # no range: reported where the version counts
        (22, "20.20.2", False),
    ],
)
def test_a_node_that_the_project_excludes_is_not_that_of_the_env(wanted, here, is_taken, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name, path: f"/usr/bin/{name}")
    monkeypatch.setattr(language, "_host_version", lambda: here)
    (found,) = detect(
        testing.MemoryProject({"package.json": manifest(scripts={"test": "x"}, engines={"node": wanted})})
    )
    assert found.env.get("toolchain") == (["node"] if is_taken else None)
    assert (f"engines.node wants {wanted}" in found.reason) == is_taken


def test_debians_node_that_the_project_excludes(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name, path: None)
    for wanted, taken in ((">=20", ["node"]), (">=18.2", None)):
        files = {"package.json": manifest(scripts={"test": "x"}, engines={"node": wanted})}
        (found,) = detect(testing.MemoryProject(files))
        assert found.env["base"] == {"debian": "bookworm"}
        assert found.env.get("toolchain") == taken


@pytest.mark.parametrize(
    ("manager", "here", "taken"),
    [
        ("pnpm@11.9.0+sha512.ab", "20.20.2", {"node": "22"}),
        ("pnpm@11.9.0", "22.12.0", {"node": "22"}),
        ("pnpm@11.9.0", "22.13.0", None),
        ("pnpm@11.9.0", "", None),
        ("pnpm@10.33.4", "20.20.2", None),
        ("pnpm", "20.20.2", None),
        ("npm@11.9.0", "20.20.2", None),
    ],
)
def test_a_node_that_the_package_manager_excludes_is_not_that_of_the_env(manager, here, taken, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name, path: f"/usr/bin/{name}")
    monkeypatch.setattr(language, "_host_version", lambda: here)
    files = {
        "package.json": manifest(scripts={"test": "x"}, packageManager=manager),
        "package-lock.json" if manager.startswith("npm") else "pnpm-lock.yaml": "lockfileVersion: '9.0'\n",
    }
    (found,) = detect(testing.MemoryProject(files))
    assert found.env.get("toolchain") == taken
    assert ("its pnpm 11.9.0 wants Node.js >=22.13: a toolchain" in found.reason) == bool(taken)


@pytest.mark.parametrize(("printed", "version"), [("v20.1.2", "20.1.2"), ("v23.0.0-nightly", ""), ("", ""), ("20", "")])
def test_which_node_this_machine_has(printed, version, tmp_path, monkeypatch):
    program = tmp_path / "node"
    program.write_text(f'#!/bin/sh\n[ -z "$NODE_OPTIONS" ] && [ $(pwd) = / ] && echo {printed}\n')
    program.chmod(0o755)
    monkeypatch.setattr(language, "HOST_PATH", f"{tmp_path}:/bin")
    monkeypatch.setenv("NODE_OPTIONS", "--require /project/evil.js")
    assert language._host_version() == version
    program.unlink()
    monkeypatch.setattr(language, "HOST_PATH", str(tmp_path))
    assert language._host_version() == ""


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"package.json": "{}"}, "no tests"),
        ({"package.json": manifest(scripts={"test": 'echo "Error: no test specified" && exit 1'})}, "no tests"),
        ({"package.json": "{"}, "package.json:1: "),
        (
            {"package.json": manifest(scripts={"test": "x"}, packageManager="yarn@4.5.3")},
            "of yarn and without yarn.lock",
        ),
        ({"package.json": manifest(scripts={"test": "x"}), "bun.lock": ""}, "of bun, which is not supported"),
        ({"package.json": manifest(scripts={"test": "x"}, packageManager="pnpm@9.0.0")}, "of pnpm"),
    ],
)
def test_what_could_not_pass_is_not_detected(files, why):
    (found,) = detect(testing.MemoryProject(files))
    assert not found.tested
    assert why in found.reason


@pytest.mark.parametrize(
    ("scripts", "task", "left_out"),
    [
        (  # of debug 4.4
            {
                "lint": "xo",
                "test": "npm run test:node && npm run test:browser && npm run lint",
                "test:node": "mocha test.js",
                "test:browser": "karma start --single-run",
            },
            "npm run test:node -- {{ args }}",
            "`npm run test:browser`",
        ),
        ({"test": "mocha test/a.js && karma start"}, "npm exec --no -- mocha test/a.js {{ args }}", "`karma start`"),
        (
            {"pretest": "rollup -c", "test": "npm run a && npm run b", "a": "wtr", "b": "tape"},
            "npm run pretest && npm run b -- {{ args }}",
            "`npm run a`",
        ),
        ({"test": "karma start"}, None, "start a browser"),
        ({"test": "npm run lint && karma start"}, None, "start a browser"),
        ({"test": "mocha karma-helpers.js && tape"}, "npm test -- {{ args }}", ""),
        ({"test": "mocha 'a b' && karma start"}, "npm test -- {{ args }}", ""),  # a shell's words: not taken apart
    ],
)
def test_tests_in_a_browser_are_left_out_where_there_is_none(scripts, task, left_out, monkeypatch):
    project = testing.MemoryProject({"package.json": manifest(scripts=scripts), "test/a.js": ""})
    monkeypatch.setattr("shutil.which", lambda name, path: f"/usr/bin/{name}" if name in ("node", "npm") else None)
    (found,) = detect(project)
    assert found.env.get("tasks") == (task and {"test": task})
    assert left_out in found.reason
    monkeypatch.setattr("shutil.which", lambda name, path: f"/usr/bin/{name}")
    (found,) = detect(project)
    whole = "npm run test:node && npm run test:browser -- {{ args }}" if "lint" in scripts else "npm test -- {{ args }}"
    assert found.env["tasks"] == {"test": whole}, "this machine has one"


@pytest.mark.parametrize(
    ("scripts", "task", "left_out"),
    [
        ({"test": "standard && tape tests.js"}, "tape tests.js {{ args }}", "`standard`"),
        ({"test": "xo && c8 ava 'test/*.js' && tsd"}, "c8 ava 'test/*.js' && tsd {{ args }}", "`xo`"),
        ({"test": "NODE_ENV=test npx eslint . && X=1 mocha"}, "X=1 mocha {{ args }}", "`NODE_ENV=test npx eslint .`"),
        (
            {"lint": "eslint . && prettier -c 'src/**'", "test": "npm run -s lint && npm run unit", "unit": "tape"},
            "npm run unit -- {{ args }}",
            "`npm run -s lint`",
        ),
        (
            {"pretest": "tape -v", "posttest": "c8 report", "test": "biome check && tape"},
            "npm run pretest && tape {{ args }} && npm run posttest",
            "`biome check`",
        ),
        ({"pretest": "xo", "test": "npm audit && tape"}, "tape {{ args }}", "`npm audit` and its pretest, which check"),
        # what tests, too, is no linter; nor is what only a shell can take apart
        ({"lint": "eslint . && tape", "test": "npm run lint && tape"}, "npm test -- {{ args }}", ""),
        ({"lint": "npm run lint", "test": "npm run lint && tape"}, "npm test -- {{ args }}", ""),
        ({"test": "npm run lint -w a && tape", "lint": "xo"}, "npm test -- {{ args }}", ""),
        ({"test": "xo; tape"}, "npm test -- {{ args }}", ""),
        ({"test": "xo && cd test && tape"}, "npm test -- {{ args }}", ""),
        ({"test": "xo && tape $(x)"}, "npm test -- {{ args }}", ""),
        ({"test": 'xo && tape "$X"'}, "npm test -- {{ args }}", ""),
        ({"test": "xo && tape '{{ x }}'"}, "npm test -- {{ args }}", ""),
        ({"test": "biome test && tape"}, "npm test -- {{ args }}", ""),
        ({"test": "tsc && tape"}, "npm test -- {{ args }}", ""),  # may write what is tested
        ({"test": "xo && eslint ."}, "npm test -- {{ args }}", ""),  # all that there is
    ],
)
def test_linters_of_the_test_script_are_left_out_and_named(scripts, task, left_out):
    (found,) = detect(testing.MemoryProject({"package.json": manifest(scripts=scripts), "test/a.js": ""}))
    assert found.env["tasks"] == {"test": task}
    assert left_out in found.reason
    assert ("without" in found.reason) == bool(left_out)


@pytest.mark.parametrize(
    ("prepare", "more", "files", "before"),
    [
        (
            "npm run build",
            {"main": "lib/a.js", "exports": {".": {"import": "./dist/k.mjs"}}},
            {},
            "npm run prepare && ",
        ),
        ("npm run build", {"main": "dist/a"}, {}, "npm run prepare && "),
        ("husky && npm run build", {"main": "dist/a.js"}, {}, "npm run build && "),
        ("husky install", {"main": "dist/a.js"}, {}, ""),
        ("patch-package && tsc", {"main": "dist/a.js"}, {}, ""),
        ("npm run build; true", {"main": "dist/a.js"}, {}, ""),
        ("npm run build", {"main": "dist/a.js"}, {"dist/a.js": ""}, ""),  # an archive has it
        ("npm run build", {"main": "dist/a"}, {"dist/a/index.js": ""}, ""),
        ("npm run build", {"exports": {".": {"types": "./dist/a.js"}, "./*": "./dist/*.js"}}, {}, ""),
        ("npm run build", {}, {}, ""),
        ("", {"main": "dist/a.js"}, {}, ""),
        ("npm run build", {"main": "dist/a.js"}, {"yarn.lock": "# yarn lockfile v1\n"}, ""),
    ],
)
def test_what_npm_makes_in_a_checkout_is_made_before_the_tests(prepare, more, files, before):
    scripts = {"build": "tsc", "prepare": prepare, "test": "tape"}
    project = testing.MemoryProject(
        {"package.json": manifest(scripts=scripts, **more), "lib/a.js": "", "test/a.js": "", **files}
    )
    (found,) = detect(project)
    task = "yarn test {{ args }}" if "yarn.lock" in files else "npm test -- {{ args }}"
    assert found.env["tasks"] == {"test": f"{before}{task}"}
    assert ("`prepare` makes dist/" in found.reason) == bool(before)


@pytest.mark.parametrize(
    ("test", "task"),
    [
        ("pnpm lint && vitest run", "vitest run {{ args }}"),
        ("pnpm run lint && pnpm run unit", "pnpm run unit {{ args }}"),
        ("pnpm -r lint && pnpm unit", "pnpm test {{ args }}"),
        ("vitest run", "pnpm test {{ args }}"),
    ],
)
def test_linters_that_pnpm_starts(test, task):
    scripts = {"lint": "eslint . && prettier -c src test", "unit": "vitest", "test": test}
    files = {"package.json": manifest(scripts=scripts), "pnpm-lock.yaml": "lockfileVersion: '9.0'\n", "test/a.js": ""}
    (found,) = detect(testing.MemoryProject(files))
    assert found.env["tasks"] == {"test": task}


@pytest.mark.parametrize(
    ("script", "files", "is_tested"),
    [
        ("uvu -r esm -i utils", {"index.js": "", "readme.md": ""}, False),
        ("c8 uvu", {"index.js": ""}, False),
        ("node --test", {"lib/index.js": "", "node_modules/a/test/a.js": ""}, False),
        ("node --no-warnings --test && uvu", {"index.js": ""}, False),
        ("uvu -r esm -i utils", {"index.js": "", "checks/a.Test.ts": ""}, True),
        ("uvu checks", {"index.js": "", "checks/a.js": ""}, True),
        ("node --test ./checks/", {"index.js": "", "checks/a.js": ""}, True),
        ("node --test", {"index.js": "", "specs/a.js": ""}, True),
        ("node --test && node check.js", {"index.js": "", "check.js": ""}, True),
        ("jest", {"index.js": ""}, True),  # fails without tests by itself
        ("node index.js", {"index.js": ""}, True),
        ("uvu 'a b'", {"index.js": ""}, True),
    ],
)
def test_a_runner_that_passes_without_tests_is_no_test_of_an_archive_without_them(script, files, is_tested):
    (found,) = detect(testing.MemoryProject({"package.json": manifest(scripts={"test": script}), **files}))
    assert found.tested == is_tested
    assert ("and no tests: it would pass" in found.reason) == (not is_tested)


@pytest.mark.parametrize(
    ("scripts", "files", "missing"),
    [
        ({"test": "mocha --reporter=spec test/*-test.js"}, ["lib/a.js"], "test/*-test.js"),
        ({"test": "npm run lint && npm run unit", "unit": "tape 'test/**/*.js'"}, ["lib/a.js"], "test/**/*.js"),
        ({"test": "standard && tap test.js other.js"}, ["index.js"], "test.js"),
        ({"test": "node ./spec/run.mjs"}, ["index.js"], "./spec/run.mjs"),
        ({"test": "npm run test:unit", "test:unit": "jest"}, ["index.js"], ""),
        ({"test": "mocha"}, ["index.js"], ""),
        ({"test": "mocha --require=./test/helper.js checks.js"}, ["checks.js"], ""),
        ({"test": "mocha test/*-test.js"}, ["Test/a-test.js"], ""),
        ({"test": "mocha 'a test.js'"}, ["index.js"], ""),
        ({"test": "cat test.json | node run.js"}, ["run.js"], ""),
    ],
)
def test_a_script_that_names_tests_is_no_test_of_an_archive_without_any(scripts, files, missing):
    project = testing.MemoryProject({"package.json": manifest(scripts=scripts), **dict.fromkeys(files, "")})
    (found,) = detect(project)
    assert found.tested == (not missing)
    assert not missing or found.reason == f"package.json with a test script, and no tests: there is no {missing}"


def test_nothing_is_detected_where_there_is_no_package():
    assert detect(testing.MemoryProject({})) == []
