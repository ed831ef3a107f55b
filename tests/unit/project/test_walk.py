"""What of a project in no repository belongs to it: the same for what is listed, hidden, looked at and depended on."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envtool.errors import EnvtoolError, UsageError
from envtool.fs.removal import remove_tree
from envtool.project import snapshot, source_files, walk
from envtool.run import fast_exec
from tests import project_inputs
from tests.depth import examples
from tests.places import nest

TAG = walk.SIGNATURE.decode() + "\n# made by a tool\n"
TOOLS = {
    "by name": {".tox/py/bin/x": ""},
    "by name, further down": {"services/api/node_modules/left-pad/index.js": "", "services/api/index.js": ""},
    "byte code": {"src/__pycache__/a.pyc": "", "src/a.py": ""},
    "by a file beside it": {"target/debug/app": "", "Cargo.toml": ""},
    "by another file beside it": {"a/target/classes/A.class": "", "a/pom.xml": ""},
    "an environment of any name": {"env39/pyvenv.cfg": "home = /usr/bin", "env39/bin/python": ""},
    "a cache by its tag": {"work/cache/CACHEDIR.TAG": TAG, "work/cache/x": "", "work/x": ""},
    "one in another": {"node_modules/a/node_modules/b/x": "", "node_modules/a/__pycache__/y": ""},
}
PLAIN = {
    "target alone": {"target/x": ""},
    "target beside a file of another name": {"target/x": "", "cargo.toml": ""},
    "a file beside it further up": {"a/target/x": "", "Cargo.toml": ""},
    "venv, but no environment": {"venv/x": ""},
    "the project itself is an environment": {"pyvenv.cfg": "", "bin/python": ""},
    "the project itself is a cache": {"CACHEDIR.TAG": TAG, "x": ""},
    "another tag": {"work/CACHEDIR.TAG": "Signature: none", "work/x": ""},
    "a file of such a name": {".venv": "/home/me/env", "node_modules": ""},
    "almost the name": {"node_modules2/x": "", ".toxic/x": "", "__pycache__x/y": ""},
}


def tree(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return str(root)


def plan(root: str) -> dict:
    return {"repositories": (), "project": root, "hidden": (source_files.OWN,)}


def looked(root: str, tmp_path: Path) -> list[str]:
    return [os.fsdecode(name) for name in snapshot.take_snapshot(root, str(tmp_path / "record")).names]


def places(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "project").mkdir()
    (tmp_path / "plans").mkdir()
    return tmp_path / "project", tmp_path / "plans"


@pytest.mark.parametrize("case", TOOLS)
def test_what_tools_make_is_no_part_of_it(case, tmp_path):
    top, plans = places(tmp_path)
    files = TOOLS[case]
    root = tree(top, {"main.c": "", **files})
    listed = source_files.list_files(root)
    (tool,) = (path for path in source_files.list_hidden(root) if path != source_files.OWN)
    assert listed == sorted(name for name in {"main.c", *files} if not name.startswith(f"{tool}/"))
    assert looked(root, plans) == listed
    assert fast_exec.list_hidden(plan(root), []) == source_files.list_hidden(root)
    assert [item.path for item in project_inputs.find(root, ["."])] == listed
    assert [item.path for item in project_inputs.find(root, ["**"])] == listed
    assert source_files.ProjectFiles(root).glob("**") == listed


@pytest.mark.parametrize("case", PLAIN)
def test_what_only_looks_like_it_is_part_of_it(case, tmp_path):
    top, plans = places(tmp_path)
    root = tree(top, PLAIN[case])
    assert source_files.list_files(root) == sorted(PLAIN[case]) == looked(root, plans)
    assert source_files.list_hidden(root) == (source_files.OWN,) == fast_exec.list_hidden(plan(root), [])


def test_a_link_of_such_a_name_is_a_tools_too(tmp_path):
    root = tree(tmp_path, {"x": ""})
    (tmp_path / "node_modules").symlink_to("/somewhere/node_modules")
    (tmp_path / "other").symlink_to("/somewhere/node_modules")
    assert source_files.list_files(root) == ["other", "x"]
    assert source_files.list_hidden(root) == (source_files.OWN, "node_modules")


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("node_modules", ["node_modules/a/i.js", "node_modules/a/node_modules/b/i.js", "node_modules/b/i.js"]),
        ("node_modules/a", ["node_modules/a/i.js", "node_modules/a/node_modules/b/i.js"]),
        ("node_modules/b/i.js", ["node_modules/b/i.js"]),
        ("node_modules/*/i.js", ["node_modules/a/i.js", "node_modules/b/i.js"]),
        ("node_modules/**", ["node_modules/a/i.js", "node_modules/a/node_modules/b/i.js", "node_modules/b/i.js"]),
        ("target", ["target/app.jar"]),
        ("target/*.jar", ["target/app.jar"]),
        ("env", ["env/lib/x", "env/pyvenv.cfg"]),
        ("./env/lib/", ["env/lib/x"]),
        ("src", ["src/a.js"]),
    ],
)
def test_an_input_that_names_one_has_it(pattern, found, tmp_path):
    root = tree(tmp_path, {
        "node_modules/a/i.js": "", "node_modules/a/node_modules/b/i.js": "", "node_modules/b/i.js": "",
        "src/a.js": "", "src/node_modules/c/i.js": "", "pom.xml": "", "target/app.jar": "", "env/pyvenv.cfg": "",
        "env/lib/x": "",
    })  # fmt: skip
    assert [item.path for item in project_inputs.find(root, [pattern])] == found


@pytest.mark.parametrize("pattern", ["*/i.js", "**/i.js", "node_*", "[n]ode_modules/*"])
def test_a_glob_that_names_none_has_none(pattern, tmp_path):
    root = tree(tmp_path, {"node_modules/i.js": "", "x": ""})
    with pytest.raises(UsageError, match="no file matches"):
        project_inputs.find(root, [pattern])


def test_git_alone_says_what_is_ignored_where_there_is_git(tmp_path):
    root = tree(tmp_path, {"node_modules/i.js": "", "env/pyvenv.cfg": "", "out/x": "", ".gitignore": "out/\n"})
    subprocess.run(["git", "init", "-q", root], check=True)
    assert source_files.list_files(root) == [".gitignore", "env/pyvenv.cfg", "node_modules/i.js"]
    assert source_files.list_hidden(root) == (source_files.OWN, "out")
    with pytest.raises(UsageError, match="no file in it is part of the project"):
        project_inputs.find(root, ["out"])


def test_a_directory_deeper_than_python_calls_functions(tmp_path):
    (tmp_path / "project").mkdir()
    descriptor = os.open(tmp_path / "project", os.O_DIRECTORY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_DIRECTORY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    os.close(descriptor)
    try:
        assert source_files.list_files(str(tmp_path / "project")) == ["d/" * 1100 + "x"]
    finally:  # pytest, which removes what is left of earlier runs, calls a function for each level
        subprocess.run(["rm", "-r", str(tmp_path / "project")], check=True)


NAMES = st.sampled_from(["a", "src", "target", "node_modules", "venv", ".tox", "build", ".git", ".envtool"])
LEAVES = st.sampled_from(["x", "Cargo.toml", "pyvenv.cfg", "CACHEDIR.TAG", "build.gradle", "node_modules"])
PATHS = st.builds(lambda way, name: "/".join([*way, name]), st.lists(NAMES, max_size=3), LEAVES)


@settings(max_examples=examples(40, 2000), deadline=None)
@given(paths=st.sets(PATHS, max_size=12), tags=st.booleans())
def test_every_file_is_listed_or_hidden_and_never_both(paths, tags, tmp_path_factory):
    top, plans = places(tmp_path_factory.mktemp("tree"))
    for path in sorted(paths):
        if not any(f"{way}" in paths for way in Path(path).parents):
            tree(top, {path: TAG if tags else ""})
    root = str(top)
    files = {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()}
    files = {path for path in files if ".git" not in path.split("/")[:-1]}
    hidden = source_files.list_hidden(root)
    covered = {path for path in files if any(path == each or path.startswith(f"{each}/") for each in hidden)}
    assert {*source_files.list_files(root)} == files - covered
    assert looked(root, plans) == source_files.list_files(root) or source_files.OWN in {
        path.split("/")[0] for path in files
    }
    assert fast_exec.list_hidden(plan(root), []) == hidden
    for each in hidden:
        if (
            each != source_files.OWN
            and (top / each).is_dir()
            and (inner := {p for p in covered if p.startswith(f"{each}/")})
        ):
            assert {item.path for item in project_inputs.find(root, [each])} == inner


def test_the_page_names_them_all():
    page = (Path(__file__).parents[3] / "docs/spec.md").read_text()
    (said,) = re.findall(r"^\*\*Without git\*\*.*?\n\nAn input", page, re.MULTILINE | re.DOTALL)
    assert [name for name in (*walk.NAMES, *walk.TOOL_MARKERS, walk.VENV, walk.TAG) if f"`{name}`" not in said] == []
    beside = {name for names in walk.TOOL_MARKERS.values() for name in names}
    assert [name for name in beside if f"`{name}`" not in said] == []


def test_directories_deeper_than_paths_lead_are_named_and_not_read(tmp_path, few_descriptors):
    (tmp_path / "file").write_text("")
    nest(str(tmp_path / "fine"), 900)
    top = os.open(tmp_path, os.O_PATH)
    deepest = "fine/" + "d/" * 900 + "file"
    assert sorted(walk.walk_files(top)[0]) == ["file", deepest]
    nest(str(tmp_path / "junk"), 20, "d" * 250)
    with pytest.raises(EnvtoolError, match="longer than 4,000 characters: 'junk/ddd") as raised:
        source_files.all_files(top)
    assert len(raised.value.message) < 300
    assert "rm -rf" in raised.value.hint
    assert deepest in walk.walk_files(top, lenient=True)[0]
    os.close(top)
    remove_tree(str(tmp_path))  # pytest's own removal is recursive
    tmp_path.mkdir()
