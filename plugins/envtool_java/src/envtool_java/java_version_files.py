"""Which Java the file .java-version of a project wants, as jenv and version managers write it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from envtool import api

FILE = ".java-version"
# a vendor may stand before it (temurin-21.0.4), and a build behind it (21.0.4+7.0.LTS); Java 8 was 1.8
_VERSION = re.compile(r"(?:[a-z][a-z0-9]{0,20}-)?(?:1\.(?=8))?(\d{1,4}(?:\.\d{1,6}){0,3})(?:\+[0-9A-Za-z.+-]{1,30})?")


def wanted_javas(project: api.Project) -> Iterator[api.WantedVersion]:
    """Yields what the file says. Raises SpecError for what is no version."""
    text = project.read(FILE)
    if text is None:
        return
    lines = [(number, line.partition("#")[0].strip()) for number, line in enumerate(text.splitlines(), 1)]
    number, wanted = next(((number, line) for number, line in lines if line), (1, ""))
    match = _VERSION.fullmatch(wanted)
    if match is None:
        where = api.Where(file=FILE, line=number, column=1)
        line = (text.splitlines()[number - 1 : number] or [""])[0][:200]
        message = f"{FILE} names the Java `{wanted[:40]}`, which is no version"
        hint = 'write a version there, or in the spec: `toolchain: {java: "21"}`'
        problem = api.Problem(where=where, message=message, code="toolchain-version", hint=hint, text=line)
        raise api.SpecError((problem,))
    yield api.WantedVersion(wanted=match[1], file=FILE, line=number)
