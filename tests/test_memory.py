"""Questions take memory that does not grow with the number of examples, beyond their answers."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, numpy as np, fastvae
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
x = np.full((40_000, 300), 7, dtype=np.uint8)
vae = fastvae.VAE(4, hidden=(64,), random_state=0, n_jobs=2).partial_fit(x[:1000])
ask = lambda x: [vae.transform(x), vae.score_samples(x), vae.evaluate(x)]
ask(x[:2000])
before = peak()
ask(x)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux")
def test_questions_stream() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    answers = 40_000 * (4 + 2 + 3) * 4
    as_float32 = 40_000 * 300 * 4
    assert int(done.stdout) < answers + as_float32 / 10
