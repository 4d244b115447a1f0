"""The object that App Engine serves."""
from mysite.wsgi import application as app
