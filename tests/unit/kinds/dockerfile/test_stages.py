"""Stages, what they stand on, and which are needed."""

from __future__ import annotations

import pytest

from envtool.kinds.dockerfile.parser import DockerfileError, parse
from envtool.kinds.dockerfile.shell_words import Lexer
from envtool.kinds.dockerfile.stages import (
    ParsedDockerfile,
    platform_arguments,
    required_images,
    required_stages,
    split_stages,
)


def file(text: str, **given: str) -> ParsedDockerfile:
    return split_stages(parse(text), Lexer(), "x86_64", given)


def test_arguments_before_the_first_stage():
    text = "ARG V=1\nARG IMAGE=debian:$V\nFROM ${IMAGE} AS Build\nFROM --platform=$BUILDPLATFORM build\n"
    one = file(text)
    assert [(each.base, each.name, each.parent) for each in one.stages] == [("debian:1", "build", -1), ("build", "", 0)]
    assert file(text, V="2").stages[0].base == "debian:2"
    assert file(text, IMAGE="x").stages[0].base == "x"
    assert one.declared == {"V", "IMAGE"}


def test_the_platform_is_told():
    found = platform_arguments("aarch64")
    assert (found["TARGETPLATFORM"], found["BUILDARCH"], found["TARGETOS"]) == ("linux/arm64", "arm64", "linux")


SEVERAL = """
FROM a AS one
FROM one AS two
FROM b AS three
FROM two AS four
COPY --from=0 /x /y
RUN --mount=from=three,target=/t --mount=from=c,target=/c true
COPY --from=d /x /y
FROM e
"""


def test_only_what_is_needed():
    one = file(SEVERAL)
    four = one.target("four").index
    assert required_stages(one, four) == (0, 1, 2, 3)
    assert required_stages(one, 0) == (0,)
    assert required_stages(one, one.target("").index) == (4,)
    assert required_images(one, required_stages(one, four)) == (("a", 2), ("b", 4), ("c", 7), ("d", 8))
    assert one.target("2").name == "three"


def test_a_later_stage_of_the_same_name_is_the_one():
    one = file("FROM a AS x\nFROM b AS x\nFROM x\n")
    assert one.stages[2].parent == 1


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("RUN x\nFROM a\n", 1, "before the first FROM"),
        ("ARG A\n", 1, "no FROM"),
        ("FROM\n", 1, "FROM takes"),
        ("FROM a as\n", 1, "FROM takes"),
        ("FROM a as 1x\n", 1, "no name for a stage"),
        ("ARG A\nFROM ${A}\n", 2, "names no image"),
        ("FROM ${A\n", 1, "has no"),
        ("FROM --pull=x a\n", 1, "--pull is not supported"),
        ("FROM a\nCOPY --from=$X a b\n", 2, "give the image a stage"),
        ("FROM a AS b\nCOPY --from=b a b\n", 2, "no such stage before"),
        ("FROM a\nCOPY --from=0 a b\n", 2, "no such stage before"),
        ("FROM a\nRUN --mount=from=c,target=/c x\nFROM d AS c\nFROM 0\nCOPY --from=0 x y\n", 2, "no such stage before"),
    ],
)
def test_what_is_wrong_is_said(text, line, why):
    with pytest.raises(DockerfileError, match=why) as caught:
        required_images(found := file(text), required_stages(found, len(found.stages) - 1))
    assert caught.value.line == line


def test_a_target_that_is_not_there():
    with pytest.raises(DockerfileError, match="no stage `x`") as caught:
        file("FROM a AS b\n").target("x")
    assert "`b`" in caught.value.hint
