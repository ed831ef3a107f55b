"""Text and JSON of `up`, `ps` and `logs` (docs/json.md)."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, TextIO

from envtool.cli import console
from envtool.cli.tables import table
from envtool.fs.sizes import format_size
from envtool.report.json_lines import write_line
from envtool.report.text import fit_lines, format_seconds, one_line, sanitize
from envtool.services.up.service_log import MANAGER
from envtool.services.up.service_status import state_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envtool.app.running_services import ProjectServices
    from envtool.cli.common_options import Settings
    from envtool.model import Json
    from envtool.report.formatting import Style
    from envtool.services.up.service_log import LogLine

_COLOURS = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")  # SGR, of the names of replicas
_FIRM = (2, 3, 4)  # columns of times, ports and sizes
_STATES = {"ready": "32", "failed": "31", "restarting": "33", "starting": "33", "stopping": "33"}


def write_services(
    settings: Settings, projects: Sequence[ProjectServices], *, file: TextIO, everywhere: bool = False
) -> None:
    """Write the services of projects: as JSON to standard output, or as tables to `file`."""
    if settings.json:
        write_line(sys.stdout, services_json(projects))
        return
    style = console.detect_style(file, settings.color)
    text = format_services(
        projects, style, now=time.time(), columns=console.terminal_width(file), everywhere=everywhere
    )
    file.write(f"{text}\n")
    file.flush()


def format_services(
    projects: Sequence[ProjectServices], style: Style, *, now: float, columns: int = 0, everywhere: bool = False
) -> str:
    """The replicas of projects; with `everywhere` below the path of each."""
    parts = []
    for project in projects:
        lines = [fit_lines(style.paint("1", one_line(_name(project))), columns)] if everywhere else []
        if project.running:
            lines += _table(project, style, now, columns)
        else:
            lines.append(fit_lines(_ended(project, now), columns))
        parts.append("\n".join(lines))
    return "\n\n".join(parts) or "no services run: `envtool up` starts them"


def _name(project: ProjectServices) -> str:
    return project.root if project.spec == "envtool.yaml" else f"{project.root} (-f {project.spec})"


def _table(project: ProjectServices, style: Style, now: float, columns: int) -> list[str]:
    rows = [("replica", "state", "since", "ports", "memory")]
    first: set[str] = set()
    for fields in project.replicas:
        ports = "" if fields["service"] in first else " ".join(
            f"127.0.0.1:{host_port}->{port}" for port, host_port in fields["published"]
        )  # fmt: skip
        first.add(fields["service"])
        words = style.paint(_STATES.get(fields["state"], ""), state_words(fields))
        since = format_seconds(now - fields["since"])
        memory = format_size(fields["memory"]) if fields["memory"] else ""
        rows.append((one_line(fields["replica"]), words, since, ports, memory))
    lines = table(rows, columns, firm=_FIRM)
    errors = [f"{fields['replica']}: {one_line(fields['error'])}" for fields in project.replicas if fields["error"]]
    return [*lines, *(fit_lines(error, columns) for error in errors)]


def _ended(project: ProjectServices, now: float) -> str:
    record = project.record
    if record.ended:
        return f"they ended {format_seconds(now - record.ended)} ago: {one_line(record.reason)}"
    ago = format_seconds(now - record.seen)
    return f"they do not run: their process was killed, or this machine restarted, at most {ago} ago"


def services_json(projects: Sequence[ProjectServices]) -> Json:
    """What `up` and `ps` write with `--json`."""
    return {"projects": [_project_json(project) for project in projects]}


def _project_json(project: ProjectServices) -> Json:
    record = project.record
    services: dict[str, dict[str, Any]] = {}
    for fields in project.replicas:
        ports = [{"port": port, "host_port": host_port} for port, host_port in fields["published"]]
        service = services.setdefault(
            fields["service"], {"name": fields["service"], "published": ports, "replicas": []}
        )
        service["replicas"].append({name: fields[name] for name in _REPLICA})
    return {
        "project": project.root,
        "spec": project.spec,
        "running": project.running,
        "started": record.started,
        "ended": None if project.running else record.ended or record.seen,
        "reason": "" if project.running else record.reason or "killed",
        "services": [*services.values()],
    }


_REPLICA = ("replica", "state", "status", "since", "restarts", "address", "memory", "error")


class LogPrinter:
    """Writes lines of a log to standard output, each after the name of its replica; with `--json` as objects. Called by
    any thread."""

    def __init__(self, settings: Settings) -> None:
        self._json = settings.json
        self._style = console.detect_style(sys.stdout, settings.color)
        self._colours: dict[str, str] = {}
        self._width = 0

    def align(self, lines: Sequence[LogLine]) -> None:
        """Leave room for the names of these lines."""
        self._width = max([self._width, *(len(line.replica) for line in lines)])

    def write(self, line: LogLine) -> None:
        """Write a line."""
        if self._json:
            service = "" if line.replica == MANAGER else line.service
            write_line(sys.stdout, {"time": line.time, "service": service, "replica": line.replica, "text": line.text})
            return
        self._width = max(self._width, len(line.replica))
        colour = self._colours.setdefault(line.replica, _COLOURS[len(self._colours) % len(_COLOURS)])
        name = self._style.paint("2" if line.replica == MANAGER else colour, f"{line.replica:{self._width}} |")
        sys.stdout.write(f"{name} {sanitize(line.text, color=self._style.color)}\n")
        sys.stdout.flush()
