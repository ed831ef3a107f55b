"""Services as their kinds make them, without a container."""

from __future__ import annotations

import re

import pytest
from envtool_services import debian_versions, mariadb, nats, nginx, postgres, rabbitmq, redis
from envtool_services.plugin import envtool_service_kinds

from envtool import api, testing
from envtool.plugin_calls import wrap_service_kind

KINDS = {kind.name: wrap_service_kind(kind, "the plugin under test") for kind in envtool_service_kinds()}
WHERE = api.Where(file="envtool.yaml", line=3, column=7)
PRODUCTS = [module.PRODUCT for module in (mariadb, nats, nginx, postgres, rabbitmq, redis)]
FILES = {
    "site.conf": "server {\n  listen 8080; # listen 1;\n  location / { return 200 tea; }\n}\n",
    "nginx.conf": (
        "user www-data;\npid /run/nginx.pid;\n  daemon on;\nevents {}\n"
        "http { server { listen 127.0.0.1:81; listen [::]:82 default_server; listen localhost:83; listen unix:/x; } }\n"
    ),
}


def draft(kind, value=True, *, base=None, **options):
    """The draft of a kind. `base`: the kind and options of the user's own base."""
    base_kind, base_options = base or ("", None)
    declaration = api.ServiceDeclaration(
        name="far/db",
        host="db",
        value=value,
        where=WHERE,
        options=options,
        base_kind=base_kind,
        base_options=base_options,
    )
    return KINDS[kind].service(declaration, testing.MemoryProject(FILES))


def problem(kind, value=True, **more):
    with pytest.raises(api.SpecError) as caught:
        draft(kind, value, **more)
    (found,) = caught.value.problems
    assert found.where == WHERE
    assert found.message.startswith("service `far/db`: ")
    assert found.hint
    return found


def options_of(kind):
    return {"upstream": "api:8000"} if kind == "nginx" else {}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_a_whole_service(kind):
    service = draft(kind, **options_of(kind))
    assert (service.base_kind, service.base_options) == ("debian", "trixie")
    assert [layer.kind for layer in service.layers] == ["apt", "run"]
    assert service.command is not None
    assert service.ports
    assert service.stop_signal in ("INT", "QUIT", "TERM")
    assert service.user == ""
    assert service == draft(kind, **options_of(kind)), "it is not the same each time"
    for variable, value in service.provides.items():
        assert variable.endswith("_URL")
        assert "@db:" in value or "//db:" in value
    if service.data:
        (directory,) = service.data
        assert f"install -d -o 1000 -g 1000 -m 700 {directory}" in service.layers[1].options["run"]


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.title)
def test_every_version_of_the_table_is_found(product):
    kind = product.title.lower().removesuffix("ql") if product.title == "PostgreSQL" else product.title.lower()
    for suite, version in product.versions.items():
        assert suite in debian_versions.SUITES
        service = draft(kind, version, **options_of(kind))
        assert service.base_options == suite
        assert version in KINDS[kind].schema["description"]
        own = draft(kind, True, base=("debian", suite), **options_of(kind))
        assert own.layers == service.layers
        assert draft(kind, True, base=("debian", {"suite": suite}), **options_of(kind)).layers == service.layers


def test_a_number_stands_for_its_newest_release():
    assert draft("mariadb", 10).base_options == "bookworm"
    assert draft("redis", "7").base_options == "bookworm"
    assert draft("postgres", "15").base_options == draft("postgres", 15).base_options == "bookworm"


def test_a_version_that_no_suite_has():
    found = problem("postgres", 16)
    assert found.message.endswith(
        "no Debian suite has PostgreSQL 16: there are 13 (bullseye), 15 (bookworm) and 17 (trixie)"
    )
    assert "`postgres: 16` with `base: {image: postgres:16}`" in found.hint
    assert "2.9 (bookworm) and 2.10 (trixie)" in problem("nats", 3).message
    assert "no Debian suite has Redis 7.2" in problem("redis", "7.2").message


def test_values_that_are_no_version():
    assert "`redis: false` is no version of Redis" in problem("redis", False).message
    found = problem("mariadb", 10.11)
    assert "10.11 is a number" in found.message
    assert '`mariadb: "10.11"`' in found.hint
    assert not re.fullmatch(KINDS["redis"].schema["pattern"], "seven")


def test_a_base_of_ones_own():
    assert "trixie has PostgreSQL 17, not 15" in problem("postgres", 15, base=("debian", "trixie")).message
    assert "bullseye has no NATS" in problem("nats", base=("debian", "bullseye")).message
    assert "nothing can be installed on base `host`" in problem("redis", base=("host", None)).message
    image = draft("postgres", 16, base=("image", "postgres:16"))
    assert [layer.kind for layer in image.layers] == ["run"]
    assert image.variables["PATH"] == "/usr/lib/postgresql/16/bin"
    assert "PATH" not in draft("postgres", True, base=("image", "postgres:16")).variables
    assert draft("postgres", 16, base=("debian", "noble")).layers[0].options == ["postgresql-16"]
    assert "which PostgreSQL this base has" in problem("postgres", base=("debian", "noble")).message
    assert (
        "its base is no Debian" in problem("postgres", 16, base=("image", "x"), packages=["postgresql-16-rum"]).message
    )


def test_postgres():
    plain = draft("postgres", 15)
    assert plain.provides == {"DATABASE_URL": "postgresql://postgres@db:5432/postgres"}
    assert len(plain.before) == 1
    assert "--auth-host=trust" in plain.before[0].shell
    assert "fsync=off" in plain.command.argv
    assert plain.stop_signal == "INT"
    service = draft(
        "postgres", 15, role="app", database="shop", password="te/a:1", extensions=["hstore", "postgis"],
        packages=["postgresql-15-rum"], settings={"max_connections": 200, "jit": False, "fsync": "on"},
    )  # fmt: skip
    assert service.layers[0].options == ["postgresql-15", "postgresql-15-postgis-3", "postgresql-15-rum"]
    assert service.provides == {"DATABASE_URL": "postgresql://app:te%2Fa%3A1@db:5432/shop"}
    assert [word for word in service.command.argv if word.startswith(("max_", "jit", "fsync"))] == [
        "fsync=on", "max_connections=200", "jit=off",
    ]  # fmt: skip
    assert {"PGUSER": "app", "PGDATABASE": "shop", "PGPASSWORD": "te/a:1"}.items() <= service.variables.items()
    initdb, database, extensions = (command.shell for command in service.before)
    assert "--auth-host=scram-sha-256 --pwfile=" in initdb
    assert 'CREATE DATABASE "shop"' in database
    assert '"hstore"' in extensions
    assert '"postgis"' in extensions
    assert " shop >" in extensions


def test_mariadb():
    service = draft(
        "mariadb", "10.11", role="app", password="te/a", settings={"max-connections": 50, "event-scheduler": True}
    )
    assert service.provides == {"DATABASE_URL": "mysql://app:te%2Fa@db:3306/test"}
    (path,) = service.files
    text = service.files[path]
    assert f"--defaults-file={path}" in service.command.argv
    assert "max-connections = 50\nevent-scheduler = on\n" in text
    assert "[client]\nsocket = /tmp/mariadb.sock\nuser = app\npassword = te/a\n" in text
    assert "CREATE USER 'app'@'%' IDENTIFIED BY 'te/a'" in service.before[-1].shell
    assert service.layers[0].options == ["mariadb-server-core", "mariadb-client-core", "mariadb-client"]
    assert draft("mariadb", "10.5").layers[0].options[0] == "mariadb-server-core-10.5"
    newest = draft("mariadb", 11)
    assert "openssl" in newest.layers[0].options
    assert any("openssl req" in command.shell for command in newest.before)
    assert not any("openssl" in command.shell for command in draft("mariadb", 11, base=("image", "mariadb:11")).before)


def test_redis():
    words = " ".join(
        draft("redis", password="tea", settings={"save": "", "appendonly": True, "maxmemory": "1mb"}).command.argv
    )
    assert "--save  --appendonly yes --maxmemory 1mb --requirepass tea" in words
    assert draft("redis", password="tea").variables == {"REDISCLI_AUTH": "tea"}
    assert draft("redis", password="tea").provides == {"REDIS_URL": "redis://:tea@db:6379/0"}
    assert "--save 86400 1000000000" in " ".join(draft("redis").command.argv)


def test_rabbitmq():
    service = draft(
        "rabbitmq",
        vhost="/shop",
        role="app",
        password="tea",
        plugins=["rabbitmq_management"],
        settings={"channel_max": 9},
    )
    assert service.provides == {"AMQP_URL": "amqp://app:tea@db:5672/%2Fshop"}
    assert service.ports == (5672, 15672)
    conf, plugins = service.files.values()
    assert "channel_max = 9\n" in conf
    assert "default_vhost = /shop\n" in conf
    assert plugins == "[rabbitmq_management].\n"
    assert draft("rabbitmq").ports == (5672,)


def test_nats():
    assert draft("nats").provides == {"NATS_URL": "nats://db:4222"}
    service = draft("nats", password="tea")
    assert service.provides == {"NATS_URL": "nats://nats:tea@db:4222"}
    assert service.command.argv[-4:] == ("--user", "nats", "--pass", "tea")


def test_nginx_in_front_of_services():
    (text,) = draft("nginx", upstream={"/": "web:3000", "/api": "api:8000"}).files.values()
    assert "location / { set $target all.web:3000; proxy_pass http://$target; }" in text
    assert "location /api { set $target all.api:8000; proxy_pass http://$target; }" in text
    assert "resolver 10.64.0.1 valid=1s" in text
    assert not draft("nginx", upstream="api:8000").project


def test_nginx_with_files():
    service = draft("nginx", root="static/site", upstream={"/api": "api:8000"})
    (text,) = service.files.values()
    assert "root /project/static/site;" in text
    assert service.project
    for outside in ("../x", "/etc", "a b", "x;y"):
        assert "is no directory of the project" in problem("nginx", root=outside).message
    assert "both serve `/`" in problem("nginx", root="a", upstream="api:8000").message
    assert "nothing says what nginx serves" in problem("nginx").message


def test_nginx_with_a_configuration_of_its_own():
    service = draft("nginx", config="site.conf")
    (text,) = service.files.values()
    assert service.ports == (8080,)
    assert text.startswith("daemon off;")
    assert FILES["site.conf"] in text
    assert "resolver" in text
    service = draft("nginx", config="nginx.conf")
    (text,) = service.files.values()
    assert service.ports == (81, 82, 83)
    assert text.count("daemon") == text.count("pid ") == 1
    assert "user " not in text
    assert "there is no file none.conf" in problem("nginx", config="none.conf").message
    assert "`config` and `upstream` both say" in problem("nginx", config="site.conf", upstream="a:1").message


@pytest.mark.parametrize(
    ("kind", "setting"),
    [("postgres", "port"), ("mariadb", "datadir"), ("redis", "requirepass"), ("rabbitmq", "default_user")],
)
def test_what_the_kind_itself_sets(kind, setting):
    assert f"envtool sets `{setting}` itself" in problem(kind, settings={setting: 1}).message


@pytest.mark.parametrize(
    ("kind", "setting"), [("postgres", "log_destination"), ("mariadb", "log-error"), ("redis", "logfile")]
)
def test_a_log_that_goes_elsewhere_is_not_read(kind, setting):
    (check,) = draft(kind).ready
    assert check.how == "log"
    (check,) = draft(kind, settings={setting: "x"}).ready
    assert check.how == "command"
