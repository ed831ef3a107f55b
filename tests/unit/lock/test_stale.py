"""A lock that no longer fits says what of the spec is otherwise."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from envtool.build.locking import _unanswered
from envtool.lock.lock import Lock, LockEntry, LockQuestion
from envtool.model import Where

ASKED = {"options": {"packages": ["attrs"], "index": "https://h/simple"}, "files": [["req.txt", "a" * 64]]}


def question(asked, name="deps", kind="pip", platform="linux/amd64"):
    return LockQuestion(subject="layer", name=name, kind=kind, platform=platform, asked=asked)


def told(*locked, asked=ASKED, kind="pip", tmp="/nonexistent"):
    lock = Lock(entries=tuple(LockEntry(question=each, pins={}, files=()) for each in locked))
    spec = SimpleNamespace(name="deps", where=Where(file="envtool.yaml", line=4, column=3))
    node = SimpleNamespace(subject="layer", spec=spec)
    return _unanswered(
        node, question(asked, kind=kind), lock, SimpleNamespace(root=tmp), "envtool.lock"
    ).problem.message


def changed(**options):
    return {**ASKED, "options": {**ASKED["options"], **options}}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (changed(packages=["attrs", "iniconfig"]), "new iniconfig"),
        (changed(packages=[]), "gone attrs"),
        (changed(index="https://other/simple"), "changed https://h/simple → https://other/simple"),
        ({**ASKED, "files": [["req.txt", "b" * 64]]}, "req.txt"),
        ({**ASKED, "files": [*ASKED["files"], ["more.txt", "c" * 64]]}, "more.txt new"),
        (changed(python="python3.12"), "python new python3.12"),
        (changed(packages=["attrs", *(f"p{n}" for n in range(9))]), "and 4 more"),
        (changed(index="https://h/" + "x" * 300), "…"),
    ],
)
def test_what_changed_is_named(asked, said):
    message = told(question(ASKED), asked=asked)
    assert message.startswith("envtool.lock no longer fits layer `deps`: ")
    assert said in message, message
    assert "something else" not in message
    assert len(message) < 400


def test_the_nearest_of_several_is_told_of():
    far = question(changed(packages=["x", "y", "z"], index="https://z"))
    assert "new iniconfig" in told(far, question(ASKED), asked=changed(packages=["attrs", "iniconfig"]))
    assert "knows nothing of layer `deps`" in told(question(ASKED, name="other"))
    assert "as kind `apt`, not `pip`" in told(question(ASKED, kind="apt"))
    assert "for linux/arm64, not for linux/amd64" in told(question(ASKED, platform="linux/arm64"))
