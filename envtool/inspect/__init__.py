"""Looking into the store and after it: what envs cost, what is damaged, what layers and envs hold, where two differ.

contents       What lies in a layer or a stack, and who put it there
costs          What each env takes of the store, and what a collection leaves of it
diff           Where two layers or stacks differ: packages first, then files
remove_store   The whole store taken away: what is in use is waited for, and nothing goes that is not of a store
store_check    Everything in the store against what its name or its sheet says of it, on all processors
"""
