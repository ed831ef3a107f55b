"""What a task can reach beside its stack and the project's files: a result is told while that is as it was."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time

import pytest

pytestmark = pytest.mark.e2e


def outcome(place, *words):
    done = place.envtool("test", "--json", *words)
    return done.events[-1]["results"][0]["outcome"]


def rested(place):
    """Twice, once what it is made of is a second old: the second time is the short way's."""
    time.sleep(1.2)
    assert place.envtool("test").status == 0
    assert "not run again" in place.envtool("test").err
    assert [*place.store.glob("plans/*.told")]


# ---- this machine ----------------------------------------------------------------------------------------------------


@pytest.fixture
def runtime(fresh):
    """A place with a /usr/local/share of its own, in a mount namespace that nobody else sees: the directory outside."""
    if os.geteuid() or not os.path.isdir("/usr/local/share"):
        pytest.skip("only root can show a /usr/local of its own")
    for program in ("unshare", "setpriv"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    shown = fresh.directory("local")
    words = ["unshare", "-m", "sh", "-ec", f'mount --bind {shown} /usr/local/share; exec "$@"', "-"]
    caller = fresh.caller
    if caller.uid:
        words += ["setpriv", f"--reuid={caller.uid}", f"--regid={caller.gid}", "--clear-groups"]

    def start(*arguments, **more):
        more = {"stdin": subprocess.DEVNULL, "stdout": -1, "stderr": -1, "cwd": fresh.project} | more
        argv = [*words, *caller.command, *arguments]
        process = subprocess.Popen(argv, env=fresh.variables(), start_new_session=True, **more)
        fresh.running.append(process)
        return process

    object.__setattr__(fresh, "start", start)
    (shown / "rt/bin").mkdir(parents=True)
    (shown / "rt/lib").mkdir()
    (shown / "rt/bin/tool").write_text("#!/bin/sh\n. /usr/local/share/rt/lib/code\n")
    (shown / "rt/bin/tool").chmod(0o755)
    (shown / "rt/lib/code").write_text("exit 0\n")
    return shown


@pytest.mark.one_caller
def test_what_is_installed_by_hand_counts(fresh, runtime):
    fresh.task("PATH=/usr/local/share/rt/bin:$PATH tool && test ! -e /usr/local/share/rt/lib/deep/flag")
    code = runtime / "rt/lib/code"
    assert outcome(fresh) == "passed"

    def fails(change, back, then="passed"):
        rested(fresh)
        change()
        assert outcome(fresh) == "failed"
        back()
        assert outcome(fresh) == then

    def edit(text):
        before = code.stat()
        with code.open("r+") as file:
            file.write(text)
        os.utime(code, ns=(before.st_atime_ns, before.st_mtime_ns))

    fails(lambda: edit("exit 1\n"), lambda: edit("exit 0\n"))  # in place, of the same size and time
    (runtime / "rt/lib/deep").mkdir()
    assert outcome(fresh) == "passed"
    flag = runtime / "rt/lib/deep/flag"  # nothing there was ever opened
    fails(flag.touch, flag.unlink, "cached")  # all of it is as it was when the task passed


@pytest.mark.one_caller
def test_a_change_of_this_machine_meanwhile_is_never_missed(fresh, runtime, request):
    """The run is stopped at several moments, while a task that has begun early goes on, and a file changes."""
    fresh.task("cat /usr/local/share/rt/lib/code")
    code = runtime / "rt/lib/code"
    assert outcome(fresh) == "passed"
    # With one processor no other process looks at this machine: the run does, and is stopped.
    processors = os.sched_getaffinity(0)
    request.addfinalizer(lambda: os.sched_setaffinity(0, processors))
    os.sched_setaffinity(0, {min(processors)})
    for number in range(8):
        process = fresh.start("test", "--again", "--json")
        time.sleep(0.06 * number)
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        code.write_text(f"{number}\n")
        process.send_signal(signal.SIGCONT)
        assert fresh.finish(process).status == 0
        time.sleep(0.05)
        done = fresh.envtool("test", "--json")
        assert done.status == 0, done.said
        log = (fresh.project / ".envtool/last/unit.test.log").read_text()
        assert log == f"{number}\n", "a result that is known is of this file"


@pytest.mark.one_caller
def test_what_a_layer_was_made_of_counts(fresh, runtime):
    fresh.spec(
        "layers: {made: {run: '/usr/local/share/rt/bin/tool && cp /usr/local/share/rt/lib/code /opt/code'}}\n"
        "envs: {unit: {layers: [made], tasks: {test: 'grep \"exit 0\" /opt/code'}}}\n"
    )
    assert outcome(fresh) == "passed"
    rested(fresh)
    with (runtime / "rt/lib/code").open("r+") as file:
        file.write("exit \n0")
    assert outcome(fresh) == "failed"


@pytest.mark.one_caller
@pytest.mark.parametrize("when", ["before", "run"])
def test_what_prepared_a_service_opened_counts(fresh, runtime, when):
    """Also for a task that comes later, on state that is in the store."""
    commands = {"before": "true", "run": "true"} | {when: "cp /usr/local/share/rt/lib/code /srv/db/code"}
    fresh.spec(f"""\
services:
  db:
    command: touch /tmp/up; exec sleep 600
    ready: {{file: /tmp/up}}
    prepare: {{before: '{commands["before"]}', run: '{commands["run"]}', data: [/srv/db]}}
envs:
  unit:
    services: [db]
    tasks:
      test: 'true'
""")
    assert outcome(fresh) == "passed"
    for text in ("exit 1\n", "exit 2\n"):
        fresh.project.joinpath("file").write_text(text)  # the task runs once more, on the same state
        assert outcome(fresh) == "passed"
        rested(fresh)
        with (runtime / "rt/lib/code").open("r+") as file:
            file.write(text)
        done = fresh.envtool("test")  # by the short way, if that takes it for unchanged
        assert done.status == 0, done.said
        assert "not run again" not in done.err
    rested(fresh)
    (runtime / "rt/bin/tool").write_text("#!/bin/sh\n")  # nobody has opened it
    assert "not run again" in fresh.envtool("test").err


# ---- git -------------------------------------------------------------------------------------------------------------

GIT = "git -c user.name=a -c user.email=a@b.example -c protocol.file.allow=always"
KINDS = ["checkout", "worktree", "submodule", "below", "below a worktree"]


def repository(place, kind):
    """The project becomes one of these, of one commit with a tag, and a `git` that says so; the top of its work tree."""
    place.write("pkg/a/x", "x\n")
    place.write("file", "f\n")
    place.write(".gitignore", ".envtool/\n")
    script = f"{GIT} init -q -b main . && {GIT} add -A && {GIT} commit -qm one && {GIT} tag v1"
    place.shell(script)
    top = place.project
    if kind.endswith("worktree"):
        top = place.top / "tree"
        place.shell(f"{GIT} worktree add -q ../tree -b side")
    if kind == "submodule":
        top = place.top / "super/sub"
        place.shell(f"{GIT} init -q ../super && cd ../super && {GIT} submodule --quiet add {place.project} sub")
    place.project = top / "pkg/a" if kind.startswith("below") else top
    return top


def by_hand(place, described: str) -> None:
    """`exec`, the first time and the second, and `shell` have the git that tasks have, and what they write is gone."""
    for _ in range(2):
        done = place.envtool("exec", "unit", "--", "sh", "-c", "git describe --tags --dirty && git tag by-hand")
        assert (done.out.strip(), done.status) == (described, 0), done.said
    done = place.envtool("shell", "unit", data=b"git describe --tags --dirty && git tag by-hand\n")
    assert (done.out.strip(), done.status) == (described, 0), done.said
    place.check_nothing_left()


@pytest.mark.one_caller
def test_a_checkout_that_becomes_another_sort(place):
    """What `exec` keeps for the next time says nothing of where git's directory is then."""
    repository(place, "checkout")
    place.task("true")
    words = ("exec", "unit", "--", "git", "describe", "--tags", "--always")
    assert place.envtool(*words).out == place.envtool(*words).out == "v1\n"
    place.shell("mv .git ../kept && git init -q ../other && mv ../other/.git .. && cd .. && git add -f project* &&"
                f" {GIT} commit -qm above && {GIT} tag above")  # fmt: skip
    assert place.envtool(*words).out == "above\n"
    place.shell("rm -rf ../.git && mv ../kept .git")
    assert place.envtool(*words).out == place.envtool(*words).out == "v1\n"
    place.shell(f"{GIT} worktree add -q ../tree -b side && cp -a . ../stranger && rm -rf ../stranger/.git &&"
                " cp ../tree/.git ../stranger/.git")  # fmt: skip
    own, place.project = place.project, place.top / "stranger"
    for _ in range(2):  # it names no repository that knows it
        assert "not a git repository" in place.envtool(*words).said
    place.shell("git worktree repair ../stranger", cwd=own)
    assert place.envtool(*words).out == "v1\n"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.one_caller
def test_git_works_in_every_sort_of_checkout(place, kind):
    top = repository(place, kind)
    place.task("git describe --tags --dirty && git log --format=%s && git status --porcelain && git tag new && git tag")
    place.shell(f"{GIT} add -A . && {GIT} commit -qm two")
    done = place.envtool("test", "--json")
    assert done.status == 0, done.said
    described = place.shell("git describe --tags --dirty").strip()
    assert done.log().split("\n") == [described, "two", "one", "new", "v1", ""]
    place.write("x" if kind.startswith("below") else "file", "changed\n")
    assert outcome(place) == "passed"
    log = (place.project / ".envtool/last/unit.test.log").read_text()
    assert log.startswith(f"{described}-dirty\ntwo\none\n M ")
    by_hand(place, f"{described}-dirty")
    assert place.shell("git tag", cwd=top) == "v1\n"


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.one_caller
def test_what_of_git_a_task_looked_at_counts(place, kind):
    repository(place, kind)
    place.task("git describe --tags")
    place.shell(f"{GIT} add -A . && {GIT} commit -qm two")
    assert outcome(place) == "passed"
    rested(place)
    place.shell(f"{GIT} tag v3")
    assert outcome(place) == "passed"
    place.shell("git status")
    assert outcome(place) == "cached"
    place.task(f"test -e .git && cat envtool.yaml # {place.token}")  # no result of another kind's
    assert outcome(place) == "passed"
    place.shell(f"{GIT} add -A . && {GIT} commit -qm four")
    assert outcome(place) == "cached", "it opened nothing of git's"


@pytest.mark.one_caller
def test_what_passed_in_one_place_is_not_told_in_another(place):
    """A copy without history, and a directory whose `.git` names a repository that does not know it."""
    repository(place, "worktree")
    place.task("git log")
    place.shell(f"{GIT} add -A . && {GIT} commit -qm two")
    assert outcome(place) == "passed"
    place.shell("cp -r . ../copy && rm ../copy/.git && cp -r . ../stranger")
    for name in ("copy", "stranger"):
        place.project = place.top / name
        done = place.envtool("test", "--json")
        assert done.status == 1
        assert "not a git repository" in done.log()
