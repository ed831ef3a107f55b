"""Shims: what they run, whose files are replaced and removed, and where none are written."""

from __future__ import annotations

import os
import stat
import subprocess
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envtool.app import env_programs, shims
from envtool.app.env_programs import PROGRAM_NAME, EnvProgram, ProjectPrograms
from envtool.errors import UsageError
from envtool.model import Command
from tests.depth import examples

RECORDER = "#!/bin/sh\nprintf '%s\\0' \"$@\"\n"


def project(tmp_path, *names, env="unit", spec="envtool.yaml"):
    root = str(tmp_path / "project")
    os.makedirs(root, exist_ok=True)
    return ProjectPrograms(root, f"{root}/{spec}", tuple(EnvProgram(name, env) for name in sorted(names)))


@pytest.fixture
def recorder(tmp_path, monkeypatch):
    """A program in the place of Python: it prints its words, each with a NUL."""
    path = tmp_path / "recorder"
    path.write_text(RECORDER)
    path.chmod(0o755)
    monkeypatch.setattr(shims, "sys", SimpleNamespace(executable=str(path)))


def called(shim, *words, cwd, **variables):
    environ = {"PATH": "/usr/bin:/bin", "PWD": str(cwd), **variables}
    done = subprocess.run([shim, *words], cwd=cwd, env=environ, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return [os.fsdecode(word) for word in done.stdout.split(b"\0")[:-1]]


def test_a_shim_runs_exec_on_the_checkout(tmp_path, recorder):
    found = project(tmp_path, "python", env="unit[3.12]", spec="other.yaml")
    report = shims.write_shims(f"{found.root}/.shims", found)
    assert (report.changed, report.removed) == (("python",), ())
    shim = f"{found.root}/.shims/python"
    assert stat.S_IMODE(os.stat(shim).st_mode) == 0o755
    start = ["-P", "-m", "envtool", "exec", "-C", found.root, "--file", "other.yaml", "unit[3.12]", "--"]
    words = ["-c", "print('a b')", "", f"{found.root}/tests/a.py", found.root, f"{found.root}x/y", "--x"]
    words += [
        f"--config={found.root}/a=b.toml",
        f"-o={found.root}",
        f"--x={found.root}x",
        f"-I{found.root}/i",
        f"x={found.root}",
        f"--a=b={found.root}/c",
    ]
    translated = ["-c", "print('a b')", "", "/project/tests/a.py", "/project", f"{found.root}x/y", "--x"]
    translated += ["--config=/project/a=b.toml", "-o=/project", *words[-4:]]
    assert called(shim, *words, cwd=found.root) == [*start, "python", *translated]
    os.mkdir(f"{found.root}/sub dir")
    below = called(shim, "a.py", cwd=f"{found.root}/sub dir")
    assert below == [*start, "/bin/sh", "-c", 'cd "$0" && exec "$@"', "/project/sub dir", "python", "a.py"]
    assert called(shim, cwd="/") == [*start, "python"]


def test_a_shim_that_envtool_itself_finds_ends(tmp_path, recorder):
    found = project(tmp_path, "git")
    shims.write_shims(f"{found.root}/.shims", found)
    done = subprocess.run(
        [f"{found.root}/.shims/git"], env={"_ENVTOOL_SHIM": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 126
    assert "take its directory out of PATH" in done.stderr


hostile = st.text("aé \t\n$`'\"\\*?[](){};&|<>-=#!~%", min_size=1, max_size=20) | st.sampled_from(
    ["$(touch x)", "`id`", "-rf", "unit[a b,c]", "\n#!"]
)


@given(hostile, hostile, st.lists(hostile, max_size=4))
@settings(max_examples=examples(30, 300), deadline=None)
def test_no_name_of_an_env_or_a_directory_is_a_command(tmp_path_factory, env, directory, words):
    if directory in (".", ".."):
        return
    top = tmp_path_factory.mktemp("hostile")
    root = f"{top}/{directory}"
    found = ProjectPrograms(root, f"{root}/envtool.yaml", (EnvProgram("python", env),))
    script = shims.shim_text(found.programs[0], found, "0" * 64)
    (top / "python").write_text(RECORDER)
    (top / "python").chmod(0o755)
    script = script.replace(shims.quote(shims.sys.executable), str(top / "python"))
    (top / "shim").write_bytes(os.fsencode(script))
    (top / "shim").chmod(0o755)
    assert called(str(top / "shim"), *words, f"{root}/a", cwd=top) == [
        "-P", "-m", "envtool", "exec", "-C", root, env, "--", "python", *words, "/project/a",
    ]  # fmt: skip
    assert sorted(os.listdir(top)) == ["python", "shim"]


def test_stale_shims_go_and_files_of_others_stay(tmp_path):
    place = tmp_path / "project/.shims"
    shims.write_shims(str(place), project(tmp_path, "python", "pip"))
    assert sorted(os.listdir(place)) == [".gitignore", "pip", "python"]
    assert (place / ".gitignore").read_text().endswith("\n*\n")
    (place / "notes").write_text("mine")
    before = (place / "python").stat().st_ino
    report = shims.write_shims(str(place), project(tmp_path, "python", "pytest"))
    assert (report.changed, report.removed) == (("pytest",), ("pip",))
    assert sorted(os.listdir(place)) == [".gitignore", "notes", "pytest", "python"]
    assert (place / "python").stat().st_ino == before, "what is as it should be is not written"
    (place / "python").chmod(0o644)
    assert shims.write_shims(str(place), project(tmp_path, "python")).changed == ("python",)
    assert os.access(place / "python", os.X_OK)


def identity(path):
    info = os.lstat(path)
    return info.st_ino, info.st_mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns


def put(place, name, way):
    path = place / name
    if way == "file":
        path.write_text("mine")
    elif way == "empty":
        path.write_text("")
    elif way == "link":
        path.symlink_to("/etc/passwd")
    elif way == "directory":
        path.mkdir()
    elif way == "pipe":
        os.mkfifo(path)
    elif way == "late mark":
        path.write_text(f"#!/bin/sh\n\n# envtool shim 1 {'0' * 64}: x\n")
    else:
        path.write_text(f"#!/bin/sh\n# envtool shim 1 {'0' * 64}: x\n")


@pytest.mark.parametrize("way", ["file", "empty", "link", "directory", "pipe", "late mark", "another project"])
def test_what_it_did_not_write_is_never_replaced(tmp_path, way):
    place = tmp_path / "shims"
    place.mkdir()
    put(place, "python", way)
    before = identity(place / "python")
    words = "is a shim of another project" if way == "another project" else "was not written by `envtool shim`"
    with pytest.raises(UsageError, match=words):
        shims.write_shims(str(place), project(tmp_path, "python", "zzz"))
    assert identity(place / "python") == before
    assert os.listdir(place) == ["python"], "nothing is written beside it"
    shims.write_shims(str(place), project(tmp_path, "zzz"))
    assert sorted(os.listdir(place)) == ["python", "zzz"], "nor removed"


@pytest.mark.parametrize(
    "place", [".git", ".git/hooks", ".GIT/x", ".git /x", "git~1", ".envtool/bin", "a/.envtool/b", "envtool.vendor/bin"]
)
def test_no_shims_where_git_or_envtool_reads(tmp_path, place):
    found = project(tmp_path, "post-commit")
    with pytest.raises(UsageError, match="own: no shims are written there"):
        shims.write_shims(f"{found.root}/{place}", found)
    assert os.listdir(found.root) == []


def test_no_shims_through_links_of_the_checkout(tmp_path):
    found = project(tmp_path, "python")
    os.makedirs(tmp_path / "outside/.git/hooks")
    os.symlink(tmp_path / "outside", f"{found.root}/out")
    os.symlink(tmp_path / "outside/.git/hooks", f"{found.root}/hooks")
    with pytest.raises(UsageError, match="link"):
        shims.write_shims(f"{found.root}/out/bin", found)
    with pytest.raises(UsageError, match="git's own"):
        shims.write_shims(f"{found.root}/hooks", found)
    os.makedirs(tmp_path / "bare/objects")
    os.makedirs(tmp_path / "bare/refs")
    (tmp_path / "bare/HEAD").write_text("")
    with pytest.raises(UsageError, match="git's own"):
        shims.write_shims(str(tmp_path / "bare"), found)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        shims.write_shims(str(tmp_path / "file"), found)
    assert os.listdir(tmp_path / "outside/.git/hooks") == []


# ---- which programs --------------------------------------------------------------------------------------------------


def test_programs_that_tasks_call():
    lines = [
        Command(
            shell="mkdir -p x && CI=1 python -m pytest; if cargo build; then go test | tee log; fi\n! make $(node -v)"
        ),
        Command(argv=("npm", "test")),
        Command(argv=("./run.sh",)),
        Command(shell="'quoted program' x; $TOOL y; exec ninja"),
    ]
    env = SimpleNamespace(tasks=(SimpleNamespace(commands=lines),))
    called_by = {name for name in env_programs._programs_of_tasks(env) if PROGRAM_NAME.fullmatch(name)}
    assert called_by == {"mkdir", "python", "cargo", "go", "tee", "fi", "make", "node", "npm", "ninja"}
    assert {"mkdir", "tee", "envtool", "git", "sh"} <= env_programs.SYSTEM_PROGRAMS


def test_programs_that_layers_bring(monkeypatch):
    records = {
        "base": [(b"usr/bin/tool", b"f 755 0 0 1:0"), (b"usr/bin/old", b"f 755 0 0 1:0")],
        "deps": [
            (b"opt/venv/bin", b"d 755 0 0 -"),
            (b"opt/venv/bin/python", b"l 777 0 0 ab"),
            (b"opt/venv/bin/pytest", b"f 755 0 0 1:0"),
            (b"opt/venv/bin/activate", b"f 644 0 0 1:0"),
            (b"opt/venv/bin/$(id)", b"f 755 0 0 1:0"),
            (b"opt/venv/bin/-rf", b"f 755 0 0 1:0"),
            (b"opt/venv/bin/a b\n", b"f 755 0 0 1:0"),
            (b"opt/venv/bin/gone", b"f 755 0 0 1:0"),
            (b"opt/other/hidden", b"f 755 0 0 1:0"),
            (b"usr/bin/jq", b"f 755 0 0 1:0"),
        ],
        "top": [(b"opt/venv/bin/gone", b"w 0 0 0 -")],
    }
    monkeypatch.setattr(env_programs.layers, "read_records", lambda layer: records[layer.key])
    made = [SimpleNamespace(layer=SimpleNamespace(key=key)) for key in records]
    stack = SimpleNamespace(layers=made, variables={"PATH": "/opt/venv/bin"})
    assert {*env_programs._programs_of_layers(stack)} == {"python", "pytest", "jq"}


def test_a_full_disk_halfway_names_what_is_written(tmp_path, monkeypatch):
    found = project(tmp_path, "a", "b", "c", "old")
    shims.write_shims(f"{found.root}/.shims", found)
    real = shims._write_file

    def write(directory, name, *arguments, **options):
        if name == "n2":
            raise OSError(28, "No space left on device")
        real(directory, name, *arguments, **options)

    monkeypatch.setattr(shims, "_write_file", write)
    changed = project(tmp_path, "a", "n1", "n2", "n3")
    with pytest.raises(UsageError) as error:
        shims.write_shims(f"{found.root}/.shims", changed)
    assert error.value.message == f"shims cannot be written to `{found.root}/.shims`: No space left on device"
    assert error.value.hint == "written before that: n1; all others are as they were"
    assert sorted(os.listdir(f"{found.root}/.shims")) == [".gitignore", "a", "b", "c", "n1", "old"]
