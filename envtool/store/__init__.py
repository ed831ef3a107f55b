"""What is kept between runs. A thing appears whole, by one rename, or not at all; no index can disagree with the disk.

answer_cache         Remembered answers (pins, conflict checks), by question
blobs                Fetched files
caches               caches/<digest of the id>/<number>: directories that builds share from one run to the next
canonical            A tree -> the same tree in canonical form, its diff ID and its manifest
collect              Takes away what nothing needs
compare_trees        Where two trees differ
decompress           A compressed file -> its content in pieces
disk_errors          What is said when the system refuses something of the store: one sentence, and what to do
disk_limits          How much room the store may take
disk_usage           What things take on the disk: blocks, not lengths, and a file with many names once
download             Fetches -> blobs: in parallel, checked while they stream, each once on this machine
fetch_by_integrity   Files that are known by another hash than sha256 -> blobs, and what they are called here
fetch_sources        Where a pinned file may come from
gc                   One garbage collection: look, decide, take away
history              Earlier builds and earlier questions
inventory            What is in the store
json_documents       JSON documents of the store
layers               Captured layers, by key: `layers/<key>/{tree/,layer.json,manifest}`
leases               What a verb needs of the store for as long as it works: no gc takes it meanwhile
live_extract         An archive into a tree that is in use
locks                Advisory locks by name: flock(2) on `locks/<name>`
overlay_view         The files of a stack as its containers see them
packing              A captured tree -> its tar, plain or compressed, into a descriptor; and the digests of both
results              Remembered results
snapshots            Manifests of views, by digest: `views/<digest>`, compressed
sparse               Files with holes: written so that the holes stay, and summed as if there were none
store                Where the store is, and whether it may be used
tar_extract          A tree that members of an archive are put into, and never out of
tar_read             A tar stream -> its members
tar_write            Tar headers as bytes
temp_dirs            Directories below tmp/ that end with their owner
unpack_layer         An OCI layer tar
zip_read             A zip file -> its members, as `tarread` gives those of a tar
"""
