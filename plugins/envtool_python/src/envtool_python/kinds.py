"""The layer kinds `pip` (third-party files into a virtual environment) and `python-project` (the project itself)."""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from envtool import api
from envtool_python import python_versions
from envtool_python.agent_script import inside_binds, inside_command
from envtool_python.editable import BUILD_FILES, METADATA_FILES, MODULES, NON_SOURCE_DIRECTORIES, VERSIONS
from envtool_python.layer_inputs import PipInputs
from envtool_python.pins import PINS, fetches, files_of, keep_constraints
from envtool_python.pip_calls import (
    archives_of,
    asks_project,
    check,
    directories_of,
    facts_at,
    read_requests,
)
from envtool_python.requirements import unique
from envtool_python.source_values import SOURCES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envtool_python.metadata import ProjectMetadata
    from envtool_python.resolver import Resolver

VENV = "/opt/venv"


def _strings(description: str) -> dict[str, api.Json]:
    return {"type": "array", "items": {"type": "string", "minLength": 1}, "description": description}


_COMMON: dict[str, api.Json] = {
    "python": {"type": "string", "description": "the interpreter in the env (default: python3)"},
    "path": {
        "type": "string",
        "pattern": "^/[^:]+$",
        "errorMessage": "an absolute path without a colon, as in /opt/venv",
        "description": "where the virtual environment is (default: /opt/venv); a layer that needs another one with "
        "the same path extends it",
    },
    "inputs": _strings("further project files that this layer depends on, or globs"),
    "index": {
        **api.shapes.WEB,
        "errorMessage": "a URL of http or https, as in https://example.org/simple",
        "description": "the index that files come from, in the place of pip's usual one",
    },
    "requires-python": {"type": "string", "description": "the Pythons that the project is for, as in `>=3.10`"},
    "version": {
        "type": "string",
        "description": "the project's version, where its build backend asks version control (default: by its tags)",
    },
}


class _VenvKind(api.Kind):
    """What both kinds share: they own a virtual environment."""

    needs_only: ClassVar[bool] = True

    def variables(self, request: api.Request, pins: api.Json) -> Mapping[str, str]:
        """The virtual environment's commands come first."""
        path = _options(request.options).get("path", VENV)
        return {"PATH": f"{path}/bin", "VIRTUAL_ENV": path}

    def fetches(self, request: api.Request, pins: api.Json) -> tuple[api.Fetch, ...]:
        """Every pinned file."""
        return fetches(pins)

    def locate(
        self, request: api.Request, pins: api.Json, fetches: Sequence[api.Fetch], site: api.Site
    ) -> Sequence[api.Fetch]:
        """Where this machine's pip looks, with the credentials that it has."""
        from envtool_python.simple_index import locate_files

        names = {entry["sha256"]: entry["name"] for entry in files_of(pins)}
        paths = {entry["sha256"]: entry["path"] for entry in files_of(pins) if "path" in entry}
        own = [replace(each, url=site.url(paths[each.sha256])) for each in fetches if each.sha256 in paths]
        others = [each for each in fetches if each.sha256 not in paths]
        index = _options(request.options).get("index", "")
        return [*own, *(locate_files(others, names, site, index) if others else ())]

    def material(self, request: api.Request, pins: api.Json) -> api.Json:
        """What the build is told; the files' hashes and the inputs are in every key anyway."""
        return {"python": _python(_options(request.options)), "told": self.told(request, pins)}

    def told(self, request: api.Request, pins: api.Json) -> api.Json:
        """The document of inside.py's `build`."""
        raise NotImplementedError(self.name)

    def build(self, request: api.Request, pins: api.Json) -> api.Recipe:
        """One run of inside.py, offline."""
        document = self.told(request, pins)
        env = {"SOURCE_DATE_EPOCH": str(max(request.epoch, 315532800))}  # zip archives begin in 1980
        run = api.Run(command=inside_command(_python(_options(request.options)), "build", document), env=env)
        return api.Recipe(
            steps=(run,), binds=inside_binds(), drop=("/tmp/envtool-python", "/root/.cache/**"), phase="installing"
        )

    def hint(self, request: api.Request, pins: api.Json, output: str, site: api.Site) -> str:
        """The package that has what a build misses."""
        from envtool_python import missing_libraries

        return missing_libraries.missing_package_hint(output, request.base_kind, site)

    def question(self, request: api.Request) -> api.Json:
        """Resolving depends on the files that say what is needed, not on every source file of the project."""
        root = posixpath.normpath(str(_options(request.options).get("root", ".")))
        decisive = {posixpath.normpath(posixpath.join(request.directory, root, name)) for name in BUILD_FILES}
        return [
            request.options,
            request.directory,
            [[item.path, item.sha256, item.link] for item in request.inputs if item.path in decisive or not self.whole],
        ]

    whole: ClassVar[bool] = False  # True: its inputs are the whole project


class Pip(_VenvKind):
    """`pip: [attrs, "pytest>=8"]`: packages in a virtual environment, pinned to exact files."""

    name: ClassVar[str] = "pip"
    pins: ClassVar[api.Json] = api.shapes.record(PINS)
    schema: ClassVar[api.Json] = {
        "description": "Python packages in a virtual environment, settled by pip for the env's own Python, "
        "fetched by hash and installed offline",
        "examples": [["attrs>=24", "pytest"]],
        "oneOf": [
            {**_strings("requirements"), "minItems": 1},
            {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "packages": _strings("requirements, as in `attrs>=24`"),
                    "requirements": _strings("requirement files; what they include is followed"),
                    "constraints": _strings("constraint files"),
                    "adds": _strings(
                        "requirements that are settled last, by a call of pip of their own, beside all others: no "
                        "hash, index or other mode of a requirement file is meant for them"
                    ),
                    "bounds": _strings("constraints written out, as in `attrs<25`"),
                    "sources": SOURCES,
                    "groups": _strings("dependency groups of pyproject.toml"),
                    "extras": _strings("extras of the project: its own requirements and these"),
                    "project": {"type": "boolean", "description": "what the project itself requires (not the project)"},
                    "reads": _strings(
                        "with `project` or `extras`: files or globs, beside metadata files, that its build backend "
                        "reads to say what it requires (default: __init__.py and the like)"
                    ),
                    **_COMMON,
                },
            },
        ],
    }

    def inputs(self, options: api.Json) -> tuple[str, ...]:
        """The files that are named, and pyproject.toml for its groups."""
        chosen = _options(options)
        paths = [*chosen.get("requirements", ()), *chosen.get("constraints", ())]
        if chosen.get("groups"):
            paths.append("pyproject.toml")
        return unique([*paths, *archives_of(chosen), *chosen.get("inputs", ())])

    def optional_inputs(self, options: api.Json) -> tuple[str, ...]:
        """What requirement files include from beside them."""
        chosen = _options(options)
        paths: list[str] = []
        for path in (*chosen.get("requirements", ()), *chosen.get("constraints", ())):
            directory = posixpath.dirname(path)
            beside = ("*.txt", "*.in") if "requirements" in directory else ("*requirements*.txt", "*constraints*.txt")
            paths += (posixpath.join(directory, pattern) for pattern in beside)
        return unique(paths)

    def asked_inputs(self, options: api.Json) -> tuple[str, ...]:
        """Where its build backend has to say what the project requires: what that reads."""
        chosen = _options(options)
        usual = (*METADATA_FILES, *MODULES, *VERSIONS)
        places = directories_of(chosen).values()
        asked = (*METADATA_FILES, *chosen.get("reads", (*MODULES, *VERSIONS))) if asks_project(chosen) else ()
        if "reads" in chosen:
            asked = (*asked, *chosen["reads"])
        else:
            asked = (*asked, *(posixpath.join(place, pattern) for place in places for pattern in usual))
        return unique((*asked, *(posixpath.join(place, name) for place in places for name in BUILD_FILES)))

    def check(self, request: api.Request, site: api.Site) -> None:
        """Are all files that it names there, and all lines requirements? Raises ResolveError, SpecError."""
        chosen = _options(request.options)
        named = [*self.inputs(chosen), *self.optional_inputs(chosen), *self.asked_inputs(chosen)]
        check(chosen, PipInputs(request, site, patterns=named))

    def resolve(self, request: api.Request, site: api.Site) -> api.Json:
        """Settle every requirement to a file. Raises ResolveError, FetchError."""
        from envtool_python.resolver import Resolver
        from envtool_python.versions import pretend_version_variables

        chosen = _options(request.options)
        files = PipInputs(request, site)
        asked = read_requests(chosen, files)
        resolver = Resolver(
            site, python=_python(chosen), venv=_path(chosen), index=chosen.get("index", ""), base_kind=request.base_kind
        )
        _check_python(chosen, resolver)
        resolver.places = asked.places
        lines = [line for call in asked.calls for line in call]
        document: dict[str, api.Json] = {
            "calls": [[*call] for call in asked.calls],
            "constraints": [*asked.constraints],
            "directories": {name: _at(request, place) for name, place in asked.directories.items()},
            "keep": keep_constraints(request.keep, (*lines, *asked.constraints)),
            "variables": {
                **pretend_version_variables(resolver, asked.facts, _prefix(request.directory), chosen.get("version"))
            },
        }
        for place in asked.directories.values():  # told to the backends of projects beside, in the same words
            below = posixpath.normpath(posixpath.join(request.directory, place))
            variables = pretend_version_variables(resolver, facts_at(files, f"{place}/"), _prefix(below), None)
            document["variables"] = {**variables, **document["variables"]}  # type: ignore[dict-item]
        if asked.extras is not None:
            document["project"] = {"root": _at(request, "."), "extras": [*asked.extras], "call": asked.project_call}
        site.note(f"resolving {len(lines)} requirements")
        install = resolver.packages(document)
        return resolver.pins("install", install)

    def told(self, request: api.Request, pins: api.Json) -> api.Json:
        """The files, no project."""
        return _told(request, pins, None)

    def summary(self, request: api.Request, pins: api.Json) -> str:
        """As in `14 packages`."""
        return _count(sum(entry["use"] == "install" for entry in files_of(pins)), "package")


class PythonProject(_VenvKind):
    """`python-project: {}`: the project itself, installed into the virtual environment of the layer it needs."""

    name: ClassVar[str] = "python-project"
    pins: ClassVar[api.Json] = api.shapes.record(
        {**PINS, "install": {"enum": ["editable", "wheel"]}, "variables": api.shapes.mapping(api.shapes.TEXT)}
    )
    whole: ClassVar[bool] = True
    schema: ClassVar[api.Json] = {
        "description": "the project itself in the virtual environment of a pip layer, without its requirements",
        "examples": [{"install": "editable"}],
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "root": {"type": "string", "description": "its directory (default: that of the spec)"},
            "install": {
                "enum": ["editable", "wheel"],
                "description": "default: editable, but a wheel where the build backend compiles and is no setuptools",
            },
            "files": _strings("the project files that decide what is installed (default: all)"),
            "build": {
                "type": "string",
                "description": "digest of what in pyproject.toml decides the build, where nothing else does; "
                "`language: python` writes it",
            },
            "names": _strings("with `files`: more of them, of which only the names count; the build sees them empty"),
            **_COMMON,
        },
    }

    def inputs(self, options: api.Json) -> tuple[str, ...]:
        """All of the project, unless `files` says which."""
        chosen = _options(options)
        return unique([*chosen.get("files", (chosen.get("root", "."),)), *chosen.get("inputs", ())])

    def named_inputs(self, options: api.Json) -> tuple[str, ...]:
        """Where modules are."""
        return tuple(_options(options).get("names", ()))

    def question(self, request: api.Request) -> api.Json:
        """Where pyproject.toml says it all, what of it decides the build, and no other file."""
        chosen = _options(request.options)
        if "build" not in chosen:
            return super().question(request)
        return [{key: value for key, value in chosen.items() if key not in ("files", "names")}, request.directory, []]

    def check(self, request: api.Request, site: api.Site) -> None:
        """Is there a project? Raises ResolveError."""
        root = posixpath.normpath(_options(request.options).get("root", "."))
        _buildable(PipInputs(request, site, patterns=[posixpath.join(root, name) for name in BUILD_FILES]), root)

    def resolve(self, request: api.Request, site: api.Site) -> api.Json:
        """Settle what its build needs. Raises ResolveError, FetchError."""
        from envtool_python.resolver import Resolver
        from envtool_python.versions import pretend_version_variables

        chosen = _options(request.options)
        root = posixpath.normpath(chosen.get("root", "."))
        facts = _buildable(PipInputs(request, site), root)
        install = chosen.get("install") or facts.install
        resolver = Resolver(
            site, python=_python(chosen), venv=_path(chosen), index=chosen.get("index", ""), base_kind=request.base_kind
        )
        _check_python(chosen, resolver)
        prefix = _prefix(posixpath.join(request.directory, root))
        variables = pretend_version_variables(resolver, facts, prefix, chosen.get("version"))
        site.note("asking the project what its build needs")
        hooks = ["build_editable"] if install == "editable" else ["build_wheel"]
        build = resolver.project(_at(request, root), hooks, variables)
        return resolver.pins("project", build, install=install, variables={**variables})

    def told(self, request: api.Request, pins: api.Json) -> api.Json:
        """The files that its build needs, and the project."""
        assert isinstance(pins, dict)
        project: dict[str, api.Json] = {
            "root": _at(request, str(_options(request.options).get("root", "."))),
            "build": _indices(pins, "project"),
            "install": pins["install"],
            "variables": pins["variables"],
            "keep": _keep(_options(request.options)),
        }
        return _told(request, pins, project)

    def generated(self, request: api.Request, pins: api.Json) -> Mapping[str, str]:
        """What the build wrote beside the sources in its copy of the project."""
        return {".": _keep(_options(request.options))}

    def summary(self, request: api.Request, pins: api.Json) -> str:
        """As in `editable`; of a wheel also what tests may import in its place."""
        assert isinstance(pins, dict)
        covers = _importable(request) if pins["install"] == "wheel" else []
        return f"{pins['install']} (the checkout's {covers[0]} may come first)" if covers else str(pins["install"])


def _check_python(chosen: Mapping[str, Any], resolver: Resolver) -> None:
    """Raises ResolveError where the env's Python is none that the project is for."""
    specifier, version = str(chosen.get("requires-python", "")), str(resolver.info["version"])
    if specifier and not python_versions.fits(specifier, version):
        raise api.ResolveError(
            python_versions.wanted(specifier, f"{_python(chosen)} of this env is {version}"),
            code="python-version",
            hint=python_versions.hint(specifier),
        )


def _importable(request: api.Request) -> list[str]:
    """Packages and modules in the project's own directory: tests that are started there may find them first."""
    root = posixpath.normpath(posixpath.join(request.directory, str(_options(request.options).get("root", "."))))
    below = {posixpath.relpath(item.path, root) for item in request.inputs}
    packages = (
        path.removesuffix("__init__.py") for path in below if path.count("/") == 1 and path.endswith("/__init__.py")
    )
    modules = (path for path in below if path.endswith(".py") and "/" not in path and not _NO_MODULE.match(path))
    found = (path for path in packages if path.rstrip("/") not in NON_SOURCE_DIRECTORIES and not path.startswith("../"))
    return [*sorted(found), *sorted(modules)]


_NO_MODULE = re.compile(r"(setup|conftest|noxfile|tasks|build|fabfile|manage|versioneer|test_.*|.*_test)\.py$")


# ---- options and the recipe ----------------------------------------------------------------------------------------


def _options(options: api.Json) -> dict[str, Any]:
    return {"packages": options} if isinstance(options, list) else dict(options or {})  # type: ignore[arg-type]


def _prefix(directory: str) -> str:
    directory = posixpath.normpath(directory)
    return "" if directory == "." else f"{directory}/"


def _at(request: api.Request, root: str) -> str:
    """Where a container sees a directory that is relative to the spec's."""
    return posixpath.normpath(posixpath.join(api.PROJECT, request.directory, root))


def _python(chosen: Mapping[str, Any]) -> str:
    return str(chosen.get("python", "python3"))


def _path(chosen: Mapping[str, Any]) -> str:
    return posixpath.normpath(str(chosen.get("path", VENV)))


def _keep(chosen: Mapping[str, Any]) -> str:
    return f"{_path(chosen)}/share/envtool"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _told(request: api.Request, pins: api.Json, project: api.Json) -> api.Json:
    """The document of inside.py's `build`: all that it is told."""
    assert isinstance(pins, dict)
    files = files_of(pins)
    place = {entry["file"]: index for index, entry in enumerate(files)}
    return {
        "venv": _path(_options(request.options)),
        "blobs": api.BLOBS,
        "pip": f"{api.BLOBS}/{pins['pip']}",
        "files": [
            {
                "name": entry["name"],
                "version": entry["version"],
                "file": entry["file"],
                "build": [place[name] for name in entry.get("build", ())],
            }
            for entry in files
        ],
        "install": _indices(pins, "install"),
        "project": project,
    }


def _indices(pins: api.Json, use: str) -> list[api.Json]:
    return [index for index, entry in enumerate(files_of(pins)) if entry["use"] == use]


def _buildable(files: PipInputs, root: str) -> ProjectMetadata:
    """The facts of the project in `root`. Raises ResolveError (code no-project) where there is none."""
    facts = facts_at(files, _prefix(root))
    if not facts.buildable:
        raise api.ResolveError(
            f"there is no project to install in {root}",
            code="no-project",
            hint="it needs a pyproject.toml with [project] or [build-system], or a setup.py",
        )
    return facts
