"""pip's configuration read without starting pip: what pip itself makes of the same files and variables."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envtool.build import host_pip, pip_config_files
from envtool.build.pip_config_files import config_listing, prefix_of_script
from tests.depth import examples

PIPS = [python for python in (sys.executable, "/usr/bin/python3") if os.path.exists(python)]
ORACLE = """
import json, os, sys
from pip._internal.configuration import Configuration
from pip._internal.utils._log import init_logging
init_logging()
for line in sys.stdin:
    sys.prefix, variables = json.loads(line)
    os.environ.clear()
    os.environ.update(variables)
    configuration, options = Configuration(isolated=False), {}
    try:
        configuration.load()
    except Exception as error:
        options = {"error": str(error)}
    else:
        for key, value in configuration.items():  # new versions: file -> options
            options.update(value if isinstance(value, dict) else {key: value})
    print(json.dumps(options), flush=True)
"""
SCRIPT = """# -*- coding: utf-8 -*-
import re
import sys
from pip._internal.cli.main import main
if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])
    sys.exit(main())
"""  # as distlib, and so pip, writes it
PLACES = (".pip/pip.conf", ".config/pip/pip.conf", "xdg/pip/pip.conf", "shared/pip/pip.conf", "more/pip/pip.conf",
          "prefix/pip.conf", "chosen.conf")  # fmt: skip
OPTIONS = ("index-url", "INDEX_URL", "--timeout", "retries", "no-index", "find_links", "trusted-host", "proxy")
VALUES = ("", "1", "0", "on", "https://u:p@h.invalid/simple", "a b", "'quoted'", '"', "%(x)s", "a = b", "# no comment",
          "x ; y", "\\", "[global]", "first\n  second\n\n  third", "first\n# comment\n  second", "ä", "\x00", "x\x1b[1m")  # fmt: skip
SECTIONS = ("global", "install", "list", "DEFAULT", ":env:", "a.b", "global.x", "Global")
file_lines = st.one_of(
    st.builds("[{}]\n".format, st.sampled_from(SECTIONS)),
    st.builds("{}{}{}\n".format, st.sampled_from(OPTIONS), st.sampled_from((" = ", "=", ": ")), st.sampled_from(VALUES)),
    st.sampled_from(("\n", "; comment\n", "  indented\n", "no value\n", "\ufeff")),
)  # fmt: skip
files = st.dictionaries(
    st.sampled_from(PLACES),
    st.builds("[{}]\n{}".format, st.sampled_from(SECTIONS), st.lists(file_lines, max_size=5).map("".join)),
    max_size=4,
)
variables = st.fixed_dictionaries(
    {},
    optional={
        "PIP_CONFIG_FILE": st.sampled_from(("TOP/chosen.conf", "TOP/none.conf", "", "/dev/null", "chosen.conf", "TOP/more")),
        "XDG_CONFIG_HOME": st.sampled_from(("TOP/xdg", "", "xdg", " TOP/xdg")),
        "XDG_CONFIG_DIRS": st.sampled_from(("TOP/shared", "TOP/shared:TOP/more", "TOP/more:TOP/shared", "", "shared", "TOP/more:")),
        "PIP_TIMEOUT": st.sampled_from(("3", "2.5", "", "soon")),
        "PIP_timeout": st.just("4"),
        "PIP_NO_INDEX": st.sampled_from(("1", "y", "false", "")),
        "PIP_INDEX_URL": st.sampled_from(VALUES[:-2]),
        "PIP_FIND__LINKS": st.just("x"),
        "PIP_VERSION": st.just("1"),
        "PIP_QUIET": st.just("1"),
    },
)  # fmt: skip


@pytest.fixture(params=PIPS, scope="module")
def oracle(request):
    """A process with that Python's own pip: (prefix, variables) -> "section.option" -> value, as its pip reads them."""
    if subprocess.run([request.param, "-P", "-c", "import pip"], capture_output=True, check=False).returncode:
        pytest.skip(f"{request.param} has no pip")
    old = ORACLE if "_log" in _modules(request.param) else ORACLE.replace(
        "from pip._internal.utils._log import init_logging\ninit_logging()\n", ""
    )  # fmt: skip
    with subprocess.Popen([request.param, "-P", "-c", old], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True, cwd="/") as process:  # fmt: skip

        def ask(prefix, environ):
            process.stdin.write(json.dumps([prefix, environ]) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()


def _modules(python):
    found = subprocess.run(
        [python, "-P", "-c", "import pip; print(pip.__path__[0])"], capture_output=True, text=True, check=True
    )
    return {path.stem for path in Path(found.stdout.strip(), "_internal/utils").iterdir()}


def parsed(listing):
    lines = [line.partition("=") for line in listing.decode("ascii").splitlines()]
    return {name: ast.literal_eval(value) for name, _, value in lines}


def machine(top, contents, environ):
    """Writes the files and returns the variables."""
    for place in PLACES:
        (top / place).parent.mkdir(parents=True, exist_ok=True)
        (top / place).unlink(missing_ok=True)
    for place, text in contents.items():
        (top / place).write_text(text, encoding="utf-8")
    return {"HOME": str(top), **{name: value.replace("TOP", str(top)) for name, value in environ.items()}}


@given(contents=files, environ=variables)
@settings(
    max_examples=examples(300, 20_000),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_an_answer_is_that_of_pip(oracle, tmp_path, contents, environ):
    environ = machine(tmp_path, contents, environ)
    listing = config_listing(f"{tmp_path}/prefix", environ)
    if listing is not None:
        assert parsed(listing) == oracle(f"{tmp_path}/prefix", environ)


def test_the_order_of_files_and_variables(oracle, tmp_path):
    places = ("shared/pip/pip.conf", ".pip/pip.conf", ".config/pip/pip.conf", "prefix/pip.conf", "chosen.conf")
    contents: dict[str, str] = {}
    environ = {"XDG_CONFIG_DIRS": "TOP/shared"}
    for number, place in enumerate(places):
        contents[place] = f"[global]\nindex-url = https://{number}.invalid\n"
        if place == "chosen.conf":
            environ["PIP_CONFIG_FILE"] = "TOP/chosen.conf"
        given_to_pip = machine(tmp_path, contents, environ)
        listing = config_listing(f"{tmp_path}/prefix", given_to_pip)
        assert parsed(listing)["global.index-url"] == f"https://{number}.invalid"
        assert parsed(listing) == oracle(f"{tmp_path}/prefix", given_to_pip)
    hidden = machine(tmp_path, {".pip/pip.conf": "[global]\nproxy = x\n", "chosen.conf": ""}, environ)
    assert "global.proxy" not in parsed(config_listing(f"{tmp_path}/prefix", hidden))
    shown = machine(tmp_path, {".pip/pip.conf": "[global]\nproxy = x\n"}, environ)  # PIP_CONFIG_FILE does not exist
    assert parsed(config_listing(f"{tmp_path}/prefix", shown))["global.proxy"] == "x"
    nothing = {**shown, "PIP_CONFIG_FILE": os.devnull}
    assert parsed(config_listing(f"{tmp_path}/prefix", nothing)) == {":env:.config-file": os.devnull}


# ---- pip itself ------------------------------------------------------------------------------------------------------


def real_listing(environ):
    """What this Python's pip prints, or None if it fails."""
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "pip", "config", "list"], capture_output=True, cwd="/", env=environ, check=False
    )
    return ended.stdout if ended.returncode == 0 else None


def test_every_option_that_is_known_lets_pip_print_the_same(tmp_path):
    """In variables and in a file; pip itself sets variables for some others, such as PIP_NO_INPUT."""
    samples = {pip_config_files._ANY: "x y [red]" + "z " * 100, pip_config_files._SWITCH: "yes",
               pip_config_files._NUMBER: "2.5"}  # fmt: skip
    values = {name: samples.get(pattern, "3") for name, pattern in pip_config_files._VALUES.items()}
    del values["config-file"]
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    set_variables = {f"PIP_{name.upper().replace('-', '_')}": value for name, value in values.items()}
    in_variables = {*config_listing(sys.prefix, environ | set_variables).splitlines()}
    assert in_variables == {*real_listing(environ | set_variables).splitlines()}
    assert {line for line in in_variables if line.startswith(b":env:.")} == {
        f":env:.{name}={value!r}".encode() for name, value in values.items()
    }
    lines = [f"{name} = {value}\n" for name, value in values.items()]
    (tmp_path / "chosen.conf").write_text(
        f"[install]\nuser = yes\n[global]\n{''.join(lines)}[freeze]\ntimeout = soon\n"
    )
    chosen = environ | {"PIP_CONFIG_FILE": f"{tmp_path}/chosen.conf"}
    listing = config_listing(sys.prefix, chosen)
    assert listing.count(b"\nglobal.") == len(values)
    assert {*listing.splitlines()} <= {*real_listing(chosen).splitlines()}  # which may list a file of this machine too


@pytest.mark.parametrize(
    "name_and_value",
    ["PIP_USER=1", "PIP_ISOLATED=1", "PIP_QUIET=2", "PIP_PYTHON=/x", "PIP_TIMEOUT=soon", "PIP_RETRIES=2.5", "PIP_PROXY=ä",
     "PIP_NO_INDEX=maybe", "PIP_CONFIG_FILE=pip.conf", "XDG_CONFIG_HOME=x", "XDG_CONFIG_DIRS=x", "HOME=", "PIP_NEW=1"],
)  # fmt: skip
def test_what_only_pip_knows_is_left_to_it(name_and_value, tmp_path):
    name, _, value = name_and_value.partition("=")
    assert config_listing(str(tmp_path), {"HOME": str(tmp_path)}) is not None
    assert config_listing(str(tmp_path), {"HOME": str(tmp_path), name: value}) is None


@pytest.mark.parametrize(
    "text",
    ["no section", "[global]\nx\n", "[global]\ntimeout = 1\ntimeout = 2\n", "[global]\nuser = no\n", "[global]\nproxy = ä\n",
     "[config]\neditor = x\n", "[global]\nproxy = x\n" + "#" * (1 << 20)],
)  # fmt: skip
def test_a_file_that_only_pip_understands_is_left_to_it(text, tmp_path):
    (tmp_path / "pip.conf").write_text(text, encoding="utf-8")
    assert config_listing(str(tmp_path), {"HOME": str(tmp_path)}) is None


def test_a_file_that_is_none_is_left_to_pip(tmp_path):
    os.mkfifo(tmp_path / "pip.conf")
    assert config_listing(str(tmp_path), {"HOME": str(tmp_path)}) is None


# ---- which pip -------------------------------------------------------------------------------------------------------


def test_the_pip_of_an_environment_has_the_file_of_that_environment(monkeypatch, tmp_path):
    """As in the PATH of an envtool whose own environment has no pip."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (library,) = tmp_path.glob("venv/lib/*/site-packages")
    (library / "pip.pth").write_text(str(Path(importlib.util.find_spec("pip").origin).parents[1]))
    program = tmp_path / "venv/bin/pip"
    program.write_text(f"#!{tmp_path}/venv/bin/python\n{SCRIPT}")
    program.chmod(0o755)
    (tmp_path / "venv/pip.conf").write_text("[global]\nproxy = of-the-environment\n")
    monkeypatch.setattr(host_pip.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(host_pip, "find_program", lambda *_: str(program))
    assert prefix_of_script(str(program)) == f"{tmp_path}/venv"
    started = []
    run = host_pip.proc.run
    monkeypatch.setattr(host_pip.proc, "run", lambda argv, **rest: started.append(argv) or run(argv, **rest))
    first = host_pip.run_host_pip(("config", "list"), None)
    assert not started
    program.write_text(program.read_text().replace("import re\n", "import re, os\n"))
    second = host_pip.run_host_pip(("config", "list"), None)
    assert {*second.stdout.splitlines()} == {*first.stdout.splitlines()}
    assert started == [[str(program), "config", "list"]]
    assert b"global.proxy='of-the-environment'" in first.stdout


@pytest.mark.parametrize("program", ["/usr/bin/pip3", "/usr/local/bin/pip3"])
def test_the_prefix_of_a_python_without_environment(program):
    prefix = prefix_of_script(program)
    if not prefix:
        pytest.skip(f"this machine has no {program} that an installer wrote")
    python = Path(program).read_text().partition("\n")[0][2:]
    said = subprocess.run([python, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == prefix


@pytest.mark.parametrize(
    "text", ["", '#!/bin/sh\nexec /usr/bin/pip3 "$@"\n', "#!/usr/bin/python3 -E\nimport sys\n", "\x7fELF"]
)
def test_no_other_program_has_a_prefix(text, tmp_path):
    (tmp_path / "pip").write_text(text)
    assert prefix_of_script(str(tmp_path / "pip")) == ""
    assert prefix_of_script(str(tmp_path / "none")) == ""
