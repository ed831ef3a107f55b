"""What all benchmarks share: their options, timing in interleaved rounds, tables; storages, images and a registry.

A benchmark is `main(asked, table)`, handed to `run`. It takes times of contenders by `table.measure`, round by round,
so that whatever else the machine does meets all of them alike, or single ones by `table.add`. Contenders that are not
installed, or that this machine refuses, are left out and named; ours never are.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import json
import os
import platform
import resource
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

OURS = ("envtool", "python")
REMOVE = "import sys; from envtool.container.userns import remove_as_root; remove_as_root(sys.argv[1])"
NOT_INSTALLED = "not installed"


class Failed(SystemExit):
    """A command that had to succeed did not; its text says which and what it said."""

    @property
    def why(self) -> str:
        """The end of it."""
        return f"cannot run here: {str(self).strip().splitlines()[-1][-200:]}"


# ---- times and tables ----------------------------------------------------------------------------------------------


def seconds(*words: str | os.PathLike[str], cwd: str | os.PathLike[str] = "/", statuses: tuple[int, ...] = (0,),
            **more: str) -> float:  # fmt: skip
    """From start to end of one process; `more` are variables beside ours. Raises Failed."""
    output = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    environ = {**os.environ, **more}
    began = time.perf_counter()
    ended = subprocess.run(words, **output, cwd=cwd, env=environ, check=False)
    spent = time.perf_counter() - began
    if ended.returncode not in statuses:
        said = ended.stderr.decode(errors="replace")
        raise Failed(f"{' '.join(map(os.fspath, words))}: status {ended.returncode}: {said.strip()[-600:]}")
    return spent


def timed(work: Callable[[], object]) -> float:
    """Seconds that a function takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def cpu(run: Callable[[], object]) -> float:
    """CPU seconds of the processes that a contender starts and waits for: steadier on a machine that has much to do."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def spread(times: list[float]) -> float:
    """Between the quartiles (few rounds: the ends), as a share of the median."""
    if len(times) < 2:
        return 0.0
    first, _, third = statistics.quantiles(times, n=4) if len(times) > 3 else (min(times), 0.0, max(times))
    return (third - first) / statistics.median(times)


def ratio(times: list[float], base: list[float]) -> float:
    """How many times as long: the median of what each round says where the rounds are the same."""
    if len(times) == len(base):
        return statistics.median(one / other for one, other in zip(times, base, strict=True))
    return statistics.median(times) / statistics.median(base)


@dataclass
class Table:
    """Times in seconds by what is done and by whom, and who was left out for which reason."""

    unit: str = "s"  # or ms
    times: dict[str, dict[str, list[float]]] = field(default_factory=dict)  # what -> who -> a time a round
    base: dict[str, str] = field(default_factory=dict)  # what -> whom the others are compared with
    left_out: dict[str, str] = field(default_factory=dict)  # who -> why
    ways: dict[str, str] = field(default_factory=dict)  # who -> how it does it, in words

    def measure(
        self, what: str, contenders: Mapping[str, Callable[[], float]], rounds: int, *, base: str = "", warm: int = 0
    ) -> None:
        """Let all contenders do it once a round, there and back again; `warm` rounds before (no more than those that
        count) do not count."""
        warm = min(warm, rounds)
        running = {who: run for who, run in contenders.items() if who not in self.left_out}
        found: dict[str, list[float]] = {who: [] for who in running}
        for number in range(warm + rounds):
            for who in [*running] if number % 2 == 0 else [*reversed(running)]:
                try:
                    spent = running[who]()
                except Failed as failed:
                    if who.startswith(OURS):
                        raise
                    del running[who], found[who]
                    self.leave_out(who, failed.why)
                    continue
                if number >= warm:
                    found[who].append(spent)
        self.times[what] = found
        if base in found:
            self.base[what] = base

    def add(self, what: str, who: str, spent: float, *, base: str = "") -> None:
        """One more time of one contender."""
        self.times.setdefault(what, {}).setdefault(who, []).append(spent)
        if base:
            self.base[what] = base

    def leave_out(self, who: str, why: str) -> None:
        """Name a contender that is not measured."""
        self.left_out[who] = " ".join(why.split())

    def installed(self, *programs: str, who: str = "") -> bool:
        """Whether a contender has all that it needs; named if not."""
        missing = [name for name in programs if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")]
        if missing:
            self.leave_out(who or missing[0], f"{', '.join(missing)}: {NOT_INSTALLED}" if who else NOT_INSTALLED)
        return not missing

    def __str__(self) -> str:
        factor = {"s": 1, "ms": 1000}[self.unit]
        digits = {"s": 2, "ms": 1}[self.unit]
        lines = [f"| what | who | {self.unit} | spread | ratio |", "|---|---|---|---|---|"]
        for what, row in self.times.items():
            base = self.base.get(what, "")
            for who, times in row.items():
                beside = f"{ratio(times, row[base]):.2f}" if base else "-"
                width = f"{spread(times):.0%}" if len(times) > 1 else "-"
                middle = statistics.median(times)
                shown = f"{factor * middle:.{digits}f}" if factor * middle >= 1 else f"{factor * middle:.3g}"
                lines.append(f"| {what} | {who} | {shown} | {width} | {beside} |")
        lines += ["", *(f"{who}: {way}" for who, way in self.ways.items() if who not in self.left_out), ""]
        lines += [*(f"left out: {who}: {why}" for who, why in self.left_out.items())]
        return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip()

    def plain(self) -> dict[str, object]:
        """What `--json` writes."""
        medians = {
            what: {who: statistics.median(times) for who, times in row.items()} for what, row in self.times.items()
        }
        return {"seconds": medians, "left_out": self.left_out}


# ---- the command line ----------------------------------------------------------------------------------------------


def options(about: str, *, rounds: int) -> argparse.ArgumentParser:
    """What every benchmark understands; `asked.rounds` is 1 with --tiny."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = Path(sys.executable).with_name("envtool")
    parser.add_argument("--envtool", default=str(beside), help=f"the installed command ({beside})")
    parser.add_argument("--rounds", type=int, help=f"how often each contender has its turn ({rounds})")
    parser.add_argument("--tiny", action="store_true", help="the smallest sizes and one round: does it still run?")
    parser.add_argument("--json", metavar="FILE", help="write medians in seconds and who was left out, too")
    parser.set_defaults(usual=rounds)
    return parser


def run(main: Callable[[argparse.Namespace, Table], None], parser: argparse.ArgumentParser, *, unit: str = "s") -> None:
    """Read the command line, measure, print the table."""
    asked = parser.parse_args()
    asked.rounds = asked.rounds or (1 if asked.tiny else asked.usual)
    asked.envtool = os.path.abspath(asked.envtool)
    if not os.access(asked.envtool, os.X_OK):
        parser.error(f"{asked.envtool} is not there: .ci/setup makes an environment, --envtool names another")
    for name in [name for name in os.environ if name.startswith("PYTHON")]:
        del os.environ[name]  # another place's modules would be measured
    table = Table(unit=unit)
    main(asked, table)
    print(table, flush=True)
    if asked.json:
        Path(asked.json).write_text(json.dumps(table.plain()), encoding="utf-8")


# ---- places --------------------------------------------------------------------------------------------------------


def python(envtool: str) -> str:
    """The interpreter of the environment that a command stands in."""
    return os.path.join(os.path.dirname(envtool), "python")


@contextlib.contextmanager
def workspace(envtool: str) -> Iterator[Path]:
    """A directory for this run with a store in it, which `envtool` finds. Trees belong to the container's ids: only
    they can remove them."""
    top = Path(tempfile.gettempdir(), f"eb-{secrets.token_hex(4)}")  # no name of mkdtemp's: buildah refuses a last _
    top.mkdir(mode=0o700)
    os.environ["ENVTOOL_STORE"] = str(top / "store")
    try:
        yield top
    finally:
        del os.environ["ENVTOOL_STORE"]
        remove(envtool, top)


def remove(envtool: str, *places: str | os.PathLike[str]) -> None:
    """Delete trees that containers made."""
    for place in places:
        subprocess.run([python(envtool), "-c", REMOVE, str(place)], check=True)


def repository(directory: Path, count: int) -> None:
    """A git repository of `count` files, all of them committed."""
    for number in range(count):
        parent = directory / f"pkg{number // 1000}/part{number // 50 % 20}"
        if number % 50 == 0:
            parent.mkdir(parents=True, exist_ok=True)
        with open(parent / f"file{number}.py", "w", encoding="ascii") as file:
            file.write(f"value = {number}\n" * 40)
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"]
    for words in (["init", "-q"], ["config", "gc.auto", "0"], ["add", "-A"], [*identity, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", "-C", str(directory), *words], check=True)


# ---- one more container in a process that has started some ---------------------------------------------------------

FURTHER = """
import os, resource, sys, time
try:
    from envtool.run.fast_exec import launch, read_plan, release
except ImportError:  # before these were their names
    from envtool.run import warm
    launch, read_plan, release = warm.launch, warm.read, getattr(warm, "release", lambda plan: None)

def used():
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in found)

reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
for line in sys.stdin:
    plan = read_plan(*sys.argv[1:])  # anew: there was an envtool whose `launch` closed what `read` had opened
    if plan is None:
        print("none", flush=True)
        continue
    began, before = time.perf_counter(), used()
    status = launch(plan, ("true",), terminal=False, cancel=reader)
    spent, cpu = time.perf_counter() - began, used() - before
    assert status == 0, status
    release(plan)
    print(spent, cpu, flush=True)
"""


@contextlib.contextmanager
def further(
    python: str, plan: tuple[Path, Path, str], prepare: Callable[[], object], *, cpu: bool = False, **more: str
) -> Iterator[Callable[[], float]]:
    """A process that starts `true` in the container of an env whenever it is asked, as `envtool test` does for each
    task: seconds, of the clock or of CPU time. `plan` is store, spec and env; `prepare` makes it, once more too when
    something of this machine has changed. The first three do not count: they import, and make maps."""
    store, spec, env = plan
    with subprocess.Popen(
        [python, "-c", FURTHER, str(store), os.path.realpath(spec), env],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/",
        env={**os.environ, **more},
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None

        def once() -> float:
            for _ in range(3):
                process.stdin.write("\n")
                process.stdin.flush()
                answer = process.stdout.readline()
                if answer != "none\n":
                    break
                prepare()
            if not answer or answer == "none\n":
                process.kill()
                raise Failed(f"a further container: {answer}{process.stderr.read()[-600:]}")
            return float(answer.split()[cpu])

        for _ in range(3):
            once()
        yield once
        process.stdin.close()


# ---- images, and what keeps them -----------------------------------------------------------------------------------


class Storage:
    """podman's and buildah's images and containers of this run alone, in a directory whose name is short."""

    def __init__(self, top: Path, envtool: str) -> None:
        self.top, self._envtool = top, envtool
        self.clean()

    @property
    def variables(self) -> dict[str, str]:
        """For podman, buildah and skopeo: a runtime directory and credentials of this run. Without them an ordinary
        user's tools search /run/containers, which may be root's alone."""
        return {"XDG_RUNTIME_DIR": f"{self.top}/x", "REGISTRY_AUTH_FILE": f"{self.top}/x/auth.json"}

    def words(self, tool: str) -> list[str]:
        """The command, with where it keeps what it has. As a user podman leaves a process behind, which it finds by the
        runtime directory."""
        runtime = ["env", *(f"{name}={value}" for name, value in self.variables.items())] if os.geteuid() else []
        return [*runtime, tool, "--root", f"{self.top}/s", "--runroot", f"{self.top}/r", "--storage-driver", "overlay"]

    def clean(self) -> None:
        """Begin with nothing: end that process, unmount and remove everything."""
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((self.top / "x/libpod/tmp/pause.pid").read_text()), signal.SIGKILL)
        mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for place in reversed([place for place in mounted if place.startswith(f"{self.top}/")]):
            subprocess.run(["umount", "--lazy", place], check=False)
        remove(self._envtool, self.top)
        (self.top / "x").mkdir(mode=0o700, parents=True)
        (self.top / "x/auth.json").write_text("{}")


def without_hybrid_cgroups() -> None:
    """crun refuses machines that have cgroup v1 and v2 at once: as root, go on in a mount namespace without v2."""
    with open("/proc/mounts", encoding="ascii", errors="replace") as file:
        mounts = [line.split() for line in file]
    hybrid = [line[1] for line in mounts if line[2] == "cgroup2" and line[1] != "/sys/fs/cgroup"]
    if hybrid and os.geteuid() == 0:
        script = f'umount -l {" ".join(hybrid)} && exec "$@"'
        os.execvp("unshare", ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, *sys.argv])


def libraries(program: str | os.PathLike[str]) -> list[str]:
    """The shared libraries of a program, with the loader."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return [word for word in listed.split() if word.startswith("/")]


def system(to: Path, programs: Iterable[str] = ("sh", "true"), megabytes: float = 0) -> None:
    """A small root: some of this machine's programs with their libraries, and other files of it."""
    names: dict[str, None] = {}
    for program in programs:
        path = shutil.which(program)
        assert path, program
        names[f"/bin/{program}"] = None
        names |= dict.fromkeys(libraries(path))
    for name in names:
        target = to / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(shutil.which(name.rpartition("/")[2]) if name.startswith("/bin/") else name, target)
    for name in ("tmp", "etc", "proc", "dev", "sys"):
        (to / name).mkdir(exist_ok=True)
    for path in some_files(megabytes):
        target = to / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def some_files(megabytes: float, skip: float = 0) -> Iterator[str]:
    """Regular files of this machine below /usr, always in the same order; `skip` megabytes of them are left out."""
    done, end = 0, 1e6 * (skip + megabytes)
    for place in ("/usr/lib", "/usr/share", "/usr/bin"):
        for directory, names, found in os.walk(place):
            names.sort()
            for name in sorted(found):
                if done >= end:
                    return
                path = os.path.join(directory, name)
                if os.path.islink(path) or not os.path.isfile(path) or not os.access(path, os.R_OK):
                    continue
                size = os.stat(path).st_size
                if 0 < size < 8 << 20:
                    done += size
                    if done > 1e6 * skip:
                        yield path


def layout(to: Path, tars: list[Path], pack: Callable[[bytes], bytes], compression: str) -> int:
    """Write an OCI layout of an image, tagged `v1`, of uncompressed layers; its packed size in bytes."""
    blobs = to / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    media = "application/vnd.oci.image"
    layers = [{"mediaType": f"{media}.layer.v1.tar+{compression}", **put(pack(tar.read_bytes()))} for tar in tars]
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    diff_ids = [f"sha256:{hashlib.sha256(tar.read_bytes()).hexdigest()}" for tar in tars]
    config = {"architecture": architecture, "os": "linux", "config": {"Env": ["PATH=/usr/bin:/bin"]},
              "history": [{"created_by": "bench"} for _ in tars],
              "rootfs": {"type": "layers", "diff_ids": diff_ids}}  # fmt: skip
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{media}.manifest.v1+json",
        "config": {"mediaType": f"{media}.config.v1+json", **put(json.dumps(config).encode())},
        "layers": layers,
    }
    entry = {"mediaType": manifest["mediaType"], **put(json.dumps(manifest).encode()),
             "annotations": {"org.opencontainers.image.ref.name": "v1"}}  # fmt: skip
    (to / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (to / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return sum(int(str(each["size"])) for each in layers)


@contextlib.contextmanager
def registry(top: Path) -> Iterator[str]:
    """Debian's docker-registry on loopback, its files in `top`: host:port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    top.mkdir()
    config = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(top / "files")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    (top / "registry.yml").write_text(json.dumps(config))
    words = ["docker-registry", "serve", str(top / "registry.yml")]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for number in itertools.count():
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    if number > 500 or process.poll() is not None:
                        raise Failed("docker-registry does not answer") from None
                    time.sleep(0.02)
            os.environ["ENVTOOL_INSECURE_REGISTRIES"] = f"127.0.0.1:{port}"
            yield f"127.0.0.1:{port}"
        finally:
            os.environ.pop("ENVTOOL_INSECURE_REGISTRIES", None)
            process.kill()
