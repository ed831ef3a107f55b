"""Images that go out: podman, skopeo and umoci read them, what runs in them prints what it prints here, and the bytes are
the same whoever writes them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from envtool.container import userns
from tests.places import LIMIT, calling, fresh_place
from tests.registries import own_runtime

pytestmark = pytest.mark.e2e

TOOLS = ("sh", "cat", "chmod", "cut", "env", "find", "id", "ln", "ls", "mkdir", "rm", "sort", "touch")
SPEC = """
bases: {{small: {{tarball: {{path: root.tar, sha256: {sha256}}}}}}}
layers:
  tool:
    run: |
      mkdir -p /opt/tool /opt/gone/deep
      printf '#!/bin/sh\\necho tool says "$GREETING"\\n' > /opt/tool/greet
      chmod 755 /opt/tool/greet
      touch /opt/tool/secret /opt/tool/"b l a n k" /opt/gone/deep/file
      chmod 600 /opt/tool/secret
      chmod 4755 /opt/tool/greet
      ln -s tool/greet /opt/link
      ln /opt/tool/greet /opt/tool/same
    set: {{PATH: /opt/tool}}
  nothing: {{run: "true"}}
  less: {{run: "rm -r /opt/gone /usr/share/doc/small; mkdir /opt/gone"}}
envs:
  unit:
    base: small
    layers: [tool, nothing, less]
    set: {{GREETING: hello}}
    pass: [FROM_OUTSIDE]
    tasks: {{test: "greet"}}
  here: {{tasks: {{test: "true"}}}}
"""
SEEN = "greet; id -u; id -g; cat /etc/passwd; cat note; env | sort | grep -v -e ^TERM= -e ^HOSTNAME= -e ^container= -e ^PWD="


@pytest.fixture(scope="session")
def root_tar() -> bytes:
    """A root file system of a few programs of this machine, and what they are linked with."""
    held = io.BytesIO()
    files: dict[str, bytes] = {}
    for tool in (*TOOLS, "grep"):
        found = shutil.which(tool, path="/usr/bin:/bin")
        assert found
        path = os.path.realpath(found)
        files[f"usr/bin/{tool}"] = Path(path).read_bytes()
        said = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
        for name in re.findall(r"(/\S+) \(0x", said):
            files[f"usr{name.removeprefix('/usr')}"] = Path(name).read_bytes()
    files["etc/passwd"] = b"root:x:0:0:root:/root:/bin/sh"  # no newline at its end
    files["usr/share/doc/small/README"] = b"read me\n"
    with tarfile.open(fileobj=held, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("usr", "bin", "lib", "lib64"):
            member = tarfile.TarInfo(name)
            member.type, member.mode = (tarfile.DIRTYPE, 0o755) if name == "usr" else (tarfile.SYMTYPE, 0o777)
            member.linkname = "" if name == "usr" else f"usr/{name}"
            tar.addfile(member)
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(files[name]), 0o755 if name.startswith("usr/") else 0o644
            tar.addfile(member, io.BytesIO(files[name]))
    return held.getvalue()


def prepare(place, root_tar):
    place.write("root.tar", root_tar)
    place.write("note", "of the project\n")
    place.spec(SPEC.format(sha256=hashlib.sha256(root_tar).hexdigest()))


@pytest.fixture(scope="module")
def exported(root_tar):
    """A project of whoever runs pytest, whose env stands."""
    with fresh_place_of("root" if os.geteuid() == 0 else "me") as place:
        prepare(place, root_tar)
        done = place.envtool("test", "-e", "unit")
        if done.status == 3:
            pytest.skip(f"no containers here: {done.err}")
        assert done.status == 0, done.said
        yield place


@contextlib.contextmanager
def fresh_place_of(mode):
    caller = calling(mode)
    with fresh_place(caller) as place:
        yield place


def tool(name: str) -> str:
    found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed")
    return found


def peer(*words, data=None, **more) -> str:
    """What another tool prints."""
    tool(words[0])
    with tempfile.TemporaryDirectory(prefix="peer-") as runtime:
        environ = {**os.environ, **own_runtime(Path(runtime))}
        done = subprocess.run(words, env=environ, input=data, capture_output=True, timeout=LIMIT, check=False, **more)
    assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout.decode()


@pytest.fixture(scope="module")
def podman():
    """podman with a storage of its own. In a mount namespace without the unified cgroups, which crun cannot take beside
    version 1; limits below those of this machine."""
    if os.geteuid() != 0:
        pytest.skip("podman is tried as root")
    tool("podman")
    top = Path(tempfile.mkdtemp(prefix="podman-"))  # podman takes no long names
    options = [
        "--root",
        top / "root",
        "--runroot",
        top / "run",
        "--storage-driver",
        "vfs",
        "--cgroup-manager",
        "cgroupfs",
    ]
    script = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec podman "$@"'

    def run(*words, data=None):
        if words[0] == "run":
            limits = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000")
            words = ("run", "--rm", "--cgroups=disabled", "--network=none", "--pull=never", *limits, *words[1:])
        return peer("unshare", "-m", "sh", "-c", script, "sh", *map(str, options), *map(str, words), data=data)

    yield run
    shutil.rmtree(top)


def test_podman_runs_in_it_what_exec_runs(exported, podman):
    ours = exported.envtool("exec", "unit", "--", "sh", "-c", SEEN)
    assert ours.status == 0, ours.said
    piped = exported.envtool("export", "unit")
    assert piped.status == 0, piped.err
    podman("load", data=piped.raw)
    theirs = podman("run", "-v", f"{exported.project}:/project:ro", "localhost/unit", "sh", "-c", SEEN)
    assert theirs == ours.out
    assert "tool says hello" in theirs
    assert "envtool:x:1000:1000::/home/envtool:/bin/sh" in theirs
    # the home and /tmp can be written, the rest of the system cannot
    podman(
        "run",
        "localhost/unit",
        "sh",
        "-c",
        "touch ~/a /tmp/b && ! touch /opt/c 2>/dev/null && ! cat /opt/tool/secret 2>/dev/null",
    )


def test_with_the_project_it_runs_without_the_checkout(exported, podman):
    exported.write("sub dir/é.txt", "in a directory\n")
    exported.write("tool.sh", "#!/bin/sh\ncat 'sub dir/é.txt'; ls -ln tool.sh | cut -c1-10", mode=0o700)
    exported.write(".envtool/left", "ours\n")
    done = exported.envtool("export", "unit", "--project", "--tag", "whole", "p.tar", "--json")
    assert done.status == 0, done.said
    assert done.events[-1]["layers"][-1]["name"] == "project"
    podman("load", "-i", exported.project / "p.tar")
    seen = "./tool.sh; cat note; id -u; touch new; find /project -user 1000 | sort"
    there = podman("run", "localhost/whole", "sh", "-c", seen)
    assert there.startswith("in a directory\n-rwxr-xr-x\nof the project\n1000\n/project\n")
    assert "/project/new\n" in there
    assert "left" not in there
    for name in ("p.tar", "tool.sh"):
        (exported.project / name).unlink()


@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_both_archives_are_loaded_and_named(exported, podman, form):
    path = exported.top / f"{form}.tar"
    assert exported.envtool("export", "unit", f"{form}:{path}", "--tag", "team/unit:1.4").status == 0
    assert "localhost/team/unit:1.4" in podman("load", "-i", path)
    assert podman("run", "localhost/team/unit:1.4", "greet").strip() == "tool says hello"


def test_skopeo_keeps_every_digest(exported):
    layout = exported.top / "layout"
    done = exported.envtool("export", "unit", f"oci:{layout}", "--json")
    assert done.status == 0, done.said
    said = done.events[-1]
    assert said["event"] == "exported"
    raw = peer("skopeo", "inspect", "--raw", f"oci:{layout}")
    assert f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}" == said["digest"]
    inspected = json.loads(peer("skopeo", "inspect", f"oci:{layout}"))
    diff_ids = {layer["diff_id"] for layer in exported.layers() if layer["entries"]}
    assert [layer["diff_id"] for layer in said["layers"]] == inspected["Layers"]
    assert len(said["layers"]) == 4  # base, tool, less, and what is ours on top; a layer without entries is none
    assert len(set(inspected["Layers"]) & diff_ids) == 3
    peer("skopeo", "copy", "--preserve-digests", f"oci:{layout}", f"oci:{exported.top}/copied:x")
    assert peer("skopeo", "inspect", "--raw", f"oci:{exported.top}/copied:x") == raw
    # a docker-archive names the same layers
    assert exported.envtool("export", "unit", str(exported.top / "unit.tar")).status == 0
    config = json.loads(peer("skopeo", "inspect", "--config", f"docker-archive:{exported.top}/unit.tar"))
    assert config == json.loads(peer("skopeo", "inspect", "--config", f"oci:{layout}"))
    assert config["rootfs"]["diff_ids"] == inspected["Layers"]
    empty = [item.get("empty_layer", False) for item in config["history"]]
    assert empty == [False, False, True, False, False]


def test_umoci_unpacks_the_tree_that_containers_see(exported):
    layout = exported.top / "umoci"
    assert exported.envtool("export", "unit", str(layout), "--tag", "unit:1").status == 0
    bundle = exported.top / "bundle"
    rootless = () if os.geteuid() == 0 else ("--rootless",)
    peer("umoci", "unpack", *rootless, "--image", f"{layout}:localhost/unit:1", str(bundle))
    words = ["find", "opt", "usr", "home", "bin", "-printf", "%p %y %m %s %l %n\n"]
    if not rootless:
        words[-1] = "%p %y %m %U %G %s %l %n\n"
    theirs = subprocess.run(words, cwd=bundle / "rootfs", capture_output=True, text=True, check=True).stdout
    ours = exported.envtool("exec", "unit", "--", "sh", "-c", "cd /; exec " + " ".join(f"'{word}'" for word in words))
    assert ours.status == 0, ours.said

    def lines(text):  # sizes of directories are the file system's own business, and so are their links
        rows = (re.sub(r" d (.*) \d+  \d+$", r" d \1", line) for line in text.splitlines())
        return sorted(rows)

    assert lines(theirs) == lines(ours.out)
    assert "opt/gone d" in theirs
    assert "deep" not in theirs
    assert "usr/share/doc/small" not in theirs


@pytest.mark.parametrize("compress", ["gzip", "zstd"])
def test_packed_layers_are_the_same_image(exported, compress):
    path = exported.top / f"{compress}.oci"
    done = exported.envtool("export", "unit", f"oci-archive:{path}", "--compress", compress, "--json")
    assert done.status == 0, done.said
    said = done.events[-1]
    assert {layer["media_type"].rpartition("+")[2] for layer in said["layers"]} == {compress}
    peer("skopeo", "copy", f"oci-archive:{path}", f"oci:{exported.top}/un{compress}:x")
    plain = json.loads(peer("skopeo", "inspect", "--config", f"oci:{exported.top}/un{compress}:x"))
    assert plain["rootfs"]["diff_ids"] == [layer["diff_id"] for layer in said["layers"]]


@pytest.mark.skipif(os.geteuid() != 0, reason="other callers are tried by root")
def test_the_bytes_are_the_same_whoever_writes_them(exported, root_tar):
    def digests(place, umask):
        found = []
        done = place.envtool("export", "unit", "oci:layout", umask=umask)
        assert done.status == 0, done.said
        with subprocess.Popen(["sha256sum"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as sums:
            assert place.envtool("export", "unit", umask=umask, stdout=sums.stdin).status == 0
            found.append(sums.communicate()[0])
        for path in sorted((place.project / "layout").rglob("*")):
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            found.append((str(path.relative_to(place.project)), oct(path.stat().st_mode), content))
        return found

    first = digests(exported, 0o022)
    for mode, umask in (("range", 0o077), ("single", 0o002)):
        with fresh_place_of(mode) as place:
            prepare(place, root_tar)
            assert digests(place, umask) == first


def test_a_layout_gets_further_images_and_other_directories_are_left_alone(exported):
    layout = exported.top / "shelf"
    for tag in ("a:1", "b:1"):
        assert exported.envtool("export", "unit", str(layout), "--tag", tag).status == 0
    index = json.loads((layout / "index.json").read_text())
    names = [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in index["manifests"]]
    assert sorted(names) == ["localhost/a:1", "localhost/b:1"]
    # a blob that was damaged is written anew
    blob = max((layout / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.write_bytes(b"x")
    assert exported.envtool("export", "unit", str(layout), "--tag", "a:1").status == 0
    assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    refused = exported.envtool("export", "unit", str(exported.project))
    assert refused.status == 2
    assert "holds other things" in refused.err
    assert not (exported.project / "blobs").exists()


def test_what_cannot_be_exported_says_why(exported):
    done = exported.envtool("export", "here", "x.tar", "--json")
    assert (done.status, done.events[-1]["code"]) == (2, "export-host")
    assert not (exported.project / "x.tar").exists()
    done = exported.envtool("export", "unit", "x.tar", "--compress", "zstd", "--json")
    assert (done.status, done.events[-1]["code"]) == (2, "export-compress")


def _overwrite(name):
    with open(name, "r+b") as file:
        file.write(b"echo evil")


def test_a_layer_that_was_damaged_in_the_store_does_not_go_out(root_tar):
    with fresh_place_of("root" if os.geteuid() == 0 else "me") as place:
        prepare(place, root_tar)
        assert place.envtool("export", "unit", "good.tar").status == 0
        (victim,) = place.store.glob("layers/*/tree/opt/tool/greet")
        userns.run_as_root(_overwrite, "greet", at=str(victim.parent))
        done = place.envtool("export", "unit", "bad.tar", "--json")
        assert (done.status, done.events[-1]["code"]) == (3, "layer-damaged")
        assert [path.name for path in place.project.iterdir() if "bad" in path.name] == []


STATE = """
bases: {{small: {{tarball: {{path: root.tar, sha256: {sha256}}}}}}}
services:
  kv:
    base: small
    layers: [{{run: mkdir -p /opt/kv /srv/kv && chmod 777 /srv/kv}}]
    command: [cat, /dev/ptmx]
    ready: {{command: test -e /srv/kv/state}}
    prepare: {{before: touch /srv/kv/state, data: [/srv/kv]}}
envs:
  unit: {{base: small, services: [kv], tasks: {{test: "true"}}}}
"""


def test_prepared_state_goes_nowhere(root_tar, registry):
    """It is data: no image has it, and no second build of it is compared."""
    with fresh_place_of("root" if os.geteuid() == 0 else "me") as place:
        place.write("root.tar", root_tar)
        place.spec(STATE.format(sha256=hashlib.sha256(root_tar).hexdigest()))
        done = place.envtool("test")
        if done.status == 3 and "service" not in done.said:
            pytest.skip(f"no containers here: {done.err}")
        assert done.status == 0, done.said
        word = "the prepared state of service `kv` is data: it is not in the image"
        done = place.envtool("export", "service:kv", "oci:out")
        assert (done.status, word in done.err) == (0, True), done.said
        names = set[str]()
        for blob in (place.project / "out/blobs/sha256").iterdir():
            with contextlib.suppress(tarfile.ReadError), tarfile.open(blob) as tar:
                names.update(tar.getnames())
        assert {"srv/kv", "opt/kv"} <= names
        assert "srv/kv/state" not in names
        assert "prepared state" not in place.envtool("export", "unit", "oci:other").err
        checked = place.envtool("verify", "service:kv")
        assert checked.status == 0, checked.said
        assert "the prepared state of services is data: it is not built again, and not compared" in checked.err
        pushed = replace(place, environ=registry.variables).envtool("push", "service:kv", registry.name("kv"))
        assert (pushed.status, word in pushed.err) == (0, True), pushed.said


# ---- to a registry ------------------------------------------------------------------------------------------------


def pushed(place, *words, status=0):
    done = place.envtool("push", *words, "--json")
    assert done.status == status, done.said
    return done.events[-1]


def test_what_is_pushed_is_what_was_said(exported, registry):
    exported = replace(exported, environ=registry.variables)
    name = registry.name("team/unit", "1.4")
    said = pushed(exported, "unit", name)
    assert said["event"] == "pushed"
    assert said["sent"] > 0
    raw = registry.skopeo("inspect", "--raw", f"docker://{name}").stdout
    assert f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}" == said["digest"]
    manifest = json.loads(raw)
    assert [layer["digest"] for layer in manifest["layers"]] == [layer["digest"] for layer in said["layers"]]
    assert {layer["mediaType"] for layer in manifest["layers"]} == {"application/vnd.oci.image.layer.v1.tar+zstd"}
    config = json.loads(registry.skopeo("inspect", "--config", f"docker://{name}").stdout)
    assert config["rootfs"]["diff_ids"] == [layer["diff_id"] for layer in said["layers"]]
    # it comes down, with every layer what its diff ID says
    registry.skopeo("copy", f"docker://{name}", f"oci:{exported.top}/down:x")
    # again: nothing is packed or sent, and the digest is printed for scripts
    again = exported.envtool("push", "unit", name)
    assert again.status == 0, again.said
    assert again.out == f"{name}@{said['digest']}\n"
    assert "all of it there already" in again.err


def test_a_copy_by_skopeo_keeps_the_digests(exported, registry):
    exported = replace(exported, environ=registry.variables)
    assert exported.envtool("export", "unit", "oci:copied").status == 0
    name = registry.name("copied")
    registry.skopeo("copy", "--preserve-digests", f"oci:{exported.project}/copied", f"docker://{name}")
    index = json.loads((exported.project / "copied" / "index.json").read_text())
    raw = registry.skopeo("inspect", "--raw", f"docker://{name}").stdout
    assert f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}" == index["manifests"][0]["digest"]


def test_passwords_and_gzip(exported, password_registry):
    exported = replace(exported, environ={**password_registry.variables})
    name = password_registry.name("unit")
    refused = pushed(exported, "unit", name, status=3)
    assert refused["code"] == "registry-denied"
    exported.environ["DOCKER_CONFIG"] = password_registry.docker_config(exported.top / "docker")
    said = pushed(exported, "unit", name, "--compress", "gzip")
    assert {layer["media_type"].rpartition("+")[2] for layer in said["layers"]} == {"gzip"}
    assert password_registry.password not in json.dumps(said)


def test_nothing_is_pushed_offline(exported):
    assert exported.envtool("push", "unit", "x/y", "--offline", "--json").events[-1]["code"] == "offline"


# ---- images that came in, and go out again -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stranger(exported, registry):
    """An image that others made, with gzip layers and a config of its own, in the registry: its name and manifest."""
    exported = replace(exported, environ=registry.variables)
    layout = exported.top / "stranger"
    assert exported.envtool("export", "unit", f"oci:{layout}", "--bare").status == 0
    words = ["--config.user", "7:7", "--config.entrypoint", "/usr/bin/env", "--config.env", "FROM_IMAGE=yes"]
    words += ["--config.env", "PATH=/opt/tool:/usr/bin", "--config.label", "theirs=1", "--config.workingdir", "/opt"]
    peer("umoci", "config", "--image", f"{layout}:localhost/unit:latest", "--tag", "changed", *words)
    name = registry.name("strange/base", "1")
    registry.skopeo(
        "copy", "--dest-compress-format", "gzip", "--dest-compress", f"oci:{layout}:changed", f"docker://{name}"
    )
    return name, registry.skopeo("inspect", "--raw", f"docker://{name}").stdout


@pytest.fixture
def on_image(exported, registry, stranger):
    """A spec with envs on that image, of the registry."""
    place = replace(exported, project=exported.directory(f"on-{os.urandom(4).hex()}"), environ=registry.variables)
    place.spec(f"""
bases: {{theirs: {{image: "{stranger[0]}"}}}}
envs:
  same: {{base: theirs, tasks: {{test: "greet"}}}}
  more: {{base: theirs, layers: [{{run: "echo more > /opt/more"}}], set: {{GREETING: hi}}, tasks: {{test: "greet"}}}}
""")
    return place


def test_an_image_comes_back_as_it_was(on_image, stranger, registry):
    raw = stranger[1]
    digest = f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}"
    for words in (["same", "oci:out"], ["same", "oci-archive:out.tar"]):
        done = on_image.envtool("export", *words, "--bare", "--json")
        assert done.status == 0, done.said
        assert done.events[-1]["digest"] == digest
    assert peer("skopeo", "inspect", "--raw", f"oci:{on_image.project}/out") == raw
    assert peer("skopeo", "inspect", "--raw", f"oci-archive:{on_image.project}/out.tar") == raw
    # into another repository: the layers are mounted, not sent
    there = registry.name("strange/mirror", "1")
    said = pushed(on_image, "same", there, "--bare")
    assert (said["digest"], said["sent"]) == (digest, 0)
    assert registry.skopeo("inspect", "--raw", f"docker://{there}").stdout == raw
    # what came as an archive of docker goes out with the same config, and so under the same id
    assert on_image.envtool("export", "same", "d.tar", "--bare").status == 0
    config = peer("skopeo", "inspect", "--config", "--raw", f"docker-archive:{on_image.project}/d.tar")
    assert f"sha256:{hashlib.sha256(config.encode()).hexdigest()}" == json.loads(raw)["config"]["digest"]


def test_layers_of_an_image_keep_their_digests_under_more(on_image, stranger, registry):
    theirs = [layer["digest"] for layer in json.loads(stranger[1])["layers"]]
    name = registry.name("strange/more", "1")
    said = pushed(on_image, "more", name)
    ours = [layer["digest"] for layer in said["layers"]]
    assert ours[: len(theirs)] == theirs
    assert said["sent"] == sum(layer["size"] for layer in said["layers"][len(theirs) :])
    config = json.loads(registry.skopeo("inspect", "--config", f"docker://{name}").stdout)["config"]
    assert config["User"] == "1000:1000"
    assert "Entrypoint" not in config
    assert config["Labels"]["theirs"] == "1"
    assert {"FROM_IMAGE=yes", "GREETING=hi"} <= set(config["Env"])
    manifest = json.loads(registry.skopeo("inspect", "--raw", f"docker://{name}").stdout)
    assert manifest["annotations"]["org.opencontainers.image.base.name"] == stranger[0]
    # bare: run as the image says, with what was added
    said = pushed(on_image, "more", name, "--bare")
    assert len(said["layers"]) == len(theirs) + 1
    config = json.loads(registry.skopeo("inspect", "--config", f"docker://{name}").stdout)["config"]
    assert (config["User"], config["Entrypoint"], config["WorkingDir"]) == ("7:7", ["/usr/bin/env"], "/opt")
    assert {"FROM_IMAGE=yes", "GREETING=hi", "PATH=/opt/tool:/usr/bin"} <= set(config["Env"])


def test_a_dockerfile_goes_out_as_it_says_that_it_is_run(on_image):
    assert on_image.envtool("export", "same", "oci:from", "--bare").status == 0
    on_image.write(
        "Dockerfile",
        """
FROM oci:from
USER root
ENV GREETING=hi
RUN echo built > /opt/built
USER 9:9
CMD ["greet"]
LABEL ours=2
""",
    )
    on_image.spec(
        "bases: {built: {dockerfile: Dockerfile}}\nenvs: {unit: {base: built, tasks: {test: cat /opt/built}}}\n"
    )
    done = on_image.envtool("export", "unit", "oci:out", "--bare", "--json")
    assert done.status == 0, done.said
    came = json.loads(peer("skopeo", "inspect", "--raw", f"oci:{on_image.project}/from"))["layers"]
    assert [layer["digest"] for layer in done.events[-1]["layers"][:-1]] == [layer["digest"] for layer in came]
    config = json.loads(peer("skopeo", "inspect", "--config", f"oci:{on_image.project}/out"))["config"]
    assert (config["User"], config["Entrypoint"], config["Cmd"]) == ("9:9", ["/usr/bin/env"], ["greet"])
    assert {"FROM_IMAGE=yes", "GREETING=hi"} <= set(config["Env"])
    assert config["Labels"] == {"theirs": "1", "ours": "2"}


def test_our_own_exports_are_bases(on_image):
    """Out by us, in by us, and out again."""
    assert on_image.envtool("export", "more", "oci:mine", "--tag", "mine:1").status == 0
    on_image.spec("""
bases: {mine: {image: "oci:mine:localhost/mine:1"}}
envs: {unit: {base: mine, tasks: {test: "greet; cat /opt/more"}}}
""")
    assert on_image.envtool("test").status == 0
    done = on_image.envtool("export", "unit", "oci:again", "--bare", "--json")
    assert done.status == 0, done.said
    first = json.loads((on_image.project / "mine" / "index.json").read_text())["manifests"][0]["digest"]
    assert done.events[-1]["digest"] == first
