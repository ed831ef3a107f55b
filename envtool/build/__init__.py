"""Builds the bases and layers of a plan: resolves them, fetches their files, runs their recipes and stores the layers.

assess            Reads what is known of each base and layer (pins, key, diff ID, its layer) and plans what is done
builder           Builds a recipe into a layer in the store
recipe_steps      Translates the steps of a recipe into those of a container, which are data
container_steps   The steps that our own code runs inside a build's container
context           The store, project, policies and events that a run works with
disk_space        Frees disk space before something is built or fetched
explain           Gathers what `envtool why` reports
extra_mounts      Caches, secrets and texts that a recipe mounts beside the stack
failure_hints     Hints for a failed command, from what it printed
fetch_all         Fetches the pinned files of a whole spec and builds only what it takes to know them
fetch_files       Fetches the files of one layer into the blob store
host_network      Proxies and certificates for containers with the host's network
host_pip          Runs this machine's pip
limit_checks      Checks before anything starts that limits can be enforced on this machine
limit_messages    Says which limit ended a container, and what raises it
lock_platforms    Locks a spec for another architecture: `lock --platform`
locking           Makes the entries of a lock, and checks that a lock answers a spec
network_errors    Tells from the output of a failed command whether it needed a network
node_checks       Checks a base or layer by the spec and the project's files alone
pip_config_files  Reads the configuration of this machine's pip without starting pip
prefetch          Pulls layers from the team cache ahead of the build
project_site      The part of `api.Site` that reads the project
resolution        Resolves a node whose parents are known to its pins, files and key
scheduler         Carries out the plan of many envs on several threads, each node once
secret_values     The values of secrets that the caller gives, and what masks them
shared_layers     Pulls layers from the team cache and pushes them to it
site              `api.Site` for `resolve`: checked downloads, and containers on the stack below
source_lines      Finds the lines of the project's files that `envtool why` names
stack             The layers of one env, as known before a build and as stored; their variables and mounts
stack_files       Reads the merged files of a stack without a container
step_progress     Counts how far a step in a container is, in shared memory
tee               Keeps what a container prints, and emits it as Output events
unpack_image      Unpacks an image's archive into a layer
upgrading         `lock --upgrade NAME…`: chooses the answers of a lock that are asked again
variation         What `envtool verify` varies between two builds of one layer
vendor            Writes every pinned file of a spec to a folder or an archive
"""
