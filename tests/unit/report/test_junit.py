from __future__ import annotations

import io
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import junitparser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.events import Case, Finished, Output, Report, ReportedTask, Started
from envtool.plugins import discover, output_readers
from envtool.report import junit_cases
from envtool.report.junit import junit_xml
from envtool.report.junit_cases import split_id
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


# ---- tests of tasks --------------------------------------------------------------------------------------------------

# What readers of JUnit XML accept: the elements of Jenkins' junit-10.xsd and Surefire's surefire-test-report.xsd, each
# with its attributes, and with what may be below it, in that order.
SCHEMA = {
    "testsuites": ({"name", "tests", "failures", "errors", "skipped", "time"}, ["testsuite"]),
    "testsuite": (
        {"name", "timestamp", "tests", "errors", "failures", "skipped", "time"}, ["properties", "testcase"],
    ),
    "testcase": (
        {"name", "classname", "time"},
        ["skipped", "error", "failure", "properties", "system-out", "rerunFailure", "flakyFailure"],
    ),
    "properties": (set(), ["property"]),
    "property": ({"name", "value"}, []),
    **{name: ({"message", "type"}, []) for name in ("skipped", "error", "failure")},
    "system-out": (set(), []),
    **{name: ({"message", "type"}, ["stackTrace", "system-out"]) for name in ("rerunFailure", "flakyFailure")},
    "stackTrace": (set(), []),
}  # fmt: skip


def check_schema(element):
    attributes, below = SCHEMA[element.tag]
    assert set(element.attrib) <= attributes
    positions = [below.index(child.tag) for child in element]
    assert positions == sorted(positions), [child.tag for child in element]
    for child in element:
        check_schema(child)


def task_of(cases, env="unit", name="test", outcome="passed", **more):
    return ReportedTask(
        env=env, task=name, outcome=outcome, status=0, started=1.7e9, seconds=1.0, cases=tuple(cases), **more
    )


def report_of(*tasks):
    text = junit_xml(Report(tasks=tasks, seconds=1.0))
    root = ET.fromstring(text)
    check_schema(root)
    read = junitparser.JUnitXml.fromroot(junitparser.JUnitXml.fromstring(text)._elem)  # a consumer's reader
    assert [suite.name for suite in read] == [suite.get("name") for suite in root]
    for count in ("tests", "failures", "errors", "skipped"):
        assert sum(int(suite.get(count)) for suite in root) == int(root.get(count))
    return root


def suite_of(root, suite="unit test"):
    (found,) = [each for each in root if each.get("name") == suite]
    return found


def test_each_test_of_a_task_is_a_testcase():
    cases = (
        Case(id="tests/test_a.py::test_one", outcome="passed", seconds=0.0124),
        Case(id="tests/test_a.py::TestB::test_two[a::b]", outcome="failed", message="assert 1 == 2"),
        Case(id="tests/test_a.py::test_three", outcome="error", seconds=float("nan")),
        Case(id="tests/test_a.py::test_four", outcome="skipped", message="no network"),
    )
    counts = (("failed", 1), ("error", 1), ("passed", 311), ("skipped", 1))
    root = report_of(task_of(cases, outcome="failed", message="exit 1", counts=counts), task_of((), name="lint"))
    assert [(suite.get("name"), suite.get("tests")) for suite in root] == [("unit", "2"), ("unit test", "4")]
    assert {name: root.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "6", "failures": "2", "errors": "1", "skipped": "1",
    }  # fmt: skip
    assert [each.attrib for each in root[1]] == [
        {"name": "test_one", "classname": "unit.test.tests.test_a", "time": "0.012"},
        {"name": "test_two[a::b]", "classname": "unit.test.tests.test_a.TestB"},
        {"name": "test_three", "classname": "unit.test.tests.test_a"},
        {"name": "test_four", "classname": "unit.test.tests.test_a"},
    ]
    passed, failed, error, skipped = root[1]
    assert not [*passed]
    assert (failed[0].tag, failed[0].attrib, failed[0].text) == (
        "failure", {"message": "assert 1 == 2", "type": "failed"}, "assert 1 == 2",
    )  # fmt: skip
    assert (error[0].tag, error[0].get("message")) == ("error", "error")
    assert (skipped[0].tag, skipped[0].get("message")) == ("skipped", "no network")
    (tests,) = [each for each in root[0][0].iter("property") if each.get("name") == "envtool.tests"]
    assert tests.get("value") == "1 failed, 1 error, 311 passed, 1 skipped"


@pytest.mark.parametrize(
    ("test_id", "group", "name"),
    [
        ("tests/test_a.py::TestB::test_c[x/y::z]", "tests.test_a.TestB", "test_c[x/y::z]"),
        ("tests/test_a.py", "", "tests/test_a.py"),  # pytest: a module that cannot be collected
        ("test_two (tests.test_a.A.test_two)", "tests.test_a.A", "test_two"),
        ("test_two (tests.test_a.A)", "tests.test_a.A", "test_two"),  # unittest before Python 3.11
        ("suite > inner > one", "suite > inner", "one"),
        ("a.test.mjs > adding > of two", "a.test.mjs > adding", "of two"),
        ("adding › of two", "adding", "of two"),
        ("crate::tests::bad", "crate.tests", "bad"),
        ("example.com/x/a.TestSub/y.z", "example.com/x/a", "TestSub/y.z"),
        ("x.y.ATest.bad", "x.y.ATest", "bad"),
        ("good.sh", "", "good.sh"),
        ("Foo.sh", "", "Foo.sh"),
        ("x / good", "", "x / good"),
        ("reads a.b", "", "reads a.b"),
        ("::", "", "::"),
        (" > ", "", " > "),
        ("", "", ""),
    ],
)
def test_the_class_and_the_name_of_a_test(test_id, group, name):
    assert split_id(test_id) == (group, name)


def test_tests_of_one_name_are_not_one_test():
    """A CI service that shows one of them might show the one that passed."""
    cases = [Case(id=name, outcome="passed") for name in ("a", "a (2)", "a", "a", "")]
    root = report_of(task_of(cases))
    assert [each.get("name") for each in suite_of(root)] == ["a", "a (2)", "a (3)", "a (4)", "?"]


def test_a_matrix_keeps_its_tests_apart_and_unchanged_ones_say_since_when():
    cases = (Case(id="t.py::test_a", outcome="passed"),)
    root = report_of(task_of(cases, env="u[1]"), task_of(cases, env="u[2]", outcome="cached", host="builder.example"))
    assert len({each.get("classname") for each in root.iter("testcase") if each.get("name") == "test_a"}) == 2
    properties = {each.get("name"): each.get("value") for each in suite_of(root, "u[2] test").iter("property")}
    assert properties == {"envtool.unchanged_since": "2023-11-14T22:13:20+00:00", "envtool.ran_on": "builder.example"}


def test_a_report_has_a_bounded_number_of_tests_and_those_that_failed_first(monkeypatch):
    monkeypatch.setattr(junit_cases, "MAX_TESTS", 30)
    first = [Case(id=f"a{number}", outcome="passed") for number in range(25)]
    second = [Case(id=f"b{number}", outcome="failed" if number % 2 else "passed") for number in range(40)]
    root = report_of(task_of(first), task_of(second, name="slow"))
    assert len([*suite_of(root).iter("testcase")]) == 10
    slow = suite_of(root, "unit slow")
    assert [each.get("name") for each in slow.iter("testcase")] == [f"b{number}" for number in range(1, 40, 2)]
    assert [(each.get("name"), each.get("value")) for each in slow.iter("property")] == [
        ("envtool.tests_left_out", "20")
    ]
    only_failed = [Case(id=f"c{number}", outcome="failed") for number in range(40)]
    root = report_of(task_of(first), task_of(only_failed, name="slow"))
    assert [suite.get("name") for suite in root] == ["unit", "unit slow"]
    assert len([*suite_of(root, "unit slow").iter("testcase")]) == 30


def test_thousands_of_tests_take_no_time_that_anybody_notices():
    cases = [Case(id=f"a.py::test[{number % 5000}]", outcome="passed", seconds=0.1) for number in range(10_000)]
    began = time.process_time()
    root = report_of(task_of(cases))
    assert len({each.get("name") for each in suite_of(root)}) == 10_000
    assert time.process_time() - began < 10


texts = st.text(max_size=60) | st.sampled_from(["]]>", "<![CDATA[", "\x00\x1b[31m", "&amp;", "a::b", " > ", "x" * 5000])


@given(
    st.lists(
        st.builds(
            Case,
            id=texts,
            outcome=st.sampled_from(["passed", "failed", "error", "skipped"]),
            seconds=st.none() | st.floats(),
            message=texts,
        ),
        max_size=8,
    ),
    texts,
)
def test_any_names_of_tests_make_valid_xml(cases, name):
    root = report_of(task_of(cases, env=name, name=name))
    found = [each for suite in root[1:] for each in suite.iter("testcase")]
    assert len(found) == len(cases) == len({(each.get("classname"), each.get("name")) for each in found})
    for element, each in zip(found, cases, strict=True):
        wanted = {"failed": ["failure"], "error": ["error"], "skipped": ["skipped"]}.get(each.outcome, [])
        assert [child.tag for child in element] == wanted
        assert len(element.get("name")) <= junit_cases.MAX_NAME + 10


SAMPLES = sorted((Path(__file__).parent / "outputs").glob("*.txt"))


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_what_programs_really_print_becomes_testcases(path):
    """No report has more failures than the runner counted, and each test that an output names is in it."""
    readers = output_readers(discover())
    for sample in path.read_text().split("#### ")[1:]:
        title, _, body = sample.partition("\n")
        recorder = Recorder(readers)
        case(recorder, "unit", "test", body)
        report = recorder.report()
        root = ET.parse(io.BytesIO(junit_xml(report))).getroot()
        check_schema(root)
        found = [each for suite in root[1:] for each in suite.iter("testcase")]
        assert len(found) == len(report.tasks[0].cases), title
        counted = dict(report.tasks[0].counts)
        wrong = sum(each.find("failure") is not None or each.find("error") is not None for each in found)
        words = ("failed", "error", "timed out", "unexpected success")
        if "package failed" not in counted:  # go test without -v counts packages, and names the tests that failed
            assert wrong <= sum(counted.get(word, 0) for word in words), title
