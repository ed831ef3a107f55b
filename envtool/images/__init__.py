"""Exports an env's stack as an OCI image: to a layout, an archive or a registry.

assemble        Puts the blobs and the manifest of an image together
devcontainer    Renders `.devcontainer/devcontainer.json` for an env's image
export          `envtool export`: writes an image to a file, a directory or standard output
image_blobs     Writes the bytes of an image's layers, and checks them against their digests
image_config    Makes an image of an env on its stack: its layers and its config
layout          Writes an image into a directory in the OCI image layout
project_links   Links to the directories of layers that are visible inside the project
push            `envtool push`: uploads an image to a registry
runtime_layer   The top layer of an image: the user of tasks, their home, and the project
tar_archive     Writes an image as one tar file: `oci-archive`, `docker-archive`
target          Parses what `envtool export ENV [PATH]` names: format, path and image name
"""
