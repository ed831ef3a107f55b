"""The team cache: what one machine built, for all others, in any OCI registry.

    sshsig      signatures and keys, as OpenSSH has them
    statement   what is signed: that a key came out as a diff ID, and in which blob that is
    shelf       statements and blobs under tags of one repository
    breaker     a registry that fails is left alone
    joining     who takes part, and with how much patience
    share       the cache of one command: asked, given, closed
    pushing     layers to there, behind a build's back
    show        what `envtool cache` shows
    tally       what came of it: events, and what the store remembers

It knows keys, layers and the registry; of specs, kinds and graphs it knows nothing.
"""
