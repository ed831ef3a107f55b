"""Containers: a described list of operations (`program`), then applied (`start`). Knows nothing of specs or layers.

program.py   frozen values -> a flat, marshal-able dict (pure; what a plan cache stores)
start.py     that dict -> a running container -> Exit (imports almost nothing: it is the inner loop)
kernel.py    system calls, flags and numbers (x86_64, aarch64)
ids.py       which user and group ids a container may have here; work inside such a namespace
mounts.py    the mount operations
seccomp.py   filters, as bytes
vary.py      the order of directories and other things that must not matter, varied
outputs.py   evidence out of a container that is ending
"""
