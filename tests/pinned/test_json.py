"""What each verb writes with `--json`, the events of a run, JUnit, and exit statuses: of one small project, whole.

What varies (times, sizes on the disk, this machine, who calls) is replaced; keys, digests and their order are not.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import xml.etree.ElementTree as ET

import pytest

from tests.pinned.shared import PROGRAM, X86_64, golden

pytestmark = [pytest.mark.e2e, pytest.mark.any_caller, pytest.mark.one_caller, X86_64]

FAR = b"from far away\n"
SPEC = """\
bases:
  tiny: {{tarball: {{path: root.tar.gz, sha256: {sha256}}}}}
  docker: {{dockerfile: Dockerfile}}
layers:
  word: {{run: ["mkdir /opt", "put /opt/word one two"]}}
  files: {{copy: {{from: data.txt, to: /opt/data.txt}}, needs: []}}
  far: {{fetch: {{url: "https://files.invalid/far.txt", sha256: {far}, to: /opt/far.txt}}, needs: []}}
  second: {{run: append /opt/word three, inputs: [data.txt], set: {{SECOND: "2"}}}}
  broken: {{run: "echo it breaks; fail"}}
defaults: {{base: tiny}}
envs:
  good:
    layers: [word, files, far, second]
    tasks:
      test: "echo good {{{{ args }}}}; cat /opt/word"
      build: {{run: [mkdir out, put out/made made it], outputs: ["out/*"]}}
      lint: {{run: "true", user: root}}
  bad: {{layers: [word], timeout: 5m, tasks: {{test: "echo bad; fail"}}}}
  image: {{base: docker, tasks: {{test: cat /work/made.txt}}}}
  more: {{matrix: {{n: ["1", "2"]}}, set: {{N: "{{{{ matrix.n }}}}"}}, tasks: {{matrix: env}}}}
  odd: {{layers: [broken], tasks: {{odd: "true"}}}}
"""
DOCKERFILE = "FROM scratch\nADD root.tar.gz /\nWORKDIR /work\nRUN --network=none put made.txt made in a Dockerfile\n"
TIMES = {"time", "seconds", "started", "since", "used", "after_used"}
USED = {"memory", "cpu_seconds", "written"}  # of a task that ran
MACHINE = {
    "free",
    "disk",
    "host",
    "size_on_disk",
    "arch",
    "bytes",
    "freed",
    "own",
    "shared",
    "after",
    "unfinished",
    "others",
}


@pytest.fixture
def there(fresh):
    place = fresh
    sha = hashlib.sha256(FAR).hexdigest()
    place.write("root.tar.gz", PROGRAM.read_bytes())
    place.write("data.txt", "data\n")
    place.write("Dockerfile", DOCKERFILE)
    place.write(f"blobs/{sha[:2]}/{sha}", FAR, at=place.top)
    place.environ |= {"ENVTOOL_BLOBS": str(place.top / "blobs"), "HOSTNAME": "pins"}
    place.spec(SPEC.format(sha256=hashlib.sha256(PROGRAM.read_bytes()).hexdigest(), far=sha))
    return place


def normalised(value, place, key=""):
    """With times and this machine replaced; what counts bytes on the disk too."""
    if isinstance(value, dict):
        return {name: normalised(each, place, name) for name, each in value.items()}
    if isinstance(value, list):
        return [normalised(each, place, key) for each in value]
    if key in USED and isinstance(value, (int, float)) and not isinstance(value, bool):
        return "USED"
    if key in TIMES and isinstance(value, (int, float)):
        return "TIME" if value else value
    if key in MACHINE and isinstance(value, (int, float, str)) and value:
        return "MACHINE"
    if isinstance(value, str):
        value = value.replace(str(place.project), "PROJECT").replace(str(place.store), "STORE")
        value = value.replace(str(place.top), "TOP").replace(place.project.name, "NAME")
        value = re.sub(rf"\b{re.escape(socket.gethostname())}\b", "HOST", value)
        value = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+(\+00:00|Z)", "TIME", value)
        value = re.sub(r"\d{8}T\d{6}-\d+", "RUN", value)
        return re.sub(r"\b[\d.]+ ?s\b", "N s", value)
    return value


def documents(done, place) -> list:
    return [normalised(json.loads(line), place) for line in done.out.splitlines()]


def unsized(value, key=""):
    """Without sizes, of which the disk decides, and without counts of what may be made anew (answers, short cuts)."""
    if isinstance(value, dict):
        return {name: unsized(each, name) for name, each in value.items() if name not in ("memory", "plan", "view")}
    if key in ("size", "files", "after_files") and isinstance(value, int):
        return "SIZE"
    return [unsized(each) for each in value] if isinstance(value, list) else value


def events(done, place) -> list:
    """Those of each piece of work in their order, without what depends on the clock: notes of progress, pieces of output."""
    found: dict[str, list] = {}
    for each in documents(done, place):
        if each["event"] == "progress":
            continue
        line = found.setdefault(each.get("id", ""), [])
        if each["event"] == "output" and line and line[-1]["event"] == "output":
            line[-1]["text"] += each["text"]
        else:
            line.append(each)
    return [each for name in sorted(found) for each in found[name]]


RUNS = {
    "test": (["test", "-e", "good", "-e", "image", "--", "word"], 0),
    "test-again": (["test", "-e", "good", "--", "word"], 0),
    "test-failed": (["test", "-e", "good", "-e", "bad", "-j", "1", "-x"], 1),
    "build": (["build"], 0),
    "run": (["run", "lint"], 0),
    "run-broken": (["run", "odd"], 3),
    "expect-cached": (["run", "odd", "--expect-cached"], 3),
    "no-such-task": (["run", "nothing"], 2),
    "no-such-env": (["test", "-e", "goood"], 2),
    "usage": (["test", "--jobs", "none"], 2),
    "exec": (["exec", "good", "--", "true"], 2),
    "verify": (["verify", "word"], 0),
    "fetch": (["fetch"], 0),
    "vendor": (["vendor"], 0),
    "export": (["export", "good", "oci:image"], 0),
}


def test_runs(there):
    found = {}
    for name, (words, status) in RUNS.items():
        done = there.envtool(*words[:1], "--json", *words[1:])
        assert status in (None, done.status), done.said
        found[name] = {"words": words, "status": done.status, "events": events(done, there)}
    golden("runs.json", found)


LOOKS = {
    "list": ["list"],
    "plan": ["plan"],
    "why": ["why"],
    "why-task": ["why", "good:test"],
    "lock": ["lock"],
    "inspect-env": ["inspect", "good", "--files"],
    "inspect-layer": ["inspect", "second", "--files"],
    "inspect-path": ["inspect", "good", "/opt/word"],
    "diff": ["diff", "good", "bad", "--files"],
    "gc-dry": ["gc", "--dry-run"],
    "store-path": ["store", "path"],
    "store-size": ["store", "size"],
    "store-verify": ["store", "verify"],
    "cache": ["cache"],
    "completion": ["completion", "bash"],
    "schema-lock": ["schema", "--lock"],
    "gc": ["gc", "--older-than", "1d"],
    "store-remove": ["store", "remove", "--yes"],
}


def test_looks(there):
    lines = (there.project / "envtool.yaml").read_text().splitlines(keepends=True)
    there.write("envtool.yaml", "".join(line for line in lines if "broken" not in line))  # it could not be locked
    done = there.envtool("test", "-e", "good", "--json")
    assert done.status == 0, done.said
    found = {}
    for name, words in LOOKS.items():
        done = there.envtool(*words, "--json")
        if name == "completion":
            text = done.out
        elif name == "schema-lock":
            text = sorted(json.loads(done.out)["properties"])
        elif done.out.startswith('{"event"'):
            text = [each for each in events(done, there) if each["event"] not in ("started", "output")]
        else:
            text = documents(done, there)
        text = unsized(text) if words[0] in ("gc", "store") else text
        found[name] = {"words": words, "status": done.status, "said": text}
    for name in ("doctor", "version"):  # the keys alone: which checks and plugins there are, this machine decides
        done = there.envtool(name, "--json")
        said = json.loads(done.out)
        inner = {key: sorted(value[0]) for key, value in said.items() if isinstance(value, list) and value}
        found[name] = [sorted(said), inner]
    there.write("other/package.json", '{"name": "other", "version": "1.0.0", "scripts": {"test": "true"}}\n')
    done = there.envtool("-C", str(there.project / "other"), "init", "--json")
    found["init"] = [done.status, *documents(done, there)]
    done = there.envtool("cache", "key", str(there.top / "key"), "--json")
    found["cache-key"] = [done.status, [sorted(each) for each in documents(done, there)]]
    done = there.envtool("sbom", "good", "--json")
    found["sbom"] = [done.status, sorted(json.loads(done.out))]
    done = there.envtool("schema")
    found["schema"] = names(json.loads(done.out))
    golden("looks.json", found)


def names(schema, path=()):
    """Paths of all properties: words of descriptions are not held."""
    if isinstance(schema, list):
        return sorted({each for item in schema for each in names(item, path)})
    if not isinstance(schema, dict):
        return []
    found = set()
    for name, value in schema.items():
        if name in ("properties", "$defs", "patternProperties") and isinstance(value, dict):
            for each, below in value.items():
                found |= {"/".join((*path, each)), *names(below, (*path, each))}
        elif name == "enum":
            found |= {"/".join((*path, f"={each}")) for each in value}
        else:
            found |= set(names(value, path))
    return sorted(found)


def test_junit(there):
    there.envtool("test", "-e", "good")
    done = there.envtool("test", "-e", "good", "-e", "bad", "-e", "image", "-j", "1", "-x", "--junit", "report.xml")
    assert done.status == 1, done.said
    there.envtool("run", "odd", "--junit", "broken.xml")
    reports = [(there.project / name).read_text() for name in ("report.xml", "broken.xml")]
    found = [element(ET.fromstring(text), there) for text in reports]
    golden("junit.json", found)


def element(node, place):
    attributes = {
        name: "TIME"
        if name in ("time", "timestamp")
        else normalised(value, place, "host" if name == "hostname" else "")
        for name, value in node.attrib.items()
    }
    if node.get("name", "").removeprefix("envtool.") in USED:
        attributes["value"] = "USED"
    text = normalised((node.text or "").strip(), place)
    return [node.tag, attributes, text, [element(each, place) for each in node]]


SITUATIONS = {
    "passed": (["test", "-e", "good"], 0),
    "unchanged": (["test", "-e", "good"], 0),
    "failed": (["test", "-e", "bad"], 1),
    "failed and broken": (["test", "-e", "bad", "-e", "wrong"], 2),
    "no verb": ([], None),
    "unknown verb": (["tset"], 2),
    "unknown option": (["test", "--nothing"], 2),
    "no spec": (["-C", "/", "list"], 2),
    "a file that is not there": (["-f", "other.yaml", "list"], 2),
    "a layer that cannot be built": (["run", "odd"], 3),
    "not cached": (["run", "odd", "--expect-cached"], 3),
    "a lock that does not fit": (["test", "--locked", "-e", "image"], None),
    "command's own": (["exec", "good", "--", "/bin/sh", "-c", "exit 42"], 42),
    "no such command": (["exec", "good", "--", "nothing"], None),
    "diff same": (["diff", "good", "good"], 0),
    "diff differs": (["diff", "good", "bad"], 1),
    "wrong value": (["gc", "--keep-size", "much"], 2),
    "version": (["--version"], 0),
    "help": (["--help"], 0),
}


def test_statuses(there):
    found = {}
    for name, (words, status) in SITUATIONS.items():
        done = there.envtool(*words)
        assert status in (None, done.status), (name, done.said)
        found[name] = [words, done.status]
    golden("statuses.json", found)


def test_push(there, registry):
    """`registry` stands for its host, which has another port each time."""
    there.environ |= registry.variables
    done = there.envtool("push", "good", f"{registry.host}/team/app:1", "--json")
    assert done.status == 0, done.said
    text = json.dumps(events(done, there)).replace(registry.host, "REGISTRY")
    golden("push.json", json.loads(text))
