"""The configuration of this installation."""

from __future__ import annotations

from fastvae import _checks, _core


def show_config() -> dict[str, object]:
    """Return the version, the instruction set and the number of threads in use.

    Returns
    -------
    dict
        ``version``; ``isa``, the instruction set in use: ``"avx512"``, ``"avx2"`` or ``"portable"`` (the environment
        variable ``FASTVAE_ISA`` forces one); ``isa_available``, a list; ``cpu``, a dict that says whether the CPU has
        "avx512_bf16" (which ``precision="bf16"`` needs to be fast), "avx512_vnni" (products of int8) and "amx" (not
        used); ``threads``, the default number of threads:
        ``FASTVAE_NUM_THREADS``, else ``OMP_NUM_THREADS``, but no more than the cores that the calling thread may use
        (affinity, and quota of the control group); ``debug``, True for a build without optimisation, which is slow.

    Raises
    ------
    ValueError
        If ``FASTVAE_ISA`` names an instruction set that this CPU does not have.

    Warns
    -----
    UserWarning
        If ``FASTVAE_NUM_THREADS`` holds no number; once in a process, here or in the first call that chooses threads.
    """
    _checks.environment()
    isa, available, threads, debug = _core.config()
    return {
        "version": _core.__version__,
        "isa": isa,
        "isa_available": available,
        "cpu": dict(_core.cpu_features()),
        "threads": threads,
        "debug": debug,
    }
