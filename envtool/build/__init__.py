"""Plan + store + container -> layers.

setting.py   what realising needs of the world, as one value
settle.py    a node on known ground -> its pins and its key (asks `resolve` only when nothing is remembered)
site.py      the world as a kind's `resolve` may use it
build.py     a recipe -> a captured layer in the store, offline
variation.py  what may differ between two builds and must not matter
inside.py    steps that run inside the container (unpack, place)
stacks.py    the stacks of all envs, each node made once, in parallel
"""
