"""Node.js for envtool: the layer kind `npm`, and `language: node`.

building       What runs in the container that builds, without exec (api.Call): nothing is imported there
installed      Which npm packages a stack has: each package.json that lies where Node looks for packages
kinds          The layer kind `npm`: node_modules of a project, from its lock file, by an offline `npm ci`
language       `language: node`: what a project's package.json says, as layers
lockfile       package-lock.json and npm-shrinkwrap.json -> the tarballs that an installation wants
npmrc          The host's own npm configuration: which registry has a package, and what it is told
package_json   What package.json says of a project
places         Where things are in the project and in a container, and how npm is kept quiet there
plugin         The hooks: what this distribution adds to envtool
resolver       The files of a project -> pins: exactly the tarballs that `npm ci` unpacks on the stack below
"""

__version__ = "0.3.0"
