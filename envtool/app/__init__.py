"""What each verb of the command line does, one function a verb; the packages below do the steps.

all_problems     completes an error about the project or the caller with all others of the same sort
command_request  the values of the command line; finds the spec and selects the envs that they name
compose          takes a Docker compose file over, as a spec
env_programs     the variables and programs of an env: `env`, `shim`
init_from        takes the files of tox and nox over, as a spec
env_stack        builds the stack of one env, and runs a command in it: `exec`, `shell`
image_output     writes an env as an image, pushes it, and lists its packages: `export`, `push`, `sbom`
import_compose   reads compose files and writes the spec: `import compose`
inspection       reads layers and stacks in the store: `inspect`, `diff`
installed_plugins lists plugins, their files, and what each adds: `plugins`
joined_languages one env for the tests of two languages, where those of one start programs of the other
limits_of_run    the limits of one run, and whether they can be enforced here
lock_file        writes and checks the lock, and fetches what it pins: `lock`, `fetch`, `vendor`
machine_checks   checks the machine, the store and config.yaml: `doctor`
maintenance      measures, checks, cleans and removes the store: `gc`, `store`
make_plan        says what would be built: `plan`
makefile         finds the programs that a target of a Makefile calls
one_off_spec     writes the spec of a command that needs no project: `exec --base`, `shell --base`
open_project     opens a project: spec, graph, lock, permissions and store
output_files     says before anything runs that a file for an output cannot be written
permissions      reads what the caller allows projects to have of this machine
project_pins     the pins of an env's base and layers, for verbs of plugins
read_spec        reads the spec alone: `list`
run_graph        runs a graph of tasks, each when all that it needs have passed
running_services shows, stops, scales and enters services that run: `ps`, `down`, `scale`, `logs`
shims            writes scripts that run programs of an env: `shim`
spec_schema      the JSON Schema of a spec, with the kinds of the installed plugins: `schema`
starter          detects what a project without a spec is, and checks its first spec: `init`
tasks            runs a task in every env that has it, in parallel: `test`, `build`, `run`
team_cache       shows the team cache, and creates signing keys: `cache`
up               starts services, or changes those that run: `up`
verify_builds    builds layers and outputs twice and compares them: `verify`
why              explains why bases, layers and tasks are cached or not: `why`
writable_env     the checkout that a command of `exec` or `shell` writes to: `--writable`
"""
