"""Run as root before a script of tests/e2e/test_policies.py: gives it a network and names of its own, becomes the
caller, and executes it. What the script then takes for "this machine" is this world, which ends with its processes.

    world.py UID GID HOSTS_FILE COMMAND…

Loopback has 203.0.113.10, 203.0.113.11, 192.0.2.7 and 2001:db8::10. 198.51.100.0/24 never answers; other networks are
unreachable. Names are those of HOSTS_FILE, which the script may change.
"""

import os
import socket
import sys

from pyroute2 import IPRoute

from envtool.container import syscalls

user, group, hosts, *command = sys.argv[1:]
syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWNET)
syscalls.syscall("mount", "none", "/", None, 0x44000, None)  # MS_REC | MS_PRIVATE
syscalls.syscall("mount", hosts, "/etc/hosts", None, 0x1000, None)  # MS_BIND
for name, text in (("nsswitch.conf", "hosts: files dns\n"), ("resolv.conf", "nameserver 192.0.2.53\n")):
    path = f"{os.path.dirname(hosts)}/{name}"
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, 0o644)
    syscalls.syscall("mount", path, f"/etc/{name}", None, 0x1000, None)
with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", "w") as file:
    file.write("0")
with IPRoute() as network:
    network.link("set", index=1, state="up")
    for address in ("203.0.113.10", "203.0.113.11", "192.0.2.7"):
        network.addr("add", index=1, address=address, prefixlen=32)
    network.addr("add", index=1, address="2001:db8::10", prefixlen=128)
    network.link("add", ifname="lost0", kind="veth", state="up", peer={"ifname": "lost1"})
    lost = socket.if_nametoindex("lost0")
    network.link("set", index=socket.if_nametoindex("lost1"), state="up")
    network.addr("add", index=lost, address="198.51.100.254", prefixlen=24)
    for number in (1, 2):
        network.neigh("add", ifindex=lost, dst=f"198.51.100.{number}", lladdr="02:00:00:00:00:01", state=0x80)
os.setgroups([])
os.setresgid(int(group), int(group), int(group))
os.setresuid(int(user), int(user), int(user))
os.execv(command[0], command)
