"""Tells the house which modules an app uses, so that the next zygote has them before the next instance is needed.

After the first requests the names in sys.modules fall into two groups: what belongs to the environment (the standard library, the
SDK, installed packages), which a zygote may import ahead, and what comes from the app's own folder, which it may not unless the
user says so. Looked at from the thread that accepts connections, between two polls: a request pays nothing for it.
"""
from __future__ import absolute_import

import json
import os
import sys

from . import deadline, logs, protocol

# After its first request an app is watched for a while: many import something only when a certain page is asked for.
PAUSES = (0.5, 0.5, 2.0, 10.0, 60.0)
LEARNED = ord('M')
AGENT = __name__.split('.')[0]


def folders(*paths):
    """Each as it is written and as it really is: a module's file is named by the way it was found."""
    return tuple(set(os.path.join(way(path), '') for path in paths for way in (os.path.abspath, os.path.realpath)))


def origin(module):
    """The file of a module, '' if it is built in; None if it cannot be imported by its name alone."""
    path = getattr(module, '__file__', None)
    if isinstance(path, str):
        return path
    return '' if getattr(module, '__name__', None) in sys.builtin_module_names else None


def survey(config):
    """(names of the environment's modules in the order of their import, top names of the app's own)."""
    root = folders(config.root)
    # An environment inside the app's folder is still an environment.
    inside = tuple(folder for folder in folders(sys.prefix, *config.paths) if folder.startswith(root))
    libraries, own = [], set()
    for name, module in list(sys.modules.items()):
        if module is None or name == '__main__' or name.split('.')[0] == AGENT:
            continue
        path = origin(module)
        if path is None or getattr(module, '__name__', None) != name:
            continue
        if path.startswith(root) and not path.startswith(inside or '\0'):
            own.add(name.split('.')[0])
        else:
            libraries.append(name)
    return libraries, sorted(own)


class Learner(object):
    def __init__(self, line, config, app):
        self._line = line
        self._config = config
        self._app = app
        self._turn = 0
        self._due = 0
        self._known = 0

    def pause(self, connections):
        """Milliseconds until the next look; None if only a new connection can bring news."""
        if self._turn == len(PAUSES) or not (connections or self._turn):
            return None
        return int(max(0, self._due - deadline.now()) * 1000) + 1

    def look(self, connections):
        moment = deadline.now()
        if self._turn == len(PAUSES) or moment < self._due:
            return
        current = list(connections.values())
        self._due = moment + PAUSES[self._turn]
        # Between requests: what is half imported now says nothing, and the request comes first.
        if any(connection.active for connection in current) or not (self._turn or any(connection.serial for connection in current)):
            return
        self._turn += 1
        if len(sys.modules) == self._known:
            return
        self._known = len(sys.modules)
        try:
            self._report()
        except Exception as error:
            logs.note('cannot report the modules in use: %s' % error)
            self._turn = len(PAUSES)

    def _report(self):
        libraries, own = survey(self._config)
        learned = {'modules': libraries, 'own': own, 'scripts': self._app.scripts()}
        self._line.sendall(protocol.frame(LEARNED, json.dumps(learned).encode('utf-8')))
