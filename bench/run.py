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
import argparse
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
import machine

SERVER_CORE, CLIENT_CORE = 0, 1
OTHERS_MAX = 0.05          # of a core
ATTEMPTS = 3               # rounds tried for each one wanted
FEW = 3                    # fewer good rounds than this, and the least disturbed of all are used
QUIET_SECONDS = 3          # longest wait for other processes to be quiet before a round
START_SECONDS = 60         # for a server to listen; under valgrind it takes a while
RESAMPLES = 2000
ADDRESS = re.compile(r'(127\.0\.0\.1:\d+)')
SINGLE_MEASURES = ('instructions', 'memory', 'heap', 'syscalls')
INSTRUCTION_OPS = (3000, 9000)
HEAP_OPS = 20000
SYSCALL_OPS = 100000


class Broken(Exception):
    """A contestant or the load client did not do what it should."""


def pinned(core):
    core = core if core in os.sched_getaffinity(0) else min(os.sched_getaffinity(0))
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
        self.environment = {**os.environ, **(environment or {})}

    def __enter__(self):
        with open(self.output, 'w') as output, open(self.diagnostics, 'w') as diagnostics:
            self.process = subprocess.Popen(self.arguments, stdin=subprocess.DEVNULL, stdout=output,
                                            stderr=diagnostics, env=self.environment, start_new_session=True,
                                            preexec_fn=pinned(SERVER_CORE))
        try:
            self.address = self.wait_for_address()
        except Broken:
            self.__exit__()
            raise
        return self

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

    def __init__(self, place, address, arguments):
        command = [place.build / 'bench' / 'load', '--server', address, '--handshake', 1, *arguments]
        self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, preexec_fn=pinned(CLIENT_CORE))

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

    def __init__(self, server, load):
        self.server = machine.use_of(server.processes())
        self.ours = machine.use_of([os.getpid(), load.process.pid])
        self.busy_ns, self.steal_ns = machine.busy_and_steal_ns()
        self.time_ns = time.monotonic_ns()


def sample_of(before, after, result, depth):
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
        'waited_share': (server_waited_ns + ours_waited_ns) / elapsed,
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
    arguments = load.arguments
    return arguments[arguments.index('--depth') + 1] if '--depth' in arguments else 1


def wait_for_quiet():
    """Returns when nothing else ran for a moment, or after QUIET_SECONDS."""
    deadline = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < deadline:
        before, _ = machine.busy_and_steal_ns()
        time.sleep(0.1)
        after, _ = machine.busy_and_steal_ns()
        if after - before <= machine.TICK_NS:
            return


def measure(contestant, load, place, milliseconds):
    wait_for_quiet()
    arguments = ('--duration-ms', milliseconds, '--warmup-ms', max(200, milliseconds // 6), *load.arguments)
    with Server(contestant, place) as server, Load(place, server.address, arguments) as client:
        client.begin()
        before = Clocks(server, client)
        client.go_on()
        client.end()
        after = Clocks(server, client)
        return sample_of(before, after, client.result(), depth_of(load))


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
                samples[name, load.name].append(measure(table.CONTESTANTS[name], load, place, milliseconds))
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


def syscalls(contestant, place):
    """System calls per operation, by a tracepoint, which costs 3 %: so not in the runs that are timed."""
    arguments = load_arguments(contestant, SYSCALL_OPS)
    with Server(contestant, place) as server, Load(place, server.address, arguments) as client:
        client.begin()
        processes = ','.join(map(str, server.processes()))
        counter = subprocess.Popen(['perf', 'stat', '-x', ',', '-e', 'raw_syscalls:sys_enter', '-p', processes],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(0.5)
        client.go_on()
        client.end()
        counter.send_signal(signal.SIGINT)
        said = counter.communicate(timeout=10)[1]
        client.result()
    found = re.search(r'^(\d+),', said, re.MULTILINE)
    if not found:
        raise Broken(f'perf counts no system calls here: {said.strip()[:200]}')
    return {'value': int(found[1]) / SYSCALL_OPS}


def run_single(name, place, absent):
    results = {}
    for contestant_name in table.SINGLES:
        if contestant_name in absent:
            continue
        progress(f'{name}: {contestant_name}')
        try:
            results[contestant_name] = globals()[name](table.CONTESTANTS[contestant_name], place)
        except (Broken, OSError, subprocess.SubprocessError) as error:
            complain(f'{name}, {contestant_name}: {error}')
    return results


# ---- judging ----

def median_of(samples, what='cpu_us'):
    return statistics.median(sample[what] for sample in samples)


def ratio(ours, peer):
    """Ratio of the medians with the bootstrap's 95 % interval."""
    def resampled(samples):
        return statistics.median(random.choices([sample['cpu_us'] for sample in samples], k=len(samples)))
    many = sorted(resampled(ours) / resampled(peer) for _ in range(RESAMPLES))
    return {'ratio': median_of(ours) / median_of(peer), 'low': many[int(RESAMPLES * 0.025)],
            'high': many[int(RESAMPLES * 0.975) - 1]}


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
    best, best_samples, best_noisy = min(peers, key=lambda peer: median_of(peer[1]))
    result = ratio(ours, best_samples)
    return {**result, 'peer': ' '.join(best), 'noisy': noisy or best_noisy,
            'verdict': verdict(result['ratio'], result['low'], target.limit)}


def judge_value(target, result):
    if target.where in SINGLE_MEASURES:
        value = result.get(target.cell[0], {}).get('value')
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


def print_single(name, results):
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
        noisy = ' (noisy)' * outcome.get('noisy', False)
        print(f'{target.what:44}{shown:>10}{interval:>18}{target.limit:8g}  {outcome["verdict"]}{noisy}')


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

def absent_contestants(place):
    """Contestants whose program is not here, each named once."""
    absent, programs = set(), set()
    for name, contestant in table.CONTESTANTS.items():
        program = contestant.program(place)
        if not shutil.which(str(program)):
            absent.add(name)
            programs.add(str(program))
    for program in sorted(programs):
        complain(f'{program} is not here; going on without it')
    return absent


def write_site(site):
    site.mkdir()
    for name, size in table.FILES.items():
        (site / name).write_bytes(random.randbytes(size))
    site.chmod(0o755)


def wanted_names(arguments):
    known = [group.name for group in table.GROUPS] + list(SINGLE_MEASURES)
    if not arguments.only:
        return [group.name for group in table.GROUPS
                if group.by_default and (group.in_quick or not arguments.quick)] + list(SINGLE_MEASURES)
    wanted = [name for name in known if any(name.startswith(start) for start in arguments.only.split(','))]
    if not wanted:
        sys.exit(f'run.py: --only {arguments.only} names nothing; known are: {", ".join(known)}')
    return wanted


def parse_arguments():
    parser = argparse.ArgumentParser(description='Runs the benchmark and prints each target beside what was measured.')
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
        if group.name in wanted:
            groups[group.name] = run_group(group, place, arguments.rounds, arguments.milliseconds, absent)
            progress('')
            print_group(group.name, groups[group.name])
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
