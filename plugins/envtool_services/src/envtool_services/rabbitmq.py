"""The kind `rabbitmq`: one node of RabbitMQ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from envtool import api
from envtool_services import debian_versions, option_schemas, server_stack

PRODUCT = debian_versions.Product("RabbitMQ", {"bullseye": "3.8", "bookworm": "3.10", "trixie": "4.0"})
DATA = server_stack.data_directory("rabbitmq")
PORT, MANAGEMENT_PORT = 5672, 15672
CONFIG, PLUGINS = "/etc/rabbitmq/envtool.conf", "/etc/rabbitmq/envtool_plugins"
_OWN = ("default_pass", "default_user", "default_vhost", "listeners.tcp.default", "loopback_users.guest")
_SETTINGS = {"log.console": "true", "log.console.level": "warning"}
_VARIABLES = {
    "PATH": "/usr/lib/rabbitmq/bin",  # Debian's commands in /usr/sbin are for root, and for the user rabbitmq
    "RABBITMQ_NODENAME": "rabbit@localhost",  # part of the names of its data, so the same in each container
    "RABBITMQ_MNESIA_BASE": DATA,
    "RABBITMQ_LOGS": "-",
    "RABBITMQ_LOG_BASE": "/tmp/rabbitmq-log",
    "RABBITMQ_PID_FILE": "/tmp/rabbitmq.pid",
    "RABBITMQ_CONFIG_FILE": CONFIG.removesuffix(".conf"),
    "RABBITMQ_ENABLED_PLUGINS_FILE": PLUGINS,
}


class RabbitMQ(api.ServiceKind):
    """A broker that any client in the run's network may use."""

    name: ClassVar[str] = "rabbitmq"
    schema: ClassVar[api.Json] = debian_versions.schema(PRODUCT)
    options: ClassVar[Mapping[str, api.Json]] = {
        "role": option_schemas.name("The administrator that clients log in as. Default: `guest`."),
        "password": option_schemas.password("The password of the role. It is no secret. Default: `guest`."),
        "vhost": {
            "description": "The virtual host. Default: `/`.",
            "type": "string",
            "pattern": r"^[A-Za-z0-9_./-]+$",
            "errorMessage": "the name of a virtual host: letters, digits and any of `_./-`, as in /app",
        },
        "plugins": {
            "description": "Plugins that are enabled, as in `[rabbitmq_management]`.",
            "type": "array",
            "items": {
                "type": "string",
                "pattern": r"^[a-z][a-z0-9_]*$",
                "errorMessage": "the name of a plugin in small letters, as in rabbitmq_management",
            },
        },
        "settings": option_schemas.settings(
            "Lines of rabbitmq.conf, as in `{channel_max: 100}`.", r"^[A-Za-z][A-Za-z0-9_.$-]*$", "channel_max"
        ),
    }

    def service(self, declaration: api.ServiceDeclaration, project: api.Project) -> api.ServiceDraft:
        """Returns the service. Its port is open only when the node, its users and its queues are there."""
        from urllib.parse import quote

        release = debian_versions.choose_release(PRODUCT, declaration, self.name)
        role = option_schemas.text_option(declaration, "role", "guest")
        password = option_schemas.text_option(declaration, "password", "guest")
        vhost = option_schemas.text_option(declaration, "vhost", "/")
        lines = _SETTINGS | option_schemas.read_settings(declaration, _OWN, truth=("false", "true"))
        lines |= {
            "default_user": role,
            "default_pass": password,
            "default_vhost": vhost,
            "loopback_users.guest": "false",
        }
        plugins = declaration.options.get("plugins")
        names = [str(item) for item in plugins] if isinstance(plugins, list) else []
        return api.ServiceDraft(
            **server_stack.stack_of(self.name, release, ("rabbitmq-server",)),
            command=api.Command(argv=("rabbitmq-server",)),
            variables=_VARIABLES,
            ports=(PORT, MANAGEMENT_PORT) if "rabbitmq_management" in names else (PORT,),
            stop_signal="TERM",
            grace=20.0,  # Erlang ends its applications one after the other
            data=(DATA,),
            provides={
                "AMQP_URL": option_schemas.url(
                    "amqp", role, password, declaration.host, PORT, f"/{quote(vhost, safe='')}"
                )
            },
            files={
                CONFIG: "".join(f"{key} = {value}\n" for key, value in lines.items()),
                PLUGINS: f"[{','.join(names)}].\n",
            },
        )
