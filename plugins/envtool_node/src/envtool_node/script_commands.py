"""The test script of package.json as the command of a task: what of it is no test here, and what it starts. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

# Linters, audits and what downloads when it is called, in a script around that of the tests.
_CHECKS = re.compile(
    r"\b(?:aud|audit|npx|eslint|eclint|jshint|jscs|standard|xo|prettier|tsc|attw|evalmd|lint)\b", re.IGNORECASE
)
# What starts a browser, where a command of a script begins.
_BROWSER_RUNNERS = re.compile(
    r"(?:^|[;&|(]\s*|\b(?:env|exec|npx|cross-env)\s+)(?:[A-Za-z_]\w*=\S*\s+)*"
    r"(?:karma|cypress|nightwatch|playwright|protractor|testcafe|testem|wdio|web-test-runner|wtr|zuul)(?=\s|$)"
)
# Programs of other languages, where a command of a script begins; and scripts that a script names.
_OTHER_PROGRAMS = re.compile(
    r"(?:^|[;&|(]\s*|\b(?:env|exec|cross-env)\s+)(?:[A-Za-z_]\w*=\S*\s+)*"
    r"(python3?|pytest|py\.test|go|cargo|mvn|java|make)(?=\s|$)"
)
_NAMED_SCRIPTS = re.compile(r"\b(?:npm|pnpm|yarn)\s+(?:run|run-script)\s+([\w:.-]+)")
_PLAIN = re.compile(r"[\w:./@*,=+-]+(?: +[\w:./@*,=+-]+)*")  # a command without quotes, pipes and expansions
_IDLE_RUNNERS = re.compile(r"(?:c8 |nyc |cross-env )?(?:uvu|node(?: -\S+)*? --test)(?=\s|$)")
_TEST_PATH = re.compile(r"test|spec", re.IGNORECASE)
_TEST_FILE = re.compile(  # a file, or a pattern of files, with "test" or "spec" in its path
    r"(?!-)(?=.*(?:test|spec))(?:[\w.*@+-]+/)*(?:[\w*@+-][\w.*@+-]*\.[cm]?[jt]sx?|\*+)", re.IGNORECASE
)
_QUOTED_WORD = re.compile(r"""(["'])([\w:./@*,=+-]+)\1""")
# Programs that look at the source alone; and what stands before a program.
_LINTERS = frozenset((
    "attw", "aud", "commitlint", "cspell", "dprint", "eclint", "editorconfig-checker", "eslint", "jscs", "jshint",
    "knip", "markdownlint", "markdownlint-cli2", "oxlint", "prettier", "publint", "semistandard", "sherif", "standard",
    "stylelint", "ts-standard", "tslint", "xo",
))  # fmt: skip
_AROUND_PROGRAM = re.compile(
    r"(?:(?:env|cross-env|npx|(?:npm|pnpm|yarn) exec|pnpm dlx)(?= ) *(?:-+\S* +)*|[A-Za-z_]\w*=\S* +)"
)
_QUOTED = re.compile(r"""'[^'{}]*'|"[^"{}$`\\]*\"""")
_OTHER_PACKAGES = re.compile(
    r"(?:^| )(?:-r|-C|-F|-w|--recursive|--filter\S*|--workspaces?\S*|--prefix\S*|--dir\S*)(?= |$)"
)
_HOOK_INSTALLERS = frozenset(("husky", "lefthook", "simple-git-hooks", "is-ci", "yorkie"))
_STATE = frozenset(("cd", "export", "set", "unset", "exit", "exec", "eval", "source", ".", "trap", "umask"))
_MANAGERS = ("npm", "pnpm", "yarn")
_MAX_ENTRIES = 200  # values of `exports` that are looked at
_MAX_SCRIPTS = 50  # of package.json that are followed
_MAX_SCRIPT = 10_000  # characters of one that are searched


class ScriptCommand(NamedTuple):
    """The command of a task, "" if no test of the script can run; and why it is this command, for people."""

    command: str
    reason: str


def npm_test(scripts: Mapping[str, str], *, browsers: bool) -> ScriptCommand:
    """Returns the command of the test script. npm also runs `pretest` and `posttest`: linters and audits, which need
    git or a registry, are no tests, and are left out. Without `browsers`, so are the parts that start a browser."""
    around = {name: str(scripts.get(name) or "") for name in ("pretest", "posttest")}
    checks = [name for name, script in around.items() if _CHECKS.search(script)]
    before = "npm run pretest && " if around["pretest"] and "pretest" not in checks else ""
    if not browsers and (parts := _parts(str(scripts.get("test") or ""))):
        in_browsers = [part for part in parts if _starts_browser(part, scripts)]
        if in_browsers:
            return _without(in_browsers, parts, before)
    after = " && npm run posttest" if around["posttest"] and "posttest" not in checks else ""
    if shorter := _without_linters(scripts, checks):
        return ScriptCommand(f"{before}{shorter.command}{after}", shorter.reason)
    if not checks:
        return ScriptCommand("npm test -- {{ args }}", "package.json with a test script")
    check = "check" if len(checks) > 1 else "checks"
    reason = (
        f"package.json with a test script, without its {' and '.join(checks)}, which {check} other things than tests"
    )
    return ScriptCommand(f"{before}npm test --ignore-scripts -- {{{{ args }}}}", reason)


def manager_test(scripts: Mapping[str, str], manager: str) -> ScriptCommand:
    """Returns the same by pnpm or Yarn, which run no script around that of the tests."""
    shorter = _without_linters(scripts, [])
    return shorter or ScriptCommand(f"{manager} test {{{{ args }}}}", "package.json with a test script")


def _without_linters(scripts: Mapping[str, str], others: list[str]) -> ScriptCommand | None:
    """Returns the commands of the test script that are no linters, where some are linters; None if none or all are, or
    it is not made of plain commands. `others` are scripts around it that are left out, too."""
    parts = _shell_parts(str(scripts.get("test") or ""))
    linters = [part for part in parts if _is_linter(part, scripts)]
    kept = [part for part in parts if part not in linters]
    if not linters or not kept:
        return None
    names = " and ".join([*(f"`{part}`" for part in linters), *(f"its {name}" for name in others)])
    check = "check" if len(linters) + len(others) > 1 else "checks"
    reason = f"package.json with a test script, without {names}, which {check} other things than tests"
    last = " -- {{ args }}" if re.match(r"npm (?:run|run-script|test|t)\b(?!.* -- )", kept[-1]) else " {{ args }}"
    return ScriptCommand(f"{' && '.join(kept)}{last}", reason)


def _shell_parts(script: str) -> list[str]:
    """Returns the commands of a script that are all to succeed; none if it has more of the shell than plain words and
    quoted ones, or changes what the next command sees."""
    script = " ".join(script[:_MAX_SCRIPT].replace("\0", "").split())
    quoted = iter(_QUOTED.findall(script))
    parts = [part.strip() for part in _QUOTED.sub("\0", script).split("&&")]
    if not all(_PLAIN.fullmatch(part.replace("\0", "q")) and part.split()[0] not in _STATE for part in parts):
        return []
    return [re.sub("\0", lambda _: next(quoted), part) for part in parts]


def _is_linter(command: str, scripts: Mapping[str, str]) -> bool:
    """Whether a command starts a linter, or a script of package.json that starts nothing else."""
    pending, seen = [command], set[str]()
    while pending:
        text = pending.pop()
        name = _script_name(text, scripts)
        if name:
            parts = _shell_parts(scripts[name]) if name not in seen else []
            if not parts or len(seen) > _MAX_SCRIPTS:
                return False
            seen.add(name)
            pending += parts
            continue
        words = _program(text).split()
        is_audit = words[:2] in [[manager, "audit"] for manager in _MANAGERS]
        is_biome = words[:1] == ["biome"] and words[1:2] in (["check"], ["ci"], ["format"], ["lint"])
        if not (is_audit or is_biome or (words and words[0] in _LINTERS)):
            return False
    return True


def _script_name(command: str, scripts: Mapping[str, str]) -> str:
    """Returns the script of package.json that `npm run NAME`, `pnpm NAME` or `yarn NAME` starts in it; else ""."""
    manager, *words = command.split()
    if manager not in _MANAGERS or _OTHER_PACKAGES.search(command):
        return ""
    named = [word for word in words if not word.startswith("-")]
    runs = named[:1] in (["run"], ["run-script"])
    named = named[1:] if runs else named
    return named[0] if named and named[0] in scripts and (runs or manager != "npm") else ""


def prepare_commands(text: str, scripts: Mapping[str, str], manager: str, paths: Collection[str]) -> tuple[str, str]:
    """Returns the commands of the script `prepare`, and the first file that the package consists of and that is missing
    in `paths`, if there is one: npm and pnpm run `prepare` after they have installed a checkout
    (https://docs.npmjs.com/cli/using-npm/scripts#life-cycle-scripts), and the layer has no files of the project.
    ("", "") without one. What sets up git's hooks is left out. `text` is that of package.json."""
    parts = _shell_parts(str(scripts.get("prepare") or "")) if manager in ("npm", "pnpm") else []
    kept = [
        part for part in parts if _program(part).split(" ")[0] not in _HOOK_INSTALLERS and not _is_linter(part, scripts)
    ]
    missing = next((path for path in _entry_files(json.loads(text)) if not _has_entry(path, paths)), "")
    if not kept or not missing or any(_program(part).startswith("patch-package") for part in kept):
        return "", ""
    return (f"{manager} run prepare" if kept == parts else " && ".join(kept)), missing


def _entry_files(manifest: Mapping[str, object]) -> Iterator[str]:
    """Yields the JavaScript files that `main`, `module` and `exports` name, relative to package.json."""
    pending = [manifest.get("main"), manifest.get("module"), manifest.get("exports")]
    for _ in range(_MAX_ENTRIES):
        if not pending:
            return
        value = pending.pop(0)
        if isinstance(value, str) and "*" not in value and re.search(r"\.[cm]?js$|/[^.]+$|^[^.]+$", value):
            yield value.removeprefix("./")
        elif isinstance(value, dict):
            pending += [child for name, child in value.items() if name != "types"]
        elif isinstance(value, list):
            pending += value


def _has_entry(entry: str, paths: Collection[str]) -> bool:
    top = entry.rstrip("/")
    return top in ("", ".") or any(f"{top}{ending}" in paths for ending in ("", ".js", ".cjs", ".json", "/index.js"))


def _program(command: str) -> str:
    """Returns a command from its program on: without variables, and what only starts it."""
    while match := _AROUND_PROGRAM.match(command):
        command = command[match.end() :]
    return command


def passes_without_tests(script: str, paths: Collection[str]) -> bool:
    """Whether all that a test script starts are runners that pass where they find no test, and no path of the project
    is one of a test, or named in the script: an archive without its tests."""
    if any(_TEST_PATH.search(path) for path in paths):
        return False
    parts = _parts(script)
    words = {word.removeprefix("./").rstrip("/") for part in parts for word in part.split()}
    named = {path for path in paths for word in words if path == word or path.startswith(f"{word}/")}
    return bool(parts) and not named and all(_IDLE_RUNNERS.match(part) for part in parts)


def missing_test_path(scripts: Mapping[str, str], paths: Collection[str]) -> str:
    """Returns the first path or pattern of tests that the test script names, itself or through scripts that it names,
    if no path of the project is one of a test: an archive without its tests, whose script fails. Else ""."""
    if any(_TEST_PATH.search(path) for path in paths):
        return ""
    for text in _texts(str(scripts.get("test") or ""), scripts):
        for part in _parts(_QUOTED_WORD.sub(r"\2", text)):
            for word in part.split()[1:]:
                if _TEST_FILE.fullmatch(word) and not _NAMED_SCRIPTS.match(part):
                    return word
    return ""


def _parts(script: str) -> list[str]:
    """Returns the commands of a script that are all to succeed; none if the script is not made of plain ones."""
    parts = [" ".join(part.split()) for part in script[:_MAX_SCRIPT].split("&&")]
    return parts if all(_PLAIN.fullmatch(part) for part in parts) else []


def _without(in_browsers: list[str], parts: list[str], before: str) -> ScriptCommand:
    names = " and ".join(f"`{part}`" for part in in_browsers)
    kept = [part for part in parts if part not in in_browsers and not _CHECKS.search(part)]
    if not kept:
        return ScriptCommand("", f"package.json, whose tests ({names}) start a browser: a layer has to install one")
    others = [part for part in parts if part not in in_browsers and part not in kept]
    left = "".join(f"; without {part}, which checks other things than tests" for part in others)
    commands = [part if part.startswith("npm run ") else f"npm exec --no -- {part}" for part in kept]
    last = " -- {{ args }}" if commands[-1].startswith("npm run ") and " -- " not in commands[-1] else " {{ args }}"
    reason = f"package.json with a test script, without {names}: this machine has no browser{left}"
    return ScriptCommand(f"{before}{' && '.join(commands)}{last}", reason)


def _starts_browser(command: str, scripts: Mapping[str, str]) -> bool:
    return any(_BROWSER_RUNNERS.search(text) for text in _texts(command, scripts))


def script_programs(scripts: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the programs of other languages that the test script starts, itself or through scripts that it names."""
    programs: dict[str, None] = {}
    for text in _texts(str(scripts.get("test") or ""), scripts):
        programs |= dict.fromkeys(_OTHER_PROGRAMS.findall(text))
    return tuple(programs)


def _texts(script: str, scripts: Mapping[str, str]) -> Iterator[str]:
    """Yields a script, and those that it names by `npm run`, each once."""
    pending, seen = [script], set[str]()
    while pending and len(seen) < _MAX_SCRIPTS:
        text = pending.pop()[:_MAX_SCRIPT]
        yield text
        for name in _NAMED_SCRIPTS.findall(text):
            if name not in seen:
                seen.add(name)
                pending.append(str(scripts.get(name) or ""))
