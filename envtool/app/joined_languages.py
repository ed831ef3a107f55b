"""One env for the tests of two languages, where those of one start programs of the other. Pure. For `init`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from envtool.api import Detection
from envtool.model import Json

# program -> the language whose layers bring it, with what it imports
LANGUAGES = {
    "python": "python", "python3": "python", "pytest": "python", "py.test": "python", "node": "node", "npm": "node",
    "npx": "node", "yarn": "node", "pnpm": "node", "mocha": "node", "jest": "node", "vitest": "node", "go": "go",
    "cargo": "rust", "rustc": "rust", "mvn": "java", "java": "java", "javac": "java",
}  # fmt: skip
_SUITES = ("bookworm", "trixie")  # oldest first
_MERGED = frozenset({"base", "language", "layers", "tasks"})


def join_languages(detections: Sequence[Detection]) -> tuple[Detection, ...]:
    """Returns the detections; the env of each whose tests start programs of another detected language has that
    language, too, below its own. Where the two cannot be one env, the reason says so, and no task is written."""
    by_place = {(other.directory, other.language): other for other in detections if isinstance(other.env, dict)}
    return tuple(_joined(detection, by_place) for detection in detections)


def _joined(detection: Detection, by_place: dict[tuple[str, str], Detection]) -> Detection:
    if not (detection.tested and detection.programs):
        return detection
    joined = detection
    wanted = dict.fromkeys(LANGUAGES[program] for program in detection.programs if program in LANGUAGES)
    for language in wanted:
        other = by_place.get((detection.directory, language))
        if other is None or language == detection.language:
            continue
        clash = _clash(joined.env, other.env)
        if clash:
            env = {key: value for key, value in joined.env.items() if key != "tasks"}  # type: ignore[union-attr]
            reason = f"{detection.reason}, whose tests start programs of {language}: the two differ in {clash}"
            return replace(detection, env=env, reason=f"{reason}, so write an env of your own")
        reason = f"{joined.reason}, whose tests start programs of {language} ({other.reason})"
        joined = replace(joined, reason=reason, env=_merge(joined.env, other.env))
    return joined


def _clash(first: Json, second: Json) -> str:
    """Returns the keys of two envs that are in both and differ."""
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    differing = [key for key in first.keys() & second.keys() - _MERGED if first[key] != second[key]]
    bases = [env.get("base", "host") for env in (first, second)]
    if any(base != "host" and not (isinstance(base, dict) and base.get("debian") in _SUITES) for base in bases):
        differing += ["base"] if bases[0] != bases[1] else []
    return " and ".join(f"`{key}`" for key in sorted(differing))


def _merge(own: Json, other: Json) -> Json:
    assert isinstance(own, dict)
    assert isinstance(other, dict)
    bases = [env.get("base", "host") for env in (own, other)]
    suites = [suite for base in bases if isinstance(base, dict) and (suite := base.get("debian")) in _SUITES]
    base: Json = {"debian": max(suites, key=_SUITES.index)} if suites else bases[0]
    languages = [*dict.fromkeys((*_languages(other), *_languages(own)))]
    layers = [*_layers(other), *(layer for layer in _layers(own) if layer not in _layers(other))]
    merged: dict[str, Json] = {"base": base} if "base" in own or "base" in other or suites else {}
    if languages:
        merged["language"] = languages[0] if len(languages) == 1 else [*languages]
    merged |= {"layers": [*layers]} if layers else {}
    merged |= {key: value for env in (other, own) for key, value in env.items() if key not in _MERGED}
    return {**merged, "tasks": own["tasks"]}


def _languages(env: dict[str, Json]) -> Iterable[str]:
    language = env.get("language")
    if isinstance(language, list):
        return [name for name in language if isinstance(name, str)]
    return [language] if isinstance(language, str) else []


def _layers(env: dict[str, Json]) -> list[Json]:
    layers = env.get("layers")
    return layers if isinstance(layers, list) else []
