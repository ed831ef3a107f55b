"""The kind `apt`: packages for a stack. The stack's own apt chooses them from a verified index and installs them
offline. And the kind `deb-src`: the sources of a package."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from envtool.api import BLOBS, Command, Json, Kind, Request, ResolveError, Site, shapes
from envtool.kinds.copy import TARGET
from envtool.kinds.debian import bootstrap
from envtool.kinds.debian import pins as pinned
from envtool.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from envtool.api import Bind, Completed, Fetch, Recipe
    from envtool.kinds.debian.apt_sources import AptSources
    from envtool.kinds.debian.package_index import PackageIndex

_NAME: Json = {
    "type": "string",
    "pattern": r"^[a-z0-9][a-z0-9+.-]*(:[a-z0-9]+)?(=[A-Za-z0-9.+:~-]+)?$",
    "errorMessage": "the name of a package in small letters, perhaps with a version, as in gcc or libssl-dev=3.0.11-1",
    "description": "A package, or `name=version`.",
}
_NAMES: Json = {
    "type": "array",
    "items": _NAME,
    "minItems": 1,
    "description": "Packages, or `name=version`.",
    "examples": [["gcc", "make"]],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AptOptions:
    """The options: package names (or `name=version`), and whether recommended packages are installed too."""

    packages: tuple[str, ...]
    recommends: bool = False

    @classmethod
    def read(cls, options: Json) -> AptOptions:
        """Reads the options of the spec: a list, or a mapping."""
        value: Any = {"packages": options} if isinstance(options, list) else options
        return cls(packages=tuple(value["packages"]), recommends=value.get("recommends", False))

    def install(self) -> tuple[str, ...]:
        """Returns the command that both resolves and installs, without the packages."""
        recommends = "--install-recommends" if self.recommends else "--no-install-recommends"
        return ("apt-get", "install", "--yes", recommends)


class Apt(Kind):
    """The layer kind. Its pins: `lists` (the Packages files that the packages were chosen from) and `debs`."""

    name: ClassVar[str] = "apt"
    version: ClassVar[int] = 2
    of_base: ClassVar[bool] = True
    stands_in: ClassVar[bool] = True
    pins: ClassVar[Json] = shapes.record(pinned.SCHEMA)
    schema: ClassVar[Json] = {
        "description": "Debian packages: a list of names, or a mapping.",
        "examples": [["gcc", "make"]],
        "anyOf": [
            _NAMES,
            {
                "type": "object",
                "additionalProperties": False,
                "required": ["packages"],
                "properties": {
                    "packages": _NAMES,
                    "recommends": {
                        "type": "boolean",
                        "description": "Also install recommended packages. Default: false.",
                    },
                },
            },
        ],
    }

    def question(self, request: Request) -> Json:
        """Returns the options, and the hashes of the index where the base's pins have it."""
        base: Any = request.base_pins if request.base_kind == "debian" else None
        return {"options": request.options, "lists": [item["sha256"] for item in base["lists"]] if base else []}

    def resolve(self, request: Request, site: Site) -> Json:
        """Asks the stack's apt what it would install from the verified index. Its container has no network."""
        from envtool.kinds.debian import apt_sources, stand_in

        options = AptOptions.read(request.options)
        settings: tuple[str, ...] = ()
        binds: tuple[Bind, ...] = ()
        if request.stand_in is not None:
            stand_in.check_base(request)
        sources = apt_sources.read_apt_sources(request, site)
        if request.stand_in is not None:
            settings = stand_in.apt_settings(sources.arch)
            binds = (stand_in.status_bind(request.stand_in, sources, site),)
        simulate = functools.partial(_simulate_install, options, sources, site, settings, binds)
        result = simulate("-qq", "--print-uris")
        if result.status:
            raise _apt_error(options, sources, simulate("--simulate"))
        debs = [_parse_pin_line(line) for line in result.stdout.decode().splitlines() if line.startswith("'")]
        used = sorted({item["list"] for item in debs})
        return {
            "suite": sources.suite,
            "arch": sources.arch,
            "lists": [sources.lists[index].json() for index in used],
            "debs": [
                {
                    key: value
                    for key, value in (item | {"list": used.index(item["list"])}).items()
                    if key != "list" or value
                }
                for item in sorted(debs, key=lambda item: item["name"])
            ],
        }

    def package(self, file: str) -> tuple[str, str]:
        """Returns ("gcc", "4:12.2.0-3") for `gcc_4%3a12.2.0-3_amd64.deb`."""
        return pinned.package_of_deb(file)

    def fetches(self, request: Request, pins: Json) -> tuple[Fetch, ...]:
        """Returns the debs."""
        return pinned.deb_fetches(pins)

    def locate(self, request: Request, pins: Json, fetches: Sequence[Fetch], site: Site) -> Sequence[Fetch]:
        """Returns the debs with their URLs: on the mirrors of the spec, of the system that they were chosen on, or of
        this machine."""
        return pinned.locate_debs(request, pins, fetches, site)

    def material(self, request: Request, pins: Json) -> Json:
        """Returns the packages that the spec names; the names and hashes of the debs are in the key."""
        options = AptOptions.read(request.options)
        return {"packages": [*sorted(options.packages)], "recommends": options.recommends}

    def build(self, request: Request, pins: Any) -> Recipe:
        """Returns a recipe that offers the debs to apt as an archive, and lets apt install the packages that the spec
        names."""
        from envtool.api import Call, Recipe, Run
        from envtool.kinds.debian import offline_repo

        options = AptOptions.read(request.options)
        debs: list[Json] = [
            [pinned.file_name(item), item["size"], item["sha256"]]
            for item in sorted(pins["debs"], key=pinned.file_name)
        ]
        names = sorted(item["name"] for item in pins["debs"])
        environment: dict[str, Any] = bootstrap.ENVIRONMENT | {"APT_CONFIG": offline_repo.CONFIG}
        return Recipe(
            steps=(
                Call(
                    function=offline_repo.prepare_apt_archive,
                    arguments=(debs, pins["arch"], BLOBS, *_debconf_flags(names)),
                ),
                *(bootstrap.shell_step(_NO_DIRECTORY) for name in names if name == "slapd"),
                Run(command=Command(argv=(*options.install(), *sorted(options.packages))), env=environment),
                Call(function=offline_repo.install_rest, arguments=(debs, environment)),
                bootstrap.recompile_step(),
                Call(function=offline_repo.finish_install, arguments=(debs,)),
            ),
            drop=(*bootstrap.DROP, *offline_repo.DROP),
            phase="installing",
        )

    def summary(self, request: Request, pins: Json) -> str:
        """Returns the number and size of the debs, as in "14 packages, 9 MB"."""
        return pinned.summary(pins)


# slapd's package would make a database with a random password, random identifiers and the current time.
_NO_DIRECTORY = "echo 'slapd slapd/no_configuration boolean true' | debconf-set-selections"


def _debconf_flags(names: list[str]) -> tuple[bool]:
    # PostgreSQL's package would make a cluster with a random identifier and random certificates.
    return (any(name.startswith("postgresql") for name in names),)


# apt can read compressed lists, but reads the file from its start for each package: ten seconds for a hundred.
# apt-helper unpacks them where the system has no xz.
_SCRIPT = """
mkdir -p /var/lib/apt/lists/partial
cd /run/envtool-lists
for file in *; do /usr/lib/apt/apt-helper cat-file "$file" > "/var/lib/apt/lists/${file%.*}"; done
cd /
printf '%s\\n' "$SOURCES" > /run/envtool.list
exec "$@"
"""


def _simulate_install(
    options: AptOptions,
    sources: AptSources,
    site: Site,
    more_settings: tuple[str, ...],
    more_binds: tuple[Bind, ...],
    *arguments: str,
) -> Completed:
    from envtool.api import Bind

    sources_list = "\n".join(
        f"deb [arch={sources.arch} trusted=yes] http://{index}.invalid {item.suite} {item.component}"
        for index, item in enumerate(sources.lists)
    )
    settings = (
        "Acquire::ForceHash=SHA256",
        "APT::Sandbox::User=root",
        "Dir::Etc::SourceList=/run/envtool.list",
        "Dir::Etc::SourceParts=-",
        "Dir::Cache::pkgcache=",
        "Dir::Cache::srcpkgcache=",
        *more_settings,
    )
    argv = [
        *options.install(),
        *arguments,
        *(word for option in settings for word in ("-o", option)),
        *options.packages,
    ]
    binds = [
        Bind(source=str(path), target=f"/run/envtool-lists/{_list_name(index, item, sources.arch)}")
        for index, (item, path) in enumerate(zip(sources.lists, sources.paths, strict=True))
    ]
    environment = bootstrap.ENVIRONMENT | {"SOURCES": sources_list}
    return site.run(
        Command(argv=("/bin/sh", "-ec", _SCRIPT, "sh", *argv)), env=environment, binds=[*binds, *more_binds]
    )


def _list_name(index: int, item: pinned.PackageList, arch: str) -> str:
    # apt names the file of an index by its URL, with underscores for slashes.
    suite = item.suite.replace("/", "_")
    return f"{index}.invalid_dists_{suite}_{item.component.replace('/', '_')}_binary-{arch}_Packages.{item.form}"


def _parse_pin_line(line: str) -> dict[str, Any]:
    # 'http://0.invalid/pool/main/h/hello/hello_2.10-3_amd64.deb' hello_2.10-3_amd64.deb 53080 SHA256:…
    url, _, fields = line[1:].partition("' ")
    words = fields.split()
    host, _, path = url.partition("://")[2].partition("/")
    if len(words) < 3 or not words[2].startswith("SHA256:"):
        raise ResolveError(f"apt names no SHA256 for {url}", code="apt-output")
    from urllib.parse import unquote

    name, version, arch = unquote(words[0].removesuffix(".deb")).split("_")
    return {
        "name": name,
        "version": version,
        "arch": arch,
        "path": unquote(path),
        "sha256": words[2].removeprefix("SHA256:"),
        "size": int(words[1]),
        "list": int(host.partition(".")[0]),
    }


def _apt_error(options: AptOptions, sources: AptSources, result: Completed) -> ResolveError:
    from envtool.kinds.debian import dependencies, suite_index

    output = (result.stdout + b"\n" + result.stderr).decode(errors="replace")
    index: PackageIndex | None = None
    if "Unable to locate package" in output or "has no installation candidate" in output:
        index = suite_index.read_index(sources.lists, sources.paths)
        try:
            dependencies.require_packages(
                index, [re.split("[:=]", item)[0] for item in options.packages], sources.suite
            )
        except ResolveError as error:
            return error
    for item in options.packages:
        name, _, version = item.partition("=")
        plain_name = name.partition(":")[0]
        if not any(
            text in output
            for text in (f"package {plain_name}\n", f"'{plain_name}'", f"Package {plain_name} ", f" {plain_name}\n")
        ):
            continue
        index = index or suite_index.read_index(sources.lists, sources.paths)
        if plain_name not in index and not index.providers(plain_name):
            return ResolveError(
                f"no package `{plain_name}` in {sources.suite}",
                code="no-package",
                hint=dependencies.nearest_name_hint(plain_name, index),
            )
        versions = [package.version for package in index.versions(plain_name)] if plain_name in index else []
        if version and version not in versions:
            return ResolveError(
                f"no version {version} of package `{plain_name}` in {sources.suite}",
                code="no-version",
                hint=f"it has {', '.join(versions)}",
            )
        if not versions:
            names = ", ".join(f"`{package.name}`" for package in index.providers(plain_name))
            return ResolveError(
                f"package `{plain_name}` is virtual in {sources.suite}",
                code="virtual-package",
                hint=f"name one of {names}",
            )
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith(("Reading", "Building"))]
    return ResolveError(
        f"apt finds no way to install {', '.join(options.packages)}:\n"
        + "\n".join(f"  {line}" for line in lines[-20:]),
        code="apt",
    )


# ---- sources -----------------------------------------------------------------------------------------------------


class SourcePackage(Kind):
    """`deb-src: {name: zlib, to: /src}`."""

    name: ClassVar[str] = "deb-src"
    needs_only: ClassVar[bool] = True
    schema: ClassVar[Json] = {
        "description": "the sources of a Debian package, as its authors released them: without Debian's patches and"
        " files",
        "examples": [{"name": "zlib", "to": "/src"}],
        "type": "object",
        "required": ["name", "to"],
        "additionalProperties": False,
        "properties": {
            "name": {"description": "the source package", **pinned.SOURCE},
            "to": {"description": "absolute path of the directory that its files are put into", **TARGET},
            "version": {
                "type": "string",
                "minLength": 1,
                "description": "the authors' version, as in 1.2.13; an error if the suite has another",
            },
            "suite": {"description": "the suite; default: that of a `debian` base", **pinned.SUITE},
        },
    }
    pins: ClassVar[Json] = pinned.SOURCE_PINS

    def question(self, request: Request) -> Json:
        """Returns the options and the suite."""
        return [request.options, _suite(request)]

    def resolve(self, request: Request, site: Site) -> Json:
        """Finds the package in the suite's index of sources. Raises ResolveError, FetchError."""
        from envtool.kinds.debian import source_index

        suite, name = _suite(request), str(_source_options(request)["name"])
        if not suite:
            raise ResolveError(
                f"layer `{request.name}`: whose sources of {name}? The base is no suite of Debian",
                code="no-suite",
                hint="name one: `suite: bookworm`",
            )
        return source_index.find_source(name, suite, _source_options(request).get("version"), site)

    def fetches(self, request: Request, pins: Any) -> tuple[Fetch, ...]:
        """Returns the archives."""
        from envtool.api import Fetch

        return tuple(Fetch(sha256=item["sha256"], size=item["size"], name=item["file"]) for item in pins["files"])

    def locate(self, request: Request, pins: Any, fetches: Sequence[Fetch], site: Site) -> Sequence[Fetch]:
        """Returns the archives with their URLs on this machine's mirrors. Raises ResolveError if none is known."""
        from envtool.kinds.debian import mirrors

        mirrors.allow_host_archives(site)
        archives = mirrors.archive_urls("", pins["suite"], pins["suite"], request.epoch)
        return [pinned.with_archives(fetch, archives, f"{pins['directory']}/{fetch.name}") for fetch in fetches]

    def material(self, request: Request, pins: Any) -> Json:
        """Returns the target directory: the hashes of the archives are in the key already."""
        return {"to": _target(request), "files": [item["file"] for item in pins["files"]]}

    def build(self, request: Request, pins: Any) -> Recipe:
        """Unpacks the authors' archive without its own top directory, and those of components."""
        from envtool.api import Recipe
        from envtool.kinds.debian import source_index

        steps = source_index.unpack_steps([str(item["file"]) for item in pins["files"]], _target(request))
        return Recipe(steps=steps, phase="unpacking")

    def summary(self, request: Request, pins: Any) -> str:
        """As in `zlib 1.2.13`."""
        from envtool.kinds.debian.source_index import upstream_version

        return f"{pins['name']} {upstream_version(pins['version'])}"


def _suite(request: Request) -> str:
    pins: Any = request.base_pins
    chosen = _source_options(request).get("suite")
    return str(chosen or (pins["suite"] if request.base_kind == "debian" else ""))


def _target(request: Request) -> str:
    import posixpath

    return posixpath.normpath(str(_source_options(request)["to"]))


def _source_options(request: Request) -> dict[str, Any]:
    assert isinstance(request.options, dict)
    return request.options
