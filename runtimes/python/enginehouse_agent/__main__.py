"""Entry point: `python <dir>/enginehouse_agent`.

Python puts this folder itself in front of sys.path, where short module names such as `config` or `files` would shadow the
app's own. So the entry is taken away again and the folder is imported as the package it is.
"""
import os
import sys

if __name__ == '__main__':
    HERE = os.path.dirname(os.path.abspath(__file__))
    sys.path[0] = os.path.dirname(HERE)
    from enginehouse_agent import server
    del sys.path[0]
    server.main()
