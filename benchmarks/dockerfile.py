"""Cold builds of a Dockerfile, beside buildah and podman: `python benchmarks/dockerfile.py --envtool PATH`.

As root, with buildah, podman and busybox-static. The image that it begins with is an OCI layout on disk: busybox and
60 MB of this machine's own files. Then three steps: COPY of 200 files, a RUN, and a RUN that writes 20 MB. Each round
all start with nothing, one after the other; envtool also starts `true` in what it made. Then the same after an edit of
one copied file.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DOCKERFILE = """FROM {image}
COPY src/ /src/
RUN cat /src/*.txt > /all && mkdir -p /opt/app && cp -r /src /opt/app/
RUN dd if=/dev/zero of=/opt/app/data bs=1M count=20 2>/dev/null && chmod -R go-w /opt
"""
PLACES = ("/usr/lib/python3", "/usr/lib/x86_64-linux-gnu", "/usr/lib/git-core", "/usr/share/perl")


class Bench:
    """A directory with the image, the project, and a storage for each contender."""

    def __init__(self, top: Path, envtool: list[str]) -> None:
        self.top, self.envtool, self.round = top, envtool, 0
        self.project = top / "project"
        (self.project / "src").mkdir(parents=True)
        for number in range(200):
            (self.project / f"src/{number}.txt").write_text(f"{number}\n" * 100)
        self._layout()
        (self.project / "Dockerfile").write_text(DOCKERFILE.format(image="base"))
        (self.project / "Dockerfile.oci").write_text(DOCKERFILE.format(image=f"oci:{self.project}/layout:base"))
        (self.project / ".dockerignore").write_text("layout\n")
        (self.project / "envtool.yaml").write_text(
            'version: 1\nbases: {b: {dockerfile: {images: {base: "oci:layout"}}}}\nenvs: {e: {base: b}}\n'
        )

    def _layout(self) -> None:
        system = self.top / "system"
        (system / "bin").mkdir(parents=True)
        (system / "tmp").mkdir()
        busybox = shutil.which("busybox")
        assert busybox
        shutil.copy(busybox, system / "bin/busybox")
        names = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
        for name in names:
            if name != "busybox":
                (system / "bin" / name).symlink_to("busybox")
        done = 0
        for place in PLACES:
            for directory, _, found in os.walk(place):
                for each in sorted(found):
                    path = Path(directory, each)
                    if done < 60_000_000 and path.is_file() and not path.is_symlink():
                        target = system / str(path).lstrip("/")
                        target.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copyfile(path, target)
                        done += path.stat().st_size
        words = self.words("buildah", "make")
        container = subprocess.run(
            [*words, "from", "scratch"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for rest in (
            ["add", "--quiet", container, str(system), "/"],
            ["commit", "--quiet", container, "base"],
            ["push", "--quiet", "base", f"oci:{self.project}/layout:base"],
        ):
            subprocess.run([*words, *rest], capture_output=True, check=True)
        self.clean()

    def words(self, tool: str, name: str) -> list[str]:
        """buildah or podman, with a storage of that name."""
        place = self.top / "storage" / name
        return [tool, "--root", f"{place}/s", "--runroot", f"{place}/r", "--storage-driver", "overlay"]

    def clean(self) -> None:
        """Remove all storages, and what is mounted in them."""
        mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for place in reversed([place for place in mounted if place.startswith(f"{self.top}/")]):
            subprocess.run(["umount", "--lazy", place], check=False)
        shutil.rmtree(self.top / "storage", ignore_errors=True)

    def timed(self, *words: str) -> float:
        """Seconds that a command took."""
        began = time.perf_counter()
        environ = os.environ | {"ENVTOOL_STORE": str(self.top / "storage/envtool")}
        done = subprocess.run(words, cwd=self.project, check=False, capture_output=True, env=environ)
        if done.returncode:
            sys.exit((done.stdout + done.stderr).decode())
        return time.perf_counter() - began

    def edit(self) -> None:
        """Change one file that is copied."""
        self.round += 1
        (self.project / "src/7.txt").write_text(f"round {self.round}\n")

    def build(self, tool: str) -> tuple[float, float]:
        """Cold, and again after an edit."""
        if tool == "envtool":
            command = [*self.envtool, "exec", "e", "--", "/bin/true"]
        else:
            command = [
                *self.words(tool, tool),
                "build",
                "--isolation",
                "chroot",
                "--layers",
                "-f",
                "Dockerfile.oci",
                ".",
            ]
        cold = self.timed(*command)
        self.edit()
        again = self.timed(*command)
        self.clean()
        return cold, again


def main() -> None:
    """Print a table of all times, and ours as a ratio of each."""
    parser = argparse.ArgumentParser(description="cold builds of a Dockerfile, ours and others'")
    parser.add_argument("--envtool", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    missing = [name for name in ("buildah", "podman", "busybox") if not shutil.which(name)]
    if missing or os.geteuid():
        sys.exit(f"needs root, and {', '.join(missing or ['no more'])}")
    with tempfile.TemporaryDirectory(prefix="eb-") as directory:
        bench = Bench(Path(directory), asked.envtool.split())
        tools = ("envtool", "buildah", "podman")
        times = [{tool: bench.build(tool) for tool in tools} for _ in range(asked.rounds)]
    print("| build | envtool, s | buildah, s | podman, s | ratio to buildah | to podman |\n|---|---|---|---|---|---|")
    for which, name in enumerate(("cold", "after an edit of a copied file")):
        medians = [statistics.median(each[tool][which] for each in times) for tool in tools]
        ratios = [statistics.median(each["envtool"][which] / each[tool][which] for each in times) for tool in tools[1:]]
        cells = [f"{value:.2f}" for value in (*medians, *ratios)]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
