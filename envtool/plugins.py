"""Collects the kinds and languages that a spec may name, from envtool itself and from plugins, into one frozen
value."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from envtool import api, distributions, plugin_calls
from envtool.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from envtool.distributions import EntryPoint

__all__ = ["GROUP", "PluginRegistry", "code_paths", "discover", "installed"]

OURS = "envtool itself"
GROUP = "envtool"  # of entry points
PACKAGE = "envtool.kinds"
BUILTIN = "envtool.kinds.builtin"  # the module whose hooks return the built-in kinds
RESERVED = frozenset({"needs", "path", "set"})  # keys of every layer, which no kind may have

T = TypeVar("T", api.Kind, api.Base, api.Language)


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginRegistry:
    """Kinds and languages by name. `plugins` are the objects with the hooks, for detection and events."""

    bases: Mapping[str, api.Base] = field(default_factory=dict)
    layers: Mapping[str, api.Kind] = field(default_factory=dict)
    languages: Mapping[str, api.Language] = field(default_factory=dict)
    plugins: tuple[object, ...] = ()

    def hooks(self, name: str) -> tuple[Callable[..., Any], ...]:
        """Returns the plugins' functions of one name, in the order of the plugins' names."""
        functions = (getattr(plugin, name, None) for plugin in self.plugins)
        return tuple(hook for hook in functions if hook is not None)


def wrong_schema(registry: PluginRegistry) -> UsageError | None:
    """Returns the error about the plugin with an invalid schema, after the schema of the whole spec was found invalid;
    None if no plugin has one."""
    import jsonschema_rs

    for noun, offers in (("kind", {**registry.bases, **registry.layers}), ("language", registry.languages)):
        for name, value in offers.items():
            schemas = {**value.siblings, name: value.schema} if isinstance(value, api.Kind) else value.options
            for key, schema in schemas.items():
                try:
                    jsonschema_rs.validator_for({"properties": {key: schema}})
                except Exception as error:
                    if owner := plugin_calls.plugin_owner(value):
                        why = (str(error).splitlines() or [""])[0][:200]
                        return _plugin_error(owner, f"offers a {noun} `{name}` with a wrong schema of `{key}`: {why}")
    return None


def discover(
    builtin: Sequence[object] | None = None,
    entry_points: Iterable[EntryPoint] | None = None,
) -> PluginRegistry:
    """Collects from the `builtin` modules (None: envtool's own), then from `entry_points` (None: those of the group
    `envtool`) in the order of their names.

    Raises UsageError (code "plugin") with the name of the distribution if a plugin cannot be imported, fails in a hook,
    or returns something that is not a kind; with both names if two plugins have a kind of the same name.
    """
    manager = pluggy.PluginManager("envtool")
    manager.add_hookspecs(api)
    plugins: list[tuple[object, str]] = []
    for module in _ours() if builtin is None else builtin:
        _register(manager, module, OURS)
        plugins.append((module, OURS))
    for entry in sorted(_installed() if entry_points is None else entry_points, key=lambda e: (e.name, e.value)):
        owner = f"the plugin {_distribution(entry)}"
        try:
            plugin = entry.load()
        except (Exception, SystemExit) as error:
            raise _plugin_error(owner, f"cannot be imported: {_short(error)}") from error
        if any(plugin is other for other, _ in plugins):  # an old and a new install of one distribution both name it
            continue
        _register(manager, plugin, owner)
        plugins.append((plugin, owner))
    return PluginRegistry(
        bases=_collect(plugins, "envtool_base_kinds", api.Base, "base kind", _check_kind, plugin_calls.wrap_kind),
        layers=_collect(plugins, "envtool_layer_kinds", api.Kind, "layer kind", _check_kind, plugin_calls.wrap_kind),
        languages=_collect(
            plugins, "envtool_languages", api.Language, "language", _check_language, plugin_calls.wrap_language
        ),
        plugins=tuple(
            plugin if owner == OURS else plugin_calls.wrap_plugin(plugin, owner) for plugin, owner in plugins
        ),
    )


def code_paths(registry: PluginRegistry) -> Iterator[str]:
    """Yields the source files and directories of envtool and its plugins, whose code decides what a spec means."""
    packages = {
        "envtool",
        *(getattr(plugin, "__name__", type(plugin).__module__).split(".")[0] for plugin in registry.plugins),
    }
    for package in sorted(packages):
        directory = os.path.dirname(getattr(sys.modules.get(package), "__file__", None) or "")
        for parent, directories, names in os.walk(directory) if directory else ():
            directories[:] = [name for name in directories if name != "__pycache__"]
            yield parent
            yield from (os.path.join(parent, name) for name in names if name.endswith(".py"))


def _ours() -> Sequence[object]:
    """Imports the built-in kinds by name: an import statement would be a cycle, since kinds import the API above this
    module."""
    import importlib.util

    if importlib.util.find_spec(PACKAGE) is None:
        return ()
    return (importlib.import_module(BUILTIN),)


def _installed() -> Iterable[EntryPoint]:
    return distributions.entry_points_of(GROUP)


def installed() -> dict[str, str]:
    """Returns the distributions with plugins: name -> version. Imports none of them."""
    versions = {entry.dist.name: entry.dist.version for entry in _installed() if entry.dist is not None}
    return dict(sorted(versions.items()))


def _distribution(entry: EntryPoint) -> str:
    distribution = entry.dist
    return f"`{distribution.name}` {distribution.version}" if distribution is not None else f"`{entry.name}`"


def _short(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _plugin_error(owner: str, failure: str) -> UsageError:
    hint = "" if owner == OURS else "update it, or uninstall it"
    return UsageError(f"{owner} {failure}", code="plugin", hint=hint)


def _register(manager: pluggy.PluginManager, plugin: object, owner: str) -> None:
    try:
        manager.register(plugin)
        manager.check_pending()
    except (ValueError, pluggy.PluginValidationError) as error:
        raise _plugin_error(owner, f"does not fit this envtool: {_short(error)}") from error


def _collect(
    plugins: list[tuple[object, str]],
    hook: str,
    expected_type: type[T],
    noun: str,
    check: Callable[[T], str],
    wrap: Callable[[T, str], T],
) -> Mapping[str, T]:
    """Calls one hook of each plugin. Each is called by itself, so that an error can name the plugin that failed, or
    that repeats a name."""
    collected: dict[str, T] = {}
    owners: dict[str, str] = {}
    for plugin, owner in plugins:
        function = getattr(plugin, hook, None)
        if function is None:
            continue
        try:
            values = list(function())
        except (Exception, SystemExit) as error:
            raise _plugin_error(owner, f"failed in {hook}: {_short(error)}") from error
        for value in values:
            if not isinstance(value, expected_type):
                raise _plugin_error(
                    owner,
                    f"offers {value!r} as a {noun}, which is no envtool.api.{expected_type.__name__}",
                )
            name = getattr(value, "name", None)
            if not isinstance(name, str) or not name:
                raise _plugin_error(owner, f"offers a {noun} without a name: {type(value).__name__}")
            try:
                objection = check(value)
            except Exception as error:
                raise _plugin_error(owner, f"offers a {noun} `{name}` that is none: {_short(error)}") from error
            if objection:
                raise _plugin_error(owner, f"offers a {noun} `{name}` {objection}")
            if name in collected:
                raise UsageError(
                    f"two plugins offer the {noun} `{name}`: {owners[name]} and {owner}",
                    code="plugin",
                    hint="uninstall one of them",
                )
            collected[name], owners[name] = value if owner == OURS else wrap(value, owner), owner
    return MappingProxyType(collected)


def _check_kind(kind: api.Kind) -> str:
    if not isinstance(getattr(kind, "schema", None), dict | bool):
        return "without a schema"
    reserved = RESERVED & {kind.name, *kind.siblings}
    if reserved:
        return f"with the key `{min(reserved)}`, which every layer has already"
    if kind.name in kind.siblings:
        return "that has itself as a sibling key"
    return ""


def _check_language(language: api.Language) -> str:
    without_schema = [name for name, schema in language.options.items() if not isinstance(schema, dict | bool)]
    return f"with the key `{without_schema[0]}`, which has no schema" if without_schema else ""
