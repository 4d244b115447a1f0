"""The frames of docs/design/agent-protocol.md: a kind byte, a 32-bit length, then the payload."""
from __future__ import absolute_import

import struct

HEADER = struct.Struct('>BI')
END = struct.Struct('>BIBQ')

REQUEST = ord('R')
BODY = ord('B')
HEAD = ord('H')
DATA = ord('D')
LOG = ord('L')
FINISH = ord('E')

FLAG_BODY = 1
FLAG_BUFFER = 2

MAX_FRAME = 64 << 20
MAX_DATA = 1 << 20
# A traceback of a runaway recursion or a dumped variable must not fill the front end's memory.
MAX_TEXT = 256 << 10

ANSWERED = 0x30
EXCEPTION = 0x31
NOT_FOUND = 0x32
DEADLINE = 0x33
INVALID = 0x34
REPLACE = 0x35

DEBUG, INFO, WARNING, ERROR, CRITICAL = range(5)


class ProtocolError(Exception):
    """The peer sent something that is no frame, or went away in the middle of one."""


def frame(kind, payload):
    return HEADER.pack(kind, len(payload)) + payload


def data(chunks, size):
    """Body pieces as the bytes of D frames; `size` is their total length."""
    if not size:
        return []
    if size <= MAX_DATA:
        return [HEADER.pack(DATA, size)] + chunks
    body = memoryview(b''.join(chunks))
    out = []
    for start in range(0, size, MAX_DATA):
        piece = body[start:start + MAX_DATA]
        out.append(HEADER.pack(DATA, len(piece)))
        out.append(piece.tobytes())
    return out


def text(value):
    """Text as UTF-8 of bounded length, whatever an app's exception or log line consists of."""
    if not isinstance(value, bytes):
        value = value.encode('utf-8', 'replace')
    else:
        try:
            value.decode('utf-8')
        except UnicodeDecodeError:
            value = value.decode('latin-1').encode('utf-8')
    if len(value) > MAX_TEXT:
        value = value[:MAX_TEXT].decode('utf-8', 'ignore').encode('utf-8') + b'... (cut)'
    return value


def log(severity, line):
    line = text(line)
    return HEADER.pack(LOG, len(line) + 1) + (b'0', b'1', b'2', b'3', b'4')[severity] + line


def end(outcome, cpu, detail=b''):
    if not detail:
        return END.pack(FINISH, 9, outcome, cpu)
    detail = text(detail)
    return END.pack(FINISH, 9 + len(detail), outcome, cpu) + detail
