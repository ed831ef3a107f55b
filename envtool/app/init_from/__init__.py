"""Takes the files of other tools over: their text -> the text of an envtool.yaml, and a note for each thing that means
something else here, or nothing. Nothing of the project is executed. Compose files are read by `app.compose`.

debian_pythons    which Debian release has which Python
devcontainer_env  a devcontainer.json as an env
dockerfile_env    a Dockerfile as the base of an env
ini_lines         reads an ini file as configparser does, with the line of each value
install_words     the words of `pip install` as requirements, files of them, and extras of the project
nox_session       what the body of a session of nox installs and runs
nox_values        literal values, names and f-strings of a noxfile, without executing it
noxfile           the sessions of a noxfile.py as envs
python_env        what a Python environment installs and runs as the keys of an env
quoted_words      a list of words as a command of a shell
take_over         chooses the reader of a file, and checks what it returns
taken_spec        an env that was taken over, and the text of the spec
tox_envs          one environment of tox as an env
tox_factors       names of environments, and the lines that hold for one of them
tox_ini           the environments of a tox.ini as envs
tox_values        tox's substitutions: `{posargs}`, `{env:NAME:default}`, `{[section]key}`
workflow          the jobs of a workflow of GitHub as envs
workflow_actions  the actions of a workflow that a spec has a counterpart for
workflow_expressions GitHub's expressions, as far as their value is in the file
workflow_job      one job of a workflow, at one point of its matrix, as an env
workflow_matrix   the points of a job's matrix
workflow_scripts  what the script of a step installs and runs
workflow_services the services of a job
"""
