"""Paths and users of a tree that strangers made: of a stack, for a `Call` that is executed in it, or of the inputs.
Trees may be deeper than a path is long, and their links lead anywhere."""

from __future__ import annotations

from envtool.fs.passwd import UnknownUserError, User, explain_unmapped, find_group, find_user
from envtool.fs.removal import remove_tree
from envtool.fs.rootpaths import resolve_in_root
from envtool.fs.store_files import read_regular_file
from envtool.fs.tree_walk import walk_tree

__all__ = [
    "UnknownUserError", "User", "explain_unmapped", "find_group", "find_user", "read_regular_file", "remove_tree",
    "resolve_in_root", "walk_tree",
]  # fmt: skip
