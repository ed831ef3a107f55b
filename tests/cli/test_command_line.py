"""What the words of a command line come to: requests, statuses, files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from envtool import errors, events
from envtool.app.command_request import CommandRequest
from envtool.cli.main import GROUPS, VERBS, main

DRIVER = str(Path(__file__).parent / "driver.py")


def drive(*argv, scenario="mixed", env=(), **rest):
    environ = {**os.environ, "FAKE_SCENARIO": scenario, **dict(env)}
    return subprocess.run(
        [sys.executable, DRIVER, *argv], env=environ, capture_output=True, text=True, timeout=60, check=False, **rest
    )


def test_options_reach_the_request_before_and_after_the_verb(envtool, fake):
    envtool(
        "-C",
        "one",
        "-f",
        "x.yaml",
        "test",
        "-e",
        "a*",
        "-e",
        "b",
        "-x",
        "--jobs",
        "3",
        "--refresh",
        "--again",
        "--",
        "-k",
        "-v",
    )
    request, task = fake.requests[-1]
    assert task == "test"
    assert request == CommandRequest(
        directory="one",
        file="x.yaml",
        envs=("a*", "b"),
        jobs=3,
        fail_fast=True,
        args=("-k", "-v"),
        refresh=True,
        again=True,
    )
    envtool("-C", "one", "test", "-C", "two")
    assert fake.requests[-1][0].directory == "two"


def test_exec_takes_everything_after_the_dashes_as_it_is(envtool, fake):
    assert envtool("exec", "-C", "d", "lint", "--", "sh", "-c", "exit 7", "--", "--help").status == 7
    request, env, argv, terminal = fake.requests[-1]
    assert (request.directory, env, argv, terminal) == ("d", "lint", ("sh", "-c", "exit 7", "--", "--help"), False)


def test_what_was_typed_is_said_again_as_it_was(envtool, fake, monkeypatch):
    def stopped(*_, **__):
        raise errors.Interrupted

    monkeypatch.setattr("envtool.app.lock_file.lock", stopped)
    assert (
        envtool("-C", "a b", "lock", "--upgrade", "x*").err
        == "interrupted\n   again:  envtool -C 'a b' lock --upgrade 'x*'\n"
    )
    assert envtool("lock").err == "interrupted\n   again:  envtool lock\n"
    monkeypatch.setattr("envtool.app.lock_file.fetch", stopped)
    assert envtool("fetch", "-C", "a\nb").err == "interrupted\n", "what cannot be typed on one line"


@pytest.mark.parametrize(
    ("words", "message", "reads"),  # reads: how often the spec is read, for the names in the hint
    [
        (("run", ""), "the name of the task is empty", 0),
        (
            ("exec", "--fresh", "db", "--", "psql"),
            "`envtool exec` needs ENV",
            1,
        ),
    ],
)
def test_a_line_that_is_not_whole_does_nothing(envtool, fake, words, message, reads):
    answer = envtool(*words)
    assert answer.status == 2
    assert message in answer.err
    assert len(fake.requests) == reads


@pytest.mark.parametrize(
    ("scenario", "status"),
    [("passed", 0), ("mixed", 1), ("broken", 3), ("build-error", 3), ("empty", 2), ("bug", 3), ("huge", 1)],
)
def test_exit_status(envtool, scenario, status):
    assert envtool("test", scenario=scenario).status == status


def test_a_failed_task_outweighs_an_env_that_was_not_made(fake):
    from envtool.cli.session import compute_exit_status

    failed = fake.Result(env="a", task="t", outcome="failed", status=1)
    error = fake.Result(env="b", task="t", outcome="error")
    assert compute_exit_status([failed, error]) == 1
    assert compute_exit_status([error]) == 3
    assert compute_exit_status([fake.Result(env="a", task="t", outcome="interrupted")]) == 130
    assert compute_exit_status([failed], interrupted=True) == 130


@pytest.mark.parametrize("verb", VERBS)
def test_no_help_cuts_the_line_of_a_verb(envtool, verb):
    listed = envtool(verb, "--help").out.partition("\nVerbs:\n")[2].partition("\nExamples:\n")[0]
    assert "..." not in listed


@pytest.mark.parametrize("verb", VERBS)
def test_every_help_has_an_example_that_parses(envtool, verb):
    ran = envtool(verb, "--help")
    assert ran.status == 0
    examples = ran.out.partition("Examples:\n")[2].splitlines()
    assert examples, ran.out
    assert all("envtool " + verb in line for line in examples), examples
    assert len(max(ran.out.splitlines(), key=len)) <= 90


def test_a_bug_shows_its_trace_only_when_asked(envtool, monkeypatch):
    assert "Traceback" not in envtool("test", scenario="bug").err
    assert "ZeroDivisionError" in envtool("test", "-v", scenario="bug").err.partition("Traceback")[2]
    monkeypatch.setenv("ENVTOOL_DEBUG", "1")
    assert "Traceback" in envtool("test", scenario="bug").err


def test_json_ends_with_one_result_or_error(envtool):
    lines = [json.loads(line) for line in envtool("test", "--json").out.splitlines()]
    assert lines[0]["event"] == "started"
    assert [line["event"] for line in lines].count("result") == 1
    assert lines[-1]["status"] == 1
    assert lines[-1]["results"][1]["env"] == "unit[trixie]"
    wrong = envtool("--json", "test", "--jbos")
    assert json.loads(wrong.out)["code"] == "usage"
    assert wrong.err.startswith("error: unknown option `--jbos`")


def test_junit_is_written(envtool, tmp_path):
    path = tmp_path / "sub" / "report.xml"
    assert envtool("test", "--junit", str(path)).status == 1
    suites = ET.parse(path).getroot()
    assert [(suite.get("name"), suite.get("failures")) for suite in suites] == [
        ("unit[bookworm]", "0"),
        ("unit[trixie]", "1"),
    ]
    case = suites[1][0]
    assert case.find("failure").get("message") == "exit 1"
    assert "FAILED tests/test_io.py" in case.find("system-out").text
    assert "\x1b" not in path.read_text()
    assert os.listdir(path.parent) == ["report.xml"]


def test_junit_is_written_when_the_app_gives_up(envtool, tmp_path):
    path = tmp_path / "report.xml"
    assert envtool("test", "--junit", str(path), scenario="build-error").status == 3
    assert ET.parse(path).getroot().get("tests") == "0"


def test_junit_that_cannot_be_written_is_not_a_pass(envtool, tmp_path):
    (tmp_path / "file").touch()
    ran = envtool("test", "--junit", str(tmp_path / "file" / "x.xml"), scenario="passed")
    assert ran.status == 2
    assert f"`{tmp_path}/file/x.xml` cannot be written" in ran.err


def test_init_writes_once(envtool, tmp_path):
    ran = envtool("-C", str(tmp_path), "init")
    assert ran.status == 0
    assert "language: python" in (tmp_path / "envtool.yaml").read_text()
    again = envtool("-C", str(tmp_path), "init")
    assert again.status == 2
    assert "exists" in again.err
    other = tmp_path / "other"
    other.mkdir()
    refused = envtool("-C", str(other), "init", scenario="nothing")
    assert refused.status == 2
    assert "envtool -C" in refused.err
    assert "init --test 'make check'" in refused.err
    assert not (other / "envtool.yaml").exists()
    assert envtool("-C", str(other), "init", "--test", "make check", scenario="nothing").status == 0
    text = (other / "envtool.yaml").read_text()
    assert "base: host" in text
    assert "test: make check" in text


def test_init_writes_json_of_what_was_written_and_found(envtool, tmp_path):
    ran = envtool("-C", str(tmp_path), "init", "--json")
    path = str(tmp_path / "envtool.yaml")
    (line,) = ran.out.splitlines()
    document = json.loads(line)
    assert (document["file"], document["written"]) == (path, [path])
    (found,) = document["found"]
    assert (found["language"], found["directory"], found["used"]) == ("python", "", True)
    assert found["reason"]
    assert f"wrote {path}" in ran.err
    again = envtool("-C", str(tmp_path), "init", "--json")
    error = json.loads(again.out.splitlines()[-1])
    assert (error["event"], error["code"], again.status) == ("error", "usage.exists", 2)


def test_init_names_what_the_spec_does_not_test(envtool, tmp_path):
    ran = envtool("-C", str(tmp_path), "init", "--json", scenario="partly tested")
    assert "found python: pyproject.toml with [project]\nleft out node: package.json, and no tests\n" in ran.err
    assert [(found["language"], found["used"]) for found in json.loads(ran.out)["found"]] == [
        ("python", True),
        ("node", False),
    ]
    assert "node" not in (tmp_path / "envtool.yaml").read_text()


def test_init_has_an_example_of_the_language_that_it_found(envtool, tmp_path):
    ran = envtool("-C", str(tmp_path), "init", scenario="untested")
    assert ran.status == 2
    assert "init --test pytest`" in ran.err


def test_init_takes_the_callers_command_in_the_env_that_it_found(envtool, tmp_path):
    assert envtool("-C", str(tmp_path), "init", "--test", "tox -e py").status == 0
    text = (tmp_path / "envtool.yaml").read_text()
    assert "language: python" in text
    assert "test: tox -e py" in text
    assert "pytest" not in text


def test_version(envtool):
    ran = envtool("--version")
    assert re.fullmatch(r"envtool \S+\n", ran.out)
    assert json.loads(envtool("version", "--json").out).keys() == {"envtool", "python", "kernel", "machine", "plugins"}


def test_a_reader_that_has_seen_enough_is_no_error():
    read, write = os.pipe()
    os.close(read)
    for verb in (["list"], ["test", "--json"]):
        ran = subprocess.run(
            [sys.executable, DRIVER, *verb], stdout=write, stderr=subprocess.PIPE, timeout=60, text=True, check=False
        )
        assert ran.returncode == 141, ran.stderr
        assert ran.stderr == ""
    os.close(write)


def test_ascii_terminals_get_ascii(tmp_path):
    ran = drive("test", env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "FAKE_LOGS": str(tmp_path)})
    assert ran.returncode == 1
    assert " x unit[trixie]" in ran.stderr
    assert "-- 1 failed, 1 passed in" in ran.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(envtool, shell):
    ran = envtool("completion", shell)
    assert ran.status == 0
    assert "_ENVTOOL_COMPLETE" in ran.out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("envtool te", {"test"}),
        ("envtool exec ", {"unit[bookworm]", "unit[trixie]", "lint"}),
        ("envtool test -e l", {"lint"}),
        ("envtool run ", {"build", "lint", "test"}),
        ("envtool test --ju", {"--junit"}),
        ("envtool exec -vv", {"-vv"}),
        ("envtool shell lint -v", {"-v", "-vv"}),
        ("envtool exec -v lint -v", set()),  # it is given already
        ("envtool -q exec -v", {"-v"}),
        ("envtool -vv", {"-vv"}),
        ("envtool test -v", {"-v"}),  # -vv is nothing more there
        ("envtool exec --js", set()),
        ("envtool shell --js", set()),
        ("envtool test --js", {"--json"}),
    ],
)
def test_completion_knows_verbs_options_envs_and_tasks(words, expected):
    typed = words.split(" ")
    ran = drive(
        env={"ENVTOOL_COMPLETE_ME": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(typed) - 1)}.items()
    )
    assert {line.partition(",")[2] for line in ran.stdout.split()} == expected


@pytest.mark.parametrize("words", [["test"], ["build"], ["run", "lint"], ["plan", "test"], ["fetch"], ["lock"]])
@pytest.mark.parametrize(
    ("more", "hint"),
    [
        (["lint"], "`lint` is an env: `-e lint`"),
        (["unit[trixie]", "lint"], "`unit[trixie]`, `lint` are envs: `-e 'unit[trixie]' -e lint`"),
        (["unit:test"], "`unit:test` is a task: `envtool run test -e unit`"),
    ],
)
def test_an_env_that_is_no_word_of_the_verb_belongs_to_its_option(words, more, hint, envtool):
    ran = envtool(*words, *more)
    assert ran.status == 2
    assert f"hint: {hint}\n" in ran.err


def test_an_env_in_the_place_of_a_verb(envtool):
    assert "hint: `unit` is an env: `envtool test -e unit`\n" in envtool("unit").err
    assert "`envtool exec lint -- pytest -x`" in envtool("shell", "lint", "pytest", "--", "-x").err
    for words in (("lint", "-c", "true"), ("-c", "true")):  # as of sh
        assert "hint: `envtool exec ENV -- sh -c 'COMMAND'` runs a command\n" in envtool("shell", *words).err
    assert "see `envtool shell --help`" in envtool("shell", "lint", "-x").err
    assert "see `envtool gc --help`" in envtool("gc", "lint").err
    assert "goes after `--`" in envtool("test", "unit", scenario="spec-error").err


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_json_where_it_is_no_error(verb, envtool):
    words = {"exec": ["lint", "--", "true"], "shell": ["lint"], "completion": ["bash"]}.get(verb)
    assert ("--json" in envtool(verb, "--help").out) == (words is None)
    assert ("-vv" in envtool(verb, "--help").out) == (verb in ("exec", "shell"))
    if words:
        for argv in (["--json", verb, *words], [verb, "--json", *words]):
            ran = envtool(*argv)
            if verb == "completion":  # it has always ignored the option
                assert (ran.status, ran.err) == (0, "")
                continue
            assert ran.status == 2
            assert json.loads(ran.out)["code"] == "usage.json"
            assert "`--json` means nothing here: standard output " in ran.err


def test_completion_of_a_broken_spec_is_silent():
    ran = drive(
        scenario="spec-error",
        env={"ENVTOOL_COMPLETE_ME": "bash_complete", "COMP_WORDS": "envtool exec ", "COMP_CWORD": "2"}.items(),
    )
    assert (ran.stdout.strip(), ran.stderr) == ("", "")


def test_main_returns_what_it_says(fake, capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("envtool ")


def test_provenance_is_written_where_it_is_asked_for(envtool, tmp_path):
    path = tmp_path / "all.jsonl"
    assert envtool("build", "--provenance", str(path), scenario="passed").status == 0
    assert path.read_text().startswith('{"subject": ')


OUTPUTS = {
    "junit": ["test", "--junit"],
    "report": ["run", "lint", "--report", "markdown="],
    "provenance": ["build", "--provenance"],
    "sbom": ["sbom", "lint", "-o"],
}


def with_file(words, path):
    return [*words[:-1], f"{words[-1]}{path}"] if words[-1].endswith("=") else [*words, str(path)]


@pytest.mark.parametrize("name", OUTPUTS)
def test_missing_directories_of_an_output_are_made(name, envtool, tmp_path):
    path = tmp_path / "no" / "such" / "file.out"
    assert envtool(*with_file(OUTPUTS[name], path), scenario="passed").status == 0
    assert os.listdir(path.parent) == ["file.out"]


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_that_cannot_be_written_is_an_error_before_anything_runs(name, envtool, fake, tmp_path):
    (tmp_path / "file").touch()
    ran = envtool(*with_file(OUTPUTS[name], tmp_path / "file" / "below" / "x"), scenario="passed")
    assert ran.status == 2
    assert f"`{tmp_path}/file/below/x` cannot be written: " in ran.err
    assert "missing directories are made" in ran.err
    assert not [asked for asked in fake.requests if isinstance(asked, tuple)]  # the app was not asked to run
    assert os.listdir(tmp_path) == ["file"]


def test_of_several_outputs_each_is_looked_at_before(envtool, fake, tmp_path):
    (tmp_path / "file").touch()
    good, bad = tmp_path / "new" / "good.xml", tmp_path / "file" / "bad.md"
    ran = envtool("test", "--junit", str(good), "--report", f"markdown={bad}", scenario="passed")
    assert ran.status == 2
    assert not fake.requests
    assert os.listdir(tmp_path) == ["file"]  # nothing is made either


def test_fetch_says_what_came(envtool, fake):
    done = envtool("fetch", "-e", "a*", "--offline")
    assert (done.status, done.out) == (0, "")
    assert done.err.endswith("1 file, 63 kB; 1 fetched, 63 kB\n")
    assert fake.requests[-1] == CommandRequest(envs=("a*",), offline=True)
    assert envtool("fetch", scenario="passed").err.endswith("1 file, 63 kB; all of them were here\n")
    assert envtool("fetch", scenario="empty").err.endswith("these envs need no files\n")
    *_, last = envtool("fetch", "--json").out.splitlines()
    assert json.loads(last) == {
        "event": "fetched",
        "files": [{"sha256": "a" * 64, "size": 63000, "names": ["attrs.whl"], "needed_by": ["layer deps"]}],
        "fetched": 1,
        "fetched_bytes": 63000,
    }


def test_vendor_says_what_was_written(envtool, fake):
    done = envtool("vendor")
    assert done.err == "/p/envtool.vendor: 12 files, 4.1 MB; 1 written\n"
    assert fake.requests[-1] == (CommandRequest(), "", False)
    done = envtool("vendor", "--prune", "x", "-C", "d")
    assert done.err == "x: 12 files, 4.1 MB; 1 written, 1 removed\n"
    assert fake.requests[-1] == (CommandRequest(directory="d"), "x", True)
    assert json.loads(envtool("vendor", "--json").out)["event"] == "vendored"


def test_a_bill_goes_to_standard_output_or_a_file_and_nothing_beside_it(envtool, fake, tmp_path):
    for words in ([], ["--json"], ["-q"]):
        assert envtool("sbom", "unit", *words).out == '{"bill": 1}\n'
    assert fake.requests[-1] == (CommandRequest(), "unit", "cyclonedx")
    path = tmp_path / "bill.json"
    assert envtool("sbom", "unit", "--format", "spdx", "-o", str(path)).out == ""
    assert path.read_text() == '{"bill": 1}\n'
    assert fake.requests[-1][2] == "spdx"
    assert envtool("sbom", "unit", "-o", str(path / "x")).status == 2
    assert envtool("sbom", "unit", "--format", "xml").status == 2


def test_an_image_goes_to_standard_output_or_a_path(envtool, fake):
    alone = drive("export", "unit")  # of its own: an image is written to a descriptor
    assert alone.stdout == "tar"
    assert alone.stderr == f"standard output: localhost/unit:latest, 1 layer, 4.1 MB, {fake.DIGEST}\n"
    done = envtool("export", "unit", "unit.tar", "--tag", "x:1", "--format", "oci-archive", "--compress", "zstd")
    assert (done.out, done.err) == ("", f"unit.tar: x:1, 1 layer, 4.1 MB, {fake.DIGEST}\n")
    assert fake.requests[-1] == (CommandRequest(), "unit", "unit.tar", "oci-archive", "x:1", "zstd", False, False)
    done = envtool("export", "unit", "--format", "devcontainer")
    assert done.err.endswith("uses localhost/unit:latest\n")
    for path in ([], ["oci-archive:-"], ["-"]):
        done = envtool("export", "unit", *path, "--json")
        assert (done.status, json.loads(done.out)["code"]) == (2, "export-target")


def test_push_prints_what_can_be_pulled(envtool, fake):
    name = "registry.example/unit:1"
    done = envtool("push", "unit", name)
    assert done.out == f"{name}@{fake.DIGEST}\n"
    assert done.err == f"{name}, 1 layer, 4.1 MB; 4.0 MB sent\n"
    assert fake.requests[-1] == (CommandRequest(), "unit", name, "zstd", False, False)
    assert envtool("push", "unit", name, scenario="unchanged").err.endswith("; all of it there already\n")
    assert envtool("push", "unit", name, "--compress", "none").status == 2


def test_help_shows_every_verb_once():
    shown = [verb for verbs in GROUPS.values() for verb in verbs]
    assert sorted(shown) == sorted(VERBS)


@pytest.mark.parametrize("words", [["help"], ["-C", "a dir", "help"], ["-q", "help"], ["help", "help"]], ids=" ".join)
def test_help_is_a_word_too(envtool, words):
    assert envtool(*words).text() == envtool("--help").text()
    assert (
        envtool(*words, "test").text()
        == envtool(*words if words[-2:] == ["help", "help"] else ["test", "--help"]).text()
    )


def test_what_is_kept_of_a_run_is_what_was_made_and_fetched():
    from envtool.cli.session import BuiltCounter

    made = BuiltCounter()
    assert made.kept() == []
    made.event(events.Progress(id="a", phase="unpacking", done=9))
    for outcome in ("cached", "interrupted", "failed"):
        made.event(events.Finished(id="a", subject="layer", name="a", outcome=outcome, time=0.0, seconds=0.0))
    assert made.kept() == []
    made.event(events.Progress(id="a", phase="fetching", done=9))
    assert made.kept() == ["what was fetched"]
    made.event(events.Finished(id="a", subject="base", name="a", outcome="built", time=0.0, seconds=0.0))
    assert made.kept() == ["what was fetched", "1 base"]
    made.event(events.Finished(id="a", subject="layer", name="a", outcome="pulled", time=0.0, seconds=0.0))
    assert made.kept()[1:] == ["1 base", "1 layer"]


ENDING = """
import atexit, sys, threading, time
from envtool import __main__ as command
from envtool.cli import main

def slow():
    time.sleep(0.2)
    print("thread", flush=True)

def starts_threads():
    while True:
        threading.Thread(target=time.sleep, args=(0,), daemon=True).start()

threading.Thread(target=slow).start()
threading.Thread(target=starts_threads, daemon=True).start()
atexit.register(lambda: print("atexit"))
sys.stderr.write("no newline")
main.main = lambda arguments: 7
command.main()
raise SystemExit("it returned")
"""


STARTING = """
import _thread, sys
from envtool import __main__ as command
from envtool.cli import main

def run(arguments):
    sys.setswitchinterval(1000)  # so the thread that starts does not get the interpreter lock, and is not counted
    for _ in range(8):
        _thread.start_new_thread(int, ())
    assert not _thread._count()
    return 7

main.main = run
command.main()
raise SystemExit("it returned")
"""


def test_a_thread_that_starts_counts():
    done = subprocess.run([sys.executable, "-c", STARTING], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")


def test_the_process_ends_with_its_status_whatever_daemon_threads_do():
    ended = [
        subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, timeout=60, check=False)
        for _ in range(5)
    ]
    assert {(one.returncode, one.stdout, one.stderr) for one in ended} == {(7, "thread\natexit\n", "no newline")}
