"""Tasks that try to get out, to stay on, or to take everything: nothing is left and nothing is reached."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.every_caller]

needs_python = pytest.mark.skipif(
    not os.path.exists("/usr/bin/python3"), reason="the host base has no /usr/bin/python3"
)


def run(place, script: str, *, status: int = 0, **more) -> str:
    place.task(script, **more)
    done = place.envtool("test", "--json")
    assert done.status == status, done.said
    return done.log()


def snapshot(top: Path) -> dict[str, tuple[object, ...]]:
    found = {}
    for path in [top, *sorted(top.rglob("*"))]:
        relative = str(path.relative_to(top))
        if relative.split("/", maxsplit=1)[0] == ".envtool" or relative == ".":  # ours, and what its coming changes
            continue
        s = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[relative] = (s.st_mode, s.st_uid, s.st_gid, s.st_mtime_ns, s.st_ctime_ns, s.st_ino, s.st_nlink, content)
    return found


# ---- processes -----------------------------------------------------------------------------------------------------


def test_daemons_end_with_the_task(place):
    script = (
        "setsid sleep {0} &\n"
        "(setsid sh -c 'trap \"\" TERM INT HUP; (sleep {0} &); exec sleep {0}' >/dev/null 2>&1 &)\n"
        "nohup sleep {0} >/dev/null 2>&1 &\n"
        "sleep 0.2"
    )
    for end, status in (("true", 0), ("exit 3", 1)):
        run(place, script.format(place.nap) + "\n" + end, status=status)
        place.check_nothing_left()


def test_daemons_of_a_layer_end_with_it(place):
    place.spec(
        f"layers: {{one: {{run: '(setsid sleep {place.nap} >/dev/null 2>&1 &); echo {place.token} > /opt/x'}}}}\n"
        "envs: {unit: {layers: [one], tasks: {test: 'true'}}}\n"
    )
    assert place.envtool("test").status == 0
    place.check_nothing_left()


def test_a_fork_bomb_ends_at_its_timeout(place):
    script = (
        f"ulimit -p 400\nbomb() {{ sleep {place.nap} & bomb 2>/dev/null & bomb 2>/dev/null & wait; }}\necho lit\nbomb"
    )
    place.task(script, options="timeout: 2s")
    done = place.envtool("test", "--json")
    assert done.status == 1
    assert done.events[-1]["results"][0]["outcome"] == "timeout"
    assert done.log().startswith("lit\n")
    assert done.seconds < 25
    place.check_nothing_left(seconds=10)


def test_the_number_of_processes_is_bounded(place):
    for user in ("user", "root"):
        limit = run(place, "ulimit -H -p", options=f"user: {user}").strip()
        assert limit != "unlimited"
        assert int(limit) <= 8192


def test_no_container_runs_as_the_hosts_root(place):
    """Seen from outside: no process of a build or a task has the host's root as any of its ids."""
    place.spec(
        f"layers: {{one: {{run: 'sleep {place.nap}'}}}}\n"
        f"envs: {{a: {{layers: [one], tasks: {{test: 'true'}}}}, b: {{tasks: {{test: 'sleep {place.nap}'}}}},\n"
        f"  c: {{tasks: {{test: {{run: 'sleep {place.nap}', user: root}}}}}}}}\n"
    )
    process = place.start("test", "--jobs", "3")

    def seen() -> list[str]:
        return [text.split()[0] for text in place.processes() if f"sleep\\x00{place.nap}" in text]

    place.until(lambda: len(seen()) == 3, "build and tasks run")
    own = os.stat("/proc/self/ns/pid").st_ino
    for row in place.processes():
        number = row.split()[0]
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{number}/status").read_text().splitlines() if ":\t" in line
        )
        if len(status["NSpid"].split()) == 1:
            continue  # envtool itself
        assert "0" not in status["Uid"].split(), row
        assert "0" not in status["Gid"].split(), row
        assert "0" not in status["Groups"].split(), row
        assert os.stat(f"/proc/{number}/ns/pid").st_ino != own
    process.send_signal(2)
    assert place.finish(process).status == 130


# ---- disk ----------------------------------------------------------------------------------------------------------


def test_a_full_disk_is_the_tasks_own(place):
    """More than the memory file system may take is refused at once; half of it would take the machine's memory."""
    before = shutil.disk_usage(place.top).free
    log = run(
        place,
        "for d in /tmp . ~ /dev/shm /run; do fallocate -l 100T $d/big 2>&1 && echo GOT $d; done; ls -l big /tmp/big; exit 1",
        status=1,
    )
    assert "GOT" not in log
    assert "No space left on device" in log or "File too large" in log
    assert abs(shutil.disk_usage(place.top).free - before) < 1 << 30
    run(place, "test ! -e big -a ! -e /tmp/big")


def test_all_that_a_task_writes_to_memory_is_bounded(place):
    total = int(Path("/proc/meminfo").read_text().split()[1]) << 10  # MemTotal stands first
    log = run(place, "for d in /tmp . ~ /dev/shm /run /; do stat -f -c '%b %S' $d; done")
    for line in log.splitlines():
        blocks, size = map(int, line.split())
        assert 0 < blocks * size <= total / 2 + (1 << 20)


# ---- network -------------------------------------------------------------------------------------------------------

KNOCK = """\
import socket, sys
def tried(name, make):
    try:
        make()
    except OSError as error:
        print(name, "refused", error)
    else:
        print(name, "REACHED")
def tcp(host, port):
    return lambda: socket.create_connection((host, port), 3)
def udp(host):
    def send():
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.sendto(b"x", (host, 53))
    return send
def unix(name):
    return lambda: socket.socket(socket.AF_UNIX).connect(name)
tried("tcp", tcp("192.0.2.1", 80))
tried("tcp6", tcp("2001:db8::1", 80))
tried("loopback", tcp("127.0.0.1", PORT))
tried("gateway", tcp("HOST", PORT))
tried("udp", udp("192.0.2.1"))
tried("dns", lambda: socket.getaddrinfo("example.org", 80))
tried("abstract", unix("\\0NAME"))
tried("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
tried("packet", lambda: socket.socket(17, socket.SOCK_RAW, 3))
tried("vsock", lambda: socket.socket(40, socket.SOCK_STREAM).connect((2, 1)))
tried("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9))
s = socket.create_server(("127.0.0.1", 0))
tried("own", tcp("127.0.0.1", s.getsockname()[1]))
"""


@needs_python
@pytest.mark.parametrize("user", ["user", "root"])
def test_no_network(place, server, user):
    name = f"envtool-{place.token}"
    port = server.server_address[1]
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with probe, socket.socket(socket.AF_UNIX) as abstract:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent: which of our addresses would be used
            host = probe.getsockname()[0]
        except OSError:
            host = "127.0.0.1"
        abstract.bind(f"\0{name}")
        abstract.listen()
        place.write("knock.py", KNOCK.replace("PORT", str(port)).replace("NAME", name).replace("HOST", host))
        log = run(place, "/usr/bin/python3 knock.py", options=f"user: {user}")
        reached = [line.split()[0] for line in log.splitlines() if line.endswith("REACHED")]
        # raw and packet sockets are container root's right, on a network of its own that leads nowhere
        assert set(reached) - ({"raw", "packet", "netlink"} if user == "root" else {"netlink"}) == {"own"}, log
        assert not server.asked
        abstract.setblocking(False)
        with pytest.raises(BlockingIOError):
            abstract.accept()


@needs_python
def test_a_layer_has_no_network_unless_it_says_so(place, server):
    server.files["/x"] = b"fetched"
    command = f"/usr/bin/python3 -c \"import urllib.request as u; print(u.urlopen('{server.url}/x', timeout=5).read())\" > /opt/x"
    text = "layers:\n  one:\n    run: |\n      {}\n    network: {}\nenvs: {{unit: {{layers: [one], tasks: {{test: cat /opt/x}}}}}}\n"
    place.spec(text.format(command, "false"))
    done = place.envtool("test")
    assert done.status == 3, done.said
    assert not server.asked
    place.spec(text.format(command, "true"))
    done = place.envtool("test", "--json")
    assert (done.status, done.log()) == (0, "b'fetched'\n")


# ---- the host's files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["user", "root"])
def test_the_hosts_files_are_not_there(place, user):
    secret = place.directory("secrets") / "key"
    place.write("secrets/key", f"SECRET-{place.token}", mode=0o600, at=place.top)
    link = place.project / "way-out"
    link.symlink_to(place.top / "secrets")
    place.give(link)
    hard = place.project / "absolute"
    hard.symlink_to("/etc/shadow")
    place.give(hard)
    wanted = [
        str(secret), "way-out/key", "absolute", "/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/root/.bashrc", "/root/.ssh",
        place.caller.home, str(place.store), str(Path(__file__)), "/var/lib/dpkg/status", "/var/log", "/proc/1/environ",
        f"/proc/1/root{secret}", f"/proc/1/cwd{secret}", f"/proc/self/root{secret}", "/proc/kcore", "/sys/kernel/debug",
        "/run/docker.sock", "/var/run/docker.sock", "/etc/ssh", "/etc/machine-id", "/mnt", "/srv", "/boot", "/dev/vda",
        "/dev/sda", "/dev/mem", "/dev/kmsg",
    ]  # fmt: skip
    script = "\n".join(f"if test -d '{p}'; then ls -A '{p}/'; else cat '{p}'; fi 2>/dev/null" for p in wanted)
    log = run(
        place,
        "set +e\n"
        + script
        + f"\ngrep -rs SECRET-{place.token} / --exclude-dir=proc --exclude-dir=sys --exclude-dir=usr --exclude=envtool.yaml\n"
        "echo homes; ls -A /home /root\ntrue",
        options=f"user: {user}",
    )
    assert place.token not in log.replace("project-" + place.token, ""), log
    before, _, after = log.partition("homes\n")
    assert before == "", before
    shown = {line for line in after.split() if not line.startswith("/")}
    assert shown <= {"envtool"}, after


@needs_python
def test_other_processes_cannot_be_seen_or_traced(place):
    tool = (
        "import ctypes, os\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "print('processes', len([n for n in os.listdir('/proc') if n.isdigit()]))\n"
        "print('traced', libc.ptrace(16, 1, 0, 0))\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    import time; time.sleep(5)\n"
        f"try:\n    os.kill({os.getpid()}, 0); print('SIGNALLED')\n"
        "except OSError as error: print('no', error)\n"
        "os.kill(pid, 9)\n"
    )
    place.write("trace.py", tool)
    log = run(place, "/usr/bin/python3 trace.py")
    assert "SIGNALLED" not in log
    assert "traced -1" in log
    assert int(log.split()[1]) < 8


def test_privileges_cannot_be_had(place):
    script = """\
set +e
mount -t tmpfs t /tmp && echo GOT mount
mount --bind /tmp /project && echo GOT bind
umount -l /project && echo GOT umount
umount -l /proc/sys && echo GOT umount-proc
unshare -Ur true && echo GOT unshare
unshare -m true && echo GOT unshare-m
mknod /tmp/sda b 8 0 && cat /tmp/sda && echo GOT device
echo 1 > /proc/sys/kernel/panic && echo GOT sysctl
echo c > /proc/sysrq-trigger && echo GOT sysrq
echo x > /sys/kernel/uevent_helper && echo GOT sys
hostname evil && echo GOT hostname
date -s 2001-01-01 && echo GOT clock
su -c true && echo GOT su
sudo -n true && echo GOT sudo
dmesg > /dev/null && echo GOT dmesg
echo x >> /usr/bin/env && echo GOT usr
rm /usr/bin/env && echo GOT rm
nice -n -5 true 2>&1 | grep -q . || echo GOT nice
cp /bin/sh /tmp/sh; chmod 4755 /tmp/sh; /tmp/sh -pc 'id -u' | grep -qx "$(id -u)" || echo GOT setuid
true
"""
    before = os.stat("/usr/bin/env")
    for user in ("user", "root"):
        log = run(place, script, options=f"user: {user}")
        got = {line.split()[1] for line in log.splitlines() if line.startswith("GOT")}
        assert got <= ({"su"} if user == "root" else set()), log  # root may become root
    after = os.stat("/usr/bin/env")
    assert (before.st_ino, before.st_mtime_ns, before.st_size) == (after.st_ino, after.st_mtime_ns, after.st_size)
    assert socket.gethostname() != "evil"


# ---- the checkout --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["user", "root"])
def test_the_checkout_cannot_be_changed(place, user):
    outside = place.directory("outside")
    place.write("outside/file", "outside\n", at=place.top)
    place.write("src/a.py", "a\n")
    place.write("src/b.py", "b\n", mode=0o600)
    place.write("run.sh", "#!/bin/sh\n", mode=0o755)
    for name, target in (("link", "../outside/file"), ("dir", str(outside)), ("inner", "src/a.py")):
        path = place.project / name
        path.symlink_to(target)
        place.give(path)
    place.shell("git init -q . && git add -A && git -c user.name=x -c user.email=x@localhost commit -qm one")
    script = """\
set +e
echo evil > src/a.py; echo evil >> src/b.py; : > run.sh; truncate -s 0 src/b.py
chmod 777 src/a.py run.sh; chown 1 src/a.py; touch -d 2001-01-01 src/b.py; setfattr -n user.x -v y src/a.py
mv src/a.py src/c.py; mv src moved; ln src/b.py hard; ln -sf /etc/passwd inner; rm -f link
echo evil > link; echo evil > dir/file; echo evil > dir/new; echo evil > inner
echo evil > /project/../outside/file
rm -rf .git/objects; echo evil > .git/config; mkdir -p .git/hooks; echo evil > .git/hooks/post-checkout
git commit --allow-empty -m evil; git config core.fsmonitor evil
rm -rf /project/* /project/.git
echo new > new; mkdir -p new-directory
dd if=/dev/zero of=run.sh bs=4k count=10 conv=notrunc
true
"""
    place.task(script, options=f"user: {user}")
    place.shell("git add -A && git -c user.name=x -c user.email=x@localhost commit -qm two")
    before = snapshot(place.project), snapshot(outside)
    done = place.envtool("test")
    assert done.status == 0, done.said
    assert snapshot(place.project) == before[0]
    assert snapshot(outside) == before[1]
    assert place.shell("git status --porcelain").strip() == ""


def test_layers_cannot_be_changed_by_tasks(place):
    place.spec(
        f"layers: {{one: {{run: 'echo {place.token} > /opt/x; chmod 666 /opt/x; chmod 777 /opt'}}}}\n"
        "envs: {unit: {layers: [one], tasks: {test: {user: root, run: 'cat /opt/x; echo evil > /opt/x; rm -r /opt/x; "
        "echo evil > /opt/y'}}}}\n"
    )
    for _ in range(2):
        done = place.envtool("test", "--json", "--again")
        assert (done.status, done.log()) == (0, place.token + "\n")


def test_tasks_side_by_side_cannot_see_each_other(place):
    envs = ", ".join(f"e{n}: {{tasks: {{test: {{run: 'sh ./one {n}', outputs: ['out-{n}']}}}}}}" for n in range(5))
    place.spec(f"envs: {{{envs}}}\n")
    place.write(
        "one",
        "set -e\nfor d in . /tmp ~ /dev/shm; do test ! -e $d/mine; echo $1 > $d/mine; done\nsleep 0.4\n"
        "for d in . /tmp ~ /dev/shm; do test $(cat $d/mine) = $1; done\n"
        "test $(ls /proc | grep -c '^[0-9]') -lt 8\necho $1 > out-$1\n",
    )
    done = place.envtool("test", "--jobs", "5", "--json")
    assert done.status == 0, done.said
    assert [(place.project / f"out-{n}").read_text() for n in range(5)] == [f"{n}\n" for n in range(5)]
    assert not (place.project / "mine").exists()
    assert threading.active_count()
    assert subprocess.run(["true"], check=True).returncode == 0
