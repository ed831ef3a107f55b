"""Kinds like `image` and `dockerfile`, which a third party wrote and installed, on an image of a real registry."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from envtool.net.oci.documents import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, sha256_digest
from envtool.net.oci.reference import parse_reference
from envtool.net.oci.registry import RegistryClient
from tests.e2e.test_images import busybox
from tests.unit.kinds.image.layouts import config, dumps
from tests.unit.store.archives import member, tar

pytestmark = [pytest.mark.e2e, pytest.mark.one_caller]

PLUGIN = Path(__file__).parent / "third_party" / "envtool_box.py"
METADATA = "Metadata-Version: 2.1\nName: envtool-box\nVersion: 1.0\n"


def push(registry, name: str, layers: list[bytes], **run) -> None:
    client, reference = RegistryClient(), parse_reference(registry.name(name, "v1"))
    body = config([sha256_digest(layer) for layer in layers], **run)
    for data in (*layers, body):
        client.push_blob(reference, sha256_digest(data), len(data), data)

    def descriptor(media_type, data):
        return {"mediaType": media_type, "digest": sha256_digest(data), "size": len(data)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(OCI_CONFIG, body),
        "layers": [descriptor(OCI_LAYER, data) for data in layers],
    }
    client.push_document(reference, dumps(manifest), OCI_MANIFEST)


def actions(place) -> set[str]:
    envs = json.loads(place.envtool("plan", "--json").out.splitlines()[-1])["envs"]
    return {step["action"] for env in envs for step in env["steps"]}


@pytest.fixture
def installed(place, registry, monkeypatch):
    shell = Path(busybox()).read_bytes()
    for name, value in registry.variables.items():
        monkeypatch.setenv(name, value)
        place.environ[name] = value
    first = tar(member("bin/busybox", shell, mode=0o755), member("etc/passwd", b"app:x:33:33::/:/bin/sh\n"))
    second = tar(
        *(member(f"bin/{name}", type=b"2", linkname="busybox") for name in ("sh", "cat", "ls", "rm")),
        member("etc/second", b"of the second layer\n"),
    )
    push(registry, "team/box", [first, second], Env=["PATH=/bin", "BOX=of the image"])
    top = place.top / "site"
    place.write("envtool_box.py", PLUGIN.read_text(), at=top)
    info = top / "envtool_box-1.0.dist-info"
    place.write("METADATA", METADATA, at=info)
    place.write("entry_points.txt", "[envtool]\nbox = envtool_box\n", at=info)
    place.environ["PYTHONPATH"] = f"{place.caller.path}:{top}"
    return place


def test_it_uses_the_public_api_alone():
    tree = ast.parse(PLUGIN.read_text())
    names = [
        f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]
    ours = {name for name in names if name.startswith("envtool")}
    assert ours
    assert all(name == "envtool.api" or name.startswith("envtool.api.") for name in ours)


def test_an_image_and_a_file_of_instructions(installed, registry):
    place, image = installed, registry.name("team/box", "v1")
    place.write("Boxfile", f"FROM {image}\nCOPY src /src\nRUN cat /src/a /etc/second > /made\nOWNER /owner app\n")
    for name, text in (("src/a", "one\n"), ("src/noise.log", "x"), ("src/sub/b", "two\n")):
        place.write(name, text)
    place.spec(
        f"""
bases:
  image: {{box: "{image}"}}
  file: {{boxfile: Boxfile}}
envs:
  image: {{base: image, tasks: {{test: 'cat /etc/second && echo "$BOX"'}}}}
  file: {{base: file, tasks: {{test: "cat /made /owner; ls /src /src/sub"}}}}
"""
    )

    def said(env):
        done = place.envtool(
            "exec", env, "--", "sh", "-c", "cat /etc/second; [ ! -e /made ] || cat /made /owner; ls /src"
        )
        return done.out.split("\n")

    done = place.envtool("test")
    assert done.status == 0, done.err
    assert said("image")[0] == "of the second layer"
    assert said("file")[:6] == ["of the second layer", "one", "of the second layer", "app is 33", "a", "sub"]
    # What is left out is no part of a key; what is copied is.
    place.write("src/noise.log", "y")
    assert actions(place) == {"reuse"}
    place.write("src/a", "other\n")
    assert "build" in actions(place)
    assert place.envtool("test").status == 0
    assert said("file")[1] == "other"
    # The image is pinned; a lock has it.
    assert place.envtool("lock").status == 0
    assert f"{image}" in (place.project / "envtool.lock").read_text()
    assert place.envtool("test", "--locked").status == 0
    # Wrong files and names are told with their places.
    place.write("Boxfile", f"FROM {image}\nMAKE x\n")
    done = place.envtool("plan", "-e", "file")
    assert done.status == 2
    assert "Boxfile:2" in done.err
    assert "`MAKE` is no instruction" in done.err
    (place.project / "Boxfile").unlink()
    done = place.envtool("plan", "-e", "file")
    assert done.status == 2
    assert "input `Boxfile`: there is no such file" in done.err
