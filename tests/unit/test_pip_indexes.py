"""How this machine's pip is configured, and what the pages of indexes name: api.pip_indexes and `Site.host_pip`."""

from __future__ import annotations

import os
import sys

import pytest

from envtool import api
from envtool.api import pip_indexes
from envtool.build import host_pip
from envtool.errors import Interrupted
from envtool.testing import MemorySite

INDEX = "https://index.invalid/simple/"


def site(config="", help_text="", urls=None):
    memory = MemorySite(urls=urls)
    memory.pip = {"config": config, "install": help_text}
    return memory


# ---- the configuration -----------------------------------------------------------------------------------------------


def test_the_section_that_pip_takes_wins():
    listing = (
        ":env:.index-url='https://e.invalid/'\nglobal.index-url='https://g.invalid/'\ninstall.index-url='i'\n"
        "freeze.index-url='x'\nglobal.timeout='3'\ninstall.timeout='4'\nno equals sign\n"
        "global.extra-index-url='https://one.invalid\\nhttps://two.invalid'\n"
    )
    assert pip_indexes.read_options(site(listing)) == {
        "index-url": "https://e.invalid/", "timeout": "4", "extra-index-url": "https://one.invalid\nhttps://two.invalid",
    }  # fmt: skip


def test_an_empty_value_takes_no_other_ones_place():
    """`pip install` says: "Ignoring configuration key … as its value is empty"."""
    assert pip_indexes.parse_config_list(":env:.proxy=''\nglobal.proxy='p'\ninstall.timeout=''\n") == {"proxy": "p"}


@pytest.mark.parametrize("value", ["(" * 5000, "'" + "\\", "unquoted", "1e"])
def test_a_value_that_is_no_literal_is_taken_as_it_is(value):
    assert pip_indexes.parse_config_list(f"global.proxy={value}\n") == {"proxy": value}


@pytest.mark.parametrize(
    ("value", "on"), [("1", True), ("True", True), ("y", True), (" t ", True), ("0", False), ("", False), ("no", False)]
)
def test_what_pip_takes_for_true(value, on):
    assert pip_indexes.is_on(value) is on


def test_the_default_index_is_that_of_pips_help():
    memory = site(help_text="--index-url <url> Base URL (default https://d.invalid/simple). This")
    assert pip_indexes.default_index(memory) == "https://d.invalid/simple"
    with pytest.raises(api.ResolveError, match="pip names no default index"):
        pip_indexes.default_index(site(help_text="nothing"))


def test_directories_of_the_configuration_are_permitted(tmp_path):
    (tmp_path / "pypi" / "simple").mkdir(parents=True)
    (tmp_path / "link").symlink_to("pypi")
    memory = site(
        f"global.index-url='file://{tmp_path}/link/simple/'\nglobal.find-links='{tmp_path}/none https://h.invalid'\n"
    )
    pip_indexes.read_options(memory)
    assert {*memory.owned} == {f"{tmp_path}/link", f"{tmp_path}/pypi"}


def test_a_pip_that_fails_says_why_without_credentials(monkeypatch):
    memory = site()
    failed = api.Completed(status=1, stdout=b"", stderr=b"WARNING: x\nERROR: bad file https://a:b@h.invalid/\n")
    monkeypatch.setattr(memory, "host_pip", lambda *_, **__: failed)
    with pytest.raises(api.ResolveError) as refused:
        pip_indexes.read_options(memory)
    assert refused.value.message == "pip config failed on this machine: bad file https://****@h.invalid/"
    assert refused.value.hint == "see what `pip config list` says"


# ---- this machine's pip ----------------------------------------------------------------------------------------------


def test_pip_reads_the_callers_configuration_or_the_variables_alone(monkeypatch, tmp_path):
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://file.invalid/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_TIMEOUT", "7")
    listing = host_pip.run_host_pip(("config", "list"), None)
    assert listing.status == 0
    options = pip_indexes.parse_config_list(listing.stdout.decode())
    assert (options["index-url"], options["timeout"]) == ("https://file.invalid/simple", "7")
    alone = host_pip.run_host_pip(("config", "list"), {"PIP_RETRIES": "1"})
    assert {"index-url", "timeout"}.isdisjoint(pip_indexes.parse_config_list(alone.stdout.decode()))
    assert pip_indexes.parse_config_list(alone.stdout.decode())["retries"] == "1"


def test_pip_of_the_current_directory_is_not_taken(monkeypatch, tmp_path):
    (tmp_path / "pip.py").write_text("print('mine')")
    monkeypatch.chdir(tmp_path)
    assert b"mine" not in host_pip.run_host_pip(("--version",), None).stdout


def test_pip_of_the_path_where_this_python_has_none(monkeypatch, tmp_path):
    monkeypatch.setattr(host_pip.importlib.util, "find_spec", lambda _: None)
    program = tmp_path / "pip"
    program.write_text(f"#!{sys.executable}\nimport sys\nprint(sys.argv[1:])\n")
    program.chmod(0o755)
    monkeypatch.setattr(host_pip, "find_program", lambda name, _: str(program) if name == "pip" else "")
    assert host_pip.run_host_pip(("config", "list"), None).stdout == b"['config', 'list']\n"
    reader, writer = os.pipe()
    os.write(writer, b"x")
    with pytest.raises(Interrupted):
        host_pip.run_host_pip(("config", "list"), None, cancel=reader)
    os.close(reader)
    os.close(writer)
    monkeypatch.setattr(host_pip, "find_program", lambda *_: "")
    with pytest.raises(api.ResolveError, match="this machine has no pip"):
        host_pip.run_host_pip(("config", "list"), None)


# ---- pages -----------------------------------------------------------------------------------------------------------


def names(page, url=INDEX):
    return [link.name for link in pip_indexes.parse_page(page, url)]


def test_links_are_absolute_with_hash_and_mark():
    page = (
        f'<base href="../files/"><a href="a%2B1.whl#sha256={"AB" * 32}" data-yanked="bad">a</a><a>none</a>'
        '<a href="https://o.invalid/b.zip#egg=b">b</a>'
    )
    first, second = pip_indexes.parse_page(page, INDEX + "a/")
    assert first == ("a+1.whl", "https://index.invalid/simple/files/a%2B1.whl", f"sha256={'AB' * 32}", True)
    assert first.digest == f"sha256:{'ab' * 32}"
    assert second == ("b.zip", "https://o.invalid/b.zip", "egg=b", False)
    assert second.digest == ""


@pytest.mark.parametrize(
    "href", ["file:///etc/a.whl", "ftp://h/a.whl", "http://[/a.whl", "javascript:a.whl", "data:,a.whl"]
)
def test_links_that_lead_elsewhere(href):
    assert names(f'<a href="{href}">a.whl</a><a href="b.whl">b</a>') == ["b.whl"]
    assert names(f'<base href="file:///etc/"><a href="{href}">') == []


def test_a_page_of_this_machine_may_name_its_files():
    assert names('<a href="/w/a.whl">a</a><a href="https://h.invalid/b.whl">b</a>', "file:///i/a/index.html") == [
        "a.whl", "b.whl",
    ]  # fmt: skip


def test_a_page_that_is_no_html():
    with pytest.raises(api.ResolveError, match=r"https://index\.invalid/simple/ is no HTML page"):
        names("<![foo[bar]]>", "https://u:p@index.invalid/simple/")


def test_a_page_that_ends_in_a_tag_has_the_links_before_it():
    assert names('<a href="a.whl">a</a><a href="b.whl"') == ["a.whl"]


def test_a_page_without_end(monkeypatch, tmp_path):
    monkeypatch.setattr(pip_indexes, "_MAX_PAGE", 100)
    (tmp_path / "index.html").write_text("x" * 101)
    with pytest.raises(api.ResolveError, match="has more than"):
        pip_indexes.read_page(str(tmp_path), site())


def test_files_of_a_directory_are_urls(tmp_path):
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "x-1%2B1#2.whl").touch()
    (link,) = pip_indexes.read_page(str(tmp_path / "a b"), site())
    assert link == ("x-1%2B1#2.whl", f"file://{tmp_path}/a%20b/x-1%252B1%232.whl", "", False)
    assert pip_indexes.read_page(str(tmp_path / "none"), site()) == []


def test_credentials_of_an_index_reach_its_own_server_alone():
    urls = {"https://u:p@h.invalid/a/": b'<a href="/f/a.whl">a</a><a href="https://o.invalid/b.whl">b</a>'}
    found = [link.url for link in pip_indexes.read_page("https://u:p@h.invalid/a/", site(urls=urls))]
    assert found == ["https://u:p@h.invalid/f/a.whl", "https://o.invalid/b.whl"]


def test_files_in_pips_order_and_indexes_that_do_not_answer(tmp_path):
    (tmp_path / "a-0.whl").touch()
    memory = site(urls={f"{INDEX}a/": b'<a href="a-1.whl">a</a>'})
    found = pip_indexes.package_links("a", [str(tmp_path)], ["https://down.invalid", INDEX], memory)
    assert [link.name for link in found.links] == ["a-0.whl", "a-1.whl"]
    assert (len(found.errors), found.answered) == (1, True)
    assert not pip_indexes.package_links("b", [], [INDEX], memory).answered
