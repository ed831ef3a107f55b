"""The kind `redis`: a Redis that writes its data only when it is stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from envtool import api
from envtool_services import debian_versions, option_schemas, server_stack

PRODUCT = debian_versions.Product("Redis", {"bullseye": "6.0", "bookworm": "7.0", "trixie": "8.0"})
DATA = server_stack.data_directory("redis")
PORT = 6379
_OWN = ("bind", "daemonize", "dir", "port", "protected-mode", "requirepass", "unixsocket")
# With a save point, one that is never reached, the data are written at a clean stop: what `prepare` leaves is kept.
_SETTINGS = {"save": "86400 1000000000", "appendonly": "no"}
_ASK = "redis-cli ping | grep -q PONG"  # its status is 0 while it still loads data


class Redis(api.ServiceKind):
    """A Redis that any client in the run's network may use."""

    name: ClassVar[str] = "redis"
    schema: ClassVar[api.Json] = debian_versions.schema(PRODUCT)
    options: ClassVar[Mapping[str, api.Json]] = {
        "password": option_schemas.password("The password that clients need. It is no secret. Default: none."),
        "settings": option_schemas.settings(
            "The server's own settings, as in `{maxmemory: 100mb}`.", r"^[a-z][a-z0-9-]*$", "maxmemory"
        ),
    }

    def service(self, declaration: api.ServiceDeclaration, project: api.Project) -> api.ServiceDraft:
        """Returns the service: one process, all of whose settings are on its command line."""
        import shlex

        release = debian_versions.choose_release(PRODUCT, declaration, self.name)
        password = option_schemas.text_option(declaration, "password", "")
        settings = option_schemas.read_settings(declaration, _OWN, truth=("no", "yes"))
        server = {"port": str(PORT), "bind": "0.0.0.0", "protected-mode": "no", "dir": DATA, **_SETTINGS, **settings}
        words = [word for key, value in server.items() for word in (f"--{key}", *(shlex.split(value) or [""]))]
        words += ["--requirepass", password] if password else []
        return api.ServiceDraft(
            **server_stack.stack_of(self.name, release, ("redis-server",)),
            command=api.Command(argv=("redis-server", *words)),
            variables={"REDISCLI_AUTH": password} if password else {},
            ready=option_schemas.ready_check(
                "Ready to accept connections",
                api.Command(shell=_ASK),
                settings,
                lambda key: key.startswith(("log", "syslog")),
            ),
            ports=(PORT,),
            stop_signal="TERM",
            data=(DATA,),
            provides={"REDIS_URL": option_schemas.url("redis", "", password, declaration.host, PORT, "/0")},
        )
