"""What is wrong with one env is that env's: the others run, and a report has its end, whoever reads it."""

from __future__ import annotations

import os

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.any_caller]

GOOD = "envs:\n  good: {tasks: {test: echo fine}}\n  bad: "
WRONG = {  # the env `bad` -> files to be there, words of what is said, the code
    "a copy of nothing": ("{layers: [{copy: {from: gone, to: /x}}], tasks: {test: 'true'}}", "there is no such file"),
    "a copy that leads out": ("{layers: [{copy: {from: out/f, to: /x}}], tasks: {test: 'true'}}", "leads out of the project"),
    "a copy of a link out": ("{layers: [{copy: {from: file, to: /x}}], tasks: {test: 'true'}}", "leads out of the project"),
    "inputs of nothing": ("{layers: [{run: 'true', inputs: [gone]}], tasks: {test: 'true'}}", "there is no such file"),
    "inputs that lead out": ("{layers: [{run: 'true', inputs: [out]}, {run: 'true', inputs: [out/f]}], tasks: {test: 'true'}}", "leads out"),
    "inputs with a fifo": ("{layers: [{run: 'true', inputs: [pipe]}], tasks: {test: 'true'}}", "is a fifo, and not read"),
    "requirements of nothing": ("{layers: [{pip: {requirements: [gone.txt]}}], tasks: {test: 'true'}}", "there is no such file"),
    "requirements that lead out": ("{layers: [{pip: {requirements: [out/f]}}], tasks: {test: 'true'}}", "leads out"),
    "a Dockerfile that leads out": ("{base: {dockerfile: out/f}, tasks: {test: 'true'}}", "leads out"),
    "a context that leads out": ("{base: {dockerfile: {file: Dockerfile, context: out}}, tasks: {test: 'true'}}", "leads out"),
    "an image that leads out": ("{base: {image: 'oci:out'}, tasks: {test: 'true'}}", "leads out"),
    "a tarball of nothing": ("{base: {tarball: {path: gone.tar, sha256: 'HASH'}}, tasks: {test: 'true'}}", "there is no file"),
    "a variable": ("{pass: ['TOK*'], tasks: {test: 'true'}}", "you did not allow"),
    "a workdir that leads out": ("{workdir: out, tasks: {test: 'true'}}", "`workdir: out` leads out of the project"),
    "packages for the host": ("{layers: [{apt: [gcc]}], tasks: {test: 'true'}}", "read-only"),
}  # fmt: skip


@pytest.fixture
def mixed(place):
    place.environ["TOKEN"] = "x"
    place.directory("outside")
    place.write("f", "FROM scratch\n", at=place.top / "outside")
    place.write("Dockerfile", "FROM scratch\nCOPY f /f\n")
    for link, target in {"out": "../outside", "file": "../outside/f"}.items():
        os.symlink(target, place.project / link)
    os.mkfifo(place.project / "pipe")
    place.give(place.project / "pipe")
    return place


@pytest.mark.sampled(3)
@pytest.mark.parametrize("case", WRONG)
def test_the_others_run_and_the_report_closes(mixed, case):
    env, said = WRONG[case][0].replace("HASH", "a" * 64), WRONG[case][1]
    mixed.spec(f"{GOOD}{env}\n  last: {{tasks: {{test: echo too}}}}\n")
    done = mixed.envtool("test", "--json", "--junit", "../report.xml", "-j", "1")
    assert done.status == 2, done.said
    assert [event["event"] for event in done.events][-1] == "result"
    assert [event["event"] for event in done.events].count("result") == 1
    found = {each["env"]: each for each in done.events[-1]["results"]}
    assert [each["outcome"] for each in found.values()] == ["passed", "error", "passed"], done.said
    assert said in found["bad"]["message"]
    assert found["bad"]["code"]
    assert found["bad"]["problems"][0]["file"] == "envtool.yaml"
    assert found["bad"]["problems"][0]["line"] >= 4
    assert said.replace("`", "") in (mixed.top / "report.xml").read_text().replace("`", "")
    again = mixed.envtool("test")
    assert again.status == 2
    assert "── bad test ─" in again.err
    assert said in again.err
    last = again.err.splitlines()[-1]
    assert last.startswith("── 1 not built, ")
    assert "2 unchanged" in last


def test_a_lock_that_has_to_fit_leaves_it_to_the_env(mixed):
    mixed.spec(f"layers: {{p: {{copy: {{from: f, to: /f}}}}}}\n{GOOD}{{layers: [p], tasks: {{test: 'true'}}}}\n")
    mixed.write("f", "x")
    assert mixed.envtool("lock").status == 0
    (mixed.project / "f").unlink()
    done = mixed.envtool("test", "--locked", "--json")
    assert done.status == 2
    assert [each["outcome"] for each in done.events[-1]["results"]] == ["passed", "error"]


def test_a_failed_task_outweighs_it(mixed):
    mixed.spec(f"{GOOD}{WRONG['a copy of nothing'][0]}\n  red: {{tasks: {{test: exit 7}}}}\n")
    done = mixed.envtool("test")
    assert done.status == 1
    assert "1 failed, 1 not built, 1 passed" in done.err


def test_what_keeps_several_envs_is_told_once(mixed):
    mixed.spec(
        "layers: {l: {copy: {from: gone, to: /x}}}\n"
        "envs:\n  a: {layers: [l], tasks: {test: 'true'}}\n  b: {layers: [l], tasks: {test: 'true'}}\n"
    )
    done = mixed.envtool("test")
    assert done.status == 2
    assert done.err.count("there is no such file") == 1
    assert "── a test, b test ─" in done.err
    assert "2 not built" in done.err


def test_all_that_is_missing_and_all_that_has_to_be_allowed_is_told_at_once(mixed):
    """Two envs, two layers, variables: one run to hear of it, one line to type."""
    mixed.spec("""\
envs:
  a: {pass: ['TOK*'], layers: [{copy: {from: gone, to: /x}}, {run: "cat out/f", inputs: [absent, out/f]}], tasks: {test: "echo $TOKEN"}}
  b: {layers: [{copy: {from: file, to: /y}}], tasks: {test: cat /y}}
""")
    done = mixed.envtool("test")
    assert done.status == 2
    for words in (
        "`gone`: there is no such file",
        "`absent`: there is no such file",
        "`out/f` leads out",
        "`file` leads out",
    ):
        assert done.err.count(words) == 1, done.err
    mixed.write("gone", "")
    mixed.write("absent", "")
    (line,) = [line for line in done.err.splitlines() if "to allow all" in line]
    typed = line.rpartition("here: ")[2].strip("`")
    words = typed.split()
    assert words[:2] == ["envtool", "test"]
    assert sorted(words[2::2]) == ["--allow-file", "--allow-pass"]
    done = mixed.envtool(*words[1:])
    assert done.status == 0, done.said


def test_exec_is_told_all_too(mixed):
    mixed.spec(
        "envs: {a: {pass: ['TOK*'], layers: [{copy: {from: gone, to: /x}}, {copy: {from: file, to: /y}}]},"
        " other: {layers: [{copy: {from: elsewhere, to: /x}}]}}\n"
    )
    done = mixed.envtool("exec", "a", "--", "true")
    assert done.status == 2
    assert "`gone`: there is no such file" in done.err
    assert "`pass:` asks for your TOKEN" in done.err
    assert "elsewhere" not in done.err, "of another env"
    assert "to allow all of it: `envtool exec --allow-pass TOKEN --allow-file " in done.err
    done = mixed.envtool("plan")
    assert done.status == 2
    for words in ("`gone`", "`file` leads out", "elsewhere"):
        assert words in done.err


def test_what_the_caller_allows_is_had_wherever_it_is_asked_for(mixed):
    mixed.spec("""\
bases: {b: {dockerfile: {file: Dockerfile, context: out}}}
envs:
  copied: {layers: [{copy: {from: [file, out], to: /c}}, {run: "cp out/f /r", inputs: [out/f]}], tasks: {test: "cat /c/f /c/file /r"}}
  docker: {base: b}
""")
    outside = f"{os.path.realpath(mixed.top)}/outside"
    done = mixed.envtool("test", "--allow-file", outside, "-v")
    assert done.status == 0, done.said
    assert done.err.count("FROM scratch") == 3
    mixed.write("outside/f", "FROM other\n", at=mixed.top)
    done = mixed.envtool("test", "--allow-file", "../outside", "-v")
    assert done.err.count("FROM other") == 3, "its content is in the key"
    done = mixed.envtool("export", "docker", "x.tar", "--allow-file", outside)
    assert done.status == 0, done.said


def test_all_secrets_are_asked_for_at_once(mixed):
    """Of two envs on one Dockerfile, each of which has a variable of its own."""
    mixed.environ |= {"AA": "1", "BB": "2"}
    mixed.write(
        "Dockerfile",
        "FROM scratch\nRUN --network=none --mount=type=secret,id=a x\nRUN --network=none --mount=type=secret,id=b y\n",
    )
    mixed.spec(
        "bases: {d: {dockerfile: {file: Dockerfile, secrets: {a: {env: AA}, b: {file: ~/b}}}}}\n"
        "envs:\n  one: {base: d, pass: ['A?'], tasks: {test: x}}\n  two: {base: d, pass: ['B?'], tasks: {test: x}}\n"
    )
    done = mixed.envtool("test", "--allow-pass", "AA", "--allow-pass", "BB")
    assert done.status == 3
    for words in ("secret `a` is the variable AA", "secret `b` is the file ~/b"):
        assert words in done.err
    assert done.err.count("secret `a` is") == 1, "told once"
    assert "--allow-secret a=env:AA --allow-secret 'b=file:~/b' --allow-pass AA" in done.err
    done = mixed.envtool("test", "--json")
    found = {each["env"]: each["message"] for each in done.events[-1]["results"]}
    assert "your AA" in found["one"]
    assert "your BB" in found["two"]
    assert "your BB" not in found["one"]
    assert "your AA" not in found["two"]


def test_a_file_of_the_project_that_is_wrong_for_one_env_stops_no_command_about_another(place):
    """Nothing says which Node.js `bad` has: the plan of `good` is whole all the same, long way and fast way."""
    place.spec(f"{GOOD}{{toolchain: [node], tasks: {{test: 'true'}}}}\n")
    for words in (["test", "-e", "good"], ["test", "-e", "good"], ["plan", "-e", "good"], ["lock", "-e", "good"],
                  ["exec", "good", "--", "true"], ["exec", "good", "--", "true"], ["env", "good"]):  # fmt: skip
        done = place.envtool(*words)
        assert (done.status, "which node" in done.said) == (0, False), (words, done.said)
    for words in (["test"], ["test", "-e", "bad"], ["plan"], ["exec", "bad", "--", "true"], ["ci"], ["lock"]):
        done = place.envtool(*words)
        assert done.status == 2, (words, done.said)
        assert "nothing says which node" in done.err, (words, done.said)
