"""What package.json says about a project. Pure."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Read: TypeAlias = Callable[[str], str | None]
Glob: TypeAlias = Callable[[str], list[str]]

DEPENDENCIES = ("dependencies", "devDependencies", "optionalDependencies", "peerDependencies")


class WrongManifestError(ValueError):
    """A package.json that cannot be used; `line` and `column` count from 1."""

    def __init__(self, message: str, *, file: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.file = file
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageJson:
    """One package.json. `workspaces` are its patterns, `local` the paths of its `file:`, `link:` and `portal:`
    dependencies, `patches` those of patches of pnpm and Yarn; all as written, relative to package.json."""

    name: str = ""
    scripts: Mapping[str, str]
    dependencies: Mapping[str, str]
    workspaces: tuple[str, ...] = ()
    local: tuple[str, ...] = ()
    manager: str = ""  # of `packageManager`: "npm", "yarn", "pnpm"
    manager_version: str = ""  # of `packageManager`, with the hash behind it
    patches: tuple[str, ...] = ()


def parse(text: str, file: str) -> PackageJson:
    """Parses the text of a package.json. Raises WrongManifestError."""
    try:
        document = json.loads(text.removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        raise WrongManifestError(
            f"{file} is not JSON: {error.msg.lower()}", file=file, line=error.lineno, column=error.colno
        ) from None
    except (ValueError, RecursionError) as error:  # a number of 5000 digits, or lists a thousand deep
        raise WrongManifestError(
            f"{file} is no package.json: {str(error)[:100]}", file=file, line=1, column=1
        ) from None
    if not isinstance(document, dict):
        raise WrongManifestError(f"{file} is not a JSON object", file=file)
    dependencies = {
        name: str(version) for key in DEPENDENCIES for name, version in _table(document.get(key), key, file).items()
    }
    workspaces = document.get("workspaces") or []
    if isinstance(workspaces, dict):
        workspaces = workspaces.get("packages") or []
    if not isinstance(workspaces, list):
        raise WrongManifestError(f"{file}: `workspaces` is not a list", file=file)
    local = [
        version.partition(":")[2] for version in dependencies.values() if re.match(r"(?:file|link|portal):", version)
    ]
    return PackageJson(
        name=str(document.get("name", "")),
        scripts=_table(document.get("scripts"), "scripts", file),
        dependencies=dependencies,
        workspaces=tuple(str(pattern) for pattern in workspaces),
        local=tuple(local),
        manager=str(document.get("packageManager") or "").partition("@")[0],
        manager_version=str(document.get("packageManager") or "").partition("@")[2],
        patches=(
            *_patches(document.get("pnpm")),
            *_yarn_patches(dependencies),
            *_yarn_patches(document.get("resolutions")),
        ),
    )


def _patches(settings: Any) -> tuple[str, ...]:
    patched = settings.get("patchedDependencies") if isinstance(settings, dict) else None
    return tuple(path for path in patched.values() if isinstance(path, str)) if isinstance(patched, dict) else ()


def _yarn_patches(dependencies: Any) -> list[str]:
    """Returns the paths of `patch:is-odd@npm%3A3.0.1#~/odd.patch` (https://yarnpkg.com/protocol/patch): several are
    divided by `&`, and `~/` is the project. Yarn's own patches are no files."""
    values = map(str, dependencies.values()) if isinstance(dependencies, dict) else ()
    bound = [value.partition("#")[2] for value in values if value.startswith("patch:")]
    paths = [path.removeprefix("optional!") for tail in bound for path in tail.partition("::")[0].split("&")]
    return [path.removeprefix("~/") for path in paths if path and not path.startswith("builtin<")]


def _table(value: Any, key: str, file: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise WrongManifestError(f"{file}: `{key}` is not an object", file=file)
    return value


def further_inputs(manifest: PackageJson, directory: str, glob: Glob) -> tuple[str, ...]:
    """Returns the other files that npm reads: package.json of workspaces and of linked directories, local tarballs.

    They are relative to the spec, as `directory` (of this manifest) is. Paths outside of the project are left out.
    """
    inputs: set[str] = set()
    for pattern in manifest.workspaces:
        negative = pattern.startswith("!")
        input_path = posixpath.normpath(posixpath.join(directory, pattern.removeprefix("!"), "package.json"))
        if input_path.startswith(("/", "../")):
            continue
        names = {path for path in glob(input_path) if "node_modules" not in path.split("/")}
        inputs = inputs - names if negative else inputs | names
    for path in manifest.local:
        input_path = posixpath.normpath(posixpath.join(directory, path))
        if not input_path.startswith(("/", "..")):
            inputs.add(
                input_path
                if input_path.endswith((".tgz", ".tar.gz", ".tar"))
                else posixpath.join(input_path, "package.json")
            )
    return tuple(sorted(inputs))
