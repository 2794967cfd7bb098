"""The real servers' programs: one nginx per server, and the tunnel's end on TUN servers.

nginx runs without its master process, so that a server is one process with one pid file and a
kill is as sudden as a power cut.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

from net import LabError, is_running, wait_until

DECAP = Path(__file__).with_name("decap.py")
DOWNLOAD_LEN = 8 << 20  # octets of /download

NGINX_CONF = """\
daemon off;
master_process off;
worker_rlimit_nofile 4096;
pid {directory}/{name}.pid;
error_log {directory}/{name}.log;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    default_type text/plain;
    keepalive_requests 1000000;
    client_max_body_size 64m;
    client_body_temp_path {directory}/{name}.tmp/body;
    proxy_temp_path {directory}/{name}.tmp/proxy;
    fastcgi_temp_path {directory}/{name}.tmp/fastcgi;
    uwsgi_temp_path {directory}/{name}.tmp/uwsgi;
    scgi_temp_path {directory}/{name}.tmp/scgi;
    server {{
        listen 80 backlog=1024;
        listen [::]:80 backlog=1024;
        root {directory}/www;
        add_header Served-By {name};
        location = / {{ return 200 "{name}\\n"; }}
        location = /healthz {{ return 200 "ok\\n"; }}
        # Takes a body of any size and says who took it: long requests towards the server.
        location = /upload {{ client_body_buffer_size 16k; proxy_pass http://127.0.0.1/swallow; }}
        location = /swallow {{ return 200 "{name}\\n"; }}
        # A download that lasts: a connection that is alive while things change around it.
        location = /slow {{ limit_rate 1m; alias {directory}/www/download; }}
    }}
}}
"""


class Servers:
    """Starts, kills and brings back the programs of a lab's servers."""

    def __init__(self, lab, fabric):
        self.lab, self.fabric = lab, fabric
        self.running = {}
        www = fabric.directory / "www"
        www.mkdir()
        (www / "download").write_bytes(os.urandom(1 << 16) * (DOWNLOAD_LEN >> 16))
        www.chmod(0o755)

    def start_all(self):
        """Starts everything and waits until each server listens."""
        for server in self.lab.servers:
            if server.mode == "tunnel":
                self.start_decap(server)
            self.start(server.name)

    def start_decap(self, server):
        """Starts the tunnel's end; returns when its sockets are open."""
        process = self.fabric[server.name].start(
            sys.executable, DECAP, "tun0", stdout=subprocess.PIPE, text=True)
        if process.stdout.readline().strip() != "ready":
            raise LabError(f"{server.name}: the tunnel helper did not start")

    def start(self, name):
        """Starts nginx on a server and waits until it listens."""
        directory = self.fabric.directory
        conf = directory / f"{name}.conf"
        conf.write_text(NGINX_CONF.format(name=name, directory=directory), encoding="ascii")
        (directory / f"{name}.tmp").mkdir(exist_ok=True)
        log = directory / f"{name}.log"
        with log.open("ab") as out:
            self.running[name] = self.fabric[name].start("nginx", "-c", conf, "-e", log, log=out)
        wait_until(lambda: self.is_listening(name), 10, f"nginx on {name}")

    def is_listening(self, name):
        """Whether port 80 is open; LabError when nginx has ended instead."""
        if self.running[name].poll() is not None:
            log = (self.fabric.directory / f"{name}.log").read_text(errors="replace")
            raise LabError(f"nginx on {name} ended: {log.strip().splitlines()[-1:]}")
        return self.fabric[name].run("ss", "-Hltn", "sport = :80").stdout.count("LISTEN") == 2

    def pid(self, name):
        """The pid that nginx wrote down."""
        return int((self.fabric.directory / f"{name}.pid").read_text())

    def kill(self, name):
        """Ends a server's nginx at once, as a crash would."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        self.running.pop(name).wait(timeout=5)
        wait_until(lambda: not is_running(pid), 5, f"end of nginx on {name}")
