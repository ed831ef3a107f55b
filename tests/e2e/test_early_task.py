"""A task without services that starts before a run has read its spec: real containers, as every caller."""

from __future__ import annotations

import re
import signal
import time

import pytest

from tests.e2e.test_early_services import shape
from tests.e2e.test_layers import archive, sha, small_root

pytestmark = pytest.mark.e2e

TASK = "date +began:%s%N; echo $WORD; cat page; ls"
SPEC = """\
{bases}envs:
  unit:
    base: {base}
    set: {{WORD: one, TOKEN: "{token}"}}
    tasks:
      test: {task}
"""
NAMES = {"tiny": ["envtool.yaml", "page", "root.tar.gz"], "host": ["envtool.yaml", "page"]}


@pytest.fixture(params=["tiny", "host"])
def base(request):
    return request.param


@pytest.fixture
def project(place, base):
    bases = ""
    if base == "tiny":
        data = archive(
            {name: path.read_bytes() for name, path in small_root("/bin/date", "/bin/cat").items()}, mode=0o755
        )
        place.write("root.tar.gz", data)
        bases = f"bases: {{tiny: {{tarball: {{path: root.tar.gz, sha256: {sha(data)}}}}}}}\n"
    place.write("page", "first\n")
    place.spec(SPEC.format(bases=bases, base=base, task=TASK, token=place.token))
    return place


def run(project, *words, status=0):
    """Runs the tests. Returns whether the run took over a task that had begun early, what the task printed but for its
    time, and the run's result."""
    time.sleep(0.05)  # what changed less than a tick of the clock ago counts as new
    done = project.envtool("test", "--json", *words)
    assert done.status == status, done.said
    began = re.search(r"began:(\d+)\n", done.log())
    assert began, done.said
    [started] = [event for event in done.events if event["event"] == "started" and event["subject"] == "task"]
    assert (project.project / ".envtool/last/unit.test.log").read_text() == done.log()
    [result] = done.events[-1]["results"]
    assert result["started"] <= started["time"]
    assert done.events[-1]["seconds"] >= round(result["seconds"], 3)
    return result["started"] < started["time"], done.log().replace(began[0], ""), done


def expect_early(project, expected):
    """Runs the tests until a run has taken over a task that had begun early: not where this machine has no watch left,
    or changes meanwhile. Returns the run's result."""
    for _ in range(8):
        early, log, done = run(project, "--again")
        assert log == expected
        if early:
            return done
    raise AssertionError("no task began early")


def lines(base, word="one", page="first", names=()):
    return "\n".join([word, page, *sorted([*NAMES[base], *names]), ""])


def edit(project, old, new):
    text = (project.project / "envtool.yaml").read_text()
    assert old in text
    project.write("envtool.yaml", text.replace(old, new, 1))


def notes(project):
    return {*project.store.glob("plans/*.early")}


def test_the_second_run_begins_early_and_is_the_same(project, base):
    early, log, first = run(project)
    assert (early, log) == (False, lines(base))
    for _ in range(2):
        done = expect_early(project, lines(base))
        assert shape(done) == shape(first)
        assert done.events[-1]["results"][0]["reads"] == first.events[-1]["results"][0]["reads"]
    assert "not run again" in project.envtool("test").err
    assert project.left() == []


@pytest.mark.one_caller
@pytest.mark.parametrize("git", [False, True])
def test_files_of_the_project_are_those_of_now(project, base, git):
    if git:
        project.shell("git init -q; git add .; git -c user.name=x -c user.email=x@y commit -qm x")
    run(project)
    project.write("page", "second\n")
    assert run(project)[1] == lines(base, page="second")
    project.write("more", "")
    assert run(project)[1] == lines(base, page="second", names=["more"])
    if git:
        project.write(".gitignore", "secret\n")
        project.write("secret", "not to be seen\n")
        assert run(project)[1] == lines(base, page="second", names=["more"])
        project.shell("git -c user.name=x -c user.email=x@y commit -qam y")
        expect_early(project, lines(base, page="second", names=["more"]))


@pytest.mark.one_caller
@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("WORD: one", "WORD: two", "two"),
        ("; ls", "; ls; true", "one"),
        ("    set:", "    layers: [{run: mkdir /opt/more}]\n    set:", "one"),
        ("envs:\n", "envs:  # all\n", "one"),
    ],
    ids=["variable", "task", "layer", "comment"],
)
def test_an_edit_of_the_spec_is_decided_anew(project, base, old, new, word):
    if base == "tiny" and "run: mkdir" in new:
        new = new.replace("mkdir", "ls > /tmp/x; true #")  # the small root has no mkdir
        new = new.replace("{run: ls > /tmp/x; true # /opt/more}", "{run: 'ls > /tmp/x'}")
    run(project)
    edit(project, old, new)
    assert run(project, "--again")[:2] == (False, lines(base, word))
    expect_early(project, lines(base, word))
    assert project.left() == []


@pytest.mark.one_caller
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    set:", "    pass: [HOME]\n    set:"),
        ("    set:", "    limits: {memory: 300MB}\n    set:"),
        ("test: ", "test:\n        outputs: [made]\n        run: echo made > made; "),
        ("test: ", "test:\n        retries: 1\n        run: "),
    ],
    ids=["pass", "limit", "outputs", "retries"],
)
def test_what_is_never_noted(project, base, old, new):
    project.allow("pass: [HOME]")
    edit(project, old, new)
    before = notes(project)
    for _ in range(2):
        assert not run(project, "--again")[0]
    assert notes(project) == before


@pytest.mark.one_caller
@pytest.mark.parametrize(
    ("words", "made"),
    [
        (("--", "x"), ()),
        (("--locked",), ()),
        (("--junit", "report.xml"), ("report.xml",)),
        (("--report", "markdown=x.md"), ("x.md",)),
    ],
)
def test_a_command_line_that_may_decide_otherwise_begins_nothing_early(project, base, words, made):
    assert project.envtool("lock", "-q").status == 0
    run(project)
    assert not run(project, "--again", *words)[0]
    expect_early(project, lines(base, names=["envtool.lock", *made]))


@pytest.mark.one_caller
def test_what_began_in_vain_is_not_begun_again_and_again(project, base):
    """Its log in the project is hidden from the task, which a note does not know."""
    before = notes(project)
    run(project)
    [noted] = notes(project) - before
    with (project.project / "out").open("w") as out:
        assert project.finish(project.start("test", "--again", stdout=out)).status == 0
    assert noted.stat().st_size == 0
    (project.project / "out").unlink()
    assert run(project, "--again")[:2] == (False, lines(base))
    assert run(project, "--again")[:2] == (True, lines(base))


@pytest.mark.one_caller
def test_a_failure_is_the_same(project):
    edit(project, "; ls", "; ls; exit 3")
    first = run(project, status=1)
    second = run(project, status=1)
    assert not first[0]
    assert first[1] == second[1]
    assert shape(first[2]) == shape(second[2])


@pytest.mark.one_caller
def test_a_result_that_is_known_already(project):
    """What began early for nothing is ended."""
    run(project)
    project.write("page", "second\n")
    run(project)
    project.write("page", "first\n")
    done = project.envtool("test")
    assert done.status == 0, done.said
    assert "not run again" in done.said
    assert project.left() == []
    assert project.processes() == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_of_a_run_that_is_ended_at_any_moment(project, base, number):
    run(project)
    for step in range(8):
        process = project.start("test", "--again")
        time.sleep(0.03 + 0.05 * step)
        process.send_signal(number)
        process.communicate()
    project.until(lambda: project.processes() == [], "the end of all processes")
    assert run(project, "--again")[1] == lines(base)
    assert project.left() == []


@pytest.mark.one_caller
def test_several_at_once(project):
    run(project)
    processes = [project.start("test", "--again") for _ in range(3)]
    for process in processes:
        done = project.finish(process)
        assert done.status == 0, done.said
    assert project.left() == []


def test_a_change_of_the_project_meanwhile_is_never_missed(project, base):
    """The run is stopped at several moments, while what has begun early goes on, and a file changes."""
    run(project)
    for number in range(6):
        process = project.start("test", "--again")
        time.sleep(0.06 * number)
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        project.write("page", f"{number}\n")
        process.send_signal(signal.SIGCONT)
        done = project.finish(process)
        assert done.status == 0, done.said
        time.sleep(0.05)
        assert project.envtool("test").status == 0
        log = (project.project / ".envtool/last/unit.test.log").read_text()
        assert log.partition("\n")[2] == lines(base, page=str(number)), "a result that is known is of these files"
