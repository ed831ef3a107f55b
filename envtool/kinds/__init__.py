"""Our own kinds of base and layer. Each uses `envtool.api` and nothing else of envtool, as a plugin would.

builtin          Offers our own kinds by the hooks that a plugin uses
copy             `copy`: files of the project into the stack
debian           Debian and Ubuntu: the `debian` base and the `apt` layer
dockerfile       Bases from Dockerfiles, each instruction that changes the tree a layer of its own
fetch            `fetch`: a file from a URL, pinned by its sha256, placed or unpacked
host             `host: {}`: this machine's own system as a base, read-only and without a download
host_files       What stands in this machine's system directories that no package database tells
image            Images as bases
in_place_steps   The steps of a layer that is built in the project's place
run              `run`: commands of one's own, in the stack below, offline unless they say otherwise
tarball          `tarball: {url or path, sha256}`: a base from an archive of a root file system
"""
