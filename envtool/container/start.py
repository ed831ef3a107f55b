"""Run one container from a flat program. (Contract; the helper that builds this room replaces the body.)"""
# Imports at module level: os, sys, and envtool.container.{kernel,mounts} only. No typing, dataclasses, re, json …

# class Exit:  (plain class with __slots__: no dataclasses here)
#     status: int          exit status as a shell shows it (128+n for signals); 124 timed out; 125 the container
#                          could not be made (error says why: a SandboxError is raised instead by `run`)
#     timed_out: bool
#     interrupted: bool
#     seconds: float
#
# def run(program: dict, *, stdin: int = -1, stdout: int = 1, stderr: int = 2, terminal: bool = False,
#         cancel: int = -1, outputs_to: str = "") -> Exit
#     stdin -1: /dev/null.  terminal: a pty is made *inside* the container and proxied to fds 0/1 of this process
#     (raw mode, SIGWINCH, restored on exit).  cancel: a readable fd means "end now": TERM, grace, KILL, outputs are
#     still collected, Exit.interrupted is set.  outputs_to: host directory into which collected outputs are written
#     (owned by the caller; as root: by the owner of that directory).  Thread-safe: several may run at once.
#     SIGINT/SIGTERM/SIGHUP handling belongs to the caller (CLI), but in terminal mode ^C is just a byte to the pty.
