"""What `envtool init` makes of a project that has no spec: a task that can pass, or none."""

from __future__ import annotations

import pytest

from envtool.api import Detection
from envtool.app.command_request import CommandRequest
from envtool.app.joined_languages import join_languages
from envtool.app.read_spec import load
from envtool.app.starter import detect, detect_build_system
from envtool.cli.main import main
from envtool.testing import MemoryProject

CMAKE = "project(a)\nadd_executable(t t.c)\n"


def one(files):
    (found,) = detect_build_system(MemoryProject(files))
    return found


@pytest.mark.parametrize(
    ("files", "suite", "packages", "command"),
    [
        ({"Makefile": "all:\n\ttrue\ntest: all\n\t./t\n", "t.c": ""}, "bookworm", ["gcc"], "make test"),
        ({"Makefile": "check:\n\t./t\n"}, "bookworm", ["gcc", "make"], "make check"),
        ({"GNUmakefile": "test:\n\t./x\n", "Makefile": "check:\n"}, "bookworm", ["make"], "make test"),
        ({"makefile": "test :\n\t./x\n", "src/t.cpp": ""}, "bookworm", ["g++"], "make test"),
        ({"Makefile": "test: t\n\t@./t\nt: t.c\n\tclang -o t t.c\n"}, "bookworm", ["clang"], "make test"),
        ({"Makefile": "test:\n\tA=1 python3 -m unittest && echo yes\n"}, "bookworm", ["python3"], "make test"),
        ({"Makefile": "test: ; @$(CC) -o t t.c && ./t\n"}, "bookworm", ["gcc"], "make test"),
        ({"Makefile": "PY ?= python3\ntest:\n\t$(PY) -m unittest\n"}, "bookworm", ["python3"], "make test"),
        ({"Makefile": "X := $(shell frobnicate)\ntest:\n\t$(X) all\n"}, "bookworm", [], "make test"),
        (
            {"Makefile": "GO := go\ntest:\n\t${GO} test ./...\n", "go.mod": "module a\n"},
            "bookworm",
            ["golang-go"],
            "make test",
        ),
        (
            {"Makefile": "test:\n\tfor f in a b; do ./t $$f | diff - $$f.out || exit 1; done\n"},
            "bookworm",
            [],
            "make test",
        ),
        ({"Makefile": "lint:\n\tfrobnicate\ntest:\n\techo 'frobnicate'\n"}, "bookworm", [], "make test"),
        ({"CMakeLists.txt": CMAKE + "enable_testing()\n"}, "bookworm", ["cmake", "g++"], "ctest"),
        (
            {"CMakeLists.txt": CMAKE + "include(CTest)\nfind_package(Threads REQUIRED)\n"},
            "bookworm",
            ["cmake"],
            "ctest",
        ),
    ],
)
def test_a_build_system_with_debians_tools(files, suite, packages, command):
    found = one(files)
    assert found.tested
    assert found.env["base"] == {"debian": suite}
    assert {*packages} <= {*found.env["layers"][0]["apt"]}
    assert command in found.env["tasks"]["test"]


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"Makefile": "all:\n\ttrue\n"}, "neither a target `test` nor `check`"),
        ({"Makefile": "test:\n\tfrobnicate --all\n"}, "calls `frobnicate`: a layer has to install it"),
        ({"Makefile": "test: x\nx:\n\t@docker build .\n"}, "calls `docker`"),
        ({"Makefile": "GO := go\ntest:\n\t$(GO) test x.org/y\n"}, "calls `go` where there is no go.mod"),
        ({"Makefile": "T = frobnicate\ntest:\n\t$(T) --all\n"}, "calls `frobnicate`: a layer has to install it"),
        ({"Makefile": "TEST := 1\ntest := x\n.PHONY: test\n"}, "neither"),
        ({"CMakeLists.txt": CMAKE}, "no tests"),
        ({"CMakeLists.txt": CMAKE + "enable_testing()\nfind_package(Boost REQUIRED)"}, "looks for Boost"),
    ],
)
def test_what_could_not_pass_is_not_written(files, why):
    found = one(files)
    assert not found.tested
    assert why in found.reason


def test_a_plugin_that_knows_why_tests_cannot_pass_is_not_outvoted(tmp_path, monkeypatch):
    """CMake says what is missing: no task is written for the same file by the core's own rules."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "CMakeLists.txt").write_text(
        f"{CMAKE}enable_testing()\nadd_test(NAME t COMMAND t)\nfind_package(Foo REQUIRED)\n"
    )
    (tmp_path / "Makefile").write_text("test:\n\tcmake -B x && ctest\n")
    (found,) = detect(CommandRequest())
    assert (found.language, found.tested) == ("cc", False)
    assert "requires Foo" in found.reason


def test_where_nothing_is_known_nothing_is_found():
    assert [*detect_build_system(MemoryProject({"main.rkt": "", "README": "test:"}))] == []


# ---- several projects in one checkout --------------------------------------------------------------------------------


def python(name, *lines):
    return "\n".join([f'[project]\nname = "{name}"\nversion = "1"', *lines, ""])


A = {
    "packages/a/pyproject.toml": python("pa"),
    "packages/a/pa.py": "",
    "packages/a/test_a.py": "def test_a(): import pa",
}
B = {"packages/b/pb.py": "", "packages/b/test_b.py": "def test_b(): import pa, pb"}
NEEDS = {**A, **B, "packages/b/pyproject.toml": python("pb", 'dependencies = ["pa"]')}
FROM_UV = python("pb", 'dependencies = ["pa"]', "[tool.uv.sources]", "pa = {workspace = true}")
WORKSPACE = python("top", "[tool.uv.workspace]", 'members = ["packages/*"]')
POETRY = '[tool.poetry]\nname = "pb"\nversion = "1"\n[tool.poetry.dependencies]\npa = {path = "../a"}\n'
NODE = '{"name": "%s", "version": "1.0.0", "scripts": {"test": "node t.js"}%s}'
PA, PB = "packages/a/package.json", "packages/b/package.json"


@pytest.fixture
def init(tmp_path, monkeypatch, capsys):
    """`envtool init` in a project of these files: its status, what it said, and the spec that it wrote, loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("envtool_python.detect._base", lambda facts: {"base": "host"})

    def call(files, *argv):
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        (tmp_path / ".git").mkdir(exist_ok=True)
        (tmp_path / ".git/HEAD").write_text("ref: refs/heads/main\n")
        (tmp_path / ".git/objects").mkdir(exist_ok=True)
        (tmp_path / ".git/refs").mkdir(exist_ok=True)
        status = main([*argv, "init"])
        said = capsys.readouterr().err
        spec = load(CommandRequest()) if (tmp_path / "envtool.yaml").exists() else None
        return status, said, {env.name: env for env in spec.envs} if spec else {}

    return call


def kinds(env):
    return [layer.name for layer in env.layers]


@pytest.mark.parametrize(
    ("files", "from_sources"),
    [
        (NEEDS, True),
        ({**NEEDS, "pyproject.toml": WORKSPACE}, True),
        ({**NEEDS, "packages/b/pyproject.toml": FROM_UV, "pyproject.toml": WORKSPACE}, False),
        ({**NEEDS, "packages/b/pyproject.toml": POETRY}, False),
        ({**NEEDS, "packages/b/pyproject.toml": python("pb", "[project.optional-dependencies]", 'test = ["pa"]')}, True),
        ({**NEEDS, "packages/b/pyproject.toml": python("pb", "[dependency-groups]", 'test = ["pa"]')}, True),
        ({**NEEDS, "libs/c/pyproject.toml": python("pc"), "packages/a/pyproject.toml": python("pa", 'dependencies = ["PC"]')}, True),
    ],
    ids=["plain", "a workspace that says nothing", "uv", "poetry", "an extra", "a group", "a sibling's sibling"],
)  # fmt: skip
def test_a_sibling_is_taken_from_the_checkout(init, tmp_path, files, from_sources):
    status, said, envs = init(files)
    assert status == 0, said
    assert {"a/unit", "b/unit"} <= {*envs}
    assert "project-pa" in kinds(envs["b/unit"])
    assert ("sources" in (tmp_path / "packages/b/envtool.package.yaml").read_text()) == from_sources
    assert not (tmp_path / "packages/b/envtool.yaml").exists(), "`envtool -C packages/b test` finds the one above"


def test_the_tests_of_projects_below_are_not_those_of_the_top(init):
    own = {"pyproject.toml": python("top"), "top.py": "", "tests/test_top.py": ""}
    status, said, envs = init({**NEEDS, **own})
    assert status == 0, said
    command = envs["unit"].tasks[0].commands[0].typed()
    assert command.split() == ["pytest", "--ignore=packages/a", "--ignore=packages/b"]


def test_tests_beside_which_a_project_is_only_an_example_are_the_tops(init):
    files = {"pyproject.toml": python("top"), "tests/test_top.py": "", "tests/data/x/pyproject.toml": python("x")}
    assert init(files)[2]["unit"].tasks[0].commands[0].typed().strip() == "pytest"


def test_what_is_not_clear_is_left_out_with_what_to_say(init):
    status, said, envs = init({**NEEDS, "libs/a/pyproject.toml": python("pa")})
    assert status == 0
    assert "b/unit" not in envs
    assert "left out python: packages/b: pyproject.toml with [project], but `pa` is required" in said
    assert "`sources: {pa: ../../libs/a}`" in said


def test_json_has_the_files_of_the_projects_below(init, tmp_path, monkeypatch):
    documents = []
    monkeypatch.setattr("envtool.report.json_lines.write_line", lambda file, document: documents.append(document))
    assert init(NEEDS, "--json")[0] == 0
    (document,) = documents
    assert document["written"][0] == document["file"]
    assert all((tmp_path / path).is_file() for path in document["written"])
    assert len(document["written"]) > 2
    assert {row["directory"] for row in document["found"] if row["used"]} == {
        path.rpartition("/")[0].removeprefix("./") for path in document["written"][1:]
    }


def test_json_says_what_is_left_out(init, monkeypatch):
    documents = []
    monkeypatch.setattr("envtool.report.json_lines.write_line", lambda file, document: documents.append(document))
    assert init({**NEEDS, "libs/a/pyproject.toml": python("pa")}, "--json")[0] == 0
    left_out = [row for row in documents[0]["found"] if not row["used"]]
    assert ("packages/b", "python") in [(row["directory"], row["language"]) for row in left_out]
    assert any("`pa` is required" in row["reason"] for row in left_out)


LIBRARY = {"pyproject.toml": python("lib"), "lib.py": "", "tests/test_lib.py": "def test_lib(): import lib"}


def test_tests_of_one_language_that_start_programs_of_another_have_both(init):
    files = {
        **LIBRARY,
        "package.json": '{"name": "web", "version": "1.0.0", "scripts": {"test": "node t.js && npm run more",'
        ' "more": "A=1 python3 -m lib"}, "dependencies": {"semver": "1"}}',
    }
    status, said, envs = init(files)
    assert status == 0, said
    assert "whose tests start programs of python (pyproject.toml" in said
    both = next(env for env in envs.values() if env.tasks[0].commands[0].typed().startswith("npm"))
    assert {"requirements", "project", "node-modules"} <= {*kinds(both)}
    (alone,) = [env for env in envs.values() if env is not both]
    assert alone.tasks[0].commands[0].typed().split() == ["pytest"]
    assert "node-modules" not in kinds(alone)


def test_two_languages_that_do_not_call_each_other_have_an_env_each(init):
    files = {**LIBRARY, "package.json": NODE % ("web", ', "dependencies": {"semver": "1"}')}
    status, said, envs = init(files)
    assert status == 0, said
    assert sorted("node-modules" in kinds(env) for env in envs.values()) == [False, True]


def test_a_makefile_that_calls_programs_of_two_languages_has_both(init):
    files = {
        "pyproject.toml": python("lib"), "lib.py": "", "package.json": '{"name": "web", "dependencies": {"semver": "1"}}',
        "Makefile": "test:\n\tpython3 -m lib\n\tnode t.js\n",
    }  # fmt: skip
    status, said, envs = init(files)
    assert status == 0, said
    assert {"apt", "project", "node-modules"} <= {*kinds(envs["unit"])}
    assert envs["unit"].tasks[0].commands[0].typed().strip() == "make test"


def test_a_member_in_another_language_is_found_below_a_project_with_tests(init):
    web = NODE % ("web", "")
    status, said, envs = init({**LIBRARY, "web/package.json": web, "tests/data/package.json": web})
    assert status == 0, said
    assert {*envs} == {"unit", "web/unit"}
    assert "found node: web: package.json with a test script" in said


@pytest.mark.parametrize("name", ["wasm_test", "e2e-web", "test-app", "web-examples"])
def test_a_directory_that_is_named_for_tests_or_examples_is_no_member(init, name):
    status, _, envs = init({**LIBRARY, f"{name}/package.json": NODE % ("web", "")})
    assert (status, {*envs}) == (0, {"unit"})


def test_where_a_source_is_to_be_named_the_spec_to_name_it_in_is_shown(init):
    sources = ('dependencies = ["pa"]', "[tool.uv.sources]", 'pa = {git = "https://h.invalid/pa"}')
    status, said, envs = init({"pyproject.toml": python("pb", *sources), "test_b.py": "def test_b(): pass"})
    assert status == 2
    assert envs is None or not envs
    shown = said.partition("without it, it is:\n")[2].partition("pyproject.toml:")[0]
    assert shown.startswith("  version: 1\n  envs:\n    unit:\n")
    assert "      language: python\n" in shown
    assert "#" not in shown
    assert "say in the env what to take: `sources: {pa: DIRECTORY}`" in said


def test_envs_that_differ_in_more_than_layers_are_not_joined():
    def detection(language, programs=(), **keys):
        env = {**keys, "language": language, "tasks": {"test": language}}
        return Detection(language=language, reason=f"{language}.txt", env=env, programs=programs)

    (same, _) = join_languages(
        [detection("node", ("python3", "gone"), base={"debian": "bookworm"}), detection("python")]
    )
    assert same.env == {"base": {"debian": "bookworm"}, "language": ["python", "node"], "tasks": {"test": "node"}}
    newer = detection("go", base={"debian": "trixie"}, set={"A": "1"}, caches=["/c"])
    (joined, _) = join_languages([detection("node", ("go",), base={"debian": "bookworm"}), newer])
    assert joined.env["base"] == {"debian": "trixie"}
    assert (joined.env["set"], joined.env["caches"]) == ({"A": "1"}, ["/c"])
    (other, _) = join_languages([detection("node", ("go",), set={"A": "2"}), newer])
    assert not other.tested
    assert other.reason.endswith(
        "whose tests start programs of go: the two differ in `set`, so write an env of your own"
    )
    image = detection("go", base={"image": "x"})
    (other, _) = join_languages([detection("node", ("go",), base={"debian": "bookworm"}), image])
    assert "differ in `base`" in other.reason


@pytest.mark.parametrize(
    ("files", "other"),
    [
        ({".github/workflows/lint.yml": "", ".github/workflows/tests.yml": ""}, ".github/workflows/tests.yml"),
        ({".devcontainer/devcontainer.json": "{}"}, ".devcontainer/devcontainer.json"),
    ],
)
def test_where_nothing_is_known_it_names_what_another_tool_has(init, files, other):
    status, said, _ = init(files)
    assert status == 2
    assert f"or take over what {other} says: `envtool init --from {other}`" in said


def test_in_the_directory_of_one_it_says_where_to_type_it(init, tmp_path):
    status, said, _ = init(NEEDS, "-C", "packages/b")
    assert status == 2
    assert "type:  envtool -C . init" in said
    assert not [*tmp_path.glob("**/envtool*.yaml")]


@pytest.mark.parametrize(
    ("files", "names", "said"),
    [
        (
            {"package.json": '{"workspaces": ["packages/*"]}', PA: NODE % ("pa", ""),
             PB: NODE % ("pb", ', "dependencies": {"pa": "1.0.0"}')},
            {"unit": "npm test --workspaces --if-present --"}, "with workspaces",
        ),
        (
            {PA: NODE % ("pa", ""), PB: NODE % ("pb", ', "dependencies": {"pa": "file:../a"}')},
            {"a/unit": "npm test --"}, 'for that one write `"workspaces": ["packages/*"]` into ../../package.json',
        ),
        (
            {PA: NODE % ("pa", ""), PB: NODE % ("pb", ', "dependencies": {"pa": "^1"}')},
            {"a/unit": "npm test --"}, 'and ../a is called so: for that one write `"workspaces": ["packages/*"]`',
        ),
    ],
    ids=["workspaces", "a path", "a name alone"],
)  # fmt: skip
def test_npm_packages_beside_each_other(init, files, names, said):
    status, told, envs = init(files)
    assert status == 0, told
    assert {name: env.tasks[0].commands[0].typed().strip() for name, env in envs.items()} == names
    assert said in told


CMAKE_TESTED = "project(a C)\nenable_testing()\nadd_executable(t t.c)\nadd_test(NAME t COMMAND t)\n"
MESON_TESTED = "project('a', 'c')\nt = executable('t', 't.c')\ntest('t', t)\n"
AUTOMAKE = {"configure.ac": "AC_INIT([x], [1])\nAM_INIT_AUTOMAKE\nAC_PROG_CC\n"}
JUNIT = "<dependency><groupId>junit</groupId><artifactId>junit</artifactId><version>4.13.2</version></dependency>"
POM = (
    "<project><modelVersion>4.0.0</modelVersion><groupId>a</groupId><artifactId>b</artifactId><version>1</version>"
    f"<dependencies>{JUNIT}</dependencies></project>"
)


@pytest.mark.parametrize(
    "files",
    [
        {"CMakeLists.txt": CMAKE_TESTED, "t.c": ""},
        {"CMakeLists.txt": f"{CMAKE_TESTED}install(TARGETS t)\n", "t.c": ""},
        {"meson.build": MESON_TESTED, "t.c": ""},
        {"meson.build": MESON_TESTED.replace("'t.c')", "'t.c', install: true)"), "t.c": ""},
        {**AUTOMAKE, "Makefile.am": "TESTS = t.sh\n"},
        {**AUTOMAKE, "Makefile.am": "TESTS = t.sh\nbin_PROGRAMS = x\n"},
        {"Cargo.toml": '[package]\nname = "a"\nversion = "1.0.0"\n', "src/lib.rs": "#[test]\nfn a() {}\n"},
        {"Cargo.toml": '[workspace]\nmembers = ["a"]\n', "a/Cargo.toml": '[package]\nname = "a"\nversion = "1.0.0"\n'},
        {"go.mod": "module a.example/b\n\ngo 1.19\n", "a_test.go": "package b\n"},
        {"go.mod": "module a.example/b\n\ngo 1.19\n", "cmd/x/main.go": "package main\n", "a_test.go": "package b\n"},
        {"pom.xml": POM, "src/main/java/A.java": "class A {}", "src/test/java/ATest.java": "class ATest {}"},
        {"pyproject.toml": '[project]\nname = "a"\nversion = "1"\n', "tests/test_a.py": "def test(): pass\n"},
        {"setup.py": "from setuptools import setup\nsetup()\n", "test_a.py": "import unittest\n"},
        {"package.json": '{"name": "a", "version": "1.0.0", "scripts": {"test": "node --test"}}', "a.test.js": ""},
    ],
)
def test_what_is_written_for_each_sort_of_project_is_a_right_spec(init, files):
    status, said, envs = init(files)
    assert status == 0, said
    assert any(env.tasks for env in envs.values())
