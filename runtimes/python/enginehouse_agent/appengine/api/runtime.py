"""The runtime API: a function to call before the instance stops."""
from __future__ import absolute_import

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
