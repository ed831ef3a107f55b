"""Writes the reports of a run: `--report FORMAT=FILE` and `--junit FILE`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from envtool import plugin_calls
from envtool.errors import EnvtoolError, UsageError, closest_name
from envtool.report import recorder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envtool.api.reporting import ReportFormat
    from envtool.app.read_spec import RunOffers
    from envtool.events import Report
    from envtool.plugin_calls import Offer
    from envtool.report.stream import ReportedResult

TITLES = {"junit": "the JUnit file"}


def make_report_writer(reports: Sequence[tuple[str, str]], offers: RunOffers, project: str) -> ReportWriter:
    """The writer of reports: pairs of the name of a format and a path. `project` is the directory below which links are
    not the caller's. Raises UsageError for a format that does not exist."""
    for name, _ in reports:
        if name not in offers.formats:
            close = closest_name(name, offers.formats)
            hint = f"did you mean `{close}`?" if close else f"there are {', '.join(offers.formats)}"
            hint = "; ".join(filter(None, (hint, offers.left_out)))
            raise UsageError(f"unknown format of a report: `{name}`", code="usage.report", hint=hint)
    files = [(offers.formats[name], path) for name, path in reports]
    counts_tests = any(offer.value.counts_tests for offer, _ in files)
    return ReportWriter(files, recorder.Recorder(offers.readers if counts_tests else ()), project)


class ReportWriter:
    """Writes the reports of the run that its `recorder` records."""

    def __init__(
        self, files: Sequence[tuple[Offer[ReportFormat], str]], recorder: recorder.Recorder, project: str
    ) -> None:
        self._files, self.recorder, self._project = files, recorder, project

    def write(self, results: Sequence[ReportedResult]) -> bool:
        """Write all reports, and print why one cannot be written. Returns whether all are written."""
        report = self.recorder.report(results)
        written = [self._write(offer, path, report) for offer, path in self._files]
        return all(written)

    def _write(self, offer: Offer[ReportFormat], path: str, report: Report) -> bool:
        name = offer.value.name
        try:
            content = plugin_calls.call(
                offer.owner, offer.value.write, f"the report format `{name}`", report, expected=bytes
            )
            recorder.write_file(path, content, self._project)
        except EnvtoolError as error:
            print(f"error: {error.message}", file=sys.stderr)
            return False
        except OSError as error:
            print(f"error: {TITLES.get(name, f'the {name} report')} cannot be written: {error}", file=sys.stderr)
            return False
        return True
