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
