"""The state of a replica in words."""

from __future__ import annotations

import pytest

from envtool.services.group_values import ReplicaState
from envtool.services.up import service_status


def state(stage, *, status=137, restarts=2, limit=""):
    return ReplicaState("api", "api-1", stage, 0.0, "", restarts, status, None, False, "log", limit)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (state("restarting"), "api-1 ended with 137, and starts again (2)"),
        (
            state("restarting", limit="it used more than 100 MB of memory (envtool.yaml:3:5)"),
            "api-1 ended: it used more than 100 MB of memory (envtool.yaml:3:5), and starts again (2)",
        ),
        (state("ready"), "api-1 is ready"),
        (state("ended", status=1), "api-1 ended with 1"),
    ],
)
def test_a_change_is_a_line_of_the_log(found, text):
    assert service_status.describe_state(found) == text


@pytest.mark.parametrize(
    ("stage", "restarts", "words"),
    [
        ("ready", 0, "ready"),
        ("ready", 3, "ready, restarts: 3"),
        ("restarting", 3, "restarting 3"),
        ("ended", 0, "exited 137"),
    ],
)
def test_restarts_are_seen_while_it_runs(stage, restarts, words):
    fields = service_status.replica_fields(state(stage, restarts=restarts), (), 0)
    assert service_status.state_words(fields) == words


@pytest.mark.parametrize(("count", "text"), [(1, "api: 1 replica"), (3, "api: 3 replicas")])
def test_a_number_of_replicas(count, text):
    assert service_status.describe_change({"scaled": "api", "replicas": count}) == text
