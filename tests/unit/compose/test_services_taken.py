"""What each key of a service of a compose file becomes, and what is said of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from envtool.app.compose import convert_service, image_base, left_out
from envtool.app.compose.compose_files import SECTIONS
from envtool.errors import SpecError

PUBLISHED = 'ports: ["%s"]'
# keys of the service `s` besides its image -> keys of the spec's service, besides base
SAME = {
    "command: a 'b c' $$HOME": {"command": ["a", "b c", "$HOME"]},
    "command: [a, b c, 3]": {"command": ["a", "b c", "3"]},
    "command: null": {},
    "entrypoint: /run.sh\n    command: -v": {"command": ["/run.sh", "-v"]},
    "entrypoint: [/run.sh]": {"command": ["/run.sh"]},
    'entrypoint: ""\n    command: [top]': {"command": ["top"]},
    "command: npm start\n    working_dir: /app": {
        "command": ["/bin/sh", "-c", 'cd "$0" && exec "$@"', "/app", "npm", "start"]
    },
    "command: a\n    user: '0:0'": {"command": ["a"], "user": "root"},
    "user: postgres": {"user": "postgres"},
    "user: node:node": {"user": "node"},
    "environment: [A=1, B=x=y, 'C=']": {"set": {"A": "1", "B": "x=y", "C": ""}},
    "environment: {A: 1, B: true, C: 3.10, D: 0644, E: '0644', F: yes, G: 1e3}": {
        "set": {"A": "1", "B": "true", "C": "3.1", "D": "420", "E": "0644", "F": "yes", "G": "1000"}
    },
    "environment: {A: '{{ x }}', B: $$5}": {"set": {"A": "{{ '{{' }} x }}", "B": "$5"}},
    PUBLISHED % "8080:80": {"ports": [80], "publish": ["8080:80"]},
    PUBLISHED % "80": {"ports": [80], "publish": [80]},
    PUBLISHED % "127.0.0.1:8080:80": {"ports": [80], "publish": ["8080:80"]},
    PUBLISHED % "127.0.0.1::80": {"ports": [80], "publish": [80]},
    PUBLISHED % "[::1]:8080:80/tcp": {"ports": [80], "publish": ["8080:80"]},
    PUBLISHED % "8000-8002:80-82": {"ports": [80, 81, 82], "publish": ["8000:80", "8001:81", "8002:82"]},
    "ports: [{target: 80, published: '8080', protocol: tcp, mode: host, name: web}]": {
        "ports": [80],
        "publish": ["8080:80"],
    },
    "ports: [{target: 80}]": {"ports": [80], "publish": [80]},
    "ports: [5432]\n    expose: ['6000', 6001-6002, 7000/tcp]": {
        "ports": [5432, 6000, 6001, 6002, 7000],
        "publish": [5432],
    },
    "expose: [9000]": {"ports": [9000]},
    "healthcheck: {test: curl -f localhost || exit 1}": {
        "ready": {"command": "curl -f localhost || exit 1", "within": "180s"}
    },
    "healthcheck: {test: [CMD-SHELL, 'a; b'], interval: 5s, timeout: 1s, retries: 3}": {
        "ready": {"command": ["/bin/sh", "-c", "a; b"], "within": "60s"}
    },
    "healthcheck: {test: [CMD, pg_isready, -U, x], interval: 1m30s, timeout: 500ms, retries: '2', start_period: 10s}": {
        "ready": {"command": ["pg_isready", "-U", "x"], "within": "191s"}
    },
    "restart: 'no'": {"restart": "never"},
    "restart: no": {"restart": "never"},
    "restart: unless-stopped": {"restart": "always"},
    "restart: on-failure": {"restart": "on-failure"},
    "deploy: {replicas: 3, restart_policy: {condition: none}}": {"replicas": 3, "restart": "never"},
    "deploy: {restart_policy: {condition: any}}": {"restart": "always"},
    "scale: 4": {"replicas": 4},
    "stop_signal: SIGINT\n    stop_grace_period: 1m": {"stop": {"signal": "INT", "grace": "60s"}},
    "x-own: {anything: [1]}": {},
}


@pytest.mark.parametrize("keys", SAME)
def test_a_key_that_means_the_same(keys, tmp_path, take):
    taken = take(tmp_path, f"services:\n  s:\n    image: alpine:3.20\n    {keys}\n")
    expected = SAME[keys]
    if "command" in expected:
        expected = {"project": False, "user": "root", **expected}
    assert taken.service == {"base": {"image": "alpine:3.20"}, **expected}
    assert taken.said("left-out") == taken.said("changed") == []


# keys of the service -> what is said: effect, place and words
NAMED = {
    "privileged: true": ("left-out", "4:5 privileged: a container of envtool never has more rights than its caller"),
    "cap_add: [NET_ADMIN]": ("left-out", "4:5 cap_add: a container of envtool never has more rights"),
    "devices: [/dev/kvm]": ("left-out", "4:5 devices: a container of envtool never has more rights"),
    "network_mode: host": ("left-out", "4:5 network_mode: no service has this machine's network"),
    "network_mode: service:db": ("left-out", "4:5 network_mode: each service has a network address of its own"),
    "pid: host": ("left-out", "4:5 pid: each service has namespaces of its own"),
    "ulimits: {nofile: 10}": ("left-out", "4:5 ulimits: the limits are those of the caller"),
    "sysctls: [a=1]": ("left-out", "4:5 sysctls: it is a setting of the kernel"),
    "mem_limit: 1g": ("left-out", "4:5 mem_limit: limits are not taken over"),
    "extra_hosts: [a:1.2.3.4]": ("left-out", "4:5 extra_hosts: the names in a run are those of its services"),
    "deploy: {resources: {limits: {cpus: '1'}}}": ("left-out", "4:14 deploy: resources: limits are not taken over"),
    "deploy: {placement: {}, mode: global}": ("left-out", "4:29 deploy: mode: there is one machine"),
    "shm_size: 1g": ("left-out", "4:5 shm_size: /dev/shm is in memory"),
    "frobnicate: 1": ("left-out", "4:5 frobnicate: it is no key of compose that is known here"),
    "container_name: my_db": ("left-out", "4:5 container_name: a service has one name here: `s`, not `my_db`"),
    "hostname: other": ("left-out", "4:5 hostname: a service has one name here: `s`, not `other`"),
    "networks: {a: {aliases: [s, other]}}": ("left-out", "4:33 networks: aliases: a service has one name here: `s`"),
    "networks: {a: {ipv4_address: 10.0.0.1}}": ("left-out", "4:20 networks: ipv4_address: of the network `a`"),
    "container_name: s": ("meaningless", "4:5 container_name: it is the service's own name"),
    "labels: [a=b]": ("meaningless", "4:5 labels: no daemon reads them here"),
    "logging: {driver: none}": ("meaningless", "4:5 logging: `envtool logs` has the output"),
    "init: true": ("meaningless", "4:5 init: the first process of every container is envtool's own"),
    "tty: true": ("meaningless", "4:5 tty: a service has no terminal"),
    "read_only: true": ("meaningless", "4:5 read_only: what a service writes is dropped"),
    "tmpfs: /run": ("meaningless", "4:12 tmpfs: what it writes to /run is in memory already"),
    "networks: [front]": ("meaningless", "4:5 networks: the services of a run share one network"),
    "user: '1000:1001'": ("left-out", "4:11 user: the group `1001` is not taken"),
    "working_dir: /app": ("left-out", "4:5 working_dir: it is for a command of the service alone"),
    "profiles: [debug]": ("changed", "4:5 profiles: of profile `debug`: declared, and used by no env"),
    "restart: on-failure:3": ("changed", "4:14 restart: without the limit of 3 times"),
    "environment: [TERM]": ("left-out", "4:19 environment: `TERM` has the value of the caller's shell"),
    "environment: {A: }": ("left-out", "4:19 environment: `A` has the value of the caller's shell"),
    "environment: {discovery.type: x}": ("left-out", "4:35 environment: `discovery.type` cannot be the name"),
    "environment: {PATH: /app/bin}": ("changed", "4:25 environment: `PATH` is a list of directories"),
    "environment: [A=$GONE]": ("changed", "4:19 $GONE: `GONE` has no value: empty"),
    "environment: ['A=${GONE:?write it}']": (
        "changed",
        "4:19 $GONE: `GONE` has no value (compose stops here: write it): empty",
    ),
    "env_file: gone.env": ("left-out", "4:15 env_file: `gone.env` is not a file of the project"),
    "env_file: [/etc/environment]": ("left-out", "4:16 env_file: `/etc/environment` is not a file of the project"),
    "healthcheck: {disable: true}": ("changed", "4:19 healthcheck: without a check it is ready when its first port"),
    "healthcheck: {test: [NONE]}": ("changed", "4:25 healthcheck: without a check"),
    "healthcheck: {interval: 3s}": ("changed", "4:18 healthcheck: the image's own check is not known here"),
    "ports: ['53:53/udp']": ("left-out", "4:13 ports: only TCP is published: not UDP"),
    "ports: [{target: 53, protocol: udp}]": ("left-out", "4:13 ports: only TCP is published: not UDP"),
    "ports: ['0.0.0.0:8080:80']": ("changed", "4:13 ports: it is published on this machine's loopback, not on 0.0.0.0"),
    "ports: ['80:80']": ("changed", "4:13 ports: port 80 of this machine can be had by root alone"),
    "ports: ['8000-8100:80']": ("changed", "4:13 ports: any free port of this machine, not one of 8000-8100"),
    "ports: ['8000:80', '8001:80']": ("left-out", "4:24 ports: port 80 is published as 8000 already: not as 8001"),
    "volumes: [data:/var/lib/x]": ("left-out", "4:15 volumes: `data` at /var/lib/x is not kept"),
    "volumes: [/node_modules]": ("left-out", "4:15 volumes: the volume at /node_modules is not kept"),
    "volumes: [/var/run/docker.sock:/var/run/docker.sock]": ("left-out", "4:15 volumes: the socket of a Docker daemon"),
    "volumes: ['~/.aws:/root/.aws:ro']": ("left-out", "4:15 volumes: `~/.aws` is outside of the project"),
    "volumes: [../x:/x]": ("left-out", "4:15 volumes: `../x` is outside of the project"),
    "volumes: [./gone:/x]": ("left-out", "4:15 volumes: no file of the project is at `gone`"),
    "volumes: [./compose.yaml:/run/x]": ("left-out", "4:15 volumes: `compose.yaml`: /run/x is new in each container"),
    "volumes: [{type: tmpfs, target: /t}]": ("meaningless", "4:15 volumes: what it writes to /t is in memory already"),
    "volumes: [{type: npipe, source: a, target: /t}]": ("left-out", "4:15 volumes: a volume of type `npipe` at /t"),
    "secrets: [token]": ("left-out", "4:15 secrets: the secret `token` is not at /run/secrets/token"),
    "configs: [conf]": ("left-out", "4:15 configs: the config `conf` is not declared"),
    "platform: windows/amd64": ("left-out", "4:5 platform: `windows/amd64` is no platform of Linux"),
    "pull_policy: always": ("meaningless", "4:5 pull_policy: envtool.lock pins the image"),
    "gpus: all": ("left-out", "4:5 gpus: there are no devices in a container"),
}  # fmt: skip


@pytest.mark.parametrize("keys", NAMED)
def test_a_key_that_is_named(keys, tmp_path, take):
    effect, words = NAMED[keys]
    taken = take(tmp_path, f"services:\n  s:\n    image: team/app:1\n    {keys}\n")
    said = [line for line in taken.said(effect) if line.startswith(words)]
    assert said, taken.notes
    assert all(note.message and note.where.file == "compose.yaml" for note in taken.notes)
    key = keys.partition(":")[0]
    named = re.search(rf"# compose.yaml:4: `[^`]*\b{key}|# compose.yaml:4: `\$GONE", taken.text)
    assert (named is None) == (effect == "meaningless"), taken.text


def test_every_key_of_the_specification_is_read_or_named():
    """compose-keys.json has the names of the keys in the schema of the Compose Specification."""
    keys = json.loads((Path(__file__).parent / "compose-keys.json").read_text())
    tables = {
        "service": (convert_service.READ, left_out.SERVICE_KEYS),
        "build": (image_base.READ_BUILD, left_out.BUILD_KEYS),
        "deploy": (convert_service.READ_DEPLOY, left_out.DEPLOY_KEYS),
        "top": ({*SECTIONS, "include"} - left_out.TOP_KEYS.keys(), left_out.TOP_KEYS),
    }
    for name, (read, table) in tables.items():
        assert {*keys[name]} - read - table.keys() == set(), name
        assert read & table.keys() == set(), name


# ---- images and builds -----------------------------------------------------------------------------------------------


def test_a_command_follows_the_entrypoint_of_an_official_image(tmp_path, take):
    taken = take(tmp_path, "services: {db: {image: 'docker.io/library/postgres:15-alpine', command: -c fsync=off}}")
    assert taken.service == {
        "base": {"image": "docker.io/library/postgres:15-alpine"},
        "command": ["docker-entrypoint.sh", "-c", "fsync=off"],
        "project": False,
        "user": "root",
    }
    assert taken.notes == ()


def test_a_command_of_an_image_that_is_not_known(tmp_path, take):
    taken = take(tmp_path, "services:\n  s:\n    image: team/app\n    command: [serve]\n")
    assert taken.service["command"] == ["serve"]
    first, second = taken.said("changed")
    assert first.startswith("4:5 command: a command here is all that runs: if the image has an ENTRYPOINT")
    assert second.startswith("4:5 command: it runs as root")


DOCKERFILE = """\
FROM python:3.12 AS base
WORKDIR /srv
ENTRYPOINT ["python", "-u"]
FROM base AS dev
USER app
FROM scratch AS last
"""


@pytest.mark.parametrize(
    ("build", "base", "command", "user"),
    [
        ("build: {context: ., target: dev}", {"target": "dev"}, ["/bin/sh", "-c", 'cd "$0" && exec "$@"', "/srv", "python", "-u", "x.py"], "app"),
        ("build: {context: ., target: dev, args: [A=1, B=x]}", {"target": "dev", "args": {"A": "1", "B": "x"}}, None, "app"),
        ("build: .", {"file": "Dockerfile"}, ["x.py"], "root"),
    ],
)  # fmt: skip
def test_a_command_follows_what_the_dockerfile_says(build, base, command, user, tmp_path, take):
    taken = take(tmp_path, f"services:\n  s:\n    {build}\n    command: x.py\n", Dockerfile=DOCKERFILE)
    assert taken.service["base"] == {"dockerfile": base}
    assert command is None or taken.service["command"] == command
    assert taken.service["user"] == user


def test_a_build_without_a_dockerfile_is_left_out_as_a_whole(tmp_path, take):
    """The base of such a service would not be there: the service is left out, and those that wait for it say so."""
    text = "services:\n  api: {build: api}\n  s: {image: alpine, command: x, depends_on: [api]}\n"
    taken = take(tmp_path, text)
    assert [*taken.spec["services"]] == ["s"]
    assert taken.said("left-out") == [
        "2:16 build: no Dockerfile of the project is at `api/Dockerfile`",
        "3:47 depends_on: `api` is left out: not waited for",
    ]
    assert not taken.said("changed")


def test_a_build_below(tmp_path, take):
    text = (
        "services: {s: {build: {context: ./app, dockerfile: ci/Dockerfile.dev}, image: team/s, platform: linux/amd64}}"
    )
    taken = take(tmp_path, text, app__ci__Dockerfile_dev="FROM alpine\n")
    expected = {"context": "app", "file": "app/ci/Dockerfile.dev", "platform": "linux/amd64"}
    assert taken.service == {"base": {"dockerfile": expected}}
    assert taken.said("meaningless") == ["1:72 image: what is built has no name here"]


@pytest.mark.parametrize(
    ("context", "words"),
    [
        ("https://git.example/x.git", "is not of the project"),
        ("../other", "`../other` is outside of the project"),
    ],
)
def test_a_build_that_cannot_be_taken_leaves_the_service_out(context, words, tmp_path, take):
    text = f"services:\n  s:\n    build: '{context}'\n  web:\n    image: nginx\n    depends_on: [s]\n"
    taken = take(tmp_path, text)
    assert [*taken.spec["services"]] == ["web"]
    assert "needs" not in taken.service
    build, needs = taken.said("left-out")
    assert build.startswith("3:12 build: ")
    assert words in build
    assert needs == "6:18 depends_on: `s` is left out: not waited for"
    with pytest.raises(SpecError) as raised:
        take(tmp_path, f"services:\n  s:\n    build: '{context}'\n")
    assert "no service can be taken over" in raised.value.problems[0].message
    instead = take(tmp_path, f"services: {{s: {{build: '{context}', image: team/s}}}}")
    assert instead.service == {"base": {"image": "team/s"}}


KINDS = {
    "postgres:15, environment: {POSTGRES_PASSWORD: tea}": {"postgres": 15, "password": "tea"},
    "postgres:17.2-alpine, environment: {POSTGRES_USER: app, POSTGRES_PASSWORD: tea}": {
        "postgres": 17, "role": "app", "password": "tea", "database": "app",
    },
    "postgres:15, environment: {POSTGRES_HOST_AUTH_METHOD: trust, POSTGRES_DB: shop}": {"postgres": 15, "database": "shop"},
    "postgres:15, ports: ['5432:5432'], restart: always, volumes: ['d:/var'], healthcheck: {test: pg_isready}": {
        "postgres": 15, "restart": "always", "publish": ["5432:5432"],
    },
    "redis:7-alpine": {"redis": 7},
    "docker.io/library/redis:7.2.4": {"redis": 7},
    "mariadb:10.11, environment: {MYSQL_ROOT_PASSWORD: tea, MARIADB_DATABASE: shop}": {
        "mariadb": "10.11", "password": "tea", "database": "shop",
    },
    "mariadb:10.11, environment: {MARIADB_ROOT_PASSWORD: tea}": {"mariadb": "10.11", "password": "tea", "database": "test"},
    # another server, another user, other settings or data
    "postgres:16": None,
    "postgres": None,
    "postgres:15beta1": None,
    "team/postgres:15": None,
    "postgres:15, environment: {POSTGRES_INITDB_ARGS: --no-locale}": None,
    "postgres:15, environment: {POSTGRES_HOST_AUTH_METHOD: md5}": None,
    "postgres:15, environment: {POSTGRES_PASSWORD: 'a b'}": None,
    "postgres:15, command: -c fsync=off": None,
    "postgres:15, user: postgres": None,
    "postgres:15, volumes: ['./compose.yaml:/docker-entrypoint-initdb.d/a.sql']": None,
    "postgres:15, platform: linux/amd64": None,
    "redis:7, command: --requirepass x": None,
    "redis:7, environment: {A: b}": None,
    "mariadb:10.11, environment: {MYSQL_ROOT_PASSWORD: x, MYSQL_USER: y, MYSQL_PASSWORD: z}": None,
    "mariadb:10.11, environment: {MYSQL_ALLOW_EMPTY_PASSWORD: 1}": None,
    "mysql:8": None,
}  # fmt: skip


@pytest.mark.parametrize("keys", KINDS)
def test_a_kind_only_where_it_means_the_same(keys, tmp_path, take):
    text = f"services: {{db: {{image: {keys.replace(', ', ', ', 1)}}}}}"
    as_image, as_kind = take(tmp_path, text), take(tmp_path, text, kinds=True)
    assert "base" in as_image.service
    expected = KINDS[keys]
    assert as_kind.service == (as_image.service if expected is None else expected)
    assert ("`--kinds` writes it" in " ".join(as_image.text.replace("#", " ").split())) == (expected is not None)


def test_two_kinds_of_one_sort_provide_nothing(tmp_path, take):
    text = "services: {a: {image: 'postgres:15'}, b: {image: 'postgres:17'}, c: {image: 'redis:7'}}"
    services = take(tmp_path, text, kinds=True).spec["services"]
    assert services["a"] == {"postgres": 15, "provides": {"DATABASE_URL": None}}
    assert services["c"] == {"redis": 7}


# ---- files -----------------------------------------------------------------------------------------------------------


def test_files_of_the_project_become_layers(tmp_path, take):
    text = """
services:
  s:
    image: nginx
    volumes:
      - ./nginx.conf:/etc/nginx/nginx.conf:ro
      - type: bind
        source: html
        target: /usr/share/nginx/html/
        read_only: true
      - .:/app
    configs: [conf, {source: conf, target: /etc/conf}]
    secrets: [{source: token, target: /etc/token}, token]
configs: {conf: {file: ./nginx.conf}}
secrets: {token: {file: ./token.txt}}
"""
    taken = take(tmp_path, text, nginx_conf="x", html__index_html="y", token_txt="z")
    assert taken.service["layers"] == [
        {"copy": {"from": "nginx.conf", "to": "/etc/nginx/nginx.conf"}},
        {"copy": {"from": "html", "to": "/usr/share/nginx/html"}},
        {"copy": {"from": ".", "to": "/app"}},
        {"copy": {"from": "nginx.conf", "to": "/conf"}},
        {"copy": {"from": "nginx.conf", "to": "/etc/conf"}},
        {"copy": {"from": "token.txt", "to": "/etc/token"}},
    ]
    assert taken.said("left-out") == ["13:52 secrets: the secret `token` is not at /run/secrets/token"]
    [note] = [note for note in taken.notes if note.effect == "left-out"]
    assert "`secrets: {token: {}}` at the top" in note.hint
    assert "`--allow-secret token=file:PATH`" in note.hint
    assert "11:9 volumes: `.` at /app is a copy as of its start: what it writes there is dropped at its end" in taken.said("changed")  # fmt: skip


def test_of_two_volumes_with_one_target_the_last_counts(tmp_path, take):
    taken = take(tmp_path, "services: {s: {image: a, volumes: ['./a:/x', './b:/x']}}", a="1", b="2")
    assert taken.service["layers"] == [{"copy": {"from": "b", "to": "/x"}}]


def test_variables_of_files(tmp_path, take):
    text = """
services:
  s:
    image: alpine
    env_file: [a.env, {path: b.env, required: false}, {path: gone.env, required: false}, {path: raw.env, format: raw}]
    environment: {B: own, C: "${A:-of .env is not of env_file}"}
"""
    taken = take(tmp_path, text, a_env="A=1\nB=2\nbad-name=3\n", b_env="D='$A'\nE=${F:-f}\n", raw_env="G='$A'\n")
    own = "of .env is not of env_file"
    assert taken.service["set"] == {"A": "1", "B": "own", "D": "$A", "E": "f", "G": "'$A'", "C": own}
    assert taken.said("left-out") == ["5:16 env_file: `bad-name` cannot be the name of a variable here: letters, digits and `_`"]  # fmt: skip


def test_variables_of_the_project(tmp_path, monkeypatch, take):
    (tmp_path / ".env").write_text("TAG=15\nPASS_THROUGH=yes\n")
    monkeypatch.setenv("TAG", "of the caller's shell")
    monkeypatch.setenv("OTHER", "of the caller's shell")
    text = "services: {s: {image: 'postgres:$TAG', environment: [PASS_THROUGH, OTHER], volumes: ['$PWD/a:/a']}}"
    taken = take(tmp_path, text, a="x")
    assert taken.service["base"] == {"image": "postgres:15"}
    assert taken.service["set"] == {"PASS_THROUGH": "yes"}
    assert taken.service["layers"] == [{"copy": {"from": "a", "to": "/a"}}]
    assert "shell" not in taken.text.replace("the caller's shell in compose", "")
    given = take(tmp_path, text, given={"TAG": "16", "OTHER": "x"}, a="x")
    assert given.service["base"] == {"image": "postgres:16"}
    assert given.service["set"] == {"PASS_THROUGH": "yes", "OTHER": "x"}


def test_values_of_files_are_not_copied_silently(tmp_path, take):
    (tmp_path / ".env").write_text(
        "PASSWORD=hunter2\nTAG=15\nUNUSED=x\nLEFT_OUT=gone\nEMPTY=\nGIVEN=a\nABOVE=up\nB=$ABOVE\n"
    )
    text = """
services:
  s:
    image: "postgres:${TAG}"
    environment: [PASSWORD, "E=${EMPTY}", "G=${GIVEN}", "B=$B"]
    env_file: more.env
    container_name: "${LEFT_OUT}"
"""
    taken = take(tmp_path, text, given={"GIVEN": "b"}, more_env="TOKEN=hunter3\nC=\n")
    copied = [note for note in taken.notes if "written into the spec" in note.message]
    assert [(str(note.where), note.service, note.key, note.message) for note in copied] == [
        ("compose.yaml:6:15", "s", "env_file",
         "the values in `more.env` are written into the spec, where all can read them: `TOKEN`, `C`"),
        (".env:1:1", "", ".env",
         "its values are written into the spec, where all can read them: `TAG`, `B`, `PASSWORD`"),
    ]  # fmt: skip
    assert copied[1].hint.endswith("`--set NAME=VALUE`")
    assert "# .env:1: `.env`: its values are written into the spec" in taken.text


def test_what_git_ignores_is_not_read(tmp_path, git, take):
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text(".env\nlocal/\n")
    (tmp_path / ".env").write_text("SECRET=hunter2\n")
    text = "services:\n  s:\n    image: alpine\n    env_file: local/s.env\n    volumes: ['./local:/l']\n    environment: ['S=$SECRET']\n"  # fmt: skip
    taken = take(tmp_path, text, local__s_env="SECRET=hunter2\n")
    assert "hunter2" not in taken.text
    assert taken.service == {"base": {"image": "alpine"}, "set": {"S": ""}}
    assert [line.partition(" ")[0] for line in taken.said("left-out")] == ["4:15", "5:15"]


# ---- services among each other ---------------------------------------------------------------------------------------

DEPENDS = """
services:
  web:
    image: nginx
    depends_on:
      db: {condition: service_healthy, restart: true}
      migrate: {condition: service_completed_successfully}
      cache: {condition: service_started, required: false}
    links: [db:database, cache]
  migrate:
    image: alpine
    command: [migrate]
    depends_on: [db]
    restart: always
    healthcheck: {test: "true"}
    ports: ["1:1"]
  db: {image: postgres}
  cache: {image: redis}
"""


def test_dependencies(tmp_path, take):
    taken = take(tmp_path, DEPENDS)
    services = taken.spec["services"]
    assert services["web"]["needs"] == ["db", "migrate", "cache"]
    assert services["migrate"] == {
        "base": {"image": "alpine"},
        "command": ["migrate"],
        "project": False,
        "user": "root",
        "ready": {"within": "10m"},
        "needs": ["db"],
        "once": True,
    }
    assert taken.spec["envs"] == {"unit": {"services": ["web", "migrate", "db", "cache"]}}
    assert "9:13 links: a service has one name here: `db`, not `database`" in taken.said("left-out")
    assert "8:43 depends_on: `cache` is needed here, always" in taken.said("changed")


def test_names_that_are_no_host_names(tmp_path, take):
    text = "services: {my_db: {image: postgres}, my-db: {image: redis}, '5': {image: a, depends_on: [my_db]}, LOUD: {image: b}}"
    taken = take(tmp_path, text)
    assert [*taken.spec["services"]] == ["my-db-2", "my-db", "service-5", "loud"]
    assert taken.spec["services"]["service-5"]["needs"] == ["my-db-2"]
    assert len(taken.said("changed")) == 3
    assert "1:12 my_db: a host name has small letters, digits and `-`: it is called `my-db-2`" in taken.said("changed")


def test_other_names_are_named_where_they_are_used(tmp_path, take):
    text = """
services:
  my_db: {image: postgres, container_name: pg, networks: {n: {aliases: [database]}}}
  web:
    image: alpine
    links: [my_db:linked]
    environment:
      A: postgresql://u:p@pg:5432/pg_x
      B: my_db
      D: pgx my_db2 x-pg pg.example database.
    command: wait-for linked:5432 -- serve
"""
    taken = take(tmp_path, text)
    said = [line for line in taken.said("changed") if "meant as a host" in line]
    assert said == [
        "8:10 environment: if `pg` is meant as a host here: the service is called `my-db`",
        "9:10 environment: if `my_db` is meant as a host here: the service is called `my-db`",
        "10:10 environment: if `database` is meant as a host here: the service is called `my-db`",
        "11:14 command: if `linked` is meant as a host here: the service is called `my-db`",
    ]


def test_services_that_are_not_started(tmp_path, take):
    text = "services: {a: {image: x}, b: {image: x, profiles: [p]}, c: {image: x, deploy: {replicas: 0}}}"
    assert take(tmp_path, text).spec["envs"] == {"unit": {"services": ["a"]}}


def test_one_port_of_this_machine_has_one_service(tmp_path, take):
    taken = take(tmp_path, "services:\n  a: {image: x, ports: ['8000:80']}\n  b: {image: x, ports: ['8000:80']}\n")
    assert [service["publish"] for service in taken.spec["services"].values()] == [["8000:80"], [80]]
    assert taken.said("changed") == ["3:25 ports: port 8000 of this machine has another service already: any free one"]
