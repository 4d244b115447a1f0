"""The file system a first-generation app sees: read-only, and without the files that were not deployed as code.

This is about behaving as the app expects, not about security: the supervisor's sandbox is what holds. Python 3.8 and later tell
us about every open through an audit hook, older ones have the functions replaced. Importing modules goes past the replaced
functions and is left alone.
"""
from __future__ import absolute_import

import errno
import io
import os
import re
import sys

from . import logs

PY2 = sys.version_info[0] == 2
if PY2:
    import __builtin__ as builtins
else:
    import builtins

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Devices such as /dev/null, and descriptors under /proc/self/fd, are no files of the app.
DEVICES = ('/dev/', '/proc/')
MOST_DECISIONS = 10000


def _compile(patterns, what):
    compiled = []
    for pattern in patterns:
        try:
            compiled.append(re.compile(pattern).match)
        except (re.error, OverflowError) as error:
            logs.note('%s pattern %r is no regular expression: %s' % (what, pattern, error))
    return compiled


class Guard(object):
    def __init__(self, config):
        self.configure(config)

    def configure(self, config):
        self._roots = _folders([config.root])
        self._libraries = _folders(config.paths)
        self._temporary = _folders([os.environ.get('TMPDIR') or '/tmp', '/tmp'])
        self._patterns = _compile(config.hidden, 'hidden') + _compile(config.skipped, 'skip_files')
        self._decisions = {}

    @property
    def hides(self):
        return bool(self._patterns)

    def absolute(self, path):
        """The path as text from the root of the file system; None for what is no path (a descriptor)."""
        if hasattr(path, '__fspath__'):
            path = path.__fspath__()
        if not PY2 and isinstance(path, bytes):
            path = os.fsdecode(path)
        if not isinstance(path, (str, type(u''))):
            return None
        return os.path.normpath(os.path.join(os.getcwd(), path))

    def hidden(self, path):
        if not self._patterns:
            return False
        path = self.absolute(path)
        if path is None:
            return False
        found = self._decisions.get(path)
        if found is None:
            if len(self._decisions) > MOST_DECISIONS:
                self._decisions.clear()
            found = self._decisions[path] = self._hidden(path)
        return found

    def _hidden(self, path):
        inside = os.path.join(path, '')
        if any(inside.startswith(folder) for folder in self._libraries):
            return False
        for root in self._roots:
            if path.startswith(root):
                relative = path[len(root):]
                return any(match(relative) for match in self._patterns)
        return False

    def writable(self, path):
        path = self.absolute(path)
        if path is None or path.startswith(DEVICES):
            return True
        inside = os.path.join(path, '')
        # The deeper folder decides: the app may lie in /tmp, or its temporary folder in the app.
        root = max([len(folder) for folder in self._roots if inside.startswith(folder)] or [0])
        temporary = max([len(folder) for folder in self._temporary if inside.startswith(folder)] or [0])
        return temporary > root

    def check_write(self, path):
        if not self.writable(path):
            raise _error(errno.EROFS, 'Read-only file system', path)

    def check_open(self, path, writing):
        if isinstance(path, int):
            return
        if writing:
            self.check_write(path)
        if self.hidden(path):
            raise _error(errno.EACCES, 'file not accessible', path)

    def check_exists(self, path):
        if not isinstance(path, int) and self.hidden(path):
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def _error(number, text, path):
    return (IOError if PY2 else OSError)(number, text, path)


def _folders(paths):
    found = []
    for path in paths:
        for folder in (os.path.abspath(path), os.path.realpath(path)):
            folder = os.path.join(folder, '')
            if folder not in found:
                found.append(folder)
    return found


# Which arguments of an os function, or of its audit event, name what is changed; and where the event has the directory
# descriptor a relative path is relative to.
CHANGES = {
    'mkdir': ((0, 2),), 'rmdir': ((0, 1),), 'remove': ((0, 1),), 'chmod': ((0, 2),), 'chown': ((0, 3),), 'truncate': ((0, None),),
    'utime': ((0, 3),), 'rename': ((0, 2), (1, 3)), 'link': ((1, 3),), 'symlink': ((1, 2),), 'setxattr': ((0, None),),
    'removexattr': ((0, None),),
}
REPLACED = dict(CHANGES, unlink=((0, None),), lchown=((0, None),), mkfifo=((0, None),), mknod=((0, None),), replace=((0, None), (1, None)))


def _audit(guard):
    changes = dict(('os.' + name, places) for name, places in CHANGES.items())

    def hook(event, args):
        if event == 'open':
            path, _, flags = args
            if path is not None:
                guard.check_open(path, isinstance(flags, int) and flags & WRITING)
        elif event in changes:
            for place, folder in changes[event]:
                path = args[place]
                if isinstance(path, int) or path is None:
                    continue
                descriptor = args[folder] if folder is not None and len(args) > folder else -1
                if isinstance(descriptor, int) and descriptor >= 0:
                    path = os.path.join(os.readlink('/proc/self/fd/%d' % descriptor), os.fsdecode(path))
                guard.check_write(path)

    sys.addaudithook(hook)


class _Function(object):
    """Stands in for a built-in function. Not a Python function, because the standard library keeps built-ins as class attributes
    (tempfile, pathlib), where a Python function would become a method."""

    def __init__(self, call, original):
        self._call = call
        self.__name__ = original.__name__
        self.__doc__ = original.__doc__
        self.__wrapped__ = original

    def __call__(self, *args, **kwargs):
        return self._call(*args, **kwargs)

    def __repr__(self):
        return repr(self.__wrapped__)


def _replace(module, name, make):
    original = getattr(module, name, None)
    if original is None:
        return
    replacement = _Function(make(original), original)
    setattr(module, name, replacement)
    for capabilities in ('supports_dir_fd', 'supports_fd', 'supports_follow_symlinks', 'supports_effective_ids'):
        members = getattr(os, capabilities, ())
        if original in members:
            members.add(replacement)


def _writing_mode(mode):
    return any(letter in mode for letter in 'wax+')


def _patch(guard):
    def opener(original):
        def open(file, mode='r', *args, **kwargs):
            guard.check_open(file, isinstance(mode, str) and _writing_mode(mode))
            return original(file, mode, *args, **kwargs)
        return open

    def os_opener(original):
        def open(path, flags, *args, **kwargs):
            if kwargs.get('dir_fd') is None:
                guard.check_open(path, flags & WRITING)
            return original(path, flags, *args, **kwargs)
        return open

    def changer(places):
        def make(original):
            def change(*args, **kwargs):
                if not any(name.endswith('dir_fd') and value is not None for name, value in kwargs.items()):
                    for place, _ in places:
                        if place < len(args) and not isinstance(args[place], int):
                            guard.check_write(args[place])
                return original(*args, **kwargs)
            return change
        return make

    _replace(builtins, 'open', opener)
    _replace(io, 'open', opener)
    _replace(os, 'open', os_opener)
    for name, places in REPLACED.items():
        _replace(os, name, changer(places))
    if PY2:
        builtins.file = _file_type(guard)


def _file_type(guard):
    original = builtins.file

    class Meta(type):
        def __instancecheck__(cls, value):
            return isinstance(value, original)

        def __subclasscheck__(cls, kind):
            return issubclass(kind, original)

    def __init__(self, name, mode='r', *args):
        guard.check_open(name, _writing_mode(mode))
        original.__init__(self, name, mode, *args)

    return Meta('file', (original,), {'__init__': __init__, '__doc__': original.__doc__})


class _Entries(object):
    """os.scandir without the hidden entries."""

    def __init__(self, entries, guard):
        self._entries = entries
        self._guard = guard

    def __iter__(self):
        return self

    def __next__(self):
        for entry in self._entries:
            if not self._guard.hidden(entry.path):
                return entry
        raise StopIteration

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        close = getattr(self._entries, 'close', None)
        if close is not None:
            close()


def _hide(guard):
    def status(original):
        def stat(path, *args, **kwargs):
            if kwargs.get('dir_fd') is None:
                guard.check_exists(path)
            return original(path, *args, **kwargs)
        return stat

    def access(original):
        def access(path, *args, **kwargs):
            return not (kwargs.get('dir_fd') is None and guard.hidden(path)) and original(path, *args, **kwargs)
        return access

    def listdir(original):
        def listdir(path='.'):
            names = original(path)
            if path is None or isinstance(path, int):
                return names
            return [name for name in names if not guard.hidden(os.path.join(path, name))]
        return listdir

    def scandir(original):
        def scandir(path='.'):
            entries = original(path)
            return entries if path is None or isinstance(path, int) else _Entries(entries, guard)
        return scandir

    _replace(os, 'stat', status)
    _replace(os, 'lstat', status)
    _replace(os, 'access', access)
    _replace(os, 'listdir', listdir)
    _replace(os, 'scandir', scandir)


def install(config):
    guard = Guard(config)
    if guard.hides or config.zygote:
        _hide(guard)
    if hasattr(sys, 'addaudithook'):
        _audit(guard)
    else:
        _patch(guard)
    return guard
