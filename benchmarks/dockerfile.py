"""Cold builds of a Dockerfile, and builds after an edit of one copied file, beside buildah and podman.

The image that it begins with is an OCI layout on disk: programs and 60 MB of this machine's own files. Then three
steps: COPY of 200 files, a RUN, and a RUN that writes 20 MB. In each round all start with nothing, one after the other;
envtool also starts `true` in what it made.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

from _bench import Storage, Table, layout, options, remove, run, seconds, system, workspace

DOCKERFILE = """FROM {image}
COPY src/ /src/
RUN cat /src/*.txt > /all && mkdir -p /opt/app && cp -r /src /opt/app/
RUN dd if=/dev/zero of=/opt/app/data bs=1M count={megabytes} 2>/dev/null && chmod -R go-w /opt
"""
SPEC = 'version: 1\nbases: {b: {dockerfile: {images: {base: "oci:layout:v1"}}}}\nenvs: {e: {base: b}}\n'
PROGRAMS = ("sh", "cat", "mkdir", "cp", "dd", "chmod", "true")


def project(work: Path, *, tiny: bool) -> Path:
    """A directory with the image, the files and a Dockerfile for each."""
    directory = work / "project"
    (directory / "src").mkdir(parents=True)
    for number in range(5 if tiny else 200):
        (directory / f"src/{number}.txt").write_text(f"{number}\n" * 100)
    system(work / "system", PROGRAMS, 1 if tiny else 60)
    subprocess.run(["tar", "-cf", str(work / "root.tar"), "-C", str(work / "system"), "."], check=True)
    pack = functools.partial(zlib.compress, level=1, wbits=31)
    layout(directory / "layout", [work / "root.tar"], pack, "gzip")
    megabytes = 1 if tiny else 20
    (directory / "Dockerfile").write_text(DOCKERFILE.format(image="base", megabytes=megabytes))
    image = f"oci:{directory}/layout:v1"
    (directory / "Dockerfile.oci").write_text(DOCKERFILE.format(image=image, megabytes=megabytes))
    (directory / ".dockerignore").write_text("layout\n")
    (directory / "envtool.yaml").write_text(SPEC)
    return directory


def main(asked: argparse.Namespace, table: Table) -> None:
    """Each builds cold, and again after an edit."""
    with workspace(asked.envtool) as work:
        directory = project(work, tiny=asked.tiny)
        storages = {
            tool: Storage(work / tool[0], asked.envtool) for tool in ("buildah", "podman") if table.installed(tool)
        }
        numbers = itertools.count()
        commands = {"envtool": [asked.envtool, "exec", "e", "--", "/bin/true"]}
        for tool, storage in storages.items():
            commands[tool] = [*storage.words(tool), "build", "--isolation", "chroot", "--layers",
                              "-f", "Dockerfile.oci", "."]  # fmt: skip

        def cold(who: str) -> float:
            if who == "envtool":
                remove(asked.envtool, work / "store")
            else:
                storages[who].clean()
            return seconds(*commands[who], cwd=directory)

        def edited(who: str) -> float:
            (directory / "src/3.txt").write_text(f"round {next(numbers)}\n")
            return seconds(*commands[who], cwd=directory)

        try:
            for what, build in (("cold", cold), ("after an edit of a copied file", edited)):
                contenders: dict[str, Callable[[], float]] = {who: functools.partial(build, who) for who in commands}
                base = next((who for who in storages if who not in table.left_out), "")
                table.measure(what, contenders, asked.rounds, base=base)
        finally:
            for storage in storages.values():
                storage.clean()


if __name__ == "__main__":
    run(main, options(__doc__, rounds=5))
