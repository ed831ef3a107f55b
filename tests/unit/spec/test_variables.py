"""`set:` and `path:`, of layers and envs."""

from __future__ import annotations

import pytest

from envtool.errors import SpecError


def layer(read, text, files=None):
    spec = read(f"version: 1\nlayers:\n  l: {{run: x, {text}}}\nenvs: {{e: {{layers: [l]}}}}", files=files)
    return spec.envs[0].layers[0].set


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("set: {A: null, B: 1}", {"A": None, "B": "1"}),
        ("set: {A: }", {"A": None}),
        ("path: [/opt/x/bin]", {"PATH": "/opt/x/bin"}),
        ("path: /opt/x/bin", {"PATH": "/opt/x/bin"}),
        ("path: [/b, /a:/c], set: {PATH: /d}", {"PATH": "/b:/a:/c:/d"}),
        ("path: [tools/bin, ., a/../b]", {"PATH": "/project/tools/bin:/project:/project/b"}),
        ("path: []", {}),
    ],
)
def test_variables_of_a_layer(read, text, expected):
    assert layer(read, text) == expected
    assert read(f"version: 1\nenvs: {{e: {{{text}}}}}").envs[0].set == expected


def test_paths_are_relative_to_their_file_and_templates_are_rendered(read):
    files = {
        "sub/more.yaml": "version: 1\nlayers: {l: {run: x, path: [bin]}}\nenvs: {f: {layers: [l], path: [../own]}}"
    }
    spec = read(
        "version: 1\ninclude: [sub/more.yaml]\nenvs:\n  e: {matrix: {v: ['1']}, layers: [l], path: ['/opt/{{ matrix.v }}/bin']}",
        files=files,
    )
    by_name = {env.group: env for env in spec.envs}
    assert by_name["e"].set == {"PATH": "/opt/1/bin"}
    assert by_name["f"].set == {"PATH": "/project/own"}
    assert by_name["e"].layers[0].set == {"PATH": "/project/sub/bin"}


def test_an_env_takes_away_what_it_inherits(read):
    spec = read(
        "version: 1\ndefaults: {set: {A: a, B: b}, path: [/d]}\nenvs: {e: {set: {A: null}}, f: {extends: e, set: {A: x}}}"
    )
    assert [env.set for env in spec.envs] == [{"A": None, "B": "b", "PATH": "/d"}, {"A": "x", "B": "b", "PATH": "/d"}]


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("set: {PATH: null}", "value", "PATH cannot be taken away"),
        ("path: [../x]", "path", "leaves the project"),
        ("path: ['~/bin']", "path", "`~` is another directory"),
        ("path: ['']", "", ""),
        ("path: ['/a::/b']", "path", "empty"),
        ("path: 3", "", ""),
        ("path: {a: b}", "", ""),
        ("set: {A: 1.5}", "", ""),
        ("set: {A: [x]}", "", ""),
    ],
)
def test_what_is_no_variable(read, text, code, said):
    for where in (f"layers: {{l: {{run: x, {text}}}}}\nenvs: {{e: {{layers: [l]}}}}", f"envs: {{e: {{{text}}}}}"):
        with pytest.raises(SpecError) as error:
            read(f"version: 1\n{where}")
        assert any(code in problem.code and said in problem.message for problem in error.value.problems)
