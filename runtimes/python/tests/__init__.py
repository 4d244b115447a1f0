"""Tests of the Python agent: they start the real agent and speak its protocol. Run `python -m unittest discover` in the folder above."""
