"""`python -m envtool` imports nothing of the directory that it is called in, nor do processes that it starts."""

import sys

import pytest

MODULES = (
    "click",
    "json",
    "yaml",
    "jinja2",
    "re",
    "dataclasses",
    "requests",
    "pluggy",
    "signal",
    "marshal",
    "envtool_node",
    "sitecustomize2",
)


@pytest.mark.e2e
@pytest.mark.one_caller
@pytest.mark.parametrize("words", [("list",), ("test",), ("exec", "unit", "--", "true"), ("verify", "l")])
def test_no_module_of_the_checkout_is_imported(words, common):
    assert common.caller.command[1:] == ("-m", "envtool")
    for name in MODULES:
        common.write(f"{name}.py", f"open({str(common.top / 'pwned')!r}, 'w').write({name!r})\nraise SystemExit(9)\n")
    common.spec("layers: {l: {run: 'touch /opt/x'}}\nenvs: {unit: {layers: [l], tasks: {test: 'true'}}}\n")
    done = common.envtool(*words)
    assert not (common.top / "pwned").exists(), done.said
    assert done.status == 0, done.said


def test_what_is_taken_away_is_the_current_directory(tmp_path):
    """Python puts it first for `-m`, and does not with -P; the console script has none."""
    import subprocess

    code = f"import sys; print(sys.path[0] == {str(tmp_path)!r})"
    (tmp_path / "look.py").write_text(code)
    for flags, there in (((), b"True"), (("-P",), b"")):
        done = subprocess.run([sys.executable, *flags, "-m", "look"], cwd=tmp_path, capture_output=True, check=False)
        assert done.stdout.strip() == there
