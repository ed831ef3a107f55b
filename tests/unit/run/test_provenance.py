"""Statements keep the specifications' own rules (statement.schema.json), and say what was really there."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.api import Base, Fetch
from envtool.build.scheduler import Stack
from envtool.build.stack import ResolvedNode, StoredLayer
from envtool.model import BaseSpec, Command, Env, LayerSpec, Task, Where
from envtool.plan.graph import Node
from envtool.run import provenance
from envtool.run.result import Result
from envtool.run.task_request import Artefact
from envtool.services.service_request import ServiceRequest, TaskLayer
from envtool.store.layers import Layer

SCHEMA = json.loads(Path(__file__).with_name("statement.schema.json").read_text())
HERE = Where(file="envtool.yaml", line=1, column=1)


class Plain(Base):
    name = "plain"


def made(name, number, *fetches):
    spec = (LayerSpec if number else BaseSpec)(name=name, kind="plain", options=None, where=HERE)
    node = Node(id=name, subject="layer" if number else "base", spec=spec, kind=Plain(), below=())
    request = SimpleNamespace(name=name)
    resolved = ResolvedNode(
        node=node, request=request, pins=None, fetches=fetches, document={}, key="k", epoch=1_700_000_000
    )
    diff_id = f"sha256:{number:064x}"
    layer = Layer(key=f"{number:064d}", tree="", manifest="", diff_id=diff_id, size=0, entries=0, document={})
    return StoredLayer(resolved=resolved, layer=layer, diff_id=diff_id)


SECRET = "https://me:secret@mirror.invalid/attrs.whl?token=secret"
WHEEL = Fetch(url=SECRET, sha256="b" * 64, name="attrs-25.3.0-py3-none-any.whl")
STACK = Stack(layers=(made("bookworm", 0, Fetch(sha256="a" * 64, name="base.deb")), made("deps", 1, WHEEL, WHEEL)))
TASK = Task(name="build", commands=(Command(shell="make {x}"), Command(argv=("true",))), where=HERE)
CANCEL = SimpleNamespace(check=lambda: None, reader=-1)
ENV = Env(
    name="unit[a]", group="unit", base=STACK.layers[0].resolved.node.spec, layers=(), tasks=(TASK,), where=HERE,
    set={"A": "1"}, passed=("TOKEN_*",),
)  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """A project in which a task has just passed, and its result."""
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "a.whl").write_bytes(b"wheel")
    os.symlink("a.whl", tmp_path / "dist" / "link")
    log = tmp_path / ".envtool" / "runs" / "20261124T000000-7" / "unit[a].build.log"
    log.parent.mkdir(parents=True)
    log.write_text("printed")
    return Result(
        env="unit[a]", task="build", outcome="passed", status=0, seconds=2.9, started=1_700_000_000.4, log=str(log),
        outputs=("dist",),
    )  # fmt: skip


def said(run, **more):
    root = str(Path(run.log).parents[3])
    return provenance.make_statement(ENV, TASK, STACK, run, root=root, arch="x86_64", **more)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


CASES = {
    "bare": {},
    "git": {"commit": "c" * 40},
    "dirty": {"commit": "c" * 40 + "-dirty", "view": "v1:abc", "arguments": ("-k", "x y")},
    "sha256 repository": {"commit": "c" * 64},
    "view": {"view": "v1:abc"},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("outputs", [("dist",), (), ("dist/a.whl", "gone")])
def test_statements_keep_the_rules(run, case, outputs):
    from dataclasses import replace

    statement = said(replace(run, outputs=outputs), **CASES[case])
    jsonschema_rs.validator_for(SCHEMA).validate(json.loads(json.dumps(statement)))


def test_the_rules_can_be_broken(run):
    check = jsonschema_rs.validator_for(SCHEMA)
    for path in (("subject",), ("predicate", "buildDefinition", "buildType"), ("predicate", "runDetails", "builder")):
        statement = said(run)
        place = statement
        for name in path[:-1]:
            place = place[name]
        del place[path[-1]]
        assert not check.is_valid(statement), path
    assert not check.is_valid(said(run, commit="c0ffee"))


def test_subjects_are_the_outputs_else_what_was_printed(run):
    from dataclasses import replace

    assert said(run)["subject"] == [{"name": "dist/a.whl", "digest": {"sha256": sha256(b"wheel")}}]
    log = {"name": "unit[a].build.log", "digest": {"sha256": sha256(b"printed")}}
    assert said(run)["predicate"]["runDetails"]["byproducts"] == [log]
    bare = said(replace(run, outputs=()))
    assert bare["subject"] == [log]
    assert "byproducts" not in bare["predicate"]["runDetails"]


def test_all_that_went_in_is_there_and_nothing_secret(run):
    statement = said(run, commit="c" * 40 + "-dirty", view="v1:abc", arguments=("-k",))
    definition = statement["predicate"]["buildDefinition"]
    assert definition["externalParameters"] == {"env": "unit[a]", "task": "build", "arguments": ["-k"]}
    assert definition["internalParameters"]["commands"] == [["/bin/sh", "-ec", "make {x}"], ["true"]]
    assert definition["internalParameters"]["passed"] == ["TOKEN_*"]
    project, base, layer, deb, wheel = definition["resolvedDependencies"]
    assert project == {
        "name": "project",
        "digest": {"gitCommit": "c" * 40, "envtoolView": "v1:abc"},
        "annotations": {"dirty": True},
    }
    assert (base["name"], layer["name"]) == ("base bookworm", "layer deps")
    assert layer["digest"] == {"sha256": f"{1:064x}"}
    assert (deb["name"], wheel["name"], wheel["digest"]) == ("base.deb", WHEEL.name, {"sha256": "b" * 64})
    assert wheel["annotations"] == {"of": "layer deps"}
    metadata = statement["predicate"]["runDetails"]["metadata"]
    assert (metadata["startedOn"], metadata["finishedOn"]) == ("2023-11-14T22:13:20Z", "2023-11-14T22:13:23Z")
    assert "secret" not in json.dumps(statement)


def test_written_beside_the_log_and_gathered_a_line_each(run):
    root = str(Path(run.log).parents[3])
    setting = SimpleNamespace(root=root, arch="x86_64", arguments=(), cancel=CANCEL)
    statement = provenance.write_statement(ENV, TASK, STACK, setting, run)
    path = provenance.path_for(run.log)
    assert path == run.log.removesuffix(".log") + ".intoto.json"
    assert statement == Path(path).read_bytes()
    failed = SimpleNamespace(log=run.log + "x")
    (line,) = provenance.bundle([run, failed]).splitlines()
    assert json.loads(line) == json.loads(Path(path).read_text()) == said(run)
    assert provenance.write_statement(ENV, TASK, STACK, setting, SimpleNamespace(log="/gone/x.log", outputs=())) == b""


def test_names_that_are_not_utf8(run):
    from dataclasses import replace

    root = Path(run.log).parents[3]
    Path(os.fsdecode(os.fsencode(root) + b"/\xff")).write_bytes(b"x")
    setting = SimpleNamespace(root=str(root), arch="x86_64", arguments=(os.fsdecode(b"\xfe"),), cancel=CANCEL)
    statement = json.loads(provenance.write_statement(ENV, TASK, STACK, setting, replace(run, outputs=("\udcff",))))
    assert statement["subject"] == [{"name": "\ufffd", "digest": {"sha256": sha256(b"x")}}]
    assert provenance.bundle([run]).encode()


def test_the_commit(tmp_path):
    def git(*words):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        who = ["-c", "user.name=a", "-c", "user.email=a@example.invalid"]
        done = subprocess.run(
            ["git", *who, *words], cwd=tmp_path, check=True, capture_output=True, env=clean, text=True
        )
        return done.stdout.strip()

    assert provenance.describe_commit(str(tmp_path)) == ""
    git("init", "-q")
    assert provenance.describe_commit(str(tmp_path)) == ""
    (tmp_path / "a").write_text("a")
    git("add", "a")
    git("commit", "-qm", "x")
    git("tag", "-a", "v1", "-m", "v1")
    assert provenance.describe_commit(str(tmp_path)) == git("rev-parse", "HEAD")
    (tmp_path / "a").write_text("b")
    assert provenance.describe_commit(str(tmp_path)) == git("rev-parse", "HEAD") + "-dirty"


def test_what_needed_tasks_left_is_in_it(run):
    root = str(Path(run.log).parents[3])
    files = (Artefact("dist/link", link="x"), Artefact("project", mode=0o644, sha256="c" * 64))
    statement = provenance.make_statement(ENV, TASK, STACK, run, root=root, arch="x86_64", view="v", artefacts=files)
    jsonschema_rs.validator_for(SCHEMA).validate(statement)
    dependencies = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert dependencies[-1] == {"name": "artefact project", "digest": {"sha256": "c" * 64}}
    assert not any("link" in dependency["name"] for dependency in dependencies)


def test_services_and_allowed_hosts_are_in_it(run):
    service = ServiceRequest(
        name="db", where="envtool.yaml:3:3", stack=(TaskLayer("sha256:" + "b" * 64),), command=("serve",),
        variables={"PASSWORD": "hidden"}, prepare="k1", replicas=2,
    )  # fmt: skip
    plain, root = said(run), str(Path(run.log).parents[3])
    env = dataclasses.replace(ENV, allow=("a.example:443",))
    statement = provenance.make_statement(env, TASK, STACK, run, root=root, arch="x86_64", services=(service,))
    build, before = statement["predicate"]["buildDefinition"], plain["predicate"]["buildDefinition"]
    assert build["internalParameters"] == before["internalParameters"] | {
        "allow": ["a.example:443"],
        "services": [{"name": "db", "command": ["serve"], "replicas": 2, "prepare": "k1"}],
    }
    (layer,) = build["resolvedDependencies"][len(before["resolvedDependencies"]) :]
    assert (layer["name"], layer["digest"]) == ("service db 1", {"sha256": "b" * 64})
    assert "hidden" not in json.dumps(statement)
    assert jsonschema_rs.is_valid(SCHEMA, statement)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=4),
)


@given(_JSON)
def test_the_text_is_that_of_json(value):
    assert provenance.format_statement(value) == json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
