from pathlib import Path

from minigrad.data import cache_folder


def test_cache_folder_takes_the_first_variable_that_is_set(monkeypatch):
    monkeypatch.setenv("MINIGRAD_DATA", "/somewhere/data")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere/caches")
    assert cache_folder() == Path("/somewhere/data")
    monkeypatch.setenv("MINIGRAD_DATA", "")
    assert cache_folder() == Path("/somewhere/caches/minigrad")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "minigrad"


def test_cache_folder_expands_the_home_folder(monkeypatch):
    monkeypatch.setenv("MINIGRAD_DATA", "~/pictures")
    assert cache_folder() == Path.home() / "pictures"
