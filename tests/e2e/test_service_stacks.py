"""The stacks of services are locked, held to the lock, fetched, kept, listed, compared and exported as those of envs."""

from __future__ import annotations

import json
import secrets

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.network]

SPEC = """
layers:
  deps: {{pip: [iniconfig]}}
services:
  db:
    layers: [{{pip: [{wanted}]}}]
    command: serve
    ready: 80
  spare:
    layers: [{{run: mkdir -p /opt/spare}}]
    command: serve
    ready: 80
envs:
  unit: {{layers: [deps], tasks: {{test: "true"}}}}
  db: {{layers: [deps], services: [db], tasks: {{load: "true"}}}}
"""
PLAIN = "layers:\n  deps: {pip: [iniconfig]}\nenvs:\n  unit: {layers: [deps], tasks: {test: 'true'}}\n"


def test_they_are_locked_and_the_lock_holds_for_them(place):
    place.spec(PLAIN)
    assert place.envtool("lock", "-q").status == 0
    plain = (place.project / "envtool.lock").read_bytes()
    place.spec(SPEC.format(wanted="attrs"))
    stale = place.envtool("test", "--locked")
    assert stale.status == 2
    assert "`pip`" in stale.err, stale.err
    done = place.envtool("lock")
    assert done.status == 0, done.said
    text = (place.project / "envtool.lock").read_text()
    assert "attrs" in text
    assert place.envtool("test", "--locked").status == 0
    place.spec(SPEC.format(wanted="attrs, packaging"))
    stale = place.envtool("test", "--locked")
    assert (stale.status, "new packaging" in stale.err) == (2, True), stale.err
    assert place.envtool("test", "-e", "unit", "--locked").status == 0, "the service is not of this env"
    place.spec(PLAIN)
    assert place.envtool("lock", "-q").status == 0
    assert (place.project / "envtool.lock").read_bytes() == plain


def test_every_verb_knows_them(place):
    text = SPEC.format(wanted="attrs").replace("/opt/spare", f"/opt/{secrets.token_hex(8)}")  # in no store yet
    place.spec(text)
    fetched = place.envtool("fetch", "--json")
    assert fetched.status == 0, fetched.said
    assert any("layer pip" in file["needed_by"] for file in fetched.events[-1]["files"])
    names = [name for file in fetched.events[-1]["files"] for name in file["names"]]
    assert any(name.startswith("attrs-") for name in names)
    assert place.envtool("vendor", "-q").status == 0
    assert "attrs-" in (place.project / "envtool.vendor" / "SHA256SUMS").read_text()
    missing = place.envtool("inspect", "service:spare")
    assert missing.status == 3
    assert "`run` of `service:spare` is not built yet" in missing.err
    assert "`envtool lock` makes what is missing" in missing.err
    planned = json.loads(place.envtool("plan", "--json").out)
    assert [service["name"] for service in planned["services"]] == ["service:db", "service:spare"]
    assert place.envtool("lock", "-q").status == 0
    planned = json.loads(place.envtool("plan", "--json").out)
    assert {step["action"] for service in planned["services"] for step in service["steps"]} == {"reuse"}
    assert "pip" in place.envtool("inspect", "service:db").out
    listed = json.loads(place.envtool("list", "--json").out)
    assert [service["stack"] for service in listed["services"]] == ["service:db", "service:spare"]
    assert "attrs" in place.envtool("why", "service:db").out
    assert "attrs" in place.envtool("sbom", "service:db").out
    differs = place.envtool("diff", "db", "service:db")
    assert "attrs" in differs.out, differs.said
    done = place.envtool("verify", "service:spare")
    assert done.status == 0, done.said
    assert "run" in done.said
    gone = json.loads(place.envtool("gc", "--dry-run", "--json").out.splitlines()[-1])
    ours = {env["env"]: env["layers"] for env in gone["envs"] if env["project"] == str(place.project)}
    assert ours["service:db"] >= 1
    unknown = place.envtool("exec", "spare", "true")
    assert (unknown.status, "no env `spare`" in unknown.err) == (2, True)


SUB = """
services:
  web:
    command: exec python3 -m http.server 8000 --directory /tmp
    ready: 8000
    provides: {WEB_URL: "http://web:8000"}
    set: {MODE: a}
  app:
    command: python3 ask.py && exec python3 -m http.server 8000 --directory /tmp
    ready: 8000
    needs: [web]
envs:
  unit: {services: [app], tasks: {test: python3 ask.py http://app:8000}}
"""
ASK = """
import os, sys, urllib.request

url = sys.argv[1] if len(sys.argv) > 1 else os.environ["WEB_URL"]
print("answer", urllib.request.urlopen(url).status)
"""


@pytest.mark.any_caller
def test_services_of_an_included_spec_have_the_same_host_names_as_on_their_own(place):
    place.write("sub/envtool.yaml", f"version: 1\n{SUB}")
    place.write("sub/ask.py", ASK)
    place.spec(
        "include: {api: sub/envtool.yaml}\n"
        "envs: {all: {services: [api/app], tasks: {test: 'python3 sub/ask.py http://web:8000'}}}\n"
    )
    done = place.envtool("test", "-v")
    assert done.status == 0, done.said
    assert done.said.count("answer 200") == 2, done.said
    place.write("sub/envtool.yaml", f"version: 1\n{SUB.replace('MODE: a', 'MODE: b')}")
    told = place.envtool("why", "all:test").out
    assert "a → b" in told, told
    assert "its variable MODE, sub/envtool.yaml:4" in told, told
    alone = place.envtool("-C", str(place.project / "sub"), "test")
    assert alone.status == 0, alone.said
