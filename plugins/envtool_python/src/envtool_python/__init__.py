"""The Python plugin: the layer kinds `pip`, `python-project` and `sdist`, and `language: python`.

agent_script            The commands that run inside.py and with_uv.py in a container, and their files there
as_pip_writes           Runs in containers: what uv installed -> the tree that pip installs
beside                  Runs in containers: files that a build writes beside the sources
calls                   Runs in containers: several calls of pip for one environment
checkout_projects       The projects of a checkout by their names
compiling               Runs in containers: compiles .py files of installed distributions
decode                  Bytes of a project's files -> text
declared_builds         What a build needs, where pyproject.toml says all of it
dependency_sources      Sources that a project names for its requirements, beside the index
detect                  What `envtool init` writes for a Python project
editable                Which files of a project an editable install depends on
find_links              `--find-links DIRECTORY` of requirement files and layers
inside                  Runs in containers: resolves with pip, builds environments
installed               Which Python distributions a stack has
kinds                   The layer kinds `pip` and `python-project`
language                `language: python`: its options, and which layers it makes; the key `coverage`
layer_files             The project's files that a layer's options name
layer_inputs            The project's files as a layer may read them
lock_files              Which lock file a project has, and what of it decides an env
locked_packages         The values that the readers of lock files return
locked_resolver         A lock file -> the files of a layer
locked_selection        What of a lock file an environment installs
metadata                What pyproject.toml, setup.py and setup.cfg say about a project
missing_libraries       Which packages have the files that a failed build misses
missing_modules         Which modules a failed task missed
package_layout          Whether a project is a package, and what tests may import from its directory
pdm_lock                pdm.lock -> LockFile
pins                    The pins of a virtual environment
pip_calls               What a layer's options ask pip for
pip_config              The host's own pip configuration, and the host's pip
pip_messages            Explanations of pip's errors
plugin                  The hooks that add all of this to envtool
poetry                  Poetry's notation of dependencies -> PEP 508 lines
poetry_lock             poetry.lock -> LockFile
project_indexes         The index and the bounds that a project sets for all requirements
project_layers          The layers of `language: python`, from the project's own files
pylock                  What uv chose -> entries of pins
pylock_toml             pylock.toml (PEP 751) -> LockFile
python_releases         Builds of CPython as uv finds them
python_toolchain        The toolchain python
python_version_files    Which Python the files of a project want
python_versions         Which Python an env has and a project wants
requirement_checks      Requirement lines that pip would refuse
requirement_file        `envtool requirements ENV`
requirements            Requirement files, dependency groups and extras -> lines for pip
requirements_of_tests   What a project's tests require
resolver                Requirement lines -> pins
sdist                   The layer kind `sdist`
simple_index            URLs of files, from the pages of indexes
source_values           Values of the spec's `sources`
tagged                  Runs in containers: versions from tags
test_config             What tox's and pytest's configuration says that tests need
test_output             What pytest and unittest print about their tests
uv_config               pip's configuration of the host -> variables of uv
uv_lock                 uv.lock -> LockFile
uv_metadata             Runs in containers: what the packages that uv chose say of themselves
uv_resolver             Requirement lines -> pins, by uv where it can
uv_wheels               The uv that resolves and installs
versions                Versions from version control, for builds
with_uv                 Runs in containers: resolves and installs with uv
"""

__version__ = "0.3.0"
