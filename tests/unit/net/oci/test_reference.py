from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.errors import FetchError
from envtool.net.oci.reference import Reference, is_digest, parse_reference

HEX = "0123456789abcdef" * 4

component = st.from_regex(r"[a-z0-9]{1,8}(?:(?:[._]|__|-{1,3})[a-z0-9]{1,8}){0,2}", fullmatch=True)
label = st.from_regex(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,6}[a-zA-Z0-9])?", fullmatch=True)
registries = st.one_of(
    st.sampled_from(["docker.io", "localhost", "localhost:5000", "[::1]:5000", "[fe80::1]"]),
    st.builds(
        lambda labels, port: ".".join(labels) + port,
        st.lists(label, min_size=2, max_size=3),
        st.sampled_from(["", ":1", ":65535"]),
    ),
    st.builds(lambda name: name + ":80", label),
)
repositories = st.lists(component, min_size=1, max_size=4).map("/".join)
tags = st.one_of(st.just(""), st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}", fullmatch=True))
digests = st.one_of(
    st.just(""), st.text("0123456789abcdef", min_size=64, max_size=64).map(lambda text: f"sha256:{text}")
)


@given(registries, repositories, tags, digests)
def test_what_is_read_is_written_and_read_again(registry, repository, tag, digest):
    text = f"{registry}/{repository}" + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    found = parse_reference(text)
    assert found.registry == registry
    assert found.repository == (
        f"library/{repository}" if registry == "docker.io" and "/" not in repository else repository
    )
    assert found.tag == (tag or ("" if digest else "latest"))
    assert found.digest == digest
    assert parse_reference(str(found)) == found
    assert parse_reference(found.familiar_name(), tag="") == found
    assert found.name == f"{found.registry}/{found.repository}"


@given(st.text(max_size=60))
def test_any_text_is_a_reference_or_an_error(text):
    try:
        found = parse_reference(text)
    except FetchError:
        return
    assert parse_reference(str(found)) == found


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [  # cases of github.com/distribution/reference (normalize_test.go, reference_test.go)
        ("alpine", "docker.io", "library/alpine", "latest", ""),
        ("docker/docker", "docker.io", "docker/docker", "latest", ""),
        ("library/debian", "docker.io", "library/debian", "latest", ""),
        ("docker.io/docker/docker", "docker.io", "docker/docker", "latest", ""),
        ("docker.io/debian:12", "docker.io", "library/debian", "12", ""),
        ("index.docker.io/debian", "docker.io", "library/debian", "latest", ""),
        ("127.0.0.1:5000/docker/docker", "127.0.0.1:5000", "docker/docker", "latest", ""),
        ("localhost/a", "localhost", "a", "latest", ""),
        ("a.b/c", "a.b", "c", "latest", ""),
        ("thisisthebeginning/ofalong/name", "docker.io", "thisisthebeginning/ofalong/name", "latest", ""),
        (
            "b.gcr.io/test.example.com/my-app:test.example.com",
            "b.gcr.io",
            "test.example.com/my-app",
            "test.example.com",
            "",
        ),
        ("xn--n3h.com/myimage:xn--n3h.com", "xn--n3h.com", "myimage", "xn--n3h.com", ""),
        ("foo_bar.com:8080", "docker.io", "library/foo_bar.com", "8080", ""),
        ("foo/foo_bar.com:8080", "docker.io", "foo/foo_bar.com", "8080", ""),
        ("[2001:db8::1]:5000/repo:x", "[2001:db8::1]:5000", "repo", "x", ""),
        (f"host:5000/a@sha256:{HEX}", "host:5000", "a", "", f"sha256:{HEX}"),
        (f"a/b:1.0@sha256:{HEX}", "docker.io", "a/b", "1.0", f"sha256:{HEX}"),
        ("docker.io/a.b/c", "docker.io", "a.b/c", "latest", ""),
        ("aa/asdf--as---df__x", "docker.io", "aa/asdf--as---df__x", "latest", ""),
    ],
)
def test_what_docker_takes_means_the_same(text, registry, repository, tag, digest):
    assert parse_reference(text) == Reference(registry=registry, repository=repository, tag=tag, digest=digest)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "names no image"),
        (":justtag", "names no image"),
        (f"@sha256:{HEX}", "names no image"),
        ("https://host/a", "not a URL"),
        ("Uppercase:tag", "lower case"),
        ("a/Uppercase/b", "did you mean 'a/uppercase/b'"),
        ("a//b", "between two slashes"),
        ("a/", "between two slashes"),
        ("/a", "between two slashes"),
        ("-a", "is not lower-case"),
        ("a_-b", "is not lower-case"),
        ("a..b", "is not lower-case"),
        ("a___b", "is not lower-case"),
        ("a b", "only letters"),
        ("a\n", "only letters"),
        ("ä", "only letters"),
        ("a:", "a tag is"),
        ("a:-x", "a tag is"),
        ("a:" + "x" * 129, "a tag is"),
        ("a@sha256:abc", "64 hex digits"),
        (f"a@sha256:{HEX.upper()}", "lower case"),
        (f"a@sha512:{HEX}{HEX}", "64 hex digits"),
        (f"a@{HEX}", "64 hex digits"),
        (HEX, "an image's ID"),
        ("-host.com/a", "no host name"),
        ("host.com:123456/a", "no host name"),
        ("a.b/" + "x/" * 130 + "x", "more than 255"),
        ("x" * 2000, "only letters"),
    ],
)
def test_what_is_wrong_is_said(text, why):
    with pytest.raises(FetchError) as caught:
        parse_reference(text)
    assert why in f"{caught.value} {caught.value.hint}"
    assert len(str(caught.value)) < 1200


def test_pinned_and_tagged():
    found = parse_reference("alpine:3")
    assert str(found.with_digest(f"sha256:{HEX}")) == f"docker.io/library/alpine:3@sha256:{HEX}"
    assert found.with_digest(f"sha256:{HEX}").selector == f"sha256:{HEX}"
    assert found.with_digest(f"sha256:{HEX}").with_tag("4") == parse_reference("alpine:4")
    assert parse_reference("a/b", tag="").selector == ""
    assert is_digest(f"sha256:{HEX}")
    assert not is_digest(f"sha256:{HEX}\n")
