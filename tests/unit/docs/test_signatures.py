"""docs/plugins.md has each hook and each method that a plugin writes or calls, with the signature that it has in envtool.api.

`ENVTOOL_UPDATE=1 pytest tests/unit/docs` writes the signatures of methods anew.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from envtool import api

PAGE = Path(__file__).parents[3] / "docs/plugins.md"
TUTORIAL = PAGE.with_name("plugin-tutorial.md")
HOOKS = {name: value for name, value in vars(api).items() if hasattr(value, "envtool_spec")}
CLASSES = (
    api.Kind, api.Base, api.ToolchainKind, api.MirroredToolchainKind, api.Language, api.ServiceKind, api.LineReader,
    api.Project, api.Site, api.Tree,
)  # fmt: skip
BLOCK = re.compile(r"(?<=^```text\n)Kind\..*?(?=^```$)", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| `(envtool_\w+\(.*?)` \| \S.* \|$", re.MULTILINE)


def signature(function) -> str:
    """A function's signature as its source has it, without `self`, and with `api.` before each name of envtool.api."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    parameters = ast.unparse(node.args).removeprefix("self").removeprefix(", ")
    parameters = re.sub(r"(?<=\S)=(?=\S)", " = ", parameters)
    text = f"{node.name}({parameters}) -> {ast.unparse(node.returns)}"
    return re.sub(r"\b[A-Z]\w*", lambda match: f"api.{match[0]}" if match[0] in api.__all__ else match[0], text)


def methods(owner: type) -> dict[str, Callable]:
    """The methods that a class has and its parents have not, by name."""
    inherited = {name for parent in owner.__mro__[1:] for name in vars(parent)}
    found = {name: value for name, value in vars(owner).items() if inspect.isfunction(value)}
    return {name: value for name, value in found.items() if not name.startswith("_") and name not in inherited}


def wanted() -> str:
    return "".join(f"{owner.__name__}.{signature(method)}\n" for owner in CLASSES for method in methods(owner).values())


def test_every_hook_is_in_the_table():
    assert len(HOOKS) >= 14
    assert set(ROW.findall(PAGE.read_text())) == {signature(hook) for hook in HOOKS.values()}


def test_every_method_is_there():
    text = PAGE.read_text()
    if os.environ.get("ENVTOOL_UPDATE"):
        text = BLOCK.sub(lambda _: wanted(), text)
        PAGE.write_text(text)
    (block,) = BLOCK.findall(text)
    assert block == wanted(), "run `ENVTOOL_UPDATE=1 pytest tests/unit/docs` and look at the difference"


def test_the_methods_without_a_default_are_named():
    (named,) = re.findall(r"Those without a default are\n(.*?`)\. ", PAGE.read_text())
    required = {
        f"{owner.__name__}.{name}"
        for owner in CLASSES
        for name, method in methods(owner).items()
        if "NotImplementedError" in inspect.getsource(method)
    }
    assert {*re.findall(r"`([\w.]+)`", named)} == required


def test_the_life_of_a_kind_has_every_method():
    table = PAGE.read_text().partition("## The life of a kind\n")[2].partition("\nEach method gets")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) *\|", table, re.MULTILINE))
    for name, method in methods(api.Kind).items():
        parameters = ", ".join([*inspect.signature(method).parameters][1:])
        assert rows[name] == parameters, name
    known = methods(api.Kind).keys() | methods(api.Base).keys() | {"schema", "pins"}
    assert rows.keys() <= known, rows.keys() - known


@pytest.mark.parametrize("page", [PAGE, TUTORIAL], ids=lambda page: page.stem)
def test_each_hook_that_is_written_fits(page):
    """In the code of a page the parameters are those of the hook, and the result is a list of what the hook returns."""
    seen = set()
    for code in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(code)):
            if not isinstance(node, ast.FunctionDef) or not node.name.startswith("envtool_"):
                continue
            parameters = ", ".join(ast.unparse(item) for item in node.args.args)
            text = f"{node.name}({parameters}) -> {ast.unparse(node.returns)}"
            hook = signature(HOOKS[node.name]).replace("Iterable[", "list[")
            assert text.replace("api.", "") == hook.replace("api.", "")
            seen.add(node.name)
    assert len(seen) >= 5
    for name, parameters in re.findall(r"`(envtool_\w+)\(([^`]*)\)`", page.read_text()):
        names = [part.partition(":")[0] for part in parameters.partition(") ->")[0].split(", ")]
        assert names == [*inspect.signature(HOOKS[name]).parameters] or names == [""], name
