"""A checkout full of traps: all that git can be configured to start, wherever a repository may lie, and none of it fires.

A trap is a program that writes its name down. What is planted is what git 2.39 to 2.50 know, and the guard against what
comes next is the other half: with strace, git is seen to open no configuration but the caller's, and to start nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from tests.indexes import index
from tests.load import allowed

pytestmark = pytest.mark.e2e

SPEC = """
envs:
  unit:
    tasks:
      test: 'true'
      build: {run: 'mkdir -p out; cp -a nested out/; echo x > out/file', outputs: [out]}
"""
GIT = "git -c user.name=a -c user.email=a@example.org -c protocol.file.allow=always -c init.defaultBranch=main"
VERBS = (
    ("list",), ("plan",), ("lock",), ("test",), ("test",), ("build",), ("exec", "unit", "--", "true"),
    ("exec", "unit", "--", "true"), ("test", "--again"), ("why", "unit"), ("sbom", "unit"),
)  # fmt: skip


def program(place, name: str, where: str = "traps") -> str:
    """A trap, as one word for a shell."""
    fired = place.top / "fired"
    return str(place.write(name, f"#!/bin/sh\necho {name} >> {fired}\nexit 1\n", mode=0o755, at=place.top / where))


def configuration(place) -> str:
    """All settings that name a program, or a file that could."""

    def trap(name: str) -> str:
        return program(place, name)

    more = place.write(
        "more", f"[core]\n\tfsmonitor = {trap('include')}\n\tsshCommand = {trap('include-ssh')}\n", at=place.top
    )
    return f"""
[core]
	fsmonitor = {trap("fsmonitor")}
	hooksPath = {place.top}/hooks
	pager = {trap("pager")}
	editor = {trap("editor")}
	askPass = {trap("askpass")}
	sshCommand = {trap("ssh")}
	gitProxy = {trap("git-proxy")}
	alternateRefsCommand = {trap("alternate-refs")}
	attributesFile = {place.top}/attributes
	untrackedCache = true
[filter "trap"]
	clean = {trap("filter-clean")}
	smudge = {trap("filter-smudge")}
	process = {trap("filter-process")}
	required = true
[diff]
	external = {trap("diff-external")}
[diff "trap"]
	command = {trap("diff-command")}
	textconv = {trap("textconv")}
[merge "trap"]
	driver = {trap("merge-driver")}
[interactive]
	diffFilter = {trap("diff-filter")}
[sequence]
	editor = {trap("sequence-editor")}
[gpg]
	program = {trap("gpg")}
[gpg "ssh"]
	program = {trap("gpg-ssh")}
	defaultKeyCommand = {trap("default-key")}
[credential]
	helper = !{trap("credential")}
[alias]
	ls-files = !{trap("alias-ls-files")}
	status = !{trap("alias-status")}
	rev-parse = !{trap("alias-rev-parse")}
	diff-index = !{trap("alias-diff-index")}
[pager]
	ls-files = {trap("pager-ls-files")}
	status = {trap("pager-status")}
[url "ext::{trap("instead-of")} %S"]
	insteadOf = https://promised.invalid/
[remote "origin"]
	url = ext::{trap("promisor-ext")} %S
	uploadpack = {trap("uploadpack")}
	vcs = ext
	promisor = true
	partialCloneFilter = blob:none
	fetch = +refs/heads/*:refs/remotes/origin/*
[remote "second"]
	url = ssh://promised.invalid/x
	promisor = true
[remote "third"]
	url = https://promised.invalid/x
	promisor = true
[protocol]
	allow = always
[protocol "ext"]
	allow = always
[submodule]
	recurse = true
[submodule "sub"]
	update = !{trap("submodule-update")}
[trailer "x"]
	command = {trap("trailer")}
[uploadpack]
	packObjectsHook = {trap("pack-objects-hook")}
[man]
	viewer = {trap("man")}
[trace2]
	eventTarget = {place.top}/traced
[include]
	path = {more}
[includeIf "gitdir:**"]
	path = {more}
[extensions]
	worktreeConfig = true
	partialClone = origin
"""


def plant(place, work: str) -> None:
    """Make one repository a trap: its settings, its hooks, attributes, and a .gitignore that has to be fetched."""
    text = configuration(place).replace("'", "'\\''")
    hooks = "post-index-change fsmonitor-watchman pre-auto-gc reference-transaction post-checkout"
    place.shell(
        f"""cd {work}
        printf '* filter=trap diff=trap merge=trap\\n' > .gitattributes
        {GIT} add -A; {GIT} commit -qm x; echo more >> file
        mkdir -p lazy
        printf '100644 %040d 0\\tlazy/.gitignore\\n' 7 | git update-index --index-info
        git update-index --skip-worktree lazy/.gitignore
        touch lazy/x.o
        dir=$(git rev-parse --absolute-git-dir)
        printf '[core]\\n\\trepositoryformatversion = 1\\n' > $dir/config
        printf '%s' '{text}' >> $dir/config
        printf '[core]\\n\\tfsmonitor = {program(place, "worktree-config")}\\n' > $dir/config.worktree
        mkdir -p $dir/hooks {place.top}/hooks
        for hook in {hooks}; do cp {program(place, "hook")} $dir/hooks/$hook; cp {program(place, "hook")} {place.top}/hooks/$hook; done
        """
    )


@pytest.fixture
def trapped(place):
    """A project of traps: its own repository, an embedded one, a submodule, a worktree beside it."""
    place.spec(SPEC)
    place.write("file", "x\n")
    place.write("attributes", "* filter=trap\n", at=place.top)
    place.shell(
        f"""{GIT} init -q .; {GIT} init -q nested; echo x > nested/file
        mkdir ../other; {GIT} init -q ../other; echo x > ../other/file
        {GIT} -C ../other add -A; {GIT} -C ../other commit -qm x
        {GIT} submodule add -q ../other sub"""
    )
    for work in ("sub", "nested", "."):
        plant(place, str(place.project / work))
    return place


def fired(place) -> list[str]:
    path = place.top / "fired"
    return sorted(set(path.read_text().split())) if path.exists() else []


def test_no_trap_of_a_repository_fires(trapped):
    place = trapped
    for verb in VERBS:
        done = place.envtool(*verb)
        assert done.status == 0, (verb, done.said)
        assert not fired(place), verb
    assert not (place.top / "traced").exists()
    place.check_nothing_left()


def test_the_traps_are_sprung_by_git_itself(trapped):
    """Else the test above says nothing."""
    place = trapped
    for words in ("ls-files -o --exclude-standard", "status", "diff", "log -p"):
        place.shell(f"timeout 20 git {words} </dev/null >/dev/null 2>&1 || true")
    assert {*fired(place)} >= {"worktree-config", "promisor-ext", "filter-process"}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("where", ["elsewhere", "itself", "missing", "swapped"])
def test_a_git_file_that_leads_anywhere(place, where):
    """To a repository outside that is a trap, to its own directory, to nothing."""
    place.spec(SPEC)
    place.directory("outside")
    place.write("file", "x\n", at=place.top / "outside")
    place.shell(f"{GIT} init -q ../outside; mkdir nested")
    plant(place, str(place.top / "outside"))
    leads = {"elsewhere": "../outside/.git", "itself": ".", "missing": "../gone", "swapped": "../outside/.git"}[where]
    place.write(".git", f"gitdir: {leads}\n")
    if where == "swapped":
        place.shell("rm .git; ln -s ../outside/.git .git")
    for verb in (("test",), ("exec", "unit", "--", "true"), ("build",)):
        done = place.envtool(*verb)
        assert done.status == 0, (verb, done.said)
        assert not fired(place), verb


def test_git_is_the_callers(place):
    """Neither relative words of PATH nor directories of the checkout say which git is started."""
    place.task("true")
    place.write("file", "x\n")
    place.shell(f"{GIT} init -q .; {GIT} add -A")
    for where in ("tools", "bin", "."):
        program(place, "git", f"{place.project.name}/{where}")
    place.shell("ln -s . link")
    place.environ["PATH"] = f".:bin::{place.project}/tools:{place.project}/link/bin:{place.variables()['PATH']}"
    for verb in (("test",), ("exec", "unit", "--", "true"), ("exec", "unit", "--", "true")):
        assert place.envtool(*verb).status == 0
        assert not fired(place), verb


def test_a_home_in_the_checkout_configures_nothing(place):
    place.task("true")
    place.write(".gitconfig", f"[core]\n\tfsmonitor = {program(place, 'home')}\n\texcludesFile = {place.project}/all\n")
    place.write("all", "*\n")
    place.write(".config/git/ignore", "*\n")
    place.shell(f"{GIT} init -q .")
    for home in (str(place.project), "."):
        place.environ["HOME"] = home
        done = place.envtool("exec", "unit", "--", "ls")
        assert "all" in done.out, done.said
        assert not fired(place)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "name",
    [b"../../etc/passwd", b"/etc/passwd", b"a/../../x", b".git/config", b"a/.GIT/hooks/x", b"a//b", b"./a", b".."],
)
def test_a_name_that_leads_out(place, name):
    """An index holds any name; what git says is looked at before it is joined to the project."""
    place.task("true", options="outputs: [x]")
    place.shell(f"{GIT} init -q .")
    (place.project / ".git/index").write_bytes(index(name))
    place.give(place.project / ".git/index")
    done = place.envtool("test")
    assert done.status == 3, done.said
    assert "git would never check out" in done.err
    assert "root:" not in done.said


def interrupted(place, *verb, after: float = 0.5) -> None:
    """A verb that hangs ends at the first ^C, and takes git with it."""
    process = place.start(*verb)
    time.sleep(after)
    assert process.poll() is None, place.finish(process).said
    since = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    done = place.finish(process, since=since)
    assert done.status == 130, done.said
    assert done.seconds < allowed(3)
    place.check_nothing_left()


def test_a_git_that_hangs_does_not_hold_us_up(place):
    place.task("true")
    place.write("sub/file", "x\n")
    place.shell(f"{GIT} init -q .; {GIT} add -A")
    assert place.envtool("test").status == 0
    place.shell("sleep 1.1")
    assert place.envtool("test").status == 0
    assert place.envtool("exec", "unit", "--", "true").status == 0
    place.shell("mkfifo sub/.gitignore")
    interrupted(place, "test", after=1.5)
    interrupted(place, "exec", "unit", "--", "true", after=1.5)
    interrupted(place, "exec", "unit", "--", "true", after=1.5)


@pytest.mark.skipif(not shutil.which("strace") or os.geteuid() != 0, reason="needs strace, and root to trace")
def test_git_alone_is_started_and_reads_no_configuration_of_a_repository(trapped, caller):
    place = trapped
    if caller.mode != "root":
        pytest.skip("a traced newuidmap is not setuid")
    trace = place.top / "trace"
    assert place.envtool("build").status == 0
    own = shutil.which("git", path=place.variables()["PATH"])
    for verb in (("list",), ("why",), ("test",)):
        words = [
            "strace",
            "-f",
            "-qq",
            "-s",
            "400",
            "-e",
            "trace=execve,openat,open",
            "-o",
            str(trace),
            *caller.command,
        ]
        done = subprocess.run(
            [*words, *verb], cwd=place.project, env=place.variables(), capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        started = re.findall(r'^(\d+) +execve\("([^"]*)".* = 0$', trace.read_text(), re.MULTILINE)
        gits = {pid for pid, path in started if path == own}
        if verb in (("list",), ("why",)):
            assert {path for _, path in started} <= {caller.command[0], own}, verb
        assert {path for _, path in started if "git" in os.path.basename(path)} <= {own}
        opened = re.findall(r'^(\d+) +open(?:at)?\((?:AT_FDCWD, )?"([^"]*)"', trace.read_text(), re.MULTILINE)
        configured = {path for pid, path in opened if pid in gits and re.search(r"config(\.worktree)?$", path)}
        assert not {path for path in configured if str(place.project) in path or not path.startswith("/")}, verb
        if verb == ("test",):
            assert gits
            assert any(path.endswith("/empty_git/sha1/config") for path in configured)
    assert not fired(place)
