"""On what a result was taken, for the results files."""

import os
import platform
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def first_match(path, pattern):
    try:
        match = re.search(pattern, Path(path).read_text())
    except OSError:
        return None
    return match[1].strip() if match else None


def output_of(*command):
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def machine():
    memory_kib = first_match("/proc/meminfo", r"MemTotal:\s*(\d+)")
    return {
        "cpu": first_match("/proc/cpuinfo", r"model name\s*:\s*(.*)") or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": int(memory_kib) * 1024 if memory_kib else None,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "rustc": output_of("rustc", "--version"),
        "commit": output_of("git", "describe", "--always", "--dirty", "--abbrev=12"),
        "load_1m_at_start": os.getloadavg()[0],
    }
