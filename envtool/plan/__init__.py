"""Spec -> what stands on what (`graph`), and how that is shown (`plan`). Pure: no process, socket or file.

change_values       What `envtool why` says changed, as values, and how a JSON value is shown in one
compare_documents   Two key documents -> what changed, part by part
graph               The DAG of bases and layers behind a spec's envs
json_diff           Two JSON values -> the places where they differ
output_clashes      Which envs write the same outputs
package_names       What the name of a pinned file says: name and version, for the shapes that package archives have
plan                What will happen, as a value: `envtool plan` shows it, nothing else is decided here
selection           The words of `envtool why` -> the bases, layers and tasks that they mean
why                 Why a base or layer is cached, built or asked for: documents in, an Explanation out
why_task            Why a task is run again, or is not: result documents in, an Explanation out
"""
