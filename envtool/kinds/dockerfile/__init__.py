"""Bases from Dockerfiles: each instruction that changes the tree becomes a layer of its own.

base            The kind `dockerfile`
base_images     Calls the kind `image` for the images that FROM and --from name
build_context   Decides which files of the project an instruction reads
copy_add        Reads COPY and ADD
copy_inside     Executes COPY, ADD and WORKDIR inside the build's container
dockerignore    Reads `.dockerignore` and matches paths against its patterns
layer_kinds     The kinds of the sublayers: RUN, COPY and ADD, WORKDIR, `scratch`, the first layer of an image
operations      RUN, COPY, ADD and WORKDIR as values: each becomes a layer
options         Reads the value under `dockerfile:`: the paths of the Dockerfile, its context and the ignore files
parser          Parses the text of a Dockerfile into instructions, with BuildKit's own parser
parts           Turns the stages of a Dockerfile into the base's sublayers
resolver        Answers for the kind `dockerfile`: its question, its pins, its sublayers, its configuration
run_mounts      Reads `RUN --mount=…`
shell_words     Expands variables and takes off quotes as BuildKit does
stages          Splits instructions into stages, and finds the stages and images that a target needs
translate       Reads a stage: its operations, and the configuration of its image"""
