"""How compose files are read: anchors and merges, `extends`, `include`, files over each other, and what no file may do."""

from __future__ import annotations

import os
import time

import pytest

from envtool.errors import EnvtoolError, SpecError, UsageError
from envtool.spec.node import MAX_BYTES


def wrong(take, place, text, *more, **files):
    """The errors of a file: place, message and hint of each."""
    with pytest.raises(SpecError) as raised:
        take(place, text, *more, **files)
    return [f"{problem.where}: {problem.message}; {problem.hint}" for problem in raised.value.problems]


# ---- one file --------------------------------------------------------------------------------------------------------

MERGED = """
x-common: &common
  image: alpine
  environment: &variables {A: common, B: common}
  restart: always
x-more: &more {restart: "no", stop_signal: INT}
services:
  one:
    <<: *common
    environment: {<<: *variables, B: own}
  two:
    restart: on-failure
    <<: [*more, *common]
    command: &words [a, b]
  three: {<<: *common, image: busybox, command: *words}
x-again: &words [c]
"""


def test_anchors_and_merges(tmp_path, take):
    one, two, three = take(tmp_path, MERGED).spec["services"].values()
    assert one == {"base": {"image": "alpine"}, "set": {"A": "common", "B": "own"}, "restart": "always"}
    assert two["restart"] == "on-failure"
    assert two["stop"] == {"signal": "INT"}
    assert two["base"] == {"image": "alpine"}
    assert two["command"] == three["command"] == ["a", "b"]
    assert three["base"] == {"image": "busybox"}


def test_a_note_is_at_the_key_that_was_merged(tmp_path, take):
    taken = take(tmp_path, "x-y: &x {privileged: true}\nservices:\n  a: {<<: *x, image: i}\n  b: {<<: *x, image: i}\n")
    assert (
        taken.said("left-out") == ["1:10 privileged: a container of envtool never has more rights than its caller"] * 2
    )
    assert [note.service for note in taken.notes] == ["a", "b"]


EXTENDS = """
services:
  base:
    image: alpine
    environment: [A=base, B=base]
    ports: ["1000:1000"]
    command: [base]
    volumes: ["./a:/x"]
    depends_on: [db]
  middle:
    extends: base
    environment: {B: middle}
    ports: ["2000:2000"]
    volumes: ["./b:/x"]
    depends_on: {cache: {condition: service_healthy}}
  top:
    extends: {service: middle}
    command: [top]
  far:
    extends: {file: sub/other.yaml, service: far}
    environment: {C: here}
  db: {image: postgres}
  cache: {image: redis}
"""
OTHER = """
services:
  far: {extends: {service: farther}, build: .}
  farther: {environment: {C: there, D: there}, volumes: ["./data:/data"]}
"""


def test_extends(tmp_path, take):
    taken = take(tmp_path, EXTENDS, a="1", b="2", sub__other_yaml=OTHER, sub__data="3", sub__Dockerfile="FROM alpine\n")
    services = taken.spec["services"]
    top = services["top"]
    assert top["set"] == {"A": "base", "B": "middle"}
    assert top["ports"] == [1000, 2000]
    assert top["command"] == ["top"]
    assert top["layers"] == [{"copy": {"from": "b", "to": "/x"}}]
    assert top["needs"] == ["db", "cache"]
    assert services["far"]["base"] == {"dockerfile": {"context": "sub"}}
    assert services["far"]["set"] == {"C": "here", "D": "there"}
    assert services["far"]["layers"] == [{"copy": {"from": "sub/data", "to": "/data"}}]


def test_include(tmp_path, take):
    text = "include: [sub/a.yaml, {path: [sub/b.yaml], project_directory: .}]\nservices: {web: {image: nginx, depends_on: [a, b]}}\n"
    inner = "services:\n  %s: {image: alpine, volumes: ['./f:/f'], configs: [c]}\nconfigs: {c: {file: ./f}}\n"
    taken = take(tmp_path, text, sub__a_yaml=inner % "a", sub__b_yaml=inner % "b", sub__f="1", f="2")
    services = taken.spec["services"]
    assert {*services} == {"web", "a", "b"}
    assert services["a"]["layers"][0] == {"copy": {"from": "sub/f", "to": "/f"}}
    assert services["b"]["layers"][0] == {"copy": {"from": "f", "to": "/f"}}


# ---- several files ---------------------------------------------------------------------------------------------------

FIRST = """
services:
  app:
    image: alpine
    build: ./app
    environment: [A=1, B=1]
    ports: ["1000:1000"]
    command: [first]
    healthcheck: {test: [CMD, first], retries: 5}
    depends_on: [db]
  db: {image: postgres}
  old: {image: alpine}
"""
SECOND = """
services:
  app:
    build: {target: dev}
    environment: {B: "2", A: !reset null}
    ports: !override ["2000:2000"]
    command: [second]
    healthcheck: {test: [CMD, second]}
    depends_on: !reset []
  db: {stop_signal: INT}
  old: !reset null
"""


def test_files_over_each_other(tmp_path, take):
    taken = take(tmp_path, FIRST, SECOND, app__Dockerfile="FROM alpine AS dev\n")
    assert taken.spec["services"] == {
        "app": {
            "base": {"dockerfile": {"context": "app", "target": "dev"}},
            "command": ["second"],
            "project": False,
            "user": "root",
            "set": {"B": "2"},
            "ports": [2000],
            "ready": {"command": ["second"], "within": "300s"},
            "publish": ["2000:2000"],
        },
        "db": {"base": {"image": "postgres"}, "stop": {"signal": "INT"}},
    }
    assert "Written by `envtool import compose compose.yaml over1.yaml`" in taken.text


# ---- wrong and hostile files -----------------------------------------------------------------------------------------

BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    + ["services: {s: {image: x, command: *a11}}"]
)
WRONG = {
    "[1, 2]": "1:1: `compose.yaml` is no compose file: it has no keys",
    "text": "1:1: `compose.yaml` is no compose file: it has no keys",
    "": "1:1: `compose.yaml` is no compose file: it has no keys",
    "web: {image: nginx}": "1:1: no `services:`; write its services below `services:`",
    "services:": "1:10: no service; write one below `services:`",
    "services: {}": "1:11: no service",
    "services: [a]": "1:11: `services` is a list, not a mapping",
    "services: {a: nginx}": "1:15: `services: a` is text, not a mapping",
    "services: {a: {}}": "1:15: a service without `image` and `build`",
    "services: {a: {image: [x]}}": "1:23: `image` is a list, not text",
    "services: {a: {image: x, ports: 80}}": "1:33: `ports` is a number, not a list",
    "services: {a: {image: x, ports: [x:y]}}": "1:34: `x:y` is no port; write it as in 8080:80",
    "services: {a: {image: x, ports: ['99999:80']}}": "1:34: `ports`: `99999` is no port; ports are from 1 to 65535",
    "services: {a: {image: x, ports: ['1-65535:1-65535']}}": "1:34: more than 1,000 ports",
    "services: {a: {image: x, ports: ['1-2:1-3']}}": "1:34: `1-2` and `1-3` are not as many ports",
    "services: {a: {image: x, command: {a: b}}}": "1:35: `command` is a mapping, not text",
    "services: {a: {image: x, command: 'it''s'}}": "1:35: `command`: a quote is not closed; close it, or write a list",
    "services: {a: {image: x, entrypoint: []}}": "1:26: `entrypoint` removes the image's ENTRYPOINT and CMD",
    "services: {a: {image: x, environment: 5}}": "1:39: `environment` is a number, not a mapping or a list of `NAME=value`",
    "services: {a: {image: x, environment: {A: [1]}}}": "1:43: `environment: A` is a list, not text",
    "services: {a: {image: x, volumes: x}}": "1:35: `volumes` is text, not a list",
    "services: {a: {image: x, volumes: [{source: y}]}}": "1:36: a volume without `target`",
    "services: {a: {image: x, volumes: ['a:b:c:d']}}": "1:36: `a:b:c:d` is no volume; write it as in ./conf:/etc/app:ro",
    "services: {a: {image: x, healthcheck: {test: [a]}}}": "1:46: `test` begins with CMD, CMD-SHELL or NONE",
    "services: {a: {image: x, healthcheck: {test: a, interval: 5}}}": "1:59: `interval`: `5` is no length of time; write `5s`",
    "services: {a: {image: x, deploy: {replicas: many}}}": "1:45: `replicas`: `many` is no whole number",
    "services: {a: {image: x, scale: 100000}}": "1:33: more than 1,000 replicas",
    "services: {a: {image: x, restart: sometimes}}": "1:35: `sometimes` is no restart policy; write no, always",
    "services: {a: {image: x, depends_on: [b]}}": "1:39: no service `b`; known: `a`",
    "services: {data: {image: x}, a: {image: x, depends_on: [dta]}}": "1:57: no service `dta`; did you mean `data`?",
    "services: {a: {image: x, depends_on: {a: {condition: x}}}}": "1:42: `x` is no condition; write service_started",
    "services: {a: {image: x, depends_on: [b]}, b: {image: x, links: [a]}}": "1:66: services wait for each other: a → b → a",
    "services: {a: {image: x, depends_on: [a]}}": "1:39: services wait for each other: a → a",
    "services: {a: {extends: a}}": "1:25: service `a` extends itself",
    "services: {a: {extends: b}, b: {extends: a}}": "1:42: service `b` extends itself",
    "services: {a: {extends: c}}": "1:25: no service `c` to extend; known: `a`",
    "services: {a: {extends: {service: x, file: ../x.yaml}}}": "1:25: `../x.yaml` is not in the project",
    "services: {a: {extends: {service: x, file: x.yaml}}}": "1:25: no file `x.yaml` in the project",
    "include: [compose.yaml]\nservices: {a: {image: x}}": "1:11: `compose.yaml` includes itself",
    "include: [/etc/passwd]\nservices: {a: {image: x}}": "1:11: `/etc/passwd` is not in the project",
    "services: {a: {image: '${x'}}": "1:23: `${` without its `}`; `$$` is a dollar sign",
    "services: {a: {image: x, image: y}}": "1:26: the key `image` is there twice; the first is in line 1",
    "services:\n  a: {image: x}\n  a: {image: x}": "3:3: the key `a` is there twice",
    "services: {a: {<<: 5, image: x}}": "1:16: `<<` merges a mapping, or a list of mappings",
    "services: {a: {image: x, 5: y}}": "1:26: the key `5` is a number, not text",
    "services: {a: {image: *gone}}": "1:23: `*` begins an alias in YAML, and no anchor is called `gone`",
    "services: &s {a: *s}": "1:18: `*s` contains itself",
    "services: {a: {image: !!python/object:os.system x}}": "1:23: a YAML tag: `!!python/object:os.system`",
    "services:\n\ta: {image: x}": "2:1: ",
    "services: {a: {image: 'x}}": "1:23: the quote ' is not closed",
    "services: {a: {image: x}}\n---\nservices: {}": "2:1: a second document",
    "services: " + "{a: " * 60 + "x" + "}" * 60: "nested more than 40 deep",
    BOMB: "more than 150,000 values",
    'services: {a: {image: x, environment: {A: "a\\0b"}}}': "1:43: the value of `A` has a NUL",
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_a_wrong_file(text, tmp_path, take):
    began = time.process_time()
    errors = wrong(take, tmp_path, text)
    assert any(WRONG[text] in error and error.startswith("compose.yaml:") for error in errors), errors
    assert time.process_time() - began < 10


def test_bytes_that_are_no_text(tmp_path, take):
    (tmp_path / "bad.yaml").write_bytes(b"services:\n  a: {image: 'x\xff'}\n")
    errors = wrong(take, tmp_path, "include: [bad.yaml]\nservices: {b: {image: x}}\n")
    assert errors == ["bad.yaml:2:16: byte 0xff is no UTF-8; save the file as UTF-8"]
    errors = wrong(take, tmp_path, "services: {b: {image: 'x\x07'}}\n")
    assert "compose.yaml:1:25: a character that YAML does not allow: U+0007" in errors[0]
    assert take(tmp_path, "﻿services: {b: {image: x}}\n").service == {"base": {"image": "x"}}


def test_a_huge_file(tmp_path, take):
    assert "the file is larger than 4 MiB" in wrong(take, tmp_path, "#" * (MAX_BYTES + 1))[0]
    (tmp_path / "huge.yaml").write_bytes(b"")
    os.truncate(tmp_path / "huge.yaml", 1 << 40)
    with pytest.raises(EnvtoolError, match=r"huge\.yaml"):
        take(tmp_path, "include: [huge.yaml]\nservices: {a: {image: x}}\n")


def test_many_that_extend_much(tmp_path, take):
    """The lists of all that extend one are not made as often as somebody likes."""
    ports = ", ".join(f'"{port}"' for port in range(1, 900))
    services = "".join(f"  s{n}: {{extends: base}}\n" for n in range(900))
    text = f"services:\n  base: {{image: x, ports: [{ports}]}}\n{services}"
    began = time.process_time()
    assert "values with those of `extends`" in wrong(take, tmp_path, text)[0]
    assert time.process_time() - began < 20


def test_files_that_include_each_other_often(tmp_path, take):
    text = f"include: [{', '.join(['a.yaml'] * 60)}]\nservices: {{b: {{image: x}}}}\n"
    with pytest.raises(UsageError, match="more than 50 compose files"):
        take(tmp_path, text, a_yaml="x-a: 1\nservices: {}\n")


def test_files_that_are_no_files(tmp_path, take):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "link.yaml").symlink_to("/etc/passwd")
    (tmp_path / "dir.yaml").mkdir()
    for name in ("pipe.yaml", "link.yaml", "dir.yaml"):
        with pytest.raises(EnvtoolError) as raised:
            take(tmp_path, f"include: [{name}]\nservices: {{a: {{image: x}}}}\n")
        assert "root:" not in str(raised.value)


def test_a_wrong_line_of_a_file_of_variables(tmp_path, take):
    text = "services: {a: {image: x, env_file: a.env}}"
    assert wrong(take, tmp_path, text, a_env="A=1\n=2\n") == ["a.env:2:1: no `NAME=value`; "]
    (tmp_path / ".env").write_text("A=${B\n")
    assert wrong(take, tmp_path, text)[0].startswith(".env:1:1: `${` without its `}`")


def test_errors_of_all_services_are_said_at_once(tmp_path, take):
    text = "services:\n  a: {image: x, ports: [x:y]}\n  b: {image: x, restart: sometimes}\n  c: {}\n"
    assert len(wrong(take, tmp_path, text)) == 3
