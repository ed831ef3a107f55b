"""Pulling and unpacking an image, beside podman.

An image of 300 MB in three layers is made of this machine's own files and pushed to docker-registry on loopback (where
that or skopeo is missing, both read the layout). In each round both start with nothing, one after the other: podman
pulls; envtool pulls, pins, unpacks, and starts `true` in it.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gzip
import subprocess
from collections.abc import Callable
from pathlib import Path

from _bench import Storage, Table, layout, options, registry, remove, run, seconds, some_files, system, workspace

SIZES = (200, 70, 30)  # MB of the layers, unpacked


def zstd(data: bytes) -> bytes:
    """A frame of level 3."""
    import zstandard

    return zstandard.ZstdCompressor(level=3).compress(data)


PACKERS = {"gzip": functools.partial(gzip.compress, compresslevel=6), "zstd": zstd}


def layers(work: Path, sizes: tuple[float, ...]) -> list[Path]:
    """A tar a layer; the first has `sh` and `true` in it."""
    system(work / "system")
    tars, done = [], 0.0
    for number, size in enumerate(sizes):
        tar = work / f"{number}.tar"
        tars.append(tar)
        names = "".join(f"{path.lstrip('/')}\0" for path in some_files(size, done))
        done += size
        words = ["tar", "-C", "/", "-cf", str(tar), "--null", "-T", "-"]
        subprocess.run(words, input=names.encode("utf-8", "surrogateescape"), check=True)
        if not number:
            subprocess.run(["tar", "-C", str(work / "system"), "-rf", str(tar), "."], check=True)
    return tars


def main(asked: argparse.Namespace, table: Table) -> None:
    """Both, for each compression."""
    with workspace(asked.envtool) as work, contextlib.ExitStack() as held:
        tars = layers(work, (1, 0.5, 0.2) if asked.tiny else SIZES)
        unpacked = sum(tar.stat().st_size for tar in tars)
        host = ""
        if table.installed("docker-registry", "skopeo", who="a registry to pull from"):
            host = held.enter_context(registry(work / "registry"))
        storage = Storage(work / "p", asked.envtool)
        if table.installed("podman"):
            held.callback(storage.clean)
        for compression in asked.only.split():
            made = work / f"layout-{compression}"
            size = layout(made, tars, PACKERS[compression], compression)
            image, theirs = f"oci:{made.name}:v1", f"oci:{made}:v1"
            if host:
                image, theirs = f"{host}/bench/{compression}:v1", f"docker://{host}/bench/{compression}:v1"
                copy = ("skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false")
                seconds(*copy, f"oci:{made}:v1", theirs, **storage.variables)
            (work / "envtool.yaml").write_text(f'version: 1\nenvs: {{e: {{base: {{image: "{image}"}}}}}}\n')

            def ours() -> float:
                remove(asked.envtool, work / "store")
                return seconds(asked.envtool, "-C", work, "exec", "e", "--", "/bin/true")

            def podman(image: str = theirs) -> float:
                storage.clean()
                return seconds(*storage.words("podman"), "pull", "-q", "--tls-verify=false", image)

            contenders: dict[str, Callable[[], float]] = {"envtool": ours, "podman": podman}
            what = f"{compression}, {size / 1e6:.0f} MB, {unpacked / 1e6:.0f} unpacked"
            table.measure(what, contenders, asked.rounds, base="podman")


if __name__ == "__main__":
    parser = options(__doc__, rounds=3)
    parser.add_argument("--only", default=" ".join(PACKERS), help="compressions")
    run(main, parser)
