"""`init --from .github/workflows/x.yml`: what a job would install and run is in the spec, or the job is left out with
its line."""

from __future__ import annotations

import subprocess
import time

import pytest
import yaml

from envtool.app.init_from.taken_spec import CannotTakeError
from envtool.app.init_from.workflow_actions import Toolchains
from envtool.app.init_from.workflow_expressions import Contexts, condition, evaluate, substitute
from envtool.app.init_from.workflow_scripts import JobNeeds

NAME = ".github/workflows/ci.yml"
PYTHON = "- uses: actions/setup-python@v5\n- run: pip install -e .[test]\n"
CONTEXTS = Contexts(
    {"python": "3.11", "os": "ubuntu-latest", "flag": False, "tree": {"deep": "x"}, "list": ["A", "b"]}, {"WORD": "w"}
)


def job(steps: str, *, head: str = "", name: str = "test", runner: str = "ubuntu-latest") -> str:
    lines = "".join(f"    {line}\n" for line in head.splitlines())
    indented = "".join(f"      {line}\n" for line in steps.splitlines())
    return f"  {name}:\n    runs-on: {runner}\n{lines}    steps:\n{indented}"


def workflow(*jobs: str) -> str:
    return "name: CI\non: [push]\njobs:\n" + "".join(jobs)


def steps(*lines: str) -> str:
    """A workflow of one job whose steps run these scripts."""
    return workflow(job("".join(f"- run: {line}\n" for line in lines)))


# ---- expressions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("matrix.python", "3.11"),
        ("matrix.missing || 'default'", "default"),
        ("matrix.tree.deep", "x"),
        ("env.WORD", "w"),
        ("'it''s'", "it's"),
        ("format('py{0}-{1}', matrix.python, env.WORD)", "py3.11-w"),
        ("matrix.os == 'UBUNTU-latest' && 'yes' || 'no'", "yes"),
        ("matrix.python == 3.11", True),
        ("matrix.python != '3.11'", False),
        ("!matrix.flag", True),
        ("(matrix.flag || true) && !false", True),
        ("startsWith(matrix.os, 'ubuntu') && endsWith(matrix.os, 'est')", True),
        ("contains(matrix.list, 'a')", True),
        ("contains(matrix.os, 'windows')", False),
        ("runner.os", "Linux"),
        ("always()", True),
        ("failure() || cancelled()", False),
        ("true || github.actor", True),
        ("github.actor && false", False),
        ("null", None),
    ],
)
def test_an_expression_of_values_in_the_file(text, value):
    assert evaluate(text, CONTEXTS, 1) == value


@pytest.mark.parametrize(
    "text",
    [
        "github.ref",
        "secrets.TOKEN",
        "steps.a.outputs.b",
        "hashFiles('x')",
        "github.actor || true",
        "env.MISSING",
        "matrix",
    ],
)
def test_what_only_github_knows_is_unknown(text):
    assert condition(text, CONTEXTS, 1) is None
    with pytest.raises(CannotTakeError):
        substitute(f"a ${{{{ {text} }}}}", CONTEXTS, 1)


@pytest.mark.parametrize(
    "text",
    ["", "a b", "'open", "(true", "format('a'", "true ||", "$x", "!" * 50 + "true", "(" * 50 + "1" + ")" * 50, "1," * 500,
     "true || " * 300 + "1", "a[0]"],
)  # fmt: skip
def test_what_is_no_expression_is_refused_whatever_its_size(text):
    with pytest.raises(CannotTakeError):
        evaluate(text, CONTEXTS, 1)


def test_a_text_cannot_grow_without_bound():
    huge = Contexts({"x": "y" * 60_000}, {})
    with pytest.raises(CannotTakeError, match="too long"):
        substitute("${{ matrix.x }}${{ matrix.x }}", huge, 1)
    with pytest.raises(CannotTakeError, match="too long"):
        evaluate("format('{0}{0}', matrix.x)", huge, 1)


# ---- scripts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "commands"),
    [
        (["make test"], "make test"),
        (["make", "make check"], ["make", "make check"]),
        (['"a | b"'], "bash -ec 'a | b'"),
        (["|\n    # why\n    make \\\n      all\n\n    make check"], ["make all", "make check"]),
        (["|\n    cd tests\n    ./run"], "bash -ec 'cd tests\n./run'"),
        (["./x.sh\n  shell: bash"], "./x.sh"),
        (['"a && b"\n  shell: bash'], "bash -eo pipefail -c 'a && b'"),
        (['"a && b"\n  shell: sh'], "sh -ec 'a && b'"),
        (["./x\n  working-directory: sub dir"], "cd 'sub dir' && ./x"),
        (["./x\n  env: {A: 'b c', N: 3.10}"], "env A='b c' N=3.1 ./x"),
        (["./x\n  continue-on-error: true"], "(./x) || true"),
        (["echo never\n  if: failure()", "make"], "make"),
        (["npm --version", "pip list", "sudo apt-get update", "make"], "make"),
    ],
)
def test_commands_are_run_as_on_github(take, lines, commands):
    assert take(NAME, steps(*lines)).test == commands


def test_a_script_for_bash_does_what_it_does(take):
    test = take(NAME, steps('|\n    for word in \'a b\' "c\'d"; do\n      echo "$word" | tr a-z A-Z\n    done')).test
    assert subprocess.run(["sh", "-ec", test], capture_output=True, text=True, check=True).stdout == "A B\nC'D\n"


@pytest.mark.parametrize(
    ("lines", "keys"),
    [
        (["pip install -U pip wheel", "pip install -e .[test] && python -m pip install coverage", "pytest"],
         {"language": "python", "install": "editable", "extras": ["test"], "packages": ["coverage"]}),
        (["python3 -m pip install -r r.txt", "pytest"], {"layers": [{"apt": ["python3"]}, {"pip": {"requirements": ["r.txt"]}}]}),
        (["uv sync --locked --group docs --extra test", "uv run pytest -q"],
         {"language": "python", "groups": ["docs"], "extras": ["test"], "install": "none"}),
        (["sudo apt-get -y install libfoo-dev jq", "./x"],
         {"layers": [{"apt": ["g++", "gcc", "jq", "libc6-dev", "libfoo-dev", "make"]}]}),
        (["npm ci", "npm test"], {"language": "node", "base": {"debian": "bookworm"}}),
        (["npm ci\n  working-directory: web", "npm test"], {"language": [{"node": {"directory": "web"}}]}),
        (["pip install .", "npm ci", "pytest && npm test"], {"language": ["python", "node"], "install": "wheel"}),
        (["go mod download", "go test ./..."], {"language": "go"}),
        (["cargo fetch", "rustup component add clippy", "cargo clippy"], {"language": [{"rust": {"components": ["clippy"]}}]}),
        (["cmake -B b", "ninja"], {"layers": [{"apt": ["cmake", "g++", "gcc", "libc6-dev", "make", "ninja-build"]}]}),
    ],
)  # fmt: skip
def test_what_a_job_installs_is_layers(take, lines, keys):
    files = {
        "r.txt": "six\n", "package.json": '{"name": "x"}', "web/package.json": '{"name": "x"}',
        "go.mod": "module x.org/x\n", "Cargo.toml": '[package]\nname = "x"\nversion = "1.0.0"\n',
        "pyproject.toml": '[project]\nname = "x"\nversion = "1"\noptional-dependencies = {test = []}\n'
        '[dependency-groups]\ndocs = []\n',
    }  # fmt: skip
    env = take(NAME, steps(*lines), files).env
    assert {key: env.get(key) for key in keys} == keys


def test_uv_run_leaves_the_command(take):
    assert take(NAME, steps("uv run --frozen python -m pytest $ARGS")).test == "python -m pytest $ARGS"


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("run: tox -e py", "it calls `tox`"),
        ("run: python -m nox", "it calls `nox`"),
        ("run: pip install tox", "it runs its tests by tox"),
        ("run: uv run --with tox tox", "it calls `tox`"),
        ("run: docker compose up -d", "it calls `docker`"),
        ("run: curl https://example.org/x | sh", "calls `curl`"),
        ("run: git clone https://example.org/x", "it calls `git clone`"),
        ("run: go install example.org/x@latest", "it calls `go install`"),
        ("run: npm install --no-save other", "installs what package.json does not name"),
        ("run: npm publish", "`npm publish`"),
        ("run: sudo make install", "it calls `sudo make`"),
        ("run: echo A=b >> $GITHUB_ENV", "`GITHUB_ENV`, which only GitHub's runner has"),
        ("run: echo ${{ github.sha }}", "`github.sha` is known only on GitHub"),
        ("run: deploy ${{ secrets.KEY }}", "`secrets.KEY` is a secret"),
        ("run: make\n  env: {KEY: '${{ secrets.KEY }}'}", "`secrets.KEY` is a secret"),
        ("run: make\n  if: github.event_name == 'push'", "only GitHub knows whether"),
        ("run: make\n  shell: pwsh", "a step runs in `pwsh`"),
        ("run: make\n  working-directory: ../x", "is not in the project"),
        ("run: make\n  env: {'a b': c}", "cannot be the name of a variable"),
        ("run: |\n    if true; then\n      pip install x\n    fi", "a script of several parts calls `pip install`"),
        ("run: pip install https://example.org/x.whl", "is no requirement by name"),
        ("run: pip install ./other", "another project"),
        ("run: sudo apt-get install ./x.deb", "has no counterpart"),
        ("uses: other/action@v1", "the action `other/action` is a program of its own"),
        ("uses: ./.github/actions/own", "is a program of its own"),
        ("uses: docker://alpine", "is a program of its own"),
        ("uses: actions/checkout@v4\n  with: {repository: a/b}", "another repository"),
        (
            "uses: actions/setup-python@v5\n  with: {python-version: '3.12'}\n- run: pip install six",
            "no Debian release has",
        ),
        ("uses: actions/setup-python@v5\n  with: {python-version: '${{ steps.x }}'}", "known only on GitHub"),
        ("uses: actions/setup-node@v4\n  with: {node-version: abc}", "is no version of node"),
        ("uses: dtolnay/rust-toolchain@nightly", "nightly Rust"),
        ("uses: dtolnay/rust-toolchain@stable\n  with: {targets: wasm32}", "another target"),
        ("name: nothing", "neither `uses` nor `run`"),
    ],
)
def test_a_job_is_left_out_as_a_whole_with_its_line(errors, step, message):
    (error,) = errors(NAME, workflow(job(f"- run: make\n- {step}\n")))
    assert error.startswith(f"{NAME}:")
    assert int(error.split(":")[1]) >= 7
    assert message in error


def test_a_java_that_debian_does_not_have_is_a_toolchain_where_there_is_one():
    options = {"java-version": "8", "distribution": "x"}
    tools = Toolchains(note=lambda *words: None, offered=frozenset({"java"}))
    tools.use("actions/setup-java@v4", options, 7)
    assert tools.versions == {"java": "8"}
    with pytest.raises(CannotTakeError, match="no Debian release has java 8: they have 17, 21") as caught:
        Toolchains(note=lambda *words: None, offered=frozenset()).use("actions/setup-java@v4", options, 7)
    assert caught.value.line == 7


# ---- jobs -----------------------------------------------------------------------------------------------------------


def matrix(text: str) -> str:
    return f"strategy: {{matrix: {text}}}\n"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{v: [a, b], w: [c]}", ["test-a-c", "test-b-c"]),
        ("{v: [a, b], exclude: [{v: a}]}", ["test-b"]),
        ("{v: [a, b], include: [{v: a, x: y}, {v: z}]}", ["test-a-y", "test-b", "test-z"]),
        ("{v: [a], include: [{x: y}]}", ["test-a-y"]),
        ("{include: [{v: a}, {v: b}]}", ["test-a", "test-b"]),
        ("{v: [3.10, '3.10']}", ["test-3.1", "test-3.10"]),  # as GitHub's own YAML reads it
    ],
)
def test_points_of_a_matrix(take, text, names):
    taken = take(NAME, workflow(job("- run: echo ${{ matrix.v }} ${{ matrix.x }}\n", head=matrix(text))))
    assert [*taken.envs] == names


def test_pythons_of_a_matrix_choose_the_release_and_others_are_left_out(take):
    text = matrix(
        "{os: [ubuntu-latest, ubuntu-22.04, windows-latest], python-version: ['3.11', '3.13', '3.7', pypy-3.10]}"
    )
    script = "- uses: actions/setup-python@v5\n  with: {python-version: '${{ matrix.python-version }}'}\n- run: pip install -e .\n- run: pytest\n"
    taken = take(NAME, workflow(job(script, head=text, runner="${{ matrix.os }}")))
    assert {name: env["base"] for name, env in taken.envs.items()} == {
        "test-ubuntu-latest-3.11": {"debian": "bookworm"}, "test-ubuntu-latest-3.13": {"debian": "trixie"},
    }  # fmt: skip
    left = " ".join(taken.said("left-out"))
    assert "no Debian release has Python 3.7" in left
    assert "`pypy-3.10` is no Python" in left
    assert left.count("windows-latest") == 1


@pytest.mark.parametrize(
    ("setup", "keys"),
    [
        ("setup-node@v4\n  with: {node-version: 22.x}", {"toolchain": {"node": "22"}, "language": "node"}),
        ("setup-node@v4\n  with: {node-version: lts/*}", {"language": "node"}),
        ("setup-node@v4\n  with: {node-version-file: .nvmrc}", {"toolchain": {"node": None}}),
        ("setup-go@v5\n  with: {go-version: '^1.21'}", {"toolchain": {"go": "1.21"}, "language": "go"}),
        ("setup-go@v5\n  with: {go-version-file: go.mod}", {"toolchain": {"go": None}, "language": "go"}),
        (
            "setup-java@v4\n  with: {java-version: 21, distribution: x}",
            {"base": {"debian": "trixie"}, "language": "java"},
        ),
    ],
)
def test_actions_that_set_up_a_language(take, setup, keys):
    files = {
        "package.json": '{"name": "x"}', "go.mod": "module x.org/x\n\ngo 1.21\n", ".nvmrc": "22\n",
        "pom.xml": "<project><groupId>x</groupId><artifactId>x</artifactId><version>1</version></project>",
    }  # fmt: skip
    env = take(NAME, workflow(job(f"- uses: actions/checkout@v4\n- uses: actions/{setup}\n- run: ./t\n")), files).env
    assert {key: env.get(key) for key in keys} == keys


def test_stable_rust_is_the_newest_of_debian(take):
    files = {"Cargo.toml": '[package]\nname = "x"\nversion = "1.0.0"\n'}
    text = workflow(job("- uses: dtolnay/rust-toolchain@stable\n  with: {components: clippy}\n- run: cargo test\n"))
    taken = take(NAME, text, files)
    assert taken.env["base"] == {"debian": "trixie"}
    assert taken.env["language"] == [{"rust": {"components": ["clippy"]}}]
    assert taken.said("changed") == ["7 rust-toolchain: stable Rust is the newest of Debian here: 1.85"]


def test_variables_of_all_levels(take):
    text = "env: {A: top, B: top, C: '${{ matrix.v }}'}\n" + workflow(
        job("- run: ./x ${{ env.B }}\n  env: {A: step, B: job}\n", head="env: {B: job, C: '${{ matrix.v }}'}\n" + matrix("{v: [one]}"))
    )  # fmt: skip
    text = text.replace("env: {A: top, B: top, C: '${{ matrix.v }}'}", "env: {A: top, B: top}")
    taken = take(NAME, text)
    assert taken.env["set"] == {"A": "top", "B": "job", "C": "one"}
    assert taken.test == "env A=step ./x job"


def test_services_are_at_localhost_and_of_a_kind_where_that_is_the_same(take):
    head = """services:
  postgres:
    image: postgres:15-alpine
    env: {POSTGRES_PASSWORD: secret, POSTGRES_DB: app}
    ports: ["5432:5432"]
    options: >-
      --health-cmd pg_isready
      --health-interval=10s --health-timeout 5s
  queue: {image: "rabbitmq:3", ports: [5672]}
"""
    taken = take(NAME, workflow(job("- run: make\n", head=head)))
    assert taken.env["services"] == ["postgres", "queue"]
    assert yaml.safe_load(taken.text)["services"] == {
        "postgres": {"postgres": 15, "password": "secret", "database": "app", "provides": {"DATABASE_URL": None}, "localhost": True},
        "queue": {"base": {"image": "rabbitmq:3"}, "ports": [5672], "ready": 5672, "localhost": True},
    }  # fmt: skip


def test_services_of_one_name_that_differ_have_numbers(take):
    head = matrix("{v: ['15', '17']}") + 'services: {db: {image: "postgres:${{ matrix.v }}", ports: [5432]}}\n'
    taken = take(NAME, workflow(job("- run: make\n", head=head)))
    assert [env["services"] for env in taken.envs.values()] == [["db"], ["db-2"]]
    with_container = workflow(job("- run: make\n", head=f"container: alpine\n{head}"))
    taken = take(NAME, with_container)  # steps look for the name `db`
    assert len(taken.envs) == 1
    assert "another job has another service `db`" in " ".join(taken.said("left-out"))


@pytest.mark.parametrize(
    ("service", "message"),
    [
        ("{image: x, ports: ['5433:5432']}", "at port 5433 of `localhost`, and here at its own port 5432"),
        ("{image: x, volumes: [a:b]}", "`volumes` of a service has no counterpart"),
        ("{image: x, options: '--privileged'}", "the option `--privileged`"),
        ("{image: x, credentials: {}}", "`credentials`"),
        ("{ports: [1]}", "no image"),
        ("x", "no mapping"),
    ],
)
def test_services_that_would_differ(errors, service, message):
    (error,) = errors(NAME, workflow(job("- run: make\n", head=f"services: {{db: {service}}}\n")))
    assert message in error


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("environment: production\n", "it deploys to an environment"),
        ("if: false\n", "does not hold"),
        (matrix("'${{ fromJSON(x) }}'"), "its matrix is made by an expression"),
        (matrix("{a: '${{ fromJSON(x) }}'}"), "is no list of values"),
    ],
)
def test_jobs_that_are_left_out(errors, head, message):
    assert message in errors(NAME, workflow(job("- run: make\n", head=head)))[0]


def test_other_jobs_are_taken_over_beside_one_that_is_left_out(take):
    text = workflow(
        job("- run: make\n", head="needs: [lint]\nif: github.ref == 'x'\ntimeout-minutes: 5\n"),
        job("- run: make\n", name="mac", runner="macos-latest"),
        "  call: {uses: ./.github/workflows/x.yml}\n",
    )
    taken = take(NAME, text)
    assert [*taken.envs] == ["test"]
    assert [line.split(": ", 1)[1] for line in taken.said("changed")] == [
        "envs do not wait for each other",
        "only GitHub knows whether `github.ref == 'x'` holds: the env is always there",
    ]
    assert len(taken.said("left-out")) == 2
    assert ["timeout-minutes" in line for line in taken.said("meaningless")] == [True]


def test_what_a_job_without_an_env_would_note_is_not_said(take):
    text = workflow(job("- run: make\n"), job("- run: sudo apt-get install jq\n- run: tox\n", name="other"))
    assert take(NAME, text).said("changed") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no workflow"),
        ("a: b", "has no `jobs:`"),
        ("jobs: {}", "has no `jobs:`"),
        ("jobs: {a: b}", "it is no job"),
        ("jobs: {a: {steps: [{run: x}]}}", "does not say where it runs"),
        ("jobs: {a: {runs-on: ubuntu}}", "it has no steps"),
        ("jobs: {a: {runs-on: ubuntu, steps: [x]}}", "a step is no mapping"),
        ("jobs: {a: {runs-on: ubuntu, steps: [{uses: actions/checkout@v4}]}}", "it runs no command"),
        ("jobs: [a", ""),
        ("jobs: " + "[" * 500, ""),
        ("a: &a [x, x]\n" + "".join(f"{c}: &{c} [*{p}, *{p}, *{p}, *{p}]\n" for p, c in zip("abcdefghijk", "bcdefghijkl", strict=True)), ""),
        (workflow(job("- run: make\n", head=matrix("{" + ", ".join(f"a{n}: [1, 2, 3, 4, 5, 6, 7, 8]" for n in range(30)) + "}"))), "more than 10,000 points"),
        (workflow(job("- run: make\n", head=matrix("{a: [" + ", ".join(map(str, range(300))) + "]}"))), "more than 256 points"),
        (workflow(job("- run: make\n", head=matrix("{include: [" + ", ".join(f"{{a: {n}}}" for n in range(300)) + "]}"))), "more than 256"),
        (workflow(job("- run: echo ${{ matrix.a }}\n", head=matrix("{a: [" + ", ".join(map(str, range(250))) + "]}"))), "more than 200 jobs"),
        (workflow(job("- run: make\n" * 300)), "more than 200"),
        (workflow(*(job("- run: make\n", name=f"j{n}") for n in range(201))), "more than 200 jobs"),
        (workflow(job("- run: |\n" + "    make\n" * 300)), "more than 200 commands"),
        (workflow(job("- run: echo \x01\n")), ""),
    ],
)  # fmt: skip
def test_a_hostile_file_is_an_error_with_its_place(errors, text, message):
    found = errors(NAME, text)
    assert found
    assert found[0].startswith(f"{NAME}:")
    assert message in found[0]


def test_texts_that_expressions_make_larger_than_memory_are_errors():
    contexts = Contexts({"a": "x" * 1_000_000}, {})
    with pytest.raises(CannotTakeError, match="too long with what its expressions stand for"):
        substitute("${{ matrix.a }}" * 100_000, contexts, 1)
    with pytest.raises(CannotTakeError, match="too long with what its expressions stand for"):
        evaluate(f"format('{'{0}' * 100_000}', matrix.a)", contexts, 1)
    assert substitute("a ${{ matrix.a }} b {0} }} ${{", Contexts({"a": "x"}, {}), 1) == "a x b {0} }} ${{"
    assert evaluate("format('{0}{1}{0}{7}', 'a', 'b')", contexts, 1) == "aba"


@pytest.mark.parametrize(
    "script",
    [
        "if x" + "\n" * 90_000 + "#",
        "set -e" + "\n \t" * 30_000 + "#",
        "make" + " " * 90_000 + "x",
        "make" + " \t" * 45_000 + "\\\n x",
        "if x; then a=1 " * 6000 + "#",
    ],
    ids=["lines", "blanks", "blanks in a line", "blanks before a line that goes on", "assignments"],
)
def test_a_script_is_read_in_time_that_grows_with_its_length(script):
    started = time.process_time()
    needs = JobNeeds(note=lambda *_: None)
    needs.add_script(script, line=1, directory=".", shell="", variables={}, may_fail=False)
    assert needs.commands
    assert substitute("${{" * 33_000, CONTEXTS, 1) == "${{" * 33_000
    assert time.process_time() - started < 20


def test_a_program_behind_an_empty_line_is_found():
    needs = JobNeeds(note=lambda *_: None)
    for script in ("if x; then\n\n  curl h\nfi", "if x; then\n true &&\n  sudo  curl h\nfi"):
        with pytest.raises(CannotTakeError, match="calls `curl`"):
            needs.add_script(script, line=1, directory=".", shell="", variables={}, may_fail=False)
