"""Debian and Ubuntu: the `debian` base and the `apt` layer.

suites     which suite belongs to which archive, and what an architecture is called there
mirrors    where the archive is: the spec, a variable, the host's own apt configuration
release    a signed InRelease -> the hashes it vouches for
index      Packages -> the stanza of a name, parsed when it is asked for
closure    names -> everything they need
archive    deb, tar and their compressions, member by member
unpack     debs -> files and dpkg's database, inside the container
bootstrap  the commands that make an unpacked tree a configured system
base, apt  the two kinds
"""
