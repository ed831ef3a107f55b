"""`--mount=…`, read."""

from __future__ import annotations

import pytest

from envtool.kinds.dockerfile.parser import DockerfileError, parse
from envtool.kinds.dockerfile.run_mounts import Mount, mount_origins, parse_mounts


def mounts(flags: str, workdir: str = "/app", **variables: str):
    it = parse(f"FROM x\nRUN {flags} true\n")[1]
    return parse_mounts(it, workdir, lambda word: word.replace("$V", variables.get("V", "")))


def test_a_bind_is_read_only_unless_it_says_otherwise():
    (one,) = mounts("--mount=target=src,source=a/b")
    assert one == Mount(type="bind", target="/app/src", source="a/b", readonly=True)
    (two,) = mounts("--mount=type=bind,from=build,dst=/x,src=/y,rw")
    assert (two.origin, two.source, two.target, two.readonly) == ("build", "/y", "/x", False)


def test_a_cache_is_known_by_its_target():
    one, two = mounts(
        "--mount=type=cache,target=/c --mount=type=cache,target=/c/$V,id=x,sharing=locked,uid=1,mode=0700", V="v"
    )
    assert (one.id, one.sharing, one.mode, one.readonly) == ("/c", "shared", 0o755, False)
    assert (two.id, two.target, two.sharing, two.uid, two.mode) == ("x", "/c/v", "locked", 1, 0o700)


def test_secrets_have_a_place_of_their_own():
    one, two, three = mounts(
        "--mount=type=secret,id=a --mount=type=secret,id=b,env=B --mount=type=secret,target=/root/.npmrc,required=true"
    )
    assert (one.id, one.target, one.required, one.mode) == ("a", "/run/secrets/a", False, 0o400)
    assert (two.target, two.env) == ("", "B")
    assert (three.id, three.target, three.required) == (".npmrc", "/root/.npmrc", True)


def test_memory_may_have_a_size():
    one, two = mounts("--mount=type=tmpfs,target=/t --mount=type=tmpfs,target=/u,size=1.5g")
    assert (one.size, two.size) == (0, 3 << 29)


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ("--mount=type=ssh", "type=ssh is not supported"),
        ("--mount=type=bind,source=a,target=/", "cannot cover"),
        ("--mount=type=bind,target=/", "cannot cover"),
        ("--mount=type=cache,target=/c,size=1", "takes no `size`"),
        ("--mount=type=cache,target=/c,from=x", "begins empty"),
        ("--mount=type=cache,target=/c,sharing=some", "shared, private or locked"),
        ("--mount=type=cache,target=/c,mode=9", "octal"),
        ("--mount=type=tmpfs,target=/c,size=much", "not a size"),
        ("--mount=type=secret", "no id"),
        ("--mount=type=secret,id=a,source=b", "both"),
        ("--mount=type=secret,id=a,required=maybe", "true or false"),
        ("--mount=type=bind,target", "KEY=VALUE"),
    ],
)
def test_what_is_wrong_is_said(flags, why):
    with pytest.raises(DockerfileError, match=why) as caught:
        mounts(flags)
    assert caught.value.line == 2


def test_where_mounts_come_from_is_known_before():
    it = parse("FROM x\nRUN --mount=from=a,target=/a --mount=type=cache,target=/b --mount=target=/c,from=d true\n")[1]
    assert list(mount_origins(it)) == ["a", "d"]
    with pytest.raises(DockerfileError, match="give the image a stage"):
        list(mount_origins(parse("FROM x\nRUN --mount=from=$A,target=/a true\n")[1]))
