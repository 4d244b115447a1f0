"""Everything an app says while it serves a request goes to the log of that request.

Standard output and error become streams that ask which request the calling thread serves; lines of threads that serve none go
where they went before. The wrapped streams keep fileno(), isatty() and (Python 3) buffer. Records of the logging module get a
handler of their own in the first generation, where the runtime, not the app, configures logging.
"""
from __future__ import absolute_import

import io
import logging
import sys
import traceback

from . import context
from . import applogs
from .protocol import CRITICAL, DEBUG, ERROR, INFO, WARNING

PY2 = sys.version_info[0] == 2
# A line without an end must not grow for ever.
LONGEST_LINE = 64 << 10


def write(request, stream, severity, data):
    """Adds text (or bytes) to a stream of the request; whole lines become log entries, the rest waits."""
    if not isinstance(data, bytes):
        data = data.encode('utf-8', 'replace')
    before = request.tails.get(stream, b'')
    if before is None:  # a long line was passed on already, up to here
        before, data = b'', data[1:] if data[:1] == b'\n' else data
    lines = (before + data).split(b'\n')
    rest = lines.pop()
    if len(rest) > LONGEST_LINE:
        lines.append(rest)
        rest = None
    request.tails[stream] = rest
    if severity >= WARNING and len(lines) > 1:
        lines = [b'\n'.join(lines)]  # a traceback that was written at once stays one entry
    for line in lines:
        if request.log(severity, line.rstrip(b'\r')) is False:
            _process_line(stream, line)


def finish(request):
    """At the end of a request: what was written without a final newline."""
    for (_, severity), rest in list(request.tails.items()):
        if rest:
            request.log(severity, rest)
    request.tails.clear()
    applogs.finish(request)


def _process_line(stream, line):
    """A thread that outlived its request: its lines belong to the process."""
    original = stream[0].original
    if PY2:
        original.write(line + b'\n')
    else:
        original.write(line.decode('utf-8', 'replace') + '\n')
        original.flush()


class _Bytes(object):
    """`sys.stdout.buffer`."""

    def __init__(self, stream, original):
        self._stream = stream
        self._original = original

    def write(self, data):
        request = context.current()
        if request is None:
            return self._original.write(data)
        data = bytes(data)
        write(request, self._stream.key, self._stream.severity, data)
        return len(data)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def __getattr__(self, name):
        return getattr(self._original, name)


class Stream(io.TextIOBase if not PY2 else object):
    softspace = 0

    def __init__(self, original, severity):
        self.original = original
        self.severity = severity
        self.key = (self, severity)
        if not PY2:
            self._bytes = _Bytes(self, original.buffer) if hasattr(original, 'buffer') else None

    def write(self, text):
        request = context.current()
        if request is None:
            return self.original.write(text)
        if not PY2 and not isinstance(text, str):
            raise TypeError('write() argument must be str, not %s' % type(text).__name__)
        write(request, self.key, self.severity, text)
        return None if PY2 else len(text)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def flush(self):
        self.original.flush()

    def fileno(self):
        return self.original.fileno()

    def isatty(self):
        return self.original.isatty()

    def close(self):
        """An app that closes sys.stdout would take the log from every later request."""

    if not PY2:
        @property
        def buffer(self):
            return self._bytes

        @property
        def encoding(self):
            return self.original.encoding

        @property
        def errors(self):
            return self.original.errors

        def writable(self):
            return True

        def __del__(self):
            pass

    def __getattr__(self, name):
        return getattr(self.original, name)


class Errors(object):
    """wsgi.errors: one object for all requests; it finds the request by the thread, as the streams do."""

    def __init__(self):
        self.original = sys.stderr
        self.key = (self, ERROR)

    def write(self, text):
        request = context.current()
        if request is None:
            self.original.write(text)
        else:
            write(request, self.key, ERROR, text)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def flush(self):
        pass


def severity_of(level):
    if level < logging.INFO:
        return DEBUG
    if level < logging.WARNING:
        return INFO
    if level < logging.ERROR:
        return WARNING
    return ERROR if level < logging.CRITICAL else CRITICAL


class Handler(logging.Handler):
    """Records go to the log of the request as they are: time and severity are columns there, not part of the text."""

    def __init__(self, original):
        logging.Handler.__init__(self)
        self._original = original

    def emit(self, record):
        try:
            text = self.format(record)
            request = context.current()
            if request is None or request.log(severity_of(record.levelno), text) is False:
                line = '%s: %s\n' % (record.levelname, text)
                if PY2 and not isinstance(line, bytes):
                    line = line.encode('utf-8')
                self._original.write(line)
                self._original.flush()
        except Exception:
            self.handleError(record)


def install(config):
    """Wraps the streams; gives back the object for wsgi.errors."""
    errors = Errors()
    if config.first_generation:
        root = logging.getLogger()
        root.addHandler(Handler(sys.stderr))
        root.setLevel(logging.DEBUG)
    sys.stdout = Stream(sys.stdout, INFO)
    sys.stderr = Stream(sys.stderr, WARNING)
    return errors


def note(text):
    """A line of the agent itself, for the log of the process."""
    stream = getattr(sys.stderr, 'original', sys.stderr)
    try:
        stream.write('enginehouse agent: %s\n' % text)
        stream.flush()
    except Exception:
        pass


def failure():
    note(traceback.format_exc())
