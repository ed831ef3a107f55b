"""`exec --writable` and `shell --writable`: a developer's command writes to the checkout, and to nothing that git or
envtool obeys there."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.e2e.checkout_attacks import MADE, REFUSED, check_untouched, contents

pytestmark = [pytest.mark.e2e, pytest.mark.any_caller]

ESCAPES = f"""{MADE}
ln -sf /etc/passwd link && ln -s ../../.. up
chmod 4755 made; chmod g+s deep; mkdir -m 2777 deep/group; install -m 6755 /bin/true installed; mknod device c 1 3
python3 -c 'import os; os.open("opened", os.O_CREAT | os.O_WRONLY, 0o4755)'
cp /bin/true plain && chmod 1755 plain
echo edited >> tracked && echo private >> ignored
{REFUSED}
echo done
"""


@pytest.fixture
def checkout(place):
    place.spec("envs: {unit: {tasks: {test: 'true'}}}\n")
    place.write("tracked", "of git\n")
    place.write("ignored", "of the user\n")
    place.write(".gitignore", "ignored\n")
    place.shell("git init -q . && git add . && mkdir -p sub && git init -q sub/repo")
    assert place.envtool("lock").status == 0
    return place


def test_what_a_command_may_write(checkout):
    before = contents(checkout.project)
    assert checkout.envtool("exec", "unit", "--", "sh", "-c", "echo x > made; cat ignored").out == ""
    assert not (checkout.project / "made").exists(), "not asked for: writes are lost"
    done = checkout.envtool("exec", "unit", "--writable", "--", "sh", "-c", ESCAPES)
    assert (done.status, done.out.splitlines()[-1]) == (0, "done"), done.said
    check_untouched(checkout.project, before, done.out)
    assert (checkout.project / "tracked").read_text() == "of git\nedited\n"
    assert (checkout.project / "ignored").read_text() == "of the user\nprivate\n", "nothing is hidden"
    for name in ("made", "deep", "deep/er/file", "link"):
        assert (checkout.project / name).lstat().st_uid == checkout.caller.uid, name
    assert not (checkout.project / "device").exists()
    assert (checkout.project / "plain").stat().st_mode & 0o7777 == 0o1755
    special = [path for path in checkout.project.rglob("*") if path.lstat().st_mode & 0o6000]
    assert special == [], "other users of this machine could run a program of the caller's"
    # the next command, which does not ask, has none of it: neither a plan nor a mount is kept
    done = checkout.envtool("exec", "unit", "--", "sh", "-c", "echo more >> tracked; cat ignored")
    assert (done.status, done.out) == (1, "")
    assert (checkout.project / "tracked").read_text() == "of git\nedited\n"


def test_a_shell(checkout):
    done = checkout.envtool("shell", "unit", "--writable", data=b"echo from a shell > made\nexit 7\n")
    assert done.status == 7, done.err
    assert (checkout.project / "made").read_text() == "from a shell\n"
    # outside of the project all is as ever: the root is lost, and nothing of this machine is written
    outside = checkout.project.parent / "outside"
    script = f"echo x > {outside}; echo x > /root-of-it; cd /project/..; echo x > out; true"
    assert checkout.envtool("exec", "unit", "--writable", "--", "sh", "-c", script).status == 0
    assert not outside.exists()
    assert not (checkout.project.parent / "out").exists()


@pytest.mark.parametrize(
    "made",
    ["git init -q new", "mkdir -p a/b; echo gitdir: ../x > a/b/.git", "git init -q --bare bare",
     "mkdir sub2; ln -s /tmp sub2/.GIT", "mkdir sub2; echo x > sub2/envtool.yaml"],
)  # fmt: skip
@pytest.mark.one_caller
def test_a_command_that_makes_what_git_obeys_is_killed(checkout, made):
    done = checkout.envtool("exec", "unit", "--writable", "--", "sh", "-c", f"{made}; sleep 1000; echo went on")
    assert done.status == 2, done.said
    assert "went on" not in done.out
    assert "was made or replaced while the command could write to the checkout, which ended the command" in done.err
    assert "obeys it: look at it before you use it here" in done.err
    # also of a command that ends at once, before the watch has reported it
    checkout.shell("rm -rf new a bare sub2")
    done = checkout.envtool("exec", "unit", "--writable", "--", "sh", "-c", made)
    assert done.status == 2, done.said
    assert "while" in done.err


@pytest.mark.one_caller
def test_what_is_refused_and_what_is_left(checkout):
    for words, message in [
        (("exec", "--base", "host", "--writable", "--", "true"), "`--base` has no checkout for `--writable`"),
        (("exec", "--service", "db", "--writable", "--", "true"), "`--writable` and `--service` contradict each other"),
    ]:
        done = checkout.envtool(*words)
        assert (done.status, message in done.err) == (2, True), done.err
    # killed with all that belongs to it: nothing runs on, and the next one works
    command = ("exec", "unit", "--writable", "--", "sh", "-c", "echo $$ > started; sleep 1000; echo late > late")
    process = checkout.start(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    checkout.until((checkout.project / "started").exists, "it has started")
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    assert checkout.envtool("exec", "unit", "--writable", "--", "rm", "started").status == 0
    assert not (checkout.project / "started").exists()
    assert not (checkout.project / "late").exists()
    (checkout.project / "envtool.lock").unlink()
    done = checkout.envtool("exec", "unit", "--writable", "--", "true")
    assert done.status == 2
    assert "`--writable` needs `envtool.lock`" in done.err
    assert "`envtool lock` writes the lock" in done.err
