import os
import subprocess
import sys
from pathlib import Path

import pytest

from adyton.base.errors import InputError, NotFoundError
from adyton.devnet import logfiles, supervision
from adyton.devnet.network import Network, Ports
from adyton.devnet.paths import NetworkPaths


def test_the_published_word_names_this_very_process(tmp_path: Path) -> None:
    paths = NetworkPaths.of(tmp_path)
    supervision.publish(paths, "ready", [])
    word = supervision.read(paths)
    assert word is not None
    assert word.pid == os.getpid()
    assert word.alive()


def test_a_reused_process_id_is_not_taken_for_the_supervisor(tmp_path: Path) -> None:
    paths = NetworkPaths.of(tmp_path)
    supervision.publish(paths, "ready", [])
    text = paths.status_file.read_text()
    started = str(supervision.process_started(os.getpid()))
    paths.status_file.write_text(text.replace(started, "1"))
    word = supervision.read(paths)
    assert word is not None
    assert not word.alive()


def test_a_second_supervisor_is_refused_with_the_remedy(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from adyton.devnet import supervision;"
        "from adyton.devnet.paths import NetworkPaths;"
        "supervision.publish(NetworkPaths.of(Path(sys.argv[1])), 'ready', []); print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "up\n"
        paths = NetworkPaths.of(tmp_path)
        with pytest.raises(supervision.AlreadyRunningError) as caught:
            supervision.refuse_if_running(paths)
        assert "adyton down" in caught.value.hint
        assert supervision.stop(paths)
        other.wait()
    assert not supervision.stop(paths)


def test_no_network_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        Network.read(NetworkPaths.of(tmp_path))
    assert "adyton up" in caught.value.hint


def test_one_port_for_two_services_is_refused() -> None:
    with pytest.raises(InputError, match="sms"):
        Ports.choose({"sms": 3000})


def test_a_port_out_of_range_is_refused() -> None:
    with pytest.raises(InputError, match="65535"):
        Ports.choose({"sms": 70000})


def test_the_socket_path_stays_short_in_a_long_folder(tmp_path: Path) -> None:
    paths = NetworkPaths.of(tmp_path / ("long" * 30))
    assert len(bytes(paths.platform_socket)) < 104
    paths.platform_socket.parent.rmdir()


def test_logs_show_the_last_lines_with_their_service(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = NetworkPaths.of(tmp_path)
    (paths.logs / "sms.log").write_text("one\ntwo\nthree\n")
    (paths.logs / "cas.log").write_text("four\n")
    logfiles.show(paths, None, lines=2, follow=False)
    assert capsys.readouterr().out == "cas | four\nsms | two\nsms | three\n"
    with pytest.raises(NotFoundError) as caught:
        logfiles.show(paths, "market", lines=2, follow=False)
    assert "cas, sms" in caught.value.hint
