"""A service as a plain value: its part of a task's key, its JSON, and how it is made from the spec and a stack."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.errors import SpecError
from envtool.model import Command, Limit, SecretPlace
from envtool.services.service_container import (
    LocalService,
    ServiceProject,
    make_service_program,
    make_service_request,
    signal_number,
)
from envtool.services.service_request import PublishedPort, ReadyProbe, ServiceRequest, TaskLayer
from envtool.testing.fake_pod import Member
from tests.unit.run.fakes import ENV, stack_of
from tests.unit.services.fakes import service

TEXT = st.text(max_size=8)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
TABLE = st.dictionaries(TEXT, TEXT, max_size=3)
REQUESTS = st.builds(
    ServiceRequest,
    name=TEXT,
    where=TEXT,
    stack=st.lists(st.builds(TaskLayer, diff_id=TEXT, key=TEXT), max_size=3).map(tuple),
    command=TEXTS,
    variables=TABLE,
    needs=TEXTS,
    ready=st.lists(
        st.builds(
            ReadyProbe,
            how=st.sampled_from(("tcp", "http", "command", "log", "file")),
            port=st.integers(0, 65535), text=TEXT, command=TEXTS, where=TEXT,
        ),
        max_size=2,
    ).map(tuple),
    ports=st.lists(st.integers(1, 65535), max_size=2).map(tuple),
    publish=st.lists(st.builds(PublishedPort, port=st.integers(1, 65535), where=TEXT), max_size=2).map(tuple),
    provides=TABLE,
    files=TABLE,
    produced=TEXTS,
    unneeded=TEXTS,
    localhost=st.lists(st.integers(1, 65535), max_size=2).map(tuple),
    secrets=st.lists(st.builds(SecretPlace, name=TEXT, target=TEXT, env=TEXT), max_size=2).map(tuple),
)  # fmt: skip
ONE = ServiceRequest(name="db", where="envtool.yaml:3:3", stack=(TaskLayer("d1"),), command=("run",), variables={})
# What each field may become, and whether it decides the result of a task.
CHANGES = {
    "name": ("cache", True),
    "where": ("envtool.yaml:4:3", False),
    "stack": ((TaskLayer("d2"),), True),
    "command": (("run", "-v"), True),
    "variables": ({"A": "1"}, True),
    "user": ("root", True),
    "workdir": ("/srv", True),
    "project": (False, True),
    "needs": (("x",), True),
    "ready": ((ReadyProbe("tcp", port=80),), True),
    "within": (5.0, False),
    "ports": ((80,), True),
    "replicas": (2, True),
    "once": (True, True),
    "restart": ("always", True),
    "stop_signal": ("INT", False),
    "grace": (1.0, False),
    "publish": ((PublishedPort(80),), False),
    "provides": ({"URL": "x"}, True),
    "files": ({"/etc/x": "1"}, True),
    "prepare": ("key", True),
    "scratch": ("disk", False),
    "produced": (("out/*",), False),
    "limits": ({"memory": Limit(1e9, "x.yaml:1:1")}, False),
    "kernel": ("6.1", True),
    "localhost": ((80,), True),
    "unneeded": (("x",), False),
    "secrets": ((SecretPlace("token", "/run/secrets/token", ""),), True),
}


@given(request=REQUESTS)
def test_json_gives_the_same_request(request):
    assert ServiceRequest.from_fields(request.to_fields()) == request


@given(fields=st.dictionaries(TEXT, st.none() | st.integers() | TEXT | st.lists(TEXT)))
def test_other_json_is_refused(fields):
    with pytest.raises((ValueError, TypeError, LookupError)):
        ServiceRequest.from_fields(fields)


def test_every_field_is_in_the_table():
    assert {field.name for field in fields(ServiceRequest)} == {*CHANGES}


@pytest.mark.parametrize("name", CHANGES)
def test_what_decides_a_result(name):
    value, decides = CHANGES[name]
    other = replace(ONE, **{name: value})
    assert (other.document() != ONE.document()) == decides
    assert ONE.changed_fields(other) == (() if name in ("where", "unneeded") else (name,))


def test_a_document_has_no_text_of_a_file_and_no_place():
    text = str(
        replace(ONE, files={"/etc/secret": "hunter2"}, ready=(ReadyProbe("tcp", 1, where="x.yaml:1:1"),)).document()
    )
    assert "hunter2" not in text
    assert ".yaml" not in text
    assert "hunter2" not in repr(replace(ONE, variables={"A": "hunter2"}))


# ---- from the spec and a stack ---------------------------------------------------------------------------------------


def stack(config=None):
    made = stack_of()
    for layer in made.layers:
        layer.resolved.node.kind.image_config = lambda request, pins: config or {}
    return made


IMAGE = {
    "Entrypoint": ["/entry"],
    "Cmd": ["serve", "--all"],
    "User": "postgres",
    "WorkingDir": "/srv",
    "StopSignal": "SIGINT",
    "ExposedPorts": {"5432/tcp": {}, "53/udp": {}, "80": {}, "x/tcp": {}},
}


def test_a_command_of_the_spec():
    request = make_service_request(service("db"), stack(IMAGE), {})
    assert (request.command, request.user, request.workdir, request.project) == (("run-db",), "user", "/project", True)
    assert request.stop_signal == "INT"
    assert request.ports == (5432, 80)
    assert request.ready == (ReadyProbe("tcp", port=5432, where="envtool.yaml:1:3"),)
    assert request.where == "envtool.yaml:1:3"
    assert [layer.diff_id for layer in request.stack] == ["d1", "d2"]
    assert request.variables["HOME"] == "/home/envtool"


def test_an_image_with_its_own_command():
    request = make_service_request(replace(service("db"), command=None), stack(IMAGE), {})
    assert request.command == ("/entry", "serve", "--all")
    assert (request.user, request.workdir, request.project) == ("postgres", "/srv", False)
    assert "HOME" not in request.variables  # the container has that of the user
    root = make_service_request(replace(service("db"), command=None), stack({"Cmd": ["x"]}), {})
    assert (root.user, root.workdir, root.variables["HOME"]) == ("root", "/", "/root")
    assert (root.ports, root.ready) == ((), ())


@pytest.mark.parametrize("config", [{}, {"Cmd": []}, {"Entrypoint": None, "Env": ["A=1"]}])
def test_an_image_without_a_command(config):
    with pytest.raises(SpecError) as raised:
        make_service_request(replace(service("db", line=8), command=None), stack(config), {})
    (problem,) = raised.value.problems
    assert problem.code == "service-command"
    assert (problem.where.line, problem.where.column) == (8, 3)
    assert problem.message.startswith("service `db` has no command: ")
    assert problem.hint == "add `command:`, a line for the shell or a list of words"


def test_with_a_single_id_all_are_the_tasks_user():
    image = replace(service("db"), command=None)
    assert make_service_request(image, stack(IMAGE), {}, single_id=True).user == "user"
    with pytest.raises(SpecError) as raised:
        make_service_request(service("db", user="root"), stack(), {}, single_id=True)
    (problem,) = raised.value.problems
    assert problem.code == "service-user"
    assert problem.message == "service `db` runs as `root`, and your containers have one id: that of `user`"


def test_what_needed_ones_provide_and_what_the_spec_sets():
    db = service("db", provides={"URL": "db://db", "A": "of db"})
    api = replace(service("api", needs=("db",)), env=replace(ENV, set={"A": "of api", "B": None}))
    variables = make_service_request(api, stack(), {"db": db, "api": api}).variables
    assert (variables["URL"], variables["A"], variables["ENVTOOL_SERVICE"]) == ("db://db", "of api", "api")


@pytest.mark.parametrize(("text", "number"), [("TERM", 15), ("9", 9), ("RTMIN+3", 37), ("WINCH", 28)])
def test_signals(text, number):
    assert signal_number(text) == number
    request = make_service_request(service("db", stop_signal=f"SIG{text}"), stack(), {})
    assert signal_number(request.stop_signal) == number


@pytest.mark.parametrize("text", ["TREM", "0", "65", "RTMIN+x", "-9", ""])
def test_signals_that_there_are_not(text):
    with pytest.raises(ValueError, match="is no signal"):
        signal_number(text)
    if text:
        with pytest.raises(SpecError, match="1 error") as raised:
            make_service_request(service("db", stop_signal=text), stack(), {})
        assert raised.value.problems[0].code == "service-signal"


def test_a_one_shot_has_no_check():
    assert make_service_request(service("seed", once=True, ports=(80,)), stack(), {}).ready == ()


# ---- the container ---------------------------------------------------------------------------------------------------


def program(one, *, prepared=(), **seen):
    local = LocalService(make_service_request(one, stack(IMAGE), {}), stack(IMAGE), prepared)
    return make_service_program(local, ServiceProject("/some/project", **seen), Member("db-1", "10.64.0.9", -1))


def test_the_container_of_a_command(tmp_path):
    local = LocalService(make_service_request(service("db"), stack(), {}), stack(), ("/state",))
    made = make_service_program(
        local, ServiceProject(str(tmp_path), ("out",), watch=("/usr",)), Member("db-1", "10.64.0.9", -1), "/scratch"
    )
    assert made.root.lowers == ("/state", "/tree", "/tree")
    assert made.root.scratch == "/scratch"
    assert made.project.hidden == ("out",)
    assert made.watch == ("/usr",)
    assert (made.hostname, made.address, made.user, made.network) == ("db-1", "10.64.0.9", "user", False)
    (step,) = made.steps
    assert (step.argv, step.cwd, step.user) == (("run-db",), "/project", "")


def test_the_container_of_an_image():
    made = program(replace(service("db"), command=None))
    assert made.project is None
    assert made.user == "root"
    assert made.steps[0].user == "postgres"
    assert [mount.target for mount in made.mounts] == ["/etc/resolv.conf"]
    assert program(service("db", user="root", project=False)).steps[0].user == ""
    assert program(service("db", command=Command(shell="x"), project=False)).steps[0].cwd == "/"


def test_limits_are_kept_and_their_places_change_nothing():
    limited = replace(ONE, limits={"memory": Limit(1e9, "x.yaml:1:1")})
    assert ServiceRequest.from_fields(limited.to_fields()) == limited
    assert limited.changed_fields(replace(ONE, limits={"memory": Limit(1e9, "x.yaml:7:1")})) == ()
    assert limited.changed_fields(replace(ONE, limits={"memory": Limit(2e9, "x.yaml:1:1")})) == ("limits",)
