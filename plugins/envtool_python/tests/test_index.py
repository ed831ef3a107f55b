"""The host's pip configuration reaches containers without its secrets reaching anything that is kept."""

from __future__ import annotations

from envtool_python.index import closed, file_name, index_of, last_words, parse, redacted

LISTING = """\
global.constraint='/etc/limits.txt'
global.extra-index-url='https://one.invalid/simple\\nhttps://ann:s3cret@two.invalid/simple'
global.index-url='https://low.invalid/simple'
install.index-url='https://high.invalid/simple'
:env:.timeout='7'
global.timeout='3'
freeze.timeout='9'
"""


def test_sections_have_pips_order_and_constraints_stay_out():
    options = parse(LISTING)
    assert options["index-url"] == "https://high.invalid/simple"
    assert options["timeout"] == "7"
    index = index_of(options)
    assert index.variables["PIP_EXTRA_INDEX_URL"].split() == [
        "https://one.invalid/simple",
        "https://ann:s3cret@two.invalid/simple",
    ]
    assert not any("CONSTRAINT" in name for name in index.variables)


def test_credentials_come_back_for_their_host_alone():
    index = index_of(parse(LISTING))
    assert index.opened("https://two.invalid/a-1.whl") == "https://ann:s3cret@two.invalid/a-1.whl"
    assert index.opened("https://one.invalid/a-1.whl") == "https://one.invalid/a-1.whl"
    assert closed("https://ann:s3cret@two.invalid/a%2B1.whl#sha256=00") == "https://two.invalid/a%2B1.whl"
    assert "s3cret" not in redacted("ERROR: 401 for https://ann:s3cret@two.invalid/simple")
    assert file_name("https://two.invalid/d/a-1%2Bcpu.whl") == "a-1+cpu.whl"


def test_directories_and_certificates_are_shown_at_known_places(tmp_path):
    (tmp_path / "pypi" / "simple").mkdir(parents=True)
    (tmp_path / "wheels").mkdir()
    pem = tmp_path / "ca.pem"
    pem.write_text("x")
    options = {"index-url": f"file://{tmp_path}/pypi/simple", "find-links": f"{tmp_path}/wheels", "cert": str(pem)}
    index = index_of(options)
    assert {(bind.source, bind.target) for bind in index.binds} == {
        (f"{tmp_path}/pypi", f"{tmp_path}/pypi"),
        (f"{tmp_path}/wheels", f"{tmp_path}/wheels"),
        (str(pem), "/run/envtool/python/cert.pem"),
    }
    assert index.variables["PIP_CERT"] == "/run/envtool/python/cert.pem"


def test_the_reason_is_what_pip_called_an_error():
    text = (
        "WARNING: old\nERROR: Could not find a version that satisfies the requirement x==9 "
        "(from versions: 1, 2, 3, 4, 5, 6, 7)\nERROR: No matching distribution found for x==9\n"
        "envtool: pip ended with 1\n"
    )
    assert last_words(text) == (
        "could not find a version that satisfies the requirement x==9 (newest versions: 3, 4, 5, 6, 7); "
        "No matching distribution found for x==9"
    )
    assert last_words("talk\nenvtool: no venv") == "no venv"
    assert last_words("") == "it said nothing"
