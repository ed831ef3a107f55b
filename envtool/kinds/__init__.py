"""envtool's own kinds of base and layer. They implement `envtool.api.Kind`, as a plugin's kinds do.

builtin          Registers these kinds by the hooks that a plugin uses
copy             The kind `copy`: files of the project
debian           Debian and Ubuntu: the kinds `debian` and `apt`
dockerfile       The kind `dockerfile`: a base that a Dockerfile builds
early_scan       Begins the scan of host_files before the spec is read, in a process of its own
fetch            The kind `fetch`: a file from a URL, pinned by its sha256, placed or unpacked
host             The kind `host`: this machine's own system as a base, read-only
host_files       Scans the system directories for files that belong to no package, for the kind `host`
image            The kind `image`: images as bases
in_place_steps   The steps inside the container of a layer that is built in the project's place
run              The kind `run`: shell commands
tarball          The kind `tarball`: a base from an archive of a root file system"""
