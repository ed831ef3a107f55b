"""The command line: one module per verb, imported when the verb is called. Only this package knows exit statuses.

build            `envtool build`
cache            `envtool cache`
cache_tables     text and JSON of `cache`
ci               `envtool ci`
command_target   what `exec` and `shell` run in: an env of a project, or `--base`
common_options   the options of every verb, the types of option values, completion, and the layout of help
completion       `envtool completion SHELL`
console          what the standard streams can show; chooses the display
diff             `envtool diff`
docs             writes docs/cli.md from the command line: `python -m envtool.cli.docs > docs/cli.md`
doctor           `envtool doctor`
down             `envtool down [SERVICE...]`
env              `envtool env ENV`
exec             `envtool exec ENV -- CMD…`
export           `envtool export`
fast_junit       `--junit` of an unchanged `test`
fastpath         the fast paths of `exec`, `test`, `build` and `run TASK`
fetch            `envtool fetch`
gc               `envtool gc`
import_spec      `envtool import`
import_text      text and JSON of `import`
init             `envtool init`
init_text        the text of a first envtool.yaml, and of the files that it includes
inspect          `envtool inspect`
inspect_tables   text and JSON of `inspect` and `diff`
interactive      builds an env and gives the terminal to a command in it: for `exec` and `shell`
list             `envtool list`
lock             `envtool lock`
lock_check_text  runs `lock --check`; its text and JSON
logs             `envtool logs [SERVICE...]`
main             parses argv, calls the verb, and turns errors into messages and exit statuses
missing_command  says which program was perhaps meant, where `exec` did not find one
plan             `envtool plan`
option_values    the values of options, as types
plan_text        the text of `plan`: what is done for each base and layer, why, and the sums
plugin_list      `envtool plugins`
plugin_verbs     the verbs of plugins, as commands of click
ps               `envtool ps`
push             `envtool push`
report_writer    writes the reports of a run: `--report`, `--junit`
run              `envtool run TASK`
sbom             `envtool sbom`
scale            `envtool scale SERVICE=N...`
schema           `envtool schema`
service_tables   text and JSON of `up`, `ps` and `logs`
session          runs work in a thread, shows its events, handles ^C: for all verbs that build layers
shell            `envtool shell ENV`
shim             `envtool shim DIR`
signals          handles ^C, SIGTERM and SIGHUP
store            `envtool store`
store_tables     text and JSON of `gc` and `store`
subverbs         verbs that have verbs below them: `store`, `import`
tables           tables; text and JSON of `list`, `plan`, `lock`, `fetch`, `export`, `push`, `doctor`
test             `envtool test`
up               `envtool up [SERVICE...]`
vendor           `envtool vendor`
verify           `envtool verify`
verify_tables    runs `verify`; its text and JSON
version          `envtool version`
why              `envtool why`
"""
