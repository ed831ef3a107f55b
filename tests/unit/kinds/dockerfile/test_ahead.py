"""What a Dockerfile tells before any image is known: what is wrong whatever the images are, and what it asks of the
project."""

from __future__ import annotations

import pytest

from envtool import api
from envtool.kinds.dockerfile.base import Dockerfile
from envtool.model import Where

KIND = Dockerfile()
HERE = Where(file="envtool.yaml", line=3, column=5)


class Site:
    """A project in which there is everything but `gone`."""

    def open(self, path, *, limit=0):
        if path == "gone":
            raise api.ResolveError(path, code="no-file")
        raise api.ResolveError(path, code="not-a-file")


def request(text, options=None, **texts):
    return api.Request(
        name="d", options={"file": "Dockerfile", **(options or {})}, inputs=(), where=HERE, arch="x86_64", epoch=0,
        texts={"Dockerfile": text, **texts},
    )  # fmt: skip


def wrong(text, options=None):
    """(line, message) of all that `check` says."""
    try:
        KIND.check(request(text, options), Site())
    except api.SpecError as error:
        return [(each.where.line, each.message) for each in error.problems]
    return []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("RUNN make", "there is no instruction `RUNN`"),
        ("COPY --chmood=1 a b", "COPY --chmood is not supported"),
        ("COPY a", "COPY takes sources and a target"),
        ("COPY --chmod=99x a b", "--chmod=99x: neither octal"),
        ("COPY http://x/a b", "COPY takes no URL"),
        ("ADD --checksum=md5:1 http://x/a b", "--checksum is `sha256:`"),
        ("RUN --mount=type=bnd,target=/x true", "--mount=type=bnd is not supported"),
        ("RUN --network=off true", "--network=off"),
        ("USER", "USER takes one argument"),
        ("EXPOSE http", "EXPOSE `http` is no port"),
        ("SHELL /bin/bash", "SHELL takes a list in JSON"),
        ("HEALTHCHECK --interval=soon CMD true", "--interval=soon is no duration"),
        ("ENV A", "ENV"),
        ("ARG", "ARG names nothing"),
        ("ONBUILD FLY", "ONBUILD FLY is not supported"),
    ],
)
@pytest.mark.parametrize("base", ["debian:12", "scratch"])
def test_what_is_wrong_whatever_the_image_is(base, line, said):
    ((number, message),) = wrong(f"FROM {base}\n{line}\n")
    assert number == 2
    assert said in message


def test_all_at_once_and_of_needed_stages_alone():
    text = "FROM a AS b\nFLY\nFROM c AS d\nFLY\nFROM b\nRUNN x\nUSER\n"
    assert [line for line, _ in wrong(text)] == [2, 6, 7]
    assert [line for line, _ in wrong(text, {"target": "d"})] == [4]


def test_a_word_that_is_nearly_one():
    with pytest.raises(api.SpecError) as caught:
        KIND.check(request("FROM a\nRUNN x\nBANANA\n"), Site())
    assert [each.hint for each in caught.value.problems] == [
        "did you mean RUN?",
        "a line that continues ends with a backslash",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "COPY $HOME/x /y",  # a variable of the image
        "COPY $NOWHERE /y",
        "ARG V\nCOPY $V /y",  # the image may set it
        'ARG V\nENV W="${V:?is wanted}"',
        "ENV A=$HOME\nCOPY $A /y",
        "ENV A=b\nENV A=$HOME\nCOPY $A /y",
        "ARG $X=1\nENV $A=b\nCOPY $A /y",
        "EXPOSE $PORT",
        "RUN --mount=type=bind ls",  # at WORKDIR, which the image says
        "RUN --mount=type=bind,target=.. ls",
        "WORKDIR $HOME\nCOPY . .",
        "USER $USER",
    ],
)
def test_what_the_image_may_decide_is_not_wrong(text):
    assert wrong(f"FROM a\n{text}\n") == []
    assert wrong(f"FROM a AS b\nFROM b\n{text}\n") == []


def test_of_nothing_all_is_known():
    assert wrong("FROM scratch\nCOPY $NOWHERE /y\n") == [(2, "`$NOWHERE` is empty, and would mean everything")]


def asked(text, options=None, **texts):
    """What the parts ask of the project, by their lines."""
    return [
        (part.where.line, item.pattern)
        for part in KIND.foreseen(request(text, options, **texts))
        for item in part.kind.inputs(part.options)
        if item.required
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("COPY a b/ /x/", [(2, "a"), (2, "b")]),
        ("ADD a.tar http://x/b /x/", [(2, "a.tar")]),
        ("COPY *.c /x/", []),  # a pattern may match nothing
        ("COPY --from=other a /x", []),
        ("COPY <<E a /x/\ntext\nE", [(2, "a")]),
        ("RUN --mount=type=bind,source=a,target=/x ls", [(2, "a")]),
        ("RUN --mount=type=bind,from=other,source=a,target=/x ls", []),
        ("ARG N=a\nCOPY $N /x", [(3, "a")]),
        ("ENV N=a\nCOPY ${N}.c ${M:-c} /x/\nCOPY $N /x", [(4, "a")]),
        ("ARG TARGETARCH\nCOPY $TARGETARCH /x", [(3, "amd64")]),
    ],
)
def test_what_is_asked_of_the_project(text, found):
    assert asked(f"FROM image\n{text}\n") == found


def test_arguments_of_the_spec_and_its_context_count():
    text = "FROM image\nARG N=a\nCOPY $N /x\n"
    assert asked(text, {"args": {"N": "b"}, "context": "sub"}) == [(3, "sub/b")]
    (part,) = KIND.foreseen(request("FROM image\nCOPY a /x\n", **{".dockerignore": "a\n"}))
    assert not any(item.keeps("a") for item in part.kind.inputs(part.options))


def test_a_stage_that_is_not_needed_asks_nothing():
    text = "FROM image AS one\nCOPY a /\nFROM image AS two\nCOPY b /\nFROM one\nCOPY c /\n"
    assert asked(text) == [(2, "a"), (6, "c")]


def test_secrets_are_known_with_their_places():
    text = "FROM image\nRUN --mount=type=secret,id=t,required cat /run/secrets/t\n"
    (part,) = KIND.foreseen(request(text, {"secrets": {"t": {"file": "t.txt"}}}))
    (secret,) = part.kind.build(api.Request(
        name="RUN", options=part.options, inputs=(), where=HERE, arch="x86_64", epoch=0
    ), None).shown  # fmt: skip
    assert (secret.source, secret.required) == ("file:t.txt", True)


def test_a_context_that_is_not_there():
    options = {"context": "gone", "file": "Dockerfile"}
    assert wrong("FROM a\n", options) == [(3, "`context: gone`: there is no such directory")]
    assert wrong("FROM a\n", {"context": "there", "file": "Dockerfile"}) == []
