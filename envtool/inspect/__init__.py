"""Examines what the store holds: contents, differences and costs of layers and envs, and damage.

contents      reports what is in a layer or a stack, and which layer and package put a file there
costs         computes what each env takes of the store, and what remains after a garbage collection
diff          compares the packages and files of two layers or stacks
remove_store  removes a whole store, once no process uses it
store_check   checks every item of the store against its name and its document, and repairs the store
"""
