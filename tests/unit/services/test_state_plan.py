"""The key of prepared state: all that decides what the commands leave is in it, and nothing else is."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from envtool.errors import SpecError
from envtool.model import Command, Prepare, Where
from envtool.services import prepared_state
from envtool.services.state_plan import find_state, plan_state
from envtool.spec.service_values import NEVER_KEPT
from tests.unit.run.fakes import World
from tests.unit.services.test_service_request import CHANGES, ONE

WHERE = Where(file="envtool.yaml", line=5, column=7)
PREPARE = Prepare(
    where=WHERE,
    before=(Command(shell="mkdir x"),),
    run=(Command(argv=("load", "seed.sql")),),
    inputs=("*.sql",),
    data=("/srv/db",),
)
NEEDED = replace(ONE, name="other")
# fields of a service's request that decide its own state, and of one that it needs
OWN = {"name", "stack", "command", "variables", "user", "workdir", "project", "provides", "files", "kernel", "ready"}
OF_NEEDED = {*OWN, "once", "prepare"}


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    (made.root / "seed.sql").write_text("insert\n")
    return made


def key(world, prepare=PREPARE, request=ONE, needed=()):
    return plan_state(prepare, request, needed, world.context).key


@pytest.mark.parametrize("name", CHANGES)
def test_fields_of_the_service(world, name):
    """The stop signal decides what a server writes at its end. `prepare` is the key itself."""
    changed = replace(ONE, **{name: CHANGES[name][0]})
    assert (key(world, request=changed) != key(world)) == (name in {*OWN, "stop_signal"})


@pytest.mark.parametrize("name", CHANGES)
def test_fields_of_a_service_that_it_needs(world, name):
    changed = replace(NEEDED, **{name: CHANGES[name][0]})
    assert (key(world, needed=[changed]) != key(world, needed=[NEEDED])) == (name in OF_NEEDED)


def test_a_service_that_it_needs(world):
    assert len({key(world), key(world, needed=[NEEDED]), key(world, needed=[NEEDED, replace(ONE, name="x")])}) == 3


PREPARES = {
    "where": (Where(file="envtool.yaml", line=9, column=1), False),
    "before": ((Command(shell="mkdir y"),), True),
    "run": ((Command(argv=("load", "-v", "seed.sql")),), True),
    "inputs": (("seed.*",), False),  # another pattern of the same files
    "data": (("/srv/db", "/srv/more"), True),
}


def test_every_field_of_prepare_is_in_the_table():
    assert {field.name for field in fields(Prepare)} == {*PREPARES}


@pytest.mark.parametrize("name", PREPARES)
def test_fields_of_prepare(world, name):
    value, decides = PREPARES[name]
    assert (key(world, replace(PREPARE, **{name: value})) != key(world)) == decides


def test_where_words_begin_decides(world):
    """A command for the shell is another one than the same text as a program's name, before and run are apart."""
    one = replace(PREPARE, before=(Command(argv=("a", "b")),), run=())
    two = replace(PREPARE, before=(), run=(Command(argv=("a", "b")),))
    three = replace(PREPARE, before=(), run=(Command(argv=("a",)), Command(argv=("b",))))
    four = replace(PREPARE, before=(), run=(Command(shell="a b"),))
    assert len({key(world, each) for each in (one, two, three, four)}) == 4


@pytest.mark.parametrize(
    ("edit", "decides"),
    [
        (lambda top: (top / "seed.sql").write_text("insert more\n"), True),
        (lambda top: (top / "seed.sql").chmod(0o755), True),
        (lambda top: (top / "seed.sql").rename(top / "seeds.sql"), True),
        (lambda top: (top / "more.sql").write_text(""), True),
        (lambda top: (top / "more.sql").symlink_to("seed.sql"), True),
        (lambda top: (top / "more.txt").write_text(""), False),
    ],
)
def test_files(world, edit, decides):
    before = key(world)
    edit(world.root)
    assert (key(world) != before) == decides


def test_without_inputs_no_file_decides(world):
    prepare = replace(PREPARE, inputs=())
    before = key(world, prepare)
    (world.root / "seed.sql").write_text("another\n")
    assert key(world, prepare) == before
    assert plan_state(prepare, ONE, (), world.context).files == ()


def test_an_input_that_there_is_not(world):
    with pytest.raises(SpecError) as raised:
        key(world, replace(PREPARE, inputs=("seed.sql", "sed.sql")))
    (problem,) = raised.value.problems
    assert (problem.where, problem.message.startswith("`prepare`: input `sed.sql`")) == (WHERE, True)


def test_the_document_has_no_path_of_this_machine(world):
    plan = plan_state(PREPARE, ONE, (NEEDED,), world.context)
    assert str(world.root) not in str(plan.document)
    assert plan.document["kind"] == "state:prepare"
    assert find_state(world.context, plan.key) is None


def test_what_is_never_kept_cannot_be_data():
    """The reader of the spec refuses as `data` what is not captured; the project is a mount."""
    assert {f"{path}/**" for path in NEVER_KEPT} == {*prepared_state.DROPPED, "/project/**"}
