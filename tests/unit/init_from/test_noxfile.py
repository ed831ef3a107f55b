"""`init --from noxfile.py`: the file is parsed, never executed; a session whose effect is not certain is left out."""

from __future__ import annotations

import time

import pytest

HEAD = "import nox\n@nox.session\ndef tests(session):\n"


def session(*lines: str, head: str = HEAD) -> str:
    return head + "".join(f"    {line}\n" for line in lines)


@pytest.mark.parametrize(
    ("lines", "command"),
    [
        (['session.run("pytest")'], "pytest"),
        (['session.run("pytest", *session.posargs)'], "pytest {{ args }}"),
        (
            ['args = session.posargs or ["-q", "tests"]', 'session.run("pytest", *args)'],
            "pytest {{ args or '-q tests' }}",
        ),
        (['session.run("pytest", "-k", "a and b", "*.py", "$X")'], "pytest -k 'a and b' '*.py' '$X'"),
        (['"""Docs."""', 'session.log("x")', 'session.run("a")', 'session.run("b", silent=True)'], ["a", "b"]),
        (['session.run("pytest", env={"A": "1 2"})'], "env 'A=1 2' pytest"),
        (['session.run(*["python", "-m"], "unittest")'], "python -m unittest"),
        (['name = "x"', 'session.run("echo", f"{name}-{session.python}")'], None),
        (['session.run("make", "check", external=True)'], "make check"),
        (['session.run("echo", "{{ x }}")'], "echo '{{ '{{' }} x }}'"),
    ],
)
def test_commands(take, errors, lines, command):
    if command is None:
        assert "is no text" in errors("noxfile.py", session(*lines))[0], "without a Python of its own it has none"
    else:
        assert take("noxfile.py", session(*lines)).test == command


@pytest.mark.parametrize(
    ("lines", "line", "message"),
    [
        (["if session.posargs:", '    session.run("x")'], 4, "what its `if` does"),
        (["for x in y:", '    session.run("x")'], 4, "what its `for` does"),
        (['session.run("pytest", os.environ["X"])'], 4, "`os.environ['X']` is known only when nox runs"),
        (['subprocess.run(["rm", "-rf", "/"])'], 4, "what `subprocess.run()` does is not known"),
        (['__import__("os").system("touch /tmp/pwned")'], 4, "does is not known"),
        (['x = open("/etc/passwd").read()', 'session.run("x")'], 4, "known only when nox runs"),
        (['session.run("x", success_codes=[1])'], 4, "`run` with `success_codes`"),
        (['session.conda_install("x")'], 4, "`session.conda_install` has no counterpart"),
        (["session.install(*session.posargs)", 'session.run("x")'], 4, "is no requirement by name"),
        (['session.install("../other")', 'session.run("x")'], 4, "is another project"),
        (['session.install("--index-url", "x")', 'session.run("x")'], 4, "option `--index-url` of pip"),
        (['session.install("-r", "gone.txt")', 'session.run("x")'], 3, "there is no file `gone.txt`"),
        (['session.chdir("/etc")', 'session.run("x")'], 4, "is not in the project"),
        (['session.run("a")', 'session.chdir("b")'], 5, "between two commands"),
        (['session.run("docker", "ps", external=True)'], 3, "it calls `docker`"),
        (["pass"], 3, "it runs no command"),
        (['session.run("x", f"{1:>10000000}")'], 4, "is formatted when nox runs"),
        (['x = "a" * 10**9', "session.run(x)"], 5, "`x` is known only when nox runs"),
    ],
)
def test_what_is_not_certain_leaves_the_session_out(errors, lines, line, message):
    (said,) = errors("noxfile.py", session(*lines))
    assert said.startswith(f"noxfile.py:{line}: ")
    assert message in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def (", "noxfile.py:1: this is no Python"),
        ("import nox\n", "has no session"),
        ("(" * 5000, "noxfile.py:1: "),
        ("#" * (1 << 20) + "\n", "larger than 1 MiB"),
    ],
)
def test_a_text_that_is_no_noxfile_is_refused(errors, text, message):
    (said,) = errors("noxfile.py", text)
    assert message in said


def test_nothing_is_executed(errors, tmp_path):
    """At the top, in decorators, defaults and f-strings."""
    touch = f"open({str(tmp_path / 'ran')!r}, 'w')"
    text = f"import nox\n{touch}\n@nox.session(python={touch})\ndef tests(session, x={touch}):\n    session.run('x')\n"
    errors("noxfile.py", text)
    assert not (tmp_path / "ran").exists()


def test_pythons_parameters_and_the_chosen_sessions(take):
    text = (
        'import nox\nPYTHONS = ["3.11", "3.13"]\nnox.options.sessions = ["tests", "lint"]\n'
        '@nox.session(python=[*PYTHONS, "3.12"])\n@nox.parametrize("django", ["4", "5"])\n'
        'def tests(session, django):\n    """Run them."""\n    session.install("-e", ".[test]", f"django=={django}")\n'
        '    session.run("pytest", f"--junit={session.name}")\n'
        '@nox.session(name="lint", reuse_venv=True)\ndef check(session):\n    session.install("ruff")\n    session.run("ruff")\n'
        "@nox.session\ndef release(session):\n    session.run('twine', 'upload')\n"
    )
    taken = take("noxfile.py", text)
    assert [*taken.envs] == ["tests-3.11-4", "tests-3.11-5", "tests-3.13-4", "tests-3.13-5", "lint"]
    first = taken.env
    assert (first["base"], first["install"], first["extras"]) == ({"debian": "bookworm"}, "editable", ["test"])
    assert first["packages"] == ["django==4"]
    assert taken.test == "pytest --junit=tests-3.11-4"
    assert taken.envs["lint"]["layers"] == [{"apt": ["python3"]}, {"pip": ["ruff"]}]
    left_out = taken.said("left-out")
    assert sum("no Debian release has Python 3.12" in said for said in left_out) == 2
    assert any("`release` is not in `nox.options.sessions`" in said for said in left_out)
    assert "nox describes `tests-3.11-4` as: Run them." in taken.text.replace("\n    #   ", " ")


def test_a_name_that_is_assigned_twice_is_unknown(take, errors):
    text = 'import nox\nX = "a"\nif True:\n    X = "b"\n@nox.session\ndef tests(session):\n    session.run(X)\n'
    (said,) = errors("noxfile.py", text)
    assert "noxfile.py:7: `tests`: the env is left out: `X` is known only when nox runs" in said


def test_variables_and_what_is_installed_between_two_commands(take):
    lines = [
        'session.env["A"] = "b"', 'session.run("x")', 'session.install("-r", "req.txt", ".")', 'session.run("y")',
        'session.notify("docs")',
    ]  # fmt: skip
    taken = take("noxfile.py", session(*lines), {"req.txt": "a\n"})
    assert taken.env["set"] == {"A": "b"}
    assert (taken.env["requirements"], taken.env["install"]) == (["req.txt"], "wheel")
    assert [said.partition(":")[0] for said in taken.said("changed")] == ["6 session.install"]
    assert [said.partition(":")[0] for said in taken.said("left-out")] == ["8 session.notify"]


@pytest.mark.parametrize(
    ("decorator", "message"),
    [
        ("@nox.session(python=False)", "with what is installed on this machine"),
        ('@nox.session(venv_backend="conda")', "is no virtual environment of Python"),
        ("@nox.session(python=VERSIONS)", "`VERSIONS` is known only when nox runs"),
        ("@nox.session(default=False)", "it is not run by default"),
        ("@nox.session(frobnicate=1)", "`frobnicate` of the decorator"),
        ('@nox.session\n@nox.parametrize("a,b", [1])', "another number of values"),
        ('@nox.session\n@nox.parametrize("a", [nox.param(1, id="x")])', "known only when nox runs"),
    ],
)
def test_a_decorator_that_a_spec_cannot_express(errors, decorator, message):
    (said,) = errors("noxfile.py", f"import nox\n{decorator}\ndef tests(session, a=1):\n    session.run('x')\n")
    assert message in said


def test_many_sessions_are_refused(errors):
    text = f"import nox\n@nox.session\n@nox.parametrize('a', {[*range(300)]})\ndef tests(session, a):\n    session.run('x')\n"
    (said,) = errors("noxfile.py", text)
    assert "more than 200 sessions" in said


def grown(first: str, step: str, times: int) -> str:
    """Names of a noxfile, each of the one before: A0, A1 …"""
    return f"A0 = {first}\n" + "".join(f"A{n + 1} = {step.format(f'A{n}')}\n" for n in range(times))


@pytest.mark.parametrize(
    "text",
    [
        grown('"aaaa"', "{0} + {0}", 60) + session('session.run("x", A60)'),
        grown('["aaaa"]', "[{0}, {0}, {0}, {0}]", 40) + session('session.run("x", env={"a": A40})'),
        grown('{"k": "aaaa"}', '{{"a": {0}, "b": {0}}}', 60) + session('session.run("x", env=A60)'),
        grown('["aaaa"]', "[{0}, {0}]", 60) + session('session.run("x", *session.posargs or A60)'),
        grown('["aaaa"]', "[{0}, {0}]", 60) + session('session.run(f"{A60}")'),
        f"L = [{', '.join(['1'] * 9000)}]\n" + session(f'session.run("x", {", ".join(["*L"] * 3000)})'),
        f"L = [{', '.join(['1'] * 4000)}]\n" + session(*['session.run("x", *L)'] * 3000),
        session(f"""session.run({" + ".join(['"a"'] * 900)})"""),
        session(f"session.run({'a(' * 90}{')' * 90})"),
        session(f"session.run(a{'.b' * 400})"),
        session(f'session.run("x", 0x1{"0" * 9000})'),
        session('session.run("x", "\\ud800")'),
        "@nox.session(python=0x1" + "0" * 9000 + ")\ndef a(session):\n    session.run('x')\n",
    ],
    ids=["text", "lists", "mappings", "arguments", "parts", "words", "commands", "sums", "calls", "attributes", "number", "surrogate", "decorator"],
)  # fmt: skip
def test_values_that_grow_and_depths_without_end_are_errors(errors, text):
    started = time.process_time()
    assert errors("noxfile.py", text)
    assert time.process_time() - started < 60


SESSIONS = "import nox\nL = ['" + "', '".join(f"v{number}" for number in range(150)) + "']\n"
PARAMETRIZED = "@nox.session\n@nox.parametrize('a', L)\ndef {0}(session):\n    session.run({1})\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SESSIONS + "nox.options.sessions = ['x']\n" + "".join(
            PARAMETRIZED.format(f"f{number}", "'a'") for number in range(3000)), "more than 1,000 sessions"),
        (SESSIONS + "".join(PARAMETRIZED.format(f"f{number}", "a()") for number in range(3000)), "more than 1,000 sessions"),
        (f"L = [{', '.join(['1'] * 9000)}]\n@nox.session\n" + "@nox.parametrize('a', L)\n" * 20_000
         + "def f(session):\n    session.run('a')\n", "of more than 2,000,000 parts"),
    ],
    ids=["not chosen", "not taken", "parameters"],
)  # fmt: skip
def test_sessions_without_end_are_an_error_even_if_none_is_an_env(errors, text, message):
    started = time.process_time()
    assert message in errors("noxfile.py", text)[0]
    assert time.process_time() - started < 60


def test_an_invalid_escape_is_nothing_to_print_or_to_refuse(take):
    """Python warns of it, from 3.12 on by default; in tests each warning is an error."""
    assert take("noxfile.py", session('session.run("pytest", "-k", "\\d")')).test == "pytest -k '\\d'"
