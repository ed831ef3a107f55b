"""A compose file is taken over, and what it declares runs: builds, commands, checks, order, replicas, files, variables."""

from __future__ import annotations

import re

import pytest

from tests.e2e.test_dockerfile import TOP, system  # noqa: F401 - a fixture

pytestmark = [pytest.mark.e2e, pytest.mark.one_caller]

COMPOSE = """\
x-build: &build {context: ., target: web, args: {GREETING: "${GREETING:-hello}"}}
services:
  my_web:
    build: *build
    volumes: ["./page.html:/www/page.html:ro"]
    healthcheck: {test: "wget -q -O - http://localhost:8000/page.html", interval: 1s, timeout: 2s, retries: 30}
    deploy: {replicas: 2}
    depends_on: {seed: {condition: service_completed_successfully}}
  other:
    build: *build
    command: -p 9000 -h /www
    expose: [9000]
    stop_signal: SIGKILL
  seed:
    build: {context: ., target: top}
    command: [sh, -c, 'echo "in $$(pwd) with $$WORD {{ and $$x"; test "$$WORD" = tea']
    environment: [WORD]
    working_dir: /srv
    privileged: true
"""
DOCKERFILE = f"""\
{TOP}RUN mkdir /www /srv
FROM top AS web
ARG GREETING
RUN echo $GREETING > /www/greeting
WORKDIR /
EXPOSE 8000
ENTRYPOINT ["httpd", "-f"]
CMD ["-p", "8000", "-h", "/www"]
"""
TASK = """\
    base: {dockerfile: {target: top}}
    tasks:
      test:
        - test "$(wget -q -O - http://my-web:8000/greeting)" = hi
        - test "$(wget -q -O - http://my-web-2:8000/page.html)" = page
        - test "$(wget -q -O - http://other:9000/greeting)" = hi
"""


@pytest.fixture
def project(place, system):  # noqa: F811 - the fixture
    place.write("root.tar", system)
    place.write("Dockerfile", DOCKERFILE)
    place.write("compose.yaml", COMPOSE)
    place.write("page.html", "page\n")
    return place


def taken(place, *words):
    """Imports, and adds a task. A caller with a single id has no root in containers: the error of that says what to do."""
    (place.project / "envtool.yaml").unlink(missing_ok=True)
    done = place.envtool("import", "compose", "-o", "envtool.yaml", "--set", "GREETING=hi", *words, "compose.yaml")
    assert done.status == 0, done.said
    path = place.project / "envtool.yaml"
    text = path.read_text() + TASK
    path.write_text(text.replace("    user: root\n", "") if place.caller.mode == "single" else text)
    return done


def test_what_is_taken_over_runs(project):
    done = taken(project, "--set", "WORD=tea")
    assert re.search(r"compose\.yaml:19:5: seed: `privileged`: .*\n    hint: ", done.err), done.err
    assert "compose.yaml:3:3: `my_web`: a host name has small letters" in done.err
    ran = project.envtool("test", "-v")
    assert ran.status == 0, ran.said
    assert " passed in " in ran.said
    project.check_nothing_left(seconds=20)


def test_a_seed_that_fails_is_said(project):
    taken(project, "--set", "WORD=coffee")
    ran = project.envtool("test")
    assert ran.status == 3, ran.said
    assert "service `seed`" in ran.said
    assert "in /srv with coffee {{ and " in ran.said
    project.check_nothing_left(seconds=20)


def test_a_caller_with_one_id_is_told_what_to_leave_out(project):
    if project.caller.mode != "single":
        pytest.skip("the caller has root in containers")
    taken(project, "--set", "WORD=tea")
    path = project.project / "envtool.yaml"
    path.write_text(path.read_text().replace("    project: false\n", "    project: false\n    user: root\n"))
    ran = project.envtool("test")
    assert ran.status in (2, 3), ran.said
    assert "leave `user:` out" in ran.said
