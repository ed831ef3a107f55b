"""The Rust plugin: the layer kinds `cargo` and `crate`, and `language: rust`.

cargo_config     This machine's own configuration of cargo: where registries are, and credentials
cargo_lock       Cargo.lock -> the crates and git repositories that it pins
cargo_manifest   What Cargo.toml says about a project, and the part of it that decides versions
crate_downloads  Where a crate's file is on this machine's registries
installed        Which crates a stack has
kinds            The layer kinds `cargo`, the crates of a project, and `crate`, the sources of one crate; toolchain
language         `language: rust`: a project's Cargo.toml as layers, and what `envtool init` writes
plugin           The hooks that add all of this to envtool
resolver         The files of a project -> pins
rust_releases    Releases of Rust on channel servers, as rustup finds them
rust_toolchain   Where an env has its cargo and rustc from
rust_version_files  Which Rust the files of a project want
test_output      What cargo test and cargo nextest print about their tests
toml_text        Values -> TOML, for files that cargo reads in containers
vendoring        The steps of a build that run in the container, as api.Call
"""

__version__ = "0.3.0"
