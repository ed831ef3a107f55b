"""An index that lies, and strangers on a second one: uv chooses no other package than pip does, or refuses.

pip and uv are real, and started as in a container, on an index of the test's own. What uv refuses is left to pip: so
no row is answered by a package that pip would not have taken. Nothing outside of the index is opened, asked or started:
a second server, a directory beside the project and a git on PATH would notice.
"""

from __future__ import annotations

import ctypes
import hashlib
import http.server
import io
import os
import tarfile
import threading
import zipfile
from types import SimpleNamespace

import pytest

from envtool import api

pytest.importorskip("envtool_python")
from envtool_python import resolver, uv_resolver
from envtool_python.kinds import Pip
from envtool_python.pip_config import PipConfig

from tests.hostile.agent_runs import AgentSite, unpacked_uv

pytestmark = [pytest.mark.any_caller, pytest.mark.network]  # without a container; uv comes from the index

pytest.importorskip("pip")
WHERE = api.Where(file="envtool.yaml", line=3, column=5)
SECRET = "ann:s3cret"


def wheel(name, version, *requires, about="", padding=0, python=""):
    """The bytes of a wheel. `about` replaces name and version in what it says of itself."""
    said_name, said_version = about.split() if about else (name, version)
    lines = ["Metadata-Version: 2.1", f"Name: {said_name}", f"Version: {said_version}"]
    lines += [f"Requires-Python: {python}"] if python else []
    lines += [f"Requires-Dist: {line}" for line in requires]
    info = f"{said_name.replace('-', '_')}-{said_version}.dist-info"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        texts = {
            "METADATA": "\n".join(lines) + "\n\n" + "words " * padding,
            "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            "RECORD": "",
        }
        for path, text in texts.items():
            archive.writestr(zipfile.ZipInfo(f"{info}/{path}"), text, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def sdist(name, version, *requires, about="", python=""):
    """The bytes of a source distribution with static metadata (PEP 643)."""
    said_name, said_version = about.split() if about else (name, version)
    lines = ["Metadata-Version: 2.2", f"Name: {said_name}", f"Version: {said_version}"]
    lines += [f"Requires-Python: {python}"] if python else []
    lines += [f"Requires-Dist: {line}" for line in requires]
    pyproject = f'[project]\nname = "{said_name}"\nversion = "{said_version}"\ndependencies = {[*requires]!r}\n'
    pyproject += '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    backend = (
        "import os\n"
        "def prepare_metadata_for_build_wheel(directory, settings=None):\n"
        f"    info = {said_name + '-' + said_version + '.dist-info'!r}\n"
        "    os.makedirs(os.path.join(directory, info))\n"
        "    with open(os.path.join(directory, info, 'METADATA'), 'w') as file:\n"
        f"        file.write({chr(10).join(lines) + chr(10)!r})\n"
        "    return info\n"
        "def build_wheel(*arguments): raise NotImplementedError\n"
    )
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        texts = {"PKG-INFO": "\n".join(lines) + "\n", "pyproject.toml": pyproject, "backend.py": backend}
        for path, text in texts.items():
            member = tarfile.TarInfo(f"{name}-{version}/{path}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


class Index:
    """Pages and files of one server, by path."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: dict[str, bytes | str] = {}  # a text is a URL to which a request is redirected
        self.add("main", "pip", "26", wheel("pip", "26"))

    def add(self, index, name, version, content, *, file="", page="", attributes="", sha256="", metadata=b""):
        """A file of a project, with a link to it on the project's page in `index`. Returns the link's URL."""
        file = file or f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
        sha256 = sha256 or hashlib.sha256(content).hexdigest()
        self.answers[f"/{index}/files/{file}"] = content
        if metadata:
            self.answers[f"/{index}/files/{file}.metadata"] = metadata
            attributes += f' data-core-metadata="sha256={hashlib.sha256(metadata).hexdigest()}"'
        self.link(index, page or name, f"/{index}/files/{file}#sha256={sha256}", attributes, file)

    def link(self, index, name, target, attributes="", text=""):
        """A link on a page."""
        path = f"/{index}/simple/{name}/"
        page = self.answers.get(path, b"<!DOCTYPE html><html><body>")
        assert isinstance(page, bytes)
        self.answers[path] = page + f'<a href="{target}"{attributes}>{text or target}</a>\n'.encode()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers what server.answers has."""

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization", "")))
        answer = self.server.answers.get(self.path.partition("?")[0])
        if isinstance(answer, str):
            self.send_response(302)
            self.send_header("Location", answer)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200 if answer is not None else 404)
        body = answer or b""
        self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *words) -> None:
        pass


class Opened:
    """Whether something below a directory is opened, by inotify(7)."""

    OPEN = 0x20

    def __init__(self, directory) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        for path in (directory, *(path for path in directory.rglob("*") if path.is_dir())):
            assert libc.inotify_add_watch(self._descriptor, os.fsencode(path), self.OPEN) >= 0, ctypes.get_errno()

    def happened(self) -> bool:
        try:
            return bool(os.read(self._descriptor, 4096))
        except BlockingIOError:
            return False
        finally:
            os.close(self._descriptor)


@pytest.fixture(scope="module")
def uv(tmp_path_factory):
    return unpacked_uv(tmp_path_factory.mktemp("uv"))


@pytest.fixture
def world(tmp_path):
    """The index, another server that nobody has a reason to ask, a directory and a git likewise."""
    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    for server in servers:
        server.asked, server.answers = [], {}
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    ours, other = (f"127.0.0.1:{server.server_port}" for server in servers)
    index, outside = Index(f"http://{ours}"), tmp_path / "outside"
    servers[0].answers = index.answers
    outside.mkdir()
    (outside / "pb-1-py3-none-any.whl").write_bytes(wheel("pb", "1"))
    (outside / "pb").mkdir()
    (outside / "pb/pyproject.toml").write_text('[project]\nname = "pb"\nversion = "1"\n')
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "git").write_text(f"#!/bin/sh\ntouch {tmp_path}/git-started\nexit 1\n")
    (programs / "git").chmod(0o755)
    yield SimpleNamespace(
        index=index, host=ours, other=other, servers=servers, outside=outside, top=tmp_path, programs=programs,
        redirected=False, opened=False,
    )  # fmt: skip
    for server in servers:
        server.shutdown()
        server.server_close()


# ---- the rows: each returns the requirement lines, what pip takes (None: it refuses) and whether uv takes it ---------

ROWS = {}


def row(name):
    return lambda function: ROWS.setdefault(name, function)


@row("a higher version of the same name on a second index")
def _(world):
    world.index.add("main", "pa", "1", wheel("pa", "1"))
    world.index.add("extra", "pa", "99", wheel("pa", "99"))
    return ["pa"], {"pa 99"}, True  # indexes have no order (PEP 708 is in neither): `index:` of the spec names one


@row("a version that is on both indexes with other bytes")
def _(world):
    world.index.add("main", "pa", "1", wheel("pa", "1"))
    world.index.add("extra", "pa", "1", wheel("pa", "1", "pb"))
    world.index.add("extra", "pb", "1", wheel("pb", "1"))
    return ["pa"], {"pa 1", "pb 1"}, True


@row("a yanked version")
def _(world):
    world.index.add("main", "pa", "1", wheel("pa", "1"))
    world.index.add("main", "pa", "2", wheel("pa", "2"), attributes=' data-yanked="broken"')
    return ["pa"], {"pa 1"}, True


@row("only a yanked version")
def _(world):
    world.index.add("main", "pa", "2", wheel("pa", "2"), attributes=' data-yanked=""')
    return ["pa>=1"], None, False


@row("a yanked version that is required")
def _(world):
    world.index.add("main", "pa", "1", wheel("pa", "1"))
    world.index.add("main", "pa", "2", wheel("pa", "2"), attributes=' data-yanked=""')
    return ["pa==2"], {"pa 2"}, True


@row("a version for older Pythons")  # uv takes it: an upper bound does not count for it
def _(world):
    world.index.add("main", "pa", "1", wheel("pa", "1"))
    old = ' data-requires-python="&lt;3"'
    world.index.add("main", "pa", "2", wheel("pa", "2", python="<3"), attributes=old)
    return ["pa"], {"pa 1"}, False


@row("a version for older Pythons, of which its page says nothing")
def _(world):
    world.index.add("main", "pa", "1", wheel("pa", "1"))
    world.index.add("main", "pa", "2", wheel("pa", "2", python=">=3,<3.1"))
    return ["pa"], {"pa 1"}, False


@row("a version for older Pythons, as its page alone says")
def _(world):
    world.index.add("main", "pa", "1", wheel("pa", "1"))
    world.index.add("main", "pa", "2", wheel("pa", "2"), attributes=' data-requires-python="&lt;3"')
    return ["pa"], {"pa 1"}, {"pa 2"}  # the file itself is for every Python


@row("a version for newer Pythons")
def _(world):
    world.index.add("main", "pa", "1", wheel("pa", "1"))
    world.index.add("main", "pa", "2", wheel("pa", "2"), attributes=' data-requires-python="&gt;=99"')
    return ["pa"], {"pa 1"}, True


@row("a source distribution for older Pythons")
def _(world):
    world.index.add("main", "pa", "1", wheel("pa", "1"))
    old = ' data-requires-python="&lt;3"'
    world.index.add("main", "pa", "2", sdist("pa", "2", python="<3"), file="pa-2.tar.gz", attributes=old)
    return ["pa"], {"pa 1"}, False


@row("metadata beside a wheel that says less than the wheel")
def _(world):
    said = b"Metadata-Version: 2.1\nName: pa\nVersion: 1\n"
    world.index.add("main", "pa", "1", wheel("pa", "1", "pb"), metadata=said)
    world.index.add("main", "pb", "1", wheel("pb", "1"))
    return ["pa"], {"pa 1"}, True


@row("metadata beside a wheel that requires a stranger")
def _(world):
    said = f"Metadata-Version: 2.1\nName: pa\nVersion: 1\nRequires-Dist: pb @ http://{world.other}/pb-1.tar.gz\n"
    world.index.add("main", "pa", "1", wheel("pa", "1"), metadata=said.encode())
    return ["pa"], None, False


@row("metadata beside a wheel that is of another name")
def _(world):
    said = b"Metadata-Version: 2.1\nName: pb\nVersion: 1\n"
    world.index.add("main", "pa", "1", wheel("pa", "1"), metadata=said)
    return ["pa"], None, False


@row("metadata beside a wheel that does not have its hash")
def _(world):
    world.index.add("main", "pa", "1", wheel("pa", "1"), metadata=b"Metadata-Version: 2.1\nName: pa\nVersion: 1\n")
    world.index.answers["/main/files/pa-1-py3-none-any.whl.metadata"] = (
        b"Metadata-Version: 2.1\nName: pa\nVersion: 1\nRequires-Dist: pb\n"
    )
    world.index.add("main", "pb", "1", wheel("pb", "1"))
    return ["pa"], None, False


@row("a wheel of another project")
def _(world):
    world.index.add("main", "pa", "1", wheel("pa", "1", about="pb 1"))
    return ["pa"], None, False


@row("a wheel of another version")
def _(world):
    world.index.add("main", "pa", "99", wheel("pa", "99", about="pa 1"))
    return ["pa"], None, False


@row("a page with files of another project")
def _(world):
    world.index.add("main", "pa", "1", wheel("pa", "1"))
    world.index.add("main", "pb", "99", wheel("pb", "99"), page="pa")
    return ["pa"], {"pa 1"}, True


@row("a link whose text is of another file")
def _(world):
    world.index.add("main", "pa", "1", wheel("pa", "1"))
    content = wheel("pb", "99")
    world.index.answers["/main/files/pb-99-py3-none-any.whl"] = content
    target = f"/main/files/pb-99-py3-none-any.whl#sha256={hashlib.sha256(content).hexdigest()}"
    world.index.link("main", "pa", target, text="pa-99-py3-none-any.whl")
    return ["pa"], {"pa 1"}, True


@row("a file name with a slash in it")
def _(world):
    world.index.add("main", "pa", "1", wheel("pa", "1"))
    world.index.link("main", "pa", f"/main/files/..%2F..%2Fpa-99-py3-none-any.whl#sha256={'0' * 64}")
    return ["pa==1"], {"pa 1"}, True


@row("a link to a file of this machine")
def _(world):
    content = (world.outside / "pb-1-py3-none-any.whl").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    world.index.link("main", "pb", f"file://{world.outside}/pb-1-py3-none-any.whl#sha256={digest}")
    world.opened = True  # in its container; a fetch of this machine has no file: URL that its own pip does not name
    return ["pb"], {"pb 1"}, False


@row("a requirement of a wheel that is a URL elsewhere")
def _(world):
    world.index.add("main", "pa", "1", wheel("pa", "1", f"pb @ http://{world.other}/pb-1-py3-none-any.whl"))
    return ["pa"], None, False


@row("a requirement of a wheel that is a file")
def _(world):
    world.index.add("main", "pa", "1", wheel("pa", "1", f"pb @ file://{world.outside}/pb-1-py3-none-any.whl"))
    return ["pa"], {"pa 1", "pb 1"}, False  # pip in its container


@row("a requirement of a wheel that is a directory")
def _(world):
    world.index.add("main", "pa", "1", wheel("pa", "1", f"pb @ file://{world.outside}/pb"))
    return ["pa"], None, False


@row("a requirement of a wheel that is a repository")
def _(world):
    world.index.add("main", "pa", "1", wheel("pa", "1", f"pb @ git+http://{world.other}/pb"))
    return ["pa"], None, False


@row("a requirement of a wheel that is an option")
def _(world):
    world.index.add("main", "pa", "1", wheel("pa", "1", f"--index-url=http://{world.other}/simple", "pb"))
    world.index.add("main", "pb", "1", wheel("pb", "1"))
    return ["pa"], None, False


@row("metadata of 60 MB")
def _(world):
    world.index.add("main", "pa", "1", wheel("pa", "1", padding=10_000_000))
    return ["pa"], {"pa 1"}, True


@row("a page that is redirected to another server")
def _(world):
    world.index.answers["/main/simple/pa/"] = f"http://{world.other}/simple/pa/"
    world.redirected = True
    return ["pa"], None, False


@row("a file that is redirected to another server")
def _(world):
    world.index.add("main", "pa", "1", wheel("pa", "1"))
    world.index.answers["/main/files/pa-1-py3-none-any.whl"] = f"http://{world.other}/pa-1-py3-none-any.whl"
    world.redirected = True
    return ["pa"], None, False


@row("a page that is redirected to a file of this machine")
def _(world):
    world.index.answers["/main/simple/pa/"] = f"file://{world.outside}/pb-1-py3-none-any.whl"
    return ["pa"], None, False


@row("a hash that is of another file")
def _(world):
    world.index.add("main", "pa", "1", wheel("pa", "1"), sha256="0" * 64)
    return ["pa"], None, {"pa 1"}  # uv reads the metadata alone: the fetch of the file, by this hash, refuses it


@row("a source distribution of another project")
def _(world):
    world.index.add("main", "pa", "1", sdist("pa", "1", about="pb 1"), file="pa-1.tar.gz")
    return ["pa"], None, False


@row("a source distribution beside an older wheel")
def _(world):
    world.index.add("main", "pa", "1", wheel("pa", "1"))
    world.index.add("main", "pa", "2", sdist("pa", "2", "pb"), file="pa-2.tar.gz")
    world.index.add("main", "pb", "1", wheel("pb", "1"))
    return ["pa"], {"pa 2", "pb 1"}, True


@row("a source distribution that requires a repository")
def _(world):
    world.index.add("main", "pa", "1", sdist("pa", "1", f"pb @ git+http://{world.other}/pb"), file="pa-1.tar.gz")
    return ["pa"], None, False


@row("a pre-release that a stranger requires")
def _(world):
    world.index.add("main", "pa", "1", wheel("pa", "1", "pb==2a1"))
    world.index.add("main", "pb", "1", wheel("pb", "1"))
    world.index.add("main", "pb", "2a1", wheel("pb", "2a1"))
    return ["pa"], {"pa 1", "pb 2a1"}, True


# ---- what they choose ------------------------------------------------------------------------------------------------


def choice(world, lines, monkeypatch, uv=""):
    """What one of them takes: "name version" -> sha256 of each file; None where it refuses."""
    variables = {
        "PIP_INDEX_URL": f"http://{SECRET}@{world.host}/main/simple",
        "PIP_EXTRA_INDEX_URL": f"http://{world.host}/extra/simple",
        "PIP_RETRIES": "0",
    }
    for module in (resolver, uv_resolver):
        monkeypatch.setattr(module, "read_index", lambda _site: PipConfig(variables=variables))
    monkeypatch.setattr(resolver, "_newest_pip", lambda *_: PIP)
    options = {"packages": lines, "installer": "uv" if uv else "pip"}
    request = api.Request(name="r", options=options, where=WHERE, arch="x86_64", epoch=0, inputs=())
    site = AgentSite(world.top / "site", uv, str(world.programs))
    for path, content in world.index.answers.items():
        if path.endswith(".tar.gz"):
            site.files[os.path.basename(path)] = file = world.top / os.path.basename(path)
            file.write_bytes(content)
    try:
        pins = Pip().resolve(request, site)
    except (api.ResolveError, api.BuildError):
        return None
    finally:
        assert [script for script, *_ in site.ran][:1] == ["with_uv.py" if uv else "inside.py"], "it was never asked"
    files = [entry for entry in pins["files"] if entry["use"] == "install"]
    return {f"{entry['name']} {entry['version']}": entry["sha256"] for entry in files}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ROWS)
def test_pip_takes(name, world, monkeypatch):
    lines, by_pip, _ = ROWS[name](world)
    taken = choice(world, lines, monkeypatch)
    assert (None if taken is None else {*taken}) == by_pip


@pytest.mark.sampled(8)
@pytest.mark.parametrize("name", ROWS)
def test_uv_takes_nothing_else_and_looks_nowhere_else(name, world, monkeypatch, uv):
    lines, by_pip, by_uv = ROWS[name](world)
    outside = Opened(world.outside)
    taken = choice(world, lines, monkeypatch, uv)
    expected = by_pip if by_uv is True else by_uv or None
    assert (None if taken is None else {*taken}) == expected
    hashes = [hashlib.sha256(body).hexdigest() for body in world.index.answers.values() if isinstance(body, bytes)]
    assert {*(taken or {}).values()} <= {*hashes, "0" * 64}
    other = world.servers[1].asked
    assert bool(other) == world.redirected
    assert not [secret for _, secret in other if secret], "the index's credentials are the index's alone"
    assert outside.happened() == world.opened
    assert not (world.top / "git-started").exists()


def test_a_row_without_an_answer_of_uv_is_what_pip_answers(world, monkeypatch, uv):
    """Without `installer: uv`, what uv refuses is resolved by pip, which takes what fits."""
    lines, by_pip, _ = ROWS["a version for older Pythons"](world)
    options = {"packages": lines}
    choice(world, lines, monkeypatch)  # sets where they look
    site = AgentSite(world.top / "second", uv)
    request = api.Request(name="r", options=options, where=WHERE, arch="x86_64", epoch=0, inputs=())
    pins = Pip().resolve(request, site)
    assert "uv" not in pins
    assert {f"{entry['name']} {entry['version']}" for entry in pins["files"] if entry["use"] == "install"} == by_pip
    assert [script for script, *_ in site.ran] == ["with_uv.py", "inside.py"]


PIP = {
    "name": "pip",
    "version": "26",
    "url": "https://h.invalid/pip-26-py3-none-any.whl",
    "sha256": "p" * 64,
    "size": 0,
}
