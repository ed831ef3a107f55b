from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.events import Finished, Output, Report, ReportedTask, Started
from envtool.report.junit import junit_xml
from envtool.report.recorder import MAX_OUTPUT, Recorder, write_file
from envtool.run.result import Result


def case(report, env, task, *outputs, outcome="passed", status=0):
    report.event(Started(id=env + task, subject="task", name=task, env=env, time=1.7e9))
    for text in outputs:
        report.event(Output(id=env + task, text=text))
    if outcome:
        report.event(
            Finished(
                id=env + task,
                subject="task",
                name=task,
                env=env,
                outcome=outcome,
                status=status,
                time=1.7e9,
                seconds=1.25,
            )
        )


def test_a_suite_an_env_a_case_a_task():
    report = Recorder()
    case(report, "unit", "test", "fine\n")
    case(report, "unit", "lint", "bad\n", outcome="failed", status=1)
    case(report, "slow", "test", outcome="timeout", status=124)
    case(report, "cut", "test", "half", outcome=None)
    root = ET.fromstring(junit_xml(report.report()))
    assert root.attrib["tests"] == "4"
    assert (root.attrib["failures"], root.attrib["errors"]) == ("2", "1")
    assert [(suite.get("name"), suite.get("tests")) for suite in root] == [("unit", "2"), ("slow", "1"), ("cut", "1")]
    assert root[0].get("timestamp") == "2023-11-14T22:13:20+00:00"
    assert root[0][0].get("time") == "1.25"
    assert root[2][0].find("error").get("type") == "interrupted"
    assert root[2][0].find("system-out").text == "half"


def test_what_is_unchanged_is_the_case_of_the_run_that_passed(tmp_path):
    report = Recorder()
    report.event(Started(id="t", subject="task", name="test", env="unit", time=1.7e9))
    ended = {"id": "t", "subject": "task", "name": "test", "env": "unit", "status": 0, "time": 1.7e9, "seconds": 2.5}
    report.event(Finished(**ended, outcome="cached", since=1.6e9, host="builder.example"))
    (tmp_path / "log").write_text("it printed this\n")
    told = Result(
        env="unit", task="test", outcome="cached", status=0, seconds=2.5, started=1.6e9, log=str(tmp_path / "log")
    )
    root = ET.fromstring(junit_xml(report.report([told])))
    assert (root.get("tests"), root.get("failures"), root.get("errors"), root.get("skipped")) == ("1", "0", "0", "0")
    assert root[0].get("timestamp") == "2020-09-13T12:26:40+00:00"
    properties = {each.get("name"): each.get("value") for each in root.iter("property")}
    assert properties == {"envtool.unchanged_since": "2020-09-13T12:26:40+00:00", "envtool.ran_on": "builder.example"}
    assert root[0][-1].get("time") == "2.5"
    assert root[0][-1].find("system-out").text == "it printed this\n"


@given(st.text(), st.text())
def test_any_output_makes_valid_xml(output, name):
    report = Recorder()
    case(report, name, "test", output)
    assert ET.fromstring(junit_xml(report.report())).get("tests") == "1"


def test_the_end_of_a_huge_output_is_kept_in_bounded_memory():
    report = Recorder()
    case(report, "unit", "test", *("x" * 65536 for _ in range(100)), "the end")
    assert sum(len(part) for each in report._tasks.values() for part in each.parts) <= MAX_OUTPUT + 65536
    text = ET.fromstring(junit_xml(report.report()))[0][0].find("system-out").text
    assert text.endswith("the end")
    assert len(text) <= MAX_OUTPUT


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "r.xml"
    path.write_text("old")
    with pytest.raises(TypeError):
        write_file(str(path), "no bytes")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["r.xml"]


def test_outputs_of_a_failure_are_a_property():
    task = ReportedTask(
        env="unit", task="test", outcome="failed", status=1, started=0.0, seconds=1.0, outputs=("a\x01", "b")
    )
    (case,) = ET.fromstring(junit_xml(Report(tasks=(task,), seconds=1.0))).iter("testcase")
    properties = {item.get("name"): item.get("value") for item in case.iter("property")}
    assert properties["envtool.outputs_of_failure"].split() == ["a\ufffd", "b"]
