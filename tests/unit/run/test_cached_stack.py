"""What of a stack changed since a cache was used last."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from envtool.run import cached_stack
from envtool.run.cached_stack import StackState


@pytest.fixture
def state(monkeypatch):
    manifests = {}
    monkeypatch.setattr(cached_stack.layers, "read_records", lambda layer: manifests[layer])

    def make(*layers, key=""):
        manifests.update({f"layer{number}": records for number, records in enumerate(layers)})
        stack = SimpleNamespace(layers=[SimpleNamespace(layer=f"layer{number}") for number in range(len(layers))])
        return StackState(stack, [[str(hash(tuple(records))), key] for records in layers])

    return make


BASE = [(b"usr/include/a.h", b"f 644 0 0 5:11"), (b"usr/include", b"d 755 0 0 -"), (b"bin", b"l 777 0 0 abc")]
LIBRARY = [(b"usr/include/b.h", b"f 644 0 0 5:22"), (b"usr/include/c.h", b"f 644 0 0 5:33")]


def test_the_same_layers_read_nothing(state, monkeypatch):
    record = state(BASE, LIBRARY).to_record()
    again = state(BASE, LIBRARY)
    monkeypatch.setattr(cached_stack.layers, "read_records", None)
    assert again.changed_paths(record) == []
    assert again.to_record() == record


def test_files_of_another_content_are_named(state):
    record = state(BASE, LIBRARY).to_record()
    newer = [(b"usr/include/b.h", b"f 644 0 0 5:99"), (b"usr/include/c.h", b"f 644 0 0 5:33"), (b"x", b"d 755 0 0 -")]
    assert state(BASE, newer).changed_paths(record) == ["/usr/include/b.h"]
    assert state(BASE).changed_paths(record) == []
    more = [*LIBRARY, (b"usr/include/d.h", b"l 777 0 0 abc")]
    assert state(BASE, more).changed_paths(record) == ["/usr/include/d.h"]
    hidden = [(b"usr/include/b.h", b"w 0 0 0 -")]
    assert state(BASE, LIBRARY, hidden).changed_paths(record) == []


def test_another_toolchain_is_not_known(state, monkeypatch):
    record = state(BASE).to_record()
    large = [(b"usr/lib/cc1", b"f 755 0 0 %d:44" % (cached_stack.MAX_CHANGED_BYTES + 1))]
    assert state(BASE, large).changed_paths(record) is None
    monkeypatch.setattr(cached_stack, "MAX_CHANGED_FILES", 1)
    assert state(BASE, LIBRARY).changed_paths(record) is None


def test_this_machines_own_system_is_not_known(state):
    record = state(BASE, key="k1").to_record()
    assert state(BASE, key="k1").changed_paths(record) == []
    assert state(BASE, LIBRARY, key="k1").changed_paths(record) is None
    assert state(BASE).changed_paths(record) is None
