"""The Java plugin: the layer kind `maven`, and `language: java`.

build_recorder      Serves repositories to a container without a network, and records what is asked for
java_version_files  Which Java .java-version wants
jdk_releases        Releases of the JDK on servers with the interface of Adoptium
kinds               The layer kind `maven`: an offline repository; the keys of `language: java`; toolchain
language            `language: java`: a project's pom.xml as layers, and what `envtool init` writes
maven_versions      Which Maven a build wants, and which of a repository's it gets
plugin              The hooks that add all of this to envtool
poms                What a project's pom.xml files say: modules, repositories, and what of them decides a build
repositories        Where this machine's Maven looks: mirrors, repositories and credentials of settings.xml
repository_layout   The step of a build that lays files out in the container, as api.Call
resolver            A project's build in a container -> pins
scripts             What runs in the container that resolves
"""

__version__ = "0.3.0"
