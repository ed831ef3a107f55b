"""Text of nginx.conf: a load balancer, a web server, or the project's own file."""

from __future__ import annotations

import re

from envtool import api
from envtool_services.debian_versions import spec_error

PORT = 80
RESOLVER = "10.64.0.1"  # of the network of a run (docs/decisions/0143)
PROJECT = "/project"
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
_MAIN = """daemon off;
pid /tmp/nginx.pid;
error_log stderr;
worker_processes 1;
events { worker_connections 1024; }
"""
# A name is looked up again after a second, and each answer has all replicas that are ready: nginx takes one of them at
# random for each request, and the next one where a connection fails.
_HTTP = f"""include /etc/nginx/mime.types;
default_type application/octet-stream;
access_log /dev/stdout;
sendfile on;
resolver {RESOLVER} valid=1s ipv6=off;
proxy_connect_timeout 2s;
proxy_http_version 1.1;
proxy_set_header Host $http_host;
proxy_set_header X-Real-IP $remote_addr;
proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
proxy_set_header X-Forwarded-Proto $scheme;
proxy_set_header Upgrade $http_upgrade;
proxy_set_header Connection $connection_upgrade;
map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
"""
# An own file sets neither: the process is the service's first one, an ordinary user, who may not write to /run.
_REPLACED = re.compile(r"^[ \t]*(?:daemon|pid|user)\s[^;{}]*;", re.MULTILINE)
_WHOLE = re.compile(r"^\s*(?:events|http|stream)\s*\{", re.MULTILINE)
_COMMENT = re.compile(r"#[^\n]*")
_LISTEN = re.compile(r"\blisten\s+(?:\[[0-9A-Fa-f:.]*\]:|[A-Za-z0-9.*-]+:)?([0-9]{1,5})\b(?![.:])")


def text_of(declaration: api.ServiceDeclaration, project: api.Project) -> str:
    """Returns the configuration. Raises SpecError, UsageError."""
    options = declaration.options
    if "config" not in options:
        return _wrap(_server(declaration))
    if others := sorted({"root", "upstream"} & {*options}):
        message = f"`config` and `{others[0]}` both say what it serves"
        raise spec_error(declaration, message, hint="remove one of them")
    path = str(options["config"])
    text = project.read(path)
    if text is None:
        raise spec_error(declaration, f"there is no file {path}", hint="`config` is relative to this file")
    if not _WHOLE.search(_COMMENT.sub("", text)):
        return _wrap(text)
    return "daemon off;\npid /tmp/nginx.pid;\n" + _REPLACED.sub("", text)


def ports_of(text: str) -> tuple[int, ...]:
    """Returns the TCP ports that a configuration listens on."""
    numbers = (int(port) for port in _LISTEN.findall(_COMMENT.sub("", text)))
    return tuple(dict.fromkeys(number for number in numbers if 0 < number < 65536))


def _wrap(text: str) -> str:
    temporary = "".join(f"{name}_temp_path /tmp/nginx-{name};\n" for name in _TEMPORARY)
    return f"{_MAIN}http {{\n{_HTTP}{temporary}{text}\n}}\n"


def _server(declaration: api.ServiceDeclaration) -> str:
    upstream, root = declaration.options.get("upstream"), declaration.options.get("root")
    targets = upstream if isinstance(upstream, dict) else {"/": upstream} if upstream else {}
    if not targets and root is None:
        hint = "write `upstream: api:8000`, `root: DIRECTORY` or `config: FILE` beside `nginx`"
        raise spec_error(declaration, "nothing says what nginx serves", hint=hint)
    if root is not None and "/" in targets:
        hint = "give the service a path of its own, as in `upstream: {/api: api:8000}`"
        raise spec_error(declaration, "`root` and `upstream` both serve `/`", hint=hint)
    blocks = [
        f"location {path} {{ set $target all.{target}; proxy_pass http://$target; }}"
        for path, target in targets.items()
    ]
    if root is not None:
        blocks.append(f"root {_directory(declaration, str(root))};\nindex index.html;")
    return "server {\n" + f"listen {PORT};\n" + "\n".join(blocks) + "\n}"


def _directory(declaration: api.ServiceDeclaration, path: str) -> str:
    """Returns where the service sees a directory of the project."""
    from posixpath import normpath

    whole = normpath(f"{declaration.directory}/{path}")
    if path.startswith("/") or whole.startswith("..") or not re.fullmatch(r"[A-Za-z0-9_./@+-]+", whole):
        hint = "name a directory of the project, relative to this file, without blanks"
        raise spec_error(declaration, f"`root: {path}` is no directory of the project", hint=hint)
    return PROJECT if whole == "." else f"{PROJECT}/{whole}"
