"""Inputs of a layer by groups of patterns, as many tests write them."""

from __future__ import annotations

from envtool.model import Input
from envtool.project import inputs


def of(patterns=(), optional=(), named=(), asked=(), *, keeps=None, follows=None):
    """Returns Inputs: required, optional, for names alone, for `resolve` alone; with one filter for all."""
    groups = (
        (patterns, {}),
        (optional, {"required": False}),
        (named, {"required": False, "use": "name"}),
        (asked, {"required": False, "use": "resolve"}),
    )
    return [Input(each, keeps=keeps, follows=follows, **how) for group, how in groups for each in group]


def find(root, patterns=(), optional=(), named=(), asked=(), *, keeps=None, follows=None, **rest):
    """Calls `find_inputs` with the Inputs that `of` returns."""
    return inputs.find_inputs(root, of(patterns, optional, named, asked, keeps=keeps, follows=follows), **rest)
