"""Reads what the caller allows projects to have of this machine: options, and a file of the caller.

`$XDG_CONFIG_HOME/envtool/config.yaml` (`~/.config/envtool/config.yaml`) holds what the options would repeat each time:

    version: 1
    allow: {pass: [BUILD_URL]}                      # for every project
    projects:
      ~/src/app:                                    # for this directory, and all in it
        pass: [NPM_TOKEN, "GITHUB_*"]
        secrets: {token: env:APP_TOKEN, npmrc: file:~/.npmrc, key: "command:pass show app/key"}
        files: [/srv/mirror]

The file is believed only if nobody else can have written or replaced it (fs/trusted_paths.py), and if it is outside of
the project.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from envtool.app.command_request import CommandRequest
from envtool.errors import UsageError
from envtool.fs.beneath import real_path
from envtool.fs.trusted_paths import why_untrusted
from envtool.model import Json
from envtool.project import host_access
from envtool.project.host_access import HostPermissions
from envtool.run.fast_exec import permissions_path
from envtool.spec.node import Problems, make_source, parse, to_plain
from envtool.spec.scalar_types import PASSED_PATTERN, PASSED_WORDS, VARIABLE
from envtool.spec.validate import SchemaChecker

# what `--allow-secret` takes; in config.yaml a source may also be a command, which only its owner can have written
SECRET_SOURCE = re.compile(rf"env:{VARIABLE[1:-1]}|file:.+", re.DOTALL)
_ABSOLUTE_OR_HOME = "^(/|~/)"
_ALLOW_SCHEMA: Json = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "pass": {"type": "array", "items": {"type": "string", "pattern": PASSED_PATTERN, "errorMessage": PASSED_WORDS}},
        "secrets": {
            "type": "object",
            "additionalProperties": {
                "type": "string",
                "pattern": f"^(env:{VARIABLE[1:-1]}|file:(/|~/).*|command:.*[^ ].*)$",
                "errorMessage": "where the secret is, as in env:APP_TOKEN or file:~/.npmrc",
            },
        },
        "files": {
            "type": "array",
            "items": {
                "type": "string",
                "pattern": _ABSOLUTE_OR_HOME,
                "errorMessage": "an absolute path, or one below ~, as in /srv/mirror or ~/src/app",
            },
        },
    },
}
SCHEMA: dict[str, Json] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["version"],
    "properties": {
        "version": {"const": 1},
        "allow": _ALLOW_SCHEMA,
        "projects": {"type": "object", "additionalProperties": _ALLOW_SCHEMA},
    },
}
MAX_CONFIG_BYTES = 1 << 20


def resolve_permissions(request: CommandRequest, root: str) -> HostPermissions:
    """What this call allows the project in `root` to have. Raises UsageError, and SpecError about config.yaml."""
    secrets: dict[str, str] = {}
    variables: list[str] = []
    files: list[str] = []
    for entry in read_permissions(root):
        variables += entry.get("pass", ())
        secrets |= entry.get("secrets", {})
        files += entry.get("files", ())
    for text in request.allow_secret:
        name, equals, source = text.partition("=")
        if source.startswith("command:"):
            raise UsageError(
                f"`--allow-secret {name}=command:…`: a command may only stand in your own configuration",
                code="usage.secret",
                hint=f"`projects: {{{root}: {{secrets: {{{name}: '{source}'}}}}}}` in {permissions_path()}",
            )
        if not name or (equals and not SECRET_SOURCE.fullmatch(source)):
            typed = name + "=…" * bool(equals)  # what follows may be the secret itself
            raise UsageError(
                f"`--allow-secret {typed}`: expected NAME, NAME=env:VARIABLE or NAME=file:PATH", code="usage.secret"
            )
        if source.startswith("file:"):
            source = f"file:{_absolute(source[5:])}"
        secrets[name] = source
    for text in request.allow_pass:
        if not re.match(PASSED_PATTERN, text):
            raise UsageError(f"`--allow-pass {text}` is no variable's name", code="usage.pass")
        variables.append(text)
    for path in request.allow_file:
        if not path or not os.path.exists(os.path.expanduser(path)):
            raise UsageError(
                f"`--allow-file {path or repr(path)}`: there is no such file or directory", code="usage.file"
            )
        files.append(_absolute(path))
    return HostPermissions(
        secrets=secrets,
        variables=tuple(dict.fromkeys(variables)),
        files=tuple(dict.fromkeys(os.path.realpath(os.path.expanduser(path)) for path in files)),
        called=request.called,
        said=bool(request.allow_secret or request.allow_pass or request.allow_file),
    )


def with_absolute_paths(request: CommandRequest) -> CommandRequest:
    """Returns a request whose permissions mean the same in another working directory."""
    return replace(
        request,
        allow_secret=tuple(
            f"{name}=file:{_absolute(source[5:])}" if source.startswith("file:") else text
            for text in request.allow_secret
            for name, _, source in [text.partition("=")]
        ),
        allow_file=tuple(_absolute(path) if path else path for path in request.allow_file),
    )


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def read_permissions(root: str) -> Iterable[Mapping[str, Any]]:
    """The entries of config.yaml that apply to the project in `root`, the most specific last. Raises UsageError,
    SpecError."""
    path = permissions_path()
    text = _read_config_text(path, root)
    if text is None:
        return ()
    problems = Problems()
    node = parse(text, make_source(text, path), problems)
    if node is not None:
        SchemaChecker(SCHEMA, whole="config.yaml").check(to_plain(node), node, problems)
        projects = node.get("projects")
        for name in projects.mapping() if projects is not None else ():
            if projects is not None and not re.match(_ABSOLUTE_OR_HOME, name):
                problems.add(projects.key(name), f"`{name}` is not absolute", code="path", hint="as in ~/src/app")
    problems.raise_any()
    config: Any = to_plain(node) if node is not None else {}
    real_root = real_path(root)
    entries = {os.path.realpath(os.path.expanduser(name)): entry for name, entry in config.get("projects", {}).items()}
    return (
        config.get("allow", {}),
        *(entry for directory, entry in sorted(entries.items()) if host_access.is_at_or_below(real_root, directory)),
    )


def _read_config_text(path: str, root: str) -> str | None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        hint = f"is {os.path.expanduser('~')} your home? HOME or XDG_CONFIG_HOME says where it is"
        raise UsageError(f"{path} cannot be read: {error.strerror}", code="config", hint=hint) from None
    try:
        real = os.readlink(f"/proc/self/fd/{descriptor}")
        if host_access.is_at_or_below(real, real_path(root)):
            hint = "what a project may have is said outside of it"
            raise UsageError(f"{path} lies in the project, and is not believed", code="config", hint=hint)
        wrong, mend = why_untrusted(path, path)
        if wrong:
            hint = (
                mend
                or f"it has to be yours: `chown {os.geteuid()} {path}`, or let XDG_CONFIG_HOME name your own directory"
            )
            raise UsageError(f"{wrong}: it is not believed", code="config", hint=hint)
        with host_access.open_regular(os.dup(descriptor), path, MAX_CONFIG_BYTES) as file:
            return b"".join(host_access.read_chunks(file)).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8: byte {error.start}", code="config") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", code="config") from None
    finally:
        os.close(descriptor)
