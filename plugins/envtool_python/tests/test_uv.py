"""uv: pip's configuration in its variables, what may be asked of it, and its answers as pins."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from envtool_python import inside, uv_resolver, with_uv
from envtool_python.declared_builds import declared_requirements
from envtool_python.kinds import Pip, PythonProject
from envtool_python.pip_config import PipConfig, config_for_options
from envtool_python.pylock import NotPinnedError, check_metadata, entries_of
from envtool_python.uv_config import uv_variables
from envtool_python.uv_metadata import read_cache
from envtool_python.uv_wheels import MEMBER, VERSION, uv_entry, uv_member

from envtool import api

INFO = {
    "version": "3.11.2",
    "implementation": "cpython",
    "abi": "cpython-311-x86_64-linux-gnu",
    "platform": "linux-x86_64",
    "libc": "glibc 2.36",
    "extends": False,
}


def package(name, *files, version="1"):
    """A package of a pylock.toml."""
    lines = ["[[packages]]", f'name = "{name}"', f'version = "{version}"']
    written = [
        f'{{ url = "https://h.invalid/{file}", size = 5, hashes = {{ sha256 = "{"a" * 64}" }} }}' for file in files
    ]
    wheels = [text for file, text in zip(files, written, strict=True) if file.endswith(".whl")]
    lines += [f"sdist = {text}" for file, text in zip(files, written, strict=True) if not file.endswith(".whl")]
    lines += [f"wheels = [{', '.join(wheels)}]"] if wheels else []
    return "\n".join(lines) + "\n"


# ---- the host's configuration --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "variables"),
    [
        ({}, {}),
        ({"index-url": "https://ann:s3cret@h.invalid/simple"}, {"UV_INDEX_URL": "https://ann:s3cret@h.invalid/simple"}),
        (
            {"extra-index-url": "https://a.invalid/simple\nhttps://b.invalid/simple"},
            {"UV_EXTRA_INDEX_URL": "https://a.invalid/simple https://b.invalid/simple"},
        ),
        ({"trusted-host": "a.invalid b.invalid:8080"}, {"UV_INSECURE_HOST": "a.invalid b.invalid:8080"}),
        ({"default-timeout": "90"}, {"UV_HTTP_TIMEOUT": "90"}),
        ({"default-timeout": "90", "timeout": "7"}, {"UV_HTTP_TIMEOUT": "7"}),
        ({"retries": "2"}, {"UV_HTTP_RETRIES": "2"}),
        ({"no-index": "true"}, {"UV_NO_INDEX": "1"}),
        ({"no-index": "0"}, {}),
        (
            {"proxy": "ann:s3cret@proxy.invalid:3128"},
            dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://ann:s3cret@proxy.invalid:3128"),
        ),
        (
            {"proxy": "https://proxy.invalid"},
            dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "https://proxy.invalid"),
        ),
        ({"find-links": "https://h.invalid/links /nowhere"}, {"UV_FIND_LINKS": "https://h.invalid/links"}),
    ],
)
def test_uv_looks_where_pip_looks(options, variables):
    assert uv_variables(config_for_options(options)) == {"UV_INDEX_STRATEGY": "unsafe-best-match", **variables}


def test_certificates_and_directories_of_this_machine(tmp_path):
    for name in ("ca.pem", "client.pem"):
        (tmp_path / name).write_text("")
    (tmp_path / "wheels").mkdir()
    options = {"cert": f"{tmp_path}/ca.pem", "client-cert": f"{tmp_path}/client.pem"}
    config = config_for_options({**options, "find-links": f"{tmp_path}/wheels file://{tmp_path}/wheels"})
    variables = uv_variables(config)
    assert variables["SSL_CERT_FILE"] == config.variables["PIP_CERT"]
    assert variables["SSL_CLIENT_CERT"] == config.variables["PIP_CLIENT_CERT"]
    assert variables["UV_FIND_LINKS"] == f"{tmp_path}/wheels,file://{tmp_path}/wheels"


# ---- answers -------------------------------------------------------------------------------------------------------


def chosen(*files, **info):
    """The file that is pinned of a package with these."""
    (entry,) = entries_of(package("a", *files), {**INFO, **info})
    return entry["url"].rpartition("/")[2]


@pytest.mark.parametrize(
    ("files", "best"),
    [
        (["a-1-py3-none-any.whl", "a-1.tar.gz"], "a-1-py3-none-any.whl"),
        (["a-1.tar.gz"], "a-1.tar.gz"),
        (["a-1-cp312-cp312-manylinux_2_17_x86_64.whl", "a-1.tar.gz"], "a-1.tar.gz"),
        (["a-1-py3-none-any.whl", "a-1-cp311-cp311-manylinux_2_17_x86_64.whl"], "a-1-cp311-cp311-manylinux_2_17_x86_64.whl"),
        (["a-1-cp311-cp311-manylinux_2_37_x86_64.whl", "a-1-cp38-abi3-manylinux1_x86_64.whl"], "a-1-cp38-abi3-manylinux1_x86_64.whl"),
        (["a-1-cp311-cp311-manylinux_2_28_x86_64.whl", "a-1-cp311-cp311-manylinux2014_x86_64.whl"], "a-1-cp311-cp311-manylinux_2_28_x86_64.whl"),
        (["a-1-py3-none-any.whl", "a-1-2-py3-none-any.whl"], "a-1-2-py3-none-any.whl"),
        (["a-1-cp311-cp311-musllinux_1_1_x86_64.whl", "a-1-cp311-cp311-win_amd64.whl", "a-1-py2-none-any.whl", "a-1.tar.gz"], "a-1.tar.gz"),
    ],
)  # fmt: skip
def test_the_wheel_whose_tags_come_first_is_pinned(files, best):
    assert chosen(*files) == chosen(*reversed(files)) == best


@pytest.mark.parametrize(
    "info",
    [
        {"libc": "musl or unknown"},
        {"implementation": "pypy"},
        {"abi": "cpython-311d-x86_64-linux-gnu"},
        {"platform": "linux-riscv64"},
    ],
)
def test_another_python_is_left_to_pip(info):
    with pytest.raises(NotPinnedError, match="CPython on glibc"):
        chosen("a-1-py3-none-any.whl", **info)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (package("a", "a-1-py3-none-any.whl").replace("a" * 64, "f00"), "no sha256 of a 1"),
        (package("a", "a-1-py3-none-any.whl").replace("https:", "file:"), "a place that is no index"),
        ('[[packages]]\nname = "a"\ndirectory = { path = "x" }\n', "a place that is no index"),
        ("packages = ", "no TOML"),
    ],
)
def test_what_has_no_hash_of_an_index_is_left_to_pip(text, why):
    with pytest.raises(NotPinnedError, match=why):
        entries_of(text, INFO)


A = {"name": "A.b", "version": "1.0", "url": "https://h.invalid/a_b-1.0-py3-none-any.whl"}


@pytest.mark.parametrize(
    "record", [["a-b", "1", "a_b", "1.0", ""], ["a_b", "1.0", "A.b", "1", ">=3.9,<3.12"], ["a-b", "1", "a-b", "1", "?"]]
)
def test_a_package_that_is_what_its_file_says_is_pinned(record):
    check_metadata(A, [["a-b", "2", "a-b", "2", "<3"], record], "3.11.2")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([["a-b", "1", "a-b", "1", ">=3,<3.11"]], "A.b 1.0 is for Python >=3,<3.11, not 3.11.2"),
        ([["a-b", "1", "a-b", "1", ""], ["a-b", "1.0", "a-b", "1", "<3"]], "is for Python <3"),
        ([["a-b", "1", "c", "1", ""]], "says that it is c 1"),
        ([["a-b", "1", "a-b", "2", ""]], "says that it is a-b 2"),
        ([["a-b", "2", "a-b", "2", ""]], "no metadata of A.b 1.0"),
        ([], "no metadata of A.b 1.0"),
    ],
)
def test_what_pip_would_refuse_is_left_to_pip(said, why):
    with pytest.raises(NotPinnedError, match=re.escape(why)):
        check_metadata(A, said, "3.11.2")


def test_a_source_distribution_without_metadata_is_built_to_be_judged():
    check_metadata({**A, "url": "https://h.invalid/a_b-1.0.tar.gz"}, [], "3.11.2")


def texts(*values):
    """A MessagePack array of texts, nil and arrays, each in another of the formats of texts."""
    parts = []
    for number, value in enumerate(values):
        content = value.encode() if isinstance(value, str) else b""
        width = 1 << number % 3
        parts.append(
            b"\xc0" if value is None
            else texts(*value) if isinstance(value, list)
            else bytes([0xA0 | len(content)]) + content if number == 5
            else bytes([0xD9 + number % 3]) + len(content).to_bytes(width, "big") + content
        )  # fmt: skip
    return b"\xdc" + len(values).to_bytes(2, "big") + b"".join(parts)


def test_what_uv_keeps_of_wheels_and_sources(tmp_path):
    for path, content in {
        "wheels-v8/index/00/pa/1.0-py3-none-any.msgpack": b"\x96\xa2pa\xa11\x91\xa4pb>1\xc0\x90\xc2rest",
        "wheels-v8/pypi/pb/2-1-cp39-abi3-any.msgpack": texts("pb", "2", ["x", "y"], ">=3,<4", [], "more"),
        "sdists-v11/pypi/pc/3/kW/src/PKG-INFO": b"Name: pc\r\nVERSION: 3\r\nRequires-Python:  <3 \r\n\r\nName: no\r\n",
        "sdists-v11/pypi/pd/3/kW/src/tests/src/PKG-INFO": b"Name: pd\n",
        "simple-v28/pypi/pa.rkyv": b"?",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(content)
    assert sorted(read_cache(str(tmp_path))) == [
        ["pa", "1.0", "pa", "1", ""], ["pb", "2", "pb", "2", ">=3,<4"], ["pc", "3", "pc", "3", "<3"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    "content", [b"", b"\x94", b"\x93\xa1a\xa11\x90", b"\x94\xa5a", b"\x94\x01\xa11\x90\xc0", b"\x94\xc0\xa11\x90\xc0", b"\x94\xa1\xff\xa11\x90\xc0"]
)  # fmt: skip
def test_another_format_of_uvs_cache_is_no_answer(tmp_path, content):
    (tmp_path / "wheels-v9/pypi/pa").mkdir(parents=True)
    (tmp_path / "wheels-v9/pypi/pa/1-py3-none-any.msgpack").write_bytes(content)
    with pytest.raises(ValueError, match=r"\w"):
        read_cache(str(tmp_path))


# ---- the kinds -----------------------------------------------------------------------------------------------------


class Site:
    """Answers as with_uv.py, and as inside.py after `uv` has failed."""

    arch = "x86_64"

    def __init__(self, *answers, status=0, **files):
        self.answers = [*answers]
        self.status = status
        self.ran = []
        self.held = {}
        self.files = files

    def fetch(self, fetches):
        return [f"/store/{fetch.sha256}" for fetch in fetches]

    def note(self, text):
        pass

    def seen(self, sha256, url):
        assert "@" not in url

    def open(self, path, *, limit=0):
        name, dot, end = path.partition(".")
        if name not in self.files or dot + end != ".toml":
            raise api.ResolveError(path, code="no-file")
        return io.BytesIO(self.files[name].encode())

    def tags(self, directory=""):
        return ()

    def shared(self, name, make):
        return self.held.setdefault(name, make())

    def run(self, command, *, env=None, binds=(), network=False):
        script, mode, document = command.argv[-3:]
        self.ran.append((script.rpartition("/")[2], mode, json.loads(document), dict(env)))
        if mode == "info":
            return api.Completed(status=0, stdout=json.dumps(INFO).encode(), stderr=b"")
        if script.endswith("with_uv.py") and self.status:
            return api.Completed(status=self.status, stdout=b"", stderr=b"envtool: uv ended with 1\n")
        return api.Completed(status=0, stdout=json.dumps(self.answers.pop(0)).encode(), stderr=b"")


@pytest.fixture(autouse=True)
def host(monkeypatch):
    """No test starts the host's pip."""
    index = PipConfig(variables={"PIP_TIMEOUT": "9"})
    for module in ("uv_resolver", "resolver"):
        monkeypatch.setattr(f"envtool_python.{module}.read_index", lambda _site: index)
    report = {
        "name": "pip",
        "version": "26",
        "url": "https://h.invalid/pip-26-py3-none-any.whl",
        "sha256": "p",
        "size": 5,
    }
    monkeypatch.setattr("envtool_python.resolver._newest_pip", lambda *_: report)


def request(options, **more):
    where = api.Where(file="envtool.yaml", line=1, column=1)
    return api.Request(name="deps", options=options, inputs=(), where=where, arch="x86_64", epoch=1_700_000_000, **more)


def answer(*texts, **more):
    pip = package("pip", "pip-26-py3-none-any.whl", version="26").replace("a" * 64, "b" * 64)
    said = [[name, "1", name, "1", ""] for name in ("a", "c")]
    return {
        "info": INFO,
        "calls": [*texts],
        "pip": pip,
        "build": "",
        "said": [*said, ["pip", "26", "pip", "26", ">=3.9"]],
        **more,
    }


def test_the_lock_says_that_uv_chose(tmp_path):
    site = Site(answer(package("a", "a-1-py3-none-any.whl")))
    asked = request({"packages": ["a"], "adds": ["b"]})
    pins = Pip().resolve(asked, site)
    wheel = uv_entry("x86_64")
    assert pins["uv"] == wheel["url"]
    assert VERSION in pins["uv"]
    assert [(file["name"], file["use"]) for file in pins["files"]] == [
        ("uv", "build"),
        ("pip", "build"),
        ("a", "install"),
    ]
    (script, mode, document, env) = site.ran[0]
    assert (script, mode, document["calls"]) == ("with_uv.py", "resolve", [["a"], ["b"]])
    assert env["UV_HTTP_TIMEOUT"] == "9"
    assert len(site.ran) == 1, "one container tells the Python and resolves"
    command = Pip().build(asked, pins).steps[0].command
    assert command.argv[-3].endswith("/with_uv.py")
    del pins["uv"]
    assert Pip().build(asked, pins).steps[0].command.argv[-3].endswith("/inside.py"), "a lock that pip made stays valid"


@pytest.mark.parametrize(
    "options",
    [
        {"packages": ["a"], "installer": "pip"},
        {"packages": ["a @ https://h.invalid/a.tar.gz"]},
        {"packages": ["--no-binary a", "a"]},
        {"packages": ["a==1 --hash=sha256:00"]},
    ],
)
def test_pip_resolves_what_uv_is_not_asked(options):
    files = [{"name": "a", "version": "1", "url": "https://h.invalid/a-1-py3-none-any.whl", "sha256": "a", "size": 5}]
    site = Site({"files": files})
    pins = Pip().resolve(request(options), site)
    assert "uv" not in pins
    assert [script for script, *_ in site.ran] == ["inside.py", "inside.py"]


@pytest.mark.parametrize("failure", ["status", "extends"])
def test_what_uv_cannot_resolve_pip_answers(failure):
    files = [{"name": "a", "version": "1", "url": "https://h.invalid/a-1-py3-none-any.whl", "sha256": "a", "size": 5}]
    extends = {"info": {**INFO, "extends": True}, "said": [], "reason": "the environment extends another one"}
    answers = [{"files": files}] if failure == "status" else [extends, {"files": files}]
    site = Site(*answers, status=int(failure == "status"))
    pins = Pip().resolve(request(["a"]), site)
    assert "uv" not in pins
    assert [(script, mode) for script, mode, *_ in site.ran] == [
        ("with_uv.py", "resolve"), ("inside.py", "info"), ("inside.py", "resolve"),
    ]  # fmt: skip


def test_who_insists_on_uv_learns_why_it_cannot():
    with pytest.raises(api.ResolveError, match="uv cannot resolve this: uv ended with 1"):
        Pip().resolve(request({"packages": ["a"], "installer": "uv"}), Site(status=1))


def test_an_index_without_uv_leaves_all_to_pip(monkeypatch):
    def fetch(*_):
        raise api.FetchError("uv: no index of this machine has it", code="fetch-nowhere")

    monkeypatch.setattr(uv_resolver, "fetch_uv", fetch)
    files = [{"name": "a", "version": "1", "url": "https://h.invalid/a-1-py3-none-any.whl", "sha256": "a", "size": 5}]
    assert "uv" not in Pip().resolve(request(["a"]), Site({"files": files}))


def test_a_second_layer_of_a_run_asks_for_no_pip(tmp_path):
    site = Site(answer(package("a", "a-1-py3-none-any.whl")), answer(package("c", "c-1-py3-none-any.whl")))
    Pip().resolve(request(["a"]), site)
    Pip().resolve(request(["c"]), site)
    asked = [document["pips"] for _, _, document, _ in site.ran]
    assert asked == [{}, {"3.11": "/run/envtool/python/files/pip-26-py3-none-any.whl"}]


# ---- the build of the project, resolved with the requirements ---------------------------------------------------------

FLIT = """\
[build-system]
requires = ["c>=1"]
build-backend = "flit_core.buildapi"
[project]
name = "ours"
version = "1"
description = "ours"
"""


@pytest.mark.parametrize(
    ("text", "declared"),
    [
        (FLIT, ("c>=1",)),
        (FLIT.replace('version = "1"\n', ""), ()),
        (FLIT.replace('description = "ours"\n', ""), ()),
        (FLIT + 'dynamic = ["readme"]\n', ()),
        (FLIT.replace("flit_core.buildapi", "poetry.core.masonry.api"), ("c>=1",)),
        (FLIT.replace("flit_core.buildapi", "uv_build"), ("c>=1",)),
        (FLIT.replace("flit_core.buildapi", "hatchling.build"), ()),
        (FLIT.replace("[project]", 'backend-path = ["."]\n[project]').replace("flit_core.buildapi", "uv_build"), ()),
        (FLIT.partition("[project]")[2], ()),
    ],
)
def test_only_builds_that_declare_all_are_resolved_early(tmp_path, text, declared):
    assert declared_requirements(text) == declared
    (tmp_path / "pyproject.toml").write_text(text)
    system = inside.build_system(str(tmp_path))
    assert (with_uv.declares_all(str(tmp_path), system) and tuple(system["requires"])) == (declared or False)


@pytest.mark.parametrize("text", ["[", "build-system = 1\n", "project = 1\n" + FLIT.partition("[project]")[0], ""])
def test_files_that_are_wrong_declare_nothing(text):
    assert declared_requirements(text) == ()


def layers_of_project(site, requirements, monkeypatch):
    """Resolves the requirements, then the project on them; returns the pins of the project."""
    Pip().resolve(request(requirements), site)
    facts = SimpleNamespace(install="editable", version_file="", version_patterns=(), tools={})
    monkeypatch.setattr("envtool_python.pip_calls.installable_project", lambda *_: facts)
    monkeypatch.setattr("envtool_python.versions.pretend_version_variables", lambda *_: {})
    return PythonProject().resolve(request({"install": "editable"}), site)


def test_the_project_asks_nothing_that_its_requirements_have_answered(monkeypatch):
    early = answer(
        package("a", "a-1-py3-none-any.whl"), build=package("c", "c-1-py3-none-any.whl").replace("a" * 64, "c" * 64)
    )
    site = Site(early, pyproject=FLIT)
    pins = layers_of_project(site, {"packages": ["a"]}, monkeypatch)
    assert site.ran[0][2]["build"] == ["c>=1"]
    assert [(script, mode) for script, mode, *_ in site.ran] == [("with_uv.py", "resolve"), ("inside.py", "info")]
    alone = Site(answer(needs=[early["build"]]), pyproject=FLIT)
    assert pins == PythonProject().resolve(request({"install": "editable"}), alone), "the same as without them"


@pytest.mark.parametrize("failure", ["uv", "metadata", "python"])
def test_the_project_asks_itself_where_that_did_not_answer(monkeypatch, failure):
    build = package("c", "c-1-py3-none-any.whl").replace("a" * 64, "c" * 64)
    wrong = package("other", "other-1-py3-none-any.whl")
    early = answer(package("a", "a-1-py3-none-any.whl"), build={"uv": "", "metadata": wrong, "python": build}[failure])
    if failure == "python":
        early["info"] = {**INFO, "abi": "cpython-311-another"}
    site = Site(early, answer(needs=[build]), pyproject=FLIT)
    pins = layers_of_project(site, {"packages": ["a"]}, monkeypatch)
    assert [file["name"] for file in pins["files"]] == ["uv", "pip", "c"]
    assert site.ran[-1][:2] == ("with_uv.py", "needs")


def test_pins_of_a_lock_name_files_that_they_have():
    with pytest.raises(LookupError, match="uv is none of the files"):
        Pip().fetches(request(["a"]), {"python": INFO, "pip": "pip.whl", "uv": "uv.whl", "files": [
            {"name": "pip", "version": "1", "file": "pip.whl", "sha256": "0" * 64, "size": 1, "use": "build"}]})  # fmt: skip
    assert PythonProject.pins["properties"]["uv"] == Pip.pins["properties"]["uv"]


# ---- builds ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A standard library of one module and one package, both compiled; WORK below tmp_path."""
    top = tmp_path / "lib"
    (top / "inner").mkdir(parents=True)
    (top / "inner/test").mkdir()
    (top / "encodings").mkdir()
    for name in ("os", "one", "inner/__init__", "inner/test/__init__", "encodings/idna", "encodings/x"):
        (top / f"{name}.py").write_text("VALUE = 1\n")
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(top)], check=True)
    monkeypatch.setattr(with_uv, "WORK", str(tmp_path / "work"))
    monkeypatch.setattr(with_uv.os, "__file__", str(top / "os.py"))
    with_uv.link_compiled()
    return top


def imported(library, *names):
    """Imports modules of the library as the processes of a build do; returns the files below the prefix that are no
    links to it."""
    prefix = str(library.parent / "work/pycache")
    environ = {**os.environ, "PYTHONPYCACHEPREFIX": prefix, "PYTHONPATH": str(library)}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    subprocess.run([sys.executable, "-c", f"import {', '.join(names)}"], env=environ, check=True)
    top = library.parent / f"work/pycache{library}"
    return sorted(str(path.relative_to(top)) for path in top.rglob("*.pyc") if not path.is_symlink())


def test_builds_compile_nothing_of_the_standard_library(library):
    before = {path: path.read_bytes() for path in library.rglob("*.pyc")}
    assert imported(library, "one", "inner") == []
    assert imported(library, "inner.test") == [f"inner/test/__init__.{sys.implementation.cache_tag}.pyc"]
    assert {path: path.read_bytes() for path in library.rglob("*.pyc")} == before
    linked = (library.parent / f"work/pycache{library}/encodings").iterdir()
    assert [path.name.partition(".")[0] for path in linked] == ["idna"]


def test_what_is_out_of_date_is_compiled_and_the_library_stays_as_it_is(library):
    (library / "one.py").write_text("VALUE = 'another'\n")
    before = {path: path.read_bytes() for path in library.rglob("*.pyc")}
    assert imported(library, "one", "inner") == [f"one.{sys.implementation.cache_tag}.pyc"]
    assert {path: path.read_bytes() for path in library.rglob("*.pyc")} == before


def test_builds_mount_the_uv_of_their_pins():
    entry = uv_entry("x86_64")
    (member,) = uv_member(entry["url"], "x86_64")
    assert (member.archive, member.member, member.target) == (entry["url"], MEMBER, with_uv.UV_PROGRAM)
    assert uv_member(entry["url"], "riscv64") == uv_member("uv-0.1-py3-none-any.whl", "x86_64") == ()
