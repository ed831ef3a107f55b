"""Runs inside a container, as a step: asks for what a step may and may not have, and says what the kernel answered:
`NAME ERRNO` a line (0: it was given).
"""

import ctypes
import mmap
import os
import resource
import signal
import socket

X86 = os.uname().machine == "x86_64"
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
CALLS = {  # names and numbers as in the kernel's tables; arguments that a kernel would look at only later
    "kcmp": (312 if X86 else 272, os.getpid(), os.getpid(), 1, 0, 0),
    "pidfd_getfd": (438, -1, 0, 0),
    "process_madvise": (440, -1, 0, 0, 0, 0),
    "get_mempolicy": (239 if X86 else 236, 0, 0, 0, 0, 0),
    "set_mempolicy": (238 if X86 else 237, 0, 0, 0),
    "mbind": (237 if X86 else 235, 0, 0, 0, 0, 0, 0),
    "move_pages": (279 if X86 else 239, 0, 0, 0, 0, 0, 0),
    "migrate_pages": (256 if X86 else 238, 0, 0, 0, 0),
    "userfaultfd": (323 if X86 else 282, 1),
    "io_uring_setup": (425, 1, 0),
    "open_by_handle_at": (304 if X86 else 265, -1, 0, 0),
    "keyctl": (250 if X86 else 219, 0, 0, 0),
    "lsm_list_modules": (461, 0, 0, 0),
    "open_tree_attr": (467, -1, 0, 0, 0, 0),
    "next": (600, 0),
    "x32": (0x40000000 | 39,),
    "unshare-user": (272 if X86 else 97, 0x10000000),
    "unshare-time": (272 if X86 else 97, 0x80),
    "clone-net": (56 if X86 else 220, 0x40000011, 0, 0, 0, 0),
    "aslr": (135 if X86 else 92, 0x40000),
    "read-implies-exec": (135 if X86 else 92, 0x400000),
    "personality": (135 if X86 else 92, 0xFFFFFFFF),
    "rseq-less": (324 if X86 else 283, 0, 0, 0),  # membarrier: what it can
}


def said(name, error):
    print(name, error, flush=True)


def main():
    for name, (number, *arguments) in CALLS.items():
        ctypes.set_errno(0)
        result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
        said(name, ctypes.get_errno() if result < 0 else 0)
    for family in range(46):
        try:
            socket.socket(family, socket.SOCK_DGRAM if family != 16 else socket.SOCK_RAW, 0).close()
            error = 0
        except OSError as problem:
            error = problem.errno
        said(f"family-{family}", error)
    child = os.fork()
    if child == 0:
        libc.ptrace(ctypes.c_long(0), None, None, None)  # PTRACE_TRACEME
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    _, status = os.waitpid(child, os.WUNTRACED)
    said(
        "ptrace-a-child",
        0 if os.WIFSTOPPED(status) and libc.ptrace(ctypes.c_long(7), ctypes.c_long(child), None, None) == 0 else 1,
    )
    os.waitpid(child, 0)
    if X86:  # an entry of another architecture: getpid by int 0x80
        child = os.fork()
        if child == 0:
            page = mmap.mmap(-1, 4096, prot=7)
            page.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
            ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
            os._exit(0)
        said("int80", os.WTERMSIG(os.waitpid(child, 0)[1]))
    said("core", resource.getrlimit(resource.RLIMIT_CORE)[0])
    with open("/proc/self/oom_score_adj", "r+") as file:
        said("oom", file.read().strip())


main()
