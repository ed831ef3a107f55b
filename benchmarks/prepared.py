"""A seeded PostgreSQL, from the whole command to its first answer: on prepared state, and as others do it.

All run this machine's own PostgreSQL with the same settings (fsync=off) and the same seed, a table of 20,000 rows.

envtool: prepared        `envtool test --again`: a pod, a container on the prepared state, and psql in another container
host: restart            postgres on data that are there, psql, stop: what nothing can be faster than
host: initdb and seed    initdb, start, seed, psql, stop: what the entrypoint of an image does at each start

Images of others are no contenders here: none is fetched by a benchmark.
"""

from __future__ import annotations

import argparse
import functools
import glob
import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from _bench import Failed, Table, options, run, seconds, workspace

SPEC = """version: 1
services:
  db:
    base: host
    command: {bin}/postgres -D /srv/pg -k /tmp -c listen_addresses=* -c fsync=off
    ready: {{tcp: 5432}}
    stop: {{signal: INT}}
    provides: {{PGHOST: db, PGUSER: envtool, PGDATABASE: postgres}}
    prepare:
      before: |
        {bin}/initdb -D /srv/pg -U envtool --auth=trust
        echo host all all all trust >>/srv/pg/pg_hba.conf
      run: psql -q -h 127.0.0.1 -f seed.sql
      inputs: [seed.sql]
      data: [/srv/pg]
envs:
  app:
    base: host
    services: [db]
    tasks:
      test: psql -Atc 'select count(*) from items' | grep -qx 20000
      fresh: for number in $(seq 10); do envtool-fresh db; psql -Atc 'select count(*) from items' | grep -qx 20000; done
"""
SEED = """create table items (id int primary key, t text);
insert into items select i, md5(i::text) from generate_series(1, 20000) i;
"""
# $1: PostgreSQL's programs, $2: an empty directory, or one with the data; $3: the seed, where it is to be made
HOST = """set -e
[ -z "$3" ] || "$1/initdb" -D "$2/pg" -U envtool --auth=trust >/dev/null
"$1/postgres" -D "$2/pg" -k "$2" -c listen_addresses= -c fsync=off >"$2/log" 2>&1 &
until psql -h "$2" -U envtool -Atc 'select 1' postgres >/dev/null 2>&1; do sleep 0.005; done
[ -z "$3" ] || psql -q -h "$2" -U envtool -f "$3" postgres
psql -h "$2" -U envtool -Atc 'select count(*) from items' postgres | grep -qx 20000
kill -INT $!
wait $!
"""
CLONES = 20


def host(top: Path, programs: str, *, seed: bool) -> float:
    """Seconds of one start on the host; PostgreSQL refuses to be root's."""
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
    return seconds(*user, "sh", "-c", HOST, "sh", programs, place, top / "seed.sql" if seed else "")


def clones(envtool: str, project: Path, count: int) -> float:
    """Seconds until so many runs at once have ended, each with a database of its own."""
    began = time.perf_counter()
    with ThreadPoolExecutor(count) as pool:
        words = [envtool, "test", "--again"]
        done = [pool.submit(subprocess.run, words, cwd=project, capture_output=True, check=False) for _ in range(count)]
    if bad := [each.result() for each in done if each.result().returncode]:
        raise Failed(f"envtool: {len(bad)} of {count} clones: {bad[0].stderr.decode(errors='replace')[-600:]}")
    return time.perf_counter() - began


def main(asked: argparse.Namespace, table: Table) -> None:
    """All of it, in one project."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    if not found or not table.installed("psql", who="all"):
        table.leave_out("all", "PostgreSQL is not installed")
        return
    programs = os.path.dirname(found[-1])
    with workspace(asked.envtool) as top:
        project = top / "project"
        project.mkdir()
        (project / "envtool.yaml").write_text(SPEC.format(bin=programs))
        for place in (project, top):
            (place / "seed.sql").write_text(SEED)
        envtool = functools.partial(seconds, asked.envtool, cwd=project)
        table.add("the state is made, once", "envtool: prepared", envtool("test"))
        host(top, programs, seed=True)
        contenders = {
            "envtool: prepared": lambda: envtool("test", "--again"),
            "host: initdb and seed": lambda: host(top, programs, seed=True),
            "host: restart": lambda: host(top, programs, seed=False),
        }
        table.measure("first answer", contenders, asked.rounds, base="envtool: prepared", warm=1)
        alone = envtool("run", "--again", "test")
        for _ in range(asked.rounds):
            ten = envtool("run", "--again", "fresh")
            table.add("fresh, and an answer", "envtool: prepared", (ten - alone) / 10)
        count = 2 if asked.tiny else CLONES
        table.add(f"{count} clones at once", "envtool: prepared", clones(asked.envtool, project, count))


if __name__ == "__main__":
    os.umask(0o022)
    run(main, options(__doc__, rounds=7), unit="ms")
