"""`--find-links` of requirement files and layers: told before anything is asked where it leads nowhere."""

from __future__ import annotations

import pytest
from envtool_python.kinds import Pip
from envtool_python.layer_inputs import PipInputs
from envtool_python.pip_calls import read_requests
from envtool_python.requirements import flatten

from envtool import api

WHEEL = "d/six-1-py3-none-any.whl"


class Site:
    """The project alone, as `api.Site.open` tells of it."""

    def __init__(self, project):
        self.project = project

    def open(self, path, *, limit=0):
        found = self.project / path
        if found.is_dir():
            raise api.ResolveError(path, code="not-a-file")
        if not found.is_file():
            raise api.ResolveError(path, code="no-file")
        return found.open("rb")


@pytest.fixture
def site(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "my wheels").mkdir()
    for name in (WHEEL, "my wheels/a.whl", "a.txt", "page.html", "d/n.txt", "sub/d/a.whl", "sub/r.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("six\n")
    return Site(tmp_path)


def request(options, *, inputs=(), directory="."):
    files = tuple(api.InputFile(path=path, sha256="0" * 64) for path in inputs)
    where = api.Where(file="envtool.yaml", line=3, column=1)
    return api.Request(
        name="pip", options=options, inputs=files, where=where, arch="x86_64", epoch=0, directory=directory
    )


def told(site, text, inputs=(), *, directory=".", **more):
    """What `check` says of a requirement file with this text, and where."""
    (site.project / directory / "r.txt").write_text(text)
    options = {"requirements": ["r.txt"], "inputs": [*inputs], **more}
    try:
        Pip().check(request(options, directory=directory), site)
    except api.SpecError as error:
        return "; ".join(f"{each.where.file}:{each.where.line}: {each.message}" for each in error.problems)
    except api.ResolveError as error:
        return error.message
    return ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--find-links gone", "there is no gone in the project"),
        ("--find-links=gone", "there is no gone in the project"),
        ("-f ./gone/", "there is no gone in the project"),
        ("--find-links file:gone", "there is no gone in the project"),
        ("--find-links 'no wheels'", "there is no no wheels in the project"),
        ("--no-index --find-links gone", "there is no gone in the project"),
        ("--find-links d/gone --pre", "there is no d/gone in the project"),
        ("--find-links ../gone", "../gone is outside of the project"),
        ("--find-links /opt/gone", "/opt/gone is outside of the project"),
        ("--find-links file:///opt/gone", "/opt/gone is outside of the project"),
        ("--find-links a.txt", "a.txt is a file, and neither a page of links nor an archive"),
        ("--find-links d", "the layer does not depend on d"),
        ("--find-links page.html", "the layer does not depend on page.html"),
    ],
)
def test_a_directory_that_is_not_there_is_told_with_its_line(site, line, said):
    assert told(site, f"six\n{line}\n").startswith("r.txt:2: ")
    assert said in told(site, f"six\n{line}\n")


@pytest.mark.parametrize(
    ("line", "inputs"),
    [
        ("--find-links d", ["d"]),
        ("--find-links d", ["d/*.whl"]),
        ("--find-links d", ["**/*.whl"]),
        ("--find-links d", ["."]),
        ("--find-links ./d/", ["d/six*"]),
        (f"--find-links {WHEEL}", ["d"]),
        ("--no-index -f 'my wheels'", ["my wheels"]),
        ("--find-links page.html", ["*.html"]),
        ("--find-links https://h.invalid/x", []),
        ("--find-links ${WHEELS}/x", []),
    ],
)
def test_what_is_there_is_left_to_pip(site, line, inputs):
    assert told(site, f"{line}\nsix\n", inputs) == ""


def test_each_place_where_pip_takes_options(site):
    (site.project / "c.txt").write_text("six<2\n--find-links gone\n")
    assert "c.txt:2: `--find-links gone`" in told(site, "-c c.txt\nsix\n", ["c.txt"])
    assert "c.txt:2: `--find-links gone`" in told(site, "six\n", constraints=["c.txt"])
    assert "envtool.yaml:3: `--find-links gone`" in told(site, "", packages=["--find-links gone", "six"])
    (site.project / "d/n.txt").write_text("-f gone\n")
    assert "d/n.txt:1: `-f gone`: there is no d/gone and no gone" in told(site, "-r d/n.txt\n", ["d"])


def test_it_is_relative_to_the_file_or_to_the_directory_of_the_spec(site):
    (site.project / "sub/n").mkdir()
    (site.project / "sub/n/r.txt").write_text("--find-links d\nsix\n")
    assert told(site, "-r n/r.txt\n", ["n", "d"], directory="sub") == ""
    assert "there is no ../gone and no gone" not in told(site, "--find-links ../d\nsix\n", ["../d"], directory="sub")
    assert "depend on ../d" in told(site, "--find-links ../d\nsix\n", directory="sub")


def test_a_file_that_is_included_and_no_input_is_told(site):
    assert told(site, "-r d/n.txt\n") == "d/n.txt is included, but the layer does not depend on it"
    assert told(site, "-r d/n.txt\n", ["d"]) == ""
    assert told(site, "-r d/n.txt\n", ["**"]) == ""


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"packages": ["--find-links d", "six"]}, ["--find-links file:///project/d", "six"]),
        ({"requirements": ["r.txt"]}, ["--no-index", "--find-links file:///project/my%20wheels", "six"]),
    ],
)
def test_pip_is_told_where_it_is_in_the_container(site, options, expected):
    (site.project / "r.txt").write_text("--no-index --find-links 'my wheels'\nsix\n")
    asked = read_requests(options, PipInputs(request(options, inputs=["r.txt", WHEEL, "my wheels/a.whl"]), site))
    assert [list(call) for call in asked.calls] == [expected]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("--no-index --find-links w", ("--no-index", "--find-links w")),
        ("--pre -f w --only-binary=:all:", ("--pre", "-f w", "--only-binary=:all:")),
        ("--find-links 'a b' -i https://h.invalid/a", ("--find-links 'a b'", "-i https://h.invalid/a")),
        ("--find-links 'a", ("--find-links 'a",)),
        ("six --hash=sha256:00 --hash=sha256:11", ("six --hash=sha256:00 --hash=sha256:11",)),
        ("-e ./me --config-settings a=b", ("./me --config-settings a=b",)),
    ],
)
def test_several_options_on_a_line_are_as_many_lines(text, lines):
    assert flatten({"r.txt": text}.get, ["r.txt"]).requirements == lines
