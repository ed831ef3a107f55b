"""`envtool init`."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING

import click

from envtool.cli.common_options import Verb, read_settings
from envtool.errors import SpecError, UsageError
from envtool.fs import caller_paths

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envtool.api import Detection
    from envtool.app.command_request import CommandRequest
    from envtool.cli.common_options import Settings

EXAMPLES = """
envtool init
envtool init -C services/api
envtool init --test 'make check'
envtool init --from tox.ini
"""
_TEST_COMMANDS = {  # examples for `--test`
    "python": "pytest",
    "node": "npm test",
    "rust": "cargo test",
    "go": "go test ./...",
    "java": "mvn test",
    "CMakeLists.txt": "cmake -S . -B build && cmake --build build && ctest --test-dir build --output-on-failure",
    "meson.build": "meson setup build && meson test -C build",
}


@click.command("init", cls=Verb, examples=EXAMPLES)
@click.option("--test", "test", metavar="COMMAND", default="", help="The command that runs the tests.")
@click.option(
    "--from",
    "source",
    metavar="FILE",
    default="",
    help="Take over the file of another tool: tox.ini, noxfile.py, Dockerfile, compose.yaml, devcontainer.json or a "
    "workflow of GitHub.",
)
@click.pass_context
def command(ctx: click.Context, /, test: str, source: str) -> None:
    """Write a first envtool.yaml, from what the project's own files say. Never overwrites one.

    If they do not say how the project is tested, `--test` has to. With `--from` the spec has what one file of another
    tool says, and names each thing that a spec cannot express, with its place. Nothing of the project is executed. See
    docs/init.md.
    """
    from envtool.app import starter
    from envtool.cli.init_text import init_json, render_spec_files

    settings = read_settings(ctx)
    path = os.path.join(settings.directory, settings.file or "envtool.yaml")
    if os.path.lexists(path):
        raise _exists_error(path)
    request = settings.request()
    if source:
        if test:
            raise UsageError("`--from` and `--test` are two sources of the tests", code="usage.options")
        _take_over(settings, path, source)
        return
    valid, invalid = _split_valid(request, starter.detect(request), test)
    texts = render_spec_files(valid, test)
    if not texts:
        raise _nothing_found_error((*valid, *invalid), settings.again(), starter.other_tools_file(request))
    try:
        starter.check(request, texts)
    except SpecError as error:
        print("nothing is written: the spec would be wrong", file=sys.stderr)
        if any(problem.code == "source" for problem in error.problems) and (top := starter.around(request)):
            print(f"what it requires is beside it; type:  envtool -C {shlex.quote(top)} init", file=sys.stderr)
        else:
            print(f"write {path} with what the error asks for; without it, it is:", file=sys.stderr)
            print(_without_comments(texts["envtool.yaml"]), file=sys.stderr)
        raise
    if existing := [name for name in texts if os.path.lexists(os.path.join(settings.directory, name))]:
        raise _included_exist_error(settings, existing)
    for name, text in reversed(texts.items()):  # the file that includes the others is written last
        _write_spec(
            path if name == "envtool.yaml" else os.path.join(settings.directory, name), settings.directory, text
        )
    left_out = [*invalid, *(detection for detection in valid if not detection.tested and not test)]
    used = [detection for detection in valid if detection.tested or test]
    others = [os.path.join(settings.directory, name) for name in texts if name != "envtool.yaml"]
    if settings.json:
        from envtool.report.json_lines import write_line

        write_line(sys.stdout, init_json([path, *others], used, left_out))
    for detection in used:
        print(f"found {detection.language}: {detection.reason}", file=sys.stderr)
    for detection in left_out:
        print(f"left out {detection.language}: {detection.reason}", file=sys.stderr)
    print(f"wrote {', '.join([path, *others])}; next: {settings.again()} test", file=sys.stderr)


def _without_comments(text: str) -> str:
    """Returns the lines of a spec that are no comments, each indented."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return "\n".join(f"  {line}" for line in lines)


def _take_over(settings: Settings, path: str, source: str) -> None:
    """Writes the spec for the file of another tool, and says how the two differ."""
    from envtool.app.init_from.take_over import take_over
    from envtool.cli import console, import_text

    directory = os.path.dirname(path) or "."
    result = take_over(settings.request(), source, directory)
    _write_spec(path, directory, result.text)
    if settings.json:
        from envtool.report.json_lines import write_line

        write_line(sys.stdout, import_text.taken_json(result, path))
    style = console.detect_style(sys.stderr, settings.color)
    text = import_text.format_taken(result, path, settings.again(), style, short=settings.verbosity < 0)
    print(console.fit_to_terminal(text, sys.stderr), file=sys.stderr)


def _split_valid(
    request: CommandRequest, detections: Sequence[Detection], test: str
) -> tuple[list[Detection], list[Detection]]:
    """The valid detections, and the projects below whose spec would be wrong, with the error as their reason."""
    from dataclasses import replace

    from envtool.app import starter
    from envtool.cli.init_text import render_spec_files

    valid: list[Detection] = []
    invalid: list[Detection] = []
    for detection in detections:
        if detection.directory and detection.tested and not test:
            try:
                starter.check(request, render_spec_files([detection]))
            except SpecError as error:
                problem = error.problems[0]
                invalid.append(
                    replace(detection, env=None, reason=f"{problem.where}: {problem.message}; {problem.hint}")
                )
                continue
        valid.append(detection)
    return valid, invalid


def _write_spec(path: str, top: str, text: str) -> None:
    try:
        with caller_paths.atomic_write(path, top, make=True, replace=False) as file:
            file.write(text.encode())
    except FileExistsError:
        raise _exists_error(path) from None
    except OSError as error:
        raise UsageError(f"`{path}` cannot be written: {error.strerror}", code="usage.file") from error


def _exists_error(path: str) -> UsageError:
    return UsageError(f"`{path}` exists", code="usage.exists", hint="`envtool list` shows what is in it")


def _included_exist_error(settings: Settings, existing: Sequence[str]) -> UsageError:
    """The error where there is no spec, but files that it would include are there: all of them."""
    from envtool.cli.init_text import include_names

    paths = ", ".join(f"`{os.path.join(settings.directory, name)}`" for name in existing)
    listed = ", ".join(f"{name}: {path}" for name, path in include_names(existing).items())
    exist, them = ("exist", "them") if len(existing) > 1 else ("exists", "it")
    message = f"{paths} {exist}, and no spec that includes {them}"
    hint = f"write `include: {{{listed}}}` in an envtool.yaml; or remove {them}, then `{settings.again()} init`"
    return UsageError(message, code="usage.exists", hint=hint)


def _nothing_found_error(detections: Sequence[Detection], again: str, other: str) -> UsageError:
    """The error where nothing is written: what was detected, and what to type. `other` is a file of another tool."""
    listed = "".join(f"\n  {detection.language}: {detection.reason}" for detection in detections)
    message = f"found nothing here whose tests I know how to run{':' if listed else ''}{listed}"
    hints = [*dict.fromkeys(detection.hint for detection in detections if detection.hint)]
    if not all(detection.hint for detection in detections) or not hints:  # with such a project the command would fail
        own = [detection for detection in detections if detection.env and not detection.directory]
        # a reason of the plugin for C begins with the build file
        known = [name for detection in own for name in (detection.language, detection.reason.partition(",")[0])]
        example = next((_TEST_COMMANDS[language] for language in known if language in _TEST_COMMANDS), "make check")
        hints.append(f"write the test command: `{again} init --test {shlex.quote(example)}`")
    hints += [f"take over what {other} says: `{again} init --from {shlex.quote(other)}`"] if other else []
    hint = "; or ".join(hints)
    return UsageError(message, code="usage.unknown", hint=hint)
