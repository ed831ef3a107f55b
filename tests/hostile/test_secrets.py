"""Ways to leak a secret, each tried: it is masked, refused, or said to be possible in docs/security.md. At the end of
each test the store, the checkout and the caller's temporary files are searched for it.

The value has what shells, JSON and URLs quote. A second one is a file of two lines with a NUL.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import lzma
import os
import re
import time
import urllib.parse
import zlib
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import zstandard

from envtool.fs.masking import SecretForms
from tests.secret_search import find_secrets

pytestmark = pytest.mark.e2e

VALUE = b"canary-9b1e$HOME 'q' \"d\" \\b&<x>`id`"
FILE = b"first canary-7d2a line\nsecond\0canary-7d2b line\n"
FORMS = SecretForms([VALUE, FILE])
TESTS = Path(__file__).parents[1]
SECURITY = (TESTS.parent / "docs/security.md").read_text()
GIVE = ("--allow-secret", "token=env:GIVEN", "--allow-secret", "key=file:../key.bin")
SPEC = "secrets:\n  token: {env: TOKEN}\n  key: {}\n"
SPEC_IN_FORMAT = SPEC.replace("{", "{{").replace("}", "}}")
ENV = "envs:\n  unit:\n    tasks:\n      test:\n        secrets: [token, key]\n"


@pytest.fixture
def holder(fresh):
    """A caller with both secrets, and a store that has only what the test wrote: all of it can be read."""
    fresh.environ["GIVEN"] = os.fsdecode(VALUE)
    fresh.write("key.bin", FILE, mode=0o600, at=fresh.top)
    yield fresh
    assert_nowhere(fresh)


def assert_nowhere(place):
    """Nothing in the store, the checkout and the temporary directory has a secret in any form."""
    tops = (place.store, place.project, place.top / "tmp", place.top / ".config")
    assert find_secrets(FORMS, tops) == []


PLANTED = {
    "raw": lambda value: b"x" * 70000 + value,
    "base64": lambda value: base64.b64encode(b"x" + value),
    "hex": lambda value: value.hex().encode(),
    "url": lambda value: urllib.parse.quote(value).encode(),
    "gzip": lambda value: gzip.compress(b"a" + value),
    "zstd": lambda value: zstandard.ZstdCompressor().compress(b"a" + value),
    "zlib": lambda value: zlib.compress(b"a" + base64.b64encode(value)),
    "xz": lambda value: lzma.compress(value + b"\n"),
}


@pytest.mark.parametrize("way", PLANTED)
def test_the_search_itself_finds_what_is_there(tmp_path, way):
    (tmp_path / "below").mkdir()
    (tmp_path / "below/innocent").write_bytes(b"canary-9b1e")
    assert find_secrets(FORMS, [tmp_path]) == []
    (tmp_path / "below/leak").write_bytes(PLANTED[way](VALUE))
    assert find_secrets(FORMS, [tmp_path]) == [str(tmp_path / "below/leak")]


def test_the_search_finds_names_and_links(tmp_path):
    (tmp_path / "link").symlink_to("to-" + VALUE.decode())
    (tmp_path / f"d{VALUE.decode()}").mkdir()
    assert len(find_secrets(FORMS, [tmp_path])) == 2


def test_each_way_in_the_table_of_the_docs_has_its_test():
    table = SECURITY.partition("## Secrets")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 20
    for way, _, tests in rows:
        names = re.findall(r"`(?:(e2e/\w+\.py)::)?(test_\w+)`", tests)
        assert names or tests.strip(" |") == "not tested: it cannot be prevented", way
        for module, name in names:
            text = (TESTS / (module or "hostile/test_secrets.py")).read_text()
            assert f"def {name}(" in text, (way, name)


def task(place, script, more="", top=""):
    block = "\n".join("          " + line for line in script.splitlines())
    place.spec(f"{SPEC}{top}{ENV}{more}        run: |\n{block}\n")


def run(place, *words, status=0):
    done = place.envtool("test", *GIVE, *words)
    assert not FORMS.are_in(done.raw + done.err.encode()), done.said
    assert done.status == status, done.said
    return done


def log(place, name="unit.test"):
    return (place.project / ".envtool" / "last" / f"{name}.log").read_bytes()


@pytest.mark.callers_in_turn
def test_it_arrives_byte_for_byte_and_belongs_to_the_task(holder):
    script = (
        "import hashlib, os, stat\n"
        "print(hashlib.sha256(os.environb[b'TOKEN']).hexdigest())\n"
        "print(hashlib.sha256(open('/run/secrets/key', 'rb').read()).hexdigest())\n"
        "info = os.stat('/run/secrets/key')\n"
        "print(oct(info.st_mode), info.st_uid == os.getuid(), os.listdir('/run/secrets'))\n"
        "print([line.split()[2] for line in open('/proc/mounts') if line.split()[1] == '/run/secrets/key'])\n"
    )
    holder.write("look.py", script)
    task(holder, "python3 look.py; test ! -w /run/secrets/key; ls -A /dev | grep -c secret || true")
    done = run(holder, "--json")
    expected = [hashlib.sha256(VALUE).hexdigest(), hashlib.sha256(FILE).hexdigest()]
    lines = done.log().splitlines()
    assert lines[:2] == expected
    assert lines[2:] == ["0o100400 True ['key']", "['tmpfs']", "0"]


@pytest.mark.callers_in_turn
@pytest.mark.parametrize("user", ["user", "root"])
def test_sixty_four_kilobytes_and_not_one_more(place, user):
    if user == "root" and place.caller.mode == "single":
        pytest.skip("one id")
    place.write("key.bin", os.urandom(64 << 10), at=place.top)
    place.spec(
        f"secrets: {{key: {{}}}}\nenvs: {{unit: {{tasks: {{test: {{user: {user}, secrets: [key],"
        " run: 'wc -c < /run/secrets/key'}}}}\n"
    )
    words = ("test", "--json", "--allow-secret", "key=file:../key.bin")
    done = place.envtool(*words)
    assert (done.status, done.log().strip()) == (0, "65536"), done.said
    place.write("key.bin", bytes((64 << 10) + 1), at=place.top)
    done = place.envtool(*words)
    assert done.status == 2
    assert "the secret `key` has 65,537 bytes: a secret may have 65,536" in done.said


# ---- output --------------------------------------------------------------------------------------------------------

WAYS = {
    "echo": 'printf "%s\\n" "$TOKEN"; cat /run/secrets/key',
    "stderr": 'printf "%s\\n" "$TOKEN" >&2; cat /run/secrets/key >&2',
    "base64": 'printf %s "$TOKEN" | base64; printf "u:%s" "$TOKEN" | base64 -w0; printf "us:%s" "$TOKEN" | base64 -w0;'
    " base64 /run/secrets/key",
    "hex": 'printf %s "$TOKEN" | od -An -v -tx1 | tr -d " \\n"',
    "environment": "env; export -p",
    "proc": "tr '\\0' '\\n' < /proc/self/environ; cat /proc/self/mountinfo; cat /proc/self/cmdline",
    "trace": 'set -x; : "$TOKEN"',
    "json": 'python3 -c \'import json, os; print(json.dumps({"t": os.environ["TOKEN"]}))\'',
    "url": "python3 -c 'import os, urllib.parse as u; print(u.quote(os.environ[\"TOKEN\"], safe=str()))'",
    "html": 'python3 -c \'import html, os; print("<b>" + html.escape(os.environ["TOKEN"]) + "</b>")\'',
    "split": "python3 -uc 'import os, time\nfor c in os.environ[\"TOKEN\"]:\n  os.write(1, c.encode()); time.sleep(0.01)'",
    "colours": 'python3 -c \'import os; print(chr(27) + "[0m" + (chr(27) + "[1m").join(os.environ["TOKEN"]))\'',
    "encodeURIComponent": 'python3 -c \'import os, urllib.parse as u; print(u.quote(os.environ["TOKEN"], safe="!*()~" + chr(39)))\'',
    "traceback": "python3 -c 'import os; raise ValueError(os.environ[\"TOKEN\"])' || true",
    "core": "python3 -c 'import os; os.abort()' || true; ls core* 2>/dev/null || true; cat core* 2>/dev/null || true",
}


@pytest.mark.parametrize("way", WAYS)
def test_output_is_masked(holder, way):
    script = WAYS[way]
    if "\n" in script:
        holder.write("way.sh", script)
        script = "sh -e way.sh"
    task(holder, script)
    done = run(holder, "--json")
    assert ("***" in done.log()) == (way != "core"), done.log()
    assert not FORMS.are_in(log(holder))
    assert "-core" not in done.log()
    run(holder, "-vv")
    run(holder)


def test_reports_have_none(holder):
    """A failure is where output goes into JUnit, Markdown, JSON, the summary and hints."""
    task(
        holder,
        'echo "<failure>$TOKEN</failure>"; printf %s "$TOKEN" | sed "s/./&\\x1b[0m/g"; base64 /run/secrets/key; printf "1..2\\nok 1 - %s\\nnot ok 2 - b %s\\n" "$TOKEN" "$TOKEN"; "$TOKEN"',
        "        outputs: [out/]\n",
    )
    words = ("--junit", "j.xml", "--report", "markdown=m.md")
    done = holder.envtool("test", *GIVE, *words)
    assert done.status == 1, done.said
    assert not FORMS.are_in(done.raw + done.err.encode())
    for name in ("j.xml", "m.md"):
        content = (holder.project / name).read_bytes()
        assert not FORMS.are_in(content), content
        assert b"canary-9b1e" not in content
    assert b"***" in (holder.project / "j.xml").read_bytes()
    names = [each.get("name") for each in ET.parse(holder.project / "j.xml").getroot().iter("testcase")]
    assert names == ["test", "***", "b ***"], "tests are named by what was masked"


def test_a_line_is_not_held_back(holder):
    task(holder, "echo ready; sleep 3; echo done")
    process = holder.start("test", "--json", *GIVE)
    began = time.monotonic()
    for line in process.stdout:
        if b'"output"' in line and b"ready" in line:
            break
    assert time.monotonic() - began < 30
    assert process.poll() is None
    holder.finish(process)


def test_a_short_one_is_said_to_be_unmasked(place):
    place.environ["PIN"] = "1234"
    place.spec("secrets: {PIN: {}}\nenvs: {unit: {tasks: {test: {secrets: [PIN], run: 'true'}}}}\n")
    done = place.envtool("test", "--allow-secret", "PIN")
    assert done.status == 0, done.said
    assert "the secret `PIN` has 4 bytes: too short to be masked, so output may show it" in done.said


# ---- files ---------------------------------------------------------------------------------------------------------

FILES = {
    "copy": "cp /run/secrets/key out/key",
    "within": '(head -c 300000 /dev/zero; printf "%s" "$TOKEN"; echo) > out/log',
    "base64": "base64 /run/secrets/key > out/b",
    "sparse": 'truncate -s 5M out/s; printf "%s" "$TOKEN" | dd of=out/s bs=1 seek=4000000 conv=notrunc 2>/dev/null',
}


@pytest.mark.callers_in_turn
@pytest.mark.parametrize("way", FILES)
def test_an_output_with_a_secret_is_refused(holder, way):
    task(holder, f"mkdir out; echo fine > out/fine; {FILES[way]}", "        outputs: [out/]\n")
    done = run(holder, status=1)
    assert "contains a secret, not copied" in done.said, done.said
    assert (holder.project / "out/fine").exists()
    assert os.listdir(holder.project / "out") == ["fine"]


def test_a_name_and_a_link_with_a_secret_are_refused(holder):
    task(holder, 'mkdir out; touch "out/x$TOKEN"', "        outputs: [out/]\n")
    done = run(holder, status=1)
    assert "an output has a secret in its name, and is not copied" in done.said
    task(holder, 'mkdir -p out; ln -s "y$TOKEN" out/link', "        outputs: [out/]\n")
    done = run(holder, status=1)
    assert "an output has a secret in its name, and is not copied" in done.said


def test_an_output_without_a_secret_is_copied(holder):
    task(holder, "mkdir out; wc -c < /run/secrets/key > out/size", "        outputs: [out/]\n")
    run(holder)
    assert (holder.project / "out/size").read_text().strip() == str(len(FILE))


# ---- layers ----------------------------------------------------------------------------------------------------------

LAYER = (
    SPEC_IN_FORMAT
    + "layers:\n  l:\n    secrets: [token, key]\n    run: |\n      {run}\nenvs: {{unit: {{layers: [l], tasks: {{test: 'cat /seen; ls -A /run /root 2>&1; env'}}}}}}\n"
)


@pytest.mark.callers_in_turn
def test_a_layer_gets_them_and_has_none(holder):
    holder.spec(LAYER.format(run='printf "%s" "$TOKEN" | wc -c > /seen; cat /run/secrets/key | wc -c >> /seen; env'))
    done = run(holder, "--json", "-v")
    assert done.log().split()[-60:].count("secrets") == 0
    lines = [line.strip() for event in done.events if event["event"] == "output" for line in event["text"].splitlines()]
    assert {str(len(VALUE)), str(len(FILE))} <= {*lines}
    assert "TOKEN=***" in lines
    # it is built: nobody needs the secret for it any more, and another value does not build it again
    again = holder.envtool("test", "--again", "--json")
    assert again.status == 0, again.said
    assert not again.finished("layer") or again.finished("layer")[0]["outcome"] == "cached"
    documents = json.dumps([path.read_text() for path in holder.store.glob("layers/*/layer.json")])
    assert '\\"token\\"' in documents.replace("\\\\", "\\")


@pytest.mark.callers_in_turn
@pytest.mark.parametrize(
    "leak",
    ['printf "%s" "$TOKEN" > /seen', "base64 /run/secrets/key > /seen", 'ln -s "$TOKEN" /seen', 'mkdir "/d$TOKEN"'],
)
def test_a_layer_with_a_secret_is_refused(holder, leak):
    holder.spec(LAYER.format(run=leak))
    done = run(holder, status=3)
    assert "contains a secret, which no layer may have" in done.said, done.said
    assert re.search(r"envtool.yaml:6:\d+: layer `l`: ", done.said)


def test_a_failed_layer_shows_none(holder):
    holder.spec(LAYER.format(run='echo "$TOKEN"; base64 /run/secrets/key; exit 1'))
    done = run(holder, status=3)
    assert "***" in done.said


def test_a_dockerfiles_secret_is_masked_too(holder):
    holder.spec(
        "bases: {b: {dockerfile: {file: Dockerfile, secrets: {s: {env: GIVEN}}}}}\n"
        "envs: {unit: {base: b, tasks: {test: 'true'}}}\n"
    )
    if not os.path.exists("/bin/busybox"):
        pytest.skip("busybox-static is not installed")
    holder.write("busy", Path("/bin/busybox").read_bytes(), mode=0o755)
    holder.write(
        "Dockerfile",
        'FROM scratch\nCOPY busy /bin/sh\nRUN --network=none --mount=type=secret,id=s,env=S ["/bin/sh", "-c", "echo \\"$S\\"; exit 4"]\n',
    )
    done = holder.envtool("test", "--allow-secret", "s")
    assert done.status == 3
    assert not FORMS.are_in(done.said.encode()), done.said
    assert "***" in done.said, done.said


# ---- caches, keys, plans and statements ----------------------------------------------------------------------------


def test_a_result_is_not_remembered_and_no_plan_is_written(holder):
    task(holder, "echo $((1 + 1))")
    for _ in range(2):
        done = run(holder, "--json")
        assert done.finished("task")[0]["outcome"] == "passed"
        assert "2" in done.log()
    said = run(holder).said
    assert "not remembered, and run again the next time: unit test (it has a secret)" in said
    statement = (holder.project / ".envtool/last/unit.test.intoto.json").read_text()
    assert json.loads(statement)["predicate"]["buildDefinition"]["internalParameters"]["secrets"] == ["key", "token"]
    assert not FORMS.are_in(statement.encode())
    # consent for one call is for one call
    done = holder.envtool("test")
    assert done.status == 2
    assert "task `test` of env `unit` wants the secret `token`, and you did not allow it" in done.said
    command = "envtool test --allow-secret token=env:TOKEN --allow-secret key=env:KEY"
    assert done.said.count(f"hint: to allow all of it: `{command}`") == 1


def test_the_plans_of_the_fast_path_have_none(holder):
    """Those of a task without secrets, of `exec` and of `list`, in a project that has secrets, and that were given."""
    holder.spec(
        f"{SPEC}envs:\n  unit:\n    tasks:\n      test: {{secrets: [token, key], run: 'true'}}\n      lint: 'true'\n"
    )
    for words in (("test",), ("run", "lint"), ("exec", "unit", "--", "true"), ("list",)):
        for _ in range(3):
            done = holder.envtool(words[0], *(GIVE if words[0] != "list" else ()), *words[1:])
            assert done.status == 0, done.said
    for words in (("run", "lint"), ("exec", "unit", "--", "true"), ("list",)):  # without consent they have plans
        for _ in range(3):
            assert holder.envtool(*words).status == 0
    time.sleep(1.1)  # what changed just now is in no plan
    assert holder.envtool("run", "lint").status == 0
    plans = [*(holder.store / "plans").iterdir()]
    assert plans
    assert find_secrets(FORMS, [holder.store / "plans"]) == []


def test_another_value_is_another_run(holder):
    task(holder, 'printf "%s" "$TOKEN" | cksum')
    first = run(holder, "--json").log()
    holder.environ["GIVEN"] = "another-value-canary"
    assert run(holder, "--json").log() != first


def test_plan_why_list_lock_and_schema_need_none_and_show_none(holder):
    task(holder, "true")
    for words in (("plan",), ("list",), ("why", "test"), ("lock",), ("schema",), ("plan", "--json")):
        done = holder.envtool(*words)
        assert done.status in (0, 1), (words, done.said)
        assert not FORMS.are_in(done.said.encode())


def test_no_process_has_one_in_its_arguments(holder):
    task(holder, "sleep 2.5; true")
    process = holder.start("test", *GIVE)
    deadline = time.monotonic() + 30
    seen = b""
    while process.poll() is None and time.monotonic() < deadline:
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    line = file.read()
            except OSError:
                continue
            seen += line
            assert not FORMS.are_in(line)
        time.sleep(0.1)
    assert b"sleep\x002.5" in seen
    assert holder.finish(process).status == 0


def test_another_task_and_exec_have_none(holder):
    holder.spec(
        f"{SPEC}envs:\n  unit:\n    tasks:\n      test: {{secrets: [token, key], run: 'true'}}\n"
        "      other: 'env; ls -A /run/secrets 2>&1 || true'\n"
    )
    run(holder)
    other = holder.envtool("run", "other", "--json", *GIVE)
    assert other.status == 0, other.said
    assert "TOKEN" not in other.log()
    assert "No such file" in other.log()
    for _ in range(2):
        done = holder.envtool("exec", *GIVE, "unit", "--", "sh", "-c", "env; ls /run/secrets")
        assert "TOKEN" not in done.out
        assert done.status != 0


# ---- services --------------------------------------------------------------------------------------------------------

SERVICE = SPEC_IN_FORMAT + (
    "services:\n  web:\n    secrets: [token, key]\n    user: {user}\n    ready: {{log: ready, within: 20s}}\n"
    "    command: |\n      printf '%s\\n' \"$TOKEN\"; base64 /run/secrets/key; stat -c '%a %u' /run/secrets/key; id -u; echo ready; {end}\n"
    "envs: {{unit: {{services: [web], tasks: {{test: '{task}'}}}}}}\n"
)


@pytest.mark.callers_in_turn
def test_a_service_gets_them_and_its_log_has_none(holder):
    holder.spec(SERVICE.format(user="user", end="exec sleep 60", task="env; ls /run/secrets || true"))
    done = run(holder, "--json")
    assert "TOKEN" not in done.log()
    text = log(holder, "unit.test.web-1")
    assert b"***" in text
    assert b"400 1000\n1000\nready" in text, text
    assert not FORMS.are_in(text)
    assert "it has a secret" in run(holder).said
    done = holder.envtool("test")
    assert done.status == 2
    assert "service `web` wants the secret `token`, and you did not allow it" in done.said


def test_a_service_that_fails_shows_none(holder):
    holder.spec(SERVICE.format(user="user", end='echo "$TOKEN"; exit 3', task="sleep 20"))
    done = holder.envtool("test", *GIVE)
    assert done.status in (1, 3), done.said
    assert "***" in done.said, done.said
    assert not FORMS.are_in(done.said.encode())


def test_up_masks_and_logs_have_none(holder):
    holder.spec(SERVICE.format(user="user", end="exec sleep 60", task="true"))
    done = holder.envtool("up", "-d", *GIVE)
    try:
        assert done.status == 0, done.said
        logs = holder.envtool("logs")
        assert "***" in logs.out, logs.said
        assert not FORMS.are_in(logs.raw)
        for words in (("ps",), ("ps", "--json")):
            assert not FORMS.are_in(holder.envtool(*words).raw)
        assert_nowhere(holder)
    finally:
        assert holder.envtool("down").status == 0


# ---- consent -------------------------------------------------------------------------------------------------------


def test_without_consent_nothing_starts(holder):
    task(holder, "touch started", "        outputs: [started]\n", "layers: {l: {run: 'true'}}\n")
    for give in ((), GIVE[:2]):
        done = holder.envtool("test", *give)
        assert done.status == 2
        assert re.search(r"envtool.yaml:10:\d+: error: task `test` of env `unit` wants the secret `key`", done.said)
        assert "`envtool test --allow-secret key=env:KEY" in done.said
        assert "or key=file:PATH" in done.said
        assert not (holder.project / ".envtool/last").exists()


def test_what_is_missing_of_other_sorts_is_in_the_same_error(holder):
    """A secret of the task, one of its service, one of a layer, a file outside of the project, a variable: one error,
    one command."""
    (holder.project / "out").symlink_to("../outside")
    holder.write("outside", "x", at=holder.top)
    holder.environ["MINE_1"] = "x"
    holder.spec(
        f"{SPEC}  deep: {{}}\nlayers:\n  files: {{copy: {{from: out, to: /opt/out}}}}\n"
        "  built: {run: 'true', secrets: [deep]}\n"
        "services: {web: {secrets: [key], command: sleep 9, ready: {log: x}}}\n"
        "envs: {unit: {layers: [built, files], pass: ['MINE_*'], services: [web],"
        " tasks: {test: {secrets: [token], run: 'true'}}}}\n"
    )
    done = holder.envtool("test")
    assert done.status == 2
    assert "task `test` of env `unit` wants the secret `token`, and you did not allow it" in done.err
    assert "service `web` wants the secret `key`, and you did not allow it" in done.err
    assert "layer `built` wants the secret `deep`, and you did not allow it" in done.err
    assert "`out` leads out of the project, and you did not allow it" in done.err
    assert "`pass:` asks for your MINE_1, which you did not allow (by a pattern)" in done.err
    (line,) = [line for line in done.err.splitlines() if line.startswith("hint: to allow all of it: ")]
    words = (
        "token=env:TOKEN",
        "key=env:KEY",
        "deep=env:DEEP",
        f"--allow-file {holder.top}/outside",
        "--allow-pass MINE_1",
    )
    assert all(word in line for word in words), line


def test_the_callers_configuration_may_give_it_also_by_a_command(holder):
    task(holder, 'printf "%s" "$TOKEN" | wc -c; wc -c < /run/secrets/key; pwd -P')
    command = "command:cat ~/key.bin; echo; pwd > ~/where; echo noise >&2"
    holder.allow(f"secrets: {{token: env:GIVEN, key: '{command}'}}")
    done = holder.envtool("test", "--json")
    assert done.status == 0, done.said
    assert [line.strip() for line in done.log().splitlines()][:2] == [str(len(VALUE)), str(len(FILE))]
    assert (holder.top / "where").read_text() == "/\n"  # not in the project, whose programs it might find
    holder.allow("secrets: {token: env:GIVEN, key: 'command:echo canary-7d2a; exit 5'}")
    done = holder.envtool("test")
    assert done.status == 2
    assert "the command for the secret `key` in your config.yaml failed: exit 5" in done.said
    assert "canary" not in done.said


def test_a_command_may_not_stand_on_the_command_line_nor_in_the_spec(holder):
    task(holder, "true")
    done = holder.envtool("test", "--allow-secret", "token=command:touch ../ran")
    assert done.status == 2
    assert "a command may only stand in your own configuration" in done.said
    holder.spec(SPEC.replace("{}", "{command: 'touch ../ran'}") + ENV + "        run: 'true'\n")
    assert holder.envtool("test").status == 2
    assert not (holder.top / "ran").exists()


@pytest.mark.parametrize("form", ["token={}", "token=env:{}", "token={}=", "token=ENV:{}"])
@pytest.mark.parametrize("value", ["canary-9b1e$HOME", "canary_9b1e7d2a"])
def test_a_value_in_place_of_its_source_is_not_shown(holder, form, value):
    """`--allow-secret "token=$TOKEN"` is a mistake that anybody makes."""
    task(holder, "true")
    done = holder.envtool("test", "--allow-secret", form.format(value), *GIVE[2:])
    assert done.status == 2
    assert "token" in done.said
    assert "canary" not in done.said


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", "the secret `token` is empty"),
        (None, "secret `token` is your variable GIVEN, which is not set"),
    ],
)
def test_a_secret_that_is_not_there(holder, value, text):
    task(holder, "true")
    del holder.environ["GIVEN"]
    if value is not None:
        holder.environ["GIVEN"] = value
    done = holder.envtool("test", *GIVE)
    assert done.status == 2
    assert text in done.said


def test_a_variable_can_have_no_nul(holder):
    holder.spec("secrets: {token: {env: TOKEN}}\nenvs: {unit: {tasks: {test: {secrets: [token], run: 'true'}}}}\n")
    done = holder.envtool("test", "--allow-secret", "token=file:../key.bin")
    assert done.status == 2
    assert "the secret `token` has a NUL byte, which the variable TOKEN cannot have" in done.said


def test_an_optional_one_may_be_missing(holder):
    holder.spec(
        "secrets: {key: {optional: true}}\n"
        "envs: {unit: {tasks: {test: {secrets: [key], run: 'ls /run/secrets/key || echo without'}}}}\n"
    )
    assert "without" in holder.envtool("test", "--json").log()
    assert "without" not in holder.envtool("test", "--json", *GIVE[2:]).log()


def test_prepared_state_of_a_service_with_secrets_is_refused(holder):
    holder.spec(
        f"{SPEC}services: {{db: {{command: sleep 60, ready: {{log: x}}, secrets: [token], prepare: 'true'}}}}\n"
        "envs: {unit: {services: [db], tasks: {test: 'true'}}}\n"
    )
    done = holder.envtool("test", *GIVE)
    assert done.status == 2
    assert "has secrets, and its prepared state would be a layer that may contain them" in done.err


def test_verify_refuses(holder):
    task(holder, "mkdir -p out; date > out/x", "        outputs: [out/]\n")
    text = (holder.project / "envtool.yaml").read_text()
    holder.write("envtool.yaml", text.replace("test:", "build:"))
    done = holder.envtool("verify", "--build", *GIVE)
    assert "has a secret, which goes to no second build: it is not verified" in done.said, done.said
