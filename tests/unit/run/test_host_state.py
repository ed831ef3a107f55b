"""Which of the states of a machine's files decide a task."""

from __future__ import annotations

from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from envtool.run import host_state
from envtool.run.host_state import MANY, decisive_states

NAMES = st.sampled_from(["usr", "lib", "go", "src", "a", "b"])
PATHS = st.lists(NAMES, min_size=1, max_size=7).map(lambda names: "/" + "/".join(names))
BIG = {f"/usr/local/lib/ruby/{number}": number for number in range(MANY + 1)}


def by_the_rule(states, trees, opened):
    """The rule of the docstring, path by path."""
    directories = {*trees}
    sizes: dict[str, int] = {}
    for path in directories:
        runtime = host_state._runtime(path)
        sizes[runtime] = sizes.get(runtime, 0) + 1
    idle = {runtime for runtime, size in sizes.items() if size > MANY} - {host_state._runtime(path) for path in opened}

    def counts(path):
        if path in opened:
            return True
        if path in directories:
            return path.count("/") <= 5 or host_state._runtime(path) not in idle
        return path.rpartition("/")[0] not in directories

    return {path: state for path, state in states.items() if counts(path)}


@given(
    st.dictionaries(PATHS, st.integers(0, 1 << 62), max_size=20),
    st.frozensets(PATHS, max_size=10),
    st.booleans(),
    st.data(),
)
def test_it_is_the_rule_path_by_path(states, trees, big, data):
    if big:
        deep = {f"{path}/{name}/x": 1 for path in BIG for name in ("f", "g")}
        states, trees = {**states, **BIG, **deep}, trees | {*BIG, *(f"{path}/f" for path in BIG)}
    opened = data.draw(st.frozensets(st.sampled_from([*states, "/usr/local/lib/ruby/3/f", "/x"]), max_size=4))
    assert decisive_states(states, trees, opened) == by_the_rule(states, trees, opened)
    assert decisive_states(states, trees, opened) == by_the_rule(states, trees, opened), "of the same machine again"
    assert decisive_states(states, trees, None) == states
    compared, differing = host_state.ComparedStates(), data.draw(st.frozensets(st.sampled_from([*states, "/x"])))

    def compare(names, packed):
        """A machine on which these paths have other ctimes."""
        assert packed == host_state.pack({path: states[path] for path in _paths(names)})[1]
        return differing.isdisjoint(_paths(names))

    expected = [differing.isdisjoint(by_the_rule(states, trees, files)) for files in (opened, frozenset(), opened)]
    with (
        mock.patch.object(host_state, "is_unchanged", compare),
        mock.patch.object(
            host_state, "_has_ctime", lambda path, ctime: ctime == states[path] and path not in differing
        ),
    ):
        answers = [compared.are_decisive_unchanged(states, trees, files) for files in (opened, frozenset(), opened)]
        assert answers == expected
        assert compared.are_decisive_unchanged(states, trees, None) == differing.isdisjoint(states)


def _paths(names):
    return names.decode().split("\0")[:-1]
