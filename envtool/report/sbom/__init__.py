"""The software bill of materials of a stack, as a value and in the two formats that others read.

The same stack gives the same document, byte for byte: its time is the stack's epoch, its identity the stack's digest.
The libraries that write it are an extra of this distribution: only `cyclonedx` and `spdx` import them.

document    the value
rendering   value -> text, by the format's name
cyclonedx   as CycloneDX 1.6
spdx        as SPDX 2.3
"""
