"""Pulling and unpacking an image, beside podman: `python benchmarks/images.py --envtool PATH`.

As root, with podman, skopeo, docker-registry and busybox-static. An image of 300 MB in three layers is made of this
machine's own files and pushed to a registry on loopback. Each round both start with nothing, one after the other:
podman pulls; envtool pulls, pins, unpacks, and starts /bin/true in it. `--user NAME` adds rounds as an ordinary user
with a range of ids.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SIZES = (200, 70, 30)  # MB of the layers, unpacked
PLACES = ("/usr/lib", "/usr/share", "/usr/bin")


def files() -> Iterator[Path]:
    """Files of this machine, always in the same order."""
    for place in PLACES:
        for directory, names, found in os.walk(place):
            names.sort()
            for name in sorted(found):
                path = Path(directory) / name
                if path.is_symlink() or (path.is_file() and 0 < path.stat().st_size < 8 << 20):
                    yield path


def layer(source: Iterator[Path], size: int, to: Path, first: tuple[str, str] | None) -> str:
    """Write a layer's tar; its diff ID."""
    done = 0
    with tarfile.open(to, "w") as archive:
        if first:
            archive.add(first[0], first[1])
            link = tarfile.TarInfo("bin/true")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        while done < size * 1_000_000:
            path = next(source)
            archive.add(path, str(path).lstrip("/"), recursive=False)
            done += path.lstat().st_size
    return "sha256:" + hashlib.sha256(to.read_bytes()).hexdigest()


def layout(top: Path, compression: str) -> tuple[Path, int, int]:
    """An OCI layout of the image; its sizes in bytes, unpacked and packed."""
    blobs = top / "layout/blobs/sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    source, layers, diff_ids, unpacked = files(), [], [], 0
    for number, size in enumerate(SIZES):
        tar = top / "layer.tar"
        diff_ids.append(layer(source, size, tar, (str(shutil.which("busybox")), "bin/busybox") if not number else None))
        unpacked += tar.stat().st_size
        if compression == "zstd":
            import zstandard

            data = zstandard.ZstdCompressor(level=3).compress(tar.read_bytes())
        else:
            data = gzip.compress(tar.read_bytes(), 6)
        media = f"application/vnd.oci.image.layer.v1.tar+{compression}"
        layers.append({"mediaType": media, **put(data)})
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}, "config": {}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **put(json.dumps(config).encode())},
        "layers": layers,
    }
    entry = {"mediaType": manifest["mediaType"], **put(json.dumps(manifest).encode())}
    (top / "layout/index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (top / "layout/oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return top / "layout", unpacked, sum(int(str(each["size"])) for each in layers)


@contextmanager
def registry(top: Path) -> Iterator[str]:
    """A docker-registry on loopback; host:port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(top / "registry")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    (top / "registry.yml").write_text(json.dumps(config))
    words = ["docker-registry", "serve", str(top / "registry.yml")]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.02)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


class Caller:
    """Who pulls: root, or a user with a range of ids. Each has a directory of its own."""

    def __init__(self, top: Path, user: str, image: str, envtool: list[str]) -> None:
        self.top = top / (user or "root")
        self.top.mkdir()
        self.image, self.envtool = image, envtool
        self.prefix: list[str] = []
        (self.top / "run").mkdir(mode=0o700)
        if user:
            shutil.chown(self.top, user, user)
            shutil.chown(self.top / "run", user, user)
            self.prefix = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        (self.top / "envtool.yaml").write_text(f'version: 1\nenvs: {{e: {{base: {{image: "{image}"}}}}}}\n')
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.top),
            "XDG_RUNTIME_DIR": str(self.top / "run"),
            "ENVTOOL_INSECURE_REGISTRIES": image.partition("/")[0],
            "ENVTOOL_STORE": str(self.top / "store"),
        }

    def timed(self, *words: str) -> float:
        """Seconds that a command took."""
        began = time.perf_counter()
        done = subprocess.run([*self.prefix, *words], env=self.environ, cwd=self.top, check=False, capture_output=True)
        if done.returncode:
            sys.exit(done.stderr.decode())
        return time.perf_counter() - began

    def podman(self) -> float:
        """Pull into an empty storage."""
        where = ["--root", str(self.top / "p"), "--runroot", str(self.top / "r")]
        took = self.timed("podman", *where, "pull", "-q", "--tls-verify=false", f"docker://{self.image}")
        if self.prefix:  # the files belong to ids of its range
            words = [*self.prefix, "podman", "unshare", "rm", "-rf", str(self.top / "p"), str(self.top / "r")]
            subprocess.run(words, env=self.environ, cwd=self.top, check=False)
        else:
            shutil.rmtree(self.top / "p")
        return took

    def ours(self) -> float:
        """Pull, unpack and start in an empty store."""
        took = self.timed(*self.envtool, "exec", "e", "--", "/bin/true")
        remove = "import sys; from envtool.container import ids; ids.remove(sys.argv[1])"
        python = os.path.join(os.path.dirname(self.envtool[0]), "python")
        subprocess.run([*self.prefix, python, "-c", remove, str(self.top / "store")], env=self.environ, check=True)
        return took


def compare(name: str, one: Callable[[], float], other: Callable[[], float], rounds: int) -> str:
    """A row of the table: medians, and the median of the ratios of each round."""
    pairs = [(one(), other()) for _ in range(rounds)]
    mine, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    return f"| {name} | {mine:.2f} | {theirs:.2f} | {ratio:.2f} |"


def main() -> None:
    """Print a table of both times and their ratio."""
    parser = argparse.ArgumentParser(description="pulling and unpacking an image, ours and podman's")
    parser.add_argument("--envtool", required=True)
    parser.add_argument("--user", default="")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="gzip zstd")
    asked = parser.parse_args()
    needed = ("podman", "skopeo", "docker-registry", "busybox")
    missing = [name for name in needed if not shutil.which(name)]
    if missing or os.geteuid():
        sys.exit(f"needs root, and {', '.join(missing or needed)}")
    print("| image | envtool, s | podman, s | ratio |\n|---|---|---|---|")
    for compression in asked.only.split():
        with tempfile.TemporaryDirectory(prefix="eb-") as directory:
            top = Path(directory)
            top.chmod(0o755)
            made, unpacked, size = layout(top, compression)
            with registry(top) as host:
                image = f"{host}/bench/image:v1"
                subprocess.run(
                    ["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", f"oci:{made}",
                     f"docker://{image}"],
                    check=True,
                )  # fmt: skip
                for user in filter(None, ("root", asked.user)):
                    who = Caller(top, "" if user == "root" else user, image, [os.path.abspath(asked.envtool)])
                    name = f"{compression}, {size / 1e6:.0f} MB, {unpacked / 1e6:.0f} unpacked, {user}"
                    print(compare(name, who.ours, who.podman, asked.rounds), flush=True)


if __name__ == "__main__":
    main()
