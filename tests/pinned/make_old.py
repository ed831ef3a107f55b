"""Writes what tests/pinned/test_old.py reads: a store a caller, a lock, a vendor folder and a team cache of one small project.

    python -m tests.pinned.make_old           # as root, from the top of a checkout; needs a C compiler and docker-registry

What is checked in was written by commit 506e090, the last one before modules were renamed. Write it again only where a
format changes on purpose: what it holds is that stores, locks and caches of yesterday are read today.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tests import places, registries
from tests.pinned.shared import OLD, PROGRAM, Map

MODES = ("root", "range", "single")
FETCHED = b"from far away\n"
ADDRESS = "https://files.invalid/far.txt"
REGISTRY = "registry.invalid"
FLAGS = """-Os -static -nostdlib -nostartfiles -ffreestanding -fno-stack-protector -fno-pie -no-pie -s
 -fno-asynchronous-unwind-tables -Wl,--build-id=none,-z,norelro,-z,noexecstack -Wall -Wextra""".split()  # noqa: SIM905
DOCKERFILE = """\
FROM scratch
ADD root.tar.gz /
ENV GREETING=hello
WORKDIR /work
COPY data.txt copied.txt
RUN --network=none put made.txt made in a Dockerfile
"""
SPEC = """\
version: 1
cache:
  registry: {registry}/team/cache
  push: always
  results: true
  trust: ["{public}"]
bases:
  tiny: {{tarball: {{path: root.tar.gz, sha256: {sha256}}}}}
  docker: {{dockerfile: Dockerfile}}
layers:
  word: {{run: ["mkdir /opt", "put /opt/word one two"]}}
  files: {{copy: {{from: data.txt, to: /opt/data.txt, mode: "0604"}}}}
  far: {{fetch: {{url: "{address}", sha256: {far}, to: /opt/far.txt}}, needs: []}}
  second: {{run: ["append /opt/word three", "cat /opt/word"], inputs: [data.txt], set: {{SECOND: "2"}}}}
defaults:
  set: {{COMMON: "1"}}
envs:
  unit:
    base: tiny
    layers: [word, files, far, second]
    tasks:
      test: cat /opt/word /opt/data.txt /opt/far.txt
      build: {{run: [mkdir out, put out/made made it], outputs: ["out/*"]}}
  image:
    base: docker
    layers: [far]
    tasks: {{test: cat /work/copied.txt /work/made.txt /opt/far.txt}}
"""


def main() -> None:
    shutil.rmtree(OLD, ignore_errors=True)
    OLD.mkdir(parents=True)
    top = places.begin()
    try:
        with tempfile.TemporaryDirectory() as scratch, registries.running(Path(scratch) / "registry") as registry:
            program(Path(scratch))
            for mode in MODES:
                store(mode, registry, Path(scratch) / "key", first=mode == MODES[0])
            pack(OLD / "registry.tar.xz", registry.data, Map(0, 0, 0))
    finally:
        places.end(top)
    for path in sorted(OLD.rglob("*")):
        print(path.stat().st_size, path.relative_to(OLD))


def program(scratch: Path) -> None:
    """The root file system: a shell, and directories."""
    source = Path(__file__).with_name("shell.c")
    subprocess.run(["cc", *FLAGS, "-o", scratch / "sh", source], check=True)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in ("bin", "etc"):
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(member)
        data = (scratch / "sh").read_bytes()
        member = tarfile.TarInfo("bin/sh")
        member.size, member.mode = len(data), 0o755
        tar.addfile(member, io.BytesIO(data))
    PROGRAM.parent.mkdir(exist_ok=True)
    PROGRAM.write_bytes(gzip.compress(out.getvalue(), mtime=0))


def store(mode: str, registry: registries.Registry, key: Path, *, first: bool) -> None:
    """All verbs that write, as one caller; what the first one has beside the store is kept too."""
    with places.fresh_place(places.calling(mode)) as place:
        conf = f'[[registry]]\nprefix="{REGISTRY}"\nlocation="{registry.host}"\ninsecure=true\n'
        place.write("registries.conf", conf, at=place.top)
        place.environ |= {"CONTAINERS_REGISTRIES_CONF": str(place.top / "registries.conf"), "HOSTNAME": "old"}
        sha = hashlib.sha256(FETCHED).hexdigest()
        place.write(f"blobs/{sha[:2]}/{sha}", FETCHED, at=place.top)
        place.environ["ENVTOOL_BLOBS"] = str(place.top / "blobs")
        if first:
            done = place.envtool("cache", "key", str(key), "--json")
            assert done.status == 0, done.said
            files = {"root.tar.gz": PROGRAM.read_bytes(), "data.txt": b"data\n", "Dockerfile": DOCKERFILE.encode()}
            files["envtool.yaml"] = SPEC.format(
                registry=REGISTRY,
                public=json.loads(done.out)["public"],
                sha256=hashlib.sha256(PROGRAM.read_bytes()).hexdigest(),
                address=ADDRESS,
                far=sha,
            ).encode()
            for name, data in files.items():
                place.write(name, data)
        else:
            place.copy(OLD / "project")
        place.environ["ENVTOOL_CACHE_KEY"] = key.read_text()
        if first:
            for verb in ("lock", "vendor"):
                done = place.envtool(verb)
                assert done.status == 0, done.said
            pack(OLD / "vendor.tar.xz", place.project / "envtool.vendor", Map(0, 0, 0))
            shutil.rmtree(place.project / "envtool.vendor")
            (OLD / "project").mkdir()
            for path in place.project.iterdir():
                if path.is_file():
                    shutil.copy(path, OLD / "project" / path.name)
        if mode == "range":  # what root pushed is its own, too
            place.environ["ENVTOOL_CACHE"] = "off"
        for verb in ("test", "build"):
            done = place.envtool(verb, "--json")
            assert done.status == 0, done.said
            ended = [each for each in done.events if each["event"] == "finished"]
            print(mode, verb, *(f"{each['name']}: {each['outcome']}" for each in ended), sep="; ")
        pack(OLD / f"store-{mode}.tar.xz", place.store, Map.of(place))


def pack(path: Path, tree: Path, ids: Map) -> None:
    """A tree with the ids that containers have: 0 is root in them, `CALLER` who made it."""
    with tarfile.open(path, "w:xz", preset=9, format=tarfile.PAX_FORMAT) as tar:
        tar.add(tree, arcname=".", filter=ids.inward)


if __name__ == "__main__":
    main()
