"""The messages that make a member's network, without sending them; what the packet filter passes."""

from __future__ import annotations

import errno
import os
import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envtool.container import (
    attempts,
    kernel_errors,
    network,
    network_addresses,
    network_compiler,
    network_messages,
    redirect,
)
from tests.depth import examples

pytest.importorskip("pyroute2")


@pytest.fixture(params=["bridge", "routed"])
def hub(request):
    """A hub that has made nothing yet."""
    made = network.Hub.__new__(network.Hub)
    made._messages, made.kind = network.load_messages(), request.param
    return made


@pytest.fixture(scope="module")
def compiler():
    """pyroute2."""
    made = network_compiler.MessageCompiler()
    yield made
    made.close()


def test_the_messages_are_those_that_pyroute2_compiles(compiler):
    compiled = compiler.compile_all()
    assert network.load_messages() == compiled, (
        "python -m envtool.container.network_compiler > envtool/container/network_messages.py"
    )
    with open(network_messages.__file__) as file:
        assert file.read() == network_compiler.format_module(compiled)


def test_another_byte_order_has_them_compiled(monkeypatch, compiler):
    monkeypatch.setattr(network_messages, "BYTE_ORDER", "another")
    monkeypatch.setattr(network_messages, "MESSAGES", {})
    assert network.load_messages() == compiler.compile_all()


def test_a_filled_message_is_what_would_be_compiled(hub, compiler):
    @settings(max_examples=examples(25, 2000), deadline=None)
    @given(st.integers(network_addresses.FIRST, network_addresses.LAST), st.integers(3, 1 << 20))
    def same(number, namespace):
        compiled = compiler.compile_member(number, namespace, hub.kind)
        assert hub.fill_member(number, namespace) == tuple(map(network_compiler.without_sequence, compiled))

    same()


def test_a_member_is_forgotten_by_its_address(hub):
    sent = hub._fill("forget member", 0x0102)
    assert sent[-4:] == socket.inet_aton("10.64.1.2")
    assert sent[:-4] == hub._messages["forget member"][:-4]


def test_an_address_is_used_again_as_late_as_possible(hub):
    last = network_addresses.LAST
    hub._next, hub._freed = last - 1, [7, 9]
    assert [hub._take_number() for _ in range(4)] == [last - 1, last, 7, 9]
    with pytest.raises(OSError, match="all addresses") as raised:
        hub._take_number()
    assert raised.value.errno == errno.EADDRNOTAVAIL
    assert network_addresses.address_of(last) == "10.64.255.240"


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


def link_answer(state: int | None) -> bytes:
    """What the kernel says of a link with a name, and an operational state if it has such."""
    attributes = struct.pack("=HH6s2x", 10, 3, b"v00002") + (
        b"" if state is None else struct.pack("=HHB3x", 5, 16, state)
    )
    return struct.pack("=IHHIIBxHiII", 32 + len(attributes), 16, 0, 0, 0, 0, 1, 18, 0, 0) + attributes


@pytest.mark.parametrize("states", [(6, 6), (2, 0, 2, 6, 2, 6), (None, 2, 6)])
def test_a_member_is_there_when_the_kernel_sends_by_its_links(monkeypatch, states):
    """Kernels before Linux 6.8 are asked until they say "up" (6); one without such states is asked once."""
    kernel = Kernel()
    kernel.answers, kernel.close = [link_answer(state) for state in states], lambda: None
    asked = []
    kernel.send = lambda data: asked.append(struct.unpack_from("=i", data, 20)[0])
    monkeypatch.setattr(network._socket, "socket", lambda *_: kernel)
    network.await_links((18, 2))
    assert kernel.answers == []
    ups = [number for number, state in enumerate(states) if state in {6, None}]
    assert asked == [18] * (ups[0] + 1) + [2] * (ups[1] - ups[0])


def test_a_link_that_has_gone_is_an_error(monkeypatch):
    kernel = Kernel(errno.ENODEV)
    kernel.close = lambda: None
    monkeypatch.setattr(network._socket, "socket", lambda *_: kernel)
    with pytest.raises(network.NetworkError) as raised:
        network.await_links((18,))
    assert raised.value.errno == errno.ENODEV


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
        ("rule", errno.EOPNOTSUPP, "network-kernel", "CONFIG_IP_MULTIPLE_TABLES"),
        ("gateway", 0, "network", "doctor"),
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

    code = attempts._filter(network_addresses.NETWORK, network_addresses.MASK)
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


@pytest.mark.parametrize("code", [0, 1, 3, 9])
def test_the_answer_is_a_whole_icmp_message(code):
    answer = attempts._unreachable(packet(), code)
    assert answer[:2] == bytes((3, code))
    assert answer[8:] == packet()[:28]
    total = sum(struct.unpack(f"!{len(answer) // 2}H", answer))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF


def test_what_is_noted_is_bounded():
    noted = attempts.Attempts.__new__(attempts.Attempts)
    noted.noted, noted.more = {}, 0
    for number in range(300):
        for _ in range(2):
            noted.note("tcp", f"127.0.0.{number % 256}", number)
    assert len(noted.noted) == 256
    assert noted.more == 88
    assert noted.noted["tcp", "127.0.0.7", 7, ""] == 2


@pytest.mark.parametrize("options", [b"", bytes(4), bytes(range(20))])
def test_a_segment_has_its_checksums(options):
    """The kernel leaves the checksum of a packet between devices of one machine out: what is sent again needs one."""
    tcp = struct.pack("!HHIIBBHHH", 40000, 443, 7, 0, (5 + len(options) // 4) << 4, 2, 1000, 0xBEEF, 0) + options
    source, target = socket.inet_aton("10.64.0.2"), socket.inet_aton("198.18.0.1")
    made = redirect._segment(source, target, tcp)
    assert redirect._sum(made[:20]) == 0
    assert redirect._sum(source + target + struct.pack("!HH", 6, len(tcp)) + made[20:]) == 0
    assert made[20:36] + made[38:] == tcp[:16] + tcp[18:]


@pytest.mark.parametrize(
    ("flags", "device", "passed"), [(0x02, 1, True), (0xC2, 2, False), (0x12, 2, False), (0x10, 2, True)]
)
def test_a_syn_counts_only_from_our_device(flags, device, passed):
    """Read by an interpreter of ours: to have a packet come by a certain device takes a network (e2e)."""
    code = redirect._filter_of_listener(1)
    rows = [struct.unpack_from("=HBBI", code, at) for at in range(0, len(code), 8)]
    value = position = 0
    while rows[position][0] != 0x06:
        kind, yes, no, number = rows[position]
        if kind in (0x30, 0x20):
            value = {13: flags, 0xFFFFF008: device}[number]
            position += 1
        else:
            position += 1 + (yes if (value & number if kind == 0x45 else value == number) else no)
    assert bool(rows[position][3]) == passed
