"""Serves an ASGI application on a port of 127.0.0.1, and prints the port."""

import socket
import sys

import uvicorn


def serve(app):
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    print(listener.getsockname()[1], flush=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
    server.run(sockets=[listener])
