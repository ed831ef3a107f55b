"""Everything made twice under variation and compared: `envtool verify`.

sides.py      the two sides of a comparison: what differs between them that must not matter
worker.py     the process that makes one side (its environment, umask and hash seed are its own)
twice.py      that process as its parent sees it
clock.py      a libfaketime that fits a base
layers.py     layers: both sides, compared with each other, with the store, and with what a lock says
outputs.py    the same for the outputs of a task
archives.py   which members of two archives differ
result.py     what came of it
"""
