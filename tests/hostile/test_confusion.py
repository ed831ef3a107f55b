"""No name that a project says is its own, or comes from a place of its own, is ever asked of the index.

pip and uv are real, and started as in a container, on directories of the test's own. The index has every name: each of its files
is a stranger's. What is written in the rows as `free` may come from there.
"""

from __future__ import annotations

import hashlib
import http.server
import io
import threading
import zipfile

import pytest

from envtool import api, testing

pytest.importorskip("envtool_python")
from envtool_python import resolver, simple_index, uv_resolver
from envtool_python.kinds import Pip
from envtool_python.language import Python
from envtool_python.layer_inputs import PipInputs
from envtool_python.pip_calls import read_requests
from envtool_python.pip_config import PipConfig
from envtool_python.requirements import name_of

from tests.hostile.agent_runs import AgentSite, unpacked_uv

pytestmark = pytest.mark.any_caller  # pip on directories, without a container

pytest.importorskip("pip")  # an environment without it has none to be confused
WHERE = api.Where(file="envtool.yaml", line=3, column=5)
BACKEND = """\
import os, tomllib
def prepare_metadata_for_build_wheel(directory, settings=None):
    with open("pyproject.toml", "rb") as file:
        about = tomllib.load(file)
    project = about.get("project") or about["tool"]["poetry"]
    name, version = project["name"], project.get("version", "1")
    info = name.replace("-", "_") + f"-{version}.dist-info"
    os.makedirs(os.path.join(directory, info))
    with open(os.path.join(directory, info, "METADATA"), "w") as file:
        file.write(f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
        for line in project.get("dependencies", ()):
            file.write(f"Requires-Dist: {line}\\n")
    return info
def build_wheel(*arguments): raise NotImplementedError
"""
BUILD = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
ME = '[project]\nname = "me"\nversion = "1"\n'
NEEDS = f'{ME}dependencies = ["pa"]\n{BUILD}'
POETRY = f'[tool.poetry]\nname = "me"\nversion = "1"\n{BUILD}[tool.poetry.dependencies]\npython = "^3.9"\n'


def package(name="pa", place="packages/pa", dependencies="[]", more=""):
    text = f'[project]\nname = "{name}"\nversion = "1"\ndependencies = {dependencies}\n{BUILD}{more}'
    return {f"{place}/pyproject.toml": text, f"{place}/backend.py": BACKEND, f"{place}/{name}.py": ""}


def project(text, **more):
    return {"pyproject.toml": text, "backend.py": BACKEND, "me.py": "", **more}


RELEASED = {"PKG-INFO": "Metadata-Version: 2.4\nName: me\nVersion: 1\nRequires-Dist: Pa>=0; extra == 'x'\n\nwords\n"}
MEMBERS = '[tool.uv.workspace]\nmembers = ["packages/*"]\n'
ROWS = {  # name of the row -> files, the env's keys, names that may come from the index, names that are installed locally
    "uv workspace": (
        project(f"{NEEDS}[tool.uv.sources]\npa = {{ workspace = true }}\n{MEMBERS}") | package(), {}, (), ("pa",),
    ),
    "uv workspace, a member in a directory of examples": (
        project(f"{NEEDS}[tool.uv.sources]\npa = {{ workspace = true }}\n{MEMBERS.replace('packages', 'examples')}")
        | package(place="examples/pa"), {}, (), ("pa",),
    ),
    "uv workspace, a member of another name in the sources": (
        project(f"{ME}dependencies = ['Pa.Core']\n{BUILD}[tool.uv.sources]\npa_core = {{ workspace = true }}\n")
        | package("pa-core"), {}, (), ("pa-core",),
    ),
    "uv workspace, a member needs a member": (
        project(f"{NEEDS}[tool.uv.sources]\npa = {{ workspace = true }}\n{MEMBERS}")
        | package(dependencies='["pb"]', more="[tool.uv.sources]\npb = { workspace = true }\n")
        | package("pb", "packages/pb"), {}, (), ("pa", "pb"),
    ),
    "uv workspace, its sources hold for members": (
        project(f"{NEEDS}[tool.uv.sources]\npa = {{ workspace = true }}\npb = {{ workspace = true }}\n{MEMBERS}")
        | package(dependencies='["pb"]') | package("pb", "packages/pb"), {}, (), ("pa", "pb"),
    ),
    "uv workspace, what was released without it": (
        project(f"{NEEDS}[tool.uv.sources]\npa = {{ workspace = true }}\n{MEMBERS}") | RELEASED, {}, ("pa",), (),
    ),
    "uv path, what was released without it": (
        project(f"{NEEDS}[tool.uv.sources]\npa = {{ path = '../pa' }}\n") | RELEASED, {}, ("pa",), (),
    ),
    "uv workspace, what was released with it": (
        project(f"{NEEDS}[tool.uv.sources]\npa = {{ workspace = true }}\n{MEMBERS}") | RELEASED | package(), {}, (), ("pa",),
    ),
    "uv path": (project(f'{NEEDS}[tool.uv.sources]\npa = {{ path = "packages/pa" }}\n') | package(), {}, (), ("pa",)),
    "uv path of a path": (
        project(f'{NEEDS}[tool.uv.sources]\npa = {{ path = "packages/pa", editable = true }}\n')
        | package(dependencies='["pb"]', more='[tool.uv.sources]\npb = { path = "../pb" }\n')
        | package("pb", "packages/pb"), {}, (), ("pa", "pb"),
    ),
    "uv path, in a group": (
        project(f'{ME}{BUILD}[dependency-groups]\ntest = ["pa"]\n[tool.uv.sources]\npa = {{ path = "packages/pa" }}\n')
        | package(), {}, (), ("pa",),
    ),
    "uv path, in an extra of the other": (
        project(f"{ME}dependencies = ['pa[x]']\n{BUILD}[tool.uv.sources]\npa = {{ path = 'packages/pa' }}\n")
        | package(more='[project.optional-dependencies]\nx = ["pb"]\n[tool.uv.sources]\npb = { path = "../pb" }\n')
        | package("pb", "packages/pb"), {}, (), ("pa", "pb"),
    ),
    "uv path, required by a stranger too": (
        project(f'{ME}dependencies = ["needs-pa", "pa"]\n{BUILD}[tool.uv.sources]\npa = {{ path = "packages/pa" }}\n')
        | package(), {}, ("needs-pa",), ("pa",),
    ),
    "uv path, setup.py": (
        project(f'{ME}dynamic = ["dependencies"]\n{BUILD}[tool.uv.sources]\npa = {{ path = "packages/pa" }}\n')
        | {"backend.py": BACKEND.replace('project.get("dependencies", ())', '["pa"]')} | package(), {}, (), ("pa",),
    ),
    "uv url": (project(f'{NEEDS}[tool.uv.sources]\npa = {{ url = "URL/pa-1-py3-none-any.whl" }}\n'), {}, (), ()),
    "uv override to a url": (
        project(f'{ME}dependencies = ["needs-pa"]\n{BUILD}[tool.uv]\n'
                'override-dependencies = ["pa @ URL/pa-1-py3-none-any.whl"]\n'), {}, ("needs-pa",), (),
    ),
    "uv's own index": (project(f'{NEEDS}[[tool.uv.index]]\nurl = "OTHER"\ndefault = true\n'), {}, (), ()),
    "uv virtual member": (
        project(f"{NEEDS}[tool.uv.sources]\npa = {{ workspace = true }}\n")
        | {"packages/pa/pyproject.toml": '[project]\nname = "pa"\nversion = "1"\ndependencies = ["plain"]\n[tool.uv]\n'
           "package = false\n"}, {}, ("plain",), (),
    ),
    "Poetry path": (project(f'{POETRY}pa = {{ path = "packages/pa", develop = true }}\n') | package(), {}, (), ("pa",)),
    "Poetry path in a group": (
        project(f'{POETRY}[tool.poetry.group.test.dependencies]\npa = {{ path = "packages/pa" }}\n') | package(),
        {}, (), ("pa",),
    ),
    "Poetry beside [project]": (
        project(f'{NEEDS}[tool.poetry.dependencies]\npa = {{ path = "packages/pa" }}\n') | package(), {}, (), ("pa",),
    ),
    "Poetry url": (project(f'{POETRY}pa = {{ url = "URL/pa-1-py3-none-any.whl" }}\n'), {}, (), ()),
    "Poetry's only source": (project(f'{POETRY}pa = "^1"\n[[tool.poetry.source]]\nname = "o"\nurl = "OTHER"\n'), {}, (), ()),
    "PDM editable": (
        project(f'{ME}{BUILD}[tool.pdm.dev-dependencies]\n'
                'test = ["-e file:///${PROJECT_ROOT}/packages/pa#egg=pa"]\n') | package(), {}, (), ("pa",),
    ),
    "Hatch's root": (
        project(f'{ME}dependencies = ["pa @ {{root:uri}}/packages/pa"]\n{BUILD}') | package(), {}, (), ("pa",),
    ),
    "Hatch environment": (
        project(f'{ME}{BUILD}[tool.hatch.envs.test]\ndependencies = ["pa @ {{root:uri}}/packages/pa"]\n') | package(),
        {}, (), ("pa",),
    ),
    "requirements -e": ({"requirements.txt": "-e ./packages/pa\n"} | package(), {}, (), ("pa",)),
    "requirements, a path": ({"requirements.txt": "packages/pa/\n"} | package(), {}, (), ("pa",)),
    "requirements, file:": ({"requirements.txt": "pa @ file:./packages/pa\n"} | package(), {}, (), ("pa",)),
    "requirements beside the file": (
        {"deploy/test.txt": "-e ../packages/pa\n"} | package(), {"requirements": ["deploy/test.txt"]}, (), ("pa",),
    ),
    "a sibling, said": (project(NEEDS) | package(), {"sources": {"pa": "packages/pa"}}, (), ("pa",)),
    "a repository, said otherwise": (
        project(f"{ME}dependencies = ['pa @ git+https://h.invalid/pa']\n{BUILD}") | package(),
        {"sources": {"pa": "packages/pa"}}, (), ("pa",),
    ),
    "a sibling, the index said": (project(NEEDS) | package(), {"sources": {"pa": "index"}}, ("pa",), ()),
}  # fmt: skip
ANSWERED_BY_UV = (  # the other rows have something that only pip reads
    "uv workspace, what was released without it",
    "uv path, what was released without it",
    "uv virtual member",
    "a sibling, the index said",
    "uv's own index",
    "Poetry's only source",
)
REFUSED = {  # name of the row -> files, words of the message, the line in the file that it names
    "uv git": (project(f"{NEEDS}[tool.uv.sources]\npa = {{ git = 'https://h.invalid/pa' }}\n"), "repository", 10),
    "uv index": (project(f"{NEEDS}[tool.uv.sources]\npa = {{ index = 'own' }}\n"), "the index `own` alone", 10),
    "uv several": (
        project(f"{NEEDS}[tool.uv.sources]\npa = [{{ path = 'a', marker = 'x' }}, {{ index = 'own' }}]\n"),
        "one of several places", 10,
    ),
    "uv marker": (
        project(f"{NEEDS}[tool.uv.sources]\npa = {{ path = 'packages/pa', marker = \"sys_platform == 'x'\" }}\n"),
        "where sys_platform", 10,
    ),
    "uv subdirectory": (
        project(f"{NEEDS}[tool.uv.sources]\npa = {{ url = 'https://h.invalid/x.zip', subdirectory = 'pa' }}\n"),
        "a directory of https://h.invalid/x.zip", 10,
    ),
    "uv archive": (project(f"{NEEDS}[tool.uv.sources]\npa = {{ path = 'w/pa-1.whl' }}\n"), "the archive w/pa-1.whl", 10),
    "uv outside": (project(f"{NEEDS}[tool.uv.sources]\npa = {{ path = '../pa' }}\n"), "outside of the project", 10),
    "uv workspace without the member": (
        project(f"{NEEDS}[tool.uv.sources]\npa = {{ workspace = true }}\n"), "no such project here", 10,
    ),
    "released, and of one index alone": (
        project(f"{NEEDS}[tool.uv.sources]\npa = {{ index = 'own' }}\n") | RELEASED, "the index `own` alone", 10,
    ),
    "released, and of a repository": (
        project(f"{NEEDS}[tool.uv.sources]\npa = {{ git = 'https://h.invalid/pa' }}\n") | RELEASED, "repository", 10,
    ),
    "released, and not required by what was": (
        project(f"{NEEDS}[tool.uv.sources]\npa = {{ workspace = true }}\n")
        | {"PKG-INFO": "Name: me\nRequires-Dist: pb\nRequires-Dist: pa @ file:///srv/pa\n\nRequires-Dist: pa\n"},
        "no such project here", 10,
    ),
    "released, and a project of another name is there": (
        project(f"{NEEDS}[tool.uv.sources]\npa = {{ path = 'packages/pb' }}\n") | RELEASED | package("pb", "packages/pb"),
        "whose project is called `pb`", 10,
    ),
    "uv path to nothing": (project(f"{NEEDS}[tool.uv.sources]\npa = {{ path = 'gone' }}\n"), "there is no project", 10),
    "uv path to another": (
        project(f"{NEEDS}[tool.uv.sources]\npa = {{ path = 'packages/pb' }}\n") | package("pb", "packages/pb"),
        "whose project is called `pb`", 10,
    ),
    "uv extra index": (project(f"{NEEDS}[[tool.uv.index]]\nurl = 'https://h.invalid/s'\n"), "https://h.invalid/s", 10),
    "uv find-links": (project(f"{NEEDS}[tool.uv]\nfind-links = ['https://h.invalid/l']\n"), "https://h.invalid/l", 10),
    "uv no index": (project(f"{NEEDS}[tool.uv]\nno-index = true\n"), "no index", 10),
    "uv.toml": (project(NEEDS) | {"uv.toml": "extra-index-url = ['https://h.invalid/s']\n"}, "https://h.invalid/s", 1),
    "uv override to a repository": (
        project(f"{ME}dependencies = ['x']\n{BUILD}[tool.uv]\noverride-dependencies = ['pa @ git+https://h.invalid/pa']\n"),
        "repository", 10,
    ),
    "uv override under a condition": (
        project(f"{NEEDS}[tool.uv]\noverride-dependencies = [\"pa; sys_platform == 'x'\"]\n"), "under a condition", 10,
    ),
    "uv exclude": (project(f"{NEEDS}[tool.uv]\nexclude-dependencies = ['pa']\n"), "left out", 10),
    "Poetry git": (project(f"{POETRY}pa = {{ git = 'https://h.invalid/pa' }}\n"), "repository", 10),
    "Poetry source": (project(f"{POETRY}pa = {{ version = '*', source = 'own' }}\n"), "the index `own` alone", 10),
    "Poetry file": (project(f"{POETRY}pa = {{ file = 'pa-1.tar.gz' }}\n"), "the archive pa-1.tar.gz", 10),
    "Poetry git in a group": (
        project(f"{POETRY}[tool.poetry.group.test.dependencies]\npa = {{ git = 'https://h.invalid/pa' }}\n"),
        "repository", 11,
    ),
    "Poetry supplemental source": (
        project(f"{POETRY}pa = '*'\n[[tool.poetry.source]]\nname = 'o'\nurl = 'https://h.invalid/s'\n"
                "priority = 'supplemental'\n"), "https://h.invalid/s", 13,
    ),
    "PDM source": (
        project(f"{NEEDS}[[tool.pdm.source]]\nname = 'o'\nurl = 'https://h.invalid/s'\n"), "https://h.invalid/s", 11,
    ),
    "PDM override": (
        project(f"{NEEDS}[tool.pdm.resolution.overrides]\npa = 'git+https://h.invalid/pa'\n"), "repository", 10,
    ),
    "[project] git": (project(f"{ME}dependencies = ['pa @ git+https://h.invalid/pa']\n{BUILD}"), "repository", 4),
    "[project] file": (project(f"{ME}dependencies = ['pa @ file:///srv/pa']\n{BUILD}"), "outside of the project", 4),
    "Hatch's parent": (project(f"{ME}dependencies = ['pa @ {{root:parent:uri}}/pa']\n{BUILD}"), "outside", 4),
    "requirements git": ({"requirements.txt": "six\ngit+https://h.invalid/pa@v1#egg=pa\n"}, "repository", 2),
    "requirements git -e": ({"requirements.txt": "-e git+ssh://git@h.invalid/pa.git\n"}, "`pa` comes from the repo", 1),
    "requirements outside": ({"requirements.txt": "\n-e ../pa\n"}, "outside of the project", 2),
    "requirements archive": ({"requirements.txt": "./w/pa-1-py3-none-any.whl\n"}, "the archive w/pa-1-py3-none", 1),
    "a sibling": (project(NEEDS) | package(), "packages/pa is called so too", 4),
    "a sibling, setup.py": (
        project(NEEDS) | {"libs/pa/setup.py": "from setuptools import setup\nsetup(name='Pa')\n"}, "libs/pa is called", 4,
    ),
    "a sibling, setup.cfg": (project(NEEDS) | {"libs/pa/setup.cfg": "[metadata]\nname = pa\n"}, "libs/pa is called", 4),
    "a sibling outside": (project(NEEDS) | package(place="../a"), "../a, outside of this project, is called so", 4),
    "a sibling, in requirements": ({"requirements.txt": "x\npa>=1\n"} | package(), "packages/pa is called so too", 2),
}  # fmt: skip


class Strangers(http.server.BaseHTTPRequestHandler):
    """An index with every name there is; PREFIX/own/ is another, whose files are wanted."""

    asked: list[str]

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        last = self.path.rstrip("/").rpartition("/")[2]
        if last.endswith(".whl"):
            body = wheel(last)
        else:
            name = last.replace("-", "_")
            versions = ("1",) if self.path.startswith("/own/") else ("1", "99")
            top = "/own/files" if self.path.startswith("/own/") else "/files"
            body = "".join(link(top, f"{name}-{version}-py3-none-any.whl") for version in versions).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if not last.endswith(".whl") else "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *words) -> None:
        pass


def link(top, file):
    return f'<a href="{top}/{file}#sha256={hashlib.sha256(wheel(file)).hexdigest()}">{file}</a>'


def wheel(file):
    name, version = file.split("-")[:2]
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    about += "Requires-Dist: pa\n" if name == "needs_pa" else ""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path, text in (
            ("METADATA", about),
            ("WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"),
            ("RECORD", ""),
        ):
            archive.writestr(zipfile.ZipInfo(f"{name}-{version}.dist-info/{path}"), text)
    return out.getvalue()


@pytest.fixture(scope="module")
def uv(tmp_path_factory):
    return unpacked_uv(tmp_path_factory.mktemp("uv"))


@pytest.fixture(scope="module")
def strangers():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Strangers) as server:
        server.asked = []
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


def layers(files, **options):
    env = api.EnvDraft(name="unit", base_kind="image", options=options, layer_names=(), where=WHERE)
    texts = {path: "PK" if isinstance(text, bytes) else text for path, text in files.items()}
    return Python().layers(env, testing.MemoryProject(texts))


@pytest.mark.parametrize("row", ROWS)
def test_what_has_a_place_of_its_own_is_told_to_pip_and_installed_from_there(row):
    files, options, free, local = ROWS[row]
    drafts = layers(at("http://h.invalid", files), **options)
    (requirements,) = [draft for draft in drafts if draft.kind == "pip"]
    places = [draft.options["root"] for draft in drafts if draft.kind == "python-project" and "root" in draft.options]
    assert sorted(places) == [place_of(files, name) for name in local]
    told = requirements.options
    assert {name for name, place in told.get("sources", {}).items() if place in places} == {*local}
    placed = {*told.get("sources", {}), *map(name_of, told.get("bounds", ())), *free, "pip"}
    required = {*map(name_of, told.get("packages", ()))}
    assert required <= placed or "index" in told, "nothing but what the index may bring is left to it"


def at(url, files):
    return {
        path: text.replace("URL", f"{url}/own/files").replace("OTHER", f"{url}/own/simple")
        for path, text in files.items()
    }


@pytest.mark.sampled(3)
@pytest.mark.parametrize("row", ROWS)
def test_what_has_a_place_of_its_own_is_never_asked_of_the_index(row, strangers, tmp_path, monkeypatch):
    check_names_asked(row, strangers, tmp_path, monkeypatch)


@pytest.mark.network
@pytest.mark.sampled(2)
@pytest.mark.parametrize("row", ANSWERED_BY_UV)
def test_uv_asks_the_index_for_nothing_else_either(row, strangers, tmp_path, monkeypatch, uv):
    check_names_asked(row, strangers, tmp_path, monkeypatch, uv)


def test_uv_is_asked_in_no_row_with_a_place_of_its_own(tmp_path):
    reasons = {}
    for row, (files, options, _, _) in ROWS.items():
        (requirements,) = [draft for draft in layers(at("http://h.invalid", files), **options) if draft.kind == "pip"]
        site = AgentSite(tmp_path / str(len(reasons)))
        for path, text in at("http://h.invalid", files).items():
            (site.top / "project" / path).parent.mkdir(parents=True, exist_ok=True)
            (site.top / "project" / path).write_bytes(text if isinstance(text, bytes) else text.encode())
        inputs = tuple(api.InputFile(path=path, sha256="0" * 64) for path in sorted(files))
        request = api.Request(
            name="r", options=requirements.options, where=WHERE, arch="x86_64", epoch=0, inputs=inputs
        )
        asked = read_requests(requirements.options, PipInputs(request, site))
        reasons[row] = uv_resolver.reason_against(requirements.options, asked)
    assert {row for row, reason in reasons.items() if not reason} == {*ANSWERED_BY_UV}


def check_names_asked(row, strangers, tmp_path, monkeypatch, uv=""):
    files, options, free, local = ROWS[row]
    url = f"http://127.0.0.1:{strangers.server_port}"
    files = at(url, files)
    (requirements,) = [draft for draft in layers(files, **options) if draft.kind == "pip"]
    pins = resolved(files, requirements.options, strangers, tmp_path, monkeypatch, uv=uv)
    if uv:
        assert "uv" in pins
        free = (*free, "pip")
    theirs = [path for path in strangers.asked if not path.startswith("/own/")]
    names = {name_in(path) for path in theirs}
    assert names <= {name.replace("-", "_") for name in free}, f"{row}: a stranger is asked for {names}"
    assert {entry["name"] for entry in pins["files"]}.isdisjoint(local)


def resolved(files, options, strangers, tmp_path, monkeypatch, request=None, uv=""):
    """The pins of a pip layer, and in `strangers.asked` what was asked of the index for them. Without `uv`, by pip."""
    for path, text in files.items():
        (tmp_path / "project" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / path).write_bytes(text if isinstance(text, bytes) else text.encode())
    index = PipConfig(variables={"PIP_INDEX_URL": f"http://127.0.0.1:{strangers.server_port}/simple"})
    for module in (resolver, simple_index, uv_resolver):
        monkeypatch.setattr(module, "read_index", lambda _site: index)
    monkeypatch.setattr(simple_index, "default_index", lambda _site: "https://usual.invalid/simple")
    if not uv:
        monkeypatch.setattr(uv_resolver, "uv_entry", lambda _arch: None)
    monkeypatch.setattr(resolver, "_newest_pip", lambda *_: PIP)
    strangers.asked.clear()
    inputs = tuple(api.InputFile(path=path, sha256="0" * 64) for path in sorted(files))
    usual = api.Request(name="requirements", options=options, where=WHERE, arch="x86_64", epoch=0, inputs=inputs)
    return Pip().resolve(request or usual, AgentSite(tmp_path, uv))


def test_hashes_hold_for_the_file_that_has_them_and_what_it_chose_stays(strangers, tmp_path, monkeypatch):
    digest = hashlib.sha256(wheel("pa-1-py3-none-any.whl")).hexdigest()
    files = {"requirements.txt": f"pa==1 --hash=sha256:{digest}\n", "test_a.py": ""}
    (requirements,) = layers(files, packages=["needs-pa"])
    pins = resolved(files, requirements.options, strangers, tmp_path, monkeypatch)
    chosen = {entry["name"]: entry["version"] for entry in pins["files"]}
    assert chosen == {"pip": "26", "pa": "1", "needs_pa": "99", "pytest": "99"}, "needs-pa would take the newest"


WHEEL = {"w/pa-1-py3-none-any.whl": wheel("pa-1-py3-none-any.whl")}
PA = "w/pa-1-py3-none-any.whl"
ARCHIVES = {  # name of the row -> files, the env's keys, what the index is asked for
    "a path": ({"requirements.txt": f"./{PA}\n"}, {}, set()),
    "a bare path": ({"requirements.txt": f"{PA}\n"}, {}, set()),
    "a path with a marker": ({"requirements.txt": f"./{PA} ; python_version > '3'\n"}, {}, set()),
    "a reference": ({"requirements.txt": f"pa @ file:./{PA}\n"}, {}, set()),
    "a reference with its hash": (
        {"requirements.txt": f"pa @ file:{PA} --hash=sha256:{hashlib.sha256(WHEEL[PA]).hexdigest()}\n"}, {}, set(),
    ),
    "beside the file": ({"deps/test.txt": f"../{PA}\n"}, {"requirements": ["deps/test.txt"]}, set()),
    "in [project]": (project(f"{ME}dependencies = ['pa @ file:./{PA}']\n{BUILD}"), {}, set()),
    "uv": (project(f"{NEEDS}[tool.uv.sources]\npa = {{ path = '{PA}' }}\n"), {}, set()),
    "uv, for whoever requires it": (
        project(f'{ME}dependencies = ["needs-pa", "pa"]\n{BUILD}[tool.uv.sources]\npa = {{ path = "{PA}" }}\n'), {},
        {"needs_pa"},
    ),
    "Poetry": (project(f"{POETRY}pa = {{ file = '{PA}' }}\n"), {}, set()),
    "said in the spec": (project(NEEDS), {"sources": {"pa": PA}}, set()),
    "--find-links": ({"requirements.txt": "--no-index\n--find-links w\npa\n"}, {}, set()),
    "--find-links, beside the file": (
        {"w/deps.txt": "--no-index\n--find-links=.\npa\n"}, {"requirements": ["w/deps.txt"]}, set(),
    ),
    "-f": ({"requirements.txt": "-f file:./w\n--no-index\npa\n"}, {}, set()),
}  # fmt: skip


@pytest.mark.sampled(3)
@pytest.mark.parametrize("row", ARCHIVES)
def test_an_archive_of_the_project_is_what_its_name_means(row, strangers, tmp_path, monkeypatch):
    files, options, free = ARCHIVES[row]
    files = files | WHEEL
    (requirements,) = [draft for draft in layers(files, **options) if draft.kind == "pip"]
    assert not [draft for draft in layers(files, **options) if "root" in draft.options]
    inputs = {item.pattern for item in Pip().inputs(requirements.options) if item.required}
    assert inputs & {PA, "w"}, "its content is an input of the layer"
    pins = resolved(files, requirements.options, strangers, tmp_path, monkeypatch)
    (entry,) = [entry for entry in pins["files"] if entry["name"] == "pa"]
    assert (entry["path"], entry["sha256"]) == (PA, hashlib.sha256(WHEEL[PA]).hexdigest())
    assert "url" not in entry
    assert {name_in(path) for path in strangers.asked} <= free
    fetch = next(each for each in Pip().fetches(None, pins) if each.sha256 == entry["sha256"])
    request = api.Request(name="r", options=requirements.options, where=WHERE, arch="x86_64", epoch=0, inputs=())
    (found,) = Pip().locate(request, pins, [fetch], AgentSite(tmp_path / "other"))
    assert found.url == f"file:///here/{PA}", "wherever the project is"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("./w/gone-1-py3-none-any.whl", "`gone` comes from the archive w/gone-1-py3-none-any.whl, which is not there"),
        (f"pb @ file:./{PA}", "which is one of `pa`"),
        (
            f"pa @ file:///somewhere/{PA}",
            "outside of the project, as every absolute path is: write ./… of what is in it",
        ),
        (f"../{PA}", "outside of the project"),
        ("--find-links gone\npa", "gone has no archive that is part of the project"),
        ("--find-links /srv/wheels\npa", "/srv/wheels is outside of the project"),
        ("-f ../w\npa", "../w is outside of the project"),
    ],
)
def test_an_archive_that_cannot_be_had_is_refused_by_a_true_sentence(lines, words):
    with pytest.raises(api.SpecError) as caught:
        layers({"requirements.txt": f"{lines}\n"} | WHEEL)
    (problem,) = caught.value.problems
    assert words in problem.message
    assert (problem.where.file, problem.where.line) == ("requirements.txt", 1)


def test_a_layer_of_its_own_has_to_depend_on_them(strangers, tmp_path, monkeypatch):
    files = {"r.txt": "--find-links w\n"} | WHEEL
    request = api.Request(
        name="r", options={"requirements": ["r.txt"]}, where=WHERE, arch="x86_64", epoch=0,
        inputs=(api.InputFile(path="r.txt", sha256="0" * 64),),
    )  # fmt: skip
    with pytest.raises(api.SpecError) as caught:
        resolved(files, {"requirements": ["r.txt"]}, strangers, tmp_path, monkeypatch, request)
    (problem,) = caught.value.problems
    assert problem.message == "`--find-links w`: the layer does not depend on w"
    assert "inputs: [w]" in problem.hint


def name_in(path: str) -> str:
    last = path.rstrip("/").rpartition("/")[2]
    return (last.split("-")[0] if last.endswith(".whl") else last).replace("-", "_")


def place_of(files, name):
    (found,) = [path.removesuffix("/pyproject.toml") for path, text in files.items() if f'"{name}"\nversion' in text]
    return found


PIP = {
    "name": "pip",
    "version": "26",
    "url": "https://h.invalid/pip-26-py3-none-any.whl",
    "sha256": "p" * 64,
    "size": 0,
}


@pytest.mark.parametrize("row", REFUSED)
def test_what_cannot_be_honoured_is_refused_by_name_with_its_place(row):
    files, words, line = REFUSED[row]
    with pytest.raises(api.SpecError) as caught:
        layers(files)
    (problem,) = caught.value.problems
    assert words in problem.message
    assert problem.where.line == line
    assert problem.where.file in files
    assert problem.text == files[problem.where.file].splitlines()[line - 1]
    assert "`sources: {" in problem.hint or "`packages: [" in problem.hint
