"""Runs commands side by side, shows what each said once it has ended, and how long it took.

python tools/side_by_side.py "<command>" …
"""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed


def run(command: str) -> tuple[str, int, str, float]:
    began_s = time.monotonic()
    done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return command, done.returncode, done.stdout, time.monotonic() - began_s


def main() -> int:
    codes = []
    with ThreadPoolExecutor() as pool:
        for ended in as_completed([pool.submit(run, command) for command in sys.argv[1:]]):
            command, code, said, took_s = ended.result()
            verdict = f"failed with code {code}" if code else "passed"
            sys.stdout.write(f"{said.rstrip()}\n── {verdict} in {took_s:.0f} s: {command}\n\n")
            sys.stdout.flush()
            codes.append(code)
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
