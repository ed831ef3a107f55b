"""Debian and Ubuntu: the `debian` base, and the layers `apt` and `deb-src`.

apt              The kind `apt`: packages that the stack's own apt chooses from a verified index and installs offline;
                 the kind `deb-src`: the sources of a package
apt_sources      Finds and fetches the index that an apt layer chooses from
base             The kind `debian`: a minimal system from the signed archive
bootstrap        The commands that configure an unpacked system, and the files that are not captured
contents_index   Finds the package that has a file, from a suite's Contents index; for hints only
deb              Reads debs: ar, tar and the compressions
dependencies     Resolves package names to all packages that they need
installed        Lists the Debian packages of a stack
mirrors          Finds the mirrors of an archive
offline_repo     Offers debs to apt inside the container, and makes what packages generate reproducible
package_index    Reads Packages files: names, versions, providers
pins             The pins of the kinds: package lists, debs and sources
release          Verifies and reads an InRelease
source_index     Finds a source package in a suite's index, and unpacks its archives
stand_in         What a stack of another architecture has installed, for this machine's own apt
suite_index      Finds the index of a suite and its pockets on the mirrors, and fetches it
suite_options    The options of the kind `debian`, as a value
suites           Names of suites, pockets, components and architectures
unpack_debs      Unpacks debs and writes dpkg's database"""
