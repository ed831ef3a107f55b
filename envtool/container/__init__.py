"""Containers: run processes in namespaces of their own, on a stack of trees. Knows nothing of specs or layers.

program             a container as a value, and the plain dict that the supervisor runs
program_json        a container as JSON, for another process or machine
step_functions      the functions that steps run inside, as names
step_call           such a step, in its own process
rootfs_operations   the list of operations that make a container's file systems, and a line about each
runner              what builds and tasks need of a machine, as a protocol, and this machine's kernel as one
started             a container that runs, and what can be known of it from outside: sockets, files, usage
supervisor          runs one container to its end: starts it, answers it, enforces deadlines, reaps it
fork_server         a small process that forks the processes of containers, in place of a large one
ending              ends a container at its deadline, at a limit, after an interrupt
limit_watch         looks at what a container uses while it runs, and says which limit it is over
cgroup_mounts       shows a container its own cgroups, by which programs find their limits
cgroups             one cgroup for a container with limits: v1, v2, or a scope of systemd
pid1                the first process inside: has the mounts made, runs the steps, reaps their children
step_user           becomes the user of a step, as the stack's own files name them
execution           runs a further command in a container that runs: the handle, and the request to pid 1
enterable_init      pid 1 of a container that can be entered: serves such requests while its steps run
join                makes a container in the network, IPC or UTS namespace of another one
rootfs              applies those operations: opens what they mount, makes the mounts, changes the root
mounts              mount system calls
extra_mounts        the operations that few containers need: caches, texts, secrets, tmpfs, parts of other trees
task_cache_mounts   those of a task's caches: overlays that are kept, and times of files
project_copy        copies the project where its owner or group cannot be mapped
copy_files          copies files and trees inside a container
userns              id maps of this machine's containers, and Python functions that run under them
seccomp             system call filters, as bytes of classic BPF
pod                 the network of one run: members with addresses, that know each other by name
early_container     a container that begins before the run asks for it; a task that begins so without services
early_run           a pod, services and a task beside them that begin so, and which of them the run takes over
adopted_container   a container that began so, as the run uses it
pod_spawn           starts a pod's processes; a holder may start before its pod
event_loop          calls functions when descriptors are ready, in the processes of a pod
pod_holder          the process that owns a pod's namespaces and serves its members
network             makes a pod's bridge and its members' networks, by messages to the kernel
network_addresses   the addresses, numbers and names of what that is made of
network_messages    those messages, as pyroute2 compiles them (generated)
network_compiler    compiles messages by pyroute2: those, and the messages of a policy
service_table       who is in a pod: members, services, who is ready
dns                 answers queries for names of a pod
name_server         serves those answers over UDP and TCP
publish             joins connections to a port of the host's loopback with members of a pod
relay               joins two connections, until both have ended
attempts            notes where members tried to connect outside of their pod
network_policy      where members may connect to outside of their pod, as rules
address_book        gives names outside of a pod addresses that stand for them in it
redirect            redirects members' connections to the gateway
gateway             the process that connects members to what the policy allows
gateway_dial        makes one such connection: each address of a name, or this machine's proxy
gateway_link        what the holder and the gateway say to each other
host_resolver       looks up names by this machine's resolver, in threads
pod_process         what the holder and the gateway share: they end with their caller, and open few files
lone_network        reads what a container without network tried to reach
syscalls            system calls that `os` lacks
messages            what a container tells its supervisor: the wire format, its order, and how it ended
pty                 joins the caller's terminal to a pty of a container
outputs             copies outputs out of a container that is ending
place_artefacts     puts the outputs of needed tasks into the project, before a task's commands
output_patterns     finds the files that patterns of outputs match
protected_paths     which paths may never be an output
opened_files        records which files of some directories a container opens
looked_up_names     records which names of a tree a container never looked up
perturb             varies what must not matter between two runs, for `envtool verify`
sync_disk           calls syncfs(2) in a process that can be killed
kernel_errors       turns errors of the kernel into sentences that say what to do
doctor              checks what this machine can do for containers, for `envtool doctor`
"""
