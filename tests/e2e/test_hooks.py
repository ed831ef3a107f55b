"""A third party's plugin with every hook, installed beside ours: the one that docs/plugins.md shows, and one that fails."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.any_caller]

PAGE = (Path(__file__).parents[2] / "docs/plugins.md").read_text()
BLOCKS = re.findall(r"^```(python|toml)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SHOWN = "\n\n".join(text for language, text in BLOCKS if language == "python" and "import testing" not in text)
SPEC = """
envs:
  unit:
    greeting: hello
    tasks:
      test: |
        cat /etc/motd; echo "$GREETING_OF"
        printf 'wrong: monday\\n3 messages, 1 wrong\\n'
"""
FAILING = """
import os
from envtool import api

HOW = os.environ["BAD"]


def crash(*_, **__):
    raise KeyError("gems")


class Lines(api.LineReader):
    feed_line = crash


@api.hook
def envtool_env_keys():
    add = {"key": crash, "key-type": lambda *_: 3, "kind": lambda *_: layer("gone")}.get(HOW, lambda *_: api.Additions())
    return [api.EnvKey(name="mine", schema={"type": "integer", "description": "a number"}, add=add)]


def layer(kind):
    return api.Additions(layers=(api.LayerDraft(name="x", kind=kind, options=None),))


@api.hook
def envtool_output_readers():
    return [api.OutputReader(name="ours", start=Lines, begins="(" if HOW == "expression" else "[0-9]")]


@api.hook
def envtool_report_formats():
    return [api.ReportFormat(name="junit" if HOW == "junit" else "ours", write=crash)]


class Serve(api.ServiceKind):
    name = "mine-server"
    schema = {"description": "x"}
    options = {"ready": {}} if HOW == "service-key" else {}

    def service(self, declaration, project):
        return crash() if HOW == "service" else 3


@api.hook
def envtool_service_kinds():
    return [Serve()]


@api.hook
def envtool_verbs():
    many = [api.Option(name="--color", help="")] if HOW == "option" else []
    return [] if HOW == "no-verb" else [api.PluginVerb(name="mend", help="Mend.", run=crash, options=tuple(many))]
"""


def install(place, module: str, source: str, verbs: str = "", *, at: str = "plugin") -> None:
    """Lays the files of a distribution where an installer would."""
    top = place.top / at
    place.write(f"{module}.py", source, at=top)
    info = top / f"{module}-1.0.dist-info"
    name = module.replace("_", "-")
    place.write("METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", at=info)
    points = f"[envtool]\n{module} = {module}\n" + (f"[envtool.verbs]\n{verbs} = {module}\n" if verbs else "")
    place.write("entry_points.txt", points, at=info)
    before = place.environ.get("PYTHONPATH", place.caller.path)
    place.environ["PYTHONPATH"] = f"{before}:{top}"


@pytest.fixture
def motd(place):
    install(place, "envtool_motd", SHOWN, "motds")
    place.spec(SPEC)
    return place


def test_what_the_page_shows_works(motd):
    assert "motds" in "".join(text for language, text in BLOCKS if language == "toml")
    reports = ("--report", "motd=out.txt", "--report", "markdown=out.md", "--report", "junit=out.xml")
    done = motd.envtool("test", *reports)
    assert done.status == 0, done.err
    assert re.search(r"✓ unit +test +1 failed, 2 passed", done.err), done.err
    out = motd.project / "out.txt"
    assert out.read_text() == "unit test: passed {'failed': 1, 'passed': 2}\n  monday\n"
    assert "| unit | test | ✅ passed | 1 failed, 2 passed |" in (motd.project / "out.md").read_text()
    assert "hello\nunit\nwrong: monday\n" in (motd.project / "out.xml").read_text()
    # unchanged: what the reports say comes from the log of the run that passed
    done = motd.envtool("test", *reports)
    assert "1 unchanged" in done.err
    assert out.read_text() == "unit test: cached {'failed': 1, 'passed': 2}\n  monday\n"
    # the value of the key is in the layer's key, and its variable in the result's
    motd.spec(SPEC.replace("hello", "good day"))
    done = motd.envtool("test", "-v")
    assert "good day" in done.err + done.out
    assert "unchanged" not in done.err


def test_the_language_of_the_page(motd):
    motd.spec("envs: {unit: {base: host, language: greeter, tasks: {test: cat /etc/motd}}}\n")
    assert "write `greet: …`, or greeting.txt" in motd.envtool("test").err
    motd.write("greeting.txt", "from a file\n")
    done = motd.envtool("test", "-v")
    assert done.status == 0, done.err
    assert "from a file" in done.err + done.out
    (motd.project / "envtool.yaml").unlink()
    assert "greeting.txt" in motd.envtool("init").err
    assert "language: greeter" in (motd.project / "envtool.yaml").read_text()


def test_a_verb_is_like_ours(motd):
    assert motd.envtool("test").status == 0
    done = motd.envtool("motds", "unit")
    assert (done.status, done.out) == (0, "hello\n")
    assert json.loads(motd.envtool("--json", "motds", "unit").out) == ["hello"]
    assert motd.envtool("motds", "unit", "--output", "motds.txt").out == ""
    assert (motd.project / "motds.txt").read_text() == "hello\n"
    told = motd.envtool("--help").out
    assert re.search(r"^Plugins:\n(?:  .*\n)*  motds +from envtool-motd$", told, re.MULTILINE)
    assert "Print the messages of the day of ENV." in motd.envtool("motds", "--help").out
    assert "Print the messages of the day of ENV." in motd.envtool("help", "motds").out
    for words, message in [
        (("motd", "unit"), "did you mean `envtool motds`?"),
        (("motds", "unti"), "did you mean `unit`?"),
        (("motds",), "`envtool motds` needs ENV"),
        (("motds", "unit", "--outptu", "x"), "did you mean `--output`?"),
        (("motds", "unit", "--", "x"), "`motds` takes nothing after `--`"),
        (("motds", "unit", "--output", "/"), "`--output`"),
    ]:
        done = motd.envtool(*words)
        assert (done.status, done.out) == (2, ""), words
        assert message in done.err
    complete = {"_ENVTOOL_COMPLETE": "bash_complete"}
    motd.environ |= {**complete, "COMP_WORDS": "envtool mot", "COMP_CWORD": "1"}
    assert motd.envtool().out.split() == ["plain,motds"]
    motd.environ |= {**complete, "COMP_WORDS": "envtool motds u", "COMP_CWORD": "2"}
    assert motd.envtool().out.split() == ["plain,unit"]


def test_a_key_is_part_of_the_spec(motd):
    motd.spec("envs: {unit: {greeting: [1], tasks: {test: 'true'}}}\n")
    done = motd.envtool("list")
    assert done.status == 2
    assert "envtool.yaml:2" in done.err
    assert "greeting" in done.err
    assert "what /etc/motd says in this env" in motd.envtool("schema").out
    motd.spec("envs: {unit: {greting: x, tasks: {test: 'true'}}}\n")
    assert "did you mean `greeting`?" in motd.envtool("list").err
    # of each point of a matrix, with templates, from defaults, and beside a layer of the user's that needs it
    motd.spec(
        """
defaults: {greeting: "hi {{ env.name }}"}
envs:
  unit:
    matrix: {day: [mon, tue]}
    layers: [{run: cp /etc/motd /etc/greeted, needs: [greeting]}]
    tasks: {test: "cat /etc/greeted; test -z \\"$GREETING_OF\\""}
    set: {GREETING_OF: ""}
"""
    )
    done = motd.envtool("test", "-v", "-j", "1")
    assert done.status == 0, done.err
    assert "hi unit[mon]" in done.err + done.out
    assert "hi unit[tue]" in done.err + done.out
    motd.spec("envs: {unit: {greeting: x, layers: [greeting], tasks: {test: 'true'}}}\nlayers: {greeting: {motd: y}}\n")
    assert "`greeting` adds a layer `greeting`, and env `unit` has one of this name" in motd.envtool("list").err


def test_a_kind_of_service_is_part_of_the_spec(motd):
    motd.spec("services: {hello: {motd-server: hello}}\nenvs: {unit: {services: [hello], tasks: {test: 'true'}}}\n")
    done = motd.envtool("list", "--json")
    assert done.status == 0, done.err
    (service,) = json.loads(done.out)["services"]
    assert (service["kind"], service["ports"], service["provides"]) == ("motd-server", [8000], ["MOTD_URL"])
    assert "the message that it serves" in motd.envtool("schema").out
    assert json.loads(motd.envtool("plan", "--json").out)["services"][0]["name"] == "service:hello"
    motd.spec("services: {hello: {motd-server: [1]}}\n")
    done = motd.envtool("list")
    assert (done.status, "envtool.yaml:2:33: error: `motd-server` of service `hello`" in done.err) == (2, True), (
        done.err
    )
    motd.spec("services: {hello: {motd-sevrer: hello}}\n")
    assert "did you mean `motd-server`?" in motd.envtool("list").err
    motd.spec("services: {hello: {motd-server: hello, poort: 3}}\n")
    assert "did you mean `port`?" in motd.envtool("list").err
    motd.spec("services: {hello: {port: 3, command: serve, ready: 80}}\n")
    assert "the key `port` belongs to the kind of service `motd-server`" in motd.envtool("list").err


FAILURES = [
    ("reader", ("test",), 0, "failed in the reader of ours: KeyError: 'gems'"),
    ("format", ("test", "--report", "ours=o"), 3, "failed in the report format `ours`: KeyError: 'gems'"),
    ("verb", ("mend",), 3, "failed in the verb `mend`: KeyError: 'gems'"),
    ("key", ("list",), 3, "failed in the key `mine` of env `unit` (envtool.yaml:2:21): KeyError: 'gems'"),
    ("key-type", ("list",), 3, "of env `unit` (envtool.yaml:2:21): answered int where Additions is wanted"),
    ("kind", ("list",), 2, "the key `mine` adds a layer of the unknown kind `gone`"),
    ("expression", ("test",), 0, "offers a reader of the output of `ours` whose `begins` is no regular expression"),
    (
        "junit",
        ("test", "--junit", "x"),
        0,
        "two plugins offer the report format `junit`: envtool itself and the plugin",
    ),
    ("service", ("list",), 3, "failed in service of service `db` (envtool.yaml:3:17): KeyError: 'gems'"),
    ("service-type", ("list",), 3, "of service `db` (envtool.yaml:3:17): answered int where ServiceDraft is wanted"),
    ("service-key", ("list",), 2, "offers a kind of service `mine-server` with the key `ready`"),
    ("option", ("mend",), 2, "offers a verb `mend` with the option `--color`, which every verb has already"),
    ("no-verb", ("mend",), 2, "has no verb `mend`, which its entry point names"),
]


@pytest.mark.parametrize(("how", "words", "status", "message"), FAILURES, ids=[each[0] for each in FAILURES])
def test_a_plugin_that_fails_is_named(place, how, words, status, message):
    install(place, "envtool_bad", FAILING, "mend")
    place.environ["BAD"] = how
    # each has a task of its own: of one that passed before, no output is read
    place.spec(f"envs: {{unit: {{mine: 1, tasks: {{test: 'echo 1 is a number; : {how}'}}}}}}\n")
    if how.startswith("service"):
        place.spec("envs: {unit: {tasks: {test: 'true'}}}\nservices: {db: {mine-server: 1}}\n")
    done = place.envtool(*words)
    assert done.status == status, done.err
    assert message in done.err
    assert "`envtool-bad` 1.0" in done.err or how == "kind"
    assert "Traceback" not in done.err
    if "KeyError" in message or "answered" in message:
        assert re.search(r"plugin/envtool_bad\.py:\d+\)", done.err), done.err
    assert how != "reader" or "(the run goes on)" in done.err
    if how in ("reader", "format"):
        assert re.search(r"[✓=] unit +test", done.err), "the run itself went on"


def test_one_name_for_two_verbs_or_keys(place):
    install(place, "envtool_motd", SHOWN, "motds")
    install(place, "envtool_other", FAILING, "motds", at="other")
    place.environ["BAD"] = ""
    place.spec("envs: {unit: {tasks: {test: 'true'}}}\n")
    both = "two plugins offer the verb `motds`: the plugin `envtool-motd` 1.0 and the plugin `envtool-other` 1.0"
    for words, status in ((("motds", "unit"), 2), (("list",), 0)):
        done = place.envtool(*words)
        assert done.status == status
        assert both in done.err
    assert "two plugins" not in place.envtool("list", "-p", "no:other").err
    assert place.envtool("motds", "unit", "-p", "no:other").status == 2, "the verb is loaded before `-p` is read"
    assert place.envtool("-p", "no:other", "motds", "unit").status == 1, "an env without a message"
    told = " ".join(place.envtool("--help").out.split())
    assert "motds not usable, since several have it: envtool-motd, envtool-other" in told
    install(place, "envtool_other", FAILING, "test", at="other")
    assert (
        "two plugins offer the verb `test`: envtool itself and the plugin `envtool-other` 1.0"
        in place.envtool("list").err
    )
    told = " ".join(place.envtool("--help").out.split())
    assert "test of envtool-other: not usable, since envtool has a verb of this name" in told
    install(place, "envtool_other", FAILING.replace('"mine"', '"greeting"'), at="other")
    assert "two plugins offer the key of envs `greeting`: the plugin `envtool-motd`" in place.envtool("list").err
    install(place, "envtool_other", FAILING.replace('"mine"', '"groups"'), at="other")
    assert "the key `groups` of envs: the plugin `envtool-python`" in place.envtool("list").err
    install(place, "envtool_other", FAILING.replace('"mine"', '"tasks"'), at="other")
    assert "`tasks` which every env has already" in place.envtool("list").err


BROKEN = "from envtool import api\nimport no_such_module\n"


@pytest.mark.one_caller
def test_a_run_goes_on_without_a_plugin_that_cannot_be_imported(place):
    """With one warning, which an unchanged run and a second `exec` have too; what needs the plugin ends with its name."""
    install(place, "envtool_motd", SHOWN, "motds")
    install(place, "envtool_bad", BROKEN, at="other")
    place.spec("envs: {unit: {greeting: hello, tasks: {test: cat /etc/motd}}}\n")
    module = place.top / "other/envtool_bad.py"
    why = f"the plugin `envtool-bad` 1.0 cannot be imported: ModuleNotFoundError: No module named 'no_such_module' ({module}:2)"
    warning = f"warning: {why}; it is not used (update it, or uninstall it)\n"
    for words in (("test",), ("test",), ("test", "--junit", "x.xml"), ("list",), ("list",), ("plan",), ("schema",)):
        done = place.envtool(*words)
        assert (done.status, done.err.count(warning)) == (0, 1), (words, done.err)
    for _ in range(2):
        done = place.envtool("exec", "unit", "--", "cat", "/etc/motd")
        assert (done.status, done.out, done.err.count(warning)) == (0, "hello\n", 1), done.err
    assert place.envtool("motds", "unit").out == "hello\n"
    for words in (("sbom", "unit"), ("test", "--report", "bad=x")):
        done = place.envtool(*words)
        assert (done.status, why in done.err.replace(warning, "")) == (2, True), (words, done.err)
    place.spec("envs: {unit: {mine: 1, greeting: hello, tasks: {test: cat /etc/motd}}}\n")
    done = place.envtool("test")
    assert (done.status, "unknown key `mine`" in done.err, f"not used: {why}" in done.err) == (2, True, True), done.err
    # repaired, nothing is left of it
    module.write_text("from envtool import api\n")
    place.spec("envs: {unit: {greeting: hello, tasks: {test: cat /etc/motd}}}\n")
    for _ in range(2):
        done = place.envtool("test")
        assert (done.status, "warning" in done.err) == (0, False), done.err


@pytest.mark.one_caller
def test_a_plugin_is_left_out(place):
    """No fast way answers with what was kept with another set of plugins."""
    install(place, "envtool_motd", SHOWN, "motds")
    spec = "envs: {unit: {greeting: hello, tasks: {test: cat /etc/motd}}, bare: {tasks: {test: 'true'}}}\n"
    place.spec(spec)
    without = ("-p", "no:motd")
    assert place.envtool("exec", "unit", "--", "cat", "/etc/motd").out == "hello\n"
    for words in (("exec", "unit", "--", "true"), ("test",), ("list",), ("plan",)):
        for _ in range(2):
            assert place.envtool(*words).status == 0, words
            done = place.envtool(words[0], *without, *words[1:])
            assert done.status == 2, words
            assert "unknown key `greeting`" in done.err
            assert "left out by `-p no:` or $ENVTOOL_NO_PLUGINS: `motd`" in done.err, done.err
    assert place.envtool("exec", "unit", "--", "cat", "/etc/motd").out == "hello\n", "the plan of before"
    place.environ["ENVTOOL_NO_PLUGINS"] = "motd, of_no_plugin"
    assert place.envtool("exec", "unit", "--", "cat", "/etc/motd").status == 2
    del place.environ["ENVTOOL_NO_PLUGINS"]
    # what needs none of it has a fast way of its own with the variable, and none with the option
    place.spec("envs: {bare: {tasks: {test: 'true'}}}\n")
    for words in (
        ("test", *without),
        ("test", *without),
        ("test",),
        ("test",),
        ("exec", "bare", *without, "--", "true"),
    ):
        assert place.envtool(*words).status == 0, words
    done = place.envtool("-p", "no:motd", "motds", "bare")
    assert "unknown verb `motds`" in done.err
    assert "is of a plugin that `-p no:` leaves out" in place.envtool("motds", "bare", "-p", "no:motd").err
    for option, message, hint in [
        ("no:mtod", "`-p no:mtod`: no plugin has this name", "did you mean `motd`?"),
        ("no:envtool-mtod", "no plugin has this name", "did you mean `envtool-motd`?"),
        ("motd", "`-p motd` is not possible", "`-p no:NAME` leaves a plugin out"),
        ("no:", "`-p no:` is not possible", ""),
    ]:
        done = place.envtool("test", "-p", option)
        assert done.status == 2
        assert message in done.err
        assert hint in done.err, done.err
    assert "unknown key `greeting`" not in place.envtool("-pno:motd", "list").err
    listed = {row["name"]: row for row in json.loads(place.envtool("plugins", "--json", *without).out)["plugins"]}
    assert (listed["envtool-motd"]["left_out"], listed["envtool-motd"]["adds"]) == (True, {})
    assert "\n  left out\n" in place.envtool("plugins", "-p", "no:Envtool.motd").out
    place.environ |= {
        "_ENVTOOL_COMPLETE": "bash_complete",
        "COMP_WORDS": "envtool test -p no:envtool-m",
        "COMP_CWORD": "3",
    }
    assert place.envtool().out.split() == ["plain,no:envtool-motd"]
