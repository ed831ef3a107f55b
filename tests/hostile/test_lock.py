"""Locks that somebody edited: whatever stands in one, it is the lock's error with its line, or it is sound."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envtool.build import resolution
from envtool.build.context import Cancel, Context
from envtool.errors import SpecError
from envtool.lock import file, text_format
from envtool.lock.diff import diff_locks
from envtool.lock.lock import Lock, LockEntry, lock_of, pinned_items, without_upgraded
from envtool.plan.graph import build_graph
from envtool.plugins import discover
from envtool.project.source_files import ProjectFiles
from envtool.spec import load
from envtool.store.store import Store
from tests.depth import examples

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
from pins import PINS, sha

pytestmark = pytest.mark.any_caller

SPEC = f"""\
version: 1
bases:
  d: {{debian: bookworm}}
  i: {{image: alpine:3.20}}
  k: {{dockerfile: Dockerfile}}
  t: {{tarball: {{url: 'https://files.invalid/root.tar.xz', sha256: '{sha("root")}'}}}}
layers:
  a: {{apt: [hello]}}
  p: {{pip: [attrs]}}
  o: {{python-project: {{}}, needs: [p]}}
  s: {{sdist: {{name: attrs, version: '25', sha256: '{sha("attrs")}', to: /src}}}}
  n: {{npm: {{}}}}
envs:
  d: {{base: d, layers: [a, p, o, s, n], tasks: {{test: 'true'}}}}
  i: {{base: i, tasks: {{test: 'true'}}}}
  k: {{base: k, tasks: {{test: 'true'}}}}
  t: {{base: t, tasks: {{test: 'true'}}}}
"""


def image(request):
    digest = f"sha256:{sha('digest')}"
    layer = {
        "digest": digest,
        "size": 1,
        "media_type": "application/vnd.oci.image.layer.v1.tar+gzip",
        "diff_id": digest,
    }
    return {
        "image": {"name": "alpine:3.20", "version": "abc"},
        "digests": {"index": "", "manifest": digest, "config": digest},
        "platform": "linux/amd64",
        "created": "2025-01-01T00:00:00Z",
        "run": {"Env": ["PATH=/bin"], "Cmd": ["sh"], "Labels": [["a", "b"]]},
        "layers": [layer, {**layer, "diff_id": f"sha256:{sha('other')}"}],
    }


MORE = {
    "image": image,
    "dockerfile": lambda request: {"images": {"alpine:3.20": image(request)}, "urls": []},
    "tarball": lambda request: {"url": "https://files.invalid/root.tar.xz", "sha256": sha("root")},
}


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """Every kind that pins, with its request and right pins: (node, request, entry)."""
    root = tmp_path_factory.mktemp("lock")
    (root / "envtool.yaml").write_text(SPEC)
    (root / "Dockerfile").write_text("FROM alpine:3.20\nRUN true\n")
    (root / "pyproject.toml").write_text("[project]\nname = 'x'\nversion = '1'\n")
    (root / "package.json").write_text("{}")
    (root / "package-lock.json").write_text('{"lockfileVersion": 3, "packages": {}}')
    kinds = discover()
    files = ProjectFiles(str(root))
    spec = load(files, "envtool.yaml", root=str(root), registry=kinds, args=())
    nodes = build_graph(spec, kinds)
    setting = Context(
        store=Store(root=str(root / "store")),
        root=str(root),
        arch="x86_64",
        emit=lambda event: None,
        cancel=Cancel.make(),
    )
    made, found = {}, []
    for node in nodes.nodes.values():
        below = [made[each] for each in node.below]
        request = resolution.request_from_resolved(node, below, (), setting)
        pins = (PINS | MORE)[node.kind.name](request)
        made[node.id] = resolution.apply_pins(node, request, pins)
        found.append((node, request, LockEntry(question=resolution.question_for_lock(node, request, below), pins=pins)))
    return root, kinds, setting, found


ODD = st.sampled_from(
    [None, True, -1, 0, 10**18, 1.5, "", ".", "..", "../../x", "/etc/passwd", "a/b", "a\0b", "a\nb", "x" * 9000, [], {},
     [[]], {"a": {}}, "file:///etc/shadow", "https://h/" + "a" * 9, "sha256:" + "0" * 64, "0" * 64, {"name": 1, "version": 2}]
).map(copy.deepcopy)  # fmt: skip


def mutated(pins, data):
    """Pins with one to three of their values replaced, gone, doubled, or one level deeper."""
    pins = copy.deepcopy(pins)
    for _ in range(data.draw(st.integers(1, 3))):
        places = [(None, None)]
        pending = [pins]
        while pending:
            value = pending.pop()
            keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
            places += [(value, key) for key in keys]
            pending += [value[key] for key in keys]
        parent, key = data.draw(st.sampled_from(places))
        if parent is None:
            pins = data.draw(ODD) if data.draw(st.booleans()) else pins
            continue
        how = data.draw(st.sampled_from(["odd", "odd", "odd", "gone", "deeper", "more"]))
        if how == "odd":
            parent[key] = data.draw(ODD)
        elif how == "gone":
            del parent[key]
        elif how == "deeper":
            parent[key] = [parent[key]]
        elif isinstance(parent, dict):
            parent[data.draw(st.sampled_from(["x", "url", "path", "list", "build", ""]))] = data.draw(ODD)
        else:
            parent.append(data.draw(ODD))
    return pins


def opened(ground, which: int, pins) -> None:
    """The way of a lock into a verb. Raises SpecError."""
    root, kinds, setting, found = ground
    node, request, entry = found[which]
    setting = Context(
        store=Store(root=str(root / "store")), root=str(root), arch="x86_64", emit=setting.emit, cancel=setting.cancel
    )
    others = [each for _, _, each in found if each is not entry]
    new = LockEntry(question=entry.question, pins=pins)
    (root / "envtool.lock").write_text(text_format.dumps(lock_of([*others, new])))
    lock = file.read_lock(ProjectFiles(str(root)), "envtool.yaml", kinds)
    object.__setattr__(setting, "lock", lock)
    diff_locks(lock, Lock(entries=(entry,)))
    without_upgraded(lock, ["attrs"])
    answer = resolution.find_locked_answer(node, request, entry.question, setting)
    assert answer is not None
    pinned_items(answer.pins)
    for fetch in resolution.apply_pins(node, request, answer.pins).fetches:
        assert "/" not in fetch.name
        assert fetch.name not in ("", ".", "..")


def test_right_pins_are_right(ground):
    for which, (_, _, entry) in enumerate(ground[3]):
        opened(ground, which, entry.pins)


@settings(
    max_examples=examples(60, 5000),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_pins_of_any_shape_are_the_locks_error_or_sound(ground, data):
    which = data.draw(st.integers(0, len(ground[3]) - 1))
    entry = ground[3][which][2]
    pins = mutated(entry.pins, data)
    try:
        opened(ground, which, pins)
    except SpecError as error:
        (problem, *_) = error.problems
        assert problem.code in ("lock-pins", "lock-schema", "lock-json")
        if problem.code == "lock-pins":
            line = (ground[0] / "envtool.lock").read_text().splitlines()[problem.where.line - 1]
            assert f'"{entry.question.name}"' in line
            assert f"`{entry.question.name}`" in problem.message


@settings(
    max_examples=examples(100, 10_000),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_text_of_any_kind_is_a_lock_or_its_error(ground, data):
    right = text_format.dumps(lock_of(entry for _, _, entry in ground[3]))
    at = data.draw(st.integers(0, len(right)))
    end = data.draw(st.integers(at, min(len(right), at + 200)))
    junk = st.text(max_size=20) | st.sampled_from(
        [
            "9" * 5000,
            "1e999",
            "NaN",
            "-Infinity",
            '"\\ud800"',
            "[" * 5000,
            '{"a":' * 3000,
            "\0",
            "<<<<<<< ours\n",
            "-" + "9" * 20,
        ]
    )
    written = right[:at] + data.draw(junk) + right[end:]
    problem = None
    try:
        text_format.loads(written)
    except SpecError as error:
        problem = error.problems[0]
    assert problem is None or problem.code in ("lock-json", "lock-schema", "lock-version")
    assert problem is None or 1 <= problem.where.line <= written.count("\n") + 1


@pytest.mark.parametrize(
    ("written", "line", "says"),
    [
        ('{"version": 1,\n"entries": [],\n"x": ' + "9" * 5000 + "}", 3, "not a number that a lock can hold"),
        ('{"version": ' + "9" * 30 + "}", 1, "not a number that a lock can hold"),
        ('{"version": 1,\n"entries": NaN}', 2, "not a number that a lock can hold"),
        ('{"version": 1,\n"entries": [1e999]}', 2, "not a number that a lock can hold"),
        (
            '{"version": 1,\n"entries": [{"layer": "\\ud800", "kind": "a", "platform": "b", "asked": 1}]}',
            2,
            "incomplete character",
        ),
        ('{"version": 1, "entries": ' + "[" * 200 + "]" * 200 + "}", 1, "nested too deep"),
    ],
)
def test_what_no_json_reader_agrees_on(written, line, says):
    with pytest.raises(SpecError) as caught:
        text_format.loads(written)
    (problem,) = caught.value.problems
    assert (problem.code, problem.where.line) == ("lock-json", line)
    assert says in problem.message


def test_names_that_lead_out(ground):
    for kind, change in [
        ("debian", lambda pins: pins["debs"][0].update(name="../../x")),
        ("apt", lambda pins: pins["debs"][0].update(list=7)),
        ("pip", lambda pins: pins["files"][0].update(file="../x.whl")),
        ("python-project", lambda pins: pins["files"][1].update(build=["nobody.whl"])),
        ("pip", lambda pins: pins.update(pip="other.whl")),
        ("sdist", lambda pins: pins.update(file="/etc/passwd")),
        ("npm", lambda pins: pins["trees"].append("../../..")),
        ("image", lambda pins: pins["layers"][0].update(extra=1)),
        ("dockerfile", lambda pins: pins.update(images={})),
        ("tarball", lambda pins: pins.pop("sha256")),
    ]:
        which = next(at for at, (node, _, _) in enumerate(ground[3]) if node.kind.name == kind)
        pins = copy.deepcopy(ground[3][which][2].pins)
        change(pins)
        with pytest.raises(SpecError) as caught:
            opened(ground, which, pins)
        assert caught.value.problems[0].code == "lock-pins", kind
        assert json.dumps(caught.value.problems[0].message)
