"""Lists the installed plugins: from where each is loaded, and what it adds. One that fails is in the list, too."""

from __future__ import annotations

from typing import NamedTuple

from envtool import api, distributions
from envtool.distributions import GROUP, VERB_GROUP, EntryPoint

# hook -> what its values are; each has a `name`
NAMED_HOOKS = {
    "envtool_base_kinds": "bases",
    "envtool_layer_kinds": "layers",
    "envtool_languages": "languages",
    "envtool_service_kinds": "services",
    "envtool_env_keys": "env keys",
    "envtool_output_readers": "readers",
    "envtool_report_formats": "reports",
}
OTHER_HOOKS = "hooks"  # those whose values have no name: detection, hints, packages, events
VERBS = "verbs"


class ListedPlugin(NamedTuple):
    """A distribution with entry points of envtool. `error` is why one of its modules or hooks cannot be used."""

    name: str
    version: str  # "" where its metadata cannot be read
    files: tuple[str, ...]  # of its modules, absolute paths
    adds: dict[str, tuple[str, ...]]  # "layers" -> their names
    error: str = ""
    left_out: bool = False  # by the caller: then it is not imported


def list_plugins() -> tuple[ListedPlugin, ...]:
    """Returns the installed plugins by name. Imports each that is not left out, and calls the hooks that return
    what it adds."""
    entries: dict[tuple[str, str], list[EntryPoint]] = {}
    for entry in distributions.entry_points_of(GROUP, VERB_GROUP):
        entries.setdefault(_owner(entry), []).append(entry)
    return tuple(_list_plugin(*owner, entries[owner]) for owner in sorted(entries))


def _owner(entry: EntryPoint) -> tuple[str, str]:
    try:
        return (entry.dist.name, entry.dist.version) if entry.dist else (entry.name, "")
    except Exception:  # metadata that cannot be read
        return entry.name, ""


def _list_plugin(name: str, version: str, entries: list[EntryPoint]) -> ListedPlugin:
    if any(distributions.is_named(entry, distributions.excluded_names()) for entry in entries):
        files = tuple(dict.fromkeys(filter(None, map(distributions.file_of, entries))))
        return ListedPlugin(name, version, files, {}, left_out=True)
    return _import_plugin(name, version, entries)


def _import_plugin(name: str, version: str, entries: list[EntryPoint]) -> ListedPlugin:
    files: list[str] = []
    adds: dict[str, list[str]] = {}
    errors: list[str] = []
    for entry in sorted(entries, key=lambda entry: (entry.group, entry.name)):
        if entry.group == VERB_GROUP:
            adds.setdefault(VERBS, []).append(entry.name)
        try:
            plugin = entry.load()
        except (Exception, SystemExit) as error:
            errors.append(f"{entry.value} cannot be imported: {_describe(error)}")
            plugin = None
        files.append(distributions.file_of(entry))
        if entry.group == GROUP and plugin is not None:
            _add_hooks(plugin, adds, errors)
    return ListedPlugin(
        name, version, tuple(dict.fromkeys(filter(None, files))), {noun: tuple(adds[noun]) for noun in adds},
        "; ".join(errors),
    )  # fmt: skip


def _add_hooks(plugin: object, adds: dict[str, list[str]], errors: list[str]) -> None:
    version = getattr(plugin, "envtool_api", api.API_VERSION)
    if version != api.API_VERSION:
        errors.append(f"it is written for version {version!r:.40} of the plugin API, not {api.API_VERSION}")
        return
    for hook, noun in NAMED_HOOKS.items():
        function = getattr(plugin, hook, None)
        if function is None:
            continue
        try:
            adds.setdefault(noun, []).extend(str(value.name) for value in function())
        except (Exception, SystemExit) as error:
            errors.append(f"{hook} failed: {_describe(error)}")
    others = sorted(name for name in dir(plugin) if name.startswith("envtool_") and callable(getattr(plugin, name)))
    if unnamed := [name.removeprefix("envtool_") for name in others if name not in NAMED_HOOKS]:
        adds.setdefault(OTHER_HOOKS, []).extend(name for name in unnamed if name != VERBS)


def _describe(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
