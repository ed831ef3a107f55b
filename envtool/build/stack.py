"""The layers of one env: as they are known before a build, and as they are in the store after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from envtool.build import resolution
from envtool.build.context import Context
from envtool.build.resolution import KnownLayer, MadeLayer
from envtool.errors import BuildError
from envtool.store import answer_cache, canonical, layers

MAX_CLASHES = 10  # paths that an error lists


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownStack:
    """The layers of one env, bottom first, with their diff IDs; some may not be in the store."""

    made: tuple[KnownLayer, ...]
    aside: tuple[KnownLayer, ...] = ()  # sublayers that only other sublayers read (another stage of a Dockerfile)

    @property
    def epoch(self) -> int:
        """SOURCE_DATE_EPOCH of the base, seconds."""
        return self.made[0].settled.epoch

    @property
    def variables(self) -> dict[str, str | None]:
        """The variables that the layers set, bottom first."""
        return resolution.stack_variables([layer.settled for layer in self.made])

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """The diff IDs, bottom first."""
        return resolution.stack_diff_ids(self.made)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack(KnownStack):
    """The layers of one env, bottom first, all in the store."""

    made: tuple[MadeLayer, ...]


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
                f"layers `{lower.settled.node.spec.name}` and `{upper.settled.node.spec.name}` both write"
                f" /{paths[0].lstrip('/')}, differently, and neither stands on the other",
                code="layer-conflict",
                hint=f"say which comes first: give `{upper.settled.node.spec.name}` a `needs:` with the other in it",
                output="\n".join(paths),
            )


def _independent_pairs(stack: Stack) -> Iterator[tuple[MadeLayer, MadeLayer]]:
    of_base = sum(layer.settled.node.subject == "base" or bool(layer.settled.node.of) for layer in stack.made)
    # a base's own layers cover each other on purpose
    for index, upper in enumerate(stack.made[of_base:], of_base):
        parents = {*upper.settled.node.below}
        yield from ((lower, upper) for lower in stack.made[:index] if lower.settled.node.id not in parents)
