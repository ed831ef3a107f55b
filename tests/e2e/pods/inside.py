"""Run before each script of tests/e2e/test_pods.py, as the caller of a test: functions that run in members of a pod.

A member's process here is a plain child that has entered the pod's user namespace and the member's network.
"""

import collections, encodings.idna, errno, json, marshal, os, random, select, signal, socket, struct, sys, tempfile, threading, time  # noqa: E401, F401, I001

from envtool.container import pod as pods, pod_spawn, syscalls, userns  # noqa: F401
from envtool.errors import EnvtoolError  # noqa: F401

Pod, HUB = pods.Pod, pods.RESOLVER


def enter(pod, member, *, names=False):
    """Join a member's network; with `names` its resolv.conf and hosts too, in a mount namespace of this process."""
    with pod.namespaces(member.name) as namespaces:
        syscalls.syscall("setns", namespaces.descriptors["user"], syscalls.CLONE_NEWUSER)
        syscalls.syscall("setns", namespaces.descriptors["network"], syscalls.CLONE_NEWNET)
    if names:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.syscall("mount", "none", "/", None, 0x44000, None)
        for name, content in (
            ("resolv.conf", pods.resolv_conf()),
            ("hosts", f"127.0.0.1 localhost\n{member.address} {member.name}\n".encode()),
        ):
            with tempfile.NamedTemporaryFile() as file:
                file.write(content)
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                syscalls.syscall("mount", file.name, f"/etc/{name}", None, 0x1000, None)


def start(pod, member, function, *arguments, names=False):
    """-> (pid, descriptor of what the function returns) of a child in a member."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        value = ("raised", "nothing")
        try:
            enter(pod, member, names=names)
            value = ("value", function(*arguments))
        except BaseException as error:
            value = ("raised", f"{type(error).__name__}: {error}")
        finally:
            os.write(write, marshal.dumps(value))
            os._exit(0)
    os.close(write)
    return child, read


def inside(pod, member, function, *arguments, names=False):
    """-> what a function returns that runs in a member."""
    child, read = start(pod, member, function, *arguments, names=names)
    with open(read, "rb") as file:
        kind, value = marshal.loads(file.read())
    os.waitpid(child, 0)
    assert kind == "value", value
    return value


def serve(pod, member, port, answer):
    """-> pid of a child in a member that answers each connection on a port with a text."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            enter(pod, member)
            listener = socket.create_server(("0.0.0.0", port), backlog=256)
            os.write(write, b"k")
            while True:
                with listener.accept()[0] as connection:
                    connection.sendall(answer.encode())
        finally:
            os._exit(1)
    os.close(write)
    assert os.read(read, 1) == b"k"
    os.close(read)
    return child


def end(*children):
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def fetch(address, port, timeout=5):
    """-> what a server says until it closes, or the name of the error."""
    try:
        with socket.create_connection((address, port), timeout) as connection:
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))


def query(name, kind=1, number=7):
    """-> the packet that asks for a name."""
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", number, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


def ask(name, kind=1, timeout=5):
    """-> (status, addresses) of a name, by one packet to the hub: no packet of a member gets lost."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(timeout)
        client.connect((HUB, 53))
        client.send(query(name, kind))
        answer = client.recv(4096)
    count = int.from_bytes(answer[6:8], "big")
    return answer[3] & 15, [socket.inet_ntoa(answer[len(answer) - 16 * (count - n) + 12 :][:4]) for n in range(count)]


def frame(target, source, protocol, payload):
    """-> an Ethernet frame from one hardware address to another, given as the numbers of members."""
    names = [bytes((2, 0, 10, 64, number >> 8, number & 255)) for number in (target, source)]
    return b"".join(names) + struct.pack("!H", protocol) + payload


def datagram(target, source, port, text, source_port=9):
    """-> an IPv4 packet with a UDP datagram, from any address."""
    size = 28 + len(text)
    head = (
        struct.pack("!BBHHHBBH", 0x45, 0, size, 1, 0, 64, 17, 0) + socket.inet_aton(source) + socket.inet_aton(target)
    )
    total = sum(struct.unpack("!10H", head))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:]
    return head + struct.pack("!HHHH", source_port, port, size - 20, 0) + text


def say(**values):
    print(json.dumps(values), flush=True)
