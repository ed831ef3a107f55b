"""The layers of one env: as they are known before a build, and as they are in the store after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from envtool.build import resolution
from envtool.build.context import Context
from envtool.build.resolution import KnownLayer, StoredLayer
from envtool.errors import BuildError
from envtool.store import answer_cache, canonical, layers

MAX_CLASHES = 10  # paths that an error lists


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownStack:
    """The layers of one env, bottom first, with their diff IDs; some may not be in the store."""

    layers: tuple[KnownLayer, ...]
    other_stages: tuple[KnownLayer, ...] = ()  # sublayers that only other sublayers read, as of a Dockerfile

    @property
    def epoch(self) -> int:
        """SOURCE_DATE_EPOCH of the base, seconds."""
        return self.layers[0].resolved.epoch

    @property
    def variables(self) -> dict[str, str | None]:
        """The variables that the layers set, bottom first."""
        return resolution.stack_variables([layer.resolved for layer in self.layers])

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """The diff IDs, bottom first."""
        return resolution.stack_diff_ids(self.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack(KnownStack):
    """The layers of one env, bottom first, all in the store."""

    layers: tuple[StoredLayer, ...]


def check_conflicts(stack: Stack, context: Context) -> None:
    """Raises BuildError where two layers, neither of which stands on the other, wrote one path differently."""
    for lower, upper in _independent_pairs(stack):
        question: Mapping[str, str] = {"conflicts": lower.layer.key, "with": upper.layer.key}
        answer = answer_cache.get(context.store, dict(question))
        if not isinstance(answer, dict) or not isinstance(answer.get("paths"), list):
            clash = canonical.find_conflicts(layers.read_records(lower.layer), layers.read_records(upper.layer))
            answer = {"paths": [*clash[:MAX_CLASHES]]}
            answer_cache.put(context.store, dict(question), answer)
        paths = answer["paths"]
        if paths:
            raise BuildError(
                f"layers `{lower.resolved.node.spec.name}` and `{upper.resolved.node.spec.name}` both write"
                f" /{paths[0].lstrip('/')}, differently, and neither is below the other",
                code="layer-conflict",
                hint=f"say which comes first: give `{upper.resolved.node.spec.name}` a `needs:` with the other in it",
                output="\n".join(paths),
            )


def _independent_pairs(stack: Stack) -> Iterator[tuple[StoredLayer, StoredLayer]]:
    of_base = sum(layer.resolved.node.subject == "base" or bool(layer.resolved.node.of) for layer in stack.layers)
    # a base's own layers cover each other on purpose
    for index, upper in enumerate(stack.layers[of_base:], of_base):
        parents = {*upper.resolved.node.below}
        yield from ((lower, upper) for lower in stack.layers[:index] if lower.resolved.node.id not in parents)
