"""Generators of simulator settings."""

from typing import Any

from hypothesis import strategies as st

FUNCTION_TIMEOUT = 30.0


shares = st.sampled_from([0.0, 0.0, 0.1, 0.5, 0.9])


@st.composite
def settings_of(draw: st.DrawFn, *, fifo: bool, **fixed: Any) -> dict[str, Any]:
    """Settings that AWS accepts; ``fixed`` overrides single ones."""
    batch_size = draw(st.integers(1, 10) if fifo else st.integers(1, 10) | st.integers(11, 40))
    windows = [0.0] if fifo else [1.0, 20.0, 300.0] if batch_size > 10 else [0.0, 0.5, 20.0, 300.0]
    window = draw(st.sampled_from(windows))
    return {
        "fifo": fifo,
        "batch_size": batch_size,
        "window_seconds": window,
        "maximum_concurrency": draw(st.integers(1, 6)),
        "visibility_timeout": draw(st.sampled_from([FUNCTION_TIMEOUT, 2 * FUNCTION_TIMEOUT + window, 1_800.0])),
        "max_receive_count": draw(st.integers(1, 7)),
        "reserved_concurrency": draw(st.sampled_from([None, None, 1, 2])),
        "throttled": draw(shares),
        "duplicates": draw(shares),
        "reordered": draw(st.booleans()),
        "seed": draw(st.integers(0, 1_000)),
        **fixed,
    }
