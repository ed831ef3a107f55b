"""What go test prints about its tests (1.25), with and without -json. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import ClassVar, Literal, TypeAlias

from envtool import api

Outcome: TypeAlias = Literal["passed", "failed", "skipped"]

MAX_CASES = 10_000  # of one package: tests beyond these are counted, and not named
MAX_MESSAGE = 500  # characters


class GoTest(api.LineReader):
    """With -v, `--- PASS: TestX (0.00s)` for each test that began, without subtests; else a line for each package."""

    BEGINS = re.compile(r"=== RUN   ([^\s/]+)$")
    RESULT = re.compile(r"(?:|.*\S)--- (PASS|FAIL|SKIP): ([^\s/]+) \((\d+\.\d+)s\)$")
    WORDS: ClassVar[dict[str, Outcome]] = {"FAIL": "failed", "PASS": "passed", "SKIP": "skipped"}
    PACKAGE = re.compile(
        r"(?:(ok)  \t\S+\t(?:\d+\.\d+s|\(cached\))|FAIL\t\S+(?:\t\d+\.\d+s| \[(?:build|setup) failed\]))(?:\s.*)?$"
    )
    RAISED = re.compile(r"panic: .+|fatal error: .+")
    AFTER = re.compile(r"(FAIL$|\?   \t|ok  \t|\t\S+\t\tcoverage: |exit status \d+$)")

    def __init__(self) -> None:
        self._begun: list[str] = []
        self._counts: list[str] = []
        self._verbose = False  # tests of the current package were reported, so its own line is not counted
        self._cases: list[api.Case] = []  # of the current package
        self._unnamed: api.Suite | None = None  # of the test program that ended, until a line names its package
        self._raised = ""  # what ended the test program, if it panicked or took too long

    def feed_line(self, text: str) -> api.Suite | None:
        unnamed, self._unnamed = self._unnamed, None
        if begins := self.BEGINS.match(text):
            self._begun.append(begins[1])
            self._verbose, self.inside = True, 1
        elif (result := self.RESULT.match(text)) and result[2] in self._begun:
            self._begun.remove(result[2])
            self._counts.append(self.WORDS[result[1]])
            self._note(result)
        elif text in ("PASS", "FAIL"):  # the last line of a test program; go's own line may follow
            self._unnamed = self._end() if self._verbose and not self._begun else None
            return self._unnamed
        elif package := self.PACKAGE.match(text):
            name = text.split("\t")[1].split(" ", maxsplit=1)[0]
            if self._verbose:
                suite, self._verbose = self._end(name, died=not package[1]), False
                return suite or (_with_package(unnamed, name) if unnamed else None)
            cases = self._take_cases(name)
            if package[1]:
                return None if text.endswith("[no tests to run]") else api.Suite.of(("package passed", 1), proven=True)
            return api.Suite.of(("package failed", 1), proven=True, cases=cases)
        elif result and result[1] == "FAIL" and not self._verbose and not text[0].isspace():
            self._note(result)  # without -v, only failures have a line
        elif self._begun and not self._raised and (raised := self.RAISED.match(text)):
            self._raised = raised[0][:MAX_MESSAGE]
        return None

    def _end(self, package: str = "", *, died: bool = False) -> api.Suite | None:
        """Returns the suite of the test program that ends. Tests that had not ended when it `died` failed."""
        if died:
            for name in self._begun[: MAX_CASES - len(self._cases)]:
                self._cases.append(api.Case(id=name, outcome="failed", message=self._raised))
            self._counts += ["failed"] * len(self._begun)
            self._begun = []
        counts, begun, self._counts, self._begun, self.inside = self._counts, self._begun, [], [], 0
        self._raised = ""
        cases = _agreeing(self._take_cases(package), counts.count("failed"))
        parts = ((word, counts.count(word)) for word in ("failed", "passed", "skipped"))
        return api.Suite.of(*parts, proven=not begun, cases=cases)

    def _note(self, result: re.Match[str]) -> None:
        if len(self._cases) < MAX_CASES:
            self._cases.append(api.Case(id=result[2], outcome=self.WORDS[result[1]], seconds=float(result[3])))

    def _take_cases(self, package: str) -> tuple[api.Case, ...]:
        """Returns the cases of the package that ends. Its name comes last; a test program alone has none."""
        cases, self._cases = self._cases, []
        return tuple(replace(case, id=f"{package}.{case.id}" if package else case.id) for case in cases)

    def is_epilogue(self, text: str) -> bool:
        return bool(self.AFTER.match(text))


class GoTestJson(api.LineReader):
    """One JSON object a line (`go doc test2json`): `run`, then `pass`, `fail` or `skip` for each test, and at the end
    for its package. Packages run side by side, so their lines mix. Subtests are not counted, as without -json; those
    that fail are named beside the test that they belong to."""

    OUTCOMES: ClassVar[dict[str, Outcome]] = {"pass": "passed", "fail": "failed", "skip": "skipped"}
    FRAME = re.compile(r"(?:=== |\s*--- |PASS$|FAIL$|ok  \t|FAIL\t|exit status )")

    def __init__(self) -> None:
        self._begun: dict[str, set[str]] = {}
        self._cases: dict[str, list[api.Case]] = {}
        self._messages: dict[tuple[str, str], str] = {}
        self._counts: dict[str, list[str]] = {}

    def feed_line(self, text: str) -> api.Suite | None:
        try:
            event = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(event, dict) or not isinstance(package := event.get("Package"), str):
            return None
        action, test = str(event.get("Action")), event.get("Test")
        if action == "start" and test is None:
            self._begun.setdefault(package, set())
        elif isinstance(test, str) and test:
            self._read_test(package, test, action, event)
        elif action in self.OUTCOMES and test is None:
            return self._end(package, action)
        self.inside = len(self._begun)
        return None

    def _read_test(self, package: str, test: str, action: str, event: dict[str, object]) -> None:
        key = (package, test)
        begun = self._begun.setdefault(package, set())
        if action == "run" and len(begun) < 10 * MAX_CASES:
            begun.add(test)
        elif action == "output" and isinstance(output := event.get("Output"), str):
            line = output.strip()
            if line and not self.FRAME.match(output) and len(self._messages) < MAX_CASES:
                self._messages.setdefault(key, line[:MAX_MESSAGE])
        elif action in self.OUTCOMES and test in begun:
            begun.discard(test)
            outcome = self.OUTCOMES[action]
            message = self._messages.pop(key, "") if outcome != "passed" else ""
            if "/" not in test:
                self._counts.setdefault(package, []).append(outcome)
            cases = self._cases.setdefault(package, [])
            if ("/" not in test or outcome == "failed") and len(cases) < MAX_CASES:
                elapsed = event.get("Elapsed")
                seconds = float(elapsed) if isinstance(elapsed, (int, float)) and 0 <= elapsed < 1e9 else None
                cases.append(api.Case(id=f"{package}.{test}", outcome=outcome, seconds=seconds, message=message))

    def _end(self, package: str, action: str) -> api.Suite | None:
        known, begun = package in self._begun, self._begun.pop(package, set())
        counts, cases = self._counts.pop(package, []), tuple(self._cases.pop(package, []))
        messages, self._messages = self._messages, {}
        self._messages = {key: value for key, value in messages.items() if key[0] != package}
        self.inside = len(self._begun)
        left = sum("/" not in test for test in begun)
        if not counts and not left and action == "fail":  # it could not be built, or ended before its first test
            return api.Suite.of(("package failed", 1), proven=True)
        tops = [case for case in cases if "/" not in case.id.removeprefix(f"{package}.")]
        agree = sum(case.outcome == "failed" for case in tops) == counts.count("failed")
        parts = [(word, counts.count(word)) for word in ("failed", "passed", "skipped")]
        if left and action == "fail":  # tests that had not ended when the package did: a panic, a time-out
            parts[0] = ("failed", parts[0][1] + left)
            cases += tuple(
                api.Case(id=f"{package}.{test}", outcome="failed", message=messages.get((package, test), ""))
                for test in sorted(begun)[:MAX_CASES]
            )
        return api.Suite.of(*parts, proven=known, cases=cases if agree else ())

    def is_epilogue(self, text: str) -> bool:
        """Accepts lines of other packages, and output that go prints at the end."""
        return text.startswith(("{", "FAIL", "exit status "))


def _with_package(suite: api.Suite, package: str) -> api.Suite:
    """Returns the suite in the place of that without the name of its package."""
    cases = tuple(replace(case, id=f"{package}.{case.id}") for case in suite.cases)
    return replace(suite, cases=cases, replaces=1)


def _agreeing(cases: tuple[api.Case, ...], failed: int) -> tuple[api.Case, ...]:
    """Returns the cases, or () if more of them failed than were counted: another program printed some of them."""
    return cases if sum(case.outcome == "failed" for case in cases) <= failed else ()
