"""Calls a WSGI object (PEP 3333) and checks its answer.

What the object answers is checked before anything goes out, and every refusal says what was wrong: an answer that only some
servers accept is an app's bug that is cheapest to find here.
"""
from __future__ import absolute_import

import sys

from . import protocol
from .errors import InvalidResponse

PY2 = sys.version_info[0] == 2
STATUSES = frozenset(str(number) for number in range(200, 600))
LIMIT = 32 << 20

if PY2:
    exec('def reraise(info):\n    raise info[0], info[1], info[2]\n')
else:
    def reraise(info):
        raise info[1].with_traceback(info[2])


class FileWrapper(object):
    """wsgi.file_wrapper: a file as an iterable of blocks."""

    def __init__(self, file, size=64 << 10):
        self.file = file
        self.size = size
        if hasattr(file, 'close'):
            self.close = file.close

    def __iter__(self):
        return iter(lambda: self.file.read(self.size), b'')


def kind_of(value):
    return type(value).__name__


def encode_head(status, headers):
    """The payload of the H frame, or InvalidResponse."""
    if type(status) is not str or status[:3] not in STATUSES or status[3:4] not in ('', ' '):
        _refuse_status(status)
    if type(headers) is not list and not isinstance(headers, list):
        raise InvalidResponse('start_response: the headers must be a list of (name, value) tuples, not %s' % kind_of(headers))
    flat = [status]
    for header in headers:
        if type(header) is not tuple or len(header) != 2:
            raise InvalidResponse('start_response: a header must be a (name, value) tuple, not %r' % (header,))
        name, value = header
        if type(name) is not str or type(value) is not str:
            _refuse_strings(name, value)
        flat += header
    flat.append('')
    text = '\0'.join(flat)
    if '\n' in text or '\r' in text or text.count('\0') != len(flat) - 1 or '' in flat[1:-1:2]:
        _refuse_text(status, headers)
    if PY2:
        return text
    try:
        return text.encode('latin-1')
    except UnicodeEncodeError as error:
        raise InvalidResponse('start_response: status and headers must consist of ISO-8859-1 characters, but found %r' % text[error.start])


def _refuse_status(status):
    if not isinstance(status, str):
        raise InvalidResponse('start_response: the status must be a str such as "200 OK", not %s (%r)' % (kind_of(status), status))
    if status[:3] not in STATUSES or status[3:4] not in ('', ' '):
        raise InvalidResponse('start_response: the status must start with a number from 200 to 599, as "200 OK" does; it is %r' % status)


def _refuse_strings(name, value):
    for what, item in (('name', name), ('value', value)):
        if not isinstance(item, str):
            raise InvalidResponse('start_response: the %s of a header must be a str, not %s: (%r, %r)' % (what, kind_of(item), name, value))


def _refuse_text(status, headers):
    for item in [(status, '')] + headers:
        for text in item:
            if '\n' in text or '\r' in text or '\0' in text:
                raise InvalidResponse('start_response: status and headers must not contain line breaks or NUL: %r' % (text,))
        if not item[0]:
            raise InvalidResponse('start_response: a header has an empty name: %r' % (item,))


def too_large(size):
    return InvalidResponse('HTTP response was too large: %d. The limit is: %d.' % (size, LIMIT))


def refuse_item(item):
    return InvalidResponse('the response body must consist of %s, but an item is %s: %s' % (
        'str (byte strings)' if PY2 else 'bytes', kind_of(item), repr(item)[:100]))


class Response(object):
    __slots__ = ('head', 'chunks', 'size', 'stream')

    def __init__(self, stream=None):
        self.head = None
        self.chunks = []
        self.size = 0
        self.stream = stream

    def start_response(self, status, headers, exc_info=None):
        if exc_info:
            try:
                if self.stream is not None and self.stream.head_sent:
                    reraise(exc_info)
            finally:
                exc_info = None  # no cycle through the traceback
        elif self.head is not None:
            raise AssertionError('start_response was called a second time without exc_info')
        self.head = encode_head(status, headers)
        return self.write

    def write(self, data):
        if self.head is None:
            raise AssertionError('write() was called before start_response')
        if not isinstance(data, bytes):
            raise refuse_item(data)
        if self.stream is not None:
            self.push(data)
        else:
            self.add(data)

    def add(self, data):
        self.size += len(data)
        if self.size > LIMIT:
            raise too_large(self.size)
        self.chunks.append(data)

    def push(self, data):
        """Sends a piece at once, with the head in front of the first; empty pieces promise nothing and send nothing."""
        if data:
            stream = self.stream
            out = [] if stream.head_sent else [stream.send_head(self.head)]
            stream.send(b''.join(out + protocol.data([data], len(data))))


def missing_start():
    return InvalidResponse('the WSGI object never called start_response')


def run(connection, application, environ, buffered):
    """Gives back (head, chunks, size) of what is still to be sent; a streamed answer leaves no head to send."""
    response = Response(None if buffered else connection)
    result = application(environ, response.start_response)
    kind = type(result)
    if kind is list or kind is tuple:
        if response.size or (not buffered and connection.head_sent):  # after write()
            for item in result:
                response.write(item)
            return finish(connection, response)
        if response.head is None:
            raise missing_start()
        size = 0
        for item in result:
            if not isinstance(item, bytes):
                raise refuse_item(item)
            size += len(item)
        if size > LIMIT and buffered:
            raise too_large(size)
        return response.head, result, size
    try:
        if result is None or isinstance(result, (str, bytes)) and not hasattr(result, 'close'):
            _refuse_result(result)
        emit = response.add if buffered else response.push
        for item in result:
            if not isinstance(item, bytes):
                raise refuse_item(item)
            if response.head is None:
                raise missing_start()
            emit(item)
            if connection.gone:
                break  # the client left: an endless stream must end here, and its close() be called
        if response.head is None:
            raise missing_start()
    finally:
        close = getattr(result, 'close', None)
        if close is not None:
            close()
    return finish(connection, response)


def finish(connection, response):
    if connection.head_sent:
        return None, (), 0
    return response.head, response.chunks, response.size


def _refuse_result(result):
    if result is None:
        raise InvalidResponse('the WSGI object returned None; it must return an iterable of %s' % ('str' if PY2 else 'bytes'))
    if not PY2:
        raise InvalidResponse('the WSGI object returned %s; it must return an iterable of bytes, such as a list' % kind_of(result))
