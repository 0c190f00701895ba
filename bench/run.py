#!/usr/bin/env python3
"""Runs the benchmark: `bench/run.py [--quick] [--only NAME,...] [--json FILE] [--rounds N]`.

The method: a private network namespace with cubic; the server on core 0, the load client on core 1; the contestants of
a group one after the other in random order, in several rounds; a server is started anew for each. What counts is the
CPU time of all threads of the server for one operation. The load client stops twice with nothing in flight, at the
beginning and at the end of what is measured, and the clocks are read there, so time and operations match exactly.

A round is dropped when the host stole time or other processes took over 5 % of a core. When too few good rounds can
be had, the least disturbed are used and the line says "noisy". Ratios are of medians, with the bootstrap's 95 %
interval. A target is missed when the whole interval is above the limit, unsure when only the median is.

The tables of contestants, loads and targets are in contestants.py.
"""
COLUMNS = """
groups (engines has a second table, of what its loads A/W show: A active connections of W that are watched)
  CPU us/op   CPU time of all threads of the server for one operation, the kernel's part and its helpers' included
              (iou-wrk-*, and with SQPOLL iou-sqp-*, which gets a core beside the server's: the client's if there are two)
  least, most, interval    of the rounds; the bootstrap's 95 % interval of the median
  / by hand   ratio to the hand-written loop over the same call, same load, with its 95 % interval
  / 10/100    ratio to the same contestant at 10/100: what watching more costs
  wakes/op    returns of the call that waits, for one message, by the meters that the program prints on SIGUSR1
  scan/wake   descriptors the kernel looked at (poll, select) or reported (epoll), for one return; io_uring has none
  switch/op   context switches of the server

static-cold has a second table: what comes from the disk per second, and the latency of a few requests for a small file
that is in memory, alone and beside the others; their client runs with real-time priority where it may

engines_calls  system calls for one message, by perf's tracepoint, in runs of their own; a kernel thread makes none
timers         CPU time for one of a million timers, by phase of bench/timers.h, beside libuv's
files_*        time and CPU time of one read of 4 KiB at random: past the page cache, cold, hot, on the pool's threads
loop_stall     how late a 1 ms timer comes beside 100 clients that read cold files, 99 of 100 times; with a histogram
zero_copy      CPU time of the sender for a gigabyte, with and without copy: bench/zero_copy.py
instructions, memory, heap, syscalls
               for one operation: user instructions, allocations, system calls; bytes for an idle connection

A round is "dropped" when others took part, a line "noisy" when too few were left. "-" was not measured or has no
meaning. Fewer connections are watched where RLIMIT_NOFILE does not let both ends have all; the line says so.
"""
import argparse
import contextlib
import json
import mmap
import os
from pathlib import Path
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import contestants as table
import file_groups
import machine
import zero_copy

SERVER_CORE, CLIENT_CORE = 0, 1
POLLER_CORE = 2            # of a kernel thread that polls for entries; it shares the client's where there is none
OTHERS_MAX = 0.05          # of a core
ATTEMPTS = 3               # rounds tried for each one wanted
FEW = 3                    # fewer good rounds than this, and the least disturbed of all are used
QUIET_SECONDS = 3          # longest wait for other processes to be quiet before a round
START_SECONDS = 60         # for a server to listen; under valgrind it takes a while
RESAMPLES = 2000
ADDRESS = re.compile(r'(127\.0\.0\.1:\d+)')
SINGLE_MEASURES = ('instructions', 'memory', 'heap', 'syscalls', 'engines_calls')
TIMERS = 'timers'
INSTRUCTION_OPS = (3000, 9000)
HEAP_OPS = 20000
SYSCALL_OPS = 100000
ENGINE_CALL_OPS = 30000
SPARE_DESCRIPTORS = 100      # what a server or client has open besides its connections


class Broken(Exception):
    """A contestant or the load client did not do what it should."""


def usable_core(*wanted):
    """The first of those wanted that this machine lets us have, or another."""
    here = os.sched_getaffinity(0)
    return next((core for core in wanted if core in here), min(here))


def pinned(core):
    core = usable_core(core)
    return lambda: os.sched_setaffinity(0, {core})


class Server:
    """A running contestant. Leaving the `with` block ends all its processes."""

    def __init__(self, contestant, place, prefix=(), suffix=(), environment=None, single=False):
        port = table.free_port()
        command = contestant.single if single and contestant.single else contestant.command
        self.contestant = contestant
        self.output = place.work / f'server-{port}.out'
        self.diagnostics = place.work / f'server-{port}.err'
        self.arguments = [str(part) for part in (*prefix, *command(place, port), *suffix)]
        self.given_address = f'127.0.0.1:{port}'
        self.environment = {**os.environ, **contestant.environment, **(environment or {})}

    def __enter__(self):
        with open(self.output, 'w') as output, open(self.diagnostics, 'w') as diagnostics:
            self.process = subprocess.Popen(self.arguments, stdin=subprocess.DEVNULL, stdout=output,
                                            stderr=diagnostics, env=self.environment, start_new_session=True,
                                            preexec_fn=pinned(SERVER_CORE))
        try:
            self.address = self.wait_for_address()
            self.place_pollers()
        except Broken:
            self.__exit__()
            raise
        return self

    def place_pollers(self):
        """On the server's core, which it would inherit, a thread that never sleeps would take half of that."""
        for thread in machine.submission_pollers(self.process.pid):
            os.sched_setaffinity(thread, {usable_core(POLLER_CORE, CLIENT_CORE)})

    def wait_for_address(self):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Broken(f'{self.contestant.name} ended at start: {self.diagnostics.read_text()[-500:]}')
            if self.contestant.prints_address:
                found = ADDRESS.search(self.output.read_text())
                if found:
                    return found[1]
            elif self.answers():
                return self.given_address
            time.sleep(0.01)
        raise Broken(f'{self.contestant.name} does not listen after {START_SECONDS} s')

    def answers(self):
        host, port = self.given_address.split(':')
        try:
            table.socket.create_connection((host, int(port)), 1).close()
            return True
        except OSError:
            return False

    def processes(self):
        return machine.session_processes(self.process.pid)

    def wait_for_accepts(self):
        """A client is connected when the kernel says so; some servers take a while until they have taken them all."""
        deadline = time.monotonic() + START_SECONDS
        while machine.unaccepted(int(self.address.split(':')[1])):
            if time.monotonic() > deadline:
                raise Broken(f'{self.contestant.name} leaves connections unaccepted for {START_SECONDS} s')
            time.sleep(0.01)

    def meters(self):
        """What the server counted so far, where it does. It must have nothing to do."""
        if not self.contestant.meters:
            return {}
        known = self.output.read_text().count('\nmeters ')
        self.process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            lines = re.findall(r'^meters (.*)\n', self.output.read_text(), re.MULTILINE)
            if len(lines) > known:
                words = lines[-1].split()
                return dict(zip(words[::2], map(int, words[1::2])))
            time.sleep(0.001)
        raise Broken(f'{self.contestant.name} prints no meters on SIGUSR1')

    def finish(self, seconds):
        """Waits for the end; asks for it first, unless the server ends by itself."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.terminate()
            return self.process.wait(seconds)

    def __exit__(self, *_):
        for kind in (signal.SIGTERM, signal.SIGKILL):
            for process in self.processes():
                try:
                    os.kill(process, kind)
                except ProcessLookupError:
                    pass
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                pass
        self.output.unlink()
        self.diagnostics.unlink()


class Load:
    """The load client, driven by its handshake: begin() and end() return with nothing in flight."""

    def __init__(self, place, address, arguments, first=False, program='load'):
        command = [place.build / 'bench' / program, '--server', address, '--handshake', 1, *arguments]
        self.process = subprocess.Popen([str(place.site if part is table.SITE else part) for part in command],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        preexec_fn=self.real_time if first else pinned(CLIENT_CORE))

    @staticmethod
    def real_time():
        """Before other clients on their core, so that it measures the server."""
        pinned(CLIENT_CORE)()
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))

    def wait_for(self, event):
        line = self.process.stdout.readline()
        if not line:
            raise Broken(f'the load client ended with {self.process.wait()} before "{event}"')
        report = json.loads(line)
        assert report['event'] == event, report
        return report

    def go_on(self):
        self.process.stdin.write('\n')
        self.process.stdin.flush()

    def begin(self):
        self.wait_for('begin')

    def end(self):
        self.wait_for('end')

    def result(self):
        self.go_on()
        return self.wait_for('result')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class Clocks:
    """Everything that is read before and after measuring."""

    def __init__(self, server, *loads):
        self.server = machine.use_of(server.processes())
        self.ours = machine.use_of([os.getpid(), *(load.process.pid for load in loads)])
        self.busy_ns, self.steal_ns = machine.busy_and_steal_ns()
        self.time_ns = time.monotonic_ns()


def counted(before, after, operations):
    """What the meters say of the time between."""
    counts = {name: value - before[name] for name, value in after.items()}
    if not counts:
        return {}
    return {'meters': counts, 'wake_ups_per_op': counts['wake_ups'] / operations,
            'scanned_per_wake_up': counts['descriptors_scanned'] / max(counts['wake_ups'], 1)}


def sample_of(before, after, result, depth, crowded):
    elapsed = after.time_ns - before.time_ns
    server_ns, server_waited_ns, switches = after.server.since(before.server)
    ours_ns, ours_waited_ns, _ = after.ours.since(before.ours)
    operations = max(result['ops'], 1)
    sample = {
        'cpu_us': server_ns / 1000 / operations,
        'ops_per_second': operations / result['seconds'],
        'server_share': server_ns / 1e9 / result['seconds'],
        'client_share': result['client_cpu_seconds'] / result['seconds'],
        'switches_per_op': switches / operations,
        'segments_per_batch': result['segments_in'] / operations * depth,
        'others_share': max(after.busy_ns - before.busy_ns - server_ns - ours_ns, 0) / elapsed,
        'waited_share': 0 if crowded else (server_waited_ns + ours_waited_ns) / elapsed,
        'steal_ns': after.steal_ns - before.steal_ns,
        'latency_us': result['latency_us'], 'ops': result['ops'], 'errors': result['errors'],
        'idle_lost': result['idle_lost'], 'first_error': result.get('first_error'),
    }
    sample['dropped'] = fault_of(sample)
    return sample


def fault_of(sample):
    if sample['errors'] or sample['idle_lost']:
        return 'errors'
    if sample['steal_ns']:
        return 'steal'
    if sample['others_share'] > OTHERS_MAX or sample['waited_share'] > OTHERS_MAX:
        return 'others'
    return None


def depth_of(load):
    return number_of(load.arguments, '--depth') or 1


def wait_for_quiet():
    """Returns when nothing else ran for a moment, or after QUIET_SECONDS."""
    deadline = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < deadline:
        before, _ = machine.busy_and_steal_ns()
        time.sleep(0.1)
        after, _ = machine.busy_and_steal_ns()
        if after - before <= machine.TICK_NS:
            return


def number_of(arguments, name):
    return arguments[arguments.index(name) + 1] if name in arguments else 0


def fitting(arguments, place):
    """With fewer idle connections where the limit of descriptors does not let both ends have all of them."""
    most = place.descriptors - SPARE_DESCRIPTORS - number_of(arguments, '--connections')
    if number_of(arguments, '--idle') <= most:
        return arguments
    at = arguments.index('--idle') + 1
    return (*arguments[:at], most, *arguments[at + 1:])


def measure(contestant, load, place, milliseconds):
    wait_for_quiet()
    load_arguments = fitting(load.arguments, place)
    arguments = ('--duration-ms', milliseconds, '--warmup-ms', max(200, milliseconds // 6), *load_arguments)
    with Server(contestant, place) as server, Load(place, server.address, arguments, program=load.program) as client:
        client.begin()
        server.wait_for_accepts()
        meters = server.meters()
        before = Clocks(server, client)
        client.go_on()
        client.end()
        after = Clocks(server, client)
        meters_after = server.meters()
        sample = sample_of(before, after, client.result(), depth_of(load), contestant.crowded)
    return {**sample, **counted(meters, meters_after, max(sample['ops'], 1)),
            'idle_missing': number_of(load.arguments, '--idle') - number_of(load_arguments, '--idle')}


def latency_alone(server, place, load, milliseconds):
    arguments = ('--duration-ms', milliseconds, *load.beside)
    with Load(place, server.address, arguments, first=True) as client:
        client.begin()
        client.go_on()
        client.end()
        return client.result()['latency_us']


def measure_beside(contestant, load, place, milliseconds):
    """A load whose latency counts beside one that must not disturb it."""
    wait_for_quiet()
    with Server(contestant, place) as server:
        alone = latency_alone(server, place, load, milliseconds)
        with Load(place, server.address, ('--duration-ms', milliseconds, *load.arguments)) as client, \
                Load(place, server.address, ('--until-line', 1, *load.beside), first=True) as other:
            client.begin()
            other.begin()
            server.wait_for_accepts()
            before = Clocks(server, client, other)
            other.go_on()
            client.go_on()
            client.end()
            other.go_on()
            other.end()
            after = Clocks(server, client, other)
            result, beside = client.result(), other.result()
    sample = sample_of(before, after, result, 1, True)
    return {**sample, 'ns_per_byte': result['seconds'] * 1e9 / result['bytes'],
            'alone_us': alone, 'beside_us': beside['latency_us'], 'beside_ops': beside['ops'],
            'beside_p99_ratio': beside['latency_us']['p99'] / alone['p99']}


def good(samples):
    return [sample for sample in samples if not sample['dropped']]


def usable(samples):
    """The samples to judge by, and whether they are noisy. A run with errors is never used."""
    clean = good(samples)
    if len(clean) >= FEW:
        return clean, False
    correct = [sample for sample in samples if sample['dropped'] != 'errors']
    return sorted(correct, key=lambda sample: sample['others_share'] + sample['waited_share'])[:FEW], True


def run_group(group, place, rounds, milliseconds, absent):
    samples = {(name, load.name): [] for name, load in group.cells if name not in absent}
    for attempt in range(rounds * ATTEMPTS):
        todo = [(name, load) for name, load in group.cells
                if name not in absent and len(good(samples[name, load.name])) < rounds]
        if not todo:
            break
        random.shuffle(todo)
        for name, load in todo:
            progress(f'{group.name}: round {attempt + 1}, {name}, {load.name}')
            try:
                way = measure_beside if load.beside else measure
                samples[name, load.name].append(way(table.CONTESTANTS[name], load, place, milliseconds))
            except Broken as error:
                complain(error)
    return samples


def progress(text):
    if sys.stderr.isatty():
        print(f'\r\033[K{text}', end='', file=sys.stderr, flush=True)


def complain(text):
    progress('')
    print(f'warning: {text}', file=sys.stderr)


# ---- measures of single runs ----

def load_arguments(contestant, operations):
    more = ('--path', '/1k.bin', '--body', table.FILES['1k.bin']) if contestant.http else ('--size', 64)
    return ('--connections', 64, '--warmup-ms', 0, '--ops', operations, *more)


def callgrind_total(contestant, place, operations):
    out = place.work / 'callgrind.out'
    prefix = ('valgrind', '--tool=callgrind', '--vgdb=no', f'--callgrind-out-file={out}')
    suffix = ('--exit-after', operations) if contestant.exit_after else ()
    with Server(contestant, place, prefix, suffix, single=True) as server:
        with Load(place, server.address, load_arguments(contestant, operations)) as client:
            client.begin()
            client.go_on()
            client.end()
            if client.result()['errors']:
                raise Broken(f'{contestant.name} answered wrongly under valgrind')
        if not contestant.exit_after:
            server.process.terminate()
        server.finish(30)
    total = re.search(r'^(?:summary|totals): (\d+)', out.read_text(), re.MULTILINE)
    out.unlink()
    if not total:
        raise Broken(f'callgrind has no total for {contestant.name}')
    return int(total[1])


def instructions(contestant, place):
    """User instructions per operation: the difference of two runs, so that the start is not in it."""
    few, many = INSTRUCTION_OPS
    growth = callgrind_total(contestant, place, many) - callgrind_total(contestant, place, few)
    return {'value': growth / (many - few)}


def memory(contestant, place):
    """Growth of private memory with idle connections. A few operations first, so that code and pools are in place."""
    arguments = load_arguments(contestant, 2000)
    with Server(contestant, place) as server:
        with Load(place, server.address, arguments) as client:
            client.begin()
            client.go_on()
            client.end()
            client.result()
        time.sleep(0.2)
        user, kernel = machine.private_bytes(server.processes()), machine.kernel_bytes()
        idle = ('--connections', 0, '--idle', table.IDLE, '--prime', int(contestant.http), *arguments[6:])
        with Load(place, server.address, idle) as client:
            client.begin()
            time.sleep(0.2)
            user, kernel = machine.private_bytes(server.processes()) - user, machine.kernel_bytes() - kernel
            client.go_on()
            client.end()
            if client.result()['idle_lost']:
                raise Broken(f'{contestant.name} closed idle connections')
    return {'value': user / table.IDLE, 'kernel_bytes_both_ends': kernel / table.IDLE}


def heap(contestant, place):
    """Allocations per operation, by the preloaded counter, after a warm-up."""
    library, path = place.build / 'bench' / 'libheapcount.so', place.work / 'heapcount'
    if not library.exists():
        raise Broken(f'{library.name} is not built')
    path.write_bytes(bytes(8))
    arguments = load_arguments(contestant, HEAP_OPS)
    environment = {'LD_PRELOAD': str(library.resolve()), 'HEAPCOUNT_FILE': str(path)}
    with open(path, 'rb') as file, mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ) as counter, \
            Server(contestant, place, environment=environment) as server, \
            Load(place, server.address, (*arguments, '--warmup-ms', 200)) as client:
        client.begin()
        before = int.from_bytes(counter[:8], 'little')
        client.go_on()
        client.end()
        after = int.from_bytes(counter[:8], 'little')
        client.result()
    return {'value': (after - before) / HEAP_OPS, 'allocations_before': before}


def calls_per_operation(contestant, place, arguments):
    """By a tracepoint, which costs 3 %: so not in the runs that are timed."""
    with Server(contestant, place) as server, Load(place, server.address, arguments) as client:
        client.begin()
        server.wait_for_accepts()
        processes = ','.join(map(str, server.processes()))
        threads = machine.use_of(server.processes()).switches
        counter = subprocess.Popen(['perf', 'stat', '-x', ',', '-e', 'raw_syscalls:sys_enter', '-p', processes],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(0.5 + len(threads) / 2000)  # until it has opened an event for each
        client.go_on()
        client.end()
        counter.send_signal(signal.SIGINT)
        said = counter.communicate(timeout=10)[1]
        client.result()
    found = re.search(r'^(\d+),', said, re.MULTILINE)
    if not found:
        raise Broken(f'perf counts no system calls here: {said.strip()[:200]}')
    return int(found[1]) / number_of(arguments, '--ops')


def syscalls(contestant, place):
    """System calls per operation."""
    return {'value': calls_per_operation(contestant, place, load_arguments(contestant, SYSCALL_OPS))}


def engines_calls(contestant, place):
    """System calls per message, by load."""
    def calls(load):
        arguments = (*fitting(load.arguments, place), '--warmup-ms', 100, '--ops', ENGINE_CALL_OPS)
        return calls_per_operation(contestant, place, arguments)
    return {load.name: calls(load) for load in table.CALL_LOADS if table.can_watch(contestant.name, load)}


def contestants_of(name):
    return dict.fromkeys((*table.ENGINES, *table.ENGINES.values())) if name == 'engines_calls' else table.SINGLES


def run_single(name, place, absent):
    results = {}
    for contestant_name in contestants_of(name):
        if contestant_name in absent:
            continue
        progress(f'{name}: {contestant_name}')
        try:
            results[contestant_name] = globals()[name](table.CONTESTANTS[contestant_name], place)
        except (Broken, OSError, subprocess.SubprocessError) as error:
            complain(f'{name}, {contestant_name}: {error}')
    return results


# ---- timers: programs that measure themselves ----

def measure_program(command, environment=None, helpers_busy_ns=lambda: 0, prepare=pinned(SERVER_CORE)):
    """What it prints, and the condition in which it ran. What helpers of its own do is no disturbance. `prepare` is called
    in its process first."""
    wait_for_quiet()
    busy, steal = machine.busy_and_steal_ns()
    begin, own = time.monotonic(), sum(os.times()[:4])
    helped = helpers_busy_ns()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, preexec_fn=prepare)
    if done.returncode:
        raise Broken(f'{command[0]} ended with {done.returncode}')
    busy_after, steal_after = machine.busy_and_steal_ns()
    others = (busy_after - busy - (helpers_busy_ns() - helped)) / 1e9 - (sum(os.times()[:4]) - own)
    condition = {'others_share': max(others, 0) / (time.monotonic() - begin), 'waited_share': 0, 'errors': 0,
                 'idle_lost': 0, 'steal_ns': steal_after - steal, 'first_error': None}
    condition['dropped'] = fault_of(condition)
    return done.stdout, condition


def measure_timers(program, place):
    """A sample for each phase, and for the phases that count together."""
    output, condition = measure_program([place.build / 'bench' / table.TIMER_PROGRAMS[program]])
    phases = {name.removesuffix('_ns'): value / 1000 for name, value in json.loads(output).items()}
    together = {name: sum(phases[part] for part in parts) for name, parts in table.TIMER_TARGETS.items()}
    return {name: {'cpu_us': value, **condition} for name, value in {**phases, **together}.items()}


def run_timers(place, rounds):
    programs = [name for name, binary in table.TIMER_PROGRAMS.items() if (place.build / 'bench' / binary).exists()]
    for name in table.TIMER_PROGRAMS.keys() - programs:
        complain(f'{place.build}/bench/{table.TIMER_PROGRAMS[name]} is not here; going on without it')
    samples = {}
    for attempt in range(rounds):
        random.shuffle(programs)
        for program in programs:
            progress(f'{TIMERS}: round {attempt + 1}, {program}')
            for phase, sample in measure_timers(program, place).items():
                samples.setdefault((program, phase), []).append(sample)
    return samples


def run_zero_copy(place, rounds):
    program = place.build / 'bench' / zero_copy.NAME
    engines = [engine for engine in zero_copy.ENGINES if f'echo {engine}' not in absent_engines(place)]
    samples = {}
    with zero_copy.ways_to_send(program, pinned(CLIENT_CORE), complain) as (addresses, sinks):
        def measure(command, environment):
            return measure_program(command, environment,
                                   lambda: sum(time.clock_gettime_ns(machine.cpu_clock(sink)) for sink in sinks))
        for attempt in range(rounds):
            cells = [(engine, way, over, size) for engine in engines for way in zero_copy.WAYS for over in addresses
                     for size in zero_copy.SIZES]
            random.shuffle(cells)
            for engine, way, over, size in cells:
                progress(f'{zero_copy.NAME}: round {attempt + 1}, {engine} {way}, {over}, {size}')
                samples.setdefault((f'{engine} {way}', f'{over} {size}'), []).append(
                    zero_copy.sample(program, engine, way, addresses[over], zero_copy.SIZES[size], measure))
    return samples


def run_files(name, place, rounds, milliseconds):
    missing = set()

    def sample(text, program, run):
        """The cost of each cell that one run measures, and the condition; nothing where it cannot be run."""
        if not shutil.which(str(program)):
            if program not in missing:
                complain(f'{program} is not here; going on without it')
            missing.add(program)
            return {}, None
        progress(f'{name}: {text}')
        try:
            output, condition = measure_program(*run.command, prepare=None)
            return run.costs(output), condition
        except (Broken, ValueError, KeyError) as error:
            complain(f'{text}: {error}')
            return {}, None
    return file_groups.run_group(name, place, rounds, milliseconds, sample)


# ---- judging ----

def median_of(samples, what='cpu_us'):
    return statistics.median(sample[what] for sample in samples)


def resampled(samples, what='cpu_us'):
    return statistics.median(random.choices([sample[what] for sample in samples], k=len(samples)))


def interval(draw):
    """The bootstrap's 95 % interval of what `draw` draws."""
    many = sorted(draw() for _ in range(RESAMPLES))
    return {'low': many[int(RESAMPLES * 0.025)], 'high': many[int(RESAMPLES * 0.975) - 1]}


def ratio(ours, peer, what='cpu_us'):
    """Ratio of the medians."""
    return {'ratio': median_of(ours, what) / median_of(peer, what),
            **interval(lambda: resampled(ours, what) / resampled(peer, what))}


def verdict(value, low, limit):
    if value <= limit:
        return 'pass'
    return 'MISS' if low > limit else 'unsure'


def judge_ratio(target, samples):
    ours, noisy = usable(samples.get(target.cell, []))
    peers = [(peer, *usable(samples.get(peer, []))) for peer in target.peers]
    peers = [peer for peer in peers if peer[1]]
    if not ours or not peers:
        return {'verdict': 'not measured'}
    best, best_samples, best_noisy = min(peers, key=lambda peer: median_of(peer[1], target.measure))
    result = ratio(ours, best_samples, target.measure)
    enough = median_of(ours) <= target.enough
    return {**result, 'peer': ' '.join(best), 'noisy': noisy or best_noisy, 'cpu_us': median_of(ours),
            'idle_missing': ours[0].get('idle_missing', 0),
            'verdict': 'pass' if enough else verdict(result['ratio'], result['low'], target.limit)}


def judge_value(target, result):
    if target.where in SINGLE_MEASURES:
        value = result.get(target.cell[0], {}).get(target.cell[1] or 'value')
    else:
        samples, _ = usable(result.get(target.cell, []))
        value = median_of(samples, target.measure) if samples else None
    if value is None:
        return {'verdict': 'not measured'}
    return {'value': value, 'verdict': verdict(value, value, target.limit)}


def judge(groups, singles):
    judged = []
    for target in table.TARGETS:
        known = singles if target.where in SINGLE_MEASURES else groups
        if target.where in known:
            outcome = (judge_ratio if target.peers else judge_value)(target, known[target.where])
            judged.append((target, outcome))
    return judged


# ---- showing ----

def print_group(name, samples):
    print(f'\n{name}\n{"contestant":24}{"load":24}{"CPU us/op":>10}{"least":>8}{"most":>8}{"ops/s":>11}{"server":>8}'
          f'{"client":>8}{"p50 us":>9}{"p99 us":>9}{"switch/op":>10}  rounds')
    for (contestant, load), taken in samples.items():
        used, noisy = usable(taken)
        faults = [sample['dropped'] for sample in taken if sample['dropped']]
        note = f'{len(good(taken))} good, {len(faults)} dropped ({", ".join(sorted(set(faults)))})' if faults \
            else f'{len(taken)} good'
        errors = {sample['first_error'] for sample in taken if sample['first_error']}
        note += ' noisy' * noisy + ''.join(f' ERROR: {error}' for error in errors)
        if not used:
            print(f'{contestant:24}{load:24}  {note}')
            continue
        costs = [sample['cpu_us'] for sample in used]
        latency = {name: statistics.median(sample['latency_us'][name] for sample in used) for name in ('p50', 'p99')}
        print(f'{contestant:24}{load:24}{median_of(used):10.3f}{min(costs):8.3f}{max(costs):8.3f}'
              f'{median_of(used, "ops_per_second"):11,.0f}{median_of(used, "server_share"):8.2f}'
              f'{median_of(used, "client_share"):8.2f}{latency["p50"]:9.0f}{latency["p99"]:9.0f}'
              f'{median_of(used, "switches_per_op"):10.4f}  {note}')


def print_beside(samples):
    """What the disk gave, and what that did to those who need no disk."""
    print(f'\n{"contestant":24}{"MiB/s":>9}{"alone p50":>11}{"p99 us":>9}{"beside p50":>12}{"p99 us":>11}{"max us":>11}'
          f'{"p99 ratio":>11}')
    for (contestant, _), taken in samples.items():
        used, noisy = usable(taken)
        if not used:
            continue
        alone, beside = ({share: statistics.median(sample[which][share] for sample in used)
                          for share in ('p50', 'p99', 'max')} for which in ('alone_us', 'beside_us'))
        print(f'{contestant:24}{1e9 / median_of(used, "ns_per_byte") / 2 ** 20:9,.0f}{alone["p50"]:11,.0f}'
              f'{alone["p99"]:9,.0f}{beside["p50"]:12,.0f}{beside["p99"]:11,.0f}{beside["max"]:11,.0f}'
              f'{median_of(used, "beside_p99_ratio"):11.2f}{"  noisy" * noisy}')


def short_interval(result, digits):
    return f'{result["low"]:.{digits}f}-{result["high"]:.{digits}f}'


def compared(samples, cell, peer):
    """`ratio interval` of two cells of a group, or a dash."""
    ours, theirs = (usable(samples.get(each, []))[0] for each in (cell, peer))
    if cell == peer or not ours or not theirs:
        return f'{"-":>20}'
    result = ratio(ours, theirs)
    return f'{result["ratio"]:8.3f}{short_interval(result, 2):>12}'


def median_or_dash(samples, what, form):
    known = [sample[what] for sample in samples if what in sample]
    return format(format(statistics.median(known), form) if known else '-', '>11')


def print_engines(samples):
    """What a message costs by engine and load, and how that grows with what is watched."""
    print(f'\n{"engine":24}{"load":10}{"CPU us/op":>10}{"interval":>14}{"/ by hand":>20}{"/ " + table.FEW_WATCHED:>20}'
          f'{"wakes/op":>11}{"scan/wake":>11}')
    for (contestant, load), taken in samples.items():
        used, noisy = usable(taken)
        if not used:
            continue
        missing = used[0]['idle_missing']
        spread = interval(lambda: resampled(used))
        print(f'{contestant:24}{load:10}{median_of(used):10.3f}{short_interval(spread, 2):>14}'
              f'{compared(samples, (contestant, load), (table.ENGINES.get(contestant, contestant), load))}'
              f'{compared(samples, (contestant, load), (contestant, table.FEW_WATCHED))}'
              f'{median_or_dash(used, "wake_ups_per_op", ".4f")}{median_or_dash(used, "scanned_per_wake_up", ",.1f")}'
              f'{f"  {missing:,} fewer watched: RLIMIT_NOFILE" if missing else ""}{"  noisy" * noisy}')
    for name in contestants_of('engines_calls'):
        for load in table.ENGINE_LOADS:
            if not table.can_watch(name, load):
                print(f'{name}: not at {load.name}: {table.CONTESTANTS[name].limit}')


def print_engines_calls(results):
    loads = [load.name for load in table.CALL_LOADS]
    print(f'\nsystem calls per message, by active/watched\n{"engine":24}' + ''.join(f'{load:>12}' for load in loads))
    for contestant, result in results.items():
        print(f'{contestant:24}' + ''.join(f'{result[load]:12.4f}' if load in result else f'{"-":>12}' for load in loads))


def print_timers(samples):
    print(f'\n{TIMERS}\n{"phase":26}' + ''.join(f'{name + " ns":>14}' for name in table.TIMER_PROGRAMS) + f'{"ratio":>20}')
    for phase in dict.fromkeys(phase for _, phase in samples):
        cells = [(program, phase) for program in table.TIMER_PROGRAMS]
        costs = (usable(samples.get(cell, []))[0] for cell in cells)
        print(f'{phase:26}' + ''.join(f'{median_of(used) * 1000:14.1f}' if used else f'{"-":>14}' for used in costs)
              + compared(samples, *cells))


def print_single(name, results):
    if name == 'engines_calls':
        return print_engines_calls(results)
    print(f'\n{name} ({globals()[name].__doc__.split(":")[0].split(",")[0].split(".")[0]})')
    for contestant, result in results.items():
        rest = ''.join(f'  {key} {value:,.0f}' for key, value in result.items() if key != 'value')
        print(f'{contestant:24}{result["value"]:14,.4g}{rest}' if result['value'] < 100
              else f'{contestant:24}{result["value"]:14,.0f}{rest}')


def print_targets(judged):
    if not judged:
        return
    print(f'\n{"target":44}{"measured":>10}{"interval":>18}{"limit":>8}  verdict')
    for target, outcome in judged:
        value = outcome.get('ratio', outcome.get('value'))
        shown = '' if value is None else f'{value:.3f}' if value < 10 else f'{value:,.0f}'
        interval = f'{outcome["low"]:.3f} - {outcome["high"]:.3f}' if 'low' in outcome else target.unit.split('/')[0]
        notes = ' (noisy)' * outcome.get('noisy', False)
        notes += ' (fewer watched)' * bool(outcome.get('idle_missing'))
        print(f'{target.what:44}{shown:>10}{interval:>18}{target.limit:8g}  {outcome["verdict"]}{notes}')


def as_json(arguments, place, groups, singles, judged):
    return {
        'conditions': machine.conditions(place.build, Path(__file__).parent),
        'arguments': vars(arguments) | {'build': str(arguments.build)},
        'groups': {name: [{'contestant': contestant, 'load': load, 'rounds': taken}
                          for (contestant, load), taken in samples.items()] for name, samples in groups.items()},
        'single': singles,
        'targets': [{'what': target.what, 'where': target.where, 'limit': target.limit, 'unit': target.unit, **outcome}
                    for target, outcome in judged],
    }


# ---- the run ----

def works(contestant, place, engines):
    """Whether our engine is available here, and the feature wished for is in effect once a client is connected."""
    if contestant.engine not in engines:
        return False
    if not contestant.feature:
        return True
    with Server(contestant, place) as server:
        host, port = server.address.split(':')
        with table.socket.create_connection((host, int(port)), 5) as client:
            client.sendall(b'x')
            client.recv(1)
            return machine.FEATURES[contestant.feature](server.process.pid)


def absent_engines(place):
    """Our contestants that this build or host does not let work."""
    said = machine.output_of(str(place.build / 'proa'), 'engines') or ''
    engines = re.findall(r'^(\w+) +available', said, re.MULTILINE)
    return {name for name, contestant in table.CONTESTANTS.items()
            if contestant.engine and not works(contestant, place, engines)}


def absent_contestants(place):
    """Contestants whose program is not here, each program named once; and engines that do not work here."""
    absent, programs = set(), set()
    for name, contestant in table.CONTESTANTS.items():
        program = contestant.program(place)
        if not shutil.which(str(program)):
            absent.add(name)
            programs.add(str(program))
    for program in sorted(programs):
        complain(f'{program} is not here; going on without it')
    for name in sorted(refused := absent_engines(place) - absent):
        complain(f'{name} does not work here; going on without it')
    return absent | refused


def write_site(site):
    site.mkdir()
    for name, size in table.FILES.items():
        (site / name).write_bytes(random.randbytes(size))
    site.chmod(0o755)


def write_large(path, size):
    """Bytes that no disk or file system compresses, so large a part at a time that the page cache's pages are, too."""
    part = random.randbytes(16 * table.KIB ** 2)
    with open(path, 'wb', buffering=0) as file:
        for _ in range(size // len(part)):
            file.write(part)
        os.fsync(file.fileno())


def can_be_cold(path):
    """Whether a file leaves the page cache when told to. In a file system in memory it does not."""
    with open(path, 'rb', buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        try:
            os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT)
        except BlockingIOError:
            return True
        except OSError:
            pass
    return False


def write_cold(folder):
    folder.mkdir()
    for number in range(table.COLD_FILES):
        write_large(folder / f'{number:04}', table.COLD_SIZE)
        if number == 0 and not can_be_cold(folder / '0000'):
            raise Broken(f'files in {folder.parent.parent} do not leave the page cache: cold ones are not measured. '
                         'Set TMPDIR to a folder on a disk')


def write_files_of(group, site):
    """The large ones only when they are needed. False: the group cannot be run here."""
    paths = {part for _, load in group.cells for part in load.arguments if isinstance(part, str)}
    try:
        if f'/{table.HUGE_FILE}' in paths:
            write_large(site / table.HUGE_FILE, table.HUGE_SIZE)
        if f'/{table.COLD_FOLDER}/' in paths:
            write_cold(site / table.COLD_FOLDER)
    except Broken as error:
        complain(error)
        return False
    return True


def remove_files_of(site):
    (site / table.HUGE_FILE).unlink(missing_ok=True)
    shutil.rmtree(site / table.COLD_FOLDER, ignore_errors=True)


def wanted_names(arguments):
    others = [TIMERS, zero_copy.NAME, *file_groups.GROUPS, *SINGLE_MEASURES]
    known = [group.name for group in table.GROUPS] + others
    if not arguments.only:
        return [group.name for group in table.GROUPS
                if group.by_default and (group.in_quick or not arguments.quick)] + others
    wanted = [name for name in known if any(name.startswith(start) for start in arguments.only.split(','))]
    if not wanted:
        sys.exit(f'run.py: --only {arguments.only} names nothing; known are: {", ".join(known)}')
    return wanted


def parse_arguments():
    parser = argparse.ArgumentParser(description='Runs the benchmark and prints each target beside what was measured.',
                                     epilog=COLUMNS, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--quick', action='store_true', help='3 rounds of 1 s, no fixed rates')
    parser.add_argument('--only', metavar='NAME,...', help='groups and measures whose names start so')
    parser.add_argument('--json', metavar='FILE', help='write all results, raw rounds included')
    parser.add_argument('--rounds', type=int, help='rounds of each group (default 7, quick 3)')
    parser.add_argument('--milliseconds', type=int, help='length of a round (default 2000, quick 1000)')
    parser.add_argument('--build', type=Path, default=Path(__file__).parent.parent / 'build', help='build folder')
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (3 if arguments.quick else 7)
    arguments.milliseconds = arguments.milliseconds or (1000 if arguments.quick else 2000)
    return arguments


def run(arguments, place):
    groups, singles = {}, {}
    absent = absent_contestants(place)
    wanted = wanted_names(arguments)
    for group in table.GROUPS:
        if group.name in wanted and write_files_of(group, place.site):
            groups[group.name] = run_group(group, place, arguments.rounds, arguments.milliseconds, absent)
            remove_files_of(place.site)
            progress('')
            print_group(group.name, groups[group.name])
            if group.name == 'engines':
                print_engines(groups[group.name])
            if any(load.beside for _, load in group.cells):
                print_beside(groups[group.name])
            sys.stdout.flush()
    if TIMERS in wanted:
        groups[TIMERS] = run_timers(place, arguments.rounds)
        progress('')
        print_timers(groups[TIMERS])
        sys.stdout.flush()
    if zero_copy.NAME in wanted:
        groups[zero_copy.NAME] = run_zero_copy(place, arguments.rounds)
        progress('')
        zero_copy.show(groups[zero_copy.NAME], median_of, usable, compared)
        sys.stdout.flush()
    for name in file_groups.GROUPS:
        if name in wanted:
            groups[name] = run_files(name, place, arguments.rounds, arguments.milliseconds)
            progress('')
            file_groups.show(name, groups[name], usable, median_of)
            sys.stdout.flush()
    for name in SINGLE_MEASURES:
        if name in wanted:
            singles[name] = run_single(name, place, absent)
            progress('')
            print_single(name, singles[name])
            sys.stdout.flush()
    judged = judge(groups, singles)
    print_targets(judged)
    if arguments.json:
        result = as_json(arguments, place, groups, singles, judged)
        Path(arguments.json).write_text(json.dumps(result, indent=1))
    return 1 if any(outcome['verdict'] == 'MISS' for _, outcome in judged) else 0


def main():
    arguments = parse_arguments()
    if not (arguments.build / 'bench' / 'load').exists():
        sys.exit(f'run.py: {arguments.build}/bench/load is not there; expected a build; run `make` first')
    machine.enter_namespace()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `with` ends the servers
    machine.prepare_network()
    descriptors = machine.raise_descriptors()
    with tempfile.TemporaryDirectory(prefix='proa-bench-') as folder:
        work = Path(folder)
        work.chmod(0o755)
        write_site(work / 'site')
        return run(arguments, table.Place(arguments.build.resolve(), work, work / 'site', descriptors))


if __name__ == '__main__':
    sys.exit(main())
