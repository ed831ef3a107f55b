"""`envtool requirements ENV`: the Python packages of an env as a requirement file with hashes, for pip, uv and
scanners."""

from __future__ import annotations

from envtool import api
from envtool_python.pins import Entry, files_of

KINDS = ("pip", "python-project")


@api.hook
def envtool_verbs() -> list[api.PluginVerb]:
    """`requirements`."""
    return [
        api.PluginVerb(
            name="requirements",
            help="Print the Python packages of ENV as a requirement file with hashes.\n\n"
            "The versions and hashes are those of envtool.lock, or those that a run would use. pip, uv and scanners "
            "such as pip-audit read this file. The project itself is not in it.",
            run=requirements,
            arguments=(api.Argument(name="env", help="the env", completes="env"),),
            options=(api.Option(name="--layer", metavar="NAME", many=True, help="Only the packages of this layer."),),
            examples=(
                "envtool requirements unit --output requirements.txt",
                "envtool requirements unit --layer tools",
            ),
        )
    ]


def requirements(call: api.VerbCall) -> api.Answer:
    """Returns the requirement file. Raises UsageError."""
    env, wanted = str(call.values["env"]), call.values["layer"]
    assert isinstance(wanted, tuple)
    layers = [layer for layer in call.project.pinned(env) if layer.kind in KINDS]
    names = [layer.name for layer in layers]
    for name in wanted:
        if name not in names:
            raise api.UsageError(
                f"env `{env}` has no layer `{name}` with Python packages",
                code="python-layer",
                hint=f"layers: {', '.join(names)}" if names else "it has none",
            )
    packages: dict[str, Entry] = {}
    for layer in layers:
        if not wanted or layer.name in wanted:
            for entry in files_of(layer.pins):
                if entry["use"] == "install":
                    _add(packages, entry, layer.name)
    if not packages:
        raise api.UsageError(f"env `{env}` has no Python packages", code="python-layer")
    ordered = [packages[name] for name in sorted(packages)]
    return api.Answer(
        text="".join(f"{_requirement(entry)} \\\n    --hash=sha256:{entry['sha256']}\n" for entry in ordered),
        document=[{key: entry[key] for key in ("name", "version", "file", "sha256")} for entry in ordered],
    )


def _add(packages: dict[str, Entry], entry: Entry, layer: str) -> None:
    earlier = packages.setdefault(entry["name"], entry)
    if earlier["sha256"] != entry["sha256"]:
        raise api.UsageError(
            f"two layers have `{entry['name']}`: {earlier['version']}, and {entry['version']} in `{layer}`",
            code="python-layer",
            hint="`--layer NAME` chooses the layers",
        )


def _requirement(entry: Entry) -> str:
    if "url" in entry:
        return f"{entry['name']} @ {entry['url']}"
    return f"./{entry['path']}" if "path" in entry else f"{entry['name']}=={entry['version']}"
