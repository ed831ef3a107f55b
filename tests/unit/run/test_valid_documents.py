"""A spec that fits the schema is not checked again: until it, the schema, the words after `--` or the checking code change."""

from __future__ import annotations

import subprocess
import sys

import pytest

from envtool import api
from envtool.errors import SpecError
from envtool.plugins import PluginRegistry, discover
from envtool.project.source_files import ProjectFiles
from envtool.run import fast_exec
from envtool.run.valid_documents import MAX_KEPT, ValidDocuments
from envtool.spec import load, validate
from envtool.testing import MemoryProject

SPEC = """\
version: 1
include: [more.yaml]
envs:
  unit:
    base: {debian: "{{ matrix.suite }}"}
    language: sample
    level: "{{ matrix.suite }}"
    matrix: {suite: [bookworm, trixie]}
    layers: [{run: "echo {{ matrix.suite }}"}]
    tasks: {test: {run: "true {{ args }}", outputs: ["{{ env.name }}"]}}
"""
MORE = "version: 1\nlayers: {more: {apt: [make]}}\n"


class Sample(api.Language):
    name = "sample"
    options = {"level": {"enum": ["bookworm", "trixie"]}}

    def layers(self, env, project):
        return []


@pytest.fixture(scope="module")
def registry():
    found = discover(entry_points=())
    return PluginRegistry(bases=found.bases, layers=found.layers, languages={"sample": Sample()})


@pytest.fixture
def store(tmp_path):
    (tmp_path / "plans").mkdir()
    return str(tmp_path)


@pytest.fixture
def checks(monkeypatch):
    """The schemas that were compiled since the last look."""
    made = []
    real = validate.SchemaChecker.__init__

    def init(self, *args, **options):
        made.append(args[0])
        real(self, *args, **options)

    monkeypatch.setattr(validate.SchemaChecker, "__init__", init)

    def look():
        count = len(made)
        made.clear()
        return count

    return look


def read(registry, store, spec=SPEC, more=MORE, *, path="/project/envtool.yaml", **options):
    files = {"envtool.yaml": spec, "more.yaml": more}
    return load(MemoryProject(files), "envtool.yaml", root="/project", registry=registry, known=ValidDocuments(store, path), **options)  # fmt: skip


def test_a_spec_that_fits_is_checked_once(registry, store, checks):
    first = read(registry, store)
    assert checks() == 4  # the spec, the options of its base, of its layer and of its language
    assert read(registry, store) == first
    assert checks() == 0
    assert read(registry, "") == first  # no store
    assert checks() == 4
    assert read(registry, store, SPEC.replace("version: 1", "version: 1  # the same")) == first
    assert checks() == 0


class Other(Sample):
    options = {"level": {"enum": ["bookworm", "trixie", "sid"]}}


CHANGES = {
    "a value": lambda r: (r, {"spec": SPEC.replace("echo", "cat")}),
    "a type": lambda r: (r, {"spec": SPEC.replace("version: 1", "version: 1.0")}),
    "an included file": lambda r: (r, {"more": MORE.replace("make", "gcc")}),
    "the words after --": lambda r: (r, {"args": ("-k", "x")}),
    "a schema of a language": lambda r: (
        PluginRegistry(bases=r.bases, layers=r.layers, languages={"sample": Other()}), {},
    ),
    "one kind less": lambda r: (
        PluginRegistry(bases=r.bases, layers={k: v for k, v in r.layers.items() if k != "fetch"}, languages=r.languages), {},
    ),
    "another spec": lambda r: (r, {"path": "/other/envtool.yaml"}),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_decides_it_counts(registry, store, checks, name):
    read(registry, store)
    checks()
    changed, options = CHANGES[name](registry)
    read(changed, store, **options)
    assert checks() > 0
    read(changed, store, **options)
    assert checks() == 0
    read(registry, store)
    assert checks() == 0  # both are known now


@pytest.mark.parametrize(
    "spec",
    [
        SPEC.replace("matrix: {suite: [bookworm, trixie]}", "matrix: {suite: [bookworm, 1x]}"),
        SPEC.replace("language: sample", "langauge: sample"),
        SPEC.replace('"echo {{ matrix.suite }}"', "1"),
        SPEC.replace("tasks:", "timeout: .nan\n    tasks:"),
    ],
)
def test_a_spec_with_an_error_is_never_known(registry, store, checks, spec):
    for _ in range(2):
        with pytest.raises(SpecError):
            read(registry, store, spec)
        assert checks() > 0


def damage(path):
    path.write_bytes(path.read_bytes()[:-1] + b"?")


@pytest.mark.parametrize(
    "change",
    [damage, lambda path: path.write_bytes(b""), lambda path: path.unlink(), lambda path: (path.unlink(), path.mkdir()),
     lambda path: (path.unlink(), path.symlink_to("/dev/zero"))],
    ids=["damaged", "empty", "gone", "a directory", "a link"],
)  # fmt: skip
def test_what_cannot_be_read_is_checked_anew(registry, store, checks, change, tmp_path):
    first = read(registry, store)
    checks()
    (path,) = (tmp_path / "plans").glob("*.valid")
    change(path)
    assert read(registry, store) == first
    assert checks() == 4


@pytest.mark.parametrize("module", ["validate.py", "template.py", "jsonschema_rs"])
def test_code_that_checks_counts(registry, store, checks, monkeypatch, module):
    read(registry, store)
    checks()
    real = fast_exec.stat_signature
    monkeypatch.setattr(fast_exec, "stat_signature", lambda path: (1,) if module in path else real(path))
    read(registry, store)
    assert checks() == 4


def test_few_are_kept(store, tmp_path):
    for number in range(MAX_KEPT + 1):
        ValidDocuments(store, "/x").add(f"{number}")
    kept = ValidDocuments(store, "/x")
    assert [kept.holds(f"{number}") for number in range(MAX_KEPT + 1)] == [False] + [True] * MAX_KEPT
    assert len([*(tmp_path / "plans").iterdir()]) == 1


def test_an_unchanged_spec_imports_no_json_schema(tmp_path, monkeypatch):
    (tmp_path / "envtool.yaml").write_text("version: 1\nenvs: {unit: {base: host, tasks: {test: 'true'}}}\n")
    monkeypatch.setenv("ENVTOOL_STORE", str(tmp_path / "store"))
    code = (
        f"from envtool.cli.main import main; assert main(['-C', {str(tmp_path)!r}, 'plan']) == 0\n"
        "import sys; print('jsonschema_rs' in sys.modules)"
    )
    said = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()[-1]
        for _ in range(3)
    ]
    assert said == ["True", "True", "False"]  # the first call makes the store, once it has read the spec


def test_schemas_that_are_right_are_checked_once_and_wrong_ones_always(registry, store, monkeypatch, capsys):
    from envtool import errors, plugins
    from envtool.app import spec_schema

    monkeypatch.setenv("ENVTOOL_STORE", store)
    checked = []
    real = plugins.wrong_schema
    monkeypatch.setattr(plugins, "wrong_schema", lambda kinds: checked.append(kinds) or real(kinds))
    monkeypatch.setattr(plugins, "discover", lambda: registry)
    first = spec_schema.schema()
    assert spec_schema.schema() == first
    assert len(checked) == 1
    wrong = type("Wrong", (Sample,), {"options": {"level": {"type": "strung"}}})()
    monkeypatch.setattr(plugins.plugin_calls, "plugin_owner", lambda value: "a plugin")
    changed = PluginRegistry(bases=registry.bases, layers=registry.layers, languages={"sample": wrong})
    monkeypatch.setattr(plugins, "discover", lambda faults=(): registry if faults else changed)
    monkeypatch.setattr(errors, "_reported", set())  # else it is left to the tests after this one, which store no plan
    for _ in range(2):
        assert spec_schema.schema() == first, "the language with the wrong schema is left out"
    assert len(checked) == 5, "the wrong registry is checked each time, and the rest of it"
    assert capsys.readouterr().err.count("warning: a plugin offers a language `sample` with a wrong schema") == 1


LOCK = """\
{
 "version": 1,
 "entries": []
}
"""


def test_a_lock_that_fits_is_checked_once(registry, store, tmp_path, monkeypatch):
    from envtool.lock import file, text_format

    checked = []
    real = text_format._check_schema
    monkeypatch.setattr(text_format, "_check_schema", lambda *words: checked.append(1) or real(*words))
    root = tmp_path / "project"
    root.mkdir()

    def read_lock(text, kinds=registry):
        (root / "envtool.lock").write_text(text)
        known = ValidDocuments(store, str(root / "envtool.lock"))
        return file.read_lock(ProjectFiles(str(root)), "envtool.yaml", kinds, known)

    first = read_lock(LOCK)
    assert read_lock(LOCK) == first
    assert len(checked) == 1
    read_lock(LOCK + "\n")
    assert len(checked) == 2
    fewer = PluginRegistry(bases=registry.bases, layers={}, languages={})
    read_lock(LOCK, fewer)
    assert len(checked) == 3
    for _ in range(2):
        with pytest.raises(SpecError):
            read_lock(LOCK.replace("entries", "entrys"))
    assert len(checked) == 5


@pytest.mark.parametrize(
    ("change", "known", "found"),
    [
        (lambda answer: None, True, True),
        (lambda answer: answer.pop("fits"), False, True),
        (lambda answer: answer.update(fits=""), False, True),
        (lambda answer: answer.update(fits=1), False, True),
        (lambda answer: answer["pins"].update(system="another"), False, True),
        (lambda answer: answer["pins"].update(system=1), False, False),
        (lambda answer: (answer["pins"].update(system=float("nan")), answer.update(fits="")), False, False),
    ],
)
def test_stored_pins_that_fit_are_not_checked_again(monkeypatch, change, known, found):
    from envtool.api import pin_schemas
    from envtool.store import answer_cache

    schema = {"type": "object", "properties": {"system": {"type": "string"}}}
    written = {}
    monkeypatch.setattr(answer_cache, "_find", lambda store, question: ("file", written.get("answer")))
    monkeypatch.setattr(answer_cache, "put", lambda store, question, answer: written.update(answer=answer) or "file")
    assert answer_cache.get_pins(None, {}, schema) is None
    answer_cache.put_pins(None, {}, {"system": "one"}, schema, seen={})
    change(written["answer"])
    checked = []
    real = pin_schemas.fault
    monkeypatch.setattr(pin_schemas, "fault", lambda *words: checked.append(words) or real(*words))
    assert answer_cache.get_pins(None, {}, schema) == ((written["answer"]["pins"], "file") if found else None)
    assert bool(checked) != known
    assert answer_cache.get_pins(None, {}, {"type": "array"}) is None
