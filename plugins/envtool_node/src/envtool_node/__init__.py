"""The Node.js plugin: the layer kinds `npm`, `pnpm` and `yarn`, and `language: node`.

building          The steps of a build that run in the container, as api.Call
installed         Which npm packages a stack has
kinds             The layer kinds: node_modules of a project, and `toolchain: {node: …}`
language          `language: node`: a project's package.json as layers, and what `envtool init` writes
locked_sources    What the lock files of pnpm and Yarn say, as one shape
lockfile          package-lock.json and npm-shrinkwrap.json -> the tarballs of an installation
manager_building  The steps of a build by pnpm or Yarn that run in the container, as api.Call
manager_install   What the layer kinds `pnpm` and `yarn` do
manager_resolver  The files of a project that pnpm or Yarn locked -> pins
node_releases     Node.js and npm in a registry: which versions there are, and their tarballs
npm_document      What a build of the kind `npm` gets, and the part of it that is in the layer's key
npmrc             The host's own npm configuration: registries and credentials
package_json      What package.json says about a project
package_managers  Which package manager installs a project, and in which version
places            Paths in containers, and npm's settings there
plugin            The hooks that add all of this to envtool
pnpm_lock         pnpm-lock.yaml -> the tarballs of an installation
reduced_manifest  The part of package.json, and of npm's lock file, that decides what is installed
resolver          The files of a project -> pins
script_commands   The test script of package.json as the command of a task
test_output       What node --test, Jest, Mocha and Vitest print about their tests
version_files     Which Node.js the files of a project want
version_ranges    Ranges of versions, as package.json has them
yarn_lock         yarn.lock, of Yarn 1 and of later versions -> the tarballs of an installation
"""

__version__ = "0.3.0"
