# SPDX-License-Identifier: BSD-2-Clause
"""conan_stand_in.py RECIPE TARBALL FOLDER shared|static

Does with a recipe what Conan does: its source, build and package, below FOLDER.  What the recipe imports from
Conan is here, no more of it than it uses."""
import contextlib
import fnmatch
import hashlib
import os
import re
import shutil
import subprocess
import sys
import types

recipe, tarball, folder, kind = sys.argv[1:]


def module(name, **names):
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(names)


class ConanFile:
    pass


class Settings(types.SimpleNamespace):
    def rm_safe(self, name):
        assert name in ('compiler.cppstd', 'compiler.libcxx'), name


class Autotools:
    def __init__(self, conanfile):
        pass

    def make(self, target=None, args=()):
        subprocess.run(['make', '-j2', *args, *([target] if target else [])], check=True,
                       env={**os.environ, 'CFLAGS': '-O0'})

    def install(self, args):
        self.make('install', args)


class Generator:
    def __init__(self, conanfile):
        pass

    def generate(self):
        pass


def get(conanfile, url, sha256, strip_root):
    assert url.endswith('/' + os.path.basename(tarball)), url
    assert hashlib.sha256(open(tarball, 'rb').read()).hexdigest() == sha256
    subprocess.run(['tar', '-C', conanfile.source_folder, '--strip-components', '1', '-xf', tarball], check=True)


def copy(conanfile, pattern, src, dst):
    os.makedirs(dst, exist_ok=True)
    shutil.copy(os.path.join(src, pattern), dst)


def rm(conanfile, pattern, path):
    found = fnmatch.filter(os.listdir(path), pattern)
    assert found, pattern
    for name in found:
        os.unlink(os.path.join(path, name))


@contextlib.contextmanager
def chdir(conanfile, path):
    before = os.getcwd()
    os.chdir(path)
    yield
    os.chdir(before)


module('conan', ConanFile=ConanFile)
module('conan.errors', ConanInvalidConfiguration=type('ConanInvalidConfiguration', (Exception,), {}))
module('conan.tools')
module('conan.tools.files', chdir=chdir, copy=copy, get=get, rm=rm,
       rmdir=lambda conanfile, path: shutil.rmtree(path))
module('conan.tools.gnu', Autotools=Autotools, AutotoolsDeps=Generator, AutotoolsToolchain=Generator)
module('conan.tools.layout', basic_layout=lambda conanfile, src_folder: None)

scope = {}
exec(compile(open(recipe + '/conanfile.py').read(), 'conanfile.py', 'exec'), scope)
conanfile = scope['SingleflightConan']()
conanfile.ref = 'singleflight'
conanfile.settings = Settings(os='Linux', arch='x86_64')
conanfile.options = types.SimpleNamespace(shared=kind == 'shared')
data = open(recipe + '/conandata.yml').read()
conanfile.version, url, sha256 = re.search(r'"(.*)":\n +url: "(.*)"\n +sha256: "(.*)"', data).groups()
conanfile.conan_data = {'sources': {conanfile.version: {'url': url, 'sha256': sha256}}}
for name in ('source', 'build', 'package'):
    path = os.path.join(folder, name)
    os.makedirs(path, exist_ok=True)
    setattr(conanfile, name + '_folder', path)
conanfile.requires = lambda what, **more: None
for step in (conanfile.configure, conanfile.layout, conanfile.requirements, conanfile.validate, conanfile.source,
             conanfile.generate, conanfile.build, conanfile.package):
    step()
conanfile.settings.arch = 'x86'
try:
    conanfile.validate()
    sys.exit('32 bits are not refused')
except sys.modules['conan.errors'].ConanInvalidConfiguration:
    pass
