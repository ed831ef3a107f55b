"""The installed-like command on small projects, as whoever runs pytest, and as root also as two ordinary users.

`place` is a directory of one caller with a project and a store in it; what runs in it can be told by its `token`.
What is dear to make (users, a readable Python, each caller's warm store) is made once, for all processes of a run.
"""

from __future__ import annotations

import compileall
import contextlib
import fcntl
import functools
import http.server
import importlib.util
import json
import os
import pwd
import re
import resource
import secrets
import shutil
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from envtool.container import userns
from envtool.errors import SandboxError
from envtool.fs import removal
from tests import accounts
from tests.load import allowed

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = (REPOSITORY, *sorted(REPOSITORY.glob("plugins/*/src")))
LIMIT = 60  # seconds that any one command may take
LONG = 600  # and one that makes a system
# How this machine reaches its package registries: a caller of ours has no login that would tell it.
_OUTSIDE = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "no_proxy", "NO_PROXY")
_OUTSIDE_PREFIXES = ("PIP_", "npm_config_", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")


# ---- what all processes of one run share ----------------------------------------------------------------------------


def begin() -> str:
    """Make the directory that all processes of this run share. pytest-xdist's workers find it in their environment.
    Our sources are compiled: commands that tests start write no bytecode, and would compile all that they import."""
    for source in SOURCES:
        compileall.compile_dir(source / "envtool" if source == REPOSITORY else source, quiet=2)
    top = tempfile.mkdtemp(prefix="envtool-tests-")
    os.chmod(top, 0o755)
    os.environ[_SHARED] = top
    return top


def end(top: str) -> None:
    """Remove what was shared, and the users that were made."""
    for marker in Path(top).glob("user-*"):
        accounts.leave_account(marker.name.partition("-")[2])
    try:
        userns.remove_as_root(top)
    except SandboxError:  # no containers here, so nothing of theirs is in it
        shutil.rmtree(top)
    os.environ.pop(_SHARED, None)


_SHARED = "ENVTOOL_TESTS_TOP"


@contextlib.contextmanager
def once(name: str) -> Iterator[Path | None]:
    """A path for what is made once a run: its maker gets it while all others wait, None where it stands already."""
    top = Path(os.environ[_SHARED])
    with open(top / f"{name}.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = top / f"{name}.done"
        if done.exists():
            yield None
        else:
            yield top / name
            done.touch()


def made(name: str) -> Path:
    """Where `once` had it made."""
    return Path(os.environ[_SHARED]) / name


# ---- callers -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Caller:
    """Who calls: `mode` is what its containers' ids are (root, range, single)."""

    name: str
    mode: str
    uid: int
    gid: int
    home: str
    command: tuple[str, ...]
    path: str  # PYTHONPATH

    def spawn(self, *words: str, **more) -> subprocess.Popen:
        if os.geteuid() != self.uid:
            more |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return subprocess.Popen(words, **more)


def _user(mode: str) -> str:
    """Name of an ordinary user with a range of ids or without one; an account is made where there is none."""
    if user := accounts.find_ordinary(mode):
        return user
    if not shutil.which("useradd") or not shutil.which("usermod"):
        pytest.skip("no ordinary user here, and no useradd to make one")
    if mode == "range" and not userns.find_helper("newuidmap"):
        pytest.skip("newuidmap is not installed")
    name = f"envtool-{mode}"
    accounts.use_account(name, mode)
    made(f"user-{name}").touch()
    return name


@functools.cache
def runtime() -> tuple[str, str]:
    """A Python and a PYTHONPATH that everybody can read: ours, or (a checkout below /root) copies."""
    ours = (sys.executable, ":".join(map(str, SOURCES)))
    probe = [
        ours[0],
        "-c",
        "import envtool.app, envtool.cli.main, envtool_cc, envtool_java, envtool_node, envtool_python, envtool_rust, envtool_go, envtool_services.plugin, jsonschema_rs, rich, requests, jinja2",
    ]
    nobody = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": "/", "env": {"PYTHONPATH": ours[1]}}
    with contextlib.suppress(OSError):
        if subprocess.run(probe, **nobody, capture_output=True, check=False).returncode == 0:
            return ours
    copies = [str(made("python") / str(number)) for number in range(len(SOURCES) + 1)]
    with once("python") as new:
        if new:
            site = Path(importlib.util.find_spec("click").origin).parents[1]
            wanted = [(SOURCES[0] / "envtool", copies[0] + "/envtool"), *zip(SOURCES[1:], copies[1:-1], strict=True)]
            wanted.append((site, copies[-1]))
            for source, target in wanted:
                shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("*.pth"))
            subprocess.run(["chmod", "-R", "a+rX", str(new)], check=True)
    nobody["env"] = {"PYTHONPATH": ":".join(copies)}
    # ours may lie below /root, too: then the system's of the same version, since compiled modules are copied along
    names = [os.path.realpath(sys.executable), f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"]
    why = ""
    for base in names:
        try:
            done = subprocess.run([base, *probe[1:]], **nobody, capture_output=True, text=True, check=False)
        except OSError as error:
            why += f"; {error}"
            continue
        if done.returncode == 0:
            return base, ":".join(copies)
        why += f"; {base}: {done.stderr[-300:]}"
    pytest.skip(f"no Python here that an ordinary user may start{why}")


def _me() -> Caller:
    user = pwd.getpwuid(os.geteuid())
    return Caller(
        name=user.pw_name,
        mode=userns.caller_ids().mode,
        uid=user.pw_uid,
        gid=os.getegid(),
        home=user.pw_dir,
        command=(sys.executable, "-m", "envtool"),
        path=":".join(map(str, SOURCES)),
    )


# As root, the callers to try; .ci/run leaves out those that its other run stands for.
CALLERS = os.environ.get("ENVTOOL_CALLERS", "root range single").split() if os.geteuid() == 0 else ["me"]


@pytest.fixture(scope="session", params=CALLERS)
def caller(request: pytest.FixtureRequest) -> Caller:
    return calling(request.param)


def calling(mode: str) -> Caller:
    """A caller whose containers' ids are of this mode."""
    if mode in ("root", "me"):
        return _me()
    python, path = runtime()
    name = _user(mode)
    user = pwd.getpwnam(name)
    return Caller(
        name=name,
        mode=mode,
        uid=user.pw_uid,
        gid=user.pw_gid,
        home=user.pw_dir,
        command=(python, "-m", "envtool"),
        path=path,
    )


# ---- places --------------------------------------------------------------------------------------------------------


@dataclass
class Done:
    """A command that ended. `out` and `err` are text; `raw` is what came on standard output."""

    status: int
    raw: bytes
    err: str
    seconds: float

    @property
    def out(self) -> str:
        return self.raw.decode(errors="replace")

    @property
    def said(self) -> str:
        return self.out + self.err

    @property
    def events(self) -> list[dict]:
        return [json.loads(line) for line in self.out.splitlines()]

    def finished(self, subject: str) -> list[dict]:
        return [event for event in self.events if event["event"] == "finished" and event["subject"] == subject]

    def log(self) -> str:
        """What the only task printed."""
        return "".join(event["text"] for event in self.events if event["event"] == "output")


@dataclass
class Place:
    caller: Caller
    top: Path
    token: str
    project: Path
    store: Path
    environ: dict[str, str] = field(default_factory=dict)
    limit: int = LIMIT
    common: bool = False  # whether tests of other processes write to the same store meanwhile
    running: list[subprocess.Popen] = field(default_factory=list)

    @property
    def nap(self) -> str:
        """Seconds for `sleep` that nobody else sleeps: how its processes are recognised."""
        return f"3600.{int(self.token, 16)}"

    def write(self, name: str, text: str | bytes, *, mode: int = 0o644, at: Path | None = None) -> Path:
        path = (at or self.project) / name
        for parent in reversed(path.parents):
            if not parent.exists():
                parent.mkdir()
                self.give(parent)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        self.give(path)
        return path

    def give(self, path: Path) -> Path:
        os.chown(path, self.caller.uid, self.caller.gid, follow_symlinks=False)
        return path

    def directory(self, name: str, mode: int = 0o755) -> Path:
        path = self.top / name
        path.mkdir(mode)
        return self.give(path)

    def copy(self, tree: Path) -> None:
        """The files of a tree become the project's."""
        for path in sorted(tree.rglob("*")):
            name = str(path.relative_to(tree))
            if path.is_file() and not {".envtool", "dist"} & {*Path(name).parts}:
                self.write(name, path.read_bytes(), mode=path.stat().st_mode & 0o777)

    def spec(self, text: str, *, at: Path | None = None) -> None:
        self.write("envtool.yaml", "version: 1\n" + text, at=at)

    def allow(self, text: str) -> None:
        """What the caller's own configuration lets every project have."""
        self.write(".config/envtool/config.yaml", f"version: 1\nallow: {{{text}}}\n", at=self.top)

    def task(self, script: str, *, options: str = "", env: str = "") -> None:
        """A spec of one env with one task on this machine's base; `script` is shell."""
        block = "\n".join("          " + line for line in script.splitlines())
        more = "".join(f"        {line}\n" for line in options.splitlines())
        own = "".join(f"    {line}\n" for line in env.splitlines())
        self.spec(f"envs:\n  unit:\n{own}    tasks:\n      test:\n{more}        run: |\n{block}\n")

    def variables(self) -> dict[str, str]:
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(self.top),
            "TMPDIR": str(self.top / "tmp"),
            "ENVTOOL_STORE": str(self.store),
            "PYTHONPATH": self.caller.path,
            "PYTHONDONTWRITEBYTECODE": "1",
            "LC_ALL": "C.UTF-8",
            **self.environ,
        }

    def start(self, *words: str, **more) -> subprocess.Popen:
        more.setdefault("stdin", subprocess.DEVNULL)
        more.setdefault("stdout", subprocess.PIPE)
        more.setdefault("stderr", subprocess.PIPE)
        more.setdefault("cwd", self.project)
        more.setdefault("start_new_session", True)
        process = self.caller.spawn(*self.caller.command, *words, env=self.variables(), **more)
        self.running.append(process)
        return process

    def finish(self, process: subprocess.Popen, data: bytes | None = None, *, since: float = 0.0) -> Done:
        try:
            out, err = process.communicate(data, timeout=self.limit)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            pytest.fail(f"did not end in {self.limit} s:\n{out!r}\n{err!r}")
        said = (err or b"").decode(errors="replace")
        assert not re.search(r'File ".*/envtool/', said), said
        assert "internal error" not in said, said
        return Done(process.returncode, out or b"", said, time.monotonic() - since)

    def envtool(self, *words: str, data: bytes | None = None, **more) -> Done:
        since = time.monotonic()
        if data is not None:
            more["stdin"] = subprocess.PIPE
        return self.finish(self.start(*words, **more), data, since=since)

    def shell(self, script: str, cwd: Path | None = None) -> str:
        """Run shell lines as the caller, outside."""
        process = self.caller.spawn(
            "/bin/sh", "-ec", script, cwd=cwd or self.project, env=self.variables(), stdout=-1, stderr=-2
        )
        out = process.communicate()[0].decode()
        missing = re.search(r"(\w+): (?:command )?not found", out)
        if process.returncode == 127 and missing and not shutil.which(missing[1]):
            pytest.skip(f"{missing[1]} is not installed")
        assert process.returncode == 0, out
        return out

    # what must be gone afterwards

    def processes(self) -> list[str]:
        """Processes of this place, envtool's own and those of its containers."""
        found = []
        marks = (self.token.encode(), self.nap.encode(), str(self.top).encode())
        for name in os.listdir("/proc"):
            if not name.isdigit() or int(name) == os.getpid():
                continue
            text = b""
            for part in ("cmdline", "environ", "stat"):
                with contextlib.suppress(OSError):
                    text += Path(f"/proc/{name}/{part}").read_bytes()
            if any(mark in text for mark in marks):
                found.append(f"{name} {text[:200]!r}")
        return found

    def until(self, condition, what: str, seconds: float = 15.0) -> None:
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < allowed(seconds), f"not within {seconds} s: {what}"
            time.sleep(0.01)

    def asleep(self) -> bool:
        """Whether a process of ours sleeps for the nap."""
        return any(f"sleep\\x00{self.nap}" in text for text in self.processes())

    def left(self) -> list[str]:
        """What should not be there when nothing runs."""
        with self._kills(fcntl.LOCK_SH) if self.common else contextlib.nullcontext():
            return self.left_outside_store() + self._left_in(self.store / "tmp")

    def left_outside_store(self) -> list[str]:
        rows = [row for row in Path("/proc/self/mountinfo").read_text().splitlines() if str(self.top) in row]
        return rows + self._left_in(self.top / "tmp")

    def _left_in(self, room: Path) -> list[str]:
        return [str(path) for path in room.iterdir() if not self._is_anothers(path)] if room.is_dir() else []

    def kills(self) -> contextlib.AbstractContextManager[None]:
        """For a test that kills commands on the common store, until the next command has swept what they left there: no
        other test looks meanwhile."""
        return self._kills(fcntl.LOCK_EX)

    @contextlib.contextmanager
    def _kills(self, operation: int) -> Iterator[None]:
        with open(made(f"kills-{self.caller.mode}"), "a") as lock:
            fcntl.flock(lock, operation)
            yield

    def _is_anothers(self, path: Path) -> bool:
        """Whether a directory of a store that tests share is in use: its lock is held (or is to be, a moment after it
        was made), and not by a process of this place."""
        if self.top in self.store.parents:
            return False
        for _ in range(3):
            try:
                number = path.stat().st_ino
            except FileNotFoundError:
                return True
            locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
            owners = [row[4] for row in locks if row[1] == "FLOCK" and row[5].endswith(f":{number}")]
            if owners:
                ours = {line.split()[0] for line in self.processes()}
                return not ours.intersection(owners)
            time.sleep(0.1)
        return False

    def check_nothing_left(self, *, seconds: float = 5.0) -> None:
        self.until(lambda: not self.processes(), f"no processes: {self.processes()}", seconds)
        assert not self.left()

    def came_out(self) -> dict[str, str]:
        """Key -> diff ID of every layer of the store."""
        return {
            path.parent.name: json.loads(path.read_text())["diff_id"] for path in self.store.glob("layers/*/layer.json")
        }

    def layers(self) -> list[dict]:
        """The documents of the layers that stand in the store."""
        return [json.loads(path.read_text()) for path in sorted(self.store.glob("layers/*/layer.json"))]


@pytest.fixture(scope="session")
def warm_store(caller: Caller) -> Path:
    """A store of the caller in which the base of this machine stands already. Each process has its own: tests look at
    what is left in it."""
    return _store(caller, f"warm-{caller.mode}-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}")


def _store(caller: Caller, name: str) -> Path:
    with once(name) as new:
        if new:
            new.mkdir()
            os.chown(new, caller.uid, caller.gid)
            place = _place(caller, new, new / "store")
            place.task("true")
            done = place.envtool("test")
            if done.status == 3:
                # CI has nothing missing: where no container starts there, that is the fault
                (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no containers for {caller.name}: {done.err}")
            assert done.status == 0, done.said
    return made(name) / "store"


@contextlib.contextmanager
def _top(caller: Caller) -> Iterator[Path]:
    top = Path(tempfile.mkdtemp(prefix="envtool-e2e-"))
    os.chown(top, caller.uid, caller.gid)
    try:
        yield top
    finally:
        userns.remove_as_root(str(top))


def _place(caller: Caller, top: Path, store: Path) -> Place:
    token = secrets.token_hex(6)
    place = Place(caller, top, token, top / f"project-{token}", store)
    place.directory("tmp")
    place.directory(place.project.name)
    return place


@contextlib.contextmanager
def fresh_place(caller: Caller) -> Iterator[Place]:
    """A project and an empty store of any caller."""
    with contextlib.closing(_used(caller, None)) as used:
        yield next(used)


@pytest.fixture
def place(caller: Caller, warm_store: Path) -> Iterator[Place]:
    """A project of its own on a store that has this machine's base; at the end nothing of it may run."""
    yield from _used(caller, warm_store)


@pytest.fixture
def common(caller: Caller) -> Iterator[Place]:
    """A project of its own on the store that all tests of the caller share, whichever process they run in: what is dear
    to make (Debian's suites, compilers) is made once. Nothing may be said of what else is in it."""
    with common_place(caller) as used:
        yield used


@contextlib.contextmanager
def common_place(caller: Caller) -> Iterator[Place]:
    """What `common` is, of any caller."""
    with contextlib.closing(_used(caller, common_store(caller, "common"))) as made_place:
        used = next(made_place)
        used.environ |= outside()
        used.limit = LONG
        used.common = True
        yield used
        next(made_place, None)  # nothing of it may run any more


def common_store(caller: Caller, name: str) -> Path:
    """A store of this name, one a caller, which all processes of the run share."""
    return _store(caller, f"{name}-{caller.mode}")


def outside() -> dict[str, str]:
    """The variables by which this machine reaches its package registries."""
    return {name: value for name, value in os.environ.items() if name in _OUTSIDE or name.startswith(_OUTSIDE_PREFIXES)}


@pytest.fixture
def fresh(caller: Caller) -> Iterator[Place]:
    """A project of its own on an empty store of its own."""
    yield from _used(caller, None)


def _used(caller: Caller, store: Path | None) -> Iterator[Place]:
    with _top(caller) as top:
        made = _place(caller, top, store or top / "store")
        try:
            yield made
            made.until(lambda: not made.processes(), f"nothing runs any more: {made.processes()}", 5)
        finally:
            for process in made.running:
                if process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                for pipe in (process.stdin, process.stdout, process.stderr):
                    if pipe is not None:
                        pipe.close()


# ---- a server ------------------------------------------------------------------------------------------------------


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """`files` by path; `pause` seconds before each 64 KiB; `asked` counts requests."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.pause = 0.0
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address) -> None:
        """Clients that go away are what some tests are about."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        data = self.server.files.get(self.path)
        if data is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        for start in range(0, len(data), 1 << 16):
            time.sleep(self.server.pause)
            self.wfile.write(data[start : start + (1 << 16)])

    def log_message(self, format, *args) -> None:
        """Silent."""


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


_nested: set[str] = set()  # the trees that `nest` made since a test began


def remove_at_end(path: os.PathLike[str]) -> None:
    """Has a tree that may be too deep for pytest removed when the test has ended."""
    _nested.add(os.path.abspath(path))


def remove_nested() -> None:
    """Removes the trees that `nest` made: what pytest removes temporary directories by ends in a RecursionError."""
    while _nested:
        removal.remove_tree(_nested.pop())


def nest(top: str, depth: int, name: str = "d", *, top_file: bool = False) -> None:
    """Makes `depth` directories, each in the one before, in the directory `top` (made if missing), and a file in the
    last one (with `top_file` in each): deeper than any path can name."""
    os.makedirs(top, exist_ok=True)
    _nested.add(os.path.abspath(top))
    current = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        if top_file:
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=current))
        os.mkdir(name, dir_fd=current)
        below = os.open(name, os.O_RDONLY, dir_fd=current)
        os.close(current)
        current = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=current))
    os.close(current)


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """A tenth of the open files that most systems allow, beside those that earlier tests of this process have left."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100 + len(os.listdir("/proc/self/fd")), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
