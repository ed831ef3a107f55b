"""Answers to queries for names, as bytes (RFC 1035)."""

from __future__ import annotations

import collections
import socket
import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envtool.container.dns import DnsResolver
from envtool.container.service_table import ServiceTable
from tests.depth import examples

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)


def table(count: int = 3) -> ServiceTable:
    made = ServiceTable()
    for number in range(1, count + 1):
        made.add(f"api-{number}", "api", f"10.64.{number >> 8}.{number & 255}")
        made.set_ready(f"api-{number}", ready=True)
    return made


def query(name: str | bytes, kind: int = 1, group: int = 1, flags: int = 0x100, option: bytes = b"") -> bytes:
    labels = name.split(".") if isinstance(name, str) else [name]
    encoded = b"".join(bytes((len(each),)) + (each.encode() if isinstance(each, str) else each) for each in labels)
    counts = struct.pack("!HHHHHH", 0xBEEF, flags, 1, 0, 0, 1 if option else 0)
    return counts + encoded + b"\0" + struct.pack("!HH", kind, group) + option


def edns(size: int) -> bytes:
    return b"\0\0\x29" + struct.pack("!H", size) + bytes(6)


def read(answer: bytes) -> tuple[int, list[str]]:
    """The status and the addresses of an answer."""
    position = 12
    for _ in range(int.from_bytes(answer[4:6], "big")):
        while answer[position]:
            position += 1 + answer[position]
        position += 5
    found = []
    for _ in range(int.from_bytes(answer[6:8], "big")):
        pointer, kind, group, life, size = struct.unpack_from("!HHHIH", answer, position)
        assert (pointer, kind, group, life, size) == (0xC00C, 1, 1, 0, 4)
        found.append(socket.inet_ntoa(answer[position + 12 : position + 16]))
        position += 16
    extra = int.from_bytes(answer[10:12], "big")
    assert len(answer) == position + 11 * extra
    return answer[3] & 15, found


def test_a_service_has_one_address_at_a_time_in_turn():
    resolver = DnsResolver(table())
    found = collections.Counter(tuple(read(resolver.answer(query("api")))[1]) for _ in range(300))
    assert found == dict.fromkeys([("10.64.0.1",), ("10.64.0.2",), ("10.64.0.3",)], 100)


def test_asking_for_ipv6_takes_no_turn():
    resolver = DnsResolver(table(2))
    found = []
    for _ in range(4):
        assert read(resolver.answer(query("api", 28))) == (NOERROR, [])
        found += read(resolver.answer(query("api")))[1]
    assert found == ["10.64.0.1", "10.64.0.2"] * 2


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("api-2", (NOERROR, ["10.64.0.2"])),
        ("API-2", (NOERROR, ["10.64.0.2"])),
        ("aLL.aPi", (NOERROR, ["10.64.0.1", "10.64.0.2", "10.64.0.3"])),
        ("api-4", (NXDOMAIN, [])),
        ("all.api-1", (NXDOMAIN, [])),
        ("all", (NXDOMAIN, [])),
        ("api.example.org", (NXDOMAIN, [])),
        ("all.all.api", (NXDOMAIN, [])),
    ],
)
def test_names(name, answer):
    assert read(DnsResolver(table()).answer(query(name))) == answer


@pytest.mark.parametrize("kind", [28, 15, 16, 33, 65, 12])
def test_a_known_name_has_nothing_but_addresses(kind):
    resolver = DnsResolver(table())
    assert read(resolver.answer(query("api", kind))) == (NOERROR, [])
    assert read(resolver.answer(query("nobody", kind))) == (NXDOMAIN, [])


def test_only_those_that_are_ready():
    members = table()
    resolver = DnsResolver(members)
    members.set_ready("api-2", ready=False)
    assert {read(resolver.answer(query("api")))[1][0] for _ in range(4)} == {"10.64.0.1", "10.64.0.3"}
    assert read(resolver.answer(query("api-2"))) == (NOERROR, ["10.64.0.2"])
    for name in ("api-1", "api-3"):
        members.set_ready(name, ready=False)
    assert read(resolver.answer(query("api"))) == (SERVFAIL, [])  # "try again"
    members.remove("api-1")
    assert read(resolver.answer(query("api-1"))) == (NXDOMAIN, [])
    assert read(resolver.answer(query("api", 28))) == (NOERROR, [])


def test_what_is_unknown_is_noted_up_to_a_bound():
    resolver = DnsResolver(table())
    for number in range(300):
        for _ in range(2):
            resolver.answer(query(f"host{number}.example"))
    assert resolver.unknown["host7.example"] == 2
    assert len(resolver.unknown) == 256
    assert resolver.more_unknown == 88
    assert "api" not in resolver.unknown


@pytest.mark.parametrize("name", ["2.0.64.10.in-addr.arpa", "1.ip6.arpa"])
def test_the_name_of_an_address_is_unknown_and_not_noted(name):
    resolver = DnsResolver(table())
    assert read(resolver.answer(query(name, 12))) == (NXDOMAIN, [])
    assert read(resolver.answer(query("arpa.example"))) == (NXDOMAIN, [])
    assert list(resolver.unknown) == ["arpa.example"]


def test_a_noted_name_is_plain_text():
    resolver = DnsResolver(table())
    resolver.answer(query(b"a b\n.\xff"))
    resolver.answer(query(b"\0" * 63))
    assert list(resolver.unknown) == ["a\\032b\\010\\046\\255", ("\\000" * 63)[:255]]


def test_more_addresses_than_fit():
    resolver = DnsResolver(table(100))
    short = resolver.answer(query("all.api"))
    assert len(short) <= 512
    assert short[2] & 2, "the client is not told to ask by TCP"
    agreed = resolver.answer(query("all.api", option=edns(1232)))
    assert 1200 < len(agreed) <= 1232
    assert agreed[2] & 2
    whole = resolver.answer(query("all.api", option=edns(65535)))
    assert len(read(whole)[1]) == 100
    assert not whole[2] & 2
    assert len(read(resolver.answer(query("all.api"), stream=True))[1]) == 100


@pytest.mark.parametrize(
    ("packet", "status"),
    [
        (query("api", flags=0x8100), None),  # an answer
        (query("api")[:11], None),
        (b"", None),
        (query("api", flags=0x2800), NOTIMP),
        (query("api", group=3), REFUSED),
        (query("api")[:-1], FORMERR),
        (query("api")[:12], FORMERR),
        (query("api")[:4] + b"\0\2" + query("api")[6:], FORMERR),
        (query("api")[:12] + b"\xc0\x0c\0\1\0\1", FORMERR),  # a pointer to itself
        (query("api")[:12] + b"\x40" + b"a" * 64 + b"\0\0\1\0\1", FORMERR),
        (query(".".join(["a" * 63] * 5)), FORMERR),  # longer than a name may be
        (query("api")[:12] + b"\0\0\1\0\1", NXDOMAIN),  # the root
    ],
)
def test_what_is_no_plain_query(packet, status):
    answer = DnsResolver(table()).answer(packet)
    if status is None:
        assert answer == b""
    else:
        assert read(answer)[0] == status
        assert answer[:2] == packet[:2]


@settings(max_examples=examples(200, 20000), deadline=None)
@given(st.binary(max_size=600), st.booleans())
def test_any_packet_has_a_bounded_answer(packet, stream):
    resolver = DnsResolver(table(40))
    answer = resolver.answer(packet, stream=stream)
    assert len(answer) <= max(512, len(packet)) + (4096 if stream else 0)
    if answer:
        assert answer[2] & 0x80
        read(answer)
    assert all(name.isascii() and name.isprintable() and " " not in name for name in resolver.unknown)


@settings(max_examples=examples(100, 5000), deadline=None)
@given(st.data())
def test_a_damaged_query_is_answered_as_one(data):
    packet = bytearray(query(data.draw(st.sampled_from(["api", "all.api", "x.example"])), option=edns(1000)))
    for _ in range(data.draw(st.integers(0, 4))):
        packet[data.draw(st.integers(2, len(packet) - 1))] = data.draw(st.integers(0, 255))
    answer = DnsResolver(table()).answer(bytes(packet[: data.draw(st.integers(0, len(packet)))]))
    assert answer == b"" or answer[:2] == b"\xbe\xef"


def test_an_answer_takes_less_than_a_tenth_of_a_millisecond():
    resolver, packet = DnsResolver(table(20)), query("api", option=edns(1232))
    took = []
    for _ in range(20):
        began = time.process_time()
        for _ in range(100):
            resolver.answer(packet)
        took.append((time.process_time() - began) / 100)
    assert min(took) < 0.0001
