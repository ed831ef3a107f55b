"""Giving an image away, beside podman: to an archive, to OCI layouts, and to docker-registry on loopback.

The image is a tar of this machine's own files with a small layer on top; podman has it from our own export.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import itertools
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from _bench import Failed, Storage, Table, options, registry, run, seconds, some_files, workspace

SPEC = """version: 1
bases: {{b: {{tarball: {{path: root.tar, sha256: {digest}}}}}}}
layers: {{l: {{copy: {{from: envtool.yaml, to: /opt/}}}}}}
envs: {{e: {{base: b, layers: [l], tasks: {{test: 'true'}}}}}}
"""
OUTPUTS = ("x.tar", "y.tar", "x", "y", "registry/files")
PUSH = "push to an empty registry (envtool: zstd, podman: gzip)"


def project(work: Path, megabytes: float) -> None:
    """A spec, and the tar that its base is."""
    names = "".join(f"{path.lstrip('/')}\0" for path in some_files(megabytes))
    words = ["tar", "-C", "/", "-cf", str(work / "root.tar"), "--null", "-T", "-"]
    subprocess.run(words, input=names.encode("utf-8", "surrogateescape"), check=True)
    with open(work / "root.tar", "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    (work / "envtool.yaml").write_text(SPEC.format(digest=digest))


def main(asked: argparse.Namespace, table: Table) -> None:
    """Each writes what the other writes, to nothing."""
    with workspace(asked.envtool) as work, contextlib.ExitStack() as held:
        project(work, 1 if asked.tiny else 250)
        ours = [asked.envtool, "-C", str(work)]
        seconds(*ours, "export", "e", work / "e.tar")
        storage = Storage(work / "p", asked.envtool)
        podman = storage.words("podman")
        image = "localhost/e:latest"
        if table.installed("podman"):
            held.callback(storage.clean)
            try:
                seconds(*podman, "load", "-i", work / "e.tar")
            except Failed as failed:
                table.leave_out("podman", failed.why)
        jobs = {
            "docker-archive": (
                [*ours, "export", "e", f"{work}/x.tar"],
                [*podman, "save", "--format", "docker-archive", "-o", f"{work}/y.tar", image],
            ),
            "OCI layout, zstd": ([*ours, "export", "e", f"oci:{work}/x", "--compress", "zstd"], []),
            "OCI layout, gzip": (
                [*ours, "export", "e", f"oci:{work}/x", "--compress", "gzip"],
                [*podman, "push", "--compression-format", "gzip", image, f"oci:{work}/y"],
            ),
        }
        host = ""
        if table.installed("docker-registry"):
            host = held.enter_context(registry(work / "registry"))
            jobs[PUSH] = (
                [*ours, "push", "e", host + "/ours{number}"],
                [*podman, "push", "--tls-verify=false", image, host + "/theirs{number}"],
            )
        numbers = itertools.count()

        def fresh(words: list[str]) -> float:
            for path in (work / name for name in OUTPUTS):
                if path.is_dir():
                    shutil.rmtree(path)
                path.unlink(missing_ok=True)
            number = str(next(numbers))  # a registry remembers for a while what it had: another name each time
            return seconds(*(word.replace("{number}", number) for word in words))

        for what, (mine, theirs) in jobs.items():
            contenders: dict[str, Callable[[], float]] = {"envtool": functools.partial(fresh, mine)}
            if theirs:
                contenders["podman"] = functools.partial(fresh, theirs)
            table.measure(what, contenders, asked.rounds, base="podman")
        if host:
            again = functools.partial(seconds, *ours, "push", "e", f"{host}/again")
            table.measure("push of what is there", {"envtool": again}, asked.rounds, warm=1)


if __name__ == "__main__":
    run(main, options(__doc__, rounds=3))
