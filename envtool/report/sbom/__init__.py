"""The software bill of materials of a stack, as a value and in the two formats that others read.

cyclonedx   A bill as CycloneDX 1.6, JSON
document    A software bill of materials as a value: the layers of a stack, and the packages in them
rendering   A bill -> its text, in one of the two formats
spdx        A bill as SPDX 2.3, JSON
"""
