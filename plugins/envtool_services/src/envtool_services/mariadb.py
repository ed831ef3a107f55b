"""The kind `mariadb`: a MariaDB whose data need not outlive a power failure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from envtool import api
from envtool_services import debian_versions, option_schemas, server_stack

PRODUCT = debian_versions.Product("MariaDB", {"bullseye": "10.5", "bookworm": "10.11", "trixie": "11.8"})
DATA = server_stack.data_directory("mariadb")
PORT = 3306
CONFIG = "/etc/mysql/conf.d/envtool.cnf"  # of the server, and of all clients in its container
_KEY, _CERTIFICATE = f"{DATA}/server-key.pem", f"{DATA}/server-cert.pem"
_OWN = ("bind-address", "datadir", "pid-file", "port", "socket", "ssl-cert", "ssl-key", "user")
# Nothing here survives the run, so nothing is written through to a disk; small buffers start at once.
_SETTINGS = {
    "character-set-server": "utf8mb4",
    "innodb-buffer-pool-dump-at-shutdown": "off",
    "innodb-buffer-pool-load-at-startup": "off",
    "innodb-buffer-pool-size": "32M",
    "innodb-doublewrite": "off",
    "innodb-flush-log-at-trx-commit": "0",
    "innodb-log-file-size": "8M",  # with the tables, copied from the prepared state at each start
    "innodb-undo-tablespaces": "0",
    "innodb-use-native-aio": "off",  # io_uring is closed to containers
    "performance-schema": "off",
    "skip-name-resolve": "on",
}


class MariaDB(api.ServiceKind):
    """A database that any client in the run's network may use."""

    name: ClassVar[str] = "mariadb"
    schema: ClassVar[api.Json] = debian_versions.schema(PRODUCT)
    options: ClassVar[Mapping[str, api.Json]] = {
        "role": option_schemas.name("The user with all rights that clients log in as. Default: `root`."),
        "database": option_schemas.name("The database of DATABASE_URL. Default: `test`."),
        "password": option_schemas.password("The password of the user. It is no secret. Default: `root`."),
        "settings": option_schemas.settings(
            "The server's own settings, as in `{max-connections: 200}`.", r"^[a-z][a-z0-9-]*$", "max-connections"
        ),
    }

    def service(self, declaration: api.ServiceDeclaration, project: api.Project) -> api.ServiceDraft:
        """Returns the service: mariadb-install-db before its first start, then one process."""
        release = debian_versions.choose_release(PRODUCT, declaration, self.name)
        role = option_schemas.text_option(declaration, "role", "root")
        database = option_schemas.text_option(declaration, "database", "test")
        password = option_schemas.text_option(declaration, "password", "root")
        settings = option_schemas.read_settings(declaration, _OWN)
        ask = api.Command(argv=("mariadb-admin", "ping"))
        return api.ServiceDraft(
            **server_stack.stack_of(self.name, release, _packages(release)),
            command=api.Command(argv=("mariadbd", f"--defaults-file={CONFIG}")),
            ready=option_schemas.ready_check(
                "ready for connections", ask, settings, lambda key: key.startswith(("log-", "lc-", "general-log"))
            ),
            ports=(PORT,),
            stop_signal="TERM",
            before=_make_data(release, role, database, password),
            data=(DATA,),
            provides={
                "DATABASE_URL": option_schemas.url("mysql", role, password, declaration.host, PORT, f"/{database}")
            },
            files={CONFIG: _config(release, _SETTINGS | settings, role, database, password)},
        )


def _packages(release: debian_versions.ServerRelease) -> tuple[str, ...]:
    """Returns the packages without mariadb-server, which would make data, for a user of its own."""
    ending = "-10.5" if release.suite == "bullseye" else ""
    names = [f"mariadb-{name}{ending}" for name in ("server-core", "client-core", "client")]
    return (*names, "openssl") if _has_certificate(release) else (*names,)


def _has_certificate(release: debian_versions.ServerRelease) -> bool:
    """Returns whether the data have a certificate. From 11.4 on the server would make one at each start, which takes
    0.4 s, and its clients require one."""
    return release.installs and release.suite == "trixie"


def _config(
    release: debian_versions.ServerRelease, settings: Mapping[str, str], role: str, database: str, password: str
) -> str:
    server = {"datadir": DATA, "bind-address": "0.0.0.0", "socket": "/tmp/mariadb.sock", "pid-file": "/tmp/mariadb.pid"}
    if _has_certificate(release):
        server |= {"ssl-cert": _CERTIFICATE, "ssl-key": _KEY}
    client = {"socket": "/tmp/mariadb.sock", "user": role, "password": password}
    return "".join(
        f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
        for section, values in (
            ("mariadbd", {**server, **settings}),
            ("client", client),
            ("mariadb-client", {"database": database}),
        )
    )


def _make_data(
    release: debian_versions.ServerRelease, role: str, database: str, password: str
) -> tuple[api.Command, ...]:
    """Returns the commands that make the data, while the server is not up. No command needs another id."""
    install = (
        f"mariadb-install-db --no-defaults --datadir={DATA} --auth-root-authentication-method=normal --skip-test-db "
        "--skip-name-resolve --innodb-log-file-size=8M --innodb-undo-tablespaces=0 "
        ">/tmp/install 2>&1 || { cat /tmp/install >&2; exit 1; }"
    )
    statements = (  # one on each line, as --bootstrap wants them
        f"CREATE DATABASE IF NOT EXISTS `{database}`;",
        "DELETE FROM mysql.global_priv WHERE User IN ('root', '');",  # users of this host without a password
        "FLUSH PRIVILEGES;",
        *(
            statement
            for host in ("%", "localhost")
            for statement in (
                f"CREATE USER '{role}'@'{host}' IDENTIFIED BY '{password}';",
                f"GRANT ALL ON *.* TO '{role}'@'{host}' WITH GRANT OPTION;",
            )
        ),
    )
    script = "cat >/tmp/users.sql <<'END'\n" + "\n".join(statements) + "\nEND\n"
    script += f"mariadbd --defaults-file={CONFIG} --bootstrap </tmp/users.sql >/tmp/bootstrap 2>&1 || "
    script += "{ cat /tmp/bootstrap >&2; exit 1; }"
    certificate = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 -subj /CN=mariadb "
        f"-keyout {_KEY} -out {_CERTIFICATE} 2>/tmp/openssl || {{ cat /tmp/openssl >&2; exit 1; }}"
    )
    scripts = (install, *((certificate,) if _has_certificate(release) else ()), script)
    return tuple(api.Command(shell=item) for item in scripts)
