"""The ways an app can fail that are not its own exceptions."""


class InvalidResponse(Exception):
    """The app answered something that is no response; the text says which part and why."""


class NotFound(Exception):
    """The script or object a handler names does not exist; the text says what was looked for."""
