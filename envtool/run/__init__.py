"""Stacks -> Results.

fast_exec        The plan cache, read: one small file tells whether nothing changed, and then what to start
fast_plan        The plan cache
fast_test        The plan cache of `envtool test`
host_inputs      What a task can reach beside its stack and the project's files
host_state       How files of this machine stand, by their ctimes alone: no program can set one
provenance       What a passed task was made from and by
result           What a run came to
result_cache     A task whose stack
shared_results   Results of tasks from the team cache
shutdown         How a run ends that was asked to
stack_contents   A finished stack -> what is in it, by what every plugin knows of its own ecosystem
sweep            What a process leaves in the store's tmp/ that does not wait for its own work to end
task             Runs one task of one env in its throw-away container and says what came of it
task_container   An env on its stack -> the container that its commands run in, as a plain value
task_git         The git directory that a task sees where the project's own `.git` is none
why              Gathers what `envtool why TASK` is told from
"""
