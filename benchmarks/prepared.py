"""A seeded PostgreSQL, from the start of the command to its first answer: on prepared state, and as others do it.

All run this machine's own PostgreSQL with the same settings (fsync=off) and the same seed, a table of 20,000 rows:
envtool and podman from one small root, of which podman has our export. All ask by the same lines of shell (CLIENT),
again and again until psql has the right number of rows, and print the time then: that is the first answer. "The whole
command" is the same runs with the end of the server. envtool has run the same task before, whose note lets its services
and the task begin before the spec is read (decision 0160); `--again` keeps it from answering by the result. The table
says how each does it. podman has no client in a container: psql of this machine asks by a socket, and its end is a
kill, which is less than a user of compose waits for. The CPU time leaves podman out: its containers are no children of
its command.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import glob
import hashlib
import itertools
import os
import re
import shlex
import shutil
import subprocess
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from _bench import (
    Failed,
    Storage,
    Table,
    cpu,
    libraries,
    options,
    run,
    seconds,
    system,
    without_hybrid_cgroups,
    workspace,
)

OURS, INITDB, RESTART = "envtool: prepared", "host: initdb and seed", "host: restart"
MAKES, HOLDS = "podman: initdb and seed", "podman: data in the image"
IMAGES = {MAKES: "localhost/entrypoint", HOLDS: "localhost/data"}
PODMAN = {
    MAKES: "a container of our export, whose entrypoint runs initdb, seeds a first server, stops it and starts the one"
    " that this machine's psql asks by a socket; removed by a kill",
    HOLDS: "the same image with the data committed: the entrypoint only starts the server",
}
WHO = {
    OURS: "`envtool test --again`, after a run: a pod, a container on the prepared state, psql in a second container,"
    " both from the note of that run, a clean stop",
    INITDB: "initdb, start, seed, psql, clean stop, without a container",
    RESTART: "postgres on data that are there, psql, clean stop, without a container",
}

SPEC = """version: 1
bases:
  pg: {{tarball: {{path: root.tar, sha256: {digest}}}}}
services:
  db:
    base: pg
    command: {bin}/postgres -D /srv/pg -k /tmp -c listen_addresses=* -c fsync=off
    ready: {{tcp: 5432}}
    stop: {{signal: INT}}
    provides: {{PGHOST: db, PGUSER: envtool, PGDATABASE: postgres}}
    prepare:
      before: |
        {bin}/initdb -D /srv/pg -U envtool --auth=trust --wal-segsize=4
        echo host all all all trust >>/srv/pg/pg_hba.conf
      run: |
        tries=0
        until {bin}/psql -q -h 127.0.0.1 -c 'select 1' >/dev/null 2>&1; do
          tries=$((tries + 1))
          [ $tries -lt 6000 ] || exit 1
          sleep 0.005
        done
        {bin}/psql -q -h 127.0.0.1 -f seed.sql
      inputs: [seed.sql]
      data: [/srv/pg]
envs:
  app:
    base: pg
    services: [db]
    tasks:
      test: |
{client}
  host:
    base: host
    services: [db]
    tasks:
      one: |
{client}
      fresh: |
        for number in $(seq 10); do
          envtool-fresh db
{client}
        done
"""
# $psql: with the options that lead to the server. It listens before it accepts, so that the first tries may fail.
CLIENT = """tries=0
until $psql -Atc 'select count(*) from items' postgres 2>/dev/null | grep -qx 20000; do
  tries=$((tries + 1))
  [ $tries -lt 6000 ] || exit 1
  sleep 0.005
done
date +answer:%s%N
"""
SEED = """create table items (id int primary key, t text);
insert into items select i, md5(i::text) from generate_series(1, 20000) i;
"""
# $1: PostgreSQL's programs, $2: an empty directory, or one with the data; $3: the seed, where it is to be made
HOST = """set -e
psql="$1/psql -h $2 -U envtool"
[ -z "$3" ] || "$1/initdb" -D "$2/pg" -U envtool --auth=trust --wal-segsize=4 >/dev/null
"$1/postgres" -D "$2/pg" -k "$2" -c listen_addresses= -c fsync=off >"$2/log" 2>&1 &
if [ -n "$3" ]; then
  until $psql -c 'select 1' postgres >/dev/null 2>&1; do sleep 0.005; done
  $psql -q -f "$3" postgres
fi
{client}
kill -INT $!
wait $!
"""
# As the entrypoint of the official image: a server for the seed alone, stopped, and then the one that others reach
ENTRYPOINT = """#!/bin/sh
set -e
if [ ! -e /srv/data/pg ]; then
  {bin}/initdb -D /srv/data/pg -U envtool --auth=trust --wal-segsize=4 >/dev/null
  {bin}/postgres -D /srv/data/pg -k /tmp -c listen_addresses= -c fsync=off &
  until {bin}/psql -h /tmp -U envtool -Atc 'select 1' postgres >/dev/null 2>&1; do sleep 0.005; done
  {bin}/psql -q -h /tmp -U envtool -f /seed.sql postgres
  kill -INT $!
  wait $!
fi
exec {bin}/postgres -D /srv/data/pg -k /socket -c listen_addresses= -c fsync=off
"""
CONTAINERFILE = """FROM localhost/service-db:latest
COPY entrypoint seed.sql /
COPY --chown={user} data /srv/data
USER {user}
ENTRYPOINT ["/entrypoint"]
CMD []
"""
USER = "1000:1000"
# $1: PostgreSQL's programs, $2: the directory with the socket, $3: the container; then the command that starts it
ANSWER = """set -e
psql="$1/psql -h $2 -U envtool" name=$3 podman=$4
shift 4
$podman run --detach --name "$name" "$@" >/dev/null
{client}
$podman rm --force --time 0 "$name" >/dev/null
"""
LIMITS = ("--pull=never", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000")
# What podman's containers are started with: the first that this machine allows
WAYS = ((), ("--network=none",), ("--network=none", "--cgroups=disabled"), ("--network=host", "--cgroups=disabled"))
FEW = ("sh", "grep", "sleep", "date", "true")
CLONES = 20


def root(programs: str, to: Path) -> str:
    """Write a tar of a root with PostgreSQL and a shell; its sha256."""
    tree = to.with_suffix("")
    system(tree, FEW)
    version = programs.split("/")[-2]
    above = os.path.dirname(programs)
    files = [os.path.join(programs, name) for name in ("initdb", "postgres", "psql")]
    # without LLVM: 100 MB, for queries that take seconds
    files += [library for library in glob.glob(f"{above}/lib/*.so") if "llvm" not in library]
    for path in {*files, *(name for file in files for name in libraries(file))}:
        target = tree / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    for place in (f"/usr/share/postgresql/{version}", "/usr/share/zoneinfo", "/usr/lib/locale/C.utf8"):
        if os.path.isdir(place):
            shutil.copytree(place, tree / place.lstrip("/"), ignore_dangling_symlinks=True, dirs_exist_ok=True)
    (tree / "srv").mkdir()
    subprocess.run(["tar", "-cf", str(to), "-C", str(tree), "."], check=True)
    with open(to, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Watch:
    """Runs commands whose output has a line of CLIENT, and keeps the times of all whole commands by contender."""

    def __init__(self) -> None:
        self.whole: dict[str, list[float]] = {}

    def answer(
        self, who: str, *words: str | os.PathLike[str], log: Path | None = None, cwd: Path | None = None
    ) -> float:
        """Seconds from the start of a command to the last answer that it, or the file `log`, notes. Raises Failed."""
        began, started = time.time_ns(), time.perf_counter()
        done = subprocess.run(words, cwd=cwd or "/", stdin=subprocess.DEVNULL, capture_output=True, check=False)
        self.whole.setdefault(who, []).append(time.perf_counter() - started)
        printed = log.read_bytes() if log and not done.returncode else done.stdout
        notes = re.findall(rb"^answer:(\d+)$", printed, re.MULTILINE)
        if done.returncode or not notes:
            said = (done.stderr or printed).decode(errors="replace").strip()
            raise Failed(f"{' '.join(map(os.fspath, words[:8]))}: status {done.returncode}: {said[-600:]}")
        return (int(notes[-1]) - began) / 1e9


class Podman:
    """Containers of the very stack that the service has: our export, with an entrypoint."""

    def __init__(self, storage: Storage, work: Path, programs: str, watch: Watch) -> None:
        self._words, self._work, self._programs, self._watch = storage.words("podman"), work, programs, watch
        self._numbers = itertools.count()
        self.way: tuple[str, ...] = ()

    def make_images(self, archive: Path) -> None:
        """Load the export; build an image that makes its data at each start, and commit one that has them. Raises
        Failed if no way of WAYS starts a container."""
        podman = self._words
        seconds(*podman, "load", "--input", archive)
        place = self._work / "context"
        (place / "data").mkdir(parents=True)
        (place / "entrypoint").write_text(ENTRYPOINT.format(bin=self._programs))
        (place / "entrypoint").chmod(0o755)
        (place / "seed.sql").write_text(SEED)
        (place / "seed.sql").chmod(0o644)
        (place / "Containerfile").write_text(CONTAINERFILE.format(user=USER))
        seconds(*podman, "build", "--isolation", "chroot", "--tag", "localhost/entrypoint", place)
        refused = ""
        for self.way in WAYS:
            try:
                seconds(*podman, "run", "--rm", *LIMITS, *self.way, "--entrypoint=/bin/true", "localhost/entrypoint")
                break
            except Failed as failed:
                refused = refused or str(failed)
        else:
            raise Failed(refused)
        self._commit()

    def _commit(self) -> None:
        """Start the first image until it has its data, stop it, and keep what it wrote as an image."""
        podman = self._words
        socket = self._socket()
        seconds(*podman, "run", "--detach", "--name=made", *self._options(socket), "localhost/entrypoint")
        for _ in range(6000):
            try:
                seconds(f"{self._programs}/psql", "-h", socket, "-U", "envtool", "-c", "select 1", "postgres")
                break
            except Failed:
                time.sleep(0.01)
        seconds(*podman, "kill", "--signal=INT", "made")
        seconds(*podman, "wait", "made")
        seconds(*podman, "commit", "--quiet", "made", "localhost/data")
        seconds(*podman, "rm", "made")

    def _socket(self) -> Path:
        path = self._work / f"k{next(self._numbers)}"
        path.mkdir()
        path.chmod(0o777)  # the container's user is another one
        return path

    def _options(self, socket: Path) -> list[str]:
        return [*LIMITS, *self.way, f"--volume={socket}:/socket"]

    def answer(self, who: str) -> float:
        """Seconds of one start until the right answer to psql of this machine."""
        socket = self._socket()
        name = socket.name
        options = [*self._options(socket), IMAGES[who]]
        words = shlex.join(self._words)
        script = ANSWER.format(client=CLIENT)
        return self._watch.answer(who, "sh", "-c", script, "sh", self._programs, socket, name, words, *options)


def host(watch: Watch, top: Path, programs: str, *, seed: bool) -> float:
    """Seconds of one start on the host until its answer; PostgreSQL refuses to be root's."""
    place = top / "host"
    if seed:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        os.chmod(top, 0o755)
        if os.geteuid() == 0:
            os.chown(place, 65534, 65534)
    # The server refuses root; the directories above its own may be closed to others.
    search = [f"--{sort}-caps=+dac_read_search" for sort in ("inh", "ambient")]
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *search] if os.geteuid() == 0 else []
    script = HOST.format(client=CLIENT)
    who = INITDB if seed else RESTART
    return watch.answer(who, *user, "sh", "-c", script, "sh", programs, place, top / "seed.sql" if seed else "")


def spec(programs: str, digest: str) -> str:
    """The spec, whose tasks have CLIENT at their own depth."""
    client = f"psql={programs}/psql\n{CLIENT}"
    text = SPEC.format(bin=programs, digest=digest, client="@")
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line == "@":
            depth = 8 if lines[number - 1].endswith("|") else 10
            lines[number] = textwrap.indent(client.rstrip(), " " * depth)
    return "\n".join([*lines, ""])


def clones(envtool: str, project: Path, count: int) -> float:
    """Seconds until so many runs at once have ended, each with a database of its own."""
    began = time.perf_counter()
    with ThreadPoolExecutor(count) as pool:
        words = [envtool, "test", "--again"]
        done = [pool.submit(subprocess.run, words, cwd=project, capture_output=True, check=False) for _ in range(count)]
    if bad := [each.result() for each in done if each.result().returncode]:
        raise Failed(f"envtool: {len(bad)} of {count} clones: {bad[0].stderr.decode(errors='replace')[-600:]}")
    return time.perf_counter() - began


def podman(
    asked: argparse.Namespace, table: Table, storage: Storage, work: Path, programs: str, watch: Watch
) -> dict[str, Callable[[], float]]:
    """podman's contenders, or none, and the table says why."""
    if not table.installed("podman"):
        return {}
    archive = work / "db.tar"
    seconds(asked.envtool, "-C", work / "project", "export", "service:db", archive)
    peer = Podman(storage, work, programs, watch)
    try:
        peer.make_images(archive)
    except Failed as failed:
        table.leave_out("podman", failed.why)
        return {}
    flags = " ".join((*LIMITS, *peer.way))
    for who, way in PODMAN.items():
        table.ways[who] = f"{way}; podman run --detach {flags}"
    return {who: functools.partial(peer.answer, who) for who in IMAGES}


def main(asked: argparse.Namespace, table: Table) -> None:
    """All of it, in one project."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    if not found:
        table.leave_out("all", "PostgreSQL is not installed")
        return
    programs = os.path.dirname(found[-1])
    with workspace(asked.envtool) as top, contextlib.ExitStack() as held:
        project = top / "project"
        project.mkdir()
        digest = root(programs, project / "root.tar")
        (project / "envtool.yaml").write_text(spec(programs, digest))
        for place in (project, top):
            (place / "seed.sql").write_text(SEED)
        watch = Watch()
        envtool = functools.partial(seconds, asked.envtool, cwd=project)
        log = project / ".envtool" / "last" / "app.test.log"
        table.ways.update(WHO)
        table.add("the state is made, once", OURS, envtool("test"))
        host(watch, top, programs, seed=True)
        contenders: dict[str, Callable[[], float]] = {
            OURS: lambda: watch.answer(OURS, asked.envtool, "test", "--again", log=log, cwd=project),
            INITDB: lambda: host(watch, top, programs, seed=True),
            RESTART: lambda: host(watch, top, programs, seed=False),
        }
        storage = Storage(top / "p", asked.envtool)
        held.callback(storage.clean)
        contenders |= podman(asked, table, storage, top, programs, watch)
        table.measure("first answer", contenders, asked.rounds, base=OURS, warm=1)
        table.times["the whole command"] = {
            who: watch.whole[who][-asked.rounds :] for who in table.times["first answer"]
        }
        table.base["the whole command"] = OURS
        used = {who: functools.partial(cpu, contenders[who]) for who in (OURS, INITDB, RESTART)}
        table.measure("CPU time of it", used, asked.rounds, base=OURS)
        alone = envtool("run", "--again", "one")
        for _ in range(asked.rounds):
            ten = envtool("run", "--again", "fresh")
            table.add("fresh, and an answer", OURS, (ten - alone) / 10)
        count = 2 if asked.tiny else CLONES
        table.add(f"{count} clones at once", OURS, clones(asked.envtool, project, count))


if __name__ == "__main__":
    os.umask(0o022)
    parser = options(__doc__, rounds=7)
    parser.parse_args()  # an error of the command line is reported before the namespace changes
    without_hybrid_cgroups()
    run(main, parser, unit="ms")
