"""The command line: one file a verb, imported when it is called. Only this room knows exit statuses.

app_interface    How verbs reach the rest
build            `envtool build`
cache            `envtool cache`
cache_tables     The team cache as text and JSON: what `envtool cache` prints
common_options  What every verb understands, before or after its name, and how help is laid out
completion       `envtool completion SHELL`
console          What the standard streams can show, and the display that suits them
diff             `envtool diff`
docs             docs/cli.md, written from the command line itself: `python -m envtool.cli.docs > docs/cli.md`
doctor           `envtool doctor`
exec             `envtool exec ENV -- CMD…`
export           `envtool export`
fastpath         The short ways of `envtool exec ENV -- CMD…` and of `test`
fetch            `envtool fetch`
gc               `envtool gc`
init             `envtool init`
init_text        The text of a first envtool.yaml, and of those that it includes
inspect          `envtool inspect`
inspect_tables   What `inspect` and `diff` print: tables for people, values for `--json` (docs/json.md)
interactive      What exec and shell share: make an env, then hand the terminal to a command in it
list             `envtool list`
lock             `envtool lock`
main             From argv to an exit status
plan             `envtool plan`
push             `envtool push`
run              `envtool run TASK`
sbom             `envtool sbom`
schema           `envtool schema`
session          What test, build and run share: run a task in many envs, show it, say how it ended
shell            `envtool shell ENV`
signals          Being asked to stop: ^C, SIGTERM, a closed terminal
store            `envtool store`
store_tables     What the verbs that look after the store print
tables           Values of the app as tables, trees and JSON: what list, plan and doctor print
test             `envtool test`
vendor           `envtool vendor`
verify           `envtool verify`
verify_tables    What `envtool verify` shows: a line a layer while it works, then every path that differs, as data
version          `envtool version`
why              `envtool why`
"""
