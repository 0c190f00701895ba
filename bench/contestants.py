"""The tables of the benchmark: who runs, under which load, and what is asked of us.

A contestant is a row: how it is started, and what it can do. A cell is a contestant under a load. A group is the cells
that are run interleaved, so that only they are compared with each other. A target is one line of the final table: one
of our cells, the peers it is held against (the best of them counts), and the limit.
"""
from dataclasses import dataclass, field
from pathlib import Path
import socket

KIB = 1024
FILES = {'1k.bin': KIB, '100k.bin': 100 * KIB, '10m.bin': 10 * KIB * KIB}
IDLE = 9000
DEPTH = 16


@dataclass
class Place:
    """Where things are for this run."""
    build: Path
    work: Path       # temporary
    site: Path       # the static files
    descriptors: int


@dataclass(frozen=True)
class Contestant:
    name: str
    command: object            # Place, port -> argv
    program: object            # Place -> path or name that must exist
    http: bool
    prints_address: bool = True  # else it listens on the port it was given
    exit_after: bool = False     # knows --exit-after N
    single: object = None        # command of a single-process variant for callgrind, where it differs
    ours: bool = False


def built(name, *arguments, http=False):
    """A program of bench/ that takes --listen."""
    binary = name.split(' ')[0].replace('-', '_')
    return Contestant(
        name=name, http=http, exit_after=True,
        program=lambda place: place.build / 'bench' / binary,
        command=lambda place, port: [place.build / 'bench' / binary, '--listen', f'127.0.0.1:{port}', *arguments])


def our_echo(engine):
    def command(place, port):
        return [place.build / 'examples' / 'echo', '--listen', f'127.0.0.1:{port}', '--engine', engine]
    return Contestant(name=f'proa-echo {engine}', http=False, exit_after=True, ours=True,
                      program=lambda place: place.build / 'examples' / 'echo', command=command)


def our_serve(engine):
    def command(place, port):
        return [place.build / 'proa', 'serve', place.site, '--listen', f'127.0.0.1:{port}', '--workers', '1',
                '--engine', engine]
    return Contestant(name=f'proa-serve {engine}', http=True, ours=True,
                      program=lambda place: place.build / 'proa', command=command)


NGINX = """
daemon off; master_process {master}; worker_processes 1; worker_rlimit_nofile {descriptors};
pid {work}/nginx-{port}.pid; error_log stderr crit; user root;
events {{ worker_connections {connections}; use epoll; }}
http {{
    access_log off; default_type application/octet-stream; tcp_nodelay on; sendfile {sendfile};
    keepalive_timeout 1h; keepalive_requests 1000000000;
    open_file_cache max=1000 inactive=1h; open_file_cache_valid 1h; open_file_cache_min_uses 1;
    client_body_temp_path {work}/nginx-1; proxy_temp_path {work}/nginx-2; fastcgi_temp_path {work}/nginx-3;
    uwsgi_temp_path {work}/nginx-4; scgi_temp_path {work}/nginx-5;
    server {{ listen 127.0.0.1:{port} backlog=4096; root {site}; }}
}}
"""

H2O = """
num-threads: 1
user: root
max-connections: {connections}
http1-request-timeout: 3600
listen:
  host: 127.0.0.1
  port: {port}
hosts:
  default:
    paths:
      "/":
        file.dir: {site}
"""


def configured(place, port, name, text, **more):
    path = place.work / f'{name}-{port}.conf'
    path.write_text(text.format(work=place.work, site=place.site, port=port, descriptors=place.descriptors,
                                connections=place.descriptors - 500, **more))
    return path


def nginx(sendfile):
    def command(place, port, master='on'):
        path = configured(place, port, f'nginx-{sendfile}', NGINX, sendfile=sendfile, master=master)
        return ['nginx', '-p', place.work, '-c', path, '-e', 'stderr']
    return Contestant(name=f'nginx sendfile={sendfile}', http=True, prints_address=False, program=lambda _: 'nginx',
                      command=command, single=lambda place, port: command(place, port, 'off'))


def h2o():
    def command(place, port):
        return ['h2o', '-c', configured(place, port, 'h2o', H2O)]
    return Contestant(name='h2o', http=True, prints_address=False, program=lambda _: 'h2o', command=command)


CONTESTANTS = {contestant.name: contestant for contestant in (
    our_echo('uring'), our_echo('epoll'), our_serve('uring'), our_serve('epoll'),
    built('echo-uring'), built('echo-epoll'), built('echo-uv'),
    built('http-uring', http=True), built('http-epoll', http=True),
    # Variants of the references: run by --only references, to see that the best is the one that is used.
    built('echo-uring loud', '--skip-success', '0'), built('echo-uring direct', '--direct', '1'),
    built('echo-epoll edge', '--edge', '1'), built('echo-uv try-write', '--try-write', '1'),
    built('http-uring loud', '--skip-success', '0', http=True), built('http-uring direct', '--direct', '1', http=True),
    nginx('on'), nginx('off'), h2o(),
)}


@dataclass(frozen=True)
class Load:
    name: str
    arguments: tuple


def echo(connections, *more):
    return Load(f'{connections}', ('--connections', connections, '--size', 64, *more))


def get(file, connections, *more):
    return Load(f'{file} {connections}',
                ('--connections', connections, '--path', f'/{file}', '--body', FILES[file], *more))


@dataclass(frozen=True)
class Group:
    name: str
    cells: tuple             # (contestant name, Load)
    by_default: bool = True
    in_quick: bool = True


def group(name, load, contestants, **more):
    return Group(name, tuple((contestant, load) for contestant in contestants), **more)


OUR_ECHOS = ('proa-echo uring', 'proa-echo epoll')
OUR_SERVES = ('proa-serve uring', 'proa-serve epoll')
NGINXES = ('nginx sendfile=on', 'nginx sendfile=off')
ECHOS = OUR_ECHOS + ('echo-uring', 'echo-epoll', 'echo-uv')
SERVERS = OUR_SERVES + NGINXES + ('h2o',)
LIMITS = ('http-uring', 'http-epoll')
REFERENCES = ('echo-uring', 'echo-uring loud', 'echo-uring direct', 'echo-epoll', 'echo-epoll edge', 'echo-uv',
              'echo-uv try-write')
HTTP_REFERENCES = ('http-uring', 'http-uring loud', 'http-uring direct', 'http-epoll')

ALONE = echo(100)
WATCHED = Load('100 among 9000 idle', (*ALONE.arguments, '--idle', IDLE))

GROUPS = (
    group('echo-64', echo(64), ECHOS),
    group('echo-1000', echo(1000), ECHOS),
    group('static-1k-64', get('1k.bin', 64), SERVERS + LIMITS),
    group('static-1k-512', get('1k.bin', 512), SERVERS + LIMITS),
    group('static-100k', get('100k.bin', 64), SERVERS),
    group('static-10m', get('10m.bin', 8), SERVERS),
    group('pipelined', get('1k.bin', 64, '--depth', DEPTH), SERVERS + LIMITS),
    Group('watched', tuple((name, load) for name in OUR_ECHOS + ('echo-uring', 'echo-epoll')
                           for load in (ALONE, WATCHED))),
    group('rate-20k', echo(100, '--rate', 20000), ECHOS, in_quick=False),
    group('rate-100k', echo(100, '--rate', 100000), ECHOS, in_quick=False),
    group('static-rate-20k', get('1k.bin', 64, '--rate', 20000), SERVERS + LIMITS, in_quick=False),
    group('references-64', echo(64), REFERENCES, by_default=False),
    group('references-1000', echo(1000), REFERENCES, by_default=False),
    group('references-http-64', get('1k.bin', 64), HTTP_REFERENCES, by_default=False),
    group('references-http-512', get('1k.bin', 512), HTTP_REFERENCES, by_default=False),
)


@dataclass(frozen=True)
class Target:
    """`measure` is a ratio of CPU time per operation when there are peers, else a value of that name."""
    what: str
    where: str               # a group, or a single-run measure
    cell: tuple              # (contestant name, load name or None)
    limit: float
    peers: tuple = ()        # cells; the one with the least CPU time counts
    measure: str = 'cpu'
    unit: str = ''
    note: str = field(default='', compare=False)


def against(what, where, load, ours, limit, *peers):
    return Target(what, where, (ours, load), limit, tuple((peer, load) for peer in peers))


def targets():
    uring, epoll = OUR_ECHOS
    for count in ('64', '1000'):
        where = f'echo-{count}'
        yield against(f'echo {count}, uring / io_uring by hand', where, count, uring, 1.04, 'echo-uring')
        yield against(f'echo {count}, uring / epoll by hand', where, count, uring, 1.00, 'echo-epoll')
        yield against(f'echo {count}, uring / libuv', where, count, uring, 0.70, 'echo-uv')
        yield against(f'echo {count}, epoll / epoll by hand', where, count, epoll, 1.05, 'echo-epoll')
    yield Target('echo, uring', 'instructions', (uring, None), 250, unit='instructions/message')
    yield Target('echo, epoll', 'instructions', (epoll, None), 150, unit='instructions/message')
    uring, epoll = OUR_SERVES
    for count, limit in (('64', 0.85), ('512', 0.78)):
        where, load = f'static-1k-{count}', f'1k.bin {count}'
        yield against(f'1 KiB, {count}, uring / nginx', where, load, uring, limit, *NGINXES)
        yield against(f'1 KiB, {count}, uring / h2o', where, load, uring, 0.90, 'h2o')
        yield against(f'1 KiB, {count}, uring / HTTP limit', where, load, uring, 1.08, 'http-uring')
        yield against(f'1 KiB, {count}, epoll / nginx', where, load, epoll, 0.90, *NGINXES)
    yield Target('1 KiB, uring', 'instructions', (uring, None), 2500, unit='instructions/request')
    for ours in OUR_SERVES:
        engine = ours.split(' ')[1]
        yield against(f'100 KiB, {engine} / nginx', 'static-100k', '100k.bin 64', ours, 0.85, NGINXES[0])
        yield against(f'10 MiB, {engine} / nginx', 'static-10m', '10m.bin 8', ours, 1.00, NGINXES[0])
        yield against(f'pipelined, {engine} / nginx', 'pipelined', '1k.bin 64', ours, 0.50, *NGINXES)
        yield Target(f'pipelined, {engine}', 'pipelined', (ours, '1k.bin 64'), 2, measure='segments_per_batch',
                     unit='sends/batch')
    for ours in OUR_ECHOS:
        yield Target(f'9,000 idle, {ours.split(" ")[1]} / none', 'watched', (ours, WATCHED.name), 1.05,
                     ((ours, ALONE.name),))
    for ours in OUR_ECHOS:
        yield Target(f'echo, {ours.split(" ")[1]}', 'memory', (ours, None), 256, unit='bytes/idle connection')
    for ours in OUR_SERVES:
        yield Target(f'HTTP, {ours.split(" ")[1]}', 'memory', (ours, None), 400, unit='bytes/idle connection')
    for ours in OUR_ECHOS + OUR_SERVES:
        yield Target(ours, 'heap', (ours, None), 0, unit='allocations/operation')


TARGETS = tuple(targets())
SINGLES = tuple(dict.fromkeys(ECHOS + SERVERS + LIMITS))  # who takes part in the measures that are not interleaved


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]
