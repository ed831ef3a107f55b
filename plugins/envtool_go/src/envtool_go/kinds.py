"""The layer kinds `go`, the modules of a project as Go's module cache, and `go-module`, the sources of one module."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from envtool import api

if TYPE_CHECKING:
    from envtool.api.toolchains import ToolchainSource
    from envtool_go.go_files import ModuleVersion
    from envtool_go.resolver import GoSources

GO = "go"
OPTIONS: dict[str, api.Json] = {
    "go": {"type": "string", "minLength": 1, "description": "the command in the env (default: go)"},
    "directory": {
        "type": "string",
        "minLength": 1,
        "description": "where go.mod or go.work is (default: beside the spec)",
    },
    "cgo": {
        "type": "boolean",
        "description": "false: no C compiler is installed, and CGO_ENABLED is 0. The race detector needs cgo",
    },
}
_PATH: api.Json = {
    "type": "string",
    "maxLength": 3000,
    "pattern": r"^(?!-)(?!\.)[A-Za-z0-9_.~-]+(/(?!\.)[A-Za-z0-9_.~-]+)*$",
    "errorMessage": "the path of a module, as in golang.org/x/text",
}
_VERSION: api.Json = {
    "type": "string",
    "pattern": r"^v\d+\.\d+\.\d+[0-9A-Za-z.+-]{0,200}$",
    "errorMessage": "the version of a module, as in v1.2.3",
}
_SUM: api.Json = {
    "type": "string",
    "pattern": "^h1:[A-Za-z0-9+/]{43}=$",
    "errorMessage": "a hash as go.sum has it: `h1:` and base64",
}
_FILE: dict[str, api.Json] = {
    "version": _VERSION, "sum": _SUM, "sha256": api.shapes.SHA256, "size": api.shapes.SIZE,
}  # fmt: skip


class Go(api.Kind):
    """`go: {}`, `go: {directory: server}`."""

    name: ClassVar[str] = "go"
    needs_only: ClassVar[bool] = True
    stands_in: ClassVar[bool] = True  # sources are the same for every architecture
    pins: ClassVar[api.Json] = api.shapes.record(
        {
            "modules": api.shapes.rows(api.shapes.record({"name": _PATH, **_FILE})),
            "manifests": api.shapes.rows(api.shapes.record({"module": _PATH, **_FILE})),
        }
    )
    schema: ClassVar[api.Json] = {
        "description": "the modules of a project, checked by the `h1:` hashes of go.sum, fetched by hash, as Go's"
        " module cache: Go asks no proxy",
        "examples": [{"directory": "server"}],
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {
            **OPTIONS,
            "workspace": {
                "type": "array",
                "items": {"type": "string", "minLength": 1},
                "description": "the directories of the modules that go.work uses: `language: go` finds them",
            },
            "vendored": {
                "type": "boolean",
                "description": "true: the project has its modules in `vendor`, and nothing is fetched",
            },
        },
    }

    def inputs(self, options: api.Json) -> tuple[api.Input, ...]:
        """The texts of go.mod and go.sum, of each module of a workspace, and of go.work and go.work.sum."""
        settings = _as_mapping(options)
        if settings.get("vendored"):
            return ()
        directory = _directory(settings)
        if "workspace" not in settings:
            return (_text(directory, "go.mod"), _text(directory, "go.sum", required=False))
        modules = sorted({join(str(path)) for path in settings["workspace"]})
        return (
            _text(directory, "go.work"),
            _text(directory, "go.work.sum", required=False),
            *(_text(module, "go.mod") for module in modules),
            *(_text(module, "go.sum", required=False) for module in modules),
        )

    def question(self, request: api.Request) -> api.Json:
        """The answer depends on the modules that are needed and their hashes, and never on settings of one machine."""
        if _as_mapping(request.options).get("vendored"):
            return {}
        needed = _sources(request).needed()
        return {
            label: [[module.path, module.version, value] for module, value in hashes.items()]
            for label, hashes in (("archives", needed.archives), ("manifests", needed.manifests))
        }

    def resolve(self, request: api.Request, site: api.Site) -> api.Json:
        """See resolver. Raises ResolveError, FetchError."""
        from envtool_go.resolver import resolve_pins

        settings = _as_mapping(request.options)
        if settings.get("vendored"):
            return {"modules": [], "manifests": []}
        return resolve_pins(site, _sources(request), _go(settings), self.name)

    def package(self, file: str) -> tuple[str, str]:
        """See api.Kind."""
        return package_of(file)

    def fetches(self, request: api.Request, pins: api.Json) -> tuple[api.Fetch, ...]:
        """The archive of every module that is needed, and the go.mod of all that Go compares versions of."""
        return tuple(
            api.Fetch(sha256=row["sha256"], name=name, size=row["size"])
            for name, _, row in (*_zips(pins), *_mods(pins))
        )

    def locate(
        self, request: api.Request, pins: api.Json, fetches: Sequence[api.Fetch], site: api.Site
    ) -> Sequence[api.Fetch]:
        """Finds the files where this machine's Go looks."""
        from envtool_go.resolver import located, stack_locator

        names = {name: module for name, module, _ in (*_zips(pins), *_mods(pins))}
        return located(fetches, names, stack_locator(site, _go(_as_mapping(request.options)), self.name))

    def material(self, request: api.Request, pins: api.Json) -> api.Json:
        """Returns the document for module_cache.finish_cache; the core adds the files' hashes."""
        return self.build_document(pins)

    def build_document(self, pins: api.Json) -> dict[str, api.Json]:
        """Returns the document for module_cache.finish_cache."""
        from envtool_go import module_cache

        return {
            "top": module_cache.TOP,
            "archives": [
                [f"{api.BLOBS}/{name}", _place(module), module.version, row["sum"]] for name, module, row in _zips(pins)
            ],
            "manifests": [
                [f"{api.BLOBS}/{name}", _place(module), module.version, row["sum"]] for name, module, row in _mods(pins)
            ],
        }

    def variables(self, request: api.Request, pins: api.Json) -> Mapping[str, str]:
        """Keeps Go from asking proxies, and from fetching another Go."""
        from envtool_go import module_cache

        settings = _as_mapping(request.options)
        variables = {"GOMODCACHE": module_cache.TOP, "GOPROXY": "off", "GOTOOLCHAIN": "local"}
        if settings.get("cgo") is False:
            variables["CGO_ENABLED"] = "0"
        if "/" in _go(settings):
            variables["PATH"] = posixpath.dirname(_go(settings))
        return variables

    def build(self, request: api.Request, pins: api.Json) -> api.Recipe:
        """Unpacks the modules where Go would, and checks them. Nothing of them runs."""
        from envtool_go import module_cache
        from envtool_go.go_files import escaped

        unpacked = tuple(
            api.Unpack(
                name=name,
                target=f"{module_cache.TOP}/{escaped(module.path)}@{escaped(module.version)}",
                strip=module.path.count("/") + 1,
            )
            for name, module, _ in _zips(pins)
        )
        finish = api.Call(
            function=module_cache.finish_cache, arguments=(self.build_document(pins),), prepare=module_cache.prepare
        )
        return api.Recipe(steps=(*unpacked, finish), phase="unpacking")

    def summary(self, request: api.Request, pins: api.Json) -> str:
        """As in `14 modules`."""
        number = len(_zips(pins))
        return f"{number} module{'' if number == 1 else 's'}"


class GoModule(api.Kind):
    """`go-module: {module: golang.org/x/text, version: v0.14.0, to: /src, sum: "h1:…"}`."""

    name: ClassVar[str] = "go-module"
    stands_in: ClassVar[bool] = True
    pins: ClassVar[api.Json] = api.shapes.record({"sha256": api.shapes.SHA256, "size": api.shapes.SIZE})
    schema: ClassVar[api.Json] = {
        "description": "the sources of one published module, unpacked into a directory of the layer",
        "examples": [{"module": "golang.org/x/text", "version": "v0.14.0", "to": "/src", "sum": f"h1:{'A' * 43}="}],
        "type": "object",
        "additionalProperties": False,
        "required": ["module", "version", "to", "sum"],
        "properties": {
            "module": {**_PATH, "description": "the path of the module"},  # type: ignore[dict-item]
            "version": {**_VERSION, "description": "its exact version"},  # type: ignore[dict-item]
            "to": {
                "type": "string",
                "pattern": r"^/(?!.*(?:^|/)\.\.(?:/|$))[^\x00-\x1f\x7f]+$",
                "errorMessage": "an absolute path without `..`",
                "description": "the directory that its files are unpacked into",
            },
            "sum": {**_SUM, "description": "its hash, as go.sum has it"},  # type: ignore[dict-item]
        },
    }

    def resolve(self, request: api.Request, site: api.Site) -> api.Json:
        """Fetches the archive and checks its hash. Raises ResolveError, FetchError."""
        from envtool_go.resolver import learn_files, stack_locator

        options = _as_mapping(request.options)
        locator = stack_locator(site, GO, self.name)
        ((_, row),) = learn_files(site, locator, {_named(options): options["sum"]}, "zip")
        return {"sha256": row["sha256"], "size": row["size"]}

    def package(self, file: str) -> tuple[str, str]:
        """See api.Kind."""
        return package_of(file)

    def fetches(self, request: api.Request, pins: api.Json) -> tuple[api.Fetch, ...]:
        """The archive of the module."""
        assert isinstance(pins, dict)
        values: Any = pins
        return (api.Fetch(sha256=values["sha256"], size=values["size"], name=self._blob(request)),)

    def _blob(self, request: api.Request) -> str:
        from envtool_go.resolver import blob_name

        module = _named(_as_mapping(request.options))
        return blob_name(module.path, module.version, "zip")

    def locate(
        self, request: api.Request, pins: api.Json, fetches: Sequence[api.Fetch], site: api.Site
    ) -> Sequence[api.Fetch]:
        """Finds the archive where this machine's Go looks."""
        from envtool_go.resolver import located, stack_locator

        names = {self._blob(request): _named(_as_mapping(request.options))}
        return located(fetches, names, stack_locator(site, GO, self.name))

    def build(self, request: api.Request, pins: api.Json) -> api.Recipe:
        """Unpacks the module, and checks it. Nothing of it runs."""
        from envtool_go import module_cache

        options = _as_mapping(request.options)
        blob = self._blob(request)
        strip = options["module"].count("/") + 1
        return api.Recipe(
            steps=(
                api.Call(
                    function=module_cache.check_archive,
                    arguments=(f"{api.BLOBS}/{blob}", options["sum"]),
                    prepare=module_cache.prepare,
                ),
                api.Unpack(name=blob, target=options["to"], strip=strip),
                api.Call(function=module_cache.open_files, arguments=(options["to"],)),
            ),
            phase="unpacking",
        )

    def summary(self, request: api.Request, pins: api.Json) -> str:
        """As in `golang.org/x/text v0.14.0`."""
        options = _as_mapping(request.options)
        return f"{options['module']} {options['version']}"


def package_of(file: str) -> tuple[str, str]:
    """Returns ("golang.org/x/text", "v0.14.0") for `golang.org+x+text@v0.14.0.zip`; (the name, "") for another."""
    import re

    match = re.fullmatch(r"(.+)@(v.+)\.(?:zip|mod)", re.sub(r"!([a-z])", lambda found: found[1].upper(), file))
    return (match[1].replace("+", "/"), match[2]) if match else (file, "")


def join(*parts: str) -> str:
    """Returns a normalised path."""
    return posixpath.normpath(posixpath.join(*parts))


def _text(directory: str, name: str, *, required: bool = True) -> api.Input:
    return api.Input(join(directory, name), use="text", required=required)


def _sources(request: api.Request) -> GoSources:
    from envtool_go.resolver import GoSources

    files = {path: text for path, text in request.texts.items() if not path.endswith(".sum")}
    return GoSources(files=files, sums={path: text for path, text in request.texts.items() if path.endswith(".sum")})


def _as_mapping(options: api.Json) -> dict[str, Any]:
    return options if isinstance(options, dict) else {}


def _directory(settings: Mapping[str, Any]) -> str:
    return join(str(settings.get("directory", ".")))


def _go(settings: Mapping[str, Any]) -> str:
    return str(settings.get("go", GO))


def _named(options: Mapping[str, Any]) -> ModuleVersion:
    from envtool_go.go_files import ModuleVersion

    return ModuleVersion(options["module"], options["version"])


def _place(module: ModuleVersion) -> str:
    from envtool_go.go_files import escaped

    return f"{escaped(module.path)}/@v/{escaped(module.version)}"


def _zips(pins: api.Json) -> list[tuple[str, ModuleVersion, dict[str, Any]]]:
    return _rows(pins, "modules", "name", "zip")


def _mods(pins: api.Json) -> list[tuple[str, ModuleVersion, dict[str, Any]]]:
    return _rows(pins, "manifests", "module", "mod")


def _rows(pins: api.Json, part: str, key: str, ending: str) -> list[tuple[str, ModuleVersion, dict[str, Any]]]:
    """Returns, for each pinned file, its name in a build, its module and its pin."""
    from envtool_go.go_files import ModuleVersion
    from envtool_go.resolver import blob_name

    assert isinstance(pins, dict)
    rows: Any = pins[part]
    return [(blob_name(row[key], row["version"], ending), ModuleVersion(row[key], row["version"]), row) for row in rows]


FILES = ("go.work", "go.mod")  # that name a version, the first that does


class GoToolchain(api.ToolchainKind):
    """A release of Go, as the Go proxies have them."""

    name: ClassVar[str] = "go-toolchain"
    tool: ClassVar[str] = "go"
    title: ClassVar[str] = "Go"

    def sources(self) -> Sequence[ToolchainSource]:
        """The proxies."""
        from envtool_go.go_releases import GoProxy

        return (GoProxy(),)

    def strip(self, row: Mapping[str, api.Json]) -> int:
        """The names in an archive begin with the module and its version."""
        return 2

    def accepts(self, wanted: str, version: str) -> bool:
        """Also `>=1.22`, as the line `go` of go.mod means it."""
        if not wanted.startswith(">="):
            return super().accepts(wanted, version)
        from envtool.api.toolchains import sort_key

        return sort_key(version) >= sort_key(wanted.removeprefix(">="))

    def package(self, file: str) -> tuple[str, str]:
        """See api.Kind."""
        return ("go", file[len("go-") : -len(".zip")])

    def variables(self, request: api.Request, pins: api.Json) -> Mapping[str, str | None]:
        """Keeps Go from fetching another Go."""
        return {**super().variables(request, pins), "GOTOOLCHAIN": "local"}

    def build(self, request: api.Request, pins: api.Json) -> api.Recipe:
        """Unpacks the release, and undoes what its form as a module changes."""
        from envtool_go import module_cache

        recipe = super().build(request, pins)
        finish = api.Call(function=module_cache.finish_toolchain, arguments=(self.directory,))
        return replace(recipe, steps=(*recipe.steps, finish))


def wants(project: api.Project) -> Iterator[api.WantedVersion]:
    """Yields what go.work says, else go.mod: `toolchain` names a release, `go` the lowest one that will do. As in Go, a
    `toolchain` below the line `go` does not count (https://go.dev/doc/toolchain). Raises SpecError."""
    from envtool.api.toolchains import sort_key
    from envtool_go.go_files import GoFileError, wanted_releases

    for name in FILES:
        text = project.read(name)
        if text is None:
            continue
        try:
            releases = wanted_releases(text, name)
        except GoFileError as error:
            where = api.Where(file=error.file, line=error.line, column=1)
            line = (text.splitlines()[error.line - 1 : error.line] or [""])[0]
            problem = api.Problem(where=where, message=str(error), code="go-file", text=line)
            raise api.SpecError((problem,)) from None
        named = [verb for verb in ("toolchain", "go") if verb in releases]
        if len(named) == 2 and sort_key(releases["toolchain"][0]) < sort_key(releases["go"][0]):
            named = ["go"]
        for verb in named:
            wanted, number = releases[verb]
            allows = f">={wanted}" if verb == "go" else ""
            yield api.WantedVersion(wanted=wanted, file=name, line=number, entry=verb, allows=allows)
        if releases:
            return


TOOLCHAIN = api.Toolchain(name="go", kind=GoToolchain.name, wants=wants, files=FILES, names=("golang",))
