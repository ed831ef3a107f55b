"""`cache:` at the top of the spec."""

from __future__ import annotations

import pytest

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHm0r0Wf1zE8vC0Q0kq0pYw4cGJpU8mZ1F7xkq1m0aYf ci@example"


def test_all_of_it(read):
    spec = read(
        f"version: 1\ncache: {{registry: 'reg.example:5000/team/x', push: ci, results: true, network: true, trust: ['{KEY}']}}\nenvs: {{a: {{}}}}\n"
    )
    assert spec.cache.registry == "reg.example:5000/team/x"
    assert (spec.cache.push, spec.cache.results, spec.cache.network, spec.cache.trust) == ("ci", True, True, (KEY,))
    assert str(spec.cache.where) == "envtool.yaml:2:1"


def test_it_only_pulls_and_trusts_nobody_unless_said(read):
    cache = read("version: 1\ncache: {registry: reg.example/x}\nenvs: {a: {}}\n").cache
    assert (cache.push, cache.results, cache.network, cache.trust) == ("never", False, False, ())


def test_there_need_not_be_one(read):
    assert read("version: 1\nenvs: {a: {}}\n").cache is None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{registry: 'https://reg.example/x'}", "no repository"),
        ("{registry: 'reg.example/x:tag'}", "no repository"),
        ("{registry: alpine}", "no repository"),
        ("{registry: 'reg.example/X'}", "no repository"),
        ("{registry: 'reg.example/x', trust: ['ssh-rsa AAAAB3']}", "not a public key"),
        (f"{{registry: 'reg.example/x', trust: ['{KEY[:70]}']}}", "not a public key"),
        ("{registry: 'reg.example/x', trust: ['-----BEGIN OPENSSH PRIVATE KEY-----']}", "not a public key"),
        ("{registry: 'reg.example/x', push: yess}", "unknown value"),
        ("{registry: 'reg.example/x', trsut: []}", "unknown key `trsut`"),
        ("{push: ci}", "needs `registry`"),
        ("reg.example/x", "expected a mapping"),
    ],
)
def test_what_is_wrong_is_said(wrong, value, said):
    problems = wrong(f"version: 1\ncache: {value}\nenvs: {{a: {{}}}}\n")
    assert said in problems[0][2]


def test_an_included_file_has_none(wrong):
    files = {"sub/envtool.yaml": "version: 1\ncache: {registry: reg.example/x}\n"}
    problems = wrong("version: 1\ninclude: [sub/envtool.yaml]\nenvs: {a: {}}\n", files=files)
    assert [problem[:2] for problem in problems] == [("2:1", "cache")]
