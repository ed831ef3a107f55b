"""Images as bases: `source` says where one is, `pins` what is written down of one, `settle` finds it, `base` the kinds.

base             `image: NAME[:TAG][@DIGEST]`: a base that is an image, each of its layers one of ours as it is
image_archives   Images in one file: OCI layouts as a tar, and what `docker save` and `podman save` write
original         An image's own manifest and config, byte for byte, for it to be given back as it came
pins             What is written down of an image: digests, sizes, diff IDs, and how it is to be run
resolver         An image is asked for
source           `image: …` as it is written -> where the image is
"""
