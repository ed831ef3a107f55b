"""`services:` and `network: {allow:}` of a spec: what is read, and each error with its place."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool import api, testing
from envtool.container.network_policy import NetworkPolicy
from envtool.errors import PluginError, SpecError, UsageError
from envtool.model import Command, Prepare, Publish
from envtool.plan.graph import build_graph
from envtool.plugins import discover
from envtool.spec import load
from envtool.spec.select_envs import select_envs, stack_envs
from tests.unit.test_plugins import Entry, plugin

BASES = """\
bases:
  bookworm: {debian: bookworm}
  trixie: {debian: trixie}
layers:
  tools: {apt: [curl]}
  sql: {apt: ["sql-{{ matrix.pg }}"]}
"""
RUN = "command: serve"
UP = f"{RUN}, ready: 80"


class Image(api.Base):
    name = "image"
    schema = {"type": "string"}

    def image_config(self, request: api.Request, pins: Any) -> dict[str, Any]:
        return {"Cmd": ["serve"]}


class Store(api.ServiceKind):
    """A kind with everything that a draft may have."""

    name = "store"
    schema = {"description": "A version.", "type": ["integer", "string", "boolean"]}
    options = {"database": {"description": "A name.", "type": "string"}}

    def service(self, declaration: api.ServiceDeclaration, project: api.Project) -> api.ServiceDraft:
        database = str(declaration.options.get("database", "app"))
        if declaration.value == "bad":
            raise UsageError("there is no version bad", code="version", hint="write 15")
        return api.ServiceDraft(
            base_kind="debian",
            base_options="bookworm",
            layers=(api.LayerDraft(name="store", kind="apt", options=[f"store-{declaration.value}"]),),
            command=Command(argv=("stored", database)),
            variables={"STORE_DATA": "/var/lib/store", "MODE": "kind"},
            user="store",
            ready=(api.ReadyDraft(how="tcp", port=5432),),
            within=30.0,
            ports=(5432,),
            stop_signal="INT",
            grace=20.0,
            before=(Command(shell="initstore"),),
            run=(Command(shell="create"),),
            data=("/var/lib/store",),
            provides={"STORE_URL": f"store://{declaration.host}/{database}"},
            files={"/etc/store.conf": "x = 1\n"},
        )


class Other(Store):
    name = "other"
    options = {"flavour": {"description": "A word.", "type": "string"}}


@pytest.fixture(scope="module")
def everything(registry):
    return replace(registry, bases={**registry.bases, "image": Image()}, services={"store": Store(), "other": Other()})


@pytest.fixture
def parse(everything):
    def parse(text: str, files: dict[str, str] | None = None, **options: Any):
        project = testing.MemoryProject({"envtool.yaml": f"version: 1\n{text}", **(files or {})})
        return load(project, "envtool.yaml", root="/r", registry=everything, **options)

    return parse


@pytest.fixture
def errors(parse):
    """What is wrong with a spec: (line:column, code, message -- hint)."""

    def errors(text: str, files: dict[str, str] | None = None) -> list[tuple[str, str, str]]:
        with pytest.raises(SpecError) as caught:
            parse(text, files)
        return [
            (f"{p.where.line}:{p.where.column}", p.code, f"{p.message} -- {p.hint}".removesuffix(" -- "))
            for p in caught.value.problems
        ]

    return errors


def one(spec, name="db"):
    return next(service for service in spec.services if service.name == name)


# ---- what is read ----------------------------------------------------------------------------------------------------


def test_each_key_is_read(parse):
    spec = parse(
        BASES
        + """\
services:
  db:
    base: bookworm
    layers: [tools, {run: make}]
    set: {A: "1", B: null}
    path: [bin]
    workdir: sub
    scratch: disk
    command: [serve, 80]
    user: www-data
    project: false
    needs: [first]
    ready: {tcp: 80, http: "81/health?x=1", command: [probe, -q], log: "re+ady", file: /run/ready, within: 1m}
    ports: [80, "81"]
    replicas: 3
    restart: on-failure
    stop: {signal: SIGQuit, grace: 0.5}
    publish: [80, "8081:81"]
    provides: {DB_URL: "db://db:80", N: 5}
    prepare: {before: init, run: [[psql, -f, a.sql], reindex], inputs: ["*.sql"], data: [/var/lib/db/]}
  first: {command: "true", once: true, ready: {within: 5m}}
"""
    )
    db, first = one(spec), one(spec, "first")
    assert (db.host, db.kind, str(db.where)) == ("db", "", "envtool.yaml:9:3")
    assert db.env.name == db.env.group == "service:db"
    assert (db.env.base.name, [layer.name for layer in db.env.layers]) == ("bookworm", ["tools", "run"])
    assert db.env.set == {"A": "1", "B": None, "PATH": "/project/bin"}
    assert (db.env.workdir, db.env.scratch, db.env.tasks, db.env.network) == ("sub", "disk", (), False)
    assert db.command == Command(argv=("serve", "80"))
    assert (db.user, db.project, db.needs, db.replicas, db.restart) == ("www-data", False, ("first",), 3, "on-failure")
    assert [(check.how, check.port, check.text, check.command) for check in db.ready] == [
        ("tcp", 80, "", None),
        ("http", 81, "/health?x=1", None),
        ("command", 0, "", Command(argv=("probe", "-q"))),
        ("log", 0, "re+ady", None),
        ("file", 0, "/run/ready", None),
    ]
    assert str(db.ready[1].where) == "envtool.yaml:20:28"
    assert (db.within, db.ports, db.stop_signal, db.grace) == (60.0, (80, 81), "QUIT", 0.5)
    assert [(port.port, port.host_port) for port in db.publish] == [(80, 0), (81, 8081)]
    assert db.publish[0] == Publish(port=80, where=db.publish[0].where)
    assert db.provides == {"DB_URL": "db://db:80", "N": "5"}
    assert db.prepare == Prepare(
        where=db.prepare.where,
        before=(Command(shell="init"),),
        run=(Command(argv=("psql", "-f", "a.sql")), Command(shell="reindex")),
        inputs=("*.sql",),
        data=("/var/lib/db",),
    )
    assert (first.once, first.within, first.ready, first.restart) == (True, 300.0, (), "")


def test_short_forms_and_defaults(parse):
    spec = parse(
        "services: {db: {base: {image: x}}, web: {command: x, ready: '80', prepare: make, publish: '80', ports: 1}}"
    )
    db, web = one(spec), one(spec, "web")
    assert (db.command, db.user, db.project, db.ready, db.ports) == (None, "", None, (), ())
    assert (db.within, db.replicas, db.once, db.restart, db.stop_signal, db.grace) == (60.0, 1, False, "", "", 10.0)
    assert (db.provides, db.prepare, db.files, db.publish, db.needs) == ({}, None, {}, (), ())
    assert [(check.how, check.port) for check in web.ready] == [("tcp", 80)]
    assert web.prepare.run == (Command(shell="make"),)
    assert (web.ports, [port.port for port in web.publish], web.env.base.name) == ((1,), [80], "host")


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ("set: {URL: 'postgresql://app:tea@db/app'}", ("db",)),
        ("set: {URL: 'http://DB:8000/db2'}", ("db",)),
        ("set: {HOST: db, OTHER: 'db.example.org', FILE: /srv/db, NAME: my-db, ODD: 'db-1:80'}", ("db",)),
        ("set: {BROKERS: 'queue:9092,db:9092'}", ("queue", "db")),
        ("set: {NONE: null, EMPTY: ''}", ()),
        ("command: 'psql -h db -c x'", ("db",)),
        ("command: [redis-cli, --host, queue]", ("queue",)),
        ("command: 'wait-for --host=db'", ("db",)),
        ("command: 'python3 db.py --root /db --name db; cat //db.example/'", ()),
        ("command: 'ssh me@below'", ()),
        ("command: 'curl http://web/'", ()),
    ],
)
def test_services_that_are_named_and_not_needed(parse, keys, named):
    """`below` is needed by what it needs, and `web` is itself."""
    command = "" if "command" in keys else "command: x, "
    spec = parse(
        f"services: {{web: {{{command}ready: 1, needs: [up], {keys}}}, up: {{{UP}, needs: [below]}}, below: {{{UP}}},"
        f" db: {{{UP}}}, db2: {{{UP}}}, queue: {{{UP}}}}}"
    )
    assert one(spec, "web").unneeded == named
    assert [one(spec, other).unneeded for other in ("up", "db")] == [(), ()]


def test_the_ports_at_the_loopback_of_tasks(parse):
    spec = parse(
        """\
services:
  a: {command: x, ports: [80, 81], ready: 82, localhost: true}
  b: {command: x, ready: {http: 83/x, tcp: 84}, localhost: true}
  c: {base: {image: x}, localhost: true}
  d: {command: x, ready: 85, localhost: false}
  e: {command: x, once: true, localhost: false}
"""
    )
    assert [one(spec, name).localhost_ports() for name in "abcde"] == [(80, 81), (84, 83), (), (), ()]
    assert one(spec, "c").localhost_ports((90, 91)) == (90, 91)


def test_envs_and_tasks_have_all_that_they_need(parse):
    spec = parse(
        f"""\
services:
  c: {{{UP}, needs: [b, a]}}
  b: {{{UP}, needs: [a]}}
  a: {{{UP}}}
  d: {{{UP}, needs: [a]}}
envs:
  unit: {{services: [c], tasks: {{test: x, load: {{run: x, services: [d]}}, none: {{run: x, services: []}}}}}}
  lint: {{tasks: {{test: x, load: {{run: x, services: [d]}}}}}}
  bare: {{tasks: {{test: x}}}}
"""
    )
    unit, lint, bare = spec.envs
    assert unit.uses == ("a", "b", "c")
    assert [(task.name, task.services) for task in unit.tasks] == [
        ("test", ("a", "b", "c")), ("load", ("a", "b", "c", "d")), ("none", ("a", "b", "c")),
    ]  # fmt: skip
    assert [service.name for service in unit.services] == ["a", "b", "c", "d"]
    assert (lint.uses, [task.services for task in lint.tasks]) == ((), [(), ("a", "d")])
    assert [service.name for service in lint.services] == ["a", "d"]
    assert (bare.uses, bare.services, bare.tasks[0].services) == ((), (), ())
    assert [service.name for service in spec.services] == ["a", "b", "c", "d"]
    assert unit.services[0] is lint.services[0] is spec.services[0]


def test_services_are_inherited_as_other_lists_are(parse):
    spec = parse(
        f"services: {{a: {{{UP}}}, b: {{{UP}}}}}\ndefaults: {{services: [a]}}\n"
        "envs: {x: {}, y: {services: [b]}, z: {extends: y}, none: {services: []}}"
    )
    assert [env.uses for env in spec.envs] == [("a",), ("b",), ("b",), ()]


def test_templates_see_the_env_that_uses_the_service(parse):
    spec = parse(
        BASES
        + f"""\
services:
  db: {{base: "{{{{ matrix.base }}}}", command: "serve {{{{ env.name }}}}", ready: 80}}
  same: {{base: bookworm, {RUN}, ready: "{{{{ matrix.port }}}}"}}
  plain: {{{UP}, needs: [db]}}
  layer: {{layers: [sql], {UP}}}
  unused: {{base: "{{{{ matrix.nothing }}}}", {UP}}}
envs:
  unit:
    matrix: {{base: [bookworm, trixie], port: [80], pg: [15]}}
    services: [plain, same, layer]
  other: {{matrix: {{base: [trixie], port: [81], pg: [15]}}, services: [db]}}
"""
    )
    first, second, other = ({service.name: service for service in env.services} for env in spec.envs)
    assert first["db"].env.name == "service:db of unit[bookworm,80,15]"
    assert (first["db"].env.group, first["db"].command.shell) == ("service:db", "serve unit[bookworm,80,15]")
    assert second["db"].env.name == other["db"].env.name == "service:db of unit[trixie,80,15]"
    assert second["db"].env.base.name == "trixie"
    assert (other["db"].command.shell, other["db"].env.point) == ("serve other[trixie,81,15]", {})
    assert first["same"].env.name == second["same"].env.name == "service:same"
    assert first["plain"] is second["plain"]
    assert first["layer"].env.layers[0].options == ["sql-15"]
    assert spec.services == ()  # each has a template, or needs one that has
    names = [env.name for env in stack_envs(spec)]
    assert len({*names}) == len(names)
    assert [name for name in names if name.startswith("service:")] == [
        "service:db of unit[bookworm,80,15]", "service:plain", "service:same", "service:layer",
        "service:db of unit[trixie,80,15]",
    ]  # fmt: skip


def test_the_graph_has_a_stack_for_each(parse, everything):
    spec = parse(
        BASES + f"services: {{a: {{base: bookworm, layers: [tools], {UP}}}, b: {{{UP}}}}}\n"
        "envs: {u: {base: bookworm, layers: [tools], services: [a]}, v: {}}"
    )
    graph = build_graph(spec, everything)
    assert [*graph.stacks] == ["u", "v", "service:a", "service:b"]
    assert graph.stacks["service:a"] == graph.stacks["u"]
    assert [*build_graph(select_envs(spec, ["u"]), everything).stacks] == ["u", "service:a"]
    assert [*build_graph(select_envs(spec, ["v"]), everything).stacks] == ["v"]
    assert select_envs(spec, ["v"]).services == ()


def test_included_specs_have_prefixes(parse):
    spec = parse(
        f"include: {{api: sub/envtool.yaml}}\nservices: {{db: {{{UP}}}, top: {{{UP}, needs: [api/db]}}}}\n"
        "envs: {mine: {services: [db]}, theirs: {services: [api/web]}}",
        {
            "sub/envtool.yaml": "version: 1\nservices:\n  db: {store: 15, workdir: x}\n"
            "  web: {command: serve, ready: 80, needs: [db], prepare: {run: x, inputs: [../a.sql, b.sql]}}\n"
            "envs: {unit: {services: [web]}}\n"
        },
    )
    mine, theirs, unit = spec.envs
    assert (mine.uses, theirs.uses, unit.uses) == (("db",), ("api/db", "api/web"), ("api/db", "api/web"))
    db, web = unit.services
    assert (db.name, db.host, db.env.name, db.env.workdir) == ("api/db", "db", "service:api/db", "sub/x")
    assert db.provides == {"STORE_URL": "store://db/app"}
    assert web.prepare.inputs == ("a.sql", "sub/b.sql")
    assert one(spec, "top").needs == ("api/db",)


# ---- kinds -----------------------------------------------------------------------------------------------------------


def test_a_kind_gives_everything(parse):
    db = one(parse("services: {db: {store: 15, database: mine}}"))
    assert (db.kind, db.env.base.name, db.env.base.options) == ("store", "debian:bookworm", "bookworm")
    assert [(layer.name, layer.options) for layer in db.env.layers] == [("store", ["store-15"])]
    assert db.env.set == {"STORE_DATA": "/var/lib/store", "MODE": "kind"}
    assert (db.command, db.user, db.project) == (Command(argv=("stored", "mine")), "store", False)
    assert [(check.how, check.port, str(check.where)) for check in db.ready] == [("tcp", 5432, "envtool.yaml:2:17")]
    assert (db.within, db.ports, db.stop_signal, db.grace) == (30.0, (5432,), "INT", 20.0)
    assert db.prepare.before == (Command(shell="initstore"),)
    assert (db.prepare.run, db.prepare.data) == ((Command(shell="create"),), ("/var/lib/store",))
    assert db.provides == {"STORE_URL": "store://db/mine"}
    assert db.files == {"/etc/store.conf": "x = 1\n"}


def test_the_users_own_keys_outweigh_or_extend_the_kind(parse):
    db = one(
        parse(
            BASES
            + """\
services:
  db:
    store: "15"
    base: trixie
    layers: [tools]
    set: {MODE: mine, STORE_DATA: null}
    command: other
    user: root
    project: true
    ready: {log: up}
    ports: [1]
    stop: {grace: 1s}
    provides: {STORE_URL: null, OTHER: x}
    prepare: {before: b, run: seed, inputs: [seed.sql], data: [/srv]}
"""
        )
    )
    assert (db.env.base.name, [layer.name for layer in db.env.layers]) == ("trixie", ["store", "tools"])
    assert db.env.set == {"MODE": "mine", "STORE_DATA": None}
    assert (db.command, db.user, db.project, db.ports) == (Command(shell="other"), "root", True, (1,))
    assert [(check.how, check.text) for check in db.ready] == [("log", "up")]
    assert (db.within, db.stop_signal, db.grace, db.provides) == (30.0, "INT", 1.0, {"OTHER": "x"})
    assert db.prepare.before == (Command(shell="initstore"), Command(shell="b"))
    assert db.prepare.run == (Command(shell="create"), Command(shell="seed"))
    assert (db.prepare.inputs, db.prepare.data) == (("seed.sql",), ("/var/lib/store", "/srv"))


def test_within_alone_keeps_the_checks_of_the_kind(parse):
    db = one(parse("services: {db: {store: 15, ready: {within: 5s}}}"))
    assert ([check.how for check in db.ready], db.within) == (["tcp"], 5.0)


def test_a_kind_is_rendered_for_each_env(parse):
    spec = parse("services: {db: {store: '{{ matrix.pg }}'}}\nenvs: {u: {matrix: {pg: [15, 17]}, services: [db]}}")
    assert [env.services[0].env.layers[0].options for env in spec.envs] == [["store-15"], ["store-17"]]
    assert [env.services[0].env.name for env in spec.envs] == ["service:db of u[15]", "service:db of u[17]"]


# ---- errors ----------------------------------------------------------------------------------------------------------

DB = f"services: {{db: {{{UP}}}}}\n"
TWO = f"services: {{db: {{{UP}}}, web: {{{UP}}}}}\n"

WRONG = [
    # the spec without its first line, line:column, code, part of the message and hint
    (DB + "envs: {u: {services: [bd]}}", "3:23", "unknown-service",
     "env `u` uses the service `bd`, which is not declared -- known: `db`"),
    (f"services: {{mailer: {{{UP}}}}}\nenvs: {{u: {{services: [maler]}}}}", "3:23", "unknown-service",
     "did you mean `mailer`? (envtool.yaml:2)"),
    ("envs: {u: {services: [bd]}}", "2:23", "unknown-service", "declare it under `services:`"),
    (DB + "envs: {u: {tasks: {t: {run: x, services: [bd]}}}}", "3:43", "unknown-service", "task `t` of env `u` uses"),
    (f"services: {{db: {{{UP}, needs: [bd]}}, dx: {{{UP}}}}}", "2:52", "unknown-service",
     "service `db` needs the service `bd`, which is not declared"),
    (f"services: {{a: {{{UP}, needs: [b]}}, b: {{{UP}, needs: [a]}}}}", "2:95", "cycle",
     "services need each other: a → b → a -- none of them could start first: remove one of these `needs`"),
    (f"services: {{a: {{{UP}, needs: [a]}}}}", "2:51", "cycle", "service `a` needs itself -- remove it"),
    ("services: {db: {stroe: 15}}", "2:17", "unknown-key", "did you mean `store`?"),
    ("services: {db: {redis: true}}", "2:17", "unknown-key", "is its plugin installed?"),
    ("services: {db: {store: 15, other: 1}}", "2:28", "kinds", "service `db` has 2 kinds: `store`, `other`"),
    ("services: {db: {store: 15, flavour: x}}", "2:28", "unknown-key",
     "the key `flavour` belongs to the kind of service `other`, and service `db` is of the kind `store`"),
    (f"services: {{db: {{{UP}, flavour: x}}}}", "2:44", "unknown-key", "service `db` has no kind"),
    ("services: {db: {store: [15]}}", "2:24", "type", "`store` of service `db`"),
    ("services: {db: {store: bad}}", "2:17", "version", "service `db`: there is no version bad -- write 15"),
    ("services: {db: {}}", "2:12", "no-command", "service `db` has no command, and its base `host` is no image"),
    (BASES + "services: {db: {base: bookworm, ready: 80}}", "8:12", "no-command", "base `bookworm` is no image"),
    (f"services: {{db: {{{RUN}}}}}", "2:12", "no-ready", "neither `ready` nor `ports`"),
    (f"services: {{db: {{{RUN}, ready: {{http: /health}}}}}}", "2:47", "port", "`http: /health` has no port -- write"),
    (f"services: {{db: {{{RUN}, ready: {{http: health}}}}}}", "2:47", "port", "has no port"),
    (f"services: {{db: {{{RUN}, ready: {{tcp: }}}}}}", "2:46", "type", "expected a whole number or a string"),
    (f"services: {{db: {{{RUN}, ready: x}}}}", "2:40", "port", "`x` is no port"),
    (f"services: {{db: {{{RUN}, ready: 70000}}}}", "2:40", "port", "`70000` is no port -- ports are from 1 to 65535"),
    (f"services: {{db: {{{RUN}, ready: '000000080999'}}}}", "2:40", "port", "`000000080999` is no port"),
    (f"services: {{db: {{{UP}, replicas: '0000000015000'}}}}", "2:54", "replicas", "is no number of replicas"),
    (f"services: {{db: {{{RUN}, ready: {{tcp: 0}}}}}}", "2:46", "port", "`0` is no port"),
    (f"services: {{db: {{{RUN}, ready: {{http: 65536/x}}}}}}", "2:47", "port", "`65536` is no port"),
    (f"services: {{db: {{{RUN}, ready: {{http: '80/a b'}}}}}}", "2:47", "path", "blank"),
    (f"services: {{db: {{{RUN}, ports: [80, -1]}}}}", "2:45", "port", "`-1` is no port"),
    (f"services: {{db: {{{UP}, publish: [80, 80]}}}}", "2:58", "port-twice", "service `db` publishes port 80 twice"),
    (f"services: {{db: {{{UP}, publish: ['8080:80', '8080:81']}}}}", "2:65", "port-twice", "port 8080:81 twice"),
    (f"services: {{db: {{{UP}, publish: ['8080:0']}}}}", "2:54", "port", "`0` is no port"),
    (f"services: {{db: {{{UP}, publish: ['127.0.0.1:80:80']}}}}", "2:54", "port", "no port to publish -- write `8000`"),
    (f"services: {{a: {{{UP}, publish: ['8080:80']}}, b: {{{UP}, publish: ['8080:80']}}}}\nenvs: {{u: {{services: [a, b]}}}}",
     "3:22", "port-twice", "services `a` and `b` both publish on port 8080"),
    ("services: {m: {command: x, once: true, replicas: 2}}", "2:40", "once", "is to end (`once: true`), and so has no `replicas`"),
    ("services: {m: {command: x, once: true, restart: always}}", "2:40", "once", "has no `restart` -- remove `restart`, or `once`"),
    ("services: {m: {command: x, once: true, publish: 80}}", "2:40", "once", "has no `publish`"),
    ("services: {m: {command: x, once: true, prepare: y}}", "2:40", "once",
     "service `m` is to end (`once: true`), and so has no `prepare` -- remove `prepare`, or `once`"),
    ("services: {m: {command: x, once: true, ready: 80}}", "2:40", "once", "is never ready"),
    ("services: {m: {command: x, once: true, localhost: true}}", "2:40", "once", "has no `localhost`"),
    ("services: {m: {command: x, localhost: true, ready: {file: /x}}}", "2:28", "no-port",
     "service `m` has no port at which `localhost` could lead to it -- write `ports:`"),
    (f"services: {{a: {{{UP}, localhost: true}}, b: {{{UP}, localhost: true}}}}\nenvs: {{u: {{services: [a, b]}}}}",
     "3:22", "port-twice", "services `a` and `b` would both be at 127.0.0.1:80 -- remove `localhost` from one of them"),
    (f"services: {{db: {{{UP}, stop: {{signal: SIGTREM}}}}}}", "2:59", "signal", "no signal `SIGTREM` -- did you mean `TERM`?"),
    (f"services: {{db: {{{UP}, stop: {{signal: '15'}}}}}}", "2:59", "signal", "write TERM, INT"),
    (f"services: {{db: {{{UP}, stop: {{grace: soon}}}}}}", "2:58", "duration", "`soon` is no duration"),
    (f"services: {{db: {{{RUN}, ready: {{log: 'a['}}}}}}", "2:46", "regex", "`a[` is no regular expression: unterminated"),
    (f"services: {{db: {{{RUN}, ready: {{file: run/x}}}}}}", "2:47", "path", "the path `run/x` is relative"),
    (f"services: {{db: {{{RUN}, ready: {{command: '  '}}}}}}", "2:50", "empty", "the command of `ready` is empty"),
    ("services: {db: {command: ' ', ready: 80}}", "2:26", "empty", "the command of service `db` is empty"),
    (f"services: {{db: {{{UP}, prepare: {{run: x, inputs: [../a]}}}}}}", "2:71", "path", "`../a` leaves the project"),
    (f"services: {{db: {{{UP}, prepare: {{run: x, inputs: [/a]}}}}}}", "2:71", "path", "absolute"),
    (f"services: {{db: {{{UP}, prepare: {{run: x, data: [lib]}}}}}}", "2:69", "path", "`lib` is no directory to keep"),
    (f"services: {{db: {{{UP}, prepare: {{run: x, data: [/a/../b]}}}}}}", "2:69", "path", "`/a/../b` is no directory"),
    (f"services: {{db: {{{UP}, prepare: {{run: x, data: [/]}}}}}}", "2:69", "path", "`/` is no directory"),
    (f"services: {{db: {{{UP}, prepare: {{run: x, data: [/tmp/db]}}}}}}", "2:69", "path",
     "nothing below /tmp is kept, so `/tmp/db` is no directory to keep -- let the service write its data elsewhere"),
    (f"services: {{db: {{{UP}, prepare: {{run: x, data: [/run]}}}}}}", "2:69", "path", "nothing below /run is kept"),
    (f"services: {{db: {{{UP}, prepare: [' ']}}}}", "2:54", "empty", "a command of `prepare` of service `db` is empty"),
    (f'services: {{db: {{{UP}, provides: {{A: "x\\0y"}}}}}}', "2:58", "value",
     "the text has a NUL character -- no program can be given one"),
    (f'services: {{db: {{{UP}, set: {{A: "x\\0y"}}}}}}', "2:53", "value", "the text has a NUL character"),
    ('services: {db: {ready: 80, command: [a, "x\\0y"]}}', "2:41", "value", "the text has a NUL character"),
    ('services: {db: {ready: 80, command: "a \\0"}}', "2:37", "value", "the text has a NUL character"),
    ('envs: {u: {set: {A: "\\0"}}}', "2:21", "value", "the text has a NUL character"),
    ('envs: {u: {tasks: {t: ["a", "\\0"]}}}', "2:29", "value", "the text has a NUL character"),
    (f"services: {{db: {{{UP}, replicas: 0}}}}", "2:54", "replicas", "`0` is no number of replicas -- write a number"),
    (f"services: {{db: {{{UP}, replicas: 9999}}}}", "2:54", "replicas", "`9999` is no number"),
    (f"services: {{db: {{{UP}, restart: sometimes}}}}", "2:53", "value", "known: `always`, `never`, `on-failure`"),
    (DB + "envs: {u: {services: [db], network: true}}", "3:37", "unsupported",
     "so cannot be in the network of its services -- name what it may reach: `network: {allow: [HOST:PORT]}`"),
    (DB + "envs: {u: {network: true, tasks: {t: {run: x, services: [db]}}}}", "3:21", "unsupported", "this machine's network"),
    (f"services: {{my_db: {{{UP}}}}}", "2:12", "name", "`my_db` cannot be the name of a service -- the name is a host name"),
    (f"services: {{my_db: {{{UP}}}}}", "2:12", "name", "at most 58: `my-db`"),
    (f"services: {{-db: {{{UP}}}}}", "2:12", "name", "`-db` cannot be"),
    (f"services: {{{'a' * 59}: {{{UP}}}}}", "2:12", "name", "at most 58"),
    (f"services: {{'10': {{{UP}}}}}", "2:12", "name", "programs would take it for an address"),
    (f"services: {{0xa: {{{UP}}}}}", "2:12", "name", "programs would take it for an address"),
    (f"services: {{all: {{{UP}}}}}", "2:12", "name", "the name `all` is reserved"),
    (f"services: {{localhost: {{{UP}}}}}", "2:12", "name", "the name `localhost` is reserved"),
    (f"services: {{Envtool: {{{UP}}}}}", "2:12", "name", "the name `Envtool` is reserved"),
    (f"services: {{db: {{{UP}}}, DB: {{{UP}}}}}\nenvs: {{u: {{services: [db, DB]}}}}", "3:22", "host",
     "services `db` and `DB` would both be the host `DB`"),
    (f"services: {{db: {{{UP}, replicas: 3}}, db-3: {{{UP}}}}}\nenvs: {{u: {{services: [db-3, db]}}}}", "3:22", "host",
     "service `db-3` has the name of a replica of `db` -- rename it: the replicas of a service are NAME-1, NAME-2"),
    ("services: {a: {store: 1}, b: {store: 1}}\nenvs: {u: {services: [a, b]}}", "3:22", "provides",
     "services `a` and `b` both provide STORE_URL -- in one of them, write `provides: {STORE_URL: null}`"),
    ("services: {a: {store: 1}, b: {store: 1}}\nenvs: {u: {services: [a], tasks: {t: {run: x, services: [b]}}}}", "3:57",
     "provides", "services `a` and `b` both provide"),
    (f"services: {{db: {{base: dbian, {UP}}}}}", "2:23", "unknown-base", "unknown base `dbian`"),
    (f"services: {{db: {{layers: [x], {UP}}}}}", "2:26", "unknown-layer", "unknown layer `x`"),
    (f"services: {{db: {{layers: [{{apt: [x]}}, {{apt: [y], needs: [zz]}}], {UP}}}}}", "2:38", "needs", "unknown layer `zz`"),
    (f"services: {{db: {{requirements: [x], {UP}}}}}", "2:17", "unknown-key", "service `db` has no `language`"),
    (f"services: {{db: {{tasks: {{test: x}}, {UP}}}}}", "2:17", "unknown-key", "unknown key `tasks` in service `db`"),
    (f"services: {{db: {{image: x, {UP}}}}}", "2:17", "unknown-key", "write `base: {image: x}`"),
    (f"services: {{db: {{depends_on: [x], {UP}}}}}", "2:17", "unknown-key", "it is called `needs` here"),
    (f"services: {{db: {{healthcheck: x, {UP}}}}}", "2:17", "unknown-key", "it is called `ready` here"),
    ("services: {db: {command: '{{ args }}', ready: 80}}\nenvs: {u: {services: [db]}}", "2:26", "undefined", "`args` is known in tasks only"),
    ("services: {db: {command: [a, '{{ args }}'], ready: 80}}\nenvs: {u: {services: [db]}}", "2:30", "undefined", "`args` is known in tasks only"),
    (f"services: {{db: {{{RUN}, ready: '{{{{ matrix.p }}}}'}}}}\nenvs: {{u: {{matrix: {{p: [x]}}, services: [db]}}}}",
     "2:40", "port", "`x` is no port"),
    ("services: {db: 3}", "2:16", "type", "service `db`: expected a mapping, got the number 3"),
    ("envs: {u: {services: db}}", "2:22", "type", "expected a list of strings"),
    # the policy of the network
    ("envs: {u: {network: {alow: [a:1]}}}", "2:22", "unknown-key", "did you mean `allow`?"),
    ("envs: {u: {network: {allow: [example.org]}}}", "2:30", "allow", "no HOST:PORT -- write `example.org:443`"),
    ("envs: {u: {network: {allow: ['http://example.org/x']}}}", "2:30", "allow", "write `example.org:80`"),
    ("envs: {u: {network: {allow: ['https://example.org:8443/']}}}", "2:30", "allow", "write `example.org:8443`"),
    ("envs: {u: {network: {allow: ['a.*.org:443']}}}", "2:30", "allow", "`a.*.org` is no host"),
    ("envs: {u: {network: {allow: ['*:443']}}}", "2:30", "allow", "`*` is no host"),
    ("envs: {u: {network: {allow: ['[::1:443']}}}", "2:30", "allow", "is no host"),
    ("envs: {u: {network: {allow: ['a b:443']}}}", "2:30", "allow", "`a b` is no host"),
    ("envs: {u: {network: {allow: ['localhost:80']}}}", "2:30", "allow", "`127.0.0.1:PORT` is that port of this machine"),
    ("envs: {u: {network: {allow: ['1.2.3:80']}}}", "2:30", "allow", "`1.2.3` is no host"),
    ("envs: {u: {network: {allow: ['224.0.0.1:80']}}}", "2:30", "allow", "it is no address of one host"),
    ("envs: {u: {network: {allow: ['0.0.0.0:80']}}}", "2:30", "allow", "it is no address of one host"),
    ("envs: {u: {network: {allow: ['10.64.3.4:80']}}}", "2:30", "allow", "the containers' own networks"),
    ("envs: {u: {network: {allow: ['::1:80']}}}", "2:30", "allow", "write an IPv6 address in brackets"),
    ("envs: {u: {network: {allow: ['[127.0.0.1]:80']}}}", "2:30", "allow", "write an IPv6 address in brackets"),
    ("envs: {u: {network: {allow: ['bücher.example:80']}}}", "2:30", "allow", "write the name in ASCII"),
    ("envs: {u: {network: {allow: ['a:https']}}}", "2:30", "port", "`https` is no port"),
    ("envs: {u: {network: {allow: ['a:0']}}}", "2:30", "port", "`0` is no port"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "place", "code", "words"), WRONG)
def test_each_error_has_its_place_and_words(text, place, code, words, errors):
    assert [problem for problem in errors(text) if problem[:2] == (place, code) and words in problem[2]], errors(text)


@pytest.mark.parametrize(("text", "place", "code", "words"), WRONG)
def test_no_error_hides_behind_another(text, place, code, words, errors):
    assert len(errors(text)) == 1


def test_hosts_of_included_services_may_clash(errors):
    sub = f"version: 1\nservices: {{db: {{{UP}}}}}\n"
    problems = errors(
        "include: {a: a/e.yaml, b: b/e.yaml}\nenvs: {u: {services: [a/db, b/db]}}", {"a/e.yaml": sub, "b/e.yaml": sub}
    )
    message = "services `a/db` and `b/db` would both be the host `db`"
    assert problems == [("3:22", "host", f"{message} -- rename one of them, or use them in different tasks")]


def test_allowed_hosts_are_in_small_letters_and_once(parse):
    allow = "['Example.ORG:443', example.org.:443, '*.Example.org:0443', '127.0.0.1:80', '[0::1]:1']"
    spec = parse(
        f"defaults: {{network: {{allow: ['x:1']}}}}\nenvs: {{u: {{network: {{allow: {allow}}}}}, v: {{}}, w: {{network: false}},"
        " x: {network: true}, y: {network: {allow: []}}}"
    )
    u, v, w, x, y = spec.envs
    assert u.allow == ("example.org:443", "*.example.org:443", "127.0.0.1:80", "[::1]:1")
    assert [(env.allow, env.network, env.has_outside) for env in (v, w, x, y)] == [
        (("x:1",), False, True), ((), False, False), ((), True, True), ((), False, False),
    ]  # fmt: skip


HOSTS = st.one_of(
    st.from_regex(r"(\*\.)?[A-Za-z0-9_.-]{1,20}", fullmatch=True),
    st.ip_addresses().map(lambda address: f"[{address}]" if address.version == 6 else str(address)),
    st.sampled_from(
        ["10.64.0.1", "198.18.0.0", "198.19.255.255", "127.0.0.1", "[::]", "255.255.255.255", "*.a", "a.*"]
    ),
    st.text("ab:[]*./1", max_size=8),
)


@given(HOSTS, st.integers(-1, 70_000))
def test_what_the_spec_allows_a_pod_takes_and_the_other_way_round(everything, host, port):
    """container/network_policy.py has the same rules."""
    entry = f"{host}:{port}"
    text = json.dumps({"version": 1, "envs": {"u": {"network": {"allow": [entry]}}}})
    try:
        spec = load(testing.MemoryProject({"envtool.yaml": text}), "envtool.yaml", root="/r", registry=everything)
    except SpecError:
        if "localhost" not in host.lower() and not host.startswith("[127"):
            with pytest.raises(ValueError):
                NetworkPolicy([entry])
    else:
        (allowed,) = spec.envs[0].allow
        assert NetworkPolicy([allowed]).rules == (allowed,)
        assert str(NetworkPolicy([entry])._names) == str(NetworkPolicy([allowed])._names)


def test_there_are_limits_to_services(errors):
    many = "\n".join(f"  s{number}: {{{UP}}}" for number in range(1001))
    ((place, code, message),) = errors(f"services:\n{many}")
    assert (place, code, message) == ("1003:3", "limit", "more than 1,000 services")
    chain = "\n".join(f"  s{number}: {{{UP}, needs: [s{number + 1}]}}" for number in range(499))
    points = ", ".join(map(str, range(201)))
    ((place, code, message),) = errors(
        f"services:\n{chain}\n  s499: {{{UP}}}\nenvs:\n  u: {{matrix: {{n: [{points}]}}, services: [s0]}}"
    )
    assert (place, code) == ("504:3", "limit")
    assert message == "more than 100,000 services beside tasks, counting each point of a matrix"


def test_there_may_be_so_many_of_them(errors):
    entries = json.dumps([f"h{number}.example:1" for number in range(1025)])
    assert errors(f"envs: {{u: {{network: {{allow: {entries}}}}}}}") == [
        ("2:29", "limit", "more than 1,024 entries in `allow`")
    ]


def test_a_known_spec_is_checked_again_if_a_kind_changes(everything):
    class Known:
        def __init__(self):
            self.digests = []

        def holds(self, digest):
            return digest in self.digests

        def add(self, digest):
            self.digests.append(digest)

    class Strict(Store):
        schema = {"description": "A version.", "type": "integer"}

    project = testing.MemoryProject({"envtool.yaml": "version: 1\nservices: {db: {store: '{{ env.name }}'}}\n"
                                     "envs: {u: {services: [db]}}"})  # fmt: skip
    known = Known()
    for _ in range(2):
        load(project, "envtool.yaml", root="/r", registry=everything, known=known)
    assert len(known.digests) == 1
    with pytest.raises(SpecError):
        load(
            project, "envtool.yaml", root="/r", registry=replace(everything, services={"store": Strict()}), known=known
        )


# ---- plugins ---------------------------------------------------------------------------------------------------------


def offered(*kinds):
    hooks = plugin(envtool_service_kinds=lambda: kinds, envtool_base_kinds=lambda: [Image()])
    return discover([], [Entry("p", lambda: hooks)])


def drafting(**parts):
    class Kind(api.ServiceKind):
        name = "store"
        schema = {"description": "x"}

        def service(self, declaration, project):
            return api.ServiceDraft(**{"base_kind": "image", "base_options": "x", **parts})

    return Kind()


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"layers": ["x"]}, "`layers` is a tuple of LayerDraft"),
        ({"ports": (True,)}, "`ports` is a tuple of int"),
        ({"ports": (70000,)}, "`ports` are from 1 to 65535"),
        ({"command": "serve"}, "whose `command` has its type"),
        ({"variables": {"A=B": "x"}}, "keys are names of variables"),
        ({"provides": {"A": None}}, "a mapping of str to str"),
        ({"files": {"/a": b"x"}}, "a mapping of str to str"),
        ({"files": {"a": "x"}}, "absolute"),
        ({"data": ("/a/../b",)}, "absolute"),
        ({"ready": (api.ReadyDraft(how="http", port=80, text="x"),)}, "have what their `how` needs"),
        ({"ready": (api.ReadyDraft(how="tcp"),)}, "have what their `how` needs"),
        ({"ready": (api.ReadyDraft(how="command"),)}, "have what their `how` needs"),
        ({"ready": (api.ReadyDraft(how="file", text="x"),)}, "have what their `how` needs"),
        ({"ready": (api.ReadyDraft(how="sometimes"),)}, "have what their `how` needs"),
        ({"within": 0}, "`within` and `grace` are seconds"),
    ],
)  # fmt: skip
def test_a_wrong_draft_is_the_plugins_fault(parts, words):
    project = testing.MemoryProject({"envtool.yaml": "version: 1\nservices: {db: {store: 1}}"})
    with pytest.raises(PluginError, match=r"the plugin `envtool-x` 1\.2 failed in service") as caught:
        load(project, "envtool.yaml", root="/r", registry=offered(drafting(**parts)))
    assert words in str(caught.value)


def test_a_wrong_expression_of_a_draft_is_the_plugins_fault():
    project = testing.MemoryProject({"envtool.yaml": "version: 1\nservices: {db: {store: 1}}"})
    kind = drafting(ready=(api.ReadyDraft(how="log", text="a["),))
    with pytest.raises(PluginError, match=r"the plugin `envtool-x` 1\.2 failed in service"):
        load(project, "envtool.yaml", root="/r", registry=offered(kind))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"base_kind": "gone"}, "the kind of service `store` is on a base of the unknown kind `gone`"),
        ({"layers": (api.LayerDraft(name="x", kind="gone", options=1),)}, "adds a layer of the unknown kind `gone`"),
    ],
)
def test_unknown_kinds_in_a_draft_have_a_place(parts, words):
    project = testing.MemoryProject({"envtool.yaml": "version: 1\nservices: {db: {store: 1}}"})
    with pytest.raises(SpecError) as caught:
        load(project, "envtool.yaml", root="/r", registry=offered(drafting(**parts)))
    problem = caught.value.problems[0]
    assert (str(problem.where), problem.code) == ("envtool.yaml:2:17", "unknown-kind")
    assert words in problem.message
    assert problem.hint == "is the plugin that has this kind installed?"


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"name": "ready"}, "with the key `ready`, which every service has already"),
        ({"options": {"user": {}}}, "with the key `user`, which every service has already"),
        ({"options": {"store": {}}}, "that has itself as a sibling key"),
        ({"options": {"x": 3}}, "with the key `x`, which has no schema"),
        ({"schema": {}}, "without a schema that has a description"),
        ({"name": "a b"}, "whose name has other characters"),
    ],
)  # fmt: skip
def test_a_wrong_kind_is_refused(attributes, words):
    kind = type("Kind", (Store,), attributes)()
    (fault,) = offered(kind).faults
    assert "the plugin `envtool-x` 1.2 offers a kind of service" in fault.message
    assert words in fault.message


def test_two_plugins_with_one_kind_are_named():
    entries = [Entry(name, lambda: plugin(envtool_service_kinds=lambda: [Store()])) for name in ("p", "q")]
    registry = discover([], entries)
    assert [*registry.services] == []
    (fault,) = registry.faults
    assert "two plugins offer the kind of service `store`" in fault.message


def test_a_wrong_schema_of_a_kind_names_the_plugin():
    class Broken(Store):
        options = {"x": {"type": "nothing"}}

    project = testing.MemoryProject({"envtool.yaml": "version: 1\nservices: {db: {store: 1}}"})
    with pytest.raises(UsageError, match="offers a kind of service `store` with a wrong schema of `x`"):
        load(project, "envtool.yaml", root="/r", registry=offered(Broken()))
