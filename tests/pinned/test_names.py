"""Names that others know: of `envtool.api`, hooks, entry points, error codes, variables, verbs and options, and what wheels hold.

Words of help and messages are held elsewhere (docs/cli.md, tests/golden/messages): a wording commit changes those alone.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import inspect
import json
import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from envtool import api
from tests.pinned.shared import golden

pytestmark = pytest.mark.any_caller

ROOT = Path(__file__).parents[2]
SOURCES = (ROOT / "envtool", *sorted(ROOT.glob("plugins/*/src")))
PLUGINS = (
    "envtool-cc",
    "envtool-java",
    "envtool-node",
    "envtool-python",
    "envtool-rust",
    "envtool-go",
    "envtool-services",
)


def sources():
    for top in SOURCES:
        for path in sorted(top.rglob("*.py")):
            yield path.read_text()


# ---- what plugins see ------------------------------------------------------------------------------------------------


def default(value) -> str:
    if value in (inspect.Parameter.empty, dataclasses.MISSING):
        return ""
    plain = isinstance(value, (str, int, bool, tuple, type(None)))
    return f"={value!r}" if plain else "=…"


def signature(function) -> str:
    """Names and defaults of parameters; annotations name classes, which may be renamed."""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    found, named = [], False
    for each in inspect.signature(function).parameters.values():
        if each.kind == each.KEYWORD_ONLY and not named:
            found.append("*")
        named = named or each.kind in (each.KEYWORD_ONLY, each.VAR_POSITIONAL)
        found.append(f"{stars.get(each.kind, '')}{each.name}{default(each.default)}")
    return f"({', '.join(found)})"


def described(value):
    if inspect.ismodule(value):
        return {
            name: described(getattr(value, name))
            for name in sorted(vars(value))
            if _shown(name, vars(value)[name], value)
        }
    if inspect.isclass(value):
        return about_class(value)
    if callable(value) and not isinstance(value, type(dict[str, str])):
        return signature(value) if inspect.isroutine(value) else "callable"
    return repr(value) if isinstance(value, (str, int, tuple)) else "type"


def _shown(name, value, module) -> bool:
    return not name.startswith("_") and getattr(value, "__module__", None) == module.__name__


def about_class(cls) -> dict:
    if issubclass(cls, BaseException):
        bases = [base.__name__ for base in cls.__mro__[1:] if base.__module__ == "builtins"]
        return {"raised": bases[0], "call": signature(cls.__init__)}
    members = {}
    if dataclasses.is_dataclass(cls):
        members["fields"] = [
            each.name + (default(each.default) or ("=…" if each.default_factory is not dataclasses.MISSING else ""))
            for each in dataclasses.fields(cls)
        ]
    for name in dir(cls):
        if name.startswith("_") or name in members.get("fields", ()):
            continue
        member = inspect.getattr_static(cls, name)
        if isinstance(member, property):
            members[name] = "property"
        elif inspect.isroutine(getattr(cls, name)):
            if not hasattr(object, name):
                members[name] = signature(getattr(cls, name))
        elif not (dataclasses.is_dataclass(cls) and name in {each.name for each in dataclasses.fields(cls)}):
            members[name] = "attribute"
    members["attributes"] = sorted(getattr(cls, "__annotations__", {})) if not dataclasses.is_dataclass(cls) else []
    return members


def test_what_plugins_import():
    golden("api.json", {name: described(getattr(api, name)) for name in sorted(api.__all__)})


def test_hooks_and_entry_points():
    specified = {
        name: signature(value) for name, value in sorted(vars(api).items()) if getattr(value, "envtool_spec", None)
    }
    found = {"project": api.hookspec.project_name, "hooks": specified, "plugins": {}}
    assert api.hook.project_name == api.hookspec.project_name
    for name in ("envtool-core", *PLUGINS):
        points = importlib.metadata.distribution(name).entry_points
        found["plugins"][name] = {
            f"{point.group}: {point.name}": sorted(
                hook for hook, value in vars(point.load()).items() if hasattr(value, "envtool_impl")
            )
            for point in points
        }
    golden("hooks.json", found)


# ---- what scripts see ------------------------------------------------------------------------------------------------


def test_error_codes():
    """Every `code` that can stand in `--json`."""
    codes = {
        code for text in sources() for code in re.findall(r"\bcode(?:: str)? ?=\s*f?\"([a-z][a-z0-9.{}_-]*)\"", text)
    }
    assert len(codes) > 100
    golden("codes.json", sorted(codes))


def test_variables():
    """Every variable of the caller's that sources name: read, or set for what is started."""
    known = set()
    for text in sources():
        known |= set(re.findall(r"[\"'](ENVTOOL_[A-Z_]+)(?:=.*)?[\"']", text))
        known |= set(re.findall(r"environ(?:\.get\(|\[)\s*[\"'](\w+)[\"']", text))
        known |= set(re.findall(r"getenvb?\([\"'](\w+)[\"']", text))
    documented = set(
        re.findall(
            r"`(ENVTOOL_[A-Z_]+)",
            "".join(path.read_text() for path in ROOT.glob("docs/*.md") if path.name != "tests.md"),
        )
    )
    golden("variables.json", {"sources": sorted(known), "docs": sorted(documented)})


HELP = """
import contextlib, io, json, runpy, sys
paths = [*sys.path]
def said(*words):
    sys.path[:] = paths
    sys.argv = ["envtool", *words]
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        runpy.run_module("envtool", run_name="__main__", alter_sys=False)
    return out.getvalue()
whole = said("--help")
import re
verbs = re.findall(r"^  ([a-z]+)  +[A-Z]", whole, re.MULTILINE)
print(json.dumps({"": whole, **{verb: said(verb, "--help") for verb in verbs}}))
"""


def test_verbs_and_options():
    """By `--help` of each, in one process: usage, options and what they take, and no word more."""
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True, timeout=60)
    found = {}
    for verb, text in json.loads(done.stdout).items():
        options = re.findall(r"^  (-.*?)(?:  .*)?$", text, re.MULTILINE)
        (usage,) = re.findall(r"^Usage: (.*)", text)
        found[verb or "envtool"] = {"usage": usage, "options": options}
        below = re.findall(r"^  ([a-z]+)  +[A-Z]", text, re.MULTILINE)
        if below:
            found[verb or "envtool"]["verbs"] = below
    assert len(found) == 36
    golden("verbs.json", found)


# ---- what is installed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["envtool-core", *PLUGINS])
def test_wheels(name, tmp_path):
    pytest.importorskip("hatchling")
    directory = ROOT if name == "envtool-core" else ROOT / "plugins" / name.replace("-", "_")
    code = "import hatchling.build, sys; hatchling.build.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, tmp_path], cwd=directory, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        texts = {
            part: archive.read(path).decode()
            for path in names
            for part in ("METADATA", "WHEEL", "entry_points.txt")
            if path.endswith(f".dist-info/{part}")
        }
        scripts = {path.partition(".data/")[2]: archive.read(path).decode() for path in names if ".data/" in path}
    head = Parser().parsestr(texts["METADATA"])
    fields = ("Name", "License-Expression", "License-File", "Requires-Python", "Requires-Dist", "Provides-Extra")
    found = {
        "metadata": {field: head.get_all(field, []) for field in (*fields, "Classifier", "Description-Content-Type")},
        "pure": re.findall(r"^(Root-Is-Purelib|Tag): (.*)$", texts["WHEEL"], re.MULTILINE),
        "entry points": sorted(re.sub(r" = .*", "", texts.get("entry_points.txt", "")).split("\n")),
        "scripts": {path: re.sub(r"from envtool\S* import", "from … import", text) for path, text in scripts.items()},
        "data": sorted({Path(path).name for path in names if not path.endswith(".py") and ".d" not in path}),
        "tops": sorted({re.sub(r"-[\d.]+\.", "-VERSION.", path.partition("/")[0]) for path in names}),
    }
    golden(f"wheel-{name}.json", json.loads(json.dumps(found)))


def test_the_plugins_are_found():
    for name in PLUGINS:
        for point in importlib.metadata.distribution(name).entry_points:
            assert importlib.import_module(point.value.partition(":")[0])
