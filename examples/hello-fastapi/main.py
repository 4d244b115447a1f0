"""Greets in JSON."""
import os

import fastapi

app = fastapi.FastAPI()


@app.get('/')
async def hello(name: str = 'World'):
    return {'hello': name, 'service': os.environ['GAE_SERVICE'], 'fastapi': fastapi.__version__}
