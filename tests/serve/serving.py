"""What the tests of `proa serve` share: a server that is started and surely stopped, raw requests, and checks.

A test calls each_engine(test) and ends with done(). A failed check is printed and counted; the rest still runs.
"""
import concurrent.futures
import contextlib
import multiprocessing
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

PROA = os.environ.get('PROA', 'build/proa')
ENGINES = ('uring', 'epoll')
PATIENCE_S = 120  # against hanging, nothing else
SANITIZER = re.compile(r'Sanitizer|runtime error:')

_counts = {'passed': 0, 'failed': 0}
_scope = ''


def check(condition, what):
    _counts['passed' if condition else 'failed'] += 1
    if not condition:
        print(f'FAILED: {_scope}{what}', flush=True)
    return bool(condition)


def equal(got, expected, what):
    return check(got == expected, f'{what}: got {got!r}, expected {expected!r}')


class TooSlow(Exception):
    """The machine had so much else to do that a limit of time passed which was not to be tested."""


def in_time(part, *args):
    """Runs part(*args), and where it was too slow to tell anything again."""
    for _ in range(20):
        try:
            return part(*args)
        except TooSlow:
            continue
    return check(False, f'{part.__name__} has the processor now and then')


def soon(part, *args, seconds):
    """Whether part(*args) once takes less than that. What waits for something that it should not wait for never does."""
    for _ in range(20):
        started = time.monotonic()
        part(*args)
        if time.monotonic() - started < seconds:
            return True
    return False


def skip(why):
    print(f'cannot run here: {why}')
    sys.exit(77)


def need(program):
    if not shutil.which(program):
        skip(f'{program} is not installed')


def done():
    print(f'{_counts["passed"]} checks passed, {_counts["failed"]} failed')
    sys.exit(1 if _counts['failed'] or not _counts['passed'] else 0)


def works(engine):
    lines = subprocess.run([PROA, 'engines'], stdout=subprocess.PIPE, text=True, timeout=PATIENCE_S).stdout
    return re.search(rf'^{engine}\s+available', lines, re.M) is not None


def _run(test, engine):
    """One engine's part, in a process of its own."""
    global _scope
    _scope = f'{engine}: '
    try:
        test(engine)
    except Exception:  # one engine's failure must not hide the other's
        traceback.print_exc()
        check(False, 'the test came to its end')
    print(f'{engine}: {sum(_counts.values())} checks of {test.__doc__}', flush=True)
    return dict(_counts)


def each_engine(test):
    """Runs test(engine) for every engine that works here, side by side."""
    engines = [engine for engine in ENGINES if works(engine)]
    for engine in set(ENGINES) - set(engines):
        print(f'{engine}: not available here, left out')
    if not engines:
        skip('no engine is available')
    context = multiprocessing.get_context('fork')
    with concurrent.futures.ProcessPoolExecutor(len(engines), mp_context=context) as runs:
        for counts in runs.map(_run, [test] * len(engines), engines):
            for name, count in counts.items():
                _counts[name] += count


@contextlib.contextmanager
def folder(files=()):
    """A temporary directory with files: {path: bytes}."""
    path = tempfile.mkdtemp(prefix='proa-test-')
    try:
        os.chmod(path, 0o755)
        for name, data in dict(files).items():
            write(path, name, data)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def write(root, name, data, age_s=3600):
    """Writes a file that is `age_s` old."""
    path = os.path.join(root, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb') as file:
        file.write(data)
    then = time.time() - age_s
    os.utime(path, (then, then))


class Server:
    """A running server; leaving the `with` block stops it and checks that it ended well."""

    def __init__(self, root, engine=None, *options, workers=1, listen=('127.0.0.1:0',), exit_status=0, prefix=(),
                 before=None, env=None):
        self.expected = exit_status
        command = [*prefix, PROA, 'serve', root, '--workers', str(workers)]
        for address in listen:
            command += ['--listen', address]
        if engine:
            command += ['--engine', engine]
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=self.errors,
                                        stdin=subprocess.DEVNULL, preexec_fn=before, env=env)
        self.said = self._read_start()
        self.ports = [int(port) for port in re.findall(r'http://\S*:(\d+)', self.said)]
        self.port = self.ports[0] if self.ports else None
        self.url = f'http://127.0.0.1:{self.port}'

    def _read_start(self):
        said = b''
        end = time.monotonic() + PATIENCE_S
        while b'  stop ' not in said or not said.endswith(b'\n'):
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))
            data = os.read(self.process.stdout.fileno(), 65536) if ready else b''
            if not data:
                break
            said += data
        return said.decode()

    def __enter__(self):
        return self

    def __exit__(self, error, *_):
        if error and error is not TooSlow:
            self.describe()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.finish()

    def describe(self):
        """What could explain a failure: the processes, the accept queues, the complaints."""
        os.lseek(self.errors.fileno(), 0, os.SEEK_SET)
        print(os.read(self.errors.fileno(), 4096).decode(errors='replace'))
        pid = self.process.pid
        for command in (['ps', '-o', 'pid,stat,wchan:30,etime,time,args', '--pid', str(pid), '--ppid', str(pid)],
                        ['ss', '-tanp', f'sport = :{self.port}']):
            if shutil.which(command[0]):
                print(subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout[:4000], flush=True)

    def finish(self):
        """Waits for its end. Returns the exit status."""
        try:
            rest, _ = self.process.communicate(timeout=PATIENCE_S)
            self.said += rest.decode(errors='replace')
        except subprocess.TimeoutExpired:
            check(False, 'the server ends when it is told to')
            self.process.kill()
            self.process.wait()
        except ValueError:
            self.process.wait()  # finished before
        if not self.errors.closed:
            self.errors.seek(0)
            self.complaints = self.errors.read().decode(errors='replace')
            self.errors.close()
            check(not SANITIZER.search(self.complaints), f'no sanitizer speaks: {self.complaints[:2000]}')
            equal(self.process.returncode, self.expected, f'exit status of the server ({self.complaints.strip()})')
        return self.process.returncode

    def counter(self, name):
        """A line of --stats, after the end."""
        return int(re.search(rf'^{name}\s+(\d+)', self.said, re.M).group(1))

    def cpu_s(self):
        """Processor time of the server's own process."""
        with open(f'/proc/{self.process.pid}/stat', encoding='ascii') as file:
            fields = file.read().rpartition(') ')[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def rests(self, seconds):
        """Whether it comes to a time of that length in which it does nothing."""
        for _ in range(20):
            before = self.cpu_s()
            time.sleep(seconds)
            if self.cpu_s() - before <= 0.05:
                return True
        return False

    def memory(self):
        """Resident bytes of the server's own process."""
        with open(f'/proc/{self.process.pid}/statm', encoding='ascii') as file:
            return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')

    def is_sanitized(self):
        with open(f'/proc/{self.process.pid}/maps', encoding='ascii') as file:
            return re.search('lib[at]san', file.read()) is not None

    def connect(self, receive_buffer=None):
        client = socket.socket()
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(PATIENCE_S)
        client.connect(('127.0.0.1', self.port))
        return client

    def ask(self, data, half_close=False):
        """Sends bytes on a new connection; returns all that comes until the server ends it."""
        with self.connect() as client:
            with contextlib.suppress(OSError):  # refused while still sending
                client.sendall(data)
            if half_close:
                client.shutdown(socket.SHUT_WR)
            return read_all(client)

    def get(self, target, *fields, method='GET', version='1.1'):
        """One request on a connection of its own; returns the Response."""
        lines = [f'{method} {target} HTTP/{version}', 'Host: test', 'Connection: close', *fields, '', '']
        return Response(self.ask('\r\n'.join(lines).encode('latin-1')), method)


def read_all(client):
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while more := client.recv(1 << 16):
            parts.append(more)
    return b''.join(parts)


def read_until(client, end):
    data = b''
    while not data.endswith(end) and (more := client.recv(1 << 16)):
        data += more
    return data


class Response:
    """Takes the first response off `data`; what follows is in `rest`."""

    def __init__(self, data, method='GET'):
        head, mark, rest = data.partition(b'\r\n\r\n')
        lines = head.decode('latin-1').split('\r\n')
        self.complete = bool(mark)
        self.status = int(lines[0].split(' ')[1]) if re.match(r'HTTP/1\.1 \d{3} ', lines[0]) else 0
        self.fields = {}
        for line in lines[1:]:
            name, _, value = line.partition(': ')
            self.fields[name.lower()] = value
        bodyless = method == 'HEAD' or self.status in (100, 204, 304)
        size = 0 if bodyless else int(self.fields.get('content-length', len(rest)))
        self.complete = self.complete and len(rest) >= size
        self.body, self.rest = rest[:size], rest[size:]

    def __getitem__(self, name):
        return self.fields.get(name.lower())


def responses(data, methods=None):
    """All responses in `data`."""
    found = []
    while data:
        found.append(Response(data, methods[len(found)] if methods and len(found) < len(methods) else 'GET'))
        if not found[-1].complete:
            break
        data = found[-1].rest
    return found


def request(target='/', *fields, method='GET'):
    return ('\r\n'.join([f'{method} {target} HTTP/1.1', 'Host: test', *fields, '', ''])).encode('latin-1')


def wait_until(condition, seconds=PATIENCE_S):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()
