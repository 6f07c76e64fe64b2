"""Without memory a call raises MemoryError and leaves the model as it is; it never aborts the process."""

import json
import sys
from typing import Any

import pytest
from helpers import run_python

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_AS and /proc are Linux's"),
]

# Each call runs in forked children, with an address space that ends some MiB above what is in use. Their parent has one
# thread; a first call of each kind has loaded what is loaded lazily.
SCRIPT = """
import ctypes, faulthandler, json, os, pickle, resource, sys, tempfile, warnings
import numpy as np
import fastvae
from helpers import bits as weights

warnings.simplefilter("ignore")
faulthandler.disable()
MARGINS = json.loads(sys.argv[1])
rng = np.random.default_rng(0)
X = rng.random((2000, 300), dtype=np.float32)
make = lambda **more: fastvae.VAE(20, **({"hidden": (1500,), "random_state": 0, "n_jobs": 1, "epochs": 1} | more))
model = make().fit(X[:256])
state = model.state_dict()
_, gradients = model.loss_and_gradients(X[:8])
folder = tempfile.mkdtemp()
path = folder + "/model"
model.save(path)
text = pickle.dumps(model)
unfitted = make(early_stopping=True, epochs=2)
exam = fastvae.ItemResponse(hidden=(500,), epochs=1, n_jobs=1, random_state=0)
marks = (X[:400] > 0.5).astype(np.float32)
topics = fastvae.TopicModel(20, hidden=(500,), epochs=1, n_jobs=1, random_state=0)
counts = rng.poisson(1, (400, 300)).astype(np.float32)
holes = np.where(X < 0.3, np.nan, X)
masked = make(missing="mask").fit(holes[:256])
normal = np.zeros(4_000_000, np.float32)
f = fastvae.functional

CALLS = {
    "state_dict": lambda: model.state_dict(),
    "load_state_dict": lambda: model.load_state_dict(state),
    "new load_state_dict": lambda: make().load_state_dict(state),
    "fit": lambda: make().fit(X[:256]),
    "fit, early stopping": lambda: unfitted.fit(X[:256]),
    "fit, exam": lambda: exam.fit(marks),
    "fit, topics": lambda: topics.fit(counts),
    "partial_fit": lambda: model.partial_fit(X[:256]),
    "loss_and_gradients": lambda: model.loss_and_gradients(X),
    "apply_gradients": lambda: model.apply_gradients(gradients),
    "save": lambda: model.save(path),
    "load": lambda: fastvae.load(path),
    "pickle": lambda: pickle.dumps(model),
    "unpickle": lambda: pickle.loads(text),
    "transform": lambda: model.transform(X),
    "encode": lambda: model.encode(X),
    "reconstruct": lambda: model.reconstruct(X),
    "score_samples": lambda: model.score_samples(X),
    "evaluate": lambda: model.evaluate(X),
    "sample": lambda: model.sample(4000),
    "sample, draw": lambda: model.sample(4000, draw=True),
    "posterior_sample": lambda: model.posterior_sample(X, 100),
    "predictive": lambda: model.predictive(X, 2),
    "impute": lambda: masked.impute(holes, n_samples=2),
    "log_marginal": lambda: model.log_marginal(X[:50] > 0.5, 10),
    "diagnose": lambda: model.diagnose(X),
    "manifold": lambda: model.manifold(40),
    "neighbours": lambda: model.neighbours(X, X[:3]),
    "standard_normal": lambda: f.standard_normal((2000, 2000), 0),
    "gaussian_kl": lambda: f.gaussian_kl(normal, normal),
    "corruption": lambda: fastvae.corruption.GaussianNoise(0.1).corrupt(X, 0),
    "binarize": lambda: fastvae.binarize(X),
}
WRITES = ("load_state_dict", "partial_fit", "apply_gradients")

def used():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")

def child(name, margin):
    before = weights(model)
    ctypes.CDLL(None).malloc_trim(0)
    limit = used() + int(margin * 2**20)
    status = 0
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    try:
        CALLS[name]()
    except MemoryError:
        status = 1
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    if name not in WRITES or status == 1 and name != "partial_fit":
        assert weights(model) == before
    assert np.isfinite(model.transform(X[:3])).all()
    fastvae.load(path)
    return status

outcomes = {}
names = sys.argv[2:] or list(CALLS)
for name in names:
    try:
        CALLS[name]()
    except MemoryError:
        pass
for name in names:
    found = []
    for margin in MARGINS:
        pid = os.fork()
        if pid == 0:
            status = 3
            try:
                status = child(name, margin)
            except BaseException as error:
                import traceback
                traceback.print_exc()
            finally:
                os._exit(status)
        _, code = os.waitpid(pid, 0)
        found.append(os.waitstatus_to_exitcode(code))
    outcomes[name] = found
print(json.dumps(outcomes))
"""


@pytest.mark.parametrize("margins", [[1.0, 1.5, 4.0]])
def test_a_call_without_memory_raises_memory_error(margins: list[float]) -> None:
    outcomes: dict[str, Any] = json.loads(
        run_python(SCRIPT, json.dumps(margins), MALLOC_MMAP_THRESHOLD_="65536", MALLOC_TRIM_THRESHOLD_="65536")
    )
    bad = {name: found for name, found in outcomes.items() if not set(found) <= {0, 1}}
    assert not bad, f"codes by margin {margins}: negative is a signal, 3 another error"
    assert sum(found.count(1) for found in outcomes.values()) > len(outcomes), (
        "the limits are too wide to test anything"
    )
