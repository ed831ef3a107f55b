"""What a failed task is told of the network that it tried, and what `--learn-network` refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from envtool.container.pod import Attempt
from envtool.errors import UsageError
from envtool.run import learned_network
from envtool.run.network_tried import (
    NetworkOfEnv,
    describe_listening,
    describe_tried,
    format_policy,
    from_attempts,
    from_exit,
    is_allowable,
)
from tests.unit.run.fakes import ENV

TCP, UDP, NAME = ("tcp", "example.org", 443), ("udp", "192.0.2.1", 53), ("name", "example.org", 0)
ALL = "; `network: true` gives it all of this machine's network"
GUESS = " if it is HTTPS; `--learn-network` says which ports it needs"
ALLOWED = '`network: {allow: ["example.org:443"]}` allows it'
IN_POD = {
    "nothing": ([], 0, []),
    "by TCP": ([(*TCP, 3)], 0, ["it tried the network: example.org:443 (3 times)", ALLOWED + ALL]),
    "once, after a look-up": ([(*TCP, 1), (*NAME, 2)], 0, ["it tried the network: example.org:443", ALLOWED + ALL]),
    "allowed, and not there": ([(*TCP, 2, "refused")], 0, ["it could not reach: example.org:443 (2 times, refused)"]),
    "a name": ([(*NAME, 2)], 0, ["it tried the network: example.org", ALLOWED + GUESS + ALL]),
    "the port of one is known": (
        [(*TCP, 1), ("name", "b.example", 0, 1)],
        0,
        ["it tried the network: example.org:443, b.example", ALLOWED + ALL],
    ),
    "by UDP": (
        [(*UDP, 1)],
        7,
        [
            "it tried the network: 192.0.2.1:53 (by UDP), 7 attempts at further ones",
            f"an env with `network: {{allow: […]}}` has TCP alone{ALL}",
        ],
    ),
    "too many to list": (
        [("tcp", f"192.0.2.{number}", 1, 1) for number in range(1, 9)],
        0,
        [
            "it tried the network: 192.0.2.1:1, 192.0.2.2:1, 192.0.2.3:1, 192.0.2.4:1, 192.0.2.5:1, 3 more hosts",
            '`network: {allow: ["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1", "192.0.2.4:1", "192.0.2.5:1"]}` allows it'
            + ALL,
        ],
    ),
    "the name of an address": ([("name", "2.0.64.10.in-addr.arpa", 0, 9)], 0, []),
    "what no policy can have": (
        [("tcp", "10.64.9.9", 80, 1)],
        0,
        ["it tried the network: 10.64.9.9:80", f"`--learn-network` says which hosts and ports it needs{ALL}"],
    ),
}


@pytest.mark.parametrize("case", IN_POD)
def test_in_a_pod(case):
    attempts, more, lines = IN_POD[case]
    assert describe_tried(from_attempts([Attempt(*each) for each in attempts], more), NetworkOfEnv()) == lines


@pytest.mark.parametrize(
    ("names", "unreachable", "lines"),
    [
        ((), 0, []),
        (("example.org",), 0, ["it tried the network: example.org", ALLOWED + GUESS + ALL]),
        ((), 1, ["it tried the network: 1 attempt at addresses", f"`--learn-network` says which hosts and ports it needs{ALL}"]),
        (("example.org",), 2, ["it tried the network: example.org, 2 attempts at further ones", ALLOWED + GUESS + ALL]),
        (("1.0.0.127.in-addr.arpa",), 0, []),
    ],
)  # fmt: skip
def test_alone(names, unreachable, lines):
    assert describe_tried(from_exit(names, unreachable), NetworkOfEnv()) == lines


def test_what_an_env_allows_already_is_added_to():
    tried = from_attempts([Attempt(*TCP, 1)], 0)
    lines = describe_tried(tried, NetworkOfEnv(allow=("a.example:1",)))
    assert lines[1:] == ['add "example.org:443" to `network: {allow: …}` of its env']
    assert describe_tried(tried, NetworkOfEnv(services=("db",)))[1:] == [ALLOWED], "services exclude `network: true`"
    assert describe_tried(tried, NetworkOfEnv(learns=True)) == ["it tried the network: example.org:443"]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("dbb", "no service has the name `dbb`: did you mean the service `db`?"),
        ("xyz", "no service has the name `xyz`: its services are db, cache, mail"),
        ("mail", "`mail` is a service of this env, but not of this task: `services: [mail]` starts it beside it"),
    ],
)
def test_a_name_that_no_service_has(name, line):
    env = NetworkOfEnv(services=("db", "cache"), others=("mail",))
    assert describe_tried(from_exit((name,), 0), env) == [line]
    assert describe_tried(from_attempts([Attempt("name", name, 0, 2)], 0), env) == [line]
    assert describe_tried(from_exit((name,), 0), NetworkOfEnv())[0] == f"it tried the network: {name}"


def test_what_strangers_write_is_short_and_safe():
    hostile = "a\x1b[31m\r\n" + "b" * 5000
    attempts = [Attempt("tcp", hostile, 1, 1, hostile), Attempt("name", hostile, 0, 1), Attempt("tcp", hostile, 2, 1)]
    for env in (NetworkOfEnv(), NetworkOfEnv(services=("db",)), NetworkOfEnv(allow=("a:1",))):
        for tried in (from_attempts(attempts, 1 << 30), from_exit((hostile, "c" + hostile), 1 << 30)):
            lines = describe_tried(tried, env)
            assert lines
            assert all(line.isprintable() and len(line) < 700 for line in lines)


def test_what_can_be_allowed():
    assert is_allowable("example.org:443")
    assert is_allowable("[2001:db8::1]:1")
    for rule in ("localhost:80", "10.64.0.9:1", "a b:1", "a:0", 'x"y:1', "224.0.0.1:1"):
        assert not is_allowable(rule), rule
    assert format_policy(["a:1", "[::1]:2"]) == 'network: {allow: ["a:1", "[::1]:2"]}'


def test_where_services_listen():
    ports = {"db": ["5432"], "api": ["80", "81 of its own loopback"], "job": []}
    said = "a connection was refused; its services listen so: `db` on 5432; `api` on 80, 81 of its own loopback; `job` on no port"
    assert describe_listening("[Errno 111] Connection refused", lambda: ports) == [said]
    assert describe_listening("Error: ECONNREFUSED 10.64.0.2", lambda: ports) == [said]
    assert describe_listening("no", lambda: pytest.fail("it was asked")) == []


def test_what_learning_refuses():
    with pytest.raises(UsageError, match="`--offline` contradict each other") as raised:
        learned_network.check_options(offline=True)
    assert raised.value.code == "usage.contradiction"
    learned_network.check_options(offline=False)
    with pytest.raises(UsageError, match=r"sees nothing of an env with `network: true`: `unit`$") as raised:
        learned_network.learning_envs([ENV, replace(ENV, network=True)])
    assert raised.value.hint
    (env,) = learned_network.learning_envs([ENV])
    assert (env.learns, env.has_outside, env.network) == (True, True, False)
