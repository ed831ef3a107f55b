"""The project as its tasks see it: a digest of every file that git lists, from the stats of what was hashed before.

discovery        Which spec counts that is found above the directory one stands in
git              How git is started: on a git directory of ours, never on one that another user wrote
host_access      The one gate to files and variables of this machine that a spec, a lock or a checkout names
inputs           What a layer depends on
neighbours       What the repository around a project has beside it
own_logs         The logs of this run
programs         Programs of this machine that are started by their names: found by PATH, and never in a checkout
refs             What a repository has checked out, and its tags: read from its own files (HEAD, packed-refs, refs/)
repository       Which repository a project is in
rundir           Where what a run leaves can be read afterwards: `.envtool/last/` in the project
snapshot         The digest of a project's view: of every file that git lists, what a task can tell of it
snapshot_cache   What was seen when a project was last hashed
snapshot_diff    Two looks at a project, and what a digest is of
source_files     The project's files
symlinks         Where the links of a project lead
walk             The files of a project that git does not list for us
"""

OWN = ".envtool"  # our directory in a checkout, never part of the view: results, logs
VENDOR = "envtool.vendor"  # pinned files that lie in the checkout: no part of the view either, but of what it stands on
