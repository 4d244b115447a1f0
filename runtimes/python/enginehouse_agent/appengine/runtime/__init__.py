"""Errors of the runtime."""
from __future__ import absolute_import

from enginehouse_agent.deadline import DeadlineExceededError

__all__ = ['DeadlineExceededError']
