"""What docs/style.md says of the tree, as far as a program can tell it: sizes, names, cycles, and the maps in docstrings."""

from __future__ import annotations

import ast
import functools
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT, *sorted((ROOT / "plugins").glob("*/src"))]
LINES, FUNCTION_LINES = 500, 60
PACKAGES, ROOT_MODULES = 21, 12

# Names of modules that several packages have, and the one thing that each of them means.
SHARED = {
    "__init__": "a package",
    "base": "the kind of a base",
    "build": "the verb, and the package behind it",
    "diff": "the verb, and where two things of one sort differ",
    "docs": "a page of docs/, written from the code",
    "doctor": "the verb, and the checks behind it",
    "download": "files from the network",
    "export": "the verb, and what writes the image",
    "extra_mounts": "what a build sees beside its stack",
    "fetch": "the verb, and the kind of layer",
    "gc": "the verb, and the collection behind it",
    "inspect": "the verb, and the package behind it",
    "installed": "which packages a stack has",
    "kinds": "kinds of base and layer",
    "language": "`language: NAME`",
    "layers": "layers of stacks",
    "layout": "a directory in the OCI image layout",
    "lock": "the verb, the package behind it, and its value",
    "outputs": "the files that tasks leave",
    "pins": "what the pins of a kind say",
    "plan": "the verb, the package behind it, and its value",
    "plugin": "the hooks of a distribution",
    "push": "the verb, and what sends the image",
    "resolver": "options -> pins",
    "run": "the verb, the kind of layer, and the package: commands that run",
    "sbom": "the verb, and the package behind it",
    "schema": "the verb, and the schema",
    "selection": "which envs, nodes or layers were asked for",
    "store": "the verb, and the package behind it",
    "tasks": "tasks of envs",
    "test_output": "what test runners print",
    "up": "the verb, and the package behind it",
    "vendor": "the verb, and what writes the folder",
    "verify": "the verb, and the package behind it",
    "why": "the verb, and what answers it",
}


def modules() -> dict[str, Path]:
    """Every module of ours by its dotted name; a package by its own."""
    dotted = {}
    for source in SOURCES:
        for package in [source / "envtool"] if source == ROOT else [path for path in source.iterdir() if path.is_dir()]:
            for path in package.rglob("*.py"):
                parts = path.relative_to(source).with_suffix("").parts
                dotted[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return dotted


MODULES = modules()


@functools.cache
def trees() -> dict[str, ast.Module]:
    """Every module, parsed: by the process that runs these tests, not by each that collects them."""
    return {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def test_modules_are_short():
    assert not {name: lines for name, path in MODULES.items() if (lines := path.read_text().count("\n")) > LINES}


def test_functions_are_short():
    assert not {
        f"{name}.{node.name}": lines
        for name, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES
    }


def test_the_top_is_small():
    top = ROOT / "envtool"
    packages = sorted(path.name for path in top.iterdir() if (path / "__init__.py").exists())
    assert len(packages) <= PACKAGES, packages
    single = sorted(path.stem for path in top.glob("*.py") if path.stem != "__init__")
    assert len(single) <= ROOT_MODULES, single


def test_no_two_classes_have_one_name():
    places = defaultdict(list)
    for name, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name)
    assert not {name: names for name, names in places.items() if len(names) > 1}


def test_a_module_name_means_one_thing():
    places = defaultdict(list)
    for name in MODULES:
        places[name.rpartition(".")[2]].append(name)
    assert not {name: names for name, names in places.items() if len(names) > 1 and name not in SHARED}
    assert not [name for name in SHARED if name != "__init__" and len(places[name]) < 2]


@pytest.mark.parametrize(
    "package", sorted(name for name, path in MODULES.items() if path.name == "__init__.py" and "." in name)
)
def test_a_package_names_its_modules(package):
    """A newcomer reads the docstring of a package to find the module."""
    text = ast.get_docstring(trees()[package]) or ""
    inside = [name.rpartition(".")[2] for name in MODULES if name.rpartition(".")[0] == package]
    assert not [
        name for name in inside if name not in text.replace("`", " ").replace(".py", " ").replace("/", " ").split()
    ]


def imports(name: str) -> set[str]:
    """The modules of ours that a module imports anywhere: in functions and for type checkers as well."""
    imported = set()
    for node in ast.walk(trees()[name]):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for full in names:
            here = full if full in MODULES else full.rpartition(".")[0]
            if here in MODULES and here != name:
                imported.add(here)
    return imported


def test_no_module_imports_itself_by_others():
    edges = {name: imports(name) for name in MODULES}
    # A module that nothing of what is left imports is in no cycle; nor is one that imports nothing of it.
    left = set(edges)
    while True:
        used = {other for name in left for other in edges[name] if other in left}
        free = {name for name in left if name not in used or not edges[name] & left}
        if not free:
            break
        left -= free
    assert not {name: sorted(edges[name] & left) for name in sorted(left)}


# Who runs containers, or works on the files of their ids, other than by the Runner of a Context (container/runner.py).
NO_RUNNER = {
    "run.fast_exec": "its imports are on a budget",
    "run.sweep": "it sweeps the store after the end of the process",
    "build.disk_space": "gc, which keeps this machine's store",
    "app.inspection": "it measures this machine's store",
    "app.machine_checks": "it looks at this machine",
    "app.maintenance": "it keeps this machine's store",
    "app.open_project": "it sweeps this machine's store before there is a Context",
    "inspect.remove_store": "it removes this machine's store",
    "inspect.store_check": "it checks this machine's store",
}
KERNEL = {"run_as_root", "remove_as_root", "give_to_root"}


def calls_kernel(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names if alias.name in KERNEL)
        owner = node.value.id if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) else ""
        if owner == "supervisor" or (owner == "userns" and node.attr in KERNEL):
            yield node.attr


def test_what_needs_a_kernel_goes_through_the_runner():
    callers = {
        name.removeprefix("envtool.")
        for name, tree in trees().items()
        if not name.startswith(("envtool.container.", "envtool.testing.")) and [*calls_kernel(tree)]
    }
    assert callers == set(NO_RUNNER)
    assert {*calls_kernel(ast.parse("userns.run_as_root(f)\nsupervisor.run(p)"))} == {"run_as_root", "run"}
