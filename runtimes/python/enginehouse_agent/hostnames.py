"""Names of Google's servers that lead to the house, where instances have no /etc/hosts of their own, or the server not the usual port.

The house says which (config.names): name -> [address, port]. Connections to port 443 of such a name go there; TLS and HTTP on them are the
client's own, so its certificate is checked as ever. Whatever resolves a name by socket.getaddrinfo, or connects to it by name, is
turned round; programs that the app starts are not.
"""
from __future__ import absolute_import

import socket

PORT = 443
_places = {}


def install(config):
    first = not _places
    for name, place in config.names.items():
        _places[name] = (place[0], int(place[1]))
    if _places and first:
        _turn()


def _place(host, port):
    if isinstance(host, bytes):
        host = host.decode('ascii', 'replace')
    if host is None or port not in (PORT, str(PORT), b'443', 'https', b'https'):
        return None
    return _places.get(host.rstrip('.').lower())


def _turn():
    looked_up = socket.getaddrinfo
    connects = dict((name, getattr(socket.socket, name)) for name in ('connect', 'connect_ex'))

    def getaddrinfo(host, port, *more, **named):
        place = _place(host, port)
        return looked_up(host, port, *more, **named) if place is None else looked_up(place[0], place[1], *more, **named)

    def turned(original):
        def connect(self, address):
            place = _place(*address[:2]) if isinstance(address, tuple) and len(address) > 1 else None
            return original(self, address if place is None else place)

        connect.__name__, connect.__doc__ = original.__name__, original.__doc__
        return connect

    getaddrinfo.__doc__ = looked_up.__doc__
    socket.getaddrinfo = getaddrinfo
    for name, original in connects.items():
        setattr(socket.socket, name, turned(original))
