"""Stacks -> Results.

result.py    what a run came to, as a value
describe.py  an env on its stack -> the container that its tasks run in (pure)
tasks.py     runs a task: output, evidence, outputs
ready.py     the plan cache: what a warm `envtool exec` needs, in one small file
"""
