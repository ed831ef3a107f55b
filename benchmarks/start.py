"""What starting a container costs, beside other ways to start one, interleaved in one run: medians and ratios.

    python benchmarks/start.py --envtool .venv/bin/envtool [--rounds 40] [--user NAME] [--podman-image NAME] [--json]

Run as root it measures as root, and with `--user` as that user too (which needs a range of ids for podman). Contenders
that are not installed are left out and named. podman needs an image: give one, or one is made (`podman import`) of the
system's own /bin and /lib, which is enough for `true`.

Interleaved: each round starts each contender once, so that whatever else the machine does meets all of them alike.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

IMAGE = "localhost/envtool-bench"
SPEC = "version: 1\nenvs:\n  bench:\n    base: host\n    tasks: {test: 'true'}\n"
SYSTEM = ("bin", "etc", "lib", "lib32", "lib64", "sbin", "usr")


def contenders(envtool: str, work: str, *, podman: bool) -> dict[str, list[str]]:
    """Name -> argv; all of them start `true` in a container (or Python, with nothing to do)."""
    python = os.path.realpath(_python(envtool))
    found = {
        "python3 -I -S -c pass": [python, "-I", "-S", "-c", "pass"],
        "venv's python3 -c pass": [_python(envtool), "-c", "pass"],
        "  and what a warm exec imports": [_python(envtool), "-c", IMPORTS],
        "envtool exec ENV -- true": [envtool, "-C", work, "exec", "bench", "--", "true"],
    }
    if shutil.which("bwrap"):
        found["bwrap"] = [
            "bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/usr", "/usr",
            *(word for name in ("bin", "lib", "lib64", "sbin") for word in _link(name)),
            "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "true",
        ]  # fmt: skip
    if shutil.which("crun"):
        found["crun run"] = ["crun", "--cgroup-manager=disabled", "run", "--bundle", f"{work}/bundle", "envtool-bench"]
    if podman and shutil.which("podman"):
        found["podman run"] = [
            "podman", "run", "--rm", "--network=none", "--pull=never", "--cgroups=disabled",
            "--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000", IMAGE, "true",
        ]  # fmt: skip
    return found


def _python(envtool: str) -> str:
    return os.path.join(os.path.dirname(envtool), "python")


def _link(name: str) -> list[str]:
    path = f"/{name}"
    if os.path.islink(path):
        return ["--symlink", os.readlink(path), path]
    return ["--ro-bind-try", path, path]


def bundle(directory: str) -> None:
    """An OCI bundle of this machine's system, for crun: namespaces like ours, `true` as the process."""
    root = f"{directory}/bundle/rootfs"
    os.makedirs(root)
    for name in ("proc", "dev", "tmp", *SYSTEM):
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{root}/{name}")
        elif os.path.isdir(f"/{name}"):
            os.mkdir(f"{root}/{name}")
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
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "user")],
            "uidMappings": [{"containerID": 0, "hostID": os.geteuid(), "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": os.getegid(), "size": 1}],
        },
    }  # fmt: skip
    with open(f"{directory}/bundle/config.json", "w", encoding="utf-8") as file:
        json.dump(config, file)


def podman_image() -> str:
    """Make the image where it is not; what went wrong, or nothing."""
    if not shutil.which("podman"):
        return "not installed"
    if subprocess.run(["podman", "image", "exists", IMAGE], check=False, capture_output=True).returncode == 0:
        return ""
    with tempfile.TemporaryDirectory() as directory:
        names = [os.path.realpath("/bin/true"), *_libraries("/bin/true")]
        subprocess.run(["tar", "-chf", f"{directory}/root.tar", "--transform", "s,^usr/bin/true$,bin/true,",
                        "-C", "/", *(name.lstrip("/") for name in names)], check=True)  # fmt: skip
        made = subprocess.run(
            ["podman", "import", f"{directory}/root.tar", IMAGE], capture_output=True, text=True, check=False
        )
    return "" if made.returncode == 0 else made.stderr.strip().splitlines()[-1]


def _libraries(program: str) -> list[str]:
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return [word for word in listed.split() if word.startswith("/")]


def once(argv: list[str]) -> float:
    """Milliseconds from start to end of one process. Raises when it fails."""
    began = time.perf_counter()
    ended = subprocess.run(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False, cwd="/"
    )
    spent = time.perf_counter() - began
    if ended.returncode != 0:
        raise SystemExit(f"{' '.join(argv)}: {ended.returncode}: {ended.stderr.decode(errors='replace')[-600:]}")
    return 1000 * spent


def measure(envtool: str, rounds: int) -> dict[str, object]:
    """Medians in ms of whoever runs this, and what was left out."""
    left_out = {}
    problem = podman_image()
    if problem:
        left_out["podman run"] = problem
    with tempfile.TemporaryDirectory(prefix="envtool-bench-") as work:
        os.environ["ENVTOOL_STORE"] = f"{work}/store"
        with open(f"{work}/envtool.yaml", "w", encoding="utf-8") as file:
            file.write(SPEC)
        bundle(work)
        chosen = contenders(envtool, work, podman=not problem)
        for name, argv in [*chosen.items()]:  # warm caches; drop what cannot run here
            for _ in range(3):
                try:
                    once(argv)
                except SystemExit as error:
                    if name.startswith(("envtool", "python")):
                        raise
                    left_out[name] = str(error)[-200:]
                    del chosen[name]
                    break
        times: dict[str, list[float]] = {name: [] for name in chosen}
        for _ in range(rounds):
            for name, argv in chosen.items():
                times[name].append(once(argv))
        times |= further(envtool, work, rounds)
        # Trees belong to the container's ids: only they can remove them.
        subprocess.run([_python(envtool), "-c", REMOVE, f"{work}/store/layers"], check=True)
    return {"medians": {name: statistics.median(spent) for name, spent in times.items()}, "left_out": left_out}


def further(envtool: str, work: str, rounds: int) -> dict[str, list[float]]:
    """One more container in a process that has started some already, as `envtool test` does for each task; phases."""
    python = _python(envtool)
    code = FURTHER.format(store=f"{work}/store", spec=os.path.realpath(f"{work}/envtool.yaml"), rounds=rounds)
    ran = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise SystemExit(ran.stderr)
    return {"a further container in a running envtool": json.loads(ran.stdout)}


IMPORTS = "import envtool.__main__, envtool.cli.fast, envtool.run.warm, envtool.container.start"
REMOVE = "import sys; from envtool.container import ids; ids.remove(sys.argv[1])"
FURTHER = """
import json, os, sys, time
from envtool.run import warm
plan = warm.read({store!r}, {spec!r}, "bench")
assert plan is not None
reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
spent = []
for _ in range({rounds} + 3):
    began = time.perf_counter()
    assert warm.launch(plan, ("true",), terminal=False, cancel=reader) == 0
    spent.append(1000 * (time.perf_counter() - began))
print(json.dumps(spent[3:]))
"""


def table(results: dict[str, dict[str, object]]) -> str:
    """Markdown: a row a contender, a column a user, each with its ratio to bare Python."""
    users = [*results]
    rows: list[str] = []
    for result in results.values():
        rows += [name for name in result["medians"] if name not in rows]  # type: ignore[attr-defined]
    lines = [f"| start `true`, ms (x bare Python) | {' | '.join(users)} |", "|---" * (len(users) + 1) + "|"]
    for row in rows:
        cells = []
        for user in users:
            medians: dict[str, float] = results[user]["medians"]  # type: ignore[assignment]
            bare = medians["python3 -I -S -c pass"]
            cells.append(f"{medians[row]:.1f} ({medians[row] / bare:.1f})" if row in medians else "-")
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def as_user(name: str, python: str, arguments: list[str]) -> dict[str, object]:
    """This script, run by another user, who starts from a login's environment."""
    entry = pwd.getpwnam(name)
    command = ["setpriv", f"--reuid={name}", f"--regid={entry.pw_gid}", "--init-groups",
               "env", "-i", f"HOME={entry.pw_dir}", f"USER={name}", "PATH=/usr/local/bin:/usr/bin:/bin",
               f"XDG_RUNTIME_DIR=/tmp/envtool-bench-{entry.pw_uid}", python, "-", *arguments]  # fmt: skip
    os.makedirs(f"/tmp/envtool-bench-{entry.pw_uid}", 0o700, exist_ok=True)
    os.chown(f"/tmp/envtool-bench-{entry.pw_uid}", entry.pw_uid, entry.pw_gid)
    with open(__file__, "rb") as script:  # read for them: the checkout may be nobody else's to read
        ran = subprocess.run(command, stdin=script, stdout=subprocess.PIPE, check=False, cwd="/")
    if ran.returncode != 0:
        raise SystemExit(ran.returncode)
    found: dict[str, object] = json.loads(ran.stdout)
    return found


def _without_hybrid_cgroups() -> None:
    """crun refuses machines that have cgroup v1 and v2 at once: as root, go on in a mount namespace without v2."""
    with open("/proc/mounts", encoding="ascii", errors="replace") as file:
        mounts = [line.split() for line in file]
    hybrid = [line[1] for line in mounts if line[2] == "cgroup2" and line[1] != "/sys/fs/cgroup"]
    if hybrid and os.geteuid() == 0:
        script = f'umount -l {" ".join(hybrid)} && exec "$@"'
        os.execvp("unshare", ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, *sys.argv])


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="what starting a container costs")
    parser.add_argument("--envtool", required=True, help="the installed command (a wheel's, with its .pyc)")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--user", help="as root: measure as this user too")
    parser.add_argument("--json", action="store_true", help="medians as JSON instead of a table")
    asked = parser.parse_args()
    for name in [name for name in os.environ if name.startswith("PYTHON")]:
        del os.environ[name]  # another place's modules would be measured
    _without_hybrid_cgroups()
    envtool = os.path.abspath(asked.envtool)
    results = {"root" if os.geteuid() == 0 else "a user": measure(envtool, asked.rounds)}
    if asked.user:
        results["a user"] = as_user(
            asked.user, _python(envtool), ["--envtool", envtool, "--rounds", str(asked.rounds), "--json"]
        )
    if asked.json:
        print(json.dumps(next(iter(results.values()))))
        return
    print(table(results))
    for user, result in results.items():
        for name, reason in result["left_out"].items():  # type: ignore[attr-defined]
            print(f"\nleft out for {user}: {name}: {reason}")


if __name__ == "__main__":
    main()
