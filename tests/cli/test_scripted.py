"""The scripted functions fit into the places of the app's."""

from __future__ import annotations

import inspect
from importlib import import_module

import pytest
import scripted

FUNCTIONS = {
    f"{name}.{function.__name__}": function for name, functions in scripted.REPLACED.items() for function in functions
}


@pytest.mark.parametrize("path", FUNCTIONS)
def test_a_scripted_function_takes_what_the_apps_own_takes(path):
    module, _, name = path.rpartition(".")
    real = inspect.signature(getattr(import_module(module), name)).parameters
    ours = inspect.signature(FUNCTIONS[path]).parameters
    assert [(each.name, each.kind, each.default) for each in ours.values()] == [
        (each.name, each.kind, each.default) for each in real.values()
    ]
