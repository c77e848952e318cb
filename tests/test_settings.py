"""One object of settings: a value comes from a `with` block, else an assignment, else a variable, else the default."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import minigrad as mg
from minigrad.settings import SETTINGS, Config

SWITCHES = [name for name, setting in SETTINGS.items() if isinstance(setting.default, bool) and name != "plain"]


@pytest.fixture
def config(monkeypatch):
    for setting in SETTINGS.values():
        monkeypatch.delenv(setting.variable, raising=False)
    return Config()


@pytest.mark.parametrize("name", SWITCHES)
def test_the_innermost_word_counts(config, name, monkeypatch):
    default = SETTINGS[name].default
    assert getattr(config, name) is default
    monkeypatch.setenv(SETTINGS[name].variable, "0" if default else "1")
    assert getattr(config, name) is not default
    setattr(config, name, default)
    assert getattr(config, name) is default
    with config(**{name: not default}):
        assert getattr(config, name) is not default
        with config(**{name: default}):
            assert getattr(config, name) is default
        assert getattr(config, name) is not default
    assert getattr(config, name) is default


@pytest.mark.parametrize("text", ["", "0", "false", "No", "OFF"])
def test_words_for_false(config, text, monkeypatch):
    monkeypatch.setenv("MINIGRAD_TF32", text)
    assert config.tf32 is False


def test_a_block_ends_with_an_error_too(config):
    with pytest.raises(KeyError), config(winograd=False):
        raise KeyError
    assert config.winograd is True


def test_a_block_is_for_its_own_thread(config):
    seen = []
    with config(tf32=False):
        thread = threading.Thread(target=lambda: seen.append(config.tf32))
        thread.start()
        thread.join()
    assert seen == [True]


def test_what_cannot_be_set_says_so(config):
    with pytest.raises(AttributeError, match="no setting 'tf23'; there are plain, winograd"):
        config.tf23 = True
    with pytest.raises(AttributeError, match="no setting 'tf23'"):
        config.tf23  # noqa: B018
    with pytest.raises(TypeError, match="'tf32' is True or False, not 1"):
        config.tf32 = 1
    with pytest.raises(AttributeError, match="MINIGRAD_PLAIN=1"):
        config.plain = True
    with pytest.raises(AttributeError, match="no setting"), config(nothing=True):
        pass


def test_plain_is_what_it_was_at_the_start(config, monkeypatch):
    monkeypatch.setenv("MINIGRAD_PLAIN", "1")
    assert config.plain is False and Config().plain is True


def test_the_folder_of_the_data_sets(config, monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert config.data is None and config.data_folder() == Path.home() / ".cache" / "minigrad"
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere/caches")
    assert config.data_folder() == Path("/somewhere/caches/minigrad")
    monkeypatch.setenv("MINIGRAD_DATA", "~/pictures")
    assert config.data_folder() == Path.home() / "pictures"
    config.data = tmp_path
    assert config.data_folder() == tmp_path and config.data == os.fspath(tmp_path)


def test_it_shows_every_setting_with_its_meaning_and_its_variable():
    text = repr(mg.config)
    for name, setting in SETTINGS.items():
        assert f"{name} = " in text and setting.meaning in text and setting.variable in text and name in dir(mg.config)
    assert mg.config.as_dict().keys() == SETTINGS.keys()


@pytest.mark.parametrize(("variable", "kept"), [("1", True), ("0", False)])
@pytest.mark.parametrize("begin", ["loss.backward()", "mg.grad(loss, p)", "mg.nn.Linear(1, 1).eval()"])
def test_memory_is_kept_when_training_or_evaluation_has_begun(variable, kept, begin):
    code = f"""
import minigrad as mg
from minigrad.fast.cpu import memory
p = mg.nn.Parameter([1.0])
loss = (p * p).sum()
assert not memory.kept
{begin}
print(memory.kept)
"""
    environment = os.environ | {"MINIGRAD_PLAIN": "0", "MINIGRAD_KEEP_MEMORY": variable}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.strip() == str(kept)
