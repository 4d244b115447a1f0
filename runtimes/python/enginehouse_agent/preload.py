"""What a zygote imports ahead, and the reasons why it must not fork after all."""
from __future__ import absolute_import

import gc
import os
import stat
import sys
import threading
import time
import warnings

from . import deadline, loader, logs

TASKS = '/proc/self/task'
DESCRIPTORS = '/proc/self/fd'
# Start threads of their own when imported (OpenBLAS, MKL), and stop and restart them around a fork (pthread_atfork).
FORK_SAFE = ('numpy', 'scipy')
# Replace parts of the standard library, and must do so before anybody else has imported those.
PATCHERS = ('gevent', 'eventlet', 'newrelic')


def threads():
    """How many threads the process has, those included that Python knows nothing of."""
    try:
        return len(os.listdir(TASKS))
    except OSError:
        return len(threading.enumerate())


def descriptors():
    """{number: what the kernel calls it} of every open descriptor."""
    found = {}
    for name in os.listdir(DESCRIPTORS):
        try:
            found[int(name)] = os.readlink(os.path.join(DESCRIPTORS, name))
        except OSError:
            pass  # the one that listed them
    return found


def top(name):
    return name.split('.')[0]


class Preloaded(object):
    def __init__(self, config):
        self._config = config
        self._baseline = frozenset(top(name) for name in sys.modules)
        self._descriptors = frozenset(descriptors())
        self._own_too = False
        # More than one only because of FORK_SAFE.
        self._threads = threads()
        self.refusal = None
        self.generators = []
        self.files = []

    def extend(self, order):
        """Imports more modules; gives back why this process must not fork any more, if so."""
        self.refusal = self.refusal or self._patched(order['modules']) or self._import(order)
        self._note_generators()
        return self.refusal

    def _patched(self, names):
        found = [name for name in PATCHERS if name in names]
        if found:
            return 'the library %s replaces parts of the standard library, which must happen in each instance before anything else' % found[0]
        return None

    def _import(self, order):
        blamed = None
        gc.disable()
        try:
            for name in order['modules']:
                found = self._import_one(name)
                blamed = blamed or found
            self._own_too = order.get('app') or self._own_too
            if self._own_too:
                found = self._import_app(order['scripts'])
                blamed = blamed or found
        finally:
            gc.enable()
        return self._restless(blamed) or self._connected(blamed) or self._mixed(order['own'])

    def _import_one(self, name):
        """The name if something was left behind by importing it."""
        if name in sys.modules:
            return None
        try:
            __import__(name)
        except BaseException:
            # An instance will import it itself, at the right moment, and say what is wrong.
            pass
        now = threads()
        if now > self._threads:
            if top(name) in FORK_SAFE and len(threading.enumerate()) == 1:
                self._threads = now
                return None
            return name
        return name if self._odd_descriptors() else None

    def _import_app(self, scripts):
        config = self._config
        blamed = None
        os.chdir(config.root)
        if config.root not in sys.path:
            sys.path.insert(0, config.root)
        if config.first_generation:
            blamed = self._import_one('appengine_config')
        for script in scripts:
            try:
                loader.find(script)
            except BaseException:
                logs.failure()
            if threads() > self._threads or self._odd_descriptors():
                blamed = blamed or script
        return blamed

    # Reasons to refuse

    def _restless(self, blamed):
        # Many end by themselves, and the kernel forgets them a moment after Python does.
        until = deadline.now() + 0.2
        while threads() > self._threads:
            if deadline.now() > until:
                return 'the library %s leaves a thread running when it is imported, which a fork would not have' % (starter() or blamed)
            time.sleep(0.005)
        return None

    def _odd_descriptors(self):
        found = descriptors()
        return [fd for fd, what in found.items() if fd not in self._descriptors and what.startswith(('socket:', 'anon_inode:', 'pipe:'))]

    def _connected(self, blamed):
        odd = self._odd_descriptors()
        if odd:
            what = descriptors().get(odd[0], '')
            return 'the library %s leaves something open when it is imported (%s), which instances must not share' % (blamed, what)
        self.files = [fd for fd in descriptors() if fd not in self._descriptors and regular(fd)]
        return None

    def _mixed(self, own):
        mixed = sorted(self._foreign().intersection(own))
        if mixed:
            return 'the app brings its own module %s, which would be mixed up with the installed one' % mixed[0]
        return None

    def _foreign(self):
        """The top names of what was preloaded from the environment."""
        if self._own_too:
            return frozenset()
        return frozenset(top(name) for name in list(sys.modules)) - self._baseline

    def hidden_by(self, root):
        """Why instances in this folder must be started afresh, if so: a file was added that stands in for a library."""
        try:
            names = frozenset(os.listdir(root))
        except OSError:
            return None  # the instance will say so
        for name in self._foreign():
            if name + '.py' in names or (name in names and os.path.isfile(os.path.join(root, name, '__init__.py'))):
                return 'the app brings its own module %s, which would be mixed up with the installed one' % name
        return None

    # Before and at the fork

    def _note_generators(self):
        """Generators of random numbers that libraries made: each instance seeds them anew. Found here, because what is frozen is
        no longer shown by the collector."""
        random = sys.modules.get('random')
        if random is not None:
            kinds = (random.SystemRandom,)
            self.generators += [one for one in gc.get_objects() if issubclass(type(one), random.Random) and not issubclass(type(one), kinds)]

    def fork(self):
        if self._threads == 1:
            return os.fork()
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # Python 3.12 warns of threads
            return os.fork()


def starter():
    """The library whose function a thread runs; None if that is the standard library's, which says nothing."""
    standard = os.path.dirname(os.__file__)
    for thread in threading.enumerate():
        target = getattr(thread, '_target', None) or getattr(thread, '_Thread__target', None) or type(thread)
        name = getattr(target, '__module__', None)
        path = getattr(sys.modules.get(name), '__file__', None)
        if thread is not threading.current_thread() and path and (not path.startswith(standard) or 'site-packages' in path):
            return name
    return None


def regular(fd):
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError:
        return False
