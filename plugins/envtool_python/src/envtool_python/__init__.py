"""Python for envtool: the layer kinds `pip` and `python-project`, and `language: python`.

agent_script            Our program that runs under the container's Python
beside                  What belongs beside the sources
calls                   Calls of pip that go into one environment, one after the other
checkout_projects       Projects of the checkout by their names
compiling               .py files of what was installed, and their .pyc files
decode                  Bytes of a project's files -> text, by the rules of those who read them
dependency_sources      Where a project says that its requirements come from, beside the index that pip looks at
detect                  What `envtool init` writes for a Python project
editable                Which files of a project an editable install depends on
find_links              `--find-links DIRECTORY` of requirement files and layers
inside                  Runs in containers
installed               Which Python distributions a stack has
kinds                   The layer kinds `pip`
language                `language: python`: what a test env of a Python project needs, read from the project's own
layer_inputs            The project's files as a layer may read them
metadata                What pyproject.toml, setup.py and the tree say about a project
missing_libraries       What a failed build's output says is missing on the system, and the package that has it
package_layout          Is a project a package, one that its tool would install? Pure
pins                    What is written down of a virtual environment, and what follows from it alone
pip_calls               What a layer's options ask pip for, read from the project's files
pip_config              The host's own pip configuration: where files come from
pip_messages            What pip says of requirements that it cannot settle
plugin                  The hooks: what this distribution adds to envtool
poetry                  Poetry's own notation of dependencies -> PEP 508 lines
project_indexes         Which index a project names for all of its requirements
python_versions         Which Python an env has
requirement_checks      Requirement lines that pip would refuse
requirements            Requirement files, dependency groups and extras -> lines for pip
requirements_of_tests   What a project's tests require, beside what it requires itself
resolver                Lines -> pins
sdist                   The layer kind `sdist`
simple_index            Where a file of the index is
source_values           Values of the spec's `sources`
tagged                  Versions from tags, as far as only a container may do it
test_config             What a project's own test configuration says that its tests need
versions                A version for projects whose build backend asks version control
"""

__version__ = "0.3.0"
