"""The software bill of materials of a stack.

cyclonedx   A bill as CycloneDX 1.6, JSON
document    A bill as a value: the layers of a stack, and the packages in them
rendering   A bill as text, in one of the two formats
spdx        A bill as SPDX 2.3, JSON
"""
