"""From a Dockerfile and a spec's options to questions, pins and parts; images are stand-ins."""

from __future__ import annotations

from dataclasses import replace

import pytest

from envtool import api
from envtool.kinds.dockerfile import base_images, layer_kinds
from envtool.kinds.dockerfile.base import Dockerfile
from envtool.model import Where

KIND = Dockerfile()
HERE = Where(file="envtool.yaml", line=3, column=5)


class Image(api.Base):
    """Images of two layers, whose pins are their names."""

    name = "image"
    schema = True

    def __init__(self) -> None:
        self.asked: list[object] = []

    def resolve(self, request, site):
        self.asked.append((request.options, request.keep))
        return {"of": request.options}

    def fetches(self, request, pins):
        return (api.Fetch(sha256="1" * 64, name="layer"),)

    def parts(self, request, pins):
        return (api.Part(name="second", kind=KIND, options={"of": pins["of"]}, where=HERE, below=(0,)),)

    def build(self, request, pins):
        return api.Recipe(archive=api.Archive(name="layer", diff_id="sha256:" + "2" * 64))

    def image_config(self, request, pins):
        return {"Env": [f"OF={pins['of']}"], "OnBuild": ["COPY --from=extra /a /b"] if pins["of"] == "hooked" else None}


class Site:
    def __init__(self) -> None:
        self.learnt: list[str] = []

    def learn(self, sealed):
        self.learnt += [each.urls[0] for each in sealed]
        return [api.Fetch(sha256="3" * 64, name=each.name, url=each.urls[0], size=5) for each in sealed]


@pytest.fixture(autouse=True)
def image(monkeypatch):
    found = Image()
    monkeypatch.setattr(base_images, "KIND", found)
    return found


def request(text: str, options=None, **texts: str) -> api.Request:
    return api.Request(
        name="img",
        options=options if options is not None else "Dockerfile",
        inputs=(),
        where=HERE,
        arch="x86_64",
        epoch=0,
        texts={"Dockerfile": text, **texts},
    )


def parts(text: str, options=None, **texts: str):
    asked = request(text, options, **texts)
    return KIND.parts(asked, KIND.resolve(asked, Site()))


THREE = """
FROM a AS one
RUN one
FROM b AS two
COPY --from=one /x /y
RUN --mount=type=bind,from=c,target=/c --mount=type=bind,from=one,target=/o two
FROM a
WORKDIR /w
COPY . .
COPY --from=two /y .
FROM d
"""


def test_parts_stand_on_what_their_stage_stands_on():
    found = parts(THREE, {"target": "2"})
    names = [part.name for part in found]
    assert names == [
        "second", "one: RUN one", "b, layer 1", "second", "two: COPY --from=one /x /y", "c, layer 1", "second", "two: RUN two",
        "WORKDIR /w", "COPY . .", "COPY --from=two /y .",
    ]  # fmt: skip
    assert [part.below for part in found] == [
        (),
        (0, 1),
        (),
        (),
        (3, 4),
        (),
        (),
        (3, 4, 5),
        (0, 1),
        (0, 1, 9),
        (0, 1, 9, 10),
    ]
    assert found[4].beside == {"from": (0, 1, 2)}
    assert found[7].beside == {"0": (6, 7), "1": (0, 1, 2)}
    assert found[10].beside == {"from": (3, 4, 5, 8)}
    assert [part.shown for part in found] == [True] + [False] * 7 + [True] * 3
    assert [part.where.line for part in found if isinstance(part.kind, layer_kinds.CopyPart)] == [5, 9, 10]
    assert {part.where.file for part in found} == {"Dockerfile"}


def test_nothing_is_a_tree_too():
    found = parts("FROM scratch AS a\nCOPY x /\nFROM b\nCOPY --from=a / /\n")
    assert [(part.name, part.below) for part in found] == [
        ("scratch", ()),
        ("a: COPY x /", (1,)),
        ("second", ()),
        ("COPY --from=a / /", (0, 3)),
    ]
    alone = request("FROM scratch\nCOPY x /\n")
    pins = KIND.resolve(alone, Site())
    assert [part.below for part in KIND.parts(alone, pins)] == [(0,)]
    assert KIND.build(alone, pins) == api.Recipe()
    assert KIND.fetches(alone, pins) == ()


def test_only_needed_images_are_asked_for(image):
    asked = request(THREE, {"target": "one", "images": {"a": "oci:images/a"}})
    pins = KIND.resolve(asked, Site())
    assert pins == {"images": {"a": {"of": "oci:images/a"}}, "urls": []}
    assert image.asked == [("oci:images/a", None)]
    KIND.resolve(replace(asked, keep=pins), Site())
    assert image.asked[-1] == ("oci:images/a", {"of": "oci:images/a"})
    assert KIND.build(asked, pins).archive is not None
    assert [fetch.name for fetch in KIND.fetches(asked, pins)] == ["layer"]


def test_triggers_may_need_more_images():
    asked = request("FROM hooked\nRUN x\n")
    pins = KIND.resolve(asked, Site())
    assert set(pins["images"]) == {"hooked", "extra"}
    found = KIND.parts(asked, pins)
    assert [part.name for part in found] == ["second", "extra, layer 1", "second", "COPY --from=extra /a /b", "RUN x"]
    assert found[3].where.line == 1
    assert "OnBuild" not in KIND.image_config(asked, pins)


def test_an_edit_that_names_no_other_image_asks_nobody():
    def question(text: str, options=None):
        return KIND.question(request(text, options))

    assert question("FROM a\nRUN x\n") == question("FROM a\nRUN y\nENV A=1\nADD x /y\n")
    assert question("FROM a\n") != question("FROM b\n")
    assert question("ARG V\nFROM a:$V\n", {"args": {"V": 1}}) != question("ARG V\nFROM a:$V\n", {"args": {"V": 2}})
    assert question("FROM a\nADD http://x/1 /\n") != question("FROM a\nADD http://x/2 /\n")
    assert question("FROM a\nENV V=1\nADD http://x/$V /\n") != question("FROM a\nENV V=2\nADD http://x/$V /\n")
    before = "ARG V={}\nFROM a\nARG V\nADD http://x/$V /\n"
    assert question(before.format(1)) != question(before.format(2))
    below = "FROM a AS b\nONBUILD ADD http://x/{} /\nFROM b\n"
    assert question(below.format(1)) != question(below.format(2))
    assert question("FROM a AS b\nADD http://x/1 /\nFROM a\n") == question("FROM a\n")  # nobody needs it


def test_what_add_fetches_is_pinned():
    text = (
        "FROM a\nENV V=1\nADD http://x/f-$V.tgz https://x/ /to/\nADD --checksum=sha256:"
        + "4" * 64
        + " http://x/g?h#i /g\n"
    )
    asked, site = request(text), Site()
    pins = KIND.resolve(asked, site)
    assert site.learnt == ["http://x/f-1.tgz", "https://x/"]
    first, second = KIND.parts(asked, pins)[1:]
    fetches = first.kind.fetches(replace(asked, options=first.options), None)
    assert [(each.name, each.sha256[0], each.size) for each in fetches] == [
        ("0-f-1.tgz", "3", 5),
        ("1-__unnamed__", "3", 5),
    ]
    (checked,) = second.kind.fetches(replace(asked, options=second.options), None)
    assert (checked.name, checked.sha256[0], checked.url) == ("0-g", "4", "http://x/g?h#i")


def material(part: api.Part):
    asked = request("FROM a\n")
    return part.kind.material(replace(asked, options=part.options), None)


def test_keys_have_what_decides_and_nothing_else():
    def run(flags: str, **options):
        return material(parts(f"FROM a\nRUN {flags} x\n", options or None)[-1])

    secret = "--mount=type=secret,id=s"
    assert run(secret) == run(secret, secrets={"s": {"env": "A"}}) == run(secret, secrets={"s": {"file": "b"}})
    assert run("") != run("--network=none")
    assert run("--mount=type=cache,target=/a") != run("--mount=type=cache,target=/b")
    assert run("") == material(parts("FROM a\nCMD x\nLABEL a=b\nARG UNSET\nRUN x\n")[-1])
    assert run("") != material(parts("FROM a\nENV A=1\nRUN x\n")[-1])
    copy = parts("FROM a\nCOPY . /x\n", **{".dockerignore": "*.md\n"})[-1]
    assert material(copy) == material(parts("FROM a\nCOPY . /x\n")[-1])
    assert material(copy) != material(parts("FROM a\nCOPY --chmod=600 . /x\n")[-1])


def test_which_files_are_inputs():
    texts = {".dockerignore": "**/*.log\n!keep.log\n"}
    (copy,) = parts("FROM a\nCOPY src/*.py ./docs/ /keep.log /x/\n", **texts)[1:]
    found = [*copy.kind.inputs(copy.options)]
    assert {each.pattern: each.required for each in found} == {"src": False, "docs": True, "keep.log": True}
    assert {each.use for each in found} == {"build"}
    assert len({(each.keeps, each.follows) for each in found}) == 1
    (one, *_) = found
    paths = ("src/a.py", "src/a.log", "src/x/a.md", "docs/a", "docs/b.log", "keep.log")
    assert [path for path in paths if one.keeps(path)] == ["src/a.py", "docs/a", "keep.log"]
    assert one.keeps("behind/a/link")  # nothing but a link leads there
    assert not one.keeps("behind/a.log")
    assert one.keeps("src")  # which is no directory then, but a link to one
    assert one.follows("src", "behind/a.py")
    assert one.follows("docs", "behind/a")
    assert not one.follows("docs", "behind/a.log")
    assert not one.follows("docs/link", "behind/a")  # it stays a link
    own = {**texts, "Dockerfile.dockerignore": "docs\n"}
    (copy,) = parts("FROM a\nCOPY . /x/\n", **own)[1:]
    (one,) = copy.kind.inputs(copy.options)
    assert one.pattern == "."
    assert one.keeps("a.log")
    assert not one.keeps("docs/a")
    (run,) = parts("FROM a\nRUN --mount=target=/c,source=sub x\n", **texts)[1:]
    (one,) = run.kind.inputs(run.options)
    assert (one.pattern, one.required) == ("sub", True)
    assert not one.keeps("sub/a.log")
    (run,) = parts("FROM a\nRUN --mount=target=/c,source=app/[id] x\n")[1:]  # no pattern, but a name
    assert [(each.pattern, each.required) for each in run.kind.inputs(run.options)] == [("app", True)]
    (alone,) = parts("FROM a\nRUN x\n", **texts)[1:]
    assert alone.kind.inputs(alone.options) == ()


def test_a_context_that_is_not_the_specs_directory():
    text = "FROM a\nCOPY . /x\n"
    asked = replace(request("", {"context": "app"}), texts={"app/Dockerfile": text, "app/.dockerignore": "b\n"})
    (copy,) = KIND.parts(asked, KIND.resolve(asked, Site()))[1:]
    assert copy.where.file == "app/Dockerfile"
    (one,) = copy.kind.inputs(copy.options)
    assert one.pattern == "app"
    assert [path for path in ("app/a", "app/b", "other/a") if one.keeps(path)] == ["app/a"]
    (step,) = copy.kind.build(replace(asked, options=copy.options), None).steps
    assert step.arguments[0]["root"] == "/dev/envtool/context/app"


def test_a_recipe_shows_what_is_mounted():
    text = (
        "FROM a\nUSER u\nRUN --mount=type=bind,target=/b,source=s --mount=type=bind,from=c,target=/f,rw --mount=type=tmpfs,target=/t"
        " --mount=type=cache,id=i,target=/k --mount=type=secret,id=s x\n"
    )
    run = parts(text, {"secrets": {"s": {"env": "TOKEN"}}})[-1]
    recipe = run.kind.build(replace(request(text), options=run.options), None)
    assert recipe.shown == (
        api.Peek(source="/dev/envtool/context/s", target="/b"),
        api.Peek(source="/dev/envtool/beside/1", target="/f", writable=True),
        api.Memory(target="/t"),
        api.Cache(id="i", target="/k"),
        api.Secret(id="s", source="env:TOKEN", target="/run/secrets/s"),
    )
    (step,) = recipe.steps
    assert (step.user, step.bare, step.env["OF"], recipe.network, recipe.keeps_tmp) == ("u", True, "a", True, True)


UNNEEDED = """
FROM --platform=linux/s390x a AS elsewhere
RUN --mount=type=ssh true
FROM $UNSET AS unnamed
FROM a AS odd
RUN --security=insecure true
FLY away
COPY <<'a b' /x
y
a b
ADD git@example.test:a/b /c
FROM odd AS onbuild
ONBUILD RUN <<EOF
x
EOF
FROM onbuild AS last
ONBUILD FROM x
FROM a
"""


def test_what_nobody_needs_is_not_looked_at():
    assert [part.name for part in parts(UNNEEDED + "RUN true\n")] == ["second", "RUN true"]
    for target, line, why in (
        ("elsewhere", 2, "this is linux/amd64"),
        ("unnamed", 4, "names no image"),
        ("odd", 6, "--security"),
        ("onbuild", 6, "--security"),
    ):
        asked = request(UNNEEDED, {"target": target})
        with pytest.raises(api.SpecError) as caught:
            KIND.parts(asked, KIND.resolve(asked, Site()))
        (problem,) = caught.value.problems
        assert (problem.where.line, why in problem.message) == (line, True)


@pytest.mark.parametrize("said", ["linux/amd64", "amd64", "linux", "x86_64", "linux/x86_64", "$BUILDPLATFORM", "${NO}"])
def test_the_platform_of_this_machine(said):
    assert parts(f"FROM --platform={said} a\n")


def test_what_is_no_image_is_of_any_platform():
    assert parts("FROM a AS b\nFROM --platform=linux/s390x b\nRUN x\n")
    assert parts("FROM --platform=linux/s390x scratch\nCOPY x /\n")


def test_a_command_finds_its_directory_though_it_was_removed():
    made = parts("FROM a\nWORKDIR /w\nRUN rm -r /w\nWORKDIR /w\nRUN true\nWORKDIR /w\n")
    assert [part.name for part in made[1:]] == ["WORKDIR /w", "RUN rm -r /w", "WORKDIR /w", "RUN true", "WORKDIR /w"]
    enter, step = made[-2].kind.build(replace(request(""), options=made[-2].options), None).steps
    assert (enter.arguments, step.cwd) == (("/w", ""), "/w")


class Unreached(Site):
    def learn(self, sealed):
        raise api.FetchError(f"{sealed[-1].urls[0]}: name or service not known", code="fetch-network", hint="wait")


def test_what_cannot_be_had_is_said_with_its_line(image):
    asked = request("FROM a\nADD http://x/one /\n\nADD https://y/two http://x/three /t/\n")
    with pytest.raises(api.FetchError) as caught:
        KIND.resolve(asked, Unreached())
    assert caught.value.message == "Dockerfile:4: https://y/two: name or service not known"
    assert (caught.value.code, caught.value.hint) == ("fetch-network", "wait")

    def refuse(asked, site):
        raise api.ResolveError(f"{asked.options}: no such image")

    image.resolve = refuse
    for text, line in (("ARG V=1\nFROM a:$V\n", 2), ("FROM scratch\nCOPY --from=a:1 /x /\n", 2),
                       ("FROM scratch\nWORKDIR /\nRUN --mount=from=a:1,target=/m x\n", 3)):  # fmt: skip
        with pytest.raises(api.ResolveError, match=f"^Dockerfile:{line}: a:1: no such image$"):
            KIND.resolve(request(text), Unreached())


@pytest.mark.parametrize(
    ("text", "options", "why", "line"),
    [
        ("FROM a\nONBUILD RUN <<EOF\nx\nEOF\n", None, "here-documents in ONBUILD", 2),
        ("FROM a AS b\nONBUILD FROM x\nFROM b\n", None, "cannot be a trigger", 2),
        ("FROM --platform=linux/amd64 a\nFROM --platform=arm64 a\n", None, "this is linux/amd64", 2),
        ("FROM a\n", {"target": "x"}, "no stage `x`", 1),
        ("FROM --platform=linux/s390x a\n", None, "this is linux/amd64", 1),
        ("FROM a\n", {"platform": "linux/arm64"}, "this is linux/amd64", 3),
        ("FROM a\nARG B\n", {"args": {"C": "1"}}, "no such ARG", 3),
        ("FROM a\n", {"file": "other"}, "there is no `other`", 3),
        ("FROM a\nFLY\n", None, "there is no instruction `FLY`", 2),
    ],
)
def test_what_is_wrong_is_said(text, options, why, line):
    asked = request(text, options)
    with pytest.raises(api.SpecError) as caught:
        KIND.parts(asked, KIND.resolve(asked, Site()))
    (problem,) = caught.value.problems
    assert why in problem.message
    assert problem.where.line == line


def test_the_inputs_of_local_images_are_watched(image):
    image.inputs = lambda options: (api.Input(f"{options}/index.json"),)
    assert set(KIND.inputs({"context": "app", "images": {"a": "oci"}})) == {
        api.Input("oci/index.json", use="resolve", required=False),
        *(
            api.Input(f"app/{name}", use="text", required=False)
            for name in ("Dockerfile", "Dockerfile.dockerignore", ".dockerignore")
        ),
    }
