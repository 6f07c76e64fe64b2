"""What this installation is and uses."""

from __future__ import annotations

from fastvae import _core


def show_config() -> dict[str, object]:
    """Version, instruction set and threads in use.

    Returns
    -------
    dict
        ``version``; ``isa`` (``"avx512"``, ``"avx2"`` or ``"portable"``; the environment variable
        ``FASTVAE_ISA`` forces one); ``isa_available``; ``threads`` (the default number: ``FASTVAE_NUM_THREADS``,
        ``OMP_NUM_THREADS``, or the cores that this process may use); ``debug`` (True for a build without
        optimisation, whose speed means nothing).

    Raises
    ------
    ValueError
        If ``FASTVAE_ISA`` names a set that this CPU lacks.
    """
    isa, available, threads, debug = _core.config()
    return {
        "version": _core.__version__,
        "isa": isa,
        "isa_available": available,
        "threads": threads,
        "debug": debug,
    }
