"""Progress on standard error."""

from jaxpersona.commands.progress_bars import progress_bars


def test_progress_goes_to_standard_error(capsys):
    with progress_bars() as report:
        report("load", 1, 2)
        report("load", 2, 2)
        report("mask", 1, 1)
    out, err = capsys.readouterr()
    assert out == ""
    assert "load" in err
    assert "2/2" in err
    assert "mask" in err
