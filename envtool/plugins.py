"""Collects the kinds, languages and kinds of service that a spec may name, from envtool itself and from plugins, into
one frozen value."""

from __future__ import annotations

import functools
import os
import re
import sys
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from envtool import api, distributions, plugin_calls
from envtool.api.env_expansion import toolchain_versions
from envtool.distributions import GROUP, VERB_GROUP, describe_owner
from envtool.errors import OURS, UnusablePluginError, in_words, place_of, report_fault
from envtool.lazy_dataclass import dataclass, field
from envtool.plugin_calls import Offer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from envtool.api.version_choice import VersionChoice
    from envtool.distributions import EntryPoint

__all__ = ["GROUP", "PluginRegistry", "code_paths", "discover", "installed"]

# the verbs of the command line (a test holds this to cli.main.VERBS): no plugin may have one of these names
OUR_VERBS = frozenset({
    "build", "cache", "ci", "completion", "diff", "doctor", "down", "env", "exec", "export", "fetch", "gc", "help",
    "import", "init", "inspect", "list", "lock", "logs", "plan", "plugins", "ps", "push", "run", "sbom", "scale",
    "schema", "shell", "shim", "store", "test", "up", "vendor", "verify", "version", "why",
})  # fmt: skip
PACKAGE = "envtool.kinds"
# the modules whose hooks return the built-in kinds, and the built-in readers and formats of reports
BUILTIN = ("envtool.kinds.builtin", "envtool.report.hooks")
# Methods of `api.Kind` before version 1: with one, a layer would depend on fewer files than its author thinks.
REMOVED = ("asked_inputs", "follows", "keeps", "named_inputs", "optional_inputs", "texts")
CHANGES = "`inputs` says it all (docs/api-changelog.md)"
ENV_KEYS = frozenset({  # the core's own keys of an env
    "base", "caches", "extends", "inputs", "language", "layers", "limits", "matrix", "network", "outputs_limit", "pass",
    "path",
    "scratch", "services", "set", "tasks", "timeout", "toolchain", "user", "workdir",
})  # fmt: skip
SERVICE_KEYS = frozenset({  # the core's own keys of a service
    "base", "command", "language", "layers", "limits", "localhost", "needs", "once", "path", "ports", "prepare",
    "project", "provides", "publish", "ready", "replicas", "restart", "scratch", "secrets", "set", "stop", "user",
    "workdir",
})  # fmt: skip
RESERVED = frozenset({"limits", "needs", "path", "set"})  # keys of every layer, which no kind may have

K = TypeVar("K", api.Kind, api.Base)
V = TypeVar("V")
W = TypeVar("W")


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginRegistry:
    """Kinds and languages by name. `plugins` are the objects with the hooks, for detection and events."""

    bases: Mapping[str, api.Base] = field(default_factory=dict)
    layers: Mapping[str, api.Kind] = field(default_factory=dict)
    languages: Mapping[str, api.Language] = field(default_factory=dict)
    env_keys: Mapping[str, Offer[api.EnvKey]] = field(default_factory=dict)
    services: Mapping[str, api.ServiceKind] = field(default_factory=dict)
    toolchains: Mapping[str, Offer[api.Toolchain]] = field(default_factory=dict)
    plugins: tuple[object, ...] = ()
    owners: tuple[str, ...] = ()  # of `plugins`, in words
    faults: tuple[UnusablePluginError, ...] = ()  # why installed plugins are not in here

    def offers(self, hook: str, expected: type[V], noun: str, check: Callable[[V], str]) -> Mapping[str, Offer[V]]:
        """Returns the values of a hook by their `name`: those of envtool itself first, then in the order of the
        plugins' names. `check` returns what is wrong with a value, or "". Those of a plugin with a wrong value are left
        out, and reported (`report_fault`)."""
        plugins = [*zip(self.plugins, self.owners, strict=True)]
        values, faults = _without_faults(plugins, lambda usable: collect(usable, hook, expected, noun, check, Offer))
        for fault in faults:
            report_fault(fault)
        return values

    def left_out(self) -> str:
        """Returns which installed plugins are not in here, in words, for an error about an unknown name; "" if all
        are."""
        excluded = ", ".join(f"`{name}`" for name in sorted(distributions.excluded_names()))
        texts = [f"not used: {fault.message}" for fault in self.faults]
        texts += [f"left out by `-p no:` or ${distributions.EXCLUDED}: {excluded}"] if excluded else []
        return "; ".join(texts)

    def hooks(self, name: str) -> tuple[Callable[..., Any], ...]:
        """Returns the plugins' functions of one name, in the order of the plugins' names."""
        functions = (getattr(plugin, name, None) for plugin in self.plugins)
        return tuple(hook for hook in functions if hook is not None)


def wrong_schema(registry: PluginRegistry) -> UnusablePluginError | None:
    """Returns the error about the plugin with an invalid schema, after the schema of the whole spec was found invalid;
    None if no plugin has one."""
    import jsonschema_rs

    offers: list[tuple[str, str, object, Mapping[str, api.Json]]] = [
        *(("kind", n, k, {**k.siblings, n: k.schema}) for n, k in (*registry.bases.items(), *registry.layers.items())),
        *(("kind of service", n, k, {**k.options, n: k.schema}) for n, k in registry.services.items()),
        *(("language", n, language, language.options) for n, language in registry.languages.items()),
    ]
    for noun, name, value, schemas in offers:
        for key, schema in schemas.items():
            try:
                jsonschema_rs.validator_for({"properties": {key: schema}})
            except Exception as error:
                if owner := plugin_calls.plugin_owner(value):
                    why = (str(error).splitlines() or [""])[0][:200]
                    return UnusablePluginError.of(
                        owner, f"offers a {noun} `{name}` with a wrong schema of `{key}`: {why}"
                    )
    for name, offer in registry.env_keys.items():
        try:
            jsonschema_rs.validator_for({"properties": {name: offer.value.schema}})
        except Exception as error:
            why = (str(error).splitlines() or [""])[0][:200]
            return UnusablePluginError.of(offer.owner, f"offers the key `{name}` of envs with a wrong schema: {why}")
    return None


def discover(
    builtin: Sequence[object] | None = None,
    entry_points: Iterable[EntryPoint] | None = None,
    faults: tuple[UnusablePluginError, ...] = (),
) -> PluginRegistry:
    """Collects from the `builtin` modules (None: envtool's own), then from `entry_points` (None: those of the group
    `envtool` that the caller does not leave out) in the order of their names.

    A plugin that cannot be imported, fails in a hook, or returns something that is not a kind is left out, and the
    registry's `faults` say why; so are two plugins that have a kind of the same name, and those that `faults` name.
    Raises UnusablePluginError for a fault of the `builtin` modules.
    """
    manager = pluggy.PluginManager("envtool")
    manager.add_hookspecs(api)
    found = list(faults)
    plugins: list[tuple[object, str]] = []
    for module in _ours() if builtin is None else builtin:
        _register(manager, module, OURS)
        plugins.append((module, OURS))
    entries = _installed(found) if entry_points is None else entry_points
    for entry in sorted(entries, key=lambda e: (e.name, e.value)):
        try:
            plugin = load_entry(entry)
            # an old and a new install of one distribution both name it
            if not any(plugin is other for other, _ in plugins):
                _register(manager, plugin, describe_owner(entry))
                plugins.append((plugin, describe_owner(entry)))
        except UnusablePluginError as fault:
            found.append(fault)
    left_out = {owner for fault in found for owner in fault.owners}
    registry, more = _without_faults([plugin for plugin in plugins if plugin[1] not in left_out], _assemble)
    return replace(registry, faults=(*found, *more)) if found or more else registry


def used() -> PluginRegistry:
    """Returns what the plugins that are installed and not left out offer, and reports those that cannot be used."""
    registry = discover()
    for fault in registry.faults:
        report_fault(fault)
    return registry


def load_entry(entry: EntryPoint) -> Any:
    """Imports and returns the object of an entry point. Raises UnusablePluginError."""
    owner = describe_owner(entry)
    try:
        plugin = entry.load()
    except (Exception, SystemExit) as error:
        place = place_of(error) or distributions.file_of(entry) or entry.value
        raise UnusablePluginError.of(owner, f"cannot be imported: {in_words(error)} ({place})") from error
    _check_version(plugin, owner)
    return plugin


def _without_faults(
    plugins: list[tuple[object, str]], collect: Callable[[list[tuple[object, str]]], W]
) -> tuple[W, list[UnusablePluginError]]:
    """Returns what `collect` returns of the plugins without those for which it raises UnusablePluginError, and these
    errors."""
    faults: list[UnusablePluginError] = []
    while True:
        try:
            return collect(plugins), faults
        except UnusablePluginError as fault:
            if not fault.owners:
                raise
            faults.append(fault)
            plugins = [plugin for plugin in plugins if plugin[1] not in fault.owners]


def _assemble(plugins: list[tuple[object, str]]) -> PluginRegistry:
    """Returns what all plugins offer. Raises UnusablePluginError for the first that cannot be used."""
    languages = collect(plugins, "envtool_languages", api.Language, "language", _check_language, _wrap_language)
    env_keys = collect(plugins, "envtool_env_keys", api.EnvKey, "key of envs", _check_env_key, Offer)
    _check_keys_differ(languages, env_keys)
    layers = collect(plugins, "envtool_layer_kinds", api.Kind, "layer kind", _check_kind, _wrap_kind)
    toolchains = _collect_toolchains(plugins, layers)
    if toolchains:
        env_keys = {**env_keys, "toolchain": Offer(_toolchain_key(toolchains, layers), OURS)}
    return PluginRegistry(
        bases=collect(plugins, "envtool_base_kinds", api.Base, "base kind", _check_kind, _wrap_kind),
        layers=layers,
        toolchains=toolchains,
        languages=languages,
        env_keys=env_keys,
        services=collect(
            plugins, "envtool_service_kinds", api.ServiceKind, "kind of service", _check_service_kind, _wrap_service
        ),
        plugins=tuple(
            plugin if owner == OURS else plugin_calls.wrap_plugin(plugin, owner) for plugin, owner in plugins
        ),
        owners=tuple(owner for _, owner in plugins),
    )


def _collect_toolchains(
    plugins: list[tuple[object, str]], layers: Mapping[str, api.Kind]
) -> Mapping[str, Offer[api.Toolchain]]:
    if not any(getattr(plugin, "envtool_toolchains", None) for plugin, _ in plugins):
        return {}

    def check(toolchain: api.Toolchain) -> str:
        if not re.fullmatch(r"[a-z][a-z0-9-]*", toolchain.name):
            return "whose name has other characters than small letters, digits and `-`"
        wanted = api.MirroredToolchainKind if toolchain.mirror else api.ToolchainKind
        is_one = isinstance(layers.get(toolchain.kind), wanted)
        return "" if is_one else f"of the kind `{toolchain.kind}`, which is no {wanted.__name__}"

    return collect(plugins, "envtool_toolchains", api.Toolchain, "toolchain", check, Offer)


def _toolchain_key(offers: Mapping[str, Offer[api.Toolchain]], kinds: Mapping[str, api.Kind]) -> api.EnvKey:
    """Returns the key `toolchain` of envs."""
    versions = toolchain_versions(offer.value for offer in offers.values())
    schema: api.Json = {
        "description": "Toolchains with their versions; the lock has each exact version with the hashes of its files."
        " In a list, and without a version, the project's own files decide.",
        "examples": [{"node": "22"}],
        "type": ["object", "array"],
        "properties": versions,
        "additionalProperties": False,
        "items": {"enum": [*versions]},
        "uniqueItems": True,
        "minProperties": 1,
        "minItems": 1,
    }

    def add(env: api.EnvDraft, value: api.Json, project: api.Project) -> api.Additions:
        from envtool.api.toolchains import added_toolchains
        from envtool.api.version_choice import choose_version

        def decide(name: str) -> VersionChoice:
            offer = offers[name]
            accepts = functools.partial(plugin_calls.call_accepts, offer, kinds[offer.value.kind])
            return choose_version(name, offer.value.names, plugin_calls.call_wants(offer, project), project, accepts)

        return added_toolchains({name: offer.value for name, offer in offers.items()}, decide, env, value)

    return api.EnvKey(name="toolchain", schema=schema, add=add)


def _wrap_kind(kind: K, owner: str) -> K:
    return kind if owner == OURS else plugin_calls.wrap_kind(kind, owner)


def _wrap_language(language: api.Language, owner: str) -> api.Language:
    return language if owner == OURS else plugin_calls.wrap_language(language, owner)


def _wrap_service(kind: api.ServiceKind, owner: str) -> api.ServiceKind:
    return kind if owner == OURS else plugin_calls.wrap_service_kind(kind, owner)


def output_readers(registry: PluginRegistry) -> tuple[Offer[api.OutputReader], ...]:
    """Returns the readers of test runners' output."""
    return tuple(
        registry.offers("envtool_output_readers", api.OutputReader, "reader of the output of", _check_reader).values()
    )


def report_formats(registry: PluginRegistry) -> Mapping[str, Offer[api.ReportFormat]]:
    """Returns the formats of reports by name."""
    return registry.offers("envtool_report_formats", api.ReportFormat, "report format", _check_format)


def _check_format(report_format: api.ReportFormat) -> str:
    is_name = re.fullmatch(r"[a-z][a-z0-9_.-]*", report_format.name)
    return "" if is_name else "whose name has other characters than small letters, digits, `_`, `.` and `-`"


def _check_reader(reader: api.OutputReader) -> str:
    for name, expression in (("begins", reader.begins), ("contains", reader.contains)):
        try:
            if re.compile(f"(?:{expression})").groups:
                return f"whose `{name}` has a group that captures: write (?:…)"
        except re.error as error:
            return f"whose `{name}` is no regular expression: {error}"
    return "" if reader.begins or reader.contains else "without `begins` or `contains`"


def code_paths(registry: PluginRegistry) -> Iterator[str]:
    """Yields the source files and directories of envtool and its plugins, whose code decides what a spec means."""
    modules = (getattr(plugin, "__name__", type(plugin).__module__) for plugin in registry.plugins)
    for package in sorted({"envtool", *(module.split(".")[0] for module in modules)}):
        directory = os.path.dirname(getattr(sys.modules.get(package), "__file__", None) or "")
        for parent, directories, names in os.walk(directory) if directory else ():
            directories[:] = [name for name in directories if name != "__pycache__"]
            yield parent
            yield from (os.path.join(parent, name) for name in names if name.endswith(".py"))


def _ours() -> Sequence[object]:
    """Imports the built-in modules by name: an import statement would be a cycle, since they import the API above this
    module."""
    import importlib.util

    if importlib.util.find_spec(PACKAGE) is None:
        return ()
    return tuple(map(importlib.import_module, BUILTIN))


def _installed(faults: list[UnusablePluginError]) -> Iterable[EntryPoint]:
    """Returns the entry points of modules with hooks. Adds to `faults` if two verbs have the same name: then that verb
    cannot be used, and the plugins can."""
    found = [*distributions.used_entry_points(GROUP, VERB_GROUP)]
    try:
        check_verbs(entry for entry in found if entry.group == VERB_GROUP)
    except UnusablePluginError as fault:
        faults.append(UnusablePluginError(fault.message, hint=fault.hint))
    return [entry for entry in found if entry.group == GROUP]


def check_verbs(entries: Iterable[EntryPoint]) -> None:
    """Raises UnusablePluginError if a plugin has a verb of envtool's, or two plugins have the same one."""
    owners: dict[str, str] = dict.fromkeys(OUR_VERBS, OURS)
    for entry in sorted(entries, key=lambda entry: (entry.name, entry.value)):
        owner = describe_owner(entry)
        if not distributions.VERB_NAME.fullmatch(entry.name):
            raise UnusablePluginError.of(
                owner, f"offers the verb `{entry.name}`: names have small letters, digits and `-`"
            )
        if owners.setdefault(entry.name, owner) != owner:
            raise UnusablePluginError.of_two(f"the verb `{entry.name}`", owners[entry.name], owner)


def installed() -> dict[str, str]:
    """Returns the distributions with plugins: name -> version. Imports none of them."""
    found = distributions.entry_points_of(GROUP, VERB_GROUP)
    versions = {entry.dist.name: entry.dist.version for entry in found if entry.dist is not None}
    return dict(sorted(versions.items()))


def _check_version(plugin: object, owner: str) -> None:
    """Raises UnusablePluginError for a plugin that is written for another version of the API. One that does not say for
    which it is written is taken to be for this one."""
    version = getattr(plugin, "envtool_api", api.API_VERSION)
    if version == api.API_VERSION and type(version) is int:
        return
    if type(version) is not int or version < 1:
        raise UnusablePluginError.of(
            owner, f"names {version!r:.40} as its version of the plugin API: a version is a whole number from 1 on"
        )
    message = f"{owner} is written for version {version} of the plugin API, and this envtool has {api.API_VERSION}"
    newer = version > api.API_VERSION
    raise UnusablePluginError(
        message, hint="update envtool" if newer else "update it, or uninstall it", owners=(owner,)
    )


def _register(manager: pluggy.PluginManager, plugin: object, owner: str) -> None:
    try:
        manager.register(plugin)
        manager.check_pending()
    except (ValueError, pluggy.PluginValidationError) as error:
        if manager.is_registered(plugin):  # or the next plugin's check would find what is wrong with this one
            manager.unregister(plugin)
        raise UnusablePluginError.of(owner, f"does not fit this envtool: {in_words(error)}") from error


def collect(
    plugins: list[tuple[object, str]],
    hook: str,
    expected_type: type[V],
    noun: str,
    check: Callable[[V], str],
    wrap: Callable[[V, str], W],
) -> Mapping[str, W]:
    """Calls one hook of each plugin. Each is called by itself, so that an error can name the plugin that failed, or
    that repeats a name."""
    collected: dict[str, W] = {}
    owners: dict[str, str] = {}
    for plugin, owner in plugins:
        function = getattr(plugin, hook, None)
        if function is None:
            continue
        try:
            values = list(function())
        except (Exception, SystemExit) as error:
            raise UnusablePluginError.of(owner, f"failed in {hook}: {in_words(error)} ({place_of(error)})") from error
        for value in values:
            if not isinstance(value, expected_type):
                raise UnusablePluginError.of(
                    owner,
                    f"offers {value!r} as a {noun}, which is no envtool.api.{expected_type.__name__}",
                )
            name = getattr(value, "name", None)
            if not isinstance(name, str) or not name:
                raise UnusablePluginError.of(owner, f"offers a {noun} without a name: {type(value).__name__}")
            try:
                objection = check(value)
            except Exception as error:
                raise UnusablePluginError.of(
                    owner, f"offers a {noun} `{name}` that is none: {in_words(error)}"
                ) from error
            if objection:
                raise UnusablePluginError.of(owner, f"offers a {noun} `{name}` {objection}")
            if name in collected:
                raise UnusablePluginError.of_two(f"the {noun} `{name}`", owners[name], owner)
            collected[name], owners[name] = wrap(value, owner), owner
    return MappingProxyType(collected)


def _check_kind(kind: api.Kind) -> str:
    removed = [name for name in REMOVED if callable(getattr(kind, name, None))]
    if removed:
        return f"with `{removed[0]}`, which version {api.API_VERSION} of the plugin API does not have: {CHANGES}"
    ignored = [] if isinstance(kind, api.Base) else sorted(name for name in _of_bases() if hasattr(kind, name))
    if ignored:
        return f"with `{ignored[0]}`, which only an envtool.api.Base has"
    if not isinstance(getattr(kind, "schema", None), dict | bool):
        return "without a schema"
    reserved = RESERVED & {kind.name, *kind.siblings}
    if reserved:
        return f"with the key `{min(reserved)}`, which every layer has already"
    if kind.name in kind.siblings:
        return "that has itself as a sibling key"
    return ""


def _of_bases() -> set[str]:
    """Returns the names that `api.Base` adds to `api.Kind`."""
    return {name for name in vars(api.Base) if not name.startswith("_")} - {*vars(api.Kind)}


def _check_env_key(key: api.EnvKey) -> str:
    if not isinstance(key.schema, dict) or "description" not in key.schema:
        return "without a schema that has a description"
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", key.name):
        return "whose name has other characters than small letters, digits, `_` and `-`"
    return "which every env has already" if key.name in ENV_KEYS else ""


def _check_service_kind(kind: api.ServiceKind) -> str:
    if not isinstance(getattr(kind, "schema", None), dict) or "description" not in kind.schema:  # type: ignore[operator]
        return "without a schema that has a description"
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", kind.name):
        return "whose name has other characters than small letters, digits, `_` and `-`"
    if taken := SERVICE_KEYS & {kind.name, *kind.options}:
        return f"with the key `{min(taken)}`, which every service has already"
    if kind.name in kind.options:
        return "that has itself as a sibling key"
    without = [name for name, schema in kind.options.items() if not isinstance(schema, dict | bool)]
    return f"with the key `{without[0]}`, which has no schema" if without else ""


def _check_keys_differ(languages: Mapping[str, api.Language], keys: Mapping[str, Offer[api.EnvKey]]) -> None:
    """Raises UnusablePluginError if a language and a plugin have a key of the same name."""
    for language in languages.values():
        for name in language.options.keys() & keys.keys():
            owner = plugin_calls.plugin_owner(language) or OURS
            note = f" (for language `{language.name}`)"
            raise UnusablePluginError.of_two(f"the key `{name}` of envs", owner, keys[name].owner, note)


def _check_language(language: api.Language) -> str:
    if taken := language.options.keys() & ENV_KEYS:
        return f"with the key `{min(taken)}`, which every env has already"
    without_schema = [name for name, schema in language.options.items() if not isinstance(schema, dict | bool)]
    return f"with the key `{without_schema[0]}`, which has no schema" if without_schema else ""
