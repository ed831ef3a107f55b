"""What starting a container costs, beside other ways to start one, and bare Python; and what each of many trivial tasks
of one run costs, all that is recorded of it included.

podman has an image of its own for this: `sh` and `true` of this machine.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from _bench import (
    Failed,
    Storage,
    Table,
    further,
    options,
    python,
    run,
    seconds,
    system,
    without_hybrid_cgroups,
    workspace,
)

SPEC = "version: 1\nenvs:\n  bench:\n    base: host\n    tasks: {test: 'true'}\n"
SYSTEM = ("bin", "etc", "lib", "lib32", "lib64", "sbin", "usr")
IMPORTS = "import envtool.__main__, envtool.cli.fastpath, envtool.run.fast_exec, envtool.container.supervisor"
BARE = "python3 -I -S -c pass"
TASKS = 200  # of one run
NAMESPACES = ("pid", "network", "ipc", "uts", "mount", "user")


def bwrap() -> list[str]:
    """This machine's system, in namespaces like ours."""
    links = {
        name: os.readlink(f"/{name}") if os.path.islink(f"/{name}") else "" for name in ("bin", "lib", "lib64", "sbin")
    }
    shown = [
        word
        for name, target in links.items()
        for word in (["--symlink", target, f"/{name}"] if target else ["--ro-bind-try", f"/{name}", f"/{name}"])
    ]
    return ["bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/usr", "/usr", *shown,
            "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "true"]  # fmt: skip


def bundle(directory: Path) -> None:
    """The same as an OCI bundle, for crun."""
    root = directory / "rootfs"
    root.mkdir(parents=True)
    for name in ("proc", "dev", "tmp", *SYSTEM):
        if os.path.islink(f"/{name}"):
            (root / name).symlink_to(os.readlink(f"/{name}"))
        elif os.path.isdir(f"/{name}"):
            (root / name).mkdir()
    binds = [
        {"destination": f"/{name}", "type": "bind", "source": f"/{name}", "options": ["rbind", "ro"]}
        for name in SYSTEM
        if os.path.isdir(f"/{name}") and not os.path.islink(f"/{name}")
    ]
    config = {
        "ociVersion": "1.0.0",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["true"], "cwd": "/", "env": ["PATH=/usr/bin:/bin"],
                    "noNewPrivileges": True, "capabilities": {}},
        "root": {"path": "rootfs", "readonly": True},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
                   {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
                   {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}, *binds],
        "linux": {
            "namespaces": [{"type": kind} for kind in NAMESPACES],
            "uidMappings": [{"containerID": 0, "hostID": os.geteuid(), "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": os.getegid(), "size": 1}],
        },
    }  # fmt: skip
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")


def podman(storage: Storage, work: Path) -> list[str]:
    """An image of two programs. Raises Failed where podman cannot make it."""
    system(work / "system")
    subprocess.run(["tar", "-cf", str(work / "root.tar"), "-C", str(work / "system"), "."], check=True)
    seconds(*storage.words("podman"), "import", work / "root.tar", "localhost/bench")
    return [*storage.words("podman"), "run", "--rm", "--network=none", "--pull=never", "--cgroups=disabled",
            "--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000", "localhost/bench", "/bin/true"]  # fmt: skip


def many_tasks(envtool: str, directory: Path, count: int) -> Callable[[], float]:
    """Returns what runs a project of `count` envs with a task `true` each, in git, and returns the seconds a task."""
    envs = "".join(f"  e{number}: {{base: host, tasks: {{test: 'true'}}}}\n" for number in range(count))
    directory.mkdir()
    (directory / "envtool.yaml").write_text(f"version: 1\nenvs:\n{envs}")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.invalid", "-C", str(directory)]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    return lambda: seconds(envtool, "-C", directory, "test", "--again") / count


def main(asked: argparse.Namespace, table: Table) -> None:
    """Each contender starts `true`, or Python with nothing to do."""
    venv = python(asked.envtool)
    with workspace(asked.envtool) as work, contextlib.ExitStack() as held:
        (work / "envtool.yaml").write_text(SPEC)
        ours = [asked.envtool, "-C", str(work), "exec", "bench", "--", "true"]
        seconds(*ours)
        commands = {
            BARE: [os.path.realpath(venv), "-I", "-S", "-c", "pass"],
            "python3 -c pass, of the environment": [venv, "-c", "pass"],
            "python3, and what a warm exec imports": [venv, "-c", IMPORTS],
            "envtool exec ENV -- true": ours,
        }
        if table.installed("bwrap"):
            commands["bwrap"] = bwrap()
        if table.installed("crun"):
            bundle(work / "bundle")
            commands["crun"] = ["crun", f"--root={work}/crun", "--cgroup-manager=disabled", "run",
                                f"--bundle={work}/bundle", "envtool-bench"]  # fmt: skip
        if table.installed("podman"):
            storage = Storage(work / "p", asked.envtool)
            held.callback(storage.clean)
            try:
                commands["podman"] = podman(storage, work)
            except Failed as failed:
                table.leave_out("podman", failed.why)
        contenders = {who: functools.partial(seconds, *words) for who, words in commands.items()}
        contenders["envtool, a further container in one process"] = held.enter_context(
            further(venv, (work / "store", work / "envtool.yaml", "bench"), functools.partial(seconds, *ours))
        )
        table.measure("start `true`", contenders, asked.rounds, base=BARE, warm=3)
        if table.installed("git"):
            count = 4 if asked.tiny else TASKS
            each = {f"envtool test --again, {count} tasks": many_tasks(asked.envtool, work / "many", count)}
            if "crun" in commands:
                each["crun, a start"] = contenders["crun"]
            rounds = min(asked.rounds, 5)
            base = "crun, a start" if "crun" in commands and "crun" not in table.left_out else ""
            table.measure("each task of one run", each, rounds, base=base, warm=1)


if __name__ == "__main__":
    parser = options(__doc__, rounds=40)
    parser.parse_args()  # what is asked wrongly is said before the namespace changes
    without_hybrid_cgroups()
    run(main, parser, unit="ms")
