"""Sizes, ages and how much stays free, by two variables."""

from __future__ import annotations

import pytest

from envtool.errors import StoreError
from envtool.fs import sizes
from envtool.store import disk_limits


def test_sizes():
    assert [sizes.parse_size(text) for text in ("0", "20GB", "512MiB", "1.5 g", "7kb", "2T")] == [
        0, 20 * 10**9, 512 << 20, 1_500_000_000, 7000, 2 * 10**12,
    ]  # fmt: skip
    assert [sizes.parse_size(text) for text in ("", "GB", "-1", "1x", "1 GB more", "5%", "1ib")] == [None] * 7


def test_what_is_measured_is_told_in_one_unit():
    assert [sizes.format_size(size) for size in (0, 999, 4_100, 41_000_000, 999_600, 2 * 10**12, 10**16)] == [
        "0 B", "999 B", "4.1 kB", "41 MB", "1.0 MB", "2.0 TB", "10 PB",
    ]  # fmt: skip


def test_a_limit_is_told_as_one_would_write_it():
    written = {2 << 30: "2 GiB", 1_500_000: "1500 kB", 900 << 30: "900 GiB", 20 * 10**9: "20 GB", 7: "7 B", 0: "0 B"}
    assert {size: sizes.format_limit(size) for size in written} == written
    assert all(sizes.parse_size(text) == size for size, text in written.items())


def test_ages():
    assert [disk_limits.parse_age(text) for text in ("0s", "30d", "2w", "1d12h", "90m", "5s")] == [
        0.0, 30 * 86400.0, 14 * 86400.0, 129600.0, 5400.0, 5.0,
    ]  # fmt: skip
    assert [disk_limits.parse_age(text) for text in ("", "30", "d", "12h1d", "-1d")] == [None] * 5


def test_what_stays_free():
    assert disk_limits.keep_free(10**10, {}) == 5 * 10**8
    assert disk_limits.keep_free(10**12, {}) == disk_limits.MAX_DEFAULT_FREE
    assert disk_limits.keep_free(10**12, {disk_limits.KEEP_FREE_VARIABLE: "10%"}) == 10**11
    assert disk_limits.keep_free(10**12, {disk_limits.KEEP_FREE_VARIABLE: "3GB"}) == 3 * 10**9
    assert disk_limits.keep_free(10**12, {disk_limits.KEEP_FREE_VARIABLE: "0"}) == 0
    assert disk_limits.size_limit({}) is None
    assert disk_limits.size_limit({disk_limits.SIZE_VARIABLE: "20GB"}) == 20 * 10**9
    for call in (
        lambda: disk_limits.keep_free(1, {disk_limits.KEEP_FREE_VARIABLE: "much"}),
        lambda: disk_limits.size_limit({disk_limits.SIZE_VARIABLE: "5%"}),
    ):
        with pytest.raises(StoreError) as caught:
            call()
        assert caught.value.code == "store-variable"


def test_what_is_lacking(store):
    here, total = disk_limits.free_space(store)
    assert 0 < here < total
    assert disk_limits.missing_space(store, {disk_limits.KEEP_FREE_VARIABLE: "0"}) == 0
    assert disk_limits.missing_space(store, {disk_limits.KEEP_FREE_VARIABLE: "100%"}) > 0
