"""The team cache: what one machine built, for all others, in any OCI registry.

circuit_breaker   A registry that fails is asked no more in this run
client            A team cache as one command uses it
client_context    What a team cache needs of the command that it works for
connect           Taking part in a team cache: who may, and with how much patience
payloads          What is pushed, as one blob each: a layer's tree, or what is remembered of a run
push_queue        What was made here -> the team cache, by threads of their own: a build never waits for them
registry_store    Statements and blobs under tags of one repository
signatures        Ed25519 signatures in OpenSSH's format
statement         What is signed
stats             What came of a team cache: in this run, and on this machine so far (store/answer_cache)
status            What `envtool cache` shows: how it is set up, what came of it on this machine, and what is there
"""
