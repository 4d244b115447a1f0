"""The service `api`: answers in JSON, under /api/ of the app and on a host name of its own."""

import json

PLANETS = ['Mercury', 'Venus', 'Earth', 'Mars', 'Jupiter', 'Saturn', 'Uranus', 'Neptune']


def app(environ, start_response):
    if environ['PATH_INFO'] == '/api/planets':
        status, body = '200 OK', PLANETS
    elif environ['PATH_INFO'] == '/':
        status, body = '200 OK', {'service': 'api', 'host': environ.get('HTTP_HOST', '')}
    else:
        status, body = '404 Not Found', {'error': 'no such resource'}
    start_response(status, [('Content-Type', 'application/json')])
    return [json.dumps(body).encode('utf-8')]
