"""What is advised about a file that cannot be had: by who said which one it is."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from envtool.build.fetch_files import _fetch_failure_hint
from envtool.errors import FetchError

SHA = "ab" * 32
FOUND = "cd" * 32


def advice(code, *, options=None, locked=False, of_base=False, part="", **more):
    request = SimpleNamespace(name="deps", base_name="trixie", options=options if options is not None else ["attrs"])
    node = SimpleNamespace(kind=SimpleNamespace(of_base=of_base), of=part)
    resolved = SimpleNamespace(node=node, request=request, fetches=(SimpleNamespace(sha256=SHA),))
    name = "trixie" if of_base else "deps"
    entries = (SimpleNamespace(question=SimpleNamespace(name=name)),) if locked else ()
    setting = SimpleNamespace(lock=SimpleNamespace(entries=entries))
    return _fetch_failure_hint(resolved, setting, FetchError("x", code=code, **more))


ANEW = "if it is gone for good, `--refresh` settles it anew, and moves to what there is now"
LOOK = "look at what it is: another file has this name now than was pinned. If it is right"
OWN = {"url": "https://x", "sha256": SHA.upper()}


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (advice("fetch-gone"), "if it is gone for good, `--refresh` settles it anew, and moves to what there is now"),
        (
            advice("fetch-gone", locked=True),
            "if it is gone for good, `envtool lock --upgrade deps` moves to what there is now",
        ),
        (
            advice("fetch-gone", locked=True, of_base=True),
            "if it is gone for good, `envtool lock --upgrade trixie` moves to what there is now",
        ),
        (advice("fetch-gone", options=OWN, locked=True), "nothing is there (any more): is the URL right?"),
        (advice("fetch-unreachable", options=OWN, hint="is anything listening there?"), "is anything listening there?"),
        (
            advice("fetch-unreachable", hint="is anything listening there?"),
            f"is anything listening there?; {ANEW}",
        ),
        (
            advice("fetch-hash", options=OWN, found=FOUND),
            f"if the file is meant to be this one, write `sha256: {FOUND}`",
        ),
        (
            advice("fetch-hash", options=OWN, found=FOUND, part="dev"),
            f"if the file is meant to be this one, write `--checksum=sha256:{FOUND}`",
        ),
        (advice("fetch-hash", options=OWN, hint="a login page"), "a login page"),
        (
            advice("fetch-hash", found=FOUND, locked=True),
            f"{LOOK}, `envtool lock --upgrade deps` takes it",
        ),
        (
            advice("fetch-hash", found=FOUND),
            f"{LOOK}, `--refresh` takes it",
        ),
        (advice("fetch-status", hint="credentials"), "credentials"),
    ],
)
def test_advice(said, wanted):
    assert said == wanted
