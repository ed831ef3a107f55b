"""Files of a project are text by the rules of those who read them."""

from __future__ import annotations

import codecs

import pytest
from envtool_python.decode import DecodedFiles, SubdirectoryReader, WrongFileError, decode_text
from envtool_python.language import Python

from envtool import api

LATIN = "# -*- coding: latin-1 -*-\nfrom setuptools import setup\nsetup(name='kaffee', author='René')\n"


@pytest.mark.parametrize(
    ("content", "path", "text"),
    [
        (LATIN.encode("latin-1"), "setup.py", LATIN),
        (b"#!/usr/bin/python\n# vim: set fileencoding=cp1252 :\n# \x80\n", "a.py", "#!/usr/bin/python\n# vim: set fileencoding=cp1252 :\n# €\n"),
        (codecs.BOM_UTF8 + "# é".encode(), "setup.py", "# é"),
        (codecs.BOM_UTF8 + b"six\r\n", "requirements.txt", "six\n"),
        (codecs.BOM_UTF16_LE + "six\r\npytest\r\n".encode("utf-16-le"), "requirements.txt", "six\npytest\n"),
        (codecs.BOM_UTF16_BE + "six\n".encode("utf-16-be"), "requirements.txt", "six\n"),
        (codecs.BOM_UTF32_LE + "six\n".encode("utf-32-le"), "requirements.txt", "six\n"),
        ("# -*- coding: latin-1 -*-\nsix # é\n".encode("latin-1"), "r.txt", "# -*- coding: latin-1 -*-\nsix # é\n"),
        (codecs.BOM_UTF8 + b"[project]\r\n", "pyproject.toml", "[project]\n"),
        (b"[x]\na = \xe9\r", "setup.cfg", "[x]\na = \ufffd\n"),
        (b"# coding: latin-1\na = 1\n", "pyproject.toml", "# coding: latin-1\na = 1\n"),
    ],
)  # fmt: skip
def test_a_file_says_its_encoding(content, path, text):
    assert decode_text(content, path) == text


@pytest.mark.parametrize(
    ("content", "path", "said", "line"),
    [
        (b"a = 1\n# \xe9\n", "setup.py", "setup.py is not UTF-8", 2),
        (b"# coding: latin-1\n\n# \xe9\n", "pyproject.toml", "pyproject.toml is not UTF-8", 3),
        (b"six\n\xe9\n", "requirements.txt", "requirements.txt is not UTF-8", 2),
        (b"\n# coding: no-such\n", "setup.py", "is said to be in `no-such`, which is no encoding", 2),
        (b"# coding: rot13\n", "setup.py", "which is no encoding", 1),
        (b"# coding: ascii\n\n\xe9", "setup.py", "setup.py is not ASCII", 3),
    ],
)
def test_what_is_no_text_is_said_with_its_line(content, path, said, line):
    with pytest.raises(WrongFileError, match=said) as caught:
        decode_text(content, path)
    assert (caught.value.file, caught.value.line) == (path, line)


class Bytes:
    def __init__(self, files):
        self.files = files

    def read_bytes(self, path):
        return self.files.get(path)

    def around(self, name):
        return {}

    def glob(self, pattern):
        return sorted(path for path in self.files if pattern == "**" or path.startswith(pattern.removesuffix("**")))


def layers(files):
    where = api.Where(file="envtool.yaml", line=1, column=1)
    env = api.EnvDraft(name="unit", base_kind="image", options={}, layer_names=(), where=where)
    return Python().layers(env, Bytes(files))


def test_a_setup_py_with_a_coding_cookie_is_a_project():
    assert [draft.kind for draft in layers({"setup.py": LATIN.encode("latin-1")})] == ["pip", "python-project"]


def test_a_file_that_is_no_text_is_an_error_with_its_line():
    with pytest.raises(api.SpecError) as caught:
        layers({"setup.py": b"x = 1\ny = '\xe9'\n"})
    (problem,) = caught.value.problems
    assert (problem.where.file, problem.where.line, problem.text) == ("setup.py", 2, "y = '\ufffd'")
    assert "coding" in problem.hint


def test_a_directory_is_a_project_of_its_own():
    inner = SubdirectoryReader(DecodedFiles(Bytes({"a/b.txt": b"x", "c.txt": b""})), "a")
    assert (inner.read("b.txt"), inner.read("c.txt"), inner.glob("**")) == ("x", None, ["b.txt"])
