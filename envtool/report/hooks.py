"""Registers the readers of output that no plugin of ours has yet, and the formats of reports, by the hooks that a
plugin uses: `plugins.discover()` loads this module by its name."""

from __future__ import annotations

from envtool import api


@api.hook
def envtool_output_readers() -> list[api.OutputReader]:
    from envtool.report.test_counts import native, others

    return [*native.READERS, *others.READERS]


@api.hook
def envtool_report_formats() -> list[api.ReportFormat]:
    return [
        api.ReportFormat(name="junit", write=_write_junit, counts_tests=True),
        api.ReportFormat(name="markdown", write=_write_markdown, counts_tests=True),
    ]


# Every `test` asks for the formats, and few write a report.
def _write_junit(report: api.Report) -> bytes:
    from envtool.report.junit import junit_xml

    return junit_xml(report)


def _write_markdown(report: api.Report) -> bytes:
    from envtool.report.markdown import markdown

    return markdown(report)
