"""The Node.js plugin: the layer kind `npm`, and `language: node`.

building       The steps of a build that run in the container, as api.Call
installed      Which npm packages a stack has
kinds          The layer kind `npm`: node_modules of a project
language       `language: node`: a project's package.json as layers, and what `envtool init` writes
lockfile       package-lock.json and npm-shrinkwrap.json -> the tarballs of an installation
npmrc          The host's own npm configuration: registries and credentials
package_json   What package.json says about a project
places         Paths in containers, and npm's settings there
plugin         The hooks that add all of this to envtool
resolver       The files of a project -> pins
test_output    What node --test, Jest, Mocha and Vitest print about their tests
"""

__version__ = "0.3.0"
