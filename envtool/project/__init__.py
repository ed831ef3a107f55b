"""The project as its tasks see it: a digest of every file that git lists, from the stats of what was hashed before.

look.py     the digest: names from git, contents from our own record. On the warm way of `envtool test`
logs.py     files that our own output goes into: as if they were not there
record.py   that record, one file a project (and one with the hashes, read where something changed)
compare.py  what was touched between two looks; the manifest that a digest is of
"""

OWN = ".envtool"  # our directory in a checkout, never part of the view: results, logs
VENDOR = "envtool.vendor"  # pinned files that lie in the checkout: no part of the view either, but of what it stands on
