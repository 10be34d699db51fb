"""What the benchmarks' peers are compiled from and run by."""

from benchmarks.peers import inprocess, peers


def test_the_files_beside_the_modules_are_there() -> None:
    assert peers.SCRIPT.is_file()
    assert inprocess.LOOP.is_file()
