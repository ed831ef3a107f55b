"""Reads numbers, sizes, patterns and targets of links that strangers wrote: no number is larger than its limit, no
pattern takes longer than its length allows, and no chain of links is endless."""

from __future__ import annotations

from envtool.fs.globs import is_glob, matcher, starred
from envtool.fs.sizes import MAX_SIZE, format_size, natural, parse_size
from envtool.project.symlinks import resolve_known_links

__all__ = ["MAX_SIZE", "format_size", "is_glob", "matcher", "natural", "parse_size", "resolve_known_links", "starred"]
