"""What a text has to look like is said in words: whatever is wrong, no message shows a regular expression."""

from __future__ import annotations

import re
from typing import Any

import pytest

from envtool import plugins
from envtool.api import pin_schemas
from envtool.app import permissions
from envtool.kinds.copy import parse_mode
from envtool.lock import text_format as lock
from envtool.spec.node import Problems, make_source, parse
from envtool.spec.schema import schema
from envtool.spec.validate import SchemaChecker

KINDS = plugins.discover()
SCHEMAS: dict[str, Any] = {
    "the spec": schema(KINDS),
    "config.yaml": permissions.SCHEMA,
    "the lock": lock.SCHEMA,
    **{f"pins of {name}": kind.pins for name, kind in sorted({**KINDS.bases, **KINDS.layers}.items())},
}
CODES = re.compile(r"[\^$]|\\\\?[dwsx.]|\[\^?[a-zA-Z0-9]-|\(\?|\)\?|\]\*|\]\+")


def forms(sub: Any, path: tuple[Any, ...] = ()):
    """(path, schema) of everything that says what a text has to look like."""
    if isinstance(sub, dict):
        if isinstance(sub.get("pattern"), str) or isinstance(sub.get("not"), dict):
            yield path, sub
        for key, inner in sub.items():
            if key != "not":
                yield from forms(inner, (*path, key))
    elif isinstance(sub, list):
        for number, inner in enumerate(sub):
            yield from forms(inner, (*path, number))


EVERY = [(name, path, sub) for name, document in SCHEMAS.items() for path, sub in forms(document)]
WRONG = ("", " ", "\x1b", "../../x", "/../x", "Ä", "a b\nc", "^$", "x" * 70, "-", "0x", ":", "~")


@pytest.mark.parametrize(("name", "path", "sub"), EVERY, ids=[f"{n}-{'.'.join(map(str, p))}" for n, p, _ in EVERY])
def test_every_form_has_words_of_its_own(name, path, sub):
    says = sub.get("errorMessage", "")
    assert says, f"{name}: {path} needs an `errorMessage`: what is wanted, in words, with an example"
    assert not CODES.search(says)
    assert not says.endswith(".")
    wrong = [value for value in WRONG if pin_schemas.fault(value, sub)]
    assert wrong, "try another text"
    for value in wrong:
        assert not CODES.search(pin_schemas.fault(value, sub).replace(repr(value), "")), pin_schemas.fault(value, sub)


SPECS = {
    "pass": ("envs: {e: {pass: ['A-B']}}", 'got "A-B"'),
    "pass, by a list": ("envs: {e: {pass: [OK, '$HOME']}}", "as in NPM_TOKEN or CI_*"),
    "a hash": ("layers: {f: {fetch: {url: 'https://h.invalid/x', sha256: abc, to: /x}}}", "64 hex digits"),
    "a url": ("layers: {f: {fetch: {url: h.invalid/x, sha256: abc, to: /x}}}", "https://example.org/"),
    "a target": ("layers: {c: {copy: {from: a, to: etc/x}}}", "an absolute path without `..`"),
    "a target with dots": ("layers: {c: {copy: {from: a, to: /etc/../x}}}", "an absolute path without `..`"),
    "a mode": ("layers: {c: {copy: {from: a, to: /x, mode: 'u+x'}}}", "octal digits, as in 0755"),
    "a suite": ("bases: {b: {debian: Bookworm}}", "as in bookworm, trixie or noble"),
    "a mirror": ("bases: {b: {debian: {suite: sid, mirror: h.invalid}}}", "the URL of an archive"),
    "a package": ("layers: {a: {apt: [GCC]}}", "the name of a package in small letters"),
    "a Dockerfile": ("bases: {b: {dockerfile: /Dockerfile}}", "a path inside the project"),
    "a platform": ("bases: {b: {image: {name: x, platform: linux amd64}}}", "as in linux/386"),
    "a venv": ("layers: {p: {pip: {packages: [x], path: venv}}}", "as in /opt/venv"),
    "an index": ("layers: {p: {pip: {packages: [x], index: 'file:///x'}}}", "as in https://example.org/simple"),
    "a variable": ("envs: {e: {set: {1A: x}}}", "no digit first"),
    "an axis": ("envs: {e: {matrix: {1a: [x]}}}", "a letter first"),
    "a name": ("layers: {'a b': {apt: [x]}}", "at most 64"),
    "a size": ("layers: {f: {fetch: {url: 'https://h.invalid/x', sha256: abc, to: /x, limit: much}}}", "20GiB"),
}


def told(document: Any, text: str, **options: Any) -> list[str]:
    problems = Problems()
    node = parse(text, make_source(text, "config.yaml"), problems)
    assert node is not None
    from envtool.spec.node import to_plain

    SchemaChecker(document, **options).check(to_plain(node), node, problems)
    return [f"{problem.message} -- {problem.hint}" for problem in problems.noted.values()]


@pytest.mark.parametrize("case", SPECS)
def test_what_a_spec_is_told(case):
    text, said = SPECS[case]
    found = told(SCHEMAS["the spec"], f"version: 1\n{text}\n")
    assert any(said in one for one in found), found
    assert not [one for one in found if CODES.search(one.replace('"$HOME"', ""))]


@pytest.mark.parametrize("kind", ["copy: {from: a, to: /x", "fetch: {url: 'https://h.invalid/x', sha256: abc, to: /x"])
@pytest.mark.parametrize(
    ("written", "said"),
    [
        *((good, "") for good in ("'0755'", '"755"', "'0o755'", "'04755'", "'1777'", "'000'")),
        *(
            (bare, f'write it in quotes: "{bare}"')
            for bare in ("0755", "0o755", "01777", "755", "644", "493", "0", "755.0")
        ),
        ("'0888'", "three or four octal digits"),
        ("'7'", "three or four octal digits"),
        ("'u+x'", "three or four octal digits"),
        ("0x1ed", "three or four octal digits"),
        ("-755", "write it in quotes"),
        ("true", "expected a string"),
        ("[0755]", "expected a string"),
    ],
)
def test_a_mode_is_octal_digits_or_refused(kind, written, said):
    found = [one for one in told(SCHEMAS["the spec"], f"version: 1\nlayers: {{l: {{{kind}, mode: {written}}}}}}}\n")
             if "sha256" not in one]  # fmt: skip
    assert any(said in one for one in found) if said else not found, found
    assert "plain decimal" not in " ".join(found)


@pytest.mark.parametrize(
    ("text", "bits"), [("0755", 0o755), ("755", 0o755), ("0o755", 0o755), ("04755", 0o4755), ("000", 0)]
)
def test_a_mode_is_what_chmod_makes_of_it(text, bits):
    assert parse_mode(text) == bits


def test_a_plugin_without_words_shows_no_code_either():
    document = {"type": "object", "properties": {"x": {"type": "string", "pattern": "^[a-z]{3}$"}}}
    assert told(document, "x: ABC\n") == ['`x`: "ABC" does not have the form that is required here -- ']
    assert pin_schemas.fault({"x": "ABC"}, document) == "x: 'ABC' does not have the form that is required here"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("allow: {}", "config.yaml needs `version` -- begin the file with `version: 1`"),
        ("[]", "config.yaml: expected a mapping, got a list"),
        ("version: 1\nrun: x", "unknown key `run` at the top level -- known: `allow`"),
        ("version: 1\nalow: {}", "did you mean `allow`?"),
        ("version: '1'", 'this envtool reads version 1, not "1" -- write `version: 1`'),
        ("version: 1\nallow: {pass: ['A B']}", "expected the name of a variable, perhaps with `*` or `?`"),
        ("version: 1\nallow: {files: [srv]}", "an absolute path, or one below ~"),
        ("version: 1\nprojects: {~/x: {secrets: {t: TOKEN}}}", "as in env:APP_TOKEN or file:~/.npmrc"),
    ],
)
def test_the_callers_own_file_is_called_by_its_name(text, said):
    found = told(permissions.SCHEMA, text, whole="config.yaml")
    assert any(said in one for one in found), found
    assert not [one for one in found if "the spec" in one]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: '1'", "write `version: 1`"),
        ("version: v1", "write `version: 1`"),
        ("version: 1.0.0", "write `version: 1`"),
        ("version: 1\nenvs: {e: {network: 'yes'}}", 'got "yes" -- write true'),
        ("version: 1\nenvs: {e: {network: 'no'}}", 'got "no" -- write false'),
        ("version: 1\nenvs: {e: {network: 1}}", "write true"),
        ("version: 1\nlayers: {f: {fetch: {unpack: 'True'}}}", "write it without quotes: true"),
    ],
)
def test_what_to_write_is_said(text, said):
    found = told(SCHEMAS["the spec"], f"{text}\n")
    assert any(said in one for one in found), found


def shown(sub: Any):
    """(schema, example) of everything that shows one."""
    if isinstance(sub, dict):
        yield from ((sub, each) for each in sub.get("examples", ()))
        for inner in sub.values():
            yield from shown(inner)
    elif isinstance(sub, list):
        for inner in sub:
            yield from shown(inner)


def test_each_example_is_of_the_form_that_it_shows():
    document = SCHEMAS["the spec"]
    found = [*shown(document)]
    assert len(found) > 30
    for sub, example in found:
        assert not pin_schemas.fault(example, {**sub, "$defs": document["$defs"]}), (sub, example)


@pytest.mark.parametrize("kind", [*KINDS.bases.values(), *KINDS.layers.values()], ids=lambda kind: kind.name)
def test_each_kind_of_ours_shows_how_it_is_written(kind):
    """What is written for `{}` where more is needed, or for a number, is told with an example."""
    section = "bases" if kind.name in KINDS.bases else "layers"
    found = told(SCHEMAS["the spec"], f"version: 1\n{section}: {{x: {{{kind.name}: 3.5}}}}\n")
    assert found
    assert all("as in `" in one or "write it" in one for one in found), found
