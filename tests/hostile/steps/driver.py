"""Runs outside, as the caller of a test: one container with an attacker among its steps, and what it reported.

driver.py TREE ATTACKER KIND  (variables: CANARY). KIND+exec: the attacker is the step, and looks at commands that are
executed in its container. KIND+join: the container has the namespaces of another one, in which there is an attacker too.
"""

import os
import sys
import time

from envtool.container import supervisor, userns
from envtool.container.program import BindMount, ContainerStep, ContainerVariation, Program, ProjectMount, Root

top, attacker, kind = sys.argv[1:4]
kind, _, entry = kind.partition("+")
user = "root" if kind.startswith("root") else "user"
env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp"}
who = {"user": "nobody"} if kind == "root-other" and userns.caller_ids().mode != "single" else {}


def shell(text, **more):
    return ContainerStep(argv=("/bin/sh", "-c", text), **more)


def wait(seconds):
    time.sleep(seconds)


python = '/usr/bin/python3 -I -S -c "$ATTACKER"'
# With files of the tree itself: what is written stays in the container, and all of its steps see it.
begin = shell(f"{python} 20 /tmp/report /tmp/stop </dev/null >/tmp/said 2>&1 & while [ ! -e /tmp/said ]; do :; done; sleep 0.15",
              env={"ATTACKER": attacker}, **who)  # fmt: skip
end = shell("touch /tmp/stop; n=0; while [ ! -e /tmp/report ] && [ $n -lt 200 ]; do sleep 0.05; n=$((n+1)); done;"
            "cat /tmp/said; cat /tmp/report", **who)  # fmt: skip
count = 6
between = [ContainerStep(argv=("/bin/sleep", "0.03"), **who) for _ in range(count)]
more = {}
if kind.endswith("other") and user == "root":
    between[::2] = [ContainerStep(argv=("/bin/sleep", "0.03")) for _ in between[::2]]
if kind.endswith("call"):
    between = [ContainerStep(call="__main__:wait", arguments=(0.4,))]
if kind.endswith("varied"):
    more["vary"] = ContainerVariation(order="backward", processors=1, pids=1)
if kind.endswith("network"):
    more["network"] = True
if kind.endswith("outputs"):
    os.makedirs(os.path.join(top, "project"), exist_ok=True)
    more |= {"outputs": ("nothing",), "project": ProjectMount(source=os.path.join(top, "project"))}
steps = [begin, *between, end]
if kind.endswith("alone"):
    steps = [ContainerStep(argv=("/usr/bin/python3", "-I", "-S", "-c", attacker))]
if kind.endswith("terminal"):
    steps = [shell(f"{python} 0.5 /tmp/report; cat /tmp/report", env={"ATTACKER": attacker})]

if entry == "exec":
    steps = [
        *([begin] if kind.endswith("other") else []),
        shell(
            f"{python} 20 /tmp/report /tmp/stop >/tmp/said 2>&1; cat /tmp/said /tmp/report",
            env={"ATTACKER": attacker},
            **who,
        ),
    ]
    if kind.endswith("alone"):
        steps = [shell("exec sleep 60")]

program = Program(
    root=Root(lowers=(os.path.join(top, "tree"),)),
    steps=tuple(steps),
    binds=(BindMount(source="/usr", target="/usr"),),
    env=env,
    user=user,
    timeout=40,
    **more,
)
options = {"stdin": 0 if kind.endswith("terminal") else -1, "terminal": kind.endswith("terminal"),
           "outputs_to": os.path.join(top, "project") if kind.endswith("outputs") else ""}  # fmt: skip


def enter(container):
    """Execute commands beside the attacker, and then what stops it and shows its report."""
    if kind.endswith("alone"):
        with container.exec(["/usr/bin/python3", "-I", "-S", "-c", attacker], **who) as execution:
            print("status", execution.wait().status, "", flush=True)
        return container.stop()
    begun = "n=0; while [ ! -e /tmp/said ] && [ $n -lt 400 ]; do sleep 0.05; n=$((n+1)); done; sleep 0.3"
    for command in (begun, *["sleep 0.03"] * count, "touch /tmp/stop"):
        with container.exec(["/bin/sh", "-c", command], terminal=options["terminal"], stdin=-1, **who) as execution:
            execution.wait()
    return None


if not entry:
    ended = supervisor.run(program.to_dict(), **options)
    print("status", ended.status, ended.error)
elif entry == "exec":
    with supervisor.Container(program.to_dict(), **options) as container:
        container.start()
        enter(container)
        ended = container.wait()
    if not kind.endswith("alone"):
        print("status", ended.status, ended.error)
else:
    look = f"{python} 50 /tmp/report /tmp/stop >/tmp/said 2>&1; grep ^leak /tmp/report"
    beside = Program(
        root=program.root, binds=program.binds, env=env, user=user, timeout=60,
        steps=(shell("exec sleep 60" if kind.endswith("alone") else look, env={"ATTACKER": attacker}),),
    )  # fmt: skip
    with supervisor.Container(beside.to_dict()) as first:
        first.start()
        with first.namespaces("network", "ipc", "uts") as namespaces:
            with supervisor.Container(program.to_dict(), joins=namespaces, **options) as container:
                container.start()
                ended = container.wait()
        if kind.endswith("alone"):
            first.stop()
        else:
            with first.exec(["/bin/sh", "-c", "touch /tmp/stop"]) as execution:
                execution.wait()
        first.wait()
    print("status", ended.status, ended.error)
