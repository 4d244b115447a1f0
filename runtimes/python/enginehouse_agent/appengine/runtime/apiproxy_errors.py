"""Errors of API calls, for `except` clauses: without the SDK there are no calls that could raise them."""


class Error(Exception):
    """Any API error."""


class RPCFailedError(Error):
    """The API server could not be reached."""


class CallNotFoundError(Error):
    """There is no such API or call."""


class ArgumentError(Error):
    """The arguments of the call could not be read."""


class DeadlineExceededError(Error):
    """The API call took too long."""


class CancelledError(Error):
    """The API call was cancelled."""


class ApplicationError(Error):
    """The API refused the call."""

    def __init__(self, application_error, error_detail=''):
        Error.__init__(self, application_error, error_detail)
        self.application_error = application_error
        self.error_detail = error_detail

    def __str__(self):
        return 'ApplicationError: %d %s' % (self.application_error, self.error_detail)


class OverQuotaError(Error):
    """A quota is used up."""


class RequestTooLargeError(Error):
    """The request of the call is too large."""


class ResponseTooLargeError(Error):
    """The answer of the call is too large."""


class CapabilityDisabledError(Error):
    """The API is switched off for the time being."""


class FeatureNotEnabledError(Error):
    """The app has no access to this feature."""
