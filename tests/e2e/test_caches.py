"""Directories that a task keeps from run to run: what is kept, when, for whom; and that no build with one is stale."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.load import allowed

pytestmark = pytest.mark.e2e

OLD = 1_500_000_000  # seconds: 2017, older than whatever a test compiles
COUNT = "cat ~/.cache/x/n 2>/dev/null || true; echo run >> ~/.cache/x/n"


def commit(place, *, at: Path | None = None) -> None:
    place.shell(
        "git add -A && git -c user.name=x -c user.email=x@example.org commit -qm x --allow-empty",
        cwd=at or place.project,
    )


def start_repository(place) -> None:
    place.shell("git init -q -b main .")
    place.write(".gitignore", "/target\n/.envtool\n/build\n")


def age(*paths: Path) -> None:
    """Gives files, and the directories that they are in, a time long ago."""
    for path in paths:
        os.utime(path, (OLD, OLD), follow_symlinks=False)


def tree_of(store: Path) -> list[Path]:
    return sorted((store / "caches").glob("*/0/*/tree")) + sorted(store.glob("ids/*/caches/*/0/*/tree"))


def heads_of(store: Path) -> list[Path]:
    return [*store.glob("caches/*/0/head"), *store.glob("ids/*/caches/*/0/head")]


def run(place, *, status: int = 0, at: Path | None = None, verb: str = "test") -> str:
    done = place.envtool(verb, "--again", "--json", cwd=at or place.project)
    assert done.status == status, done.said
    return done.log()


def test_what_a_task_leaves_is_there_the_next_time(fresh):
    place = fresh
    place.task(
        f"{COUNT}\nid -u; touch target/mine; rm -rf target/sub; mkdir target/sub; echo $(ls target); umask; stat -c %u ~/.cache",
        env="caches: [~/.cache/x, target, /var/cache/own]",
    )
    assert run(place).splitlines()[0] == "1000"
    for count in range(1, 12):  # more than a chain has generations
        lines = run(place).splitlines()
        assert lines[:-3] == ["run"] * count + ["1000"][:1], lines
        assert lines[-3] == "mine sub"
        assert lines[-1] == "1000"
    assert not (place.project / "target").exists()
    assert len(tree_of(place.store)) <= 3 * 9
    place.check_nothing_left()


def test_each_env_user_and_path_has_its_own(fresh):
    place = fresh
    place.spec(
        "defaults: {caches: [~/.cache/x]}\nenvs:\n"
        f"  one: {{tasks: {{test: {COUNT!r}, other: {COUNT!r}, top: {{run: {COUNT!r}, user: root}}}}}}\n"
        f"  two: {{tasks: {{test: {COUNT!r}}}}}\n"
    )
    assert run(place) == ""
    assert run(place) == "run\nrun\n"
    again = place.envtool("run", "other", "--again", "--json")
    assert again.log() == "run\nrun\n", "the tasks of an env share one"
    assert place.envtool("run", "top", "--again", "--json").log() == ""
    assert place.envtool("run", "top", "--again", "--json").log() == "run\n"


def test_a_failed_task_keeps_its_own_and_a_killed_one_does_not(fresh):
    place = fresh
    place.task(f"{COUNT}; exit 3", env="caches: [~/.cache/x]")
    assert run(place, status=1) == ""
    assert run(place, status=1) == "run\n"
    for end, options in (("kill -9 $$", ""), ("sleep 60", f"timeout: {allowed(1):.1f}s")):
        place.task(f"{COUNT}; {end}", env="caches: [~/.cache/x]", options=options)
        assert run(place, status=1) == "run\nrun\n"
    place.task(COUNT, env="caches: [~/.cache/x]")
    assert run(place) == "run\nrun\n"


def test_its_content_is_no_output(fresh):
    place = fresh
    start_repository(place)
    script = "echo cached >> target/a.out; mkdir target/sub; touch target/sub/b.out; echo own > own.out"
    place.task(script, options="outputs: ['**/*.out', '*']", env="caches: [target]")
    commit(place)
    done = place.envtool("test", "--json")
    assert done.status == 0, done.said
    assert [name for name in done.events[-1]["results"][0]["outputs"] if name.endswith(".out")] == ["own.out"]
    assert not (place.project / "target").exists()


def test_the_key_of_a_result_is_the_same_with_and_without(fresh):
    """What was remembered without a cache is found with one, whatever that holds, and the other way round."""
    place = fresh
    start_repository(place)
    place.write(".gitignore", "/target\n/.envtool\nenvtool.yaml\n")  # so that only the task differs
    place.task("touch ~/.cache/x/$$ 2>/dev/null || true; cat source")
    place.write("source", "1\n")
    commit(place)
    outcomes = []
    for caches, content in (("", "1"), ("[~/.cache/x]", "1"), ("[~/.cache/x]", "2"), ("", "2"), ("[target]", "2")):
        place.task("touch ~/.cache/x/$$ 2>/dev/null || true; cat source", env=f"caches: {caches}" if caches else "")
        place.write("source", f"{content}\n")
        outcomes.append(place.envtool("test", "--json").events[-1]["results"][0]["outcome"])
    assert outcomes == ["passed", "cached", "passed", "cached", "cached"]


MAKEFILE = """\
target/out: main.c part.h sub/more.h
\t@echo compiling
\t@cat main.c part.h sub/more.h > target/out.new && mv target/out.new target/out
"""


def make_project(place) -> None:
    start_repository(place)
    place.task("make -s target/out; cat target/out", env="caches: [target]")
    place.write("Makefile", MAKEFILE)
    for name in ("main.c", "part.h", "sub/more.h"):
        place.write(name, f"{name} 1\n")
    commit(place)


def test_make_sees_older_files_of_other_content_as_new(fresh):
    place = fresh
    make_project(place)
    sources = [place.project / name for name in ("main.c", "part.h", "sub/more.h")]
    age(*sources)
    assert run(place).startswith("compiling")
    assert not run(place).startswith("compiling")
    place.write("part.h", "part.h 2\n")
    os.utime(sources[1], (OLD - 5, OLD - 5))
    assert run(place) == "compiling\nmain.c 1\npart.h 2\nsub/more.h 1\n"
    assert not run(place).startswith("compiling"), "what was seen as new is not new for ever"
    place.write("part.h", "part.h 1\n")
    os.utime(sources[1], (OLD, OLD))
    assert run(place) == "compiling\nmain.c 1\npart.h 1\nsub/more.h 1\n"
    assert sources[1].stat().st_mtime == OLD, "the checkout is as it was"
    for path in sources:  # another clone: the same content, with times of today
        path.touch()
    assert not run(place).startswith("compiling"), "content that did not change has the time that it had"


def test_two_worktrees_and_a_branch_back_and_forth(fresh):
    place = fresh
    make_project(place)
    place.shell(
        "git checkout -qb other && echo 'main.c 2' > main.c && git rm -q sub/more.h && mkdir -p sub && echo 'more 2' > sub/more.h"
    )
    commit(place)
    place.shell("git checkout -q main && git worktree add -q ../second other")
    second = place.top / "second"
    for root in (place.project, second):
        age(*(root / name for name in ("main.c", "part.h", "sub/more.h")))
    want = {"main": "main.c 1\npart.h 1\nsub/more.h 1\n", "other": "main.c 2\npart.h 1\nmore 2\n"}
    assert run(place).endswith(want["main"])
    for root, branch in ((second, "other"), (place.project, "main"), (second, "other"), (second, "other")):
        assert run(place, at=root).endswith(want[branch])
    place.shell("git worktree remove --force ../second")
    for branch in ("other", "main", "other", "main"):
        place.shell(f"git checkout -q {branch}")
        if branch == "other":
            age(*(place.project / name for name in ("main.c", "part.h", "sub/more.h")))
        assert run(place).endswith(want[branch])
    place.shell("git checkout -q --detach other~1")
    age(*(place.project / name for name in ("main.c", "part.h", "sub/more.h")))
    assert run(place).endswith(want["main"])


def test_a_changed_file_that_was_not_compiled_stays_new(fresh):
    """The run that sees it first fails before it compiles."""
    place = fresh
    make_project(place)
    sources = [place.project / name for name in ("main.c", "part.h", "sub/more.h")]
    age(*sources)
    run(place)
    place.write("main.c", "main.c 2\n")
    age(sources[0])
    place.task(
        "test ! -e fail || { touch target/x; exit 1; }; make -s target/out; cat target/out", env="caches: [target]"
    )
    place.write("fail", "")
    run(place, status=1)
    (place.project / "fail").unlink()
    assert run(place) == "compiling\nmain.c 2\npart.h 1\nsub/more.h 1\n"


def test_a_link_that_leads_elsewhere(fresh):
    place = fresh
    make_project(place)
    for number in (1, 2):
        age(place.write(f"v{number}/deep/part.h", f"version {number}\n"))
    place.write("Makefile", "target/out: main.c inc/deep/part.h\n\t@cat inc/deep/part.h > target/out\n")
    link = place.project / "inc"
    link.symlink_to("v1")
    place.give(link)
    age(link, place.project / "main.c", place.project / "Makefile")
    assert run(place) == "version 1\n"
    link.unlink()
    link.symlink_to("v2")
    place.give(link)
    age(link)
    assert run(place) == "version 2\n"


def test_an_edit_while_it_runs_counts_as_a_change(fresh):
    """Compiled from one content, put back before the run has ended: what was compiled is of neither."""
    place = fresh
    make_project(place)
    run(place)
    place.task("echo begun; test ! -e slow || sleep 3; make -s target/out; cat target/out", env="caches: [target]")
    main = place.write("main.c", "main.c 2\n")  # its own time is new: it is not copied into the view
    place.write("slow", "")
    process = place.start("test", "--again", "--json")
    for line in process.stdout:
        if b"begun" in line:
            break
    state = main.stat()
    place.write("main.c", "main.c 3\n")  # the task sees it: the checkout is the lower side of its view
    process.wait(timeout=place.limit)
    assert process.returncode == 0
    (place.project / "slow").unlink()
    place.write("main.c", "main.c 2\n")
    os.utime(main, ns=(state.st_mtime_ns, state.st_mtime_ns))
    assert run(place) == "begun\ncompiling\nmain.c 2\npart.h 1\nsub/more.h 1\n"


def test_what_it_needs_of_another_task_counts_too(fresh):
    place = fresh
    start_repository(place)
    place.spec(
        "envs:\n  unit:\n    tasks:\n"
        "      gen: {run: 'mkdir -p gen; cat source > gen/part; touch -d @1500000000 gen/part', outputs: [gen/part]}\n"
        "      test: {needs: [gen], caches: [target], run: 'make -s target/out; cat target/out'}\n"
    )
    place.write("Makefile", "target/out: gen/part\n\t@echo compiling; cat gen/part > target/out\n")
    place.write("source", "1\n")
    assert run(place) == "compiling\n1\n"
    assert run(place) == "1\n"
    place.write("source", "2\n")
    assert run(place) == "compiling\n2\n"
    place.write("source", "1\n")
    assert run(place) == "compiling\n1\n", "the result of `gen` is remembered, with its old time"


def test_twenty_at_once(fresh):
    """Each sees a whole cache, none waits for another, and the last one wins."""
    place = fresh
    place.task(
        "set -e; ls ~/.cache/x | wc -l; for file in ~/.cache/x/*; do test ! -e $file || test $(wc -c < $file) = 100000; done\n"
        "sleep 1; for name in a b c d e; do head -c 100000 /dev/zero > ~/.cache/x/$$-$name; done",
        env="caches: [~/.cache/x]",
    )
    run(place)
    alone = place.envtool("test", "--again").seconds
    began = time.monotonic()
    place.limit = 300
    running = [place.start("test", "--again", "--json") for _ in range(20)]
    done = [place.finish(process) for process in running]
    seconds = time.monotonic() - began
    assert [each.status for each in done] == [0] * 20, [each.said for each in done if each.status]
    assert seconds < 20 * (alone - 1) + 15, "their sleeps overlap"
    assert int(run(place).split()[0]) >= 5
    assert len(tree_of(place.store)) <= 9, "what none uses is gone"


def test_killed_at_any_moment(fresh):
    """The former cache stays whole, and what is left is swept by the next run."""
    place = fresh
    place.task(
        "n=$(cat ~/.cache/x/n 2>/dev/null || echo 0); for i in 1 2 3 4 5 6 7 8 9; do test $(cat ~/.cache/x/$i 2>/dev/null || echo 0) = $n; done\n"
        "n=$((n+1)); for i in 1 2 3 4 5 6 7 8 9; do echo $n > ~/.cache/x/$i; done; echo $n > ~/.cache/x/n",
        env="caches: [~/.cache/x]",
    )
    run(place)
    chance = random.Random(4711)
    length = place.envtool("test", "--again").seconds
    for _ in range(8):
        process = place.start("test", "--again")
        time.sleep(chance.uniform(0.2, 1.0) * length)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    run(place)
    run(place)
    assert len(tree_of(place.store)) <= 9
    assert not [*place.store.glob("tmp/*"), *place.store.glob("ids/*/tmp/*")]


def test_a_hostile_cache_reaches_nothing_outside(fresh):
    place = fresh
    outside = place.directory("outside")
    secret = place.write("outside/file", "outside\n", at=place.top)
    place.task(
        f"cd target; cat link/file deep/link/file 2>/dev/null || echo nothing\n"
        f"ln -sfn {outside} link; rm -rf deep; mkdir deep; ln -sfn {outside} deep/link; mkfifo -m 666 fifo 2>/dev/null || true\n"
        "cp /bin/true setuid; chmod 6755 setuid; mknod null c 1 3 || true; chmod 700 .; rm -rf closed; mkdir -m 000 closed",
        env="caches: [target]",
    )
    for _ in range(12):
        assert run(place).splitlines()[0] == "nothing"
    assert secret.read_text() == "outside\n"
    assert sorted(os.listdir(outside)) == ["file"]
    for head in heads_of(place.store):
        assert not head.is_symlink()
    place.check_nothing_left()


def test_a_cache_over_files_of_the_project_is_an_error(fresh):
    place = fresh
    start_repository(place)
    place.write("src/main.c", "x\n")
    place.task("true", env="caches: [src]")
    commit(place)
    done = place.envtool("test")
    assert done.status == 2 or done.status == 1, done.said
    assert "the cache `src` would cover `src/main.c`, a file of the project" in done.err
    assert "envtool.yaml:4:14" in done.err


def test_exec_and_shell_have_none(fresh):
    place = fresh
    place.task(COUNT, env="caches: [~/.cache/x]")
    run(place)
    for _ in range(2):
        done = place.envtool("exec", "unit", "--", "sh", "-c", "ls ~/.cache 2>&1 || true")
        assert "No such file" in done.out, done.said


def test_gc_and_store_know_them(fresh):
    place = fresh
    place.task("head -c 300000 /dev/urandom > ~/.cache/x/file", env="caches: [~/.cache/x]")
    run(place)
    listed = place.envtool("store", "caches", "--json").events[-1]["caches"]
    assert [(cache["env"], cache["path"]) for cache in listed] == [("unit", "/home/envtool/.cache/x")]
    assert listed[0]["size"] > 300_000
    assert "/home/envtool/.cache/x" in place.envtool("store", "caches").out
    removed = place.envtool("store", "caches", "--remove", "nothing")
    assert removed.status == 2, removed.said
    assert place.envtool("store", "caches", "--remove", "unit").status == 0
    assert tree_of(place.store) == []
    run(place)
    place.envtool("gc", "--older-than", "0s")
    assert tree_of(place.store) == []
    place.check_nothing_left()


@pytest.mark.skipif(not shutil.which("ninja"), reason="ninja is not installed")
def test_ninja_and_times(fresh):
    place = fresh
    start_repository(place)
    place.write(
        "build.ninja",
        "builddir = target\nrule cat\n  command = cat $in > $out\nbuild target/out: cat main.c part.h\n",
    )
    for name in ("main.c", "part.h"):
        age(place.write(name, f"{name} 1\n"))
    age(place.project / "build.ninja")
    place.task("ninja; cat target/out", env="caches: [target]")
    assert "[1/1]" in run(place)
    assert "no work to do" in run(place)
    place.write("part.h", "part.h 2\n")
    os.utime(place.project / "part.h", (OLD - 9, OLD - 9))
    assert run(place).endswith("main.c 1\npart.h 2\n")
    assert "no work to do" in run(place)
