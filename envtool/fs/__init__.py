"""Safe access to files and directories that others may write to, and small helpers for paths, hashes and sizes.

directory       an open directory, through which every change below it is made, and files that are replaced atomically
changes         which states of a directory follow from each other by changes of this process alone
caller_paths    opens directories and files at paths that the caller named
beneath         opens a path below a directory without leaving it (openat2(2), RESOLVE_BENEATH)
removal         removes a tree of any depth
rootpaths       resolves a path in a tree that is not the root
passwd          looks users and groups up in a tree's own /etc/passwd and /etc/group
tree_walk       walks a tree of any depth
trusted_paths   checks that nobody else can put another file in a path's place
store_files     reads the store's own files, and writes its short files with a checksum
hashing         hashes large files, and can be stopped
globs           path patterns, matched in linear time
masking         replaces secrets in output, and finds them in files
sizes           parses and formats sizes
"""
