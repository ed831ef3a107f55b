"""Searches trees for secrets, in every encoding that output is masked for: names, targets of links, and the content of
files, also of those that are compressed, as the blobs of a registry are."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import os
import zlib
from collections.abc import Iterable, Iterator

import zstandard

from envtool.fs.masking import SecretForms

MOST = 1 << 26  # bytes of a file that is searched; larger ones are compilers and the like


def find_secrets(forms: SecretForms, tops: Iterable[os.PathLike[str] | str]) -> list[str]:
    """Returns the paths below these directories that have a secret in them. What others remove meanwhile is left out."""
    return [path for top in tops for path in _paths(top) if any(forms.are_in(text) for text in _texts(path))]


def _paths(top: os.PathLike[str] | str) -> Iterator[str]:
    for directory, directories, names in os.walk(top):
        yield from (os.path.join(directory, name) for name in (*directories, *names))


def _texts(path: str) -> Iterator[bytes]:
    yield os.fsencode(os.path.basename(path))
    with contextlib.suppress(FileNotFoundError):
        if os.path.islink(path):
            yield os.fsencode(os.readlink(path))
        elif os.path.isfile(path) and os.path.getsize(path) < MOST:
            with open(path, "rb") as file:
                content = file.read()
            yield content
            yield from _unpacked(content)


def _unpacked(content: bytes) -> Iterator[bytes]:
    if content.startswith(b"\x1f\x8b"):
        yield gzip.decompress(content)
    elif content.startswith(b"\xfd7zXZ\0"):
        yield lzma.decompress(content)
    elif content.startswith(b"\x28\xb5\x2f\xfd"):
        with zstandard.ZstdDecompressor().stream_reader(content, read_across_frames=True) as reader:
            yield reader.read()
    elif content[:1] == b"\x78":
        with contextlib.suppress(zlib.error):  # a text that begins with x
            yield zlib.decompress(content)
