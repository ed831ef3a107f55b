"""Where to, before anything is made."""

from __future__ import annotations

import pytest

from envtool.errors import EnvtoolError
from envtool.images import push


@pytest.mark.parametrize(
    ("text", "code"), [(f"x@sha256:{'0' * 64}", "push-digest"), ("https://x/y", "reference"), ("X/y", "reference")]
)
def test_where_nothing_can_be_pushed(text, code):
    with pytest.raises(EnvtoolError) as found:
        push.parse_destination(text)
    assert found.value.code == code


def test_a_name_without_a_registry_is_one_of_docker_hub():
    assert str(push.parse_destination("team/unit")) == "docker.io/team/unit:latest"
