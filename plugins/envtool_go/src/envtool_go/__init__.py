"""The Go plugin: the layer kinds `go` and `go-module`, and `language: go`.

go_files          go.mod, go.work and go.sum -> the modules that a project needs
go_packages       Which Go modules a stack has
go_releases       Releases of Go as modules of the proxies
go_test_output    What go test prints about its tests, with and without -json
go_toolchain      Where an env has its Go from
kinds             The layer kinds `go`, the modules of a project, and `go-module`, the sources of one module
language          `language: go`: a project's go.mod as layers, and what `envtool init` writes
module_cache      The steps of a build that run in the container, as api.Call: Go's module cache
module_hashes     `h1:` hashes of modules, as go.sum has them
module_proxies    This machine's own configuration of Go: proxies of modules
plugin            The hooks that add all of this to envtool
resolver          The files of a project -> pins
"""

__version__ = "0.3.0"
