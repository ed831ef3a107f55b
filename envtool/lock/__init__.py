"""`envtool.lock`: what every floating thing was settled to, as a value (`lock`), as text (`text`), and what two of them
differ in (`changes`). Pure: no process, socket or file.

diff          What moved between two locks: the table that `envtool lock` prints
file          `envtool.lock` on disk: beside the spec, named like it
lock          The lock as a value, and whether it answers what a spec asks
text_format   The lock as text: JSON, deterministic, one item a line, so that diffs and merges are small
"""
