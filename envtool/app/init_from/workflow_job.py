"""One job of a workflow, at one point of its matrix, as an env."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from envtool.app.compose.compose_values import scalar_text
from envtool.app.init_from.python_env import stack_keys
from envtool.app.init_from.taken_spec import CannotTakeError, TakenEnv
from envtool.app.init_from.workflow_actions import Toolchains, has_no_effect
from envtool.app.init_from.workflow_expressions import Contexts, condition, substitute
from envtool.app.init_from.workflow_scripts import JobNeeds
from envtool.app.init_from.workflow_services import take_services
from envtool.app.joined_languages import LANGUAGES
from envtool.app.makefile import PACKAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from envtool.api import Project
    from envtool.app.init_from.workflow_expressions import Value
    from envtool.model import Json
    from envtool.spec.node import YamlNode

    Note = Callable[..., None]

# What GitHub's Ubuntu has, and a Debian base has not: program -> packages.
_OF_UBUNTU = {
    **dict.fromkeys(("cmake", "ctest", "cpack"), ("cmake", "g++", "gcc", "libc6-dev", "make")),
    **dict.fromkeys(("make", "gcc", "cc", "g++", "c++"), ("g++", "gcc", "libc6-dev", "make")),
    "git": ("git",), "ninja": ("ninja-build",), "meson": ("g++", "gcc", "libc6-dev", "meson"),
}  # fmt: skip
_JOB_KEYS = {  # without an effect here, and the reason; the others are read
    "name": "", "permissions": "a task has no token", "concurrency": "runs do not wait for each other",
    "outputs": "no other job reads them", "timeout-minutes": "write `timeout:` at the task",
    "continue-on-error": "a task that fails, fails",
}  # fmt: skip
_MAX_STEPS = 200
_MARKS = re.compile("[\0-\3]")


class Job(NamedTuple):
    """A job of a workflow, and one point of its matrix."""

    name: str
    node: YamlNode
    root: YamlNode
    point: Mapping[str, Value]


def take_job(project: Project, job: Job, note: Note) -> TakenEnv:
    """Returns the env of a job at one point of its matrix; its name is not set. Raises CannotTakeError, with the line,
    for what a spec cannot express."""
    node = job.node
    if not isinstance(node.value, dict):
        raise CannotTakeError("it is no job", "", node.line)
    if (called := node.get("uses")) is not None:
        raise CannotTakeError("it calls another workflow", "take that file over: `--from`", called.line)
    contexts = Contexts(job.point, {})
    contexts = contexts._replace(env=_variables(job.root.get("env"), contexts))
    contexts = contexts._replace(env={**contexts.env, **_variables(node.get("env"), contexts)})
    _check_runner(job, contexts)
    _note_keys(job, contexts, note)
    needs = JobNeeds(note=note, **_uv_defaults(project))
    from envtool import plugins

    tools = Toolchains(note=note, offered=frozenset(plugins.discover().toolchains))
    steps = node.get("steps")
    if steps is None or not isinstance(steps.value, list) or len(steps.value) > _MAX_STEPS:
        raise CannotTakeError(f"it has no steps, or more than {_MAX_STEPS}", "", node.line)
    for step in steps.value:
        _take_step(job, step, contexts, needs, tools)
    if not needs.commands:
        raise CannotTakeError("it runs no command", "", node.line)
    keys, reasons = _stack(project, job, needs, tools)
    container = node.get("container")
    if container is not None:
        image = container.get("image") if isinstance(container.value, dict) else container
        keys["base"] = {"image": _text(image, contexts)}
        reasons["base"] = "the container of the job"
    services = take_services(node.get("services"), contexts, in_container=container is not None)
    keys |= {"services": [*services]} if services else {}
    variables: dict[str, Json] = {**contexts.env}
    keys |= {"set": variables} if variables else {}
    keys["tasks"] = {"test": needs.commands[0] if len(needs.commands) == 1 else [*needs.commands]}
    return TakenEnv("", keys, reasons, services)


def _uv_defaults(project: Project) -> dict[str, Any]:
    """Returns what `uv sync` installs without a word: its groups, and the project itself if that is a package. Source:
    uv's documentation, "Managing dependencies" and "Configuring projects"."""
    from envtool.api.toml_reader import read_toml

    try:
        document = read_toml(project.read("pyproject.toml") or "")
    except ValueError:  # the build of the project reports it
        return {}
    tool, groups = document.get("tool"), document.get("dependency-groups")
    uv = tool.get("uv") if isinstance(tool, dict) else None
    settings = uv if isinstance(uv, dict) else {}
    chosen = settings.get("default-groups", ["dev"] if isinstance(groups, dict) and "dev" in groups else [])
    names = tuple(name for name in chosen if isinstance(name, str)) if isinstance(chosen, list) else ()
    is_package = settings.get("package", "build-system" in document) is True
    return {"uv_groups": names, "uv_install": "editable" if is_package else "none"}


def _text(node: YamlNode | None, contexts: Contexts) -> str:
    """Returns a scalar as text with its expressions replaced. Raises CannotTakeError."""
    if node is None or node.value is None:
        return ""
    text = scalar_text(node)
    if text is None:
        raise CannotTakeError("a value is no text", "", node.line)
    text = substitute(text, contexts, node.line)
    if _MARKS.search(text):
        raise CannotTakeError("a value has control characters", "", node.line)
    return text


def _variables(node: YamlNode | None, contexts: Contexts) -> dict[str, str]:
    if node is None or node.value is None:
        return {}
    if not isinstance(node.value, dict):
        raise CannotTakeError("its variables are made by an expression", "write them out", node.line)
    variables: dict[str, str] = {}
    for name, value in node.value.items():
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            raise CannotTakeError(f"`{name[:60]}` cannot be the name of a variable", "", value.line)
        variables[name] = _text(value, contexts)
    return variables


def _check_runner(job: Job, contexts: Contexts) -> None:
    """Raises CannotTakeError for a job that does not run on Linux."""
    node = job.node.get("runs-on")
    if node is None:
        raise CannotTakeError("it does not say where it runs (`runs-on`)", "", job.node.line)
    member = node.items()[-1] if node.items() else node
    label = _text(member, contexts).lower()
    if label.startswith(("windows", "macos")) or "arm" in label:
        raise CannotTakeError(f"it runs on `{label[:40]}`, and an env is Linux on x86_64", "", node.line)


def _note_keys(job: Job, contexts: Contexts, note: Note) -> None:
    node = job.node
    for key, reason in _JOB_KEYS.items():
        if reason and node.get(key) is not None:
            note(node.key(key).line, key, "meaningless", reason)
    if (environment := node.get("environment")) is not None:
        raise CannotTakeError("it deploys to an environment of GitHub", "", environment.line)
    if node.get("needs") is not None:
        message = "envs do not wait for each other"
        note(node.key("needs").line, "needs", "changed", message, "write `needs: [test@ENV]` at the task")
    held = node.get("if")
    if held is not None and (text := scalar_text(held)) is not None:
        is_held = condition(text, contexts, held.line)
        if is_held is False:
            raise CannotTakeError(f"its condition `{text[:60]}` does not hold", "", held.line)
        if is_held is None:
            note(held.line, "if", "changed", f"only GitHub knows whether `{text[:60]}` holds: the env is always there")


def _take_step(job: Job, step: YamlNode, contexts: Contexts, needs: JobNeeds, tools: Toolchains) -> None:
    if not isinstance(step.value, dict):
        raise CannotTakeError("a step is no mapping", "", step.line)
    uses, run = step.get("uses"), step.get("run")
    at = uses or run
    if at is None:
        raise CannotTakeError("a step has neither `uses` nor `run`", "", step.line)
    held = step.get("if")
    if held is not None:
        text = scalar_text(held) or ""
        is_held = condition(text, contexts, held.line)
        if is_held is False:
            return
        if is_held is None and not (uses is not None and has_no_effect(_text(uses, contexts))):
            raise CannotTakeError(f"only GitHub knows whether `{text[:60]}` holds", "", held.line)
    own = contexts._replace(env={**contexts.env, **_variables(step.get("env"), contexts)})
    if uses is not None:
        read = _option if has_no_effect(_text(uses, own)) else _text
        options = {name: read(value, own) for name, value in _mapping(step.get("with")).items()}
        tools.use(_text(uses, own), options, uses.line)
        if not tools.command:
            return
    own_variables = {name: value for name, value in own.env.items() if contexts.env.get(name) != value}
    defaults = [_mapping(_mapping(node.get("defaults")).get("run")) for node in (job.node, job.root)]
    settings = {**defaults[1], **defaults[0], **step.mapping()}
    shell = _text(settings.get("shell"), own).partition(" ")[0]
    if shell not in ("", "bash", "sh"):
        raise CannotTakeError(f"a step runs in `{shell[:40]}`", "write an env of your own", at.line)
    may_fail = (scalar_text(step.get("continue-on-error") or step) or "") == "true"
    needs.add_script(
        tools.command if uses is not None else _text(run, own),
        line=at.line, directory=_directory(settings.get("working-directory"), own), shell=shell,
        variables=own_variables, may_fail=may_fail,
    )  # fmt: skip


def _mapping(node: YamlNode | None) -> dict[str, YamlNode]:
    return node.mapping() if node is not None else {}


def _option(node: YamlNode, contexts: Contexts) -> str:
    """Returns a value of `with:`; "" for one that only GitHub knows, such as a token or a key of a cache."""
    try:
        return _text(node, contexts)
    except CannotTakeError:
        return ""


def _directory(node: YamlNode | None, contexts: Contexts) -> str:
    path = posixpath.normpath(_text(node, contexts) or ".")
    if node is not None and (path.startswith(("/", "..")) or "\n" in path):
        raise CannotTakeError(f"the directory `{path[:60]}` is not in the project", "", node.line)
    return path


# ---- the stack ------------------------------------------------------------------------------------------------------


def _stack(project: Project, job: Job, needs: JobNeeds, tools: Toolchains) -> tuple[dict[str, Json], dict[str, str]]:
    """Returns `base`, `language`, `layers` and `toolchain` of a job, and the reasons of each. Raises
    CannotTakeError."""
    keys: dict[str, Json] = {"base": {"debian": "bookworm"}}
    reasons = {"base": f"Debian in the place of the runner of `{job.name}`"}
    languages: dict[str, dict[str, str]] = {}
    if needs.is_python or "python" in tools.versions:
        wanted = _python(tools.versions.get("python", ""))
        try:
            keys, reasons = stack_keys(project, needs.installed, wanted, (), f"`{job.name}`")
        except CannotTakeError as error:
            error.line = error.line or tools.python_line
            raise
        languages |= {"python": {}} if "language" in keys else {}
    own_base = keys["base"]
    suites = {**({"python": str(own_base["debian"])} if needs.is_python and isinstance(own_base, dict) else {})}
    suites |= tools.suites
    if len(set(suites.values())) > 1:
        listed = ", ".join(f"{suite} for {language}" for language, suite in sorted(suites.items()))
        raise CannotTakeError(f"its languages need different releases of Debian: {listed}", "", job.node.line)
    if suites:
        keys["base"] = {"debian": next(iter(suites.values()))}
    languages |= {name: {} for name in ("node", "go", "rust", "java") if name in tools.versions} | needs.languages
    _check_files(project, languages, job)
    keys |= _language_keys(languages, needs, tools)
    if languages:
        reasons["language"] = "what the steps of the job set up and install"
    packages = _packages(needs, languages, tools)
    if packages:
        layers = keys.get("layers")
        others = [layer for layer in (layers if isinstance(layers, list) else []) if layer != _PLAIN_PYTHON]
        own = [*_PLAIN_PYTHON["apt"]] if isinstance(layers, list) and _PLAIN_PYTHON in layers else []
        keys["layers"] = [{"apt": [*dict.fromkeys((*own, *packages))]}, *others]
        reasons["layers"] = (
            f"packages of Debian that the job installs, or that GitHub's runner has: {', '.join(packages)}"
        )
    return keys, reasons


_PLAIN_PYTHON: dict[str, list[Json]] = {"apt": ["python3", "python-is-python3"]}
_FILES = {"node": "package.json", "go": "go.mod", "rust": "Cargo.toml", "java": "pom.xml"}


def _python(wanted: str) -> str:
    """Returns the name of a Python for a version of setup-python; "" for any."""
    text = wanted.strip().lstrip("~^>= ")
    return "" if text in ("", "x", "3", "3.x", "*") else text.removesuffix(".x").removesuffix("-dev")


def _check_files(project: Project, languages: Mapping[str, Mapping[str, str]], job: Job) -> None:
    for language, own in languages.items():
        file = _FILES.get(language, "")
        path = posixpath.normpath(posixpath.join(own.get("directory", "."), file))
        if file and project.read(path) is None:
            raise CannotTakeError(f"it sets up {language}, and the project has no {path}", "", job.node.line)


def _language_keys(languages: Mapping[str, Mapping[str, str]], needs: JobNeeds, tools: Toolchains) -> dict[str, Json]:
    keys: dict[str, Json] = {}
    entries: list[Json] = []
    for name, own in languages.items():
        components = [*dict.fromkeys((*needs.components, *tools.components))] if name == "rust" else []
        known = [word for word in components if word in ("clippy", "rustfmt")]
        options: dict[str, Json] = {**own, **({"components": [*known]} if known else {})}
        entries.append({name: options} if options else name)
    if entries:
        keys["language"] = entries[0] if len(entries) == 1 and isinstance(entries[0], str) else entries
    pinned: dict[str, Json] = {
        name: version
        for name, version in tools.versions.items()
        if version and name in tools.offered and re.fullmatch(r"[0-9][0-9.]*", version) and name != "python"
    }
    from_files: dict[str, Json] = {name: None for name in tools.from_files if name not in pinned and name != "python"}
    if pinned or from_files:
        keys["toolchain"] = {**pinned, **from_files}
    return keys


def install_keys(project: Project, needs: JobNeeds) -> dict[str, Json]:
    """Returns the layers of what commands install, on a base that has its own interpreters. Raises CannotTakeError."""
    keys: dict[str, Json] = {}
    languages: dict[str, dict[str, str]] = {}
    if needs.is_python:
        keys, _ = stack_keys(project, needs.installed, "3", (), "devcontainer.json")
        del keys["base"]
        languages |= {"python": {}} if "language" in keys else {}
        layers = keys.get("layers")
        if isinstance(layers, list):  # the base has its own Python
            keys["layers"] = [layer for layer in layers if not (isinstance(layer, dict) and "apt" in layer)]
    languages |= needs.languages
    entries: list[Json] = [{name: {**own}} if own else name for name, own in languages.items()]
    if entries:
        keys["language"] = entries[0] if len(entries) == 1 and isinstance(entries[0], str) else entries
    if needs.packages:
        more = keys.get("layers")
        keys["layers"] = [{"apt": [*dict.fromkeys(needs.packages)]}, *(more if isinstance(more, list) else [])]
    return keys


def _packages(needs: JobNeeds, languages: Mapping[str, object], tools: Toolchains) -> list[str]:
    """Returns the packages of Debian with the programs that the commands start, and those that the job installs."""
    packages = [*needs.packages]
    if not languages and not needs.is_python and "python" not in tools.versions:
        packages += _OF_UBUNTU["make"]  # the runner has compilers, and scripts of the project may call them
    for program in needs.programs:
        language = LANGUAGES.get(program)
        if language is not None and (language in languages or language == "python"):
            continue
        if program in _OF_UBUNTU:
            packages += _OF_UBUNTU[program]
        elif program in PACKAGES and language not in tools.versions:
            packages.append(PACKAGES[program])
    return sorted(dict.fromkeys(packages))
