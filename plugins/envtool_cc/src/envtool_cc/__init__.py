"""The C and C++ plugin: `language: cc`, the layer kind `cc`, and hints for failed builds.

build_files      What CMakeLists.txt, meson.build, configure.ac and Makefile say about a project
debian_packages  Debian's packages of pkg-config modules, CMake packages, headers, libraries and programs
detection        What `envtool init` writes for a project
kinds            `language: cc`; the layer kind `cc`: variables for compiler, sanitizers and ccache; toolchains
language         A project's build files as layers
missing          What the output of a failed build says is missing, and the packages that have it
plugin           The hooks that add all of this to envtool
wheel_layouts    Runs in containers: the files of an unpacked wheel -> those of a program
wheel_releases   Build tools in wheels: versions and files
"""

__version__ = "0.3.0"
