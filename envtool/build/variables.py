"""Merges the variables of layers and envs: path lists are joined, any other value replaces, None unsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from envtool.model import LayerSpec

if TYPE_CHECKING:
    from envtool.build.resolution import ResolvedNode

# Lists of paths, separated by colons, that programs search in order. Where a program stops searching the system's paths
# once the variable is set, the value here adds them: an empty path means them to gem, man, info, terminfo and TeX.
PATH_LISTS: Mapping[str, str | None] = {
    "PATH": None,  # every container has PATH
    "MANPATH": "",
    "INFOPATH": "",
    "TERMINFO_DIRS": "",
    "XDG_DATA_DIRS": "/usr/local/share:/usr/share",
    "XDG_CONFIG_DIRS": "/etc/xdg",
    # compilers, linkers and tools that search libraries
    "CPATH": None,
    "C_INCLUDE_PATH": None,
    "CPLUS_INCLUDE_PATH": None,
    "OBJC_INCLUDE_PATH": None,
    "LIBRARY_PATH": None,
    "LD_LIBRARY_PATH": None,
    "LD_RUN_PATH": None,
    "PKG_CONFIG_PATH": None,
    "ACLOCAL_PATH": None,
    "CMAKE_PREFIX_PATH": None,
    "CMAKE_INCLUDE_PATH": None,
    "CMAKE_LIBRARY_PATH": None,
    "CMAKE_PROGRAM_PATH": None,
    # languages
    "PYTHONPATH": None,
    "NODE_PATH": None,
    "GEM_PATH": "",
    "RUBYLIB": None,
    "PERL5LIB": None,
    "CLASSPATH": None,
    "GOPATH": None,
    "ERL_LIBS": None,
    "OCAMLPATH": None,
    "CAML_LD_LIBRARY_PATH": None,
    "GUILE_LOAD_PATH": None,
    "GUILE_LOAD_COMPILED_PATH": None,
    "JULIA_LOAD_PATH": None,
    "R_LIBS": None,
    "R_LIBS_USER": None,
    "TEXINPUTS": "",
    "BIBINPUTS": "",
    "BSTINPUTS": "",
    # desktops and their toolkits
    "GI_TYPELIB_PATH": None,
    "GST_PLUGIN_PATH": None,
    "QT_PLUGIN_PATH": None,
    "QML_IMPORT_PATH": None,
    "QML2_IMPORT_PATH": None,
}


def stack_variables(
    stack: Sequence[ResolvedNode], below: Mapping[str, str | None] | None = None
) -> dict[str, str | None]:
    """Returns the variables that a stack sets for all that stands on it, laid over `below`; None unsets a variable. The
    variables of a base replace those `below` it, lists too: nothing else is in a base."""
    merged = dict(below or {})
    for resolved in stack:
        variables = resolved.node.kind.variables(resolved.request, resolved.pins)
        if resolved.node.subject == "base":
            merged.update(variables)
        else:
            overlay_variables(merged, variables)
        if isinstance(resolved.node.spec, LayerSpec):
            overlay_variables(merged, resolved.node.spec.set)
    return merged


def overlay_variables(variables: dict[str, str | None], more: Mapping[str, str | None]) -> None:
    """Lays the variables of a layer or an env over those of the layers below it, in place. A path list goes before the
    list so far, and the system's own paths come last: an upper layer adds paths and hides none. None unsets a variable,
    and a later list starts anew; the None is kept, since it also unsets the variables that every container has."""
    for name, value in more.items():
        if value is None or name not in PATH_LISTS:
            variables[name] = value
        else:
            before = variables[name] if name in variables else PATH_LISTS[name]
            variables[name] = (
                before if before and not value else join_path_lists(value, before) if before is not None else value
            )


def join_path_lists(first: str, then: str) -> str:
    """Joins two path lists, each path once. An empty path, where a program searches by itself, comes last."""
    paths = dict.fromkeys([*first.split(":"), *then.split(":")])
    if "" in paths:
        del paths[""]
        paths[""] = None
    return ":".join(paths)


def apply_variables(environment: Mapping[str, str], variables: Mapping[str, str | None]) -> dict[str, str]:
    """Returns the environment of a container with the merged variables of all layers. Only PATH is a list that the
    environment has already."""
    result = dict(environment)
    for name, value in variables.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = join_path_lists(value, result[name]) if name == "PATH" and name in result else value
    return result
