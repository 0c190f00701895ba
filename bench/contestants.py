"""The tables of the benchmark: who runs, under which load, and what is asked of us.

A contestant is a row: how it is started, and what it can do. A cell is a contestant under a load. A group is the cells
that are run interleaved, so that only they are compared with each other. A target is one line of the final table: one
of our cells, the peers it is held against (the best of them counts), and the limit.
"""
from dataclasses import dataclass, field
from pathlib import Path
import socket

import file_groups

KIB = 1024
FILES = {'1k.bin': KIB, '100k.bin': 100 * KIB, '10m.bin': 10 * KIB * KIB}
HUGE_FILE, HUGE_SIZE = '1g.bin', KIB ** 3
# More than are asked for at once, so that none is dropped while it is sent; larger than any usual readahead.
COLD_FILES, COLD_SIZE, COLD_CONNECTIONS = 250, 16 * KIB * KIB, 100
COLD_FOLDER = 'cold'
SITE = object()  # among a load's arguments: Place.site
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
    engine: str = ''             # of ours: what `proa engines` must call available
    feature: str = ''            # of ours: wished for in the environment; see machine.FEATURES for the proof
    meters: bool = False         # prints them on SIGUSR1
    crowded: bool = False        # its threads outnumber the cores: that they wait is no sign of others
    watched_max: int = 10 ** 9   # connections it can have, by its own limit, which is
    limit: str = ''

    @property
    def environment(self):
        return {'PROA_FEATURES': self.feature} if self.feature else {}


def built(name, *arguments, http=False, **more):
    """A program of bench/ that takes --listen."""
    binary = name.split(' ')[0].replace('-', '_')
    return Contestant(
        name=name, http=http, exit_after=True, **more,
        program=lambda place: place.build / 'bench' / binary,
        command=lambda place, port: [place.build / 'bench' / binary, '--listen', f'127.0.0.1:{port}', *arguments])


def our_echo(engine, feature='', **more):
    def command(place, port):
        return [place.build / 'examples' / 'echo', '--listen', f'127.0.0.1:{port}', '--engine', engine]
    return Contestant(name=f'proa-echo {engine} {feature}'.strip(), http=False, exit_after=True, ours=True,
                      engine=engine, feature=feature, meters=True,
                      program=lambda place: place.build / 'examples' / 'echo', command=command, **more)


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

# All that is not said is nginx's default: no sendfile, no cache of open files, 8 KiB to 64 KiB at a time.
NGINX_DEFAULT = """
daemon off; worker_rlimit_nofile {descriptors};
pid {work}/nginx-{port}.pid; error_log stderr crit; user root;
events {{ worker_connections {connections}; }}
http {{
    access_log off; keepalive_requests 1000000000;
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


def nginx_default():
    def command(place, port):
        path = configured(place, port, 'nginx-default', NGINX_DEFAULT)
        return ['nginx', '-p', place.work, '-c', path, '-e', 'stderr']
    return Contestant(name='nginx default', http=True, prints_address=False, program=lambda _: 'nginx', command=command)


def h2o():
    def command(place, port):
        return ['h2o', '-c', configured(place, port, 'h2o', H2O)]
    return Contestant(name='h2o', http=True, prints_address=False, program=lambda _: 'h2o', command=command)


# A relay is told by the port it listens on where it goes: to the one above.
HAPROXY = """
global
    maxconn 4000
    nbthread 1
defaults
    mode tcp
    retries 0
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    {options}
listen relay
    bind 127.0.0.1:{port}
    server target 127.0.0.1:{above}
"""


def haproxy(name, options):
    def command(place, port):
        return ['haproxy', '-db', '-q', '-f', configured(place, port, 'haproxy', HAPROXY, options=options, above=port + 1)]
    return Contestant(name=name, http=False, prints_address=False, program=lambda _: 'haproxy', command=command)


def our_relay(engine, mover):
    def command(place, port):
        return [place.build / 'examples' / 'relay', '-e', engine, '-m', mover, f'127.0.0.1:{port}',
                f'127.0.0.1:{port + 1}']
    return Contestant(name=f'proa-relay {engine} {mover}', http=False, ours=True, engine=engine,
                      program=lambda place: place.build / 'examples' / 'relay', command=command)


SELECT_LIMIT = {'watched_max': 1000, 'limit': 'select(2) watches descriptors below 1024'}
THREADS_LIMIT = {'watched_max': 1000, 'limit': 'the engine has at most 1024 threads for its ops'}

CONTESTANTS = {contestant.name: contestant for contestant in (
    our_echo('uring'), our_echo('epoll'), our_serve('uring'), our_serve('epoll'),
    our_echo('uring', 'sqpoll', crowded=True), our_echo('epoll', 'edge'), our_echo('poll'),
    our_echo('select', **SELECT_LIMIT), our_echo('threads', crowded=True, **THREADS_LIMIT),
    built('echo-uring', meters=True), built('echo-epoll', meters=True), built('echo-uv'),
    built('echo-poll', meters=True), built('echo-select', meters=True, **SELECT_LIMIT),
    built('echo-threads', crowded=True),
    built('http-uring', http=True), built('http-epoll', http=True),
    # Variants of the references: run by --only references, to see that the best is the one that is used.
    built('echo-uring loud', '--skip-success', '0'), built('echo-uring direct', '--direct', '1'),
    built('echo-epoll edge', '--edge', '1', meters=True), built('echo-uv try-write', '--try-write', '1'),
    built('http-uring loud', '--skip-success', '0', http=True), built('http-uring direct', '--direct', '1', http=True),
    nginx('on'), nginx('off'), nginx_default(), h2o(),
    *(our_relay(engine, mover) for engine in ('uring', 'epoll') for mover in ('auto', 'copy', 'splice')),
    built('relay-epoll'), haproxy('haproxy', ''), haproxy('haproxy splice', 'option splice-request\n    option splice-response'),
)}


@dataclass(frozen=True)
class Load:
    name: str
    arguments: tuple
    program: str = 'load'
    beside: tuple = ()  # arguments of a second client, whose latency is taken alone and beside the first


def echo(connections, *more):
    return Load(f'{connections}', ('--connections', connections, '--size', 64, *more))


def watching(active, watched):
    return Load(f'{active}/{watched}', (*echo(active).arguments, '--idle', watched - active))


def get(file, connections, *more, size=None):
    return Load(f'{file} {connections}',
                ('--connections', connections, '--path', f'/{file}', '--body', size or FILES[file], *more))


# Relays: a million bytes in one direction; a message of 64 bytes there and back.
BULK = Load('bulk 4', ('--connections', 4), program='relay_load')
SMALL = Load('64 bytes', ('--connections', 64, '--size', 64), program='relay_load')

# Files that are dropped from the page cache before each request, and now and then a request for a small one that stays.
COLD = Load(f'{COLD_SIZE // KIB ** 2} MiB cold, {COLD_CONNECTIONS}',
            ('--connections', COLD_CONNECTIONS, '--path', f'/{COLD_FOLDER}/', '--files', COLD_FILES,
             '--body', COLD_SIZE, '--drop', SITE, '--warmup-ms', 0),
            beside=('--connections', 8, '--path', '/1k.bin', '--body', FILES['1k.bin'], '--rate', 500, '--sleep', 1))


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

# Each engine beside the loop by hand over the same call; active connections of all that are watched.
ENGINES = {
    'proa-echo uring': 'echo-uring', 'proa-echo uring sqpoll': 'echo-uring', 'proa-echo epoll': 'echo-epoll',
    'proa-echo epoll edge': 'echo-epoll edge', 'proa-echo poll': 'echo-poll', 'proa-echo select': 'echo-select',
    'proa-echo threads': 'echo-threads',
}
ENGINE_LOADS = (watching(10, 100), watching(10, 1000), watching(100, 10000))
FEW_WATCHED = ENGINE_LOADS[0].name
CALL_LOADS = (watching(1, 1), watching(100, 100), *ENGINE_LOADS)


OUR_RELAYS = ('proa-relay uring auto', 'proa-relay epoll auto')
COPYING_RELAYS = ('proa-relay uring copy', 'proa-relay epoll copy')


def can_watch(name, load):
    return CONTESTANTS[name].watched_max >= int(load.name.split('/')[1])


ALONE = echo(100)
WATCHED = Load('100 among 9000 idle', (*ALONE.arguments, '--idle', IDLE))

GROUPS = (
    group('echo-64', echo(64), ECHOS),
    group('echo-1000', echo(1000), ECHOS),
    group('static-1k-64', get('1k.bin', 64), SERVERS + LIMITS),
    group('static-1k-512', get('1k.bin', 512), SERVERS + LIMITS),
    group('static-100k', get('100k.bin', 64), SERVERS),
    group('static-10m', get('10m.bin', 8), SERVERS),
    group('static-1g', get(HUGE_FILE, 4, size=HUGE_SIZE), OUR_SERVES + NGINXES),
    group('static-cold', COLD, OUR_SERVES + ('nginx default', NGINXES[0]), in_quick=False),
    group('pipelined', get('1k.bin', 64, '--depth', DEPTH), SERVERS + LIMITS),
    Group('watched', tuple((name, load) for name in OUR_ECHOS + ('echo-uring', 'echo-epoll')
                           for load in (ALONE, WATCHED))),
    Group('engines', tuple((name, load) for name in dict.fromkeys((*ENGINES, *ENGINES.values()))
                           for load in ENGINE_LOADS if can_watch(name, load))),
    group('relay_bulk', BULK, OUR_RELAYS + ('relay-epoll', 'haproxy splice')),
    group('relay_small', SMALL, OUR_RELAYS + COPYING_RELAYS + ('relay-epoll', 'haproxy')),
    group('rate-20k', echo(100, '--rate', 20000), ECHOS, in_quick=False),
    group('rate-100k', echo(100, '--rate', 100000), ECHOS, in_quick=False),
    group('static-rate-20k', get('1k.bin', 64, '--rate', 20000), SERVERS + LIMITS, in_quick=False),
    group('references-64', echo(64), REFERENCES, by_default=False),
    group('references-1000', echo(1000), REFERENCES, by_default=False),
    group('references-http-64', get('1k.bin', 64), HTTP_REFERENCES, by_default=False),
    group('references-http-512', get('1k.bin', 512), HTTP_REFERENCES, by_default=False),
)


TIMER_PROGRAMS = {'timers': 'timers', 'timers-uv': 'timers_uv'}
# Phases of bench/timers.h that are the cost of one timer together.
TIMER_TARGETS = {'start + cancel': ('start', 'cancel'), 'start + cancel at random': ('start_again', 'cancel_random')}


@dataclass(frozen=True)
class Target:
    """`measure` is what of a sample is compared with the peers, or the value when there are none."""
    what: str
    where: str               # a group, or a single-run measure
    cell: tuple              # (contestant name, load name or None)
    limit: float
    peers: tuple = ()        # cells; the one with the least CPU time counts
    measure: str = 'cpu_us'
    unit: str = ''
    enough: float = 0        # CPU us per operation that pass whatever the ratio is
    note: str = field(default='', compare=False)


def against(what, where, load, ours, limit, *peers, **more):
    return Target(what, where, (ours, load), limit, tuple((peer, load) for peer in peers), **more)


def engine_targets():
    """Flat where the kernel keeps the list, and everywhere next to what can be had from the same call."""
    for engine in ('epoll', 'epoll edge', 'poll', 'select'):
        ours = f'proa-echo {engine}'
        for load in ENGINE_LOADS:
            if can_watch(ours, load):
                yield against(f'{load.name}, {engine} / by hand', 'engines', load.name, ours, 1.05, ENGINES[ours])
    for engine in ('uring', 'epoll'):
        ours = f'proa-echo {engine}'
        for load in ENGINE_LOADS[1:]:
            yield Target(f'{engine}, {load.name} / {FEW_WATCHED}', 'engines', (ours, load.name), 1.05,
                         ((ours, FEW_WATCHED),))
    for name, load, limit in (('uring', '1/1', 1.10), ('uring', '100/100', 0.10), ('uring sqpoll', '100/100', 0.01)):
        yield Target(f'{load}, {name}', 'engines_calls', (f'proa-echo {name}', load), limit, unit='calls/message')


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
        yield against(f'100 KiB, {engine} / nginx', 'static-100k', '100k.bin 64', ours, 0.80, NGINXES[0])
        yield against(f'10 MiB, {engine} / nginx', 'static-10m', '10m.bin 8', ours, 0.97, NGINXES[0])
        yield against(f'1 GiB, {engine} / nginx', 'static-1g', f'{HUGE_FILE} 4', ours, 0.97, NGINXES[0])
        yield against(f'cold, {engine}: time / nginx', 'static-cold', COLD.name, ours, 0.5, 'nginx default',
                      measure='ns_per_byte')
        yield Target(f'hot beside cold, {engine}: p99 / alone', 'static-cold', (ours, COLD.name), 2,
                     measure='beside_p99_ratio')
        yield against(f'pipelined, {engine} / nginx', 'pipelined', '1k.bin 64', ours, 0.50, *NGINXES)
        yield Target(f'pipelined, {engine}', 'pipelined', (ours, '1k.bin 64'), 2, measure='segments_per_batch',
                     unit='sends/batch')
    for ours, copying in zip(OUR_RELAYS, COPYING_RELAYS):
        engine = ours.split(' ')[1]
        yield against(f'relay of bulk, {engine} / haproxy', 'relay_bulk', BULK.name, ours, 0.7, 'haproxy splice')
        yield against(f'relay of bulk, {engine} / read and write', 'relay_bulk', BULK.name, ours, 0.5, 'relay-epoll')
        yield against(f'relay of 64 bytes, {engine} / copying', 'relay_small', SMALL.name, ours, 1.05, copying)
    for ours in OUR_ECHOS:
        yield Target(f'9,000 idle, {ours.split(" ")[1]} / none', 'watched', (ours, WATCHED.name), 1.05,
                     ((ours, ALONE.name),))
    yield from engine_targets()
    for phase in TIMER_TARGETS:
        yield Target(f'timers, {phase} / libuv', 'timers', ('timers', phase), 0.5, (('timers-uv', phase),), enough=0.150)
    for ours in OUR_ECHOS:
        yield Target(f'echo, {ours.split(" ")[1]}', 'memory', (ours, None), 256, unit='bytes/idle connection')
    for ours in OUR_SERVES:
        yield Target(f'HTTP, {ours.split(" ")[1]}', 'memory', (ours, None), 400, unit='bytes/idle connection')
    for ours in OUR_ECHOS + OUR_SERVES:
        yield Target(ours, 'heap', (ours, None), 0, unit='allocations/operation')


TARGETS = (*targets(), *file_groups.targets(Target))
SINGLES = tuple(dict.fromkeys(ECHOS + SERVERS + LIMITS))  # who takes part in the measures that are not interleaved


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]
