"""What `envtool verify` says, and how it ends."""

from __future__ import annotations

import json

import pytest


@pytest.mark.parametrize(("scenario", "status"), [("same", 0), ("mixed", 1), ("broken", 3), ("interrupted", 130)])
def test_exit_status(envtool, scenario, status):
    assert envtool("verify", scenario=scenario).status == status


def test_names_and_options_reach_the_app(envtool, fake):
    envtool("verify", "deps", "p*", "--build", "-j", "3", "-x", "-C", "d", scenario="same")
    request, names, build = fake.requests[-1]
    assert (request.directory, request.jobs, request.fail_fast, names, build) == ("d", 3, True, ("deps", "p*"), True)


def test_differences_are_data_and_the_sum_is_talk(envtool):
    done = envtool("verify")
    assert done.out.splitlines()[:6] == [
        "layer stamp: 102 paths differ between two builds",
        "  /opt/stamp  content, time",
        "      line 1:",
        "      - one",
        "      + two",
        "  /opt/0  mode",
    ]
    assert "  … and 2 more (--json has all)\n" in done.out
    assert "layer deps: came out as sha256:1, the lock says sha256:3\n" in done.out
    assert done.out.endswith("layer broken: layer `broken` could not be built: exit 1\nits output\n")
    assert "note: python: the clock could not be moved: no libfaketime\n" in done.err
    assert "── 2 differ, 1 not built, 1 the same in" in done.err
    assert " verify stamp             1 path differs" in done.err


def test_what_is_the_same_is_no_data(envtool):
    done = envtool("verify", scenario="same")
    assert done.out == ""
    assert "── 1 the same in" in done.err


def test_json_has_every_path(envtool):
    last = json.loads(envtool("verify", "--json").out.splitlines()[-1])
    assert last["event"] == "result"
    assert last["status"] == 1
    assert len(last["results"][1]["differences"]) == 102
    assert last["results"][1]["differences"][0] == {
        "path": "/opt/stamp",
        "kinds": ["content", "time"],
        "shown": "line 1:\n- \x1b[31mone\n+ two",
    }
