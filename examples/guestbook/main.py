"""A guestbook in plain WSGI: no framework, the same file on Python 2.7 and 3.

Entries live in the memory of the instance and are gone when it stops; what is shown here is the platform: handlers,
sign-in, static files and templates.
"""

import io
import os
import string
import threading
import time

import accounts
import forms

HERE = os.path.dirname(os.path.abspath(__file__))
MOST_ENTRIES = 100
LONGEST_TEXT = 1000

entries = []
lock = threading.Lock()


def template(file, **values):
    """Fills in templates/FILE; values are escaped, except those whose name ends with _html."""
    with io.open(os.path.join(HERE, 'templates', file), encoding='utf-8') as source:
        text = string.Template(source.read())
    safe = dict((key, value if key.endswith('_html') else forms.escape(value)) for key, value in values.items())
    return text.substitute(safe)


def page(environ, content_html):
    account = accounts.current(environ)
    if account:
        account_html = template('signed_in.html', name=account.name, url=accounts.sign_out_url('/'))
    else:
        account_html = template('signed_out.html', url=accounts.sign_in_url('/'))
    title = os.environ.get('GUESTBOOK_TITLE', 'Guestbook')
    return template('page.html', title=title, account_html=account_html, content_html=content_html)


def show(environ):
    with lock:
        listed = list(reversed(entries))
    rows_html = u''.join(template('entry.html', **entry) for entry in listed)
    account = accounts.current(environ)
    tools_html = template('clear.html') if account and account.is_admin else u''
    content_html = template('entries.html', rows_html=rows_html or template('empty.html'), tools_html=tools_html)
    return '200 OK', [], page(environ, content_html)


def sign(environ):
    if environ['REQUEST_METHOD'] != 'POST':
        return '200 OK', [], page(environ, template('sign.html'))
    text = forms.read(environ).get('text', u'').strip()[:LONGEST_TEXT]
    if text:
        author = accounts.current(environ).name
        entry = {'author': author, 'text': text, 'when': time.strftime('%Y-%m-%d %H:%M', time.gmtime())}
        with lock:
            entries.append(entry)
            del entries[:-MOST_ENTRIES]
    return '303 See Other', [('Location', '/')], u''


def clear(environ):
    if environ['REQUEST_METHOD'] == 'POST':
        with lock:
            del entries[:]
    return '303 See Other', [('Location', '/')], u''


def missing(environ):
    return '404 Not Found', [], page(environ, template('missing.html'))


ROUTES = {'/': show, '/sign': sign, '/clear': clear}


def app(environ, start_response):
    status, headers, body = ROUTES.get(environ['PATH_INFO'], missing)(environ)
    headers = headers + [('Content-Type', 'text/html; charset=utf-8'), ('Cache-Control', 'no-cache')]
    start_response(status, headers)
    return [body.encode('utf-8')]
