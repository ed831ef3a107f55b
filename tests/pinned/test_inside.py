"""What a container shows to what runs in it, for each id mode: a task, one of root, one with a network, `exec`, a layer, RUN.

shell.c looks about from inside. What hangs on the kernel or on who calls is taken out, or compared with what is outside.
"""

from __future__ import annotations

import hashlib
import os
import re
import resource
import subprocess
import tarfile

import pytest

from tests.pinned.shared import PROGRAM, X86_64, Map, golden

pytestmark = [pytest.mark.e2e, pytest.mark.every_caller, X86_64]

TRIED = """/proc/kcore /proc/keys /proc/kmsg /proc/kallsyms /proc/interrupts /proc/timer_list /proc/sched_debug /proc/sysrq-trigger
/proc/scsi /proc/acpi /proc/bus /proc/fs /proc/irq /proc/asound /proc/latency_stats /proc/sys/kernel/hostname
/proc/sys/kernel/core_pattern /proc/sys/net/ipv4/ip_forward /sys/firmware /sys/kernel /sys/fs/cgroup /sys/devices/virtual/powercap
/dev/mem /dev/kmsg /dev/console /dev/tty /dev/ptmx /dev/null /dev/full /dev/fuse /dev/net/tun /dev/shm /dev/mqueue
/etc/shadow /etc/passwd /etc/hosts /etc/resolv.conf /root /bin/sh /tmp /project /project/data.txt /proc/1/environ /proc/1/root""".split()  # noqa: SIM905
OURS = ("overlay", "tmpfs", "proc", "sysfs", "devpts", "mqueue", "ramfs")
VARYING = "uuid=|size=|nr_inodes=|inode64|index=|xino=|metacopy="
SHOWN = ("Umask", "Uid", "Gid", "Groups", "NSpid", "NoNewPrivs", "Seccomp", "Seccomp_filters")
PARTS = {
    "where": "where",
    "variables": "env",
    "top": "ls /",
    "devices": "ls /dev",
    "open": "open",
    "limits": "limits",
    "status": "cat /proc/self/status",
    "users": "cat /proc/self/uid_map",
    "groups": "cat /proc/self/gid_map",
    "mounts": "cat /proc/self/mountinfo",
    "files": "try " + " ".join(TRIED[:28]) + "; try " + " ".join(TRIED[28:]),
    "special": "special",
    "calls": "calls",
}
PROBE = "; ".join(f"echo == {name}; {command}" for name, command in PARTS.items())
ACCOUNTS = "; echo == accounts; cat /etc/passwd /etc/group"  # only who is no root has some on this base
SPEC = """\
bases:
  tiny: {{tarball: {{path: root.tar.gz, sha256: {sha256}}}}}
  docker: {{dockerfile: Dockerfile}}
layers:
  looks: {{run: "{probe}"}}
  reads: {{run: "{probe}", inputs: [data.txt], network: true}}
defaults: {{base: tiny}}
envs:
  task: {{tasks: {{test: "{probe}{accounts}"}}}}
  root: {{tasks: {{test: {{run: "{probe}", user: root}}}}}}
  network: {{network: true, tasks: {{test: "{probe}{accounts}"}}}}
  layer: {{layers: [looks, reads], tasks: {{test: "true"}}}}
  run: {{base: docker, tasks: {{test: "true"}}}}
"""
DOCKERFILE = "FROM scratch\nADD root.tar.gz /\nENV FROM=docker\nRUN --network=none {probe}\nUSER {user}\nRUN {probe}\n"


@pytest.fixture
def looked(fresh):
    """Situation -> part -> lines."""
    place = fresh
    place.write("root.tar.gz", PROGRAM.read_bytes())
    place.write("data.txt", "data\n")
    user = "0" if place.caller.mode == "single" else "1000"  # there is no other id
    place.write("Dockerfile", DOCKERFILE.format(probe=PROBE, user=user))
    place.spec(SPEC.format(sha256=hashlib.sha256(PROGRAM.read_bytes()).hexdigest(), probe=PROBE, accounts=ACCOUNTS))
    place.environ |= {"VISIBLE": "no"}
    done = place.envtool("test", "--json", "-j", "1")
    assert done.status == 0, done.said
    texts: dict[str, str] = {}
    started = [each for each in done.events if each["event"] == "started"]
    names = {each["id"]: each["name"] for each in started}
    runs = [each["id"] for each in started if each["name"].startswith("RUN ")]
    names |= dict(zip(runs, ("RUN alone", "RUN as a user"), strict=True))
    for each in done.events:
        if each["event"] == "output":
            what = each["id"].split(":")[1] if each["id"].startswith("task:") else names[each["id"]]
            texts[what] = texts.get(what, "") + each["text"]
    for number in range(2):  # the second one is warm
        done = place.envtool("exec", "task", "--", "/bin/sh", "-c", PROBE + ACCOUNTS)
        assert done.status == 0, done.said
        texts["exec" if not number else "warm exec"] = done.out
    ids = Map.of(place)
    return {what: normalised(text, ids) for what, text in texts.items()}, outside(place)


def outside(place) -> set[str]:
    """System calls that this kernel does not know at all: nothing is said of them."""
    with tarfile.open(PROGRAM) as tar:
        program = place.write("shell", tar.extractfile("bin/sh").read(), mode=0o755, at=place.top)
    nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    place.top.chmod(0o755)
    done = subprocess.run([program, "-c", "calls"], capture_output=True, text=True, check=True, cwd="/", **nobody)
    return {line.split()[0] for line in done.stdout.splitlines() if line.endswith(" -38")}


def normalised(text: str, ids: Map) -> dict[str, list[str]]:
    parts: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("== "):
            parts[line[3:]] = []
        else:
            parts[[*parts][-1]].append(line)
    for name in ("variables", "top", "devices", "open"):
        parts[name].sort()
    parts["variables"] = [line for line in parts["variables"] if "proxy" not in line.lower()]
    parts["open"] = [re.sub(r"\[\d+\]", "[…]", line) for line in parts["open"]]
    rows = (line.split(":", 1) for line in parts["status"])
    parts["status"] = [
        f"{name}: {' '.join(value.split())}" for name, value in rows if name in SHOWN or name.startswith("Cap")
    ]
    for name, own in (("users", ids.uid), ("groups", ids.gid)):
        extents = [[int(word) for word in line.split()] for line in parts[name]]
        parts[name] = [
            f"{first} {_id(host, ids.root, own)} {count}" for first, host, count in extents if first < 1 << 16
        ]
    varying = ("socket ping", "socket netlink audit", "socket alg")  # what the kernel has, and how it is set
    parts["special"] = [line for line in parts["special"] if not line.startswith(varying)]
    parts["mounts"] = mounts(parts["mounts"], ids)
    answers = [line.split() for line in parts["calls"]]
    parts["calls"] = [
        " ".join([name, *(number for number, answer in answers if answer == errno)])
        for name, errno in (("EPERM", "-1"), ("ENOSYS", "-38"))
    ]
    return parts


def _id(host: int, root: int, own: int) -> str:
    return "caller" if host == own else f"root+{host - root}" if host != root else "root"


def mounts(lines: list[str], ids: Map) -> list[str]:
    """One line a mount: where, on what, its options, type and options of the file system."""
    rows = [line.split() for line in lines]
    places = {row[0]: row[4] for row in rows}
    found = []
    for row in rows:
        rest = row[row.index("-") + 1 :]
        if row[3] in ("/null", "/zero", "/full", "/random", "/urandom", "/tty"):
            found.append(f"{row[4]} is /dev{row[3]}")
            continue
        if re.match("/sys/(fs|kernel)/", row[4]):  # with a network, this machine's own
            continue
        where = f"{row[4]} on {places.get(row[1], 'nothing')}:"
        options = ",".join(word for word in row[5].split(",") if not word.endswith("atime"))
        if rest[0] not in OURS:  # a file of this machine, on whatever it lies
            found.append(f"{where} a file {options}")
            continue
        more = [word for word in rest[2].split(",") if not re.match(VARYING, word)]
        more = [
            re.sub(r"(uid|gid)=(\d+)", lambda m: f"{m[1]}={_id(int(m[2]), ids.root, ids.uid)}", word) for word in more
        ]
        found.append(f"{where} {row[3]} {options} {rest[0]} {','.join(more)}")
    return found


def absent(line: str) -> bool:
    """Whether it is about a file of the kernel that this one has not."""
    path = re.split("[ :]", line)[0]
    return path.startswith(("/proc/", "/sys/")) and not re.match("/proc/(1|self)/", path) and not os.path.lexists(path)


def comparable(part: str, lines: list[str], unknown: set[str]) -> list[str]:
    if part == "calls":
        return [" ".join(word for word in line.split() if word not in unknown) for line in lines]
    if part in ("mounts", "files"):
        return [line for line in lines if not absent(line)]
    return lines


def limits(lines: list[str]) -> list[str]:
    """What is as outside is told so."""
    found = []
    for line in lines:
        number, soft, hard = map(int, line.split())
        as_outside = (soft, hard) == resource.getrlimit(number)
        found.append(f"{number} as outside" if as_outside else line)
    return found


def test_what_is_seen_from_inside(caller, looked):
    found, unknown = looked
    assert len(found) == 9
    shown = {}
    for what, parts in found.items():
        assert {*parts} - {"accounts"} == {*PARTS}
        parts["limits"] = limits(parts["limits"])
        shown[what] = {name: comparable(name, lines, unknown) for name, lines in parts.items()}
    golden(
        f"inside-{caller.mode}.json",
        shown,
        among=lambda kept: {
            what: {name: comparable(name, lines, unknown) for name, lines in parts.items()}
            for what, parts in kept.items()
        },
    )
