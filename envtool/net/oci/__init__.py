"""What the OCI specifications say, as values and plain functions: references, documents, layouts, and registries.

auth          Getting in: what a registry demands with a 401, and the header that answers it
credentials   What this host knows for a registry
documents     The documents of images, as values: read strictly from what a stranger serves
hosts         How this host reaches a registry
http          One request to a registry: the header that lets us in, and what a status means
layout        Directories in the OCI image layout
media_types   Media types of the layers of images: OCI image specification 1.1 (layer.md), and docker's
platforms     Which manifest of an index a machine runs
reference     References to images: NAME[:TAG][@DIGEST], by the grammar of github.com/distribution/reference
registry      The distribution protocol (OCI distribution specification 1.1): pull from registries, push to them
serialize     Manifests, indexes and configs as bytes: canonical JSON, so that the same image has one digest
upload        Pushing to a registry: a blob is sent once, and a manifest after all that it names
"""
