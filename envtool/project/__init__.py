"""The project as its tasks see it: which files it has, and a digest of them; and the access to files of this machine.

discovery        Finds the spec of a directory: envtool.yaml there or above
git              Starts git on an empty git directory of envtool's own, never on one that another user wrote
host_access      Opens every file and variable of this machine that a spec, a lock or a checkout names
inputs           Finds the files that a layer depends on, hashes them, and copies them for a build
listing          Lists the project's files, by git or by a walk: which names it has, and which of them count
neighbours       Finds files of one name elsewhere in the repository around a project
one_off_directory  The directory of a command that needs no project, in the store
own_logs         Finds the project's files into which this run's own output goes
programs         Finds programs of this machine by PATH, but never in a checkout
refs             Reads what a repository has checked out, and its tags (HEAD, packed-refs, refs/)
repository       Finds the repository of a project, and reads small files of it
rundir           The directories `.envtool/runs/…` and `.envtool/last` in which runs leave logs and evidence
snapshot         The digest of a project's files at one moment
snapshot_diff    Compares two snapshots, and returns the text that a digest is of
source_files     The project's files and repositories for pure steps and containers, and what git hides
submodules       Finds the submodules that are not checked out
symlinks         Follows the symlinks of a project
walk             Lists the files of a project that is in no repository
"""

OWN = ".envtool"  # envtool's directory in a checkout, with logs and evidence: never part of a snapshot
VENDOR = "envtool.vendor"  # pinned files in the checkout: no part of a snapshot, but of the layers below it


def is_own_path(name: bytes) -> bool:
    """Returns whether a path of the project is in one of these: never a file of the project."""
    return name == b".envtool" or name.startswith((b".envtool/", b"envtool.vendor/"))
