"""os.environ of the first generation: inside a request it holds that request's CGI variables.

Apps (and the SDK's users API) read `os.environ['USER_EMAIL']`, while several requests run in one process. So os.environ becomes
a mapping that looks up the request of the calling thread. Outside requests, and for names the request does not set, it shows the
environment of the process. Changes made inside a request vanish with it, except those a module makes while it is loaded:
`os.environ['DJANGO_SETTINGS_MODULE'] = ...` at the top of main.py is meant for all requests, not for the first.
"""
from __future__ import absolute_import

import os
import sys

from . import context

try:
    from collections.abc import MutableMapping
except ImportError:
    from collections import MutableMapping

process = os.environ
# The front end sends no Proxy header; should one slip through, httpoxy (CVE-2016-5385) still finds no variable here.
NEVER = ('HTTP_PROXY',)


def of_request(constants, pairs, translated):
    """A request's os.environ from the process's, the constant entries and the request's own key, value, key, value list."""
    values = dict(process)
    values.update(constants)
    for name in NEVER:
        values.pop(name, None)
    pairs = iter(pairs)
    for name in pairs:
        value = next(pairs, None)
        if value is not None and not name.startswith(('enginehouse.', 'wsgi.')) and name not in NEVER:
            values[name] = value
    if translated:
        values['PATH_TRANSLATED'] = translated
    return values


class Environ(MutableMapping):
    def _values(self):
        request = context.current()
        return process if request is None else request.environment()

    def __getitem__(self, name):
        return self._values()[name]

    def __setitem__(self, name, value):
        if not isinstance(value, str) or not isinstance(name, str):
            # what the real os.environ does: Python 2 takes anything its putenv takes, Python 3 only strings
            if sys.version_info[0] > 2:
                raise TypeError('str expected, not %s' % type(value if isinstance(name, str) else name).__name__)
            value = str(value)
        self._change(name, value)

    def __delitem__(self, name):
        self._change(name, None)

    def _change(self, name, value):
        request = context.current()
        values = process if request is None else request.environment()
        if value is None:
            del values[name]
        else:
            values[name] = value
        if request is not None:
            request.remember(name, value)

    def __iter__(self):
        return iter(list(self._values().keys()))

    def __len__(self):
        return len(self._values())

    def __contains__(self, name):
        return name in self._values()

    def __repr__(self):
        return 'environ(%r)' % (dict(self),)

    def get(self, name, default=None):
        return self._values().get(name, default)

    def copy(self):
        return dict(self._values())

    def __or__(self, other):
        values = self.copy()
        values.update(other)
        return values

    def __ror__(self, other):
        values = dict(other)
        values.update(self._values())
        return values

    def __ior__(self, other):
        self.update(other)
        return self

    if sys.version_info[0] == 2:
        def has_key(self, name):
            return name in self._values()

        @property
        def data(self):
            return self._values()
    else:
        # os.fsencode's relatives and subprocess ask the real os.environ for these
        encodekey = getattr(process, 'encodekey', None)
        decodekey = getattr(process, 'decodekey', None)
        encodevalue = getattr(process, 'encodevalue', None)
        decodevalue = getattr(process, 'decodevalue', None)


def install():
    os.environ = Environ()
