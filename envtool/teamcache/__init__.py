"""The team cache shares the layers and results of one machine with all others, through any OCI registry.

circuit_breaker   stops asking a registry that fails, for the rest of the run
client            pulls and pushes for one command
client_context    what a client gets from its command: store, registry clients, events
connect           makes the client of a command, if the spec and the machine allow one
payloads          packs a layer's tree, or a result, as one blob
push_queue        pushes in threads of its own, so that a build never waits
registry_store    keeps statements and blobs under tags of one repository
signatures        makes and checks Ed25519 signatures in OpenSSH's format
statement         the signed statement about a layer or result: its key, diff ID and blob
stats             counts hits, misses and bytes, of this run and in total
status            collects what `envtool cache` shows: set-up, counts, and contents of the registry
"""
