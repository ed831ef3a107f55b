"""Giving an image away, beside podman: `python benchmarks/export.py --envtool PATH`.

As root. The image is a tar of this machine's Pythons, Perls and documents with a small layer on top; podman has it from
our own export. Written to files, and pushed to Debian's docker-registry on loopback. Interleaved; the fastest of each
counts.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

TREES = ("usr/lib/python3*", "usr/lib/*/perl*", "usr/share/perl*", "usr/share/doc")


def seconds(*words: str | os.PathLike[str], **more: str) -> float:
    """How long a command takes that has to succeed."""
    began = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **more}, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}: {done.stderr}")
    return time.perf_counter() - began


@contextlib.contextmanager
def registry(top: Path) -> Iterator[str]:
    """A registry of its own: host:port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    storage = {"filesystem": {"rootdirectory": str(top / "registry")}}
    config = {"version": "0.1", "log": {"level": "error"}, "storage": storage, "http": {"addr": host}}
    (top / "registry.yml").write_text(json.dumps(config))
    words = ["docker-registry", "serve", str(top / "registry.yml")]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        time.sleep(1)
        try:
            yield host
        finally:
            process.kill()


def main() -> None:
    """Print what each took."""
    parser = argparse.ArgumentParser(description="an image to files and registries, ours and podman's")
    parser.add_argument("--envtool", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    if os.geteuid() or not shutil.which("podman") or not shutil.which("docker-registry"):
        sys.exit("needs root, podman and docker-registry")
    with tempfile.TemporaryDirectory(prefix="envtool-bench-") as name, registry(Path(name)) as host:
        top = Path(name)
        found = [os.path.relpath(path, "/") for tree in TREES for path in glob.glob(f"/{tree}")]
        subprocess.run(["tar", "-C", "/", "-cf", str(top / "root.tar"), *found], check=True)
        digest = hashlib.sha256((top / "root.tar").read_bytes()).hexdigest()
        (top / "envtool.yaml").write_text(
            f"version: 1\nbases: {{b: {{tarball: {{path: root.tar, sha256: {digest}}}}}}}\n"
            "layers: {l: {copy: {from: envtool.yaml, to: /opt/}}}\n"
            "envs: {e: {base: b, layers: [l], tasks: {test: 'true'}}}\n"
        )
        ours = [os.path.abspath(asked.envtool), "-C", name]
        more = {"ENVTOOL_STORE": str(top / "store"), "ENVTOOL_INSECURE_REGISTRIES": host}
        podman = ["podman", "--root", top / "podman", "--runroot", top / "run"]
        seconds(*ours, "export", "e", top / "e.tar", **more)
        seconds(*podman, "load", "-i", top / "e.tar")
        image = "localhost/e:latest"
        jobs = {
            "docker-archive": (
                [*ours, "export", "e", top / "x.tar"],
                [*podman, "save", "--format", "docker-archive", "-o", top / "y.tar", image],
            ),
            "oci, zstd": (
                [*ours, "export", "e", f"oci:{top}/x", "--compress", "zstd"],
                None,
            ),
            "oci, gzip": (
                [*ours, "export", "e", f"oci:{top}/x", "--compress", "gzip"],
                [*podman, "push", "--compression-format", "gzip", image, f"oci:{top}/y"],
            ),
            "push, nothing there": (
                [*ours, "push", "e", f"{host}/ours"],
                [*podman, "push", "--tls-verify=false", image, f"{host}/theirs"],
            ),
        }
        print(f"{(top / 'e.tar').stat().st_size / 1e6:.0f} MB")
        for what, pair in jobs.items():
            times: list[list[float]] = [[], []]
            for number in range(asked.rounds):
                for side, words in enumerate(pair):
                    for path in ("x.tar", "y.tar", "x", "y"):
                        subprocess.run(["rm", "-rf", str(top / path)], check=True)
                    if words is not None:
                        fresh = [str(word).replace("/ours", f"/ours{number}").replace("/theirs", f"/theirs{number}")
                                 for word in words]  # fmt: skip
                        shutil.rmtree(top / "registry", ignore_errors=True)
                        times[side].append(seconds(*fresh, **more))
            one, other = (min(each, default=0.0) for each in times)
            beside = f", podman {other:.2f} s, ratio {one / other:.2f}" if other else ""
            print(f"{what}: envtool {one:.2f} s{beside}", flush=True)
        again = min(seconds(*ours, "push", "e", f"{host}/ours{asked.rounds - 1}", **more) for _ in range(asked.rounds))
        print(f"push, all of it there: envtool {again:.2f} s")
        remove = "import sys; from envtool.container import ids; ids.remove(sys.argv[1])"
        python = os.path.join(os.path.dirname(ours[0]), "python")
        subprocess.run([python, "-c", remove, str(top / "store")], check=True)


if __name__ == "__main__":
    main()
