"""What `why` says of a task whose services changed: which service, and what of it."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool import keys
from envtool.model import Where
from envtool.plan.change_values import ComparedDocument, LocationLookup, Parent
from envtool.plan.why_task import CurrentTask, PastRun, compare_runs, explain_task
from envtool.report import why as why_text
from envtool.report.formatting import Style
from envtool.services.service_request import ReadyProbe, ServiceRequest, TaskLayer
from tests.unit.plan.test_why_task import compare, document

DB = ServiceRequest(
    name="db",
    where="envtool.yaml:3:3",
    stack=(TaskLayer("sha256:b", "host"), TaskLayer("sha256:l")),
    command=("/bin/sh", "-ec", "serve"),
    variables={"MODE": "a", "PATH": "/bin"},
    ready=(ReadyProbe("tcp", 80),),
    ports=(80,),
    provides={"URL": "x://db"},
    files={"/etc/db.conf": "a\n"},
    prepare="k1",
)
WEB = replace(DB, name="web", needs=("db",))

# what of the service differs, the note, and the values that are shown
EDITS: list[tuple[dict[str, Any], str, str, str]] = [
    ({"command": ("/bin/sh", "-ec", "serve -v")}, "its command", "serve", "serve -v"),
    ({"command": ("serve", "a b")}, "its command", "serve", "serve 'a b'"),
    ({"variables": {"MODE": "b", "PATH": "/bin"}}, "its variable MODE", "a", "b"),
    ({"user": "root"}, "its user", "user", "root"),
    ({"workdir": "/srv"}, "its directory", "/", "/srv"),
    ({"project": False}, "whether it sees the project", "true", "false"),
    ({"needs": ("cache", "log")}, "what it needs", "", "cache, log"),
    ({"ready": (ReadyProbe("log", text="up"),)}, "when it is ready", '["tcp",80,"",[]]', '["log",0,"up",[]]'),
    ({"ports": (81,)}, "its ports", "80", "81"),
    ({"replicas": 3}, "its replicas", "1", "3"),
    ({"once": True}, "whether it is to end", "false", "true"),
    ({"restart": "always"}, "whether it is restarted", "", "always"),
    ({"provides": {"URL": "y://db"}}, "the variable that it provides, URL", "x://db", "y://db"),
    ({"files": {"/etc/db.conf": "a\n", "/etc/new": ""}}, "its file /etc/new", "", keys.digest("")),
    ({"prepare": "k2"}, "its prepared state: a command of `prepare`, or a file that one reads", "", ""),
    ({"kernel": "6.1"}, "the kernel of this machine, whose system it sees", "", "6.1"),
    ({"stack": (TaskLayer("sha256:b", "host"), TaskLayer("sha256:m"))}, "its layers", "l", "m"),
    ({"stack": (TaskLayer("sha256:b", "other"), TaskLayer("sha256:l"))}, "its base: what it shows of this machine", "", ""),
]  # fmt: skip


def beside(*services: ServiceRequest) -> dict[str, Any]:
    return document(services=[service.document() for service in services])


@pytest.mark.parametrize(("edit", "note", "old", "new"), EDITS)
def test_one_edit_of_a_service_is_one_change(edit, note, old, new):
    (change,) = compare(beside(DB), beside(replace(DB, **edit)))
    assert (change.part, change.name, change.follows) == ("service", "db", False)
    assert change.note.startswith(note)
    if note != "its file /etc/new":  # whose content is shown by its hash
        assert (change.old, change.new) == (old, new)


def test_each_field_of_a_service_has_words():
    fields = {*DB.document()} - {"name"}
    edited = {name for edit, *_ in EDITS for name in edit}
    assert fields == edited


def test_a_service_that_comes_or_goes_is_named():
    (change,) = compare(beside(DB), beside(DB, WEB))
    assert (change.part, change.name, change.how) == ("service", "web", "added")
    (change,) = compare(beside(DB, WEB), beside(WEB))
    assert (change.part, change.name, change.how) == ("service", "db", "removed")
    (change,) = compare(beside(DB, WEB), beside(WEB, DB))
    assert (change.how, change.old, change.new, change.note) == ("order", "db, web", "web, db", "of services")


def test_a_prepared_state_follows_what_it_was_made_with():
    first, second = compare(beside(DB), beside(replace(DB, prepare="k2", command=("serve",))))
    assert (first.note, first.follows) == ("its command", False)
    assert (second.note[:18], second.follows) == ("its prepared state", True)


def test_layers_of_a_service_have_their_names():
    old, new = (
        {"db": (Parent(diff_id="sha256:b", name="bookworm", subject="base"), Parent(diff_id=layer, name="sql"))}
        for layer in ("sha256:l", "sha256:m")
    )
    changed = replace(DB, stack=(TaskLayer("sha256:b", "host"), TaskLayer("sha256:m")))
    places = LocationLookup(service=lambda name: f"envtool.yaml:3 ({name})")
    (change,) = compare_runs(
        ComparedDocument(document=beside(DB), beside=old),
        ComparedDocument(document=beside(changed), beside=new),
        places=places,
    )
    assert (change.part, change.name, change.where) == ("service", "db", "envtool.yaml:3 (db)")
    assert change.note.startswith("its layer sql")


CHANGED = st.lists(st.sampled_from([edit for edit, *_ in EDITS]), max_size=3)


@given(CHANGED, CHANGED, st.permutations([0, 1]))
def test_something_is_said_exactly_when_the_keys_differ(first, second, order):
    services = [DB, WEB]
    for number, edits in enumerate((first, second)):
        for edit in edits:
            services[number] = replace(services[number], **edit)
    old, new = beside(DB, WEB), beside(*(services[number] for number in order))
    assert bool(compare(old, new)) == (keys.digest(old) != keys.digest(new))


@pytest.mark.parametrize("broken", [["db"], [{"name": 3}], [DB.document(), DB.document()], {"db": {}}, None, "db"])
def test_documents_that_no_envtool_wrote_are_compared_too(broken):
    old, new = beside(DB), document(services=broken)
    assert compare(old, new)
    assert compare(new, old)
    assert compare(new, copy.deepcopy(new)) == ()


def test_what_is_printed():
    task = CurrentTask(
        env="unit",
        name="test",
        where=Where(file="envtool.yaml", line=9, column=7),
        document=beside(replace(DB, command=("/bin/sh", "-ec", "serve -v"), replicas=3)),
        key="new",
    )
    explained = explain_task(
        task,
        [PastRun(key="old", document=beside(DB), time=0.0)],
        places=LocationLookup(service=lambda name: "envtool.yaml:3"),
    )
    assert "its services" not in explained.same
    lines = why_text.format_explanations([explained], Style(), now=60.0).splitlines()
    assert "  service  db  serve → serve -v  its command, envtool.yaml:3" in lines, lines
    assert "  service  db  1 → 3             its replicas, envtool.yaml:3" in lines, lines
    same = explain_task(
        replace(task, document=beside(DB) | {"user": "root"}), [PastRun(key="old", document=beside(DB), time=0.0)]
    )
    assert "its services" in same.same
