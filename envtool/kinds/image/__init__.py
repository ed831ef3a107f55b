"""Images as bases.

base             The kind `image`: each layer of the image is a sublayer
image_archives   Reads images in one file: tars of OCI layouts, and archives of `docker save` and `podman save`
original         Returns an image's own manifest and config, byte for byte
pins             The pins of an image: digests, sizes, diff IDs and configuration
resolver         Resolves an image to its pins, and finds its blobs
source           Parses the value under `image:`"""
