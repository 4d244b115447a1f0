"""Tracebacks for people: the frames of the agent and of the import machinery above the app's own are taken away."""
from __future__ import absolute_import

import os
import sys
import traceback

HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_renamed = None


def rename(root, shown):
    """From now on files below `root`, which is a copy, are called as the user knows them: below `shown`."""
    global _renamed
    if root != shown:
        _renamed = tuple(name if isinstance(name, bytes) else name.encode('utf-8') for name in (root + os.sep, shown.rstrip(os.sep) + os.sep))


def _foreign(frame):
    name = frame.f_code.co_filename
    return name.startswith(HERE) or name.startswith('<frozen importlib') or name.startswith('<frozen runpy')


def strip(tb):
    """The traceback from the first frame of the app on; None if the app has no frame in it."""
    while tb is not None and _foreign(tb.tb_frame):
        tb = tb.tb_next
    return tb


def current():
    """The traceback of the exception being handled, as text."""
    kind, value, tb = sys.exc_info()
    try:
        return describe(kind, value, tb)
    finally:
        del tb


def describe(kind, value, tb):
    try:
        lines = traceback.format_exception(kind, value, strip(tb))
    except Exception:  # an app's __str__ may fail, too
        lines = ['%s (its message cannot be shown)\n' % getattr(kind, '__name__', kind)]
    parts = [line if isinstance(line, bytes) else line.encode('utf-8', 'replace') for line in lines]
    text = b''.join(parts).rstrip(b'\n')
    return text.replace(*_renamed) if _renamed else text
