"""A project with a lock file: the layers of `language: python`, and the files that a layer pins by the lock."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
from envtool_python import locked_resolver, resolver, simple_index, uv_resolver
from envtool_python.kinds import Pip
from envtool_python.language import Python
from envtool_python.lock_files import stale_warning
from envtool_python.locked_packages import LockedFile
from envtool_python.pip_config import PipConfig

from envtool import api

LOCKS = Path(__file__).parent / "locks"
WHERE = api.Where(file="envtool.yaml", line=3, column=5)
INFO = {
    "version": "3.11.2",
    "implementation": "cpython",
    "abi": "cpython-311-x86_64-linux-gnu",
    "platform": "linux-x86_64",
    "libc": "glibc 2.36",
    "extends": False,
}
USUAL = "https://usual.invalid/simple"
OWN = "https://own.invalid/simple"


class Project(dict):
    """A project's files."""

    def read_bytes(self, path):
        text = self.get(path)
        return text if text is None else text.encode()

    read = dict.get

    def around(self, name):
        return {}

    def glob(self, pattern):
        return sorted(path for path in self if fnmatch(path, pattern.replace("**/", "*")))


def real(tool, file, **more):
    return Project(
        {name: (LOCKS / tool / name).read_text() for name in ("pyproject.toml", file)}
        | {"tests/test_a.py": "", "src/shop/__init__.py": ""}
        | more
    )


def layers(project, **options):
    env = api.EnvDraft(name="unit", base_kind="host", options=options, layer_names=(), where=WHERE)
    return {draft.name: draft.options for draft in Python().layers(env, project)}


# ---- layers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "file"), [("uv", "uv.lock"), ("poetry", "poetry.lock"), ("pdm", "pdm.lock"), ("pylock", "pylock.toml")]
)
def test_a_lock_is_found_and_its_content_is_in_no_other_option(tool, file):
    options = layers(real(tool, file))["requirements"]
    assert options["locked"]["file"] == file
    assert len(options["locked"]["digest"]) == 64
    assert "stale" not in options["locked"]
    asked = Pip().question(request(options, file))
    assert [path for path, *_ in asked[2]] == []
    assert [item.use for item in Pip().inputs(options) if item.pattern == file] == ["resolve"]
    without = layers(real(tool, file), locked="none")["requirements"]
    assert {**without, "locked": options["locked"]} == options, "the rest is as without a lock"


def request(options, *inputs):
    files = tuple(api.InputFile(path=path, sha256="0" * 64) for path in inputs)
    return api.Request(name="deps", options=options, inputs=files, where=WHERE, arch="x86_64", epoch=1_700_000_000)


def test_a_lock_that_is_not_up_to_date_is_said():
    project = real("uv", "uv.lock")
    project["pyproject.toml"] = project["pyproject.toml"].replace('"jinja2>=3"', '"jinja2>=99", "attrs"')
    assert layers(project)["requirements"]["locked"]["stale"] == ["jinja2>=99", "attrs"]


@pytest.mark.parametrize(("tool", "mends"), [("uv", "`uv lock`"), ("poetry", "`poetry lock`"), ("pdm", "`pdm lock`"), ("pylock", "the tool that wrote it")])  # fmt: skip
def test_each_run_warns_of_a_lock_that_is_not_up_to_date(tool, mends):
    file = "pylock.toml" if tool == "pylock" else f"{tool}.lock"
    project = real(tool, file)
    env = api.EnvDraft(name="unit", base_kind="host", options={"packages": ["attrs"]}, layer_names=(), where=WHERE)
    assert not any(draft.warning for draft in Python().layers(env, project)), "attrs is of the env alone"
    project["pyproject.toml"] = re.sub(r"jinja2(?=[ >=]*3)", "jinja2>99,", project["pyproject.toml"], count=1)
    project["pyproject.toml"] = re.sub(r"(?m)^jinja2>99, *= *.*", 'jinja2 = ">=99"', project["pyproject.toml"])
    (draft,) = [draft for draft in Python().layers(env, Project(project)) if draft.warning]
    (stale,) = draft.options["locked"]["stale"]
    assert draft.warning == (
        f"{file} does not satisfy `{stale}`, which the project requires: other versions are installed, as near to it as"
        f" possible; {mends} updates it"
    )


def test_a_warning_counts_the_requirements():
    assert "does not satisfy `a` and 2 more, which" in stale_warning("uv.lock", ["a", "b", "c"])
    assert stale_warning("uv.lock", []) == ""


def test_what_the_env_adds_does_not_make_a_lock_stale():
    options = layers(real("uv", "uv.lock"), packages=["pytest-cov"])["requirements"]
    assert "stale" not in options["locked"]


def test_a_file_that_is_named_and_missing_is_an_error():
    with pytest.raises(api.SpecError) as caught:
        layers(real("uv", "uv.lock"), locked="other/uv.lock")
    assert "there is no other/uv.lock" in str(caught.value.problems[0])


def test_a_broken_lock_is_an_error_at_its_line():
    project = real("uv", "uv.lock")
    project["uv.lock"] += "<<<<<<< HEAD\n"
    with pytest.raises(api.SpecError) as caught:
        layers(project)
    (problem,) = caught.value.problems
    assert (problem.where.file, problem.text) == ("uv.lock", "<<<<<<< HEAD")
    assert "locked: none" in problem.hint


OWN_INDEX = """\
[project]
name = "me"
version = "1"
dependencies = ["pa", "pb"]
[tool.uv]
package = false
[tool.uv.sources]
pa = { index = "own" }
[[tool.uv.index]]
name = "own"
url = "https://own.invalid/simple"
"""


def lock(*packages):
    """A uv.lock of packages: name, index, letter of its hash, perhaps the name that it requires."""
    text = "version = 1\n"
    for name, index, letter, *needed in packages:
        needs = f'dependencies = [{{ name = "{needed[0]}" }}]\n' if needed else ""
        text += (
            f'[[package]]\nname = "{name}"\nversion = "1"\nsource = {{ registry = "{index}" }}\n{needs}wheels = [{{ url = '
            f'"https://h.invalid/{name}-1-py3-none-any.whl", hash = "sha256:{letter * 64}", size = 5 }}]\n'
        )
    return text


def test_an_index_for_one_name_is_honoured_by_the_lock_alone():
    project = Project({"pyproject.toml": OWN_INDEX})
    with pytest.raises(api.SpecError, match="error") as caught:
        layers(project)
    assert any("the index `own` alone" in str(problem) for problem in caught.value.problems)
    project["uv.lock"] = lock(("pa", OWN, "a"), ("pb", USUAL, "b"))
    assert layers(project)["requirements"]["locked"]["bound"] == ["pa"]
    project["pyproject.toml"] = OWN_INDEX.replace('"pb"', '"pb", "pc"')
    with pytest.raises(api.SpecError) as caught:
        layers(project)
    words = "\n".join(str(problem) for problem in caught.value.problems)
    assert "`pa` comes from the index `own` alone, and the lock file is not up to date" in words


# ---- files ---------------------------------------------------------------------------------------------------------


class Site:
    """Answers as containers and indexes would. `pages`: index and name -> links."""

    arch = "x86_64"

    def __init__(self, files, pages, answers=(), info=INFO):
        self.files, self.pages, self.answers, self.info = files, pages, [*answers], info
        self.asked, self.documents = [], []

    def open(self, path, *, limit=0):
        import io

        if path not in self.files:
            raise api.ResolveError(path, code="no-file")
        return io.BytesIO(self.files[path].encode())

    def get(self, url):
        index, _, name = url.rstrip("/").rpartition("/")
        self.asked.append(url)
        if (index, name) not in self.pages:
            raise api.FetchError(f"404: {url}", code="http")
        return "".join(f'<a href="{link}">x</a>' for link in self.pages[index, name]).encode()

    def fetch(self, fetches):
        return [Path("/store") / fetch.sha256 for fetch in fetches]

    def learn(self, sealed):
        return [api.Fetch(url=sealed[0].urls[0], sha256="d" * 64, name=sealed[0].name, size=5)]

    def note(self, text):
        pass

    def seen(self, sha256, url):
        pass

    def tags(self, directory=""):
        return ()

    def described(self, directory, names):
        return ""

    def run(self, command, *, env=None, binds=(), network=False):
        mode, document = command.argv[-2], json.loads(command.argv[-1])
        if mode == "info":
            return api.Completed(status=0, stdout=json.dumps(self.info).encode(), stderr=b"")
        self.documents.append(document)
        answer = self.answers.pop(0)
        if isinstance(answer, str):
            return api.Completed(status=1, stdout=b"", stderr=f"ERROR: {answer}".encode())
        return api.Completed(status=0, stdout=json.dumps(answer).encode(), stderr=b"")


PIP = {
    "name": "pip",
    "version": "26",
    "url": "https://h.invalid/pip-26-py3-none-any.whl",
    "sha256": "f" * 64,
    "size": 1,
}


@pytest.fixture(autouse=True)
def host(monkeypatch):
    """The host's pip looks at USUAL and OWN; pip resolves what is beside a lock."""
    monkeypatch.setattr(uv_resolver, "uv_entry", lambda _arch: None)
    config = PipConfig(variables={"PIP_INDEX_URL": USUAL, "PIP_EXTRA_INDEX_URL": OWN})
    monkeypatch.setattr(resolver, "read_index", lambda _site: config)
    monkeypatch.setattr(resolver, "_newest_pip", lambda *_: PIP)
    monkeypatch.setattr(simple_index, "default_index", lambda _site: USUAL)


def link(name, letter, suffix="-1-py3-none-any.whl"):
    return f"https://files.invalid/{name}{suffix}#sha256={letter * 64}"


def resolve(text, site_pages, *packages, answers=(), info=INFO, **options):
    site = Site({"uv.lock": text}, site_pages, answers, info)
    options = {"packages": [*packages], "locked": {"file": "uv.lock"}, **options}
    pins = Pip().resolve(request(options, "uv.lock"), site)
    return pins, site


def installed(pins):
    return {file["name"]: (file["version"], file["sha256"][0]) for file in pins["files"] if file["use"] == "install"}


BOTH = lock(("pa", OWN, "a"), ("pb", USUAL, "b"))
PAGES = {
    (OWN, "pa"): [link("pa", "a")],
    (USUAL, "pa"): [link("pa", "e"), link("pa", "e", "-99-py3-none-any.whl")],  # a stranger's
    (USUAL, "pb"): [link("pb", "b"), link("pb", "c", "-2-py3-none-any.whl")],
}


def test_the_locked_files_come_from_the_indexes_of_this_machine_by_name_and_hash():
    pins, site = resolve(BOTH, PAGES, "pa", "pb>=1")
    assert installed(pins) == {"pa": ("1", "a"), "pb": ("1", "b")}
    assert pins["locked"] == {"file": "uv.lock", "beside": []}
    assert site.documents == [], "nothing resolves"
    assert "invalid" not in json.dumps(pins)
    assert f"{USUAL}/pa/" not in site.asked, "a name of one index is asked of no other"
    assert Pip().summary(request({"locked": {}}), pins) == "3 packages, 1 of them only for builds, by uv.lock"


def test_another_file_of_the_name_is_never_taken():
    for pages, words in (
        ({**PAGES, (OWN, "pa"): [link("pa", "e")]}, "own.invalid|files.invalid"),
        ({**PAGES, (OWN, "pa"): [link("pa", "e", "-2-py3-none-any.whl")]}, "which no index of this machine has"),
        ({key: value for key, value in PAGES.items() if key[0] == USUAL}, "is on no index of this machine"),
    ):
        with pytest.raises(api.ResolveError, match=words) as caught:
            resolve(BOTH, pages, "pa", "pb")
        assert str(caught.value).startswith("uv.lock:2: `pa`")
        assert "`uv lock`" in caught.value.hint


def test_an_index_where_this_machine_does_not_look_is_refused_by_name():
    text = lock(("pa", "https://ann:s3cret@far.invalid/simple", "a"))
    with pytest.raises(api.ResolveError, match=r"far.invalid/simple, where this machine's pip does not look") as caught:
        resolve(text, PAGES, "pa")
    assert "s3cret" not in str(caught.value) + caught.value.hint
    assert "sources: {pa: index}" in caught.value.hint
    pins, _ = resolve(text, {(USUAL, "pa"): PAGES[OWN, "pa"]}, "pa", sources={"pa": "index"})
    assert installed(pins) == {"pa": ("1", "a")}
    with pytest.raises(api.ResolveError, match="another file of this name"):
        resolve(text, {(USUAL, "pa"): PAGES[USUAL, "pa"]}, "pa", sources={"pa": "index"})


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ('{ git = "https://h.invalid/pa#0123" }', "the repository https://h.invalid/pa"),
        ('{ directory = "../pa" }', "the directory ../pa"),
        ('{ path = "dist/pa-1-py3-none-any.whl" }', "the archive dist/pa-1"),
    ],
)
def test_a_place_without_a_hash_is_refused_by_name_and_asked_of_no_index(source, words):
    text = lock(("pb", USUAL, "b")).replace("wheels", 'dependencies = [{ name = "pa" }]\nwheels')
    text += f'[[package]]\nname = "pa"\nversion = "1"\nsource = {source}\n'
    with pytest.raises(api.ResolveError, match=words):
        resolve(text, PAGES, "pb")
    site = Site({"uv.lock": text}, PAGES)
    with pytest.raises(api.ResolveError, match="`pa` comes from"):
        Pip().resolve(request({"packages": ["pb"], "locked": {"file": "uv.lock"}}, "uv.lock"), site)
    assert site.asked == []


def test_the_url_of_an_archive_is_fetched_from_there_by_its_hash():
    text = lock(("pa", USUAL, "a")).replace(f'registry = "{USUAL}"', 'url = "https://h.invalid/pa-1-py3-none-any.whl"')
    pins, site = resolve(text, {}, "pa", sources={"pa": "https://h.invalid/pa-1-py3-none-any.whl"})
    assert site.documents == [], "the lock knows its hash"
    pins, site = resolve(text, {}, "pa")
    (file,) = [file for file in pins["files"] if file["name"] == "pa"]
    assert (file["url"], file["sha256"]) == ("https://h.invalid/pa-1-py3-none-any.whl", "a" * 64)
    assert site.asked == []


def answer(*files):
    return {"files": [{"name": name, "version": version, "url": link(name, letter, f"-{version}-py3-none-any.whl"),
                       "sha256": letter * 64, "size": 5, "direct": False} for name, version, letter in files]}  # fmt: skip


def test_what_the_lock_does_not_have_is_resolved_beside_it():
    pins, site = resolve(BOTH, PAGES, "pa", "pb", answers=[answer(("pc", "3", "c"), ("pb", "1", "b"))], adds=["pc"])
    assert installed(pins) == {"pa": ("1", "a"), "pb": ("1", "b"), "pc": ("3", "c")}
    (document,) = site.documents
    assert document["calls"] == [["pc"]]
    assert document["constraints"] == ["pa @ https://files.invalid/pa-1-py3-none-any.whl", "pb==1"]
    assert pins["locked"]["beside"] == ["pc"]
    assert "by uv.lock but for pc" in Pip().summary(request({"locked": {}}), pins)


def test_what_contradicts_the_lock_is_resolved_as_near_to_it_as_possible():
    text = lock(("pb", USUAL, "b"), ("pd", USUAL, "d", "pb"))
    pages = {**PAGES, (USUAL, "pd"): [link("pd", "d")]}
    answers = [answer(("pb", "2", "c"), ("pd", "1", "d"))]
    pins, site = resolve(text, pages, "pb>=2", "pd", answers=answers)
    assert installed(pins) == {"pb": ("2", "c"), "pd": ("1", "d")}
    assert site.documents[0]["keep"] == ["pb==1", "pd==1"]
    assert pins["locked"]["beside"] == ["pb"]
    with pytest.raises(api.ResolveError, match=r"`pd` is locked as pd-1-py3-none-any.whl with the sha256 ddd"):
        resolve(text, pages, "pb>=2", "pd", answers=[answer(("pb", "2", "c"), ("pd", "1", "e"))])


def test_another_version_beside_a_lock_that_does_not_need_it():
    text = lock(("pb", USUAL, "b"), ("pd", USUAL, "d"))
    pages = {**PAGES, (USUAL, "pd"): [link("pd", "d")]}
    pins, site = resolve(text, pages, "pb>=2", "pd", answers=[answer(("pb", "2", "c"))])
    assert installed(pins) == {"pb": ("2", "c"), "pd": ("1", "d")}
    assert (site.documents[0]["calls"], site.documents[0]["constraints"]) == ([["pb>=2"]], ["pd==1"])


def test_what_cannot_be_beside_the_lock_is_resolved_with_it():
    pages = {**PAGES, (USUAL, "pd"): [link("pd", "d")]}
    failed = "No matching distribution found for pb==1"
    answers = [failed, answer(("pb", "2", "c"), ("pd", "2", "e"))]
    pins, site = resolve(lock(("pb", USUAL, "b")), pages, "pb", "pd>=2", answers=answers)
    assert installed(pins) == {"pb": ("2", "c"), "pd": ("2", "e")}
    assert [document["calls"] for document in site.documents] == [[["pd>=2"]], [["pb", "pd>=2"]]]
    assert pins["locked"]["beside"] == ["pb", "pd"]


def test_a_name_of_one_index_alone_is_not_resolved_without_its_lock():
    text = lock(("pa", OWN, "a", "pb"), ("pb", USUAL, "b"))
    with pytest.raises(api.ResolveError, match="`pa` comes from one index alone"):
        resolve(text, PAGES, "pa", "pb>=2", locked={"file": "uv.lock", "bound": ["pa"]})


def test_what_is_stale_is_in_the_summary():
    options = {"locked": {"file": "uv.lock", "stale": ["pb>=2"]}}
    pins = {"files": [], "locked": {"file": "uv.lock", "beside": ["pb"]}}
    assert "near uv.lock, which does not satisfy `pb>=2`" in Pip().summary(request(options), pins)


def test_where_only_pip_knows_which_wheels_run_it_gets_the_hashes():
    info = {**INFO, "libc": "musl or unknown"}
    pins, site = resolve(BOTH, PAGES, "pa", "pb", info=info, answers=[answer(("pa", "1", "a"), ("pb", "1", "b"))])
    (document,) = site.documents
    assert document["calls"] == [[f"pa==1 --hash=sha256:{'a' * 64}", f"pb==1 --hash=sha256:{'b' * 64}"]]
    assert installed(pins).keys() == {"pa", "pb"}


def test_a_file_name_of_the_lock_may_be_written_in_another_way():
    text = lock(("pb", USUAL, "b"))
    pins, _ = resolve(text, {(USUAL, "pb"): [link("PB", "b")]}, "pb")
    assert [file["file"] for file in pins["files"] if file["name"] == "pb"] == ["PB-1-py3-none-any.whl"]


def test_a_hash_that_is_no_sha256_is_checked_while_the_file_is_fetched():
    text = lock(("pb", USUAL, "b")).replace(f"sha256:{'b' * 64}", f"sha512:{'b' * 128}")
    pins, _ = resolve(text, {(USUAL, "pb"): ["https://files.invalid/pb-1-py3-none-any.whl"]}, "pb")
    assert installed(pins) == {"pb": ("1", "d")}
    with pytest.raises(api.ResolveError, match="has no hash that is known here"):
        resolve(text.replace(f"sha512:{'b' * 128}", "md5:00"), PAGES, "pb")


def test_the_wheel_that_runs_comes_first_and_an_archive_last():
    files = [
        LockedFile(name=name)
        for name in (
            "a-1.tar.gz", "a-1-py3-none-any.whl", "a-1-cp311-cp311-manylinux_2_17_x86_64.whl", "a-1-cp311-cp311-win_amd64.whl",
            "a-bad.whl",
        )
    ]  # fmt: skip
    ranks = {tag: rank for rank, tag in enumerate(locked_resolver.tags_of(INFO))}
    assert [file.name for file in locked_resolver.files_by_preference(files, ranks)] == [
        "a-1-cp311-cp311-manylinux_2_17_x86_64.whl", "a-1-py3-none-any.whl", "a-1.tar.gz",
    ]  # fmt: skip


def test_a_member_of_the_workspace_is_asked_of_no_index_and_what_it_requires_is_locked():
    text = lock(("pb", USUAL, "b"))
    text += (
        '[[package]]\nname = "pa"\nversion = "1"\nsource = { editable = "packages/pa" }\n'
        'dependencies = [{ name = "pb" }]\n'
    )
    files = {"uv.lock": text, "packages/pa/pyproject.toml": '[project]\nname = "pa"\nversion = "1"\n'}
    site = Site(files, PAGES)
    options = {"packages": ["pa"], "sources": {"pa": "packages/pa"}, "locked": {"file": "uv.lock"}}
    pins = Pip().resolve(request(options, *files), site)
    assert installed(pins) == {"pb": ("1", "b")}
    assert {url.rsplit("/", 2)[1] for url in site.asked} == {"pb"}
    assert site.documents == []


def repository(*more):
    """A uv.lock in which `pb` requires `pa`, which comes from a repository."""
    text = lock(("pb", USUAL, "b", "pa"), *more)
    return text + '[[package]]\nname = "pa"\nversion = "1"\nsource = { git = "https://h.invalid/pa#0123" }\n'


def test_what_the_spec_says_of_a_source_stands_above_the_lock():
    files = {"uv.lock": repository(), "packages/pa/pyproject.toml": '[project]\nname = "pa"\nversion = "1"\n'}
    options = {"packages": ["pb"], "sources": {"pa": "packages/pa"}, "locked": {"file": "uv.lock"}}
    site = Site(files, PAGES)
    assert installed(Pip().resolve(request(options, *files), site)) == {"pb": ("1", "b")}
    assert {url.rsplit("/", 2)[1] for url in site.asked} == {"pb"}
    for value, constraints in (
        ("index", ["pb==1"]),
        ("https://h.invalid/pa-2.tar.gz", ["pb==1", "pa @ https://h.invalid/pa-2.tar.gz"]),
    ):
        pins, site = resolve(repository(), PAGES, "pb", answers=[answer(("pa", "2", "a"))], sources={"pa": value})
        assert installed(pins) == {"pb": ("1", "b"), "pa": ("2", "a")}
        assert (site.documents[0]["calls"], site.documents[0]["constraints"]) == ([["pa"]], constraints)
