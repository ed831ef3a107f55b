"""What the functions of the app do in the tests of the command line: scripted events, results of the app's own types.

`scenario` (or $FAKE_SCENARIO in a process of its own) names what happens. REPLACED lists the functions that `install` puts in
the place of the app's; a test holds each to the parameters of the one that it stands for.
"""

from __future__ import annotations

import dataclasses
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from envtool import errors, events
from envtool.model import BaseSpec, Command, Env, LayerSpec, Spec, Task, Where
from envtool.run.result import Result as _Result

if TYPE_CHECKING:
    from envtool.build.context import Cancel

HERE = Where(file="envtool.yaml", line=3, column=5)
Result = partial(_Result, status=None, seconds=0.0, started=1_700_000_000.0)
requests = []  # what the app was asked, as tuples of arguments
logs = os.environ.get("FAKE_LOGS", "/nonexistent")


def scenario():
    return os.environ.get("FAKE_SCENARIO", "mixed")


def fetch(request, emit, cancel):
    from envtool.build.fetch_all import GatheredFiles, WantedFile
    from envtool.recipe import Fetch

    requests.append(request)
    emit(events.Started(id="fetch:1", subject="fetch", name="deps", time=1.0, total=63_000))
    emit(events.Finished(id="fetch:1", subject="fetch", name="deps", outcome="done", time=2.0, seconds=1.0))
    file = WantedFile(
        fetch=Fetch(sha256="a" * 64, name="attrs.whl"), names=("attrs.whl",), needed_by=("layer deps",), size=63_000
    )
    files = () if scenario() == "empty" else (file,)
    new = len(files) if scenario() != "passed" else 0
    return GatheredFiles(files=files, fetched=new, fetched_bytes=63_000 * new)


def vendor(request, target, emit, cancel, *, prune):
    from envtool.build.vendor import VendorReport

    requests.append((request, target, prune))
    return VendorReport(path=target or "/p/envtool.vendor", written=1, kept=11, removed=int(prune), size=4_100_000)


def sbom(request, env, form, emit, cancel):
    requests.append((request, env, form))
    emit(events.Started(id="1", subject="layer", name="deps", time=1.0))
    return '{"bill": 1}\n'


def read_variables(request, env, emit, cancel):
    from envtool.app.env_programs import EnvVariables

    requests.append((request, env))
    variables = {
        "DANGER": 'a\'b\nc $HOME `id` "d" \\e',
        "ENVTOOL_ENV": env,
        "PATH": "/opt/venv/bin:/usr/bin",
        "not-a-name": "1",
    }
    return EnvVariables(env, "/p", variables)


def find_programs(request, names, emit, cancel):
    from envtool.app.env_programs import EnvProgram, ProjectPrograms

    requests.append((request, names))
    programs = () if scenario() == "empty" else (EnvProgram("pytest", "unit"), EnvProgram("python", "docs"))
    return ProjectPrograms("/p", "/p/envtool.yaml", programs)


def write_shims(directory, found):
    from envtool.app.shims import WrittenShims

    requests.append(directory)
    return WrittenShims("/p/.shims", found.programs, ("python",), ("pip",) if found.programs else ())


def cache(request):
    from envtool.teamcache.stats import CacheCounts, CacheStats
    from envtool.teamcache.status import CacheItem, CacheStatus

    requests.append(request)
    counts = CacheCounts(hits=3, misses=1, refused=1, pulled_bytes=44_000_000, pushed=1, pushed_bytes=812_000)
    key = "3f9c" * 16
    items = (
        CacheItem(tag=f"l-{key}", sort="layer", key=key, size=41_000_000, name="deps"),
        CacheItem(tag=f"r-{key}", sort="result", key=key, size=900),
        CacheItem(tag=f"l1-{key}", sort="layer", key=key, size=12, refused="it is not signed"),
    )
    away = scenario() == "broken"
    return CacheStatus(
        registry="registry.example/team/cache",
        push="ci",
        pushing="`push: ci`, and CI is not set",
        results=True,
        trust=() if away else (("SHA256:abc", "ci@example"),),
        signer="",
        tally=CacheStats() if away else CacheStats(total=counts, last=counts, time=1.0),
        items=None if away else items,
        others=0 if away else 2,
        problem="registry.example: no answer for 5 s (2 attempts)" if away else "",
    )


def cache_key(request, file):
    from envtool.app.team_cache import SigningKey

    requests.append((request, file))
    return SigningKey(public="ssh-ed25519 AAAA ci", fingerprint="SHA256:abc", file=file)


def _exported_layer():
    from envtool.images.export import ExportedLayer

    return ExportedLayer(
        name="deps",
        diff_id="sha256:" + "0" * 64,
        digest="sha256:" + "1" * 64,
        media_type="application/vnd.oci.image.layer.v1.tar+zstd",
        size=4_000_000,
    )


DIGEST = "sha256:" + "2" * 64


def export(request, env, path, form, emit, cancel, *, tag="", compress="", bare=False, project=False, out=-1):
    from envtool.images.export import ExportResult
    from envtool.images.target import ExportTarget

    requests.append((request, env, path, form, tag, compress, bare, project))
    if out >= 0:
        os.write(out, b"tar")
    form = form or "docker-archive"
    name = tag or f"localhost/{env}:latest"
    digest = "" if form == "devcontainer" else DIGEST
    target = ExportTarget(form=form, path=path or "-")
    return ExportResult(env=env, target=target, name=name, digest=digest, size=4_100_000, layers=(_exported_layer(),))


def push(request, env, to, emit, cancel, *, compress, bare=False, project=False):
    from envtool.images.push import PushResult

    requests.append((request, env, to, compress, bare, project))
    sent = 0 if scenario() == "unchanged" else 4_000_000
    return PushResult(env=env, name=to, digest=DIGEST, size=4_100_000, sent=sent, layers=(_exported_layer(),))


def bundle(results):
    return "".join(f'{{"subject": "{each.env}"}}\n' for each in results if each.outcome == "passed")


def load_and_keep(request, store):
    return load(request), lambda look, text: None


def load(request):
    requests.append(request)
    if scenario() == "spec-error":
        raise errors.SpecError(
            (
                errors.Problem(
                    where=Where(file="envtool.yaml", line=14, column=17),
                    message="unknown layer `pyton`",
                    code="spec.unknown",
                    hint="did you mean `python`? (envtool.yaml:6)",
                    text="    layers: [pyton, deps]",
                ),
            )
        )
    base = BaseSpec(name="bookworm", kind="debian", options="bookworm", where=HERE)
    host = BaseSpec(name="host", kind="host", options={}, where=HERE)
    python = LayerSpec(name="python", kind="apt", options=["python3"], where=HERE)
    deps = LayerSpec(name="deps", kind="pip", options={}, where=HERE)

    def tasks(*names):
        return tuple(Task(name=name, commands=(Command(shell="true"),), where=HERE) for name in names)

    envs = (
        Env(
            name="unit[bookworm]",
            group="unit",
            base=base,
            layers=(python, deps),
            tasks=tasks("test", "build"),
            where=HERE,
        ),
        Env(name="unit[trixie]", group="unit", base=base, layers=(python, deps), tasks=tasks("test"), where=HERE),
        Env(name="lint", group="lint", base=host, layers=(), tasks=tasks("lint"), where=HERE),
    )
    return Spec(file="envtool.yaml", root="/src", envs=envs, bases={}, layers={}, read=())


def plan(request, verb=""):
    from envtool.plan import plan as planning

    spec = load(request)
    step = partial(planning.PlannedStep, key="", summary="", pinned=True, where=None)
    reuse = {"action": "reuse", "reason": "it is in the store"}
    steps = (
        step(
            name="bookworm",
            kind="debian",
            subject="base",
            state="cached",
            key="3f9c" * 16,
            summary="88 packages",
            **reuse,
        ),
        step(
            name="python",
            kind="apt",
            subject="layer",
            state="build",
            key="77aa" * 16,
            summary="14 packages",
            where=HERE,
            reason="the store has no layer of this key",
        ),
        step(
            name="deps",
            kind="pip",
            subject="layer",
            state="unknown",
            action="resolve",
            reason="its key depends on what `python` comes out as",
        ),
    )
    host = (step(name="host", kind="host", subject="base", state="cached", key="01" * 32, pinned=False, **reuse),)
    return planning.Plan(
        envs=tuple(
            planning.PlannedEnv(
                name=env.name,
                tasks=tuple(task.name for task in env.tasks),
                steps=steps if env.layers else host,
                specs=env.tasks,
            )
            for env in spec.envs
            if not verb or verb in [task.name for task in env.tasks]
        )
    )


def _past(**more):
    from envtool.plan.why import PastBuild

    return PastBuild(
        **{"key": "3f9c" * 16, "document": {}, "time": 1_700_000_000.0, "name": "deps", "project": "/src"} | more
    )


def why(request, names=()):
    from envtool.plan.change_values import Change
    from envtool.plan.why import Explanation, NodeContents

    requests.append((request, names))
    if scenario() == "nothing":
        return ()
    if scenario() == "task":
        changed = Change(part="file", name="tests/test_io.py", note="content")
        passed = Change(part="variable", name="TOKEN", note="passed from outside")
        more = {"subject": "task", "kind": "task", "where": HERE, "project": "/src"}
        return (
            Explanation(
                name="unit:test", state="cached", since=_past(key="5e" * 32), key="5e" * 32,
                summary="on build7", **more,
            ),
            Explanation(name="unit:lint", state="run", since=_past(), changes=(changed, passed), same=("the base",), **more),
            Explanation(name="unit:docs", state="wait", waits=("deps",), **more),
            Explanation(name="unit:new", state="run", **more),
            Explanation(name="unit:net", state="run", summary="it has the network, and is run every time", **more),
        )  # fmt: skip
    if scenario() == "hit":
        content = NodeContents(
            diff_id="sha256:" + "ab" * 32,
            size=41_000_000,
            entries=2100,
            arch="x86_64",
            epoch=1_600_000_000,
            pins=tuple((f"name{number}", f"{number}.0") for number in range(14)),
            inputs=("requirements.txt",),
            variables={"PATH": "/opt/venv/bin"},
            below=(("base", "bookworm"), ("layer", "python")),
        )
        return (
            Explanation(
                name="deps",
                subject="layer",
                kind="pip",
                where=HERE,
                state="cached",
                key="77aa" * 16,
                summary="14 packages",
                project="/src",
                since=_past(),
                content=content,
            ),
        )
    return _misses()


def _misses():
    from envtool.plan.change_values import Change
    from envtool.plan.why import Explanation

    def one(name, state, *changes, **more):
        more = {"kind": "pip", "project": "/src", "envs": ("unit[bookworm]",)} | more
        return Explanation(name=name, subject="layer", where=HERE, state=state, changes=changes, **more)

    below = Change(part="spec", name="apt", how="added", new="gcc")
    return (
        one(
            "deps",
            "build",
            Change(part="layer", name="python", old="3f9c3f9c3f9c", new="77aa77aa77aa", because=(below,)),
            Change(part="spec", name="packages", how="added", new="pytest-\x1b[31mcov", where="envtool.yaml:14"),
            Change(part="input", name="src/new.c", how="renamed", old="src/old.c", new="src/new.c"),
            Change(part="input", name="tools/gen", note="content, executable now"),
            Change(
                part="pin", name="attrs", old="24.2.0", new="25.3.0", follows=True,
                where="envtool.lock:118, from requirements.txt:4",
            ),
            *(Change(part="pin", name=f"more{n}", how="removed", old="1.0", follows=True) for n in range(14)),
            since=_past(),
            same=("the base", "11 pins"),
            key="77aa" * 16,
        ),
        one("deps", "ask", Change(part="input", name="requirements.txt", note="content"), since=_past(key=""),
            locked=True, envs=("unit[trixie]",)),
        one("web", "wait", waits=("deps", "node"), since=_past()),
        one("docs", "build", kind="run"),
        one("text", "build", Change(part="spec", name="run", old="a\nmake\nb", new="a\nmake -j2\nb"),
            since=_past(name="words", project="/elsewhere"), kind="run"),
    )  # fmt: skip


def _run_not_cached(request, task, emit, cancel):
    raise errors.NotCachedError("2 of 5 bases and layers are not cached", misses=_misses()[2:4], hint="see why")


def schema():
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "envtool.yaml"}


def listeners():
    return ()


def run_offers():
    from envtool import plugins
    from envtool.app.read_spec import RunOffers

    registry = plugins.discover()
    return RunOffers(readers=plugins.output_readers(registry), formats=plugins.report_formats(registry))


def check(request, texts):
    requests.append((request, texts))


def around(request):
    return ""


def detect(request):
    from envtool.api import Detection

    requests.append(request)
    if scenario() == "nothing":
        return ()
    if scenario() == "untested":
        return (Detection(language="python", reason="pyproject.toml, and no tests", env={"language": "python"}),)
    env = {"language": "python", "tasks": {"test": "pytest"}}
    found = Detection(language="python", reason="pyproject.toml with [project]", env=env)
    node = Detection(language="node", reason="package.json, and no tests", env={"language": "node"})
    return (found, node) if scenario() == "partly tested" else (found,)


def verify(request, names, emit, cancel, *, build=False):
    from envtool.verify.comparison import PathDifference, VerifyResult

    verified = partial(
        VerifyResult, subject="layer", kind="run", env="unit", seconds=0.5, diff_ids=("sha256:1", "sha256:2"),
        stored="sha256:1",
    )  # fmt: skip
    requests.append((request, names, build))
    now = time.time()
    emit(events.Started(id="v", subject="verify", name="stamp", time=now))
    emit(
        events.Finished(
            id="v", subject="verify", name="stamp", outcome="differs", time=now, seconds=0.5, detail="1 path differs"
        )
    )
    same = verified(name="python", outcome="same", notes=("the clock could not be moved: no libfaketime",))
    text = PathDifference(path="/opt/stamp", kinds=("content", "time"), shown="line 1:\n- \x1b[31mone\n+ two")
    bad = verified(
        name="stamp",
        outcome="differs",
        between="two builds",
        differences=(text, *(PathDifference(path=f"/opt/{n}", kinds=("mode",)) for n in range(101))),
    )
    told = verified(name="deps", outcome="differs", between="the lock and a build", expected="sha256:3")
    error = verified(name="broken", outcome="error", message="layer `broken` could not be built: exit 1\nits output")
    return {
        "same": (same,),
        "mixed": (same, bad, told, error),
        "broken": (same, error),
        "interrupted": (verified(name="x", outcome="interrupted"),),
    }[scenario()]


def lock(request, upgrade, emit, cancel, *, platforms=()):
    from envtool.app.lock_file import LockResult
    from envtool.lock.diff import LockChange

    change = partial(LockChange, platform="x86_64")
    requests.append((request, upgrade))
    if platforms:
        from envtool.build.lock_platforms import machines_of

        machines_of(platforms)
    if upgrade and "nope" in upgrade:
        raise errors.UsageError("nothing here is called nope", code="lock-name", hint="there are deps, bookworm")
    moved = (change(entry="layer deps", name="attrs", old="24.2.0", new="25.3.0"),)
    new = (change(entry="layer tools", name="", old="", new="15 pinned", counts="14 packages"),)
    done = moved if upgrade else new if upgrade is None else ()
    return LockResult(file="envtool.lock", changes=done, entries=3, written=bool(done))


def check_lock(request, platforms=()):
    from envtool.app.lock_file import LockCheck
    from envtool.build.locking import LockFault

    requests.append(request)
    if scenario() == "unchanged":
        return LockCheck(file="envtool.lock", entries=3, platforms=("x86_64", "aarch64"))
    stale = errors.Problem(
        where=HERE, message="envtool.lock no longer fits layer `deps`: new attrs", code="lock-stale", width=0,
        hint="`envtool lock` updates the lock, and changes no other versions",
    )  # fmt: skip
    unused = errors.Problem(
        where=Where(file="envtool.lock", line=9, column=1), code="lock-unused", width=0,
        message="nothing asks for this entry of layer `old` any more", hint="`envtool lock` removes it",
    )  # fmt: skip
    faults = (
        LockFault("stale", "layer", "deps", "x86_64", stale),
        LockFault("unused", "layer", "old", "x86_64", unused),
    )
    return LockCheck(file="envtool.lock", entries=3, platforms=("x86_64",), faults=faults)


def execute(request, env, argv, *, terminal, emit, cancel, describe=None):
    requests.append((request, env, argv, terminal))
    if env == "nope":
        raise errors.UsageError("unknown env `nope`", code="usage.env", hint="`envtool list` shows them")
    now = time.time()
    emit(events.Started(id="l", subject="layer", name="python", time=now))
    emit(events.Finished(id="l", subject="layer", name="python", outcome="built", time=now, seconds=1.5))
    emit(events.Started(id="t", subject="task", name="exec", env=env, time=now))
    if argv == ("wait",):
        print("waiting", flush=True)
        # in steps, as the app's: a signal that came just before select() is looked at only after it
        return 143 if any(_wait(cancel, 0.2) for _ in range(100)) else 0
    print(f"in {env}: {' '.join(argv) or 'a shell'}", flush=True)
    return 7


def _wait(cancel: Cancel, seconds: float) -> bool:
    """Whether the end was asked for within so many seconds."""
    return bool(select.select([cancel.reader], [], [], seconds)[0])


def _task(emit, env, text, status, seconds=2.4, name="test"):
    now = time.time()
    emit(events.Started(id=f"{env}/{name}", subject="task", name=name, env=env, time=now))
    return lambda: (
        emit(events.Output(id=f"{env}/{name}", text=text)),
        emit(
            events.Finished(
                id=f"{env}/{name}",
                subject="task",
                name=name,
                env=env,
                outcome="failed" if status else "passed",
                status=status,
                time=now,
                seconds=seconds,
            )
        ),
    )


def _log(name, text):
    os.makedirs(logs, exist_ok=True)
    path = os.path.join(logs, name)
    with open(path, "w") as file:
        file.write(text)
    return path


def run(request, task, emit, cancel, registry=None):
    requests.append((request, task))
    return globals()["_run_" + scenario().replace("-", "_")](request, task, emit, cancel)


def _run_mixed(request, task, emit, cancel):
    now = time.time()
    emit(events.Started(id="b", subject="base", name="bookworm", time=now, detail="88 packages, 41 MB"))
    emit(events.Started(id="f", subject="fetch", name="bookworm", time=now, total=41_000_000))
    emit(events.Progress(id="f", done=20_000_000, total=41_000_000))
    emit(events.Finished(id="f", subject="fetch", name="bookworm", outcome="done", time=now, seconds=3.1))
    emit(events.Finished(id="b", subject="base", name="bookworm", outcome="built", time=now, seconds=6.0))
    emit(events.Started(id="l", subject="layer", name="python", time=now, detail="apt: 14 packages"))
    emit(events.Output(id="l", text="Setting up python3\n"))
    emit(events.Finished(id="l", subject="layer", name="python", outcome="built", time=now, seconds=4.2))
    emit(events.Started(id="c", subject="layer", name="deps", time=now))
    emit(events.Finished(id="c", subject="layer", name="deps", outcome="cached", time=now, seconds=0.0))
    bad = (
        "F.\n\x1b]0;evil\x07FAILED tests/test_io.py::test_roundtrip - \x1b[31mAssertionError\x1b[0m\n"
        "1 failed, 311 passed in 2.31s\n"
    )
    good = "......\n============ 312 passed, 2 skipped in 2.31s ============\n"
    ends = [_task(emit, "unit[bookworm]", good, 0), _task(emit, "unit[trixie]", bad, 1, 2.6)]
    for end in ends:
        end()
    return (
        Result(env="unit[bookworm]", task=task, outcome="passed", status=0, seconds=2.4, log=_log("good", good)),
        Result(
            env="unit[trixie]",
            task=task,
            outcome="failed",
            status=1,
            seconds=2.6,
            log=_log("bad", bad),
            commands=("pytest -q",),
        ),
    )


def _run_passed(request, task, emit, cancel):
    _task(emit, "lint", "all good\n", 0, 0.2, task)()
    return (Result(env="lint", task=task, outcome="passed", status=0, seconds=0.2),)


def _run_learned(request, task, emit, cancel):
    rules = ("files.example.net:443", "pypi.example.org:443")
    for env, allow, status in (("unit", rules, 0), ("lint", (), 0), ("docs", rules[:1], 1)):
        _task(emit, env, "", status, 0.2, task)()
        emit(events.Learned(env=env, task=task, allow=allow, complete=not status))
    return (
        *(Result(env=env, task=task, outcome="passed", status=0, seconds=0.2) for env in ("unit", "lint")),
        Result(env="docs", task=task, outcome="failed", status=1, seconds=0.2, message="exit 1", commands=("make",)),
    )


def _run_unchanged(request, task, emit, cancel):
    since = time.mktime((2023, 11, 14, 9, 14, 0, 0, 0, -1))
    for env, host, outputs in (("lint", "", ()), ("wheel", "builder.example", ("dist/a.whl",))):
        where = {"env": env, "since": since, "host": host or os.uname().nodename, "outputs": outputs}
        emit(events.Started(id=env, subject="task", name=task, env=env, time=time.time()))
        emit(
            events.Finished(
                id=env, subject="task", name=task, outcome="cached", status=0, time=time.time(), seconds=2.4, **where
            )
        )
    return tuple(
        Result(env=env, task=task, outcome="cached", status=0, seconds=2.4, started=since, host="builder.example")
        for env in ("lint", "wheel")
    )


def _run_huge(request, task, emit, cancel):
    text = "".join(f"line {number}\n" for number in range(1000))
    _task(emit, "lint", text, 3, 0.2, task)()
    return (Result(env="lint", task=task, outcome="failed", status=3, seconds=0.2, log=_log("huge", text)),)


def _run_broken(request, task, emit, cancel):
    _task(emit, "lint", "ok\n", 0, 0.2, task)()
    message = "layer `deps` could not be built: pip exited with 1"
    return (
        Result(env="lint", task=task, outcome="passed", status=0, seconds=0.2),
        Result(env="unit", task=task, outcome="error", message=message),
    )


def _run_skipped(request, task, emit, cancel):
    _task(emit, "lint", "", 1, 0.2, task)()
    return (
        Result(env="lint", task=task, outcome="failed", status=1, seconds=0.2, message="exit 1"),
        Result(env="unit", task=task, outcome="skipped", message="not started"),
    )


def _run_outputs(request, task, emit, cancel):
    now = time.time()
    outputs = ("dist/a-1.0.tar.gz", "dist/a-1.0-py3-none-any.whl")
    emit(events.Started(id="t", subject="task", name=task, env="wheel", time=now))
    emit(
        events.Finished(
            id="t",
            subject="task",
            name=task,
            env="wheel",
            outcome="passed",
            status=0,
            time=now,
            seconds=1,
            outputs=outputs,
        )
    )
    return (Result(env="wheel", task=task, outcome="passed", status=0, seconds=1.0, outputs=outputs),)


def _run_build_error(request, task, emit, cancel):
    raise errors.BuildError(
        "layer `tool` failed: `make install` exited with 2",
        hint="`envtool shell unit` without the layer may help",
        output="".join(f"cc -c {n}.c\n" for n in range(50)) + "make: *** no rule to make target\n",
    )


def _run_empty(request, task, emit, cancel):
    return ()


def _run_bug(request, task, emit, cancel):
    return (1 / 0,)


def _run_slow(request, task, emit, cancel):
    """Prints, then goes on until it is cancelled: what ^C meets."""
    now = time.time()
    emit(events.Started(id="t", subject="task", name=task, env="unit", time=now))
    emit(events.Output(id="t", text="working"))
    if not _wait(cancel, 20):
        sys.exit("nobody cancelled")
    emit(events.Output(id="t", text=" stopped\n"))
    emit(
        events.Finished(
            id="t", subject="task", name=task, env="unit", outcome="interrupted", time=time.time(), seconds=1.0
        )
    )
    return (Result(env="unit", task=task, outcome="interrupted", seconds=1.0),)


def _run_deaf(request, task, emit, cancel):
    emit(events.Started(id="t", subject="task", name=task, env="unit", time=time.time()))
    emit(events.Output(id="t", text="working\n"))
    with ThreadPoolExecutor() as pool:  # whose threads Python would wait for
        pool.submit(threading.Event().wait, 20).result()
    return ()


def _run_moving(request, task, emit, cancel):
    """Long enough for the moving display to be drawn several times."""
    now = time.time()
    emit(events.Started(id="f", subject="fetch", name="bookworm", time=now, total=40_000_000))
    emit(events.Started(id="l", subject="layer", name="deps", time=now, detail="pip: 12 wheels"))
    for done in range(5):
        emit(events.Progress(id="f", done=done * 10_000_000))
        time.sleep(0.12)
    emit(events.Finished(id="f", subject="fetch", name="bookworm", outcome="done", time=now, seconds=0.6))
    emit(events.Finished(id="l", subject="layer", name="deps", outcome="built", time=now, seconds=0.6))
    return _run_passed(request, task, emit, cancel)


# ---- the store ---------------------------------------------------------------------------------------------------------

DAY = 86400.0


def _thing(sort, name, size, days=0):
    from envtool.store.inventory import StoredItem

    return StoredItem(sort=sort, name=name * 64, size=size, used=time.time() - days * DAY)


def gc(request, *, keep_size, older_than, dry_run, emit, cancel):
    from envtool.app.maintenance import GcReport
    from envtool.inspect.costs import Cost
    from envtool.store.collect import GcResult

    requests.append((request, keep_size, older_than, dry_run))
    now = time.time()
    emit(events.Started(id="store", subject="store", name="gc", time=now))
    emit(events.Finished(id="store", subject="store", name="gc", outcome="done", time=now, seconds=1.0))
    gone, busy = (), ()
    if scenario() == "mixed":
        gone = (_thing("layer", "a", 41_000_000, 40), _thing("layer", "b", 900, 41), _thing("file", "c", 3_100_000, 50))
        busy = (_thing("result", "d", 812),)
    envs = (
        Cost(
            project="/src", env="unit[\x1b[31mbookworm]", layers=3, own=41_000_000, shared=300_000_000, files=3_100_000,
            used=time.time(), after=300_000_000, after_files=0,
        ),
        Cost(
            project="/other", env="", layers=1, own=812, shared=0, files=0, used=time.time() - 12 * DAY, after=812,
            after_files=0,
        ),
    )  # fmt: skip
    litter, size = (5, 4096) if scenario() == "mixed" else (0, 0)
    return GcReport(
        store="/store", dry_run=dry_run, size=1_000_000_000, envs=envs if scenario() == "mixed" else (), free=10**10,
        disk=10**11, stuck=(), removing=300_000_000 if scenario() == "mixed" else 0,
        collected=GcResult(gone=gone, busy=busy, litter=litter, litter_size=size),
    )  # fmt: skip


def store_path():
    return "/store"


def store_size():
    from envtool.app.maintenance import StoreSizes
    from envtool.store.inventory import UnfinishedWork

    sorts = {"layer": (12, 2_400_000_000), "file": (1, 812)}
    others = (1_200_000_000, ("single 0-1002-1 0-1002-1",))
    rest = UnfinishedWork(made=4096, going=300_000_000, left=12_288)
    return StoreSizes(
        store="/store",
        sorts=sorts,
        size=2_700_020_480,
        free=10**10,
        disk=10**11,
        others=others,
        unfinished=rest,
        stuck=("/store/ids/range-0123456789ab",),
    )


def task_caches(names, *, remove):
    from envtool.app.maintenance import StoredCache
    from envtool.errors import UsageError

    if "nothing" in names:
        hint = "`envtool store caches` lists them: name an env, a path in the container, or a key"
        raise UsageError("there is no cache of `nothing`", code="no-cache", hint=hint)
    cache = StoredCache(
        name="0123456789abcdef0123456789abcdef", env="unit", path="/project/target", project="/src/app/.git", below=".",
        user="user", size=1_200_000_000, used=0.0,
    )  # fmt: skip
    home = dataclasses.replace(cache, env="api/unit", path="/home/envtool/.cache/ccache", below="services/api")
    return (cache,) if remove else (cache, home)


def store_remove(*, emit, cancel):
    from envtool.inspect.remove_store import StoreRemoval

    requests.append("remove")
    now = time.time()
    emit(events.Started(id="store", subject="store", name="remove", time=now))
    emit(events.Finished(id="store", subject="store", name="remove", outcome="done", time=now, seconds=1.0))
    return StoreRemoval(
        store="/store", size=2_400_000_000, foreign=("/store/thesis\x1b.tex",), stuck=("/store/ids/range-0123456789ab",)
    )


def store_verify(*, repair, jobs, emit, cancel):
    from envtool.inspect.store_check import Damage, StoreCheck

    requests.append((repair, jobs))
    now = time.time()
    emit(events.Started(id="store", subject="store", name="verify", time=now, total=10))
    emit(events.Finished(id="store", subject="store", name="verify", outcome="done", time=now, seconds=1.0))
    damages = (
        Damage(
            sort="layer", name="a" * 64, what="its tree is not what its manifest says: 2 paths",
            paths=("/etc/passwd: content", "/opt/\x1b[31mx: extra"), mended="removed" if repair else "",
        ),
        Damage(
            sort="file", name="b" * 64, what="its content is cccccccccccc", mended="kept: it is in use" if repair else ""
        ),
    )  # fmt: skip
    damages = damages if scenario() == "mixed" else damages[:1] if repair else ()
    return StoreCheck(damages=damages, counts={"layer": 12, "file": 1, "memory": 4}, size=2_400_000_000)


def _file(path, type_="file", mode=0o644, size=0, layer=0):
    from envtool.inspect.contents import ListedFile

    return ListedFile(path=path, type=type_, mode=mode, uid=0, gid=7, size=size, layer=layer)


def _member(name, subject="layer", kind="pip", key="3f9c", built=None):
    from envtool.inspect.contents import PlacedLayer
    from envtool.store.layers import Layer

    made = Layer(
        key=key * 16, tree="/store/tree", manifest="/store/manifest", diff_id=f"sha256:{key[::-1] * 16}", size=5000,
        entries=2, document={}, built=built or {},
    )  # fmt: skip
    return PlacedLayer(subject=subject, name=name, kind=kind, layer=made, disk=41_000_000)


def inspect(request, name, path, *, files):
    from envtool.api import Package
    from envtool.inspect.contents import EnvReport, FileTotals, LayerReport, PathInLayer, PathReport, StackLayer

    package = partial(Package, path="/var/lib/x")
    requests.append((request, name, path, files))
    if name == "nope":
        raise errors.UsageError("nothing here is called `nope`", code="no-such-name", hint="did you mean `deps`?")
    base, deps = _member("bookworm", "base", "debian", "77aa"), _member("de\x1b[31mps")
    owner = package(type="npm", namespace="@x", name="left", full_name="@x/left", version="1.0")
    if path:
        said = (
            PathInLayer(member=base, file=_file(path, size=812), seen=False),
            PathInLayer(member=deps, file=_file(path, mode=0o4755, size=4100), seen=True),
        )
        if path == "/gone":
            said = (said[0], PathInLayer(member=deps, file=_file(path, "deletion"), seen=False))
        return PathReport(path=path, there=path != "/gone", said=said, owners=(owner,) if path != "/gone" else ())
    all_ = (_file("/opt", "directory", 0o755), _file("/opt/x\x1b[31m", size=4100, layer=1))
    sums = FileTotals(
        entries=2, types={"directory": 2, "file": 1}, size=4100, directories=(("/opt", 4100),), files=all_[1:]
    )
    shown = all_ if files else ()
    if name == "unit":
        steps = (
            StackLayer(member=base, entries=1, seen=0),
            StackLayer(member=deps, entries=1, seen=4100),
        )
        return EnvReport(env="unit", steps=steps, sums=sums, packages={"npm": 1, "deb": 88}, files=shown)
    many = tuple(package(type="deb", namespace="", name=f"p{n}", version="1") for n in range(22))
    return LayerReport(
        member=deps, sums=sums, brought=None if name == "bare" else (owner, *many), below=("77aa" * 16,), files=shown,
        built={"time": 1_700_000_000.0, "where": "envtool.yaml:3", "project": "/src"},
    )  # fmt: skip


def diff(request, first, second):
    from envtool.app.inspection import Comparison, InspectSubject
    from envtool.inspect.diff import ChangedFile, ChangedPackage, DirectoryDifferences, TreeDifferences
    from envtool.store.overlay_view import OverlayEntry as Record

    requests.append((request, first, second))
    old, new = Record("f", 0o644, 0, 0, "812:0"), Record("f", 0o755, 0, 7, "900:1")
    files = (
        ChangedFile(path="/usr/bin/\x1b[31mx", how="changed", kinds=("content", "mode", "owner"), old=old, new=new),
        ChangedFile(path="/usr/lib/a/b/c", how="added", kinds=(), old=None, new=new),
        ChangedFile(path="/etc/old", how="removed", kinds=(), old=old, new=None),
    )
    packages = (
        ChangedPackage(type="deb", name="libc6", old=("2.36",), new=("2.41",)),
        ChangedPackage(type="npm", name="@x/left", old=(), new=("1.0", "2.0")),
    )
    places = (
        DirectoryDifferences(path="/usr/bin", added=0, removed=0, changed=1, size=88),
        DirectoryDifferences(path="/etc", added=0, removed=1, changed=0, size=-812),
    )
    same = first == second
    found = TreeDifferences(
        packages=() if same else packages, files=() if same else files, places=() if same else places
    )
    sides = [InspectSubject(env=name, members=(_member(name),)) for name in (first, second)]
    return Comparison(first=sides[0], second=sides[1], difference=found)


# ---- in the place of the app ------------------------------------------------------------------------------------------


def show(request, *, everywhere=False):
    from envtool.app.running_services import ProjectServices
    from envtool.services.up.project_state import StateRecord

    requests.append((request, everywhere))
    now = time.time()
    fields = {"status": None, "restarts": 0, "published": [], "memory": 0, "error": "", "since": now - 75}
    api = {**fields, "service": "api", "published": [[8000, 43210], [9000, 43211]], "memory": 23_400_000}
    replicas = (
        {**api, "replica": "api-1", "state": "ready", "address": "10.64.0.2"},
        {**api, "replica": "api-2", "state": "restarting", "address": "10.64.0.3", "restarts": 3, "status": 1},
        {**fields, "service": "migrate", "replica": "migrate-1", "state": "exited", "address": "10.64.0.4", "status": 0},
        {**fields, "service": "web", "replica": "web-1", "state": "failed", "address": "10.64.0.5", "status": 3,
         "error": "service `web` ended 10 times in a row: exit 3 at the last (envtool.yaml:9:3)"},
    )  # fmt: skip
    record = StateRecord("/p", "envtool.yaml", started=now - 80, seen=now - 3)
    running = ProjectServices(root="/p", spec="envtool.yaml", running=True, record=record, replicas=replicas)
    killed = ProjectServices(root="/q", spec="other.yaml", running=False, record=record)
    failed = ProjectServices(
        root="/r", spec="envtool.yaml", running=False,
        record=record._replace(ended=now - 30, reason="failed: service `web` ended before it was ready: exit 3"),
    )  # fmt: skip
    return {"empty": (), "mixed": (running, killed, failed) if everywhere else (running,), "killed": (killed,)}[
        scenario()
    ]


def stop(request, services=(), *, everywhere=False):
    requests.append((request, services, everywhere))
    if scenario() == "mixed" and not services:
        yield {"project": "/p", "spec": "envtool.yaml", "stopped": True}
        yield {"project": "/q", "spec": "envtool.yaml", "stopped": False}
    yield from ({"stopped": name} for name in services)


def scale(request, counts):
    requests.append((request, counts))
    if scenario() == "empty":
        from envtool.services.up.control_client import not_running

        raise not_running()
    return [{"scaled": name, "replicas": count} for name, count in counts.items()]


def read_logs(request, services, *, count, follow):
    from envtool.services.up.service_log import LogLine

    requests.append((request, services, count, follow))
    yield LogLine(1_700_000_000.25, "api-1", "serving \x1b[32mon\x1b[0m 8000")
    yield LogLine(1_700_000_000.5, "envtool", "api-1 is ready")
    yield LogLine(1_700_000_001.0, "migrate-1", "done\x1b]0;title\x07")


def enter(request, service, argv, *, terminal, term):
    requests.append((request, service, argv))
    print(f"{service}: {' '.join(argv)}")
    return 7


REPLACED = {
    "envtool.app.env_programs": (find_programs, read_variables),
    "envtool.app.env_stack": (execute,),
    "envtool.app.image_output": (export, push, sbom),
    "envtool.app.inspection": (diff, inspect),
    "envtool.app.lock_file": (check_lock, fetch, lock, vendor),
    "envtool.app.maintenance": (gc, store_path, store_remove, store_size, store_verify, task_caches),
    "envtool.app.make_plan": (plan,),
    "envtool.app.read_spec": (listeners, load, load_and_keep, run_offers),
    "envtool.app.running_services": (enter, read_logs, scale, show, stop),
    "envtool.app.shims": (write_shims,),
    "envtool.app.spec_schema": (schema,),
    "envtool.app.starter": (around, check, detect),
    "envtool.app.tasks": (run,),
    "envtool.app.team_cache": (cache, cache_key),
    "envtool.app.verify_builds": (verify,),
    "envtool.app.why": (why,),
    "envtool.run.provenance": (bundle,),
}


def install(replace_attribute: Callable[[object, str, object], None], modules=tuple(REPLACED)) -> None:
    """Put the functions here in the place of those of these modules."""
    for name in modules:
        for function in REPLACED[name]:
            replace_attribute(import_module(name), function.__name__, function)
