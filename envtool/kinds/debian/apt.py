"""`apt: [PACKAGES]`: packages for a stack, chosen by the stack's own apt from a verified index, installed offline."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from envtool.api import (
    BLOBS,
    Bind,
    Call,
    Command,
    Completed,
    Fetch,
    Json,
    Kind,
    Recipe,
    Request,
    ResolveError,
    Run,
    Site,
    shapes,
)
from envtool.kinds.debian import bootstrap
from envtool.kinds.debian import pins as pinned

if TYPE_CHECKING:
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
    """What the spec says: package names and whether recommended ones come along."""

    packages: tuple[str, ...]
    recommends: bool = False

    @classmethod
    def read(cls, options: Json) -> AptOptions:
        """From the options of the spec: a list, or a mapping."""
        value: Any = {"packages": options} if isinstance(options, list) else options
        return cls(packages=tuple(value["packages"]), recommends=value.get("recommends", False))

    def install(self) -> tuple[str, ...]:
        """The command that both settles and installs."""
        recommends = "--install-recommends" if self.recommends else "--no-install-recommends"
        return ("apt-get", "install", "--yes", recommends)


class Apt(Kind):
    """The layer kind. Its pins: `lists` (the Packages files that it was chosen from) and `debs`."""

    name: ClassVar[str] = "apt"
    version: ClassVar[int] = 2
    of_base: ClassVar[bool] = True
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
                    "recommends": {"type": "boolean", "description": "Also what they recommend. Default: false."},
                },
            },
        ],
    }

    def question(self, request: Request) -> Json:
        """The answer depends on the index as well, which the base's pins name."""
        base: Any = request.base_pins if request.base_kind == "debian" else None
        return {"options": request.options, "lists": [item["sha256"] for item in base["lists"]] if base else []}

    def resolve(self, request: Request, site: Site) -> Json:
        """Ask the apt of the stack what it would install, without network, from the verified index."""
        from envtool.kinds.debian import apt_sources

        wish = AptOptions.read(request.options)
        ground = apt_sources.read_apt_sources(request, site)
        answer = _simulate_install(wish, ground, site, "-qq", "--print-uris")
        if answer.status:
            raise _apt_error(wish, ground, _simulate_install(wish, ground, site, "--simulate"))
        debs = [_parse_pin_line(line) for line in answer.stdout.decode().splitlines() if line.startswith("'")]
        used = sorted({item["list"] for item in debs})
        return {
            "suite": ground.suite,
            "arch": ground.arch,
            "lists": [ground.lists[index].json() for index in used],
            "debs": [
                {
                    key: value
                    for key, value in (item | {"list": used.index(item["list"])}).items()
                    if key != "list" or value
                }
                for item in sorted(debs, key=lambda item: item["name"])
            ],
        }

    def fetches(self, request: Request, pins: Json) -> tuple[Fetch, ...]:
        """The debs."""
        return pinned.deb_fetches(pins)

    def locate(self, request: Request, pins: Json, fetches: Sequence[Fetch], site: Site) -> Sequence[Fetch]:
        """On the mirrors of this machine, or of the spec, or of the system that it was chosen on."""
        return pinned.locate_debs(request, pins, fetches, site)

    def material(self, request: Request, pins: Json) -> Json:
        """The debs (whose names and hashes are in the key), and which of them were asked for."""
        wish = AptOptions.read(request.options)
        return {"packages": [*sorted(wish.packages)], "recommends": wish.recommends}

    def build(self, request: Request, pins: Any) -> Recipe:
        """Offer the debs to apt as an archive of their own, and let it install what was asked for."""
        from envtool.kinds.debian import offline_repo

        wish = AptOptions.read(request.options)
        debs: list[Json] = [
            [pinned.file_name(item), item["size"], item["sha256"]]
            for item in sorted(pins["debs"], key=pinned.file_name)
        ]
        names = sorted(item["name"] for item in pins["debs"])
        environment = bootstrap.ENVIRONMENT | {"APT_CONFIG": offline_repo.CONFIG}
        return Recipe(
            steps=(
                Call(
                    function=offline_repo.prepare_apt_archive,
                    arguments=(debs, pins["arch"], BLOBS, *_debconf_flags(names)),
                ),
                *(bootstrap.shell_step(_NO_DIRECTORY) for name in names if name == "slapd"),
                Run(command=Command(argv=(*wish.install(), *sorted(wish.packages))), env=environment),
                bootstrap.recompile_step(),
                Call(function=offline_repo.finish_install, arguments=(debs,)),
            ),
            drop=(*bootstrap.DROP, *offline_repo.DROP),
            phase="installing",
        )

    def summary(self, request: Request, pins: Json) -> str:
        """As in: 14 packages, 9 MB."""
        return pinned.summary(pins)


# slapd's package would make a first database, with a random password, random identifiers and the time in it.
_NO_DIRECTORY = "echo 'slapd slapd/no_configuration boolean true' | debconf-set-selections"


def _debconf_flags(names: list[str]) -> tuple[bool]:
    # PostgreSQL's package would make a cluster whose identifier and certificates are random.
    return (any(name.startswith("postgresql") for name in names),)


# apt can read compressed lists, but looks each package up from the start of the file: ten seconds for a hundred.
# apt-helper unpacks them where the system has no xz.
_SCRIPT = """
mkdir -p /var/lib/apt/lists/partial
cd /run/envtool-lists
for file in *; do /usr/lib/apt/apt-helper cat-file "$file" > "/var/lib/apt/lists/${file%.*}"; done
cd /
printf '%s\\n' "$SOURCES" > /run/envtool.list
exec "$@"
"""


def _simulate_install(wish: AptOptions, ground: AptSources, site: Site, *how: str) -> Completed:
    sources = "\n".join(
        f"deb [arch={ground.arch} trusted=yes] http://{index}.invalid {item.suite} {item.component}"
        for index, item in enumerate(ground.lists)
    )
    options = (
        "Acquire::ForceHash=SHA256",
        "APT::Sandbox::User=root",
        "Dir::Etc::SourceList=/run/envtool.list",
        "Dir::Etc::SourceParts=-",
        "Dir::Cache::pkgcache=",
        "Dir::Cache::srcpkgcache=",
    )
    argv = [*wish.install(), *how, *(word for option in options for word in ("-o", option)), *wish.packages]
    binds = [
        Bind(source=str(path), target=f"/run/envtool-lists/{_list_name(index, item, ground.arch)}")
        for index, (item, path) in enumerate(zip(ground.lists, ground.paths, strict=True))
    ]
    environment = bootstrap.ENVIRONMENT | {"SOURCES": sources}
    return site.run(Command(argv=("/bin/sh", "-ec", _SCRIPT, "sh", *argv)), env=environment, binds=binds)


def _list_name(index: int, item: pinned.PackageList, arch: str) -> str:
    # How apt names the file of an index: its URL, slashes as underscores.
    suite = item.suite.replace("/", "_")
    return f"{index}.invalid_dists_{suite}_{item.component.replace('/', '_')}_binary-{arch}_Packages.{item.form}"


def _parse_pin_line(line: str) -> dict[str, Any]:
    # 'http://0.invalid/pool/main/h/hello/hello_2.10-3_amd64.deb' hello_2.10-3_amd64.deb 53080 SHA256:…
    url, _, rest = line[1:].partition("' ")
    words = rest.split()
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


def _apt_error(wish: AptOptions, ground: AptSources, answer: Completed) -> ResolveError:
    from envtool.kinds.debian import dependencies, suite_index

    said = (answer.stdout + b"\n" + answer.stderr).decode(errors="replace")
    index: PackageIndex | None = None
    if "Unable to locate package" in said or "has no installation candidate" in said:
        index = suite_index.read_index(ground.lists, ground.paths)
        try:
            dependencies.require_packages(index, [re.split("[:=]", item)[0] for item in wish.packages], ground.suite)
        except ResolveError as error:
            return error
    for item in wish.packages:
        name, _, version = item.partition("=")
        plain = name.partition(":")[0]
        if not any(text in said for text in (f"package {plain}\n", f"'{plain}'", f"Package {plain} ", f" {plain}\n")):
            continue
        index = index or suite_index.read_index(ground.lists, ground.paths)
        if plain not in index and not index.providers(plain):
            return ResolveError(
                f"no package `{plain}` in {ground.suite}",
                code="no-package",
                hint=dependencies.nearest_name_hint(plain, index),
            )
        have = [package.version for package in index.versions(plain)] if plain in index else []
        if version and version not in have:
            return ResolveError(
                f"no version {version} of package `{plain}` in {ground.suite}",
                code="no-version",
                hint=f"it has {', '.join(have)}",
            )
        if not have:
            names = ", ".join(f"`{package.name}`" for package in index.providers(plain))
            return ResolveError(
                f"package `{plain}` is virtual in {ground.suite}", code="virtual-package", hint=f"name one of {names}"
            )
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith(("Reading", "Building"))]
    return ResolveError(
        f"apt finds no way to install {', '.join(wish.packages)}:\n" + "\n".join(f"  {line}" for line in lines[-20:]),
        code="apt",
    )
