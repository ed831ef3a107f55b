"""The kinds against a site that answers as containers would."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from envtool_python import resolver, uv_resolver
from envtool_python.kinds import Pip, PythonProject
from envtool_python.pip_config import PipConfig

from envtool import api

INFO = {"version": "3.11.2", "extends": False}
PIP_REPORT = {
    "install": [
        {
            "metadata": {"name": "pip", "version": "26"},
            "download_info": {
                "url": "https://h.invalid/pip-26-py3-none-any.whl",
                "archive_info": {"hashes": {"sha256": "p" * 64}},
            },
        }
    ]
}


def entry(name, *, suffix="-py3-none-any.whl"):
    url = f"https://ann:s3cret@h.invalid/{name}-1{suffix}#sha256=0"
    return {"name": name, "version": "1", "url": url, "sha256": name * 8, "size": 5}


class Site:
    arch = "x86_64"

    def __init__(self, project, answers, status=0, stderr=b""):
        self.project = Path(project)
        self.answers = answers
        self.asked = []
        self.told = {}
        self.notes = []
        self.status = status
        self.stderr = stderr
        self.held = {}

    def shared(self, name, make):
        return self.held.setdefault(name, make())

    def fetch(self, fetches):
        return [Path("/store") / fetch.sha256 for fetch in fetches]

    def open(self, path, *, limit=0):
        try:
            return (self.project / path).open("rb")
        except OSError:
            raise api.ResolveError(path, code="no-file") from None

    def tags(self, directory=""):
        return ()

    def described(self, directory, names):
        return ""

    def note(self, text):
        self.notes.append(text)

    def seen(self, sha256, url):
        self.told[sha256] = url

    def run(self, command, *, env=None, binds=(), network=False):
        mode, document = command.argv[-2], json.loads(command.argv[-1])
        self.asked.append((mode, document, dict(env), [bind.target for bind in binds], network))
        if mode == "info":
            return api.Completed(status=self.status, stdout=json.dumps(INFO).encode(), stderr=self.stderr)
        answer = self.answers[mode].pop(0)
        return api.Completed(status=0, stdout=b"talk\n" + json.dumps(answer).encode() + b"\n", stderr=b"")


@pytest.fixture(autouse=True)
def host(monkeypatch):
    """No test starts the host's pip, and pip resolves: test_uv.py has what uv does."""
    monkeypatch.setattr(uv_resolver, "uv_entry", lambda _arch: None)
    index = PipConfig(variables={"PIP_TIMEOUT": "9"}, secrets={"h.invalid": "ann:s3cret"})
    monkeypatch.setattr(resolver, "read_index", lambda _site: index)
    monkeypatch.setattr("envtool_python.simple_index.read_index", lambda _site: index)
    monkeypatch.setattr(resolver, "run_host_pip", lambda *_, **__: json.dumps(PIP_REPORT))


def request(options, *, inputs=(), epoch=1_700_000_000):
    return api.Request(
        name="deps",
        options=options,
        inputs=tuple(api.InputFile(path=path, sha256="0" * 64) for path in inputs),
        where=api.Where(file="envtool.yaml", line=1, column=1),
        arch="x86_64",
        epoch=epoch,
    )


def test_pins_hold_files_in_build_order_without_credentials(tmp_path):
    site = Site(
        tmp_path,
        {
            "resolve": [{"files": [entry("a"), entry("b", suffix=".tar.gz")]}],
            "needs": [{"needs": [[entry("c", suffix=".tar.gz"), entry("d")]]}, {"needs": [[entry("d")]]}],
        },
    )
    asked = request(["a", "b"])
    pins = Pip().resolve(asked, site)
    names = [file["file"] for file in pins["files"]]
    assert [file["name"] for file in pins["files"] if file["use"] == "install"] == ["b", "a"]
    assert all(
        names.index(needed) < place for place, file in enumerate(pins["files"]) for needed in file.get("build", ())
    )
    assert "h.invalid" not in json.dumps(pins), "an index of this machine is nobody else's"
    assert "s3cret" not in json.dumps([*site.told.values()])
    assert "s3cret" not in json.dumps(Pip().material(asked, pins))
    fetches = Pip().fetches(asked, pins)
    assert {fetch.url for fetch in fetches} == {""}
    (found,) = Pip().locate(asked, pins, [replace(fetches[1], url=site.told[fetches[1].sha256])], site)
    assert found.url.startswith("https://ann:s3cret@h.invalid/")
    assert found.name == names[1]
    modes = [(mode, network) for mode, _, _, _, network in site.asked]
    assert modes == [("info", False), ("resolve", True), ("needs", True), ("needs", True)]


@pytest.mark.parametrize(
    ("packages", "sources", "notes"),
    [
        (["a"], 0, ["resolving 1 requirement"]),
        (["a", "b"], 0, ["resolving 2 requirements"]),
        (["a"], 1, ["resolving 1 requirement", "asking 1 source distribution what its build needs"]),
        (["a", "b"], 2, ["resolving 2 requirements", "asking 2 source distributions what their builds need"]),
    ],
)
def test_what_goes_on_is_counted(tmp_path, packages, sources, notes):
    files = [entry(name, suffix=".tar.gz") for name in packages[:sources]] or [entry("a")]
    site = Site(tmp_path, {"resolve": [{"files": files}], "needs": [{"needs": [[]] * sources}]})
    Pip().resolve(request(packages), site)
    assert site.notes == notes


def test_a_build_that_needs_itself_is_refused(tmp_path):
    loop = entry("b", suffix=".tar.gz")
    site = Site(tmp_path, {"resolve": [{"files": [loop]}], "needs": [{"needs": [[loop]]}]})
    with pytest.raises(api.ResolveError, match="building b needs b itself"):
        Pip().resolve(request(["b"]), site)


def test_no_python_says_which_layer_to_add(tmp_path):
    with pytest.raises(api.ResolveError, match="there is no python3 in this env") as caught:
        Pip().resolve(request(["a"]), Site(tmp_path, {}, status=97))
    assert "apt: [python3]" in caught.value.hint
    assert caught.value.code == "no-python"


def test_failures_keep_no_credentials(tmp_path):
    site = Site(tmp_path, {}, status=1, stderr=b"ERROR: 401 for https://ann:s3cret@h.invalid/simple/")
    with pytest.raises(api.ResolveError) as caught:
        Pip().resolve(request(["a"]), site)
    assert "401" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_requirement_files_groups_and_extras_become_lines(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "me"\nversion = "1"\ndependencies = ["c"]\n'
        '[project.optional-dependencies]\nx = ["d"]\n[dependency-groups]\ng = ["me[x]", "e"]\n'
    )
    (tmp_path / "r.txt").write_text("a\n-c l.txt\n")
    (tmp_path / "l.txt").write_text("a<2\n")
    site = Site(tmp_path, {"resolve": [{"files": []}]})
    options = {"packages": ["p"], "requirements": ["r.txt"], "groups": ["g"], "extras": [], "inputs": ["l.txt"]}
    Pip().resolve(request(options, inputs=["pyproject.toml", "r.txt", "l.txt"]), site)
    document = site.asked[-1][1]
    assert document["calls"] == [["p", "a", "d", "e", "c"]]
    assert document["constraints"] == ["a<2"]
    assert "project" not in document


HASHED = "six==1 --hash=sha256:00\n"


@pytest.mark.parametrize(
    ("files", "calls"),
    [
        ({"r.txt": "six\n"}, [["p", "six"], ["pytest"]]),
        ({"r.txt": HASHED}, [[HASHED.strip()], ["p"], ["pytest"]]),
        ({"r.txt": HASHED, "s.txt": "x\n"}, [[HASHED.strip()], ["p", "x"], ["pytest"]]),
        ({"r.txt": HASHED, "s.txt": "--no-index\nx\n"}, [[HASHED.strip()], ["--no-index", "x"], ["p"], ["pytest"]]),
        ({"r.txt": "--only-binary :all:\nx\n"}, [["--only-binary :all:", "x"], ["p"], ["pytest"]]),
        ({"r.txt": "--no-binary x\nx\n"}, [["--no-binary x", "x"], ["p"], ["pytest"]]),
        ({"r.txt": "-i https://h.invalid/s\nx\n"}, [["-i https://h.invalid/s", "x"], ["p"], ["pytest"]]),
        ({"r.txt": "--require-hashes\n-r s.txt\n", "s.txt": HASHED}, [["--require-hashes", HASHED.strip()], ["p"], ["pytest"]]),
    ],
)  # fmt: skip
def test_the_modes_of_a_requirement_file_are_for_it_alone(tmp_path, files, calls):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    site = Site(tmp_path, {"resolve": [{"files": []}]})
    named = [name for name in files if f"-r {name}" not in files["r.txt"]]
    options = {"packages": ["p"], "requirements": named, "adds": ["pytest"]}
    Pip().resolve(request(options, inputs=[*files]), site)
    assert site.asked[-1][1]["calls"] == calls


def test_another_python_than_is_wanted_is_said_before_anything_is_fetched(tmp_path):
    site = Site(tmp_path, {})
    with pytest.raises(api.ResolveError, match=r"wants Python >=3.13, python3 of this env is 3.11.2") as caught:
        Pip().resolve(request({"packages": ["a"], "requires-python": ">=3.13"}), site)
    assert caught.value.code == "python-version"
    assert [mode for mode, *_ in site.asked] == ["info"]


@pytest.mark.parametrize(
    ("options", "said", "hint"),
    [
        ({"groups": ["g"]}, "`pa` comes from packages/pa", "sources: {pa: packages/pa}"),
        ({"project": True}, "`pb` comes from the repository", "sources: {pb: index}"),
        ({"packages": ["x @ git+https://h.invalid/x"]}, "`x` comes from the repository", "sources: {x: index}"),
        ({"requirements": ["r.txt"]}, "`y` comes from /srv/y, outside", "sources: {y: DIRECTORY}"),
    ],
)
def test_a_layer_of_its_own_says_where_names_come_from_too(tmp_path, options, said, hint):
    text = '[project]\nname = "me"\nversion = "1"\ndependencies = ["pb"]\n[dependency-groups]\ng = ["pa"]\n'
    text += '[tool.uv.sources]\npa = { path = "packages/pa" }\npb = { git = "https://h.invalid/pb" }\n'
    (tmp_path / "pyproject.toml").write_text(text)
    (tmp_path / "r.txt").write_text("y @ file:///srv/y\n")
    (tmp_path / "packages/pa").mkdir(parents=True)
    (tmp_path / "packages/pa/setup.py").write_text("setup(name='pa')")
    site = Site(tmp_path, {"resolve": [{"files": []}]})
    inputs = ["pyproject.toml", "r.txt", "packages/pa/setup.py"]
    with pytest.raises((api.ResolveError, api.SpecError)) as caught:
        Pip().resolve(request(options, inputs=inputs), site)
    (told,) = getattr(caught.value, "problems", (caught.value,))
    assert said in told.message
    assert hint in told.hint
    given = {"pa": "packages/pa", "pb": "index", "x": "https://h.invalid/x.whl", "y": "index"}
    Pip().resolve(request({**options, "sources": given}, inputs=inputs), site)
    document = site.asked[-1][1]
    assert document["directories"] == {"pa": "/project/packages/pa"}
    assert document["constraints"] == ["x @ https://h.invalid/x.whl"]


def test_a_file_that_is_no_input_cannot_decide(tmp_path):
    (tmp_path / "r.txt").write_text("-r deep/other\n")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "other").write_text("a\n")
    with pytest.raises(api.ResolveError, match="deep/other is included") as caught:
        Pip().resolve(request({"requirements": ["r.txt"]}, inputs=["r.txt"]), Site(tmp_path, {}))
    assert caught.value.hint == "name it: `inputs: [deep/other]`"


def test_a_project_with_setup_py_is_asked_in_the_container(tmp_path):
    (tmp_path / "setup.py").write_text("setup()")
    site = Site(tmp_path, {"resolve": [{"files": []}]})
    Pip().resolve(request({"extras": ["test"]}, inputs=["setup.py"]), site)
    assert site.asked[-1][1]["project"] == {"root": "/project", "extras": ["test"], "call": 0}


def test_the_project_is_editable_and_a_wheel_where_something_is_compiled(tmp_path):
    (tmp_path / "setup.py").write_text("setup()")
    site = Site(tmp_path, {"needs": [{"needs": [[entry("s")]]}]})
    asked = request({}, inputs=["setup.py"])
    pins = PythonProject().resolve(asked, site)
    assert (pins["install"], site.asked[-1][1]["sources"][0]["hooks"]) == ("editable", ["build_editable"])
    told = PythonProject().build_document(asked, pins)
    keep = "/opt/venv/share/envtool"
    assert told["project"] == {"root": "/project", "build": [1], "install": "editable", "variables": {}, "keep": keep}
    (tmp_path / "setup.py").write_text("setup(ext_modules=[x])")
    site = Site(tmp_path, {"needs": [{"needs": [[]]}]})
    assert PythonProject().resolve(asked, site)["install"] == "editable"
    (tmp_path / "pyproject.toml").write_text('[build-system]\nrequires = []\nbuild-backend = "mesonpy"\n')
    site = Site(tmp_path, {"needs": [{"needs": [[]]}]})
    assert PythonProject().resolve(request({}, inputs=["pyproject.toml"]), site)["install"] == "wheel"


def test_what_a_build_makes_is_kept_below_the_venv_and_seen_in_the_project():
    asked = replace(request({"path": "/srv/v", "root": "lib"}), directory="sub")
    pins = {"files": [], "pip": "pip.whl", "install": "wheel", "variables": {}}
    assert PythonProject().generated(asked, pins) == {".": "/srv/v/share/envtool"}
    told = PythonProject().build_document(
        asked, {**pins, "files": [{"name": "p", "version": "1", "file": "pip.whl", "use": "build"}]}
    )
    assert (told["project"]["root"], told["project"]["keep"]) == ("/project/sub/lib", "/srv/v/share/envtool")


def test_nothing_to_install_is_said(tmp_path):
    with pytest.raises(api.ResolveError, match="there is no project to install"):
        PythonProject().resolve(request({}), Site(tmp_path, {}))


def test_the_recipe_is_offline_and_names_blobs(tmp_path):
    site = Site(tmp_path, {"resolve": [{"files": [entry("a")]}]})
    asked = request(["a"], epoch=0)
    recipe = Pip().build(asked, Pip().resolve(asked, site))
    (step,) = recipe.steps
    assert not recipe.network
    assert step.env["SOURCE_DATE_EPOCH"] == "315532800"
    assert json.loads(step.command.argv[-1])["pip"] == f"{api.BLOBS}/pip-26-py3-none-any.whl"


def test_resolving_again_is_a_question_of_build_files_alone():
    before = request({}, inputs=["pyproject.toml", "src/me/a.py"])
    after = request({}, inputs=["pyproject.toml", "src/me/b.py"])
    assert PythonProject().question(before) == PythonProject().question(after)
    assert Pip().question(before) != Pip().question(after)


def test_a_build_file_that_is_a_link_is_asked_by_its_content():
    kind = PythonProject()

    def asked(content):
        link = api.InputFile(path="pyproject.toml", sha256=content * 64, link="config/pyproject.toml")
        return kind.question(replace(request({}), inputs=(link,)))

    assert asked("a") != asked("b")


def test_a_declared_build_is_the_whole_question():
    options = {"build": "0" * 64, "files": ["pyproject.toml"], "install": "editable"}
    before = request(options, inputs=["pyproject.toml"])
    edited = replace(before, inputs=(replace(before.inputs[0], sha256="1" * 64),), options={**options, "files": ["x"]})
    assert PythonProject().question(before) == PythonProject().question(edited)
    assert PythonProject().question(before) != PythonProject().question(request({**options, "build": "1" * 64}))


def test_variables_put_the_virtual_environment_first():
    assert Pip().variables(request(["a"]), None) == {"PATH": "/opt/venv/bin", "VIRTUAL_ENV": "/opt/venv"}
    assert Pip().variables(request({"path": "/srv/v"}), None)["PATH"] == "/srv/v/bin"


@pytest.mark.parametrize(
    ("file", "package"),
    [
        ("attrs-25.3.0-py3-none-any.whl", ("attrs", "25.3.0")),
        ("a_b-1.0-1-cp311-cp311-linux_x86_64.whl", ("a_b", "1.0")),
        ("attrs-25.3.0.tar.gz", ("attrs", "25.3.0")),
        ("zope.interface-5.0.zip", ("zope.interface", "5.0")),
        ("a-1.whl", ("a", "1")),
        ("noversion.tar.gz", ("noversion.tar.gz", "")),
    ],
)
def test_the_package_in_a_file(file, package):
    assert Pip().package(file) == PythonProject().package(file) == package


@pytest.mark.parametrize(
    ("uses", "words"),
    [
        (["install"], "1 package"),
        (["install", "install"], "2 packages"),
        (["install", "build"], "2 packages, 1 of them only for builds"),
        (["install", "project", "build"], "3 packages, 2 of them only for builds"),
        ([], "0 packages"),
    ],
)
def test_the_summary_counts_what_the_lock_pins(uses, words):
    assert Pip().summary(None, {"files": [{"name": "a", "use": use} for use in uses]}) == words
