"""Kinds of base by a third party: `box` is an image of a registry, `boxfile` a file like a Dockerfile. Of envtool they
use its public API and nothing else."""

from __future__ import annotations

import posixpath
from dataclasses import replace

from envtool import api
from envtool.api import oci_images
from envtool.api.foreign_tree import find_user
from envtool.api.untrusted_text import format_size, natural

envtool_api = 1
ROW = {"digest": api.shapes.DIGEST, "size": api.shapes.SIZE, "diff_id": api.shapes.DIGEST}
PINS = api.shapes.record(
    {
        "name": api.shapes.TEXT,
        "manifest": api.shapes.DIGEST,
        "env": api.shapes.rows(api.shapes.TEXT),
        "layers": api.shapes.rows(api.shapes.record(ROW)),
    }
)


class BoxLayer(api.Kind):
    """A layer of an image."""

    name = "box-layer"
    schema = {"description": "a layer of an image", "type": "object"}

    def fetches(self, request, pins):
        return (blob(request.options),)

    def locate(self, request, pins, fetches, site):
        return located(request.options["image"], fetches, site)

    def build(self, request, pins):
        return api.Recipe(archive=api.Archive(name="blob", diff_id=request.options["diff_id"]))

    def summary(self, request, pins):
        return format_size(request.options["size"])


class Box(api.Base):
    """`box: REFERENCE`."""

    name = "box"
    schema = {"description": "an image of a registry", "type": "string", "minLength": 1}
    pins = PINS

    def judge(self, options):
        oci_images.parse_reference(options)

    def resolve(self, request, site):
        return pins_of(request.options, request.arch, site)

    def fetches(self, request, pins):
        return (blob(pins["layers"][0]),)

    def locate(self, request, pins, fetches, site):
        return located(pinned_name(request.options, pins), fetches, site)

    def material(self, request, pins):
        return None

    def parts(self, request, pins):
        return tuple(layer_part(request.options, pins, layer, request.where) for layer in pins["layers"][1:])

    def build(self, request, pins):
        return api.Recipe(archive=api.Archive(name="blob", diff_id=pins["layers"][0]["diff_id"]))

    def image_config(self, request, pins):
        return {"Env": pins["env"]}

    def image_source(self, request, pins):
        return api.ImageSource(name=pins["name"], digest=pins["manifest"], platform="linux/amd64")

    def variables(self, request, pins):
        return dict(line.split("=", 1) for line in pins["env"])


class Copying(api.Kind):
    """`COPY SOURCE TARGET`, without logs; links stay links."""

    name = "box-copy"
    schema = {"type": "object"}

    def inputs(self, options):
        yield api.Input(
            options["source"], keeps=lambda path: not path.endswith(".log"), follows=lambda link, path: False
        )

    def build(self, request, pins):
        steps = (
            api.Place(source=f"{api.PROJECT}/{item.path}", target=target(request, item)) for item in request.inputs
        )
        return api.Recipe(steps=tuple(steps))


def target(request, item):
    below = posixpath.relpath(item.path, posixpath.join(request.directory, request.options["source"]))
    return posixpath.normpath(posixpath.join(request.options["target"], below))


class Running(api.Kind):
    """`RUN COMMAND`, and then whose it is: `OWNER PATH USER`."""

    name = "box-run"
    schema = {"type": "object"}

    def build(self, request, pins):
        if "command" in request.options:
            return api.Recipe(steps=(api.Run(command=api.Command(shell=request.options["command"])),))
        return api.Recipe(steps=(api.Call(function=name_owner, arguments=(*request.options["owner"],)),))


def name_owner(path, user):
    with open("/etc/passwd", "rb") as file:
        found = find_user(user, file.read(), b"")
    with open(path, "w") as file:
        file.write(f"{user} is {found.uid}\n")


class Boxfile(api.Base):
    """`boxfile: PATH`: lines of FROM, COPY, RUN and OWNER."""

    name = "boxfile"
    schema = {"description": "a file like a Dockerfile", "type": "string", "minLength": 1}
    pins = PINS

    def inputs(self, options):
        yield api.Input(options, use="text")

    def _lines(self, request):
        lines = [line.split(" ", 2) for line in request.texts[request.options].splitlines() if line]
        for number, (word, *_) in enumerate(lines, 1):
            if word not in ("FROM", "COPY", "RUN", "OWNER"):
                where = api.Where(file=request.options, line=number, column=1)
                raise api.SpecError((api.Problem(where=where, message=f"`{word}` is no instruction", code="boxfile"),))
        return lines

    def check(self, request, site):
        self._lines(request)

    def foreseen(self, request):
        return self._instructions(request)

    def question(self, request):
        return self._lines(request)[0]

    def resolve(self, request, site):
        return pins_of(self._lines(request)[0][1], request.arch, site)

    def fetches(self, request, pins):
        return (blob(pins["layers"][0]),)

    def locate(self, request, pins, fetches, site):
        return located(pinned_name(pins["name"], pins), fetches, site)

    def material(self, request, pins):
        return None

    def build(self, request, pins):
        return api.Recipe(archive=api.Archive(name="blob", diff_id=pins["layers"][0]["diff_id"]))

    def _instructions(self, request, first=0):
        parts = []
        for number, (word, *rest) in enumerate(self._lines(request)[1:], 2):
            kind, options = {
                "COPY": (Copying(), {"source": rest[0], "target": rest[-1]}),
                "RUN": (Running(), {"command": " ".join(rest)}),
                "OWNER": (Running(), {"owner": rest}),
            }[word]
            where = api.Where(file=request.options, line=number, column=1)
            below = tuple(range(first + len(parts) + 1))
            parts.append(api.Part(name=f"{word} {rest[0]}", kind=kind, options=options, where=where, below=below))
        return tuple(parts)

    def parts(self, request, pins):
        layers = [layer_part(pins["name"], pins, layer, request.where) for layer in pins["layers"][1:]]
        return (*layers, *self._instructions(request, len(layers)))

    def variables(self, request, pins):
        return dict(line.split("=", 1) for line in pins["env"])


def pins_of(name, arch, site):
    reference = oci_images.parse_reference(name)
    site.note(f"asking {reference.registry}")
    image = site.registries().image(reference, oci_images.platform_of_machine(arch))
    for layer in image.manifest.layers:
        if layer.media_type not in oci_images.LAYERS:
            raise api.FetchError(f"{name}: {layer.media_type} is not read", code="image-layer")
    pairs = zip(image.manifest.layers, image.config.diff_ids, strict=True)
    return {
        "name": str(reference),
        "manifest": image.document.digest,
        "env": [line for line in image.config.run.get("Env") or [] if natural(line[:1]) is None],
        "layers": [{"digest": layer.digest, "size": layer.size, "diff_id": diff_id} for layer, diff_id in pairs],
    }


def pinned_name(name, pins):
    return f"{oci_images.parse_reference(name).name}@{pins['manifest']}"


def blob(layer):
    return api.Fetch(sha256=layer["digest"].removeprefix("sha256:"), name="blob", size=layer["size"])


def located(name, fetches, site):
    reference = oci_images.parse_reference(name)
    found = []
    for fetch in fetches:
        first, *others = site.registries().blob_locations(reference, f"sha256:{fetch.sha256}")
        mirrors = tuple(other.url for other in others)
        found.append(replace(fetch, url=first.url, authorization=first.authorization, mirrors=mirrors))
    return found


def layer_part(name, pins, layer, where):
    options = {**layer, "image": pinned_name(name, pins)}
    return api.Part(name=layer["digest"][7:19], kind=BoxLayer(), options=options, where=where)


@api.hook
def envtool_base_kinds():
    return [Box(), Boxfile()]
