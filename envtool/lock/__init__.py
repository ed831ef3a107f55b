"""`envtool.lock`: the pins that each question of a spec resolved to, as a value and as text. Only `file` touches the
disk.

lock          the lock as a value, and whether it answers a question
text_format   the lock as text: JSON, deterministic, one item a line, so that diffs and merges are small
file          reads and writes `envtool.lock`, beside the spec and named like it
diff          what changed between two locks: the table that `envtool lock` prints
"""
