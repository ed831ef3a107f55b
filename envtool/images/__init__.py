"""Images given back: a made stack as an OCI image, written to a layout, an archive or a registry.

assemble        An image -> its blobs and its manifest: which bytes each layer has when it is given away
devcontainer    `.devcontainer/devcontainer.json` for an env's image
export          `envtool export`: a made stack, written to where somebody asked for it
image_blobs     The bytes of an image's layers
image_config    An env on its stack -> an image
layout          A directory in the OCI image layout
project_links   Directories of layers that are seen inside the project
push            `envtool push`: a made stack, as an image in a registry
runtime_layer   The layer on top of an exported stack
tar_archive     One tar file that tools load
target          Where an image is written, and as what: what `envtool export ENV [PATH]` means
"""
