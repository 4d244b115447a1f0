"""Stand-in for google.appengine when the SDK is not installed; see enginehouse_agent/sdk.py."""
