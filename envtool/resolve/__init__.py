"""Spec + what resolvers said -> Lock: its `file`, what goes into it and what of it no longer fits (`locking`)."""
