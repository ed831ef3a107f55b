"""Numbers, times, sizes and patterns that somebody else chose: bounded, named, and never waited for.

What is said of time is said by the processor's clock or by orders of magnitude: before, each of these took minutes or
did not end.
"""

from __future__ import annotations

import contextlib
import fnmatch
import gzip
import io
import json
import lzma
import os
import re
import signal
import tarfile
import time
import zipfile

import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from envtool.build import container_steps
from envtool.container import output_patterns, outputs
from envtool.errors import BuildError, EnvtoolError, FetchError, SpecError, UsageError
from envtool.fs import globs, removal, sizes, tree_walk
from envtool.kinds.debian import deb
from envtool.kinds.dockerfile import dockerignore, shell_words
from envtool.kinds.dockerfile.shell_words import Lexer
from envtool.net.oci import documents
from envtool.net.oci.auth import parse_challenges
from envtool.plugins import discover
from envtool.project import listing, snapshot
from envtool.spec import load
from envtool.spec.template import uses_args
from envtool.store import unpack_archive
from envtool.store.tar_read import TarReader
from tests import project_inputs
from tests.depth import examples
from tests.load import allowed

pytestmark = pytest.mark.any_caller

GIB = 1 << 30


def attempt(work):
    """What came of it: (value, None), or (None, the error that was raised on purpose). Anything else is a fault."""
    try:
        return work(), None
    except (EnvtoolError, deb.ArchiveError) as error:
        return None, error


def walked(data: bytes) -> None:
    """Read a tar to its end."""
    pieces = iter([data])
    reader = TarReader(lambda: next(pieces, b""))
    for _ in reader:
        for _ in reader.content():
            pass


def refused_rightly(*works) -> None:
    """Each of them ends, or is refused by one of our own codes."""
    for work in works:
        _, error = attempt(work)
        assert error is None or isinstance(error, deb.ArchiveError) or error.code.startswith("unpack-")


@pytest.fixture
def quick():
    """What a test does takes a few seconds of a processor at most."""
    began = time.process_time()
    yield
    assert time.process_time() - began < 10


# ---- with containers -----------------------------------------------------------------------------------------------

MOMENTS = (0, -1, -(1 << 40), 1 << 31, 1 << 34, 9223372036, 9223372037, -9223372037, 1 << 40, (1 << 63) - 1, -(1 << 63))


@pytest.mark.e2e
@pytest.mark.sampled(1)  # of the callers
def test_times_that_a_task_made_up(place):
    touched = "\n".join(f"echo {n} > out/{n}; touch -d @{moment} out/{n} || true" for n, moment in enumerate(MOMENTS))
    place.task(f"mkdir -p out\n{touched}", options="outputs: [out]")
    place.write("old", "old\n")
    os.utime(place.project / "old", ns=(-(10**18), -(10**18)))
    done = place.envtool("test", "--json")
    assert done.status == 0, done.said
    assert "not remembered" not in done.said
    assert {path.name for path in (place.project / "out").iterdir()} == {str(n) for n in range(len(MOMENTS))}
    for words_ in (("list",), ("plan",), ("test",)):
        done = place.envtool(*words_)
        assert done.status == 0, done.said
    assert "unchanged" in done.said, done.said


SIZES = [
    ("truncate -s 1T out/big", "", "out/big: 1.1 TB, with which the outputs would be larger than 2 GiB together"),
    ("truncate -s 1M out/a; truncate -s 1M out/b", "outputs_limit: 1500kB", "out/b: 1.0 MB, with which"),
    ("truncate -s 7E out/big || truncate -s 1T out/big", "outputs_limit: 900GiB", "larger than 900 GiB together"),
]


@pytest.mark.e2e
@pytest.mark.sampled(2)
@pytest.mark.parametrize(("script", "option", "said"), SIZES)
def test_outputs_that_are_too_large(place, script, option, said):
    place.task(f"mkdir -p out; echo 1 > out/0; {script}", options=f"outputs: [out]\n{option}")
    done = place.envtool("test", "--json")
    assert done.status == 1, done.said
    message = done.events[-1]["results"][0]["message"]
    assert said in message
    assert "outputs_limit" in message
    assert done.events[-1]["results"][0]["outputs"][0] == "out/0", "what fits comes back"
    assert not (place.project / "out/big").exists()
    assert done.seconds < 20


@pytest.mark.e2e
@pytest.mark.sampled(1)  # of the callers
def test_holes_stay_holes_wherever_they_go(place):
    place.task("truncate -s 40M sparse; echo end >> sparse", options="outputs: [sparse]")
    done = place.envtool("test")
    assert done.status == 0, done.said
    (place.project / "sparse").unlink()
    assert "unchanged" in place.envtool("test").said, "what is remembered is put back"
    found = [place.project / "sparse", *place.store.glob("results/*/outputs/sparse")]
    assert len(found) >= 2
    for path in found:
        assert path.stat().st_size == 40 * (1 << 20) + 4
        assert path.stat().st_blocks * 512 < 4 << 20, path


@pytest.mark.e2e
@pytest.mark.sampled(1)  # of the callers
def test_the_first_interruption_ends_what_comes_after_a_task(place):
    place.task("truncate -s 30G big", options="outputs: [big]\noutputs_limit: 40GiB")
    process = place.start("test", "--json")
    place.until((place.project / "big").exists, "the task has ended, and its output is looked at", 30)
    time.sleep(0.2)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    done = place.finish(process)
    assert time.monotonic() - began < allowed(5), "a second without load"
    assert "internal" not in done.said
    place.check_nothing_left()


@pytest.mark.e2e
@pytest.mark.sampled(1)  # of the callers
def test_the_first_interruption_ends_the_collecting(place):
    # Each file is looked at, and none is worth a byte.
    place.task("mkdir out; cd out; seq 60000 | xargs touch; echo made", options="outputs: [out]", env="scratch: memory")
    process = place.start("test", "--json")
    place.until((place.project / "out").exists, "outputs are coming", 50)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    done = place.finish(process)
    assert time.monotonic() - began < allowed(6)
    assert done.status == 130 or (place.project / "out" / "60000").exists()
    place.check_nothing_left()


@pytest.mark.e2e
@pytest.mark.sampled(1)  # of the callers
def test_a_layer_with_a_hole_without_end(place):
    spec = "layers: {{l: {{run: '{}'}}}}\nenvs: {{unit: {{base: host, layers: [l], tasks: {{test: 'true'}}}}}}\n"
    place.spec(spec.format("mkdir -p /opt && truncate -s 1T /opt/hole"))
    done = place.envtool("test")
    assert done.status == 3, done.said
    assert "/opt/hole: 1.1 TB, with which the layer is larger than 256 GiB" in done.said
    place.spec(spec.format("mkdir -p /opt && truncate -s 100G /opt/hole"))
    process = place.start("test")
    store = str(place.store)  # it has trees of other tests that are too deep for rglob
    place.until(lambda: any(top.endswith("/opt") and "hole" in names for top, _, names in tree_walk.walk_tree(store)),
                "the hole is there", 30)  # fmt: skip
    time.sleep(1)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert place.finish(process).status == 130
    assert time.monotonic() - began < allowed(5)
    place.check_nothing_left()


@pytest.mark.e2e
@pytest.mark.sampled(1)  # of the callers
def test_patterns_that_never_end(place):
    deep = "/".join("a" * 30)
    name = "a" * 200
    wide = "**/" * 30 + "x"
    starred = "*a" * 60 + "b"
    place.write(f"in/{name}", "")
    place.write(f"in/{name}b", "here\n")
    place.spec(f"""\
layers:
  box: {{copy: {{from: ['in/{starred}', '{"**/" * 40}{starred}'], to: /opt/in/}}}}
envs:
  unit:
    base: host
    tasks:
      test:
        outputs: ['{wide}', '{starred}', '**/**/*{"a" * 30}*/z', 'found']
        run: mkdir -p {deep} && touch {deep}/y {name} && echo 1 > found
""")
    for words_ in (("plan",), ("list",), ("test", "--json")):
        done = place.envtool(*words_)
        assert done.status == 0, done.said
        assert done.seconds < 30
    assert done.events[-1]["results"][0]["outputs"] == ["found"]


@pytest.mark.e2e
@pytest.mark.sampled(1)  # of the callers
def test_a_line_without_end(place):
    place.task("head -c 70000000 /dev/zero | tr '\\0' '\\377'; printf 'the end'")
    with open(place.top / "tmp" / "said", "wb") as said:
        process = place.start("test", stdout=said)
        done = place.finish(process)
    assert done.status == 0, done.err
    log = place.project / ".envtool" / "last" / "unit.test.log"
    assert log.stat().st_size <= 64 << 20
    text = log.read_bytes()
    assert text.startswith(b"\xff" * 1000)
    assert text.endswith(b"\xff\xff\xffthe end")
    assert b"left out here" in text
    (place.top / "tmp" / "said").unlink()


@pytest.mark.e2e
@pytest.mark.sampled(1)  # of the callers
def test_outputs_that_are_too_many_or_too_deep(place):
    place.task(
        "mkdir -p out; cd out; d=x; i=0; while [ $i -lt 230 ]; do d=$d/x; i=$((i+1)); done; mkdir -p $d; touch $d/y ok",
        options="outputs: [out, '**/y']",
    )
    done = place.envtool("test", "--json")
    assert done.status == 1, "some of its outputs are lost"
    assert "more than 200 directories deep" in done.events[-1]["results"][0]["message"]
    assert (place.project / "out" / "ok").exists()


# ---- the stream of outputs -------------------------------------------------------------------------------------------


def sent(top, patterns, limit=GIB, project="."):
    """What comes back of a directory."""
    reader, writer = os.pipe()
    (top / "to").mkdir()
    receiver = outputs.OutputReceiver(str(top / "to"), owned=False, limit=limit)
    if not (child := os.fork()):
        os.close(reader)
        outputs.send_outputs(str(top / project), patterns, writer, limit)
        os._exit(0)
    os.close(writer)
    while receiver.feed(reader):
        pass
    os.waitpid(child, 0)
    os.close(reader)
    return receiver, receiver.finish()


def test_more_than_may_come_back(tmp_path, monkeypatch):
    monkeypatch.setattr(outputs, "MAX_ENTRIES", 20)
    (tmp_path / "from").mkdir()
    for number in range(30):
        (tmp_path / "from" / f"{number:02}").touch()
    receiver, (paths, _) = sent(tmp_path, ("*",), project="from")
    assert len(paths) == 20
    assert "more than 20 outputs" in receiver.lost


@pytest.mark.parametrize("number", [-1, (1 << 63) - 1, -(1 << 63), "7", ""])
@pytest.mark.parametrize("place_", [2, 3, 4])
def test_a_number_in_a_frame_that_cannot_be(tmp_path, number, place_):
    from envtool.container import messages

    frame = ["file", "f", 0o644, 10**18, 3]
    frame[place_] = number
    receiver = outputs.OutputReceiver(str(tmp_path), owned=False, limit=GIB)
    pieces = [tuple(frame), ("data", 0, 3), ("end",)]
    reader, writer = os.pipe()
    for each in pieces:
        head = messages.pack(*each)
        os.write(writer, len(head).to_bytes(4, "little") + head + (b"abc" if each[0] == "data" else b""))
    os.close(writer)
    while receiver.feed(reader):
        pass
    os.close(reader)
    paths, notes = receiver.finish()
    if place_ == 3 and type(number) is int:  # any whole number is a time
        assert paths == ("f",)
    else:
        assert paths == ()
        assert notes or receiver.lost
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".envtool")]


@settings(max_examples=examples(100, 5000), deadline=None)
@given(data=st.binary(max_size=60), at=st.integers(0, 40))
def test_a_stream_that_is_none(tmp_path_factory, data, at):
    from envtool.container import messages

    whole = b""
    for each in (("file", "f", 0o644, 1, 3), ("data", 0, 3), ("end",), ("link", "l", "f"), ("directory", "d", 0o755)):
        head = messages.pack(*each)
        whole += len(head).to_bytes(4, "little") + head + (b"abc" if each[0] == "data" else b"")
    receiver = outputs.OutputReceiver(str(tmp_path_factory.mktemp("to")), owned=False, limit=GIB)
    reader, writer = os.pipe()
    os.write(writer, whole[:at] + data + whole[at:])
    os.close(writer)
    while receiver.feed(reader):
        pass
    os.close(reader)
    receiver.finish()


def former(directory, parts):
    """How outputs were matched before: every way through a pattern, one after the other."""

    def names(directory):
        try:
            return sorted(os.listdir(directory or "."))
        except OSError:
            return []

    def is_directory(path):
        return os.path.isdir(path) and not os.path.islink(path)

    if not parts:
        if directory:
            yield directory
        return
    first, rest = parts[0], parts[1:]
    if first == "**":
        if rest:
            yield from former(directory, rest)
        for name in names(directory):
            path = f"{directory}/{name}" if directory else name
            if is_directory(path):
                yield from former(path, parts)
            elif not rest:
                yield path
        return
    if any(c in first for c in "*?["):
        found = [n for n in names(directory) if fnmatch.fnmatchcase(n, first)]
        found = [n for n in found if not n.startswith(".") or first.startswith(".")]
    else:
        found = [first]
    for name in found:
        path = f"{directory}/{name}" if directory else name
        if os.path.lexists(path) and (not rest or is_directory(path)):
            yield from former(path, rest)


NAMES = st.sampled_from(["a", "b", "ab", ".a", "ba.b"])
PARTS = st.sampled_from(["**", "*", "a", "b", "a*", "*b", "?", "[ab]*", ".*", "*a*b*"])


@settings(max_examples=examples(60, 2000), deadline=None)
@given(paths=st.lists(st.lists(NAMES, min_size=1, max_size=4), max_size=8), pattern=st.lists(PARTS, max_size=5))
def test_outputs_match_as_before(tmp_path_factory, paths, pattern):
    top = tmp_path_factory.mktemp("tree")
    for parts in paths:
        with contextlib.suppress(OSError):  # a file where another path has a directory
            top.joinpath(*parts[:-1]).mkdir(parents=True, exist_ok=True)
            if len(parts) == 3:
                top.joinpath(*parts).symlink_to(top)
            else:
                top.joinpath(*parts).touch()
    before = os.getcwd()
    os.chdir(top)
    try:
        assert output_patterns.find_matches(pattern)[0] == set(former("", pattern))
    finally:
        os.chdir(before)


def test_each_directory_is_listed_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "/".join("a" * 40)).mkdir(parents=True)
    listed = []
    real = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: listed.append(path) or real(path))
    assert output_patterns.find_matches(["**"] * 30 + ["x"]) == (set(), "")
    assert len(listed) == 41


# ---- patterns --------------------------------------------------------------------------------------------------------


def plainly(pattern: str, path: str) -> bool:
    """Whether a pattern of globs.py matches a path, said once more: component by component, nothing clever."""

    def component(part, name):
        if not part:
            return not name
        if part[0] == "*":
            return any(component(part[1:], name[at:]) for at in range(len(name) + 1))
        if not name:
            return False
        return (part[0] in ("?", name[0])) and component(part[1:], name[1:])

    def ways(parts, names):
        if not parts:
            return not names
        if parts[0] == "**":
            if len(parts) == 1:
                return bool(names)
            return any(ways(parts[1:], names[at:]) for at in range(len(names) + 1))
        return bool(names) and component(parts[0], names[0]) and ways(parts[1:], names[1:])

    return ways(pattern.split("/"), path.split("/"))


@settings(max_examples=examples(300, 20000), deadline=None)
@given(
    pattern=st.lists(st.sampled_from(["**", "*", "a", "a*b", "*a*", "?b", "*ab*a", "b?*"]), min_size=1, max_size=6),
    path=st.lists(st.text("ab", min_size=1, max_size=5), min_size=1, max_size=7),
)
def test_path_patterns_mean_what_they_say(pattern, path):
    pattern, path = "/".join(pattern), "/".join(path)
    assert (globs.matcher((pattern,)).fullmatch(path) is not None) == plainly(pattern, path)


def backtracking(pattern: str) -> str:
    """`.dockerignore` as one expression, which tries everything."""
    out, index = "", 0
    while index < len(pattern):
        if pattern.startswith("**", index):
            index += 2 + pattern.startswith("/", index + 2)
            out += ".*" if index >= len(pattern) else "(?:.*/)?"
            continue
        out += {"*": "[^/]*", "?": "[^/]"}.get(pattern[index]) or re.escape(pattern[index])
        index += 1
    return f"(?s:{out})(?:/|\\Z)"


@settings(max_examples=examples(300, 20000), deadline=None)
@given(
    pattern=st.lists(st.sampled_from(["**", "*", "?", "/", "a", "b", "ab", "**/"]), max_size=7),
    path=st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=4),
)
def test_dockerignore_means_what_its_expression_says(pattern, path):
    pattern, path = "".join(pattern), "/".join(path)
    assert dockerignore.pattern_covers(pattern, path) == (re.match(backtracking(pattern), path) is not None)


@settings(max_examples=examples(300, 20000), deadline=None)
@given(pattern=st.text("ab*?", max_size=6), value=st.text("abc", max_size=8), sign=st.sampled_from("#%"))
def test_variables_are_trimmed_as_the_shell_does(pattern, value, sign):
    def fits(text):
        return fnmatch.fnmatchcase(text, pattern)

    ends = range(len(value) + 1)
    whole = pattern.startswith(sign)
    cuts = [value[:n] if sign == "#" else value[len(value) - n :] for n in ends]
    found = [n for n in ends if fits(cuts[n])]
    for doubled in ("", sign):
        if whole:  # it would be read as doubled
            continue
        if found:
            n = max(found) if doubled else min(found)
            wanted = value[n:] if sign == "#" else value[: len(value) - n]
        else:
            wanted = value
        assert shell_words._trim_pattern(value, doubled + pattern, sign) == wanted


MANY = 3000
HOSTILE = [
    ("globs", lambda: globs.matcher(("*a" * 100 + "c",)).fullmatch("a" * MANY + "b")),
    ("globs", lambda: globs.matcher(("**/a/" * 100 + "c",)).fullmatch("a/" * MANY + "b")),
    ("globs", lambda: globs.matcher(("**/*a*b/" * 50 + "c",)).fullmatch(("ab" * 50 + "/") * 60 + "d")),
    ("globs", lambda: globs.matcher(("?*" * MANY,)).fullmatch("a" * MANY)),
    ("globs", lambda: globs.matcher(tuple("*a" * n + "b" for n in range(100))).fullmatch("a" * MANY)),
    ("globs", lambda: globs.matcher(("**/" * 20000 + "x",)).fullmatch("a/" * MANY)),
    ("names", lambda: globs.name_pattern("*a" * 100 + "b").fullmatch("a" * MANY)),
    ("ignore", lambda: dockerignore.pattern_covers("*a" * 100 + "b" + "*a" * 100, "a" * MANY + "b" + "a" * 99)),
    ("ignore", lambda: dockerignore.pattern_covers("**a" * 100 + "b", "ba/" * MANY)),
    ("ignore", lambda: dockerignore.pattern_covers("**/*a*" * 100 + "b/c", "aab/" * MANY)),
    ("trim #", lambda: shell_words._trim_pattern("a" * 100_000, "*a" * 100 + "b", "#")),
    ("trim %", lambda: shell_words._trim_pattern("a" * 100_000, "b" + "a*" * 100, "%")),
    ("replace", lambda: shell_words._replace_pattern("a" * 100_000, "a*a" * 100 + "b", "x", every=True)),
    ("arguments", lambda: uses_args("{{" * 100_000 + "args" + "{{" * 100_000)),
    ("challenges", lambda: parse_challenges("Bearer " + " " * 60_000 + "=")),
    ("challenges", lambda: parse_challenges("," * 60_000 + "=")),
]


@pytest.mark.parametrize(("what", "work"), HOSTILE, ids=[f"{what}-{n}" for n, (what, _) in enumerate(HOSTILE)])
def test_no_pattern_takes_longer_than_it_is_long(what, work, quick):
    work()


# ---- the spec --------------------------------------------------------------------------------------------------------

SPEC = "version: 1\nenvs:\n  unit:\n    {env}\n    tasks:\n      test:\n        run: 'true'\n        {task}\n"
WRONG = [
    "1e999", "-1e999", "0", "-1", "0.0", "-0.0", "1e-400", "9" * 18, "'" + "9" * 5000 + "'", "9" * 5000, "1e99999999999",
    "[]", "{}", "true", "null", "'1s1s'", "'-5s'", "'٣s'", "'1e9s'", "'inf'", "'nan'", ".inf", ".nan", "0x10", "1_000",
    "1" + "_" * 100_000 + "x", "' '", '"\\0"',
]  # fmt: skip


class Texts:
    """A project of one file."""

    def __init__(self, text):
        self.text = text

    def read(self, path):
        return self.text if path == "envtool.yaml" else None

    def glob(self, pattern):
        return []


def loaded(text):
    return load(Texts(text), "envtool.yaml", root="/p", registry=discover())


@pytest.mark.sampled(12)
@pytest.mark.parametrize("value", WRONG, ids=[each[:12] for each in WRONG])
@pytest.mark.parametrize("key", ["timeout", "outputs_limit"])
@pytest.mark.parametrize("where", ["env", "task"])
def test_a_number_of_the_spec_that_cannot_be(value, key, where, quick):
    text = SPEC.format(**{"env": "", "task": "", where: f"{key}: {value}"})
    if value == "9" * 18 and key == "outputs_limit":
        assert loaded(text).envs[0].tasks[0].outputs_limit == int(value)
        return
    if value == "null":
        return
    with pytest.raises(SpecError) as error:
        loaded(text)
    assert error.value.problems[0].where.line == (4 if where == "env" else 8)


@settings(max_examples=examples(100, 5000), deadline=None)
@given(
    value=st.one_of(st.integers(), st.floats(), st.text("0123456789.eE+-_:xobkKmMgGtTiIBhs ", min_size=1, max_size=12))
)
@example(value=float("inf"))
def test_any_scalar_is_a_value_or_an_error_with_a_place(value):
    written = json.dumps(value) if isinstance(value, str) else repr(value)
    for key in ("timeout", "outputs_limit"):
        spec, error = attempt(lambda key=key: loaded(SPEC.format(env="", task=f"{key}: {written}")))
        if error is not None:
            assert error.problems[0].where.line == 8
            continue
        task = spec.envs[0].tasks[0]
        if key == "timeout":
            assert 0 < task.timeout <= 366 * 86400
        else:
            assert 0 < task.outputs_limit <= sizes.MAX_SIZE


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GiB", 2 << 30), ("1.5g", 1_500_000_000), ("7", 7), ("9" * 400, None), ("-1", None), ("1e9", None), ("٣", None)],
)
def test_sizes(text, size):
    assert sizes.parse_size(text) == size


@given(st.integers(-5, 1 << 70))
def test_whole_numbers_of_protocols(number):
    assert sizes.natural(str(number)) == (number if 0 <= number <= sizes.MAX_SIZE else None)
    for wrong in ("", " 1", "1 ", "+1", "1_0", "0x1", "٣", "²", "9" * 5000):
        assert sizes.natural(wrong) is None


# ---- archives --------------------------------------------------------------------------------------------------------


def tar(**about) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=about.pop("format", tarfile.PAX_FORMAT)) as file:
        member = tarfile.TarInfo(about.pop("name", "f"))
        data = b"hello"
        member.size = len(data)
        for key, value in about.items():
            setattr(member, key, value)
        file.addfile(member, io.BytesIO(data))
    return out.getvalue()


PAX = [
    {"mtime": "1e999"}, {"mtime": "nan"}, {"mtime": "-inf"}, {"mtime": "9" * 5000}, {"mtime": "1" + "0" * 30},
    {"mtime": "-9223372036854775808.5"}, {"uid": "9" * 5000}, {"uid": str(1 << 40)}, {"uid": "-7"}, {"gid": str(1 << 33)},
    {"size": "9" * 30}, {"size": "-1"}, {"size": "1e3"}, {"size": str(1 << 62)}, {"GNU.sparse.size": "9" * 30},
    {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 60), "GNU.sparse.name": "f"},
    {"path": "a/" * 1500 + "f"},
]  # fmt: skip


@pytest.mark.parametrize(
    "owners", [False, pytest.param(True, marks=pytest.mark.skipif(os.geteuid() != 0, reason="root"))]
)
@pytest.mark.parametrize("headers", PAX, ids=[f"{next(iter(each))}-{n}" for n, each in enumerate(PAX)])
def test_numbers_of_an_archive(tmp_path, headers, owners, quick):
    (tmp_path / "a.tar").write_bytes(tar(pax_headers=headers))
    data = tar(pax_headers=headers)
    refused_rightly(
        lambda: container_steps.unpack(str(tmp_path / "a.tar"), str(tmp_path / "to"), owners=owners),
        lambda: walked(data),
        lambda: list(deb.iter_members(data)),
    )
    walked_to = tree_walk.walk_tree(str(tmp_path / "to"))
    assert sum(os.lstat(f"{top}/{name}").st_size for top, _, names in walked_to for name in names) < 1000
    removal.remove_tree(str(tmp_path / "to"))  # pytest would end in a RecursionError


@settings(max_examples=examples(150, 10000), deadline=None)
@given(at=st.integers(0, 1535), byte=st.integers(0, 255), checked=st.booleans(), kind=st.sampled_from("05xgLKS"))
def test_archives_with_a_byte_changed(tmp_path_factory, at, byte, checked, kind):
    data = bytearray(tar(format=tarfile.GNU_FORMAT, mtime=1, uid=3, name="d/f"))
    data[at] = byte
    data[156:157] = kind.encode()
    if checked:
        data[148:156] = b"%06o\0 " % (sum(data[:148]) + sum(data[156:512]) + 256)
    top = tmp_path_factory.mktemp("unpack")
    (top / "a.tar").write_bytes(data)
    refused_rightly(
        lambda: walked(bytes(data)),
        lambda: list(deb.iter_members(bytes(data))),
        lambda: container_steps.unpack(str(top / "a.tar"), str(top / "to")),
    )


@pytest.mark.parametrize("date", [(0, 0, 0), (0, 15, 31), (127, 12, 31), (127, 13, 0), (0, 1, 0)])
def test_dates_of_a_zip(tmp_path, date):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("f", b"hello")
    data = out.getvalue()
    number = (date[0] << 9 | date[1] << 5 | date[2]).to_bytes(2, "little")
    directory = data.index(b"PK\1\2")
    data = data[:12] + number + data[14 : directory + 14] + number + data[directory + 16 :]
    (tmp_path / "a.zip").write_bytes(data)
    container_steps.unpack(str(tmp_path / "a.zip"), str(tmp_path / "to"))
    assert (tmp_path / "to" / "f").read_bytes() == b"hello"


def test_bombs(tmp_path, monkeypatch, quick):
    monkeypatch.setattr(unpack_archive, "MIN_UNPACKED_LIMIT", 1 << 20)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("f", bytes(4 << 20))
    sparse = tar(pax_headers={"GNU.sparse.size": str(1 << 42), "GNU.sparse.map": "0,5"})
    for name, data in (("a.zip", out.getvalue()), ("a.tar", sparse), ("a.xz", lzma.compress(_large(4 << 20)))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BuildError) as error:
            container_steps.unpack(str(tmp_path / name), str(tmp_path / f"to-{name}"))
        assert error.value.code in ("unpack-bomb", "unpack-damaged"), name


def _large(size: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        member = tarfile.TarInfo("f")
        member.size = size
        file.addfile(member, io.BytesIO(bytes(size)))
    return out.getvalue()


@pytest.mark.parametrize("size", [b"-60", b"9" * 10, b"1_0", b"+5", b"0x10", "٣".encode(), b"", b"\xff"])
def test_sizes_of_a_deb(tmp_path, size, quick):
    path = tmp_path / "a.deb"
    head = b"debian-binary".ljust(48) + size.ljust(10)[:10] + b"`\n"
    path.write_bytes(b"!<arch>\n" + head + b"2.0\n" + head)
    for read in (deb.read_deb_parts, deb.read_control):
        with pytest.raises(deb.ArchiveError):
            read(str(path))


@pytest.mark.parametrize("form", ["xz", "gz", "zst"])
def test_compressed_indexes_are_bounded(form):
    pack = {"xz": lzma.compress, "gz": gzip.compress, "zst": zstandard.ZstdCompressor().compress}[form]
    data = b"line\n" * 200_000
    assert deb.decompress_limited(form, pack(data), len(data)) == data
    assert deb.decompress_limited(form, pack(data) + pack(b"more"), len(data) + 4) == data + b"more"
    assert deb.decompress_limited(form, pack(data), len(data) - 1) is None
    with pytest.raises((EOFError, lzma.LZMAError)):
        deb.decompress_limited(form, pack(data)[:-9], len(data))


# ---- registries and mirrors ------------------------------------------------------------------------------------------

DIGEST = "sha256:" + "a" * 64
NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.text(max_size=3),
    st.just([]),
    st.integers(10**300, 10**301),
)


@settings(max_examples=examples(150, 10000), deadline=None)
@given(size=NUMBERS, version=st.one_of(st.just(2), NUMBERS))
@example(size=10**4400, version=2)
@example(size=1e400, version=2)
def test_numbers_of_a_manifest(size, version):
    import sys

    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        described = {"mediaType": documents.OCI_CONFIG, "digest": DIGEST, "size": size}
        body = json.dumps({"schemaVersion": version, "config": described, "layers": [described]}).encode()
    finally:
        sys.set_int_max_str_digits(limit)
    found, error = attempt(lambda: documents.read_manifest(body, documents.OCI_MANIFEST, "x"))
    if error is not None:
        assert error.code == "registry-document"
        return
    assert type(found.config.size) is int
    assert 0 <= found.config.size <= documents.SIZE_LIMIT


@pytest.mark.parametrize("length", ["9" * 5000, "-5", "٣", "1e3", "", str(1 << 62), "0x5"])
def test_a_length_that_a_server_made_up(tmp_path, length):
    from types import SimpleNamespace

    from envtool.net.download import MemorySink
    from envtool.net.transfer import DEFAULT_RETRY_POLICY, Retry, retry_after, stream_body

    body = io.BytesIO(b"hello")
    answer = SimpleNamespace(headers={"Content-Length": length}, raw=SimpleNamespace(read1=lambda n, **_: body.read(n)))
    sink = MemorySink("http://x.invalid/", 100)
    with contextlib.suppress(Retry, FetchError):
        stream_body("http://x.invalid/", answer, sink, DEFAULT_RETRY_POLICY, None)
    assert sink.length in (0, 5)
    retry_after(length)
    retry_after("Thu, 01 Jan 0001 00:00:00 +9999")


def test_a_body_without_end(tmp_path):
    from types import SimpleNamespace

    from envtool.net import download
    from envtool.net.transfer import DEFAULT_RETRY_POLICY, stream_body

    headers = {"Transfer-Encoding": "chunked"}
    answer = SimpleNamespace(headers=headers, raw=SimpleNamespace(read1=lambda n, **_: bytes(n)))
    with open(tmp_path / "x", "w+b") as out:
        sink = download._VerifyingSink("http://x.invalid/", out, 0, 1 << 20, "sha256", lambda _: None)
        with pytest.raises(FetchError) as error:
            stream_body("http://x.invalid/", answer, sink, DEFAULT_RETRY_POLICY, None)
    assert error.value.code == "fetch-large"
    assert "more than 1.0 MB" in str(error.value)
    assert (tmp_path / "x").stat().st_size < 2 << 20


# ---- how files stand -------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(-(1 << 80), 1 << 80), max_size=10))
def test_any_number_is_part_of_a_row(numbers):
    packed = listing.pack_numbers(numbers)
    assert len(packed) == 8 * len(numbers)
    assert packed == b"".join(listing.pack_numbers([number]) for number in numbers), (
        "each by itself, whatever is beside it"
    )


def test_inputs_that_are_too_large(tmp_path, quick):

    with open(tmp_path / "big", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UsageError) as error:
        project_inputs.find(str(tmp_path), ["big"])
    assert error.value.code == "input-large"
    assert "big`: 1.1 TB" in error.value.message


def test_inputs_are_hashed_until_somebody_asks_for_the_end(tmp_path, quick):
    from envtool.errors import Interrupted

    with open(tmp_path / "big", "wb") as file:
        file.truncate(3 * GIB)
    asked = []

    def check():
        asked.append(1)
        if len(asked) > 10:
            raise Interrupted

    with pytest.raises(EnvtoolError):
        project_inputs.find(str(tmp_path), ["big"], check=check)
    assert len(asked) == 11
    with pytest.raises(Interrupted):
        snapshot.take_snapshot(str(tmp_path), str(tmp_path / "record"), check=check)


# ---- what plugins read of a project ----------------------------------------------------------------------------------


def test_files_of_a_project_that_are_mostly_blanks(quick):
    from envtool_node import npmrc
    from envtool_python import poetry, requirements

    text = "a" + " " * 200_000 + "b\n"
    assert requirements._COMMENT.sub("", text.strip() + "  # more").strip() == text.strip()
    npmrc.parse_ini("key=" + text)
    npmrc.expand_variables("\\" * 200_000, {})
    assert poetry.poetry_version("^" + "9" * 5000 + ".1")
    assert poetry.poetry_version("^1.2") == ">=1.2,<2"


@pytest.mark.parametrize(
    "line",
    [
        "RUN --mount=type=cache,target=/c,mode={} true",
        "RUN --mount=type=cache,target=/c,uid={} true",
        "RUN --mount=type=tmpfs,target=/c,size={} true",
        "HEALTHCHECK --retries={} CMD true",
        "HEALTHCHECK --interval={}s CMD true",
        "COPY --from={} /a /b",
        "COPY --chmod={} a /b",
        "EXPOSE {}",
    ],
)
@pytest.mark.parametrize("number", ["9" * 5000, "7" * 400, "\u0663", "\u00b2", "-1", "1e9", "99999999999999999999"])
def test_numbers_of_a_dockerfile(line, number, quick):
    pytest.importorskip("dockerfile")
    from envtool.kinds.dockerfile.parser import DockerfileError, parse
    from envtool.kinds.dockerfile.stages import platform_arguments, split_stages
    from envtool.kinds.dockerfile.translate import StageReader

    with contextlib.suppress(DockerfileError):  # with its line; else it has a meaning
        first, instruction = parse(f"FROM x\n{line.format(number)}\n")
        split_stages((first, instruction), Lexer(), "x86_64", {})
        builder = StageReader(
            {}, lexer=Lexer(), build_args={}, global_args=platform_arguments("x86_64"), variables=None
        )
        builder.add(instruction)
