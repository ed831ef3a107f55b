"""Reads and writes images by the OCI specifications: references, documents, layouts, and registries.

auth          authenticates to a registry: answers its challenges, and gets bearer tokens
credentials   finds the credentials that this host has for a registry
documents     parses manifests, indexes and configs, strictly: they come from strangers
hosts         reads how this host reaches a registry: mirrors, plain HTTP, certificates
http          sends one request to a registry, and turns its status into an error
layout        reads directories in the OCI image layout
media_types   media types of image layers, by the OCI image specification 1.1 (layer.md) and by docker
platforms     chooses the manifest of an index for a platform
reference     parses references to images: NAME[:TAG][@DIGEST]
registry      the client of a registry (OCI distribution specification 1.1): pulls and pushes images
serialize     writes manifests, indexes and configs as canonical JSON, so that equal images have one digest
upload        pushes blobs, manifests and indexes to a registry
"""
