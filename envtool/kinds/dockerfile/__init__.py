"""Bases from Dockerfiles, each instruction that changes the tree a layer of its own.

text ─ parse ─▶ Instructions ─ stages ─▶ Stages ─ translate ─▶ Acts and image config ─ parts ─▶ api.Parts
                                          words: variables and quotes      ignore: .dockerignore
"""
