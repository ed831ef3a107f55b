"""What only the caller may let out: secrets, variables, files beside the project. Never by the spec alone."""

import os

import pytest

pytestmark = pytest.mark.e2e

CANARY = "canary-7f3a"
BUILD = "bases: {{b: {{dockerfile: {{file: Dockerfile, secrets: {{s: {source}}}}}}}}}\nenvs: {{unit: {{base: b, tasks: {{test: 'true'}}}}}}\n"
SHOW = "envs: {{unit: {{pass: [{names}], network: {network}, tasks: {{test: 'env | sort'}}}}}}\n"


def secret(place, source):
    place.spec(BUILD.format(source=source))
    place.write("Dockerfile", "FROM scratch\nRUN --network=none --mount=type=secret,id=s,required cat /run/secrets/s\n")


@pytest.mark.parametrize("source", ["{env: TOKEN}", "{file: '~/token'}", "{file: ../token}", "{file: .git/config}"])
def test_a_secret_is_the_callers_to_give(place, source):
    place.environ["TOKEN"] = CANARY
    place.write("token", CANARY, at=place.top)
    place.write(".git/config", f"[http]\n\textraheader = {CANARY}\n")
    secret(place, source)
    done = place.envtool("test")
    assert done.status == 3, done.said
    assert "Dockerfile:2" in done.err
    assert "you did not allow it" in done.err
    assert "envtool test --allow-secret " in done.err
    assert CANARY not in done.said


@pytest.mark.parametrize(
    ("names", "network"),
    [("TOKEN", "true"), ("'*'", "true"), ("'TOK*'", "true"), ("'*'", "false"), ("'T?KEN'", "false")],
)
def test_a_variable_is_the_callers_to_give(place, names, network):
    place.environ["TOKEN"] = CANARY
    place.spec(SHOW.format(names=names, network=network))
    for words in (("test",), ("exec", "unit", "--", "env"), ("exec", "unit", "--", "env")):
        done = place.envtool(*words)
        assert done.status == 2, done.said
        assert "envtool.yaml:2:8: error: env `unit`: `pass:` asks for your" in done.err
        assert "TOKEN" in done.err or names == "'*'"  # the first five are named
        assert CANARY not in done.said
    pattern = () if names == "TOKEN" else ("--allow-pass", "*")
    done = place.envtool("test", "--json", "--allow-pass", "TOKEN", *pattern)
    assert f"TOKEN={CANARY}" in done.log(), done.said
    assert place.envtool("test").status == 2  # what was said once holds once


def test_a_warm_start_passes_nothing_that_is_not_allowed_now(place):
    place.spec(SHOW.format(names="'MY_*'", network="false"))
    place.allow("pass: [MY_MODE]")
    place.environ["MY_MODE"] = "fast"
    for _ in range(3):
        done = place.envtool("exec", "unit", "--", "env")
        assert "MY_MODE=fast\n" in done.out, done.said
    place.environ["MY_TOKEN"] = CANARY
    done = place.envtool("exec", "unit", "--", "env")
    assert (done.status, CANARY in done.said) == (2, False)
    assert "envtool exec --allow-pass MY_TOKEN unit -- env" in done.err
    place.allow("pass: ['MY_*']")
    assert f"MY_TOKEN={CANARY}\n" in place.envtool("exec", "unit", "--", "env").out
    place.allow("pass: []")
    assert place.envtool("exec", "unit", "--", "env").status == 2
    assert place.envtool("test").status == 2


def test_what_is_named_without_a_network_or_is_no_secret_needs_no_word(place):
    place.environ |= {"TOKEN": "mine", "CI": "false", "NO_COLOR": "1"}
    place.spec(SHOW.format(names="TOKEN, CI, NO_COLOR, 'L?NG'", network="false"))
    done = place.envtool("test", "--json")
    assert {"TOKEN=mine", "CI=false", "NO_COLOR=1"} <= {*done.log().splitlines()}, done.said


def test_a_proxys_password_stays_here(place):
    place.environ |= {"http_proxy": f"http://me:{CANARY}@127.0.0.1:9", "HTTPS_PROXY": f"me:{CANARY}@127.0.0.1:9"}
    place.spec(
        "layers: {l: {run: 'env > /seen', network: true}}\n"
        "envs: {unit: {layers: [l], network: true, tasks: {test: 'cat /seen; env'}}}\n"
    )
    done = place.envtool("test", "--json")
    assert CANARY not in done.said
    assert "http_proxy=http://127.0.0.1:9" in done.log(), done.said
    assert "https_proxy=127.0.0.1:9" in done.log()
    done = place.envtool("test", "--json", "--allow-pass", "http_proxy")
    assert f"http_proxy=http://me:{CANARY}@127.0.0.1:9" in done.log(), done.said


def test_a_file_beside_the_project_is_the_callers_to_give(place):
    place.write("shared.yaml", "version: 1\nenvs: {more: {tasks: {test: 'true'}}}\n", at=place.top)
    os.symlink("../shared.yaml", place.project / "more.yaml")
    place.spec("include: [more.yaml]\n")
    done = place.envtool("list")
    assert done.status == 2
    assert "envtool.yaml:2:11" in done.err
    assert f"envtool list --allow-file {os.path.realpath(place.top)}/shared.yaml" in done.err
    assert "more" in place.envtool("list", "--allow-file", "../shared.yaml").out
    place.allow(f"files: [{place.top}]")
    assert "more" in place.envtool("list").out


@pytest.mark.one_caller
@pytest.mark.parametrize("source", ["file:{}/none", "env:NOT_SET", ""])
def test_a_secret_that_the_caller_names_and_that_is_not_there_ends_the_build(place, source):
    """It is a typing error: a layer without it would be kept, since no secret is part of a key."""
    place.write(
        "Dockerfile",
        "FROM scratch\nCOPY Dockerfile /\nRUN --network=none --mount=type=secret,id=s cat /run/secrets/s || true\n",
    )
    place.spec(BUILD.format(source="{env: TOKEN}"))
    word = f"s={source.format(place.top)}".removesuffix("=")
    done = place.envtool("test", "--allow-secret", word, "-v")
    assert done.status == 3, done.said
    assert "Dockerfile:3" in done.err
    assert "not there" in done.err or "not set" in done.err
    assert "`envtool test --allow-secret s=file:PATH -v`, or s=env:VARIABLE" in done.err


@pytest.mark.any_caller
@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
def test_a_configuration_in_whose_place_others_can_put_another_is_not_believed(place, mode):
    place.task("echo $MY_TOKEN", env="pass: ['MY_*']")
    place.environ["MY_TOKEN"] = CANARY
    place.allow("pass: [MY_TOKEN]")
    assert CANARY in place.envtool("test", "--json", "--again").log()
    directory = place.top / ".config/envtool"
    directory.chmod(mode)
    if mode == 0o775:
        os.chown(directory, -1, max([0, *os.getgroups()]) + 1) if os.geteuid() == 0 else pytest.skip(
            "needs another group"
        )
    done = place.envtool("test", "--again")
    sticky = mode == 0o1777
    assert done.status == (0 if sticky else 2), done.said
    assert sticky or f"others may write to {directory}" in done.err
    said = place.envtool("doctor")
    assert (said.status, "config.yaml" in said.out) == ((0, False) if sticky else (3, True)), said.said
