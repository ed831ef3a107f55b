"""Events to words: the terminal, `--json`, JUnit. Every one is a subscriber to the one stream (stream.py).

columns          Where the columns of a line begin
error_text       How an error reads: what, where, why, what now
formatting       How things read on one line
json_lines       `--json`: one object a line on standard output, each as soon as it happens
junit            JUnit XML, as CI systems read it: a testsuite for each env, a testcase for each task
line_buffer      Output of several pieces of work on one screen: whole lines, each with the name of whose it is
plain            The display where nothing can move: pipes, CI, dumb terminals, -q
progress         What is running now, kept from events: the state behind the live and the plain display
sbom             The software bill of materials of a stack, as a value and in the two formats that others read
source_excerpt   A Problem as text: what, where, the line with carets, what now
stream           The queue between the workers
summary          What is said when all is over
terminal         The live display
test_counts      What a task's tests came to
text             Text of others, made safe to show and fitted to a screen; numbers, made short
unchanged        How a run that is remembered reads
why              How `envtool why` reads: what, since when, what changed and where, what did not
width            How many columns of a terminal a text takes: the one measure of it
"""
