"""What bench/gpu_check.py runs things with: commands that end in time, budgets that pass on what a part leaves, and PyTorch as a
process that stays and measures one case at a time.
"""
# SPDX-License-Identifier: Apache-2.0
import contextlib
import json
import os
import selectors
import shlex
import signal
import subprocess
import time

LEAST_S = 1.0  # a part with less time left doesn't begin another command


class OutOfTime(Exception):
    """The part's time is over; its message says what is missing."""


class Skipped(Exception):
    """The part can't be done here; its message says why."""


class Failed(Exception):
    """The part found something wrong, or could not be done although it should."""


class Budgets:
    """When each part must end: parts that end early leave their time to the later ones."""

    def __init__(self, seconds_by_part, now=time.monotonic):
        self.now, self.ends, end = now, {}, now()
        for part, seconds in seconds_by_part.items():
            end += seconds
            self.ends[part] = end

    def left(self, part):
        return self.ends[part] - self.now()


class Finished:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def json(self):
        """The first JSON object of the output; None without one."""
        start = self.out.find("{")
        try:
            return json.JSONDecoder().raw_decode(self.out[start:])[0] if start >= 0 else None
        except ValueError:
            return None

    def error(self):
        """What a failed command says, in a line."""
        lines = [line.strip() for line in (self.err + "\n" + self.out).splitlines() if line.strip()]
        told = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "no output")
        return f"exit code {self.code}: {told[:300]}"


def end_group(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def run(command, seconds, cwd, env=None):
    """Raises OutOfTime when it takes longer (its whole process group is ended), with the output so far as `finished`."""
    if seconds < LEAST_S:
        raise OutOfTime(f"no time was left for: {shlex.join(command)}")
    try:
        process = subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   errors="replace", start_new_session=True)
    except OSError as error:
        return Finished(127, "", str(error))
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        end_group(process)
        out, err = process.communicate()
        late = OutOfTime(f"cut after {seconds:.0f} s: {shlex.join(command)}")
        late.finished = Finished(124, out, err)
        raise late from None
    finally:
        end_group(process)  # what it left behind
    return Finished(process.returncode, out, err)


class PeerProcess:
    """bench/peers/pytorch_resnet50.py --serve: what it compiled for one round is there for the next."""

    def __init__(self, command, cwd, log):
        self.log = open(log, "w", encoding="utf-8")
        self.process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, start_new_session=True)
        self.buffer = b""

    def answer(self, seconds):
        """The next line as JSON. Raises OutOfTime, and Failed when the process has ended."""
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self.buffer:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise OutOfTime(f"PyTorch had not answered after {seconds:.0f} s")
                chunk = os.read(self.process.stdout.fileno(), 1 << 16)
                if not chunk:
                    raise Failed(f"PyTorch's process ended; its messages are in {self.log.name}")
                self.buffer += chunk
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def measure(self, batch, dtype, mode, seconds):
        if seconds < LEAST_S:
            raise OutOfTime(f"no time was left for PyTorch {dtype} {mode}")
        try:
            self.process.stdin.write(f"{batch} {dtype} {mode}\n".encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Failed(f"PyTorch's process ended; its messages are in {self.log.name}") from None
        return self.answer(seconds)

    def close(self):
        end_group(self.process)
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.log.close()
