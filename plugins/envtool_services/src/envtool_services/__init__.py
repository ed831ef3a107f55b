"""The kinds of service: `db: {postgres: 15}` is a database with its base, packages, command and ready check.

Each server comes from Debian, runs as an ordinary user on one id, and keeps its data in a directory of its own.

debian_versions  Which Debian suite has which version of a server
mariadb          The kind `mariadb`
nats             The kind `nats`
nginx            The kind `nginx`
nginx_config     Text of nginx.conf: a load balancer, a web server, or the project's own file
option_schemas   Schemas and texts of the keys that several kinds have
plugin           The hook that adds the kinds to envtool
postgres         The kind `postgres`
rabbitmq         The kind `rabbitmq`
redis            The kind `redis`
server_stack     The base and layers of a server, and the directory of its data
"""

__version__ = "0.3.0"
