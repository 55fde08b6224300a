"""A service to play with: a page that greets, says who it is and whom it knows. Standard library
alone.

    python3 greeter.py greeter.json           serve; SIGHUP reads the file again
    python3 greeter.py --check greeter.json   exit code 0 healthy, 1 warning, 2 critical

``/`` is the page, ``/greeting.json`` the same for programs, ``/health`` says whether it serves.
"""

import html
import json
import os
import signal
import socket
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FILE_BYTES_MAX = 1024 * 1024
PAGE = """<!doctype html>
<meta charset="utf-8"><title>{member}</title>
<body style="font-family: sans-serif; max-width: 40em; margin: 3em auto">
<h1>{greeting}</h1>
<p>This is <b>{member}</b>, with configuration <code>{version}</code>.</p>
<p>In this group:</p>
<ul>
{members}
</ul>
"""


def read(path):
    """The rendered configuration file as a dict."""
    with open(path, encoding="utf-8") as file:
        return json.loads(file.read(FILE_BYTES_MAX))


def page(settings):
    """The page as text; every value is escaped, for configuration is input."""
    members = []
    for member in settings["members"]:
        host = f"[{member['ip']}]" if ":" in member["ip"] else member["ip"]
        name = html.escape(member["name"])
        gone = "" if member["alive"] else " (not heard of lately)"
        members.append(f'<li><a href="http://{host}:{member["port"]}/">{name}</a>{gone}</li>')
    return PAGE.format(
        greeting=html.escape(settings["greeting"]),
        member=html.escape(settings["member"]),
        version=html.escape(settings["config_version"] or "of the package"),
        members="\n".join(members),
    )


class Handler(BaseHTTPRequestHandler):
    """Answers from ``server.settings``, which a SIGHUP replaces as a whole."""

    timeout = 10

    def do_GET(self):
        settings = self.server.settings
        if self.path == "/":
            self.answer(200, "text/html; charset=utf-8", page(settings))
        elif self.path == "/greeting.json":
            self.answer(200, "application/json", json.dumps(settings))
        elif self.path == "/health":
            self.answer(200, "text/plain", "ok\n")
        else:
            self.answer(404, "text/plain", "not found\n")

    def answer(self, status, kind, text):
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        """A request is no news."""


class Server(ThreadingHTTPServer):
    """IPv4 or IPv6, as the address asks."""

    daemon_threads = True

    def __init__(self, settings):
        address = (settings["listen"], settings["port"])
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.settings = settings
        super().__init__(address, Handler)


def serve(path):
    """Serve until SIGTERM. A new address is taken by starting anew in the same process."""
    # A SIGHUP that comes before there is a handler waits, and is not lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    server = Server(read(path))

    def reload(*_):
        try:
            settings = read(path)
        except (OSError, ValueError) as error:
            print(f"greeter: keeping the old settings: {error}", flush=True)
            return
        old = server.settings
        if (settings["listen"], settings["port"]) != (old["listen"], old["port"]):
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            os.execv(sys.executable, [sys.executable, *sys.argv])
        server.settings = settings
        print(f"greeter: says {settings['greeting']!r} now", flush=True)

    signal.signal(signal.SIGHUP, reload)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    settings = server.settings
    print(f"greeter: serving on {settings['listen']}:{settings['port']}", flush=True)
    server.serve_forever()


def check(path):
    """Ask the greeter as a client would. Returns the exit code."""
    settings = read(path)
    host = settings["listen"]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    host = f"[{host}]" if ":" in host else host
    try:
        with urllib.request.urlopen(
            f"http://{host}:{settings['port']}/health", timeout=2
        ) as answer:
            answer.read(100)
    except OSError as error:
        print(f"no answer on port {settings['port']}: {error}")
        return 2
    if not settings["greeting"]:
        print("serving, but the greeting is empty")
        return 1
    print(f"serving on port {settings['port']}")
    return 0


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--check":
        sys.exit(check(sys.argv[2]))
    elif len(sys.argv) == 2:
        serve(sys.argv[1])
    else:
        sys.exit("usage: greeter.py [--check] greeter.json")
