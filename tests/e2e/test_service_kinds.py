"""The kinds of service for real: servers and clients from Debian, by every sort of caller."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("envtool_services")
from envtool_services import mariadb, nats, nginx, postgres, rabbitmq, redis

pytestmark = [pytest.mark.e2e, pytest.mark.network]

README = Path(__file__).parents[2] / "plugins/envtool_services/README.md"
EXAMPLES = re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
KIND = re.compile(r"\b(mariadb|nats|nginx|postgres|rabbitmq|redis): ")

SERVER = """\
import http.server, socket

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{socket.gethostname()} {self.path} {self.headers['Host']}\\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass

http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"""

SPEC = """
layers:
  clients: {apt: [curl, python3-pika, python3-psycopg, python3-pymysql, python3-redis]}
services:
  db:
    postgres: 15
    role: app
    password: "te/a@1"
    database: shop
    extensions: [pg_trgm]
    settings: {max_connections: 42, jit: false}
    prepare: {run: psql -f seed.sql, inputs: [seed.sql]}
    project: true
  sql: {mariadb: true, role: app, password: "te/a@1", database: shop, settings: {max-connections: 42}, provides: {DATABASE_URL: null}}
  cache: {redis: 7, password: "te/a@1", settings: {maxmemory: 100mb}, prepare: redis-cli set seed tea}
  queue: {rabbitmq: true, role: app, password: "te/a@1", vhost: shop, settings: {channel_max: 42}}
  bus: {nats: true, password: "te/a@1"}
  api:
    base: {debian: bookworm}
    layers: [{apt: [python3]}]
    command: python3 server.py
    ready: 8000
    replicas: 3
  web: {nginx: true, upstream: {/: api:8000, /other: api:8000}, needs: [api]}
  files: {nginx: "1.22", root: static}
  own: {nginx: "1.22", config: own.conf}
envs:
  unit:
    base: {debian: bookworm}
    layers: [clients]
    tasks:
      postgres: {run: python3 test_postgres.py, services: [db]}
      mariadb: {run: python3 test_mariadb.py, services: [sql]}
      redis: {run: python3 test_redis.py, services: [cache]}
      rabbitmq: {run: python3 test_rabbitmq.py, services: [queue]}
      nats: {run: python3 test_nats.py, services: [bus]}
      nginx: {run: sh -eu test_nginx.sh, services: [web, files, own]}
"""

CLIENTS = {
    "seed.sql": "CREATE TABLE goods AS SELECT i FROM generate_series(1, 1000) i;\nVACUUM FREEZE;\n",
    "test_postgres.py": """\
import os, psycopg
assert os.environ["DATABASE_URL"] == "postgresql://app:te%2Fa%401@db:5432/shop"
with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
    def ask(question):
        return connection.execute(question).fetchone()[0]
    assert ask("SELECT count(*) FROM goods") == 1000
    assert ask("SELECT current_user") == "app"
    assert ask("SELECT usesuper FROM pg_user WHERE usename = current_user")
    assert ask("SHOW max_connections") == "42"
    assert ask("SHOW jit") == "off"
    assert ask("SHOW fsync") == "off"
    assert ask("SHOW server_encoding") == "UTF8"
    assert ask("SELECT similarity('word', 'word')") == 1
try:
    psycopg.connect("host=db user=app dbname=shop password=coffee", connect_timeout=5)
except psycopg.OperationalError as error:
    assert "password authentication failed" in str(error), error
else:
    raise SystemExit("any password will do")
""",
    "test_mariadb.py": """\
import pymysql
with pymysql.connect(host="sql", user="app", password="te/a@1", database="shop") as connection:
    cursor = connection.cursor()
    cursor.execute("CREATE DATABASE more")
    cursor.execute("CREATE TABLE goods (name TEXT)")
    cursor.execute("INSERT INTO goods VALUES (%s)", ("Grün 🍵",))
    connection.commit()
    cursor.execute("SELECT name FROM goods")
    assert cursor.fetchall() == (("Grün 🍵",),)
    cursor.execute("SELECT @@max_connections, @@character_set_server, @@version")
    found = cursor.fetchone()
    assert found[:2] == (42, "utf8mb4") and found[2].startswith("11."), found
for user in ("app", "root"):
    try:
        pymysql.connect(host="sql", user=user, password="")
    except pymysql.err.OperationalError as error:
        assert error.args[0] in (1045, 1698), error
    else:
        raise SystemExit("no password will do")
""",
    "test_redis.py": """\
import os, redis
client = redis.Redis.from_url(os.environ["REDIS_URL"])
assert client.get("seed") == b"tea", "what prepare wrote is gone"
assert client.set("a", "b") and client.get("a") == b"b"
assert client.config_get("maxmemory") == {"maxmemory": str(100 << 20)}
try:
    redis.Redis("cache").ping()
except redis.AuthenticationError:
    pass
else:
    raise SystemExit("no password is needed")
""",
    "test_rabbitmq.py": """\
import os, pika
parameters = pika.URLParameters(os.environ["AMQP_URL"])
assert parameters.virtual_host == "shop"
with pika.BlockingConnection(parameters) as connection:
    assert connection._impl.params.channel_max == 42
    channel = connection.channel()
    channel.queue_declare("work", durable=True)
    channel.basic_publish("", "work", b"tea")
    assert channel.basic_get("work", auto_ack=True)[2] == b"tea"
try:
    pika.BlockingConnection(pika.URLParameters("amqp://app:coffee@queue/shop"))
except pika.exceptions.ProbableAuthenticationError:
    pass
else:
    raise SystemExit("any password will do")
""",
    "test_nats.py": """\
import os, socket, urllib.request
assert os.environ["NATS_URL"] == "nats://nats:te%2Fa%401@bus:4222"
with socket.create_connection(("bus", 4222), timeout=10) as connection:
    lines = connection.makefile("rwb")
    assert lines.readline().startswith(b"INFO ")
    lines.write(b'CONNECT {"verbose":false,"user":"nats","pass":"te/a@1"}\\r\\nSUB work 1\\r\\nPUB work 3\\r\\ntea\\r\\n')
    lines.flush()
    assert lines.readline() == b"MSG work 1 3\\r\\n" and lines.readline() == b"tea\\r\\n"
with socket.create_connection(("bus", 4222), timeout=10) as connection:
    connection.sendall(b"CONNECT {}\\r\\nPING\\r\\n")
    assert b"Authorization Violation" in connection.makefile("rb").read()
assert b'"jetstream"' in urllib.request.urlopen("http://bus:8222/varz").read()
""",
    "test_nginx.sh": """\
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do curl -sf http://web/x; done >/tmp/answers
for replica in 1 2 3; do grep -q "^api-$replica /x web$" /tmp/answers; done
test "$(curl -sf http://web/other/a?b=c)" != "${_#* }"
curl -sf 'http://web/other/a?b=c' | grep -q ' /other/a?b=c web$'
test "$(curl -sf http://files/)" = tea
test "$(curl -s -o /dev/null -w '%{http_code}' http://files/none)" = 404
test "$(curl -sf http://own:8080/x)" = own
curl -sf http://own:8080/api | grep -q '^api-. /api own:8080$'
""",
    "own.conf": """\
user www-data;
pid /run/nginx.pid;
events {}
http {
  access_log /var/log/nginx/access.log;
  server {
    listen 8080;
    location /x { return 200 own; }
    location /api {
      resolver 10.64.0.1 valid=1s ipv6=off;
      set $target all.api:8000;
      proxy_pass http://$target;
      proxy_set_header Host $http_host;
    }
  }
}
""",
    "static/index.html": "tea",
    "server.py": SERVER,
}


def ready(done) -> list[str]:
    """The services that were ready, in order."""
    return re.findall(r"service (\S+) +ready", done.said)


@pytest.mark.slow
@pytest.mark.sampled(4)
@pytest.mark.parametrize("task", ["postgres", "mariadb", "redis", "rabbitmq", "nats", "nginx"])
def test_clients_of_all_sorts(common, task):
    common.spec(SPEC)
    for name, text in CLIENTS.items():
        common.write(name, text)
    done = common.envtool("run", task, "-v")
    assert done.status == 0, done.said[-6000:]
    assert ready(done), done.said[-6000:]


def test_a_wrong_statement_fails_the_preparation(common):
    """psql would go on after it, and end with 0."""
    common.spec(
        "services: {db: {postgres: 15, prepare: {run: psql -qf seed.sql, inputs: [seed.sql]}}}\n"
        "envs: {unit: {base: {debian: bookworm}, services: [db], tasks: {test: 'true'}}}\n"
    )
    common.write("seed.sql", "create tabel goods (name text);\ncreate table others (name text);\n")
    done = common.envtool("test")
    assert done.status == 3, done.said
    assert 'syntax error at or near "tabel"' in done.said


@pytest.mark.slow
@pytest.mark.sampled(3)
@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_of_the_page(common, number):
    assert {match for text in EXAMPLES for match in KIND.findall(text)} == {
        "mariadb", "nats", "nginx", "postgres", "rabbitmq", "redis",
    }  # fmt: skip
    common.write("envtool.yaml", EXAMPLES[number])
    common.write("static/index.html", "tea")
    common.write("server.py", SERVER)
    done = common.envtool("test", "-v")
    assert done.status == 0, done.said[-6000:]
    assert ready(done), done.said[-6000:]
    again = common.envtool("test", "--expect-cached")
    assert again.status == 0, again.said


QUESTIONS = {
    "postgres": "psql -h db -U postgres -Atc 'SHOW server_version'",
    "mariadb": "mariadb --skip-ssl-verify-server-cert -h db -u root -proot -e 'SELECT @@version' 2>&1 || "
    "mariadb -h db -u root -proot -e 'SELECT @@version'",
    "redis": "redis-cli -h db info server",
    "rabbitmq": "python3 -c \"import os, pika; print(pika.BlockingConnection(pika.URLParameters(os.environ['AMQP_URL']))"
    "._impl.server_properties['version'])\"",
    "nats": "curl -sf http://db:8222/varz",
    "nginx": "curl -si http://db/",
}
PRODUCTS = {
    module.__name__.rpartition(".")[2]: module.PRODUCT for module in (mariadb, nats, nginx, postgres, rabbitmq, redis)
}


@pytest.mark.slow
@pytest.mark.dear
@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("kind", "version"),
    [(kind, version) for kind, product in PRODUCTS.items() for version in product.versions.values()],
)
def test_each_version_of_the_table(common, kind, version):
    more = ", root: ." if kind == "nginx" else ""
    common.write("index.html", "tea")
    common.spec(
        "layers: {clients: {apt: [curl, mariadb-client, postgresql-client, python3-pika, redis-tools]}}\n"
        f'services: {{db: {{{kind}: "{version}"{more}}}}}\n'
        "envs:\n  unit:\n    base: {debian: trixie}\n    layers: [clients]\n    services: [db]\n"
        f"    tasks:\n      test: |\n        {QUESTIONS[kind]}\n"
    )
    done = common.envtool("test", "-v")
    assert done.status == 0, done.said[-6000:]
    assert re.search(rf"(?m)(?:^|[ :\"/]){re.escape(version)}[.\d]*", done.said.partition(" ready ")[2]), done.said[
        -6000:
    ]


@pytest.mark.slow
@pytest.mark.dear
def test_a_version_of_an_image(common):
    """Nothing is installed on an image that has the server; the rest is the same."""
    common.spec("envs: {db: {base: {debian: bookworm}, layers: [{apt: [postgresql-15]}]}}\n")
    done = common.envtool("export", "db", "oci:image")
    assert done.status == 0, done.said
    common.spec(
        "services: {db: {postgres: 15, base: {image: 'oci:image'}, role: app, database: shop}}\n"
        "envs:\n  unit:\n    base: {debian: bookworm}\n    layers: [{apt: [postgresql-client]}]\n    services: [db]\n"
        '    tasks: {test: \'psql "$DATABASE_URL" -Atc "SELECT current_user, current_database()"\'}\n'
    )
    done = common.envtool("test", "-v")
    assert done.status == 0, done.said[-6000:]
    assert "app|shop" in done.said
    assert "postgres-server" not in done.said


def test_a_version_that_nobody_has(place):
    place.spec("services:\n  db: {postgres: 16}\nenvs: {unit: {services: [db], tasks: {test: 'true'}}}\n")
    done = place.envtool("test")
    assert done.status == 2, done.said
    assert "envtool.yaml:3:8: error: service `db`: no Debian suite has PostgreSQL 16" in done.said
    assert "13 (bullseye), 15 (bookworm) and 17 (trixie)" in done.said
    assert "`base: {image: postgres:16}`" in done.said
