"""Trees as lists, ours and buildah's, so that they can be compared file by file: and the images that both begin with.

Base images are made here: busybox as the whole of a system, and with a compiler and Python beside it where a case wants
them. `debian:bookworm-slim` and the like are names that these get.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from envtool.app import open_project
from envtool.app.command_request import CommandRequest
from envtool.build.context import Cancel
from envtool.build.scheduler import Scheduler, Stack
from envtool.container import supervisor
from envtool.container.program import ContainerStep, Program, Root
from tests.registries import own_runtime

CASES = Path(__file__).parent / "dockerfiles"
TINY = ("debian:bookworm-slim", "alpine:3.20", "node:20-alpine", "golang:1.22")
TOOLS = ("gcc:13", "python:3.12-slim")
ONBUILD = "example/python:onbuild"
_DEBS = ("tcc", "libc6", "libc6-dev", "linux-libc-dev", "libcrypt1", "libgcc-s1", "make", "python3.11-minimal",
         "libpython3.11-minimal", "libpython3.11-stdlib", "libexpat1", "zlib1g", "libffi8", "libbz2-1.0", "liblzma5",
         "libssl3", "libuuid1", "python3-pip-whl")  # fmt: skip
_SCRIPTS = {
    "npm": "case $1 in\nci) mkdir -p node_modules/left-pad && echo pad > node_modules/left-pad/index.js;;\nrun) mkdir -p"
    " .next/standalone/node_modules .next/static && cp server.js .next/standalone/ && cp -r node_modules/left-pad"
    " .next/standalone/node_modules/ && echo static > .next/static/1.js;;\nesac\n",
    "node": 'exec cat "$@"\n',
    "pip": 'exec python3.11 $(echo /usr/share/python-wheels/pip-*.whl)/pip "$@"\n',
    "python3": 'exec python3.11 "$@"\n',
}
_IGNORED = {"etc/hosts", "etc/hostname", "etc/resolv.conf"}  # mount points that buildah leaves
_MOUNTED = {"dev", "proc", "sys"}


# ---- images ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bench:
    """buildah with a storage of its own, and the images as layouts and archives in `images`."""

    top: Path
    driver: str = "overlay"

    @property
    def images(self) -> Path:
        return self.top / "images"

    def buildah(self, *words: str, check: bool = True) -> str:
        command = ["buildah", "--root", f"{self.top}/storage", "--runroot", f"{self.top}/run",
                   "--storage-driver", self.driver, *words]  # fmt: skip
        environ = {**os.environ, **own_runtime(self.top)}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout.strip()

    def end(self) -> None:
        """What buildah leaves mounted goes."""
        self.buildah("rm", "--all", check=False)
        mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for place in reversed([place for place in mounted if place.startswith(f"{self.top}/")]):
            subprocess.run(["umount", "--lazy", place], capture_output=True, check=False)


def bench(top: Path) -> Bench:
    """Make the base images."""
    made = Bench(top=top)
    made.images.mkdir()
    system = top / "system"
    _debs(top / "debs", ("busybox-static",), system)
    for name in subprocess.run(
        [system / "bin/busybox", "--list"], capture_output=True, text=True, check=True
    ).stdout.split():
        if name != "busybox":
            (system / "bin" / name).symlink_to("busybox")
    for name in ("etc", "root/.cache", "run", "home/app", "usr/local/bin", "usr/bin", "opt/old", "var/lib"):
        (system / name).mkdir(parents=True, exist_ok=True)
    (system / "tmp").mkdir()
    (system / "tmp").chmod(0o1777)
    (system / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\napp:x:1234:1234::/home/app:/bin/sh\n")
    (system / "etc/group").write_text("root:x:0:\napp:x:1234:\nextra:x:55:app,other\nstaff:x:50:app,root\n")
    (system / "etc/shadow").write_text("root:*:1::::::\napp:*:1::::::\n")
    (system / "etc/motd").write_text("welcome\n")
    (system / "opt/old/old").write_text("old\n")
    for name, script in _SCRIPTS.items():
        (system / "usr/local/bin" / name).write_text(f"#!/bin/sh\n{script}")
        (system / "usr/local/bin" / name).chmod(0o755)
    shutil.rmtree(system / "usr/share")
    _image(made, "tiny", system, TINY)
    _debs(top / "debs", _DEBS, system)
    for name in ("doc", "man", "locale", "lintian"):
        shutil.rmtree(system / "usr/share" / name, ignore_errors=True)
    (system / "usr/lib/python3.11/EXTERNALLY-MANAGED").unlink()  # the image is python's own, not Debian's
    for pattern in (
        "usr/include/linux",
        "usr/include/drm",
        "usr/lib/*/gconv",
        "usr/lib/*/lib[!c]*.a",
        "usr/lib/*/libc.a",
    ):
        for path in system.glob(pattern):  # a smaller image is a faster test
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    _image(made, "tools", system, TOOLS)
    _onbuild(made)
    return made


def _debs(downloads: Path, names: tuple[str, ...], system: Path) -> None:
    downloads.mkdir(exist_ok=True)
    before = set(downloads.glob("*.deb"))
    subprocess.run(["apt-get", "download", "-q", *names], cwd=downloads, capture_output=True, check=True, timeout=120)
    for deb in sorted(set(downloads.glob("*.deb")) - before):
        subprocess.run(["dpkg-deb", "-x", deb, system], check=True)


def _image(bench: Bench, name: str, system: Path, tags: tuple[str, ...]) -> None:
    container = bench.buildah("from", "scratch")
    bench.buildah("add", "--quiet", container, str(system), "/")
    bench.buildah("config", "--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                  "--env", f"IMAGE={name}", "--cmd", "/bin/sh", container)  # fmt: skip
    bench.buildah("commit", "--quiet", "--rm", "--disable-compression", container, name)
    for tag in tags:
        bench.buildah("tag", name, f"docker.io/library/{tag}")
    bench.buildah("push", "--quiet", "--disable-compression", name, f"oci:{bench.images}/{name}:latest")


def _onbuild(bench: Bench) -> None:
    """OCI's configuration has no place for ONBUILD, Docker's has."""
    container = bench.buildah("from", "--pull=never", "tiny")
    for trigger in ("COPY requirements.txt /usr/src/app/", "WORKDIR /usr/src/app",
                    "RUN sort -r requirements.txt > sorted && rm requirements.txt", "COPY . ."):  # fmt: skip
        bench.buildah("config", "--onbuild", trigger, container)
    bench.buildah("commit", "--quiet", "--rm", "--format", "docker", container, f"docker.io/{ONBUILD}")
    bench.buildah("push", "--quiet", f"docker.io/{ONBUILD}", f"docker-archive:{bench.images}/onbuild.tar:{ONBUILD}")


# ---- a case ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A project in `top` with the case's files in `context`, and the images beside it."""

    top: Path
    context: Path
    args: dict[str, str]

    @classmethod
    def make(cls, name: str, top: Path, bench: Bench, **args: str) -> Case:
        context = top / "context"
        shutil.copytree(CASES / name, context, symlinks=True)
        for path in context.rglob("*"):  # whatever the umask of the checkout
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        shutil.copytree(bench.images, top / "images", copy_function=os.link)
        images = dict.fromkeys(TINY, "oci:images/tiny") | dict.fromkeys(TOOLS, "oci:images/tools")
        images[ONBUILD] = "docker-archive:images/onbuild.tar"
        spec = {"context": "context", "images": images, "args": args}
        text = {"version": 1, "bases": {"img": {"dockerfile": spec}}, "envs": {"t": {"base": "img"}}}
        (top / "envtool.yaml").write_text(json.dumps(text))
        return cls(top=top, context=context, args=args)

    def ours(self) -> tuple[dict, dict]:
        """The tree and the configuration that we make."""
        found = open_project.open_project(CommandRequest(directory=str(self.top)), lambda _: None, Cancel.make())
        stack = Scheduler(found.graph, found.context).stack("t")
        base = stack.layers[0].resolved
        return tree(stack), dict(base.node.kind.image_config(base.request, base.pins))

    def theirs(self, bench: Bench) -> tuple[dict, dict]:
        """Those that buildah makes: of `Dockerfile.plain` where there is one."""
        plain = self.context / "Dockerfile.plain"
        file = plain if plain.exists() else self.context / "Dockerfile"
        words = [word for name, value in self.args.items() for word in ("--build-arg", f"{name}={value}")]
        bench.buildah("build", "--isolation", "chroot", "--pull=never", "--format", "docker", *words,
                      "-f", str(file), "-t", "case", str(self.context))  # fmt: skip
        container = bench.buildah("from", "--pull=never", "case")
        try:
            listed = walk(bench.buildah("mount", container))
            return listed, json.loads(bench.buildah("inspect", container))["Docker"]["config"]
        finally:
            bench.buildah("rm", container)


# ---- trees -----------------------------------------------------------------------------------------------------------


def walk(top: str) -> dict[str, list]:
    """Path -> type, mode, owner, group, and what there is of content, target, hard links and extended attributes."""
    found: dict[str, list] = {}
    links: dict[tuple[int, int], list[str]] = {}
    for directory, names, files in os.walk(top):
        if directory == top:
            names[:] = [name for name in names if name not in _MOUNTED]
        for name in (*names, *files):
            path = os.path.join(directory, name)
            place = os.path.relpath(path, top)
            if place in _IGNORED:
                continue
            info = os.lstat(path)
            entry = [stat.S_IFMT(info.st_mode), oct(stat.S_IMODE(info.st_mode)), info.st_uid, info.st_gid]
            if stat.S_ISLNK(info.st_mode):
                entry.append(os.readlink(path))
            elif stat.S_ISREG(info.st_mode):
                with open(path, "rb") as file:
                    entry.append(hashlib.sha256(file.read()).hexdigest())
                links.setdefault((info.st_dev, info.st_ino), []).append(place)
            keys = sorted(os.listxattr(path, follow_symlinks=False))
            entry += [
                [key, os.getxattr(path, key, follow_symlinks=False).hex()]
                for key in keys
                if not key.startswith(("user.overlay.", "trusted."))
            ]
            found[place] = entry
    if not any(place.startswith("etc/") for place in found):  # hosts and the like, shown in a container
        found.pop("etc", None)
    for places in links.values():
        for place in places if len(places) > 1 else ():
            found[place].append(["same as", *sorted(places)])
    return found


def _say() -> None:
    print(json.dumps(walk("/")))


def tree(stack: Stack) -> dict[str, list]:
    """All files of a stack, as a container sees them."""
    lowers = tuple(made.layer.tree for made in reversed(stack.layers))
    program = Program(
        root=Root(lowers=lowers, own=("tmp", "run")), steps=(ContainerStep(call=f"{__name__}:_say"),), user="root"
    )
    with tempfile.TemporaryFile() as said:
        ended = supervisor.run(program.to_dict(), stdout=said.fileno())
        assert ended.status == 0, ended
        said.seek(0)
        return json.load(said)
