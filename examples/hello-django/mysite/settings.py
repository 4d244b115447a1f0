"""Settings: no database, no sessions."""
import os

SECRET_KEY = os.environ.get('DJANGO_SECRET_KEY', 'only for this example')
DEBUG = False
# The front end lets only the app's own hosts through.
ALLOWED_HOSTS = ['*']
ROOT_URLCONF = 'mysite.urls'
WSGI_APPLICATION = 'mysite.wsgi.application'
MIDDLEWARE = ['django.middleware.security.SecurityMiddleware', 'django.middleware.common.CommonMiddleware']
TEMPLATES = [{'BACKEND': 'django.template.backends.django.DjangoTemplates', 'DIRS': [os.path.join(os.path.dirname(__file__), 'templates')]}]
USE_TZ = True
