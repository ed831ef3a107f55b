"""Looking into the store and after it: what envs cost, what is damaged, what layers and envs hold, where two differ.

costs.py     what each env takes, and what a collection would leave of it
checking.py  every thing in the store against what its name or sheet says
merged.py    the files of a stack as its containers see them, by manifests
inspect.py   a layer or env, looked into
diff.py      packages and files of two
"""
