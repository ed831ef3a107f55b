"""`caches:` of envs and tasks: where they are in the container, and each error with its place."""

from __future__ import annotations

import json

import jsonschema_rs
import pytest

from envtool.errors import SpecError
from envtool.plugins import discover
from envtool.spec import editor_schema, load
from envtool.testing import MemoryProject

HERE = "version: 1\nenvs: {{u: {{tasks: {{t: {{run: x, caches: [{paths}]}}}}}}}}\n"


def read(text, **files):
    return load(MemoryProject({"envtool.yaml": text, **files}), "envtool.yaml", root="/p", registry=discover())


def targets(text, **files):
    return [[use.target for use in task.caches] for env in read(text, **files).envs for task in env.tasks]


def problems(text, **files):
    with pytest.raises(SpecError) as caught:
        read(text, **files)
    return [
        (f"{problem.where.line}:{problem.where.column}", problem.message, problem.hint)
        for problem in caught.value.problems
    ]


def test_where_they_are():
    paths = "~/.cache/ccache, target/, sub/./dir, /var/cache/x, /opt/x/y, /project/build, /usr/local/share/x"
    assert targets(HERE.format(paths=paths)) == [[
        "/home/envtool/.cache/ccache", "/project/target", "/project/sub/dir", "/var/cache/x", "/opt/x/y",
        "/project/build", "/usr/local/share/x",
    ]]  # fmt: skip


def test_those_of_the_env_and_of_the_task():
    text = (
        "version: 1\ndefaults: {caches: [~/go/pkg]}\nenvs:\n  u:\n    matrix: {v: [a, b]}\n    caches: ['build-{{ matrix.v }}']\n"
        "    tasks: {t: x, r: {run: x, user: root, caches: [~/own, 'build-{{ matrix.v }}']}}\n  w: {tasks: {t: x}}\n"
    )
    assert targets(text) == [
        ["/project/build-a"], ["/project/build-a", "/root/own"],
        ["/project/build-b"], ["/project/build-b", "/root/own"],
        ["/home/envtool/go/pkg"],
    ]  # fmt: skip


def test_paths_of_an_included_file_are_relative_to_it():
    inner = HERE.format(paths="target, ~/x")
    found = targets("version: 1\ninclude: {api: services/api/envtool.yaml}\n", **{"services/api/envtool.yaml": inner})
    assert found == [["/project/services/api/target", "/home/envtool/x"]]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/proc/x", "/proc is the system's"),
        ("/sys/fs", "/sys is the system's"),
        ("/dev/shm", "/dev is the system's"),
        ("/run/secrets/x", "/run is the system's"),
        ("/etc/ssl", "/etc is the system's"),
        ("/usr/lib/x", "/usr is the system's"),
        ("//usr/bin", "/usr is the system's"),
        ("/lib/x", "/lib is the system's"),
        ("/", "/ has more than a cache in it"),
        ("/tmp", "/tmp has more than a cache in it"),
        ("/var/cache", "/var/cache has more than a cache in it"),
        ("/project", "/project has more than a cache in it"),
        ("/home/envtool/", "/home/envtool has more than a cache in it"),
        ("/var/x/../../etc", "it has `.` or `..`"),
        (".", "it is all of the project"),
        ("../x", "it leaves the project"),
        ("a/../../x", "it leaves the project"),
        (".git/objects", "git and envtool obey what is in it"),
        ("sub/.GIT", "git and envtool obey what is in it"),
        (".envtool", "git and envtool obey what is in it"),
        ("/project/.git", "git and envtool obey what is in it"),
        ("~", "it is not below the home"),
        ("~/../x", "it is not below the home"),
        ("$HOME/.cache", "variables are not read in it"),
        ("~/${X}", "variables are not read in it"),
        ("build/*.o", "it is one directory, and no pattern"),
        ("/opt/cach?", "it is one directory, and no pattern"),
        ("~other/x", "only `~` itself, the home of the task's user, is known"),
    ],
)
def test_paths_that_no_cache_may_have(path, why):
    hint = "write a path in the project, below `~`, or an absolute one, as in ~/.cache/ccache"
    assert problems(HERE.format(paths=f"'{path}'")) == [("2:41", f"no cache can be at `{path}`: {why}", hint)]


def test_a_cache_in_a_cache():
    assert problems(HERE.format(paths="target/debug, target")) == [
        ("2:41", "the cache `/project/target/debug` lies in the cache `/project/target`", "remove one of them")
    ]


@pytest.mark.parametrize("output", ["target", "target/release/app", "target/**"])
def test_an_output_in_a_cache(output):
    text = f"version: 1\nenvs: {{u: {{caches: [target], tasks: {{t: {{run: x, outputs: ['{output}']}}}}}}}}\n"
    message = f"the output `{output}` lies in the cache `/project/target`, whose content is no part of a result"
    hint = "let the task copy what it makes to another place, and name that as the output"
    ((_, found, advice),) = problems(text)
    assert (found, advice) == (message, hint)
    assert targets(text.replace(f"'{output}'", "targets, '*', 'x/target/y'")) == [["/project/target"]]


def test_the_schema():
    schema = jsonschema_rs.validator_for(json.loads(json.dumps(editor_schema(discover()))))
    spec = {"version": 1, "envs": {"u": {"caches": ["~/x"], "tasks": {"t": {"run": "x", "caches": ["target"]}}}}}
    assert schema.is_valid(spec)
    spec["envs"]["u"]["caches"] = "target"
    assert not schema.is_valid(spec)
