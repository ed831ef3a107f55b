"""The layer kind `maven`: an offline repository of all that a real build and test run ask for. `language: java`. The
toolchain java."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from envtool import api

if TYPE_CHECKING:
    from envtool.api.toolchains import ToolchainSource

REPOSITORY = "/opt/maven/repository"
DISTRIBUTION = "/opt/maven/distribution"  # a Maven of the repositories, where the project wants another than the env's
SKIPPED = ("target", ".git", "node_modules", ".envtool", "build", ".idea")
_WORDS: dict[str, api.Json] = {"type": "array", "items": {"type": "string", "minLength": 1}}
OPTIONS: dict[str, api.Json] = {
    "directory": {"type": "string", "minLength": 1, "description": "where pom.xml is (default: beside the spec)"},
    "source": {
        "type": "string",
        "pattern": "^/[^\\x00-\\x1f\\x7f]+$",
        "errorMessage": "an absolute path, as in /src",
        "description": "a directory in the stack below that has the sources, if they are not in the project",
    },
    "record": {
        **_WORDS,
        "minItems": 1,
        "description": "Maven's goals whose files are pinned (default: `[install]`, and all before it)",
    },
    "arguments": {**_WORDS, "description": "further words for the recorded Maven, as in `[-Pci, -DskipITs]`"},
    "run_tests": {
        "type": "boolean",
        "description": "whether tests run while files are recorded (default: false; what runs them is pinned all the"
        " same). For tests that ask for artifacts themselves",
    },
}
PINS = api.shapes.record(
    {
        "maven": api.shapes.TEXT,
        "java": api.shapes.TEXT,
        "files": api.shapes.rows(
            api.shapes.record(
                {
                    "path": {
                        "type": "string",
                        "maxLength": 4096,
                        "pattern": r"^(?!(?:.*/)?\.{1,2}(?:/|$))[A-Za-z0-9._+~-]+(?:/[A-Za-z0-9._+~-]+){2,}$",
                        "errorMessage": "a path in a repository, as in junit/junit/4.13.2/junit-4.13.2.jar",
                    },
                    "sha256": api.shapes.SHA256,
                    "size": api.shapes.SIZE,
                }
            )
        ),
        "metadata": api.shapes.rows(api.shapes.PATH),
    },
    {
        "distribution": {
            "type": "string",
            "pattern": r"^\d{1,4}(?:\.\d{1,4}){1,3}$",
            "errorMessage": "a version of Maven, as in 3.9.11",
        },
    },
)


class Maven(api.Kind):
    """`maven: {}`, `maven: {directory: server, record: [verify]}`."""

    name: ClassVar[str] = "maven"
    pins: ClassVar[api.Json] = PINS
    stands_in: ClassVar[bool] = True
    needs_only: ClassVar[bool] = True
    schema: ClassVar[api.Json] = {
        "description": "a Maven repository for builds without a network: what the project's real build asks for,"
        " recorded once, each file pinned and fetched by hash",
        "examples": [{"directory": "server"}],
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {
            **OPTIONS,
            "poms": {**_WORDS, "description": "the project's pom.xml files; `language: java` finds them"},
        },
    }

    def inputs(self, options: api.Json) -> tuple[api.Input, ...]:
        """The texts of pom.xml files; all sources, which only the recording sees."""
        settings = _mapping(options)
        if settings.get("source"):
            return ()
        directory = str(settings.get("directory", "."))
        top = directory if directory not in (".", "") else "**"
        extras = (".mvn/extensions.xml", ".mvn/maven.config", ".mvn/jvm.config")
        return (
            *(api.Input(path, use="text") for path in _poms(settings)),
            *(
                api.Input(posixpath.normpath(posixpath.join(directory, name)), use="text", required=False)
                for name in extras
            ),
            api.Input(top, use="resolve", keeps=is_source),
        )

    def question(self, request: api.Request) -> api.Json:
        """What of the pom.xml files and the options decides what a build asks for; not the sources, but whether there
        are any of each sort."""
        from envtool_java.poms import build_question, select_poms, source_directories

        poms = select_poms(request.texts)
        others = {path: text for path, text in sorted(request.texts.items()) if path not in poms}
        return [
            {key: value for key, value in _mapping(request.options).items() if key != "poms"},
            build_question(poms),
            [[path, text] for path, text in others.items()],
            [*source_directories(item.path for item in request.inputs)],
        ]

    def resolve(self, request: api.Request, site: api.Site) -> api.Json:
        """See resolver. Raises ResolveError, FetchError."""
        from envtool_java import resolver

        options = _mapping(request.options)
        root = posixpath.normpath(posixpath.join(request.directory, str(options.get("directory", "."))))
        if request.stand_in is not None:
            return resolver.pins_of_both(request.keep, request.stand_in)
        return resolver.resolve_pins(request, site, options, "." if options.get("source") else root)

    def package(self, file: str) -> tuple[str, str]:
        """As in ("junit:junit", "4.13.2"), from the path as one component."""
        parts = file.split("~")
        if len(parts) < 4:
            return file, ""
        return f"{'.'.join(parts[:-3])}:{parts[-3]}", parts[-2]

    def fetches(self, request: api.Request, pins: api.Json) -> tuple[api.Fetch, ...]:
        """Every pinned file."""
        from envtool_java.build_recorder import file_name

        return tuple(
            api.Fetch(sha256=item["sha256"], size=int(item["size"]), name=file_name(item["path"]))
            for item in _files(pins)
        )

    def locate(
        self, request: api.Request, pins: api.Json, fetches: Sequence[api.Fetch], site: api.Site
    ) -> Sequence[api.Fetch]:
        """Finds the files where this machine's Maven looks, with its credentials."""
        from envtool_java import resolver
        from envtool_java.build_recorder import file_name

        central = resolver.inspect_stack(site)[2]
        repositories = resolver.find_repositories(request, central, site)
        paths = {file_name(item["path"]): item["path"] for item in _files(pins)}
        located = []
        for fetch in fetches:
            urls = {f"{item.url}/{paths[fetch.name]}": item.authorization for item in repositories}
            first, *others = dict.fromkeys([*([fetch.url] if fetch.url in urls else []), *urls])
            located.append(replace(fetch, url=first, mirrors=(*others,), authorization=urls[first]))
        return located

    def material(self, request: api.Request, pins: api.Json) -> api.Json:
        """Returns which versions Maven may look up, and its own if it is a file; the core adds paths and hashes of the
        files to every key."""
        assert isinstance(pins, dict)
        material: dict[str, api.Json] = {"metadata": pins["metadata"], "repository": REPOSITORY}
        version = _distribution(pins)
        return material | ({"distribution": [version, DISTRIBUTION]} if version else {})

    def variables(self, request: api.Request, pins: api.Json) -> Mapping[str, str | None]:
        """Maven takes this repository, and (from 3.9 on) asks for nothing else. A Maven of the repository is the first
        `mvn`."""
        variables = {"MAVEN_OPTS": f"-Dmaven.repo.local={REPOSITORY}", "MAVEN_ARGS": "--offline"}
        return variables | ({"PATH": f"{DISTRIBUTION}/bin"} if _distribution(pins) else {})

    def build(self, request: api.Request, pins: api.Json) -> api.Recipe:
        """Lays the files out as a local repository."""
        from envtool_java import repository_layout
        from envtool_java.build_recorder import file_name
        from envtool_java.maven_versions import distribution_path

        assert isinstance(pins, dict)
        version = _distribution(pins)
        distribution = distribution_path(version) if version else ""
        rows: list[api.Json] = [
            [file_name(item["path"]), item["path"]] for item in _files(pins) if item["path"] != distribution
        ]
        if distribution and len(rows) == len(_files(pins)):
            message = f"Maven {version} is not among the files that are pinned"
            raise api.ResolveError(message, code="maven-pins", hint="`envtool lock --upgrade` pins them anew")
        directories: Any = pins["metadata"]
        metadata: list[api.Json] = [
            [directory, metadata_text(directory, versions)]
            for directory in directories
            if (versions := pinned_versions(directory, [item["path"] for item in _files(pins)]))
        ]
        call = api.Call(function=repository_layout.lay_out_repository, arguments=(api.BLOBS, rows, metadata))
        maven = (api.Unpack(name=file_name(distribution), target=DISTRIBUTION, strip=1),) if distribution else ()
        return api.Recipe(steps=(*maven, call), phase="installing")

    def summary(self, request: api.Request, pins: api.Json) -> str:
        """As in `214 files`, `214 files, Maven 3.9.11`."""
        number, version = len(_files(pins)), _distribution(pins)
        return f"{number} file{'' if number == 1 else 's'}{f', Maven {version}' if version else ''}"


class JavaLanguage(api.Language):
    """An env that builds and tests a Java project."""

    name: ClassVar[str] = "java"
    options: ClassVar[Mapping[str, api.Json]] = OPTIONS

    def layers(self, env: api.EnvDraft, project: api.Project) -> tuple[api.LayerDraft, ...]:
        """Returns JDK and Maven as an apt layer, if the base is Debian, and the repository of what the build asks for.
        Raises SpecError if the project's own files are wrong."""
        from envtool_java.language import language_layers

        return language_layers(env, project, tuple(OPTIONS))


def is_source(path: str) -> bool:
    """Returns whether a file is of the sources that a build reads."""
    return not any(part in SKIPPED for part in path.split("/")[:-1])


def pinned_versions(directory: str, paths: Sequence[str]) -> tuple[str, ...]:
    """Returns the versions of the artifact in a directory of the repository, sorted as texts."""
    start = f"{directory}/"
    versions = {path[len(start) :].partition("/")[0] for path in paths if path.startswith(start)}
    return tuple(sorted(version for version in versions if version))


def metadata_text(directory: str, versions: Sequence[str]) -> str:
    """Returns a maven-metadata-local.xml with these versions, of which the last is the newest."""
    group, _, artifact = directory.rpartition("/")
    rows = "".join(f"<version>{version}</version>" for version in versions)
    return (
        f"<metadata><groupId>{group.replace('/', '.')}</groupId><artifactId>{artifact}</artifactId><versioning>"
        f"<latest>{versions[-1]}</latest><release>{versions[-1]}</release><versions>{rows}</versions></versioning>"
        "</metadata>\n"
    )


def _mapping(options: api.Json) -> dict[str, Any]:
    return options if isinstance(options, dict) else {}


def _poms(options: Mapping[str, Any]) -> list[str]:
    directory = str(options.get("directory", "."))
    default = posixpath.normpath(posixpath.join(directory, "pom.xml"))
    return [str(path) for path in options.get("poms", [default])]


def _files(pins: api.Json) -> list[dict[str, Any]]:
    assert isinstance(pins, dict)
    return pins["files"]  # type: ignore[return-value]


def _distribution(pins: api.Json) -> str:
    """Returns the version of the Maven among the files, or "" if the env's own builds."""
    return str(pins.get("distribution", "")) if isinstance(pins, dict) else ""


# ---- the toolchain ---------------------------------------------------------------------------------------------------


class JavaToolchain(api.MirroredToolchainKind):
    """A JDK, whose directory is JAVA_HOME."""

    name: ClassVar[str] = "java-toolchain"
    tool: ClassVar[str] = "java"
    title: ClassVar[str] = "Java"
    elsewhere: ClassVar[str] = "without a toolchain, `language: java` takes Debian's JDK: 17 of bookworm, 21 of trixie"

    def sources_for(self, request: api.Request) -> Sequence[ToolchainSource]:
        """The servers."""
        from envtool_java.jdk_releases import AdoptiumServer

        return (AdoptiumServer(self.wanted(request), self.mirror(request)),)

    def package(self, file: str) -> tuple[str, str]:
        """As in `OpenJDK21U-jdk_x64_linux_hotspot_21.0.4_7.tar.gz`."""
        import re

        match = re.fullmatch(r".*?_(\d[\w.]*)\.tar\.gz", file)
        return ("jdk", match[1]) if match else (file, "")

    def variables(self, request: api.Request, pins: api.Json) -> Mapping[str, str | None]:
        """Also JAVA_HOME, which Maven and Gradle read."""
        return {**super().variables(request, pins), "JAVA_HOME": self.directory}


def wants(project: api.Project) -> Iterator[api.WantedVersion]:
    """Yields what .java-version says. Raises SpecError."""
    from envtool_java.java_version_files import wanted_javas

    return wanted_javas(project)


TOOLCHAIN = api.Toolchain(
    name="java",
    kind=JavaToolchain.name,
    wants=wants,
    files=(".java-version",),
    mirror="Adoptium's interface, version 3 (ENVTOOL_ADOPTIUM_MIRROR)",
)
