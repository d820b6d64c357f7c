# SPDX-License-Identifier: BSD-2-Clause
"""nginx_lib.py - an nginx of one's own, an upstream that does what a test says, an engine, and clients.

All of it on 127.0.0.1 or unix sockets, on free ports, and in a temporary directory.  Nothing waits for a time: what has to
have happened is looked for, in nginx's status page or in what the upstream has got.
"""
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

LIMIT_S = int(os.environ.get('NGINX_LIMIT_S', '60'))  # after which something will never happen

signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and ends what it has started


def eventually(what, condition):
    """Waits until the condition holds, and returns what it is."""
    end = time.monotonic() + LIMIT_S
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, 'never: ' + what
        time.sleep(0.002)


class Asked:
    """One request that the upstream has got."""

    def __init__(self, connection, head):
        self.connection = connection
        line, *rest = head.split('\r\n')
        self.method, self.path, _ = line.split(' ')
        self.headers = dict((name.lower(), value) for name, value in
                            (field.split(': ', 1) for field in rest if field))

    def send(self, text):
        self.connection.sendall(text if isinstance(text, bytes) else text.encode())

    def answer(self, body=b'', headers=(), status='200 OK', length=None):
        body = body if isinstance(body, bytes) else body.encode()
        length = len(body) if length is None else length
        head = ['HTTP/1.1 ' + status, *headers, 'Connection: close']
        if length >= 0:
            head.append('Content-Length: %d' % length)
        self.send('\r\n'.join(head) + '\r\n\r\n')
        if self.method != 'HEAD':
            self.send(body)

    def close(self):
        self.connection.close()

    def is_gone(self):
        """nginx has hung up."""
        try:
            return self.connection.recv(1, socket.MSG_DONTWAIT) == b''
        except BlockingIOError:
            return False
        except OSError:
            return True


class Upstream:
    """Keeps every request until the test has answered it."""

    def __init__(self):
        self.listener = socket.create_server(('127.0.0.1', 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.asked = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.read, args=(connection,), daemon=True).start()

    def read(self, connection):
        head = b''
        while b'\r\n\r\n' not in head:
            more = connection.recv(65536)
            if not more:
                connection.close()
                return
            head += more
        self.asked.append(Asked(connection, head.split(b'\r\n\r\n')[0].decode('latin-1')))

    def of(self, path):
        return [asked for asked in self.asked if asked.path == path]

    def get(self, path, n=1):
        """The n requests for the path, once they are there."""
        return eventually('%d upstream requests for %s' % (n, path),
                          lambda: len(self.of(path)) >= n and self.of(path))


class Answer:
    def __init__(self, raw, method='GET'):
        head, _, body = raw.partition(b'\r\n\r\n')
        line, *fields = head.decode('latin-1').split('\r\n')
        self.status = int(line.split(' ')[1]) if line else 0
        self.fields = [field.split(': ', 1) for field in fields]
        if self.header('transfer-encoding') == 'chunked' and method != 'HEAD':
            body, rest = b'', body
            while True:
                size, _, rest = rest.partition(b'\r\n')
                if int(size or b'0', 16) == 0:
                    break
                body, rest = body + rest[:int(size, 16)], rest[int(size, 16) + 2:]
        self.body = body

    def header(self, name):
        return ', '.join(field[1] for field in self.fields if field[0].lower() == name.lower())

    @property
    def outcome(self):
        return self.header('x-singleflight')


class Client:
    """Asks at once; the answer is read by read()."""

    def __init__(self, port, path, headers=(), method='GET', body=b'', buffer=None):
        self.method = method
        self.socket = socket.socket()
        if buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.settimeout(LIMIT_S)
        self.socket.connect(('127.0.0.1', port))
        self.got = b''
        host = [] if any(field.startswith('Host:') for field in headers) else ['Host: here']
        head = ['%s %s HTTP/1.1' % (method, path), *host, 'Connection: close', *headers]
        self.socket.sendall(('\r\n'.join(head) + '\r\n\r\n').encode() + body)

    def read_until(self, text):
        while text not in self.got:
            more = self.socket.recv(65536)
            assert more, 'ended without %r: %r' % (text, self.got[-200:])
            self.got += more

    def read(self):
        pieces = [self.got]
        while True:
            try:
                more = self.socket.recv(1 << 20)
            except ConnectionResetError:
                break
            if not more:
                break
            pieces.append(more)
        self.socket.close()
        return Answer(b''.join(pieces), self.method)

    def hang_up(self):
        self.socket.close()


class Http2:
    """One connection with as many requests at a time as one likes; no more of the protocol than that takes."""

    def __init__(self, port):
        self.socket = socket.create_connection(('127.0.0.1', port))
        self.socket.settimeout(LIMIT_S)
        self.socket.sendall(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
        self.frame(4, 0, 0, b'')

    def frame(self, kind, flags, stream, payload):
        self.socket.sendall(len(payload).to_bytes(3, 'big') + bytes([kind, flags]) +
                            stream.to_bytes(4, 'big') + payload)

    def ask(self, stream, path):
        self.frame(1, 5, stream, b'\x82\x86\x04' + bytes([len(path)]) + path.encode() + b'\x01\x04here')

    def hang_up(self, stream):
        self.frame(3, 0, stream, (8).to_bytes(4, 'big'))

    def exactly(self, n):
        got = b''
        while len(got) < n:
            more = self.socket.recv(n - len(got))
            assert more, 'ended'
            got += more
        return got

    def bodies(self, n):
        """Of the n streams that end next, by their numbers."""
        bodies, ended = {}, 0
        while ended < n:
            size, kind, flags, stream = (int.from_bytes(part, 'big') for part in (
                self.exactly(3), self.exactly(1), self.exactly(1), self.exactly(4)))
            payload = self.exactly(size)
            if kind == 0:
                bodies[stream] = bodies.get(stream, b'') + payload
                ended += flags & 1
        return bodies


def process_state(pid):
    """As ps has it: R, S, T and so on."""
    return open('/proc/%d/stat' % pid).read().rsplit(')')[1].split()[0]


@contextlib.contextmanager
def stopped(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        eventually('it has stopped', lambda: process_state(pid) == 'T')
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class Engine:
    """A Redis of one's own."""
    # Debian's redis-tools has the server under another name, by which it is another program.
    program = shutil.which('redis-server') or shutil.which('redis-check-rdb')

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix='nginx-engine.')
        self.socket = self.dir + '/socket'
        self.address = 'unix:' + self.socket
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ['redis-server', '--port', '0', '--unixsocket', self.socket, '--dir', self.dir, '--save', '',
             '--appendonly', 'no'], executable=self.program, stdin=subprocess.DEVNULL,
            stdout=open(self.dir + '/said', 'w'), stderr=subprocess.STDOUT)
        eventually('the engine answers', self.answers)

    def answers(self):
        assert self.process.poll() is None, open(self.dir + '/said').read()
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(self.socket)
                s.sendall(b'PING\r\n')
                return s.recv(5) == b'+PONG'
            except OSError:
                return False

    def stopped(self):
        """It answers when it goes on."""
        return stopped(self.process.pid)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def remove(self):
        self.kill()
        shutil.rmtree(self.dir)


class Nginx:
    def __init__(self, sbin, module, http, workers=1, main='', events=''):
        self.dir = tempfile.mkdtemp(prefix='nginx-singleflight.')
        self.sbin = os.path.abspath(sbin)
        self.module = os.path.abspath(module)
        self.main, self.workers, self.events = main, workers, events
        with socket.create_server(('127.0.0.1', 0)) as one, socket.create_server(('127.0.0.1', 0)) as other:
            self.port, self.port_2 = one.getsockname()[1], other.getsockname()[1]
        self.configure(http)
        self.process = None

    def configure(self, http):
        """http: what stands in http {}; PORT and PORT_2 are there to listen on."""
        http = http.replace('PORT_2', '127.0.0.1:%d' % self.port_2)
        http = http.replace('PORT', '127.0.0.1:%d' % self.port)
        paths = ''.join('%s_temp_path %s/%s; ' % (name, self.dir, name) for name in
                        ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'])
        with open(self.dir + '/nginx.conf', 'w') as f:
            f.write('''
load_module %s;
worker_processes %d;
daemon off;
pid %s/pid;
error_log %s/error.log info;
%s
%s
events { worker_connections 4096; %s }
http {
    access_log off;
    server_tokens off;
    %s
    %s
}
''' % (self.module, self.workers, self.dir, self.dir, 'user root;' if os.getuid() == 0 else '',
                self.main, self.events, paths, http))

    def command(self, *more):
        preload = os.environ.get('LD_PRELOAD_NGINX')  # a sanitizer's library has to be there first
        return [*(['env', 'LD_PRELOAD=' + preload] if preload else []), self.sbin, '-p', self.dir, '-c', self.dir + '/nginx.conf', '-e', self.dir + '/error.log',
                *more]

    def start(self):
        self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL,
                                        stdout=open(self.dir + '/said', 'w'), stderr=subprocess.STDOUT)
        eventually('nginx listens', self.listens)
        return self

    def listens(self):
        assert self.process.poll() is None, self.log()
        try:
            socket.create_connection(('127.0.0.1', self.port)).close()
            return True
        except OSError:
            return False

    def log(self):
        return ''.join(open(self.dir + '/' + name, errors='replace').read()
                       for name in ['said', 'error.log'] if os.path.exists(self.dir + '/' + name))

    def test(self):
        """What nginx -t says of the configuration."""
        done = subprocess.run(self.command('-t'), capture_output=True, text=True, stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout + done.stderr

    def ask(self, path, headers=(), **more):
        return Client(self.port, path, headers, **more)

    def asked_by(self, upstream, path, n, headers=(), **more):
        """n clients, of whom the first one leads, and the others wait for it."""
        waiting = self.numbers()['waiting']
        clients = [self.ask(path, headers, **more)]
        upstream.get(path)
        clients += [self.ask(path, headers, **more) for _ in range(n - 1)]
        self.number_is('waiting', waiting + n - 1)
        return clients

    def status(self):
        """The process of the worker that answers, and its numbers."""
        text = self.ask('/status').read().body.decode()
        assert re.fullmatch(r'(?:sflight_\w+\{worker="\d+"\} \d+\n)+', text), text
        return (int(re.search(r'worker="(\d+)"', text).group(1)),
                {name: int(value) for name, value in re.findall(r'sflight_(\w+)\{.*\} (\d+)', text)})

    def numbers(self):
        return self.status()[1]

    def numbers_of_all(self):
        """Of each worker, by its process; `listen` says reuseport, so that a connection goes to any of them."""
        seen = {}

        def all_seen():
            seen.update([self.status()])
            return len(seen) >= self.workers

        eventually('all workers answer', all_seen)
        return seen

    def worker(self):
        return self.status()[0]

    def stopped(self):
        """The worker does nothing, and finds all that has come when it goes on."""
        return stopped(self.worker())

    def is_idle(self):
        """The worker waits for events; one that finds some each time never does."""
        return process_state(self.worker()) == 'S'

    @contextlib.contextmanager
    def fault(self, name):
        """It happens (see faults.c)."""
        path = self.dir + '/' + name
        open(path, 'w').close()
        try:
            yield
        finally:
            os.unlink(path)

    def has(self, name):
        return os.path.exists(self.dir + '/' + name)

    def number_is(self, name, value):
        eventually('%s is %d' % (name, value), lambda: self.numbers()[name] == value)

    def tell(self, number):
        self.process.send_signal(number)

    def stop(self, number=signal.SIGQUIT):
        """Ends it; what it has said that no server should say."""
        if self.process is not None and self.process.poll() is None:
            self.tell(number)
            try:
                self.process.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                return 'did not end\n' + self.log()
        bad = [line for line in self.log().split('\n') if re.search(
            r'\[(?:alert|emerg|crit)\]|Sanitizer|runtime error|SUMMARY|exited on signal|singleflight:', line)]
        return '\n'.join(bad)

    def remove(self):
        self.stop(signal.SIGTERM)
        shutil.rmtree(self.dir)
