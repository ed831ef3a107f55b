"""Runs the tasks of envs on their stacks, and caches the results.

artefacts        What needed tasks have left, for the tasks that need it
audit            Runs some of the tasks that `inputs: observed` would skip, and fails where a skip was wrong
cached_task      Runs a task unless its result is cached: request, find, run, record, store
cached_stack     Which files of a stack changed since a cache of a task was used last
early_note       Notes what a run of one task has started, as programs
early_record     Stores that note for the next run
early_start      Starts the task and its services from the note, before the spec is read
fast_exec        Reads the plan cache of `exec` and `shell`: starts the container of an unchanged env
fast_list        Keeps what `list` printed, and the stat signatures of all files that decided it
fast_plan        Writes the plan caches that fast_exec and fast_test read
fast_test        Reads the plan cache of `test`: finds that every task passed before and that nothing changed
host_inputs      The files of this machine and of git's directories that a task opened, and their state
host_state       The ctimes of files of this machine, and which of them decide a task
known_commit     Describes the commit that tasks run at, asking git once while nothing changes
learned_network  `--learn-network`: which envs learn, and what they reached
machine_watches  The watches of this machine's files that all tasks of a run share
needed_tasks     The tasks that a task needs, once they have passed, and what it sees of them
network_tried    What a task that failed tried to reach outside, in words
observed_reads   Which files of the project a task read, and whether its result holds where only others changed
outputs_of_run   The files that tasks of this run add to the project, which the others do not see
plugin_hints     Hints of plugins for a failed task, from what it printed
prepared_states  Explains the prepared state of services, for `plan`, `why` and `--expect-cached`
prepared_task    Takes a snapshot of the project and makes the request of a task
provenance       Writes the in-toto statement of a task that passed
project_look     One look at the project before tasks, which serves all that begin within a second of it
record_queue     Records the tasks of one run after they have ended, in batches
restore          Restores the log, the statement and the outputs of a cached result
result           The Result of one task of one env
result_cache     The local cache, the team's and none, behind one interface: find and store
retries          Runs a task again after it has failed: its attempts, their events and their outputs
secrets          Asks for the secrets of tasks and of their services before anything starts
shared_results   Pulls results from the team cache and pushes them to it
shown_times      Decides which mtimes a task sees of files, so that its caches make no stale build
shutdown         How long an interrupted run waits for what is still running
stack_contents   The packages of a stack, as the plugins report them, and its bill of materials
staged_outputs   Copies outputs from a directory of the store to the project
sweep            Removes temporary directories that this process leaves in the store
task             Runs one task of one env in a container
task_caches      The caches of a task: finds them, has them mounted, publishes what the task wrote
task_container   The container of an env or a task, as a plain value
task_request     A run of a task as plain values: TaskRequest and TaskResult
task_git         The git directory of a task, where the project has none of its own
task_services    The services beside a task: which there are, their stacks and requests, and their group
valid_documents  Remembers which specs and locks fit their schemas
why              Collects what `envtool why TASK` compares
"""
