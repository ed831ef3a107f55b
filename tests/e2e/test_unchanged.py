"""What passed and cannot have changed is not run again: what counts, what comes back, and the short way."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from envtool.container import userns

pytestmark = pytest.mark.e2e


def outcome(place, *words, verb="test"):
    done = place.envtool(verb, "--json", *words)
    return done.events[-1]["results"][0]["outcome"]


def repository(place):
    place.shell("git init -q . && git add -A && git -c user.name=a -c user.email=a@b.example commit -qm x")


def older(place):
    """Let a project be older than the run that reads it: else nothing is written for the short way."""
    past = time.time() - 10
    for directory, _, names in os.walk(place.project):
        for name in (".", *names):
            os.utime(os.path.join(directory, name), (past, past), follow_symlinks=False)
    time.sleep(1.05)  # ctimes cannot be set


def test_what_passed_is_not_run_again(place):
    place.task("echo it ran; cat input")
    place.write("input", "one\n")
    repository(place)
    assert outcome(place) == "passed"
    done = place.envtool("test")
    assert done.status == 0
    assert " = unit           test    unchanged since " in done.err
    assert "not run again" in done.err
    assert "── 1 unchanged in " in done.err
    assert "it ran" not in done.said
    log = place.project / ".envtool/last/unit.test.log"
    assert log.read_text() == "it ran\none\n"
    assert log.stat().st_uid == place.caller.uid
    assert outcome(place, "--again") == "passed"
    result = place.envtool("test", "--json").events[-1]["results"][0]
    assert (result["outcome"], result["status"], result["host"]) == ("cached", 0, os.uname().nodename)
    assert Path(result["log"]).read_text() == "it ran\none\n"
    place.envtool("test", "--junit", "report.xml", cwd=place.project)
    suite = ET.parse(place.project / "report.xml").getroot()[0]
    assert suite[-1].find("system-out").text == "it ran\none\n"
    named = {each.get("name"): each.get("value") for each in suite.iter("property")}
    assert named["envtool.ran_on"] == os.uname().nodename


def test_every_part_counts(place):
    def spec(script="cat input $ENVTOOL_ENV", name="unit", more="", env=""):
        place.spec(
            f"envs:\n  {name}:\n    pass: [MY_*]\n{env}    tasks:\n      test: {{run: '{script} || true; echo {{{{ args }}}}'{more}}}\n"
        )

    place.allow("pass: [MY_*]")
    spec()
    place.write("input", "one\n")
    place.write("tool.sh", "#!/bin/sh\n")
    os.symlink("input", place.project / "link")
    assert outcome(place) == "passed"
    assert outcome(place) == "cached"

    def changed(what):
        assert outcome(place) == "passed", what
        assert outcome(place) == "cached", what

    place.write("input", "two\n")
    changed("content")
    place.write("input", "one\n")
    assert outcome(place) == "cached", "an earlier state of the project is remembered too"
    place.write("tool.sh", "#!/bin/sh\n", mode=0o755)
    changed("executable bit")
    place.write("more", "")
    changed("a new file")
    (place.project / "link").unlink()
    os.symlink("more", place.project / "link")
    changed("a link's target")
    place.environ["MY_SECRET"] = "hunter2"
    changed("a variable that is passed")
    place.environ["OTHER"] = "1"
    assert outcome(place) == "cached", "a variable that is not passed"
    assert outcome(place, "--", "-k", "slow") == "passed"
    assert outcome(place, "--", "-k", "slow") == "cached"
    assert outcome(place) == "cached"
    spec(env="    set: {A: b}\n")
    changed("a variable")
    spec(script="cat ./input $ENVTOOL_ENV")
    changed("the command")
    spec(script="cat ./input $ENVTOOL_ENV", more=", user: root")
    changed("the user")
    spec(script="cat ./input $ENVTOOL_ENV", more=", user: root, timeout: 5m")
    changed("the spec is a file of the project")
    spec(script="cat ./input $ENVTOOL_ENV", env="    layers: [{run: echo x > /etc/x}]\n")
    changed("a layer")
    secrets = [path for path in place.store.rglob("result.json") if "hunter2" in path.read_text()]
    assert not secrets


def test_what_is_never_remembered(place):
    place.task("exit 3")
    assert outcome(place) == "failed"
    assert outcome(place) == "failed"
    place.task("true", env="network: true")
    assert outcome(place) == "passed"
    assert outcome(place) == "passed"
    place.task("echo up; sleep 1")
    place.write("src/a.py", "1\n")
    process = place.start("test", "--json")
    while b"up" not in process.stdout.readline():
        assert process.poll() is None
    place.write("src/a.py", "2\n")
    place.write("src/a.py", "1\n")  # and back: it was touched
    done = place.finish(process)
    assert done.events[-1]["results"][0]["outcome"] == "passed"
    assert "not remembered: src/a.py was touched while it ran" in done.out
    assert outcome(place) == "passed"
    assert outcome(place) == "cached"


@pytest.mark.parametrize("ignored", [True, False], ids=["ignored", "listed"])
def test_outputs_come_back(place, ignored):
    place.task(
        "mkdir -p dist/sub; date +%N > dist/app; chmod 755 dist/app; ln -sf app dist/link; echo b > dist/sub/b",
        options="outputs: [dist]",
    )
    place.write(".gitignore", "dist/\n" if ignored else "")
    repository(place)
    assert outcome(place) == "passed"
    app = place.project / "dist/app"
    first, before = app.read_text(), app.stat()
    done = place.envtool("test")
    assert " → dist/app and 2 more" in done.err
    assert "unchanged" in done.err
    assert app.stat().st_ino == before.st_ino, "what is right is left alone"
    shutil.rmtree(place.project / "dist")
    assert outcome(place) == "cached"
    assert app.read_text() == first
    assert (app.stat().st_mode, app.stat().st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert app.stat().st_uid == place.caller.uid
    assert os.readlink(place.project / "dist/link") == "app"
    assert (place.project / "dist/sub/b").read_text() == "b\n"
    place.write("dist/app", "mine", mode=0o755)
    if ignored:
        assert outcome(place) == "cached"
        assert app.read_text() == first
    else:  # a file of the project: an edit is an edit
        assert outcome(place) == "passed"
        assert app.read_text() not in (first, "mine")


@pytest.mark.one_caller
@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "line",
    [
        "{} > log.txt 2>&1",
        "{} 2> logs/log.txt",
        "{} --json >> log.txt",
        "{} 2>&1 | tee log.txt",
        "{} 2>&1 | cat | tee -a logs/log.txt | cat > other.log.txt",
        "{} --junit log.txt",
    ],
)
def test_the_log_of_the_run_itself_is_not_part_of_the_project(place, line):
    place.task("cat /proc/sys/kernel/random/uuid; ls . logs")
    place.write("input", line)
    place.write("logs/keep", "")
    place.give(place.project / "logs")
    if "{} >" in line:  # also where there is no git
        repository(place)
    (place.top / "tmp").mkdir(exist_ok=True)

    def run():
        place.shell(line.format(f"{' '.join(place.caller.command)} test"))
        log = (place.project / ".envtool/last/unit.test.log").read_text()
        assert log.split()[1:] == [".:", "envtool.yaml", "input", "logs", "logs:", "keep"], "a task does not see it"
        return log.split()[0]

    first = run()
    assert run() == first
    assert run() == first
    place.write("input", f"{line}\n")
    second = run()
    assert second != first
    assert run() == second
    if "|" not in line:
        return
    place.shell("rm -f *log.txt logs/*log.txt")
    assert outcome(place) == "cached", "without the log it is what it was"
    place.write("log.txt", line)
    assert outcome(place) == "passed", "a file is a log only as long as the run writes it"


@pytest.mark.any_caller
def test_what_is_not_remembered_is_said_once(place):
    place.spec("""\
envs:
  net: {network: true, tasks: {test: "true"}}
  bad: {network: true, tasks: {test: "false"}}
  unit: {matrix: {n: [1, 2, 3]}, tasks: {test: "echo up; sleep 1"}}
""")
    place.write("src/a.py", "1\n")
    process = place.start("test", "-j", "5")
    place.until(lambda: len([*place.project.glob(".envtool/runs/*/*.log")]) == 5, "all tasks run")
    time.sleep(0.2)
    place.write("src/a.py", "2\n")
    done = place.finish(process)
    said = [line for line in done.err.splitlines() if "not remembered" in line]
    (line,) = said
    assert line == (
        "note: not remembered, and run again the next time: unit[1] test, unit[2] test and 1 more (src/a.py was touched"
        " while it ran); net test (it has a network)"
    )
    assert "not remembered" not in place.envtool("test", "-q").err


def test_a_commit_counts_for_outputs_alone(place):
    place.spec("envs: {unit: {tasks: {test: 'true', build: {run: 'echo x > out', outputs: [out]}}}}\n")
    place.write(".gitignore", "out\n")
    repository(place)
    assert [outcome(place), outcome(place, verb="build")] == ["passed", "passed"]
    assert [outcome(place), outcome(place, verb="build")] == ["cached", "cached"]
    place.shell("git tag v1")
    assert [outcome(place), outcome(place, verb="build")] == ["cached", "passed"]
    place.shell("git -c user.name=a -c user.email=a@b.example commit -q --allow-empty -m y")
    assert [outcome(place), outcome(place, verb="build")] == ["cached", "passed"]


def test_nothing_is_built_to_say_unchanged(fresh):
    fresh.spec("envs: {unit: {layers: [{run: echo x > /etc/x}], tasks: {test: 'true'}}}\n")
    assert outcome(fresh) == "passed"
    for key in os.listdir(fresh.store / "layers"):
        userns.remove_as_root(str(fresh.store / "layers" / key))
    done = fresh.envtool("test", "--json")
    assert done.events[-1]["results"][0]["outcome"] == "cached"
    assert not done.finished("layer")
    assert not done.finished("base")
    assert not os.listdir(fresh.store / "layers")
    done = fresh.envtool("test", "--json", "--again")
    assert done.events[-1]["results"][0]["outcome"] == "passed"
    assert len(done.finished("layer")) == 1
    assert outcome(fresh) == "cached"


def test_a_damaged_result_is_run_again(place):
    place.task("echo damaged > out", options="outputs: [out]")
    place.write(".gitignore", "out\n")
    repository(place)
    assert outcome(place) == "passed"
    for damage in ("result.json", "log", "outputs/out"):
        (path,) = [path for path in place.store.glob(f"results/*/{damage}") if self_made(place, path)]
        path.write_text("y\n")
        assert outcome(place) == "passed", damage
        assert outcome(place) == "cached", damage


def self_made(place, path):
    """Whether a result is this project's: the store is shared with other tests."""
    found = json.loads(
        (place.store / "results" / path.relative_to(place.store / "results").parts[0] / "result.json").read_text()
    )
    return found["document"]["outputs"] == ["out"] and found["document"]["commands"][0][-1].startswith("echo damaged")


def test_fail_fast_goes_on_past_what_is_unchanged(place):
    place.spec("envs: {a: {tasks: {test: 'true'}}, b: {tasks: {test: 'true'}}}\n")
    assert place.envtool("test", "-e", "a").status == 0
    done = place.envtool("test", "-x", "-j", "1", "--json")
    assert done.status == 0
    assert {(r["env"], r["outcome"]) for r in done.events[-1]["results"]} == {("a", "cached"), ("b", "passed")}
    assert "── 2 unchanged in" in place.envtool("test").err


def test_names_that_are_not_utf8(place):
    place.task("echo x > $(printf 'out-\\377')", options="outputs: ['out-*']")
    place.write(".gitignore", "out-*\n")
    place.shell("echo y > $(printf 'in-\\376')")
    repository(place)
    assert outcome(place) == "passed"
    made = os.fsencode(place.project) + b"/out-\xff"
    os.unlink(made)
    assert outcome(place) == "cached"
    assert Path(os.fsdecode(made)).read_text() == "x\n"
    assert outcome(place, "--", os.fsdecode(b"\xff")) == "cached", "its command takes no arguments"
    place.task("true")
    assert outcome(place) == "passed"
    assert outcome(place) == "cached"


# ---- the short way -------------------------------------------------------------------------------------------------


class Short:
    """A project whose next `envtool test` is told by the short way; `told` says whether it was."""

    def __init__(self, place):
        self.place = place
        probe = "import sys\nfrom envtool.cli import fastpath\nsys.exit(7 if fastpath.try_task(sys.argv[1:]) is None else 0)\n"
        self.script = str(place.write("probe.py", probe, at=place.top))

    def told(self, *words, cwd=None, stream="err"):
        python = self.place.caller.command[0]
        process = self.place.caller.spawn(
            python, "-P", self.script, "test", *words, env=self.place.variables(), cwd=cwd or self.place.project,
            stdout=-1, stderr=-1,
        )  # fmt: skip
        out, err = process.communicate()
        assert process.returncode in (0, 7), err
        assert process.returncode == 0 or (out, err) == (b"", b""), err
        return {"out": out, "err": err}[stream].decode() if process.returncode == 0 else ""

    def prepare(self, *words):
        """Have the long way write what the short one needs, from the same module path."""
        python = self.place.caller.command[0]
        script = self.place.write(
            "long.py", "import sys\nfrom envtool.cli.main import main\nsys.exit(main())\n", at=self.place.top
        )
        process = self.place.caller.spawn(
            python,
            "-P",
            str(script),
            "test",
            *words,
            env=self.place.variables(),
            cwd=self.place.project,
            stdout=-1,
            stderr=-2,
        )
        out = process.communicate()[0].decode()
        assert process.returncode == 0, out
        return out


@pytest.fixture
def short(place):
    place.allow("pass: [MY_*]")
    place.spec("envs: {unit: {pass: ['MY_*'], tasks: {test: 'cat input'}}, lint: {tasks: {test: 'true'}}}\n")
    place.write("input", "one\n1..1\nok 1 - first\n")
    place.write(".gitignore", "*.o\n")
    repository(place)
    made = Short(place)
    made.prepare()
    for _ in range(25):  # what else stands on this machine may change in between, and then nothing is written
        older(place)
        made.prepare()
        if made.told():
            return made
        # Where many containers run at once, the kernel has no watch left, and what a task read is not known: then its
        # stored result depends on git's directory, whose index is young after each of these runs.
        out = made.prepare("--again")
    pytest.fail(f"no run left what the short way needs: {out}")


def lines(text):
    return sorted(line.partition(" in ")[0] for line in text.splitlines())


def test_the_short_way_says_what_the_long_way_says(short):
    place = short.place
    told = short.told()
    assert told
    log = place.project / ".envtool/last/unit.test.log"
    assert log.read_text() == "one\n1..1\nok 1 - first\n"
    assert (log.stat().st_uid, os.stat(place.project / ".envtool/last").st_uid) == (place.caller.uid,) * 2
    assert lines(told) == lines(short.prepare())
    assert short.told("-q").startswith("── 2 unchanged in ")
    assert short.told("-C", str(place.project), cwd="/")
    for words in (
        ["-v"],
        ["-vv", "--color=always"],
        ["--verbose", "-j1"],
        ["-x"],
        ["--fail-fast", "-q"],
        ["-xv"],
        ["--offline"],
    ):
        assert lines(short.told(*words)) == lines(short.prepare(*words)), words
    for words in (["-v", "--json"], ["--again"], ["--", "x"], ["-e", "unit"], ["--refresh"]):
        assert not short.told(*words), words
    for _ in range(12):
        assert short.told()
    assert len(os.listdir(place.project / ".envtool/runs")) == 10


def test_the_short_way_writes_the_reports_of_the_long_way(short):
    """For the file in the project as well, which is no part of what a task sees."""

    def plain(text):
        """Without what is of one run: when, how long, where its log is."""
        documents = [json.loads(line) for line in text.splitlines()]
        for document in documents:
            for value in (document, *document.get("results", ())):
                for name in ("time", "log") + (("seconds",) if value.get("event") == "result" else ()):
                    value.pop(name, None)
        return sorted(documents, key=lambda document: (document["event"], document.get("id", "")))

    project = short.place.project
    told = short.told("--json", stream="out")
    log = json.loads(told.splitlines()[-1])["results"][0]["log"]
    assert Path(log).read_text() == (project / ".envtool/last" / os.path.basename(log)).read_text()
    assert plain(told) == plain(short.prepare("--json"))
    for name in ("new/report.xml", str(short.place.top / "report.xml")):
        path = project / name
        short.prepare("--junit", name)
        told = path.read_text()
        for _ in range(10):  # as in the fixture
            older(short.place)
            short.prepare("--junit", name)
            path.unlink()
            if short.told("--junit", name):
                break
        told = path.read_text()
        short.prepare("--junit", name)
        suites = [sorted(ET.tostring(suite) for suite in ET.fromstring(text)) for text in (told, path.read_text())]
        assert suites[0] == suites[1]
        assert "unchanged_since" in told
        assert "one" in told
        assert [each.get("name") for each in ET.fromstring(told)] == ["unit", "unit test", "lint"]
    kept = [*(short.place.store / "plans").glob("*.tests")]  # beside each plan whose tests were counted
    assert kept
    for content in (None, b"damaged", b""):  # what the first such report kept is used, and no longer if it is damaged
        for file in kept if content is not None else ():
            file.write_bytes(content)
        path.unlink()
        assert short.told("--junit", name)
        assert [sorted(ET.tostring(suite) for suite in ET.fromstring(path.read_text()))] == suites[:1]
    assert not short.told("--junit", str(project / "input" / "below.xml"))  # the long way has the words
    assert not short.told("--junit", str(project))


CHANGES = {
    "content": lambda place: place.write("input", "two\n"),
    "spec": lambda place: place.write("envtool.yaml", (place.project / "envtool.yaml").read_text() + "# more\n"),
    "pins": lambda place: [path.write_text("{}") for path in (place.store / "memo").iterdir()],
}
REVERSIBLE = {
    "a new file": (lambda place: place.write("new", ""), lambda place: (place.project / "new").unlink()),
    "a lock": (
        lambda place: place.write("envtool.lock", "{}"),
        lambda place: (place.project / "envtool.lock").unlink(),
    ),
    "a variable that is passed": (
        lambda place: place.environ.update(MY_NAME="1"),
        lambda place: place.environ.pop("MY_NAME"),
    ),
    "a variable of ours": (
        lambda place: place.environ.update(ENVTOOL_DEBIAN_MIRROR="http://mirror.example"),
        lambda place: place.environ.pop("ENVTOOL_DEBIAN_MIRROR"),
    ),
    "CI": (lambda place: place.environ.update(CI="true"), lambda place: place.environ.pop("CI")),
    "no git": (lambda place: place.environ.update(PATH="/nowhere"), lambda place: place.environ.pop("PATH")),
    "the results": (
        lambda place: (place.store / "results").rename(place.store / "gone"),
        lambda place: (place.store / "gone").rename(place.store / "results"),
    ),
    "another project's record": (
        lambda place: (place.store / "plans").rename(place.store / "gone"),
        lambda place: (place.store / "gone").rename(place.store / "plans"),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_decided_it_sends_the_long_way(short, name):
    assert short.told()
    for change, back in REVERSIBLE.values() if name == "content" else ():
        change(short.place)
        assert not short.told(), name
        back(short.place)
        assert short.told(), name
    CHANGES[name](short.place)
    assert not short.told()


def test_without_its_layers_it_is_the_long_ways_matter(fresh):
    fresh.spec("envs: {unit: {tasks: {test: 'true'}}}\n")
    made = Short(fresh)
    made.prepare()
    older(fresh)
    made.prepare()
    assert made.told()
    for key in os.listdir(fresh.store / "layers"):
        userns.remove_as_root(str(fresh.store / "layers" / key))
    assert not made.told()
    assert "unchanged since" in made.prepare()
    assert not made.told()


def test_two_projects_that_link_to_one_spec_are_two(place):
    shared = place.directory("shared")
    place.spec("envs: {unit: {tasks: {test: 'cat input'}}}\n", at=shared)
    place.allow(f"files: [{shared}]")
    short = Short(place)
    other = place.directory("other")
    for root in (place.project, other):
        os.symlink(shared / "envtool.yaml", root / "envtool.yaml")
        place.write("input", str(root), at=root)
    short.prepare()
    older(place)
    short.prepare()
    assert short.told()
    assert not short.told("-C", str(other))


@pytest.mark.parametrize(
    ("command", "differs"), [("echo same > out", False), ('echo "$WORD" > out', True)], ids=["the same", "different"]
)
@pytest.mark.any_caller
def test_a_note_of_files_that_overwrite_each_other_is_true_of_an_unchanged_build(place, command, differs):
    place.spec(f"""\
envs:
  a: {{base: host, set: {{WORD: one}}, tasks: {{build: {{run: '{command}', outputs: [out]}}}}}}
  b: {{base: host, set: {{WORD: two}}, tasks: {{build: {{run: '{command}', outputs: [out]}}}}}}
""")
    for _ in range(2):
        done = place.envtool("build", "-j1")
        assert done.status == 0, done.said
        assert ("wrote different files to out" in done.said) == differs, done.said
        assert "can write the same file" not in done.said
    assert done.said.count("unchanged") >= 2, done.said
    assert "can write the same file" in place.envtool("plan").said
