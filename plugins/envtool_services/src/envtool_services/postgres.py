"""The kind `postgres`: a PostgreSQL whose data need not outlive a power failure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from envtool import api
from envtool_services import debian_versions, option_schemas, server_stack

PRODUCT = debian_versions.Product("PostgreSQL", {"bullseye": "13", "bookworm": "15", "trixie": "17"})
DATA = server_stack.data_directory("postgres")
PSQLRC = f"{DATA}/psqlrc"  # settings of psql, which else ends with 0 after a script with errors
PORT = 5432
_OWN = ("data_directory", "hba_file", "listen_addresses", "port", "unix_socket_directories")
# Nothing here survives the run, so nothing is written through to a disk; small buffers start at once.
_SETTINGS = {
    "listen_addresses": "*",
    "unix_socket_directories": "/tmp",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "huge_pages": "off",
}
# Extensions that are no part of PostgreSQL itself -> the Debian package, for a version.
_PACKAGES = {
    "hll": "postgresql-{}-hll",
    "hypopg": "postgresql-{}-hypopg",
    "pg_cron": "postgresql-{}-cron",
    "pg_partman": "postgresql-{}-partman",
    "pgtap": "postgresql-{}-pgtap",
    "postgis": "postgresql-{}-postgis-3",
    "postgis_topology": "postgresql-{}-postgis-3",
    "postgis_raster": "postgresql-{}-postgis-3",
    "vector": "postgresql-{}-pgvector",
}


class Postgres(api.ServiceKind):
    """A database that any client in the run's network may use."""

    name: ClassVar[str] = "postgres"
    schema: ClassVar[api.Json] = debian_versions.schema(PRODUCT)
    options: ClassVar[Mapping[str, api.Json]] = {
        "role": option_schemas.name("The superuser that clients log in as. Default: `postgres`."),
        "database": option_schemas.name("The database of DATABASE_URL. Default: `postgres`."),
        "password": option_schemas.password(
            "The password of the role, which clients then need. It is no secret. Default: none is needed."
        ),
        "settings": option_schemas.settings(
            "The server's own settings, as in `{max_connections: 200}`.",
            r"^[A-Za-z][A-Za-z0-9_.-]*$",
            "max_connections",
        ),
        "extensions": {
            "description": "Extensions that its database has, as in `[pg_trgm, postgis]`.",
            "type": "array",
            "items": {
                "type": "string",
                "pattern": r"^[a-z][a-z0-9_-]*$",
                "errorMessage": "the name of an extension in small letters, as in pg_trgm",
            },
        },
        "packages": {
            "description": "More Debian packages beside the server, of extensions for instance.",
            "type": "array",
            "items": {
                "type": "string",
                "pattern": r"^[a-z0-9][a-z0-9+.-]*(=[A-Za-z0-9.+:~-]+)?$",
                "errorMessage": "the name of a Debian package, perhaps with a version, as in postgresql-17-cron",
            },
        },
    }

    def service(self, declaration: api.ServiceDeclaration, project: api.Project) -> api.ServiceDraft:
        """Returns the service: initdb before its first start, then one process that trusts its network."""
        release = debian_versions.choose_release(PRODUCT, declaration, self.name)
        if release.installs and not release.version:
            hint = "write the version, as in `postgres: 16`: it is part of the package's name"
            raise debian_versions.spec_error(declaration, "which PostgreSQL this base has is not known", hint=hint)
        role = option_schemas.text_option(declaration, "role", "postgres")
        database = option_schemas.text_option(declaration, "database", "postgres")
        password = option_schemas.text_option(declaration, "password", "")
        settings = option_schemas.read_settings(declaration, _OWN)
        words = [word for key, value in (_SETTINGS | settings).items() for word in ("-c", f"{key}={value}")]
        ask = api.Command(argv=("pg_isready", "--quiet", "--host=127.0.0.1"))
        return api.ServiceDraft(
            **server_stack.stack_of(self.name, release, _packages(declaration, release)),
            command=api.Command(argv=("postgres", "-D", DATA, *words)),
            variables=_variables(release, role, database, password),
            ready=option_schemas.ready_check(
                "database system is ready to accept connections",
                ask,
                settings,
                lambda key: key.startswith(("log", "lc_")),
            ),
            ports=(PORT,),
            stop_signal="INT",  # a fast shutdown: it ends sessions, and leaves nothing to recover
            before=_make_cluster(declaration, role, database, password),
            data=(DATA,),
            provides={
                "DATABASE_URL": option_schemas.url("postgresql", role, password, declaration.host, PORT, f"/{database}")
            },
        )


def _packages(declaration: api.ServiceDeclaration, release: debian_versions.ServerRelease) -> tuple[str, ...]:
    packages = declaration.options.get("packages")
    if packages and not release.installs:
        hint = "put a layer with them into `layers` of the service, or into the image"
        raise debian_versions.spec_error(declaration, "`packages` are Debian's, and its base is no Debian", hint=hint)
    names = [f"postgresql-{release.version}"]
    names += [_PACKAGES[item].format(release.version) for item in _extensions(declaration) if item in _PACKAGES]
    names += [str(item) for item in packages] if isinstance(packages, list) else []
    return tuple(dict.fromkeys(names))


def _extensions(declaration: api.ServiceDeclaration) -> list[str]:
    value = declaration.options.get("extensions")
    return [str(item) for item in value] if isinstance(value, list) else []


def _variables(release: debian_versions.ServerRelease, role: str, database: str, password: str) -> dict[str, str]:
    """Returns the variables with which psql and its kin find the server from within its own container."""
    found = {"PGDATA": DATA, "PGHOST": "/tmp", "PGUSER": role, "PGDATABASE": database, "PSQLRC": PSQLRC}
    if password:
        found["PGPASSWORD"] = password
    if release.version:
        found["PATH"] = f"/usr/lib/postgresql/{release.version}/bin"  # Debian's, and that of images on Debian
    return found


def _make_cluster(
    declaration: api.ServiceDeclaration, role: str, database: str, password: str
) -> tuple[api.Command, ...]:
    """Returns the commands that make the data, while the server is not up. No command needs another id."""
    method = "scram-sha-256" if password else "trust"
    secret = "--pwfile=/tmp/password" if password else ""
    initdb = (
        f"initdb --pgdata={DATA} --username={role} --auth-local=trust --auth-host={method} {secret} --encoding=UTF8 "
        "--locale=C.UTF-8 --wal-segsize=4 --no-sync >/tmp/initdb 2>&1 || { cat /tmp/initdb >&2; exit 1; }"
    )
    script = [f"printf '%s\\n' '{password}' >/tmp/password"] if password else []
    script += [
        initdb,
        f"echo '\\set ON_ERROR_STOP on' >{PSQLRC}",
        f"printf 'host all all all {method}\\nhost replication all all {method}\\n' >>{DATA}/pg_hba.conf",
    ]
    commands = [api.Command(shell="\n".join(script))]
    if database != "postgres":
        commands.append(_single("postgres", [f'CREATE DATABASE "{database}"']))
    if extensions := _extensions(declaration):
        commands.append(_single(database, [f'CREATE EXTENSION IF NOT EXISTS "{item}" CASCADE' for item in extensions]))
    return tuple(commands)


def _single(database: str, statements: list[str]) -> api.Command:
    """Returns a command that runs statements without a server (https://www.postgresql.org/docs/current/app-postgres.html,
    "Options for Single-User Mode")."""
    lines = " ".join(f"'{statement}'" for statement in statements)
    options = "-c exit_on_error=on -c fsync=off -c log_checkpoints=off"
    script = f"printf '%s\\n' {lines} | postgres --single {options} -D {DATA} {database} >/dev/null"
    return api.Command(shell=script)
