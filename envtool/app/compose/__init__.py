"""Takes a Docker compose file over: the text of compose.yaml -> the text of an envtool.yaml, and a note for each key
that means something else here, or nothing. Source: the Compose Specification.

command_lines     `command`, `entrypoint` and `healthcheck`
compose_files     reads compose files: YAML by compose's rules, `include`, `extends`, several files
compose_values    reads the forms that a value of a compose file may have
convert_service   one service of a compose file as a service of a spec
dotenv            reads files of variables: `.env`, `env_file`
environment       `environment` and `env_file`
host_names        names of services, and the others that compose gives them
image_base        `image`, `build` and `platform`: the base of a service
image_defaults    the ENTRYPOINT, USER and WORKDIR of an image, as far as they are known
interpolation     puts variables into a text: `${NAME:-default}`
known_images      official images: their entrypoints
left_out          what each key of compose means here that a spec has no place for
merging           merges one part of a compose file over another
notes             what a person has to know of a key: Note, and the state of one import
port_lists        `ports` and `expose`
spec_text         writes the spec, with the notes as its comments
use_kinds         kinds of service in the place of official images
volumes           `volumes`, `tmpfs`, `configs` and `secrets`
wait_order        `depends_on` and `links`
"""
