"""Reads a posted form and escapes text for HTML, on Python 2.7 and 3 alike."""

try:
    from urllib.parse import parse_qsl
except ImportError:
    from urlparse import parse_qsl

LONGEST_FORM = 64 * 1024


def read(environ):
    """The fields of a form as text; the last one wins if a name comes twice."""
    try:
        length = int(environ.get('CONTENT_LENGTH') or 0)
    except ValueError:
        length = 0
    data = environ['wsgi.input'].read(min(length, LONGEST_FORM))
    data = data if str is bytes else data.decode('ascii', 'replace')
    return dict((text(name), text(value)) for name, value in parse_qsl(data, keep_blank_values=True))


def text(value):
    return value.decode('utf-8', 'replace') if isinstance(value, bytes) else value


def escape(value):
    value = text(value)
    for plain, safe in ((u'&', u'&amp;'), (u'<', u'&lt;'), (u'>', u'&gt;'), (u'"', u'&quot;'), (u"'", u'&#39;')):
        value = value.replace(plain, safe)
    return value
