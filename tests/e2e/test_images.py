"""Images by buildah, podman, skopeo and umoci come in as bases: from layouts, archives and a registry, for every caller."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from envtool.net.oci import documents
from tests.registries import own_runtime
from tests.unit.kinds.image.layouts import Layout
from tests.unit.store.archives import digest, link, member, tar
from tests.unit.store.test_hostile import CASES

pytestmark = pytest.mark.e2e

CAPABILITY = bytes([1, 0, 0, 2, 0, 0x20, 0, 0]) + bytes(12)  # cap_net_raw, permitted
PLACES = "/bin /etc/app /opq /srv /usr /var"
# type, mode, owner, links, size, time and name of all; then what is in files, then where links lead
LISTING = f"""
cd /
find {PLACES} | sort | while read -r path; do stat -c '%F %a %u:%g %Y %n' "$path"; done
find {PLACES} ! -type d | sort | while read -r path; do stat -c '%h %n' "$path"; done
find {PLACES} -type f | sort | while read -r path; do sha256sum "$path"; done
find {PLACES} -type l | sort | while read -r path; do echo "$path -> $(readlink "$path")"; done
"""


def busybox() -> str:
    path = shutil.which("busybox")
    if not path or subprocess.run(["ldd", path], capture_output=True, check=False).returncode == 0:
        pytest.skip("busybox-static is not installed")
    return path


@dataclass(frozen=True)
class Made:
    """Images below `top`. `layout`, `zstd` (the same with zstd), `image.tar` and `docker.tar` are one image by buildah and
    skopeo, `umoci` is umoci's, `podman.tar` podman's; `listings` are what LISTING says of each where its maker unpacks it;
    `buildah` is what runs it on its storage."""

    top: Path
    listings: dict[str, str]
    buildah: tuple[str, ...]


_environ: dict[str, str] = {}  # variables of the tools, while `made` has a directory for them


def run(*words: object, **more) -> str:
    argv, environ = [str(word) for word in words], {**os.environ, **_environ}
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=120, check=False, **more)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout.strip()


@pytest.fixture(scope="session")
def made() -> Iterator[Made]:
    """A userland with all that a layer can hold; on it deletions and replacements; by buildah also a third layer."""
    for name in ("buildah", "podman", "skopeo", "umoci"):
        if not shutil.which(name):
            pytest.skip(f"{name} is not installed")
    if os.geteuid() != 0:
        pytest.skip("buildah makes the images of these tests as root: devices, owners and capabilities")
    shell = busybox()
    top = Path(tempfile.mkdtemp(prefix="it-"))  # podman wants short paths
    top.chmod(0o755)
    _environ.update(own_runtime(top))
    try:
        buildah, listing = by_buildah(top, shell)
        listings = dict.fromkeys(("layout", "zstd", "image.tar", "docker.tar"), listing)
        listings |= dict.fromkeys(("umoci", "podman.tar"), by_others(top, shell))
        yield Made(top=top, listings=listings, buildah=buildah)
    finally:
        _environ.clear()
        shutil.rmtree(top)


def by_buildah(top: Path, shell: str) -> tuple[tuple[str, ...], str]:
    buildah = ("buildah", "--storage-driver", "vfs", "--root", str(top / "storage"), "--runroot", str(top / "run"))
    container = run(*buildah, "from", "scratch")
    fill(Path(run(*buildah, "mount", container)), shell)
    run(*buildah, "config", "--env", "APP=from the image", "--env", f"PATH=/opt/app:{PATH}", "--user", "33",
        "--workingdir", "/srv", "--entrypoint", '["/bin/false"]', container)  # fmt: skip
    run(*buildah, "commit", "-q", container, "one")
    container = run(*buildah, "from", "one")
    change(Path(run(*buildah, "mount", container)))
    run(*buildah, "commit", "-q", container, "two")
    container = run(*buildah, "from", "two")
    (Path(run(*buildah, "mount", container)) / "srv/three").write_text("3")
    run(*buildah, "commit", "-q", container, "three")
    root = run(*buildah, "mount", run(*buildah, "from", "three"))
    listing = run("chroot", root, "/bin/busybox", "sh", "-c", LISTING)
    run(*buildah, "push", "-q", "three", f"oci:{top}/layout:v3")
    run(*buildah, "push", "-q", "three", f"oci-archive:{top}/image.tar:v3")
    run(*buildah, "push", "-q", "three", f"docker-archive:{top}/docker.tar:team/app:v3")
    run("skopeo", "--insecure-policy", "copy", "-q", "--dest-compress-format", "zstd", f"oci:{top}/layout:v3",
        f"oci:{top}/zstd:v3")  # fmt: skip
    return buildah, listing


def by_others(top: Path, shell: str) -> str:
    layout = top / "umoci"
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", f"{layout}:v1")
    run("umoci", "unpack", "--image", f"{layout}:v1", top / "bundle")
    fill(top / "bundle/rootfs", shell)
    run("umoci", "repack", "--image", f"{layout}:v1", top / "bundle")
    run("umoci", "unpack", "--image", f"{layout}:v1", top / "again")
    change(top / "again/rootfs")
    run("umoci", "repack", "--image", f"{layout}:v2", top / "again")
    run("umoci", "unpack", "--image", f"{layout}:v2", top / "back")
    with tarfile.open(top / "root.tar", "w") as archive:
        archive.add(top / "back/rootfs", arcname=".")
    podman = ("podman", "--storage-driver", "vfs", "--root", top / "podman", "--runroot", top / "run2")
    run(*podman, "import", "-q", top / "root.tar", "flat:v1")
    run(*podman, "save", "-q", "-o", top / "podman.tar", "flat:v1")
    return run("chroot", top / "back/rootfs", "/bin/busybox", "sh", "-c", LISTING)


PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def fill(root: Path, shell: str) -> None:
    for name in ("bin", "etc/app", "tmp", "usr/share/old", "var/lib/app", "opq/a", "srv", "opt/app"):
        (root / name).mkdir(parents=True)
    shutil.copy(shell, root / "bin/busybox")
    for name in run(shell, "--list").splitlines():
        if name != "busybox" and not (root / "bin" / name).exists():
            (root / "bin" / name).symlink_to("busybox")
    os.link(root / "bin/busybox", root / "bin/hard")
    (root / "bin/set").write_text("#!/bin/sh\n")
    os.chown(root / "bin/set", 0, 42)
    (root / "bin/set").chmod(0o6755)
    (root / "etc/app/marked").write_text("m")
    os.setxattr(root / "etc/app/marked", "user.mark", b"hello")
    (root / "bin/raw").write_text("#!/bin/sh\n")
    os.setxattr(root / "bin/raw", "security.capability", CAPABILITY)
    (root / "etc/app/gone").write_text("x")
    (root / "usr/share/old/f").write_text("x")
    (root / "opq/a/x").write_text("x")
    (root / "opq/y").write_text("y")
    data = root / "var/lib/app"
    (data / "data").write_text("d")
    os.chown(data / "data", 1000, 1000)
    os.chown(data, 33, 44)
    data.chmod(0o2751)
    (root / "tmp").chmod(0o1777)
    os.mkfifo(root / "var/pipe", 0o640)
    with open(root / "var/sparse", "wb") as file:
        file.truncate(5_000_000)
        file.seek(0, os.SEEK_END)
        file.write(b"end")
    (root / ("srv/" + "long" * 50)).write_text("long")
    (root / "srv/ünïcode with blank").symlink_to("../" + "far/" * 40)
    os.utime(root / "srv", (1_000_000_000, 1_000_000_000))


def change(root: Path) -> None:
    (root / "etc/app/gone").unlink()
    shutil.rmtree(root / "opq")
    (root / "opq/a").mkdir(parents=True)
    (root / "opq/new").write_text("new")
    shutil.rmtree(root / "usr/share/old")
    (root / "usr/share/old").write_text("a file now")
    os.link(root / "etc/app/marked", root / "etc/app/again")


def bases(place, **images: str) -> str:
    rows = "".join(f"  {name}: {{image: {json.dumps(text)}}}\n" for name, text in images.items())
    return f"bases:\n{rows}envs:\n  unit:\n    matrix: {{base: [{', '.join(images)}]}}\n    base: '{{{{ matrix.base }}}}'\n"


def seen_by(place, listing: str) -> str:
    """What a caller's container shows of it: one id has nothing but its own."""
    if place.caller.mode != "single":
        return listing
    rows = []
    for row in listing.splitlines():
        words = row.split(" ")
        at = next(
            (number for number, word in enumerate(words) if ":" in word and word.replace(":", "").isdigit()), None
        )
        if at is not None:
            words[at] = "0:0"
        rows.append(" ".join(words))
    return "\n".join(rows)


def copied(made: Made, place, *names: str) -> None:
    for name in names:
        source, target = made.top / name, place.project / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
        for path in (target, *target.rglob("*")):
            place.give(path)


def test_images_are_what_their_makers_show(made, fresh):
    place = fresh
    copied(made, place, *made.listings)
    images = {
        "layout": "oci:layout:v3", "zstd": "oci:zstd", "image.tar": "oci-archive:image.tar",
        "docker.tar": "docker-archive:docker.tar:team/app:v3", "umoci": "oci:umoci:v2",
        "podman.tar": "docker-archive:podman.tar",
    }  # fmt: skip
    script = "\n".join("          " + line for line in LISTING.strip().splitlines())
    place.spec(f"{bases(place, **images)}    tasks:\n      test:\n        user: root\n        run: |\n{script}\n")
    done = place.envtool("test", "--json")
    assert done.status == 0, done.said
    logs: dict[str, str] = {}
    for event in done.events:
        if event["event"] == "output":
            name = event["id"].partition("[")[2].partition("]")[0]
            logs[name] = logs.get(name, "") + event["text"]
    assert logs.keys() == images.keys()
    for name, log in logs.items():
        found, wanted = log.strip(), seen_by(place, made.listings[name])
        if name == "umoci":  # it does not list what it leaves as it is, and the time of that is not known then
            found, wanted = (re.sub(r"(?m)^(directory \d+ \d+:\d+) \d+", r"\1", text) for text in (found, wanted))
        assert found.splitlines() == wanted.splitlines(), name
    assert len(place.layers()) == 3 + 2 + 1  # buildah's image is one, however it came
    place.check_nothing_left()


def test_a_registrys_image_is_pinned_and_runs_as_you(made, fresh, registry):
    place = fresh
    run(*made.buildah, "push", "-q", "--tls-verify=false", "three", f"docker://{registry.host}/team/app:v3")
    place.environ |= registry.variables
    name = f"{registry.host}/team/app:v3"
    place.spec(bases(place, app=name) + "    tasks: {test: 'id -u; echo $APP; echo $PATH; pwd'}\n")
    done = place.envtool("test", "--json")
    assert done.status == 0, done.said
    assert done.log().splitlines() == ["1000", "from the image", f"/opt/app:{PATH}", "/project"]
    assert place.envtool("lock").status == 0
    lock = json.loads((place.project / "envtool.lock").read_text())
    (entry,) = lock["entries"]
    assert entry["pins"]["image"]["name"] == name
    assert entry["pins"]["run"]["User"] == "33"
    # the tag moves; the lock does not
    run(*made.buildah, "push", "-q", "--tls-verify=false", "one", f"docker://{registry.host}/team/app:v3")
    assert place.envtool("test", "--expect-cached").status == 0
    moved = place.envtool("lock", "--upgrade", "app")
    assert moved.status == 0, moved.said
    assert name in moved.out
    place.environ["ENVTOOL_STORE"] = str(place.top / "another")
    fetched = place.envtool("fetch", "--json")
    assert fetched.status == 0, fetched.said
    assert place.envtool("test", "--offline").status == 0
    after = json.loads((place.project / "envtool.lock").read_text())["entries"][0]["pins"]
    assert len(after["layers"]) == 1
    assert after["layers"][0]["diff_id"] == entry["pins"]["layers"][0]["diff_id"]


def test_a_private_image_leaves_no_password(made, fresh, password_registry):
    place = fresh
    registry = password_registry
    image = f"docker://{registry.host}/private/app:v1"
    login = f"{registry.username}:{registry.password}"
    run(*made.buildah, "push", "-q", "--tls-verify=false", "--creds", login, "one", image)
    place.environ |= registry.variables
    place.spec(bases(place, app=f"{registry.host}/private/app:v1") + "    tasks: {test: 'true'}\n")
    refused = place.envtool("test")
    assert refused.status == 3
    assert "login" in refused.said
    config = place.write(
        "docker/config.json",
        Path(registry.docker_config(made.top / "docker") + "/config.json").read_bytes(),
        at=place.top,
    )
    place.environ["DOCKER_CONFIG"] = str(config.parent)
    done = place.envtool("lock", "-v")
    assert done.status == 0, done.said
    assert place.envtool("test").status == 0
    secrets = (registry.password, json.loads(config.read_text())["auths"][registry.host]["auth"])
    for path in (place.project / "envtool.lock", *(p for p in place.store.rglob("*.json") if p.is_file())):
        assert not any(secret in path.read_text() for secret in secrets), path
    assert not any(secret in done.said for secret in secrets)


def test_a_token_for_anybody_is_enough(made, fresh, token_registry):
    place = fresh
    registry = token_registry
    login = f"{registry.username}:{registry.password}"
    image = f"docker://{registry.host}/public/app:v1"
    run(*made.buildah, "push", "-q", "--tls-verify=false", "--creds", login, "two", image)
    place.environ |= registry.variables
    place.spec(bases(place, app=f"{registry.host}/public/app:v1") + "    tasks: {test: 'cat /usr/share/old'}\n")
    done = place.envtool("test", "--json")
    assert done.status == 0, done.said
    assert done.log() == "a file now"


def test_attributes_and_what_is_left_out(made, fresh):
    """On disk, as container root of the caller sees it."""
    place = fresh
    if place.caller.uid != os.geteuid():
        pytest.skip("only one's own store can be looked into")
    with_device = tar(*[_device()])
    layout = Layout(place.project / "dev")
    layout.add(layout.image(with_device))
    layout.write()
    copied(made, place, "layout")
    place.spec(bases(place, app="oci:layout", dev="oci:dev") + "    tasks: {test: 'true'}\n")
    done = place.envtool("test", "--json")  # one of the two has no shell, and is made nevertheless
    assert len(place.layers()) == 4
    assert any("left out: dev/null (device)" in event.get("note", "") for event in done.events), done.said
    found = {}
    for tree in place.store.glob("layers/*/tree"):
        for name in ("bin/raw", "etc/app/marked"):
            if (tree / name).exists():
                found[name] = {key: os.getxattr(tree / name, key) for key in os.listxattr(tree / name)}
    assert found["etc/app/marked"] == {"user.mark": b"hello"}
    assert found["bin/raw"]["security.capability"][4:8] == CAPABILITY[4:8]


def test_deletions_of_what_is_not_there_are_not_seen(fresh):
    """overlayfs would list them where no other layer has the directory."""
    place = fresh
    shell = Path(busybox()).read_bytes()
    one = tar(member("bin/busybox", shell, mode=0o755), link("bin/sh", "busybox"), member("d/.wh.x"), member("d/y"))
    two = tar(member("e/.wh.z"), member("e/w"), member(".wh.top"))
    layout = Layout(place.project / "img")
    layout.add(layout.image(one, two))
    layout.write()
    place.spec(bases(place, app="oci:img") + "    tasks: {test: 'busybox ls / /d /e'}\n")
    done = place.envtool("test", "--json")
    assert done.status == 0, done.said
    listed = set(done.log().split())
    assert listed >= {"y", "w"}
    assert not listed & {"x", "z", "top"}


def _device():
    info = tarfile.TarInfo("dev/null")
    info.type, info.devmajor, info.devminor = tarfile.CHRTYPE, 1, 3
    return info, b""


@pytest.fixture
def hostile(fresh) -> tuple:
    """A project with one image for each hostile layer, below a good one."""
    layout = Layout(fresh.project / "img")
    good = tar(_file())
    names = {}
    for number, (name, (data, packed, _)) in enumerate(CASES.items()):
        blob = data if packed is None else packed
        layout.add(layout.image(good, data, packed=[good, blob]), f"v{number}")
        names[f"b{number}"] = name
    layout.add(layout.image(good, good + b"", diff_ids=[digest(good), digest(b"other")]), "diff")
    layout.write()
    fresh.shell("true")
    return fresh, names


def _file():
    return tarfile.TarInfo("fine"), b""


def test_hostile_layers_are_refused_and_leave_nothing(hostile):
    place, names = hostile
    if place.caller.mode == "range":
        pytest.skip("as root and with a single id: the third way differs in owners only")
    images = {key: f"oci:img:v{key[1:]}" for key in names} | {"diff": "oci:img:diff"}
    place.spec(bases(place, **images) + "    tasks: {test: 'true'}\n")
    done = place.envtool("test", "--json")
    assert done.status == 3
    ended = {
        event["name"]: event["outcome"]
        for event in done.events
        if event["event"] == "finished" and event["subject"] == "env"
    }
    assert not any(outcome == "passed" for outcome in ended.values())
    (layer,) = place.layers()
    assert layer["diff_id"] == digest(tar(_file()))
    assert not list((place.store / "tmp").iterdir())
    place.check_nothing_left()
    said = done.said
    for key, name in names.items():
        assert f"unit[{key}]" in said, name


def test_a_broken_blob_is_not_taken(made, fresh):
    place = fresh
    copied(made, place, "layout")
    place.spec(bases(place, app="oci:layout") + "    tasks: {test: 'true'}\n")
    manifest = json.loads(_blob(place, json.loads((place.project / "layout/index.json").read_text())["manifests"][0]))
    path = place.project / "layout/blobs/sha256" / manifest["layers"][0]["digest"][7:]
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)
    done = place.envtool("test")
    assert done.status == 3
    assert "sha256 is" in done.said
    assert len(place.layers()) <= 2
    assert manifest["mediaType"] == documents.OCI_MANIFEST


def _blob(place, descriptor: dict) -> str:
    return (place.project / "layout/blobs/sha256" / descriptor["digest"][7:]).read_text()
