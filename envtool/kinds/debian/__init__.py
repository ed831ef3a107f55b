"""Debian and Ubuntu: the `debian` base and the `apt` layer.

apt              `apt: [PACKAGES]`: packages for a stack, chosen by the stack's own apt from a verified index,
apt_sources      What an apt layer stands on: the index that its packages are chosen from
base             `debian: SUITE`: a minimal Debian or Ubuntu system, bootstrapped from the signed archive
bootstrap        The commands that make a configured system of an unpacked tree
contents_index   Which package has a file: the Contents index of a suite, for hints alone
deb              deb, tar and compressions, read from memory: only what a Debian package may contain, and nothing
dependencies     Names -> all that they need, as apt would choose on an empty system
installed        Which Debian packages a stack has
mirrors          Where an archive is
offline_repo     Inside the container
package_index    Packages files: 60,000 stanzas, of which a hundred are wanted
pins             What the pins of both kinds say, as values: package lists and debs
release          A signed InRelease, and the hashes that it vouches for
suite_index      The index of a suite: its InReleases verified, its Packages files fetched
suite_options    What the spec says of a Debian base, as a value
suites           Names: which suite is whose, what a machine is called in an archive, which pockets a suite has
unpack_debs      Debs -> files and dpkg's database
"""
