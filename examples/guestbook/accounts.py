"""Who is signed in, as each generation of App Engine tells it: by the users API or by request headers."""

try:
    from urllib.parse import quote
except ImportError:
    from urllib import quote


class Account(object):
    def __init__(self, name, is_admin):
        self.name = name
        self.is_admin = is_admin


def current(environ):
    """The signed-in account, or None."""
    if environ.get('APPENGINE_RUNTIME') == 'python27':
        from google.appengine.api import users
        user = users.get_current_user()
        return Account(user.nickname(), users.is_current_user_admin()) if user else None
    email = environ.get('HTTP_X_APPENGINE_USER_EMAIL')
    if not email:
        return None
    name = environ.get('HTTP_X_APPENGINE_USER_NICKNAME') or email
    return Account(name, environ.get('HTTP_X_APPENGINE_USER_IS_ADMIN') == '1')


def sign_in_url(back_to):
    return '/_ah/login?continue=' + quote(back_to, safe='')


def sign_out_url(back_to):
    return '/_ah/logout?continue=' + quote(back_to, safe='')
