"""The runtime API: a function to call before the instance stops, and what the instance uses."""
from __future__ import absolute_import

import os
import time

# Since when, for averages.
_began = time.time()
_hook = None
_stopping = False


def set_shutdown_hook(hook):
    """Sets the function to call at /_ah/stop; gives back the one before."""
    global _hook
    if hook is not None and not callable(hook):
        raise TypeError('the shutdown hook must be callable, got %s' % type(hook).__name__)
    old, _hook = _hook, hook
    return old


def is_shutting_down():
    return _stopping


def __BeginShutdown():
    """Called by the agent; the SDK's module has this name for it, too."""
    global _stopping
    _stopping = True
    if _hook is not None:
        _hook()


class SystemStat(object):
    """What the SDK's has by these names. Averages are those of the whole life of the instance: nobody measures in between."""

    def __init__(self, current=0.0, total=0.0):
        self._current = current
        self._total = total

    def current(self):
        return self._current

    def total(self):
        return self._total

    def average1m(self):
        return self._current

    def average10m(self):
        return self._current

    def rate1m(self):
        return self._total / max(1.0, time.time() - _began)

    rate10m = rate1m


def memory_usage():
    """Megabytes."""
    with open('/proc/self/statm') as statm:
        pages = int(statm.read().split()[1])
    return SystemStat(current=pages * os.sysconf('SC_PAGE_SIZE') / 1048576.0)


def cpu_usage():
    """Megacycles; a second of CPU is 1,200 of them (google.appengine.api.quota)."""
    user, system = os.times()[:2]
    return SystemStat(total=(user + system) * 1200.0)
