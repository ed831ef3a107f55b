"""The actions of a workflow (`uses:`) that a spec has a counterpart for: those that set up a toolchain, and those that
change nothing about what is tested."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from envtool.app.init_from.taken_spec import CannotTakeError
from envtool.lazy_dataclass import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Actions without an effect on what is tested, and the reason.
_NOTHING = {
    "actions/cache": "layers are kept by content", "actions/cache/restore": "layers are kept by content",
    "actions/cache/save": "layers are kept by content", "Swatinem/rust-cache": "layers are kept by content",
    "hendrikmuhs/ccache-action": "`ccache: true` of `language: cc` keeps one",
    "pnpm/action-setup": "the version of `packageManager` in package.json counts",
    "step-security/harden-runner": "a task has no network",
}  # fmt: skip
# Actions that take results elsewhere: nothing leaves a run.
_REPORTS = frozenset({
    "actions/upload-artifact", "codecov/codecov-action", "coverallsapp/github-action", "dorny/test-reporter",
    "codacy/codacy-coverage-reporter-action", "EnricoMi/publish-unit-test-result-action", "codeclimate/action",
    "mikepenz/action-junit-report", "paambaati/codeclimate-action", "AndreMiras/coveralls-python-action",
    "codecov/test-results-action", "actions/upload-pages-artifact", "deepsourcelabs/test-coverage-action",
})  # fmt: skip
_RUST = frozenset({
    "dtolnay/rust-toolchain", "actions-rs/toolchain", "actions-rust-lang/setup-rust-toolchain",
    "moonrepo/setup-rust", "actions-rust/rust-toolchain",
})  # fmt: skip
_LANGUAGES = {
    "actions/setup-python": "python", "actions/setup-node": "node", "actions/setup-go": "go",
    "actions/setup-java": "java",
}  # fmt: skip
_VERSION = re.compile(r"[\^~>=v]*([0-9]+(?:\.[0-9]+){0,2})(?:\.(?:x|\*))*")
_MOVING = frozenset({"", "stable", "latest", "oldstable", "lts", "lts/*", "node", "current", "*", "x", "3", "3.x"})
_CHANNELS = {"nightly": "nightly Rust", "beta": "beta Rust", "miri": "Miri"}
# Debian's JDK of each release: https://packages.debian.org/default-jdk-headless
JDKS = {"17": "bookworm", "21": "trixie"}
RUSTS = {"63": "bookworm", "85": "trixie"}  # minor versions of rustc: https://packages.debian.org/rustc


def has_no_effect(action: str) -> bool:
    """Returns whether an action changes nothing about what is tested: then neither do its options and its condition."""
    name = action.partition("@")[0]
    return name in _NOTHING or name in _REPORTS or name == "actions/checkout"


@dataclass(slots=True, kw_only=True)
class Toolchains:
    """What the actions of one job set up. `versions` has, for each language, the wanted version, "" for any."""

    note: Callable[..., None]
    offered: frozenset[str]  # names that `toolchain:` may have
    versions: dict[str, str] = field(default_factory=dict)
    from_files: list[str] = field(default_factory=list)  # languages whose version the project's own file names
    suites: dict[str, str] = field(default_factory=dict)  # language -> the Debian release that has its version
    components: list[str] = field(default_factory=list)  # of Rust
    command: str = ""  # of the action, for actions-rs/cargo
    python_line: int = 0  # of the action that sets up Python

    def use(self, action: str, options: Mapping[str, str], line: int) -> None:
        """Takes one action over. Raises CannotTakeError for one that a spec has no counterpart for."""
        name, _, version = action.partition("@")
        self.command = ""
        if name == "actions/checkout":
            self._checkout(options, line)
        elif name in _NOTHING:
            self.note(line, name, "meaningless", _NOTHING[name])
        elif name in _REPORTS:
            self.note(line, name, "left-out", "nothing of a run is uploaded", "`outputs:` of the task keeps files")
        elif name in _LANGUAGES:
            self._language(_LANGUAGES[name], options, line)
        elif name in _RUST:
            toolchain = options.get("toolchain") or ("" if name != "dtolnay/rust-toolchain" else version)
            self._rust("" if toolchain in ("master", "v1") else toolchain, options, line)
        elif name == "actions-rs/cargo":
            self.command = " ".join(filter(None, ("cargo", options.get("command", ""), options.get("args", ""))))
        elif name == "astral-sh/setup-uv":
            self.versions.setdefault("python", options.get("python-version", ""))
        else:
            hint = "write an env of your own, with what it does as commands"
            raise CannotTakeError(f"the action `{name[:80]}` is a program of its own", hint, line)

    def _checkout(self, options: Mapping[str, str], line: int) -> None:
        for key in ("repository", "path"):
            if options.get(key):
                raise CannotTakeError(f"it checks out another repository or directory (`{key}`)", "", line)
        if options.get("submodules", "false") != "false":
            self.note(line, "submodules", "changed", "the checkout's own submodules count, as they are")

    def _language(self, language: str, options: Mapping[str, str], line: int) -> None:
        for key in (f"{language}-version-file",):
            if options.get(key):
                self._from_file(language, options[key], line)
                return
        wanted = options.get(f"{language}-version", "").strip()
        if "\n" in wanted or " " in wanted.strip("^~>= "):
            raise CannotTakeError(f"it sets up several versions of {language}", "write an env for each", line)
        self.versions[language] = wanted
        if language == "python":
            self.python_line = line
            return
        if wanted in _MOVING or wanted.startswith("lts"):
            if wanted:
                self.note(line, f"{language}-version", "changed", f"`{wanted}` moves: it is the version of Debian here")
            return
        match = _VERSION.fullmatch(wanted)
        if match is None:
            raise CannotTakeError(f"`{wanted[:40]}` is no version of {language} that is understood", "", line)
        self._pin(language, match[1], line)

    def _from_file(self, language: str, path: str, line: int) -> None:
        if language in self.offered:
            self.from_files.append(language)
        elif language != "python":
            message = f"the version of {path[:60]} is not read: it is that of Debian here"
            self.note(line, f"{language}-version-file", "changed", message)
        self.versions[language] = ""

    def _pin(self, language: str, version: str, line: int) -> None:
        """Pins a version as a toolchain, or by the Debian release that has it. Raises CannotTakeError for another."""
        if language == "java":
            major = version.removeprefix("1.").partition(".")[0]
            if major in JDKS:
                self.suites["java"] = JDKS[major]
                return
            version = major
        if language == "rust" and version.partition(".")[2].partition(".")[0] in RUSTS:
            self.suites["rust"] = RUSTS[version.partition(".")[2].partition(".")[0]]
            return
        if language in self.offered:
            self.versions[language] = version
            return
        known = {"java": f"they have {', '.join(JDKS)}", "rust": "they have 1.63 and 1.85"}.get(language, "")
        raise CannotTakeError(f"no Debian release has {language} {version}{': ' if known else ''}{known}", "", line)

    def _rust(self, toolchain: str, options: Mapping[str, str], line: int) -> None:
        self.versions["rust"] = ""
        self.components += [word for word in re.split(r"[,\s]+", options.get("components", "")) if word]
        if options.get("target") or options.get("targets"):
            raise CannotTakeError("it builds for another target of Rust", "", line)
        name = toolchain.partition("-")[0]
        if name in _CHANNELS:
            raise CannotTakeError(f"it wants {_CHANNELS[name]}, which is another one each day", "", line)
        if toolchain in ("clippy", "rustfmt"):
            self.components.append(toolchain)
        elif match := _VERSION.fullmatch(toolchain):
            self._pin("rust", match[1], line)
            return
        elif toolchain not in _MOVING:
            raise CannotTakeError(f"`{toolchain[:40]}` is no version of Rust that is understood", "", line)
        self.suites["rust"] = RUSTS["85"]
        self.note(line, "rust-toolchain", "changed", "stable Rust is the newest of Debian here: 1.85")
