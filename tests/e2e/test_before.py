"""What the spec and the project's files alone can tell is told before anything is asked, fetched or built, by each verb
that would, and all at once."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.one_caller]

# a base of which nothing can be known: who asks for it is told that first, and not what is missing above it
SPEC = """\
bases: {far: {debian: {suite: bookworm, mirror: "http://127.0.0.1:9/debian"}}}
envs:
  a:
    base: far
    layers:
      - apt: [python3]
      - copy: {from: gone.txt, to: /opt/gone}
      - run: make
        inputs: [gone.c, "*.zz", there.c]
      - pip: {requirements: [there.txt, gone-too.txt]}
    tasks: {test: "true"}
"""
GONE = ("gone.txt", "gone.c", "*.zz", "gone-too.txt")
VERBS = {
    "plan": ("plan",),
    "why": ("why",),
    "lock": ("lock",),
    "fetch": ("fetch",),
    "vendor": ("vendor",),
    "test": ("test",),
    "exec": ("exec", "a", "--", "true"),
}


@pytest.fixture
def far(place):
    place.spec(SPEC)
    place.write("there.c", "")
    place.write("there.txt", "six\n")
    return place


@pytest.mark.parametrize("verb", VERBS)
def test_all_that_is_missing_is_told_first(far, verb):
    done = far.envtool(*VERBS[verb])
    assert done.status == 2, done.said
    for name in GONE:
        assert f"input `{name}`" in done.err, done.err
    assert "envtool.yaml:8:9" in done.err
    assert "envtool.yaml:9:9" in done.err
    assert "127.0.0.1" not in done.said
    assert "there." not in done.err


KINDS = {  # an env -> what is said of it by `plan` alone
    "tarball": ("{base: {tarball: {path: gone.tar, sha256: 'HASH'}}}", "there is no file `gone.tar`"),
    "keyring": ("{base: {debian: {suite: bookworm, keyring: gone.gpg}}}", "`gone.gpg`: there is no such file"),
    "dockerfile": ("{base: {dockerfile: Gone}}", "there is no `Gone`"),
    "syntax": ("{base: {dockerfile: Wrong}}", "Wrong:2"),
    "instruction": ("{base: {dockerfile: Fly}}", "Fly:2:1: error: there is no instruction `RUNN`"),
    "copied": ("{base: {dockerfile: Copies}}", "Copies:2:1: error: input `gone.c`: there is no such file"),
    "mounted": ("{base: {dockerfile: Mounts}}", "Mounts:2:1: error: input `gone`: there is no such file"),
    "secret": ("{base: {dockerfile: {file: Secret, secrets: {t: {file: gone}}}}}", "Secret:2:1: error: secret `t` is required"),
    "context": ("{base: {dockerfile: {file: D, context: gone}}}", "`context: gone`: there is no such directory"),
    "links": ("{base: far, layers: [{pip: {requirements: [links.txt]}}]}", "links.txt:1:1: error: `--find-links gone`"),
    "layout": ("{base: {image: 'oci:gone'}}", "`gone/oci-layout`: there is no such file"),
    "archive": ("{base: {image: 'docker-archive:gone.tar'}}", "`gone.tar`: there is no such file"),
    "image": ("{base: {dockerfile: {file: D, images: {x: 'oci:gone'}}}}", "D:1: there is no file `gone/oci-layout`"),
    "npm": ("{base: far, layers: [{npm: {directory: gone}}]}", "`gone/package.json`: there is no such file"),
    "source": ("{base: far, layers: [{pip: {packages: [me], sources: {me: gone}}}]}", "there is no project in gone"),
    "wheel": ("{base: far, layers: [{pip: {packages: [me], sources: {me: gone.whl}}}]}", "`gone.whl`: there is no such"),
    "path": ("{base: far, layers: [{pip: [./gone]}]}", "`./gone`: there is no project in gone"),
    "operator": ("{base: far, layers: [{pip: ['six => 1']}]}", "write `six>=1`"),
    "language": ("{base: far, language: python, packages: [me], sources: {me: gone}}", "there is no project in gone"),
    "nested": ("{base: far, layers: [{pip: {requirements: [nested.txt]}}]}", "nested.txt:2:1: error: there is no gone.txt"),
    "project": ("{base: far, layers: [{pip: [six]}, {python-project: {}, needs: [pip]}]}", "there is no project to install"),
}  # fmt: skip


@pytest.mark.sampled(4)
@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_says_by_itself_what_is_not_there(far, kind):
    env, said = KINDS[kind]
    far.spec(f"{SPEC.splitlines()[0]}\nenvs:\n  a: {env.replace('HASH', 'a' * 64)[:-1]}, tasks: {{test: 'true'}}}}\n")
    far.write("D", "FROM x\n")
    far.write("Wrong", "FROM scratch\nFROM\n")
    far.write("Fly", "FROM image.invalid/x\nRUNN make\n")
    far.write("Copies", "FROM image.invalid/x\nCOPY there.c gone.c /\n")
    far.write("Mounts", "FROM image.invalid/x\nRUN --mount=type=bind,source=gone,target=/m ls\n")
    far.write("Secret", "FROM image.invalid/x\nRUN --mount=type=secret,id=t,required cat /run/secrets/t\n")
    far.write("links.txt", "--find-links gone\nsix\n")
    far.write("nested.txt", "six\n-r gone.txt\n")
    done = far.envtool("plan")
    assert done.status == 2, done.said
    assert said in done.err
    assert "is a bug" not in done.err


def test_a_dockerfile_that_cannot_be_read_any_more_is_not_cached(far):
    """Of `scratch` there is nothing to ask: what it would be is known at once."""
    far.spec("envs:\n  a: {base: {dockerfile: D}, tasks: {test: 'true'}}\n")
    far.write("D", "FROM scratch\nCOPY there.c /\n")
    assert far.envtool("plan").status == 0
    assert far.envtool("exec", "a", "--", "x").status != 2
    far.write("D", "FROM scratch\nCOPY there.c /\nRUNN x\n")
    done = far.envtool("plan")
    assert (done.status, "D:3:1: error: there is no instruction `RUNN`" in done.err) == (2, True), done.said


def test_an_image_that_no_stage_needs_need_not_be_there(far):
    far.spec("envs:\n  a: {base: {dockerfile: {file: D, images: {x: 'oci:gone'}}}, tasks: {test: 'true'}}\n")
    far.write("D", "FROM x AS other\nFROM scratch\nCOPY there.c /\n")
    assert far.envtool("plan").status == 0
