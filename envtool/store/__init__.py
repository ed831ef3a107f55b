"""What is kept between runs. A thing appears whole, by one rename, or not at all; no index can disagree with the disk.

store.py      where it is, and whether it may be used
locks.py      flock by name, between threads and processes
scratch.py    directories that end with their owner, and what crashed owners left
blobs.py      fetched files by sha256
download.py   fetches -> blobs, in parallel, each once on this machine
layers.py     captured trees by key
canonical.py  a tree -> canonical tree, diff ID and manifest (runs inside the container's user namespace)
compare.py    where two trees differ
ocitar.py     tar headers as bytes
memo.py       remembered answers by question

blobs/sha256/ab/<hex>   layers/<key>/{tree/,layer.json,manifest}   memo/<hex>.json   plans/   tmp/   locks/
"""
