"""Debian's packages of what builds of C and C++ look for: names of bookworm and trixie. Data.

What is not here is looked up in the suite's own index of files after a build failed (missing.py).
"""

from __future__ import annotations

# pkg-config module -> package
MODULES = {
    "alsa": "libasound2-dev", "atk": "libatk1.0-dev", "blkid": "libblkid-dev", "bzip2": "libbz2-dev",
    "cairo": "libcairo2-dev", "check": "check", "cmocka": "libcmocka-dev", "cunit": "libcunit1-dev",
    "dbus-1": "libdbus-1-dev", "egl": "libegl-dev", "epoxy": "libepoxy-dev", "expat": "libexpat1-dev",
    "ffi": "libffi-dev", "fmt": "libfmt-dev", "fontconfig": "libfontconfig-dev", "freetype2": "libfreetype-dev",
    "fuse": "libfuse-dev", "fuse3": "libfuse3-dev", "gdk-pixbuf-2.0": "libgdk-pixbuf-2.0-dev",
    "gio-2.0": "libglib2.0-dev", "gio-unix-2.0": "libglib2.0-dev", "gl": "libgl-dev", "glib-2.0": "libglib2.0-dev",
    "gmock": "libgmock-dev", "gmodule-2.0": "libglib2.0-dev", "gmp": "libgmp-dev", "gnutls": "libgnutls28-dev",
    "gobject-2.0": "libglib2.0-dev", "gobject-introspection-1.0": "libgirepository1.0-dev", "gtest": "libgtest-dev",
    "gtest_main": "libgtest-dev", "gthread-2.0": "libglib2.0-dev", "gtk+-3.0": "libgtk-3-dev", "gtk4": "libgtk-4-dev",
    "harfbuzz": "libharfbuzz-dev", "hiredis": "libhiredis-dev", "icu-i18n": "libicu-dev", "icu-uc": "libicu-dev",
    "jansson": "libjansson-dev", "json-c": "libjson-c-dev", "json-glib-1.0": "libjson-glib-dev",
    "libarchive": "libarchive-dev", "libbrotlidec": "libbrotli-dev", "libbrotlienc": "libbrotli-dev",
    "libbsd": "libbsd-dev", "libcap": "libcap-dev", "libcap-ng": "libcap-ng-dev", "libcares": "libc-ares-dev",
    "libcrypto": "libssl-dev", "libcurl": "libcurl4-openssl-dev", "libdrm": "libdrm-dev", "libedit": "libedit-dev",
    "libelf": "libelf-dev", "libevent": "libevent-dev", "libffi": "libffi-dev", "libgcrypt": "libgcrypt20-dev",
    "libgit2": "libgit2-dev", "libidn2": "libidn2-dev", "libjpeg": "libjpeg-dev", "liblz4": "liblz4-dev",
    "liblzma": "liblzma-dev", "libmicrohttpd": "libmicrohttpd-dev", "libmnl": "libmnl-dev",
    "libnghttp2": "libnghttp2-dev", "libnl-3.0": "libnl-3-dev", "libpcap": "libpcap-dev", "libpcre": "libpcre3-dev",
    "libpcre2-8": "libpcre2-dev", "libpng": "libpng-dev", "libpng16": "libpng-dev", "libpq": "libpq-dev",
    "libproc2": "libproc2-dev", "libpsl": "libpsl-dev", "libseccomp": "libseccomp-dev",
    "libselinux": "libselinux1-dev", "libsodium": "libsodium-dev", "libssh": "libssh-dev", "libssh2": "libssh2-1-dev",
    "libssl": "libssl-dev", "libsystemd": "libsystemd-dev", "libtiff-4": "libtiff-dev", "libudev": "libudev-dev",
    "libunwind": "libunwind-dev", "libusb-1.0": "libusb-1.0-0-dev", "libuv": "libuv1-dev", "libwebp": "libwebp-dev",
    "libxml-2.0": "libxml2-dev", "libxslt": "libxslt1-dev", "libyaml": "libyaml-dev", "yaml-0.1": "libyaml-dev",
    "libzip": "libzip-dev", "libzmq": "libzmq3-dev", "libzstd": "libzstd-dev", "lua5.4": "liblua5.4-dev",
    "mount": "libmount-dev", "mpfr": "libmpfr-dev", "ncurses": "libncurses-dev", "ncursesw": "libncurses-dev",
    "nettle": "nettle-dev", "nlohmann_json": "nlohmann-json3-dev", "openssl": "libssl-dev",
    "pango": "libpango1.0-dev", "pixman-1": "libpixman-1-dev", "popt": "libpopt-dev", "protobuf": "libprotobuf-dev",
    "python3": "python3-dev", "re2": "libre2-dev", "readline": "libreadline-dev", "sdl2": "libsdl2-dev",
    "spdlog": "libspdlog-dev", "sqlite3": "libsqlite3-dev", "tinyxml2": "libtinyxml2-dev", "udev": "udev",
    "uuid": "uuid-dev", "wayland-client": "libwayland-dev", "x11": "libx11-dev", "xcb": "libxcb1-dev",
    "xext": "libxext-dev", "xkbcommon": "libxkbcommon-dev", "xrandr": "libxrandr-dev", "zlib": "zlib1g-dev",
}  # fmt: skip

# name in find_package(NAME) -> package
CMAKE_PACKAGES = {
    "ALSA": "libasound2-dev", "BISON": "bison", "BZip2": "libbz2-dev", "Boost": "libboost-all-dev",
    "CURL": "libcurl4-openssl-dev", "Catch2": "catch2", "Curses": "libncurses-dev", "Doxygen": "doxygen",
    "EXPAT": "libexpat1-dev", "Eigen3": "libeigen3-dev", "FLEX": "flex", "FLTK": "libfltk1.3-dev",
    "Fontconfig": "libfontconfig-dev", "Freetype": "libfreetype-dev", "GLEW": "libglew-dev", "GMock": "libgmock-dev",
    "GTest": "libgtest-dev", "Gettext": "gettext", "GnuTLS": "libgnutls28-dev", "ICU": "libicu-dev",
    "Iconv": "libc6-dev", "JPEG": "libjpeg-dev", "LibArchive": "libarchive-dev", "LibElf": "libelf-dev",
    "LibLZMA": "liblzma-dev", "LibXml2": "libxml2-dev", "LibXslt": "libxslt1-dev", "Libevent": "libevent-dev",
    "Lua": "liblua5.4-dev", "MPI": "libopenmpi-dev", "OpenGL": "libgl-dev", "OpenSSL": "libssl-dev",
    "PNG": "libpng-dev", "Perl": "perl", "PkgConfig": "pkgconf", "PostgreSQL": "libpq-dev",
    "Protobuf": "protobuf-compiler", "Python": "python3-dev", "Python3": "python3-dev", "PythonInterp": "python3",
    "Qt5": "qtbase5-dev", "Qt6": "qt6-base-dev", "RE2": "libre2-dev", "SDL2": "libsdl2-dev",
    "SQLite3": "libsqlite3-dev", "SWIG": "swig", "TBB": "libtbb-dev", "TIFF": "libtiff-dev", "X11": "libx11-dev",
    "XCB": "libxcb1-dev", "ZLIB": "zlib1g-dev", "ZeroMQ": "libzmq3-dev", "benchmark": "libbenchmark-dev",
    "cxxopts": "libcxxopts-dev", "doctest": "doctest-dev", "double-conversion": "libdouble-conversion-dev",
    "fmt": "libfmt-dev", "gflags": "libgflags-dev", "glfw3": "libglfw3-dev", "glm": "libglm-dev",
    "glog": "libgoogle-glog-dev", "jsoncpp": "libjsoncpp-dev", "nlohmann_json": "nlohmann-json3-dev",
    "pugixml": "libpugixml-dev", "pybind11": "pybind11-dev", "range-v3": "librange-v3-dev", "spdlog": "libspdlog-dev",
    "tinyxml2": "libtinyxml2-dev", "xxHash": "libxxhash-dev", "yaml-cpp": "libyaml-cpp-dev", "zstd": "libzstd-dev",
}  # fmt: skip

# header -> package: those that are in no directory of their name, or that several packages have
HEADERS = {
    "CUnit/Basic.h": "libcunit1-dev", "CUnit/CUnit.h": "libcunit1-dev", "EGL/egl.h": "libegl-dev",
    "GL/gl.h": "libgl-dev", "GL/glew.h": "libglew-dev", "SDL2/SDL.h": "libsdl2-dev", "X11/Xlib.h": "libx11-dev",
    "Python.h": "python3-dev", "alsa/asoundlib.h": "libasound2-dev", "archive.h": "libarchive-dev",
    "ares.h": "libc-ares-dev", "brotli/decode.h": "libbrotli-dev", "bsd/string.h": "libbsd-dev",
    "bzlib.h": "libbz2-dev", "cairo.h": "libcairo2-dev", "check.h": "check", "cmocka.h": "libcmocka-dev",
    "curl/curl.h": "libcurl4-openssl-dev", "curses.h": "libncurses-dev", "doctest/doctest.h": "doctest-dev",
    "elf.h": "libc6-dev", "event.h": "libevent-dev", "event2/event.h": "libevent-dev", "expat.h": "libexpat1-dev",
    "ffi.h": "libffi-dev", "fmt/core.h": "libfmt-dev", "fmt/format.h": "libfmt-dev", "ft2build.h": "libfreetype-dev",
    "fuse.h": "libfuse-dev", "gcrypt.h": "libgcrypt20-dev", "gelf.h": "libelf-dev", "git2.h": "libgit2-dev",
    "glib.h": "libglib2.0-dev", "gmock/gmock.h": "libgmock-dev", "gmp.h": "libgmp-dev",
    "gnutls/gnutls.h": "libgnutls28-dev", "gtest/gtest.h": "libgtest-dev", "hiredis/hiredis.h": "libhiredis-dev",
    "idn2.h": "libidn2-dev", "jansson.h": "libjansson-dev", "jpeglib.h": "libjpeg-dev",
    "json-c/json.h": "libjson-c-dev", "libelf.h": "libelf-dev", "libintl.h": "libc6-dev",
    "libxml/parser.h": "libxml2-dev", "libxslt/xslt.h": "libxslt1-dev", "lua.h": "liblua5.4-dev",
    "lz4.h": "liblz4-dev", "lzma.h": "liblzma-dev", "microhttpd.h": "libmicrohttpd-dev", "mpfr.h": "libmpfr-dev",
    "ncurses.h": "libncurses-dev", "nghttp2/nghttp2.h": "libnghttp2-dev", "nlohmann/json.hpp": "nlohmann-json3-dev",
    "openssl/evp.h": "libssl-dev", "openssl/ssl.h": "libssl-dev", "pcap.h": "libpcap-dev",
    "pcap/pcap.h": "libpcap-dev", "pcre.h": "libpcre3-dev", "pcre2.h": "libpcre2-dev", "png.h": "libpng-dev",
    "popt.h": "libpopt-dev", "readline/readline.h": "libreadline-dev", "seccomp.h": "libseccomp-dev",
    "security/pam_appl.h": "libpam0g-dev", "sodium.h": "libsodium-dev", "sqlite3.h": "libsqlite3-dev",
    "sys/acl.h": "libacl1-dev", "sys/capability.h": "libcap-dev", "systemd/sd-daemon.h": "libsystemd-dev",
    "tiffio.h": "libtiff-dev", "usb.h": "libusb-dev", "uuid/uuid.h": "uuid-dev", "uv.h": "libuv1-dev",
    "xxhash.h": "libxxhash-dev", "yaml.h": "libyaml-dev", "zip.h": "libzip-dev", "zlib.h": "zlib1g-dev",
    "zmq.h": "libzmq3-dev", "zstd.h": "libzstd-dev",
}  # fmt: skip

# library in -lNAME -> package
LIBRARIES = {
    "asan": "libgcc-12-dev", "bz2": "libbz2-dev", "cmocka": "libcmocka-dev", "crypto": "libssl-dev",
    "curl": "libcurl4-openssl-dev", "curses": "libncurses-dev", "event": "libevent-dev", "expat": "libexpat1-dev",
    "ffi": "libffi-dev", "fl": "flex", "gtest": "libgtest-dev", "gtest_main": "libgtest-dev", "jpeg": "libjpeg-dev",
    "lzma": "liblzma-dev", "ncurses": "libncurses-dev", "png": "libpng-dev", "readline": "libreadline-dev",
    "sqlite3": "libsqlite3-dev", "ssl": "libssl-dev", "stdc++": "g++", "xml2": "libxml2-dev", "yaml": "libyaml-dev",
    "z": "zlib1g-dev", "zstd": "libzstd-dev",
}  # fmt: skip

# program -> package
PROGRAMS = {
    "aclocal": "automake", "autoconf": "autoconf", "automake": "automake", "autopoint": "autopoint",
    "autoreconf": "autoconf", "bison": "bison", "c++": "g++", "cc": "gcc", "ccache": "ccache", "clang": "clang",
    "clang++": "clang", "cmake": "cmake", "ctest": "cmake", "doxygen": "doxygen", "flex": "flex", "g++": "g++",
    "gcc": "gcc", "gettext": "gettext", "gperf": "gperf", "help2man": "help2man", "libtoolize": "libtool", "m4": "m4",
    "make": "make", "makeinfo": "texinfo", "meson": "meson", "msgfmt": "gettext", "nasm": "nasm",
    "ninja": "ninja-build", "patch": "patch", "perl": "perl", "pkg-config": "pkgconf", "protoc": "protobuf-compiler",
    "python3": "python3", "re2c": "re2c", "swig": "swig", "valgrind": "valgrind", "xgettext": "gettext",
    "xsltproc": "xsltproc", "yacc": "bison",
}  # fmt: skip

# how a macro that configure.ac could not expand begins -> package
MACROS = {
    "AM_GNU_GETTEXT": "autopoint", "AM_ICONV": "gettext", "AM_PATH_PYTHON": "automake", "AX_": "autoconf-archive",
    "GTK_DOC": "gtk-doc-tools", "LT_": "libtool", "AC_PROG_LIBTOOL": "libtool", "PKG_": "pkgconf",
    "AM_INIT_AUTOMAKE": "automake",
}  # fmt: skip
