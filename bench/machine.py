"""What the runner asks of the kernel: CPU time, memory, other people's load, conditions, a network of our own."""
from dataclasses import dataclass
from pathlib import Path
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import time

PROC = Path('/proc')
TICK_NS = 1_000_000_000 // os.sysconf('SC_CLK_TCK')
INSIDE = 'PROA_BENCH_NAMESPACE'


def enter_namespace():
    """Starts this program again in a private network namespace; returns only inside one, or where there is none."""
    if os.environ.get(INSIDE):
        return
    for how in (['-n', '-m'], ['-r', '-n', '-m']):
        command = ['unshare', *how]
        if shutil.which('unshare') and not subprocess.run([*command, 'true'], capture_output=True).returncode:
            os.environ[INSIDE] = 'private'
            os.execvp('unshare', [*command, sys.executable, *sys.argv])
    os.environ[INSIDE] = 'shared'
    print('warning: a private network namespace is not permitted here; other traffic and the host\'s congestion '
          'control take part in the results', file=sys.stderr)


def quietly(*command):
    return subprocess.run(command, capture_output=True).returncode == 0


def prepare_network():
    """Loopback up, with cubic. The sysctl takes only what the host allows to everybody; a route takes any algorithm."""
    if os.environ[INSIDE] != 'private':
        return
    quietly('ip', 'link', 'set', 'lo', 'up')
    if not quietly('sysctl', '-qw', 'net.ipv4.tcp_congestion_control=cubic'):
        for prefix in ('127.0.0.0/8', '127.0.0.1'):
            quietly('ip', 'route', 'replace', 'local', prefix, 'dev', 'lo', 'src', '127.0.0.1', 'table', 'local',
                    'congctl', 'cubic')
    if congestion_control() != 'cubic':
        print(f'warning: congestion control is {congestion_control()}, cubic could not be set', file=sys.stderr)
    quietly('mount', '-t', 'tracefs', 'none', '/sys/kernel/tracing')  # for perf; private to this mount namespace


def congestion_control():
    """What a connection over loopback really uses."""
    with socket.create_server(('127.0.0.1', 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        return client.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b'\0').decode()


def raise_descriptors():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def text_of(path):
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def output_of(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def build_flags(build):
    wanted = ('buildtype', 'optimization', 'debug', 'b_ndebug', 'b_lto', 'b_sanitize', 'c_args')
    path = build / 'meson-info' / 'intro-buildoptions.json'
    if not path.exists():
        return None
    return {option['name']: option['value'] for option in json.loads(path.read_text()) if option['name'] in wanted}


def conditions(build, source):
    vulnerabilities = sorted(Path('/sys/devices/system/cpu/vulnerabilities').glob('*'))
    processor = re.search(r'model name\s*: (.*)', text_of('/proc/cpuinfo') or '')
    return {
        'kernel': os.uname().release,
        'processor': processor and processor[1],
        'processors': os.cpu_count(),
        'mitigations': {path.name: text_of(path) for path in vulnerabilities},
        'congestion_control': congestion_control(),
        'network_namespace': os.environ[INSIDE],
        'guest_halt_poll_ns': text_of('/sys/module/haltpoll/parameters/guest_halt_poll_ns'),
        'limits': {name: resource.getrlimit(getattr(resource, name))
                   for name in ('RLIMIT_NOFILE', 'RLIMIT_MEMLOCK', 'RLIMIT_NPROC')},
        'revision': output_of('git', '-C', str(source), 'describe', '--always', '--dirty'),
        'build_flags': build_flags(build),
        'nginx': (subprocess.run(['nginx', '-v'], capture_output=True, text=True).stderr.strip()
                  if shutil.which('nginx') else None),
        'h2o': (output_of('h2o', '--version') or '').split('\n')[0] or None,
    }


def session_processes(session):
    """All processes of a session: the server, its workers, their children."""
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            stat = text_of(entry / 'stat')
            if stat and int(stat.rpartition(')')[2].split()[3]) == session:
                found.append(int(entry.name))
    return found


@dataclass
class Use:
    """What some processes have used so far."""
    cpu_ns: dict       # by process
    waited_ns: dict    # by thread: ready to run while another ran
    switches: dict     # by thread

    def since(self, before):
        return [sum(value - old.get(key, 0) for key, value in new.items())
                for new, old in ((self.cpu_ns, before.cpu_ns), (self.waited_ns, before.waited_ns),
                                 (self.switches, before.switches))]


def cpu_clock(process):
    """The id of the clock that runs when any thread of that process does: clock_getcpuclockid(3), which Python lacks."""
    return ~process << 3 | 2


def use_of(processes):
    """CPU time by the process's clock: in nanoseconds, threads that ended are in it, and what the kernel runs for
    io_uring (iou-wrk-PID, and iou-sqp-PID with SQPOLL), for these are threads of the process."""
    use = Use({}, {}, {})
    for process in processes:
        try:
            use.cpu_ns[process] = time.clock_gettime_ns(cpu_clock(process))
        except OSError:
            continue  # it has just ended
        for task in (PROC / str(process) / 'task').glob('*'):
            stat, status = text_of(task / 'schedstat'), text_of(task / 'status')
            if not stat or not status:
                continue
            use.waited_ns[task.name] = int(stat.split()[1])
            use.switches[task.name] = sum(map(int, re.findall(r'ctxt_switches:\s*(\d+)', status)))
    return use


def submission_pollers(process):
    """The kernel threads that take ring entries (SQPOLL). They are threads of the process, and named after it."""
    return [int(task.name) for task in (PROC / str(process) / 'task').glob('*')
            if (text_of(task / 'comm') or '').startswith('iou-sqp-')]


def watches_edges(process):
    """Has an epoll that watches something edge-triggered (EPOLLET, bit 31), by proc(5), fdinfo."""
    texts = (text_of(path) or '' for path in (PROC / str(process) / 'fdinfo').glob('*'))
    return any(int(events, 16) >> 31 for text in texts for events in re.findall(r'^tfd:.*events:\s*(\w+)', text, re.M))


def unaccepted(port):
    """Connections that wait in the queue of the listener on this port of 127.0.0.1: its rx_queue, by proc(5)."""
    with open(PROC / 'net' / 'tcp') as lines:
        for line in lines:
            _, local, _, state, queues = line.split()[:5]
            if state == '0A' and local.endswith(f':{port:04X}'):
                return int(queues.split(':')[1], 16)
    return 0


FEATURES = {'sqpoll': submission_pollers, 'edge': watches_edges}


def busy_and_steal_ns():
    fields = list(map(int, text_of('/proc/stat').split('\n')[0].split()[1:9]))
    user, nice, system, _idle, _wait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq) * TICK_NS, steal * TICK_NS


def private_bytes(processes):
    """Memory of user space that belongs to these processes alone."""
    total = 0
    for process in processes:
        rollup = text_of(PROC / str(process) / 'smaps_rollup') or ''
        total += sum(int(number) for number in re.findall(r'Private_\w+:\s*(\d+) kB', rollup)) * 1024
    return total


def kernel_bytes():
    """Kernel memory of the whole machine that cannot be reclaimed: both ends of the connections are in it."""
    return int(re.search(r'SUnreclaim:\s*(\d+)', text_of('/proc/meminfo'))[1]) * 1024
