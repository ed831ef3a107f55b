"""`envtool import`: what it prints, word for word, and where it writes."""

from __future__ import annotations

import io
import json

import pytest

from envtool.cli import import_spec

COMPOSE = """\
version: "3.9"
x-app: &app
  build: .
  env_file: .env.local
  depends_on:
    db: {condition: service_healthy}
    migrate: {condition: service_completed_successfully}
services:
  web:
    <<: *app
    container_name: shop-web
    ports: ["80:8000"]
    environment: {DATABASE_URL: "postgresql://app:${PASSWORD}@db/app", TOKEN: }
    volumes: [".:/app", "/var/run/docker.sock:/var/run/docker.sock"]
    deploy: {replicas: 3, resources: {limits: {memory: 1G}}}
    networks: [front]
    logging: {driver: none}
  worker:
    <<: *app
    command: python -m worker
    privileged: true
    networks: [front]
  migrate:
    build: .
    command: python -m migrate
    depends_on: [db]
  db:
    image: postgres:15
    environment: {POSTGRES_USER: app, POSTGRES_PASSWORD: "${PASSWORD}"}
    volumes: [data:/var/lib/postgresql/data]
    healthcheck: {test: [CMD, pg_isready, -U, app], interval: 5s, timeout: 3s, retries: 10}
volumes: {data: {}}
networks: {front: {}}
"""
WRONG = """\
services:
  web:
    image: nginx
    ports: 8080
    depends_on: [bd]
  db: {image: postgres, restart: sometimes}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    (tmp_path / "compose.override.yaml").write_text("services: {db: {stop_signal: INT}}\n")
    (tmp_path / "wrong.yaml").write_text(WRONG)
    (tmp_path / ".env").write_text("PASSWORD=tea\n")
    (tmp_path / "Dockerfile").write_text('FROM python:3.12\nWORKDIR /app\nENTRYPOINT ["tini", "--"]\nUSER app\n')
    return tmp_path


CASES = {
    "import-compose": ["import", "compose", "compose.yaml"],
    "import-compose-written": ["import", "compose", "-o", "new.yaml", "compose.yaml", "compose.override.yaml"],
    "import-compose-quiet": ["import", "compose", "-q", "--kinds", "compose.yaml"],
    "import-compose-json": ["import", "compose", "--json", "compose.yaml"],
    "import-compose-wrong": ["import", "compose", "wrong.yaml"],
    "import-compose-gone": ["import", "compose", "gone.yaml"],
    "import-compose-outside": ["import", "compose", "../compose.yaml"],
    "import-compose-exists": ["import", "compose", "-o", "compose.yaml", "compose.yaml"],
    "import-compose-set": ["import", "compose", "--set", "PASSWORD", "compose.yaml"],
    "import-compose-nothing": ["import", "compose"],
    "import-unknown": ["import", "compsoe", "compose.yaml"],
    "import-file": ["import", "compose.yaml"],
    "import-help": ["import", "compose", "--help"],
}


@pytest.mark.parametrize("name", CASES)
def test_message(name, envtool, golden, project):
    golden(name, envtool(*CASES[name]).text().replace(str(project), "/project"))


def test_notes_are_printed_once_at_one_place(envtool, project, monkeypatch):
    """In a terminal the spec and what is said of it stand one below the other: the notes are in the spec."""
    monkeypatch.setattr("envtool.cli.import_spec._is_one_place", lambda first, second: True)
    ran = envtool("import", "compose", "compose.yaml")
    assert ran.out.count("`container_name`") == 1
    assert "`container_name`" not in ran.err
    assert "comments of the spec say what is left out or has another meaning; with `-o FILE` this says" in ran.err
    written = envtool("import", "compose", "-o", "new.yaml", "compose.yaml")
    assert "`container_name`" in written.err


def test_two_streams_to_one_place(tmp_path):
    with (
        open(tmp_path / "a", "w") as first,
        open(tmp_path / "a", "a") as same,
        open(tmp_path / "b", "w") as other,
        io.StringIO() as none,
    ):
        assert import_spec._is_one_place(first, same)
        assert not import_spec._is_one_place(first, other)
        assert not import_spec._is_one_place(first, none)


@pytest.mark.parametrize(
    ("place", "command"),
    [
        ("envtool.yaml", "envtool up"),
        ("other.yaml", "envtool -f other.yaml up"),
        ("a dir/envtool.yaml", "envtool -C 'a dir' up"),
    ],
)
def test_the_next_command_starts_the_services(envtool, project, place, command):
    (project / "a dir").mkdir()
    (project / "a dir" / "compose.yaml").write_text("services: {s: {image: x}}")
    source = "a dir/compose.yaml" if "/" in place else "compose.yaml"
    ran = envtool("import", "compose", "-o", place, source)
    assert ran.err.endswith(f"; next: {command}\n"), ran.err


def test_it_never_overwrites(envtool, project):
    assert envtool("import", "compose", "-o", "envtool.yaml", "compose.yaml").status == 0
    text = (project / "envtool.yaml").read_text()
    assert text == envtool("import", "compose", "compose.yaml").out
    ran = envtool("import", "compose", "-o", "envtool.yaml", "--set", "PASSWORD=x", "compose.yaml")
    assert (ran.status, ran.out) == (2, "")
    assert (project / "envtool.yaml").read_text() == text
    (project / "link").symlink_to(project / "target")
    assert envtool("import", "compose", "-o", "link", "compose.yaml").status == 2
    assert not (project / "target").exists()


def test_paths_are_those_of_the_directory_of_the_spec(envtool, project):
    (project / "ci").mkdir()
    (project / "compose.yaml").rename(project / "ci" / "compose.yaml")
    (project / "ci" / "Dockerfile").write_text("FROM alpine\n")
    assert "dockerfile:\n        context: ci\n" in envtool("import", "compose", "ci/compose.yaml").out
    assert "dockerfile:\n        file: Dockerfile\n" in envtool("-C", "ci", "import", "compose", "compose.yaml").out
    below = envtool("import", "compose", "-o", "ci/envtool.yaml", "ci/compose.yaml")
    assert below.status == 0
    assert "dockerfile:\n        file: Dockerfile\n" in (project / "ci" / "envtool.yaml").read_text()
    assert envtool("import", "compose", "-o", "ci/new/envtool.yaml", "ci/compose.yaml").status == 2


def test_json_has_all_that_is_said(envtool, project):
    ran = envtool("import", "compose", "--json", "-o", "envtool.yaml", "compose.yaml")
    document = json.loads(ran.out)
    assert document["file"] == "envtool.yaml"
    assert document["spec"] == (project / "envtool.yaml").read_text()
    assert document["services"] == ["web", "worker", "migrate", "db"]
    effects = {(note["key"], note["effect"], note["line"]) for note in document["notes"]}
    assert {("privileged", "left-out", 21), ("version", "meaningless", 1), ("ports", "changed", 12)} <= effects
    assert all(note["message"] and note["file"] in ("compose.yaml", ".env") for note in document["notes"])


@pytest.mark.parametrize("text", ["services: {a: {image: '\x1b[31m', labels: [x]}}", "services: {'\x1b]0;x': {}}"])
def test_no_file_writes_to_the_terminal(text, envtool, project):
    (project / "compose.yaml").write_text(text.replace("\x1b", "\\e").replace("'", '"'))
    ran = envtool("import", "compose", "compose.yaml")
    assert "\x1b" not in ran.out + ran.err
