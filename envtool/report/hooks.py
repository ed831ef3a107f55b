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
    from envtool.report.junit import junit_xml
    from envtool.report.markdown import markdown

    return [
        api.ReportFormat(name="junit", write=junit_xml),
        api.ReportFormat(name="markdown", write=markdown, counts_tests=True),
    ]
