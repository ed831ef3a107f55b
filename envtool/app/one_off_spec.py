"""Writes the spec of a command that needs no project: `exec` and `shell` with `--base`."""

from __future__ import annotations

import copy
import errno
import os
import re
import shlex
from collections.abc import Mapping, Sequence

import yaml

from envtool import plugins
from envtool.container import userns
from envtool.errors import EnvtoolError, SpecError, UsageError, near_name_hint
from envtool.fs import store_files
from envtool.project import one_off_directory
from envtool.store import store

_HINT_BASE = "for example `--base debian:trixie`, `--base image:alpine:3.20` or `--base host`"
_HINT_LAYER = "for example `--with 'apt: [jq]'`"
_MAX_TYPED = 60  # characters of an option that an error shows
_PLACE = re.compile(re.escape(one_off_directory.SPEC) + r":([0-9]+)(?::[0-9]+)?")
_IN_ENTRY = re.compile(r" in `(?:layers\[[0-9]+\]|base)` of env `one-off`")
_ENTRY = re.compile(r"`(?:layers\[[0-9]+\]|base)\.([^`]+)` of env `one-off`")


def spec_text(base: str, layers: Sequence[str], *, network: bool) -> str:
    """Returns the spec that `--base BASE --with LAYER …` stands for. Raises UsageError for wrong options."""
    entries: dict[str, yaml.Node] = {"base": _base_node(base)}
    if layers:
        nodes = [_mapping_node("--with", text, _HINT_LAYER) for text in layers]
        entries["layers"] = yaml.SequenceNode("tag:yaml.org,2002:seq", nodes, flow_style=False)
    if network:
        entries["network"] = yaml.ScalarNode("tag:yaml.org,2002:bool", "true")
    envs = _mapping({one_off_directory.ENV: _mapping(entries)})
    document = _mapping({"version": yaml.ScalarNode("tag:yaml.org,2002:int", "1"), "envs": envs})
    return str(yaml.serialize(document, allow_unicode=True, width=1 << 20))


def provide_project(base: str, layers: Sequence[str], *, network: bool) -> str:
    """Returns the directory with the spec of these options. Raises UsageError, StoreError, OSError."""
    text = spec_text(base, layers, network=network)
    opened = store.open_store(idmap=userns.describe_ids())
    directory = one_off_directory.directory_of(opened.root, base, layers, network=network)
    path = os.path.join(directory, one_off_directory.SPEC)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    os.utime(directory)  # `gc` removes those that were not used for long
    if _read(path) != text.encode():
        store_files.replace_if_possible(path, text.encode())
        if _read(path) != text.encode():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    return directory


def name_options(error: EnvtoolError, base: str, layers: Sequence[str], *, network: bool) -> EnvtoolError:
    """Returns an error about a command without a project as one about its options: nobody has written the spec that
    they stand for."""
    options = _options_by_line(base, layers, network=network)

    def name(text: str) -> str:
        return _PLACE.sub(lambda match: f"`{_option_at(options, int(match[1]))}`", text)

    if not isinstance(error, SpecError):
        named = copy.copy(error)
        named.message, named.hint = name(error.message), name(error.hint)
        named.args = (named.message,)
        return named
    messages = [_ENTRY.sub(r"`\1`", _IN_ENTRY.sub("", problem.message)) for problem in error.problems]
    texts = [
        f"`{_option_at(options, problem.where.line)}`: {message}"
        for problem, message in zip(error.problems, messages, strict=True)
    ]
    hints = [name(problem.hint) for problem in error.problems]
    if len(texts) == 1:
        hint = "; ".join(filter(None, [hints[0], name(error.hint)]))
        return UsageError(texts[0], code=error.problems[0].code, hint=hint)
    lines = [f"{text} ({hint})" if hint else text for text, hint in zip(texts, hints, strict=True)]
    return UsageError("\n  ".join(lines), code=error.problems[0].code, hint=name(error.hint))


def _options_by_line(base: str, layers: Sequence[str], *, network: bool) -> list[tuple[int, str]]:
    """Returns, sorted, the first line of the spec that each option stands for, and the option as it is typed."""
    document = yaml.compose(spec_text(base, layers, network=network), Loader=yaml.SafeLoader)
    assert document is not None
    entries = _entries(document, "envs", one_off_directory.ENV)
    lines = [(entries["base"].start_mark.line + 1, _typed("--base", base))]
    if layers:
        nodes: list[yaml.Node] = entries["layers"].value
        lines += [(node.start_mark.line + 1, _typed("--with", text)) for node, text in zip(nodes, layers, strict=True)]
    if network:
        lines.append((entries["network"].start_mark.line + 1, "--network"))
    return lines


def _typed(option: str, text: str) -> str:
    """Returns an option as it is typed, on one line: the beginning of a long text, or of several lines."""
    first = text.splitlines()[0] if text else ""
    text = first if first == text and len(text) <= _MAX_TYPED else f"{first[:_MAX_TYPED].rstrip()}…"
    return (
        f'{option} "{text}"' if "'" in text and not re.search(r'["$`\\\\]', text) else f"{option} {shlex.quote(text)}"
    )


def _entries(node: yaml.Node, *path: str) -> dict[str, yaml.Node]:
    """Returns the entries of the mapping at a path of keys."""
    entries = {key.value: value for key, value in node.value}
    return _entries(entries[path[0]], *path[1:]) if path else entries


def _option_at(options: Sequence[tuple[int, str]], line: int) -> str:
    """Returns the option of a line; before the first one, which is `--base`, that one."""
    return next((option for start, option in reversed(options) if start <= line), options[0][1])


def _read(path: str) -> bytes:
    try:
        return store_files.read_regular_file(path)
    except OSError:
        return b""


def _base_node(text: str) -> yaml.Node:
    if text.lstrip().startswith("{"):
        return _mapping_node("--base", text, _HINT_BASE)
    kind, colon, value = text.partition(":")
    registry = plugins.used()
    kinds = registry.bases
    if kind not in kinds or not (value or kind == "host"):
        if kind in kinds:
            raise UsageError(f"`--base {text}`: `{kind}` needs a value", code="usage.base", hint=_HINT_BASE)
        image = f"; an image of that name: `--base image:{text}`"
        hint = "; ".join(filter(None, (near_name_hint(kind, kinds, _HINT_BASE) + image, registry.left_out())))
        raise UsageError(f"`--base {text}`: no kind of base is `{kind}`", code="usage.base", hint=hint)
    scalar = yaml.ScalarNode("tag:yaml.org,2002:str", value if colon else kind)
    return _mapping({kind: scalar}, flow=True) if colon else scalar


def _mapping_node(option: str, text: str, hint: str) -> yaml.Node:
    """Returns the node of a text, whose scalars stay as they are written: `1.10` is text here."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise UsageError(f"`{option} {text}` is not YAML: {problem}", code="usage.yaml", hint=hint) from error
    if not isinstance(node, yaml.MappingNode):
        message = f"`{option} {text}` is not a mapping: it is YAML, `KIND: VALUE`"
        message += ", with a space after the colon" if re.match(r"[A-Za-z][\w-]*:\S", text) else ""
        raise UsageError(message, code="usage.yaml", hint=hint)
    return node


def _mapping(entries: Mapping[str, yaml.Node], *, flow: bool = False) -> yaml.MappingNode:
    pairs = [(yaml.ScalarNode("tag:yaml.org,2002:str", key), node) for key, node in entries.items()]
    return yaml.MappingNode("tag:yaml.org,2002:map", pairs, flow_style=flow)
