"""How variables of layers and envs go together: lists of places join, everything else replaces, None takes away."""

from __future__ import annotations

from collections.abc import Mapping

# Lists of places, separated by colons, that programs search in order. Where setting one takes away the system's own
# places, these are here: an empty one stands for them where the program reads it so (gem, man, info, terminfo, TeX).
PATH_LISTS: Mapping[str, str | None] = {
    "PATH": None,  # every container has one
    "MANPATH": "",
    "INFOPATH": "",
    "TERMINFO_DIRS": "",
    "XDG_DATA_DIRS": "/usr/local/share:/usr/share",
    "XDG_CONFIG_DIRS": "/etc/xdg",
    # compilers, linkers and what asks for libraries
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


def overlay_variables(variables: dict[str, str | None], more: Mapping[str, str | None]) -> None:
    """Lay what a layer or an env sets over what those below it set, in place. A list comes before the list so far, and
    the system's own places after both: who stands above adds, and never hides. None takes a variable away, and what
    joins it later begins anew; it is kept, for the variables that every container has."""
    for name, value in more.items():
        if value is None or name not in PATH_LISTS:
            variables[name] = value
        else:
            before = variables[name] if name in variables else PATH_LISTS[name]
            variables[name] = (
                before if before and not value else join_path_lists(value, before) if before is not None else value
            )


def join_path_lists(first: str, then: str) -> str:
    """Two lists as one, each place once. An empty place, where a program looks by itself, comes last."""
    places = dict.fromkeys([*first.split(":"), *then.split(":")])
    if "" in places:
        del places[""]
        places[""] = None
    return ":".join(places)


def apply_variables(environment: Mapping[str, str], variables: Mapping[str, str | None]) -> dict[str, str]:
    """The environment of a container with what `add` made of all layers; only PATH is a list that is there already."""
    found = dict(environment)
    for name, value in variables.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = join_path_lists(value, found[name]) if name == "PATH" and name in found else value
    return found
