"""Bases from Dockerfiles, each instruction that changes the tree a layer of its own.

base            `dockerfile: FILE`: a base that is what a Dockerfile builds
base_images     The images that stages stand on
build_context   Which files of the project an instruction means
copy_add        COPY and ADD, read
copy_inside     COPY, ADD and WORKDIR, done: runs inside a build's container, where `/` is the stack and nothing
dockerignore    `.dockerignore`
layer_kinds     The kinds of the parts that a Dockerfile's instructions become
operations      What a stage does to its tree, as values: each becomes a layer
options         The value under `dockerfile:` as it is written -> the Dockerfile, its context, and what both ignore
parser          A Dockerfile's text -> its instructions: moby/buildkit's own parser, by its binding `dockerfile`
parts           A Dockerfile with its images known -> the parts of the base
resolver        What a base of kind `dockerfile` is made of: its questions, its pins, its parts
run_mounts      `RUN --mount=…`: one line of comma-separated options -> what is mounted
shell_words     Variables and quotes as Dockerfiles have them (moby/buildkit, frontend/dockerfile/shell/lex.go)
stages          Instructions -> stages, and which of them a build needs
translate       A stage's instructions -> its acts and its image's configuration
"""
