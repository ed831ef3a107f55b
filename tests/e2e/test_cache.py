"""The team cache: users with stores of their own share one real registry, which may be poisoned, broken or away."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.client
import http.server
import io
import json
import os
import re
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from envtool.fs.masking import SecretForms
from envtool.net.oci import reference
from envtool.net.oci.documents import OCI_CONFIG, OCI_INDEX, OCI_LAYER_ZSTD, OCI_MANIFEST, sha256_digest
from envtool.net.oci.registry import RegistryClient
from envtool.teamcache import registry_store, signatures
from envtool.teamcache.statement import Statement
from tests.load import allowed
from tests.places import Place, calling, fresh_place
from tests.secret_search import find_secrets

pytestmark = pytest.mark.e2e

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="it does not depend on who asks: root does it")
PRIVATE, PUBLIC = signatures.generate("ci@example")
STRANGER, STRANGER_PUBLIC = signatures.generate("stranger@example")
PROGRAMS = ("sh", "cat", "mkdir", "sleep", "head")


@pytest.fixture(scope="session")
def base() -> bytes:
    """A root file system with a shell: what can be pinned without a network."""
    found: dict[str, bytes] = {}
    for name in PROGRAMS:
        real = os.path.realpath(f"/bin/{name}")
        found[f"bin/{name}"] = Path(real).read_bytes()
        listed = subprocess.run(["ldd", real], capture_output=True, text=True, check=True).stdout
        for library in re.findall(r"(/\S+) \(0x", listed):
            found[library.lstrip("/")] = Path(library).resolve().read_bytes()
    return archive(found, "w:gz")


def archive(files: dict[str, bytes], how: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=how) as tar:
        for name, data in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def project(place: Place, base: bytes, host: str, repository: str, layers: dict[str, str], tasks=None, **cache) -> None:
    """A spec of one env that has all these layers (name -> commands), none of which stands on another."""
    place.write("root.tar.gz", base)
    cache = {"registry": f"{host}/{repository}", "push": "always", "trust": [PUBLIC], **cache}
    kinds = {name: {"run": commands, "needs": []} for name, commands in layers.items()}
    digest = hashlib.sha256(base).hexdigest()
    spec = {
        "cache": cache,
        "bases": {"tiny": {"tarball": {"path": "root.tar.gz", "sha256": digest}}},
        "layers": kinds,
        "envs": {"unit": {"base": "tiny", "layers": [*layers], "tasks": tasks or {"test": "cat /opt/*"}}},
    }
    place.spec("".join(f"{name}: {json.dumps(value)}\n" for name, value in spec.items()))
    place.environ |= {"ENVTOOL_INSECURE_REGISTRIES": host, "ENVTOOL_CACHE_KEY": PRIVATE}


def outcomes(done) -> dict[str, str]:
    """Name -> outcome of bases and layers that took part."""
    return {event["name"]: event["outcome"] for sort in ("base", "layer") for event in done.finished(sort)}


def said(done) -> list[str]:
    return [event["detail"] for event in done.finished("cache")]


TWO = {"one": "mkdir -p /opt; echo one > /opt/one", "two": "mkdir -p /opt; echo two > /opt/two"}


# ---- sharing ---------------------------------------------------------------------------------------------------------


def test_the_second_store_of_anybody_builds_nothing(caller, base, registry):
    repository = f"team/{caller.mode}"
    with fresh_place(caller) as first, fresh_place(caller) as second:
        for place in (first, second):
            project(place, base, registry.host, repository, TWO)
        done = first.envtool("test", "--json")
        assert done.status == 0, done.said
        assert outcomes(done) == dict.fromkeys(("tiny", "one", "two"), "built")
        assert said(done)[-1].startswith("3 pushed, ")
        done = second.envtool("test", "--json")
        assert done.status == 0, done.said
        assert outcomes(done) == dict.fromkeys(("tiny", "one", "two"), "pulled")
        assert said(done)[-1].startswith("3 pulled, ")
        assert done.log() == "one\ntwo\n"
        why = second.envtool("why", "one")
        assert "pulled today" in why.out
        assert signatures.fingerprint(PUBLIC) in why.out
        here, there = ({layer["diff_id"] for layer in place.layers()} for place in (first, second))
        assert here == there
        again = second.envtool("test", "--again", "--expect-cached", "--json")
        assert again.status == 0, again.said
        assert not said(again), "what is here is not asked for"
        for place in (first, second):
            place.check_nothing_left()


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user cannot be two users")
def test_two_users_and_a_lock(base, registry):
    root, user, lone = (calling(mode) for mode in ("root", "range", "single"))
    with fresh_place(root) as first, fresh_place(user) as second, fresh_place(lone) as third:
        for place in (first, second, third):
            project(place, base, registry.host, "team/users", TWO)
        assert first.envtool("lock").status == 0
        second.write("envtool.lock", (first.project / "envtool.lock").read_text())
        del second.environ["ENVTOOL_CACHE_KEY"]
        done = second.envtool("test", "--expect-cached", "--json")
        assert done.status == 0, done.said
        assert set(outcomes(done).values()) == {"pulled"}
        # files of other owners come out otherwise with one id
        done = third.envtool("test", "--json")
        assert done.status == 0, done.said
        assert set(outcomes(done).values()) == {"built"}


@AS_ROOT
def test_a_secret_is_neither_in_the_registry_nor_needed_for_a_layer_from_it(base, registry):
    """With everything shared that may be: impure layers and results."""
    value = b"canary-31c7 $x 'in' the registry"
    root = calling("root")
    with fresh_place(root) as first, fresh_place(root) as second:
        for place in (first, second):
            project(place, base, registry.host, "team/secrets", {}, results=True, network=True)
            spec = (place.project / "envtool.yaml").read_text()
            lines = [line for line in spec.splitlines() if not line.startswith(("version", "layers", "envs"))]
            lines += [
                "secrets: {token: {}}",
                (
                    "layers: {l: {run: 'mkdir -p /opt; while read -r x; do echo got it > /opt/l; done < /run/secrets/token;"
                    " cat /run/secrets/token', secrets: [token]}}"
                ),
                (
                    "envs: {unit: {base: tiny, layers: [l], tasks: {test: {run: 'cat /opt/l /run/secrets/token',"
                    " secrets: [token]}, plain: cat /opt/l}}}"
                ),
            ]
            place.spec("\n".join(lines) + "\n")
            place.write("token", value + b"\n", at=place.top)
        give = ("--allow-secret", "token=file:../token")
        done = first.envtool("test", "--json", *give)
        assert done.status == 0, done.said
        assert outcomes(done)["l"] == "built"
        assert done.log().endswith("got it\n***\n")
        assert said(done)[-1].startswith("2 pushed"), "the layers, and no result"
        done = second.envtool("run", "plain", "--json")
        assert done.status == 0, done.said
        assert outcomes(done)["l"] == "pulled"
        for words in (("push", "unit", registry.name("team/image")), ("export", "unit", "oci-archive:../image.tar")):
            done = first.envtool(*words)
            assert done.status == 0, done.said
        forms = SecretForms([value])
        tops = (registry.data, first.store, second.store, first.project, second.project)
        assert find_secrets(forms, tops) == []
        assert not forms.are_in((first.top / "image.tar").read_bytes())
        assert find_secrets(SecretForms([b"got it\n"]), [registry.data]), (
            "blobs are searched, too: that is in the layer"
        )


@AS_ROOT
def test_without_the_key_in_the_spec_it_builds_and_says_why(base, registry):
    repository, who = "team/untrusted", signatures.fingerprint(PUBLIC)
    root = calling("root")
    with contextlib.ExitStack() as stack:
        first, second, third = (stack.enter_context(fresh_place(root)) for _ in range(3))
        project(first, base, registry.host, repository, TWO)
        assert first.envtool("test").status == 0
        project(second, base, registry.host, repository, TWO, trust=[])
        done = second.envtool("test", "--json")
        assert done.status == 0, done.said
        assert set(outcomes(done).values()) == {"built"}
        assert said(done) == ["nothing is used: `trust:` lists no key"]
        project(third, base, registry.host, repository, TWO, trust=[STRANGER_PUBLIC])
        done = third.envtool("test", "--json")
        assert done.status == 0, done.said
        assert set(outcomes(done).values()) == {"built"}
        assert f"layer two refused: it is signed by {who}, which `trust:` does not list" in said(done)
        why = " ".join(third.envtool("why", "two").out.split())
        assert f"team cache refused: it is signed by {who}" in why


@AS_ROOT
def test_a_registry_with_a_password_and_an_authority_of_its_own(base, tls_registry, tmp_path):
    root = calling("root")
    with fresh_place(root) as first, fresh_place(root) as second:
        for place in (first, second):
            project(place, base, tls_registry.host, "team/tls", TWO)
            place.environ |= {"SSL_CERT_FILE": tls_registry.authority, "ENVTOOL_INSECURE_REGISTRIES": ""}
        first.environ["DOCKER_CONFIG"] = tls_registry.docker_config(tmp_path / "docker")
        done = first.envtool("test", "--json")
        assert said(done)[-1].startswith("3 pushed")
        stranger = second.envtool("test", "--json")
        assert stranger.status == 0, stranger.said
        assert set(outcomes(stranger).values()) == {"built"}
        assert sum("HTTP 401" in text for text in said(stranger)) == 2, "told once each of pulling and pushing"


def test_offline_asks_nobody(base, registry, caller):
    with fresh_place(caller) as place:
        project(place, base, "127.0.0.1:9", "team/offline", TWO)
        done = place.envtool("test", "--offline", "--json")
        assert not said(done)
        place.environ["ENVTOOL_CACHE"] = "off"
        done = place.envtool("test", "--json")
        assert done.status == 0, done.said
        assert not said(done)


@AS_ROOT
def test_results_are_shared(base, registry):
    tasks = {"test": "cat /opt/*", "build": {"run": "mkdir out; cat /opt/* > out/all", "outputs": ["out/*"]}}
    root = calling("root")
    with contextlib.ExitStack() as stack:
        first, second, third = (stack.enter_context(fresh_place(root)) for _ in range(3))
        for place in (first, second, third):
            project(place, base, registry.host, "team/results", TWO, tasks, results=True)
            place.write(".gitignore", "out/\n")
            place.shell(
                "git init -q . && git add -A && git -c user.name=a -c user.email=a@b commit -qm x --date=2020-01-01T00:00Z"
            )
        for verb, pushed in (("test", "4 pushed"), ("build", "1 pushed")):
            done = first.envtool(verb, "--json")
            assert done.status == 0, done.said
            assert said(done)[-1].startswith(pushed)
        # without a lock nobody knows the stack before it stands
        told = second.envtool("test", "--json")
        assert told.status == 0, told.said
        assert [event["outcome"] for event in told.finished("task")] == ["cached"]
        assert told.finished("task")[0]["host"] == os.uname().nodename
        assert set(outcomes(told).values()) == {"pulled"}
        assert (second.project / ".envtool/last").is_dir()
        assert "one\ntwo\n" in "".join(path.read_text() for path in (second.project / ".envtool/last").rglob("*.log"))
        again = second.envtool("test", "--json")
        assert [event["outcome"] for event in again.finished("task")] == ["cached"]
        assert not said(again), "what is remembered here is not asked for"
        built = second.envtool("build", "--json")
        assert built.status == 0, built.said
        # with one, a machine that only has to know needs not a single layer
        assert first.envtool("lock").status == 0
        assert first.envtool("test").status == 0
        third.write("envtool.lock", (first.project / "envtool.lock").read_bytes())
        knows = third.envtool("test", "--json")
        assert [event["outcome"] for event in knows.finished("task")] == ["cached"]
        assert not outcomes(knows)
        changed = third.envtool("test", "--again", "--json")
        assert [event["outcome"] for event in changed.finished("task")] == ["passed"]
        assert set(outcomes(changed).values()) == {"pulled"}
        third.write("more", "a file of the project")
        other = third.envtool("test", "--json")
        assert [event["outcome"] for event in other.finished("task")] == ["passed"]
        for place in (first, second, third):
            place.check_nothing_left()


# ---- poison ----------------------------------------------------------------------------------------------------------


class Poisoner:
    """Changes what is under the tags of a repository."""

    def __init__(self, host: str, name: str, data: Path) -> None:
        self.client = RegistryClient()
        self.where = reference.parse_reference(f"{host}/{name}", tag="")
        self.data = data
        self.signer = signatures.load_private_key(PRIVATE)

    def manifest(self, tag: str) -> dict:
        return json.loads(self.client.document(self.where.with_tag(tag)).body)

    def put(self, tag: str, manifest: dict, media_type: str = OCI_MANIFEST) -> None:
        self.client.push_document(self.where.with_tag(tag), json.dumps(manifest).encode(), media_type)

    def annotate(self, tag: str, **annotations: str | None) -> None:
        manifest = self.manifest(tag)
        manifest["annotations"] |= annotations
        manifest["annotations"] = {name: text for name, text in manifest["annotations"].items() if text is not None}
        self.put(tag, manifest)

    def said(self, tag: str) -> Statement:
        stored = json.loads(self.manifest(tag)["annotations"][registry_store.STATEMENT])
        del stored["format"]
        return Statement(**stored)

    def sign(self, tag: str, text: bytes, signer=None, namespace: bytes = signatures.NAMESPACE) -> None:
        signature = (signer or self.signer).sign(text, namespace)
        self.annotate(tag, **{registry_store.STATEMENT: text.decode(), registry_store.SIGNATURE: signature})

    def blob(self, tag: str, data: bytes) -> None:
        """Another blob under a tag, with a signature that is right: whoever signed was deceived."""
        self.client.push_blob(self.where, sha256_digest(data), len(data), data)
        manifest = self.manifest(tag)
        manifest["layers"] = [{"mediaType": OCI_LAYER_ZSTD, "digest": sha256_digest(data), "size": len(data)}]
        self.put(tag, manifest)
        self.sign(tag, dataclasses.replace(self.said(tag), blob=sha256_digest(data), blob_size=len(data)).text())

    def file(self, digest: str) -> Path:
        """A blob in the registry's own directory."""
        name = digest.partition(":")[2]
        return self.data / "docker/registry/v2/blobs/sha256" / name[:2] / name / "data"


def zstd(data: bytes) -> bytes:
    zstandard = pytest.importorskip("zstandard")
    return zstandard.ZstdCompressor().compress(data)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def index(at: Poisoner, tag: str) -> None:
    manifest = at.manifest(tag)
    inner = at.client.document(at.where.with_tag(tag)).descriptor()
    entry = {"mediaType": inner.media_type, "digest": inner.digest, "size": inner.size}
    body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry], "annotations": {}}
    assert manifest["config"]["mediaType"] == OCI_CONFIG
    at.put(tag, body, OCI_INDEX)


HOSTILE = tarfile.TarInfo("../../outside")
POISON = {
    "unsigned": (lambda at, tag: at.annotate(tag, **{registry_store.SIGNATURE: None}), "not signed"),
    "nothing": (
        lambda at, tag: at.annotate(tag, **{registry_store.STATEMENT: None, registry_store.SIGNATURE: None}),
        "not signed",
    ),
    "index": (index, "not signed"),
    "stranger": (
        lambda at, tag: at.sign(tag, at.said(tag).text(), signatures.load_private_key(STRANGER)),
        "does not list",
    ),
    "purpose": (lambda at, tag: at.sign(tag, at.said(tag).text(), namespace=b"git"), "signature does not fit"),
    "changed": (
        lambda at, tag: at.annotate(
            tag,
            **{
                registry_store.STATEMENT: dataclasses.replace(at.said(tag), diff_id=f"sha256:{'0' * 64}")
                .text()
                .decode()
            },
        ),
        "signature does not fit",
    ),
    "replayed": (lambda at, tag: at.put(tag, at.manifest(at.tags["good"])), "of another layer"),
    "format": (
        lambda at, tag: at.sign(tag, at.said(tag).text().replace(b'"format":1', b'"format":0')),
        "its format is 0",
    ),
    "ids": (
        lambda at, tag: at.sign(
            tag,
            dataclasses.replace(at.said(tag), ids="single" if at.said(tag).ids == "range" else "range").text(),
        ),
        "user ids",
    ),
    "gone": (
        lambda at, tag: at.sign(tag, dataclasses.replace(at.said(tag), blob=f"sha256:{'1' * 64}").text()),
        "its blob is gone",
    ),
    "flipped": (lambda at, tag: flip(at.file(at.said(tag).blob)), "not what was signed"),
    "cut": (lambda at, tag: os.truncate(at.file(at.said(tag).blob), 20), "not what was signed"),
    "content": (lambda at, tag: at.blob(tag, zstd(archive({"opt/evil": b"evil"}))), "not what was signed"),
    "garbage": (lambda at, tag: at.blob(tag, b"no zstd at all"), "not what was signed"),
    "hostile": (lambda at, tag: at.blob(tag, zstd(archive({"../../tmp/outside": b"evil"}))), "not what was signed"),
    "size": (
        lambda at, tag: at.sign(tag, dataclasses.replace(at.said(tag), size=at.said(tag).size + 512).text()),
        "not what was signed",
    ),
}


@AS_ROOT
def test_poison_is_named_and_built_around(base, registry):
    """Each layer is poisoned in another way: all are refused by name, none is used, the run is green, and what is
    there is right again afterwards."""
    layers = {name: f"mkdir -p /opt; echo {name} > /opt/{name}" for name in ("good", *POISON)}
    repository = "team/poison"
    root = calling("root")
    with contextlib.ExitStack() as stack:
        first, second, third = (stack.enter_context(fresh_place(root)) for _ in range(3))
        for place in (first, second, third):
            project(place, base, registry.host, repository, layers)
        assert first.envtool("test").status == 0
        at = Poisoner(registry.host, repository, registry.data)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ENVTOOL_INSECURE_REGISTRIES", registry.host)
            kept = [
                json.loads(path.read_text()) | {"key": path.parent.name}
                for path in first.store.glob("layers/*/layer.json")
            ]
            at.tags = {layer["built"]["name"]: f"l-{layer['key']}" for layer in kept}
            for name, (poison, _) in POISON.items():
                poison(at, at.tags[name])
        done = second.envtool("test", "--json")
        assert done.status == 0, done.said
        assert outcomes(done) == {"tiny": "pulled", "good": "pulled", **dict.fromkeys(POISON, "built")}
        told = {text.split()[1]: text for text in said(done) if " refused: " in text}
        assert {*told} == {*POISON}
        for name, (_, words) in POISON.items():
            assert words in told[name], told[name]
        assert done.log() == "".join(f"{name}\n" for name in sorted(layers))
        assert {layer["diff_id"] for layer in first.layers()} == {layer["diff_id"] for layer in second.layers()}
        assert f"{len(POISON)} refused" in said(done)[-1]
        healed = third.envtool("test", "--json")
        assert healed.status == 0, healed.said
        pulled = {name for name, outcome in outcomes(healed).items() if outcome == "pulled"}
        # what the registry's own disk has wrong, it believes to have: nobody but its owner can mend that
        assert pulled == {"tiny", "good", *POISON} - {"flipped", "cut"}
        for place in (second, third):
            place.check_nothing_left()


@AS_ROOT
def test_what_stands_on_something_that_was_refused_is_made_on_what_took_its_place(base, registry):
    """The statement of a layer says what it came out as; where its content cannot be had, it comes out otherwise."""
    layers = {"one": "mkdir -p /opt; cat /proc/sys/kernel/random/uuid > /opt/one", "two": "cat /opt/one > /opt/two"}
    tasks = {"test": 'test "$(cat /opt/one)" = "$(cat /opt/two)"'}
    root = calling("root")
    with fresh_place(root) as first, fresh_place(root) as second:
        for place in (first, second):
            project(place, base, registry.host, "team/random", layers, tasks)
            spec = (place.project / "envtool.yaml").read_text()
            place.write("envtool.yaml", spec.replace(', "needs": []', ""))
        assert first.envtool("lock").status == 0
        second.write("envtool.lock", (first.project / "envtool.lock").read_bytes())  # so that all is asked for at once
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ENVTOOL_INSECURE_REGISTRIES", registry.host)
            at = Poisoner(registry.host, "team/random", registry.data)
            [key] = [
                path.parent.name
                for path in first.store.glob("layers/*/layer.json")
                if '"name":"one"' in path.read_text()
            ]
            at.blob(f"l-{key}", zstd(archive({"opt/evil": b"evil"})))
        done = second.envtool("test", "--json")
        assert done.status == 0, done.said
        assert outcomes(done)["one"] == outcomes(done)["two"] == "built"
        assert len(second.layers()) in (3, 4)


# ---- a registry that does not do its part ----------------------------------------------------------------------------


class Between(http.server.ThreadingHTTPServer):
    """A proxy before a registry that does what `fault` says: a function that has answered when it is True."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Between)
        self.upstream = upstream
        self.fault = lambda handler: False
        self.asked: list[tuple[str, str]] = []
        self.host = f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address) -> None:
        """Clients that go away are what some tests are about."""


class _Between(http.server.BaseHTTPRequestHandler):
    server: Between
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.server.asked.append((self.command, self.path))
        self.length = int(self.headers.get("Content-Length") or 0)
        if self.server.fault(self):
            return
        body = self.rfile.read(self.length)
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=30)
        with contextlib.closing(upstream):
            headers = {name: value for name, value in self.headers.items() if name != "Connection"}
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            data = answer.read()
        self.reply(answer.status, data, dict(answer.getheaders()))

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = answer

    def reply(self, status: int, data: bytes = b"", headers: dict | None = None) -> bool:
        self.send_response(status)
        given = headers or {}
        for name, value in given.items():
            if name not in ("Date", "Content-Length", "Transfer-Encoding"):
                self.send_header(name, value)
        length = given.get("Content-Length", "0") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        return True

    def log_message(self, *words) -> None:
        """Silent."""


@pytest.fixture
def between(registry) -> Iterator[Between]:
    with Between(registry.host) as made:
        threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
        yield made
        made.shutdown()


def refuse(status: int, *, methods: str = "", headers: dict | None = None):
    """Answer so, to these methods (none: to all), after the request was read."""

    def fault(handler) -> bool:
        if methods and handler.command not in methods.split():
            return False
        handler.rfile.read(handler.length)
        return handler.reply(status, b'{"errors": [{"code": "NO"}]}', headers)

    return fault


def cut(handler) -> bool:
    handler.close_connection = True
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhalf")
    return True


def page(handler) -> bool:
    return handler.reply(200, b"<html>please log in</html>", {"Content-Type": "text/html"})


def full(handler) -> bool:
    """Takes half of what is sent, and then no more."""
    if handler.command not in ("PUT", "PATCH"):
        return False
    handler.rfile.read(handler.length // 2)
    handler.close_connection = True
    return handler.reply(507)


FAULTS = {
    "503": (refuse(503, headers={"Retry-After": "3600"}), "HTTP 503"),
    "429": (refuse(429, headers={"Retry-After": "1"}), "HTTP 429"),
    "403": (refuse(403), "HTTP 403"),
    "page": (page, ""),
    "cut": (cut, ""),
    "read-only": (refuse(405, methods="PUT POST PATCH"), "HTTP 405"),
    "no rights": (refuse(403, methods="PUT POST PATCH"), "HTTP 403"),
    "full": (full, ""),
    "broken uploads": (refuse(502, methods="PATCH PUT"), "HTTP 502"),
}


@AS_ROOT
@pytest.mark.parametrize("name", FAULTS)
def test_a_registry_that_fails_makes_it_slower_and_no_more(base, between, name):
    between.fault, words = FAULTS[name]
    root = calling("root")
    with fresh_place(root) as place:
        project(place, base, between.host, f"team/fault-{name.replace(' ', '-')}", TWO)
        done = place.envtool("test", "--json")
        assert done.status == 0, done.said
        assert set(outcomes(done).values()) == {"built"}
        assert any("in this run" in text or "left alone" in text or "refused" in text for text in said(done)), said(
            done
        )
        assert words in "\n".join(said(done))
        assert len(said(done)) <= 5
        assert done.seconds < allowed(12), said(done)
        place.check_nothing_left()


@AS_ROOT
def test_a_registry_that_is_away(base):
    root = calling("root")
    with fresh_place(root) as place:
        project(place, base, "127.0.0.1:9", "team/away", TWO)
        done = place.envtool("test", "--json")
        assert done.status == 0, done.said
        assert sum("left alone for this run: " in text for text in said(done)) == 1
        assert done.seconds < allowed(12)


# ---- many, and killed ------------------------------------------------------------------------------------------------


@AS_ROOT
def test_many_writers_at_once(base, registry):
    layers = {f"layer{number}": f"mkdir -p /opt; echo {number} > /opt/{number}" for number in range(6)}
    root = calling("root")
    with contextlib.ExitStack() as stack:
        places = [stack.enter_context(fresh_place(root)) for _ in range(6)]
        for place in places:
            project(place, base, registry.host, "team/many", layers)
        running = [(place, place.start("test", "--json")) for place in places[:-1]]
        ended = [place.finish(process) for place, process in running]
        assert {done.status for done in ended} == {0}, [done.said[-500:] for done in ended]
        assert not [text for done in ended for text in said(done) if "refused" in text or "in this run" in text]
        done = places[-1].envtool("test", "--json")
        assert set(outcomes(done).values()) == {"pulled"}, said(done)


@AS_ROOT
def test_killed_while_pushing_and_pulling(base, between):
    """Nothing half is left: neither under a tag nor in a store."""
    layers = {"large": "mkdir -p /opt; head -c 12000000 /dev/urandom > /opt/large"}
    busy = threading.Event()

    def held_up(handler) -> bool:
        if handler.command == "PATCH" and handler.length > 1_000_000:
            busy.set()
            time.sleep(30)
        return False

    def dripping(handler) -> bool:
        if handler.command != "GET" or "/blobs/" not in handler.path or busy.is_set():
            return False
        handler.send_response(200)
        handler.send_header("Content-Length", "100000000")
        handler.end_headers()
        handler.wfile.write(bytes(1000))
        busy.set()
        time.sleep(30)
        return True

    def killed(place: Place) -> None:
        busy.clear()
        process = place.start("run", "true", "--json")
        place.until(busy.is_set, "the transfer has begun")
        process.kill()
        process.wait()
        between.fault = lambda handler: False

    root = calling("root")
    with contextlib.ExitStack() as stack:
        first, second, third = (stack.enter_context(fresh_place(root)) for _ in range(3))
        for place in (first, second, third):
            project(place, base, between.host, "team/killed", layers, tasks={"true": "true"})
        between.fault = held_up
        killed(first)
        assert first.envtool("run", "true").status == 0
        # what the first did not get there is not there, and so the second builds it, and pushes it
        done = second.envtool("run", "true", "--json")
        assert outcomes(done)["large"] == "built"
        between.fault = dripping
        killed(third)
        assert len(third.layers()) < 2
        done = third.envtool("run", "true", "--json")
        assert done.status == 0, done.said
        assert outcomes(done)["large"] == "pulled"
        third.check_nothing_left()
