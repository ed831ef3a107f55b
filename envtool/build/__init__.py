"""Plan + store + container -> layers.

assess            What can be said of every base and layer without asking the network and without building
builder           A recipe -> a layer in the store
container_steps   Steps that run inside a build's container
context           What realising and running need of the world, as one value that is handed down
disk_space        Room on the disk before something is made or fetched
explain           Gathers what `envtool why` is told from
extra_mounts      What a recipe shows beside the stack
failure_hints     What a failing command's output says about the container
fetch_all         The pinned files of a whole spec, without building more than it takes to know them
fetch_files       The files of a layer -> the blob store
host_network      What a container with the host's network gets beside it
locking           What goes into a lock, and what of a spec a lock has no answer for
network_errors    Whether a command that failed wanted a network, by its last words
node_checks       What the spec and the project's files alone tell of a base or layer
parents           What a layer is made on
prefetch          What the team cache has of a stack, known and on its way before anything of the stack stands
project_site      The part of `api.Site` that is about the project: nothing is fetched or run for it
resolution        A node whose ground is known -> its pins, its files and its key
scheduler         The stacks of many envs: each node is made once, whoever asks first; the others wait for it
shared_layers     Layers from the team cache
site              The outside world as a kind's `resolve` may use it
source_lines      Where in the project's files the things stand that `envtool why` names
stack_files       The merged files of a stack
step_progress     How far a step is that runs in a container, as its processes count: memory that they share with us
sublayers         The parts of bases that are known without asking anybody
tee               What a container prints: kept in a file, and passed on as Output events while it comes
tracking          One piece of work as its two events: Started, and Finished however it ends
unpack_image      A layer that is an image's archive as it is
upgrading         `lock --upgrade NAME…`: which answers of a lock are asked for again
variables         How variables of layers and envs go together
variation         What may differ between two builds of one layer and must not matter, as a value (`envtool verify`)
vendor            Every pinned file of a spec
"""
