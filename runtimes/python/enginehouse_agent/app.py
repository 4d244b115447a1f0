"""The app of this instance: what is loaded, and which way a request takes (WSGI object, CGI script, lifecycle)."""
from __future__ import absolute_import

import contextlib
import sys
import threading

from . import apistub, applogs, cgiscript, context, loader, logs, protocol, tracebacks, wsgi
from .errors import NotFound

PLAIN = b'200 OK\0Content-Type\0text/plain\0'


class App(object):
    def __init__(self, config, errors, thread_locals):
        self.config = config
        self.first_generation = config.first_generation
        self.injecting = config.first_generation
        self.stopping = False
        # Strikes other requests with an exception; see deadline.Timer.
        self.interrupt = None
        self.constants = dict(config.environ)
        self.template = dict(config.environ)
        self.template.update({
            'SCRIPT_NAME': '',
            'wsgi.version': (1, 0),
            'wsgi.url_scheme': 'http',
            'wsgi.errors': errors,
            'wsgi.multithread': config.threadsafe,
            'wsgi.multiprocess': True,
            'wsgi.run_once': False,
            'wsgi.file_wrapper': wsgi.FileWrapper,
        })
        self._objects = {}
        self._scripts = {}
        self._prepared = not config.first_generation
        self._middleware = None
        self._stubbed = not config.first_generation
        # Importing is one at a time: two requests must not both find a module half made.
        self._load_lock = threading.RLock()
        self._loading = set()
        self._gate = None if config.threadsafe else threading.Lock()
        self._cgi_lock = threading.Lock()
        self.thread_locals = thread_locals

    # Requests

    def run(self, connection, script, kind, environ, flag):
        """(head, chunks, size) of the answer; see wsgi.run."""
        if kind != 'http':
            done = self._lifecycle(connection, kind, script, environ)
            if done:
                return done
            if kind == 'background':
                with own_thread():
                    return self._run(connection, script, environ, flag)
        if self._gate is None:
            return self._run(connection, script, environ, flag)
        with self._gate:
            return self._run(connection, script, environ, flag)

    def _run(self, connection, script, environ, flag):
        found = self._objects.get(script)
        if found is None:
            script = self._named(script)
            if self.first_generation and cgiscript.is_script(script):
                return self._run_script(connection, script, environ)
            found = self._objects.get(script) or self._load(connection, script)
        application, path = found
        if self.first_generation:
            if path:
                environ['PATH_TRANSLATED'] = path
                connection.translate(path)
            flag = True
        return wsgi.run(connection, application, environ, flag)

    def _named(self, script):
        if script and script != 'auto':
            return script
        if self.config.script:
            return self.config.script
        if self.first_generation:
            raise NotFound('the handler of this URL names no script')
        return 'main:app'

    def _lifecycle(self, connection, kind, script, environ):
        """What the runtime itself answers; None if the app does."""
        if not self.first_generation:
            return None  # requests as any other; the SDK for Python 3 hears of /_ah/stop by the path
        if kind == 'stop':
            self._shut_down(connection)
        elif kind == 'background':
            # The thread's context is that of this request: it inherits nothing from the request that started it.
            with own_thread():
                background = __import__('google.appengine.runtime.background', fromlist=['background'])
                background._pending_background_threads.RunBackgroundThread(environ[background.BACKGROUND_REQUEST_ID])
        elif script:
            return None
        elif kind == 'warmup':
            for name in self.config.scripts:
                self._load(connection, name)
        return PLAIN, [b'ok'], 2

    def _shut_down(self, connection):
        """Runs the app's shutdown hook. What the hook raises strikes the requests that still run (as in the SDK's runtime)."""
        try:
            _run_shutdown_hook()
        except Exception:
            error = sys.exc_info()[1]
            connection.log(protocol.WARNING, b'the shutdown hook raised\n' + tracebacks.current())
            if self.interrupt is not None:
                self.interrupt(connection, error)

    # Loading

    def scripts(self):
        """The scripts of WSGI objects that were asked for."""
        return sorted(self._objects)

    def loading(self, connection):
        return connection.ident in self._loading

    def _load(self, connection, script):
        with self._load_lock:
            found = self._objects.get(script)
            if found is None:
                self._loading.add(connection.ident)
                self._prepare()
                application, path = loader.find(script)
                loader.check(application, script)
                self._stub_apis()
                if self._middleware is not None:
                    application = self._middleware(application)
                found = self._objects[script] = (application, path)
                self._loading.discard(connection.ident)
        return found

    def _prepare(self):
        """appengine_config.py comes before all other code of a first-generation app."""
        if not self._prepared:
            module = loader.import_module('appengine_config')
            self._middleware = getattr(module, 'webapp_add_wsgi_middleware', None)
            self._prepared = True
            self._stub_apis()

    def _stub_apis(self):
        applogs.install()
        if not self._stubbed:
            self._stubbed = apistub.install()

    def _run_script(self, connection, name, environ):
        with self._cgi_lock:
            with self._load_lock:
                self._loading.add(connection.ident)
                self._prepare()
                self._loading.discard(connection.ident)
            script = self._scripts.get(name)
            if script is None:
                script = self._scripts[name] = cgiscript.Script(name, self.config.root)
            connection.translate(script.path)
            try:
                return script.run(environ['wsgi.input'])
            finally:
                self._stub_apis()

    # After a request

    def after(self, connection):
        """False if the thread must not serve another request."""
        applogs.install()
        if self._loading:
            self._loading.discard(connection.ident)
        return self.thread_locals.clear(connection.locals)


@contextlib.contextmanager
def own_thread():
    """The SDK's BackgroundThread gives itself out for the thread that it runs on, and takes that out of the list of threads at its end."""
    ident = context.get_ident()
    own = threading._active.get(ident)
    try:
        yield
    finally:
        if own is not None:
            threading._active[ident] = own


def _run_shutdown_hook():
    for name in ('google.appengine.api.runtime.runtime', 'google.appengine.api.runtime'):
        begin = getattr(sys.modules.get(name), '__BeginShutdown', None)
        if begin is not None:
            begin()
            return


def serve(connection, connections, ended):
    """The thread of a connection."""
    try:
        if connection.serve():
            start(connection, connections, ended)
            return
    except BaseException:
        logs.failure()  # an agent's bug must cost one connection, not the instance
    connections.pop(connection, None)
    try:
        connection.sock.close()
    finally:
        ended()


class Serving(threading.Thread):
    """A thread that is not lost when `threading` is imported anew, as google.appengine.runtime.thread_hooks of Python 3 does: that forgets which
    threads are starting and running, and a thread that is just starting would end without having served its connection."""

    ran = False

    def run(self):
        self.ran = True
        super(Serving, self).run()

    def _bootstrap_inner(self):
        try:
            super(Serving, self)._bootstrap_inner()
        except KeyError:
            if not self.ran:
                self.run()


def start(connection, connections, ended):
    thread = Serving(target=serve, args=(connection, connections, ended))
    thread.daemon = True
    thread.start()
