"""Images as bases: `source` says where one is, `pins` what is written down of one, `settle` finds it, `base` the kinds.

The kind `dockerfile` uses all but the last for what its stages stand on.
"""
