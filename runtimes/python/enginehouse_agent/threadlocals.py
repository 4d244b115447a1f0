"""The first generation promises that data in threading.local is gone after each request, but threads are reused here.

Up to Python 3.12 the interpreter keeps the data in the dictionary of the thread's state, one entry for each threading.local, and
deleting the entries is all there is to do. Later ones keep it where nothing can reach it; there a thread that touched a
threading.local serves no second request: the connection moves to a new thread.
"""
from __future__ import absolute_import

import functools
import sys
import threading

from .context import get_ident


class Never(object):
    """The second generation, where data stays."""

    def of_thread(self):
        return None

    def clear(self, entries):
        return True


class Entries(object):
    def __init__(self):
        import ctypes
        get = ctypes.PYFUNCTYPE(ctypes.c_void_p)(('PyThreadState_GetDict', ctypes.pythonapi))
        self.of_thread = lambda: ctypes.cast(get(), ctypes.py_object).value

    def clear(self, entries):
        """False if the thread must not serve another request."""
        if entries:
            for key in list(entries):
                if isinstance(key, str) and key.startswith('thread.local.'):
                    del entries[key]
        return True


class Marks(object):
    """Replaces threading.local with a class that tells when a thread first touches an object of it: then __init__ runs."""

    def __init__(self):
        marked = self._marked = set()

        def marking(init):
            @functools.wraps(init)
            def __init__(self, *args, **kwargs):
                marked.add(get_ident())
                init(self, *args, **kwargs)
            return __init__

        class local(threading.local):
            def __init__(self):
                marked.add(get_ident())

            def __init_subclass__(cls, **options):
                super(local, cls).__init_subclass__(**options)
                if '__init__' in cls.__dict__:  # it need not call ours
                    cls.__init__ = marking(cls.__init__)

        local.__module__ = 'threading'
        local.__qualname__ = 'local'
        threading.local = local

    def of_thread(self):
        return None

    def clear(self, entries):
        if not self._marked:
            return True
        ident = get_ident()
        if ident not in self._marked:
            return True
        self._marked.discard(ident)
        return False


def install(config):
    if not config.first_generation:
        return Never()
    if sys.version_info >= (3, 13):
        return Marks()
    try:
        return Entries()
    except (ImportError, AttributeError):
        return Never()  # built without ctypes
