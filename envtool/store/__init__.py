"""The store keeps layers, files and results between runs: each appears complete, by one rename, or not at all, and no
index can disagree with the disk.

answer_cache         remembers answers (pins, conflict checks) by question
archive_members      keeps single files of zip archives as blobs, so that they are decompressed once
blobs                keeps fetched files by the sha256 of their content
cache_generations    keeps directories that tasks keep from run to run: `caches/<key>/0/<generation>/tree`
caches               keeps directories that builds share from one run to the next: `caches/<digest of the id>/<number>`
canonical            brings a tree into canonical form, and computes its diff ID and manifest
collect              decides which items gc removes, and removes them
compare_trees        lists the differences between two trees
decompress           reads a compressed file in pieces, and bounds what archives unpack to
disk_errors          turns an error of the system on the store's disk into a message and a hint
disk_limits          reads how much space the store may take
disk_usage           measures disk usage in blocks, with each hard-linked file counted once
download             downloads pinned files into blobs, in parallel, with each file checked while it streams
extract              extracts the members of any archive into a tree, by rules
extract_tree         finds and makes the directories of an extracted tree, and never leaves it
fetch_by_integrity   downloads files that are known by another hash than sha256
fetch_pool           runs transfers in parallel, and emits their progress
fetch_sources        lists the places that a pinned file may come from
find_secret          looks for secrets in a captured tree
garbage              finds and removes files that no process will read again
gc                   runs one garbage collection: takes the inventory, decides, removes
history              reads earlier builds and earlier questions from the store
inventory            lists what is in the store, with sizes and times of last use
json_documents       reads and writes JSON documents with a checksum
layers               keeps captured layers by key: `layers/<key>/{tree/,layer.json,manifest}`
leases               keeps what a command needs safe from gc for as long as the command works
locked_directory     makes a directory of tmp/ with its lock
locks                takes advisory locks by name: flock(2) on `locks/<name>`
overlay_view         computes from manifests which files the containers of a stack see
packing              writes a captured tree as a tar, plain or compressed, with the digests of both
merge_trees          merges the trees of an overlay into one directory, by hard links
record_results       stores the results of passed tasks, and bounds their number
results              reads the results of passed tasks by key
snapshots            keeps the manifests of project snapshots: `views/<digest>`, compressed
sparse               writes files with holes, and computes their CRC-32
store                finds, opens and checks the store's directory
tar_read             reads a tar stream member by member
tar_write            writes tar headers
temp_dirs            makes directories below tmp/ that are removed after their owner's end
unpack_archive       unpacks an archive into a tree that is in use: for ADD, `fetch` and `tarball:`
unpack_layer         unpacks an OCI layer tar into a layer's tree
zip_read             reads a zip file member by member, in the form of tar_read
"""
