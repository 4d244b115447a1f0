"""The pages of the default service."""

PAGE = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Two services</title>
<h1>Two services</h1>
<p>The list below comes from the service <code>api</code>, which dispatch.yaml puts under <code>/api/</code>.</p>
<ul id="list"></ul>
<script src="/static/list.js"></script>
</html>
"""


def app(environ, start_response):
    if environ['PATH_INFO'] != '/':
        start_response('404 Not Found', [('Content-Type', 'text/plain')])
        return [b'There is no such page.\n']
    start_response('200 OK', [('Content-Type', 'text/html; charset=utf-8')])
    return [PAGE]
