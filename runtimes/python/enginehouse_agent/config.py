"""Start-up settings: one JSON object in the variable ENGINEHOUSE_AGENT, taken out of the environment before app code runs."""
from __future__ import absolute_import

import json
import os
import sys

PY2 = sys.version_info[0] == 2
VARIABLE = 'ENGINEHOUSE_AGENT'


def native(value):
    """JSON strings as `str`: in Python 2 json gives unicode, which WSGI and os.environ must never hold."""
    if PY2:
        if isinstance(value, dict):
            return dict((native(k), native(v)) for k, v in value.items())
        if isinstance(value, list):
            return [native(v) for v in value]
        if not isinstance(value, (str, bool, int, float)) and value is not None:
            return value.encode('utf-8')
    return value


class Config(object):
    def __init__(self, settings):
        self.runtime = settings.get('runtime', 'python27')
        self.first_generation = self.runtime == 'python27'
        self.root = os.path.abspath(settings.get('root') or os.getcwd())
        self.shown = settings.get('shown') or self.root
        self.paths = settings.get('paths') or []
        self.threadsafe = bool(settings.get('threadsafe', True))
        self.concurrency = settings.get('concurrency') or 0
        self.development = bool(settings.get('development'))
        self.hidden = settings.get('hidden') or []
        self.skipped = settings.get('skipped') or []
        self.environ = settings.get('environ') or {}
        self.names = settings.get('names') or {}
        self.script = settings.get('script') or ''
        self.scripts = settings.get('scripts') or []
        self.zygote = bool(settings.get('zygote'))
        self.learn = bool(settings.get('learn'))


def load():
    text = os.environ.pop(VARIABLE, None)
    if text is None:
        sys.exit('enginehouse agent: the variable %s is not set. The agent is started by enginehouse, not by hand.' % VARIABLE)
    try:
        settings = json.loads(text)
        if not isinstance(settings, dict):
            raise ValueError('not a JSON object')
    except ValueError as error:
        sys.exit('enginehouse agent: %s is not a JSON object: %s' % (VARIABLE, error))
    return Config(native(settings))
