"""Nothing in envtool or its plugins changes a file by path, but in places that nobody else can write to.

All the rest goes through envtool/directory. Who needs a new entry below says why its place is nobody else's.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [*sorted((ROOT / "envtool").rglob("*.py")), *sorted((ROOT / "plugins").glob("*/src/**/*.py"))]

CHANGES = {  # of os
    "chflags", "chmod", "chown", "lchmod", "lchown", "link", "makedirs", "mkdir", "mkfifo", "mknod", "remove", "removedirs",
    "removexattr", "rename", "renames", "replace", "rmdir", "setxattr", "symlink", "truncate", "unlink", "utime",
}  # fmt: skip
SHUTIL = {
    "chown",
    "copy",
    "copy2",
    "copyfile",
    "copymode",
    "copystat",
    "copytree",
    "make_archive",
    "move",
    "rmtree",
    "unpack_archive",
}
PATHS = {"write_bytes", "write_text", "touch", "symlink_to", "hardlink_to"}  # of pathlib
TEMPORARY = {"mkdtemp", "mkstemp", "NamedTemporaryFile", "TemporaryDirectory"}  # but not TemporaryFile: it has no name
FLAGS = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND"}

STORE = "the store, 0700 and the caller's own"
CONTAINER = "inside of a container, whose files outside are a directory of the store or memory"
PRIVATE = "a new directory in TMPDIR, 0700"
ALLOWED = {
    "envtool/fs/directory.py": "what does it for all",
    "envtool/fs/removal.py": "removes by descriptors, and follows no link",
    "envtool/fs/caller_paths.py": "what does it at paths of the caller",
    "envtool/fs/beneath.py": "how it opens",
    "envtool/testing/fake_runner.py": "the directories of a test",
    "envtool/testing/fake_container.py": "the directories of a test",
    "envtool/testing/layer_build.py": "the directories of a test",
    "envtool/app/one_off_spec.py:provide_project": STORE,
    "envtool/proc.py:_run_until_cancelled": "memory, which has no name",
    "envtool/project/rundir.py:open_run": PRIVATE,
    "envtool/project/rundir.py:rename_file": "by an open directory, and names without a slash",
    "envtool/store/": STORE,
    "envtool/fs/store_files.py": STORE,
    "envtool/teamcache/payloads.py": STORE,
    "envtool/inspect/store_check.py": STORE,
    "envtool/inspect/remove_store.py": STORE,
    "envtool/run/sweep.py": STORE,
    "envtool/run/artefacts.py:_make": STORE,
    "envtool/images/image_blobs.py": STORE,
    "envtool/images/push.py": STORE,
    "envtool/images/export.py:_project_layer": STORE,
    "envtool/project/inputs.py:_stage": STORE,
    "envtool/project/inputs.py:_make_directories": STORE,
    "envtool/build/unpack_image.py": STORE,
    "envtool/build/builder.py": STORE,
    "envtool/build/shared_layers.py": STORE,
    "envtool/services/prepared_state.py:__enter__": STORE + ": a room of tmp",
    "envtool/services/prepared_state.py:_renew_work": STORE + ": of a draft, where no container writes",
    "envtool/services/prepared_state.py:_capture": STORE,
    "envtool/services/up/control_server.py:__init__": STORE + ": up/KEY",
    "envtool/services/up/detach.py:spawn_detached": "/dev/null, as the standard files of the process",
    "envtool/services/up/manager.py:run": STORE + ": up/KEY",
    "envtool/services/up/manager.py:_hold": STORE + ": up/KEY",
    "envtool/services/up/project_state.py": STORE + ": up/KEY",
    "envtool/services/up/service_log.py": STORE + ": up/KEY",
    "envtool/services/fresh_directory.py:fill": STORE + ": a room of tmp, which its container can only read",
    "envtool/services/fresh_directory.py:_write_clients": STORE + ": a room of tmp, which its container can only read",
    "envtool/run/shared_results.py": STORE,
    "envtool/run/task_git.py": STORE + ": a room of tmp",
    "envtool/run/fast_test.py:leave_evidence": STORE + ": times of what was of use",
    "envtool/run/fast_list.py:read": STORE + ": times of what was of use",
    "envtool/run/fast_exec.py": STORE,
    "envtool/__main__.py:main": "/dev/null, in the place of an output that the caller closed",
    "envtool/net/download.py": STORE + ": downloads",
    "envtool/verify/": STORE,
    "envtool/project/git.py:_make_git_directory": PRIVATE,
    "envtool/project/repository.py": "opens with O_PATH alone, by flags that have a name",
    "envtool/project/git.py:_clean_up": PRIVATE,
    "envtool/kinds/image/resolver.py": PRIVATE,
    "envtool/container/doctor.py": PRIVATE,
    "envtool/container/": CONTAINER,
    "envtool/build/container_steps.py": CONTAINER,
    "envtool/kinds/": CONTAINER,
    "plugins/envtool_java/src/envtool_java/repository_layout.py": CONTAINER,
    "plugins/envtool_java/src/envtool_java/build_recorder.py": PRIVATE,
    "envtool/testing/__init__.py:temporary_directory": PRIVATE,
    "plugins/envtool_cc/src/envtool_cc/wheel_layouts.py": CONTAINER,
    "plugins/envtool_node/src/envtool_node/building.py": CONTAINER,
    "plugins/envtool_node/src/envtool_node/manager_building.py": CONTAINER,
    "plugins/envtool_go/src/envtool_go/module_cache.py": CONTAINER,
    "plugins/envtool_rust/src/envtool_rust/vendoring.py": CONTAINER,
    "plugins/envtool_python/src/envtool_python/as_pip_writes.py": CONTAINER,
    "plugins/envtool_python/src/envtool_python/with_uv.py": CONTAINER,
    "plugins/envtool_python/src/envtool_python/beside.py": CONTAINER,
    "plugins/envtool_python/src/envtool_python/calls.py": CONTAINER,
    "plugins/envtool_python/src/envtool_python/inside.py": CONTAINER,
    "plugins/envtool_python/src/envtool_python/tagged.py": CONTAINER,
    "envtool/cli/main.py": "/dev/null in the place of a standard output that nobody reads",
}


def changes(tree: ast.AST) -> list[tuple[str, int, str]]:
    """(function, line, what) of every call that may change a file by path."""
    found: list[tuple[str, int, str]] = []

    def visit(node: ast.AST, function: str) -> None:
        if isinstance(node, ast.FunctionDef) and not function:
            function = node.name
        if isinstance(node, ast.Call) and (what := changed(node)):
            found.append((function, node.lineno, what))
        for child in ast.iter_child_nodes(node):
            visit(child, function)

    visit(tree, "")
    return found


def changed(call: ast.Call) -> str:
    """What a call may change, as its text; empty where nothing."""
    text = ast.unparse(call.func)
    room, _, name = text.rpartition(".")
    if room == "os" and name in CHANGES:
        return text
    if room == "os" and name == "open":
        flags = {each.attr for each in ast.walk(call) if isinstance(each, ast.Attribute)}
        names = {each.id for each in call.args[1:2] if isinstance(each, ast.Name)}
        return text if flags & FLAGS or names - {"flags"} else ""
    if (room == "shutil" and name in SHUTIL) or name in PATHS or (room in ("", "tempfile") and name in TEMPORARY):
        return text
    if text in ("open", "io.open", "codecs.open", "gzip.open", "tarfile.open", "zipfile.ZipFile") or name == "fdopen":
        modes = [*call.args[1:2], *(each.value for each in call.keywords if each.arg == "mode")]
        written = any(not isinstance(mode, ast.Constant) or set(str(mode.value)) & set("wax+") for mode in modes)
        # what is opened by a descriptor was made by somebody else
        first = call.args[0] if call.args else None
        return (
            text
            if written and not _is_descriptor(first) and "fileobj" not in {each.arg for each in call.keywords}
            else ""
        )
    return ""


def _is_descriptor(node: ast.expr | None) -> bool:
    text = ast.unparse(node) if node is not None else ""
    return text in ("fd", "1", "2", "0", "self._draft.fd", "descriptor", "writer") or text.startswith("os.dup(")


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_else_writes(source):
    name = str(source.relative_to(ROOT))
    if any(name == key or (key.endswith("/") and name.startswith(key)) for key in ALLOWED):
        return
    allowed = {key.partition(":")[2] for key in ALLOWED if key.startswith(f"{name}:")}
    found = [each for each in changes(ast.parse(source.read_text())) if each[0] not in allowed]
    assert not found, f"{name}: use envtool/directory, or say in this test whose place it is"


def test_each_exception_is_needed():
    for key in ALLOWED:
        name, _, function = key.partition(":")
        sources = [source for source in SOURCES if str(source.relative_to(ROOT)).startswith(name)]
        found = [each for source in sources for each in changes(ast.parse(source.read_text()))]
        assert [each for each in found if not function or each[0] == function], f"{key} writes nothing (any more)"


def test_it_would_notice():
    for line in (
        "os.unlink(p)", "os.makedirs(p)", "os.chown(p, 1, 1)", "open(p, 'w')", "open(p, mode='ab')", "open(p, 'r+b')", "os.open(p, os.O_RDWR)",
        "os.open(p, os.O_WRONLY | os.O_CREAT)", "shutil.rmtree(p)", "shutil.copyfile(a, b)", "Path(p).write_text('')", "p.touch()",
        "tempfile.mkstemp(dir=p)", "os.rename(a, b)", "os.replace(a, b)", "os.symlink(a, b)", "os.link(a, b)", "os.utime(p)",
        "tarfile.open(p, 'w')", "open(p, how)",
    ):  # fmt: skip
        assert changes(ast.parse(line)), line
    for line in (
        "open(p)",
        "open(p, 'rb')",
        "os.open(p, os.O_RDONLY)",
        "text.replace(a, b)",
        "os.read(fd, 1)",
        "open(fd, 'wb')",
    ):
        assert not changes(ast.parse(line)), line
