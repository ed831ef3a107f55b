"""A report in Markdown."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from envtool import api
from envtool.report.markdown import MAX_LENGTH, markdown
from tests.depth import examples

FAILED = api.ReportedTask(
    env="unit[3.12]",
    task="test",
    outcome="failed",
    status=1,
    started=1.7e9,
    seconds=2.5,
    message="exit 1",
    output="one\n```\ntwo\n",
    counts=(("failed", 1), ("passed", 311)),
    cases=(
        api.Case(id="tests/test_a.py::test_b[`]", outcome="failed", message="assert 1 < 2 @all"),
        api.Case(id="tests/test_a.py::test_c", outcome="passed"),
    ),
)
PASSED = api.ReportedTask(env="lint|x", task="test", outcome="passed", status=0, started=1.7e9, seconds=61.0)
UNCHANGED = api.ReportedTask(env="slow", task="test", outcome="cached", status=0, started=1.7e9, seconds=1.0)


def write(*tasks: api.ReportedTask) -> str:
    return markdown(api.Report(tasks=tasks, seconds=75.0)).decode()


def test_a_table_of_all_tasks_and_details_of_those_that_failed():
    assert write(FAILED, PASSED, UNCHANGED) == (
        """\
### envtool: 1 failed, 1 passed, 1 unchanged in 1m15s

| env | task | result | tests | time |
|---|---|---|---|---|
| unit&#91;3&#46;12&#93; | test | ❌ failed | 1 failed, 311 passed | 2.5s |
| lint&#124;x | test | ✅ passed |  | 1m01s |
| slow | test | ✅ unchanged |  | 1.0s |

<details><summary>unit[3.12] test: exit 1</summary>

- `` tests/test_a.py::test_b[`] ``: assert 1 &#60; 2 &#64;all

````text
one
```
two
````

</details>
"""
    )


def test_outputs_of_a_failure_are_named():
    text = write(replace(FAILED, outputs=("dist/a*b", "dist/c")))
    assert "- the project has the outputs of this run, which did not pass: dist/a&#42;b and 1 more\n" in text


def test_a_run_of_nothing():
    assert write().startswith("### envtool: nothing ran in ")


def test_the_longest_outputs_stay_below_what_a_ci_system_takes():
    long = [
        api.ReportedTask(
            env=f"e{number}", task="test", outcome="failed", status=1, started=0, seconds=0, output="é" * 2**20
        )
        for number in range(500)
    ]
    text = write(*long)
    assert len(text.encode()) < 2 * MAX_LENGTH
    assert write(FAILED, *long).count("<details>") == write(FAILED, *long).count("</details>")


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)


@settings(max_examples=examples(100, 2000), deadline=None)
@given(TEXT, TEXT, TEXT, st.text(st.sampled_from("`~ <>|\n#-@&\\*_[]()x"), max_size=60))
@example("e", "", "_0_", "")
def test_no_name_or_output_is_read_as_markdown(env, case, message, output):
    task = api.ReportedTask(
        env=env,
        task="test",
        outcome="failed",
        status=1,
        started=0,
        seconds=0,
        message=message,
        output=output,
        cases=(api.Case(id=f"a{case}b", outcome="failed", message=message),),
    )
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(write(task))
    tags = _Tags()
    tags.feed(html)
    allowed = {"h3", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "ul", "li", "code", "pre"}
    assert {*tags.tags} <= allowed, html
    assert tags.tags.count("td") == 5
    assert tags.tags.count("details") == 1
