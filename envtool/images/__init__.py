"""Images given back: a made stack as an OCI image, written to a layout, an archive or a registry.

image      an env and its stack -> the image: config, layers, where their bytes are
ground     the small layer that makes containers of others like ours: user, home, /project
content    the bytes of a layer, plain or compressed, written and checked
layout     directories in the OCI image layout
archives   one tar file: oci-archive, docker-archive
push       to a registry
devcontainer  the file with which editors open the image
"""
