"""Finds the WSGI object that a handler's `script` names: `pkg.mod.app` or `pkg.mod:app`."""
from __future__ import absolute_import

import os
import sys
from types import ModuleType

from . import tracebacks
from .errors import InvalidResponse, NotFound


def import_module(name):
    """The module, or None if there is no such module. Whatever goes wrong inside it is the app's own exception."""
    try:
        __import__(name)
    except ImportError:
        # No frame of the app in the traceback: the import system itself did not find it.
        if tracebacks.strip(sys.exc_info()[2]) is None:
            return None
        raise
    return sys.modules[name]


def _attributes(found, names, script):
    for name in names:
        try:
            found = getattr(found, name)
        except AttributeError:
            raise NotFound('script "%s" in app.yaml: %s has no attribute "%s"' % (script, _called(found), name))
    return found


def _called(found):
    if isinstance(found, ModuleType):
        return 'the module %s (%s)' % (found.__name__, getattr(found, '__file__', None) or 'built in')
    return 'the %s object before it' % type(found).__name__


def _module(name, script):
    module = import_module(name)
    if module is None:
        raise NotFound('script "%s" in app.yaml: there is no module "%s" (looked for in %s)' % (
            script, name, ', '.join(entry for entry in sys.path if entry)))
    return module


def find(script):
    """(object, file it was defined in). NotFound if there is none."""
    if ':' in script:
        name, _, attributes = script.partition(':')
        module = _module(name, script)
        found = _attributes(module, (attributes or 'app').split('.'), script)
    else:
        names = script.split('.')
        if not all(names):
            raise NotFound('script "%s" in app.yaml is no dotted name such as main.app' % script)
        module = found = _module(names[0], script)
        for at, name in enumerate(names[1:], 2):
            if hasattr(found, name):
                found = getattr(found, name)
            else:
                submodule = import_module('.'.join(names[:at])) if found is module and hasattr(module, '__path__') else None
                if submodule is None:
                    _attributes(found, [name], script)
                found = submodule
            if isinstance(found, ModuleType):
                module = found
    return found, source_file(module)


def source_file(module):
    path = getattr(module, '__file__', None) or ''
    return os.path.abspath(path[:-1] if path.endswith(('.pyc', '.pyo')) else path) if path else None


def _is_coroutine(function):
    code = getattr(function, '__code__', None)
    return bool(code is not None and code.co_flags & 0x280)  # CO_COROUTINE, CO_ASYNC_GENERATOR: `inspect` is slow to import


def check(found, script):
    """Refuses what cannot be a WSGI object, in words that lead to the remedy."""
    if isinstance(found, ModuleType):
        raise NotFound('script "%s" in app.yaml names a module; name the WSGI object in it, for example "%s.app"' % (script, script))
    if not callable(found):
        raise InvalidResponse('script "%s" in app.yaml is a %s, which cannot be called; it must be a WSGI object' % (
            script, type(found).__name__))
    if _is_coroutine(found) or _is_coroutine(getattr(type(found), '__call__', None)):
        raise InvalidResponse(
            'script "%s" in app.yaml is an ASGI object, but handlers call WSGI objects. Start it with an ASGI server instead, in '
            'app.yaml: "entrypoint: uvicorn %s --host 127.0.0.1 --port $PORT", with uvicorn in requirements.txt' % (
                script, script if ':' in script else ':'.join(script.rsplit('.', 1))))
    return found
