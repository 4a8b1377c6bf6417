"""What systemd does for a service, in small: it listens for it (sd_listen_fds(3)), starts it again when it has ended, and
takes what it tells (sd_notify(3)).

    service_manager.py WATCHDOG_SECONDS SOCKETS PROGRAM ARGUMENT...

SOCKETS is "public=tcp,internal=unix": names, and of which kind each socket is. Prints JSON lines: {"sockets"} (a list of
ports and paths), {"pid"}, {"told"} (one message of the service), {"ended"} (its exit
code). Reads JSON lines: {"signal": "TERM"}; ends with its stdin. WATCHDOG_SECONDS 0 asks for no sign of life.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading

PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None)
watchdog, wanted, program = float(sys.argv[1]), sys.argv[2], sys.argv[3:]
printing = threading.Lock()


def say(**line):
    with printing:
        print(json.dumps(line), flush=True)


def listener(at, kind):
    made = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
    made.bind(f"{folder.name}/{at}.sock" if kind == "unix" else ("127.0.0.1", 0))
    made.listen(1024)
    return made


folder = tempfile.TemporaryDirectory()
wanted = [one.split("=") for one in wanted.split(",")]
listeners = [listener(at, kind) for at, (_, kind) in enumerate(wanted)]
notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notices.bind(folder.name + "/notify")
service = None
going = True


def hand_over():
    """Runs in the child: the sockets become 3, 4 and so on, and stay open. The service ends with its manager."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    spare = [os.dup2(made.fileno(), 100 + at) for at, made in enumerate(listeners)]
    for at, made in enumerate(spare):
        os.dup2(made, 3 + at, inheritable=True)
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.execvpe(program[0], program, os.environ)


def run():
    global service
    while going:
        environment = dict(os.environ, LISTEN_FDS=str(len(listeners)), LISTEN_FDNAMES=":".join(name for name, _ in wanted),
                           NOTIFY_SOCKET=folder.name + "/notify")
        if watchdog:
            environment["WATCHDOG_USEC"] = str(int(watchdog * 1e6))
        os.environ.clear()
        os.environ.update(environment)
        # close_fds would close what is handed over; the child execs in hand_over, which never returns.
        service = subprocess.Popen(["true"], preexec_fn=hand_over, close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        say(pid=service.pid)
        say(ended=service.wait())


def listen():
    while True:
        say(told=notices.recv(4096).decode())


say(sockets=[made.getsockname() if isinstance(made.getsockname(), str) else made.getsockname()[1] for made in listeners])
threading.Thread(target=listen, daemon=True).start()
runner = threading.Thread(target=run, daemon=True)
runner.start()
for line in sys.stdin:
    service.send_signal(getattr(signal, "SIG" + json.loads(line)["signal"]))
going = False
service.send_signal(signal.SIGKILL)
runner.join(5)
