"""Which request a thread is serving.

A plain dictionary by thread number, not threading.local: the first generation clears an app's thread-locals after every
request, and a look-up here must not depend on what that clears.
"""
from __future__ import absolute_import

try:
    import _thread as thread
except ImportError:
    import thread
import threading

get_ident = thread.get_ident
by_thread = {}


def current():
    """The connection (or Child) whose request this thread works for; None outside requests."""
    context = by_thread.get(get_ident())
    if context is not None and context.active:
        return context
    return None


class Child(object):
    """What a thread inherits that was started inside a request: its environment always, its log while the request runs."""

    active = True

    def __init__(self, parent):
        inherited = isinstance(parent, Child)
        self._owner = parent._owner if inherited else parent
        self._serial = parent._serial if inherited else parent.serial
        self._environment = parent.environment()
        self.tails = {}

    def environment(self):
        return self._environment

    def remember(self, name, value):
        pass

    def log(self, severity, text):
        return self._owner.serial == self._serial and self._owner.log(severity, text)


def inherit():
    """Makes threads that app code starts inherit the request; called once, before app code is imported."""

    def enter(child, run, args, kwargs):
        ident = get_ident()
        by_thread[ident] = child
        try:
            run(*args, **kwargs)
        finally:
            by_thread.pop(ident, None)

    def wrap(original):
        def start(function, args=(), *rest, **options):
            parent = current()
            if parent is None:
                return original(function, args, *rest, **options)
            kwargs = rest[0] if rest else options.pop('kwargs', {})
            return original(enter, (Child(parent), function, args, kwargs), **options)
        return start

    def wrap_joinable(original):
        def start(function, *args, **options):
            parent = current()
            if parent is None:
                return original(function, *args, **options)
            child = Child(parent)
            return original(lambda: enter(child, function, (), {}), *args, **options)
        return start

    start = wrap(thread.start_new_thread)
    thread.start_new_thread = thread.start_new = start
    if hasattr(threading, '_start_new_thread'):
        threading._start_new_thread = start
    if hasattr(thread, 'start_joinable_thread'):  # Python 3.13 and later
        threading._start_joinable_thread = wrap_joinable(thread.start_joinable_thread)
