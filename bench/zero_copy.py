"""The group zero_copy of run.py: CPU time of the sender for a gigabyte, with and without copy, message by message.

Over loopback and over a pair of virtual interfaces, whose other end is in a network namespace of its own. Over both the
kernel copies after all, as it delivers: this is what it costs not to copy where that cannot be had. A network card would
show the gain; the benchmark has none.
"""
from contextlib import contextmanager, ExitStack
import json
import os
import subprocess

NAME = 'zero_copy'
ENGINES = ('uring', 'epoll')
WAYS = ('plain', 'zero_copy')
SIZES = {'4 KiB': 4 << 10, '64 KiB': 64 << 10, '1 MiB': 1 << 20}
MIB = 1024  # sent in one run
NEAR, FAR = '10.99.0.1', '10.99.0.2'


@contextmanager
def sink(program, preexec, prefix=()):
    """Throws away what is sent to it; yields its process and port."""
    process = subprocess.Popen([*prefix, program, 'sink'], stdout=subprocess.PIPE, text=True, preexec_fn=preexec)
    try:
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def connect_far(pid):
    """A pair of virtual interfaces, from here to the namespace of that process."""
    far = ['nsenter', '-t', str(pid), '-n']
    for command in (['ip', 'link', 'add', 'proa0', 'type', 'veth', 'peer', 'name', 'proa1', 'netns', str(pid)],
                    ['ip', 'address', 'add', f'{NEAR}/24', 'dev', 'proa0'], ['ip', 'link', 'set', 'proa0', 'up'],
                    [*far, 'ip', 'address', 'add', f'{FAR}/24', 'dev', 'proa1'],
                    [*far, 'ip', 'link', 'set', 'proa1', 'up']):
        subprocess.run(command, check=True, capture_output=True)


@contextmanager
def ways_to_send(program, preexec, complain):
    """Addresses that are read from, by the name of what leads there, and the processes that read."""
    with ExitStack() as stack:
        near, port = stack.enter_context(sink(program, preexec))
        addresses, sinks = {'loopback': f'127.0.0.1:{port}'}, [near.pid]
        try:
            far, port = stack.enter_context(sink(program, preexec, ('unshare', '-n')))
            connect_far(far.pid)
            addresses['veth'] = f'{FAR}:{port}'
            sinks.append(far.pid)
        except (subprocess.CalledProcessError, ValueError) as error:
            complain(f'{NAME}: no virtual interfaces here ({error}); going on without them')
        yield addresses, sinks


def sample(program, engine, way, address, size, measure):
    """`measure` runs a command and returns its output with the condition it was measured in."""
    output, condition = measure([program, address, way, str(size), str(MIB)], {**os.environ, 'PROA_ENGINE': engine})
    result = json.loads(output)
    return {'cpu_us': result['cpu_ns'] / 1000 / (result['bytes'] / 1e9), 'copied': result['copied'] / result['bytes'],
            **condition}


def show(samples, median_of, usable, compared):
    print(f'\n{NAME}\n{"engine, over, messages of":34}' + ''.join(f'{way + " ms/GB":>18}' for way in WAYS)
          + f'{"copied":>8}{"ratio":>20}')
    for engine, load in dict.fromkeys((name.split()[0], load) for name, load in samples):
        cells = [(f'{engine} {way}', load) for way in reversed(WAYS)]
        used = {cell: usable(samples[cell])[0] for cell in cells}
        print(f'{engine + ", " + load:34}' + ''.join(f'{median_of(used[cell]) / 1000:18.1f}' for cell in reversed(cells))
              + f'{median_of(used[cells[0]], "copied"):8.0%}' + compared(samples, *cells))
