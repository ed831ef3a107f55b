"""Parses what `envtool export ENV [PATH]` names: format, path and image name. Pure."""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace
from typing import Literal, TypeAlias, get_args

from envtool.errors import FetchError, UsageError
from envtool.lazy_dataclass import dataclass
from envtool.model import Env
from envtool.net.oci import reference

Format: TypeAlias = Literal["oci", "oci-archive", "docker-archive", "devcontainer"]
FORMATS: tuple[Format, ...] = get_args(Format)
STDOUT = "-"
DEVCONTAINER = ".devcontainer/devcontainer.json"
_COMPRESSED_SUFFIXES = (".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.xz", ".txz", ".tar.bz2")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportTarget:
    """A format and a path; the path STDOUT means standard output."""

    form: Format
    path: str

    def __str__(self) -> str:
        return f"{self.form}:{self.path}"

    def below(self, directory: str) -> ExportTarget:
        """Returns the same target with its path below a directory."""
        return self if self.path == STDOUT else replace(self, path=posixpath.join(directory, self.path))


def parse_target(path: str, form: str) -> ExportTarget:
    """Returns the target: of a path alone (`unit.tar` is an archive, `unit` a layout), of skopeo's words (`oci:DIR`,
    `oci-archive:FILE`, `docker-archive:FILE`), or of a path and a format. Raises UsageError (code export-target)."""
    word, colon, remainder = path.partition(":")
    if colon and word in FORMATS:
        if form and form != word:
            raise UsageError(f"`{word}:` and `--format {form}` contradict each other", code="export-target")
        path, form = remainder, word
        if not path:
            raise UsageError(f"`{word}:` needs a path", code="export-target")
    if form == "devcontainer":
        return ExportTarget(form="devcontainer", path=path or DEVCONTAINER)
    path = path or STDOUT
    if path.endswith(_COMPRESSED_SUFFIXES):
        raise UsageError(
            f"{path}: archives are plain tars",
            code="export-target",
            hint="`--compress zstd` packs the layers in an oci-archive",
        )
    named_format = next((candidate for candidate in FORMATS if candidate == form), None)
    target_format: Format = named_format or ("docker-archive" if path == STDOUT or path.endswith(".tar") else "oci")
    if target_format == "oci" and path == STDOUT:
        raise UsageError("an OCI layout is a directory: say where", code="export-target", hint="envtool export ENV DIR")
    return ExportTarget(form=target_format, path=path)


def image_name(env: Env, tag: str, form: Format = "oci") -> str:
    """Returns the name of an image: `--tag`, else `localhost/GROUP:VALUES`. A name without a registry is put into
    `localhost`, for which no tool asks the network. Raises UsageError (code export-tag)."""
    if not tag:
        values = "-".join(env.point.values()) or reference.DEFAULT_TAG
        return f"localhost/{_repository_component(env.group)}:{_valid_tag(values)}"
    first, slash, _ = tag.partition("/")
    local = not slash or not (set(first) & {".", ":"} or first == "localhost")
    try:
        name = reference.parse_reference(f"localhost/{tag}" if local else tag)
    except FetchError as error:
        raise UsageError(error.message, code="export-tag", hint=error.hint) from error
    if name.digest and form != "devcontainer":  # a devcontainer may name an existing image by its digest
        raise UsageError(f"`--tag {tag}`: a digest is not chosen, it follows", code="export-tag")
    return str(name)


def _repository_component(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "env"


def _valid_tag(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).lstrip(".-")[:128] or reference.DEFAULT_TAG
