"""The layer kinds `pip` (third-party files into a virtual environment) and `python-project` (the project itself)."""

from __future__ import annotations

import posixpath
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from envtool import api
from envtool_python.agent_script import inside_binds, inside_command, uv_binds, uv_command
from envtool_python.pins import OPTIONAL_PINS, PINS, fetches, files_of, keep_constraints
from envtool_python.source_values import INSTALLER, LOCKED_LAYER, LOCKED_PINS, SOURCES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from envtool_python.layer_inputs import PipInputs
    from envtool_python.metadata import ProjectMetadata
    from envtool_python.pip_calls import PipRequest
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
    "installer": INSTALLER,
    "version": {
        "type": "string",
        "description": "the project's version, where its build backend asks version control (default: by its tags)",
    },
}


class _VenvKind(api.Kind):
    """The base of both kinds, which each own a virtual environment."""

    needs_only: ClassVar[bool] = True
    stands_in: ClassVar[bool] = True

    def variables(self, request: api.Request, pins: api.Json) -> Mapping[str, str]:
        """Puts the virtual environment's commands first."""
        path = _as_mapping(request.options).get("path", VENV)
        return {"PATH": f"{path}/bin", "VIRTUAL_ENV": path}

    def package(self, file: str) -> tuple[str, str]:
        """("attrs", "25.3.0") for `attrs-25.3.0-py3-none-any.whl`; sdists as usual."""
        name, *rest = file.removesuffix(".whl").split("-")
        return (name, rest[0]) if file.endswith(".whl") and len(rest) >= 4 else super().package(file)

    def fetches(self, request: api.Request, pins: api.Json) -> tuple[api.Fetch, ...]:
        """Every pinned file."""
        return fetches(pins)

    def locate(
        self, request: api.Request, pins: api.Json, fetches: Sequence[api.Fetch], site: api.Site
    ) -> Sequence[api.Fetch]:
        """Finds the files where this machine's pip looks, with its credentials."""
        from envtool_python.simple_index import locate_files

        names = {entry["sha256"]: entry["name"] for entry in files_of(pins)}
        paths = {entry["sha256"]: entry["path"] for entry in files_of(pins) if "path" in entry}
        local_fetches = [
            replace(fetch, url=site.url(paths[fetch.sha256])) for fetch in fetches if fetch.sha256 in paths
        ]
        remote_fetches = [fetch for fetch in fetches if fetch.sha256 not in paths]
        index = _as_mapping(request.options).get("index", "")
        return [*local_fetches, *(locate_files(remote_fetches, names, site, index) if remote_fetches else ())]

    def material(self, request: api.Request, pins: api.Json) -> api.Json:
        """Returns the build document; the core adds the files' hashes and the inputs to every key."""
        return {"python": _python(_as_mapping(request.options)), "told": self.build_document(request, pins)}

    def build_document(self, request: api.Request, pins: api.Json) -> api.Json:
        """Returns the document for inside.py's mode `build`."""
        raise NotImplementedError(self.name)

    def build(self, request: api.Request, pins: api.Json) -> api.Recipe:
        """Returns a recipe with one offline run of inside.py."""
        from envtool_python.uv_wheels import uv_member

        document = self.build_document(request, pins)
        env = {"SOURCE_DATE_EPOCH": str(max(request.epoch, 315532800))}  # zip archives begin in 1980
        assert isinstance(document, dict)
        assert isinstance(pins, dict)
        command, binds = (uv_command, uv_binds()) if "uv" in document else (inside_command, inside_binds())
        run = api.Run(command=command(_python(_as_mapping(request.options)), "build", document), env=env)
        return api.Recipe(
            steps=(run,),
            binds=binds,
            shown=uv_member(str(pins["uv"]), request.arch) if "uv" in document else (),
            drop=("/tmp/envtool-python", "/root/.cache/**"),
            phase="installing",
        )

    def hint(self, request: api.Request, pins: api.Json, output: str, site: api.Site) -> str:
        """Names the package that has what a failed build misses."""
        from envtool_python import missing_libraries

        return missing_libraries.missing_package_hint(output, request.base_kind, site)

    def question(self, request: api.Request) -> api.Json:
        """Returns the options and the files that name requirements: other source files do not change the answer."""
        from envtool_python.editable import BUILD_FILES

        root = posixpath.normpath(str(_as_mapping(request.options).get("root", ".")))
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
    pins: ClassVar[api.Json] = api.shapes.record(PINS, {**OPTIONAL_PINS, "locked": LOCKED_PINS})
    schema: ClassVar[api.Json] = {
        "description": "Python packages in a virtual environment, resolved by pip for the env's own Python, "
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
                        "requirements that are resolved last, by a pip call of their own: the hashes, indexes and "
                        "options of requirement files do not apply to them"
                    ),
                    "bounds": _strings("constraints written out, as in `attrs<25`"),
                    "sources": SOURCES,
                    "locked": LOCKED_LAYER,
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

    def inputs(self, options: api.Json) -> tuple[api.Input, ...]:
        """The files that the options name, those that requirement files may include, and those that build backends read
        to say what projects require."""
        from envtool_python.layer_files import inputs_of

        return inputs_of(_as_mapping(options))

    def question(self, request: api.Request) -> api.Json:
        """As for both kinds, without the lock file whose decisive part `locked.digest` is."""
        locked = _as_mapping(request.options).get("locked", {})
        if "digest" not in locked:
            return super().question(request)
        path = posixpath.normpath(posixpath.join(request.directory, locked["file"]))
        return super().question(replace(request, inputs=tuple(item for item in request.inputs if item.path != path)))

    def check(self, request: api.Request, site: api.Site) -> None:
        """Checks that the named files exist and their lines are requirements. Raises ResolveError, SpecError."""
        from envtool_python.layer_inputs import PipInputs
        from envtool_python.pip_calls import check

        options = _as_mapping(request.options)
        check(options, PipInputs(request, site, patterns=[item.pattern for item in self.inputs(request.options)]))

    def resolve(self, request: api.Request, site: api.Site) -> api.Json:
        """Resolves every requirement to a file. Raises ResolveError, FetchError."""
        from envtool_python.layer_inputs import PipInputs
        from envtool_python.pip_calls import read_requests
        from envtool_python.uv_resolver import reason_against, resolve_with_uv, split_hashes

        options, files = _as_mapping(request.options), PipInputs(request, site)
        pip_request = read_requests(options, files)
        if request.stand_in is not None and "locked" not in options:
            pip_request = split_hashes(pip_request)
        lines = [line for call in pip_request.calls for line in call]
        site.note(f"resolving {_count(len(lines), 'requirement')}")
        reason = reason_against(options, pip_request)
        return resolve_with_uv(
            options,
            _make_resolver(request, site),
            lambda resolver: self._packages(request, files, pip_request, resolver, reason),
            lambda resolver: _check_python(options, resolver),
            "" if "locked" in options and options.get("installer") != "pip" else reason,
            stand_in=request.stand_in,
        )

    def _packages(
        self, request: api.Request, files: PipInputs, pip_request: PipRequest, resolver: Resolver, reason: str
    ) -> dict[str, api.Json]:
        from envtool_python.pip_calls import facts_at
        from envtool_python.versions import pretend_version_variables

        options = _as_mapping(request.options)
        resolver.places, resolver.hashes = pip_request.places, pip_request.hashes
        if isinstance(request.options, dict):  # as `language: python` writes them; then a layer of the project follows
            resolver.build_lines = _declared_build(resolver.site, request.directory)
        lines = [line for call in pip_request.calls for line in call]
        document: dict[str, api.Json] = {
            "calls": [[*call] for call in pip_request.calls],
            "constraints": [*pip_request.constraints],
            "directories": {
                name: _container_path(request, directory) for name, directory in pip_request.directories.items()
            },
            "keep": keep_constraints(request.keep, (*lines, *pip_request.constraints)),
            "variables": {
                **pretend_version_variables(
                    resolver, pip_request.facts, _prefix(request.directory), options.get("version")
                )
            },
        }
        for directory in pip_request.directories.values():  # build backends of these projects read the same variables
            project_directory = posixpath.normpath(posixpath.join(request.directory, directory))
            variables = pretend_version_variables(
                resolver, facts_at(files, f"{directory}/"), _prefix(project_directory), None
            )
            document["variables"] = {**variables, **document["variables"]}  # type: ignore[dict-item]
        if pip_request.extras is not None:
            document["project"] = {
                "root": _container_path(request, "."),
                "extras": [*pip_request.extras],
                "call": pip_request.project_call,
            }
        if "locked" not in options:
            return resolver.pins("install", resolver.packages(document))
        from envtool_python.locked_resolver import read_layer_lock, resolve_locked

        chosen, locked = resolve_locked(resolver, document, options, read_layer_lock(options, files), reason)
        return resolver.pins("install", chosen, **locked)

    def build_document(self, request: api.Request, pins: api.Json) -> api.Json:
        """Returns the build document for the files alone, without a project."""
        return _build_document(request, pins, None)

    def summary(self, request: api.Request, pins: api.Json) -> str:
        """As in `14 packages, 2 of them only for builds`: all that the lock pins."""
        files = files_of(pins)
        builds = sum(entry["use"] != "install" for entry in files)
        counted = f"{_count(len(files), 'package')}{f', {builds} of them only for builds' if builds else ''}"
        if not isinstance(pins, dict) or "locked" not in pins:
            return counted
        from envtool_python.lock_files import describe_locked

        return counted + describe_locked(request, pins)


class PythonProject(_VenvKind):
    """`python-project: {}`: the project itself, installed into the virtual environment of the layer it needs."""

    name: ClassVar[str] = "python-project"
    pins: ClassVar[api.Json] = api.shapes.record(
        {**PINS, "install": {"enum": ["editable", "wheel"]}, "variables": api.shapes.mapping(api.shapes.TEXT)},
        OPTIONAL_PINS,
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

    def inputs(self, options: api.Json) -> tuple[api.Input, ...]:
        """The files that `files` names, else all of the project; of the files that `names` names, only their names."""
        from envtool_python.requirements import unique

        settings = _as_mapping(options)
        paths = unique([*settings.get("files", (settings.get("root", "."),)), *settings.get("inputs", ())])
        names = (api.Input(path, required=False, use="name") for path in settings.get("names", ()))
        return (*map(api.Input, paths), *names)

    def question(self, request: api.Request) -> api.Json:
        """With the option `build`, returns the options alone: no other file decides what the build needs."""
        options = _as_mapping(request.options)
        if "build" not in options:
            return super().question(request)
        return [{key: value for key, value in options.items() if key not in ("files", "names")}, request.directory, []]

    def check(self, request: api.Request, site: api.Site) -> None:
        """Raises ResolveError unless there is a project to install."""
        from envtool_python.editable import BUILD_FILES
        from envtool_python.layer_inputs import PipInputs
        from envtool_python.pip_calls import installable_project

        root = posixpath.normpath(_as_mapping(request.options).get("root", "."))
        installable_project(
            PipInputs(request, site, patterns=[posixpath.join(root, name) for name in BUILD_FILES]), root
        )

    def resolve(self, request: api.Request, site: api.Site) -> api.Json:
        """Resolves what the project's build needs. Raises ResolveError, FetchError."""
        from envtool_python.layer_inputs import PipInputs
        from envtool_python.pip_calls import installable_project
        from envtool_python.uv_resolver import BY_PIP, resolve_with_uv

        options = _as_mapping(request.options)
        root = posixpath.normpath(options.get("root", "."))
        facts = installable_project(PipInputs(request, site), root)
        site.note("asking the project what its build needs")
        return resolve_with_uv(
            options,
            _make_resolver(request, site),
            lambda resolver: self._build(request, facts, root, resolver),
            lambda resolver: _check_python(options, resolver),
            BY_PIP if options.get("installer") == "pip" else "",
            stand_in=request.stand_in,
        )

    def _build(
        self, request: api.Request, facts: ProjectMetadata, root: str, resolver: Resolver
    ) -> dict[str, api.Json]:
        from envtool_python.versions import pretend_version_variables

        options = _as_mapping(request.options)
        install = options.get("install") or facts.install
        prefix = _prefix(posixpath.join(request.directory, root))
        variables = pretend_version_variables(resolver, facts, prefix, options.get("version"))
        resolver.build_lines = _declared_build(resolver.site, posixpath.join(request.directory, root))
        hooks = ["build_editable"] if install == "editable" else ["build_wheel"]
        build = resolver.project(_container_path(request, root), hooks, variables)
        return resolver.pins("project", build, install=install, variables={**variables})

    def build_document(self, request: api.Request, pins: api.Json) -> api.Json:
        """Returns the build document for the files that the build needs, and the project."""
        assert isinstance(pins, dict)
        project: dict[str, api.Json] = {
            "root": _container_path(request, str(_as_mapping(request.options).get("root", "."))),
            "build": _indices(pins, "project"),
            "install": pins["install"],
            "variables": pins["variables"],
            "keep": _generated_directory(_as_mapping(request.options)),
        }
        return _build_document(request, pins, project)

    def generated(self, request: api.Request, pins: api.Json) -> Mapping[str, str]:
        """The files that the build wrote beside the sources in its copy of the project."""
        return {".": _generated_directory(_as_mapping(request.options))}

    def summary(self, request: api.Request, pins: api.Json) -> str:
        """As in `editable`; for a wheel also the module of the checkout that tests may import instead."""
        assert isinstance(pins, dict)
        if pins["install"] != "wheel":
            return str(pins["install"])
        from envtool_python.editable import NON_SOURCE_DIRECTORIES
        from envtool_python.package_layout import shadowing_modules

        root = _container_path(request, str(_as_mapping(request.options).get("root", ".")))
        paths = [posixpath.join(api.PROJECT, item.path) for item in request.inputs]
        modules = shadowing_modules(paths, root, NON_SOURCE_DIRECTORIES)
        return f"wheel (the checkout's {modules[0]} may come first)" if modules else "wheel"


def _make_resolver(request: api.Request, site: api.Site) -> Callable[[type[Resolver]], Resolver]:
    """Returns what makes a resolver of a class for the layer. Raises ResolveError, FetchError when called."""
    options = _as_mapping(request.options)
    return lambda kind: kind(
        site,
        python=_python(options),
        venv=_venv_path(options),
        index=options.get("index", ""),
        base_kind=request.base_kind,
        machine=request.stand_in.arch if request.stand_in is not None else "",
    )


def _declared_build(site: api.Site, directory: str) -> tuple[str, ...]:
    """Returns all that the build of the project in `directory` needs; () where pyproject.toml does not say it."""
    from envtool_python.declared_builds import declared_requirements

    try:
        with site.open(posixpath.normpath(posixpath.join(directory, "pyproject.toml"))) as file:
            return declared_requirements(file.read().decode())
    except (api.ResolveError, UnicodeDecodeError):
        return ()


def _check_python(options: Mapping[str, Any], resolver: Resolver) -> None:
    """Raises ResolveError unless the project supports the env's Python."""
    from envtool_python import python_versions

    specifier, version = str(options.get("requires-python", "")), str(resolver.info["version"])
    if specifier and not python_versions.fits(specifier, version):
        raise api.ResolveError(
            python_versions.wrong_python_message(specifier, f"{_python(options)} of this env is {version}"),
            code="python-version",
            hint=python_versions.hint(specifier, toolchain=_python(options) == "python3"),
        )


# ---- options and the recipe ----------------------------------------------------------------------------------------


def _as_mapping(options: api.Json) -> dict[str, Any]:
    return {"packages": options} if isinstance(options, list) else dict(options or {})  # type: ignore[arg-type]


def _prefix(directory: str) -> str:
    directory = posixpath.normpath(directory)
    return "" if directory == "." else f"{directory}/"


def _container_path(request: api.Request, root: str) -> str:
    """Returns a directory's path in containers; `root` is relative to the spec's directory."""
    return posixpath.normpath(posixpath.join(api.PROJECT, request.directory, root))


def _python(options: Mapping[str, Any]) -> str:
    return str(options.get("python", "python3"))


def _venv_path(options: Mapping[str, Any]) -> str:
    return posixpath.normpath(str(options.get("path", VENV)))


def _generated_directory(options: Mapping[str, Any]) -> str:
    return f"{_venv_path(options)}/share/envtool"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _build_document(request: api.Request, pins: api.Json, project: api.Json) -> api.Json:
    """Returns the document for inside.py's mode `build`."""
    assert isinstance(pins, dict)
    files = files_of(pins)
    indices = {entry["file"]: index for index, entry in enumerate(files)}
    return {
        "venv": _venv_path(_as_mapping(request.options)),
        "blobs": api.BLOBS,
        "pip": f"{api.BLOBS}/{pins['pip']}",
        **({"uv": f"{api.BLOBS}/{pins['uv']}"} if "uv" in pins else {}),
        "files": [
            {
                "name": entry["name"],
                "version": entry["version"],
                "file": entry["file"],
                "build": [indices[name] for name in entry.get("build", ())],
            }
            for entry in files
        ],
        "install": _indices(pins, "install"),
        "project": project,
    }


def _indices(pins: api.Json, use: str) -> list[api.Json]:
    return [index for index, entry in enumerate(files_of(pins)) if entry["use"] == use]
