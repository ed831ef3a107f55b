"""Runs inside a container, as one of its steps: looks by every way it knows into pid 1 and into whatever is about to
become the next step. Run by its text, with the container's own Python and nothing of the project's.

    attacker.py SECONDS REPORT [STOP]

REPORT gets one line for what was found: `leak WAY process what`, `control WAY` for each way that works on a process
that may be looked into (a child of our own), `windows N` (how often a process was held that had not been executed yet)
and `held N` (of those, with a signal of ours). With STOP: ends as soon as that file is there.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time

CANARY = "-yranac"[::-1]  # what the supervisor's variables and arguments hold, and our own text does not
X86 = os.uname().machine == "x86_64"
READV, WRITEV, KCMP, ROBUST = (310, 311, 312, 274) if X86 else (270, 271, 272, 100)
PIDFD_OPEN, PIDFD_GETFD, MADVISE, MOVE = 434, 438, 440, 279 if X86 else 239
SEIZE, DETACH, INTERRUPT, ATTACH = 0x4206, 17, 0x4207, 16
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.ptrace.restype = ctypes.c_long


def call(number, *arguments):
    """Result, and the error's number."""
    ctypes.set_errno(0)
    raw = [
        each if isinstance(each, ctypes._SimpleCData) or not isinstance(each, int) else ctypes.c_long(each)
        for each in arguments
    ]
    return libc.syscall(ctypes.c_long(number), *raw), ctypes.get_errno()


def content(path):
    with open(path, "rb") as file:
        return file.read(65536)


def comm(pid):
    return content(f"/proc/{pid}/comm")


# Each way takes a process id; what it returns is what it got hold of, nothing (or OSError) when it was refused.


def memory(pid):
    data = b""
    for line in content(f"/proc/{pid}/maps").split(b"\n"):
        if b" rw-p " in line and (b"[heap]" in line or b"[stack]" in line):
            begin, end = (int(each, 16) for each in line.split()[0].split(b"-"))
            descriptor = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
            try:
                data += os.pread(descriptor, min(end - begin, 1 << 20), begin)
            finally:
                os.close(descriptor)
    return len(data) and f"{len(data)} bytes, secret {CANARY.encode() in data}"


def opened_memory(pid):
    os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR))
    return True


def vm(number):
    def way(pid):
        buffer = ctypes.create_string_buffer(8)
        mine = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)
        theirs = (ctypes.c_void_p * 2)(4096, 8)  # nothing is there: EFAULT says that we may
        result, error = call(number, pid, mine, 1, theirs, 1, 0)
        return result >= 0 or error == 14

    return way


def traced(pid):
    if libc.ptrace(ctypes.c_long(SEIZE), ctypes.c_long(pid), None, None) != 0:
        return None
    libc.ptrace(ctypes.c_long(INTERRUPT), ctypes.c_long(pid), None, None)
    os.waitpid(pid, 0x40000000)
    libc.ptrace(ctypes.c_long(DETACH), ctypes.c_long(pid), None, None)
    return True


def taken(pid):
    handle, _ = call(PIDFD_OPEN, pid, 0)
    got = [
        number for number in range(40) if (each := call(PIDFD_GETFD, handle, number, 0)[0]) >= 0 and not os.close(each)
    ]
    os.close(handle)
    return got


def same(pid):
    return call(KCMP, pid, os.getpid(), 1, 0, 0)[0] >= 0  # KCMP_VM


def robust(pid):
    head, size = ctypes.c_void_p(), ctypes.c_size_t()
    return call(ROBUST, pid, ctypes.byref(head), ctypes.byref(size))[0] == 0


def moved(pid):
    pages = (ctypes.c_void_p * 1)(4096)
    status = (ctypes.c_int * 1)()
    return call(MOVE, pid, 1, pages, None, status, 0)[0] >= 0


def descriptors(pid):
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(f"{name}={os.readlink(f'/proc/{pid}/fd/{name}')}")
        except OSError:
            found.append(name)
    return found


def reopened(pid):
    for name in range(40):
        try:
            os.close(os.open(f"/proc/{pid}/fd/{name}", os.O_RDONLY | os.O_NONBLOCK))
        except OSError:
            continue
        return name + 1
    return None


def line(pid):
    """Of the supervisor's arguments; its own name is harmless, and so is that of a program that was executed."""
    return CANARY.encode() in content(f"/proc/{pid}/cmdline") and content(f"/proc/{pid}/cmdline")


def adjusted(pid):
    with open(f"/proc/{pid}/oom_score_adj", "r+b", buffering=0) as file:
        file.write(file.read().strip())
    return True


def cleared(pid):
    with open(f"/proc/{pid}/clear_refs", "wb", buffering=0) as file:
        file.write(b"1")
    return True


WAYS = {
    "memory": memory,
    "mem": opened_memory,
    "environ": lambda pid: content(f"/proc/{pid}/environ"),
    "maps": lambda pid: content(f"/proc/{pid}/maps"),
    "smaps": lambda pid: content(f"/proc/{pid}/smaps"),
    "auxv": lambda pid: content(f"/proc/{pid}/auxv"),
    "pagemap": lambda pid: content(f"/proc/{pid}/pagemap") or True,
    "io": lambda pid: content(f"/proc/{pid}/io"),
    "syscall": lambda pid: content(f"/proc/{pid}/syscall"),
    "fd": descriptors,
    "fdinfo": lambda pid: os.listdir(f"/proc/{pid}/fdinfo"),
    "reopened": reopened,
    "map_files": lambda pid: os.listdir(f"/proc/{pid}/map_files"),
    "root": lambda pid: os.readlink(f"/proc/{pid}/root") and os.listdir(f"/proc/{pid}/root"),
    "cwd": lambda pid: os.readlink(f"/proc/{pid}/cwd"),
    "exe": lambda pid: os.readlink(f"/proc/{pid}/exe"),
    "ns": lambda pid: os.readlink(f"/proc/{pid}/ns/mnt"),
    "task": lambda pid: content(f"/proc/{pid}/task/{pid}/environ"),
    "oom": adjusted,
    "clear_refs": cleared,
    "readv": vm(READV),
    "writev": vm(WRITEV),
    "getfd": taken,
    "kcmp": same,
    "robust": robust,
    "move": moved,
    "ptrace": traced,
    "cmdline": line,
}


def look(pid):
    """(way, what) of each way that gave something."""
    for name, way in WAYS.items():
        try:
            if found := way(pid):
                yield name, found
        except OSError:
            pass


def control():
    """The ways that work at all, on a child of our own that everybody with our id may look into."""
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    try:
        return [name for name, _ in look(child)]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def state(pid):
    return content(f"/proc/{pid}/stat").rpartition(b")")[2].split()[0]


def hold(pid):
    """Stop it; whether it stands."""
    try:
        os.kill(pid, signal.SIGSTOP)
        for _ in range(200):
            if state(pid) == b"T":
                return True
    except OSError:
        pass
    return False


def main():
    seconds, report = float(sys.argv[1]), sys.argv[2]
    stop = sys.argv[3] if len(sys.argv) > 3 else ""
    lines = [f"control {name}" for name in control()]
    ours = {os.getpid(), os.getppid()}
    ours |= {
        int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != 1 and comm(int(name)) != comm(1)
    }
    lasting = {int(name) for name in os.listdir("/proc") if name.isdigit()}  # who answers us must not be held
    leaks, windows, held = {}, 0, 0
    end = time.monotonic() + seconds
    first = comm(1)
    for way, what in look(1):
        leaks[way, 1] = what
    turn = 0
    while time.monotonic() < end and not (stop and os.path.exists(stop)):
        turn += 1
        for name in os.listdir("/proc"):
            if not name.isdigit() or int(name) in ours or name == "1":
                continue
            pid = int(name)
            try:
                for _ in range(60):
                    if comm(pid) != first:  # executed
                        break
                    stands = pid not in lasting and hold(pid)
                    if comm(pid) != first:
                        break
                    windows += 1
                    held += stands
                    found = list(look(pid))
                    if not stands:  # it may have been executed while we looked: then it was ours to look into
                        time.sleep(0.002)
                    if comm(pid) == first:
                        leaks.update({(way, pid): what for way, what in found})
                    if stands:
                        os.kill(pid, signal.SIGCONT)
                        for _ in range(turn % 5 * 200):  # a little further each time
                            pass
            except OSError:
                pass
            finally:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGCONT)
    lines += [f"leak {way} {pid} {what!r}"[:300] for (way, pid), what in leaks.items()]
    lines += [f"windows {windows}", f"held {held}"]
    with open(report + ".part", "w") as file:
        file.write("".join(each + "\n" for each in lines))
    os.rename(report + ".part", report)


main()
