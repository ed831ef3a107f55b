"""`init --from Dockerfile`: envtool builds it as it is; what says how an image is started is named."""

from __future__ import annotations

import pytest

from envtool.app.init_from.take_over import next_verb
from envtool.app.init_from.taken_spec import TakenEnv
from envtool.cli.main import main

TEXT = 'FROM debian:12 AS build\nCMD x\nFROM debian:12\nWORKDIR /app\nCOPY . .\nUSER app\nEXPOSE 80\nLABEL a=b\nCMD ["x"]\n'


def test_the_whole_file_is_the_base(take):
    taken = take("Dockerfile", TEXT)
    assert taken.envs == {"unit": {"base": {"dockerfile": "Dockerfile"}}}
    assert [said.partition(":")[0] for said in taken.said("left-out")] == ["7 EXPOSE", "9 CMD"]
    assert [said.partition(":")[0] for said in taken.said("changed")] == ["4 WORKDIR", "6 USER"]
    assert [said.partition(":")[0] for said in taken.said("meaningless")] == ["8 LABEL"]
    assert "# Dockerfile:9: `CMD`: a task has commands of its own" in taken.text


@pytest.mark.parametrize("name", ["ci/Dockerfile", "ci/Dockerfile.test", "ci/test.dockerfile", "ci/Containerfile"])
def test_a_file_below_has_its_own_directory_as_its_context(take, name):
    assert take(name, TEXT).env == {"base": {"dockerfile": {"context": "ci", "file": name}}}


@pytest.mark.parametrize(
    "text",
    ["", "RUN x\n", "FROM\n", "FROM a\nFROB x\n", "FROM a\nRUN <<E\nx\n", "FROM a\nCOPY x\n", "FROM ${X\n", "FROM scratch\nADD\n", "# only\n", "FROM a\nENV\n", "FROM a AS 1 2 3\n", "FROM a\nHEALTHCHECK frob\n"],
)  # fmt: skip
def test_what_is_no_dockerfile_is_refused(errors, text):
    said = errors("Dockerfile", text)
    assert said
    assert said[0].startswith(("Dockerfile:", "envtool.yaml:"))


def test_what_is_typed_next_works_without_a_task(tmp_path, capsys):
    (tmp_path / "Dockerfile").write_text(TEXT)
    assert main(["-C", str(tmp_path), "init", "--from", "Dockerfile"]) == 0
    said = capsys.readouterr().err
    assert said.endswith(f"wrote {tmp_path}/envtool.yaml, 1 env: unit; next: envtool -C {tmp_path} shell unit\n")


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ([{}, {"test": "x"}], "test"),
        ([{"lint": "x", "test": "x"}], "test"),
        ([{}, {"lint": "x"}], "run lint"),
        ([{}, {}], "shell env1"),
        ([], "up"),
    ],
)
def test_what_is_typed_next(tasks, expected):
    envs = [TakenEnv(f"env{number}", {"tasks": names} if names else {}, {}) for number, names in enumerate(tasks, 1)]
    assert next_verb(envs) == expected
