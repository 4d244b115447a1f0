"""Greets by CGI; runs on Python 2.7 and 3."""
import os

try:
    from urllib.parse import parse_qs
except ImportError:
    from urlparse import parse_qs

name = parse_qs(os.environ.get('QUERY_STRING', '')).get('name', ['World'])[0]
print('Content-Type: text/plain; charset=utf-8')
print('')
print('Hello, %s! This is %s by CGI.' % (name, os.environ['CURRENT_MODULE_ID']))
