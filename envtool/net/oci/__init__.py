"""What the OCI specifications say, as values and plain functions: references, documents, layouts, and registries.

Knows no spec, plan or store. Importing a module of it has no side effects; `requests` comes with the first request.

    reference   NAME[:TAG][@sha256:…] as text and as a value
    documents   media types, descriptors, manifests, indexes, configs: read strictly, written canonically
    platforms   which manifest of an index this machine runs
    layout      directories in the OCI image layout
    registry    Client: the distribution protocol, pull and push
    hosts       how this host reaches registries: mirrors, plain HTTP, private authorities
    credentials what this host knows for a registry: docker's and podman's files, and their helpers
"""
