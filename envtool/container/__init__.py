"""Containers: a described list of operations (`program`), then applied (`start`). Knows nothing of specs or layers.

copy_files        Files of a tree
doctor            What this machine can do for containers, really tried where trying is cheap; for `envtool doctor`
extra_mounts      What a build is shown beside its stack
kernel_errors     The kernel's refusals as sentences that say what to do
messages          Messages between a container and its supervisor
mounts            Mount operations
opened_files      Which files of some directories a container opens
outputs           Evidence out of a container that is ending
perturb           What may differ between two runs and must not matter
pid1              The container's side of a start
program           What a container is, as a value
project_copy      A copy of the project where its owner or group cannot be mapped
protected_paths   What may never be an output
pty               The caller's terminal joined to a pty of a container
rootfs            The container's file systems
seccomp           Filters for system calls, as bytes of classic BPF (seccomp(2), include/uapi/linux/seccomp.h)
supervisor        Run one container from a flat program: the supervisor's side
sync_disk         syncfs(2) in a process of its own: one that waits for the disk cannot be ended, and ours has to
syscalls          System calls that `os` lacks
userns            Which user and group ids a container has on this machine
"""
