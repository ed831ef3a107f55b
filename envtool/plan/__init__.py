"""Turns a spec into a graph of bases and layers, a plan, and the reasons that `envtool why` gives. Pure: no process,
socket or file.

change_values      The changes that `envtool why` lists, as values, and how a JSON value is shown
compare_documents  Compares two key documents, or two questions, part by part
graph              The graph of the bases and layers behind a spec's envs and services
json_diff          Finds the places where two JSON values differ
output_clashes     Finds envs that write the same outputs
package_names      Reads name and version from the file name of a package
plan               What a run will do, as a value for `envtool plan`
selection          Finds the bases, layers and tasks that the words of `envtool why` name
task_graph         The tasks of one run, and all that they need, as a graph
why                Explains why a base or layer is cached, built or resolved
why_services       Compares the services beside a task in two result documents
why_state          Explains why the prepared state of a service is reused or made again
why_task           Explains why a task runs again, or does not
"""
