"""The kind `nats`: a NATS server with JetStream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from envtool import api
from envtool_services import debian_versions, option_schemas, server_stack

PRODUCT = debian_versions.Product("NATS", {"bookworm": "2.9", "trixie": "2.10"})
DATA = server_stack.data_directory("nats")
PORT, MONITORING_PORT = 4222, 8222


class Nats(api.ServiceKind):
    """A NATS server that any client in the run's network may use."""

    name: ClassVar[str] = "nats"
    schema: ClassVar[api.Json] = debian_versions.schema(PRODUCT)
    options: ClassVar[Mapping[str, api.Json]] = {
        "role": option_schemas.name("The user that clients log in as, if there is a password. Default: `nats`."),
        "password": option_schemas.password("The password that clients need. It is no secret. Default: none."),
    }

    def service(self, declaration: api.ServiceDeclaration, project: api.Project) -> api.ServiceDraft:
        """Returns the service: one process, all of whose settings are on its command line."""
        release = debian_versions.choose_release(PRODUCT, declaration, self.name)
        password = option_schemas.text_option(declaration, "password", "")
        role = option_schemas.text_option(declaration, "role", "nats") if password else ""
        words = ["-a", "0.0.0.0", "-p", str(PORT), "-m", str(MONITORING_PORT), "-js", "-sd", DATA]
        words += ["--user", role, "--pass", password] if password else []
        return api.ServiceDraft(
            **server_stack.stack_of(self.name, release, ("nats-server",)),
            command=api.Command(argv=("nats-server", *words)),
            ports=(PORT, MONITORING_PORT),
            stop_signal="INT",  # after TERM its exit status is 1
            data=(DATA,),
            provides={"NATS_URL": option_schemas.url("nats", role, password, declaration.host, PORT)},
        )
