from __future__ import annotations

import pytest

from envtool.errors import Problem, SpecError
from envtool.model import Where
from envtool.report.source_excerpt import explain

ENV = "version: 1\nlayers: {python: {apt: [p]}, deps: {pip: [d]}}\nenvs:\n  unit: "

CASES = [
    # text, line:column, code, part of the message and hint
    ("envs: {}", "1:1", "missing", "needs `version`"),
    ("version: 2", "1:10", "version", "reads version 1, not the number 2"),
    ("version: 1\nlayrs: {}", "2:1", "unknown-key", "did you mean `layers`?"),
    ("version: 1\nservices: {db: {comand: x}}", "2:17", "unknown-key", "did you mean `command`?"),
    ("version: 1\nversion: 1", "2:1", "duplicate", "the first is in line 1"),
    ("version: 1\nbases: {b: {debain: x}}", "2:13", "unknown-key", "did you mean `debian`?"),
    ("version: 1\nbases: {b: {debian: 3.10}}", "2:21", "type", 'write it in quotes: "3.10"'),
    ("version: 1\nbases: {b: {debian: {siute: x, suite: y}}}", "2:22", "unknown-key", "did you mean `suite`?"),
    ("version: 1\nbases: {b: {}}", "2:12", "empty", "one kind"),
    ("version: 1\nbases: {b: {debian: x, host: {}}}", "2:12", "kinds", "`debian` and `host`"),
    ("version: 1\nbases: {host: {debian: x}}", "2:9", "name", "built in"),
    ("version: 1\nlayers: {p: {apt: python3}}", "2:19", "type", 'list of strings, got "python3" -- write it as a list'),
    ("version: 1\nlayers: {p: {apt: [x], pip: [y]}}", "2:24", "kinds", "2 kinds"),
    ("version: 1\nlayers: {p: {needs: []}}", "2:10", "kinds", "no kind"),
    ("version: 1\nlayers: {p: {apt: [x], inputs: [y]}}", "2:24", "unknown-key", "a layer of kind `apt`"),
    ("version: 1\nlayers: {p: {run: x, network: 3}}", "2:31", "type", "expected true or false, got the number 3"),
    ("version: 1\nlayers: {p: {run: x, inputs: [../y]}}", "2:31", "path", "`../y` leaves the project"),
    ("version: 1\nlayers: {p: {run: x, inputs: [/y]}}", "2:31", "path", "absolute"),
    ("version: 1\nlayers: {a: {apt: [x], needs: [b]}, b: {apt: [x], needs: [a]}}", "2:59", "cycle", "a → b → a"),
    ("version: 1\nlayers: {ab: {apt: [x], needs: [ac]}}", "2:33", "unknown-layer", "unknown layer `ac`"),
    ("version: 1\nenvs: {-a: {}}", "2:8", "name", "`-a` cannot be a name"),
    (ENV + "{base: dbian}", "4:16", "unknown-base", "known: `host`"),
    (ENV + "{layers: [pyton]}", "4:19", "unknown-layer", "did you mean `python`? (envtool.yaml:2)"),
    (ENV + "{layers: [python, python]}", "4:27", "duplicate", "twice"),
    (ENV + "{layers: {python: x}}", "4:18", "type", "expected a list"),
    (ENV + "{layers: [{apt: 3}]}", "4:25", "type", "`layers[1].apt` of env `unit`: expected a list of strings"),
    (ENV + "{extends: unti}", "4:19", "unknown-env", "there is no other env to extend"),
    (ENV + "{}\n  lint: {extends: unti}", "5:19", "unknown-env", "did you mean `unit`? (envtool.yaml:4)"),
    (ENV + "{extends: b}\n  b: {extends: unit}", "5:16", "cycle", "env `unit` extends itself: unit → b → unit"),
    (ENV + "{set: {A-B: x}}", "4:16", "name", "`A-B` cannot be a name in `set` of env `unit`"),
    (ENV + "{set: {A: true}}", "4:19", "type", 'write it in quotes: "true"'),
    (ENV + "{set: {A: on}}", "4:19", "yaml-surprise", 'write true, or "on" in quotes'),
    (ENV + "{matrix: {a: [3.10]}}", "4:23", "type", 'write it in quotes: "3.10"'),
    (ENV + "{matrix: {a: [x, x]}}", "4:18", "duplicate", "unit[x]"),
    (ENV + "{matrix: {a: [x], exclude: [{a: x}]}}", "4:18", "empty", "no points"),
    (ENV + "{matrix: {a: [x], exclude: [{b: x}]}}", "4:38", "unknown-axis", "`b`"),
    (ENV + "{timeout: 3 parsecs, tasks: {t: x}}", "4:19", "duration", "30s, 5m"),
    (ENV + "{scratch: ram}", "4:19", "value", "`disk`, `memory`"),
    (ENV + "{workdir: ../..}", "4:19", "path", "leaves the project"),
    (ENV + "{requirements: [x]}", "4:10", "unknown-key", "belongs to language `python`"),
    (ENV + "{language: pyhton}", "4:20", "value", "did you mean `python`?"),
    (ENV + '{tasks: {t: ""}}', "4:21", "empty", "task `t` of env `unit`"),
    (ENV + '{tasks: {t: "  "}}', "4:21", "empty", "task `t`"),
    (ENV + "{tasks: {t: {runn: x}}}", "4:22", "unknown-key", "task `t` of env `unit` -- did you mean `run`?"),
    (ENV + "{tasks: {t: {run: x, outputs: [/x]}}}", "4:40", "path", "absolute"),
    (ENV + '{tasks: {t: "{{ arg }}"}}', "4:21", "undefined", "did you mean `args`?"),
    (ENV + '{tasks: {t: "{{ matrix.siute }}"}, matrix: {suite: [x]}}', "4:21", "undefined", "did you mean `matrix.suite`?"),
    (ENV + '{base: {debian: "{{ matrix.s }}"}, matrix: {s: [B0]}}', "4:25", "value", "does not have the form"),
    (ENV + "{tasks: {t: {run: x, retries: 1e400}}}", "4:39", "type", "the number 1e400 -- it is larger than any number"),
    (ENV + '{set: {A: "{{ args }}"}}', "4:19", "undefined", "tasks only"),
    (ENV + '{tasks: {t: "{{ 1 +"}}', "4:21", "template", "template:"),
    ("version: 1\ninclude: [../x.yaml]", "2:11", "path", "leaves the project"),
    ("version: 1\ninclude: [x.yaml]", "2:11", "no-file", "there is no file x.yaml"),
    ("version: 1\ninclude: [envtool.yaml]", "2:11", "duplicate", "included twice"),
    ("- a", "1:1", "type", "the spec: expected a mapping, got a list"),
    ("", "1:1", "empty", "the file is empty"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "place", "code", "said"), CASES, ids=[f"{c[2]}-{n}" for n, c in enumerate(CASES)])
def test_each_problem_has_its_place_and_words(wrong, text, place, code, said):
    found = wrong(text)
    assert len(found) == 1, found
    assert found[0][:2] == (place, code), found
    assert said in found[0][2]


def test_needs_must_stand_below(wrong):
    text = "version: 1\nlayers: {a: {apt: [x]}, b: {apt: [y], needs: [a]}}\nenvs: {e: {layers: [b%s]}}"
    assert "put `a` before `b`" in wrong(text % ", a")[0][2]
    assert "which is not in env `e` -- add `a` before `b`" in wrong(text % "")[0][2]
    assert wrong(text % "")[0][0] == "3:21"
    assert not wrong(text.replace("[b%s]", "[a, b]"))


def test_all_at_once_in_the_order_of_the_file(wrong):
    text = "version: 1\nlayrs: {}\nenvs:\n  a: {layers: [x], tasks: {t: '{{ no }}'}, workdir: /}\n"
    text += "  b: {base: y, sett: {}}\n"
    found = wrong(text)
    assert [place for place, _, _ in found] == ["2:1", "4:16", "4:31", "4:53", "5:13", "5:16"]


def test_many_problems_are_counted(read):
    text = "version: 1\nenvs:\n" + "".join(f"  e{n}: {{nonsense: 1}}\n" for n in range(500))
    with pytest.raises(SpecError) as error:
        read(text)
    assert len(error.value.problems) == 101
    assert error.value.problems[-1].message == "and 400 more errors from here on, not shown"


def test_explain_looks_as_designed():
    problem = Problem(
        where=Where(file="envtool.yaml", line=14, column=14),
        message="unknown layer `pyton`",
        code="unknown-layer",
        hint="did you mean `python`? (envtool.yaml:6)",
        text="    layers: [pyton, deps]",
        width=5,
    )
    assert explain(problem) == (
        "envtool.yaml:14:14: error: unknown layer `pyton`\n"
        " 14 │     layers: [pyton, deps]\n"
        "    │              ^^^^^ did you mean `python`? (envtool.yaml:6)"
    )


def test_explain_is_safe_and_aligned():
    text = "\ta: 日本 \x1b[31mred" + "x" * 500
    shown = explain(Problem(where=Where(file="f", line=1, column=8), message="m\x1b", code="c", text=text, width=1))
    assert "\x1b" not in shown
    assert "\t" not in shown
    assert max(map(len, shown.splitlines())) < 130
    line, carets = shown.splitlines()[1:]
    assert len(line[: line.index("·")]) + 2 == carets.index("^"), "two characters take two columns each"


def test_what_a_language_finds_wrong_is_told_beside_the_rest(wrong):
    text = "version: 1\nenvs: {a: {language: python, base: x}, b: {language: python, layers: [y]}}"
    found = wrong(text, files={"bad": ""})
    assert [(place, code) for place, code, _ in found] == [
        ("2:36", "unknown-base"),
        ("2:71", "unknown-layer"),
        ("3:1", "toml"),
    ]


def test_a_language_of_an_included_file_sees_its_directory(read):
    files = {"pkg/x.yaml": "version: 1\nenvs: {a: {language: python}}", "pkg/bad": ""}
    with pytest.raises(SpecError) as error:
        read("version: 1\ninclude: [pkg/x.yaml]", files=files)
    assert error.value.problems[0].code == "toml"


def test_names_are_shared_between_files(read):
    files = {"pkg/x.yaml": "version: 1\nlayers: {a: {apt: [x]}}\nenvs: {e: {}}"}
    with pytest.raises(SpecError) as error:
        read("version: 1\ninclude: [pkg/x.yaml]\nlayers: {a: {apt: [x]}}\nenvs: {e: {}}", files=files)
    assert [(str(p.where), p.message) for p in error.value.problems] == [
        ("pkg/x.yaml:2:10", "layer `a` is declared twice"),
        ("pkg/x.yaml:3:8", "env `e` is declared twice"),
    ]


def test_a_path_may_not_leave_through_an_included_file(wrong):
    files = {"pkg/x.yaml": "version: 1\nlayers: {a: {run: x, inputs: [../../y]}, b: {run: x, inputs: [../y]}}"}
    assert [code for _, code, _ in wrong("version: 1\ninclude: [pkg/x.yaml]", files=files)] == ["path"]
