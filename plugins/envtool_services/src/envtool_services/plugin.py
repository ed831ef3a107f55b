"""The hook: the kinds of service that this distribution adds to envtool."""

from __future__ import annotations

from envtool import api
from envtool_services.mariadb import MariaDB
from envtool_services.nats import Nats
from envtool_services.nginx import Nginx
from envtool_services.postgres import Postgres
from envtool_services.rabbitmq import RabbitMQ
from envtool_services.redis import Redis

envtool_api = 1  # of docs/api-changelog.md


@api.hook
def envtool_service_kinds() -> list[api.ServiceKind]:
    """`mariadb`, `nats`, `nginx`, `postgres`, `rabbitmq`, `redis`."""
    return [MariaDB(), Nats(), Nginx(), Postgres(), RabbitMQ(), Redis()]
