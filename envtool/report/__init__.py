"""Reports of a run: the terminal, `--json`, JUnit and the bill of materials. Displays subscribe to one event stream.

columns          Where the columns of a line begin
error_text       An error as text
formatting       One line of a report: finished, running and total
hooks            Registers readers of output and formats of reports, as a plugin does
json_lines       `--json`: one object a line
junit            JUnit XML for CI systems
junit_cases      The tests of a task as testcases of JUnit XML
line_buffer      Output of several tasks or builds as whole lines with prefixes
markdown         A report in Markdown, for summary pages of CI systems
plain            The display for pipes, CI, dumb terminals and -q
progress         The state of running work, kept from events
recorder         Records the tasks of a run, and writes the reports about it
sbom             The software bill of materials, as CycloneDX and SPDX
source_excerpt   A problem of a spec with its source line
stream           The queue between workers that emit events and their subscribers
summary          The end of a run: failures, what to type, totals
terminal         The live display
test_counts      The counts of tests in the output of test runners
text             Untrusted text made safe, and text fitted to a screen
unchanged        The lines of unchanged tasks, with few imports
why              The text and JSON of `envtool why`
width            The columns that a text takes
"""
