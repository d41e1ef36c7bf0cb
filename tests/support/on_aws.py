"""The parameter of a contract's fixture that stands for the backend on AWS, as the local stack emulates it."""

from __future__ import annotations

import pytest

AWS = pytest.param("aws", marks=pytest.mark.stack)
