"""Real containers: what they show, what they hide, how they end. Run as root it runs itself again as two users."""

from __future__ import annotations

import errno
import importlib
import mmap
import os
import pty
import pwd
import secrets
import select
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from envtool.container import messages, pid1, supervisor, syscalls, userns
from envtool.container.program import BindMount, ContainerStep, Program, ProjectMount, Root
from envtool.errors import SandboxError
from tests.leftovers import descriptors, mounts, nothing_left, processes, threads
from tests.load import allowed
from tests.places import CALLERS, runtime

pytestmark = pytest.mark.e2e

TOOLS = """
bash cat chmod chown cp dd env false find grep head id ln ls mkdir mkfifo mknod mv ps readlink rm sh sleep stat stty
touch true getent tty uname unshare mount kill seq truncate
""".split()  # noqa: SIM905 - words
ENV = {"PATH": "/usr/bin:/bin", "HOME": "/home/envtool", "LC_ALL": "C"}


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory):
    """A root made of the host's own tools and their libraries."""
    top = tmp_path_factory.mktemp("root") / "tree"
    for directory in ("bin", "usr/bin", "etc", "lib64", "lib"):
        (top / directory).mkdir(parents=True, exist_ok=True)
    for tool in TOOLS:
        path = os.path.realpath(shutil.which(tool) or pytest.skip(f"the host has no {tool}"))
        shutil.copy(path, top / "bin" / tool)
        listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
        for word in listed.split():
            if word.startswith("/"):
                target = top / word.lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(word, target)
    (top / "etc" / "os-release").write_text("ID=test\n")
    if userns.caller_ids().mode == "root":
        owner = userns.caller_ids().uids[0][1]
        for directory, _, files in os.walk(top):
            for name in (".", *files):
                os.chown(f"{directory}/{name}", owner, owner, follow_symlinks=False)
    return str(top)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    top = tmp_path / "home" / "project"
    (top / "src").mkdir(parents=True)
    (top / "junk" / "deep").mkdir(parents=True)
    (top / "a.txt").write_text("old\n")
    (top / "src" / "b.txt").write_text("b\n")
    (top / "src" / "c.pyc").write_text("c\n")
    (top / "junk" / "deep" / "d").write_text("d\n")
    (top / "secret").write_text("s\n")
    (top / "secret").chmod(0o600)
    top.parent.chmod(0o700)
    return top


def snapshot(top: Path) -> dict[str, tuple[object, ...]]:
    found = {}
    for path in sorted(top.rglob("*")):
        s = path.lstat()
        found[str(path.relative_to(top))] = (
            s.st_mode,
            s.st_uid,
            s.st_mtime_ns,
            s.st_ino,
            s.st_nlink,
            path.read_bytes() if path.is_file() else b"",
        )
    return found


class Result:
    def __init__(self, exit_: messages.Exit, out: str) -> None:
        self.exit = exit_
        self.status = exit_.status
        self.out = out


def go(tree: str, *script: str, step: ContainerStep | None = None, project: Path | None = None, **more) -> Result:
    """Run shell lines (or one step) in a container; both streams are captured in a file."""
    steps = (
        more.pop("steps", None)
        or ((step,) if step else ())
        or tuple(ContainerStep(argv=("/bin/sh", "-ec", line)) for line in script)
    )
    options = {k: more.pop(k) for k in ("cancel", "outputs_to") if k in more}
    view = ProjectMount(source=str(project), hidden=more.pop("hidden", ())) if project else None
    program = Program(root=more.pop("root", Root(lowers=(tree,))), steps=steps, env=ENV, project=view, **more)
    log = os.memfd_create("log")
    try:
        exit_ = supervisor.run(program.to_dict(), stdout=log, stderr=log, **options)
        return Result(exit_, os.pread(log, 1 << 20, 0).decode())
    finally:
        os.close(log)


# Seconds for `sleep`, one for each test, that no other process of this machine sleeps: another run of these tests neither.
NAPS = [f"9876{number}.{secrets.randbelow(1 << 30)}" for number in range(8)]


def running(marker: str) -> bool:
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if marker in Path(f"/proc/{name}/cmdline").read_bytes().decode(errors="replace").split("\0"):
                    return True
            except OSError:
                continue
    return False


def gone(marker: str) -> bool:
    for _ in range(100):
        if not running(marker):
            return True
        time.sleep(0.03)
    return False


# ---- what a task sees ----------------------------------------------------------------------------------------------


def test_a_task_is_user_1000_with_nothing(tree):
    result = go(
        tree, "id -u; id -un; id -g; grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; umask; env | grep -v ^_"
    )
    assert result.status == 0
    lines = result.out.split("\n")
    assert lines[:3] == ["1000", "envtool", "1000"]
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert f"{name}:\t0000000000000000" in lines
    assert "NoNewPrivs:\t1" in lines
    assert "Seccomp:\t2" in lines
    assert "0022" in lines
    assert sorted(line.partition("=")[0] for line in lines if "=" in line) == ["HOME", "LC_ALL", "PATH", "PWD"]


def test_host_root_is_never_mapped(tree):
    for user in ("root", "user"):
        rows = [row.split() for row in go(tree, "cat /proc/self/uid_map", user=user).out.splitlines()]
        if os.geteuid() == 0:
            assert all(int(outside) >= 1000 for _, outside, _ in rows)
        else:
            assert rows


def test_container_root_has_dockers_capabilities(tree):
    result = go(tree, "id -u; grep CapBnd /proc/self/status", user="root")
    assert result.out == "0\nCapBnd:\t00000000a80425fb\n"


def test_home_tmp_and_run_are_writable_and_empty(tree):
    result = go(tree, "ls -A ~; ls -A /tmp; for d in ~ /tmp /dev/shm; do echo x > $d/x; done")
    assert (result.status, result.out) == (0, "")


def test_only_its_own_processes(tree):
    result = go(tree, "ls /proc | grep -E '^[0-9]+$' | head -20")
    assert len(result.out.split()) <= 6


def test_proc_is_masked(tree):
    result = go(
        tree,
        "for f in kcore keys timer_list; do test ! -e /proc/$f || head -c 1 /proc/$f 2>&1 || true; done;"
        " echo b > /proc/sysrq-trigger",
        user="root",
    )
    assert result.status != 0
    assert "sysrq-trigger" in result.out
    result = go(tree, "echo 1 > /proc/sys/kernel/hostname", user="root")
    assert "Read-only file system" in result.out
    assert go(tree, "mkdir /sys/kernel/x", user="root").status != 0


def test_no_network_but_loopback(tree):
    assert go(tree, "ls /sys/class/net").out == "lo\n"
    result = go(tree, "true", step=ContainerStep(argv=("/bin/bash", "-c", "echo > /dev/tcp/127.0.0.1/9")))
    assert "Connection refused" in result.out
    result = go(tree, "true", step=ContainerStep(argv=("/bin/bash", "-c", "echo > /dev/tcp/198.51.100.1/80")))
    assert "Network is unreachable" in result.out
    assert "localhost" in go(tree, "cat /etc/hosts").out


def test_localhost_is_found_by_who_asks_for_one_family(tree):
    """By getaddrinfo with AI_ADDRCONFIG, as getent asks: glibc then wants an address beside 127.0.0.1, or ::1."""
    assert go(tree, "getent ahostsv4 localhost").out.split()[0] == "127.0.0.1"
    assert go(tree, "getent ahostsv4 $(cat /proc/sys/kernel/hostname)", user="root").out.split()[0] == "127.0.1.1"
    if os.path.exists("/proc/net/if_inet6"):
        assert go(tree, "getent ahostsv6 localhost").out.split()[0] == "::1"
        assert len(go(tree, "cat /proc/net/if_inet6").out.splitlines()) == 2
    assert "127.255.255.254" in go(tree, "cat /proc/net/fib_trie").out
    assert go(tree, "cat /proc/net/dev").out.count(":") == 1  # `lo`: no label, which tools take for an interface


def test_what_a_failed_container_without_network_tried(tree):
    """Names as they were asked for, addresses as a number; errors come as soon as without a log of them."""
    began = time.monotonic()
    found = go(
        tree,
        steps=tuple(
            ContainerStep(argv=("/bin/bash", "-c", line))
            for line in (
                "getent hosts api.example.org; getent ahosts two.example.org; getent hosts API.example.org; true",
                "(exec 3<>/dev/tcp/203.0.113.7/443); (echo x > /dev/udp/203.0.113.8/53); (exec 3<>/dev/tcp/127.0.0.1/443); false",
            )
        ),
    )
    assert found.status == 1
    assert "Network is unreachable" in found.out
    assert "Connection refused" in found.out  # on its own loopback
    assert found.exit.network_tried == (("api.example.org", "two.example.org"), 2)
    assert time.monotonic() - began < 15, "a resolver that waits for an answer takes 10 s for each name"


def test_one_that_passes_or_has_the_network_says_nothing(tree):
    assert go(tree, "getent hosts api.example.org || true").exit.network_tried == ((), 0)
    assert go(tree, "true").exit.network_tried == ((), 0)
    assert go(tree, "false").exit.network_tried == ((), 0)
    assert go(tree, "false", network=True).exit.network_tried == ((), 0)


def test_a_flood_of_queries_is_bounded(tree):
    """A root of its container may send any packet: to the resolver that is not there, and with names that are none."""
    script = """
        for n in $(seq 3000); do echo $n > /dev/udp/127.0.0.1/53; done 2> /dev/null
        head -c 60000 /dev/urandom > /dev/udp/127.0.0.1/53
        exit 3
    """
    for user in ("user", "root"):
        with nothing_left(descriptors):
            found = go(tree, user=user, step=ContainerStep(argv=("/bin/bash", "-c", script)))
        assert found.status == 3, found.out
        names, unreachable = found.exit.network_tried
        assert len(names) <= 64
        assert unreachable == 0


def test_a_task_that_is_out_of_time_tells_too(tree):
    found = go(tree, "getent hosts slow.example.org || sleep 60", timeout=allowed(1), grace=allowed(1))
    assert found.exit.timed_out
    assert found.exit.network_tried == (("slow.example.org",), 0)


def test_with_network_it_is_the_hosts(tree):
    assert go(tree, "ls /sys/class/net", network=True).out.split() == sorted(os.listdir("/sys/class/net"))


def test_the_hosts_files_are_not_there(tree, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("x")
    for user in ("root", "user"):
        assert go(tree, f"cat {secret} /proc/1/root{secret} /proc/1/cwd/{secret}", user=user).status != 0
        assert go(tree, "cat /proc/1/environ", user=user).status != 0
        assert go(tree, "ls /proc/self/fd/", user=user).out.split() == ["0", "1", "2", "3"]


def test_nothing_of_the_kernel_can_be_had(tree):
    for line in ("mount -t tmpfs t /tmp", "unshare -U true", "unshare -m true", "mknod /tmp/d b 7 0 && cat /tmp/d"):
        for user in ("root", "user"):
            assert go(tree, line, user=user).status != 0, (line, user)


def test_the_stack_is_not_changed(tree):
    before = snapshot(Path(tree) / "etc")
    result = go(tree, "echo x > /etc/os-release; echo x > /etc/new; rm /bin/uname; cat /etc/os-release", user="root")
    assert (result.status, result.out) == (0, "x\n")
    assert snapshot(Path(tree) / "etc") == before
    assert (Path(tree) / "bin" / "uname").exists()


def test_standard_streams_can_be_opened_by_name(tree):
    read, write = os.pipe()
    program = Program(
        root=Root(lowers=(tree,)), steps=(ContainerStep(argv=("/bin/sh", "-c", "echo x > /dev/stdout")),), env=ENV
    )
    try:
        assert supervisor.run(program.to_dict(), stdout=write, stderr=write).status == 0
        assert os.read(read, 100) == b"x\n"
    finally:
        os.close(read)
        os.close(write)


# ---- roots, binds --------------------------------------------------------------------------------------------------


def test_two_hundred_layers(tree, tmp_path):
    layers = []
    for n in range(200):
        layer = tmp_path / f"a-rather-long-name-of-a-layer-{n:04}"
        layer.mkdir()
        (layer / f"f{n}").touch()
        layers.append(str(layer))
    result = go(tree, "ls / | grep -c '^f[0-9]'", root=Root(lowers=(*layers, tree)))
    assert result.out == "200\n"


def test_upper_keeps_what_is_written_and_no_mount_points(tree, tmp_path):
    upper, work = tmp_path / "layer" / "upper", tmp_path / "layer" / "work"
    upper.mkdir(parents=True)
    work.mkdir()
    shown = tmp_path / "shown"
    shown.mkdir()
    try:
        result = go(
            tree,
            "mkdir -p /opt/x; echo 1 > /opt/x/y; rm /bin/uname; echo t > /tmp/t; sleep 0.01",
            root=Root(lowers=(tree,), upper=str(upper), work=str(work)),
            user="root",
            binds=(BindMount(source=str(shown), target="/srv/a/b"),),
        )
        assert result.status == 0, result.out
        found = userns.run_as_root(listed, at=str(upper))
        assert found == ["bin", "bin/uname", "opt", "opt/x", "opt/x/y"]
    finally:
        userns.remove_as_root(str(tmp_path / "layer"))
    assert not (tmp_path / "layer").exists()


def listed() -> list[str]:
    return sorted(os.path.join(d, n)[2:] for d, dirs, files in os.walk(".") for n in (*dirs, *files))


def test_a_mount_point_behind_an_images_symlink_is_not_kept(tree, tmp_path):
    layer, upper, work, shown = (tmp_path / name for name in ("layer", "up/upper", "up/work", "shown"))
    for path in (layer, upper, work, shown):
        path.mkdir(parents=True)
    (layer / "real").mkdir()
    (layer / "srv").symlink_to("real")
    (layer / "real").chmod(0o777)
    userns.give_to_root(str(layer / "real"))
    try:
        result = go(tree, "test -d /srv/tool", root=Root(lowers=(str(layer), tree), upper=str(upper), work=str(work)),
                    user="root", binds=(BindMount(source=str(shown), target="/srv/tool"),))  # fmt: skip
        assert result.status == 0, result.out
        assert userns.run_as_root(listed, at=str(upper)) in ([], ["real"])
    finally:
        userns.remove_as_root(str(tmp_path / "up"))


def test_work_inside_from_threads_is_not_held_up_by_each_other(tree):
    read, write = os.pipe()
    with ThreadPoolExecutor(9) as pool:
        slow = [pool.submit(userns.run_as_root, os.read, read, 1) for _ in range(3)]
        quick = [pool.submit(userns.run_as_root, os.getuid) for _ in range(3)]
        containers = [pool.submit(go, tree, "true") for _ in range(3)]
        try:
            assert [q.result(60) for q in quick] == [0, 0, 0]
            assert [c.result(60).status for c in containers] == [0, 0, 0]
            assert not any(s.done() for s in slow)
        finally:
            os.write(write, b"abc")
        assert sorted(s.result() for s in slow) == [b"a", b"b", b"c"]
    os.close(read)
    os.close(write)


def raising() -> None:
    os.mkdir("/proc/none")


def test_errors_come_out_of_inside(tmp_path):
    with pytest.raises(OSError, match="/proc/none"):
        userns.run_as_root(raising)
    with pytest.raises(RuntimeError, match="ValueError: loud"):
        userns.run_as_root(fail, "loud")
    with pytest.raises(RuntimeError, match="unmarshallable"):
        userns.run_as_root(object)


def fill() -> None:
    os.mkdir("/etc")
    with open("/etc/hostname", "w", encoding="ascii") as file:
        file.write("x")
    os.chown("/etc/hostname", 0, 42)


def test_a_directory_as_root(tmp_path):
    upper = tmp_path / "base"
    upper.mkdir()
    try:
        result = go("", step=ContainerStep(call=f"{__name__}:fill"), root=Root(upper=str(upper)), user="root")
        assert result.status == 0, (result.out, result.exit.error)
        assert userns.run_as_root(listed, at=str(upper)) == ["etc", "etc/hostname"]
    finally:
        userns.remove_as_root(str(upper))


def test_scratch_on_disk(tree, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    try:
        assert (
            go(
                tree,
                "echo x > /x; echo x > /tmp/x; cat /x",
                root=Root(lowers=(tree,), scratch=str(scratch)),
                user="root",
            ).out
            == "x\n"
        )
    finally:
        userns.remove_as_root(str(scratch))


def test_a_full_memory_disk_fills_only_itself(tree):
    result = go(tree, "dd if=/dev/zero of=/tmp/x bs=1M count=64", root=Root(lowers=(tree,), memory=16 << 20))
    assert result.status != 0
    assert "No space left on device" in result.out


def test_binds(tree, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_text("f\n")
    (tmp_path / "rw").mkdir()
    result = go(
        tree,
        "cat /opt/d/f /etc/one; echo x > /cache/x; ! echo x > /opt/d/y",
        binds=(
            BindMount(source=str(tmp_path / "d"), target="/opt/d"),
            BindMount(source=str(tmp_path / "d" / "f"), target="/etc/one"),
            BindMount(source=str(tmp_path / "rw"), target="/cache", readonly=False),
        ),
    )
    assert result.status == 0, result.out
    assert result.out.startswith("f\nf\n")
    assert (tmp_path / "rw" / "x").stat().st_uid == os.geteuid()
    with pytest.raises(SandboxError) as caught:
        go(tree, "true", binds=(BindMount(source=str(tmp_path / "none"), target="/x"),))
    assert caught.value.code == "source"


def test_an_images_symlink_cannot_lead_out(tree, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    layer = tmp_path / "layer"
    layer.mkdir()
    (layer / "opt").symlink_to(outside)
    (layer / "etc").mkdir()
    (layer / "etc" / "passwd").symlink_to(outside / "passwd")
    (tmp_path / "d").mkdir()
    result = go(
        tree,
        "test -d /opt/d; id -un",
        root=Root(lowers=(str(layer), tree)),
        binds=(BindMount(source=str(tmp_path / "d"), target="/opt/d"),),
    )
    assert list(outside.iterdir()) == []
    assert result.out.endswith("envtool\n")


# ---- the view --------------------------------------------------------------------------------------------------------


def test_the_view_hides_and_cannot_change(tree, project):
    before = snapshot(project)
    result = go(
        tree,
        "cd /project; find . | grep -v '^.$'; cat secret; echo new > a.txt; rm src/b.txt; mkdir junk;"
        " echo x > junk/y; rm secret; chmod 700 src; mv src moved || true; cat a.txt; stat -c %u . a.txt",
        project=project,
        hidden=("junk", "src/c.pyc", "nowhere/x", "a.txt/x"),
    )
    assert result.status == 0, result.out
    lines = result.out.splitlines()
    assert sorted(lines[:4]) == ["./a.txt", "./secret", "./src", "./src/b.txt"]
    assert lines[4] == "s"
    assert lines[-3:] == ["new", "1000", "1000"]
    assert snapshot(project) == before


def test_the_view_for_container_root(tree, project):
    before = snapshot(project)
    result = go(tree, "cd /project; cat secret; echo new > a.txt; rm -r src; touch x", project=project, user="root")
    assert (result.status, result.out) == (0, "s\n")
    assert snapshot(project) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="ids are mapped for root only")
def test_the_view_is_copied_where_ids_cannot_be_mapped(tree, project, monkeypatch):
    before = snapshot(project)
    monkeypatch.setattr(syscalls, "kernel_version", lambda: (5, 15))
    result = go(
        tree,
        "cd /project; find . | grep -v '^.$'; cat secret; echo x > a.txt; stat -c %u a.txt secret",
        project=project,
        hidden=("junk", "src/c.pyc"),
    )
    assert result.status == 0, result.out
    assert result.out.splitlines()[-3:] == ["s", "1000", "1000"]
    assert "junk" not in result.out
    assert snapshot(project) == before


def test_a_project_of_a_foreign_group_can_be_worked_in(tree, project):
    others = [g for g in os.getgroups() if g != os.getegid()] or ([12] if os.geteuid() == 0 else [])
    if not others:
        pytest.skip("this user is in one group only")
    for path in (project, *project.rglob("*")):
        os.chown(path, -1, others[0])
    before = snapshot(project)
    result = go(tree, "cd /project; echo new > a.txt; echo x > src/x; ls", project=project, hidden=("junk",))
    assert (result.status, result.out.split()) == (0, ["a.txt", "secret", "src"]), result.out
    assert snapshot(project) == before


# ---- outputs ---------------------------------------------------------------------------------------------------------


def test_outputs_come_back_owned_and_safe(tree, project):
    (project / "linked").symlink_to("/tmp")
    result = go(
        tree,
        "cd /project; mkdir -p dist/sub; echo 1 > dist/a; echo 2 > dist/sub/b; chmod 4755 dist/a;"
        " mkfifo dist/pipe; ln -s a dist/link; ln -s /etc/passwd dist/abs; ln -s ../../x dist/up;"
        " chmod 000 dist/sub/b; truncate -s 64M sparse; echo end >> sparse; rm linked; mkdir linked;"
        " echo x > linked/z; exit 3",
        project=project,
        outputs=("dist", "sparse", "linked/*", "none/**"),
        outputs_to=str(project),
    )
    assert result.status == 3
    assert set(result.exit.outputs) == {"dist/a", "dist/sub/b", "dist/link", "sparse"}
    assert (project / "dist/a").read_text() == "1\n"
    assert stat.S_IMODE((project / "dist/a").stat().st_mode) == 0o755
    assert (project / "dist/sub/b").read_text() == "2\n"
    assert os.readlink(project / "dist/link") == "a"
    assert (project / "sparse").stat().st_size == (64 << 20) + 4
    assert (project / "sparse").stat().st_blocks * 512 < 1 << 20
    assert {p.name for p in (project / "dist").iterdir()} == {"a", "sub", "link"}
    assert not os.path.exists("/tmp/z")
    text = "\n".join((result.exit.lost, *result.exit.notes))
    for name in ("dist/pipe", "dist/abs", "dist/up", "linked/z", "none/**"):
        assert name in text
    owner = project.stat()
    for path in (project / "dist").rglob("*"):
        assert (path.lstat().st_uid, path.lstat().st_gid) == (owner.st_uid, owner.st_gid)


def test_outputs_after_a_timeout(tree, project):
    result = go(
        tree,
        "cd /project; echo log > log; sleep 1000",
        project=project,
        outputs=("*",),
        timeout=allowed(0.4),
        grace=0.2,
        outputs_to=str(project),
    )
    assert (result.status, result.exit.timed_out) == (124, True)
    assert (project / "log").read_text() == "log\n"
    assert result.exit.seconds < allowed(5)


# ---- steps and their ends --------------------------------------------------------------------------------------------


def test_statuses_are_a_shells(tree):
    assert go(tree, "exit 7", "echo no").status == 7
    assert go(tree, "exit 7", "echo no").out == ""
    assert go(tree, "kill -9 $$").status == 137
    assert go(tree, step=ContainerStep(argv=("nosuch",))).status == 127
    assert go(tree, step=ContainerStep(argv=("nosuch",))).out == "envtool: nosuch: not found\n"
    assert go(tree, step=ContainerStep(argv=("/etc/os-release",))).status == 126
    script = (
        ContainerStep(argv=("/bin/sh", "-c", "echo 'echo got $1' > /tmp/s; chmod +x /tmp/s")),
        ContainerStep(argv=("/tmp/s", "x")),
    )
    assert go(tree, steps=script).out == "got x\n"
    with pytest.raises(SandboxError) as caught:
        go(tree, step=ContainerStep(argv=("true",), cwd="/nowhere"))
    assert caught.value.code == "cwd"


def fail(word: str) -> None:
    print("said", word)
    raise ValueError(word)


def test_a_call_that_raises(tree):
    result = go(tree, step=ContainerStep(call=f"{__name__}:fail", arguments=("loud",)), user="root")
    assert result.status == 1
    assert result.out == "said loud\n"
    assert result.exit.error.startswith("ValueError: loud")


def importing() -> None:
    import tabnanny  # noqa: F401 - a module that nobody has imported yet


def test_a_call_cannot_import_from_the_image(tree):
    result = go(tree, step=ContainerStep(call=f"{__name__}:importing"), user="root")
    assert result.exit.error.startswith("ModuleNotFoundError")


def test_signals_are_default(tree):
    assert (
        go(tree, "grep -E '^Sig(Blk|Ign)' /proc/self/status").out
        == "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
    )


def test_daemons_end_with_the_step(tree):
    result = go(
        tree,
        f"(setsid sleep {NAPS[1]} &) ; (sleep {NAPS[1]} &); true"
        if shutil.which("setsid") is None
        else f"(bash -c 'sleep {NAPS[1]} & disown' &); sleep 0.1",
    )
    assert result.status == 0
    assert gone(NAPS[1])


def test_timeout_terms_then_kills_everything(tree):
    result = go(
        tree,
        f"trap 'echo caught' TERM; sleep {NAPS[2]} & while :; do sleep 0.05; done",
        timeout=allowed(2),
        grace=allowed(2),
    )
    assert result.status == 124
    assert result.exit.timed_out
    assert "caught" in result.out
    assert gone(NAPS[2])


def test_cancel_ends_and_collects(tree, project):
    read, write = os.pipe()

    def cancel() -> None:
        for _ in range(600):
            if running(NAPS[3]):
                break
            time.sleep(0.1)
        os.write(write, b"x")

    canceller = threading.Thread(target=cancel)
    canceller.start()
    try:
        result = go(
            tree,
            f"cd /project; echo partly > log; sleep {NAPS[3]}",
            project=project,
            outputs=("log",),
            cancel=read,
            outputs_to=str(project),
        )
    finally:
        canceller.join()
        os.close(read)
        os.close(write)
    assert result.exit.interrupted
    assert result.exit.outputs == ("log",)
    assert gone(NAPS[3])


def test_cancelled_at_any_moment_of_its_start(tree, depth):
    """Also while the process that makes pid 1 has made it, and could not yet say so."""
    for _ in depth.times(30, 1000):
        read, write = os.pipe()
        timer = threading.Timer(depth.random.uniform(0, 0.02), os.write, (write, b"x"))
        timer.start()
        try:
            result = go(tree, f"sleep {NAPS[5]}", cancel=read)
        finally:
            timer.join()
            os.close(read)
            os.close(write)
        assert result.exit.interrupted
        assert result.exit.seconds < allowed(5)
    assert gone(NAPS[5])


def test_cancelled_before_it_began(tree):
    read, write = os.pipe()
    os.write(write, b"x")
    try:
        result = go(tree, f"sleep {NAPS[4]}", cancel=read)
    finally:
        os.close(read)
        os.close(write)
    assert result.exit.interrupted
    assert result.exit.seconds < allowed(3)


def test_kill_9_of_the_supervisor_takes_all(tree):
    child = os.fork()
    if child == 0:
        try:
            go(tree, f"(sleep {NAPS[5]} &) ; sleep {NAPS[5]}")
        finally:
            os._exit(0)
    for _ in range(200):
        if running(NAPS[5]):
            break
        time.sleep(0.02)
    assert running(NAPS[5])
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert gone(NAPS[5])


def test_pid1_killed_is_seen(tree):
    def kill() -> None:
        for _ in range(600):
            if killed:
                break
            time.sleep(0.1)
            for pid, _ in processes():
                try:
                    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                except OSError:  # it has ended meanwhile
                    continue
                if running(NAPS[6]) and any(line.startswith("NSpid") and line.endswith("\t1") for line in lines):
                    os.kill(pid, 9)
                    killed.append(pid)

    killed: list[int] = []
    killer = threading.Thread(target=kill)
    killer.start()
    result = go(tree, f"sleep {NAPS[6]}")
    killer.join()
    assert result.status == 137


def test_without_process_ids_of_its_own_nothing_is_run_or_killed(tree, monkeypatch):
    """The end of a container kills all that can be killed."""
    killed, kill = os.memfd_create("killed"), os.kill
    monkeypatch.setattr(pid1.syscalls, "clone", lambda _flags, clone=syscalls.clone: clone(syscalls.CLONE_PARENT))
    monkeypatch.setattr(pid1.os, "kill", lambda pid, number: kill(pid, number) if pid > 0 else os.write(killed, b"x"))
    with pytest.raises(SandboxError, match="no process ids of its own"):
        go(tree, "true")
    assert os.fstat(killed).st_size == 0
    os.close(killed)


def test_where_the_kernel_has_no_memory_for_a_look_the_step_goes_on(tree, monkeypatch):
    """A step may take all memory that the container may have before pid 1 looks at the processes."""

    def refuse(path=".", listdir=os.listdir):
        if os.getpid() == 1 and path == "/proc":
            looked[0] = 1
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM), path)
        return listdir(path)

    looked = mmap.mmap(-1, 1)
    monkeypatch.setattr(pid1.os, "listdir", refuse)
    result = go(tree, "sleep 0.2; exit 3")
    assert (result.status, result.exit.error) == (3, "")
    assert looked[0] == 1


# ---- many at once, and nothing left --------------------------------------------------------------------------------


def test_thirty_at_once_from_threads_leave_nothing(tree, project):
    go(tree, "true", project=project)

    def one(number: int) -> str:
        return go(tree, f"echo {number} > /tmp/x; cd /project; echo {number} > n; cat /tmp/x n", project=project).out

    with nothing_left(descriptors, mounts, processes, threads), ThreadPoolExecutor(30) as pool:
        results = list(pool.map(one, range(30)))
    assert results == [f"{n}\n{n}\n" for n in range(30)]


# ---- terminals -------------------------------------------------------------------------------------------------------


def test_a_terminal(tree):
    child, master = pty.fork()
    if child == 0:
        try:
            program = Program(
                root=Root(lowers=(tree,)),
                env=ENV,
                steps=(
                    ContainerStep(
                        argv=(
                            "/bin/bash",
                            "-ec",
                            f"tty; test -w $(tty); stty size; read x; echo got-$x; sleep {NAPS[7]}",
                        )
                    ),
                ),
            )
            os._exit(supervisor.run(program.to_dict(), terminal=True).status)
        except BaseException as error:
            print(error)
            os._exit(99)
    seen = b""

    def until(text: bytes) -> None:
        nonlocal seen
        end = time.monotonic() + 10
        while text not in seen:
            assert time.monotonic() < end, seen
            if select.select([master], [], [], 0.1)[0]:
                seen += os.read(master, 4096)

    until(b"/dev/pts/0")
    os.write(master, b"word\r")
    until(b"got-word")
    os.write(master, b"\x03")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130
    os.close(master)


# ---- the same as other users -----------------------------------------------------------------------------------------


def _users() -> list[str]:
    with open("/etc/subuid", encoding="utf-8") as file:
        ranged = {line.split(":")[0] for line in file}
    real = [u for u in pwd.getpwall() if u.pw_uid >= 1000 and u.pw_uid != 65534 and os.path.isdir(u.pw_dir)]
    wanted = [mode == "range" for mode in ("range", "single") if mode in CALLERS]
    picked = [next((u.pw_name for u in real if (u.pw_name in ranged) == each), "") for each in wanted]
    return [name for name in picked if name]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
@pytest.mark.parametrize("name", _users() if os.geteuid() == 0 and os.path.exists("/etc/subuid") else [])
def test_again_as_an_ordinary_user(name, tmp_path_factory):
    run_again_as(name, __file__)


def run_again_as(name: str, module: str) -> None:
    """Run all tests of a module as a user."""
    user = pwd.getpwnam(name)
    top = Path(__file__).resolve().parents[2]
    if subprocess.run(
        ["test", "-r", module], user=user.pw_uid, group=user.pw_gid, extra_groups=[], check=False
    ).returncode:
        pytest.skip(f"{name} cannot read {top}")
    base = Path("/tmp") / f"envtool-test-{name}-{os.getpid()}"
    python, path = runtime()  # ours may lie where only root may look
    try:
        done = subprocess.run(
            [
                python,
                "-m",
                "pytest",
                "-q",
                "-x",
                "-n0",
                "-c",
                str(top / "pyproject.toml"),
                "--basetemp",
                str(base),
                module,
            ],
            cwd=top,
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[12],  # one that no range has
            capture_output=True,
            text=True,
            check=False,
            env={
                "PATH": os.environ["PATH"],
                "HOME": user.pw_dir,
                "PYTHONPATH": f"{top}:{path}",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
        )
    finally:
        shutil.rmtree(base, ignore_errors=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_a_directory_of_the_root_is_seen_in_the_project(tree: str, project: Path, tmp_path: Path) -> None:
    before = snapshot(project)
    script = (
        "test ! -e junk/deep/d && echo joined > junk/new && cat /made/new",
        "cat src/more/new; echo 1 > src/more/other; ls /made",
    )
    steps = tuple(ContainerStep(argv=("/bin/sh", "-ec", line), cwd="/project") for line in script)
    joins = (("/made", "/project/junk"), ("/made", "/project/src/more"))
    done = go(tree, steps=steps, project=project, hidden=("junk",), joins=joins, user="root")
    assert done.status == 0, done.out
    assert done.out == "joined\njoined\nnew\nother\n"
    assert snapshot(project) == before


def test_trees_lie_over_the_project_and_its_own_files_win(tree, tmp_path, project):
    files = {
        "upper": {"src/b.txt": "made", "src/new": "upper", "junk/built": "upper", "a.txt": "input", "both": "upper"},
        "lower": {"both": "lower", "only": "lower", "secret/inner": "lower", "src/b.txt": "lower"},
    }
    for layer, made in files.items():
        for name, text in made.items():
            path = tmp_path / layer / "project" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
    if userns.caller_ids().mode == "root":
        owner = userns.caller_ids().host_id(1000)
        for path in (path for layer in files for path in (tmp_path / layer).rglob("*")):
            os.chown(path, owner, owner)
    os.utime(tmp_path / "upper/project/a.txt", (9, 9))
    before = snapshot(project)
    done = go(
        tree,
        "cd /project; cat a.txt src/b.txt src/new junk/built both only; cat secret; ls junk; stat -c %Y a.txt",
        "cd /project; echo x > src/new; rm only a.txt src/b.txt; mv both src; ls . src",
        root=Root(lowers=(str(tmp_path / "upper"), str(tmp_path / "lower"), tree)),
        project=project,
        hidden=("junk", "src/c.pyc"),
        covering=(0, 1),
        inputs=("a.txt",),
    )
    assert done.status == 0, done.out
    first = "input\nb\nupper\nupper\nupper\nlower\ns\nbuilt\n9\n"
    assert done.out == f"{first}.:\njunk\nsecret\nsrc\n\nsrc:\nboth\nnew\n"
    assert snapshot(project) == before


def test_a_link_where_a_tree_should_be_leads_nowhere(tree, tmp_path, project):
    for name, target in (("one", "/"), ("two", "/etc"), ("three", "../three/usr"), ("four", "none")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "project").symlink_to(target)
    (tmp_path / "file").mkdir()
    (tmp_path / "file/project").write_text("x")
    (tmp_path / "above/project").mkdir(parents=True)
    for name in ("one", "two", "three", "four", "file"):
        lowers = (str(tmp_path / "above"), tree, str(tmp_path / name))
        done = go(tree, "cd /project; ls", root=Root(lowers=lowers), project=project, covering=(2,))
        assert (done.status, done.out) == (0, "a.txt\njunk\nsecret\nsrc\n"), name


def test_what_a_layer_keeps_for_beside_the_sources_is_there_as_if_it_lay_there(tree, tmp_path, project):
    layer = tmp_path / "layer"
    kept = {"a.txt": "new", "src/fast.so": "\0", "src/deep/er/a.mo": "mo", "src/b.txt/under": "", "secret": "x"}
    for name, text in kept.items():
        (layer / "keep" / name).parent.mkdir(parents=True, exist_ok=True)
        (layer / "keep" / name).write_text(text)
    (layer / "keep/src/link.so").symlink_to("fast.so")
    os.mkfifo(layer / "keep/src/fifo")
    (project / "elsewhere").symlink_to("/tmp")
    (layer / "keep/elsewhere").mkdir()
    (layer / "keep/elsewhere/x").write_text("x")
    (layer / "keep/src/fast.so").chmod(0o4755)
    before = snapshot(project)
    found = go(
        tree,
        "cd /project; cat a.txt src/deep/er/a.mo; readlink src/link.so; stat -c '%a %u' src/fast.so; stat -c %u src/deep",
        "cd /project; echo more >> src/fast.so; rm src/deep/er/a.mo; ls src /tmp; cat src/b.txt",
        root=Root(lowers=(str(layer), tree)),
        project=project,
        copies=(("/keep", "/project"), ("/none", "/project/none"), ("/keep/a.txt", "/project/no/such/directory/a")),
    )
    lines = found.out.split("\n")
    assert found.status == 0, found.out
    assert lines[:4] == ["old", "mofast.so", "755 1000", "1000"], "what the project has stays as it is"
    assert [line for line in lines[4:] if line] == [
        "/tmp:", "src:", "b.txt", "c.pyc", "deep", "fast.so", "link.so", "b",
    ], "no link of the project is followed, and no fifo copied"  # fmt: skip
    assert snapshot(project) == before


@pytest.mark.parametrize("step", ["userns.become_root", "rootfs.build_rootfs"])
def test_nothing_can_be_imported_with_the_ids_and_mounts_of_a_container(tree, project, monkeypatch, step):
    """Wherever the installation lies, in a directory that is root's alone or below a mount: so that an import there is
    seen by every test that starts a container."""
    assert "tabnanny" not in sys.modules
    module, _, name = step.partition(".")
    monkeypatch.setattr(getattr(pid1, module), name, lambda *_: importlib.import_module("tabnanny"))
    with pytest.raises(SandboxError, match="ModuleNotFoundError: No module named 'tabnanny'"):
        go(tree, "true", project=project)
