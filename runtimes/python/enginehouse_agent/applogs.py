"""The SDK's own buffer of log lines (google.appengine.api.logservice, Python 2.7): production gives each request one, and flushes what is left at its end.

Outside of production's runtime the SDK reads its lines back from standard error, which is a pipe here.
"""
from __future__ import absolute_import

import sys
import threading

from .protocol import CRITICAL, DEBUG, ERROR, INFO, WARNING

MODULE = 'google.appengine.api.logservice.logservice'
LEVELS = (DEBUG, INFO, WARNING, ERROR, CRITICAL)


class Buffers(object):
    """A buffer for each thread, which stands for its request."""

    def __init__(self, make):
        self._make = make
        self._local = threading.local()

    def _own(self):
        own = getattr(self._local, 'buffer', None)
        if own is None:
            own = self._local.buffer = self._make()
        return own

    def __getattr__(self, name):
        return getattr(self._own(), name)


def install():
    """Cheap enough to be called after each import of app code, and after each request."""
    module = sys.modules.get(MODULE)
    if module is not None and not isinstance(getattr(module, '_global_buffer', None), Buffers):
        make = getattr(module, '_LogsDequeBuffer', None)
        if make is not None:
            module._global_buffer = Buffers(make)


def finish(request):
    """What the app has not flushed goes to the log of the request."""
    buffers = getattr(sys.modules.get(MODULE), '_global_buffer', None)
    if not isinstance(buffers, Buffers) or not buffers.lines():
        return
    for _, level, message, _ in buffers.parse_logs():
        if not isinstance(message, bytes):
            message = message.encode('utf-8', 'replace')
        request.log(LEVELS[max(0, min(level, 4))], message)
    buffers.clear()
