"""`envtool why` on provoked misses: each case changes one thing, and why names exactly it. In this process, on a real
store: layers on this machine's base take milliseconds."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
from types import SimpleNamespace

import pytest

from envtool import plugins
from envtool.api import BLOBS, Base, Fetch, Input, Kind, Place, Recipe
from envtool.app import lock_file, open_project, tasks, why
from envtool.app.command_request import CommandRequest
from envtool.build.context import Cancel
from envtool.build.scheduler import Scheduler
from envtool.errors import NotCachedError, UsageError
from envtool.fs import beneath
from envtool.kinds import host
from envtool.kinds.run import RunLayer

pytestmark = pytest.mark.e2e

SPEC = """\
version: 1
bases:
  one: {flat: {epoch: 1600000000}}
  two: {flat: {epoch: 1700000000}}
layers:
  tool:
    run: |
      mkdir -p /opt/tool
      cp -r . /opt/tool
    inputs: [Makefile, "src/*.c", tools/]
  low: {run: "echo low > /opt/low", set: {LOW: "1"}}
  wide: {run: "echo ${LOW:-} wide > /opt/wide"}
  got: {fetch: {url: "file://@TOP@/got-1.0.tar", sha256: "@GOT@", to: /opt/got}}
  made: {crate: [left, right], inputs: [wants.txt]}
  left: {run: "echo left > /opt/left"}
  right: {run: "echo right > /opt/right"}
  placed: {copy: {from: Makefile, to: /opt/placed}}
envs:
  work: {layers: [tool]}
  chain: {layers: [low, wide]}
  pinned: {layers: [got, made]}
  based: {base: one, layers: [placed]}
  lone: {layers: [low]}
  three: {layers: [left, right, placed]}
  swapped: {layers: [right, left]}
  other: {base: two}
"""


class Flat(Base):
    """A base of nothing, with a date."""

    name = "flat"
    schema = {"type": "object"}

    def epoch(self, pins):
        return pins["epoch"]

    def resolve(self, request, site):
        return {"epoch": request.options["epoch"]}

    def build(self, request, pins):
        return Recipe()


class Crate(Kind):
    """Settles names to files of an index, as package managers do."""

    name = "crate"
    schema = {"type": "array"}
    siblings = {"inputs": {"type": "array"}}
    index: dict[str, tuple[str, str]] = {}  # name -> (path, sha256)

    def inputs(self, options):
        return map(Input, options.get("inputs", ()))

    def resolve(self, request, site):
        found = [(name, *self.index[name]) for name in request.options["crate"]]
        return [{"name": name, "version": path[-7:-4], "path": path, "sha256": sha} for name, path, sha in found]

    def fetches(self, request, pins):
        return tuple(Fetch(url=f"file://{pin['path']}", sha256=pin["sha256"], name=file(pin)) for pin in pins)

    def material(self, request, pins):
        return {"told": [{"name": pin["name"], "file": file(pin)} for pin in pins]}

    def build(self, request, pins):
        return Recipe(steps=tuple(Place(source=f"{BLOBS}/{file(pin)}", target=f"/opt/{pin['name']}") for pin in pins))


def file(pin):
    return os.path.basename(pin["path"])


class World:
    """A project, a store with all of it built, and a machine that can be changed."""

    def __init__(self, top, monkeypatch) -> None:
        self.top, self.monkeypatch = top, monkeypatch
        self.project = top / "project"
        self.crate = Crate()
        self.arch = ""
        self.database = top / "status"

    def set_up(self) -> None:
        self.monkeypatch.delenv("CI", raising=False)
        self.monkeypatch.setenv("ENVTOOL_STORE", str(self.top / "store"))
        self.monkeypatch.setenv("XDG_CONFIG_HOME", str(self.top / "config"))
        said = self.top / "config/envtool/config.yaml"
        said.parent.mkdir(parents=True, exist_ok=True)
        said.write_text(f"version: 1\nallow: {{files: [{self.top}]}}\n")
        self.monkeypatch.setattr(host, "DATABASES", (str(self.database),))
        found = plugins.discover()
        layers = {**found.layers, "crate": self.crate, "run": RunLayer()}
        mine = dataclasses.replace(found, bases={**found.bases, "flat": Flat()}, layers=layers)
        self.kinds = mine
        self.monkeypatch.setattr(plugins, "discover", lambda: self.kinds)
        real = os.uname()
        known = {name: getattr(real, name) for name in ("sysname", "nodename", "release", "version", "machine")}
        self.monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(**known | {"machine": self.arch or real.machine}))
        self.crate.index = {name: self.file(f"{name}-1.0.tar") for name in ("left", "right", "third")}

    def fill(self) -> None:
        self.database.write_text("installed: a")
        for name, text in {
            "Makefile": "all:",
            "src/a.c": "int a;",
            "src/b.c": "int b;",
            "tools/x": "x",
            "wants.txt": "left",
        }.items():
            self.write(name, text)
        got = self.file("got-1.0.tar")[1]
        self.write("envtool.yaml", SPEC.replace("@TOP@", str(self.top)).replace("@GOT@", got))

    def file(self, name, text="content"):
        path = self.top / name
        path.write_text(text)
        return str(path), hashlib.sha256(text.encode()).hexdigest()

    def write(self, name, text) -> None:
        path = self.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def edit(self, old, new, file="envtool.yaml") -> None:
        path = self.project / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    def make(self, *envs, refresh=False) -> None:
        """Build the stacks of envs, without names of all."""
        request = CommandRequest(directory=str(self.project), refresh=refresh, envs=envs)
        at = open_project.open_project(request)
        stacks = Scheduler(at.graph, at.context)
        for env in at.spec.envs:
            stacks.stack(env.name)
        at.context.cancel.close()

    def lock(self) -> None:
        cancel = Cancel.make()
        lock_file.lock(CommandRequest(directory=str(self.project)), None, lambda _: None, cancel)
        cancel.close()

    def why(self, *names):
        return why.why(CommandRequest(directory=str(self.project)), names)

    def tell(self, name, env=""):
        """What is told of the nodes of a name; of several those of `env`."""
        found = self.why(name)
        return [one for one in found if len(found) == 1 or env in one.envs]

    def causes(self, name, env=""):
        """State of a node, and (part, name, how) of all that is no consequence."""
        (told,) = self.tell(name, env)
        return told.state, {(one.part, one.name, one.how) for one in told.changes if not one.follows}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A project all of which stands in a store; copied for each case."""
    top = tmp_path_factory.mktemp("why")
    with pytest.MonkeyPatch.context() as monkeypatch:
        world = World(top, monkeypatch)
        world.set_up()
        world.fill()
        world.make()
    return top


@pytest.fixture
def world(built, monkeypatch):
    """The same place again: each case puts the project back as it was (the store only grows)."""
    world = World(built, monkeypatch)
    beneath.release_projects()  # `built` may have been made just now
    shutil.rmtree(world.project)
    world.set_up()
    world.fill()
    world.make(refresh=True)
    assert world.why() == ()
    return world


def option(world):
    world.edit("cp -r .", "cp -R .")


def content(world):
    world.write("src/a.c", "int aa;")


def executable(world):
    (world.project / "tools/x").chmod(0o755)


def renamed(world):
    (world.project / "src/a.c").rename(world.project / "src/z.c")


def added(world):
    world.write("src/c.c", "int c;")


def removed(world):
    (world.project / "src/b.c").unlink()


def symlink(world):
    (world.project / "tools/x").unlink()
    (world.project / "tools/x").symlink_to("../Makefile")


def lower_variable(world):
    world.edit('LOW: "1"', 'LOW: "2"')


def lower_built(world):
    world.edit("echo low", "echo lower")
    world.make("lone")


def lower_same(world):
    world.edit("echo low >", "printf 'low\\n' >")
    assert world.causes("low")[0] == "build"
    world.make("lone")


def kind_version(world):
    class Newer(RunLayer):
        version = 2

    world.kinds = dataclasses.replace(world.kinds, layers={**world.kinds.layers, "run": Newer()})


def architecture(world):
    world.arch = "riscv64"


def database(world):
    world.database.write_text("installed: b")


def needs(world):
    world.edit("wide: {", "wide: {needs: [], ")


def order(world):
    world.edit("three: {layers: [left, right, placed]}", "three: {layers: [right, left, placed]}")


def moved(world):
    world.edit("layers:\n", "\n\n# more room\n\nlayers:\n")


def commented(world):
    world.edit("  tool:", "  # builds\n  tool:  # with make")


def fetch_hash(world):
    world.edit(world.file("got-1.0.tar")[1], world.file("got-1.0.tar", "other")[1])


def fetch_name(world):
    world.edit("got-1.0.tar", os.path.basename(world.file("got-2.0.tar")[0]))


def fetch_target(world):
    world.edit("to: /opt/got", "to: /opt/gotten")


def pin(world):
    world.crate.index["left"] = world.file("left-2.0.tar")
    forget(world, "layer:crate")


def requirement(world):
    world.edit("[left, right]", "[left, right, third]")


def wanted_file(world):
    world.write("wants.txt", "right")


def locked_pin(world):
    world.lock()
    old, new = world.crate.index["left"], world.file("left-3.0.tar", "three")
    world.edit(old[0], new[0], "envtool.lock")
    world.edit(old[1], new[1], "envtool.lock")
    world.edit('"left", "version": "1.0"', '"left", "version": "3.0"', "envtool.lock")


def unlocked_requirement(world):
    world.lock()
    shutil.rmtree(world.top / "store" / "memo")
    (world.top / "store" / "memo").mkdir()
    world.make("lone")  # the machine itself is in no lock
    world.edit("[left, right]", "[left]")


def base(world):
    world.edit("based: {base: one, ", "based: {")


def same_base(world):
    world.edit("based: {base: one", "based: {base: two")


def base_date(world):
    world.edit("one: {flat: {epoch: 1600000000}}", "one: {flat: {epoch: 1600000001}}")


def forget(world, kind) -> None:
    """Ask a kind again, as --refresh does, and keep the answers; builds nothing."""
    from envtool.build import resolution
    from envtool.build.assess import assess_nodes, known_layers

    request = CommandRequest(directory=str(world.project))
    at = open_project.open_project(request)
    setting = at.context
    looks = assess_nodes(at.graph, setting)
    for one in looks.values():
        if f"{one.node.subject}:{one.node.kind.name}" == kind:
            below = known_layers(one.node.below, looks)
            request = resolution.request_for(one.node, below, setting)
            answer = resolution.Resolution(request=request, known=False, again=True)
            resolution.resolve_pins(one.node, answer, setting, SimpleNamespace(found={}))


CASES = {
    "an option": (option, "tool", "build", {("spec", "run", "changed")}),
    "an input's content": (content, "tool", "build", {("input", "src/a.c", "changed")}),
    "an input's executable bit": (executable, "tool", "build", {("input", "tools/x", "changed")}),
    "an input renamed": (renamed, "tool", "build", {("input", "src/z.c", "renamed")}),
    "a file that a glob matches": (added, "tool", "build", {("input", "src/c.c", "added")}),
    "an input removed": (removed, "tool", "build", {("input", "src/b.c", "removed")}),
    "an input that is a symlink now": (symlink, "tool", "build", {("input", "tools/x", "changed")}),
    "a variable of the layer itself": (lower_variable, "low", "cached", set()),
    "a variable of a layer below": (lower_variable, "wide", "build", {("variable", "LOW", "changed")}),
    "a layer below that will be built": (
        lambda w: w.edit("echo low", "echo low as nowhere else"),
        "wide",
        "wait",
        set(),
    ),
    "the kind's version": (kind_version, "tool", "build", {("kind", "version", "changed")}),
    "the architecture": (architecture, "host", "ask", {("arch", "arch", "changed")}),
    "the machine's database": (database, "host", "build", {("machine", "@database@", "changed")}),
    "needs taken away": (needs, "wide", "build", {("layer", "low", "removed")}),
    "a fetch's hash": (fetch_hash, "got", "build", {("spec", "sha256", "changed")}),
    "a fetch's target": (fetch_target, "got", "build", {("spec", "to", "changed")}),
    "a fetch's name": (fetch_name, "got", "build", {("spec", "url", "changed")}),
    "a pin": (pin, "made", "build", {("pin", "left", "changed")}),
    "a pin of the lock": (locked_pin, "made", "build", {("pin", "left", "changed")}),
    "a requirement that is not locked yet": (unlocked_requirement, "made", "ask", {("spec", "crate", "removed")}),
    "a requirement": (requirement, "made", "ask", {("spec", "crate", "added")}),
    "a file that says what is required": (wanted_file, "made", "ask", {("input", "wants.txt", "changed")}),
    "another base": (base, "placed", "build", {("base", "host", "changed")}),
    "a base of the same tree and another date": (same_base, "placed", "build", {("epoch", "epoch", "changed")}),
    "a layer below that came out otherwise": (lower_built, "wide", "build", {("layer", "low", "changed")}),
    "a layer below that came out the same": (lower_same, "wide", "cached", set()),
    "the order of the layers": (order, "placed", "build", {("layer", "", "order")}),
    "the line of the spec": (moved, "tool", "cached", set()),
    "a comment": (commented, "tool", "cached", set()),
    "a base's date": (base_date, "one", "ask", {("spec", "epoch", "changed")}),
}


ENVS = {
    "another base": "based",
    "a base of the same tree and another date": "based",
    "the order of the layers": "three",
}


@pytest.mark.any_caller
@pytest.mark.parametrize("name", CASES)
def test_a_provoked_miss_is_named(name, world):
    change, node, state, causes = CASES[name]
    change(world)
    named = {(part, what.replace("@database@", str(world.database)), how) for part, what, how in causes}
    assert world.causes(node, ENVS.get(name, "")) == (state, named)


def test_several_changes_are_all_named_and_nothing_else(world):
    option(world)
    executable(world)
    renamed(world)
    state, causes = world.causes("tool")
    assert state == "build"
    assert causes == {
        ("spec", "run", "changed"),
        ("input", "tools/x", "changed"),
        ("input", "src/z.c", "renamed"),
    }
    (told,) = world.why("tool")
    assert told.same == ("the base", "2 inputs")
    lines = {change.name: change.where for change in told.changes}
    assert lines["run"] == "envtool.yaml:9"  # the very line, not the layer's


def test_what_follows_is_told_as_such(world):
    """The requirement is the cause; that it brings a pin is not."""
    requirement(world)
    forget(world, "layer:crate")
    (told,) = world.why("made")
    assert [(one.part, one.name, one.how, one.follows) for one in told.changes] == [
        ("spec", "crate", "added", False),
        ("pin", "third", "added", True),
    ]
    assert told.changes[1].where.endswith("envtool.yaml:14")


def test_pins_are_told_by_their_versions(world):
    pin(world)
    (told,) = world.why("made")
    (change,) = told.changes
    assert (change.part, change.name, change.old, change.new) == ("pin", "left", "1.0", "2.0")
    assert change.where == "wants.txt:1"
    assert told.same == ("the base", "layer got", "1 pin", "1 input")


def test_a_pin_of_the_lock_is_told_with_its_line(world):
    locked_pin(world)
    (told,) = world.why("made")
    (change,) = told.changes
    assert (change.old, change.new) == ("1.0", "3.0")
    line = next(
        n for n, text in enumerate((world.project / "envtool.lock").read_text().splitlines(), 1) if '"3.0"' in text
    )
    assert change.where == f"envtool.lock:{line}, from wants.txt:1"


def test_a_question_that_the_lock_does_not_answer_is_compared_with_the_lock(world):
    unlocked_requirement(world)
    (told,) = world.why("made")
    assert (told.state, told.locked, told.since.key) == ("ask", True, "")


def test_a_lower_layers_own_change_is_told_with_it(world):
    lower_built(world)
    (told,) = world.why("wide")
    (change,) = told.changes
    assert [(one.part, one.new) for one in change.because] == [("spec", "echo lower > /opt/low")]


def test_who_waits_says_for_whom_and_what_of_its_own_changed(world):
    world.edit("echo low", "echo deeper")
    (told,) = world.why("wide")
    assert (told.state, told.waits, told.changes) == ("wait", ("low",), ())
    world.edit("wide > /opt", "wider > /opt")
    (told,) = world.why("wide")
    assert [(one.part, one.name) for one in told.changes] == [("spec", "run")]
    assert [one.name for one in world.why()] == ["low", "wide"], "without names: all that would be built, lowest first"


def test_a_layer_that_was_never_built_has_nothing_to_be_compared_with(world):
    world.edit("  low: {", "  fresh: {run: 'something else entirely'}\n  low: {")
    world.edit("lone: {layers: [low]}", "lone: {layers: [fresh]}")
    (told,) = world.why("fresh")
    assert (told.state, told.since, told.changes) == ("build", None, ())


def test_the_nearest_of_several_builds_is_the_newest_of_the_least_different(world):
    for old, new in (("low", "one"), ("one", "two"), ("two", "three")):
        world.edit(f"echo {old} >", f"echo {new} >")
        world.make("lone")
    world.edit("echo three >", "echo four >")
    (told,) = world.why("low")
    assert [(one.old, one.new) for one in told.changes] == [("echo three > /opt/low", "echo four > /opt/low")]


def test_a_hit_says_what_it_is_made_of(world):
    (told,) = world.why("made")
    assert told.state == "cached"
    assert told.content.pins == (("left", "1.0"), ("right", "1.0"))
    assert told.content.inputs == ("wants.txt",)
    assert told.content.below == (("base", "host"), ("layer", "got"))
    assert told.content.diff_id.startswith("sha256:")
    assert told.since.key == told.key
    assert told.since.project == str(world.project)


def test_layers_of_an_older_envtool_are_compared_too(world):
    """Which kept the document alone."""
    for path in (world.top / "store" / "layers").glob("*/layer.json"):
        stored = json.loads(path.read_text())
        stored.pop("built", None)
        stored.pop("sum", None)
        path.write_text(json.dumps(stored, sort_keys=True, separators=(",", ":")))
    option(world)
    content(world)
    assert world.causes("tool") == ("build", {("spec", "run", "changed"), ("input", "src/a.c", "changed")})


def test_damaged_sheets_are_passed_over(world):
    place = world.top / "store" / "layers" / ("f" * 64)
    place.mkdir()
    (place / "layer.json").write_text('{"document": {"kind":"layer:run"')
    option(world)
    assert world.causes("tool")[0] == "build"
    shutil.rmtree(place)


def test_expect_cached_fails_before_anything_is_built(world):
    def run(**more):
        cancel = Cancel.make()
        request = CommandRequest(directory=str(world.project), expect_cached=True, **more)
        return tasks.run(request, "test", lambda _: None, cancel)

    world.edit("work: {layers: [tool]}", "work: {layers: [tool], tasks: {test: 'true'}}")
    assert [result.outcome for result in run()] == ["passed"]
    option(world)
    before = sorted(os.listdir(world.top / "store" / "layers"))
    with pytest.raises(NotCachedError) as caught:
        run()
    assert caught.value.exit_status == 3
    assert caught.value.message == "1 of 2 bases and layers is not cached"
    assert [one.name for one in caught.value.misses] == ["tool"]
    assert sorted(os.listdir(world.top / "store" / "layers")) == before
    with pytest.raises(UsageError):
        run(refresh=True)


def run(world, **more):
    cancel = Cancel.make()
    (result,) = tasks.run(CommandRequest(directory=str(world.project), **more), "test", lambda _: None, cancel)
    cancel.close()
    return result.outcome


def machine_rebuilt(world):
    """Other packages, and the same /etc: the base's own tree comes out the same."""
    world.database.write_text("installed: c")
    world.make("work")


TASK = "work: {layers: [tool], set: {MODE: fast}, pass: [SECRET], tasks: {test: 'true'}}"
RUNS = {
    "a file of the project": (lambda w: w.write("notes.txt", "x"), {("file", "notes.txt", "changed")}),
    "a new file": (lambda w: w.write("more.txt", "x"), {("file", "more.txt", "added")}),
    "a file's mode": (lambda w: (w.project / "notes.txt").chmod(0o755), {("file", "notes.txt", "changed")}),
    "a file renamed": (
        lambda w: (w.project / "notes.txt").rename(w.project / "n.txt"),
        {("file", "n.txt", "renamed")},
    ),
    "the machine": (machine_rebuilt, {("base", "host", "changed")}),
    "a passed variable": (lambda w: w.monkeypatch.setenv("SECRET", "2"), {("variable", "SECRET", "changed")}),
}


@pytest.mark.any_caller
@pytest.mark.parametrize("name", RUNS)
def test_why_a_task_is_run_again(name, world):
    change, causes = RUNS[name]
    world.write("notes.txt", "notes")
    world.monkeypatch.setenv("SECRET", "1")
    world.edit("work: {layers: [tool]}", TASK)
    run(world, again=True)
    (told,) = world.why("work:test")
    assert (told.state, told.changes) == ("cached", ())
    change(world)
    (told,) = world.why("work:test")
    assert told.state == "run"
    assert {(one.part, one.name, one.how) for one in told.changes} == causes
    assert "layer tool" in told.same


def test_why_a_task_is_run_again_after_an_edit_of_the_spec(world):
    """The spec is a file of the project too."""
    world.edit("work: {layers: [tool]}", TASK)
    run(world, again=True)
    world.edit("MODE: fast", "MODE: slow")
    world.edit("test: 'true'", "test: 'true x'")
    (told,) = world.why("test")
    assert {(one.part, one.name) for one in told.changes} == {
        ("spec", "commands"),
        ("variable", "MODE"),
        ("file", "envtool.yaml"),
    }
    content(world)
    told = world.why("test")
    assert [(one.name, one.state, one.waits) for one in told] == [
        ("tool", "build", ()),
        ("work:test", "wait", ("tool",)),
    ]
    world.make("work")
    (told,) = world.why("test")
    assert [one.name for one in told.changes if one.part == "layer"] == ["tool"]


def test_a_task_with_the_network_is_always_run(world):
    world.edit("work: {layers: [tool]}", "work: {layers: [tool], network: true, tasks: {test: 'true'}}")
    (told,) = world.why("test")
    assert (told.state, told.summary) == ("run", "it has the network, and is run every time")


# ---- as a command, by every kind of caller -------------------------------------------------------------------------


def test_the_command(place):
    place.write("a.txt", "a")
    token = place.token
    place.spec(f"""\
layers:
  copied: {{run: "cat a.txt > /opt/{token}", inputs: [a.txt]}}
envs:
  unit: {{layers: [copied], tasks: {{test: "true"}}}}
""")
    assert "no earlier build of it is in the store (envtool.yaml:3)" in place.envtool("why", "copied").out
    refused = place.envtool("test", "--expect-cached")
    assert refused.status == 3
    assert "copied will be built" in refused.err
    assert "error: 1 of 2 bases and layers is not cached" in refused.err
    assert place.envtool("test").status == 0
    assert place.envtool("why").out == "nothing would be built: every base and layer is cached\n"
    assert place.envtool("test", "--expect-cached").status == 0
    assert "copied is cached: run, 1 command" in place.envtool("why", "unit").out
    assert "unit:test is unchanged and not run again: it passed today" in place.envtool("why", "test").out
    place.write("a.txt", "b")
    told = place.envtool("why", "unit:test").out
    assert "copied will be built" in told
    assert told.endswith("unit:test waits for `copied`\n")
    told = place.envtool("why", "copied").out
    assert re.search(r"copied will be built: one thing changed since today \d\d:\d\d \(build [0-9a-f]{12}\)", told)
    assert re.search(r"input +a.txt +content", told)
    refused = place.envtool("test", "--expect-cached", "--json")
    (error,) = refused.events
    assert (refused.status, error["code"]) == (3, "not-cached")
    assert [change["name"] for change in error["misses"][0]["changes"]] == ["a.txt"]
    value = json.loads(place.envtool("why", "--json").out)
    assert [(one["name"], one["state"]) for one in value["subjects"]] == [("copied", "build")]
