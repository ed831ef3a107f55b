"""Everything made twice under variation and compared: `envtool verify`.

clock              A libfaketime for each base, from the base's own archive, so that it fits the C library there
compare_archives   Which members of two archives differ, and in what
comparison         What came of a comparison
diffoscope         diffoscope's report on what differs, where it is installed: https://diffoscope.org
layers             Layers made twice and compared
outputs            A task run twice, in two checkouts, and what it puts out compared
run_all            All that was chosen
selection          What is to be verified, by the names that were given
variations         The two sides of a comparison
worker_client      A worker as its parent sees it
worker_main        The process that makes one side of a comparison
"""
