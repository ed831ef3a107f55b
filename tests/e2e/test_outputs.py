"""What comes back out of a container: owned by the caller, always, and never what a hostile task would like."""

from __future__ import annotations

import os
import stat
import subprocess

import pytest

from tests.load import allowed

pytestmark = [pytest.mark.e2e, pytest.mark.every_caller]


@pytest.mark.parametrize(
    ("end", "options", "status"),
    [("exit 0", "", 0), ("exit 3", "", 1), ("kill -9 $$", "", 1), ("sleep 100", "timeout: 1s", 1)],
)
def test_they_come_back_however_it_ends(place, end, options, status):
    place.task(
        f"mkdir -p dist/sub; echo one > dist/a; echo two > dist/sub/b; chmod 755 dist/a; chmod 000 dist/sub/b; {end}",
        options=f"outputs: [dist/**]\n{options.replace('1s', f'{allowed(1):.1f}s')}",  # time for what comes before
    )
    done = place.envtool("test", "--json")
    assert done.status == status, done.said
    assert (place.project / "dist" / "a").read_text() == "one\n"
    assert (place.project / "dist" / "sub" / "b").read_text() == "two\n"
    for path in [place.project / "dist", *(place.project / "dist").rglob("*")]:
        assert (path.stat().st_uid, path.stat().st_gid) == (place.caller.uid, place.caller.gid)
        assert path.stat().st_mode & 0o600 == 0o600
    assert stat.S_IMODE((place.project / "dist" / "a").stat().st_mode) & 0o111
    assert sorted(done.events[-1]["results"][0]["outputs"]) == ["dist/a", "dist/sub/b"]
    place.shell("rm -r dist")


def test_they_replace_what_was_there(place):
    place.write("dist/old", "old\n", mode=0o444)
    place.write("dist/kept", "kept\n")
    place.task("rm dist/kept; rm -f dist/old; echo new > dist/old", options="outputs: [dist]")
    assert place.envtool("test").status == 0
    assert (place.project / "dist" / "old").read_text() == "new\n"
    assert (place.project / "dist" / "kept").read_text() == "kept\n", "what is gone inside is not taken away outside"


def test_hostile_outputs_are_refused(place):
    outside = place.directory("outside")
    victim = place.write("outside/victim", "victim\n", at=place.top)
    for name, target in (("linked", outside), ("file", victim)):
        path = place.project / name
        path.symlink_to(target)
        place.give(path)
    place.task(
        """\
mkdir -p out; cd out
echo good > good
mkfifo fifo
ln -s /etc/passwd absolute; ln -s ../../x up; ln -s good inner; ln -s inner/../../../x tricky
cp /bin/true setuid; chmod 6755 setuid
/usr/bin/python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('socket')" || true
mknod device c 1 3 || true
printf x > "$(printf 'new\\nline')"; printf x > "$(printf 'bad\\377name')"; printf x > '  spaces *?['
cd ..
rm linked; mkdir linked; echo evil > linked/victim
rm file; echo evil > file
mkdir -p deep; ln -s ../linked deep/way; ln -s /project/../outside deep/out
""",
        options="outputs: [out, linked/*, file, 'deep/**', '*/way/victim']",
    )
    done = place.envtool("test", "--json")
    result = done.events[-1]["results"][0]
    assert victim.read_text() == "victim\n"
    assert sorted(os.listdir(outside)) == ["victim"]
    out = place.project / "out"
    assert (out / "good").read_text() == "good\n"
    assert os.readlink(out / "inner") == "good"
    assert stat.S_IMODE((out / "setuid").stat().st_mode) & 0o7000 == 0
    names = {os.fsencode(name) for name in os.listdir(out)}
    assert names == {b"good", b"inner", b"setuid", b"new\nline", b"bad\xffname", b"  spaces *?["}
    for name in ("out/fifo", "out/absolute", "out/up", "out/tricky", "linked/victim", "deep/out"):
        assert name in result["message"], (name, result)
    assert (place.project / "linked").is_symlink()
    for path in place.project.rglob("*"):
        assert not stat.S_ISFIFO(path.lstat().st_mode)
        assert path.lstat().st_uid == place.caller.uid


@pytest.mark.parametrize("pattern", ["../x", "/etc/passwd", "a/../../x", "..", ".git/config", "a/.GIT", ".git/**"])
def test_patterns_that_leave_the_project_are_errors_of_the_spec(place, pattern):
    place.task("true", options=f"outputs: ['{pattern}']")
    assert place.envtool("test").status == 2


def test_none_at_all_is_a_failure(place):
    place.task("true", options="outputs: [dist/*]")
    done = place.envtool("test")
    assert done.status == 1
    assert "dist/*" in done.err


def test_a_checkout_that_cannot_be_written(place):
    place.task("chmod u+w .; echo x > out", options="outputs: [out]")
    place.project.chmod(0o555)
    try:
        done = place.envtool("test", "--json")
        if place.caller.mode == "root":
            assert done.status == 0
        else:
            assert done.status in (1, 3), done.said
            assert "out: permission denied, not copied" in done.events[-1]["results"][0]["message"]
    finally:
        place.project.chmod(0o755)
    place.shell("rm -rf tmp/*", cwd=place.top)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_what_found_no_room_fails_and_is_not_remembered(place):
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size=2m,uid={place.caller.uid}", "tmpfs", place.project], check=True
    )
    try:
        place.task("mkdir -p dist; echo 1 > dist/a; head -c 5000000 /dev/zero > dist/x", options="outputs: [dist]")
        done = place.envtool("test", "--json")
        assert done.status == 1, done.said
        assert "dist/x: no space left on device, not copied" in done.events[-1]["results"][0]["message"]
        assert done.events[-1]["results"][0]["outputs"] == ["dist/a"]
        subprocess.run(["mount", "-o", "remount,size=50m", place.project], check=True)
        assert place.envtool("test").status == 0
        assert (place.project / "dist/x").stat().st_size == 5_000_000
        place.shell("rm -r dist")
        subprocess.run(["mount", "-o", "remount,ro", place.project], check=True)
        done = place.envtool("test")
        assert done.status == 1, done.said
        assert "read-only file system" in done.err
    finally:
        subprocess.run(["umount", place.project], check=True)


def test_big_and_sparse(place):
    place.task("truncate -s 1G sparse; echo end >> sparse; head -c 30000000 /dev/urandom > big; sha256sum big", options="outputs: [sparse, big]")  # fmt: skip
    done = place.envtool("test", "--json")
    assert done.status == 0, done.said
    found = (place.project / "sparse").stat()
    assert found.st_size == (1 << 30) + 4
    assert found.st_blocks * 512 < 1 << 20
    assert place.shell("sha256sum big").split()[0] == done.log().split()[0]


def test_all_of_the_project_is_an_output_but_for_what_envtool_obeys(place):
    place.write("kept", "kept\n")
    place.task("echo made > new; mkdir d; echo below > d/file; echo spoilt > envtool.yaml", options="outputs: [.]")
    spec = (place.project / "envtool.yaml").read_text()
    done = place.envtool("test")
    assert done.status == 0, done.said
    assert (place.project / "new").read_text() == "made\n"
    assert (place.project / "d/file").read_text() == "below\n"
    assert (place.project / "envtool.yaml").read_text() == spec
    assert "envtool.yaml: what envtool obeys is an output only where `outputs:` has its whole name" in done.said


def test_a_remembered_output_is_not_looked_for_through_a_link(place):
    """Who has put a link in the place of its directory finds neither the file behind it taken for it, nor written to."""
    elsewhere = place.directory("elsewhere")
    place.task("mkdir -p dist; echo made > dist/file", options="outputs: [dist/file]")
    assert place.envtool("test").status == 0
    place.write("file", "made\n", at=elsewhere, mode=0o644)
    place.shell(f"rm -r dist && ln -s {elsewhere} dist")
    done = place.envtool("test")
    assert (elsewhere / "file").read_text() == "made\n"
    assert "unchanged" not in done.said, done.said


@pytest.mark.parametrize("retries", ["", "\nretries: 1"])
def test_only_a_task_that_passes_replaces_them(place, retries):
    place.write("dist/a", "before\n")
    place.task("echo new > dist/a; test ! -e fail", options=f"outputs: {{paths: [dist], when: passed}}{retries}")
    place.write("fail", "")
    done = place.envtool("test", "--json")
    (result,) = done.events[-1]["results"]
    assert (done.status, result["outcome"], result["outputs"]) == (1, "failed", []), done.said
    assert "/unit.test.not-passed" in result["message"].splitlines()[0]
    assert (place.project / "dist" / "a").read_text() == "before\n"
    kept = place.project / ".envtool" / "last" / "unit.test.not-passed" / "dist" / "a"
    assert (kept.read_text(), kept.stat().st_uid) == ("new\n", place.caller.uid)
    (place.project / "fail").unlink()
    assert place.envtool("test").status == 0
    assert (place.project / "dist" / "a").read_text() == "new\n"


def test_a_report_of_a_failure_names_them(place):
    place.task("mkdir dist; touch dist/a dist/b; exit 1", options="outputs: {paths: [dist], when: always}")
    done = place.envtool("test")
    assert done.status == 1
    assert "the project has the outputs of this run, which did not pass: dist/a and 1 more" in done.said
    assert (place.project / "dist" / "b").exists()
