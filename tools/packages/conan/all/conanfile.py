# SPDX-License-Identifier: BSD-2-Clause
import os

from conan import ConanFile
from conan.errors import ConanInvalidConfiguration
from conan.tools.files import chdir, copy, get, rm, rmdir
from conan.tools.gnu import Autotools, AutotoolsDeps, AutotoolsToolchain
from conan.tools.layout import basic_layout

required_conan_version = ">=2.0"


class SingleflightConan(ConanFile):
    name = "singleflight"
    description = "Coalesces concurrent calls for the same key into one"
    license = "BSD-2-Clause"
    url = "https://github.com/conan-io/conan-center-index"
    homepage = "@URL@"
    topics = ("singleflight", "concurrency", "cache-stampede", "coalescing")
    package_type = "library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"shared": [True, False]}  # the archive is made of position-independent code as well
    default_options = {"shared": False}

    def configure(self):
        self.settings.rm_safe("compiler.cppstd")
        self.settings.rm_safe("compiler.libcxx")

    def layout(self):
        basic_layout(self, src_folder="src")

    def requirements(self):
        self.requires("concurrencykit/0.7.0")
        self.requires("xxhash/0.8.2", libs=False, visible=False)  # its header only

    def validate(self):
        if self.settings.os != "Linux" or self.settings.arch not in ("x86_64", "armv8"):
            raise ConanInvalidConfiguration(f"{self.ref} is for Linux on x86_64 and armv8")

    def source(self):
        get(self, **self.conan_data["sources"][self.version], strip_root=True)

    def generate(self):
        AutotoolsToolchain(self).generate()
        AutotoolsDeps(self).generate()

    def build(self):
        with chdir(self, self.source_folder):
            Autotools(self).make("lib", args=[f"BUILD={self.build_folder}"])

    def package(self):
        copy(self, "LICENSE", src=self.source_folder, dst=os.path.join(self.package_folder, "licenses"))
        with chdir(self, self.source_folder):
            Autotools(self).install(args=[f"BUILD={self.build_folder}", f"DESTDIR={self.package_folder}", "PREFIX="])
        lib = os.path.join(self.package_folder, "lib")
        rm(self, "*.a" if self.options.shared else "*.so*", lib)
        rmdir(self, os.path.join(lib, "pkgconfig"))
        rmdir(self, os.path.join(lib, "cmake"))
        rmdir(self, os.path.join(self.package_folder, "share"))

    def package_info(self):
        self.cpp_info.set_property("cmake_file_name", "singleflight")
        self.cpp_info.set_property("cmake_target_name", "singleflight::singleflight")
        self.cpp_info.set_property("pkg_config_name", "singleflight")
        self.cpp_info.libs = ["singleflight"]
        self.cpp_info.system_libs = ["pthread"]
        if not self.options.shared:
            # A plugin with the archive inside stays when it is closed.
            self.cpp_info.sharedlinkflags = ["-Wl,-z,nodelete"]
