"""The layer kind `cc`, by the kit."""

from __future__ import annotations

import pytest
from envtool_cc.kinds import Cc

from envtool import api, testing


def variables(options):
    kind = Cc()
    kind.judge(options)
    return kind.variables(testing.request(options), None)


def test_it_keeps_the_contract():
    options = {"compiler": "clang", "sanitize": ["address", "undefined"], "ccache": True}
    wrong = [
        {},
        {"compiler": "tcc"},
        {"sanitize": "memory"},
        {"sanitize": []},
        {"ccache": "yes"},
        {"more": 1},
        "gcc",
        None,
    ]
    testing.check_kind(Cc(), options, wrong=wrong)
    assert Cc().summary(testing.request(options), None) == "clang, address and undefined sanitizers, ccache"


def test_a_layer_of_variables_has_no_file(tmp_path):
    assert testing.build_layer(Cc(), {"ccache": True}, testing.FakeRunner(), tmp_path) == {}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"compiler": "clang"}, {"CC": "clang", "CXX": "clang++"}),
        ({"ccache": True}, {"CC": "ccache gcc", "CXX": "ccache g++"}),
        ({"ccache": False}, {}),
        ({"sanitize": "none"}, {}),
        ({"compiler": "clang", "ccache": True, "sanitize": "none"}, {"CC": "ccache clang", "CXX": "ccache clang++"}),
    ],
)
def test_variables(options, expected):
    assert variables(options) == expected


def test_sanitizers_are_in_all_flags_and_end_a_program_at_the_first_finding():
    found = variables({"sanitize": ["undefined", "address"]})
    for name in ("CFLAGS", "CXXFLAGS", "LDFLAGS"):
        assert "-fsanitize=address,undefined" in found[name]
    assert "-fno-sanitize-recover=all" in found["CFLAGS"]
    assert found["ASAN_OPTIONS"].startswith("halt_on_error=1")
    assert found["UBSAN_OPTIONS"].startswith("halt_on_error=1")
    assert "TSAN_OPTIONS" not in found


@pytest.mark.parametrize("names", [["address", "thread"], ["leak", "thread"], ["address", "thread", "undefined"]])
def test_sanitizers_that_exclude_each_other_are_refused(names):
    with pytest.raises(api.ResolveError) as caught:
        Cc().judge({"sanitize": names})
    assert "not take these together" in caught.value.message
    assert "matrix" in caught.value.hint
