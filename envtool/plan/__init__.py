"""Spec -> what stands on what (`graph`), and how that is shown (`plan`). Pure: no process, socket or file."""
