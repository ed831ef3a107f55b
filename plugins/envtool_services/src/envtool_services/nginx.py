"""The kind `nginx`: in front of other services, for files of the project, or with a configuration of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from envtool import api
from envtool_services import debian_versions, server_stack

PRODUCT = debian_versions.Product("nginx", {"bullseye": "1.18", "bookworm": "1.22", "trixie": "1.26"})
CONFIG = "/etc/nginx/envtool.conf"
_TARGET: api.Json = {
    "type": "string",
    "pattern": r"^[A-Za-z0-9][A-Za-z0-9-]{0,62}:[0-9]{1,5}$",
    "errorMessage": "a service and its port, as in api:8000",
}
# What the package leaves to root: directories of temporary files, and logs, which go where other services print.
_OPEN = (
    server_stack.make_directories("/var/lib/nginx", "/var/log/nginx"),
    "ln -sf /dev/stdout /var/log/nginx/access.log",
    "ln -sf /dev/stderr /var/log/nginx/error.log",
)


class Nginx(api.ServiceKind):
    """nginx as an ordinary user, on port 80 if the spec names no other."""

    name: ClassVar[str] = "nginx"
    schema: ClassVar[api.Json] = debian_versions.schema(PRODUCT)
    options: ClassVar[Mapping[str, api.Json]] = {
        "upstream": {
            "description": "Where it passes requests to: a service and its port, as in `api:8000`, or several by the "
            "begin of the path, as in `{/: web:3000, /api: api:8000}`. All replicas that are ready get requests.",
            "examples": ["api:8000"],
            "anyOf": [
                _TARGET,
                {
                    "type": "object",
                    "propertyNames": {
                        "pattern": r"^/[A-Za-z0-9_./~-]*$",
                        "errorMessage": "the begin of a path, as in /api",
                    },
                    "additionalProperties": _TARGET,
                    "minProperties": 1,
                },
            ],
        },
        "root": {"description": "A directory of the project whose files it serves.", "type": "string", "minLength": 1},
        "config": {
            "description": "A file of the project: a whole nginx.conf, or `server` blocks alone.",
            "type": "string",
            "minLength": 1,
        },
    }

    def service(self, declaration: api.ServiceDeclaration, project: api.Project) -> api.ServiceDraft:
        """Returns the service. Raises SpecError if nothing says what it serves, UsageError for a file that may not be
        read."""
        from envtool_services import nginx_config

        release = debian_versions.choose_release(PRODUCT, declaration, self.name)
        package = "nginx-light" if release.suite == "bullseye" else "nginx"
        text = nginx_config.text_of(declaration, project)
        return api.ServiceDraft(
            **server_stack.stack_of(self.name, release, (package,), _OPEN),
            command=api.Command(argv=("nginx", "-c", CONFIG)),
            project="root" in declaration.options or "config" in declaration.options,
            ports=nginx_config.ports_of(text) or (nginx_config.PORT,),
            stop_signal="QUIT",  # requests that are under way end
            files={CONFIG: text},
        )
