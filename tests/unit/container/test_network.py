"""The messages that make a member's network, without sending them; what the packet filter passes."""

from __future__ import annotations

import errno
import os
import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envtool.container import attempts, kernel_errors
from tests.depth import examples

network = pytest.importorskip("envtool.container.network")


@pytest.fixture(params=["bridge", "routed"])
def hub(request):
    """A hub that has made nothing yet."""
    made = network.Hub.__new__(network.Hub)
    made._batch, made.kind = network.IPBatch(), request.param
    made._templates = tuple(made.compile_member(network._PATTERN, network._PATTERN_NAMESPACE))
    yield made
    made._batch.close()


def without_sequence(data: bytes) -> list[bytes]:
    """Messages with the sequence number, which is never compared, left out."""
    messages, position = [], 0
    while position < len(data):
        size = struct.unpack_from("=I", data, position)[0]
        messages.append(data[position : position + 8] + data[position + 12 : position + size])
        position += size + 3 & ~3
    return messages


def test_a_filled_template_is_what_would_be_compiled(hub):
    @settings(max_examples=examples(25, 2000), deadline=None)
    @given(st.integers(network._FIRST, network._LAST), st.integers(3, 1 << 20))
    def same(number, namespace):
        compiled = list(hub.compile_member(number, namespace))
        filled = hub.fill_template(number, namespace)
        assert [without_sequence(data) for data in filled] == [without_sequence(data) for data in compiled]

    same()


def test_an_address_is_used_again_as_late_as_possible(hub):
    hub._next, hub._freed = network._LAST - 1, network.collections.deque([7, 9])
    assert [hub._take_number() for _ in range(4)] == [network._LAST - 1, network._LAST, 7, 9]
    with pytest.raises(OSError, match="all addresses") as raised:
        hub._take_number()
    assert raised.value.errno == errno.EADDRNOTAVAIL
    assert network.address_of(network._LAST) == "10.64.255.240"


class Kernel:
    """A netlink socket whose answers have these statuses."""

    def __init__(self, *statuses: int) -> None:
        self.answers = [
            struct.pack("=IHHIIi", 20, 2, 0, 0, 0, -status) + struct.pack("=IHHII", 16, 3, 0, 0, 0)
            for status in statuses
        ]
        self.sent = b""

    def send(self, data: bytes) -> None:
        self.sent = data

    def recv(self, _size: int) -> bytes:
        return self.answers.pop(0)


MESSAGE = struct.pack("=IHHII", 17, 16, 5, 1, 0) + bytes(4)  # of 17 bytes, padded


@pytest.mark.parametrize(
    ("statuses", "stage"),
    [((0, 0, 0), None), ((errno.EOPNOTSUPP, errno.ENODEV, 0), "veth"), ((0, errno.EOPNOTSUPP, 0), "address")],
)
def test_the_first_message_that_fails_is_told(statuses, stage):
    kernel = Kernel(*statuses)
    if stage is None:
        network._send(MESSAGE * 3, "veth", kernel)
        assert kernel.answers == []
        return
    with pytest.raises(network.NetworkError) as raised:
        network._send(MESSAGE * 3, "veth", kernel)
    assert (raised.value.errno, raised.value.stage) == (errno.EOPNOTSUPP, stage)


@pytest.mark.parametrize(
    ("stage", "number", "code", "text"),
    [
        ("veth", errno.EOPNOTSUPP, "network-kernel", "modprobe veth"),
        ("bridge", errno.EOPNOTSUPP, "network-kernel", "modprobe bridge"),
        ("veth", errno.EEXIST, "network", "doctor"),
        ("address", errno.EOPNOTSUPP, "network", "doctor"),
        ("network", errno.EMFILE, "network", "doctor"),
        ("network-lost", 0, "network-lost", "again"),
        ("unshare", errno.ENOSPC, "userns-limit", "max_user_namespaces"),
    ],
)
def test_what_is_said(stage, number, code, text):
    error = kernel_errors.sandbox_error(stage, number, os.strerror(number))
    assert error.code == code
    assert text in error.hint


def passes(packet: bytes) -> bool:
    """Whether the kernel passes a packet through the filter: a datagram of these bytes."""
    import ctypes

    code = attempts._filter(network.NETWORK, network.MASK)
    memory = ctypes.create_string_buffer(code, len(code))
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, far:
        far.setsockopt(1, 26, struct.pack("@HP", len(code) // 8, ctypes.addressof(memory)))
        far.setblocking(False)
        try:
            near.send(packet)
            return far.recv(2048) == packet[:64]
        except OSError:
            return False


def packet(to="192.0.2.1", protocol=6, flags=0x02, first=0x45, fragment=0, port=443) -> bytes:
    ip = struct.pack("!BBHHHBBH", first, 0, 60, 1, fragment, 64, protocol, 0)
    ip += socket.inet_aton("127.0.0.1") + socket.inet_aton(to)
    return ip + struct.pack("!HHIIBB", 40000, port, 1, 0, 0x50, flags) + bytes(6)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, True),
        ({"flags": 0xC2}, True),  # with ECN
        ({"flags": 0x12}, False),
        ({"flags": 0x10}, False),
        ({"flags": 0x04}, False),
        ({"protocol": 17, "flags": 0}, True),
        ({"protocol": 1}, False),
        ({"to": "10.64.0.1"}, False),
        ({"to": "10.64.255.255", "protocol": 17}, False),
        ({"to": "10.65.0.1"}, True),
        ({"first": 0x46}, False),
        ({"first": 0x65}, False),
        ({"fragment": 0x2000}, True),  # the first of several
        ({"fragment": 0x0001}, False),
    ],
)
def test_the_filter_passes_first_packets_to_elsewhere(given, expected):
    assert passes(packet(**given)) == expected


def test_the_filter_passes_nothing_short():
    assert [size for size in range(1, 34) if passes(packet()[:size])] == []


def test_the_answer_is_a_whole_icmp_message():
    answer = attempts._unreachable(packet())
    assert answer[:2] == b"\3\0"
    assert answer[8:] == packet()[:28]
    total = sum(struct.unpack(f"!{len(answer) // 2}H", answer))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF


def test_what_is_noted_is_bounded():
    noted = attempts.Attempts.__new__(attempts.Attempts)
    noted.noted, noted.more, noted._answers = {}, 0, socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for number in range(300):
        for _ in range(2):
            noted._note(packet(to=f"127.0.0.{number % 256}", port=number))
    noted._answers.close()
    assert len(noted.noted) == 256
    assert noted.more == 88
    assert noted.noted["tcp", "127.0.0.7", 7] == 2
