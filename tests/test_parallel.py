"""Work spread over processes: order, progress, errors."""

import operator

import pytest

from mammolib.parallel import in_parallel


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_with_five_lines_of_progress(capsys, workers):
    assert list(in_parallel(operator.sub, [(k, 1) for k in range(23)], "files", workers)) == list(range(-1, 22))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"{n} of 23 files" for n in (5, 10, 15, 20, 23)]


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_to_do_and_an_error_that_is_not_swallowed(workers):
    assert list(in_parallel(operator.sub, [], "files", workers)) == []
    with pytest.raises(ZeroDivisionError):
        list(in_parallel(operator.floordiv, [(4, 2), (1, 0), (9, 3)], "files", workers))
