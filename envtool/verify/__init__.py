"""Builds layers and task outputs twice under variation, and compares them: `envtool verify`.

clock              Gets libfaketime from the archive of each base, so that it fits the base's C library
compare_archives   Lists the members in which two archives differ
comparison         The result of one comparison, as a value
diffoscope         Runs diffoscope on the files that differ, if it is installed
layers             Builds a layer twice and compares the builds, the store and the lock
outputs            Runs a task twice, in two checkouts, and compares its outputs
run_all            Verifies all selected layers and tasks, several at once
selection          Selects what to verify, by the names on the command line
variations         What differs between the two builds: paths, environment, clock, order of directories
worker_client      Starts a worker process for one build and reads its answer
worker_main        The worker process
"""
