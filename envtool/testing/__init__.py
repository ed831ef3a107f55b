"""For tests of plugins: a project, a site and a tree in memory, containers without a kernel, and checks of the contract
of kinds and languages.

fake_runner        Stands in for what runs containers
fake_container     Stands in for a container
fake_pod           Stands in for a pod, and for containers that run in it
layer_build        Builds one layer of a kind, by a FakeRunner
service_contract   Checks a kind of service

    from envtool import testing

    def test_pip():
        site = testing.MemorySite(answers={"pip": testing.completed(b"…")})
        pins = testing.check_kind(Pip(), ["attrs"], site=site, wrong=[[], 3])

`check_kind` checks the contract of `envtool.api.Kind` without a container: the kind resolves the same request to the
same pins, its pins and material are JSON, its fetches are exact and located, its recipe is pure and offline, and its
schema refuses wrong options. `check_refused` checks that the kind fails with a clear error. `check_reader` checks a
reader of output, `check_service_kind` a kind of service. All raise AssertionError with the promise that is broken.
`build_layer` builds a layer of the kind as envtool does, but for the containers: `FakeRunner` stands in for what runs
those.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar, cast

import jsonschema_rs

from envtool import api, keys
from envtool.errors import PluginError, UsageError
from envtool.fs import globs
from envtool.plugin_calls import Offer
from envtool.project import host_access
from envtool.report.test_counts import MAX_LINE_LENGTH, OutputCounter
from envtool.report.test_counts.sums import format_parts
from envtool.testing.fake_container import FakeContainer
from envtool.testing.fake_runner import FakeRunner, describe_step
from envtool.testing.layer_build import build_layer
from envtool.testing.service_contract import check_service_kind

if TYPE_CHECKING:
    from envtool.api import Json
    from envtool.api.oci_images import Registries

T = TypeVar("T")
MAX_SPOILT_LINES = 100  # of an output that check_reader spoils
MAX_LINE_SECONDS = 0.2  # of processor time for two lines of the greatest length

__all__ = [
    "FakeContainer", "FakeRunner", "MemoryProject", "MemorySite", "MemoryTree", "build_layer", "check_kind",
    "check_language", "check_reader", "check_refused", "check_service_kind", "completed", "describe_step", "request",
]  # fmt: skip


class MemoryProject:
    """`api.Project` over a mapping of paths to text; `seen` records the paths that were read."""

    def __init__(self, files: Mapping[str, str] | None = None) -> None:
        self.files = dict(files or {})
        self.seen: list[str] = []

    def read(self, path: str) -> str | None:
        """See api.Project."""
        self.seen.append(path)
        text = self.files.get(path)
        return text if text is None else text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")

    def read_bytes(self, path: str) -> bytes | None:
        """See api.Project."""
        self.seen.append(path)
        text = self.files.get(path)
        return text if text is None else text.encode()

    def glob(self, pattern: str) -> list[str]:
        """See api.Project."""
        self.seen.append(pattern)
        inside = (path for path in self.files if not path.startswith("../"))
        return sorted(path for path in inside if globs.matcher((pattern,)).fullmatch(path))

    def around(self, name: str) -> dict[str, bytes]:
        """See api.Project: files whose path begins with `..`."""
        return {path: text.encode() for path, text in self.files.items() if re.match(rf"\.\./(.*/)?{name}$", path)}


class MemoryTree:
    """`api.Tree` over a mapping of absolute paths to content; `reads` counts the calls of `read`."""

    def __init__(self, files: Mapping[str, bytes | str]) -> None:
        self.files = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
        self.reads = 0

    def find(self, pattern: str) -> list[str]:
        """See api.Tree."""
        return sorted(path for path in self.files if globs.matcher((pattern,)).fullmatch(path))

    def read(self, paths: Iterable[str]) -> dict[str, bytes]:
        """See api.Tree."""
        self.reads += 1
        return {path: self.files[path] for path in sorted({*paths}) if path in self.files}


class MemorySite:
    """`api.Site` in memory: `urls` has the content of URLs, `answers` the results of commands; anything else is
    refused.

    `fetched`, `ran` and `notes` record what was requested. An answer may be a function of the command.
    """

    def __init__(
        self,
        *,
        urls: Mapping[str, bytes] | None = None,
        answers: Mapping[str, api.Completed | Callable[[api.Command], api.Completed]] | None = None,
        project: str = "/nonexistent",
        arch: str = "x86_64",
    ) -> None:
        self.arch = arch
        self.project = Path(project)
        self.urls = dict(urls or {})
        self.answers = dict(answers or {})
        self.fetched: list[str] = []
        self.ran: list[api.Command] = []
        self.notes: list[str] = []
        self.places: dict[str, str] = {}
        self.kept: dict[str, bytes] = {}
        self.held: dict[str, object] = {}
        self.owned: list[str] = []
        self.variables: dict[str, str] = {}
        self.tagged: tuple[str, ...] = ()
        self.packaged: dict[str, str] = {}  # end of a path -> package
        self.images: Registries | None = None
        self.pip: dict[str, str] = {}  # first argument -> what this machine's pip prints

    def open(self, path: str, *, limit: int = host_access.MAX_FILE_SIZE) -> BinaryIO:
        """See api.Site."""
        try:
            return host_access.HostAccess(str(self.project)).open(path, limit=limit)
        except FileNotFoundError:
            raise api.ResolveError(f"there is no file `{path}`", code="no-file") from None
        except (OSError, UsageError) as error:
            raise api.ResolveError(f"`{path}`: {error}", code=getattr(error, "code", "not-a-file")) from None

    def url(self, path: str) -> str:
        """See api.Site."""
        return (self.project / path).as_uri()

    def own(self, place: str) -> None:
        """See api.Site; `owned` records the path."""
        self.owned.append(place)

    def variable(self, name: str) -> str | None:
        """See api.Site; `variables` has all variables, and all are allowed."""
        return self.variables.get(name)

    def tags(self, directory: str = "") -> tuple[str, ...]:
        """See api.Site; `tagged` has the tags."""
        return self.tagged

    def packages_with(self, ends: Sequence[str]) -> Mapping[str, str]:
        """See api.Site; `packaged` has the packages."""
        return {end: self.packaged[end] for end in ends if end in self.packaged}

    def described(self, directory: str, names: Collection[str]) -> str:
        """See api.Site: the last of `tagged`."""
        return next((tag for tag in reversed(self.tagged) if tag in names), "")

    def get(self, url: str) -> bytes:
        """See api.Site."""
        self.fetched.append(url)
        if url not in self.urls:
            raise api.FetchError(f"{url}: not in this test's site", code="fetch-missing")
        return self.urls[url]

    def fetch(self, fetches: Sequence[api.Fetch]) -> list[Path]:
        """Always raises FetchError: a kind under test names its files, and the core fetches them."""
        raise api.FetchError(
            f"a fetch of {', '.join(fetch.name for fetch in fetches)} in a test's site", code="fetch-missing"
        )

    def host_pip(self, *arguments: str, variables: Mapping[str, str] | None = None) -> api.Completed:
        """See api.Site; `pip` has the answers by the first argument."""
        if arguments[0] not in self.pip:
            raise api.ResolveError(f"no answer for `pip {arguments[0]}` in this test's site", code="no-answer")
        return api.Completed(status=0, stdout=self.pip[arguments[0]].encode(), stderr=b"")

    def registries(self) -> Registries:
        """See api.Site; `images` is the client."""
        if self.images is None:
            raise api.FetchError("no registry in this test's site", code="fetch-missing")
        return self.images

    def learn(self, sealed: Sequence[api.Sealed]) -> list[api.Fetch]:
        """See api.Site. The content in `urls` is checked as the core would check it."""
        return [self._learn(item) for item in sealed]

    def _learn(self, item: api.Sealed) -> api.Fetch:
        for url in item.urls:
            if url in self.urls:
                self.fetched.append(url)
                body = self.urls[url]
                algorithm, _, expected = api.integrity_digest(item.integrity).partition(":")
                if expected and hashlib.new(algorithm, body, usedforsecurity=False).hexdigest() != expected:
                    raise api.FetchError(f"{url}: not what its {algorithm} says", code="fetch-hash")
                sha256 = hashlib.sha256(body).hexdigest()
                return api.Fetch(
                    url=url, sha256=sha256, name=item.name, size=len(body), authorization=item.authorization
                )
        raise api.FetchError(
            f"{item.name}: in none of {', '.join(item.urls)} of this test's site", code="fetch-missing"
        )

    def run(
        self,
        command: api.Command,
        *,
        env: Mapping[str, str] | None = None,
        binds: Sequence[api.Bind] = (),
        network: bool = False,
    ) -> api.Completed:
        """See api.Site. Returns the answer for the first word of the command that has one."""
        self.ran.append(command)
        for word in command.words():
            answer = self.answers.get(word)
            if answer is not None:
                return answer(command) if callable(answer) else answer
        raise api.ResolveError(f"no answer for `{' '.join(command.words())}` in this test's site", code="no-answer")

    def seen(self, sha256: str, url: str) -> None:
        """See api.Site; `places` records the URL by sha256."""
        self.places[sha256] = url

    def keep(self, pieces: Iterable[bytes], *, sha256: str = "") -> Path:
        """See api.Site; `kept` has the content by sha256, and the file is not written."""
        body = b"".join(pieces)
        actual = hashlib.sha256(body).hexdigest()
        if sha256 not in ("", actual):
            raise api.FetchError(f"its sha256 is {actual}, and should be {sha256}", code="fetch-hash")
        self.kept[actual] = body
        return self.project / actual

    @contextmanager
    def temporary_directory(self) -> Iterator[Path]:
        """See api.Site."""
        with tempfile.TemporaryDirectory() as path:
            yield Path(path)

    def shared(self, name: str, make: Callable[[], T]) -> T:
        """See api.Site."""
        if name not in self.held:
            self.held[name] = make()
        return cast("T", self.held[name])

    def cancelled(self) -> bool:
        """See api.Site."""
        return False

    def note(self, text: str) -> None:
        """See api.Site."""
        self.notes.append(text)


def completed(stdout: bytes = b"", *, status: int = 0, stderr: bytes = b"") -> api.Completed:
    """Returns a command's result, for the answers of a MemorySite."""
    return api.Completed(status=status, stdout=stdout, stderr=stderr)


def request(
    options: Json,
    inputs: Mapping[str, str] | None = None,
    *,
    name: str = "tested",
    base_kind: str = "debian",
    base_pins: Json = None,
    variables: Mapping[str, str] | None = None,
    epoch: int = 1_700_000_000,
) -> api.Request:
    """Returns a request as the core would make it; `inputs` are path -> sha256."""
    return api.Request(
        name=name,
        options=options,
        inputs=tuple(api.InputFile(path=path, sha256=sha256) for path, sha256 in sorted((inputs or {}).items())),
        where=api.Where(file="envtool.yaml", line=1, column=1),
        arch="x86_64",
        epoch=epoch,
        base_kind=base_kind,
        base_pins=base_pins,
        variables=variables or {},
    )


def check_kind(
    kind: api.Kind,
    options: Json,
    *,
    site: api.Site | None = None,
    wrong: Sequence[Json] = (),
    asked: api.Request | None = None,
) -> Json:
    """Checks the contract of a kind for valid `options` and for `wrong` ones. Returns the pins.

    `asked` replaces the request that is made from `options`. Raises AssertionError.
    """
    _check_schema(kind, options, wrong)
    asked = asked or request(options)
    site = site or MemorySite()
    pins = kind.resolve(asked, site)
    document = _json(f"{kind.name}: pins", pins)
    assert _json("pins", kind.resolve(asked, site)) == document, f"{kind.name}: resolve gave other pins the second time"
    # Pins are stored as JSON: pins that a round trip changes would give another layer the next time.
    pins = json.loads(document)
    assert not (why := api.shapes.fault(pins, kind.pins)), f"{kind.name}: pins do not fit its own schema: {why}"
    _json(f"{kind.name}: question", kind.question(asked))
    material = _json(f"{kind.name}: material", kind.material(asked, pins))
    assert _json("material", kind.material(asked, pins)) == material, f"{kind.name}: material changes between calls"
    _check_paths(kind, asked, pins)
    _check_fetches(kind, asked, pins, site)
    _check_recipe(kind, asked, pins)
    for name, value in kind.variables(asked, pins).items():
        assert value is None or isinstance(value, str), f"{kind.name}: variable {name} is neither text nor None"
    assert "\n" not in kind.summary(asked, pins), f"{kind.name}: the summary is more than a line"
    return cast("Json", pins)


def check_refused(
    kind: api.Kind, options: Json, *saying: str, site: api.Site | None = None, asked: api.Request | None = None
) -> api.ResolveError | api.FetchError | api.SpecError:
    """Checks that a kind refuses to resolve `options`, with an error of envtool's whose text has each of the words in
    `saying`. Returns the error; raises AssertionError for any other outcome."""
    try:
        kind.resolve(asked or request(options), site or MemorySite())
    except (api.ResolveError, api.FetchError, api.SpecError) as error:
        problems = error.problems if isinstance(error, api.SpecError) else ()
        text = " ".join([str(error), error.hint, *(f"{problem.message} {problem.hint}" for problem in problems)])
        for word in saying:
            assert word in text, f"{kind.name}: the error does not say {word!r}: {text}"
        assert not re.search(r"Traceback|\n\n|<.* object at 0x", text), f"{kind.name}: not for people: {text}"
        return error
    except Exception as error:
        raise AssertionError(
            f"{kind.name}: refused with a {type(error).__name__}, which is a crash: {error}"
        ) from error
    raise AssertionError(f"{kind.name}: {options!r} is not refused")


def check_language(language: api.Language, files: Mapping[str, str], **options: Json) -> tuple[api.LayerDraft, ...]:
    """Returns the layers that a language adds for a project with these files. Checks that two calls return the same,
    and that no two layers have the same name. Raises AssertionError."""
    draft = api.EnvDraft(
        name="tested",
        base_kind="debian",
        options=options,
        layer_names=("mine",),
        where=api.Where(file="envtool.yaml", line=1, column=1),
    )
    for name, value in options.items():
        schema = cast("dict[str, object]", language.options[name])
        assert jsonschema_rs.is_valid(schema, value), f"{language.name}: `{name}: {value}` does not fit its schema"
    layers = language.layers(draft, MemoryProject(files))
    assert layers == language.layers(draft, MemoryProject(files)), f"{language.name}: two calls, two answers"
    names = [layer.name for layer in layers]
    assert len({*names, "mine"}) == len(names) + 1, f"{language.name}: a layer's name is taken: {names}"
    return layers


def check_reader(reader: api.OutputReader, output: str, counts: str) -> tuple[api.Case, ...]:
    """Checks that a reader counts the tests in an output of its runner, as in "1 failed, 2 passed" ("": none). Returns
    the cases that it found. Raises AssertionError if the counts differ, if `begins` and `contains` leave out lines that
    it needs, if it raises for spoilt output, or if a line costs it more than 0.1 s."""
    suite = _read_output(reader, output)
    found = format_parts(suite.parts) if suite else ""
    assert found == counts, f"{reader.name}: the counts are `{found}`, not `{counts}`"
    assert _read_output(replace(reader, begins=""), output) == suite, f"{reader.name}: it needs lines that are left out"
    lines = output.splitlines()[:MAX_SPOILT_LINES]
    for number, line in enumerate(lines):
        for spoilt in ([], [line, line], [line[: len(line) // 2]]):
            _read_output(reader, "\n".join([*lines[:number], *spoilt, *lines[number + 1 :]]))
        began = time.process_time()
        for long_line in (
            line * (MAX_LINE_LENGTH // max(len(line), 1)),
            line + line[-1:] * (MAX_LINE_LENGTH - len(line)),
        ):
            _read_output(reader, long_line[:MAX_LINE_LENGTH])
        assert time.process_time() - began < MAX_LINE_SECONDS, f"{reader.name}: a long line costs much: {line!r}"
    return suite.cases if suite else ()


def _read_output(reader: api.OutputReader, output: str) -> api.Suite | None:
    faults: list[PluginError] = []
    counter = OutputCounter((Offer(reader, "the plugin"),), faults.append)
    counter.feed(output)
    suite = counter.suite()
    assert not faults, faults[0].message
    return suite


def _json(label: str, value: Json) -> bytes:
    try:
        return keys.canonical_json(value)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"{label}: not JSON: {error}") from None


def _check_schema(kind: api.Kind, options: Json, wrong: Sequence[Json]) -> None:
    schema = cast("dict[str, object]", kind.schema)
    assert schema.get("description"), f"{kind.name}: the schema has no description for the reference page"
    checker = jsonschema_rs.validator_for(schema)
    value = options.get(kind.name) if kind.siblings and isinstance(options, dict) else options
    assert checker.is_valid(value), f"{kind.name}: {value!r} does not fit the schema"
    for wrong_value in wrong:
        assert not checker.is_valid(wrong_value), f"{kind.name}: the schema takes {wrong_value!r}"


def _check_paths(kind: api.Kind, asked: api.Request, pins: Json) -> None:
    options = asked.options
    for path in (item.pattern for item in kind.inputs(options)):
        assert not path.startswith("/"), f"{kind.name}: input {path!r} is not relative"
        assert ".." not in path.split("/"), f"{kind.name}: input {path!r} leads out of the project"
    for target, source in kind.in_project(asked, pins).items():
        assert not target.startswith(("/", "..")), f"{kind.name}: {target!r} is not in the project"
        assert source.startswith("/"), f"{kind.name}: {source!r}, seen at {target!r}, is not absolute"
        is_project = posixpath.normpath(target) == "."
        assert not is_project or (target, source) == (".", api.PROJECT), (
            f"{kind.name}: a directory for the whole project (`.`) has to be {api.PROJECT}: {target!r}, {source!r}"
        )


def _check_fetches(kind: api.Kind, asked: api.Request, pins: Json, site: api.Site) -> None:
    fetches = kind.fetches(asked, pins)
    names = [fetch.name for fetch in fetches]
    assert len(set(names)) == len(names), f"{kind.name}: two fetched files have one name: {sorted(names)}"
    for fetch in fetches:
        assert re.fullmatch("[0-9a-f]{64}", fetch.sha256), f"{kind.name}: {fetch.name}: sha256 is not 64 hex digits"
        assert re.fullmatch("[^/]+", fetch.name), f"{kind.name}: {fetch.name!r} is no file name"
        assert re.match("https?://|file:|$", fetch.url), f"{kind.name}: {fetch.url}: neither http nor file"
        assert not fetch.authorization, f"{kind.name}: {fetch.name}: credentials belong into `locate`"
        overrides_locate = type(kind).locate is not api.Kind.locate
        assert fetch.url or overrides_locate, (
            f"{kind.name}: {fetch.name} has no URL, and `locate` does not say where it is"
        )
    located_fetches = kind.locate(asked, pins, fetches, site)
    is_same = [(fetch.sha256, fetch.name) for fetch in fetches] == [
        (fetch.sha256, fetch.name) for fetch in located_fetches
    ]
    assert is_same, f"{kind.name}: `locate` gives other files, or in another order"
    for fetch in located_fetches:
        assert re.match("https?://|file:", fetch.url), f"{kind.name}: {fetch.name}: `locate` does not say where it is"


def _check_recipe(kind: api.Kind, asked: api.Request, pins: Json) -> None:
    recipe = kind.build(asked, pins)
    assert recipe == kind.build(asked, pins), f"{kind.name}: build is not pure: two calls, two recipes"
    assert not recipe.network or not kind.fetches(asked, pins), (
        f"{kind.name}: a build of fetched files needs no network"
    )
    fetched = {fetch.name for fetch in kind.fetches(asked, pins)}
    if recipe.archive is not None:
        assert recipe.archive.name in fetched, (
            f"{kind.name}: its archive {recipe.archive.name} is not among its fetches"
        )
        assert re.fullmatch("sha256:[0-9a-f]{64}", recipe.archive.diff_id), f"{kind.name}: its diff ID is none"
        assert not recipe.steps, f"{kind.name}: a layer is an archive or made by steps, not both"
    for pattern in recipe.drop:
        assert pattern.startswith("/"), f"{kind.name}: drop pattern {pattern!r} is not absolute"
    for step in recipe.steps:
        if isinstance(step, api.Unpack):
            assert step.name in fetched, f"{kind.name}: unpacks {step.name}, which is not among its fetches"
        if isinstance(step, api.Place) and step.source.startswith(f"{api.BLOBS}/"):
            name = step.source.removeprefix(f"{api.BLOBS}/")
            assert name in fetched, f"{kind.name}: places {name}, which is not among its fetches"
        if isinstance(step, api.Call):
            _json(f"{kind.name}: the arguments of {step.function.__name__}", [*step.arguments])
