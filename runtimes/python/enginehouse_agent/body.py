"""The request body of a second-generation app as the file that wsgi.input promises.

The body arrives in B frames while the app reads it, so an upload is never held in memory as a whole unless the app asks for
all of it. (The first generation has always had the whole body before the app starts, in a file that can seek; there `connection`
reads it into an io.BytesIO.) Reading stops at the end of the body, not of the connection, which carries the next request afterwards.
"""
from __future__ import absolute_import

from . import protocol


class Body(object):
    def __init__(self, connection):
        self._connection = connection
        self._piece = b''
        self._at = 0
        self._ended = False
        self._torn = False

    def _fill(self):
        """Takes the next piece off the connection; False at the end of the body."""
        if self._ended:
            return False
        if self._torn:
            raise IOError('the request body cannot be read: the client went away')
        # If DeadlineExceededError strikes between header and payload, the place in the stream is lost; `_torn` remembers.
        self._torn = True
        try:
            piece = self._connection.read_body()
        except (protocol.ProtocolError, EnvironmentError):
            raise IOError('the client closed the connection before the whole request body had arrived')
        self._torn = False
        self._piece, self._at = piece, 0
        if not piece:
            self._ended = True
            return False
        return True

    def read(self, size=-1):
        if size is None or size < 0:
            pieces = [self._piece[self._at:]]
            self._at = len(self._piece)
            while self._fill():
                pieces.append(self._piece)
                self._at = len(self._piece)
            return b''.join(pieces)
        pieces = []
        while size > 0:
            piece = self._piece[self._at:self._at + size]
            if not piece:
                if not self._fill():
                    break
                continue
            self._at += len(piece)
            size -= len(piece)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b''.join(pieces)

    def readline(self, size=-1):
        if size is None or size < 0:
            size = 1 << 62
        pieces = []
        while size > 0:
            if self._at >= len(self._piece) and not self._fill():
                break
            stop = self._piece.find(b'\n', self._at) + 1
            done = stop > 0
            if not done:
                stop = len(self._piece)
            stop = min(stop, self._at + size)
            piece = self._piece[self._at:stop]
            self._at = stop
            size -= len(piece)
            pieces.append(piece)
            if done:
                break
        return b''.join(pieces)

    def readlines(self, hint=-1):
        lines, total = [], 0
        for line in self:
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint <= total:
                break
        return lines

    def __iter__(self):
        return iter(self.readline, b'')

    def close(self):
        pass

    def finish(self):
        """Drops what the app left unread; False if the connection is of no further use."""
        try:
            while not self._ended:
                self._fill()
            return True
        except IOError:
            return False
