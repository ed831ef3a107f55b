"""The layer kinds `cargo`, the crates of a project as a directory source, and `crate`, the sources of one crate; the
toolchain rust."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from envtool import api

if TYPE_CHECKING:
    from envtool.api.toolchains import ToolchainSource
    from envtool_rust.cargo_lock import LockedCrate
    from envtool_rust.resolver import RustSources

CARGO = "cargo"
COMPONENTS = {"clippy": "rust-clippy", "rustfmt": "rustfmt", "doc": "rust-doc"}  # component -> Debian's package
OPTIONS: dict[str, api.Json] = {
    "cargo": {"type": "string", "minLength": 1, "description": "the command in the env (default: cargo)"},
    "directory": {
        "type": "string",
        "minLength": 1,
        "description": "where Cargo.toml is (default: beside the spec)",
    },
}
COMPONENT_OPTION: api.Json = {
    "type": "array",
    "items": {"enum": [*COMPONENTS]},
    "uniqueItems": True,
    "description": "what is installed beside cargo and rustc, on a Debian base",
}
_GIT_ARCHIVE = "git-packages.tar"
_TEXT = api.shapes.TEXT
_COMMIT: api.Json = {
    "type": "string",
    "pattern": "^[0-9a-f]{40,64}$",
    "errorMessage": "a commit of 40 or 64 hex digits",
}
_NAME: api.Json = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$", "errorMessage": "the name of a crate"}
_VERSION: api.Json = {"type": "string", "pattern": r"^[0-9A-Za-z.+-]{1,150}$", "errorMessage": "a version, as in 1.0.0"}
PINS = api.shapes.record(
    {
        "crates": api.shapes.rows(
            api.shapes.record({"name": _NAME, "version": _VERSION, "sha256": api.shapes.SHA256}, {"registry": _TEXT})
        ),
        "git": {
            "anyOf": [
                {"type": "null"},
                api.shapes.record(
                    {
                        "repositories": api.shapes.rows(
                            api.shapes.record({"url": _TEXT, "commit": _COMMIT, "reference": _TEXT})
                        ),
                        "sha256": api.shapes.SHA256,
                        "size": api.shapes.SIZE,
                    }
                ),
            ]
        },
        "lock": {"anyOf": [{"type": "null"}, api.shapes.rows(_TEXT)]},
    }
)


class Cargo(api.Kind):
    """`cargo: {}`, `cargo: {directory: tools}`."""

    name: ClassVar[str] = "cargo"
    pins: ClassVar[api.Json] = PINS
    needs_only: ClassVar[bool] = True
    stands_in: ClassVar[bool] = True  # Cargo.lock has the crates of every architecture
    schema: ClassVar[api.Json] = {
        "description": "the crates of a project, pinned by its Cargo.lock (or by cargo, if it has none), fetched by"
        " hash: cargo uses them in place of registries and git repositories, offline",
        "examples": [{"directory": "tools"}],
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {
            **OPTIONS,
            "manifests": {
                "type": "array",
                "items": {"type": "string", "minLength": 1},
                "description": "the Cargo.toml of each further package of the workspace; only needed without a"
                " Cargo.lock, or for git repositories: `language: rust` finds them",
            },
        },
    }

    def inputs(self, options: api.Json) -> tuple[api.Input, ...]:
        """The texts of Cargo.lock, of cargo's settings, and of the manifests that the options name."""
        settings = _as_mapping(options)
        directory = _directory(settings)
        manifests = {*settings.get("manifests", ()), join(directory, "Cargo.toml")}
        optional = (join(directory, "Cargo.lock"), *_config_paths(directory))
        return (
            *(api.Input(path, use="text") for path in sorted(manifests)),
            *(api.Input(path, use="text", required=False) for path in optional),
        )

    def question(self, request: api.Request) -> api.Json:
        """With a lock file, the answer depends on the crates in it; without one, or for git repositories, also on what
        the manifests say about dependencies. It never depends on cargo's settings of one machine."""
        from envtool_rust.resolver import crate_rows, read_lock

        sources = _sources(request)
        if sources.lock is None:
            return {"manifests": {**sources.reduced()}, "cargo": sources.cargo}
        lock = read_lock(sources.lock, sources.lock_path())
        rows: list[api.Json] = [*crate_rows(lock)]
        if not lock.repositories:
            return {"crates": rows}
        git: list[api.Json] = [[item.url, item.commit, item.reference] for item in lock.repositories]
        return {"crates": rows, "git": git, "manifests": {**sources.reduced()}, "cargo": sources.cargo}

    def resolve(self, request: api.Request, site: api.Site) -> api.Json:
        """See resolver. Raises ResolveError, FetchError."""
        from envtool_rust.resolver import resolve_pins

        return resolve_pins(request, site, _sources(request))

    def fetches(self, request: api.Request, pins: api.Json) -> tuple[api.Fetch, ...]:
        """The file of every crate, and the packages from git."""
        crates = tuple(api.Fetch(sha256=crate.sha256, name=name) for crate, name in _named(pins))
        git = _git(pins)
        archive = (api.Fetch(sha256=git["sha256"], name=_GIT_ARCHIVE, size=git["size"]),) if git else ()
        return (*crates, *archive)

    def locate(
        self, request: api.Request, pins: api.Json, fetches: Sequence[api.Fetch], site: api.Site
    ) -> Sequence[api.Fetch]:
        """Finds the crates where this machine's cargo looks; makes the archive of packages from git once more."""
        from envtool_rust.crate_downloads import CrateLocator
        from envtool_rust.resolver import default_index_config

        sources = _sources(request)
        config = sources.host_config()
        crates = {name: crate for crate, name in _named(pins)}
        locator = CrateLocator(
            config, site, lambda crate: default_index_config(site, sources.cargo, crate, config), name=self.name
        )
        located = []
        for fetch in fetches:
            if fetch.name == _GIT_ARCHIVE:
                located.append(replace(fetch, url=_vendored_again(site, sources, pins, fetch.sha256)))
                continue
            url, authorization = locator.locate(crates[fetch.name])
            located.append(replace(fetch, url=url, authorization=authorization))
        return located

    def material(self, request: api.Request, pins: api.Json) -> api.Json:
        """Returns the document for vendoring.finish_sources; the core adds the files' hashes."""
        return self.build_document(request, pins)

    def build_document(self, request: api.Request, pins: api.Json) -> dict[str, api.Json]:
        """Returns the document for vendoring.finish_sources."""
        from envtool_rust import vendoring
        from envtool_rust.toml_text import toml_text

        assert isinstance(pins, dict)
        lines = pins["lock"]
        crates: list[api.Json] = [[_place(crate), crate.sha256] for crate, _ in _named(pins)]
        directories = {_registry_directory(""), *(posixpath.dirname(_place(crate)) for crate, _ in _named(pins))}
        return {
            "crates": crates,
            "directories": [*sorted(directories)],
            "git": vendoring.GIT if _git(pins) else "",
            "config": toml_text({"source": source_replacements(pins, _sources(request).config)}),
            "lock": "".join(f"{line}\n" for line in lines) if isinstance(lines, list) else "",
        }

    def generated(self, request: api.Request, pins: api.Json) -> Mapping[str, str]:
        """The Cargo.lock that cargo made lies beside Cargo.toml, unless the project has one."""
        from envtool_rust import vendoring

        assert isinstance(pins, dict)
        if pins["lock"] is None:
            return {}
        path = join(request.directory, _directory(_as_mapping(request.options)), "Cargo.lock")
        return {path: f"{vendoring.LOCK}/Cargo.lock"}

    def variables(self, request: api.Request, pins: api.Json) -> Mapping[str, str]:
        """Keeps cargo from asking registries: what it needs is here."""
        cargo = str(_as_mapping(request.options).get("cargo", CARGO))
        path = {"PATH": posixpath.dirname(cargo)} if "/" in cargo else {}
        return {"CARGO_NET_OFFLINE": "true", **path}

    def build(self, request: api.Request, pins: api.Json) -> api.Recipe:
        """Unpacks the crates. Nothing of them runs."""
        from envtool_rust import vendoring

        unpacked = tuple(api.Unpack(name=name, target=_place(crate), strip=1) for crate, name in _named(pins))
        git = (api.Unpack(name=_GIT_ARCHIVE, target=vendoring.GIT),) if _git(pins) else ()
        finish = api.Call(function=vendoring.finish_sources, arguments=(self.build_document(request, pins),))
        return api.Recipe(steps=(*unpacked, *git, finish), phase="unpacking")

    def summary(self, request: api.Request, pins: api.Json) -> str:
        """As in `14 crates`, `14 crates, 1 git repository`."""
        git = _git(pins)
        number, repositories = len(_named(pins)), len(git["repositories"]) if git else 0
        crates = f"{number} crate{'' if number == 1 else 's'}"
        return f"{crates}, {repositories} git repositor{'y' if repositories == 1 else 'ies'}" if git else crates


class Crate(api.Kind):
    """`crate: {name: semver, version: 1.0.20, to: /src, sha256: …}`."""

    name: ClassVar[str] = "crate"
    schema: ClassVar[api.Json] = {
        "description": "the sources of a crate of cargo's registry, unpacked into a directory of the layer",
        "examples": [{"name": "semver", "version": "1.0.20", "to": "/src", "sha256": "5" * 64}],
        "type": "object",
        "additionalProperties": False,
        "required": ["name", "version", "to", "sha256"],
        "properties": {
            "name": {
                "type": "string",
                "pattern": "^[A-Za-z0-9_-]{1,64}$",
                "errorMessage": "the name of a crate",
                "description": "the crate",
            },
            "version": {
                "type": "string",
                "pattern": r"^\d+\.\d+\.\d+[0-9A-Za-z.+-]{0,128}$",
                "errorMessage": "an exact version, as in 1.0.20",
                "description": "its exact version",
            },
            "to": {
                "type": "string",
                "pattern": r"^/(?!.*(?:^|/)\.\.(?:/|$))[^\x00-\x1f\x7f]+$",
                "errorMessage": "an absolute path without `..`",
                "description": "the directory that its files are unpacked into",
            },
            "sha256": {
                **(api.shapes.SHA256 if isinstance(api.shapes.SHA256, dict) else {}),
                "description": "of the crate's file: its `checksum` in Cargo.lock",
            },
        },
    }

    def fetches(self, request: api.Request, pins: api.Json) -> tuple[api.Fetch, ...]:
        """The file of the crate."""
        options = _options(request)
        return (api.Fetch(sha256=options["sha256"], name=f"{options['name']}-{options['version']}.crate"),)

    def locate(
        self, request: api.Request, pins: api.Json, fetches: Sequence[api.Fetch], site: api.Site
    ) -> Sequence[api.Fetch]:
        """Finds the crate where this machine's cargo looks."""
        import os

        from envtool_rust.cargo_config import host_config
        from envtool_rust.cargo_lock import LockedCrate
        from envtool_rust.crate_downloads import CrateLocator
        from envtool_rust.resolver import default_index_config

        options = _options(request)
        config = host_config("", os.environ)
        crate = LockedCrate(name=options["name"], version=options["version"], sha256=options["sha256"])
        locator = CrateLocator(
            config, site, lambda name: default_index_config(site, CARGO, name, config), name=self.name
        )
        url, authorization = locator.locate(crate)
        return [replace(fetch, url=url, authorization=authorization) for fetch in fetches]

    def build(self, request: api.Request, pins: api.Json) -> api.Recipe:
        """Unpacks the crate. Nothing of it runs."""
        from envtool_rust.vendoring import open_sources

        options = _options(request)
        (fetch,) = self.fetches(request, pins)
        unpack = api.Unpack(name=fetch.name, target=options["to"], strip=1)
        return api.Recipe(
            steps=(unpack, api.Call(function=open_sources, arguments=(options["to"],))), phase="unpacking"
        )

    def summary(self, request: api.Request, pins: api.Json) -> str:
        """As in `semver 1.0.20`."""
        options = _options(request)
        return f"{options['name']} {options['version']}"


def source_replacements(pins: api.Json, project_config: str) -> dict[str, Any]:
    """Returns the table `[source]` with which cargo uses the layer's directories. A registry that the project's own
    settings name as a replacement is replaced, too."""
    from envtool_rust import vendoring
    from envtool_rust.cargo_config import parse_config

    tables: dict[str, Any] = {}
    registries = sorted({crate.registry for crate, _ in _named(pins)} | {""})
    for registry in registries:
        directory = _registry_directory(registry)
        target = f"envtool-{posixpath.basename(directory)}"
        tables[target] = {"directory": directory}
        if registry:
            tables[f"{target}-index"] = {"registry": registry, "replace-with": target}
        else:
            tables["crates-io"] = {"replace-with": target}
    named = parse_config(project_config).get("source")
    for name, table in named.items() if isinstance(named, Mapping) else ():
        if isinstance(table, Mapping) and "registry" in table and name not in tables:
            tables[name] = {"replace-with": f"envtool-{posixpath.basename(_registry_directory(''))}"}
    git = _git(pins)
    for number, repository in enumerate(git["repositories"] if git else ()):
        key, _, value = repository["reference"].partition("=")
        reference = {key: value} if key else {}
        tables[f"envtool-git-{number}"] = {"git": repository["url"], **reference, "replace-with": "envtool-git"}
        tables["envtool-git"] = {"directory": vendoring.GIT}
    return tables


def _vendored_again(site: api.Site, sources: RustSources, pins: api.Json, sha256: str) -> str:
    from envtool_rust.resolver import read_lock, vendor_git

    assert isinstance(pins, dict)
    lines = pins["lock"]
    made = "".join(f"{line}\n" for line in lines) if isinstance(lines, list) else ""
    text = sources.lock if sources.lock is not None else made
    archive = vendor_git(site, sources, text, read_lock(text, sources.lock_path()))
    return site.keep([archive], sha256=sha256).as_uri()


def _sources(request: api.Request) -> RustSources:
    from envtool_rust.resolver import RustSources

    settings = _as_mapping(request.options)
    directory = _directory(settings)
    configs = (request.texts.get(path) for path in _config_paths(directory))
    return RustSources(
        cargo=str(settings.get("cargo", CARGO)),
        directory=directory,
        lock=request.texts.get(join(directory, "Cargo.lock")),
        manifests={path: text for path, text in request.texts.items() if posixpath.basename(path) == "Cargo.toml"},
        config=next((text for text in configs if text is not None), ""),
    )


def join(*parts: str) -> str:
    """Returns a normalised path."""
    return posixpath.normpath(posixpath.join(*parts))


def _config_paths(directory: str) -> tuple[str, ...]:
    return tuple(join(directory, ".cargo", name) for name in ("config.toml", "config"))


def _as_mapping(options: api.Json) -> dict[str, Any]:
    return options if isinstance(options, dict) else {}


def _directory(settings: Mapping[str, Any]) -> str:
    return join(str(settings.get("directory", ".")))


def _git(pins: api.Json) -> dict[str, Any]:
    assert isinstance(pins, dict)
    return pins["git"] or {}  # type: ignore[return-value]


def _named(pins: api.Json) -> list[tuple[LockedCrate, str]]:
    """Returns the pinned crates and the name of each one's file in a build: those of other registries come with a part
    of the registry's hash, since it may have a crate of the same name."""
    from envtool_rust.cargo_lock import LockedCrate
    from envtool_rust.crate_downloads import file_name

    assert isinstance(pins, dict)
    rows: Any = pins["crates"]
    crates = [
        LockedCrate(name=row["name"], version=row["version"], sha256=row["sha256"], registry=row.get("registry", ""))
        for row in rows
    ]
    return [
        (crate, f"{_registry_hash(crate.registry)}-{file_name(crate)}" if crate.registry else file_name(crate))
        for crate in crates
    ]


def _place(crate: LockedCrate) -> str:
    return f"{_registry_directory(crate.registry)}/{crate.name}-{crate.version}"


def _registry_directory(registry: str) -> str:
    from envtool_rust import vendoring

    return f"{vendoring.TOP}/{f'registry-{_registry_hash(registry)}' if registry else 'crates'}"


def _registry_hash(registry: str) -> str:
    return hashlib.sha256(registry.encode()).hexdigest()[:8]


def _options(request: api.Request) -> dict[str, Any]:
    assert isinstance(request.options, dict)
    return request.options


# ---- the toolchain ---------------------------------------------------------------------------------------------------


class RustToolchain(api.MirroredToolchainKind):
    """A release of Rust: rustc, cargo, the standard library of the machine's own target, clippy and rustfmt."""

    name: ClassVar[str] = "rust-toolchain"
    tool: ClassVar[str] = "rust"
    title: ClassVar[str] = "Rust"
    elsewhere: ClassVar[str] = "without a toolchain, `language: rust` takes Debian's: 1.63 of bookworm, 1.85 of trixie"

    def sources_for(self, request: api.Request) -> Sequence[ToolchainSource]:
        """The channel servers."""
        from envtool_rust.rust_releases import RustChannel

        return (RustChannel(self.wanted(request), self.earlier(request), self.mirror(request)),)

    def strip(self, row: Mapping[str, api.Json]) -> int:
        """An archive has a directory with its name, and in it one for each component."""
        return 2

    def package(self, file: str) -> tuple[str, str]:
        """As in `rust-std-1.80.1-x86_64-unknown-linux-gnu.tar.xz`."""
        name, version = super().package(file)
        return name, version.partition("-")[0]

    def build(self, request: api.Request, pins: api.Json) -> api.Recipe:
        """Unpacks the components into one directory, without the lists of their installer."""
        from envtool_rust import vendoring

        recipe = super().build(request, pins)
        finish = api.Call(function=vendoring.remove_installer, arguments=(self.directory,))
        return replace(recipe, steps=(*recipe.steps, finish))


def wants(project: api.Project) -> Iterator[api.WantedVersion]:
    """Yields what rust-toolchain and rust-toolchain.toml say. Raises SpecError."""
    from envtool_rust.rust_version_files import wanted_rusts

    return wanted_rusts(project)


TOOLCHAIN = api.Toolchain(
    name="rust",
    kind=RustToolchain.name,
    wants=wants,
    files=("rust-toolchain", "rust-toolchain.toml"),
    mirror="the manifests and archives of rustup (RUSTUP_DIST_SERVER)",
)
