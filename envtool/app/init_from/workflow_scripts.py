"""The script of a step (`run:`): what it installs, and what it runs. Nothing is executed."""

from __future__ import annotations

import posixpath
import re
import shlex
from typing import TYPE_CHECKING

from envtool.app.init_from.install_words import Installed, add_words
from envtool.app.init_from.taken_spec import CannotTakeError
from envtool.lazy_dataclass import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# A line that only a shell can read as a whole: what is before and after it is one script with it.
_OF_SHELL = re.compile(
    r"\s*(?:(?:if|elif|else|fi|for|while|until|case|esac|do|done|then|function|set|export|source|cd|pushd|popd|local|"
    r"trap|shopt|ulimit|alias)(?:\s|;|$)|[.{}()]|[A-Za-z_]\w*=\S*\s*$|\[\[?\s)"
)
_HEREDOC = re.compile(r"<<-?\s*[\"'\\]?\w")
# Files that only GitHub's runner has.
_RUNNER_FILES = re.compile(r"\$\{?(GITHUB_\w+|RUNNER_\w+)")
_ASSIGNED = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
# Programs that a task without a network, in a container, cannot use: the hint says what to do.
_OUTSIDE: Mapping[str, str] = {
    "tox": "`envtool init --from tox.ini` takes its environments over",
    "nox": "`envtool init --from noxfile.py` takes its sessions over",
    "docker": "declare a service, or write a task without it", "docker-compose": "`envtool import compose`",
    "podman": "write a task without it", "curl": "a layer `fetch` has a file by its hash",
    "wget": "a layer `fetch` has a file by its hash", "brew": "", "choco": "", "gh": "", "snap": "", "systemctl": "",
    "twine": "", "pre-commit": "", "poetry": "`language: python` reads Poetry's files: write an env of your own",
    "pipenv": "", "conda": "", "mamba": "", "hatch": "", "pdm": "`language: python` reads pdm.lock",
    "rustup": "", "gradle": "", "gradlew": "", "bazel": "", "nvm": "", "gem": "", "bundle": "", "composer": "",
    "uv": "", "uvx": "", "pipx": "", "codecov": "", "coveralls": "", "ssh": "", "scp": "", "rsync": "",
    "add-apt-repository": "", "sudo": "",
}  # fmt: skip
_OUTSIDE_WORDS = re.compile(
    r"(?:^|[;&|(`]|\bthen|\bdo|\belse)[ \t]*+(?:sudo\s+)?(?:\./)?("
    + "|".join(map(re.escape, _OUTSIDE))
    + r"|apt-get|apt|pip3?\s+install|npm\s+(?:ci|install|i)|git\s+(?:clone|fetch|push|pull))(?=\s|$)",
    re.MULTILINE,
)
_SHELL_SIGNS = re.compile(r"[;&|<>(){}`\n\\#]|\$\(")  # then the line is for bash, as on GitHub
_INSTALLERS = {"go": ("install", "get"), "cargo": ("install",), "git": ("clone", "fetch", "push", "pull")}
_PROJECT_INSTALLS = {  # program -> subcommands without further words that install what the project's files say
    "npm": ("ci", "install", "i", "install-ci-test"), "pnpm": ("install", "i"), "yarn": ("install", ""),
}  # fmt: skip
_INFORMATION = frozenset({"list", "freeze", "--version", "-V", "debug", "check", "config", "cache"})  # of pip, npm
_UV_VALUES = frozenset({"--group", "--extra", "--with", "--python", "-p", "--package", "--directory", "--project"})
_MAX_COMMANDS = 200  # of one job


@dataclass(slots=True, kw_only=True)
class JobNeeds:
    """What the steps of a job install and run, in order. `note` is called with line, key, effect, message and hint."""

    note: Callable[..., None]
    uv_groups: tuple[str, ...] = ()  # that uv installs without a word
    uv_install: str = "editable"  # how uv installs the project itself
    installed: Installed = field(default_factory=Installed)
    is_python: bool = False  # it installs packages of Python
    languages: dict[str, dict[str, str]] = field(default_factory=dict)  # with keys of their own
    components: list[str] = field(default_factory=list)  # of Rust
    packages: list[str] = field(default_factory=list)  # of Debian
    commands: list[str] = field(default_factory=list)
    programs: list[str] = field(default_factory=list)

    def add_script(
        self, script: str, *, line: int, directory: str, shell: str, variables: Mapping[str, str], may_fail: bool
    ) -> None:
        """Adds one script. Raises CannotTakeError, with the line, for what a spec cannot express."""
        if name := _RUNNER_FILES.search(script):
            raise CannotTakeError(f"it uses `{name[1]}`, which only GitHub's runner has", "", line)
        lines = _logical_lines(script)
        if any(_OF_SHELL.match(text) or _HEREDOC.search(text) for text in lines):
            self._check_opaque(script, line)
            texts = [script.strip()]
        else:
            texts = [rest for text in lines if (rest := self._without_installs(text, directory, line))]
        for text in texts:
            self.programs += _first_words(text)
            self.commands.append(_command(text, directory, shell, variables, may_fail=may_fail))
        if len(self.commands) > _MAX_COMMANDS:
            raise CannotTakeError(f"more than {_MAX_COMMANDS} commands", "", line)

    def _check_opaque(self, script: str, line: int) -> None:
        if match := _OUTSIDE_WORDS.search(script):
            word = " ".join(match[1].split())
            hint = _OUTSIDE.get(word, "") or "write an env of your own: a task has no network"
            raise CannotTakeError(f"a script of several parts calls `{word}`", hint, line)

    def _without_installs(self, text: str, directory: str, line: int) -> str:
        """Returns what is left of a line of commands when those that install are taken over as layers."""
        try:
            lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            lexer.commenters = "#"
            tokens = [*lexer]
        except ValueError:
            self._check_opaque(text, line)
            return text
        if not tokens:
            return ""
        operators = {token for token in tokens if re.fullmatch(r"[();<>|&]+", token)}
        if operators - {"&&", ";"}:
            self._check_opaque(text, line)
            return text
        parts = _split_tokens(tokens)
        if len(parts) == 1 and tokens[:2] == ["uv", "run"]:
            return self._uv_run(tokens, text, directory, line)
        kept = [words for words in parts if not self._install(words, directory, line)]
        if len(kept) == len(parts):
            return text
        if not kept:
            return ""
        pieces = [piece.strip() for piece in re.split(r"&&|;", text)]
        if len(pieces) != len(parts):
            raise CannotTakeError(f"`{text[:60]}` installs and runs in one line", "write two lines", line)
        return " && ".join(piece for piece, words in zip(pieces, parts, strict=True) if words in kept)

    def _install(self, words: Sequence[str], directory: str, line: int) -> bool:
        """Takes over a command that installs; returns whether it is one. Raises CannotTakeError for one that a spec
        cannot express, and for programs that a task cannot use."""
        plain = [*words]
        while plain and (_ASSIGNED.fullmatch(plain[0]) or plain[0] in ("sudo", "-E", "env", "command")):
            plain.pop(0)
        if not plain:
            return True
        program, rest = posixpath.basename(plain[0]), plain[1:]
        if re.fullmatch(r"python3?(?:\.[0-9]+)?", program) and rest[:1] == ["-m"] and rest[1:2] != ["coverage"]:
            module = rest[1] if len(rest) > 1 else ""
            program, rest = (module, rest[2:]) if module == "pip" or module in _OUTSIDE else (program, rest)
        if program == "uv" and rest[:1] == ["sync"]:
            self._uv_sync(rest[1:], line)
            return True
        if program == "uv" and rest[:1] == ["pip"]:
            program, rest = "pip", [word for word in rest[1:] if word != "--system"]
        if program in ("pip", "pip3"):
            return self._pip(rest, directory, line)
        if program in ("apt-get", "apt"):
            return self._apt(rest, line)
        if program in _PROJECT_INSTALLS:
            return self._node(program, rest, directory, line)
        if program == "corepack":
            return True
        if (program, *rest[:2]) in (("go", "mod", "download"), ("go", "mod", "verify"), ("cargo", "fetch")):
            self.languages.setdefault({"go": "go"}.get(program, "rust"), {})
            return True
        if program == "rustup" and rest[:2] == ["component", "add"]:
            self.components += [word for word in rest[2:] if not word.startswith("-")]
            return True
        if program in _OUTSIDE or (rest[:1] and rest[0] in _INSTALLERS.get(program, ())):
            name = program if program in _OUTSIDE else f"{program} {rest[0]}"
            hint = _OUTSIDE.get(program, "") or "write an env of your own: a task has no network"
            raise CannotTakeError(f"it calls `{name}`, which a task cannot use", hint, line)
        if "sudo" in words[: len(words) - len(plain)]:
            raise CannotTakeError(f"it calls `sudo {program[:40]}`", "`user: root` of a task, without sudo", line)
        return False

    def _uv_run(self, tokens: Sequence[str], text: str, directory: str, line: int) -> str:
        """Returns the command that `uv run` starts in the environment that it installs before."""
        options = 2
        while options < len(tokens) and tokens[options].startswith("-"):
            options += 2 if tokens[options] in _UV_VALUES else 1
        self._uv_sync(tokens[2:options], line)
        pieces = text.split(None, options)
        if len(pieces) <= options:
            raise CannotTakeError(f"`{text[:60]}` runs no command", "", line)
        return self._without_installs(pieces[options], directory, line)

    def _uv_sync(self, options: Sequence[str], line: int) -> None:
        """Takes over what `uv sync` installs: the project, its default group, and groups and extras that are named."""
        self.is_python = True
        self.installed.install = self.uv_install
        groups = [*self.uv_groups]
        pending = [*options]
        while pending:
            option, equals, value = pending.pop(0).partition("=")
            if option in _UV_VALUES and not equals:
                value = pending.pop(0) if pending else ""
            if option in ("--no-dev", "--no-default-groups"):
                groups = []
            elif option in ("--group", "--extra", "--with"):
                chosen = {"--group": groups, "--extra": self.installed.extras, "--with": self.installed.packages}
                chosen[option].append(value)
            elif option == "--dev":
                groups.append("dev")
            elif option not in ("--locked", "--frozen", "--no-sync", "--active", "-q", "--quiet", "-v", "--verbose"):
                raise CannotTakeError(f"the option `{option[:40]}` of uv has no counterpart", "", line)
        self.installed.groups += [name for name in groups if name not in self.installed.groups]

    def _pip(self, rest: Sequence[str], directory: str, line: int) -> bool:
        if rest[:1] != ["install"]:
            if rest[:1] and rest[0] in _INFORMATION:
                return True
            raise CannotTakeError(f"`pip {' '.join(rest)[:40]}` has no counterpart", "", line)
        self.is_python = True
        try:
            add_words(self.installed, rest[1:], directory=directory)
        except CannotTakeError as error:
            error.line = error.line or line
            raise
        for outside in ("tox", "nox"):
            if any(re.match(rf"{outside}\b(?!-)", name) for name in self.installed.packages):
                raise CannotTakeError(f"it runs its tests by {outside}", _OUTSIDE[outside], line)
        return True

    def _apt(self, rest: Sequence[str], line: int) -> bool:
        words = [word for word in rest if not word.startswith("-")]
        if words[:1] in (["update"], ["upgrade"], ["clean"], ["autoremove"]):
            return True
        if words[:1] != ["install"] or any(not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", word) for word in words[1:]):
            raise CannotTakeError(f"`apt-get {' '.join(rest)[:40]}` has no counterpart", "", line)
        self.note(line, "apt-get", "changed", "packages of Debian, which may have another version than Ubuntu's")
        self.packages += words[1:]
        return True

    def _node(self, program: str, rest: Sequence[str], directory: str, line: int) -> bool:
        words = [word for word in rest if not word.startswith("-")]
        subcommand = words[0] if words else ""
        if subcommand in _INFORMATION or (not words and rest):
            return True
        if subcommand not in _PROJECT_INSTALLS[program]:
            if subcommand in ("add", "global", "link", "publish", "dlx", "audit"):
                raise CannotTakeError(f"it calls `{program} {subcommand}`, which a task cannot use", "", line)
            return False
        if {"-g", "--global"} & {*rest} and all(re.fullmatch(r"(?:npm|pnpm|yarn)(?:@.*)?", word) for word in words[1:]):
            return True
        if words[1:]:
            message = f"`{program} {subcommand} {words[1][:40]}` installs what package.json does not name"
            raise CannotTakeError(message, "add it to `devDependencies`", line)
        self.languages.setdefault("node", {}).update({} if directory == "." else {"directory": directory})
        return True


def _logical_lines(script: str) -> list[str]:
    joined = re.sub(r"(?<![ \t])[ \t]*\\\n[ \t]*", " ", script.replace("\r\n", "\n"))
    return [line.strip() for line in joined.split("\n") if line.strip() and not line.strip().startswith("#")]


def _split_tokens(tokens: Sequence[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for token in tokens:
        if token in ("&&", ";"):
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if part]


def _first_words(text: str) -> list[str]:
    """Returns the names of the programs that a text starts, as far as they are plain words."""
    names = re.findall(
        r"(?:^|[;&|(]|\bthen|\bdo|\belse|\benv)[ \t]*+(?:[A-Za-z_]\w*=\S*[ \t]+)*([\w./+-]+)", text, re.MULTILINE
    )
    return [posixpath.basename(name) for name in names]


def _command(text: str, directory: str, shell: str, variables: Mapping[str, str], *, may_fail: bool) -> str:
    """Returns the command of a task for a script: by bash, as GitHub runs it, unless it is one plain command."""
    command = text
    if _SHELL_SIGNS.search(text) or "[[" in text:
        options = "-ec" if not shell else "-eo pipefail -c"
        command = f"{'sh -ec' if shell == 'sh' else f'bash {options}'} {shlex.quote(text)}"
    if variables:
        pairs = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
        command = f"env {pairs} {command}"
    if directory != ".":
        command = f"cd {shlex.quote(directory)} && {command}"
    return f"({command}) || true" if may_fail else command
