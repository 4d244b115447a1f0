"""The users API: who is signed in, from the variables of the request."""
from __future__ import absolute_import

import os

try:
    from urllib.parse import quote
except ImportError:
    from urllib import quote


class Error(Exception):
    """Any error of this API."""


class UserNotFoundError(Error):
    """Nobody is signed in and no address was given."""


class RedirectTooLongError(Error):
    """The address to come back to is too long."""


class NotAllowedError(Error):
    """The address to come back to is not allowed."""


class User(object):
    """Somebody with an email address; without arguments, whoever is signed in."""

    def __init__(self, email=None, _auth_domain=None, _user_id=None, federated_identity=None, federated_provider=None,
                 _strict_mode=True):
        signed_in = email is None
        self._email = os.environ.get('USER_EMAIL', '') if signed_in else email
        if not self._email and _strict_mode:
            raise UserNotFoundError('nobody is signed in')
        self._auth_domain = _auth_domain or os.environ.get('AUTH_DOMAIN', 'gmail.com')
        self._user_id = (_user_id or os.environ.get('USER_ID') or None) if signed_in else _user_id

    def nickname(self):
        suffix = '@' + self._auth_domain
        return self._email[:-len(suffix)] if self._email.endswith(suffix) else self._email

    def email(self):
        return self._email

    def user_id(self):
        return self._user_id

    def auth_domain(self):
        return self._auth_domain

    def federated_identity(self):
        return None

    def federated_provider(self):
        return None

    def _key(self):
        return (self._email, self._auth_domain)

    def __eq__(self, other):
        return isinstance(other, User) and self._key() == other._key()

    def __ne__(self, other):
        return not self == other

    def __lt__(self, other):
        return self._key() < other._key()

    def __hash__(self):
        return hash(self._key())

    def __str__(self):
        return str(self.nickname())

    def __repr__(self):
        return 'users.User(email=%r%s)' % (self._email, ',_user_id=%r' % self._user_id if self._user_id else '')


def get_current_user():
    return User() if os.environ.get('USER_EMAIL') else None


def is_current_user_admin():
    return os.environ.get('USER_IS_ADMIN', '0') == '1'


def _url(page, destination):
    if isinstance(destination, type(u'')) and str is bytes:
        destination = destination.encode('utf-8')
    return '/_ah/%s?continue=%s' % (page, quote(destination or '/', safe=''))


def create_login_url(dest_url=None, _auth_domain=None, federated_identity=None):
    return _url('login', dest_url)


def create_logout_url(dest_url, _auth_domain=None):
    return _url('logout', dest_url)
