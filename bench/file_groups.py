"""The file groups of the benchmark: programs that measure themselves, on one file of random bytes.

A cell is a contestant under a load: (name, "depth 16 time"). Each has two costs per read: "time" is wall-clock time, the
inverse of reads per second; "cpu" is CPU time. `loop_stall` has another: how late a 1 ms timer comes, at most and in 99 of
100 cases, while 100 clients read cold files. The programs say more in bench/files.h and bench/file_stall.c.
"""
from dataclasses import dataclass
import json
import os
from pathlib import Path
import random
import tempfile

MIB = 1 << 20
DIRECT_DEPTHS = (1, 16, 128)
COLD_DEPTH = 16
POOL_SIZES = (1, 2, 4, 8, 16, 32)      # of libuv's threads: the best one is our peer
OUR_POOL_SIZE = 16
FILE_SIZE = 512 * MIB
LANES = ('pool', 'libaio', 'posix_aio', 'inline')
STALL_LIMIT_US = 5000


@dataclass(frozen=True)
class Reader:
    """A contestant: `command` makes its argv of (place, file, depth, mode, milliseconds)."""
    name: str
    command: object
    report: object = json.loads        # stdout -> ops, seconds, cpu_seconds
    environment: tuple = ()
    program: object = None             # place -> path or name that must exist


def mode_arguments(mode):
    return {'direct': ('--direct', 1), 'cold': ('--cold', 1), 'hot': ()}[mode]


def ours(engine, lane=None, threads=None):
    more = (*(('--lane', lane) if lane else ()), *(('--threads', threads) if threads else ()))

    def command(place, file, depth, mode, milliseconds):
        return (place.build / 'bench' / 'files', '--engine', engine, *more, '--depth', depth, '--milliseconds', milliseconds,
                *mode_arguments(mode), file)
    name = ' '.join(str(word) for word in ('proa', engine, lane, threads) if word)
    return Reader(name, command, program=lambda place: place.build / 'bench' / 'files')


def reference(name, binary, environment=()):
    def command(place, file, depth, mode, milliseconds):
        return (place.build / 'bench' / binary, '--depth', depth, '--milliseconds', milliseconds, *mode_arguments(mode), file)
    return Reader(name, command, environment=environment, program=lambda place: place.build / 'bench' / binary)


def fio_report(text):
    job = json.loads(text)['jobs'][0]
    seconds = job['read']['runtime'] / 1000
    return {'ops': job['read']['total_ios'], 'seconds': seconds,
            'cpu_seconds': (job['usr_cpu'] + job['sys_cpu']) / 100 * job['job_runtime'] / 1000}


def fio(engine):
    """Without statistics of its own for each read: the cheapest way it has."""
    def command(_place, file, depth, _mode, milliseconds):
        return ('fio', '--name=read', f'--filename={file}', f'--ioengine={engine}', '--direct=1', '--rw=randread',
                '--bs=4k', f'--iodepth={depth}', f'--runtime={milliseconds}ms', '--time_based', '--norandommap',
                '--gtod_reduce=1', '--output-format=json')
    return Reader(f'fio {engine}', command, fio_report, program=lambda _: 'fio')


POOL = ours('epoll', 'pool', OUR_POOL_SIZE)
URING, EPOLL = ours('uring'), ours('epoll')
PREAD = reference('pread', 'files_pread')
POSIX = ours('epoll', 'posix_aio')
LIBAIO = ours('epoll', 'libaio')
UVS = tuple(reference(f'libuv {size}', 'files_uv', (('UV_THREADPOOL_SIZE', str(size)),)) for size in POOL_SIZES)
READERS = {
    'files_direct': ('direct', [(reader, depth) for depth in DIRECT_DEPTHS
                                for reader in (URING, fio('io_uring'), LIBAIO, fio('libaio'))]),
    'files_cold': ('cold', [(reader, COLD_DEPTH) for reader in (URING, EPOLL, POSIX, PREAD)]),
    'files_hot': ('hot', [(reader, 1) for reader in (URING, EPOLL, PREAD)]),
    'files_pool': ('direct', [(reader, COLD_DEPTH) for reader in (POOL, *UVS)]),
}
STALL = 'loop_stall'
STALL_CELLS = [('uring', None), *(('epoll', lane) for lane in LANES)]
GROUPS = (*READERS, STALL)


def targets(make):
    """`make(what, group, cell, limit, peers, measure, unit)` of each. To be as fast as 0.95 of a peer is to take 1/0.95
    of its time."""
    for depth in DIRECT_DEPTHS:
        for us, peer, cpu in ((URING, 'fio io_uring', 1.10), (LIBAIO, 'fio libaio', None)):
            load = f'depth {depth}'
            yield make(f'{load}, direct, {us.name} / {peer}, time', 'files_direct', (us.name, f'{load} time'), 1 / 0.95,
                       ((peer, f'{load} time'),))
            if cpu:
                yield make(f'{load}, direct, {us.name} / {peer}, CPU', 'files_direct', (us.name, f'{load} cpu'), cpu,
                           ((peer, f'{load} cpu'),))
    load = f'depth {COLD_DEPTH} time'
    yield make('cold, uring / best of POSIX AIO, pread, time', 'files_cold', (URING.name, load), 1 / 8,
               ((POSIX.name, load), (PREAD.name, load)))
    for us in (URING, EPOLL):
        yield make(f'hot, {us.name} / pread, time', 'files_hot', (us.name, 'depth 1 time'), 1 / 0.95,
                   ((PREAD.name, 'depth 1 time'),))
    yield make('pool lane / libuv at its best, time', 'files_pool', (POOL.name, load), 1.0,
               tuple((uv.name, load) for uv in UVS))
    for engine, lane in STALL_CELLS:
        if lane != 'inline':
            yield make(f'timer beside cold reads, p99, {stall_name(engine, lane)}', STALL, (stall_name(engine, lane), 'late'),
                       STALL_LIMIT_US, (), 'cpu_us', 'us')


def stall_name(engine, lane):
    return f'{engine} {lane or ""}'.strip()


def make_file(folder):
    path = Path(folder) / 'blocks'
    with open(path, 'wb') as file:
        for _ in range(FILE_SIZE // MIB):
            file.write(os.urandom(MIB))
        os.fsync(file.fileno())
    return path


@dataclass(frozen=True)
class Run:
    """One program to be run: its argv and environment, and what its output says of the cost of cells."""
    name: str
    program: object
    command: tuple
    costs: object


def words(command):
    return [str(word) for word in command]


def read_run(reader, depth, mode, place, file, milliseconds):
    def costs(output):
        said = reader.report(output)
        return {(reader.name, f'depth {depth} {what}'): said[seconds] * 1e6 / said['ops']
                for what, seconds in (('time', 'seconds'), ('cpu', 'cpu_seconds'))}
    command = words(reader.command(place, file, depth, mode, milliseconds))
    return Run(f'{reader.name}, depth {depth}', reader.program(place),
               (command, {**os.environ, **dict(reader.environment)}), costs)


def stall_run(engine, lane, place, file, milliseconds, histograms):
    name, program = stall_name(engine, lane), place.build / 'bench' / 'file_stall'

    def costs(output):
        said, seen = json.loads(output), histograms.setdefault(name, {})
        for below, count in said['below_us'].items():
            seen[int(below)] = seen.get(int(below), 0) + count
        return {(name, 'late'): said['p99_us']}
    # Only what passes the page cache by is libaio's.
    how = ('--direct', 1) if lane == 'libaio' else ('--cold', 1)
    command = words((program, '--engine', engine, *(('--lane', lane) if lane else ()), *how, '--milliseconds', milliseconds,
                     file))
    return Run(name, program, (command,), costs)


def runs_of(group, place, file, milliseconds, histograms):
    if group == STALL:
        return [stall_run(engine, lane, place, file, milliseconds, histograms) for engine, lane in STALL_CELLS]
    mode, readers = READERS[group]
    return [read_run(reader, depth, mode, place, file, milliseconds) for reader, depth in readers]


def run_group(group, place, rounds, milliseconds, sample):
    """Samples by cell; `sample(text, program, run)` runs one and returns its costs and the condition in which it ran."""
    samples, histograms = {}, {}
    with tempfile.TemporaryDirectory(prefix='proa-files-', dir=place.work) as folder:
        runs = runs_of(group, place, make_file(folder), milliseconds, histograms)
        for number in range(rounds):
            random.shuffle(runs)
            for run in runs:
                costs, condition = sample(f'round {number + 1}, {run.name}', run.program, run)
                for cell, cost in costs.items():
                    samples.setdefault(cell, []).append({'cpu_us': cost, **condition})
    if histograms:
        print_histograms(histograms)
    return samples


def print_histograms(histograms):
    """How late the timer came, in how many of a thousand cases."""
    print(f'\n{STALL}: of 1000 times of a 1 ms timer, how many came late by less than')
    bounds = [bound for bound in sorted(next(iter(histograms.values()))) if any(seen[bound] for seen in histograms.values())]
    print(f'{"us":>10}' + ''.join(f'{name:>18}' for name in histograms))
    for bound in bounds:
        print(f'{bound:>10}' + ''.join(f'{1000 * seen[bound] / max(sum(seen.values()), 1):18.1f}'
                                       for seen in histograms.values()))


def show(group, samples, usable, median_of):
    print(f'\n{group}\n{"contestant":24}{"load":18}{"us":>12}{"least":>12}{"most":>12}{"per second":>14}  rounds')
    for (name, load), taken in samples.items():
        used, noisy = usable(taken)
        if not used:
            continue
        costs, median = [sample['cpu_us'] for sample in used], median_of(used)
        rate = f'{1e6 / median:,.0f}' if load.endswith('time') else '-'
        print(f'{name:24}{load:18}{median:12.3f}{min(costs):12.3f}{max(costs):12.3f}{rate:>14}  {len(used)}{" noisy" * noisy}')
