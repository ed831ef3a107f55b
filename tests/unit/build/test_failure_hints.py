import pytest

from envtool.build import failure_hints
from envtool.model import Limit

HERE = ("sh", "pytest", "make", "python3", "cat")


def task(status, output, **changes):
    return failure_hints.task_failure_hint(
        status,
        output,
        **{
            "commands": "",
            "network": False,
            "scratch": "memory",
            "base": "host",
            "programs": lambda: HERE,
            **changes,
        },
    )


def test_who_tried_the_network_is_told_that_there_is_none():
    line = "curl: (6) Could not resolve host: example.invalid"
    assert "network: true" in task(1, f"some\n{line}\nmore")
    assert not task(1, line, network=True)


def test_the_rest_of_the_container():
    assert "scratch: disk" in task(1, "OSError: [Errno 28] No space left on device")
    assert not task(1, "No space left on device", scratch="disk")
    assert "read-only" in task(1, "touch: cannot touch '/usr/x': Read-only file system")
    assert not task(1, "Read-only file system", base="debian")
    assert "before this one" in failure_hints.build_failure_hint(127, "", kind="run", commands="", base="debian")


def test_the_limit_that_the_spec_sets_is_named():
    limits = {"memory": Limit(200 << 20, "envtool.yaml:6:9"), "files": Limit(100, "--limit files=100")}
    space, files = "OSError: [Errno 28] No space left on device", "OSError: [Errno 24] Too many open files: '/'"
    assert task(1, space, limits=limits) == (
        "what it writes may take 100 MiB: a larger `memory` raises the limit (envtool.yaml:6:9)"
    )
    limits["disk"] = Limit(50_000_000, "envtool.yaml:7:9")
    assert task(1, space, limits=limits) == (
        "what it writes may take 50 MB: a larger `disk` raises the limit (envtool.yaml:7:9)"
    )
    assert task(1, files, limits=limits) == (
        "a process may have 100 files open: a larger `files` raises the limit (--limit files=100)"
    )
    assert not task(1, files)


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("Error: EACCES: permission denied, open '/project/node_modules/a/dist/b.tmp'", "/project/node_modules/a/dist/b.tmp"),
        ("error TS5033: Could not write file '/project/node_modules/.pnpm/a@1_b+c@2/x': EACCES: permission denied",
         "/project/node_modules/.pnpm/a@1_b+c@2/x"),
        ("PermissionError: [Errno 13] Permission denied: '/opt/venv/lib/x.pyc'", "/opt/venv/lib/x.pyc"),
        ("/bin/sh: 1: cannot create /etc/app.conf: Permission denied", "/etc/app.conf"),
        ("mkdir: cannot create directory ‘/srv/data’: Permission denied", "/srv/data"),
        ("open /usr/lib/x: permission denied\nFAILED 2", "/usr/lib/x"),
    ],
)  # fmt: skip
def test_what_belongs_to_root_is_named(line, path):
    hint = f"`{path}` is of a layer, which only root may write: with `user: root` the task may, until it ends"
    assert task(1, line, base="debian", user="user") == hint
    assert not task(1, line, base="debian", user="root")
    on_this_machine = path.startswith(("/etc", "/srv", "/usr"))
    assert task(1, line, base="host", user="user") == ("" if on_this_machine else hint)


@pytest.mark.parametrize(
    "line",
    [
        "/bin/sh: 1: /project/run.sh: Permission denied", "./run.sh: Permission denied", "git@h: Permission denied (publickey)",
        "cat: /proc/1/environ: Permission denied", "open('/tmp/x'): Permission denied", "Permission denied: 'a/etc/x'",
        "wrote /etc/x\npermission denied", "Permission denied: '/'",
    ],
)  # fmt: skip
def test_what_no_other_user_may_write_needs_no_advice(line):
    assert not task(1, line, base="debian", user="user")


def test_an_ordinary_failure_needs_no_advice():
    assert not task(1, "assert 1 == 2")
    assert not failure_hints.build_failure_hint(2, "make: *** [all] Error 1", kind="run", commands="", base="debian")


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("/bin/sh: 1: pytset: not found", "pytset"),
        ("sh: 12: pytset: not found", "pytset"),
        ("bash: line 1: pytset: command not found", "pytset"),
        ("/bin/bash: line 3: pytset: command not found", "pytset"),
        ("./run.sh: line 3: pytset: command not found", "pytset"),
        ("./run.sh: 3: pytset: not found", "pytset"),
        ("/bin/sh: pytset: not found", "pytset"),
        ("zsh:1: command not found: pytset", "pytset"),
        ("/usr/bin/env: ‘pytset’: No such file or directory", "pytset"),
        ("env: 'pytset': No such file or directory", "pytset"),
        ("envtool: pytset: not found", "pytset"),
        ("sh: 1: ./go.sh: not found", "./go.sh"),
        ("something else", ""),
        ("cat: x: No such file or directory", ""),
    ],
)
def test_which_command_was_not_found(line, name):
    assert failure_hints.missing_command(f"before\n{line}\nafter") == name


@pytest.mark.parametrize(
    ("name", "base", "programs", "said"),
    [
        ("pytset", "host", HERE, "`pytset` is not in this env; did you mean `pytest`?"),
        ("mkae", "debian", HERE, "did you mean `make`?"),
        ("gfortran", "host", HERE, "install it here, or take `base: {debian: bookworm}` and `apt: [PACKAGE]`"),
        (
            "gfortran",
            "debian",
            (*HERE, "apt-get"),
            "`gfortran` is not in this env: install it in a layer, `apt: [PACKAGE]`",
        ),
        ("gfortran", "image", HERE, "install it in a `run:` layer, or use another base"),
        (
            "pytest",
            "host",
            ("python3",),
            "`pytest` is not in this env: `pip: [pytest]` installs it (with `language: python`: `packages: [pytest]`)",
        ),
        (
            "pytset",
            "debian",
            ("python3", "tset"),
            "did you mean `pytest`? `pip: [pytest]` installs it (with `language: python`: `packages: [pytest]`)",
        ),
        ("pytset", "debian", ("sh", "tset"), "did you mean `tset`?"),
        ("./go.sh", "host", HERE, "`./go.sh` is not there, or what its first line (`#!`) names is not in this env"),
    ],
)
def test_a_command_that_is_not_there(name, base, programs, said):
    told = task(127, f"/bin/sh: 1: {name}: not found", base=base, programs=lambda: programs)
    assert told.endswith(said)
    assert "apt" not in told or base != "image", "what the base cannot do is no advice"


def test_a_layer_that_misses_a_command_is_told_which():
    said = failure_hints.build_failure_hint(127, "/bin/sh: 1: cc: not found", kind="run", commands="", base="debian")
    assert said == "`cc` is not in this stack: add the layer that installs it before this one"
