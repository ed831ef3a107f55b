"""Lock files that uv, Poetry and PDM wrote: what they say, what of them counts, and files that lie."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from envtool_python import lock_files, locked_packages, source_values
from envtool_python.decode import WrongFileError
from envtool_python.lock_files import digest_of, locked_file, read_lock, stale_lines
from envtool_python.locked_selection import (
    ContradictoryLockError,
    Selector,
    holds_somewhere,
    is_within,
    marker_environment,
)

LOCKS = Path(__file__).parent / "locks"
FILES = {"uv": "uv.lock", "poetry": "poetry.lock", "pdm": "pdm.lock", "pylock": "pylock.toml"}
INFO = {"version": "3.12.4", "implementation": "cpython", "platform": "linux-x86_64"}
HEADER = {
    "uv.lock": "version = 1\n",
    "poetry.lock": '[metadata]\nlock-version = "2.1"\n',
    "pdm.lock": '[metadata]\nlock_version = "4.5.0"\n',
    "pylock.toml": 'lock-version = "1.0"\ncreated-by = "uv"\n',
}
SHA = "a" * 64


def real(tool):
    return read_lock((LOCKS / tool / FILES[tool]).read_text(), FILES[tool])


def select(lock, *lines, info=INFO, **more):
    selection = Selector(lock, marker_environment(info), apart={"shop"}, **more).select(lines)
    return {name: package.version for name, package in selection.packages.items()}, selection.beside


# ---- what the tools wrote ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["uv", "poetry", "pdm"])
def test_a_lock_is_walked_from_what_is_required(tool):
    packages, beside = select(real(tool), "itsdangerous>=2,<2.2", "jinja2>=3", "colorama>=0.4; sys_platform == 'win32'")
    assert packages.keys() == {"itsdangerous", "jinja2", "markupsafe"}
    assert packages["itsdangerous"] == "2.1.2"
    assert beside == []
    packages, _ = select(real(tool), "pytest")
    assert packages.keys() == {"pytest", "iniconfig", "packaging", "pluggy"}, "colorama is for Windows"
    assert all(file.sha256 for package in real(tool).packages for file in package.files)


def test_a_flat_lock_is_what_its_markers_say():
    packages, beside = select(real("pylock"), "pytest", "attrs")
    assert {"pytest", "toml", "jinja2", "markupsafe"} <= packages.keys()
    assert "colorama" not in packages
    assert beside == ["attrs"]


@pytest.mark.parametrize("tool", FILES)
def test_a_requirement_that_a_lock_does_not_satisfy_is_stale(tool):
    lines = ["jinja2>=3", "pytest>=99", "attrs", "pywin32; sys_platform == 'win32'", "tomli; python_version < '3.11'"]
    assert stale_lines(real(tool), lines) == ["pytest>=99", "attrs", "tomli; python_version < '3.11'"]
    assert select(real(tool), "pytest>=99", "attrs")[1] == ["pytest>=99", "attrs"]


@pytest.mark.parametrize("tool", ["uv", "poetry", "pdm"])
def test_only_what_can_be_reached_decides(tool):
    text = (LOCKS / tool / FILES[tool]).read_text()

    def digest_of_text(text):
        return digest_of(read_lock(text, FILES[tool], with_files=False), ["jinja2"])

    digest = digest_of_text(text)
    for old, new in (
        ('name = "mdurl"\nversion = "0.1.2"', 'name = "mdurl"\nversion = "0.1.3"'),  # of a group that is not asked for
        ("upload-time", "uploaded"),
        ("files.invalid", "mirror.invalid"),
        ("content-hash", "content-hash-of-old"),
        ('summary = "', 'summary = "once '),
    ):
        assert digest_of_text(text.replace(old, new)) == digest, old
    for old, new in (
        ('name = "markupsafe"\nversion = "', 'name = "markupsafe"\nversion = "9.'),
        ("sha256:", "sha256:0"),
    ):
        changed = text.replace(old, new) if old != "sha256:" else text.replace(_hash_of(text), SHA)
        assert changed != text
        assert digest_of_text(changed) != digest, new


@pytest.mark.parametrize("tool", FILES)
def test_without_files_all_else_is_the_same(tool):
    text = (LOCKS / tool / FILES[tool]).read_text()
    lock = read_lock(text, FILES[tool], with_files=False)
    assert [(package.name, package.line, package.edges, package.markers) for package in lock.packages] == [
        (package.name, package.line, package.edges, package.markers) for package in real(tool).packages
    ]
    assert any(package.files_digest for package in lock.packages)
    assert not any(package.files_digest for package in real(tool).packages)
    with pytest.raises(WrongFileError) as caught:
        read_lock(text + "<<<<<<< HEAD\n", FILES[tool], with_files=False)
    assert caught.value.line == text.count("\n") + 1, "the lines are those of the file"


@pytest.mark.parametrize("tool", FILES)
def test_a_digest_holds_which_file_has_which_hash(tool):
    def digest_of_text(text):
        lock = read_lock(text, FILES[tool], with_files=False)
        return next(package.document() for package in lock.packages if package.name == "markupsafe")

    text = (LOCKS / tool / FILES[tool]).read_text()
    block = text.partition('name = "markupsafe"\nversion')[2].partition("\n[[")[0]
    one, two = list(dict.fromkeys(re.findall(r"[0-9a-f]{64}", block)))[-2:]
    for changed in (
        text.replace(one, SHA).replace(two, one).replace(SHA, two),
        text.replace(block, re.sub(r"(?i)markupsafe-([0-9.]+)-cp3", r"MarkupSafe-\1-cp4", block)),
        text.replace(f"sha256:{one}", f"sha256:\\u0061{two[1:]}").replace(
            f'sha256 = "{one}', f'sha256 = "\\u0061{two[1:]}'
        ),
    ):
        assert changed != text
        assert digest_of_text(changed) != digest_of_text(text)


def _hash_of(text):
    """The first hash of markupsafe."""
    return text.partition('name = "markupsafe"\nversion')[2].partition("sha256:")[2][:64]


# ---- which file ----------------------------------------------------------------------------------------------------


class Project(dict):
    def read(self, path):
        return self.get(path)


@pytest.mark.parametrize(
    ("files", "tools", "wanted", "path"),
    [
        ([], {}, "", ""),
        (["uv.lock", "poetry.lock", "pdm.lock", "pylock.toml"], {}, "", "uv.lock"),
        (["uv.lock", "poetry.lock"], {"poetry": {}}, "", "poetry.lock"),
        (["uv.lock", "pdm.lock"], {"pdm": {}, "uv": {}}, "", "pdm.lock"),
        (["uv.lock"], {"poetry": {}}, "", "uv.lock"),
        (["pylock.toml"], {}, "", "pylock.toml"),
        (["uv.lock"], {}, "none", ""),
        (["uv.lock"], {}, "./deploy/pylock.toml", "deploy/pylock.toml"),
    ],
)
def test_the_projects_own_tool_says_which_file(files, tools, wanted, path):
    assert locked_file(Project(dict.fromkeys(files, "version = 1")), tools, wanted) == path


def test_a_file_without_content_is_no_lock():
    assert locked_file(Project({"uv.lock": "\n"}), {}, "") == ""


def test_a_file_of_another_name_is_not_guessed_at():
    with pytest.raises(WrongFileError, match="no lock file that is known"):
        read_lock("", "requirements.lock")


# ---- the formats ---------------------------------------------------------------------------------------------------


def uv(*packages):
    return read_lock(HEADER["uv.lock"] + "".join(packages), "uv.lock")


def block(name, version="1", more="", source='{ registry = "https://i.invalid/simple" }'):
    wheel = f'{{ url = "https://h.invalid/{name}-{version}-py3-none-any.whl", hash = "sha256:{SHA}", size = 5 }}'
    return f'[[package]]\nname = "{name}"\nversion = "{version}"\nsource = {source}\n{more}wheels = [{wheel}]\n'


def test_uv_forks_are_chosen_by_their_markers():
    lock = uv(
        block("a", more='dependencies = [{ name = "b", version = "1", marker = "python_version < \'3.12\'" }, '
              '{ name = "b", version = "2", marker = "python_version >= \'3.12\'" }]\n'),
        block("b", "1", "resolution-markers = [\"python_version < '3.12'\"]\n"),
        block("b", "2", "resolution-markers = [\"python_version >= '3.12'\"]\n"),
    )  # fmt: skip
    assert select(lock, "a")[0] == {"a": "1", "b": "2"}
    assert select(lock, "a", info={**INFO, "version": "3.11.2"})[0] == {"a": "1", "b": "1"}
    assert select(lock, "b")[0] == {"b": "2"}


def test_uv_extras_bring_what_they_require_and_nothing_more():
    extra = '[package.optional-dependencies]\nfast = [{ name = "c" }]\n'
    package = block("b").removesuffix("\n") + "\n" + extra
    lock = uv(block("a", more='dependencies = [{ name = "b", extra = ["fast"] }]\n'), package, block("c"))
    assert select(lock, "b")[0].keys() == {"b"}
    assert select(lock, "b[Fast]")[0].keys() == {"b", "c"}
    assert select(lock, "a")[0].keys() == {"a", "b", "c"}


def test_a_cycle_ends():
    lock = uv(
        block("a", more='dependencies = [{ name = "b" }]\n'), block("b", more='dependencies = [{ name = "a" }]\n')
    )
    assert select(lock, "a")[0].keys() == {"a", "b"}


def test_poetry_multiple_constraints_and_extras():
    text = (
        HEADER["poetry.lock"]
        + """
[[package]]
name = "A"
version = "1"
files = []
[package.dependencies]
b = [{version = "^1", markers = "python_version < \\"3.12\\""}, {version = "^2", markers = "python_version >= \\"3.12\\""}]
c = {version = ">=1", optional = true}
[package.extras]
fast = ["c (>=1)"]
[[package]]
name = "b"
version = "1.5"
files = []
[[package]]
name = "b"
version = "2.5"
files = []
[[package]]
name = "c"
version = "1"
files = []
"""
    )
    lock = read_lock(text, "poetry.lock")
    assert select(lock, "a")[0] == {"a": "1", "b": "2.5"}
    assert select(lock, "a[fast]", info={**INFO, "version": "3.9.1"})[0] == {"a": "1", "b": "1.5", "c": "1"}


def test_an_old_poetry_lock_has_its_files_at_the_end():
    text = (
        f'[[package]]\nname = "a"\nversion = "1"\n[metadata]\nlock-version = "1.1"\n[metadata.files]\n'
        f'a = [{{file = "a-1-py3-none-any.whl", hash = "sha256:{SHA}"}}]\n'
    )
    (package,) = read_lock(text, "poetry.lock").packages
    assert [(file.name, file.sha256) for file in package.files] == [("a-1-py3-none-any.whl", SHA)]


def test_pdm_extras_are_packages_of_their_own():
    file = f'files = [{{url = "https://h.invalid/b-1.tar.gz", hash = "sha256:{SHA}"}}]\n'
    text = HEADER["pdm.lock"] + (
        f'[[package]]\nname = "b"\nversion = "1"\n{file}'
        f'[[package]]\nname = "b"\nversion = "1"\nextras = ["fast"]\ndependencies = ["b==1", "c>=1"]\n{file}'
        f'[[package]]\nname = "c"\nversion = "1"\n{file}'
    )
    lock = read_lock(text, "pdm.lock")
    assert select(lock, "b")[0].keys() == {"b"}
    assert select(lock, "b[fast]")[0].keys() == {"b", "c"}
    assert lock.packages[0].files[0].name == "b-1.tar.gz"


def test_pylock_groups_and_extras_are_asked_for_by_their_markers():
    text = HEADER["pylock.toml"] + 'default-groups = ["base"]\n'
    for name, marker in (
        ("a", ""), ("b", "'test' in dependency_groups"), ("c", "'fast' in extras"), ("d", "'base' in dependency_groups")
    ):  # fmt: skip
        text += f'[[packages]]\nname = "{name}"\nversion = "1"\n' + (f'marker = "{marker}"\n' if marker else "")
    lock = read_lock(text, "pylock.toml")
    assert select(lock)[0].keys() == {"a", "d"}
    assert select(lock, groups=["Test"], extras=["fast"])[0].keys() == {"a", "b", "c", "d"}


def test_a_sha512_is_kept_for_the_fetch():
    hashes = f'hashes = {{ sha512 = "{"b" * 128}" }}'
    text = f'[[packages]]\nname = "a"\nversion = "1"\nsdist = {{ name = "a-1.tar.gz", url = "https://h.invalid/a", {hashes} }}\n'
    ((file,),) = [package.files for package in read_lock(HEADER["pylock.toml"] + text, "pylock.toml").packages]
    assert file.sha256 == ""
    assert file.integrity.startswith("sha512-u7u7")


# ---- files that lie ------------------------------------------------------------------------------------------------

EMPTY = '[[package]]\nname = "a"\nversion = "1"\n'
INDEX = 'source = { registry = "https://i.invalid/simple" }\n'


def packages_of(name, body):
    return body.replace("[[package]]", "[[packages]]") if name == "pylock.toml" else body


HOSTILE = {  # words of the message -> file, what stands behind its header, line
    "no valid name": ("uv.lock", '\n[[package]]\nname = "../a"\nversion = "1"\n', 3),
    "`1;rm` is no version": ("poetry.lock", '[[package]]\nname = "a"\nversion = "1;rm"\n', 3),
    "no source that is known": ("uv.lock", EMPTY, 2),
    "is no name of a file": (
        "uv.lock", f'{EMPTY}{INDEX}sdist = {{ url = "https://h.invalid/%2e%2e%2fa", hash = "sha256:{SHA}" }}\n', 2,
    ),
    "the sha256 of a-1.tar.gz is none": (
        "pdm.lock", f'{EMPTY}files = [{{ file = "a-1.tar.gz", hash = "sha256:zz" }}]\n', 3,
    ),
    "a hash names no algorithm": ("pdm.lock", f'{EMPTY}files = [{{ file = "a-1.tar.gz", hash = "zz" }}]\n', 3),
    "is no requirement": ("pdm.lock", f'{EMPTY}dependencies = ["a b c"]\n', 3),
    "is no array of tables": ("uv.lock", "package = 7\n", 1),
    "`dependencies` is no array": ("uv.lock", f"{EMPTY}{INDEX}dependencies = 7\n", 2),
    "a dependency is no table": ("uv.lock", f"{EMPTY}{INDEX}dependencies = [7]\n", 2),
    "a marker is no text": ("pylock.toml", f"{EMPTY}marker = 7\n", 3),
    "brackets within each other": ("uv.lock", f"a = {'[' * 5000}{']' * 5000}\n", 2),
    "`1111111111111111111111111111111111111111` is no version": (
        "uv.lock", f'[[package]]\nname = "a"\nversion = "{"1" * 5000}"\n{INDEX}', 2,
    ),
    "nested too deeply": ("uv.lock", "a = 1\n".join(["", *["b = " + "[\n" * 3000]]), 1),
    "more than 30 versions of `a`": (
        "uv.lock", "".join(f'[[package]]\nname = "a"\nversion = "{n}"\n{INDEX}' for n in range(31)), 122,
    ),
    "key of more than 32 parts": ("uv.lock", f"a{'.a' * 5000} = 1\n", 2),
    "version 3.0 of the format": ("pylock.toml", "", 1),
    "invalid": ("uv.lock", "\n<<<<<<< HEAD\n", 3),
    "the bounds of `b` are too long": (
        "poetry.lock", f'{EMPTY}[package.dependencies]\nb = "{">=1," * 200}"\n', 3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("words", HOSTILE)
def test_a_file_that_lies_is_an_error_at_its_line(words):
    name, body, line = HOSTILE[words]
    header = HEADER[name].replace('"1.0"', '"3.0"') if "version 3.0" in words else HEADER[name]
    with pytest.raises(WrongFileError, match=words.replace("`1;rm`", "`1;rm`")) as caught:
        read_lock(header + packages_of(name, body), name)
    assert caught.value.file == name
    assert caught.value.line == line
    assert "locked: none" in caught.value.hint


@pytest.mark.parametrize("name", HEADER)
def test_counts_and_sizes_are_bounded(name, monkeypatch):
    monkeypatch.setattr(locked_packages, "MAX_PACKAGES", 2)
    body = packages_of(
        name,
        "".join(
            f'[[package]]\nname = "a{number}"\nversion = "1"\n{INDEX if name == "uv.lock" else ""}'
            for number in range(3)
        ),
    )
    with pytest.raises(WrongFileError, match="more than 2 packages"):
        read_lock(HEADER[name] + body, name)
    monkeypatch.setattr(locked_packages, "MAX_SIZE", 1 << 20)
    with pytest.raises(WrongFileError, match="more than 1 MB"):
        read_lock("#" * (1 << 20) + "#", name)


MANY = "1" * 5000  # digits, more than Python reads as one number
BIG = {  # what has the number -> file, what stands behind its header, line
    "a version": ("uv.lock", f'[[package]]\nname = "a"\nversion = "{MANY}"\n{INDEX}', 2),
    "the version of a dependency": (
        "uv.lock", f'{EMPTY}{INDEX}dependencies = [{{ name = "b", version = "{MANY}" }}]\n', 2,
    ),
    "a requirement": ("pdm.lock", f'{EMPTY}dependencies = ["b>=1.{MANY},<3"]\n', 3),
    "a marker of a requirement": ("pdm.lock", f"{EMPTY}dependencies = [\"b; python_version>='{MANY}'\"]\n", 3),
    "a format": ("uv.lock", f"[x]\nn = {MANY}\n", 1),
}  # fmt: skip


@pytest.mark.parametrize("what", BIG)
def test_a_number_of_five_thousand_digits(what):
    name, body, line = BIG[what]
    with pytest.raises((WrongFileError, ContradictoryLockError)) as caught:
        select(read_lock(HEADER[name] + body, name), "a")
    assert caught.value.line == line
    assert len(str(caught.value)) < 300


def test_a_requirement_with_a_number_of_five_thousand_digits_is_left_to_pip():
    lock = read_lock(f"{HEADER['uv.lock']}{EMPTY}{INDEX}", "uv.lock")
    assert stale_lines(lock, [f"a<1.{MANY}", f"a; python_version < '3.{MANY}'"]) == []
    assert is_within("1", f"<1.{MANY}")
    assert holds_somewhere(f"python_full_version < '3.{MANY}'")


URLS = {
    "uv.lock": [
        f'{EMPTY}source = {{ registry = "https://[" }}\n', f'{EMPTY}{INDEX}wheels = [{{ url = "https://[/a.whl" }}]\n',
    ],
    "poetry.lock": [f'{EMPTY}[package.source]\ntype = "legacy"\nurl = "https://["\n'],
    "pdm.lock": [f'{EMPTY}url = "https://["\n', f'{EMPTY}files = [{{ url = "https://[/a.whl", hash = "sha256:{SHA}" }}]\n'],
    "pylock.toml": [f'{EMPTY}archive = {{ url = "https://[" }}\n', f'{EMPTY}index = "https://["\n'],
}  # fmt: skip


@pytest.mark.parametrize(("name", "body"), [(name, body) for name, bodies in URLS.items() for body in bodies])
def test_a_url_that_is_none(name, body):
    with pytest.raises(WrongFileError, match="is no URL: `https://") as caught:
        read_lock(HEADER[name] + packages_of(name, body), name)
    assert caught.value.line == (2 if name == "uv.lock" else 3)


def test_extras_that_repeat_what_a_package_requires_are_bounded(monkeypatch):
    """Their product is larger than any bound of the file's size."""
    monkeypatch.setattr(locked_packages, "MAX_EXTRA_EDGES", 1000)
    many = ", ".join('{ version = "1", optional = true }' for _ in range(40))
    extras = "".join(f'e{number} = ["b"]\n' for number in range(40))
    poetry = f"{EMPTY}[package.dependencies]\nb = [{many}]\n[package.extras]\n{extras}"
    with pytest.raises(WrongFileError, match="the extras of all packages have more than 1000 dependencies"):
        read_lock(HEADER["poetry.lock"] + poetry, "poetry.lock")
    names = ", ".join(f'"e{number}"' for number in range(40))
    lines = ", ".join(f'"b{number}"' for number in range(40))
    pdm = f"{EMPTY}{EMPTY}extras = [{names}]\ndependencies = [{lines}]\n"
    with pytest.raises(WrongFileError, match="the extras of all packages have more than 1000 dependencies"):
        read_lock(HEADER["pdm.lock"] + pdm, "pdm.lock")
    too_many = ", ".join('"1"' for _ in range(2001))
    with pytest.raises(WrongFileError, match="`b` is no array of at most 2000"):
        read_lock(f"{HEADER['poetry.lock']}{EMPTY}[package.dependencies]\nb = [{too_many}]\n", "poetry.lock")


@pytest.mark.parametrize(
    "marker", ["bogus == '1'", "python_version <", "(" * 5000, f"python_full_version >= '3.{'1' * 5000}'"]
)
def test_a_marker_that_is_none_is_an_error_of_the_lock(marker):
    lock = uv(block("a", more=f'resolution-markers = ["{marker}"]\n'))
    with pytest.raises(ContradictoryLockError, match="is no marker") as caught:
        select(lock, "a")
    assert caught.value.line == 2


def test_a_lock_that_lacks_what_it_requires_is_an_error():
    with pytest.raises(ContradictoryLockError, match="`a` requires `b`, which is not locked"):
        select(uv(block("a", more='dependencies = [{ name = "b" }]\n')), "a")


def test_one_name_has_one_version_in_one_environment():
    text = HEADER["pylock.toml"] + '[[packages]]\nname = "a"\nversion = "1"\n[[packages]]\nname = "a"\nversion = "2"\n'
    with pytest.raises(ContradictoryLockError, match="locked to 1 and to 2"):
        select(read_lock(text, "pylock.toml"), "a")


def test_the_names_of_the_files_are_said_where_the_option_is_described():
    assert all(name in source_values.LOCKED["description"] for name in lock_files.FILES)
