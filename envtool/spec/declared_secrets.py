"""Reads `secrets:` of a spec, and those that tasks, services and layers name. Only specs with secrets import this."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Protocol

from envtool.model import SecretUse
from envtool.spec.template import is_template

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envtool.model import Json
    from envtool.spec.node import Problems, YamlNode
    from envtool.spec.template import Scope

DIRECTORY = "/run/secrets"
# Where no file of a secret may be: what the kernel has, what every container needs, and the project, whose files a task
# may leave as outputs.
_RESERVED = ("/proc", "/sys", "/dev", "/project", "/etc/passwd", "/etc/group", "/etc/hosts", "/etc/resolv.conf")


class SecretContext(Protocol):
    """What this module needs of declarations.LoadContext."""

    problems: Problems
    secrets: dict[str, YamlNode]
    known_secrets: dict[str, YamlNode | None]

    def text(self, node: YamlNode, scope: Scope | None) -> str:
        """Returns a scalar as rendered text."""
        ...


def declare_secret(work: SecretContext, name: str, node: YamlNode) -> None:
    """Adds one secret, whose name is new. Notes a target that cannot be."""
    options = node.mapping() if isinstance(node.value, dict) else {}
    target = options.get("target")
    if target is not None and isinstance(target.value, str):
        path = target.value
        parts = path.split("/")
        reserved = next((top for top in _RESERVED if f"{path}/".startswith(f"{top}/")), "")
        if is_template(path):
            work.problems.add(target, "a template in `secrets:`", code="template", hint="write the path out")
        elif not path.startswith("/") or len(parts) < 3 or {"", ".", ".."} & {*parts[1:]} or "\0" in path:
            hint = f"write the absolute path of a file, as in {DIRECTORY}/{name.rpartition('/')[2]}"
            work.problems.add(target, f"`{path}` is not a path for a secret", code="path", hint=hint)
        elif reserved:
            hint = f"{DIRECTORY} is a good place"
            work.problems.add(
                target, f"no secret can be at {path}: {reserved} is not its place", code="path", hint=hint
            )
    work.secrets[name] = node


def render_secrets(work: SecretContext, node: YamlNode, scope: Scope | None, label: str) -> tuple[SecretUse, ...]:
    """Returns the secrets that a list names. Notes names that are not declared, and two in one place. `label` says
    whose they are."""
    uses: list[SecretUse] = []
    places: dict[str, str] = {}
    for item in node.items():
        if not isinstance(item.value, str) or (scope is None and is_template(item.value)):
            continue
        use = _find(work, item, work.text(item, scope), label)
        if use is None:
            continue
        if any(use.name == other.name for other in uses):
            hint = "remove one of them"
            work.problems.add(item, f"{label} names the secret `{use.name}` twice", code="duplicate", hint=hint)
            continue
        for place in filter(None, (use.target, f"${use.env}" if use.env else "")):
            if first := places.get(place):
                message = f"the secrets `{first}` and `{use.name}` of {label} would both be {place}"
                work.problems.add(item, message, code="duplicate", hint="give one of them another place in `secrets:`")
            places[place] = use.name
        uses.append(use)
    return tuple(uses)


def _find(work: SecretContext, item: YamlNode, written: str, label: str) -> SecretUse | None:
    if not written:
        return None
    name = item.source.resolve_name(written, work.known_secrets)
    node = work.secrets.get(name)
    if node is None:
        if name not in work.known_secrets:
            hint = work.problems.nearest_hint(written, work.known_secrets) or (
                f"declare it at the top of the file: `secrets: {{{written}: {{}}}}`"
            )
            message = f"{label} names the secret `{written}`, which is not declared"
            work.problems.add(item, message, code="unknown-secret", hint=hint)
        return None
    options = node.mapping() if isinstance(node.value, dict) else {}
    env, target, optional = (options.get(key) for key in ("env", "target", "optional"))
    variable = str(env.value) if env is not None else ""
    return SecretUse(
        name=name,
        where=item.where,
        target=str(target.value)
        if target is not None
        else ""
        if variable
        else posixpath.join(DIRECTORY, posixpath.basename(name)),
        env=variable,
        optional=optional is not None and optional.value is True,
    )


def layer_options(work: SecretContext, options: Mapping[str, Json], node: YamlNode, scope: Scope | None) -> Json:
    """Returns the options of a `run` layer in which each secret has its place: name -> {target, env, optional}."""
    at = node.get("secrets")
    uses = render_secrets(work, at, scope, "this layer") if at is not None else ()
    return {
        **options,
        "secrets": {use.name: {"target": use.target, "env": use.env, "optional": use.optional} for use in uses},
    }
