"""Files and directories that others may write to, and small reads and texts of the file system.

directory       an open directory, the only way in which anything is changed below it, and files that appear whole
changes         which states of a directory follow from each other by what this process did in it
caller_paths    directories and files at paths that the caller named
beneath         paths opened below a directory, without leaving it (openat2(2), RESOLVE_BENEATH)
rootpaths       paths in a tree that is not the root
passwd          who a name is in a tree's own /etc/passwd and /etc/group
trusted_paths   whether nobody else can put another file in a path's place
store_files     how the store's own files are read, and its short cuts written
hashing         hashes of large files, which can be stopped
globs           path patterns, matched in linear time
sizes           sizes as people and protocols write them
"""
