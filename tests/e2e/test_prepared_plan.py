"""What `plan`, `why`, `--expect-cached`, `verify`, `push`, `export`, `gc` and `store` make of prepared state."""

from __future__ import annotations

import json
import signal

import pytest

from tests.e2e.test_prepared_services import CLIENT, SERVER, SPEC, made

pytestmark = [pytest.mark.e2e]


@pytest.fixture
def project(fresh):
    fresh.write("server.py", SERVER)
    fresh.write("client.py", CLIENT)
    fresh.write("seed.txt", "a seed\n")
    fresh.spec(SPEC)
    return fresh


def edit(project, *edits):
    path = project.project / "envtool.yaml"
    text = path.read_text()
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    path.write_text(text)


def run(project, *words, status=0):
    done = project.envtool(*words)
    assert done.status == status, done.said + done.out
    return done.out + done.said


def planned(project):
    (service,) = json.loads(project.envtool("plan", "--json").out)["services"]
    step = service["steps"][-1]
    assert (step["subject"], step["kind"], step["name"]) == ("state", "prepare", "kv")
    return step["action"], step["state"], bool(step["key"]), step["reason"]


def test_plan_and_why(project):
    assert planned(project) == ("build", "unknown", False, "unknown until its stack is built")
    assert "prepared state of kv waits for `host` below it" in run(project, "why")
    made(project)
    action, state, key, reason = planned(project)
    assert (action, state, key, reason) == ("reuse", "cached", True, "")
    assert "nothing would be built" in run(project, "why")
    said = run(project, "why", "service:kv")
    assert "prepared state of kv is cached" in said
    assert "client.py, seed.txt, server.py" in said


EDITS = [
    (("echo before >", "echo Before >"), "a command of `before` changed", "echo Before"),
    (("GET", "GET"), "", ""),
    (("client.py PUT http://127.0.0.1:8000/seed", "client.py PUT http://127.0.0.1:8000/sown"), "a command changed", "sown"),
    (("python3 server.py\n", "python3 server.py more\n"), "its command changed", "server.py more"),
    (('STATUS: "0"', 'STATUS: "0", MORE: x'), "its variable MORE changed", "+ x"),
    (("[/srv/kv]", "[/srv/kv, /srv/x]"), "the directories that are kept changed", "/srv/kv, /srv/x"),
    (("    ready: 8000", "    stop: {signal: INT}\n    ready: 8000"), "the stop signal changed", "INT"),
    (("    ready: 8000", "    provides: {URL: x}\n    ready: 8000"), "the variable that it provides, URL changed", "+ x"),
]  # fmt: skip


def test_what_changed(project):
    """All in one project, whose former state each is compared with."""
    made(project)
    spec = (project.project / "envtool.yaml").read_text()
    for (old, new), reason, words in EDITS:
        edit(project, (old, new))
        if not reason:
            assert planned(project)[:3] == ("reuse", "cached", True)
        else:
            assert planned(project) == ("build", "build", True, reason)
            said = run(project, "why")
            assert "prepared state of kv will be prepared: one thing changed since today" in said, said
            assert words in said
        (project.project / "envtool.yaml").write_text(spec)
    project.write("seed.txt", "another\n")
    assert planned(project) == ("build", "build", True, "input seed.txt changed")
    said = run(project, "plan")
    assert "build   state kv" in said
    assert "1 to build" in said


def test_expect_cached_and_offline(project):
    made(project)
    assert made(project, "--expect-cached", "--offline", "--again") is False
    project.write("seed.txt", "another\n")
    said = run(project, "test", "--expect-cached", status=3)
    assert "the prepared state of kv is not cached" in said
    assert "seed.txt" in said
    document = json.loads(project.envtool("test", "--expect-cached", "--json").out.splitlines()[-1])
    (miss,) = document["misses"] if "misses" in document else document["error"]["misses"]
    assert (miss["subject"], miss["name"], miss["state"]) == ("state", "prepared state of kv", "build")
    assert made(project, "--offline")


def stored(project):
    """Names and keys of the prepared states in the store."""
    sheets = {
        path.parent.name: json.loads(path.read_text())["built"] for path in project.store.glob("layers/*/layer.json")
    }
    return {key: built["name"] for key, built in sheets.items() if built.get("state")}


def test_store_and_gc(project):
    """State of an earlier key is collected as other layers are; what is used is kept."""
    made(project)
    ((old, name),) = stored(project).items()
    assert name == "prepared state of kv"
    assert "state prepared state of kv" in run(project, "inspect", old[:16])
    assert run(project, "store", "verify")
    project.write("seed.txt", "another\n")
    made(project)
    (new,) = {*stored(project)} - {old}
    end = json.loads(project.envtool("gc", "--older-than", "0s", "--json").out.splitlines()[-1])
    gone = {item["name"] for item in end["gone"]}
    assert {old, new} <= gone
    assert stored(project) == {}
    assert made(project, "--again")
    assert stored(project) == {new: name}


def test_gc_keeps_what_runs(project):
    """The state that a service runs on is held until its run ends."""
    edit(project, ("      test: |\n", f"      test: |\n        touch /tmp/up; sleep {project.nap}\n"))
    process = project.start("test")
    project.until(project.asleep, "the task runs", 120)
    (key,) = stored(project)
    end = json.loads(project.envtool("gc", "--older-than", "0s", "--json").out.splitlines()[-1])
    assert process.poll() is None
    assert key not in {item["name"] for item in end["gone"]}
    assert key in stored(project)
    process.send_signal(signal.SIGINT)
    assert project.finish(process).status == 130


def test_verify_says_that_it_is_data(project):
    assert "the prepared state of services is data: it is not built again" in run(project, "verify")
    project.spec("envs: {unit: {tasks: {test: 'true'}}}\n")
    assert "prepared state" not in run(project, "verify")


def test_progress(project):
    """Live output names what a preparation does."""
    events = [json.loads(line) for line in project.envtool("test", "--json").out.splitlines()]
    of_state = [item for item in events if item.get("id", "").startswith("prepare:")]
    steps = [(item["phase"], item["note"]) for item in of_state if item["event"] == "progress" and item.get("phase")]
    assert steps == [
        ("running", "echo before >/srv/kv/before; id -u >/srv/kv/user"),
        ("starting", ""),
        ("running", "python3 client.py PUT http://127.0.0.1:8000/seed seed.txt"),
        ("capturing", ""),
    ]
    assert (of_state[0]["subject"], of_state[0]["name"], of_state[-1]["outcome"]) == ("prepare", "kv", "built")
